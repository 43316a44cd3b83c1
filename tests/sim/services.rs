//! Actions on one service of an app.

use axum::http::StatusCode;
use boardkeeper::state::service::Strategy;
use boardkeeper::state::{AppId, ServiceKey};
use tokio::time::sleep;

use crate::clients::ApiCall;
use crate::scenario::{HOUR, MINUTE, Scenario, release, revision, run_scenario, web, with};
use crate::world::Model;
use crate::world::locks::Holder;
use crate::world::targets::{app, service};

fn key(service: &str) -> ServiceKey {
    ServiceKey::new(AppId(1), service)
}

/// The containers of a service, by their ids.
fn ids(scenario: &Scenario, service: &str) -> Vec<String> {
    scenario
        .sim
        .with(|model| model.engine.ours().filter(|it| it.view.key == key(service)).map(|it| it.view.id.0.clone()).collect())
}

#[test]
fn a_restart_of_a_service_recreates_its_container_and_no_other() {
    run_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        for name in ["web", "mail"] {
            let before = ["db", "web", "mail"].map(|it| (it, ids(scenario, it)));
            scenario.answers(&ApiCall::start_anew(1, name, false), StatusCode::OK).await;
            // It is answered when the new one runs.
            assert_eq!(scenario.alive(), ["db", "mail", "web"]);
            for (other, ids_before) in before {
                assert_eq!(ids(scenario, other) == ids_before, other != name, "{other}, restarted {name}");
            }
        }
        scenario.settles().await;
    });
}

#[test]
fn a_service_stays_stopped_until_it_is_started_or_restarted() {
    run_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        let before = ids(scenario, "mail");
        for again in [ApiCall::start(1, "mail"), ApiCall::start_anew(1, "mail", false)] {
            scenario.answers(&ApiCall::stop(1, "mail", false), StatusCode::OK).await;
            assert_eq!(scenario.alive(), ["db", "web"]);
            assert_eq!(ids(scenario, "mail"), before, "a stop keeps the container");
            scenario.sim.with(Model::engine_dies);
            sleep(HOUR).await;
            assert_eq!(scenario.alive(), ["db", "web"]);
            // A restart of another service does not start it.
            scenario.answers(&ApiCall::start_anew(1, "web", false), StatusCode::OK).await;
            assert_eq!(scenario.alive(), ["db", "web"]);
            scenario.answers(&again, StatusCode::OK).await;
            assert_eq!(scenario.alive(), ["db", "mail", "web"]);
        }
        assert_ne!(ids(scenario, "mail"), before, "a restart does not");
        scenario.settles().await;
    });
}

#[test]
fn a_lock_of_the_app_holds_up_a_restart_and_a_stop_but_no_start() {
    run_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        scenario.answers(&ApiCall::stop(1, "mail", false), StatusCode::OK).await;
        scenario.sim.with(|model| model.locks.held.insert(key("db"), Holder::User(0)));
        sleep(MINUTE).await;
        let before = ids(scenario, "web");
        scenario.answers(&ApiCall::start_anew(1, "web", false), StatusCode::LOCKED).await;
        scenario.answers(&ApiCall::stop(1, "web", false), StatusCode::LOCKED).await;
        scenario.answers(&ApiCall::start(1, "mail"), StatusCode::OK).await;
        assert_eq!((scenario.alive(), ids(scenario, "web")), (vec!["db".into(), "mail".into(), "web".into()], before.clone()));
        scenario.answers(&ApiCall::start_anew(1, "web", true), StatusCode::OK).await;
        assert_ne!(ids(scenario, "web"), before);
        scenario.answers(&ApiCall::stop(1, "web", true), StatusCode::OK).await;
        assert_eq!(scenario.alive(), ["db", "mail"]);
        scenario.sim.with(|model| model.unlock(&key("db")));
        scenario.settles().await;
    });
}

#[test]
fn what_is_not_there_is_not_found() {
    run_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        for call in [ApiCall::start_anew, |app: u32, name: &str, force: bool| ApiCall::stop(app, name, force)] {
            scenario.answers(&call(2, "web", false), StatusCode::NOT_FOUND).await;
            scenario.answers(&call(1, "job", false), StatusCode::NOT_FOUND).await;
        }
        scenario.answers(&ApiCall::start(2, "web"), StatusCode::NOT_FOUND).await;
        scenario.answers(&ApiCall::start(1, "job"), StatusCode::NOT_FOUND).await;
    });
}

#[test]
fn a_service_whose_image_is_still_pulled_has_no_container_to_act_on() {
    let apps = [app(1, [("web", service("r/web:1")), ("db", service("r/db:1"))])];
    run_scenario(&apps[..], async |scenario| {
        scenario.sim.with(|model| model.engine.room_bytes = 1);
        sleep(HOUR / 4).await;
        scenario.answers(&ApiCall::start(1, "web"), StatusCode::NOT_FOUND).await;
        scenario.answers(&ApiCall::start_anew(1, "web", false), StatusCode::NOT_FOUND).await;
        scenario.sim.with(|model| model.engine.room_bytes = u64::MAX);
        scenario.settles().await;
    });
}

#[test]
fn what_is_not_to_run_is_neither_started_nor_restarted() {
    let stopped = with("r/web:1", |it| it.running = false);
    run_scenario(&[app(1, [("web", stopped), ("db", service("r/db:1"))])], async |scenario| {
        scenario.settles().await;
        scenario.answers(&ApiCall::start(1, "web"), StatusCode::BAD_REQUEST).await;
        scenario.answers(&ApiCall::start_anew(1, "web", false), StatusCode::BAD_REQUEST).await;
        assert_eq!(scenario.alive(), ["db"]);
    });
}

#[test]
fn a_restart_of_a_service_that_the_engine_refuses_is_answered_and_kills_nothing() {
    run_scenario(&[web(1, Strategy::DownloadThenKill)], async |scenario| {
        scenario.settles().await;
        let before = ids(scenario, "web");
        scenario.sim.with(|model| model.engine.refuses.insert(key("web"), tokio::time::Instant::now()));
        scenario.answers(&ApiCall::start_anew(1, "web", false), StatusCode::SERVICE_UNAVAILABLE).await;
        sleep(10 * MINUTE).await;
        assert_eq!((ids(scenario, "web"), scenario.alive()), (before, vec!["web".to_owned()]));
        scenario.sim.with(|model| model.engine.refuses.remove(&key("web")));
        scenario.settles().await;
    });
}

#[test]
fn a_restart_of_an_app_includes_the_services_that_are_not_being_restarted() {
    run_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        let before = ["db", "web", "mail"].map(|it| ids(scenario, it));
        let (service, app) = (ApiCall::start_anew(1, "web", false), ApiCall::restart(1, false));
        tokio::join!(scenario.answers(&service, StatusCode::OK), scenario.answers(&app, StatusCode::OK));
        for (name, before) in ["db", "web", "mail"].iter().zip(before) {
            assert_ne!(ids(scenario, name), before, "{name}");
        }
        scenario.settles().await;
    });
}

#[test]
fn a_service_is_restarted_also_while_an_update_is_being_downloaded() {
    let apps = |version: u32| [app(1, [("web", revision(&format!("r/web:{version}"), "1")), ("db", service("r/db:1"))])];
    run_scenario(&apps(1), async |scenario| {
        scenario.settles().await;
        scenario.sim.with(|model| model.engine.room_bytes = 1);
        scenario.writes(apps(2));
        sleep(10 * MINUTE).await;
        scenario.answers(&ApiCall::start_anew(1, "web", false), StatusCode::OK).await;
        assert_eq!(scenario.images(), ["r/db:1", "r/web:1"]);
        scenario.sim.with(|model| model.engine.room_bytes = u64::MAX);
        scenario.settles().await;
        assert_eq!(scenario.images(), ["r/db:1", "r/web:2"]);
    });
}
