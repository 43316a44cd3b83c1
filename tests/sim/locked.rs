//! Named lives about update locks: who owns them, who may rely on them, and when they are released.

use axum::http::StatusCode;
use boardkeeper::state::{App, AppId, ContainerPhase, ServiceKey};
use tokio::time::sleep;

use crate::clients::ApiCall;
use crate::scenario::{HOUR, MINUTE, Scenario, release, revision, run_scenario};
use crate::world::CrashKind;
use crate::world::locks::Holder;
use crate::world::targets::{app, service};

/// The agent dies in an update, for which it has taken locks.
async fn dies_with_locks(scenario: &Scenario) {
    scenario.settles().await;
    scenario.writes(release(2));
    scenario.until(|model| model.locks.are_taken()).await;
    scenario.sim.with(|model| model.crash(CrashKind::Crash));
}

#[test]
fn locks_that_an_agent_left_behind_are_given_back() {
    run_scenario(&release(1), async |scenario| {
        dies_with_locks(scenario).await;
        scenario.settles().await;
        assert!(scenario.sim.with(|model| model.locks.held.is_empty()));
    });
}

/// A release drops a service that holds its lock, by force; its file was left, and the app waited for it for ever.
#[test]
fn the_lock_of_a_service_that_is_gone_holds_nothing_up() {
    run_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        let gone = ServiceKey::new(AppId(1), "gone");
        scenario.sim.with(|model| model.locks.held.insert(gone.clone(), Holder::User(0)));
        scenario.writes(release(2));
        sleep(10 * MINUTE).await;
        scenario.settles().await;
        assert_eq!(scenario.images(), ["r/db:2", "r/mail:2", "r/web:2"]);
        scenario.answers(&ApiCall::restart(1, false), StatusCode::OK).await;
        scenario.answers(&ApiCall::purge(1, false), StatusCode::OK).await;
        scenario.settles().await;
        assert!(scenario.sim.with(|model| model.locks.held.contains_key(&gone)), "it is not ours to remove");
        scenario.answers(&ApiCall::reboot(false), StatusCode::ACCEPTED).await;
        sleep(MINUTE).await;
        scenario.settles().await;
    });
}

/// What was known of the locks was older than the request.
#[test]
fn a_lock_that_was_given_back_a_moment_ago_refuses_no_request() {
    run_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        let web = ServiceKey::new(AppId(1), "web");
        for _ in 0..20 {
            scenario.sim.with(|model| model.locks.held.insert(web.clone(), Holder::User(0)));
            sleep(MINUTE).await;
            scenario.answers(&ApiCall::restart(1, false), StatusCode::LOCKED).await;
            // No notification: the kernel's inotify event is still on its way.
            scenario.sim.with(|model| model.locks.held.remove(&web));
            scenario.answers(&ApiCall::restart(1, false), StatusCode::OK).await;
            scenario.settles().await;
        }
    });
}

/// And one that was taken a moment ago refuses it, although the agent had not looked.
#[test]
fn a_lock_that_was_taken_a_moment_ago_refuses_a_request_at_once() {
    run_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        scenario.sim.with(|model| model.locks.held.insert(ServiceKey::new(AppId(1), "web"), Holder::User(0)));
        scenario.answers(&ApiCall::restart(1, false), StatusCode::LOCKED).await;
        scenario.answers(&ApiCall::stop_app(1, false), StatusCode::BAD_REQUEST).await;
        scenario.settles().await;
    });
}

/// A supervisor that was killed left its lock of one service, and another service holds its own.
#[test]
fn a_leftover_beside_a_services_lock_is_given_back() {
    run_scenario(&release(1), async |scenario| {
        scenario.settles().await;
        let [web, db] = ["web", "db"].map(|it| ServiceKey::new(AppId(1), it));
        scenario.sim.with(|model| model.locks.held.extend([(web.clone(), Holder::User(0)), (db, Holder::Agent)]));
        sleep(10 * MINUTE).await;
        assert!(!scenario.sim.with(|model| model.locks.are_taken()));
        assert!(scenario.sim.with(|model| model.locks.held.contains_key(&web)));
        scenario.settles().await;
    });
}

/// One service, and how it is configured.
fn db(rev: &str) -> [App; 1] {
    [app(1, [("db", revision("r/db:1", rev))])]
}

/// Seed 34420: a target that came while the one before it was acted on had nothing to do, and gave the locks back.
#[test]
fn locks_are_kept_until_what_counted_on_them_is_done() {
    run_scenario(&db("1"), async |scenario| {
        scenario.settles().await;
        scenario.writes(db("2"));
        scenario.until(|model| model.checker.disturbs()).await;
        scenario.writes(db("1"));
        sleep(MINUTE).await;
        scenario.settles().await;
    });
}

/// Seed 36435: an update counted on the locks that were taken to configure the host, and were given back in the midst of it.
#[test]
fn no_update_counts_on_the_locks_of_another_errand() {
    run_scenario(&db("1"), async |scenario| {
        scenario.settles().await;
        let update = async {
            scenario.until(|model| model.locks.are_taken()).await;
            scenario.writes(db("2"));
        };
        let call = ApiCall::name_host("kitchen", false);
        let (named, ()) = futures_util::join!(scenario.send(&call, HOUR), update);
        assert_eq!(named, Some(StatusCode::OK));
        scenario.settles().await;
    });
}

/// Seed 72633: a service that came while the host was configured had its lock, and so a reboot was refused; that gave back the
/// others.
#[test]
fn a_reboot_that_is_refused_leaves_the_locks_under_which_the_host_is_configured() {
    run_scenario(&db("1"), async |scenario| {
        scenario.settles().await;
        scenario.sim.with(|model| model.net.slow_host = true);
        let refused = async {
            scenario.until(|model| model.locks.are_taken()).await;
            scenario.writes([app(1, [("db", revision("r/db:1", "1")), ("mail", service("r/mail:1"))])]);
            scenario.until(|model| model.engine.ours().count() == 2).await;
            let mail = ServiceKey::new(AppId(1), "mail");
            scenario.sim.with(|model| model.locks.held.insert(mail.clone(), Holder::User(0)));
            scenario.answers(&ApiCall::reboot(false), StatusCode::LOCKED).await;
            scenario.sim.with(|model| model.unlock(&mail));
        };
        let call = ApiCall::name_host("kitchen", false);
        let (named, ()) = futures_util::join!(scenario.send(&call, HOUR), refused);
        assert_eq!(named, Some(StatusCode::OK));
        scenario.settles().await;
    });
}

/// A client that read the host's configuration meanwhile had the agent take those locks for its own, and release them.
#[test]
fn no_update_counts_on_the_locks_of_another_errand_while_the_host_is_read() {
    run_scenario(&db("1"), async |scenario| {
        scenario.settles().await;
        scenario.sim.with(|model| model.net.slow_host = true);
        let update = async {
            scenario.until(|model| model.locks.are_taken()).await;
            scenario.answers(&ApiCall::read_host(), StatusCode::OK).await;
            scenario.writes(db("2"));
        };
        let call = ApiCall::name_host("kitchen", false);
        let (named, ()) = futures_util::join!(scenario.send(&call, HOUR), update);
        assert_eq!(named, Some(StatusCode::OK));
        let note = "host: has the name Some(\"kitchen\") under 1 locks";
        assert!(scenario.sim.trace().contains(note), "{}", scenario.sim.trace());
        scenario.settles().await;
    });
}

/// Seed 259091: the agent was started while no engine answered, and knew of no container of an app that was to go.
#[test]
fn the_lock_of_an_app_that_is_to_go_holds_up_a_reboot_where_no_engine_answers() {
    let stays = || app(2, [("db", service("r/db:1"))]);
    run_scenario(&[app(1, [("web", service("r/web:1"))]), stays()], async |scenario| {
        scenario.settles().await;
        let web = ServiceKey::new(AppId(1), "web");
        scenario.sim.with(|model| model.locks.held.insert(web.clone(), Holder::User(0)));
        scenario.writes([stays()]);
        sleep(MINUTE).await;
        scenario.sim.with(|model| {
            model.engine.observe_fails = true;
            model.crash(CrashKind::Crash);
        });
        sleep(MINUTE).await;
        scenario.answers(&ApiCall::reboot(false), StatusCode::LOCKED).await;
        scenario.sim.with(|model| {
            model.engine.observe_fails = false;
            model.unlock(&web);
        });
        sleep(10 * MINUTE).await;
        scenario.settles().await;
    });
}

/// Seed 62632: a restart by force had the reboot that the host's configuration waited for override the locks of every app.
#[test]
fn a_restart_by_force_has_no_reboot_override_locks() {
    run_scenario(&[app(1, [("web", service("r/web:1"))]), app(2, [])], async |scenario| {
        scenario.settles().await;
        let web = ServiceKey::new(AppId(1), "web");
        let boot = || scenario.sim.with(|model| model.boot_id());
        let before = boot();
        scenario.sim.with(|model| {
            model.locks.held.insert(web.clone(), Holder::User(0));
            model.want_boot();
        });
        sleep(MINUTE).await;
        scenario.answers(&ApiCall::restart(2, true), StatusCode::OK).await;
        sleep(10 * MINUTE).await;
        assert_eq!(boot(), before);
        scenario.sim.with(|model| model.unlock(&web));
        sleep(10 * MINUTE).await;
        assert_ne!(boot(), before);
        scenario.settles().await;
    });
}

/// A card that went bad can be written no more, and so no lock be taken on it.
#[test]
fn a_board_that_cannot_be_locked_shuts_down_by_force() {
    run_scenario(&[app(1, [("web", service("r/web:1"))])], async |scenario| {
        scenario.settles().await;
        let before = scenario.sim.with(|model| {
            model.locks.engines.insert(ServiceKey::new(AppId(1), "web"));
            model.boot_id()
        });
        scenario.answers(&ApiCall::reboot(false), StatusCode::INTERNAL_SERVER_ERROR).await;
        scenario.answers(&ApiCall::reboot(true), StatusCode::ACCEPTED).await;
        sleep(MINUTE).await;
        assert_ne!(scenario.sim.with(|model| model.boot_id()), before);
        scenario.settles().await;
    });
}

/// Seed 66: locks that the agent had just given back counted as its own for as long as they could not be read.
#[test]
fn nothing_is_disturbed_without_its_lock_while_locks_cannot_be_read() {
    run_scenario(&release(1), async |scenario| {
        dies_with_locks(scenario).await;
        scenario.until(|model| model.locks.held.is_empty()).await;
        scenario.sim.with(|model| model.locks.unreadable = true);
        scenario.writes(release(3));
        sleep(10 * MINUTE).await;
        assert_eq!(scenario.images(), ["r/db:3", "r/mail:3", "r/web:3"]);
        scenario.sim.with(|model| model.locks.unreadable = false);
        scenario.settles().await;
        assert!(scenario.sim.with(|model| model.locks.held.is_empty()));
    });
}

/// An engine makes what it is to mount and is not there, for root alone: an agent that is not could never lock again.
#[test]
fn a_container_that_is_started_after_a_boot_finds_the_directory_of_its_locks() {
    run_scenario(&release(1), async |scenario| {
        scenario.until(|model| model.engine.ours().any(|it| it.view.phase == ContainerPhase::Created)).await;
        scenario.sim.with(|model| model.crash(CrashKind::Power));
        sleep(MINUTE).await;
        scenario.settles().await;
        scenario.writes(release(2));
        scenario.settles().await;
        assert_eq!(scenario.images(), ["r/db:2", "r/mail:2", "r/web:2"]);
    });
}
