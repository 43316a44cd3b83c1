//! Named lives in which the agent, or the board, ends again and again with a target that was never reached.

use std::time::Duration;

use axum::http::StatusCode;
use boardkeeper::state::{App, AppId, ContainerId, ReleaseTrial};
use tokio::time::sleep;

use crate::clients::ApiCall;
use crate::scenario::{HOUR, MINUTE, Scenario, run_scenario, with};
use crate::world::CrashKind;
use crate::world::crashes::CrashPoint;
use crate::world::targets::app;

const CUTS: [CrashKind; 2] = [CrashKind::Crash, CrashKind::Power];
/// After so many ends the next start gives up what ends the agent.
const DEATHS: u32 = 6;

/// Whether an app goes back by itself when its release fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rollback {
    On,
    Off,
}

/// A release of an app with one service.
fn release(id: u32, version: u32, rollback: Rollback) -> App {
    let service = with(&format!("r/app{id}:{version}"), |it| it.trial.rollback = Some(rollback == Rollback::On));
    let mut app = app(id, [(if id == 1 { "app1" } else { "app2" }, service)]);
    (app.release_id, app.commit) = (version, Some(format!("c{version}")));
    app
}

/// The same, whose container the engine does not create: its target is never reached.
fn refused(id: u32, version: u32, rollback: Rollback) -> App {
    let mut app = release(id, version, rollback);
    app.services.iter_mut().map(|(_, it)| it).for_each(|it| it.config.runtime = Some("nonesuch".to_owned()));
    app
}

/// The agent ends so often, each time a few seconds after its start.
async fn dies(scenario: &Scenario, times: u32, cut: CrashKind) {
    for _ in 0..times {
        scenario.until(|model| model.status.is_some()).await;
        sleep(Duration::from_secs(5)).await;
        let died = scenario.sim.with(|model| {
            model.crash(cut);
            model.engine.agents
        });
        scenario.until(|model| model.engine.agents > died).await;
    }
}

fn trial(scenario: &Scenario, id: u32) -> Option<ReleaseTrial> {
    scenario.sim.with(|model| model.status.as_ref()?.borrow().releases.get(&AppId(id)).cloned())
}

/// Why the target is refused as a whole, if it is.
fn rejected(scenario: &Scenario) -> Option<String> {
    scenario.sim.with(|model| model.status.as_ref()?.borrow().rejected.clone())
}

fn containers(scenario: &Scenario, id: u32) -> Vec<ContainerId> {
    let of = |it: &&crate::world::engine_model::SimContainer| it.view.key.app == AppId(id);
    scenario.sim.with(|model| model.engine.ours().filter(of).map(|it| it.view.id.clone()).collect())
}

fn has_count(scenario: &Scenario) -> bool {
    scenario.sim.with(|model| model.disk.kept.trial.is_some())
}

/// What the scenario begins with is reached, and proven good.
async fn first_is_good(scenario: &Scenario) {
    scenario.settles().await;
    sleep(2 * MINUTE).await;
    assert!(!has_count(scenario), "\n{}", scenario.sim.trace());
}

/// App 1 is back at its first release, for this reason.
fn is_back(scenario: &Scenario) -> bool {
    let Some(ReleaseTrial::RolledBack(failed, good)) = trial(scenario, 1) else { return false };
    assert!(failed.cause.as_ref().is_some_and(|it| it.contains("ended 5 times in a row")), "{failed:?}");
    assert_eq!((failed.commit.as_deref(), good.as_deref(), failed.services.len()), (Some("c2"), Some("c1"), 0));
    true
}

#[test]
fn only_the_release_that_changed_goes_back_and_only_a_request_tries_it_again() {
    for cut in CUTS {
        run_scenario(&[release(1, 1, Rollback::On), release(2, 1, Rollback::On)], async |scenario| {
            first_is_good(scenario).await;
            let untouched = containers(scenario, 2);
            scenario.writes([release(1, 2, Rollback::On), release(2, 1, Rollback::On)]);
            dies(scenario, DEATHS, cut).await;
            sleep(MINUTE).await;
            scenario.settles().await;
            let begun = scenario.begun("pull r/app1:2");
            for _ in 0..2 {
                assert_eq!(scenario.images(), ["r/app1:1", "r/app2:1"], "{cut:?}\n{}", scenario.sim.trace());
                assert!(is_back(scenario), "{:?}", trial(scenario, 1));
                assert_eq!((trial(scenario, 2), rejected(scenario)), (Some(ReleaseTrial::Good), None));
                assert_eq!((containers(scenario, 2), scenario.begun("pull r/app1:2")), (untouched.clone(), begun));
                assert!(!has_count(scenario), "nothing is left to be counted");
                dies(scenario, 2 * DEATHS, cut).await;
                sleep(HOUR).await;
            }
            scenario.answers(&ApiCall::update(false), StatusCode::NO_CONTENT).await;
            sleep(5 * MINUTE).await;
            assert_eq!(
                (trial(scenario, 1), scenario.images()),
                (Some(ReleaseTrial::Good), vec!["r/app1:2".into(), "r/app2:1".into()])
            );
        });
    }
}

#[test]
fn a_cut_at_any_moment_of_the_start_that_gives_it_up_does_not_begin_it_again() {
    for (after, cut) in (1..40).zip(CUTS.into_iter().cycle()) {
        run_scenario(&[release(1, 1, Rollback::On), release(2, 1, Rollback::On)], async |scenario| {
            first_is_good(scenario).await;
            scenario.writes([release(1, 2, Rollback::On), release(2, 1, Rollback::On)]);
            dies(scenario, DEATHS, CrashKind::Crash).await;
            let begun = ["pull r/app1:2", "create 1/app1 from r/app1:2"].map(|it| scenario.begun(it));
            scenario.sim.with(|model| model.crash_point = CrashPoint::InCall(model.calls + after, cut));
            sleep(10 * MINUTE).await;
            scenario.settles().await;
            assert!(is_back(scenario), "{after} {cut:?} {:?}\n{}", trial(scenario, 1), scenario.sim.trace());
            assert_eq!(["pull r/app1:2", "create 1/app1 from r/app1:2"].map(|it| scenario.begun(it)), begun, "{after} {cut:?}");
            assert_eq!((rejected(scenario), scenario.images()), (None, vec!["r/app1:1".into(), "r/app2:1".into()]));
        });
    }
}

#[test]
fn where_rollback_is_off_the_target_is_refused_as_a_whole() {
    run_scenario(&[release(1, 1, Rollback::Off), release(2, 1, Rollback::Off)], async |scenario| {
        first_is_good(scenario).await;
        scenario.writes([refused(1, 2, Rollback::Off), release(2, 2, Rollback::Off)]);
        dies(scenario, DEATHS, CrashKind::Crash).await;
        sleep(10 * MINUTE).await;
        assert!(rejected(scenario).unwrap().contains("ended 5 times in a row"), "\n{}", scenario.sim.trace());
        assert_eq!((scenario.images(), trial(scenario, 1)), (vec!["r/app1:1".into(), "r/app2:1".into()], None));
    });
}

#[test]
fn what_is_left_is_refused_if_the_agent_goes_on_ending_with_it() {
    run_scenario(&[release(1, 1, Rollback::On), release(2, 1, Rollback::Off)], async |scenario| {
        first_is_good(scenario).await;
        scenario.writes([release(1, 2, Rollback::On), refused(2, 2, Rollback::Off)]);
        dies(scenario, DEATHS, CrashKind::Crash).await;
        scenario.until(|model| model.status.is_some()).await;
        sleep(Duration::from_secs(1)).await;
        assert!(is_back(scenario) && rejected(scenario).is_none(), "{:?}\n{}", trial(scenario, 1), scenario.sim.trace());
        dies(scenario, DEATHS, CrashKind::Crash).await;
        sleep(10 * MINUTE).await;
        assert!(rejected(scenario).unwrap().contains("ended 5 times in a row"), "\n{}", scenario.sim.trace());
        assert_eq!(scenario.images(), ["r/app1:1", "r/app2:1"]);
        scenario.answers(&ApiCall::update(false), StatusCode::NO_CONTENT).await;
        sleep(Duration::from_secs(30)).await;
        assert_eq!((rejected(scenario), has_count(scenario)), (None, false), "a request begins the count anew");
        assert!(matches!(trial(scenario, 1), Some(ReleaseTrial::OnTrial(_))), "{:?}", trial(scenario, 1));
    });
}

#[test]
fn what_is_left_and_was_reached_is_not_counted_any_more() {
    run_scenario(&[release(1, 1, Rollback::On), release(2, 1, Rollback::Off)], async |scenario| {
        first_is_good(scenario).await;
        scenario.writes([release(1, 2, Rollback::On), release(2, 2, Rollback::Off)]);
        dies(scenario, DEATHS, CrashKind::Crash).await;
        for _ in 0..2 {
            sleep(5 * MINUTE).await;
            scenario.settles().await;
            assert!(is_back(scenario) && !has_count(scenario), "{:?}\n{}", trial(scenario, 1), scenario.sim.trace());
            assert_eq!((rejected(scenario), scenario.images()), (None, vec!["r/app1:1".into(), "r/app2:2".into()]));
            dies(scenario, 2 * DEATHS, CrashKind::Power).await;
        }
    });
}

#[test]
fn a_release_that_proved_good_stays_when_the_rest_of_its_target_is_refused() {
    run_scenario(&[release(1, 1, Rollback::On), release(2, 1, Rollback::Off)], async |scenario| {
        first_is_good(scenario).await;
        scenario.writes([release(1, 2, Rollback::On), refused(2, 2, Rollback::Off)]);
        sleep(5 * MINUTE).await;
        assert_eq!(trial(scenario, 1), Some(ReleaseTrial::Good), "\n{}", scenario.sim.trace());
        let proven = containers(scenario, 1);
        dies(scenario, DEATHS, CrashKind::Crash).await;
        sleep(10 * MINUTE).await;
        assert!(rejected(scenario).is_some(), "\n{}", scenario.sim.trace());
        assert_eq!(scenario.images(), ["r/app1:2", "r/app2:1"], "\n{}", scenario.sim.trace());
        assert_eq!(containers(scenario, 1), proven);
    });
}
