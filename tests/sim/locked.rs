//! Named lives about update locks: who owns them, who may rely on them, and when they are released.

use axum::http::StatusCode;
use boardkeeper::state::{App, AppId, ContainerPhase, ServiceKey};
use tokio::time::sleep;

use crate::people::Press;
use crate::play::{HOUR, MINUTE, Play, release, revision, well};
use crate::world::Cut;
use crate::world::locks::Holder;
use crate::world::owner::{app, service};

/// The agent dies in an update, for which it has taken locks.
async fn dies_with_locks(play: &Play) {
    play.settles().await;
    play.writes(release(2));
    play.until(|model| model.locks.are_taken()).await;
    play.sim.with(|model| model.fall(Cut::Crash));
}

#[test]
fn locks_that_an_agent_left_behind_are_given_back() {
    well(&release(1), async |play| {
        dies_with_locks(play).await;
        play.settles().await;
        assert!(play.sim.with(|model| model.locks.held.is_empty()));
    });
}

/// A release drops a service that holds its lock, by force; its file was left, and the app waited for it for ever.
#[test]
fn the_lock_of_a_service_that_is_gone_holds_nothing_up() {
    well(&release(1), async |play| {
        play.settles().await;
        let gone = ServiceKey::new(AppId(1), "gone");
        play.sim.with(|model| model.locks.held.insert(gone.clone(), Holder::User(0)));
        play.writes(release(2));
        sleep(10 * MINUTE).await;
        play.settles().await;
        assert_eq!(play.images(), ["r/db:2", "r/mail:2", "r/web:2"]);
        play.answers(&Press::restart(1, false), StatusCode::OK).await;
        play.answers(&Press::purge(1, false), StatusCode::OK).await;
        play.settles().await;
        assert!(play.sim.with(|model| model.locks.held.contains_key(&gone)), "it is not ours to remove");
        play.answers(&Press::reboot(false), StatusCode::ACCEPTED).await;
        sleep(MINUTE).await;
        play.settles().await;
    });
}

/// What was known of the locks was older than the request.
#[test]
fn a_lock_that_was_given_back_a_moment_ago_refuses_no_request() {
    well(&release(1), async |play| {
        play.settles().await;
        let web = ServiceKey::new(AppId(1), "web");
        for _ in 0..20 {
            play.sim.with(|model| model.locks.held.insert(web.clone(), Holder::User(0)));
            sleep(MINUTE).await;
            play.answers(&Press::restart(1, false), StatusCode::LOCKED).await;
            // No bell: the kernel's word of it is still on its way.
            play.sim.with(|model| model.locks.held.remove(&web));
            play.answers(&Press::restart(1, false), StatusCode::OK).await;
            play.settles().await;
        }
    });
}

/// And one that was taken a moment ago refuses it, although the agent had not looked.
#[test]
fn a_lock_that_was_taken_a_moment_ago_refuses_a_request_at_once() {
    well(&release(1), async |play| {
        play.settles().await;
        play.sim.with(|model| model.locks.held.insert(ServiceKey::new(AppId(1), "web"), Holder::User(0)));
        play.answers(&Press::restart(1, false), StatusCode::LOCKED).await;
        play.answers(&Press::stop_app(1, false), StatusCode::BAD_REQUEST).await;
        play.settles().await;
    });
}

/// A supervisor that was killed left its lock of one service, and another service holds its own.
#[test]
fn a_leftover_beside_a_services_lock_is_given_back() {
    well(&release(1), async |play| {
        play.settles().await;
        let [web, db] = ["web", "db"].map(|it| ServiceKey::new(AppId(1), it));
        play.sim.with(|model| model.locks.held.extend([(web.clone(), Holder::User(0)), (db, Holder::Agent)]));
        sleep(10 * MINUTE).await;
        assert!(!play.sim.with(|model| model.locks.are_taken()));
        assert!(play.sim.with(|model| model.locks.held.contains_key(&web)));
        play.settles().await;
    });
}

/// One service, and how it is configured.
fn db(rev: &str) -> [App; 1] {
    [app(1, [("db", revision("r/db:1", rev))])]
}

/// Seed 34420: a target that came while the one before it was acted on had nothing to do, and gave the locks back.
#[test]
fn locks_are_kept_until_what_counted_on_them_is_done() {
    well(&db("1"), async |play| {
        play.settles().await;
        play.writes(db("2"));
        play.until(|model| model.judge.disturbs()).await;
        play.writes(db("1"));
        sleep(MINUTE).await;
        play.settles().await;
    });
}

/// Seed 36435: an update counted on the locks that were taken to configure the host, and were given back in the midst of it.
#[test]
fn no_update_counts_on_the_locks_of_another_errand() {
    well(&db("1"), async |play| {
        play.settles().await;
        let update = async {
            play.until(|model| model.locks.are_taken()).await;
            play.writes(db("2"));
        };
        let press = Press::name_host("kitchen", false);
        let (named, ()) = futures_util::join!(play.press(&press, HOUR), update);
        assert_eq!(named, Some(StatusCode::OK));
        play.settles().await;
    });
}

/// Seed 72633: a service that came while the host was configured had its lock, and so a reboot was refused; that gave back the
/// others.
#[test]
fn a_reboot_that_is_refused_leaves_the_locks_under_which_the_host_is_configured() {
    well(&db("1"), async |play| {
        play.settles().await;
        play.sim.with(|model| model.net.slow_host = true);
        let refused = async {
            play.until(|model| model.locks.are_taken()).await;
            play.writes([app(1, [("db", revision("r/db:1", "1")), ("mail", service("r/mail:1"))])]);
            play.until(|model| model.machine.ours().count() == 2).await;
            let mail = ServiceKey::new(AppId(1), "mail");
            play.sim.with(|model| model.locks.held.insert(mail.clone(), Holder::User(0)));
            play.answers(&Press::reboot(false), StatusCode::LOCKED).await;
            play.sim.with(|model| model.unlock(&mail));
        };
        let press = Press::name_host("kitchen", false);
        let (named, ()) = futures_util::join!(play.press(&press, HOUR), refused);
        assert_eq!(named, Some(StatusCode::OK));
        play.settles().await;
    });
}

/// Whoever read the host's configuration in the midst of that had the agent take those locks for its own, and give them back.
#[test]
fn no_update_counts_on_the_locks_of_another_errand_while_the_host_is_read() {
    well(&db("1"), async |play| {
        play.settles().await;
        play.sim.with(|model| model.net.slow_host = true);
        let update = async {
            play.until(|model| model.locks.are_taken()).await;
            play.answers(&Press::read_host(), StatusCode::OK).await;
            play.writes(db("2"));
        };
        let press = Press::name_host("kitchen", false);
        let (named, ()) = futures_util::join!(play.press(&press, HOUR), update);
        assert_eq!(named, Some(StatusCode::OK));
        let note = "host: has the name Some(\"kitchen\") under 1 locks";
        assert!(play.sim.trace().contains(note), "{}", play.sim.trace());
        play.settles().await;
    });
}

/// Seed 259091: the agent was started while no engine answered, and knew of no container of an app that was to go.
#[test]
fn the_lock_of_an_app_that_is_to_go_holds_up_a_reboot_where_no_engine_answers() {
    let stays = || app(2, [("db", service("r/db:1"))]);
    well(&[app(1, [("web", service("r/web:1"))]), stays()], async |play| {
        play.settles().await;
        let web = ServiceKey::new(AppId(1), "web");
        play.sim.with(|model| model.locks.held.insert(web.clone(), Holder::User(0)));
        play.writes([stays()]);
        sleep(MINUTE).await;
        play.sim.with(|model| {
            model.machine.blind = true;
            model.fall(Cut::Crash);
        });
        sleep(MINUTE).await;
        play.answers(&Press::reboot(false), StatusCode::LOCKED).await;
        play.sim.with(|model| {
            model.machine.blind = false;
            model.unlock(&web);
        });
        sleep(10 * MINUTE).await;
        play.settles().await;
    });
}

/// Seed 62632: a restart by force had the reboot that the host's configuration waited for override the locks of every app.
#[test]
fn a_restart_by_force_has_no_reboot_override_locks() {
    well(&[app(1, [("web", service("r/web:1"))]), app(2, [])], async |play| {
        play.settles().await;
        let web = ServiceKey::new(AppId(1), "web");
        let boot = || play.sim.with(|model| model.boot_id());
        let before = boot();
        play.sim.with(|model| {
            model.locks.held.insert(web.clone(), Holder::User(0));
            model.want_boot();
        });
        sleep(MINUTE).await;
        play.answers(&Press::restart(2, true), StatusCode::OK).await;
        sleep(10 * MINUTE).await;
        assert_eq!(boot(), before);
        play.sim.with(|model| model.unlock(&web));
        sleep(10 * MINUTE).await;
        assert_ne!(boot(), before);
        play.settles().await;
    });
}

/// A card that went bad can be written no more, and so no lock be taken on it.
#[test]
fn a_board_that_cannot_be_locked_ends_for_whoever_insists() {
    well(&[app(1, [("web", service("r/web:1"))])], async |play| {
        play.settles().await;
        let before = play.sim.with(|model| {
            model.locks.engines.insert(ServiceKey::new(AppId(1), "web"));
            model.boot_id()
        });
        play.answers(&Press::reboot(false), StatusCode::INTERNAL_SERVER_ERROR).await;
        play.answers(&Press::reboot(true), StatusCode::ACCEPTED).await;
        sleep(MINUTE).await;
        assert_ne!(play.sim.with(|model| model.boot_id()), before);
        play.settles().await;
    });
}

/// Seed 66: locks that the agent had just given back counted as its own for as long as they could not be read.
#[test]
fn nothing_is_disturbed_without_its_lock_while_locks_cannot_be_read() {
    well(&release(1), async |play| {
        dies_with_locks(play).await;
        play.until(|model| model.locks.held.is_empty()).await;
        play.sim.with(|model| model.locks.unreadable = true);
        play.writes(release(3));
        sleep(10 * MINUTE).await;
        assert_eq!(play.images(), ["r/db:3", "r/mail:3", "r/web:3"]);
        play.sim.with(|model| model.locks.unreadable = false);
        play.settles().await;
        assert!(play.sim.with(|model| model.locks.held.is_empty()));
    });
}

/// An engine makes what it is to mount and is not there, for root alone: an agent that is not could never lock again.
#[test]
fn a_container_that_is_started_after_a_boot_finds_the_directory_of_its_locks() {
    well(&release(1), async |play| {
        play.until(|model| model.machine.ours().any(|it| it.face.phase == ContainerPhase::Created)).await;
        play.sim.with(|model| model.fall(Cut::Power));
        sleep(MINUTE).await;
        play.settles().await;
        play.writes(release(2));
        play.settles().await;
        assert_eq!(play.images(), ["r/db:2", "r/mail:2", "r/web:2"]);
    });
}
