//! GPIO lines, in our words, over whichever interface the kernel has: one rung of a ladder for each.
//!
//! The character device's second ABI (5.10 and newer), its first (4.8 and newer, and gone from some distributions' newest),
//! and sysfs where there is no character device. A rung is left for the one below only when the kernel does not know it: a
//! line that is busy or forbidden is so on every rung.
//!
//! Levels here are those of the wire. Which of them lights a LED is the caller's to know, so that no rung can get it wrong.

mod fallback;
mod sysfs;
#[cfg(test)]
mod tests;
mod uapi_v1;
mod uapi_v2;

use std::fmt;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use fallback::GpioFallback;
pub use sysfs::SysfsGpio;
pub use uapi_v1::UapiV1;
pub use uapi_v2::UapiV2;

/// A chip, as it is found on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chip {
    /// Its name now: `gpiochip0`. Another kernel, or another boot, may give it another.
    pub name: String,
    /// Its device file, or its directory in sysfs.
    pub path: PathBuf,
    /// The device that owns it: what boards are described by. Empty where the kernel does not say.
    pub device: String,
    /// What its driver calls it.
    pub label: String,
    /// How many lines it has.
    pub lines: u32,
}

/// What the kernel tells of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineInfo {
    /// Which of the chip's lines, from 0.
    pub offset: u32,
    /// The name that the device tree gives it.
    pub name: Option<String>,
    /// Who holds it, in their own words.
    pub consumer: Option<String>,
    /// Whether somebody holds it.
    pub used: bool,
    /// Its direction now.
    pub direction: Direction,
    /// Whether who holds it has it active at ground. `None`: not told.
    pub active_low: Option<bool>,
}

/// Which way a line goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Into the chip.
    Input,
    /// Out of it.
    Output,
}

/// The level of a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineLevel {
    /// At ground.
    Low,
    /// At its supply.
    High,
}

/// How a line is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineRequest {
    /// As it is.
    AsIs,
    /// As an input.
    Input,
    /// As an output, at this level from the first moment.
    Output(LineLevel),
}

/// Where a line is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineAddress {
    /// The name of its chip when it was found.
    pub chip: String,
    /// The device that owns the chip. Empty where the kernel does not say.
    pub device: String,
    /// Which of the chip's lines, from 0.
    pub offset: u32,
}

/// One way to reach GPIO lines.
pub trait Gpio: Send + Sync {
    /// The chips, in the order of their names.
    fn chips(&self) -> io::Result<Vec<Chip>>;
    /// What is known of a line.
    fn line(&self, chip: &Chip, offset: u32) -> io::Result<LineInfo>;
    /// Takes a line. It is held until the answer is dropped; what becomes of its level then is the chip's affair.
    fn request(&self, chip: &Chip, offset: u32, want: LineRequest) -> io::Result<Box<dyn HeldLine>>;
    /// Takes a line that a killed process of ours had. Where the kernel gives lines back by itself that is like any other.
    fn take_over(&self, chip: &Chip, offset: u32, want: LineRequest) -> io::Result<Box<dyn HeldLine>> {
        self.request(chip, offset, want)
    }
}

/// A line that is ours.
pub trait HeldLine: Send {
    /// Its level now.
    fn get(&self) -> io::Result<LineLevel>;
    /// Drives it.
    fn set(&self, volts: LineLevel) -> io::Result<()>;
    /// Which way it goes, where that is not known before it is taken. `None`: [`LineInfo`] told.
    fn direction(&self) -> io::Result<Option<Direction>> {
        Ok(None)
    }
}

/// What we are called where the kernel shows who holds a line.
pub const CONSUMER: &str = "boardkeeper";

impl fmt::Display for LineAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chip = if self.device.is_empty() { &self.chip } else { &self.device };
        write!(f, "line {} of {chip}", self.offset)
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Input => "input",
            Self::Output => "output",
        })
    }
}

impl fmt::Display for LineLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Low => "low",
            Self::High => "high",
        })
    }
}

/// Finds the chip that this device owns. Its number and its label are not asked: they mean another chip on another kernel.
pub fn by_device<'a>(chips: &'a [Chip], device: &str) -> Option<&'a Chip> {
    chips.iter().find(|chip| !chip.device.is_empty() && chip.device == device)
}

/// Finds a chip by what a person calls it: its name, its device file, the device that owns it.
pub fn by_any_name<'a>(chips: &'a [Chip], name: &str) -> Option<&'a Chip> {
    let short = name.strip_prefix("/dev/").unwrap_or(name);
    let number = name.parse::<u32>().ok().map(|number| format!("gpiochip{number}"));
    by_device(chips, name).or_else(|| chips.iter().find(|chip| chip.name == short || number.as_ref() == Some(&chip.name)))
}

/// Those of the chips that can be told of. One may go away while we look, and one may be another user's; where there is none left,
/// why.
fn tellable(asked: impl Iterator<Item = io::Result<Chip>>) -> io::Result<Vec<Chip>> {
    let mut chips = Vec::new();
    let mut refused = None;
    for chip in asked {
        match chip {
            Ok(chip) => chips.push(chip),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => refused = Some(error),
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    refused.filter(|_| chips.is_empty()).map_or(Ok(chips), Err)
}

fn is_gone(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let gone = [Errno::NOENT, Errno::NODEV, Errno::NXIO].map(|errno| Some(errno.raw_os_error()));
    gone.contains(&error.raw_os_error())
}

/// The number of the system's error in a message that ends with `(os error 16)`, as one crate tells it, or begins with
/// `EBUSY: `, as the other does: neither lets its own error types be named.
fn system_error(text: &str) -> io::Error {
    use rustix::io::Errno;
    const NAMES: &[(&str, Errno)] = &[
        ("EACCES", Errno::ACCESS),
        ("EBUSY", Errno::BUSY),
        ("EINVAL", Errno::INVAL),
        ("EIO", Errno::IO),
        ("ENODEV", Errno::NODEV),
        ("ENOENT", Errno::NOENT),
        ("ENOTTY", Errno::NOTTY),
        ("ENXIO", Errno::NXIO),
        ("EPERM", Errno::PERM),
        ("EROFS", Errno::ROFS),
    ];
    let number = text.rsplit_once("(os error ").and_then(|(_, rest)| rest.split(')').next()?.parse().ok());
    let named = NAMES.iter().find(|(name, _)| text.starts_with(&format!("{name}: "))).map(|(_, errno)| errno.raw_os_error());
    number.or(named).map_or_else(|| io::Error::other(text.to_owned()), io::Error::from_raw_os_error)
}
