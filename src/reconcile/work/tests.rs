use super::*;
use crate::port::EngineError;
use crate::reconcile::testing::{APP, act, pull, remove_image};
use crate::state::{NetworkConfig, NetworkId};

const EVERYTHING: fn(&Step) -> bool = |_| false;

#[test]
fn of_two_steps_with_one_subject_the_first_starts() {
    let (stop, start) = (act(EngineAction::Stop, "web"), act(EngineAction::Start, "web"));
    let (pull, remove) = (pull("web:1"), remove_image("web:1"));
    let steps = [stop.clone(), start, pull.clone(), remove];
    assert_eq!(Work::default().startable(&steps, EVERYTHING), [stop, pull]);
}

#[test]
fn a_step_waits_for_the_one_in_flight_with_its_subject() {
    let mut work = Work::default();
    let (stop, start, db) = (act(EngineAction::Stop, "web"), act(EngineAction::Start, "web"), act(EngineAction::Start, "db"));
    work.launch(&stop);
    assert_eq!(work.startable(&[stop.clone(), start.clone(), db.clone()], EVERYTHING), [db]);
    assert!(!work.is_idle() && work.concerns(APP) && !work.concerns(AppId(2)));
}

#[test]
fn a_step_waits_for_an_observation_after_the_last_one_with_its_subject_ended() {
    let mut work = Work::default();
    let (stop, start) = (act(EngineAction::Stop, "web"), act(EngineAction::Start, "web"));
    work.launch(&stop);
    work.remove(&stop);
    work.on_ended(stop.clone());
    assert!(work.is_idle() && work.has_ended_steps() && work.under_way().eq([&stop]));
    assert_eq!(work.startable(std::slice::from_ref(&start), EVERYTHING), []);
    work.on_observation_begins();
    assert!(!work.has_ended_steps());
    assert_eq!(work.startable(std::slice::from_ref(&start), EVERYTHING), [start]);
}

#[test]
fn a_network_is_being_removed_until_an_observation_after_its_removal() {
    let network = |id: &str| {
        let config = NetworkConfig::default();
        Network { id: NetworkId(id.to_owned()), name: "u_back".to_owned(), app: Some(APP), config }
    };
    let removal =
        |id: &str| Step::Engine(EngineAction::RemoveNetwork("u_back".to_owned(), NetworkId(id.to_owned()), Some(APP)));
    let mut work = Work::default();
    assert!(!work.is_removing(&network("1")));
    work.launch(&removal("1"));
    assert!(work.is_removing(&network("1")) && !work.is_removing(&network("2")));
    work.remove(&removal("1"));
    work.on_ended(removal("1"));
    assert!(work.is_removing(&network("1")), "the observation under way may have it still");
    work.fail(&removal("1"), &StepFailure::Engine(EngineError::Refused("has active endpoints".to_owned())));
    assert!(!work.is_removing(&network("1")), "or its failure would be forgotten, and the delay with it");
    work.succeed(&removal("1"));
    work.on_observation_begins();
    assert!(!work.is_removing(&network("1")));
}

#[tokio::test(start_paused = true)]
async fn a_step_that_failed_starts_again_when_its_delay_is_over() {
    let mut work = Work::default();
    let steps = [pull("web:1"), pull("db:1")];
    let delay = work.fail(&steps[0], &StepFailure::Engine(EngineError::Refused("no such image".to_owned())));
    assert_eq!(work.startable(&steps, EVERYTHING), steps[1..]);
    tokio::time::advance(delay).await;
    assert_eq!(work.startable(&steps, EVERYTHING), steps);
    work.succeed(&steps[0]);
    assert!(!work.retries().has_failed(&steps[0]));
}

#[test]
fn a_step_that_is_held_back_or_backs_off_leaves_its_subject_to_another() {
    let mut work = Work::default();
    let (stop, start, kill) = (act(EngineAction::Stop, "web"), act(EngineAction::Start, "web"), act(EngineAction::Kill, "web"));
    let steps = [stop.clone(), start.clone(), kill.clone()];
    assert_eq!(work.startable(&steps, |it| *it == stop), std::slice::from_ref(&start));
    work.fail(&start, &StepFailure::Engine(EngineError::Refused("no such file".to_owned())));
    assert_eq!(work.startable(&steps, |it| *it == stop), [kill]);
}

#[test]
fn steps_that_are_no_longer_wanted_are_cancelled() {
    let mut work = Work::default();
    let [wanted, unwanted] = [pull("web:2"), pull("web:1")].map(|it| (work.launch(&it), it));
    work.cancel_except(|it| *it == wanted.1);
    assert!(unwanted.0.handle().is_aborted() && !wanted.0.handle().is_aborted());
    // It is in flight until it has ended.
    assert_eq!(work.in_flight().count(), 2);
}

#[test]
fn an_image_is_being_pulled_while_that_step_is_in_flight() {
    let mut work = Work::default();
    let (pull, image) = (pull("web:1"), ImageRef::new("web:1"));
    work.launch(&remove_image("db:1"));
    work.launch(&pull);
    assert!(work.is_pulling(&image) && !work.is_pulling(&ImageRef::new("db:1")));
    work.remove(&pull);
    work.on_ended(pull);
    assert!(!work.is_pulling(&image));
}
