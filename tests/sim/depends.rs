//! Lives with services that depend on others, with conditions.

use std::time::Duration;

use axum::http::StatusCode;
use boardkeeper::state::config::RestartPolicy;
use boardkeeper::state::{App, Condition, ContainerPhase, Dependency, HealthStatus, Service};
use tokio::time::sleep;

use crate::clients::ApiCall;
use crate::scenario::{HOUR, MINUTE, Scenario, on, release, run_scenario, with};
use crate::world::targets::{app, check, service};
use crate::world::{CrashKind, Model};

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
    model.engine.ours().any(|it| it.view.key.service == service && so(&it.view))
}

fn says(scenario: &Scenario, words: &str) -> bool {
    scenario.sim.with(|model| model_says(model, words))
}

fn model_says(model: &Model, words: &str) -> bool {
    let waiting = model.status.as_ref().map(|it| it.borrow().waiting.clone()).unwrap_or_default();
    waiting.iter().any(|it| it.to_string().contains(words))
}

#[test]
fn a_job_runs_before_what_depends_on_it_and_only_once() {
    run_scenario(&after_job(1, true), async |scenario| {
        scenario.settles().await;
        scenario.sim.with(Model::engine_dies);
        sleep(HOUR).await;
        scenario.sim.with(|model| model.crash(CrashKind::Crash));
        sleep(HOUR).await;
        scenario.settles().await;
        assert_eq!(scenario.begun("start 1/job"), 1);
        scenario.writes(after_job(2, true));
        scenario.settles().await;
        assert_eq!(scenario.begun("start 1/job"), 2, "a new container of it runs once, too");
    });
}

#[test]
fn a_service_is_started_soon_after_its_dependency_became_healthy() {
    run_scenario(&after_health(false), async |scenario| {
        scenario.until(|model| is(model, "db", |it| it.health == Some(HealthStatus::Starting))).await;
        scenario.until(|model| is(model, "db", |it| it.health == Some(HealthStatus::Healthy))).await;
        sleep(Duration::from_secs(10)).await;
        assert_eq!(scenario.alive(), ["db", "web"], "\n{}", scenario.sim.trace());
    });
}

#[test]
fn a_request_that_waits_for_what_does_not_become_healthy_is_answered() {
    run_scenario(&after_health(true), async |scenario| {
        scenario.until(|model| is(model, "db", |it| it.health == Some(HealthStatus::Unhealthy))).await;
        sleep(MINUTE).await;
        assert!(says(scenario, "1/web waits for db to be healthy, and it does not: its health check fails"));
        let answer = scenario.send(&ApiCall::restart(1, false), 3 * MINUTE).await;
        assert_eq!(answer, Some(StatusCode::SERVICE_UNAVAILABLE), "\n{}", scenario.sim.trace());
        scenario.settles().await;
        assert_eq!(scenario.alive(), ["db"]);
    });
}

#[test]
fn a_restart_waits_a_minute_for_a_long_job_and_no_longer() {
    run_scenario(&after_job(1, false), async |scenario| {
        let words = "1/web waits for job to complete with exit code 0";
        // While an image is pulled, a restart waits for no service of it.
        let runs = |model: &Model| is(model, "job", |it| it.phase == ContainerPhase::Running);
        scenario.until(|model| runs(model) && model_says(model, words)).await;
        let answer = scenario.send(&ApiCall::restart(1, false), 2 * MINUTE).await;
        assert_eq!(answer, Some(StatusCode::OK), "\n{}", scenario.sim.trace());
        assert_eq!(scenario.alive(), ["job"]);
        assert!(says(scenario, words));
        scenario.sim.with(|model| {
            let id = model.engine.ours().find(|it| it.view.key.service == "job").map(|it| it.view.id.clone());
            model.exits(&id.unwrap(), 0);
        });
        scenario.settles().await;
        assert_eq!(scenario.alive(), ["web"]);
    });
}

#[test]
fn a_job_that_a_power_cut_ended_is_reported_and_not_run_again() {
    run_scenario(&after_job(1, false), async |scenario| {
        scenario.until(|model| is(model, "job", |it| it.phase == ContainerPhase::Running)).await;
        scenario.sim.with(|model| model.crash(CrashKind::Power));
        scenario.settles().await;
        assert!(says(scenario, "it exited with 255, and its restart policy `no` leaves it so"));
        assert_eq!((scenario.begun("start 1/job"), scenario.alive().len()), (1, 0));
        let answer = scenario.send(&ApiCall::restart(1, false), 3 * MINUTE).await;
        assert_eq!((answer, scenario.begun("start 1/job")), (Some(StatusCode::OK), 2), "a restart runs it again");
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
    run_scenario(&[with_db(1)], async |scenario| {
        scenario.settles().await;
        sleep(HOUR).await;
        scenario.writes([with_db(2)]);
        scenario.settles().await;
        sleep(HOUR).await;
        assert_eq!((scenario.begun("restart 1/web"), scenario.begun("start 1/web")), (1, 1), "\n{}", scenario.sim.trace());
    });
}

#[test]
fn one_that_is_not_required_and_cannot_be_pulled_holds_up_nothing() {
    let web = with("r/web:1", |it| it.depends_on = on("db", Dependency { required: false, ..Dependency::default() }));
    run_scenario(&[app(1, [("web", web.clone())])], async |scenario| {
        scenario.settles().await;
        scenario.sim.with(|model| model.engine.room_bytes = 1);
        let other = app(1, [("web", web.clone()), ("db", service("r/db:1"))]);
        scenario.writes([other]);
        sleep(HOUR / 4).await;
        assert_eq!(scenario.alive(), ["web"]);
        scenario.sim.with(|model| model.engine.room_bytes = u64::MAX);
        scenario.settles().await;
    });
}
