//! Lives that have a name: what has gone wrong on other people's devices, told as short as possible.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::pending;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use boardkeeper::state::service::{Restart, Strategy};
use boardkeeper::state::{App, AppId, ImageRef, Phase, Service, ServiceKey};
use tokio::time::{Instant, sleep};

use crate::life::{Story, in_world};
use crate::people::Press;
use crate::world::locks::Holder;
use crate::world::owner::{app, service};
use crate::world::{Cut, Model, Sim, Weather};

const HOUR: Duration = Duration::from_secs(60 * 60);
const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_job_that_is_done_is_not_done_again() {
    let job = |it: &mut Service| {
        it.config.restart = Restart::No;
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

#[test]
fn a_cut_at_any_moment_leaves_one_container_of_each_service() {
    for (nth, cut) in (1..).zip([Cut::Crash, Cut::Power].into_iter().cycle()) {
        let mut calls = 0;
        well(&release(1), async |play| {
            play.sim.with(|model| model.fall_at = Some((nth, cut)));
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
            play.sim.with(|model| model.fall_at = Some((model.calls + after, cut)));
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
        play.until(|model| model.machine.ours().any(|it| it.face.phase == Phase::Created)).await;
        play.sim.with(|model| model.fall(Cut::Crash));
        play.settles().await;
        assert_eq!(play.alive(), ["web"]);
    });
}

#[test]
fn what_was_created_and_is_wanted_no_more_goes() {
    well(&[app(1, [("web", service("r/web:1"))])], async |play| {
        play.until(|model| model.machine.ours().any(|it| it.face.phase == Phase::Created)).await;
        play.sim.with(|model| model.fall(Cut::Crash));
        play.writes([app(1, [("db", service("r/db:1"))])]);
        play.settles().await;
        assert_eq!(play.alive(), ["db"]);
    });
}

#[test]
fn locks_that_an_agent_left_behind_are_given_back() {
    well(&release(1), async |play| {
        play.settles().await;
        play.writes(release(2));
        play.until(|model| model.locks.held.values().any(|it| *it == Holder::Agent)).await;
        play.sim.with(|model| model.fall(Cut::Crash));
        play.settles().await;
        assert!(play.sim.with(|model| model.locks.held.is_empty()));
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
    let web =
        |version: u32| [app(1, [("web", with(&format!("r/web:{version}"), |it| it.strategy = Strategy::DeleteThenDownload))])];
    well(&web(1), async |play| {
        play.settles().await;
        play.sim.with(|model| model.machine.room_bytes = 150_000_000);
        play.writes(web(2));
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
        play.settles().await;
        let web = ServiceKey::new(AppId(1), "web");
        let hold = || play.sim.with(|model| model.locks.held.extend([(web.clone(), Holder::User(0))]));
        hold();
        sleep(MINUTE).await;
        play.answers(&Press::name_host("kitchen", false), StatusCode::LOCKED).await;
        assert!(!play.sim.trace().contains("host: writes"));
        assert!(play.sim.with(|model| !model.locks.held.values().any(|it| *it == Holder::Agent)));
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

/// A release with a dependency, a job and a hand-over.
fn release(version: u32) -> [App; 1] {
    let image = |name: &str| format!("r/{name}:{version}");
    let web = with(&image("web"), |it| it.depends_on = BTreeSet::from(["db".to_owned()]));
    let mail = with(&image("mail"), |it| {
        it.strategy = Strategy::HandOver;
        it.handover_timeout = Duration::from_secs(20);
    });
    let mut app = app(1, [("db", service(&image("db"))), ("web", web), ("mail", mail)]);
    app.release_id = version;
    app.commit = Some(format!("c{version}"));
    [app]
}

fn with(image: &str, change: impl FnOnce(&mut Service)) -> Service {
    let mut it = service(image);
    change(&mut it);
    it
}

/// A fair world in which a story is played.
struct Play {
    sim: Sim,
    router: RefCell<Option<Router>>,
}

/// Plays a story in a fair world; nothing that must never happen does.
fn well(apps: &[App], story: impl AsyncFnOnce(&Play)) {
    let told = in_world(1, Weather::default(), async |sim| {
        sim.with(|model| model.owner.write(apps.iter().cloned()));
        let play = Play { sim: sim.clone(), router: RefCell::default() };
        let people = async |_: Sim, router| {
            *play.router.borrow_mut() = Some(router);
            pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = sim.agent_with(people) => (),
            () = story(&play) => (),
        }
    });
    let Story { trace, wrong } = told;
    assert_eq!(wrong, None, "\n{trace}");
}

impl Play {
    /// Waits until everything is as wanted, for half an hour at most.
    async fn settles(&self) {
        self.sim.wait_until_settled(HOUR / 2).await;
    }

    /// Waits until something is so, for an hour at most.
    async fn until(&self, so: impl Fn(&Model) -> bool) {
        let end = Instant::now() + HOUR;
        while !self.sim.with(|model| so(model)) {
            assert!(Instant::now() < end, "it never came\n{}", self.sim.trace());
            sleep(Duration::from_millis(1)).await;
        }
    }

    fn writes(&self, apps: impl IntoIterator<Item = App>) {
        self.sim.with(|model| {
            model.owner.write(apps);
            model.ring_documents();
        });
    }

    async fn press(&self, press: &Press, patience: Duration) -> Option<StatusCode> {
        let router = self.router.borrow().clone().expect("the agent runs");
        self.sim.press(&router, press, patience).await.map(|(status, _)| status)
    }

    async fn answers(&self, press: &Press, status: StatusCode) {
        assert_eq!(self.press(press, 10 * MINUTE).await, Some(status), "\n{}", self.sim.trace());
    }

    /// How often a deed was begun.
    fn begun(&self, deed: &str) -> u32 {
        self.sim.with(|model| model.judge.begun.get(deed).copied().unwrap_or_default())
    }

    /// Services that run, by name.
    fn alive(&self) -> Vec<String> {
        self.sim.with(|model| {
            let alive = model.machine.ours().filter(|it| it.face.phase.is_alive());
            alive.map(|it| it.face.key.service.clone()).collect::<BTreeSet<_>>().into_iter().collect()
        })
    }

    /// Images that run, by app and service.
    fn images(&self) -> Vec<String> {
        self.sim.with(|model| {
            let alive = model.machine.ours().filter(|it| it.face.phase.is_alive());
            let mut all: Vec<_> = alive.map(|it| (it.face.key.clone(), it.face.image_ref.to_string())).collect();
            all.sort();
            all.into_iter().map(|(_, image)| image).collect()
        })
    }
}
