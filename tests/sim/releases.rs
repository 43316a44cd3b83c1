//! Named lives about releases on trial: what proves one good, how one fails, and how its app goes back to the last good one.

use std::time::Duration;

use axum::http::StatusCode;
use boardkeeper::state::contract::{Contract, Requirement};
use boardkeeper::state::service::Strategy;
use boardkeeper::state::{App, ReleaseTrial, Service};
use tokio::time::sleep;

use crate::clients::ApiCall;
use crate::scenario::{HOUR, MINUTE, Scenario, run_scenario, with};
use crate::world::CrashKind;
use crate::world::crashes::CrashPoint;
use crate::world::targets::{app, check};

const GOOD: [&str; 2] = ["r/db:1", "r/web:1"];

/// How a release fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// Its health check never succeeds.
    Unhealthy,
    /// The engine does not create it.
    Refused,
}

const FAULTS: [Fault; 2] = [Fault::Unhealthy, Fault::Refused];
const STRATEGIES: [Strategy; 3] = [Strategy::DownloadThenKill, Strategy::KillThenDownload, Strategy::HandOver];

/// A release of two services, the second of which has a health check and may have a fault.
fn release(version: u32, strategy: Strategy, fault: Fault) -> App {
    let rules = |it: &mut Service| {
        it.strategy = strategy;
        it.handover_timeout = Duration::from_secs(10);
        it.trial.rollback = Some(true);
        it.trial.deadline = 2 * MINUTE;
    };
    let web = with(&format!("r/web:{version}"), |it| {
        rules(it);
        it.config.health = Some(check());
        match fault {
            Fault::None => (),
            Fault::Unhealthy => drop(it.config.env.insert("SICK".to_owned(), "1".to_owned())),
            Fault::Refused => it.config.runtime = Some("nonesuch".to_owned()),
        }
    });
    let mut app = app(1, [("db", with(&format!("r/db:{version}"), rules)), ("web", web)]);
    (app.release_id, app.commit) = (version, Some(format!("c{version}")));
    app
}

/// What is known of the release.
fn trial(scenario: &Scenario) -> Option<ReleaseTrial> {
    scenario.sim.with(|model| model.status.as_ref()?.borrow().releases.values().next().cloned())
}

/// The first release runs, and is proven good.
async fn first_is_good(scenario: &Scenario) {
    scenario.settles().await;
    sleep(2 * MINUTE).await;
    assert_eq!(trial(scenario), Some(ReleaseTrial::Good), "\n{}", scenario.sim.trace());
}

/// The app is back at the first release, and says why.
async fn goes_back(scenario: &Scenario) {
    let is_back = || matches!(trial(scenario), Some(ReleaseTrial::RolledBack(..))) && scenario.images() == GOOD;
    for _ in 0..60 {
        if is_back() {
            break;
        }
        sleep(MINUTE).await;
    }
    assert!(is_back(), "{:?} {:?}\n{}", trial(scenario), scenario.images(), scenario.sim.trace());
}

#[test]
fn a_good_release_stays_and_the_one_before_is_collected_only_then() {
    run_scenario(&[release(1, Strategy::DownloadThenKill, Fault::None)], async |scenario| {
        first_is_good(scenario).await;
        scenario.writes([release(2, Strategy::DownloadThenKill, Fault::None)]);
        scenario.until(|model| model.engine.ours().any(|it| it.view.image_ref.as_str() == "r/web:2")).await;
        sleep(Duration::from_secs(30)).await;
        assert!(matches!(trial(scenario), Some(ReleaseTrial::OnTrial(_))), "{:?}", trial(scenario));
        assert_eq!(scenario.begun("delete image r/web:1"), 0, "\n{}", scenario.sim.trace());
        sleep(3 * MINUTE).await;
        assert_eq!(trial(scenario), Some(ReleaseTrial::Good));
        assert_eq!(scenario.images(), ["r/db:2", "r/web:2"]);
        scenario.settles().await;
    });
}

#[test]
fn a_release_that_fails_goes_back_whole_and_is_not_begun_again() {
    for (strategy, fault) in STRATEGIES.iter().flat_map(|it| FAULTS.map(|fault| (*it, fault))) {
        run_scenario(&[release(1, strategy, Fault::None)], async |scenario| {
            first_is_good(scenario).await;
            scenario.writes([release(2, strategy, fault)]);
            goes_back(scenario).await;
            let begun = scenario.begun("pull r/db:2");
            sleep(3 * HOUR).await;
            assert_eq!((scenario.images(), scenario.begun("pull r/db:2")), (GOOD.map(str::to_owned).to_vec(), begun));
            let Some(ReleaseTrial::RolledBack(failed, good)) = trial(scenario) else { panic!("{:?}", trial(scenario)) };
            assert_eq!((failed.commit.as_deref(), good.as_deref()), (Some("c2"), Some("c1")));
            assert_eq!(failed.services[0].service, "web", "{failed:?}");
            if fault == Fault::Unhealthy {
                assert_eq!(failed.services[0].health_output.as_deref(), Some("the check says unhealthy"));
            }
        });
    }
}

#[test]
fn a_service_that_the_device_cannot_run_is_not_waited_for() {
    let mut release = release(1, Strategy::DownloadThenKill, Fault::None);
    let requires = vec![Requirement::One { kind: "arch.sw".to_owned(), slug: Some("vax".to_owned()), version: None }];
    release.contracts.push(Contract { service: Some("db".to_owned()), optional: true, requires });
    run_scenario(&[release], async |scenario| {
        sleep(10 * MINUTE).await;
        assert_eq!((scenario.images(), trial(scenario)), (vec!["r/web:1".into()], Some(ReleaseTrial::Good)));
    });
}

#[test]
fn an_update_request_tries_a_failed_release_once_more_and_a_new_one_is_tried_at_once() {
    let strategy = Strategy::DownloadThenKill;
    run_scenario(&[release(1, strategy, Fault::None)], async |scenario| {
        first_is_good(scenario).await;
        scenario.writes([release(2, strategy, Fault::Unhealthy)]);
        goes_back(scenario).await;
        let pulls = scenario.begun("pull r/web:2");
        scenario.answers(&ApiCall::update(false), StatusCode::NO_CONTENT).await;
        sleep(MINUTE).await;
        assert_eq!(scenario.images(), ["r/db:2", "r/web:2"], "\n{}", scenario.sim.trace());
        goes_back(scenario).await;
        assert!(scenario.begun("pull r/web:2") <= pulls + 1);
        scenario.writes([release(3, strategy, Fault::None)]);
        sleep(5 * MINUTE).await;
        assert_eq!((scenario.images(), trial(scenario)), (vec!["r/db:3".into(), "r/web:3".into()], Some(ReleaseTrial::Good)));
        scenario.settles().await;
    });
}

#[test]
fn a_first_release_that_fails_has_none_to_go_back_to_and_may_still_prove_good() {
    let strategy = Strategy::DownloadThenKill;
    run_scenario(&[release(1, strategy, Fault::Unhealthy)], async |scenario| {
        sleep(10 * MINUTE).await;
        assert!(matches!(trial(scenario), Some(ReleaseTrial::Failed(_))), "{:?}", trial(scenario));
        assert_eq!(scenario.images(), GOOD);
        scenario.writes([release(1, strategy, Fault::None)]);
        sleep(5 * MINUTE).await;
        assert_eq!(trial(scenario), Some(ReleaseTrial::Good));
    });
}

#[test]
fn a_container_that_ends_again_and_again_makes_its_release_fail() {
    let strategy = Strategy::DownloadThenKill;
    run_scenario(&[release(1, strategy, Fault::None)], async |scenario| {
        first_is_good(scenario).await;
        scenario.writes([release(2, strategy, Fault::None)]);
        for _ in 0..200 {
            scenario.sim.with(|model| {
                let web = model.engine.ours().find(|it| it.view.image_ref.as_str() == "r/db:2").map(|it| it.view.id.clone());
                if let Some(id) = web {
                    model.exits(&id, 1);
                }
            });
            sleep(Duration::from_secs(5)).await;
        }
        goes_back(scenario).await;
        let Some(ReleaseTrial::RolledBack(failed, _)) = trial(scenario) else { panic!("{:?}", trial(scenario)) };
        assert_eq!((failed.services.len(), failed.services[0].service.as_str()), (1, "db"));
    });
}

#[test]
fn a_lease_holds_a_rollback_up() {
    let strategy = Strategy::DownloadThenKill;
    run_scenario(&[release(1, strategy, Fault::None)], async |scenario| {
        first_is_good(scenario).await;
        scenario.writes([release(2, strategy, Fault::Unhealthy)]);
        scenario.until(|model| model.engine.ours().any(|it| it.view.image_ref.as_str() == "r/web:2")).await;
        sleep(30 * Duration::from_secs(1)).await;
        scenario.answers(&ApiCall::lease(1, "recorder", 3600), StatusCode::OK).await;
        sleep(30 * MINUTE).await;
        assert_eq!(scenario.images(), ["r/db:2", "r/web:2"], "the lease is respected\n{}", scenario.sim.trace());
        scenario.answers(&ApiCall::end_lease(1, "recorder"), StatusCode::NO_CONTENT).await;
        goes_back(scenario).await;
    });
}

#[test]
fn an_update_that_waits_for_longer_than_its_deadline_has_not_failed() {
    let strategy = Strategy::DownloadThenKill;
    run_scenario(&[release(1, strategy, Fault::None)], async |scenario| {
        first_is_good(scenario).await;
        scenario.answers(&ApiCall::lease(1, "recorder", 3600), StatusCode::OK).await;
        scenario.writes([release(2, strategy, Fault::None)]);
        sleep(30 * MINUTE).await;
        assert!(matches!(trial(scenario), Some(ReleaseTrial::OnTrial(_))), "{:?}", trial(scenario));
        assert_eq!(scenario.images(), GOOD);
        scenario.answers(&ApiCall::end_lease(1, "recorder"), StatusCode::NO_CONTENT).await;
        sleep(5 * MINUTE).await;
        assert_eq!((scenario.images(), trial(scenario)), (vec!["r/db:2".into(), "r/web:2".into()], Some(ReleaseTrial::Good)));
    });
}

#[test]
fn cuts_at_any_moment_end_at_the_last_good_release() {
    for (nth, fault) in (0..).zip(FAULTS) {
        for (after, cut) in (1..80).step_by(3).zip([CrashKind::Crash, CrashKind::Power].into_iter().cycle()) {
            let strategy = STRATEGIES[(after + nth) % STRATEGIES.len()];
            run_scenario(&[release(1, strategy, Fault::None)], async |scenario| {
                first_is_good(scenario).await;
                scenario.writes([release(2, strategy, fault)]);
                scenario.sim.with(|model| {
                    model.crash_point = CrashPoint::InCall(model.calls + u64::try_from(after).unwrap(), cut);
                });
                goes_back(scenario).await;
                // What is remembered of it outlives another cut.
                let pulls = scenario.begun("pull r/web:2");
                scenario.sim.with(|model| model.crash(CrashKind::Power));
                sleep(HOUR).await;
                goes_back(scenario).await;
                assert_eq!(scenario.begun("pull r/web:2"), pulls, "{after} {cut:?}\n{}", scenario.sim.trace());
            });
        }
    }
}
