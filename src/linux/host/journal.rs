//! Whether the host's journal outlives a boot.
//!
//! balenaOS reads it from `persistentLogging` of its `config.json` at boot. On any other host the unit of our package does it:
//! while that is active, it has a drop-in for journald in `/run`, by which the journal is on the disk.

use std::path::{Path, PathBuf};

use crate::linux::host::{provisioned, release};
use crate::linux::power::reboot_required::{Breadcrumb, RebootRequest};
use crate::linux::systemd::{Systemd, UnitAction};
use crate::port::JournalChange;

/// The unit of our package.
const UNIT: &str = "boardkeeper-journal.service";
/// Its drop-in, below the host's root.
const DROP_IN: &str = "run/systemd/journald.conf.d/90-boardkeeper.conf";
/// `ID` in the `os-release` of balenaOS, now and until 2018.
const BALENA_OS: [&str; 2] = ["balena-os", "resin-os"];
/// The field of its `config.json`.
const FIELD: &str = "persistentLogging";

/// What decides on a host whether its journal outlives a boot.
#[derive(Debug, Clone)]
pub(super) enum JournalHost {
    /// Its `config.json`, at boot.
    BalenaOs { config: PathBuf, breadcrumb: Breadcrumb },
    /// The unit of our package; its drop-in is there while it is active.
    OurUnit { drop_in: PathBuf },
}

impl JournalHost {
    pub(super) fn of(root: &Path, config: &Path) -> Self {
        match release(root).get("ID") {
            Some(id) if BALENA_OS.contains(&id.as_str()) => {
                Self::BalenaOs { config: config.to_owned(), breadcrumb: Breadcrumb::new(root) }
            }
            Some(_) | None => Self::OurUnit { drop_in: root.join(DROP_IN) },
        }
    }
}

/// Writes the field, and requests the boot that it takes.
pub(super) fn write_field(config: &Path, breadcrumb: &Breadcrumb, persistent: bool) -> Result<JournalChange, String> {
    if provisioned::switch(config, FIELD)? == persistent {
        return Ok(JournalChange::Already);
    }
    // First: if the agent is killed in between, a boot for nothing is better than a field without effect.
    let request = breadcrumb.request().map_err(|why| format!("cannot request a reboot: {why}; reboot the device yourself"))?;
    if let Err(why) = provisioned::set_switch(config, FIELD, persistent) {
        if request == RebootRequest::New {
            breadcrumb.withdraw();
        }
        return Err(why);
    }
    Ok(JournalChange::NextBoot)
}

/// Starts or stops the unit. A host whose journal is to stay as it is needs neither unit nor bus.
pub(super) async fn steer_unit(systemd: &Systemd, drop_in: &Path, persistent: bool) -> Result<JournalChange, String> {
    if !persistent && !drop_in.exists() {
        return Ok(JournalChange::Already);
    }
    let Some(unit) = systemd.unit(UNIT).await? else {
        return Err(format!(
            "this host has no {UNIT}: install the package boardkeeper, or write `Storage=persistent` into \
             /etc/systemd/journald.conf and restart systemd-journald"
        ));
    };
    let is_active = matches!(unit.active.as_str(), "active" | "activating" | "reloading");
    let action = match persistent {
        true if !is_active => UnitAction::Restart,
        false if is_active => UnitAction::Stop,
        true | false => return Ok(JournalChange::Already),
    };
    systemd.control(UNIT, action).await.map(|()| JournalChange::Now)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A host with this `ID`, and its `config.json`.
    fn host(id: &str, config: &str) -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("mnt/boot/config.json");
        for (path, text) in [
            (root.path().join("etc/os-release"), format!("ID=\"{id}\"\n")),
            (root.path().join("proc/sys/kernel/random/boot_id"), "first\n".to_owned()),
            (path.clone(), config.to_owned()),
        ] {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        (root, path)
    }

    #[test]
    fn on_balena_os_the_field_is_written_and_one_reboot_requested() {
        let (root, config) = host("balena-os", "{\"uuid\":\"c0ffee\",\"persistentLogging\":false,\"other\":[1, 2]}\n");
        let JournalHost::BalenaOs { config: found, breadcrumb } = JournalHost::of(root.path(), &config) else { panic!() };
        assert_eq!(found, config);
        let request = root.path().join("tmp/balena-supervisor/reboot-after-apply");
        for (persistent, change) in [
            (false, JournalChange::Already),
            (true, JournalChange::NextBoot),
            (true, JournalChange::Already),
            (false, JournalChange::NextBoot),
        ] {
            assert_eq!(write_field(&config, &breadcrumb, persistent), Ok(change));
            assert_eq!(request.exists(), change == JournalChange::NextBoot, "{persistent}");
            let _ = fs::remove_file(&request);
            let text = fs::read_to_string(&config).unwrap();
            assert_eq!(text, format!("{{\"uuid\":\"c0ffee\",\"persistentLogging\":{persistent},\"other\":[1, 2]}}\n"));
        }
    }

    #[test]
    fn what_cannot_be_written_requests_no_reboot() {
        let (root, config) = host("resin-os", "{}");
        let JournalHost::BalenaOs { breadcrumb, .. } = JournalHost::of(root.path(), &config) else { panic!() };
        // A directory in the draft's place fails for root, too.
        fs::create_dir(config.with_file_name("config.json.boardkeeper-new")).unwrap();
        let why = write_field(&config, &breadcrumb, true).unwrap_err();
        assert!(why.contains("cannot write"), "{why}");
        assert!(!root.path().join("tmp/balena-supervisor/reboot-after-apply").exists());
        fs::write(&config, "no object").unwrap();
        fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
        let why = write_field(&config, &breadcrumb, true).unwrap_err();
        assert!(why.contains("not a JSON object"), "{why}");
    }

    #[tokio::test]
    async fn elsewhere_nothing_is_asked_of_a_bus_that_is_not_needed() {
        let (root, config) = host("debian", "{}");
        let JournalHost::OurUnit { drop_in } = JournalHost::of(root.path(), &config) else { panic!() };
        let systemd = Systemd::new(root.path(), None);
        assert_eq!(steer_unit(&systemd, &drop_in, false).await, Ok(JournalChange::Already));
        assert!(steer_unit(&systemd, &drop_in, true).await.unwrap_err().contains("system_bus_socket"));
    }
}
