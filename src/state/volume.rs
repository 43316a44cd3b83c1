//! Named volumes of an app.

use crate::sorted::{SortedMap, SortedSet};
use crate::state::{AppId, is_supervisor_label};

/// The label of a volume that holds its app's unique name.
pub const APP_UUID_LABEL: &str = "io.balena.app-uuid";

/// The configuration of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeConfig {
    /// The engine's driver.
    pub driver: String,
    /// Options of the driver.
    pub driver_opts: SortedMap<String, String>,
    /// The owner's labels.
    pub labels: SortedMap<String, String>,
}

/// Where the data of a volume is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeLocation {
    /// In the engine's own directory, or where its plugin keeps it: removing the volume deletes it.
    Engine,
    /// In memory.
    Memory,
    /// At a path or on a device of the host.
    Host(String),
    /// On another machine.
    Remote(String),
}

/// Types of network file systems.
const REMOTE_FILE_SYSTEMS: [&str; 4] = ["nfs", "nfs4", "cifs", "smb3"];

/// A supervised volume on the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name on the engine, `<app id>_<name>`.
    pub name: String,
    /// The app it belongs to.
    pub app: AppId,
    /// Its configuration.
    pub config: VolumeConfig,
}

impl Volume {
    /// The name on the engine of an app's volume.
    #[must_use]
    pub fn engine_name(app: AppId, name: &str) -> String {
        format!("{app}_{name}")
    }
}

impl VolumeConfig {
    /// Where its data is, according to its options.
    #[must_use]
    pub fn place(&self) -> VolumeLocation {
        if self.driver != Self::default().driver {
            return VolumeLocation::Engine;
        }
        let (kind, device) = (self.option("type"), self.option("device"));
        // With a bind option, the kernel binds the path whatever the type says.
        let binds = self.option("o").split(',').any(|it| matches!(it.trim(), "bind" | "rbind" | "move"));
        let kind = kind.trim().to_ascii_lowercase();
        if binds {
            return VolumeLocation::Host(device.to_owned());
        }
        match kind.as_str() {
            // Without a type and a device the engine mounts nothing.
            "" if device.is_empty() => VolumeLocation::Engine,
            "tmpfs" | "ramfs" => VolumeLocation::Memory,
            remote if REMOTE_FILE_SYSTEMS.contains(&remote) => VolumeLocation::Remote(device.to_owned()),
            // A device, an overlay of the host's directories, `proc`, or a file system that is not known here.
            _ => VolumeLocation::Host(if device.is_empty() { kind } else { device.to_owned() }),
        }
    }

    /// How it differs from the wanted configuration, in human-readable text. No values: options may hold a password.
    #[must_use]
    pub fn difference(&self, wanted: &Self) -> Option<String> {
        let driver = (self.driver != wanted.driver).then(|| format!("its driver is {}, not {}", self.driver, wanted.driver));
        let of = |what: &str, existing: &SortedMap<_, _>, wanted: &SortedMap<String, String>| {
            // Labels that supervisors add are no difference: not all supervisors add the same.
            let names = existing.keys().chain(wanted.keys()).filter(|it| !is_supervisor_label(it));
            let names: SortedSet<&String> = names.filter(|it| existing.get(*it) != wanted.get(*it)).collect();
            let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
            (!names.is_empty()).then(|| format!("its {what} differ ({})", names.join(", ")))
        };
        let options = of("driver_opts", &self.driver_opts, &wanted.driver_opts);
        let labels = of("labels", &self.labels, &wanted.labels);
        let all: Vec<String> = driver.into_iter().chain(options).chain(labels).collect();
        (!all.is_empty()).then(|| all.join(", "))
    }

    fn option(&self, name: &str) -> &str {
        let found = self.driver_opts.iter().find(|(it, _)| it.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value.as_str())
    }
}

impl Default for VolumeConfig {
    fn default() -> Self {
        Self { driver: "local".to_owned(), driver_opts: SortedMap::new(), labels: SortedMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(options: &[(&str, &str)]) -> VolumeConfig {
        let driver_opts = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        VolumeConfig { driver_opts, ..VolumeConfig::default() }
    }

    #[test]
    fn where_the_data_of_a_volume_is() {
        let host = |path: &str| VolumeLocation::Host(path.to_owned());
        let remote = |path: &str| VolumeLocation::Remote(path.to_owned());
        let table: [(&[(&str, &str)], VolumeLocation); 17] = [
            (&[], VolumeLocation::Engine),
            (&[("size", "1g")], VolumeLocation::Engine),
            (&[("o", "size=100m")], VolumeLocation::Engine),
            (&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=100m,uid=1000")], VolumeLocation::Memory),
            (&[("type", "none"), ("o", "bind"), ("device", "/")], host("/")),
            (&[("type", "none"), ("o", "rbind"), ("device", "/")], host("/")),
            (&[("o", "rw,bind"), ("device", "/etc")], host("/etc")),
            (&[("o", "rw, bind ,nosuid"), ("device", "/etc")], host("/etc")),
            (&[("type", "tmpfs"), ("o", "bind"), ("device", "/")], host("/")),
            (&[("type", "nfs"), ("o", "bind"), ("device", "/")], host("/")),
            (&[("type", "overlay"), ("o", "lowerdir=/,upperdir=/u,workdir=/w"), ("device", "overlay")], host("overlay")),
            (&[("type", "ext4"), ("device", "/dev/sda1")], host("/dev/sda1")),
            (&[("Type", "EXT4"), ("Device", "/dev/sda1")], host("/dev/sda1")),
            (&[("device", "/dev/sda1")], host("/dev/sda1")),
            (&[("type", "proc")], host("proc")),
            (&[("type", "nfs"), ("o", "addr=10.0.0.1,rw"), ("device", ":/data")], remote(":/data")),
            (&[("type", "cifs"), ("o", "username=a,password=b"), ("device", "//nas/data")], remote("//nas/data")),
        ];
        for (options, place) in table {
            assert_eq!(local(options).place(), place, "{options:?}");
        }
        let plugin = VolumeConfig { driver: "rclone".to_owned(), ..local(&[("type", "none")]) };
        assert_eq!(plugin.place(), VolumeLocation::Engine);
    }

    #[test]
    fn a_difference_names_no_value() {
        let existing = local(&[("type", "cifs"), ("o", "password=old"), ("device", "//nas/a")]);
        let wanted = local(&[("type", "cifs"), ("o", "password=new")]);
        assert_eq!(existing.difference(&wanted).unwrap(), "its driver_opts differ (device, o)");
        assert_eq!(existing.difference(&existing), None);
    }
}
