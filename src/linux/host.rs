//! Facts the host reports: its system, its addresses, and the features it can give to containers.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::linux::net::interfaces::{self, InterfaceAddress};
use crate::linux::{read_small, without_mark};
use crate::sorted::{SortedMap, SortedSet, sort, sort_by};
use crate::state::cloud::ReportedVersions;
use crate::state::service::Feature;
use crate::state::{BoardFacts, Device};

pub mod boot_file;
mod configured;
mod hardware;
mod journal;
mod journalctl;
mod live;
pub mod provisioned;
mod redsocks;

pub use live::LiveHost;

/// What the configuration already says of the device.
#[derive(Debug, Clone, Default)]
pub struct KnownDevice {
    /// Its unique ID, if it has one.
    pub uuid: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// Its type.
    pub device_type: Option<String>,
    /// The port the API listens on.
    pub api_port: u16,
    /// The cloud's API address.
    pub api_endpoint: Option<String>,
    /// `developmentMode` of its provisioning file.
    pub is_development: bool,
    /// The directory of its provisioning file, if one was read; `device-type.json` is beside it.
    pub boot: Option<PathBuf>,
    /// Addresses of possible engines, `unix:///…` or `tcp://…`, the most likely first.
    pub engines: Vec<String>,
}

/// The facts about the device whose root is `root`. What cannot be determined is empty.
#[must_use]
pub fn device(root: &Path, known: KnownDevice) -> Device {
    let release = release(root);
    let built = built(known.boot.as_deref().unwrap_or(&root.join("mnt/boot")));
    let os = |field: &str| release.get(field).filter(|it| !it.is_empty()).cloned();
    let uname = rustix::system::uname();
    let addresses = interfaces::addresses().unwrap_or_default();
    let (os_version, os_variant) = (os("PRETTY_NAME").unwrap_or_else(|| "Linux".to_owned()), os("VARIANT_ID"));
    let is_development = known.is_development || os_variant.as_deref() == Some("dev");
    let agent = env!("CARGO_PKG_VERSION");
    let reported = ReportedVersions::of(&os_version, os("VERSION_ID").as_deref(), is_development, agent);
    Device {
        uuid: known.uuid.unwrap_or_default(),
        name: known.name.or_else(|| text(&root.join("etc/hostname"))).unwrap_or_default(),
        device_type: built.slug.or(known.device_type).or_else(|| os("SLUG")).unwrap_or_default(),
        arch: built.arch.unwrap_or_else(|| arch(&uname.machine().to_string_lossy())),
        os_version,
        os_variant,
        api_port: known.api_port,
        supervisor_version: agent.to_owned(),
        reported,
        mac_address: macs(&root.join("sys/class/net")),
        ip_addresses: own(&addresses),
        engine_socket: socket(root, engine(&known.engines)),
        api_endpoint: known.api_endpoint,
        cloud_key: None,
        host_features: features(root, engine(&known.engines)),
        // The host has one value, and two names for it were in use.
        board_rev: os("BALENA_BOARD_REV").map(|rev| (rev.clone(), rev)),
        board: BoardFacts::default(),
    }
}

/// The engine in use: the first whose socket exists, else the first.
#[must_use]
pub fn engine(engines: &[String]) -> &str {
    let here = |it: &&String| it.strip_prefix("unix://").is_none_or(|path| Path::new(path).exists());
    engines.iter().find(here).or(engines.first()).map_or("", String::as_str)
}

/// The path of the engine's socket as seen on the host.
fn socket(root: &Path, engine: &str) -> Option<String> {
    let path = Path::new(engine.strip_prefix("unix://")?);
    let within = path.strip_prefix(root).unwrap_or(path);
    Some(Path::new("/").join(within).display().to_string())
}

/// Features that are files of the host and exist.
fn features(root: &Path, engine: &str) -> SortedSet<Feature> {
    let files: [(Feature, &[&str]); 6] = [
        (Feature::JournalLogs, &["var/log/journal", "run/log/journal"]),
        (Feature::Dbus, &["run/dbus"]),
        (Feature::KernelModules, &["lib/modules"]),
        (Feature::Firmware, &["lib/firmware"]),
        (Feature::Sysfs, &["sys"]),
        (Feature::Procfs, &["proc"]),
    ];
    let here = files.into_iter().filter(|(_, paths)| paths.iter().any(|path| root.join(path).exists()));
    let mut features: SortedSet<_> = here.map(|(feature, _)| feature).collect();
    if engine.starts_with("unix://") {
        features.insert(Feature::BalenaSocket);
    }
    features
}

/// Fields of `os-release`.
fn release(root: &Path) -> SortedMap<String, String> {
    let paths = ["etc/os-release", "usr/lib/os-release"].map(|it| root.join(it));
    let text = paths.iter().find_map(|path| lossy(path)).unwrap_or_default();
    let fields = text.lines().filter_map(|line| line.trim().split_once('='));
    fields.map(|(name, value)| (name.to_owned(), unquoted(value))).collect()
}

/// A value with its shell quoting removed.
fn unquoted(value: &str) -> String {
    let quoted = |quote| value.strip_prefix(quote).and_then(|it| it.strip_suffix(quote));
    match (quoted('"'), quoted('\'')) {
        (Some(inner), _) => inner.replace("\\\"", "\"").replace("\\$", "$").replace("\\\\", "\\"),
        (None, Some(inner)) => inner.to_owned(),
        (None, None) => value.to_owned(),
    }
}

/// `device-type.json`: what the cloud's OS image was built for.
#[derive(Debug, Default, Deserialize)]
struct Built {
    slug: Option<String>,
    arch: Option<String>,
}

fn built(boot: &Path) -> Built {
    let text = read_small(&boot.join("device-type.json")).unwrap_or_default();
    serde_json::from_slice(without_mark(&text)).unwrap_or_default()
}

/// The cloud's name of a kernel architecture.
fn arch(machine: &str) -> String {
    match machine {
        "armv6l" => "rpi",
        "x86_64" => "amd64",
        "i386" | "i486" | "i586" | "i686" => "i386",
        arm if arm.starts_with("armv7") || arm == "armv8l" => "armv7hf",
        other => other,
    }
    .to_owned()
}

/// MAC addresses of hardware interfaces; of the others if there is none.
fn macs(net: &Path) -> String {
    let names = fs::read_dir(net).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut all: Vec<_> =
        names.filter_map(|path| Some((!path.join("device").exists(), path.file_name()?.to_owned(), path))).collect();
    sort(&mut all);
    let mac = |path: &Path| {
        text(&path.join("address")).filter(|it| it.len() == 17 && it != "00:00:00:00:00:00").map(|it| it.to_ascii_uppercase())
    };
    let kept = |virtual_: bool| {
        let some =
            all.iter().filter(move |(it, name, _)| *it == virtual_ && !interfaces::is_containers(&name.to_string_lossy()));
        some.filter_map(|(_, _, path)| mac(path)).collect::<Vec<_>>()
    };
    let mut found = kept(false);
    if found.is_empty() {
        found = kept(true);
    }
    let mut seen = SortedSet::new();
    found.retain(|mac| seen.insert(mac.clone()));
    found.join(" ")
}

/// Addresses at which other hosts may reach the device, IPv4 first.
fn own(addresses: &[InterfaceAddress]) -> Vec<String> {
    let link_local = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    let own = addresses.iter().filter(|it| !it.ip.is_loopback() && !link_local(&it.ip));
    let mut ips: Vec<IpAddr> = own.filter(|it| !interfaces::is_containers(&it.interface)).map(|it| it.ip).collect();
    // A stable sort: within a family, in the kernel's order.
    sort_by(&mut ips, |a, b| a.is_ipv6().cmp(&b.is_ipv6()));
    ips.iter().map(IpAddr::to_string).collect()
}

/// A small file in any encoding: one invalid byte does not hide the rest.
fn lossy(path: &Path) -> Option<String> {
    let bytes = read_small(path).ok()?;
    Some(String::from_utf8_lossy(without_mark(&bytes)).into_owned())
}

/// The text of a one-line file.
fn text(path: &Path) -> Option<String> {
    let text = lossy(path)?;
    Some(text.trim().to_owned()).filter(|it| !it.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_host_says_what_it_is() {
        let root = host(&[
            ("etc/os-release", "PRETTY_NAME=\"Resin OS 2.0.3+rev1\"\nVARIANT_ID=dev\nBALENA_BOARD_REV=abc\nSLUG=\"other\"\n"),
            ("etc/hostname", "kitchen\n"),
            ("mnt/boot/device-type.json", r#"{"slug":"raspberrypi3","arch":"armv7hf","yocto":{}}"#),
            ("sys/class/net/eth0/address", "b8:27:eb:00:00:01\n"),
            ("sys/class/net/eth0/device/uevent", ""),
            ("sys/class/net/wlan0/address", "b8:27:eb:00:00:02\n"),
            ("sys/class/net/wlan0/device/uevent", ""),
            ("sys/class/net/docker0/address", "02:42:00:00:00:01\n"),
            ("sys/class/net/dummy0/address", "02:00:00:00:00:01\n"),
            ("lib/modules/x", ""),
            ("run/balena-engine.sock", ""),
        ]);
        let engines =
            ["run/docker.sock", "run/balena-engine.sock"].map(|it| format!("unix://{}", root.path().join(it).display()));
        let device = device(root.path(), KnownDevice { engines: engines.to_vec(), ..KnownDevice::default() });
        assert_eq!(device.os_version, "Resin OS 2.0.3+rev1");
        assert_eq!(device.os_variant.as_deref(), Some("dev"));
        assert_eq!((device.device_type.as_str(), device.arch.as_str()), ("raspberrypi3", "armv7hf"));
        assert_eq!(device.name, "kitchen");
        assert_eq!(device.mac_address, "B8:27:EB:00:00:01 B8:27:EB:00:00:02");
        assert_eq!(device.engine_socket.as_deref(), Some("/run/balena-engine.sock"));
        assert_eq!(device.host_features, SortedSet::from([Feature::BalenaSocket, Feature::KernelModules, Feature::Sysfs]));
        assert_eq!(device.board_rev, Some(("abc".into(), "abc".into())));
    }

    #[test]
    fn what_a_device_was_built_for_is_read_beside_the_provisioning_file_it_is_given() {
        let root = host(&[
            ("mnt/boot/device-type.json", r#"{"slug":"other","arch":"i386"}"#),
            ("boot/device-type.json", r#"{"slug":"raspberry-pi","arch":"rpi"}"#),
        ]);
        let device = device(root.path(), KnownDevice { boot: Some(root.path().join("boot")), ..KnownDevice::default() });
        assert_eq!((device.device_type.as_str(), device.arch.as_str()), ("raspberry-pi", "rpi"));
    }

    #[test]
    fn a_host_that_says_nothing_is_no_error() {
        let root = host(&[]);
        let known = KnownDevice {
            name: Some("n".into()),
            device_type: Some("t".into()),
            engines: vec!["tcp://127.0.0.1:2375".into()],
            ..KnownDevice::default()
        };
        let device = device(root.path(), known);
        assert_eq!((device.os_version.as_str(), device.device_type.as_str(), device.name.as_str()), ("Linux", "t", "n"));
        assert_eq!((device.engine_socket, device.mac_address.as_str()), (None, ""));
        assert!(device.host_features.is_empty());
    }

    #[test]
    fn the_engine_is_the_one_whose_socket_is_there() {
        let engines = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        assert_eq!(engine(&engines(&["unix:///nowhere", "unix:///dev/null"])), "unix:///dev/null");
        assert_eq!(engine(&engines(&["unix:///nowhere", "unix:///nor-here"])), "unix:///nowhere");
        assert_eq!(engine(&engines(&["tcp://h:1", "unix:///dev/null"])), "tcp://h:1");
        assert_eq!(engine(&[]), "");
    }

    #[test]
    fn architectures_have_the_clouds_names() {
        for (machine, name) in [
            ("armv6l", "rpi"),
            ("armv7l", "armv7hf"),
            ("aarch64", "aarch64"),
            ("x86_64", "amd64"),
            ("i686", "i386"),
            ("riscv64", "riscv64"),
        ] {
            assert_eq!(arch(machine), name);
        }
    }

    #[test]
    fn addresses_of_containers_networks_are_not_ours() {
        let address = |interface: &str, ip: &str| InterfaceAddress {
            interface: interface.into(),
            index: 1,
            ip: ip.parse().unwrap(),
            prefix: 24,
        };
        let all = [
            address("lo", "127.0.0.1"),
            address("eth0", "fe80::1"),
            address("eth0", "2001:db8::1"),
            address("eth0", "192.168.0.114"),
            address("docker0", "172.17.0.1"),
            address("br-0123456789ab", "172.18.0.1"),
            address("supervisor0", "10.114.104.1"),
            address("br-lan", "192.168.1.1"),
            address("tun0", "10.2.0.5"),
        ];
        assert_eq!(own(&all), ["192.168.0.114", "192.168.1.1", "10.2.0.5", "2001:db8::1"]);
    }

    #[test]
    fn values_are_read_as_a_shell_reads_them() {
        assert_eq!(unquoted(r#""a \"b\" \$c""#), r#"a "b" $c"#);
        assert_eq!(unquoted("'x'"), "x");
        assert_eq!(unquoted("x"), "x");
        assert_eq!(unquoted("\""), "\"");
    }
}
