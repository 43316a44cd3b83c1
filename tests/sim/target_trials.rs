//! Named lives in which a person has a target tried: when the device returns, and to what.

use std::time::Duration;

use axum::http::StatusCode;
use boardkeeper::state::history::{HistoryAction, HistoryEntry};
use tokio::time::sleep;

use crate::clients::ApiCall;
use crate::scenario::{HOUR, MINUTE, Scenario, release, run_cloud_scenario, run_scenario};
use crate::world::CrashKind;
use crate::world::crashes::CrashPoint;

const PRESENT: [&str; 3] = ["r/db:1", "r/mail:1", "r/web:1"];
const NEWER: [&str; 3] = ["r/db:2", "r/mail:2", "r/web:2"];
const TRIED: [&str; 2] = ["r/db:tried1", "r/web:tried1"];

/// Whether exactly these images run.
fn run(scenario: &Scenario, images: &[&str]) -> bool {
    scenario.images() == images
}

/// These images run within ten minutes.
async fn comes(scenario: &Scenario, images: &[&str]) {
    for _ in 0..600 {
        if run(scenario, images) {
            return;
        }
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(scenario.images(), images, "\n{}", scenario.sim.trace());
}

async fn tries(scenario: &Scenario, version: u64, seconds: u64) {
    scenario.answers(&ApiCall::try_target(version, seconds), StatusCode::OK).await;
}

/// Whether something is on trial or kept, as the agent says.
fn is_tried(scenario: &Scenario) -> bool {
    scenario.sim.with(|model| model.status.as_ref().is_some_and(|it| it.borrow().target_trial.is_some()))
}

#[test]
fn a_target_on_trial_gives_way_by_itself_without_a_pull() {
    run_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        tries(scenario, 1, 1200).await;
        comes(scenario, &TRIED).await;
        sleep(10 * MINUTE).await;
        assert!(run(scenario, &TRIED) && is_tried(scenario));
        let pulls = scenario.begun("pull r/web:1");
        sleep(10 * MINUTE).await;
        comes(scenario, &PRESENT).await;
        scenario.settles().await;
        assert!(!is_tried(scenario));
        assert_eq!(scenario.begun("pull r/web:1"), pulls, "\n{}", scenario.sim.trace());
        sleep(2 * HOUR).await;
        assert!(run(scenario, &PRESENT));
    });
}

#[test]
fn a_kept_target_stays_over_reboots_until_the_source_gives_another() {
    run_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        tries(scenario, 1, 600).await;
        comes(scenario, &TRIED).await;
        scenario.answers(&ApiCall::keep_target(), StatusCode::OK).await;
        for cut in [CrashKind::Power, CrashKind::Crash, CrashKind::Power] {
            sleep(HOUR).await;
            assert!(run(scenario, &TRIED), "\n{}", scenario.sim.trace());
            scenario.sim.with(|model| model.crash(cut));
        }
        sleep(HOUR).await;
        comes(scenario, &TRIED).await;
        scenario.answers(&ApiCall::keep_target(), StatusCode::CONFLICT).await;
        scenario.writes(release(2));
        comes(scenario, &NEWER).await;
        scenario.settles().await;
        assert!(!is_tried(scenario));
        scenario.sim.with(|model| model.crash(CrashKind::Power));
        sleep(HOUR).await;
        comes(scenario, &NEWER).await;
    });
}

#[test]
fn a_cloud_s_target_is_accepted_beneath_a_trial_and_not_called_rejected() {
    run_cloud_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        tries(scenario, 1, 7200).await;
        comes(scenario, &TRIED).await;
        // It is polled some times.
        sleep(HOUR).await;
        let rejected = scenario.sim.with(|model| model.status.as_ref().and_then(|it| it.borrow().rejected.clone()));
        assert_eq!(rejected, None);
        let polling = scenario.sim.with(|model| model.cloud.status.as_ref().map(|it| format!("{:?}", it.borrow().polling)));
        assert!(!polling.clone().unwrap_or_default().contains("Rejected"), "{polling:?}");
        assert!(run(scenario, &TRIED), "\n{}", scenario.sim.trace());
        sleep(HOUR).await;
        comes(scenario, &PRESENT).await;
    });
}

#[test]
fn a_new_target_waits_for_the_end_of_the_trial_which_then_cannot_be_kept() {
    run_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        tries(scenario, 1, 1800).await;
        comes(scenario, &TRIED).await;
        scenario.writes(release(2));
        sleep(5 * MINUTE).await;
        assert!(run(scenario, &TRIED), "\n{}", scenario.sim.trace());
        let has_newer = scenario.sim.with(|model| {
            model.status.as_ref().is_some_and(|it| it.borrow().target_trial.as_ref().is_some_and(|it| it.has_newer))
        });
        assert!(has_newer);
        scenario.answers(&ApiCall::keep_target(), StatusCode::CONFLICT).await;
        scenario.sim.with(|model| model.crash(CrashKind::Power));
        sleep(30 * MINUTE).await;
        comes(scenario, &NEWER).await;
        scenario.settles().await;
    });
}

#[test]
fn a_second_trial_replaces_the_first_and_returns_to_the_original() {
    run_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        tries(scenario, 1, 600).await;
        comes(scenario, &TRIED).await;
        tries(scenario, 2, 1200).await;
        comes(scenario, &["r/db:tried2", "r/web:tried2"]).await;
        sleep(15 * MINUTE).await;
        assert!(run(scenario, &["r/db:tried2", "r/web:tried2"]));
        sleep(6 * MINUTE).await;
        comes(scenario, &PRESENT).await;
        // A trial over one that was kept returns to that.
        tries(scenario, 1, 600).await;
        comes(scenario, &TRIED).await;
        scenario.answers(&ApiCall::keep_target(), StatusCode::OK).await;
        tries(scenario, 2, 600).await;
        comes(scenario, &["r/db:tried2", "r/web:tried2"]).await;
        scenario.answers(&ApiCall::end_trial(), StatusCode::NO_CONTENT).await;
        comes(scenario, &TRIED).await;
        scenario.answers(&ApiCall::end_trial(), StatusCode::NO_CONTENT).await;
        comes(scenario, &PRESENT).await;
        scenario.answers(&ApiCall::end_trial(), StatusCode::CONFLICT).await;
        scenario.settles().await;
    });
}

#[test]
fn a_clock_that_is_wrong_after_a_reboot_neither_ends_a_trial_nor_makes_it_endless() {
    for skew in [-1_700_000_000, -86_400, 0, 86_400, 400_000_000] {
        run_scenario(&release(1), async |scenario| {
            scenario.settles().await;
            tries(scenario, 1, 1800).await;
            comes(scenario, &TRIED).await;
            scenario.sim.with(|model| model.skew(skew));
            sleep(MINUTE).await;
            assert!(run(scenario, &TRIED), "{skew}: the clock was set\n{}", scenario.sim.trace());
            scenario.sim.with(|model| {
                model.crash(CrashKind::Power);
                model.skew(skew / 2);
            });
            sleep(5 * MINUTE).await;
            assert!(run(scenario, &TRIED), "{skew}: after a reboot\n{}", scenario.sim.trace());
            // The board reboots again and again, and is up for less than a tenth of the trial each time.
            let mut boots = 0;
            while is_tried(scenario) {
                boots += 1;
                assert!(boots <= 12, "{skew}: it is endless\n{}", scenario.sim.trace());
                scenario.sim.with(|model| model.crash(CrashKind::Power));
                sleep(2 * MINUTE).await;
            }
            scenario.sim.with(|model| model.skew(0));
            comes(scenario, &PRESENT).await;
        });
    }
}

#[test]
fn a_target_that_ends_the_agent_again_and_again_is_returned_from() {
    run_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        // It is not reached before the agent ends.
        scenario.sim.with(|model| model.engine.observe_fails = true);
        tries(scenario, 1, 86_400).await;
        for _ in 0..7 {
            scenario.sim.with(|model| model.crash(CrashKind::Crash));
            sleep(MINUTE).await;
        }
        scenario.sim.with(|model| model.engine.observe_fails = false);
        comes(scenario, &PRESENT).await;
        assert!(!is_tried(scenario), "\n{}", scenario.sim.trace());
        let ends = scenario.sim.with(|model| model.trial_ends());
        assert!(ends.len() == 1 && ends[0].contains("ended 5 times in a row"), "{ends:?}");
    });
}

#[test]
fn the_history_says_why_a_trial_ended() {
    run_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        tries(scenario, 1, 600).await;
        sleep(11 * MINUTE).await;
        comes(scenario, &PRESENT).await;
        tries(scenario, 1, 600).await;
        comes(scenario, &TRIED).await;
        scenario.answers(&ApiCall::end_trial(), StatusCode::NO_CONTENT).await;
        comes(scenario, &PRESENT).await;
        sleep(MINUTE).await;
        let ends = scenario.sim.with(|model| model.trial_ends());
        assert_eq!(ends.len(), 2, "{ends:?}");
        assert_eq!(ends[0], "the trial of a target ended because it was not kept within 600 s");
        assert!(ends[1].starts_with("the trial of a target ended because a person ended it; asked for by"), "{ends:?}");
    });
}

#[test]
fn a_stopped_service_is_still_stopped_after_the_trial() {
    run_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        scenario.answers(&ApiCall::stop(1, "mail", false), StatusCode::OK).await;
        tries(scenario, 1, 600).await;
        comes(scenario, &TRIED).await;
        sleep(11 * MINUTE).await;
        comes(scenario, &["r/db:1", "r/web:1"]).await;
        sleep(HOUR).await;
        assert!(run(scenario, &["r/db:1", "r/web:1"]), "\n{}", scenario.sim.trace());
    });
}

#[test]
fn cuts_at_any_moment_leave_one_target_or_the_other() {
    for (after, cut) in (1..60).step_by(2).zip([CrashKind::Crash, CrashKind::Power].into_iter().cycle()) {
        for action in ["try", "keep", "back"] {
            run_scenario(&release(1), async |scenario| {
                scenario.settles().await;
                let call = match action {
                    "try" => ApiCall::try_target(1, 1200),
                    action => {
                        tries(scenario, 1, 1200).await;
                        comes(scenario, &TRIED).await;
                        if action == "keep" { ApiCall::keep_target() } else { ApiCall::end_trial() }
                    }
                };
                scenario.sim.with(|model| model.crash_point = CrashPoint::InCall(model.calls + after, cut));
                let answer = scenario.send(&call, MINUTE).await.is_some_and(|it| it.is_success());
                sleep(5 * MINUTE).await;
                let images = scenario.images();
                assert!(images == PRESENT || images == TRIED, "{action} {after} {cut:?}: {images:?}\n{}", scenario.sim.trace());
                // What was answered was done.
                let expected: &[&str] = if action == "back" { &PRESENT } else { &TRIED };
                assert!(!answer || images == expected, "{action} {after} {cut:?}: {images:?}\n{}", scenario.sim.trace());
                sleep(HOUR).await;
                let stays: &[&str] = if action == "keep" && is_tried(scenario) { &TRIED } else { &PRESENT };
                assert!(!(answer && action == "keep") || is_tried(scenario));
                assert!(run(scenario, stays), "{action} {after} {cut:?}: {:?}\n{}", scenario.images(), scenario.sim.trace());
            });
        }
    }
}

impl crate::world::Model {
    /// The ends of trials in the history, in words.
    fn trial_ends(&self) -> Vec<String> {
        let kept = self.disk.boot_history();
        let ends = kept.iter().filter(|it| it.action == HistoryAction::TrialEnded);
        ends.map(HistoryEntry::sentence).collect()
    }
}
