use super::*;
use crate::port::Power as _;

fn error(power: &Power) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(power.reboot()).unwrap_err().0
}

#[test]
fn without_a_bus_it_says_where_it_looked() {
    let root = tempfile::tempdir().unwrap();
    let said = error(&Power::new(root.path(), None));
    assert!(said.contains("cannot reach the system bus at `unix:path=") && said.contains("DBUS_SYSTEM_BUS_ADDRESS"), "{said}");
    let said = error(&Power::new(root.path(), Some("nonsense")));
    assert!(said.contains("`nonsense`"), "{said}");
}

#[test]
fn what_logind_says_is_told_with_what_to_do() {
    assert!(may("yes") && may("challenge") && !may("no") && !may("na") && !may("inhibited"));
    assert!(refused("inhibitor-blocked").0.contains("systemd-inhibit --list"));
    assert!(refused("no").0.contains("polkit"));
    assert!(told(&Error::Failure("org.freedesktop.login1.BlockedByInhibitorLock".into())).0.contains("systemd-inhibit"));
    assert!(told(&Error::InvalidReply).0.contains("journalctl"));
}
