//! Named lives in which services have a hook before their updates.

use std::time::Duration;

use axum::http::StatusCode;
use boardkeeper::state::hook::UpdateHook;
use boardkeeper::state::labels::{BEFORE_UPDATE_LABEL, BEFORE_UPDATE_TIMEOUT_LABEL};
use boardkeeper::state::service::Strategy;
use boardkeeper::state::{App, AppId, ReleaseTrial, ServiceKey};
use tokio::time::sleep;

use crate::clients::ApiCall;
use crate::scenario::{HOUR, MINUTE, run_scenario, with};
use crate::world::targets::{app, check};
use crate::world::{CrashKind, Model};

/// A release whose service `web` has a hook, which may take 20 s.
fn release(version: u32, strategy: Strategy) -> App {
    let web = with(&format!("r/web:{version}"), |it| {
        it.strategy = strategy;
        it.handover_timeout = Duration::from_secs(5);
        it.config.labels.insert(BEFORE_UPDATE_LABEL.to_owned(), "flush".to_owned());
        it.config.labels.insert(BEFORE_UPDATE_TIMEOUT_LABEL.to_owned(), "20s".to_owned());
    });
    let mut app = app(1, [("web", web)]);
    (app.release_id, app.commit) = (version, Some(format!("c{version}")));
    app
}

fn web() -> ServiceKey {
    ServiceKey::new(AppId(1), "web")
}

const HOOK: &str = "run the hook of 1/web";

/// Whether the agent says that an update waits for a hook.
fn waits(model: &Model) -> bool {
    let status = model.status.as_ref().unwrap().borrow();
    status.waiting.iter().any(|it| it.to_string().contains("waits for its hook: the hook"))
}

#[test]
fn a_hook_that_succeeds_is_run_once_for_each_update() {
    for strategy in [Strategy::DownloadThenKill, Strategy::KillThenDownload, Strategy::DeleteThenDownload, Strategy::HandOver] {
        run_scenario(&[release(1, strategy)], async |scenario| {
            scenario.settles().await;
            assert_eq!(scenario.begun(HOOK), 0);
            for version in 2..4 {
                scenario.writes([release(version, strategy)]);
                sleep(MINUTE).await;
                scenario.settles().await;
                assert_eq!(scenario.begun(HOOK), version - 1, "{strategy:?}\n{}", scenario.sim.trace());
            }
            // Neither a restart nor a stop is an update.
            scenario.answers(&ApiCall::restart(1, false), StatusCode::OK).await;
            scenario.answers(&ApiCall::stop(1, "web", false), StatusCode::OK).await;
            assert_eq!(scenario.begun(HOOK), 2);
        });
    }
}

#[test]
fn a_hook_that_fails_or_hangs_holds_the_update_up_without_locks_until_it_succeeds() {
    for hangs in [false, true] {
        run_scenario(&[release(1, Strategy::DownloadThenKill)], async |scenario| {
            scenario.settles().await;
            scenario.sim.with(|model| {
                let broken = if hangs { &mut model.hooks.hanging } else { &mut model.hooks.failing };
                broken.insert(web());
            });
            scenario.writes([release(2, Strategy::DownloadThenKill)]);
            sleep(HOUR).await;
            assert_eq!(scenario.images(), ["r/web:1"], "\n{}", scenario.sim.trace());
            // Between two tries the app's locks are free.
            scenario.until(|model| waits(model) && !model.locks.are_taken()).await;
            let tries = scenario.begun(HOOK);
            assert!((5..40).contains(&tries), "{tries}");
            scenario.sim.with(|model| {
                model.hooks.hanging.clear();
                model.hooks.failing.clear();
            });
            sleep(6 * MINUTE).await;
            scenario.settles().await;
            assert_eq!(scenario.images(), ["r/web:2"]);
        });
    }
}

#[test]
fn a_request_tries_it_at_once_and_force_goes_on_without_it() {
    run_scenario(&[release(1, Strategy::DownloadThenKill)], async |scenario| {
        scenario.settles().await;
        scenario.sim.with(|model| model.hooks.failing.extend([web()]));
        scenario.writes([release(2, Strategy::DownloadThenKill)]);
        sleep(30 * MINUTE).await;
        let tries = scenario.begun(HOOK);
        scenario.answers(&ApiCall::update(false), StatusCode::NO_CONTENT).await;
        sleep(Duration::from_secs(10)).await;
        assert!(scenario.begun(HOOK) > tries, "\n{}", scenario.sim.trace());
        assert_eq!(scenario.images(), ["r/web:1"]);
        scenario.answers(&ApiCall::update(true), StatusCode::NO_CONTENT).await;
        sleep(MINUTE).await;
        scenario.settles().await;
        assert_eq!(scenario.images(), ["r/web:2"]);
    });
}

#[test]
fn a_restart_that_a_person_requests_is_not_held_up() {
    run_scenario(&[release(1, Strategy::DownloadThenKill)], async |scenario| {
        scenario.settles().await;
        scenario.sim.with(|model| model.hooks.failing.extend([web()]));
        scenario.writes([release(2, Strategy::DownloadThenKill)]);
        sleep(10 * MINUTE).await;
        scenario.answers(&ApiCall::restart(1, false), StatusCode::OK).await;
        sleep(MINUTE).await;
        scenario.settles().await;
        assert_eq!(scenario.images(), ["r/web:2"]);
    });
}

#[test]
fn a_hook_of_a_release_that_failed_does_not_hold_its_rollback_up() {
    let on_trial = |version, sick: bool| {
        let mut app = release(version, Strategy::DownloadThenKill);
        let web = app.services.get_mut("web").unwrap();
        (web.trial.rollback, web.trial.deadline, web.config.health) = (Some(true), 2 * MINUTE, Some(check()));
        if sick {
            web.config.env.insert("SICK".to_owned(), "1".to_owned());
        }
        app
    };
    run_scenario(&[on_trial(1, false)], async |scenario| {
        scenario.settles().await;
        sleep(2 * MINUTE).await;
        scenario.writes([on_trial(2, true)]);
        scenario.until(|model| model.engine.ours().any(|it| it.view.image_ref.as_str() == "r/web:2")).await;
        scenario.sim.with(|model| model.hooks.failing.extend([web()]));
        sleep(30 * MINUTE).await;
        assert_eq!(scenario.images(), ["r/web:1"], "\n{}", scenario.sim.trace());
    });
}

#[test]
fn a_release_that_waits_for_a_hook_has_not_failed() {
    let on_trial = |version| {
        let mut app = release(version, Strategy::DownloadThenKill);
        let web = app.services.get_mut("web").unwrap();
        (web.trial.rollback, web.trial.deadline) = (Some(true), 2 * MINUTE);
        app
    };
    run_scenario(&[on_trial(1)], async |scenario| {
        scenario.settles().await;
        sleep(2 * MINUTE).await;
        scenario.sim.with(|model| model.hooks.failing.extend([web()]));
        scenario.writes([on_trial(2)]);
        sleep(HOUR).await;
        let trial = scenario.sim.with(|model| model.status.as_ref()?.borrow().releases.values().next().cloned());
        assert!(matches!(trial, Some(ReleaseTrial::OnTrial(_))), "{trial:?}");
        scenario.sim.with(|model| model.hooks.failing.clear());
        sleep(10 * MINUTE).await;
        assert_eq!(scenario.images(), ["r/web:2"]);
    });
}

#[test]
fn after_a_cut_it_is_run_again() {
    for (after, cut) in (1..24).zip([CrashKind::Crash, CrashKind::Power].into_iter().cycle()) {
        run_scenario(&[release(1, Strategy::DownloadThenKill)], async |scenario| {
            scenario.settles().await;
            let first = scenario.sim.with(|model| model.engine.ours().next().unwrap().view.id.clone());
            scenario.writes([release(2, Strategy::DownloadThenKill)]);
            scenario.sim.with(|model| {
                model.crash_point = crate::world::crashes::CrashPoint::InCall(model.calls + after, cut);
            });
            sleep(5 * MINUTE).await;
            scenario.settles().await;
            assert_eq!(scenario.images(), ["r/web:2"]);
            // It is run by each agent that finds the container running, and at least once unless the cut has stopped it.
            let runs = scenario.sim.with(|model| model.hooks.succeeded.get(&first).copied().unwrap_or_default());
            assert!((1..=2).contains(&runs), "{after} {cut:?}: {runs}\n{}", scenario.sim.trace());
        });
    }
}

#[test]
fn the_return_from_a_trial_is_not_held_up() {
    run_scenario(&[release(1, Strategy::DownloadThenKill)], async |scenario| {
        scenario.settles().await;
        scenario.answers(&ApiCall::try_target(1, 600), StatusCode::OK).await;
        scenario.until(|model| model.engine.ours().any(|it| it.view.image_ref.as_str() == "r/web:tried1")).await;
        // What is tried has a hook too, which fails.
        sleep(MINUTE).await;
        scenario.sim.with(|model| {
            model.hooks.failing.extend([web()]);
            let hook = Some(UpdateHook { command: vec!["flush".to_owned()], timeout: Duration::from_secs(20) });
            for container in model.engine.containers.iter_mut().map(|(_, it)| it) {
                container.view.before_update = hook.clone();
            }
        });
        sleep(15 * MINUTE).await;
        assert_eq!(scenario.images(), ["r/web:1"], "\n{}", scenario.sim.trace());
    });
}
