//! Requests that cannot be fulfilled: each is answered, and soon.

use axum::http::StatusCode;
use boardkeeper::state::{AppId, ServiceKey};
use tokio::time::sleep;

use crate::people::Press;
use crate::play::{HOUR, MINUTE, Play, well, with};
use crate::world::locks::Holder;
use crate::world::owner::{app, service};

/// Somebody asks for something, and is answered so within two minutes.
async fn soon(play: &Play, press: &Press, status: StatusCode) {
    assert_eq!(play.press(press, 2 * MINUTE).await, Some(status), "\n{}", play.sim.trace());
}

#[test]
fn a_start_of_what_is_not_to_run_is_a_mistake() {
    well(&[app(1, [("web", with("r/web:1", |it| it.running = false))])], async |play| {
        play.settles().await;
        soon(play, &Press::start_app(1), StatusCode::BAD_REQUEST).await;
        soon(play, &Press::restart(1, false), StatusCode::OK).await;
    });
}

#[test]
fn a_start_of_what_waits_for_a_boot_says_so() {
    let apps = [app(1, [("web", with("r/web:1", |it| it.requires_reboot = true))]), app(2, [("db", service("r/db:1"))])];
    well(&apps[1..], async |play| {
        play.settles().await;
        let db = ServiceKey::new(AppId(2), "db");
        play.sim.with(|model| model.locks.held.insert(db.clone(), Holder::User(0)));
        play.writes(apps.clone());
        play.until(|model| model.machine.ours().any(|it| it.face.key.service == "web")).await;
        sleep(MINUTE).await;
        soon(play, &Press::start_app(1), StatusCode::SERVICE_UNAVAILABLE).await;
        soon(play, &Press::restart(1, false), StatusCode::OK).await;
        play.sim.with(|model| model.unlock(&db));
        play.settles().await;
    });
}

#[test]
fn a_start_of_what_cannot_be_pulled_says_so() {
    well(&[app(1, [("web", service("r/web:1"))])], async |play| {
        play.sim.with(|model| model.machine.room_bytes = 1);
        sleep(HOUR / 4).await;
        soon(play, &Press::start_app(1), StatusCode::SERVICE_UNAVAILABLE).await;
        play.sim.with(|model| model.machine.room_bytes = u64::MAX);
        play.settles().await;
    });
}

#[test]
fn a_start_that_would_replace_a_container_under_a_lock_says_so() {
    well(&[app(1, [("web", service("r/web:1"))])], async |play| {
        play.settles().await;
        soon(play, &Press::stop_app(1, false), StatusCode::OK).await;
        let web = ServiceKey::new(AppId(1), "web");
        play.sim.with(|model| model.locks.held.insert(web.clone(), Holder::User(0)));
        play.writes([app(1, [("web", service("r/web:2"))])]);
        sleep(10 * MINUTE).await;
        soon(play, &Press::start_app(1), StatusCode::LOCKED).await;
        play.sim.with(|model| model.unlock(&web));
        play.settles().await;
    });
}
