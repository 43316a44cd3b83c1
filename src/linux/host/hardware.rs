//! Readings of the hardware for the cloud: use of the processors, their serial number, the supply voltage, and the disk of the
//! container engine.

use std::cell::{Cell, OnceCell};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::text;

/// The longest first line of `/proc/stat` that is read, in bytes: ten counters of twenty digits fit.
const LINE_BYTES: u64 = 512;
/// Directories of container engines, below the host's root. The first that exists has the engine's data.
const ENGINE_DATA: [&str; 4] = ["mnt/data", "var/lib/docker", "var/lib/balena-engine", "var/lib/containers"];
/// Bits of `get_throttled`: the voltage is too low, and it was since the board booted.
const UNDERVOLTAGE_BITS: u64 = 1 | 1 << 16;

/// Reads the hardware; remembers what a reading is compared with, and what does not change.
#[derive(Debug, Clone)]
pub(super) struct Hardware {
    root: PathBuf,
    /// The counters of the processors at the last reading.
    cpu: Cell<Option<CpuTimes>>,
    was_undervolted: Cell<bool>,
    serial: OnceCell<Option<String>>,
    storage_device: OnceCell<Option<String>>,
}

/// Time that all processors have spent since the machine booted, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CpuTimes {
    busy: u64,
    total: u64,
}

impl Hardware {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            cpu: Cell::new(None),
            was_undervolted: Cell::new(false),
            serial: OnceCell::new(),
            storage_device: OnceCell::new(),
        }
    }

    /// Use of all processors since the last call, in per cent. `None` at the first call.
    pub(super) fn cpu_percent(&self) -> Option<u8> {
        let now = cpu_times(&first_line(&self.root.join("proc/stat"))?)?;
        let before = self.cpu.replace(Some(now))?;
        let total = now.total.checked_sub(before.total).filter(|it| *it > 0)?;
        let busy = now.busy.saturating_sub(before.busy).min(total);
        u8::try_from((u128::from(busy) * 100 + u128::from(total) / 2) / u128::from(total)).ok()
    }

    /// The serial number of the processor.
    pub(super) fn cpu_serial(&self) -> Option<String> {
        self.serial.get_or_init(|| serial(&self.root)).clone()
    }

    /// Whether the voltage was too low at this reading or one before. A moment's drop stays visible, and a supply at the limit
    /// does not cause a report every few seconds.
    pub(super) fn undervolted(&self) -> Option<bool> {
        let now = is_undervolted(&self.root)?;
        let ever = now || self.was_undervolted.get();
        self.was_undervolted.set(ever);
        Some(ever)
    }

    /// The directory of the engine's data; of the agent's state, where there is none.
    pub(super) fn storage_path(&self, state_dir: &Path) -> PathBuf {
        ENGINE_DATA.iter().map(|it| self.root.join(it)).find(|it| it.is_dir()).unwrap_or_else(|| state_dir.to_owned())
    }

    /// The block device of the filesystem that a directory is on.
    pub(super) fn storage_device(&self, path: &Path) -> Option<String> {
        self.storage_device.get_or_init(|| block_device(&self.root, path)).clone()
    }
}

/// The first line of a file of the kernel. The rest is not read: the kernel sums up `/proc/stat` per interrupt, which takes
/// longer than everything else here.
fn first_line(path: &Path) -> Option<String> {
    let mut line = String::new();
    BufReader::with_capacity(512, File::open(path).ok()?.take(LINE_BYTES)).read_line(&mut line).ok()?;
    Some(line)
}

/// The sum of all processors: `cpu  user nice system idle iowait irq softirq steal guest guest_nice`.
fn cpu_times(line: &str) -> Option<CpuTimes> {
    let mut words = line.split_ascii_whitespace();
    words.next().filter(|it| *it == "cpu")?;
    // The guests' time is part of the user's.
    let ticks: Vec<u64> = words.take(8).map(|it| it.parse().ok()).collect::<Option<_>>()?;
    let sum = |ticks: &[u64]| ticks.iter().fold(0, |sum: u64, it| sum.saturating_add(*it));
    let (total, idle) = (sum(&ticks), sum(ticks.get(3..5).or(ticks.get(3..4))?));
    Some(CpuTimes { busy: total - idle, total })
}

/// The serial number in the device tree; where a container runtime masks it, the one in `/proc/cpuinfo`.
fn serial(root: &Path) -> Option<String> {
    let tree = ["sys/firmware/devicetree/base/serial-number", "proc/device-tree/serial-number"];
    let of_tree = tree.iter().find_map(|it| text(&root.join(it)));
    let of_cpuinfo = || {
        let cpuinfo = fs::read_to_string(root.join("proc/cpuinfo")).ok()?;
        let line = cpuinfo.lines().rev().find_map(|it| it.strip_prefix("Serial")?.trim_start().strip_prefix(':'))?;
        Some(line.trim().to_owned())
    };
    // A board without a serial number has zeros there.
    let is_usable = |it: &String| it.bytes().any(|it| it != b'0') && it.bytes().all(|it| it.is_ascii_graphic());
    of_tree.map(|it| it.trim_matches(['\0', ' ', '\n']).to_owned()).filter(is_usable).or_else(|| of_cpuinfo().filter(is_usable))
}

/// What the firmware of a Raspberry Pi says: by the driver of kernels since 4.20, or by the file of older ones.
fn is_undervolted(root: &Path) -> Option<bool> {
    let sensors = fs::read_dir(root.join("sys/class/hwmon")).into_iter().flatten().flatten().map(|it| it.path());
    let alarm = sensors
        .filter(|it| text(&it.join("name")).as_deref() == Some("rpi_volt"))
        .find_map(|it| text(&it.join("in0_lcrit_alarm")))
        .map(|it| it != "0");
    let throttled = || {
        let word = text(&root.join("sys/devices/platform/soc/soc:firmware/get_throttled"))?;
        let bits = u64::from_str_radix(word.trim_start_matches("0x"), 16).ok()?;
        Some(bits & UNDERVOLTAGE_BITS != 0)
    };
    alarm.or_else(throttled)
}

/// The block device of the mount that `path` is below, by its number: `/dev/root`, which mounts may be called by, is no device.
fn block_device(root: &Path, path: &Path) -> Option<String> {
    let on_host = Path::new("/").join(path.strip_prefix(root).unwrap_or(path));
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).ok()?;
    let mount = mounts.lines().filter_map(mount).filter(|it| on_host.starts_with(&it.point)).max_by_key(|it| it.point.len())?;
    let event = text(&root.join("sys/dev/block").join(mount.number).join("uevent")).unwrap_or_default();
    let name = event.lines().find_map(|it| it.strip_prefix("DEVNAME=")).map(|it| format!("/dev/{it}"));
    // A btrfs has no number of its own.
    name.or_else(|| mount.source.starts_with("/dev/").then(|| mount.source.to_owned()))
}

/// A line of `mountinfo`.
struct Mount<'a> {
    number: &'a str,
    point: String,
    source: &'a str,
}

fn mount(line: &str) -> Option<Mount<'_>> {
    let (place, kind) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(2);
    let (number, point) = (place.next()?, place.nth(1)?);
    Some(Mount { number, point: point.replace("\\040", " "), source: kind.split(' ').nth(1)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, Hardware) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let hardware = Hardware::new(root.path());
        (root, hardware)
    }

    #[test]
    fn processors_are_busy_between_two_readings() {
        let (root, hardware) = host(&[("proc/stat", "cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1\nintr 9 9 9\n")]);
        assert_eq!(hardware.cpu_percent(), None);
        // 200 ticks more, of which 150 idle and 10 waiting for the disk.
        fs::write(root.path().join("proc/stat"), "cpu  120 0 70 950 60 0 0 0 7 7\n").unwrap();
        assert_eq!(hardware.cpu_percent(), Some(20));
        // No time has passed.
        assert_eq!(hardware.cpu_percent(), None);
        for wrong in ["", "cpu\n", "cpu 1 2 3\n", "cpu 1 2 x 4\n", "intr 1 2 3 4\n", "cpu 1 1 1 1 1 1 1 1\n"] {
            fs::write(root.path().join("proc/stat"), wrong).unwrap();
            assert_eq!(hardware.cpu_percent(), None, "{wrong}");
        }
    }

    #[test]
    fn a_processor_has_the_serial_number_of_the_device_tree_or_of_cpuinfo() {
        let tree = ("sys/firmware/devicetree/base/serial-number", "00000000a1b2c3d4\0");
        let cpuinfo = ("proc/cpuinfo", "processor\t: 0\nHardware\t: BCM2835\nSerial\t\t: 00000000deadbeef\nModel\t: Pi\n");
        for (files, serial) in [
            (vec![tree, cpuinfo], Some("00000000a1b2c3d4")),
            (vec![cpuinfo], Some("00000000deadbeef")),
            (vec![("proc/cpuinfo", "Serial\t: 0000000000000000\n")], None),
            (vec![(tree.0, "\u{1}\u{2}"), cpuinfo], Some("00000000deadbeef")),
            (vec![], None),
        ] {
            let (_root, hardware) = host(&files);
            assert_eq!(hardware.cpu_serial().as_deref(), serial);
        }
    }

    #[test]
    fn a_low_voltage_is_read_from_either_driver_and_stays_told() {
        let alarm = "sys/class/hwmon/hwmon1/in0_lcrit_alarm";
        let (root, hardware) = host(&[
            ("sys/class/hwmon/hwmon0/name", "cpu_thermal\n"),
            ("sys/class/hwmon/hwmon1/name", "rpi_volt\n"),
            (alarm, "0\n"),
        ]);
        assert_eq!(hardware.undervolted(), Some(false));
        fs::write(root.path().join(alarm), "1\n").unwrap();
        assert_eq!(hardware.undervolted(), Some(true));
        fs::write(root.path().join(alarm), "0\n").unwrap();
        assert_eq!(hardware.undervolted(), Some(true));
        for (bits, is_low) in [("0", false), ("50000", true), ("0x50005", true), ("20002", false), ("8", false)] {
            let (_root, hardware) = host(&[("sys/devices/platform/soc/soc:firmware/get_throttled", bits)]);
            assert_eq!(hardware.undervolted(), Some(is_low), "{bits}");
        }
        assert_eq!(host(&[]).1.undervolted(), None);
    }

    #[test]
    fn the_engines_disk_is_a_block_device() {
        let mounts = "22 1 179:2 / / rw,noatime - ext4 /dev/root rw\n\
                      30 22 0:5 / /dev rw - devtmpfs udev rw\n\
                      41 22 179:6 / /mnt/data rw shared:9 - ext4 /dev/disk/by-label/data rw\n\
                      50 22 0:44 / /var/lib/docker rw - btrfs /dev/sda1 rw\n";
        let device = |files: &[(&str, &str)], dir: &str| {
            let (root, hardware) = host(files);
            fs::create_dir_all(root.path().join(dir)).unwrap();
            let path = hardware.storage_path(&root.path().join("var/lib/boardkeeper"));
            assert!(path.ends_with(dir), "{path:?}");
            hardware.storage_device(&path)
        };
        let files = [
            ("proc/self/mountinfo", mounts),
            ("sys/dev/block/179:2/uevent", "MAJOR=179\nDEVNAME=mmcblk0p2\nDEVTYPE=partition\n"),
            ("sys/dev/block/179:6/uevent", "DEVNAME=mmcblk0p6\n"),
        ];
        assert_eq!(device(&files, "mnt/data").as_deref(), Some("/dev/mmcblk0p6"));
        assert_eq!(device(&files, "var/lib/docker").as_deref(), Some("/dev/sda1"));
        assert_eq!(device(&files, "var/lib/boardkeeper").as_deref(), Some("/dev/mmcblk0p2"));
        assert_eq!(device(&[("proc/self/mountinfo", "nonsense\n1 2 - x\n")], "var/lib/boardkeeper"), None);
        assert_eq!(device(&[], "var/lib/boardkeeper"), None);
    }
}
