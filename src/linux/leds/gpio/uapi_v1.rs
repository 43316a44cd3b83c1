//! The character device's first ABI: Linux 4.8 and newer. `Chip::new` works on kernels without this ABI, too; there the first
//! request about a line fails with `EINVAL`.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use gpio_cdev::{LineDirection, LineHandle, LineRequestFlags};

use crate::linux::leds::gpio::uapi_v2::{devices, owner};
use crate::linux::leds::gpio::{
    CONSUMER, Chip, Direction, Gpio, HeldLine, LineInfo, LineLevel, LineRequest, readable_chips, system_error,
};

/// Lines through `gpio-cdev`.
#[derive(Debug, Clone)]
pub struct UapiV1 {
    root: PathBuf,
}

impl UapiV1 {
    /// The lines of the host with this root.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }
}

impl Gpio for UapiV1 {
    fn chips(&self) -> io::Result<Vec<Chip>> {
        let ask = |(name, path): (String, PathBuf)| {
            let chip = gpio_cdev::Chip::new(&path).map_err(io_error)?;
            let device = owner(&self.root, &name);
            Ok(Chip { name, path, device, label: chip.label().to_owned(), lines: chip.num_lines() })
        };
        readable_chips(devices(&self.root)?.into_iter().map(ask))
    }

    fn line(&self, chip: &Chip, offset: u32) -> io::Result<LineInfo> {
        let line = gpio_cdev::Chip::new(&chip.path).and_then(|mut chip| chip.get_line(offset)).map_err(io_error)?;
        let info = line.info().map_err(io_error)?;
        Ok(LineInfo {
            offset,
            name: info.name().map(str::to_owned).filter(|name| !name.is_empty()),
            consumer: info.consumer().map(str::to_owned).filter(|name| !name.is_empty()),
            // The kernel's flag KERNEL means any holder; the crate's `is_used` is also true of every free output.
            used: info.is_kernel(),
            direction: if info.direction() == LineDirection::Out { Direction::Output } else { Direction::Input },
            active_low: Some(info.is_active_low()),
        })
    }

    fn request(&self, chip: &Chip, offset: u32, want: LineRequest) -> io::Result<Box<dyn HeldLine>> {
        let line = gpio_cdev::Chip::new(&chip.path).and_then(|mut chip| chip.get_line(offset)).map_err(io_error)?;
        let (flags, level) = match want {
            LineRequest::AsIs => (LineRequestFlags::empty(), 0),
            LineRequest::Input => (LineRequestFlags::INPUT, 0),
            LineRequest::Output(volts) => (LineRequestFlags::OUTPUT, number(volts)),
        };
        Ok(Box::new(Line(line.request(flags, level, CONSUMER).map_err(io_error)?)))
    }
}

struct Line(LineHandle);

impl HeldLine for Line {
    fn get(&self) -> io::Result<LineLevel> {
        Ok(if self.0.get_value().map_err(io_error)? == 0 { LineLevel::Low } else { LineLevel::High })
    }

    fn set(&self, volts: LineLevel) -> io::Result<()> {
        self.0.set_value(number(volts)).map_err(io_error)
    }
}

const fn number(volts: LineLevel) -> u8 {
    match volts {
        LineLevel::Low => 0,
        LineLevel::High => 1,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "map_err hands it over")]
fn io_error(error: gpio_cdev::Error) -> io::Error {
    let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    system_error(&cause)
}
