use super::*;
use crate::port::EngineError;
use crate::reconcile::execute::StepFailure;
use crate::reconcile::testing::{APP, act, parse_target, pull, remove_image};
use crate::sorted::SortedSet;
use crate::state::network::AddressPool;
use crate::state::{Force, NetworkConfig, NetworkId};

fn take_locks(app: AppId) -> Step {
    Step::TakeLocks(app, SortedSet::new(), Force::No)
}

/// Whether a step of the plan must not start while another is in flight.
fn conflicts_with(step: &Step, in_flight: &Step, target: &str) -> bool {
    let mut work = Work::default();
    work.launch(in_flight);
    conflicts(step, &[], &work, &LockTracker::default(), Some(&parse_target(target)))
}

#[test]
fn an_update_takes_no_locks_under_which_the_host_is_configured() {
    let (work, mut locks) = (Work::default(), LockTracker::default());
    assert!(!conflicts(&take_locks(APP), &[], &work, &locks, None));
    locks.lend([APP].into());
    assert!(conflicts(&take_locks(APP), &[], &work, &locks, None));
    assert!(!conflicts(&take_locks(AppId(2)), &[], &work, &locks, None));
    locks.end_loan();
    assert!(!conflicts(&take_locks(APP), &[], &work, &locks, None));
}

#[test]
fn no_locks_are_released_while_the_host_is_configured() {
    let (work, mut locks) = (Work::default(), LockTracker::default());
    locks.lend([AppId(2)].into());
    assert!(conflicts(&Step::ReleaseLocks(APP), &[], &work, &locks, None));
    locks.end_loan();
    assert!(!conflicts(&Step::ReleaseLocks(APP), &[], &work, &locks, None));
}

#[test]
fn the_locks_of_an_app_are_not_released_while_a_step_of_it_is_in_flight() {
    let kill = act(EngineAction::Kill, "web");
    assert!(conflicts_with(&Step::ReleaseLocks(APP), &kill, ""));
    assert!(!conflicts_with(&Step::ReleaseLocks(AppId(2)), &kill, ""));
    // An image belongs to no app.
    assert!(!conflicts_with(&Step::ReleaseLocks(APP), &pull("web:1"), ""));
}

#[test]
fn a_service_is_not_started_while_a_service_that_it_depends_on_goes() {
    let (target, start) = ("web web:1 after:db\ndb db:1\nlog log:1", act(EngineAction::Start, "web"));
    for action in [EngineAction::Kill, EngineAction::Stop, EngineAction::Restart] {
        assert!(conflicts_with(&start, &act(action, "db"), target));
        assert!(!conflicts_with(&start, &act(action, "log"), target));
    }
    assert!(!conflicts_with(&start, &act(EngineAction::Start, "db"), target));
}

#[test]
fn a_container_is_not_killed_while_an_image_that_the_app_wants_is_deleted() {
    let kill = act(EngineAction::Kill, "web");
    assert!(conflicts_with(&kill, &remove_image("web:1"), "web web:1"));
    assert!(!conflicts_with(&kill, &remove_image("web:1"), "web web:2"));
    assert!(!conflicts_with(&kill, &pull("web:1"), "web web:1"));
}

#[test]
fn a_step_that_ended_conflicts_until_the_next_observation() {
    let target = parse_target("web web:1 after:db\ndb db:1");
    let (mut work, locks) = (Work::default(), LockTracker::default());
    work.on_ended(act(EngineAction::Kill, "db"));
    assert!(conflicts(&act(EngineAction::Start, "web"), &[], &work, &locks, Some(&target)));
    work.on_observation_begins();
    assert!(!conflicts(&act(EngineAction::Start, "web"), &[], &work, &locks, Some(&target)));
}

#[test]
fn other_steps_conflict_with_nothing() {
    for step in [pull("web:1"), act(EngineAction::Stop, "web"), Step::Reboot] {
        assert!(!conflicts_with(&step, &act(EngineAction::Kill, "db"), "web web:1 after:db\ndb db:1"), "{step}");
    }
}

#[test]
fn a_network_whose_addresses_the_engine_chooses_waits_for_those_that_ask_for_theirs() {
    let create = |name: &str, ipam: Vec<AddressPool>| {
        let config = NetworkConfig { ipam, ..NetworkConfig::default() };
        let network = Network { id: NetworkId::default(), name: name.to_owned(), app: Some(APP), config };
        Step::Engine(EngineAction::CreateNetwork(network))
    };
    let (any, asking) = (create("any", vec![]), create("asking", vec![AddressPool::default()]));
    let plan = [any.clone(), asking.clone(), create("other", vec![])];
    let mut work = Work::default();
    let is_held_back = |step: &Step, plan: &[Step], work: &Work| conflicts(step, plan, work, &LockTracker::default(), None);
    assert!(is_held_back(&any, &plan, &work));
    assert!(!is_held_back(&asking, &plan, &work));
    work.launch(&asking);
    assert!(is_held_back(&any, &plan, &work), "it is not there yet");
    assert!(!is_held_back(&any, std::slice::from_ref(&any), &work), "the next observation saw it");
    work.fail(&asking, &StepFailure::Engine(EngineError::Refused("the addresses are taken".into())));
    assert!(!is_held_back(&any, &plan, &work), "what cannot be created holds up no other");
}
