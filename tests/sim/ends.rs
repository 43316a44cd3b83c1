//! The machine shuts down at any moment of an update: after the boot everything is as the target says, nothing exists twice,
//! nothing half-made was started twice, and no lock is lost.

use std::time::Duration;

use axum::http::StatusCode;
use boardkeeper::state::service::Strategy;
use boardkeeper::state::{App, AppId, ServiceKey};
use tokio::time::sleep;

use crate::people::Press;
use crate::play::{HOUR, MINUTE, Play, release, revision, web, well, well_in};
use crate::world::Model;
use crate::world::cuts::{Cut, Doom};
use crate::world::locks::Holder;
use crate::world::owner::{app, service};

/// The app of a release, and another whose service holds its lock all the time.
fn apps(version: u32) -> [App; 2] {
    let [app_1] = release(version);
    [app_1, app(2, [("db", service(&format!("r/other:{version}")))])]
}

fn other() -> ServiceKey {
    ServiceKey::new(AppId(2), "db")
}

/// Plays an update, and something at each of its moments in turn, until there are no more.
fn at_any_moment(happens: &impl AsyncFn(&Play)) {
    for after in 1.. {
        let mut comes = false;
        well(&release(1), async |play| {
            play.settles().await;
            play.writes(release(2));
            comes = play.comes_to(after).await;
            if comes {
                happens(play).await;
                play.settles().await;
                play.sim.with(|model| nothing_is_twice(model));
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
    assert_eq!(model.machine.ours().count(), 3);
    for it in model.machine.ours() {
        assert!(it.started <= 1, "{} was started {} times", it.face.key, it.started);
    }
    assert!(!model.locks.are_taken());
}

#[test]
fn somebody_ends_the_machine_at_any_moment_of_an_update() {
    at_any_moment(&async |play| {
        play.sim.with(Model::begin_to_end);
        sleep(MINUTE).await;
    });
}

/// Seed 22977: a container that was asked about before it was killed was killed when the answer came, whatever had happened
/// meanwhile.
#[test]
fn nothing_is_killed_for_an_image_after_the_end_has_begun() {
    for seed in 0..20 {
        well_in(seed, &[web(1, Strategy::KillThenDownload)], async |play| {
            play.settles().await;
            play.writes([web(2, Strategy::KillThenDownload)]);
            play.until(|model| model.locks.are_taken()).await;
            sleep(Duration::from_millis(50 * seed)).await;
            play.sim.with(Model::begin_to_end);
            play.settles().await;
        });
    }
}

#[test]
fn a_reboot_is_asked_for_at_any_moment_of_an_update() {
    at_any_moment(&async |play| {
        let boot = play.sim.with(|model| model.boot_id());
        play.answers(&Press::reboot(false), StatusCode::ACCEPTED).await;
        sleep(MINUTE).await;
        assert_ne!(play.sim.with(|model| model.boot_id()), boot, "202, and no reboot");
    });
}

#[test]
fn an_end_that_is_called_off_at_any_moment_of_an_update_changes_nothing() {
    at_any_moment(&async |play| {
        play.sim.with(Model::begin_to_end);
        sleep(Duration::from_millis(900)).await;
        let boot = play.sim.with(|model| {
            model.stays_up();
            model.boot_id()
        });
        sleep(MINUTE).await;
        assert_eq!(play.sim.with(|model| model.boot_id()), boot);
    });
}

#[test]
fn a_lock_that_a_service_holds_outlives_an_end_that_is_called_off() {
    well(&apps(1), async |play| {
        play.settles().await;
        play.sim.with(|model| model.locks.held.insert(other(), Holder::User(0)));
        for after in 1..40 {
            play.writes(apps(1 + u32::try_from(after).unwrap() % 2));
            play.sim.moment(after).await;
            play.sim.with(Model::begin_to_end);
            sleep(Duration::from_secs(1)).await;
            play.sim.with(Model::stays_up);
            sleep(MINUTE).await;
            let held = play.sim.with(|model| model.locks.held.clone());
            assert_eq!(held.get(&other()), Some(&Holder::User(0)), "{held:?}");
            assert!(play.images().contains(&"r/other:1".to_owned()));
        }
        play.answers(&Press::reboot(false), StatusCode::LOCKED).await;
        play.sim.with(|model| model.unlock(&other()));
        play.settles().await;
        assert!(play.sim.with(|model| model.locks.held.is_empty()));
    });
}

#[test]
fn the_power_goes_at_any_await_of_an_update() {
    cut_at_any_await(Cut::Power);
}

#[test]
fn the_agent_is_killed_at_any_await_of_an_update() {
    cut_at_any_await(Cut::Crash);
}

fn cut_at_any_await(cut: Cut) {
    for after in 1.. {
        let mut fell = false;
        well(&release(1), async |play| {
            play.settles().await;
            play.sim.with(|model| model.doom = Doom::AfterPoll(model.polls + after, cut));
            play.writes(release(2));
            play.settles().await;
            play.sim.with(|model| {
                fell = model.doom == Doom::None;
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
        well_in(seed, &apps("1"), async |play| {
            play.settles().await;
            play.sim.with(|model| model.disk.full = true);
            play.writes(apps("2"));
            play.until(|model| model.machine.ours().any(|it| it.face.name.starts_with("old_"))).await;
            play.sim.with(|model| model.fall(Cut::Crash));
            play.settles().await;
        });
    }
}

#[test]
fn the_led_is_put_back_wherever_an_identify_is_cut_off() {
    for after in 1.. {
        let mut fell = false;
        well(&[app(1, [("web", service("r/web:1"))])], async |play| {
            play.settles().await;
            play.sim.with(|model| model.doom = Doom::AfterPoll(model.polls + after, Cut::Crash));
            play.press(&Press::blink(), MINUTE).await;
            sleep(HOUR / 60).await;
            fell = play.sim.with(|model| model.doom == Doom::None);
            play.settles().await;
        });
        if !fell {
            assert!(after > 5, "an identify of {after} awaits shows nothing");
            break;
        }
    }
}

#[test]
fn an_end_that_comes_while_the_agent_is_dead_comes_all_the_same() {
    well(&release(1), async |play| {
        play.settles().await;
        let before = play.sim.with(|model| model.boot_id());
        play.sim.with(|model| {
            model.fall(Cut::Reboot);
            model.fall(Cut::Crash);
        });
        sleep(MINUTE).await;
        play.settles().await;
        assert_ne!(play.sim.with(|model| model.boot_id()), before);
    });
}
