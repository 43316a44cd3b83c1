//! Simulated GPIO lines in a directory: `gpio/gpiochip0/line7/{name,direction,value,consumer}`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::linux::leds::gpio::{CONSUMER, Chip, Direction, Gpio, HeldLine, LineInfo, LineLevel, LineRequest};
use crate::sorted::sort_by;

/// How many lines the simulated chip has.
const LINES: u32 = 8;

/// Lines in a directory.
#[derive(Debug, Clone)]
pub struct SimulatedLines {
    root: PathBuf,
}

/// Creates a chip with a few lines: two are free and have LEDs, one is held by the kernel's LED, two are on the header.
pub(super) fn create(root: &Path) -> io::Result<()> {
    let chip = root.join("gpio/gpiochip0");
    for offset in 0..LINES {
        let dir = chip.join(format!("line{offset}"));
        fs::create_dir_all(&dir)?;
        let (name, consumer, direction) = match offset {
            2 => ("STATUS_LED_G_CLK", "ACT", "out"),
            3 => ("USER_LED", "", "in"),
            4 => ("SPARE_LED_N", "", "out"),
            // As on the Raspberry Pi 4 that this board claims to be.
            5 => ("GPIO5", "", "in"),
            6 => ("GPIO6", "", "in"),
            _ => ("", "", "in"),
        };
        for (file, text) in [("name", name), ("consumer", consumer), ("direction", direction), ("value", "0")] {
            fs::write(dir.join(file), text)?;
        }
    }
    fs::write(chip.join("label"), "pinctrl-bcm2711")?;
    fs::write(chip.join("device"), "fe200000.gpio")
}

impl SimulatedLines {
    /// The lines of the simulated board with this root.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }
}

impl Gpio for SimulatedLines {
    fn chips(&self) -> io::Result<Vec<Chip>> {
        let mut chips = Vec::new();
        for entry in fs::read_dir(self.root.join("gpio"))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let text = |file: &str| fs::read_to_string(path.join(file)).unwrap_or_default().trim().to_owned();
            let lines = fs::read_dir(&path)?.filter(|entry| entry.as_ref().is_ok_and(|it| it.path().is_dir())).count();
            let lines = u32::try_from(lines).unwrap_or(u32::MAX);
            chips.push(Chip { name, device: text("device"), label: text("label"), lines, path });
        }
        sort_by(&mut chips, |a, b| a.name.cmp(&b.name));
        Ok(chips)
    }

    fn line(&self, chip: &Chip, offset: u32) -> io::Result<LineInfo> {
        let dir = line_dir(chip, offset)?;
        let text = |file: &str| fs::read_to_string(dir.join(file)).map(|text| text.trim().to_owned());
        let consumer = Some(text("consumer")?).filter(|text| !text.is_empty() && !is_dead(text));
        let direction = if text("direction")? == "out" { Direction::Output } else { Direction::Input };
        let name = Some(text("name")?).filter(|text| !text.is_empty());
        Ok(LineInfo { offset, name, used: consumer.is_some(), consumer, direction, active_low: None })
    }

    fn request(&self, chip: &Chip, offset: u32, want: LineRequest) -> io::Result<Box<dyn HeldLine>> {
        if self.line(chip, offset)?.used {
            return Err(Errno::BUSY.into());
        }
        let line = Line { dir: line_dir(chip, offset)? };
        fs::write(line.dir.join("consumer"), format!("{CONSUMER} pid {}", std::process::id()))?;
        match want {
            LineRequest::AsIs => {}
            LineRequest::Input => {
                // Nothing drives the line from outside, and it is pulled to ground.
                fs::write(line.dir.join("direction"), "in")?;
                line.set(LineLevel::Low)?;
            }
            LineRequest::Output(volts) => {
                fs::write(line.dir.join("direction"), "out")?;
                line.set(volts)?;
            }
        }
        Ok(Box::new(line))
    }
}

struct Line {
    dir: PathBuf,
}

impl HeldLine for Line {
    fn get(&self) -> io::Result<LineLevel> {
        let text = fs::read_to_string(self.dir.join("value")).map_err(|_| Errno::NODEV)?;
        Ok(if text.trim() == "1" { LineLevel::High } else { LineLevel::Low })
    }

    fn set(&self, volts: LineLevel) -> io::Result<()> {
        if !self.dir.exists() {
            return Err(Errno::NODEV.into());
        }
        fs::write(self.dir.join("value"), if volts == LineLevel::High { "1" } else { "0" })
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // If the directory is gone, there is no holder to remove.
        let _ = fs::write(self.dir.join("consumer"), "");
    }
}

fn line_dir(chip: &Chip, offset: u32) -> io::Result<PathBuf> {
    let dir = chip.path.join(format!("line{offset}"));
    if !chip.path.is_dir() {
        return Err(Errno::NODEV.into());
    }
    if dir.is_dir() { Ok(dir) } else { Err(Errno::INVAL.into()) }
}

/// Whether the holder is a dead process of ours: the kernel would have released its line.
fn is_dead(consumer: &str) -> bool {
    let pid = consumer.strip_prefix(CONSUMER).and_then(|rest| rest.trim().strip_prefix("pid "));
    pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists())
}
