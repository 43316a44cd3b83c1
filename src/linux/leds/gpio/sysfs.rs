//! GPIO in sysfs: kernels before 4.8, and those built without the character device.

use std::io;
use std::path::{Path, PathBuf};

use sysfs_gpio::{Direction as Theirs, Pin};

use crate::linux::leds::gpio::{Chip, Direction, Gpio, Held, LineInfo, Volts, Want};

/// Lines through `sysfs_gpio`, which reaches the running kernel's only.
#[derive(Debug, Clone)]
pub struct Sysfs {
    root: PathBuf,
}

impl Sysfs {
    /// Those of the host whose root this is. Chips are found under it.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The number of a line. Where a chip's numbers begin is read anew each time: it differs from kernel to kernel.
    fn pin(chip: &Chip, offset: u32) -> io::Result<Pin> {
        let base: u64 = number(&chip.path.join("base"))?;
        Ok(Pin::new(base + u64::from(offset)))
    }
}

impl Gpio for Sysfs {
    fn chips(&self) -> io::Result<Vec<Chip>> {
        let dir = self.root.join("sys/class/gpio");
        let mut chips = Vec::new();
        for entry in std::fs::read_dir(&dir)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // 7.2 shows each chip once more, as `chipN`, which has no base.
            let Ok(lines) = number(&path.join("ngpio")) else { continue };
            if number::<u64>(&path.join("base")).is_err() {
                continue;
            }
            let label = std::fs::read_to_string(path.join("label")).unwrap_or_default().trim().to_owned();
            chips.push(Chip { name, device: device(&path), path, label, lines });
        }
        chips.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(chips)
    }

    fn line(&self, chip: &Chip, offset: u32) -> io::Result<LineInfo> {
        let pin = Self::pin(chip, offset)?;
        let exported = pin.is_exported();
        let direction = if exported { pin.get_direction().map_err(io::Error::from)? } else { Theirs::In };
        let direction = if direction == Theirs::In { Direction::Input } else { Direction::Output };
        // Sysfs does not tell of holders; the kernel refuses to export a line that has one.
        let consumer = exported.then(|| "sysfs".to_owned());
        Ok(LineInfo { offset, name: None, consumer, used: exported, direction, active_low: None })
    }

    fn request(&self, chip: &Chip, offset: u32, want: Want) -> io::Result<Box<dyn Held>> {
        let pin = Self::pin(chip, offset)?;
        if pin.is_exported() {
            return Err(rustix::io::Errno::BUSY.into());
        }
        pin.export().map_err(io::Error::from)?;
        let line = Line(pin);
        match want {
            Want::AsIs => {}
            Want::Input => line.0.set_direction(Theirs::In).map_err(io::Error::from)?,
            // These two set direction and level in one, so that nothing flashes.
            Want::Output(Volts::High) => line.0.set_direction(Theirs::High).map_err(io::Error::from)?,
            Want::Output(Volts::Low) => line.0.set_direction(Theirs::Low).map_err(io::Error::from)?,
        }
        Ok(Box::new(line))
    }
}

struct Line(Pin);

impl Held for Line {
    fn get(&self) -> io::Result<Volts> {
        Ok(if self.0.get_value().map_err(io::Error::from)? == 0 { Volts::Low } else { Volts::High })
    }

    fn set(&self, volts: Volts) -> io::Result<()> {
        self.0.set_value(u8::from(volts == Volts::High)).map_err(io::Error::from)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // It may be gone with its chip; then there is nothing to give back.
        let _ = self.0.unexport();
    }
}

fn number<N: std::str::FromStr>(path: &Path) -> io::Result<N> {
    let text = std::fs::read_to_string(path)?;
    text.trim().parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("{}: not a number", path.display())))
}

/// The device that owns a chip: its `device` link, which some kernels point at the chip itself.
fn device(chip: &Path) -> String {
    let Ok(dir) = std::fs::canonicalize(chip.join("device")) else { return String::new() };
    let own = dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with("gpiochip"));
    let owner = if own { dir.parent().and_then(Path::file_name) } else { dir.file_name() };
    owner.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
