//! GPIO in sysfs: kernels before 4.8, and those built without the character device.

use std::io;
use std::path::{Path, PathBuf};

use sysfs_gpio::{Direction as Theirs, Pin};

use crate::linux::leds::gpio::{Chip, Direction, Gpio, HeldLine, LineInfo, LineLevel, LineRequest};
use crate::sorted::sort_by;

/// Lines through `sysfs_gpio`, which reaches the running kernel's lines only.
#[derive(Debug, Clone)]
pub struct SysfsGpio {
    root: PathBuf,
}

impl SysfsGpio {
    /// The lines of the host with this root. Chips are found under it.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The number of a line. The chip's base is read each time: it differs from kernel to kernel.
    fn pin(chip: &Chip, offset: u32) -> io::Result<Pin> {
        let base: u32 = number(&chip.path.join("base"))?;
        Ok(Pin::new(u64::from(base) + u64::from(offset)))
    }
}

impl Gpio for SysfsGpio {
    fn chips(&self) -> io::Result<Vec<Chip>> {
        let dir = self.root.join("sys/class/gpio");
        let mut chips = Vec::new();
        for entry in std::fs::read_dir(&dir)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // Linux 7.2 lists each chip a second time, as `chipN`, which has no base.
            let Ok(lines) = number(&path.join("ngpio")) else { continue };
            if number::<u32>(&path.join("base")).is_err() {
                continue;
            }
            let label = std::fs::read_to_string(path.join("label")).unwrap_or_default().trim().to_owned();
            chips.push(Chip { name, device: device(&path), path, label, lines });
        }
        sort_by(&mut chips, |a, b| a.name.cmp(&b.name));
        Ok(chips)
    }

    fn line(&self, chip: &Chip, offset: u32) -> io::Result<LineInfo> {
        let pin = Self::pin(chip, offset)?;
        let text = std::fs::read_to_string(self.root.join("sys/kernel/debug/gpio")).unwrap_or_default();
        let mut info = parse_debug_line(&text, pin.get_pin(), offset);
        if pin.is_exported() {
            (info.used, info.direction) = (true, way(pin)?);
            info.consumer.get_or_insert_with(|| "sysfs".to_owned());
        }
        Ok(info)
    }

    fn request(&self, chip: &Chip, offset: u32, want: LineRequest) -> io::Result<Box<dyn HeldLine>> {
        let pin = Self::pin(chip, offset)?;
        if pin.is_exported() {
            return Err(rustix::io::Errno::BUSY.into());
        }
        pin.export().map_err(io::Error::from)?;
        Line::made(pin, want)
    }

    /// A line stays exported when the process that exported it dies.
    fn take_over(&self, chip: &Chip, offset: u32, want: LineRequest) -> io::Result<Box<dyn HeldLine>> {
        let pin = Self::pin(chip, offset)?;
        if pin.is_exported() { Line::made(pin, want) } else { self.request(chip, offset, want) }
    }
}

struct Line(Pin);

impl Line {
    /// An exported line, configured as requested.
    fn made(pin: Pin, want: LineRequest) -> io::Result<Box<dyn HeldLine>> {
        let line = Self(pin);
        match want {
            LineRequest::AsIs => {}
            LineRequest::Input => line.0.set_direction(Theirs::In).map_err(io::Error::from)?,
            // These two set direction and level in one write, so that nothing flashes.
            LineRequest::Output(LineLevel::High) => line.0.set_direction(Theirs::High).map_err(io::Error::from)?,
            LineRequest::Output(LineLevel::Low) => line.0.set_direction(Theirs::Low).map_err(io::Error::from)?,
        }
        Ok(Box::new(line))
    }
}

impl HeldLine for Line {
    fn get(&self) -> io::Result<LineLevel> {
        Ok(if self.0.get_value().map_err(io::Error::from)? == 0 { LineLevel::Low } else { LineLevel::High })
    }

    fn set(&self, volts: LineLevel) -> io::Result<()> {
        self.0.set_value(u8::from(volts == LineLevel::High)).map_err(io::Error::from)
    }

    fn direction(&self) -> io::Result<Option<Direction>> {
        way(self.0).map(Some)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // This fails if the line is gone with its chip; then there is nothing to give back.
        let _ = self.0.unexport();
    }
}

fn way(pin: Pin) -> io::Result<Direction> {
    let direction = pin.get_direction().map_err(io::Error::from)?;
    Ok(if direction == Theirs::In { Direction::Input } else { Direction::Output })
}

/// What the kernel reports of a line, to root only and not always: ` gpio-517 (name |ACT                 ) out lo` for a line
/// with a holder, which the kernel refuses to export; ` gpio-517 (name                )` for one without. Old kernels show no
/// names, and write ` gpio-517 (ACT                 ) out lo`.
fn parse_debug_line(all: &str, number: u64, offset: u32) -> LineInfo {
    let of = |line: &str| {
        let (digits, rest) = line.trim_start().strip_prefix("gpio-")?.split_once([' ', '('])?;
        let (names, state) = rest.trim_start().trim_start_matches('(').rsplit_once(')')?;
        let (name, holder) = match (names.split_once('|'), state.trim().is_empty()) {
            (Some((name, holder)), _) => (name, holder),
            (None, true) => (names, ""),
            (None, false) => ("", names),
        };
        let text = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        (digits.parse() == Ok(number)).then(|| (text(name), text(holder), state.trim_start().starts_with("out")))
    };
    let (name, consumer, is_output) = all.lines().find_map(of).unwrap_or_default();
    let direction = if is_output { Direction::Output } else { Direction::Input };
    LineInfo { offset, name, used: consumer.is_some(), consumer, direction, active_low: None }
}

fn number<N: std::str::FromStr>(path: &Path) -> io::Result<N> {
    let text = std::fs::read_to_string(path)?;
    text.trim().parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("{}: not a number", path.display())))
}

/// The device that owns a chip: the target of its `device` link, which on some kernels is the chip itself.
fn device(chip: &Path) -> String {
    let Ok(dir) = std::fs::canonicalize(chip.join("device")) else { return String::new() };
    let own = dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with("gpiochip"));
    let owner = if own { dir.parent().and_then(Path::file_name) } else { dir.file_name() };
    owner.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_told_by_kernels_old_and_new_and_a_name_is_none() {
        let all = "gpiochip0: GPIOs 512-519, parent: platform/gpio-sim.0, held:\n gpio-514 (STATUS_LED_N        )\n \
                   gpio-515 (STATUS_LED_N        |sysfs               ) in  lo \n \
                   gpio-517 (                    |ACT                 ) out lo \n gpio-5   (led0                ) out hi    \n";
        let text = |number| parse_debug_line(all, number, 3);
        let held = |number| (text(number).name, text(number).consumer, text(number).used, text(number).direction);
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(held(517), (None, text("ACT"), true, Direction::Output));
        assert_eq!(held(515), (text("STATUS_LED_N"), text("sysfs"), true, Direction::Input));
        assert_eq!(held(514), (text("STATUS_LED_N"), None, false, Direction::Input));
        assert_eq!(held(5), (None, text("led0"), true, Direction::Output));
        assert_eq!(held(51), (None, None, false, Direction::Input));
    }

    #[test]
    fn a_chip_whose_numbers_make_no_sense_is_none() {
        let root = tempfile::tempdir().unwrap();
        let chip = |name: &str, base: &str| {
            let path = root.path().join("sys/class/gpio").join(name);
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("base"), base).unwrap();
            std::fs::write(path.join("ngpio"), "8").unwrap();
        };
        chip("gpiochip0", "512\n");
        chip("gpiochip1", "18446744073709551615\n");
        chip("gpiochip2", "-1\n");
        let gpio = SysfsGpio::new(root.path());
        let chips = gpio.chips().unwrap();
        assert_eq!(chips.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["gpiochip0"]);
        assert_eq!(SysfsGpio::pin(&chips[0], u32::MAX).unwrap().get_pin(), 512 + u64::from(u32::MAX));
    }
}
