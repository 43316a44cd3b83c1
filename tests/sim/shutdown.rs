//! The machine shuts down at any moment of an update: after the boot everything is as the target says, nothing exists twice,
//! nothing half-made was started twice, and no lock is lost.

use std::time::Duration;

use axum::http::StatusCode;
use boardkeeper::state::service::Strategy;
use boardkeeper::state::{App, AppId, ServiceKey};
use tokio::time::sleep;

use crate::clients::ApiCall;
use crate::scenario::{HOUR, MINUTE, Scenario, release, revision, run_scenario, run_scenario_with_seed, web};
use crate::world::Model;
use crate::world::crashes::{CrashKind, CrashPoint};
use crate::world::locks::Holder;
use crate::world::targets::{app, service};

/// The app of a release, and another whose service holds its lock all the time.
fn apps(version: u32) -> [App; 2] {
    let [app_1] = release(version);
    [app_1, app(2, [("db", service(&format!("r/other:{version}")))])]
}

fn other() -> ServiceKey {
    ServiceKey::new(AppId(2), "db")
}

/// Plays an update, and something at each of its moments in turn, until there are no more.
fn at_any_moment(happens: &impl AsyncFn(&Scenario)) {
    for after in 1.. {
        let mut comes = false;
        run_scenario(&release(1), async |scenario| {
            scenario.settles().await;
            scenario.writes(release(2));
            comes = scenario.comes_to(after).await;
            if comes {
                happens(scenario).await;
                scenario.settles().await;
                scenario.sim.with(|model| nothing_is_twice(model));
            }
        });
        if !comes {
            assert!(after > 60, "an update of {after} moments shows nothing");
            break;
        }
    }
}

/// Each service has one container, and no agent started one more than once: those that ran are the engine's to start again.
fn nothing_is_twice(model: &Model) {
    assert_eq!(model.engine.ours().count(), 3);
    for it in model.engine.ours() {
        assert!(it.started <= 1, "{} was started {} times", it.view.key, it.started);
    }
    assert!(!model.locks.are_taken());
}

#[test]
fn another_program_shuts_the_machine_down_at_any_moment_of_an_update() {
    at_any_moment(&async |scenario| {
        scenario.sim.with(Model::begin_shutdown);
        sleep(MINUTE).await;
    });
}

/// Seed 22977: a container that was asked about before it was killed was killed when the answer came, whatever had happened
/// meanwhile.
#[test]
fn nothing_is_killed_for_an_image_after_the_end_has_begun() {
    for seed in 0..20 {
        run_scenario_with_seed(seed, &[web(1, Strategy::KillThenDownload)], async |scenario| {
            scenario.settles().await;
            scenario.writes([web(2, Strategy::KillThenDownload)]);
            scenario.until(|model| model.locks.are_taken()).await;
            sleep(Duration::from_millis(50 * seed)).await;
            scenario.sim.with(Model::begin_shutdown);
            scenario.settles().await;
        });
    }
}

#[test]
fn a_reboot_is_asked_for_at_any_moment_of_an_update() {
    at_any_moment(&async |scenario| {
        let boot = scenario.sim.with(|model| model.boot_id());
        scenario.answers(&ApiCall::reboot(false), StatusCode::ACCEPTED).await;
        sleep(MINUTE).await;
        assert_ne!(scenario.sim.with(|model| model.boot_id()), boot, "202, and no reboot");
    });
}

#[test]
fn an_end_that_is_called_off_at_any_moment_of_an_update_changes_nothing() {
    at_any_moment(&async |scenario| {
        scenario.sim.with(Model::begin_shutdown);
        sleep(Duration::from_millis(900)).await;
        let boot = scenario.sim.with(|model| {
            model.stay_up();
            model.boot_id()
        });
        sleep(MINUTE).await;
        assert_eq!(scenario.sim.with(|model| model.boot_id()), boot);
    });
}

#[test]
fn a_lock_that_a_service_holds_outlives_an_end_that_is_called_off() {
    run_scenario(&apps(1), async |scenario| {
        scenario.settles().await;
        scenario.sim.with(|model| model.locks.held.insert(other(), Holder::User(0)));
        for after in 1..40 {
            scenario.writes(apps(1 + u32::try_from(after).unwrap() % 2));
            scenario.sim.moment(after).await;
            scenario.sim.with(Model::begin_shutdown);
            sleep(Duration::from_secs(1)).await;
            scenario.sim.with(Model::stay_up);
            sleep(MINUTE).await;
            let held = scenario.sim.with(|model| model.locks.held.clone());
            assert_eq!(held.get(&other()), Some(&Holder::User(0)), "{held:?}");
            assert!(scenario.images().contains(&"r/other:1".to_owned()));
        }
        scenario.answers(&ApiCall::reboot(false), StatusCode::LOCKED).await;
        scenario.sim.with(|model| model.unlock(&other()));
        scenario.settles().await;
        assert!(scenario.sim.with(|model| model.locks.held.is_empty()));
    });
}

#[test]
fn the_power_goes_at_any_await_of_an_update() {
    cut_at_any_await(CrashKind::Power);
}

#[test]
fn the_agent_is_killed_at_any_await_of_an_update() {
    cut_at_any_await(CrashKind::Crash);
}

fn cut_at_any_await(cut: CrashKind) {
    for after in 1.. {
        let mut fell = false;
        run_scenario(&release(1), async |scenario| {
            scenario.settles().await;
            scenario.sim.with(|model| model.crash_point = CrashPoint::AfterPoll(model.polls + after, cut));
            scenario.writes(release(2));
            scenario.settles().await;
            scenario.sim.with(|model| {
                fell = model.crash_point == CrashPoint::None;
                nothing_is_twice(model);
            });
        });
        if !fell {
            assert!(after > 60, "an update of {after} awaits shows nothing");
            break;
        }
    }
}

/// Seed 927460: what an agent had begun to kill for a target that was not the last one counted as there for what depends on it.
#[test]
fn nothing_is_started_on_what_is_being_killed() {
    let apps = |rev: &str| {
        let mut web = revision("r/web:1", rev);
        web.depends_on.insert("db".into(), boardkeeper::state::Dependency::default());
        web.strategy = Strategy::HandOver;
        [app(1, [("db", revision("r/db:1", rev)), ("web", web)])]
    };
    for seed in 0..20 {
        run_scenario_with_seed(seed, &apps("1"), async |scenario| {
            scenario.settles().await;
            scenario.sim.with(|model| model.disk.full = true);
            scenario.writes(apps("2"));
            scenario.until(|model| model.engine.ours().any(|it| it.view.name.starts_with("old_"))).await;
            scenario.sim.with(|model| model.crash(CrashKind::Crash));
            scenario.settles().await;
        });
    }
}

#[test]
fn the_led_is_put_back_wherever_an_identify_is_cut_off() {
    for after in 1.. {
        let mut fell = false;
        run_scenario(&[app(1, [("web", service("r/web:1"))])], async |scenario| {
            scenario.settles().await;
            scenario.sim.with(|model| model.crash_point = CrashPoint::AfterPoll(model.polls + after, CrashKind::Crash));
            scenario.send(&ApiCall::blink(), MINUTE).await;
            sleep(HOUR / 60).await;
            fell = scenario.sim.with(|model| model.crash_point == CrashPoint::None);
            scenario.settles().await;
        });
        if !fell {
            assert!(after > 5, "an identify of {after} awaits shows nothing");
            break;
        }
    }
}

#[test]
fn an_end_that_comes_while_the_agent_is_dead_comes_all_the_same() {
    run_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        let before = scenario.sim.with(|model| model.boot_id());
        scenario.sim.with(|model| {
            model.crash(CrashKind::Reboot);
            model.crash(CrashKind::Crash);
        });
        sleep(MINUTE).await;
        scenario.settles().await;
        assert_ne!(scenario.sim.with(|model| model.boot_id()), before);
    });
}
