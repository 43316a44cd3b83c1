//! Simulated LEDs in a directory. Each write acts as in the kernel, and its outcome is stored in plain files, from which other
//! processes continue.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::linux::leds::files::{HostFiles, LedFiles};
use crate::linux::leds::simulated::SimulatedLed;
use crate::sorted::SortedMap;

/// The file that marks a root as a simulated board. A process that uses the board's LEDs locks it.
const MARK: &str = "simulated-board";

/// The state of a LED that is in none of the kernel's files.
const HIDDEN: &str = ".simulated.json";

/// The triggers of the simulated kernel: a Raspberry Pi's, as far as they matter to a LED.
const TRIGGERS: &[&str] = &["default-on", "heartbeat", "mmc0", "netdev", "oneshot", "pattern", "timer"];

/// A board in a directory.
#[derive(Debug, Clone)]
pub struct SimulatedBoard {
    root: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Hidden {
    brightness: u32,
    since_ms: u64,
    repeat: Option<i64>,
    #[serde(default)]
    ending: bool,
}

impl SimulatedBoard {
    /// The board with this root, if it is a simulated one.
    pub fn open(root: &Path) -> Option<Self> {
        root.join(MARK).is_file().then(|| Self { root: root.to_owned() })
    }

    /// Creates a board here unless there is one: a Raspberry Pi 4 with its two LEDs, and a GPIO chip.
    pub fn create(root: &Path) -> io::Result<Self> {
        let board = Self { root: root.to_owned() };
        if root.join(MARK).is_file() {
            return Ok(board);
        }
        let tree = root.join("proc/device-tree");
        fs::create_dir_all(&tree)?;
        fs::write(tree.join("model"), "Raspberry Pi 4 Model B Rev 1.4\0")?;
        fs::write(tree.join("compatible"), "raspberrypi,4-model-b\0brcm,bcm2711\0")?;
        let random = root.join("proc/sys/kernel/random");
        fs::create_dir_all(&random)?;
        fs::write(random.join("boot_id"), "simulated\n")?;
        fs::write(root.join("proc/sys/kernel/osrelease"), "simulated\n")?;
        let mut green = SimulatedLed::new(1, TRIGGERS);
        green.write("trigger", "mmc0", 0)?;
        let mut red = SimulatedLed::new(255, TRIGGERS);
        red.write("trigger", "default-on", 0)?;
        for (name, led) in [("ACT", &green), ("PWR", &red)] {
            let dir = root.join("sys/class/leds").join(name);
            fs::create_dir_all(dir.join("device"))?;
            let driver = root.join("sys/bus/platform/drivers/leds-gpio");
            fs::create_dir_all(&driver)?;
            std::os::unix::fs::symlink(driver, dir.join("device/driver"))?;
            board.store(&dir, led)?;
        }
        super::lines::create(root)?;
        fs::write(root.join(MARK), "This directory plays a board: `boardkeeper led watch --root` on it shows its LEDs.\n")?;
        Ok(board)
    }

    /// The directory and the attribute, if the path is an attribute of a LED.
    fn attribute<'a>(&self, path: &'a Path) -> Option<(&'a Path, &'a str)> {
        let dir = path.parent()?;
        let ours = dir.parent()? == self.root.join("sys/class/leds");
        Some((dir, path.file_name()?.to_str()?)).filter(|_| ours)
    }

    fn load(dir: &Path) -> io::Result<SimulatedLed> {
        let text = |name: &str| HostFiles.read(&dir.join(name));
        let broken = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", dir.display()));
        let (mut triggers, trigger) = crate::linux::leds::class::parse_triggers(&text("trigger")?);
        triggers.dedup();
        let hidden: Hidden = serde_json::from_slice(text(HIDDEN)?.as_bytes()).map_err(|error| broken(&error.to_string()))?;
        let max = text("max_brightness")?.parse().map_err(|_| broken("max_brightness is no number"))?;
        let own = |name: &str| ["brightness", "max_brightness", "trigger"].contains(&name) || name.starts_with('.');
        let names = HostFiles.list(dir)?.into_iter().filter(|name| !own(name));
        let settings: SortedMap<String, String> = names.filter_map(|name| Some((name.clone(), text(&name).ok()?))).collect();
        let Hidden { brightness, since_ms, repeat, ending } = hidden;
        Ok(SimulatedLed { max, triggers, trigger, brightness, settings, since_ms, repeat, ending })
    }

    fn store(&self, dir: &Path, led: &SimulatedLed) -> io::Result<()> {
        let now = now_ms(&self.root)?;
        let names = led.names();
        let stale = HostFiles.list(dir)?.into_iter().filter(|name| !name.starts_with('.') && !names.contains(name));
        for name in stale.filter(|name| dir.join(name).is_file()) {
            fs::remove_file(dir.join(name))?;
        }
        for name in names {
            replace(dir, &name, &format!("{}\n", led.read(&name, now)?))?;
        }
        let hidden = Hidden { brightness: led.brightness, since_ms: led.since_ms, repeat: led.repeat, ending: led.ending };
        replace(dir, HIDDEN, &serde_json::to_string(&hidden).map_err(io::Error::other)?)
    }

    /// Locks the board against other processes for as long as the returned file is open.
    fn lock(&self) -> io::Result<File> {
        let file = File::open(self.root.join(MARK))?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    }
}

/// Replaces a file atomically: a process that is killed meanwhile leaves the old one, not an empty one.
fn replace(dir: &Path, name: &str, text: &str) -> io::Result<()> {
    let draft = dir.join(format!(".{}.new", name.trim_start_matches('.')));
    fs::write(&draft, text)?;
    fs::rename(draft, dir.join(name))
}

impl LedFiles for SimulatedBoard {
    fn read(&self, path: &Path) -> io::Result<String> {
        let Some((dir, name)) = self.attribute(path) else { return HostFiles.read(path) };
        if name == "device" {
            return Err(Errno::ISDIR.into());
        }
        let _lock = self.lock()?;
        Self::load(dir)?.read(name, now_ms(&self.root)?)
    }

    fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        let Some((dir, name)) = self.attribute(path) else { return HostFiles.write(path, text) };
        let _lock = self.lock()?;
        let mut led = Self::load(dir)?;
        led.write(name, text, now_ms(&self.root)?)?;
        self.store(dir, &led)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        HostFiles.list(dir)
    }

    fn keep(&self, path: &Path, text: &str) -> io::Result<()> {
        HostFiles.keep(path, text)
    }

    fn forget(&self, path: &Path) -> io::Result<()> {
        HostFiles.forget(path)
    }
}

/// Milliseconds that all processes of this machine agree on: its uptime.
fn now_ms(root: &Path) -> io::Result<u64> {
    // The uptime of the machine on which the simulation runs, not of the simulated one.
    let own = Path::new("/proc/uptime");
    let text = HostFiles.read(own)?;
    let broken = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} does not begin with a number ({})", own.display(), root.display()),
        )
    };
    let (secs, hundredths) = text.split_whitespace().next().and_then(|word| word.split_once('.')).ok_or_else(broken)?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| broken());
    Ok(number(secs)? * 1000 + number(hundredths)? * 10)
}
