//! Named lives about update windows: what waits for one, and what opens it. A life begins at eight in the morning, UTC.

use std::time::Duration;

use axum::http::StatusCode;
use boardkeeper::state::window::UPDATE_WINDOW_SETTING;
use boardkeeper::state::{App, Waiting};
use tokio::time::sleep;

use crate::clients::ApiCall;
use crate::scenario::{HOUR, MINUTE, Scenario, run_scenario, with};
use crate::world::CrashKind;
use crate::world::targets::app;

/// An app of one service with this window.
fn web(version: u32, window: &str) -> App {
    app(1, [("web", with(&format!("r/web:{version}"), |it| it.update_window = Some(window.parse().unwrap())))])
}

/// The first release runs; the second is here and waits.
async fn waits(scenario: &Scenario, window: &str) {
    scenario.settles().await;
    scenario.writes([web(2, window)]);
    sleep(5 * MINUTE).await;
    assert_eq!(scenario.images(), ["r/web:1"], "\n{}", scenario.sim.trace());
}

/// What the agent says that it waits for.
fn told(scenario: &Scenario) -> Vec<String> {
    scenario.sim.with(|model| {
        let status = model.status.as_ref().unwrap().borrow();
        status.waiting.iter().filter(|it| matches!(it, Waiting::Window(..))).map(ToString::to_string).collect()
    })
}

#[test]
fn an_update_is_downloaded_and_goes_on_when_its_window_opens() {
    let window = "10:00-11:00";
    run_scenario(&[web(1, window)], async |scenario| {
        waits(scenario, window).await;
        assert_eq!(told(scenario), ["1/web waits for the update window `10:00-11:00`, which opens at 2027-01-15T10:00:00Z"]);
        let here = scenario.sim.with(|model| model.status.as_ref().unwrap().borrow().update_downloaded);
        assert!(here, "it is downloaded meanwhile");
        let opens = scenario.sim.with(|model| 1_800_007_200 - model.now_secs());
        sleep(Duration::from_secs(u64::try_from(opens - 2).unwrap())).await;
        assert_eq!(scenario.images(), ["r/web:1"]);
        sleep(MINUTE).await;
        assert_eq!(scenario.images(), ["r/web:2"]);
        scenario.settles().await;
    });
}

#[test]
fn the_first_installation_and_a_crash_wait_for_no_window() {
    let window = "10:00-11:00";
    run_scenario(&[web(1, window)], async |scenario| {
        scenario.settles().await;
        let id = scenario.sim.with(|model| model.engine.ours().next().unwrap().view.id.clone());
        scenario.sim.with(|model| model.exits(&id, 1));
        sleep(MINUTE).await;
        assert_eq!(scenario.alive(), ["web"]);
        scenario.settles().await;
    });
}

#[test]
fn a_clock_that_is_set_into_the_window_or_out_of_it_counts_at_once() {
    let window = "10:00-11:00";
    run_scenario(&[web(1, window)], async |scenario| {
        waits(scenario, window).await;
        // Past it, to the day after.
        scenario.sim.with(|model| model.skew(4 * 3600));
        sleep(Duration::from_secs(5)).await;
        assert!(told(scenario)[0].ends_with("opens at 2027-01-16T10:00:00Z"), "{:?}", told(scenario));
        assert_eq!(scenario.images(), ["r/web:1"]);
        scenario.sim.with(|model| model.skew(2 * 3600));
        sleep(MINUTE).await;
        assert_eq!(scenario.images(), ["r/web:2"]);
    });
}

#[test]
fn a_clock_that_was_never_set_opens_no_window_and_force_goes_on() {
    let window = "00:00-24:00";
    run_scenario(&[web(1, "always")], async |scenario| {
        scenario.settles().await;
        scenario.sim.with(|model| model.skew(-1_799_999_000));
        scenario.writes([web(2, window)]);
        sleep(5 * MINUTE).await;
        assert!(told(scenario)[0].contains("opens when the clock is set"), "{:?}", told(scenario));
        assert_eq!(scenario.images(), ["r/web:1"]);
        scenario.answers(&ApiCall::update(true), StatusCode::NO_CONTENT).await;
        sleep(MINUTE).await;
        assert_eq!(scenario.images(), ["r/web:2"]);
        scenario.writes([web(3, window)]);
        sleep(5 * MINUTE).await;
        assert_eq!(scenario.images(), ["r/web:2"]);
        scenario.sim.with(|model| model.skew(0));
        sleep(MINUTE).await;
        assert_eq!(scenario.images(), ["r/web:3"]);
    });
}

#[test]
fn an_update_on_reboot_is_applied_by_the_first_start_in_a_boot() {
    run_scenario(&[web(1, "reboot")], async |scenario| {
        waits(scenario, "reboot").await;
        scenario.sim.with(|model| model.crash(CrashKind::Crash));
        sleep(5 * MINUTE).await;
        assert_eq!(scenario.images(), ["r/web:1"], "it is no boot");
        scenario.sim.with(|model| model.crash(CrashKind::Reboot));
        sleep(2 * MINUTE).await;
        assert_eq!(scenario.images(), ["r/web:2"]);
        scenario.settles().await;
        // The window is closed again.
        scenario.writes([web(3, "reboot")]);
        sleep(20 * MINUTE).await;
        assert_eq!(scenario.images(), ["r/web:2"]);
    });
}

#[test]
fn an_update_on_reboot_is_finished_by_the_next_agent_of_the_same_boot() {
    run_scenario(&[web(1, "reboot")], async |scenario| {
        waits(scenario, "reboot").await;
        scenario.sim.with(|model| model.crash(CrashKind::Power));
        scenario.until(|model| model.locks.are_taken()).await;
        scenario.sim.with(|model| model.crash(CrashKind::Crash));
        sleep(2 * MINUTE).await;
        assert_eq!(scenario.images(), ["r/web:2"]);
        scenario.settles().await;
    });
}

#[test]
fn the_window_of_the_device_is_for_services_without_one() {
    let plain = |version: u32| app(1, [("web", with(&format!("r/web:{version}"), |_| ()))]);
    run_scenario(&[plain(1)], async |scenario| {
        scenario.settles().await;
        scenario.sim.with(|model| {
            let window = ("10:00-11:00 Sim/Utc".to_owned(), UPDATE_WINDOW_SETTING.to_owned());
            model.targets.wanted.config.insert(window.1, window.0);
        });
        scenario.writes([plain(2)]);
        sleep(HOUR / 2).await;
        assert_eq!(scenario.images(), ["r/web:1"]);
        scenario.sim.with(|model| model.targets.wanted.config.clear());
        scenario.writes([plain(2)]);
        sleep(2 * MINUTE).await;
        assert_eq!(scenario.images(), ["r/web:2"]);
    });
}

#[test]
fn a_zone_that_the_host_does_not_know_opens_no_window() {
    let window = "00:00-24:00 No/Where";
    run_scenario(&[web(1, window)], async |scenario| {
        waits(scenario, window).await;
        assert!(
            told(scenario)[0].ends_with("which does not open: `No/Where` is no zone of this world"),
            "{:?}",
            told(scenario)
        );
    });
}

#[test]
fn a_restart_outside_the_window_restarts_what_is_there() {
    let window = "10:00-11:00";
    run_scenario(&[web(1, window)], async |scenario| {
        waits(scenario, window).await;
        scenario.answers(&ApiCall::restart(1, false), StatusCode::OK).await;
        assert_eq!((scenario.images(), scenario.begun("restart 1/web")), (vec!["r/web:1".to_owned()], 1));
        scenario.answers(&ApiCall::stop_app(1, false), StatusCode::OK).await;
        assert_eq!(scenario.images(), Vec::<String>::new());
    });
}
