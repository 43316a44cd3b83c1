//! The real host behind the port: its changes, metrics and configuration.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::{LocalBoxStream, unfold};
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::boot_file::BootFiles;
use super::configured::{self, HostConfigFiles, ProxyChange};
use super::hardware::Hardware;
use super::journal::{self, JournalHost};
use super::journalctl;
use super::{macs, own, provisioned, text};
use crate::linux::net::interfaces::{self, AddressChanges};
use crate::linux::systemd::Systemd;
use crate::linux::{off_thread, store};
use crate::port::{self, HostError, JournalChange};
use crate::sorted::sort;
use crate::state::boot_config::BootFile;
use crate::state::cloud::ProvisionedFields;
use crate::state::host::{Capacity, HostAddresses, HostConfig, HostMetrics, HostPatch, ProcessUse};
use crate::state::journal::JournalQuery;

/// An interface that comes up causes several notifications; within this time they count as one.
const SETTLES: Duration = Duration::from_millis(500);
/// The polling interval if the kernel's notifications are not available.
const BLIND: Duration = Duration::from_secs(30);

/// The host below a root.
#[derive(Debug, Clone)]
pub struct LiveHost {
    root: PathBuf,
    state_dir: PathBuf,
    board: Option<String>,
    hardware: Hardware,
    files: HostConfigFiles,
    systemd: Systemd,
    boot_files: BootFiles,
    journal: JournalHost,
    /// Held while the provisioning file is changed: a change reads it first, and may outlive the future that began it.
    changing: Arc<Mutex<()>>,
}

impl LiveHost {
    /// The host whose root is `root`. `boot_config` is its provisioning file, if known; `board` its board, in words; `bus` as
    /// in [`Power::new`](crate::linux::power::Power::new).
    #[must_use]
    pub fn new(root: &Path, state_dir: &Path, boot_config: Option<&Path>, board: Option<String>, bus: Option<&str>) -> Self {
        let config = boot_config.map_or_else(|| root.join("mnt/boot/config.json"), Path::to_owned);
        let proxy = config.with_file_name("system-proxy");
        let journal = JournalHost::of(root, &config);
        Self {
            root: root.to_owned(),
            state_dir: state_dir.to_owned(),
            board,
            hardware: Hardware::new(root),
            files: HostConfigFiles { hostname: root.join("etc/hostname"), config, proxy },
            systemd: Systemd::new(root, bus),
            boot_files: BootFiles::default(),
            journal,
            changing: Arc::default(),
        }
    }

    /// The same host, whose boot configuration is in one of these files.
    #[must_use]
    pub fn with_boot_files(self, boot_files: BootFiles) -> Self {
        Self { boot_files, ..self }
    }

    fn addresses_now(&self) -> Option<HostAddresses> {
        let all = interfaces::addresses().inspect_err(|why| warn!(%why, "the machine's addresses are unknown")).ok()?;
        Some(HostAddresses { ips: own(&all), macs: macs(&self.root.join("sys/class/net")) })
    }
}

impl port::Host for LiveHost {
    fn addresses(&self) -> impl Stream<Item = HostAddresses> {
        let changes = AddressChanges::new().inspect_err(|why| warn!(%why, "changes of addresses are not followed")).ok();
        unfold((changes, None), async |(changes, before)| {
            loop {
                if before.is_some() {
                    match &changes {
                        Some(changes) => {
                            changes.next().await;
                            sleep(SETTLES).await;
                        }
                        None => sleep(BLIND).await,
                    }
                }
                match self.addresses_now() {
                    Some(now) if before.as_ref() != Some(&now) => return Some((now.clone(), (changes, Some(now)))),
                    Some(_) => (),
                    None => sleep(BLIND).await,
                }
            }
        })
    }

    fn metrics(&self) -> HostMetrics {
        let proc = self.root.join("proc");
        let up = text(&proc.join("uptime")).as_deref().and_then(seconds);
        let storage = self.hardware.storage_path(&self.state_dir);
        HostMetrics {
            up: up.map(|up| (up, Instant::now())),
            hostnames: hostnames(&self.root),
            boot_id: text(&proc.join("sys/kernel/random/boot_id")),
            board: self.board.clone(),
            disk: disk(&self.state_dir),
            memory: fs::read_to_string(proc.join("meminfo")).ok().as_deref().and_then(memory),
            temperature_millicelsius: temperature(&self.root.join("sys/class/thermal")),
            cpu_percent: self.hardware.cpu_percent(),
            cpu_serial: self.hardware.cpu_serial(),
            undervolted: self.hardware.undervolted(),
            storage: disk(&storage),
            storage_device: self.hardware.storage_device(&storage),
        }
    }

    fn own_use(&self) -> ProcessUse {
        // Of the process itself, below whatever root the host is.
        let status = fs::read_to_string("/proc/self/status").ok();
        let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        ProcessUse { resident_bytes: status.as_deref().and_then(|it| kilobytes(it, "VmRSS")), cpu: spent.try_into().ok() }
    }

    async fn config(&self) -> Result<HostConfig, HostError> {
        let files = self.files.clone();
        off_thread(move || files.read()).await.and_then(|it| it).map_err(HostError)
    }

    async fn configure(&self, patch: &HostPatch) -> Result<(), HostError> {
        let (files, patch, changing) = (self.files.clone(), patch.clone(), Arc::clone(&self.changing));
        let written = off_thread(move || {
            let _held = changing.lock().unwrap_or_else(PoisonError::into_inner);
            files.write(&patch)
        });
        match written.await.and_then(|it| it).map_err(HostError)? {
            ProxyChange::Unchanged => Ok(()),
            ProxyChange::Changed => configured::apply(&self.systemd).await.map_err(HostError),
        }
    }

    async fn boot_file(&self) -> Result<Option<BootFile>, HostError> {
        let files = self.boot_files.clone();
        off_thread(move || files.read()).await.and_then(|it| it).map_err(HostError)
    }

    async fn write_boot_file(&self, file: &BootFile, good: Option<&Vec<u8>>) -> Result<(), HostError> {
        let (files, file, good) = (self.boot_files.clone(), file.clone(), good.cloned());
        off_thread(move || files.write(&file, good.as_deref())).await.and_then(|it| it).map_err(HostError)
    }

    async fn write_provisioning(&self, fields: &ProvisionedFields) -> Result<(), HostError> {
        let (path, fields) = (self.files.config.clone(), fields.clone());
        let copy = store::provisioned_path(&self.state_dir);
        let changing = Arc::clone(&self.changing);
        let written = off_thread(move || {
            let _held = changing.lock().unwrap_or_else(PoisonError::into_inner);
            // The copy must not keep the provisioning key either. Without a copy there is none to keep.
            let _ = provisioned::write(&copy, &fields);
            provisioned::write(&path, &fields)
        });
        written.await.and_then(|it| it).map_err(HostError)
    }

    async fn read_journal(&self, query: &JournalQuery) -> Result<LocalBoxStream<'static, Vec<u8>>, HostError> {
        journalctl::read(None, &self.root, query).await
    }

    async fn persist_journal(&self, persistent: bool) -> Result<JournalChange, HostError> {
        let changed = match self.journal.clone() {
            JournalHost::BalenaOs { config, breadcrumb } => {
                let changing = Arc::clone(&self.changing);
                let written = off_thread(move || {
                    let _held = changing.lock().unwrap_or_else(PoisonError::into_inner);
                    journal::write_field(&config, &breadcrumb, persistent)
                });
                written.await.and_then(|it| it)
            }
            JournalHost::OurUnit { drop_in } => journal::steer_unit(&self.systemd, &drop_in, persistent).await,
        };
        changed.map_err(HostError)
    }
}

/// The hostnames in the host's file and in its kernel: the first applies from the next boot, or if the agent runs in a
/// container.
fn hostnames(root: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        ["etc/hostname", "proc/sys/kernel/hostname"].iter().filter_map(|it| text(&root.join(it))).collect();
    names.dedup();
    names
}

fn seconds(uptime: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(uptime.split_whitespace().next()?.parse().ok()?).ok()
}

fn disk(path: &Path) -> Option<Capacity> {
    // A directory that does not exist yet will be on the filesystem of its nearest existing parent.
    let there = path.ancestors().find(|it| it.exists())?;
    let stat = rustix::fs::statvfs(there).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Some(Capacity { free_bytes: bytes(stat.f_bavail), total_bytes: bytes(stat.f_blocks) })
}

fn memory(meminfo: &str) -> Option<Capacity> {
    Some(Capacity { free_bytes: kilobytes(meminfo, "MemAvailable")?, total_bytes: kilobytes(meminfo, "MemTotal")? })
}

/// The bytes of a line `<name>:  <number> kB`.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|it| it.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The processor's temperature, or that of the first thermal zone.
fn temperature(thermal: &Path) -> Option<i32> {
    let mut zones: Vec<_> = fs::read_dir(thermal).ok()?.flatten().map(|it| it.path()).collect();
    zones.retain(|it| it.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"thermal_zone")));
    sort(&mut zones);
    let read = |zone: &PathBuf| text(&zone.join("temp"))?.parse().ok();
    let processors = |zone: &&PathBuf| text(&zone.join("type")).is_some_and(|it| it.to_lowercase().contains("cpu"));
    zones.iter().filter(processors).find_map(read).or_else(|| zones.iter().find_map(read))
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::StreamExt;

    use super::*;
    use crate::port::Host as _;

    fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, LiveHost) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let host = LiveHost::new(root.path(), &root.path().join("var/lib/x"), None, Some("Raspberry Pi 3".into()), None);
        (root, host)
    }

    #[tokio::test]
    async fn figures_are_the_kernels() {
        let (root, host) = host(&[
            ("proc/uptime", "350735.47 234388.90\n"),
            ("proc/sys/kernel/random/boot_id", "d6f8\n"),
            ("proc/meminfo", "MemTotal:         949444 kB\nMemFree:          1 kB\nMemAvailable:     500000 kB\n"),
            ("proc/stat", "cpu  10 0 0 90\n"),
            ("proc/cpuinfo", "Serial : 10000000deadbeef\n"),
            ("sys/class/thermal/cooling_device0/type", "fan"),
            ("sys/class/thermal/thermal_zone0/type", "gpu-thermal\n"),
            ("sys/class/thermal/thermal_zone0/temp", "1000\n"),
            ("sys/class/thermal/thermal_zone1/type", "cpu-thermal\n"),
            ("sys/class/thermal/thermal_zone1/temp", "48312\n"),
        ]);
        let metrics = host.metrics();
        assert_eq!(metrics.up.unwrap().0, Duration::from_millis(350_735_470));
        assert_eq!(metrics.boot_id.as_deref(), Some("d6f8"));
        assert_eq!(metrics.memory, Some(Capacity { free_bytes: 512_000_000, total_bytes: 949_444 * 1024 }));
        assert_eq!(metrics.temperature_millicelsius, Some(48312));
        assert_eq!(metrics.cpu_serial.as_deref(), Some("10000000deadbeef"));
        assert_eq!((metrics.cpu_percent, metrics.undervolted), (None, None));
        fs::write(root.path().join("proc/stat"), "cpu  60 0 0 140\n").unwrap();
        assert_eq!(host.metrics().cpu_percent, Some(50));
        // Other programs write between the two readings.
        let (storage, disk) = (metrics.storage.unwrap(), metrics.disk.unwrap());
        assert_eq!(storage.total_bytes, disk.total_bytes);
        assert!(disk.free_bytes > 0 && disk.free_bytes <= disk.total_bytes);
    }

    #[tokio::test]
    async fn a_host_that_measures_nothing_is_no_error() {
        let (_root, host) = host(&[("proc/uptime", "-1 x"), ("proc/meminfo", "MemTotal: lots\n")]);
        let metrics = host.metrics();
        assert_eq!((metrics.up, metrics.memory, metrics.temperature_millicelsius), (None, None, None));
    }

    #[tokio::test]
    async fn addresses_are_told_at_once() {
        let (_root, host) = host(&[("sys/class/net/eth0/address", "b8:27:eb:00:00:01\n")]);
        let addresses = pin!(host.addresses()).next().await.unwrap();
        assert_eq!(addresses.macs, "B8:27:EB:00:00:01");
        assert!(!addresses.ips.contains(&"127.0.0.1".to_owned()));
    }

    #[tokio::test]
    async fn a_written_proxy_that_nobody_takes_up_is_told() {
        use crate::state::host::ProxyPatch;
        let (root, host) = host(&[("etc/hostname", "h\n"), ("mnt/boot/system-proxy/redsocks.conf", "x")]);
        assert_eq!(host.config().await, Ok(HostConfig { hostname: "h".into(), proxy: None }));
        let patch = HostPatch { hostname: None, proxy: Some(ProxyPatch::Remove) };
        let why = host.configure(&patch).await.unwrap_err().0;
        assert!(why.contains("written, but not used") && why.contains("system_bus_socket"), "{why}");
        assert!(!root.path().join("mnt/boot/system-proxy/redsocks.conf").exists());
    }
}
