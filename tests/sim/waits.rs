//! Requests that cannot be fulfilled: each is answered, and soon.

use axum::http::StatusCode;
use boardkeeper::state::{AppId, ServiceKey};
use tokio::time::sleep;

use crate::clients::ApiCall;
use crate::scenario::{HOUR, MINUTE, Scenario, run_scenario, with};
use crate::world::locks::Holder;
use crate::world::targets::{app, service};

/// A client sends a request, and gets this response within two minutes.
async fn soon(scenario: &Scenario, call: &ApiCall, status: StatusCode) {
    assert_eq!(scenario.send(call, 2 * MINUTE).await, Some(status), "\n{}", scenario.sim.trace());
}

#[test]
fn a_start_of_what_is_not_to_run_is_a_mistake() {
    run_scenario(&[app(1, [("web", with("r/web:1", |it| it.running = false))])], async |scenario| {
        scenario.settles().await;
        soon(scenario, &ApiCall::start_app(1), StatusCode::BAD_REQUEST).await;
        soon(scenario, &ApiCall::restart(1, false), StatusCode::OK).await;
    });
}

#[test]
fn a_start_of_what_waits_for_a_boot_says_so() {
    let apps = [app(1, [("web", with("r/web:1", |it| it.requires_reboot = true))]), app(2, [("db", service("r/db:1"))])];
    run_scenario(&apps[1..], async |scenario| {
        scenario.settles().await;
        let db = ServiceKey::new(AppId(2), "db");
        scenario.sim.with(|model| model.locks.held.insert(db.clone(), Holder::User(0)));
        scenario.writes(apps.clone());
        scenario.until(|model| model.engine.ours().any(|it| it.view.key.service == "web")).await;
        sleep(MINUTE).await;
        soon(scenario, &ApiCall::start_app(1), StatusCode::SERVICE_UNAVAILABLE).await;
        soon(scenario, &ApiCall::restart(1, false), StatusCode::OK).await;
        scenario.sim.with(|model| model.unlock(&db));
        scenario.settles().await;
    });
}

#[test]
fn a_start_of_what_cannot_be_pulled_says_so() {
    run_scenario(&[app(1, [("web", service("r/web:1"))])], async |scenario| {
        scenario.sim.with(|model| model.engine.room_bytes = 1);
        sleep(HOUR / 4).await;
        soon(scenario, &ApiCall::start_app(1), StatusCode::SERVICE_UNAVAILABLE).await;
        scenario.sim.with(|model| model.engine.room_bytes = u64::MAX);
        scenario.settles().await;
    });
}

#[test]
fn a_start_that_would_replace_a_container_under_a_lock_says_so() {
    run_scenario(&[app(1, [("web", service("r/web:1"))])], async |scenario| {
        scenario.settles().await;
        soon(scenario, &ApiCall::stop_app(1, false), StatusCode::OK).await;
        let web = ServiceKey::new(AppId(1), "web");
        scenario.sim.with(|model| model.locks.held.insert(web.clone(), Holder::User(0)));
        scenario.writes([app(1, [("web", service("r/web:2"))])]);
        sleep(10 * MINUTE).await;
        soon(scenario, &ApiCall::start_app(1), StatusCode::LOCKED).await;
        scenario.sim.with(|model| model.unlock(&web));
        scenario.settles().await;
    });
}
