//! Named lives with a cloud.

use std::time::Duration;

use axum::http::StatusCode;
use boardkeeper::state::cloud::{Pinning, PollOutcome, ReportValue};
use tokio::time::{Instant, sleep};

use crate::clients::ApiCall;
use crate::scenario::{HOUR, MINUTE, Scenario, release, run_cloud_scenario, run_prepared};
use crate::world::cloud::RequestFate;
use crate::world::crashes::CrashPoint;
use crate::world::document::misread;
use crate::world::rng::Rng;
use crate::world::targets::TargetSource;
use crate::world::{CrashKind, Model};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Lives with a cloud judge the device by the model's target, and the device knows only the document made from it.
#[test]
fn documents_of_the_cloud_say_what_the_model_means() {
    for seed in 0..50 {
        let mut source = TargetSource::new(Rng::of(seed, "owner"));
        source.reboots = true;
        source.begin();
        for _ in 0..20 {
            let (what, _) = source.change();
            assert_eq!(misread(&source.wanted), None, "{seed}: {what}");
        }
    }
}

/// A report that is refused as a whole leads to a poll that tells whether the device was deleted.
#[test]
fn a_device_that_was_deleted_learns_of_it_from_its_next_report() {
    run_cloud_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        sleep(MINUTE).await;
        scenario.sim.with(|model| {
            model.cloud.frozen_until = Some(Instant::now() + DAY);
            model.move_away();
        });
        let deleted = Instant::now();
        scenario.until(|model| last_answer(model) == Some(PollOutcome::Gone)).await;
        assert!(deleted.elapsed() < 5 * MINUTE, "{:?}", deleted.elapsed());
        assert_eq!(scenario.alive().len(), 3);
    });
}

/// The last answer to a poll.
fn last_answer(model: &Model) -> Option<PollOutcome> {
    let status = model.cloud.status.as_ref()?.borrow();
    status.polling.last.clone().map(|(_, outcome)| outcome)
}

/// Polls so far, and those among them that asked for the whole target.
fn polls(model: &Model) -> (usize, usize) {
    let polls = &model.cloud.polls;
    (polls.len(), polls.iter().filter(|(_, has_etag)| !has_etag).count())
}

impl Scenario {
    fn runs(&self, image: &str) -> bool {
        self.images().iter().any(|it| it == image)
    }
}

/// balena-supervisor#1193: an answer that is lost must not end in two devices.
#[test]
fn a_registration_whose_answer_is_lost_ends_in_one_device() {
    run_cloud_scenario(&release(1), async |scenario| {
        scenario.sim.with(|model| model.cloud.fates.push_back(RequestFate::Lost));
        scenario.settles().await;
        assert_eq!(scenario.sim.with(|model| model.cloud.devices.len()), 1);
    });
}

/// A device of `balena device register`, whose config.json has its uuid only, becomes this device.
#[test]
fn a_device_that_was_registered_beforehand_takes_this_devices_key() {
    let prepare = |model: &mut Model| {
        model.follow_cloud(15 * MINUTE);
        model.register_beforehand();
    };
    run_prepared(1, prepare, &release(1), async |scenario| {
        scenario.settles().await;
        assert_eq!(scenario.sim.with(|model| model.cloud.devices.len()), 1);
    });
}

/// The same wherever the agent is killed, or the power goes, until it is registered. A second device is a violation.
#[test]
fn a_cut_at_any_moment_of_the_registration_ends_in_one_device() {
    for (after, cut) in (1..60).flat_map(|after| [(after, CrashKind::Crash), (after, CrashKind::Power)]) {
        run_cloud_scenario(&release(1), async |scenario| {
            scenario.sim.with(|model| model.crash_point = CrashPoint::AfterPoll(after, cut));
            scenario.until(|model| last_answer(model) == Some(PollOutcome::New)).await;
            assert_eq!(scenario.sim.with(|model| model.cloud.devices.len()), 1);
        });
    }
}

/// A preloaded device that is to be pinned on its release, whose fleet has moved on. The model checks that it does not
/// poll before it is pinned, and that it is not pinned again afterwards.
#[test]
fn a_preloaded_device_is_pinned_before_it_hears_of_a_newer_release_wherever_it_is_cut() {
    let prepare = |model: &mut Model| {
        model.follow_cloud(15 * MINUTE);
        let [app] = release(1);
        model.preload(app, true);
    };
    // What has happened when the polls are counted from which the agent is cut.
    let moments: [fn(&Model) -> bool; 3] =
        [|_| true, |model| !model.cloud.devices.is_empty(), |model| model.cloud.pins.asked > 0];
    let cuts = moments.into_iter().flat_map(|moment| (0..48).step_by(3).map(move |after| (moment, after)));
    for ((moment, after), cut) in cuts.zip([CrashKind::Crash, CrashKind::Power].into_iter().cycle()) {
        run_prepared(1, prepare, &release(2), async |scenario| {
            scenario.until(moment).await;
            scenario.sim.with(|model| model.crash_point = CrashPoint::AfterPoll(model.polls + after, cut));
            scenario.until(|model| last_answer(model) == Some(PollOutcome::New)).await;
            scenario.settles().await;
            assert!(scenario.runs("r/web:1") && !scenario.runs("r/web:2"), "{after}");
            let asked = scenario.sim.with(|model| {
                assert_eq!((model.cloud.pins.pinned, &model.disk.kept.pin, &model.targets.preload), (Some(1), &None, &None));
                model.cloud.pins.asked
            });
            scenario.sim.with(|model| model.crash(cut));
            sleep(MINUTE).await;
            assert_eq!(scenario.sim.with(|model| model.cloud.pins.asked), asked);
        });
    }
}

/// An answer that is lost leaves it open whether the device is pinned.
#[test]
fn a_preloaded_device_whose_pins_answer_is_lost_asks_again() {
    let prepare = |model: &mut Model| {
        model.follow_cloud(15 * MINUTE);
        let [app] = release(1);
        model.preload(app, true);
        model.cloud.pins.lost_answers = 2;
    };
    run_prepared(1, prepare, &release(2), async |scenario| {
        scenario.until(|model| last_answer(model) == Some(PollOutcome::New)).await;
        assert_eq!(scenario.sim.with(|model| model.cloud.pins.asked), 3);
        scenario.settles().await;
        assert!(scenario.runs("r/web:1"));
    });
}

/// The device says so, and follows its fleet.
#[test]
fn a_preloaded_device_whose_release_the_cloud_does_not_have_follows_its_fleet() {
    let prepare = |model: &mut Model| {
        model.follow_cloud(15 * MINUTE);
        let [app] = release(1);
        model.preload(app, false);
    };
    run_prepared(1, prepare, &release(2), async |scenario| {
        scenario.until(|model| last_answer(model) == Some(PollOutcome::New)).await;
        scenario.settles().await;
        assert!(scenario.runs("r/web:2") && !scenario.runs("r/web:1"));
        let said = scenario.sim.with(|model| model.cloud.status.as_ref().unwrap().borrow().pin.clone());
        let Pinning::Refused { commit, why } = said else { panic!("{said:?}") };
        assert!(commit == "c1" && why.contains("fleet 1"), "{why}");
        assert_eq!(scenario.sim.with(|model| model.disk.kept.pin.clone()), None);
    });
}

/// balena-supervisor#2039: the ETag is kept with the target.
#[test]
fn an_agent_that_is_started_again_does_not_fetch_its_target_again() {
    run_cloud_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        for cut in [CrashKind::Crash, CrashKind::Power, CrashKind::Reboot] {
            let before = scenario.sim.with(|model| polls(model).0);
            scenario.sim.with(|model| model.crash(cut));
            sleep(MINUTE).await;
            scenario.until(|model| polls(model).0 > before).await;
            scenario.settles().await;
        }
        assert_eq!(scenario.sim.with(|model| polls(model).1), 1);
    });
}

#[test]
fn a_cloud_that_answers_304_to_a_stale_etag_is_found_out_within_a_day() {
    run_cloud_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        scenario.sim.with(|model| model.cloud.stale_etags = true);
        scenario.writes(release(2));
        sleep(2 * HOUR).await;
        assert!(scenario.runs("r/web:1"));
        sleep(DAY).await;
        assert!(scenario.runs("r/web:2"));
    });
}

/// balena-supervisor#1921: neither polls nor anything else come early, nor an interval late. The model checks the former.
#[test]
fn a_cloud_that_asks_to_wait_is_asked_again_right_after() {
    run_cloud_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        scenario.writes(release(2));
        scenario.sim.with(|model| model.cloud.fates.extend([RequestFate::Busy; 3]));
        scenario.answers(&ApiCall::update(false), StatusCode::NO_CONTENT).await;
        // One in the mean time does not shorten the wait.
        sleep(Duration::from_secs(5)).await;
        scenario.answers(&ApiCall::update(false), StatusCode::NO_CONTENT).await;
        let asked = Instant::now();
        scenario.until(|model| last_answer(model) == Some(PollOutcome::New)).await;
        assert!(asked.elapsed() < 8 * MINUTE, "{:?}", asked.elapsed());
        scenario.settles().await;
    });
}

/// balena-supervisor#1503: an update request looks at once, and the back-off of a cloud that failed does not hold it up.
#[test]
fn an_update_request_fetches_a_new_target_at_once() {
    run_cloud_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        scenario.sim.with(|model| model.cloud.fates.extend([RequestFate::Down; 6]));
        sleep(40 * MINUTE).await;
        scenario.sim.with(|model| model.cloud.fates.clear());
        scenario.writes(release(2));
        let asked = Instant::now();
        scenario.answers(&ApiCall::update(false), StatusCode::NO_CONTENT).await;
        scenario.until(|model| last_answer(model) == Some(PollOutcome::New)).await;
        assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
        scenario.settles().await;
        assert!(scenario.runs("r/web:2"));
    });
}

#[test]
fn a_device_that_the_cloud_does_not_have_runs_on_and_comes_back() {
    run_cloud_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        scenario.sim.with(|model| model.cloud.frozen_until = Some(Instant::now() + 2 * DAY));
        // With an ETag it cannot be told; the poll after logs that are refused has none.
        scenario.writes(release(2));
        let begun = Instant::now();
        while scenario.sim.with(|model| last_answer(model)) != Some(PollOutcome::Gone) {
            assert!(begun.elapsed() < 10 * MINUTE);
            sleep(MINUTE).await;
        }
        assert!(scenario.runs("r/web:1"));
        assert_eq!(scenario.alive().len(), 3);
        sleep(2 * DAY + HOUR).await;
        assert!(scenario.runs("r/web:2"));
        assert_eq!(scenario.sim.with(|model| last_answer(model)), Some(PollOutcome::Unchanged));
    });
}

#[test]
fn a_target_that_makes_no_sense_leaves_the_last_one_running() {
    run_cloud_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        scenario.sim.with(|model| model.targets.nonsense = true);
        sleep(HOUR).await;
        assert!(matches!(scenario.sim.with(|model| last_answer(model)), Some(PollOutcome::Rejected(_))));
        let rejected = scenario.sim.with(|model| model.status.as_ref().unwrap().borrow().rejected.clone());
        assert!(rejected.is_some_and(|it| it.contains("the cloud's target")));
        assert_eq!(scenario.alive().len(), 3);
        scenario.sim.with(|model| model.targets.nonsense = false);
        sleep(HOUR).await;
        scenario.settles().await;
        assert_eq!(scenario.sim.with(|model| model.status.as_ref().unwrap().borrow().rejected.clone()), None);
    });
}

/// balena-supervisor#1752: a part that is refused with 401 again and again holds up nothing else, and no request is repeated
/// for ever. The model counts how often the part is sent.
#[test]
fn a_report_that_is_refused_for_ever_is_taken_apart_and_told() {
    run_cloud_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        let [app] = release(2);
        scenario.sim.with(|model| model.cloud.refused_apps.insert(app.uuid.clone()));
        let before = scenario.sim.with(|model| polls(model));
        scenario.writes([app]);
        sleep(6 * HOUR).await;
        assert!(scenario.runs("r/web:2"));
        let (reporting, reports) = scenario.sim.with(|model| {
            let status = model.cloud.status.as_ref().unwrap().borrow();
            (status.reporting.clone(), model.cloud.reports)
        });
        assert!(reporting.refused.iter().any(|it| it.part.starts_with("app ")), "{reporting:?}");
        let (all, full) = scenario.sim.with(|model| polls(model));
        assert_eq!(full, before.1, "the device's own fields are accepted, so it is known that it is not deleted");
        assert!(all - before.0 < 50, "{} polls in six hours", all - before.0);
        assert!(reports < 400, "{reports} reports");
        scenario.sim.with(|model| model.cloud.refused_apps.clear());
        scenario.writes(release(3));
        sleep(HOUR).await;
        let status = scenario.sim.with(|model| model.cloud.status.as_ref().unwrap().borrow().reporting.clone());
        assert!(status.refused.is_empty(), "{status:?}");
    });
}

/// The key, the number and config.json are written again from what the cloud has.
#[test]
fn an_account_that_cannot_be_read_any_more_ends_in_the_same_device() {
    for config_json_has_it in [true, false] {
        run_cloud_scenario(&release(1), async |scenario| {
            scenario.settles().await;
            scenario.sim.with(|model| {
                model.disk.kept.account = None;
                if !config_json_has_it {
                    model.net.provisioned = None;
                }
                model.crash(CrashKind::Power);
            });
            sleep(MINUTE).await;
            scenario.settles().await;
            assert_eq!(scenario.sim.with(|model| model.cloud.devices.len()), 1);
            assert!(scenario.sim.with(|model| model.disk.kept.account.is_some() && model.net.provisioned.is_some()));
        });
    }
}

/// balena-supervisor#876: lines wait for as long as the cloud is away. The model checks each line.
#[test]
fn an_outage_of_the_cloud_costs_no_line_and_doubles_none() {
    run_cloud_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        let (before, _) = scenario.sim.with(|model| model.lines.counts());
        scenario.sim.with(|model| model.go_offline(true));
        sleep(6 * HOUR).await;
        let (printed, repeated) = scenario.sim.with(|model| model.lines.counts());
        assert!(printed > before + 5000, "{printed} lines");
        scenario.sim.with(|model| model.go_offline(false));
        scenario.settles().await;
        assert_eq!((repeated, scenario.sim.with(|model| model.lines.counts()).1), (0, 0));
    });
}

/// balena-supervisor#911: of the lines around the end of an agent none is lost, and none but those of one request is there
/// twice. After a power cut more may be: the durable cursors are an hour old.
#[test]
fn an_agent_that_is_killed_at_any_moment_loses_no_line_and_doubles_at_most_one_request() {
    for after in (0..12).map(|it| 1 + it * it * 7) {
        for cut in [CrashKind::Crash, CrashKind::Power] {
            run_cloud_scenario(&release(1), async |scenario| {
                scenario.settles().await;
                scenario.sim.with(|model| model.crash_point = CrashPoint::AfterPoll(model.polls + after, cut));
                sleep(5 * MINUTE).await;
                scenario.settles().await;
                let (printed, repeated) = scenario.sim.with(|model| model.lines.counts());
                assert!(cut == CrashKind::Power || repeated <= 50, "{repeated} of {printed} after {after}");
            });
        }
    }
}

/// As on every boot on which the engine takes longer than the agent: an engine that is not there yet has not removed anything.
#[test]
fn an_agent_that_starts_before_its_engine_goes_on_with_each_log_where_it_was() {
    run_cloud_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        for _ in 0..10 {
            sleep(5 * MINUTE).await;
            scenario.sim.with(|model| {
                model.engine_dies();
                model.crash(CrashKind::Crash);
            });
            scenario.settles().await;
        }
        let (_, repeated) = scenario.sim.with(|model| model.lines.counts());
        assert!(repeated <= 50, "{repeated}");
    });
}

/// A lost answer is all that it takes: the cloud has no way to recognise a line.
#[test]
fn lines_whose_answer_is_lost_are_sent_once_more_and_no_others() {
    run_cloud_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        scenario.sim.with(|model| model.cloud.fates.extend([RequestFate::Lost; 2]));
        sleep(10 * MINUTE).await;
        scenario.settles().await;
        let (_, repeated) = scenario.sim.with(|model| model.lines.counts());
        assert!((1..=100).contains(&repeated), "{repeated}");
    });
}

/// balena-supervisor#1540: the last report says that the device goes down, and the first one after it that it is back.
#[test]
fn the_cloud_learns_of_a_reboot_before_it_and_after_it() {
    let said =
        |model: &Model, word: &str| model.cloud.reported.fields.get("status") == Some(&ReportValue::Text(word.to_owned()));
    run_cloud_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        sleep(MINUTE).await;
        scenario.answers(&ApiCall::reboot(false), StatusCode::ACCEPTED).await;
        scenario.until(|model| model.shutdown_since.is_some()).await;
        let begun = Instant::now();
        scenario.until(|model| said(model, "Stopping")).await;
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        assert!(scenario.sim.with(|model| model.shutdown_since.is_some()), "the cloud has it before the machine is down");
        scenario.until(|model| model.shutdown_since.is_none()).await;
        scenario.settles().await;
        assert!(scenario.sim.with(|model| said(model, "Idle")));
    });
}

/// The number of an app may change, and its uuid stay.
#[test]
fn an_app_with_another_number_and_the_same_uuid_takes_its_place() {
    for (before, after) in [(7, 8), (8, 7)] {
        run_cloud_scenario(&[], async |scenario| {
            let numbered = |number: u32| {
                let [mut app] = release(1);
                (app.id, app.uuid) = (boardkeeper::state::AppId(number), "5eed".repeat(8));
                [app]
            };
            scenario.writes(numbered(before));
            scenario.settles().await;
            assert_eq!(scenario.alive().len(), 3);
            scenario.writes(numbered(after));
            scenario.settles().await;
            assert_eq!(scenario.alive().len(), 3);
        });
    }
}
