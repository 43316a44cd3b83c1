//! Named lives about leases: what they hold up, and what ends them.

use std::time::Duration;

use axum::http::StatusCode;
use tokio::time::sleep;

use crate::clients::ApiCall;
use crate::scenario::{MINUTE, Scenario, release, run_scenario};
use crate::world::CrashKind;

const OLD: [&str; 3] = ["r/db:1", "r/mail:1", "r/web:1"];
const NEW: [&str; 3] = ["r/db:2", "r/mail:2", "r/web:2"];

/// A program leases the app for ten minutes, and a release comes a minute later.
async fn update_under_a_lease(scenario: &Scenario) {
    scenario.settles().await;
    scenario.answers(&ApiCall::lease(1, "recorder", 600), StatusCode::OK).await;
    scenario.writes(release(2));
    sleep(MINUTE).await;
    assert_eq!(scenario.images(), OLD);
}

#[test]
fn an_update_goes_on_when_the_lease_ends_by_itself() {
    run_scenario(&release(1), async |scenario| {
        update_under_a_lease(scenario).await;
        sleep(8 * MINUTE).await;
        assert_eq!(scenario.images(), OLD);
        sleep(MINUTE + MINUTE / 2).await;
        assert_eq!(scenario.images(), NEW);
        scenario.settles().await;
    });
}

#[test]
fn an_update_goes_on_at_once_when_the_lease_is_given_back() {
    run_scenario(&release(1), async |scenario| {
        update_under_a_lease(scenario).await;
        scenario.answers(&ApiCall::end_lease(1, "recorder"), StatusCode::NO_CONTENT).await;
        sleep(MINUTE).await;
        assert_eq!(scenario.images(), NEW);
        scenario.settles().await;
    });
}

#[test]
fn a_lease_is_renewed_by_its_owner_and_another_owner_has_one_beside_it() {
    run_scenario(&release(1), async |scenario| {
        update_under_a_lease(scenario).await;
        for _ in 0..5 {
            scenario.answers(&ApiCall::lease(1, "recorder", 300), StatusCode::OK).await;
            sleep(4 * MINUTE).await;
        }
        scenario.answers(&ApiCall::lease(1, "backup", 600), StatusCode::OK).await;
        scenario.answers(&ApiCall::end_lease(1, "recorder"), StatusCode::NO_CONTENT).await;
        sleep(9 * MINUTE).await;
        assert_eq!(scenario.images(), OLD);
        sleep(2 * MINUTE).await;
        assert_eq!(scenario.images(), NEW);
    });
}

#[test]
fn requests_are_refused_under_a_lease_unless_they_force() {
    run_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        scenario.answers(&ApiCall::lease(1, "recorder", 600), StatusCode::OK).await;
        for refused in [
            ApiCall::restart(1, false),
            ApiCall::purge(1, false),
            ApiCall::stop(1, "web", false),
            ApiCall::start_anew(1, "web", false),
            ApiCall::reboot(false),
            ApiCall::power_off(false),
            ApiCall::name_host("kitchen", false),
        ] {
            scenario.answers(&refused, StatusCode::LOCKED).await;
        }
        scenario.answers(&ApiCall::restart(1, true), StatusCode::OK).await;
        scenario.settles().await;
        // The lease goes on.
        scenario.answers(&ApiCall::restart(1, false), StatusCode::LOCKED).await;
        scenario.answers(&ApiCall::reboot(true), StatusCode::ACCEPTED).await;
        sleep(MINUTE).await;
        scenario.settles().await;
        // It ended with the boot.
        scenario.answers(&ApiCall::restart(1, false), StatusCode::OK).await;
    });
}

#[test]
fn a_forced_update_goes_on_under_a_lease() {
    run_scenario(&release(1), async |scenario| {
        update_under_a_lease(scenario).await;
        scenario.answers(&ApiCall::update(true), StatusCode::NO_CONTENT).await;
        sleep(2 * MINUTE).await;
        assert_eq!(scenario.images(), NEW);
        scenario.settles().await;
    });
}

#[test]
fn a_lease_outlives_the_agent_and_no_boot() {
    for (cut, images) in [(CrashKind::Crash, OLD), (CrashKind::Power, NEW), (CrashKind::Reboot, NEW)] {
        run_scenario(&release(1), async |scenario| {
            update_under_a_lease(scenario).await;
            scenario.sim.with(|model| model.crash(cut));
            sleep(5 * MINUTE).await;
            assert_eq!(scenario.images(), images, "{cut:?}");
            sleep(5 * MINUTE).await;
            assert_eq!(scenario.images(), NEW, "{cut:?}");
            scenario.settles().await;
        });
    }
}

#[test]
fn setting_the_clock_changes_no_lease() {
    for skew in [3600, -3600] {
        run_scenario(&release(1), async |scenario| {
            update_under_a_lease(scenario).await;
            scenario.sim.with(|model| model.skew(skew));
            sleep(8 * MINUTE).await;
            assert_eq!(scenario.images(), OLD, "{skew}");
            sleep(2 * MINUTE).await;
            assert_eq!(scenario.images(), NEW, "{skew}");
        });
    }
}

/// As no lock file can be made then.
#[test]
fn no_lease_is_granted_while_the_app_is_being_changed() {
    run_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        scenario.writes(release(2));
        scenario.until(|model| model.locks.are_taken()).await;
        scenario.answers(&ApiCall::lease(1, "recorder", 600), StatusCode::LOCKED).await;
        scenario.settles().await;
        assert_eq!(scenario.images(), NEW);
        scenario.answers(&ApiCall::lease(1, "recorder", 1), StatusCode::OK).await;
    });
}

/// At every moment of an update it is granted and nothing is disturbed from then on, or it is refused.
#[test]
fn a_lease_at_any_moment_of_an_update_is_kept_or_refused() {
    let mut after = 1;
    let mut statuses = std::collections::BTreeSet::new();
    loop {
        let mut came = false;
        run_scenario(&release(1), async |scenario| {
            scenario.settles().await;
            scenario.writes(release(2));
            came = scenario.comes_to(after).await;
            statuses.insert(scenario.send(&ApiCall::lease(1, "recorder", 300), Duration::from_secs(60)).await);
            sleep(6 * MINUTE).await;
            scenario.settles().await;
            assert_eq!(scenario.images(), NEW);
        });
        if !came {
            break;
        }
        after += 1;
    }
    assert_eq!(statuses, [Some(StatusCode::OK), Some(StatusCode::LOCKED)].into());
}
