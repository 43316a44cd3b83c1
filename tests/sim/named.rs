//! Named lives: what has gone wrong on users' devices, as short as possible.

use std::future::pending;
use std::time::Duration;

use axum::http::StatusCode;
use boardkeeper::state::config::{Port, RestartPolicy};
use boardkeeper::state::service::Strategy;
use boardkeeper::state::{AppId, ContainerPhase, ImageRef, Origin, Service, ServiceKey};
use tokio::time::{Instant, sleep};

use crate::life::in_world;
use crate::people::Press;
use crate::play::{HOUR, MINUTE, release, two_live, web, well, with};
use crate::world::cuts::Doom;
use crate::world::locks::Holder;
use crate::world::machine::{Machine, Tells};
use crate::world::owner::{app, service};
use crate::world::store::Mood;
use crate::world::{Cut, Model, Telling, Weather};

#[test]
fn a_job_that_is_done_is_not_done_again() {
    let job = |it: &mut Service| {
        it.config.restart = RestartPolicy::No;
        it.config.env.insert("BRIEF".into(), "1".into());
    };
    well(&[app(1, [("job", with("r/job:1", job))])], async |play| {
        play.settles().await;
        play.sim.with(Model::engine_dies);
        sleep(6 * HOUR).await;
        play.settles().await;
        assert_eq!(play.begun("create 1/job from r/job:1"), 1);
        assert_eq!(play.begun("start 1/job"), 1);
    });
}

/// A service with a port and a policy that never starts it again.
fn once() -> Service {
    with("r/once:1", |it| {
        it.config.restart = RestartPolicy::No;
        it.config.ports.insert(Port {
            container: 80,
            protocol: "tcp".into(),
            host_ip: String::new(),
            host: Some(8080),
            host_last: None,
        });
    })
}

/// How often the container is made in some hours in which engine and agent die, when the engine tells of it so.
fn made(tells: Tells, by_another_supervisor: bool, halves_of_an_hour: u32) -> u32 {
    let mut made = 0;
    in_world(1, Weather::default(), Telling::Nothing, async |sim| {
        sim.with(|model| model.owner.write([app(1, [("once", once())])]));
        let story = async {
            sim.wait_until_settled(HOUR).await;
            sim.with(|model| {
                model.machine.tells = tells;
                let status = model.status.as_ref().unwrap().borrow().clone();
                let config = status.target.unwrap().apps[&AppId(1)].services["once"].config.clone();
                for it in model.machine.containers.values_mut().filter(|_| by_another_supervisor) {
                    it.face.made = Origin::Adopted(Box::new(config.clone().into()));
                }
            });
            for _ in 0..halves_of_an_hour {
                sim.with(Model::engine_dies);
                sleep(HOUR / 4).await;
                sim.with(|model| model.fall(Cut::Crash));
                sleep(HOUR / 4).await;
            }
            made = sim.with(|model| model.judge.begun["create 1/once from r/once:1"]);
        };
        tokio::select! {
            biased;
            () = sim.agent_with(async |_, _| pending().await) => (),
            () = story => (),
        }
    });
    made
}

/// That the figure can be another is shown by engines that tell otherwise.
#[test]
fn ports_and_restart_no_are_no_reason_to_make_a_container_anew() {
    assert_eq!(made(Tells::Normally, false, 6), 1);
    assert!(made(Tells::RestartOtherwise, false, 1) > 10);
}

/// As above.
#[test]
fn another_supervisors_container_is_not_made_anew_for_its_ports_or_restart_no() {
    assert_eq!(made(Tells::Normally, true, 6), 1);
    assert_eq!(made(Tells::PortsOtherwise, true, 6), 2, "once, and then it is ours");
}

/// An agent that keeps the version it agreed on first would never be answered again.
#[test]
fn an_engine_whose_api_version_rises_is_talked_to_again() {
    well(&release(1), async |play| {
        play.settles().await;
        for version in 2..6 {
            play.writes(release(version));
            sleep(Duration::from_secs(u64::from(version))).await;
            play.sim.with(|model| {
                model.machine.api += 1;
                model.engine_dies();
            });
            play.settles().await;
            assert!(play.images().contains(&format!("r/web:{version}")));
        }
    });
}

/// A registry's token is good for one layer only. An agent that begins from nothing each time, or gives up, never arrives.
#[test]
fn a_registry_token_that_expires_in_mid_pull_costs_a_pause() {
    let (image, layers) = (1..)
        .map(|it| ImageRef::new(&format!("r/big:{it}")))
        .map(|it| (layers_of(&it), it))
        .find_map(|(layers, it)| (layers == 6).then_some((it, layers)))
        .unwrap();
    well(&[app(1, [("big", service(image.as_str()))])], async |play| {
        play.sim.with(|model| model.brief_tokens = true);
        let began = Instant::now();
        play.until(|model| model.machine.image(&image).is_some()).await;
        assert_eq!(u64::from(play.begun(&format!("pull {image}"))), layers, "one more for each token that expired");
        assert!(began.elapsed() < 4 * MINUTE, "{:?}", began.elapsed());
        play.settles().await;
    });
}

fn layers_of(image: &ImageRef) -> u64 {
    Machine::layers_of(&Machine::registry(image))
}

#[test]
fn a_cut_at_any_moment_leaves_one_container_of_each_service() {
    for (nth, cut) in (1..).zip([Cut::Crash, Cut::Power].into_iter().cycle()) {
        let mut calls = 0;
        well(&release(1), async |play| {
            play.sim.with(|model| model.doom = Doom::InCall(nth, cut));
            play.settles().await;
            play.writes(release(2));
            play.settles().await;
            calls = play.sim.with(|model| model.calls);
        });
        if calls < nth {
            assert!(nth > 100, "a life of {calls} calls shows nothing");
            break;
        }
    }
}

#[test]
fn an_interrupted_restart_leaves_no_service_down() {
    for (after, cut) in (1..40).zip([Cut::Crash, Cut::Power].into_iter().cycle()) {
        well(&release(1), async |play| {
            play.settles().await;
            play.sim.with(|model| model.doom = Doom::InCall(model.calls + after, cut));
            play.press(&Press::restart(1, false), HOUR).await;
            sleep(MINUTE).await;
            play.settles().await;
        });
    }
}

#[test]
fn a_service_that_a_person_stopped_stays_stopped() {
    well(&[app(1, [("web", service("r/web:1"))])], async |play| {
        play.settles().await;
        play.answers(&Press::stop_app(1, false), StatusCode::OK).await;
        // An engine starts it again, whatever its agent says: policies outlive a person's word.
        play.sim.with(Model::engine_dies);
        sleep(HOUR).await;
        assert_eq!(play.alive(), [""; 0]);
        play.answers(&Press::start_app(1), StatusCode::OK).await;
        assert_eq!(play.alive(), ["web"]);
    });
}

#[test]
fn what_was_created_and_never_started_is_not_forgotten() {
    well(&[app(1, [("web", service("r/web:1"))])], async |play| {
        play.until(|model| model.machine.ours().any(|it| it.face.phase == ContainerPhase::Created)).await;
        play.sim.with(|model| model.fall(Cut::Crash));
        play.settles().await;
        assert_eq!(play.alive(), ["web"]);
    });
}

#[test]
fn what_was_created_and_is_wanted_no_more_goes() {
    well(&[app(1, [("web", service("r/web:1"))])], async |play| {
        play.until(|model| model.machine.ours().any(|it| it.face.phase == ContainerPhase::Created)).await;
        play.sim.with(|model| model.fall(Cut::Crash));
        play.writes([app(1, [("db", service("r/db:1"))])]);
        play.settles().await;
        assert_eq!(play.alive(), ["db"]);
    });
}

#[test]
fn a_lock_holds_up_its_app_and_nothing_else_and_its_end_is_noticed_at_once() {
    let both = |version: u32| {
        [app(1, [("web", service(&format!("r/web:{version}")))]), app(2, [("db", service(&format!("r/db:{version}")))])]
    };
    well(&both(1), async |play| {
        play.settles().await;
        let web = ServiceKey::new(AppId(1), "web");
        play.sim.with(|model| model.locks.held.insert(web.clone(), Holder::User(0)));
        play.writes(both(2));
        sleep(HOUR).await;
        assert_eq!(play.images(), ["r/web:1", "r/db:2"]);
        play.sim.with(|model| model.unlock(&web));
        sleep(MINUTE).await;
        assert_eq!(play.images(), ["r/web:2", "r/db:2"]);
    });
}

#[test]
fn a_forced_update_overrides_a_lock() {
    well(&release(1), async |play| {
        play.settles().await;
        play.sim.with(|model| model.locks.held.insert(ServiceKey::new(AppId(1), "db"), Holder::User(0)));
        play.writes(release(2));
        sleep(10 * MINUTE).await;
        play.answers(&Press::update(false), StatusCode::NO_CONTENT).await;
        sleep(10 * MINUTE).await;
        assert!(play.images().contains(&"r/db:1".to_owned()));
        play.answers(&Press::update(true), StatusCode::NO_CONTENT).await;
        play.settles().await;
    });
}

#[test]
fn an_image_that_does_not_fit_is_said_and_not_tried_for_ever() {
    well(&[app(1, [("web", service("r/web:1"))])], async |play| {
        play.sim.with(|model| model.machine.room_bytes = 1);
        sleep(HOUR).await;
        assert!((1..60).contains(&play.begun("pull r/web:1")), "{} pulls in an hour", play.begun("pull r/web:1"));
        play.sim.with(|model| model.machine.room_bytes = u64::MAX);
        play.settles().await;
    });
}

#[test]
fn delete_then_download_fits_where_both_images_do_not() {
    well(&[web(1, Strategy::DeleteThenDownload)], async |play| {
        play.settles().await;
        play.sim.with(|model| model.machine.room_bytes = 150_000_000);
        play.writes([web(2, Strategy::DeleteThenDownload)]);
        play.settles().await;
    });
}

#[test]
fn of_an_update_that_does_not_fit_as_a_whole_nothing_is_pulled() {
    well(&release(1), async |play| {
        play.settles().await;
        // Enough for any of its three images, and not for all.
        play.sim.with(|model| model.machine.room_bytes = u64::MAX - model.machine.free_bytes() + 149_000_000);
        play.writes(release(2));
        sleep(20 * MINUTE).await;
        let pulls = ["web", "db", "mail"].map(|name| play.begun(&format!("pull r/{name}:2")));
        assert_eq!(pulls, [0; 3], "it was begun");
        play.sim.with(|model| model.machine.room_bytes = u64::MAX);
        play.settles().await;
    });
}

#[test]
fn what_is_known_not_to_fit_has_nothing_killed_for_it() {
    well(&[web(1, Strategy::KillThenDownload)], async |play| {
        play.settles().await;
        play.sim.with(|model| model.machine.room_bytes = 1);
        play.writes([web(2, Strategy::KillThenDownload)]);
        sleep(20 * MINUTE).await;
        let lives = play.sim.with(|model| model.machine.ours().any(|it| it.face.phase.is_alive()));
        assert!(lives, "it was killed for what does not fit");
        assert!(!play.sim.with(|model| model.locks.are_taken()), "it cannot lock itself");
        play.sim.with(|model| model.machine.room_bytes = u64::MAX);
        play.settles().await;
    });
}

#[test]
fn what_nobody_wants_any_more_makes_room_for_what_does_not_fit() {
    let [two, three] = ["r/web:2", "r/web:3"].map(|image| Machine::registry(&ImageRef::new(image)).size_bytes);
    well(&[web(1, Strategy::DownloadThenKill)], async |play| {
        play.settles().await;
        play.sim.with(|model| model.locks.held.insert(ServiceKey::new(AppId(1), "web"), Holder::User(0)));
        play.writes([web(2, Strategy::DownloadThenKill)]);
        play.until(|model| model.machine.image(&ImageRef::new("r/web:2")).is_some()).await;
        // Enough for the third one once the second is gone: what runs is still the first.
        play.sim.with(|model| model.machine.room_bytes = u64::MAX - model.machine.free_bytes() - two + three);
        play.writes([web(3, Strategy::DownloadThenKill)]);
        play.until(|model| model.machine.image(&ImageRef::new("r/web:3")).is_some()).await;
        play.sim.with(|model| model.unlock(&ServiceKey::new(AppId(1), "web")));
        play.settles().await;
    });
}

#[test]
fn a_download_that_nobody_wants_any_more_is_dropped() {
    well(&[app(1, [("web", service("r/web:1"))])], async |play| {
        play.until(|model| model.judge.begun.contains_key("pull r/web:1")).await;
        play.writes([app(1, [("web", service("r/web:2"))])]);
        play.settles().await;
        assert!(play.sim.with(|model| model.machine.image(&ImageRef::new("r/web:1")).is_none()));
    });
}

#[test]
fn a_clock_that_is_set_back_does_not_reboot_the_machine_for_ever() {
    let kernel = with("r/kernel:1", |it| it.requires_reboot = true);
    well(&[app(1, [("kernel", kernel)])], async |play| {
        play.sim.with(|model| model.skew(7200));
        play.until(|model| model.machine.ours().next().is_some()).await;
        play.sim.with(|model| model.skew(0));
        play.settles().await;
    });
}

#[test]
fn the_api_answers_while_the_engine_does_not() {
    well(&release(1), async |play| {
        play.settles().await;
        play.sim.with(|model| model.machine.die());
        sleep(10 * MINUTE).await;
        let asked = Instant::now();
        play.answers(&Press::read("/v1/device"), StatusCode::OK).await;
        assert!(asked.elapsed() < Duration::from_secs(1));
    });
}

#[test]
fn the_host_is_configured_under_the_locks_of_all_and_nothing_else_waits() {
    let apps = [app(1, [("web", service("r/web:1"))]), app(2, [("db", service("r/db:1"))])];
    well(&apps, async |play| {
        play.sim.with(|model| model.net.slow_host = true);
        play.settles().await;
        let web = ServiceKey::new(AppId(1), "web");
        let hold = || play.sim.with(|model| model.locks.held.extend([(web.clone(), Holder::User(0))]));
        hold();
        sleep(MINUTE).await;
        play.answers(&Press::name_host("kitchen", false), StatusCode::LOCKED).await;
        assert!(!play.sim.trace().contains("host: writes"));
        assert!(play.sim.with(|model| !model.locks.are_taken()));
        play.sim.with(|model| model.unlock(&web));
        let press = Press::name_host("", false);
        let name = play.press(&press, HOUR);
        let read = async {
            sleep(5 * MINUTE).await;
            let asked = Instant::now();
            play.answers(&Press::read("/v1/device"), StatusCode::OK).await;
            assert!(asked.elapsed() < Duration::from_secs(1));
        };
        let (named, ()) = futures_util::join!(name, read);
        assert_eq!(named, Some(StatusCode::OK));
        let uuid = play.sim.with(|model| model.disk.kept.identity.as_ref().unwrap().uuid.clone());
        for when in ["writes", "has"] {
            let note = format!("host: {when} the name Some(\"{}\") under 2 locks", &uuid[..7]);
            assert!(play.sim.trace().contains(&note), "{note}\n{}", play.sim.trace());
        }
        assert!(play.sim.with(|model| model.locks.held.is_empty()));
        hold();
        assert_eq!(play.press(&Press::name_host("kitchen", true), HOUR).await, Some(StatusCode::OK));
        sleep(MINUTE).await;
        assert!(play.sim.with(|model| model.locks.held.is_empty()));
    });
}

/// Seed 139629: the next release of a service did not fit, and two containers of the one before ran side by side for good.
#[test]
fn a_hand_over_that_the_next_release_overtook_leaves_one_container() {
    well(&[web(1, Strategy::HandOver)], async |play| {
        play.settles().await;
        play.writes([web(2, Strategy::HandOver)]);
        play.until(two_live).await;
        play.sim.with(|model| model.machine.room_bytes = 1);
        play.writes([web(3, Strategy::DownloadThenKill)]);
        sleep(10 * MINUTE).await;
        assert_eq!(play.images(), ["r/web:2"]);
        play.sim.with(|model| model.machine.room_bytes = u64::MAX);
        play.settles().await;
        assert_eq!(play.images(), ["r/web:3"]);
    });
}

/// Seed 541: a disk that kept the new key and called it a failure had the device open to nobody after the next boot.
#[test]
fn a_key_that_was_not_told_is_not_the_key_after_a_boot() {
    well(&[app(1, [("web", service("r/web:1"))])], async |play| {
        play.settles().await;
        let keys = || play.sim.with(|model| model.disk.kept.keys.clone());
        let before = keys();
        play.sim.with(|model| model.disk.mood = Mood::Lies);
        play.answers(&Press::renew_key(), StatusCode::SERVICE_UNAVAILABLE).await;
        assert_ne!(keys(), before, "the disk lies");
        play.sim.with(|model| model.disk.mood = Mood::Good);
        sleep(6 * MINUTE).await;
        play.sim.with(|model| model.fall(Cut::Power));
        play.settles().await;
        assert_eq!(keys(), before);
    });
}

/// Seed 2044: what was to be pulled was written down, and that took so long that the machine's end was announced meanwhile.
#[test]
fn nothing_is_begun_after_an_end_that_is_announced_during_a_slow_save() {
    well(&release(1), async |play| {
        play.settles().await;
        play.sim.with(|model| model.disk.mood = Mood::Slow);
        play.writes(release(2));
        for _ in 0..12 {
            sleep(Duration::from_secs(11)).await;
            play.sim.with(Model::begin_to_end);
            sleep(Duration::from_secs(9)).await;
            play.sim.with(Model::stays_up);
        }
        play.sim.with(|model| model.disk.mood = Mood::Good);
        play.settles().await;
    });
}

/// Seed 848039: a new container was ready while a save took long in which the machine's end was announced.
#[test]
fn no_hand_over_goes_on_after_an_end_that_is_announced_during_a_slow_save() {
    well(&[web(1, Strategy::HandOver)], async |play| {
        play.settles().await;
        play.writes([web(2, Strategy::HandOver)]);
        play.until(two_live).await;
        play.sim.with(|model| model.disk.mood = Mood::Slow);
        play.writes([web(2, Strategy::HandOver), app(2, [("db", service("r/db:1"))])]);
        sleep(Duration::from_secs(15)).await;
        play.sim.with(|model| {
            model.begin_to_end();
            model.becomes_ready(ServiceKey::new(AppId(1), "web"));
        });
        sleep(MINUTE).await;
        play.sim.with(|model| model.disk.mood = Mood::Good);
        play.settles().await;
    });
}

/// A plan that was made before the engine could not be looked at any more had a job run twice.
#[test]
fn a_job_is_not_started_twice_because_a_look_failed() {
    let job = |it: &mut Service| {
        it.config.restart = RestartPolicy::No;
        it.config.env.insert("BRIEF".into(), "1".into());
    };
    well(&[app(1, [("job", with("r/job:1", job))])], async |play| {
        play.until(|model| model.machine.ours().any(|it| it.face.phase == ContainerPhase::Running)).await;
        play.sim.with(|model| model.machine.blind = true);
        sleep(10 * MINUTE).await;
        play.sim.with(|model| model.machine.blind = false);
        play.settles().await;
        assert_eq!(play.begun("start 1/job"), 1);
    });
}
