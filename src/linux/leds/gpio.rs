//! GPIO lines behind one trait, over whichever interface the kernel has; each interface is one backend.
//!
//! The backends: the character device's second ABI (5.10 and newer), its first (4.8 and newer, and gone from some
//! distributions' newest), and sysfs where there is no character device. The next backend is tried only when the kernel does
//! not know the first: a line that is busy or forbidden is so in every backend.
//!
//! Levels here are electrical. Only the caller knows which level lights a LED, so that no backend can get it wrong.

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

/// A chip of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chip {
    /// Its current name: `gpiochip0`. It may differ with another kernel or after a reboot.
    pub name: String,
    /// Its device file, or its directory in sysfs.
    pub path: PathBuf,
    /// The device that owns it, by which boards describe it. Empty if the kernel does not show it.
    pub device: String,
    /// The driver's label.
    pub label: String,
    /// How many lines it has.
    pub lines: u32,
}

/// What the kernel reports of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineInfo {
    /// Which of the chip's lines, from 0.
    pub offset: u32,
    /// The name that the device tree gives it.
    pub name: Option<String>,
    /// The holder's name, as the holder gave it.
    pub consumer: Option<String>,
    /// Whether it has a holder.
    pub used: bool,
    /// Its direction now.
    pub direction: Direction,
    /// Whether its holder uses it active low. `None`: unknown.
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

/// The electrical level of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineLevel {
    /// At ground.
    Low,
    /// At its supply.
    High,
}

/// How a line is requested.
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
    /// The device that owns the chip. Empty if the kernel does not show it.
    pub device: String,
    /// Which of the chip's lines, from 0.
    pub offset: u32,
}

/// One interface to GPIO lines.
pub trait Gpio: Send + Sync {
    /// The chips, in the order of their names.
    fn chips(&self) -> io::Result<Vec<Chip>>;
    /// What the kernel reports of a line.
    fn line(&self, chip: &Chip, offset: u32) -> io::Result<LineInfo>;
    /// Requests a line. It is held until the returned value is dropped; the chip decides what happens to its level then.
    fn request(&self, chip: &Chip, offset: u32, want: LineRequest) -> io::Result<Box<dyn HeldLine>>;
    /// Requests a line that a killed process of ours held. Where the kernel releases such lines, this is an ordinary request.
    fn take_over(&self, chip: &Chip, offset: u32, want: LineRequest) -> io::Result<Box<dyn HeldLine>> {
        self.request(chip, offset, want)
    }
}

/// A line that this process holds.
pub trait HeldLine: Send {
    /// Its level now.
    fn get(&self) -> io::Result<LineLevel>;
    /// Drives it to this level.
    fn set(&self, volts: LineLevel) -> io::Result<()>;
    /// Its direction, if that is known only once it is held. `None`: [`LineInfo`] has it.
    fn direction(&self) -> io::Result<Option<Direction>> {
        Ok(None)
    }
}

/// Our name where the kernel shows the holder of a line.
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

/// Finds the chip that this device owns. Its number and label are not used: on another kernel they mean another chip.
pub fn by_device<'a>(chips: &'a [Chip], device: &str) -> Option<&'a Chip> {
    chips.iter().find(|chip| !chip.device.is_empty() && chip.device == device)
}

/// Finds a chip by a user's name for it: its name, its device file, or the device that owns it.
pub fn by_any_name<'a>(chips: &'a [Chip], name: &str) -> Option<&'a Chip> {
    let short = name.strip_prefix("/dev/").unwrap_or(name);
    let number = name.parse::<u32>().ok().map(|number| format!("gpiochip{number}"));
    by_device(chips, name).or_else(|| chips.iter().find(|chip| chip.name == short || number.as_ref() == Some(&chip.name)))
}

/// The chips that could be read. A chip may have gone away meanwhile, or may belong to another user; if no chip is left, the
/// error.
fn readable_chips(asked: impl Iterator<Item = io::Result<Chip>>) -> io::Result<Vec<Chip>> {
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

/// The errno in a message that ends with `(os error 16)`, as one crate writes it, or begins with `EBUSY: `, as the other does:
/// neither crate exports the types of its errors.
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
