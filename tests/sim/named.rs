//! Named lives: what has gone wrong on users' devices, as short as possible.

use std::collections::BTreeMap;
use std::future::pending;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use boardkeeper::state::config::{Port, RestartPolicy};
use boardkeeper::state::service::Strategy;
use boardkeeper::state::{AppId, ContainerPhase, ImageRef, Origin, Service, ServiceKey};
use tokio::time::{Instant, sleep};

use crate::clients::ApiCall;
use crate::life::in_world;
use crate::scenario::{HOUR, MINUTE, release, run_scenario, two_live, web, with};
use crate::world::crashes::CrashPoint;
use crate::world::engine_model::{Dialect, EngineModel};
use crate::world::locks::Holder;
use crate::world::store::SaveMode;
use crate::world::targets::{app, service};
use crate::world::{CrashKind, FaultRates, Model, Sim, Trace};

#[test]
fn a_job_that_is_done_is_not_done_again() {
    let job = |it: &mut Service| {
        it.config.restart = RestartPolicy::No;
        it.config.env.insert("BRIEF".into(), "1".into());
    };
    run_scenario(&[app(1, [("job", with("r/job:1", job))])], async |scenario| {
        scenario.settles().await;
        scenario.sim.with(Model::engine_dies);
        sleep(6 * HOUR).await;
        scenario.settles().await;
        assert_eq!(scenario.begun("create 1/job from r/job:1"), 1);
        assert_eq!(scenario.begun("start 1/job"), 1);
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
fn made(dialect: Dialect, by_another_supervisor: bool, halves_of_an_hour: u32) -> u32 {
    let mut made = 0;
    in_world(1, FaultRates::default(), Trace::Off, async |sim| {
        sim.with(|model| model.targets.write([app(1, [("once", once())])]));
        let story = async {
            sim.wait_until_settled(HOUR).await;
            sim.with(|model| {
                model.engine.dialect = dialect;
                let status = model.status.as_ref().unwrap().borrow().clone();
                let config = status.target.unwrap().apps[&AppId(1)].services.get("once").unwrap().config.clone();
                for it in model.engine.containers.values_mut().filter(|_| by_another_supervisor) {
                    it.view.made = Origin::Adopted(Box::new(config.clone().into()));
                }
            });
            for _ in 0..halves_of_an_hour {
                sim.with(Model::engine_dies);
                sleep(HOUR / 4).await;
                sim.with(|model| model.crash(CrashKind::Crash));
                sleep(HOUR / 4).await;
            }
            made = sim.with(|model| model.checker.begun["create 1/once from r/once:1"]);
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
    assert_eq!(made(Dialect::Normally, false, 6), 1);
    assert!(made(Dialect::RestartOtherwise, false, 1) > 10);
}

/// As above.
#[test]
fn another_supervisors_container_is_not_made_anew_for_its_ports_or_restart_no() {
    assert_eq!(made(Dialect::Normally, true, 6), 1);
    assert_eq!(made(Dialect::PortsOtherwise, true, 6), 2, "once, and then it is ours");
}

/// An agent that keeps the version it agreed on first would never be answered again.
#[test]
fn an_engine_whose_api_version_rises_is_talked_to_again() {
    run_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        for version in 2..6 {
            scenario.writes(release(version));
            sleep(Duration::from_secs(u64::from(version))).await;
            scenario.sim.with(|model| {
                model.engine.api += 1;
                model.engine_dies();
            });
            scenario.settles().await;
            assert!(scenario.images().contains(&format!("r/web:{version}")));
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
    run_scenario(&[app(1, [("big", service(image.as_str()))])], async |scenario| {
        scenario.sim.with(|model| model.brief_tokens = true);
        let began = Instant::now();
        scenario.until(|model| model.engine.image(&image).is_some()).await;
        assert_eq!(u64::from(scenario.begun(&format!("pull {image}"))), layers, "one more for each token that expired");
        assert!(began.elapsed() < 4 * MINUTE, "{:?}", began.elapsed());
        scenario.settles().await;
    });
}

fn layers_of(image: &ImageRef) -> u64 {
    EngineModel::layers_of(&EngineModel::registry(image))
}

#[test]
fn a_cut_at_any_moment_leaves_one_container_of_each_service() {
    for (nth, cut) in (1..).zip([CrashKind::Crash, CrashKind::Power].into_iter().cycle()) {
        let mut calls = 0;
        run_scenario(&release(1), async |scenario| {
            scenario.sim.with(|model| model.crash_point = CrashPoint::InCall(nth, cut));
            scenario.settles().await;
            scenario.writes(release(2));
            scenario.settles().await;
            calls = scenario.sim.with(|model| model.calls);
        });
        if calls < nth {
            assert!(nth > 100, "a life of {calls} calls shows nothing");
            break;
        }
    }
}

#[test]
fn an_interrupted_restart_leaves_no_service_down() {
    for (after, cut) in (1..40).zip([CrashKind::Crash, CrashKind::Power].into_iter().cycle()) {
        run_scenario(&release(1), async |scenario| {
            scenario.settles().await;
            scenario.sim.with(|model| model.crash_point = CrashPoint::InCall(model.calls + after, cut));
            scenario.send(&ApiCall::restart(1, false), HOUR).await;
            sleep(MINUTE).await;
            scenario.settles().await;
        });
    }
}

#[test]
fn a_service_that_a_person_stopped_stays_stopped() {
    run_scenario(&[app(1, [("web", service("r/web:1"))])], async |scenario| {
        scenario.settles().await;
        scenario.answers(&ApiCall::stop_app(1, false), StatusCode::OK).await;
        // An engine starts it again, whatever its agent says: restart policies do not know of the client's stop request.
        scenario.sim.with(Model::engine_dies);
        sleep(HOUR).await;
        assert_eq!(scenario.alive(), [""; 0]);
        scenario.answers(&ApiCall::start_app(1), StatusCode::OK).await;
        assert_eq!(scenario.alive(), ["web"]);
    });
}

#[test]
fn what_was_created_and_never_started_is_not_forgotten() {
    run_scenario(&[app(1, [("web", service("r/web:1"))])], async |scenario| {
        scenario.until(|model| model.engine.ours().any(|it| it.view.phase == ContainerPhase::Created)).await;
        scenario.sim.with(|model| model.crash(CrashKind::Crash));
        scenario.settles().await;
        assert_eq!(scenario.alive(), ["web"]);
    });
}

#[test]
fn what_was_created_and_is_wanted_no_more_goes() {
    run_scenario(&[app(1, [("web", service("r/web:1"))])], async |scenario| {
        scenario.until(|model| model.engine.ours().any(|it| it.view.phase == ContainerPhase::Created)).await;
        scenario.sim.with(|model| model.crash(CrashKind::Crash));
        scenario.writes([app(1, [("db", service("r/db:1"))])]);
        scenario.settles().await;
        assert_eq!(scenario.alive(), ["db"]);
    });
}

#[test]
fn a_lock_holds_up_its_app_and_nothing_else_and_its_end_is_noticed_at_once() {
    let both = |version: u32| {
        [app(1, [("web", service(&format!("r/web:{version}")))]), app(2, [("db", service(&format!("r/db:{version}")))])]
    };
    run_scenario(&both(1), async |scenario| {
        scenario.settles().await;
        let web = ServiceKey::new(AppId(1), "web");
        scenario.sim.with(|model| model.locks.held.insert(web.clone(), Holder::User(0)));
        scenario.writes(both(2));
        sleep(HOUR).await;
        assert_eq!(scenario.images(), ["r/web:1", "r/db:2"]);
        scenario.sim.with(|model| model.unlock(&web));
        sleep(MINUTE).await;
        assert_eq!(scenario.images(), ["r/web:2", "r/db:2"]);
    });
}

#[test]
fn a_forced_update_overrides_a_lock() {
    run_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        scenario.sim.with(|model| model.locks.held.insert(ServiceKey::new(AppId(1), "db"), Holder::User(0)));
        scenario.writes(release(2));
        sleep(10 * MINUTE).await;
        scenario.answers(&ApiCall::update(false), StatusCode::NO_CONTENT).await;
        sleep(10 * MINUTE).await;
        assert!(scenario.images().contains(&"r/db:1".to_owned()));
        scenario.answers(&ApiCall::update(true), StatusCode::NO_CONTENT).await;
        scenario.settles().await;
    });
}

#[test]
fn an_image_that_does_not_fit_is_said_and_not_tried_for_ever() {
    run_scenario(&[app(1, [("web", service("r/web:1"))])], async |scenario| {
        scenario.sim.with(|model| model.engine.room_bytes = 1);
        sleep(HOUR).await;
        assert!((1..60).contains(&scenario.begun("pull r/web:1")), "{} pulls in an hour", scenario.begun("pull r/web:1"));
        scenario.sim.with(|model| model.engine.room_bytes = u64::MAX);
        scenario.settles().await;
    });
}

#[test]
fn delete_then_download_fits_where_both_images_do_not() {
    run_scenario(&[web(1, Strategy::DeleteThenDownload)], async |scenario| {
        scenario.settles().await;
        scenario.sim.with(|model| model.engine.room_bytes = 150_000_000);
        scenario.writes([web(2, Strategy::DeleteThenDownload)]);
        scenario.settles().await;
    });
}

#[test]
fn of_an_update_that_does_not_fit_as_a_whole_nothing_is_pulled() {
    run_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        // Enough for any of its three images, and not for all.
        scenario.sim.with(|model| model.engine.room_bytes = u64::MAX - model.engine.free_bytes() + 149_000_000);
        scenario.writes(release(2));
        sleep(20 * MINUTE).await;
        let pulls = ["web", "db", "mail"].map(|name| scenario.begun(&format!("pull r/{name}:2")));
        assert_eq!(pulls, [0; 3], "it was begun");
        scenario.sim.with(|model| model.engine.room_bytes = u64::MAX);
        scenario.settles().await;
    });
}

#[test]
fn what_is_known_not_to_fit_has_nothing_killed_for_it() {
    run_scenario(&[web(1, Strategy::KillThenDownload)], async |scenario| {
        scenario.settles().await;
        scenario.sim.with(|model| model.engine.room_bytes = 1);
        scenario.writes([web(2, Strategy::KillThenDownload)]);
        sleep(20 * MINUTE).await;
        let lives = scenario.sim.with(|model| model.engine.ours().any(|it| it.view.phase.is_alive()));
        assert!(lives, "it was killed for what does not fit");
        assert!(!scenario.sim.with(|model| model.locks.are_taken()), "it cannot lock itself");
        scenario.sim.with(|model| model.engine.room_bytes = u64::MAX);
        scenario.settles().await;
    });
}

#[test]
fn what_is_no_longer_wanted_makes_room_for_what_does_not_fit() {
    let [two, three] = ["r/web:2", "r/web:3"].map(|image| EngineModel::registry(&ImageRef::new(image)).size_bytes);
    run_scenario(&[web(1, Strategy::DownloadThenKill)], async |scenario| {
        scenario.settles().await;
        scenario.sim.with(|model| model.locks.held.insert(ServiceKey::new(AppId(1), "web"), Holder::User(0)));
        scenario.writes([web(2, Strategy::DownloadThenKill)]);
        scenario.until(|model| model.engine.image(&ImageRef::new("r/web:2")).is_some()).await;
        // Enough for the third one once the second is gone: what runs is still the first.
        scenario.sim.with(|model| model.engine.room_bytes = u64::MAX - model.engine.free_bytes() - two + three);
        scenario.writes([web(3, Strategy::DownloadThenKill)]);
        scenario.until(|model| model.engine.image(&ImageRef::new("r/web:3")).is_some()).await;
        scenario.sim.with(|model| model.unlock(&ServiceKey::new(AppId(1), "web")));
        scenario.settles().await;
    });
}

#[test]
fn a_download_that_is_no_longer_wanted_is_dropped() {
    run_scenario(&[app(1, [("web", service("r/web:1"))])], async |scenario| {
        scenario.until(|model| model.checker.begun.contains_key("pull r/web:1")).await;
        scenario.writes([app(1, [("web", service("r/web:2"))])]);
        scenario.settles().await;
        assert!(scenario.sim.with(|model| model.engine.image(&ImageRef::new("r/web:1")).is_none()));
    });
}

#[test]
fn a_clock_that_is_set_back_does_not_reboot_the_machine_for_ever() {
    let kernel = with("r/kernel:1", |it| it.requires_reboot = true);
    run_scenario(&[app(1, [("kernel", kernel)])], async |scenario| {
        scenario.sim.with(|model| model.skew(7200));
        scenario.until(|model| model.engine.ours().next().is_some()).await;
        scenario.sim.with(|model| model.skew(0));
        scenario.settles().await;
    });
}

#[test]
fn the_api_answers_while_the_engine_does_not() {
    run_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        scenario.sim.with(|model| model.engine.die());
        sleep(10 * MINUTE).await;
        let asked = Instant::now();
        scenario.answers(&ApiCall::read("/v1/device"), StatusCode::OK).await;
        assert!(asked.elapsed() < Duration::from_secs(1));
    });
}

#[test]
fn the_host_is_configured_under_the_locks_of_all_and_nothing_else_waits() {
    let apps = [app(1, [("web", service("r/web:1"))]), app(2, [("db", service("r/db:1"))])];
    run_scenario(&apps, async |scenario| {
        scenario.sim.with(|model| model.net.slow_host = true);
        scenario.settles().await;
        let web = ServiceKey::new(AppId(1), "web");
        let hold = || scenario.sim.with(|model| model.locks.held.extend([(web.clone(), Holder::User(0))]));
        hold();
        sleep(MINUTE).await;
        scenario.answers(&ApiCall::name_host("kitchen", false), StatusCode::LOCKED).await;
        assert!(!scenario.sim.trace().contains("host: writes"));
        assert!(scenario.sim.with(|model| !model.locks.are_taken()));
        scenario.sim.with(|model| model.unlock(&web));
        let call = ApiCall::name_host("", false);
        let name = scenario.send(&call, HOUR);
        let read = async {
            sleep(5 * MINUTE).await;
            let asked = Instant::now();
            scenario.answers(&ApiCall::read("/v1/device"), StatusCode::OK).await;
            assert!(asked.elapsed() < Duration::from_secs(1));
        };
        let (named, ()) = futures_util::join!(name, read);
        assert_eq!(named, Some(StatusCode::OK));
        let uuid = scenario.sim.with(|model| model.disk.kept.identity.as_ref().unwrap().uuid.clone());
        for when in ["writes", "has"] {
            let note = format!("host: {when} the name Some(\"{}\") under 2 locks", &uuid[..7]);
            assert!(scenario.sim.trace().contains(&note), "{note}\n{}", scenario.sim.trace());
        }
        assert!(scenario.sim.with(|model| model.locks.held.is_empty()));
        hold();
        assert_eq!(scenario.send(&ApiCall::name_host("kitchen", true), HOUR).await, Some(StatusCode::OK));
        sleep(MINUTE).await;
        assert!(scenario.sim.with(|model| model.locks.held.is_empty()));
    });
}

/// Seed 139629: the next release of a service did not fit, and two containers of the one before ran side by side for good.
#[test]
fn a_hand_over_that_the_next_release_overtook_leaves_one_container() {
    run_scenario(&[web(1, Strategy::HandOver)], async |scenario| {
        scenario.settles().await;
        scenario.writes([web(2, Strategy::HandOver)]);
        scenario.until(two_live).await;
        scenario.sim.with(|model| model.engine.room_bytes = 1);
        scenario.writes([web(3, Strategy::DownloadThenKill)]);
        sleep(10 * MINUTE).await;
        assert_eq!(scenario.images(), ["r/web:2"]);
        scenario.sim.with(|model| model.engine.room_bytes = u64::MAX);
        scenario.settles().await;
        assert_eq!(scenario.images(), ["r/web:3"]);
    });
}

/// Seed 541: a disk that saved the new key and returned an error locked every client out after the next boot.
#[test]
fn a_key_that_no_response_had_is_not_the_key_after_a_boot() {
    run_scenario(&[app(1, [("web", service("r/web:1"))])], async |scenario| {
        scenario.settles().await;
        let keys = || scenario.sim.with(|model| model.disk.kept.keys.clone());
        let before = keys();
        scenario.sim.with(|model| model.disk.mode = SaveMode::Lies);
        scenario.answers(&ApiCall::renew_key(), StatusCode::SERVICE_UNAVAILABLE).await;
        assert_ne!(keys(), before, "the disk lies");
        scenario.sim.with(|model| model.disk.mode = SaveMode::Good);
        sleep(6 * MINUTE).await;
        scenario.sim.with(|model| model.crash(CrashKind::Power));
        scenario.settles().await;
        assert_eq!(keys(), before);
    });
}

/// Seed 2044: what was to be pulled was written down, and that took so long that the machine's end was announced meanwhile.
#[test]
fn nothing_is_begun_after_an_end_that_is_announced_during_a_slow_save() {
    run_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        scenario.sim.with(|model| model.disk.mode = SaveMode::Slow);
        scenario.writes(release(2));
        for _ in 0..12 {
            sleep(Duration::from_secs(11)).await;
            scenario.sim.with(Model::begin_shutdown);
            sleep(Duration::from_secs(9)).await;
            scenario.sim.with(Model::stay_up);
        }
        scenario.sim.with(|model| model.disk.mode = SaveMode::Good);
        scenario.settles().await;
    });
}

/// Seed 848039: a new container was ready while a save took long in which the machine's end was announced.
#[test]
fn no_hand_over_goes_on_after_an_end_that_is_announced_during_a_slow_save() {
    run_scenario(&[web(1, Strategy::HandOver)], async |scenario| {
        scenario.settles().await;
        scenario.writes([web(2, Strategy::HandOver)]);
        scenario.until(two_live).await;
        scenario.sim.with(|model| model.disk.mode = SaveMode::Slow);
        scenario.writes([web(2, Strategy::HandOver), app(2, [("db", service("r/db:1"))])]);
        sleep(Duration::from_secs(15)).await;
        scenario.sim.with(|model| {
            model.begin_shutdown();
            model.becomes_ready(ServiceKey::new(AppId(1), "web"));
        });
        sleep(MINUTE).await;
        scenario.sim.with(|model| model.disk.mode = SaveMode::Good);
        scenario.settles().await;
    });
}

/// A plan that was made before the engine could not be looked at any more had a job run twice.
#[test]
fn a_job_is_not_started_twice_because_a_look_failed() {
    let job = |it: &mut Service| {
        it.config.restart = RestartPolicy::No;
        it.config.env.insert("BRIEF".into(), "1".into());
    };
    run_scenario(&[app(1, [("job", with("r/job:1", job))])], async |scenario| {
        scenario.until(|model| model.engine.ours().any(|it| it.view.phase == ContainerPhase::Running)).await;
        scenario.sim.with(|model| model.engine.observe_fails = true);
        sleep(10 * MINUTE).await;
        scenario.sim.with(|model| model.engine.observe_fails = false);
        scenario.settles().await;
        assert_eq!(scenario.begun("start 1/job"), 1);
    });
}

/// A device without a target is developed on, and left: what was pushed is removed once, and then nothing is done.
#[test]
fn a_device_without_a_target_is_at_rest_when_local_mode_was_left() {
    let begun = std::cell::RefCell::new(BTreeMap::new());
    let outcome = in_world(1, FaultRates::default(), Trace::Off, async |sim| {
        sim.with(|model| model.targets.of_cloud = true);
        let clients = async |sim: Sim, router: Router| {
            sleep(MINUTE).await;
            let ask = async |call: ApiCall| sim.send(&router, &call, MINUTE).await.unwrap().0;
            assert_eq!(ask(ApiCall::local_mode_on(None)).await, StatusCode::OK);
            assert_eq!(ask(ApiCall::push(1, 1, false)).await, StatusCode::OK);
            sleep(HOUR).await;
            assert_eq!(ask(ApiCall::local_mode_off()).await, StatusCode::OK);
            sleep(HOUR).await;
            sim.with(|model| {
                assert!(model.engine.ours().next().is_none(), "something is left");
                begun.replace(model.checker.begun.clone());
            });
        };
        Box::pin(sim.agent_with(clients)).await;
    });
    assert_eq!(outcome.violation, None);
    let begun = begun.into_inner();
    assert_eq!(begun["start 4000000001/pushed"], 1, "{begun:?}");
    assert_eq!(begun["remove volume 4000000001_cache"], 1, "{begun:?}");
}
