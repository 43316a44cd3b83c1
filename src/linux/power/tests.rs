use futures_util::{Stream, StreamExt};
use zbus::Error;

use super::*;
use crate::port::Power as _;

#[tokio::test]
async fn without_a_bus_it_says_where_it_looked() {
    let root = tempfile::tempdir().unwrap();
    for power in [Power::new(root.path(), None), Power::new(root.path(), Some("nonsense"))] {
        let said = power.shut_down(PowerAction::Reboot).await.unwrap_err().to_string();
        assert!(said.contains("cannot reach the system bus at `") && said.contains("DBUS_SYSTEM_BUS_ADDRESS"), "{said}");
        assert_eq!(power.check_shutdown(PowerAction::PowerOff).await.unwrap_err().to_string(), said);
        assert_eq!(power.inhibitors().await.unwrap_err().to_string(), said);
    }
}

#[test]
fn what_logind_says_is_told_with_what_to_do() {
    assert!(refused(PowerAction::Reboot, "inhibitor-blocked").to_string().contains("systemd-inhibit --list"));
    assert!(refused(PowerAction::Reboot, "challenge").to_string().contains("allow org.freedesktop.login1.reboot in polkit"));
    assert!(refused(PowerAction::PowerOff, "no").to_string().contains("allow org.freedesktop.login1.power-off in polkit"));
    assert!(refused(PowerAction::PowerOff, "na").to_string().contains("cannot"));
    let blocked = Error::Failure("org.freedesktop.login1.BlockedByInhibitorLock".into());
    assert!(failed("no reboot", &blocked).to_string().contains("systemd-inhibit"));
    assert!(failed("no reboot", &Error::InvalidReply).to_string().contains("journalctl"));
}

#[tokio::test]
async fn an_update_of_the_host_is_seen_by_its_files() {
    let root = tempfile::tempdir().unwrap();
    let power = Power::new(root.path(), None);
    assert_eq!(power.host_update().await, None);
    std::fs::create_dir_all(root.path().join("mnt/state")).unwrap();
    for name in ["rollback-health-breadcrumb", "rollback-altboot-breadcrumb"] {
        let file = root.path().join("mnt/state").join(name);
        std::fs::write(&file, "").unwrap();
        assert_eq!(power.host_update().await, Some(file.display().to_string()));
        std::fs::remove_file(file).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_is_not_there_is_watched_and_not_polled() {
    let root = tempfile::tempdir().unwrap();
    let power = Power::new(root.path(), None);
    let mut notices = std::pin::pin!(power.notices());
    let mut polls = 0;
    let counted = std::future::poll_fn(|cx| {
        polls += 1;
        notices.as_mut().poll_next(cx).map(|_| ())
    });
    assert!(timeout(Duration::from_secs(24 * 3600), counted).await.is_err());
    // Once at first, and when the day is over.
    assert!(polls <= 4, "polled {polls} times in a day");
}

#[tokio::test]
async fn a_bus_that_comes_is_connected_to_at_once() {
    let root = tempfile::tempdir().unwrap();
    let power = Power::new(root.path(), None);
    let bus = async {
        tokio::task::yield_now().await;
        std::fs::create_dir_all(root.path().join("run/dbus")).unwrap();
        let socket = tokio::net::UnixListener::bind(root.path().join("run/dbus/system_bus_socket")).unwrap();
        socket.accept().await.unwrap();
    };
    let mut notices = std::pin::pin!(power.notices());
    tokio::select! {
        _ = notices.next() => unreachable!("nothing is announced"),
        () = bus => (),
    }
}
