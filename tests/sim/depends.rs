//! Lives with services that depend on others, with conditions.

use std::time::Duration;

use axum::http::StatusCode;
use boardkeeper::state::config::RestartPolicy;
use boardkeeper::state::{App, Condition, ContainerPhase, Dependency, HealthStatus, Service};
use tokio::time::sleep;

use crate::people::Press;
use crate::play::{HOUR, MINUTE, Play, on, release, well, with};
use crate::world::owner::{app, check, service};
use crate::world::{Cut, Model};

fn condition(condition: Condition) -> Dependency {
    Dependency { condition, ..Dependency::default() }
}

/// A job that ends by itself, or one that runs until a request ends it.
fn job(image: &str, brief: bool) -> Service {
    with(image, |it| {
        it.config.restart = RestartPolicy::No;
        if brief {
            it.config.env.insert("BRIEF".into(), "1".into());
        }
    })
}

fn after_job(version: u32, brief: bool) -> [App; 1] {
    let web = with(&format!("r/web:{version}"), |it| it.depends_on = on("job", condition(Condition::Completed)));
    let mut app = app(1, [("job", job(&format!("r/job:{version}"), brief)), ("web", web)]);
    app.release_id = version;
    [app]
}

/// A service that waits for another's health.
fn after_health(sick: bool) -> [App; 1] {
    let db = with("r/db:1", |it| {
        it.config.health = Some(check());
        if sick {
            it.config.env.insert("SICK".into(), "1".into());
        }
    });
    let web = with("r/web:1", |it| it.depends_on = on("db", condition(Condition::Healthy)));
    [app(1, [("db", db), ("web", web)])]
}

fn is(model: &Model, service: &str, so: impl Fn(&boardkeeper::state::Container) -> bool) -> bool {
    model.machine.ours().any(|it| it.face.key.service == service && so(&it.face))
}

fn says(play: &Play, words: &str) -> bool {
    play.sim.with(|model| {
        let waiting = model.status.as_ref().map(|it| it.borrow().waiting.clone()).unwrap_or_default();
        waiting.iter().any(|it| it.to_string().contains(words))
    })
}

#[test]
fn a_job_runs_before_what_depends_on_it_and_only_once() {
    well(&after_job(1, true), async |play| {
        play.settles().await;
        play.sim.with(Model::engine_dies);
        sleep(HOUR).await;
        play.sim.with(|model| model.fall(Cut::Crash));
        sleep(HOUR).await;
        play.settles().await;
        assert_eq!(play.begun("start 1/job"), 1);
        play.writes(after_job(2, true));
        play.settles().await;
        assert_eq!(play.begun("start 1/job"), 2, "a new container of it runs once, too");
    });
}

#[test]
fn a_service_is_started_soon_after_its_dependency_became_healthy() {
    well(&after_health(false), async |play| {
        play.until(|model| is(model, "db", |it| it.health == Some(HealthStatus::Starting))).await;
        play.until(|model| is(model, "db", |it| it.health == Some(HealthStatus::Healthy))).await;
        sleep(Duration::from_secs(10)).await;
        assert_eq!(play.alive(), ["db", "web"], "\n{}", play.sim.trace());
    });
}

#[test]
fn a_request_that_waits_for_what_does_not_become_healthy_is_answered() {
    well(&after_health(true), async |play| {
        play.until(|model| is(model, "db", |it| it.health == Some(HealthStatus::Unhealthy))).await;
        sleep(MINUTE).await;
        assert!(says(play, "1/web waits for db to be healthy, and it does not: its health check fails"));
        let answer = play.press(&Press::restart(1, false), 3 * MINUTE).await;
        assert_eq!(answer, Some(StatusCode::SERVICE_UNAVAILABLE), "\n{}", play.sim.trace());
        play.settles().await;
        assert_eq!(play.alive(), ["db"]);
    });
}

#[test]
fn a_restart_waits_a_minute_for_a_long_job_and_no_longer() {
    well(&after_job(1, false), async |play| {
        play.until(|model| is(model, "job", |it| it.phase == ContainerPhase::Running)).await;
        let answer = play.press(&Press::restart(1, false), 2 * MINUTE).await;
        assert_eq!(answer, Some(StatusCode::OK), "\n{}", play.sim.trace());
        assert_eq!(play.alive(), ["job"]);
        assert!(says(play, "1/web waits for job to complete with exit code 0"));
        play.sim.with(|model| {
            let id = model.machine.ours().find(|it| it.face.key.service == "job").map(|it| it.face.id.clone());
            model.exits(&id.unwrap(), 0);
        });
        play.settles().await;
        assert_eq!(play.alive(), ["web"]);
    });
}

#[test]
fn a_job_that_a_power_cut_ended_is_told_and_not_run_again() {
    well(&after_job(1, false), async |play| {
        play.until(|model| is(model, "job", |it| it.phase == ContainerPhase::Running)).await;
        play.sim.with(|model| model.fall(Cut::Power));
        play.settles().await;
        assert!(says(play, "it exited with 255, and its restart policy `no` leaves it so"));
        assert_eq!((play.begun("start 1/job"), play.alive().len()), (1, 0));
        let answer = play.press(&Press::restart(1, false), 3 * MINUTE).await;
        assert_eq!((answer, play.begun("start 1/job")), (Some(StatusCode::OK), 2), "a restart runs it again");
    });
}

#[test]
fn a_dependent_is_restarted_once_after_its_dependency_was_made_anew() {
    let with_db = |version: u32| {
        let [mut app] = release(version);
        app.services.get_mut("web").unwrap().image = boardkeeper::state::ImageRef::new("r/web:1");
        app.services.get_mut("web").unwrap().depends_on = on("db", Dependency { restart: true, ..Dependency::default() });
        app
    };
    well(&[with_db(1)], async |play| {
        play.settles().await;
        sleep(HOUR).await;
        play.writes([with_db(2)]);
        play.settles().await;
        sleep(HOUR).await;
        assert_eq!((play.begun("restart 1/web"), play.begun("start 1/web")), (1, 1), "\n{}", play.sim.trace());
    });
}

#[test]
fn one_that_is_not_required_and_cannot_be_pulled_holds_up_nothing() {
    let web = with("r/web:1", |it| it.depends_on = on("db", Dependency { required: false, ..Dependency::default() }));
    well(&[app(1, [("web", web.clone())])], async |play| {
        play.settles().await;
        play.sim.with(|model| model.machine.room_bytes = 1);
        let other = app(1, [("web", web.clone()), ("db", service("r/db:1"))]);
        play.writes([other]);
        sleep(HOUR / 4).await;
        assert_eq!(play.alive(), ["web"]);
        play.sim.with(|model| model.machine.room_bytes = u64::MAX);
        play.settles().await;
    });
}
