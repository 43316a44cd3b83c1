//! The character device's first ABI: Linux 4.8 and newer. `Chip::new` works on kernels that have lost it, too; the first
//! question about a line then fails with `EINVAL`.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use gpio_cdev::{LineDirection, LineHandle, LineRequestFlags};

use crate::linux::leds::gpio::second::{devices, owner};
use crate::linux::leds::gpio::{CONSUMER, Chip, Direction, Gpio, Held, LineInfo, Volts, Want, system_error, tellable};

/// Lines through `gpio-cdev`.
#[derive(Debug, Clone)]
pub struct First {
    root: PathBuf,
}

impl First {
    /// Those of the host whose root this is.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }
}

impl Gpio for First {
    fn chips(&self) -> io::Result<Vec<Chip>> {
        let ask = |(name, path): (String, PathBuf)| {
            let chip = gpio_cdev::Chip::new(&path).map_err(told)?;
            let device = owner(&self.root, &name);
            Ok(Chip { name, path, device, label: chip.label().to_owned(), lines: chip.num_lines() })
        };
        tellable(devices(&self.root)?.into_iter().map(ask))
    }

    fn line(&self, chip: &Chip, offset: u32) -> io::Result<LineInfo> {
        let line = gpio_cdev::Chip::new(&chip.path).and_then(|mut chip| chip.get_line(offset)).map_err(told)?;
        let info = line.info().map_err(told)?;
        Ok(LineInfo {
            offset,
            name: info.name().map(str::to_owned).filter(|name| !name.is_empty()),
            consumer: info.consumer().map(str::to_owned).filter(|name| !name.is_empty()),
            // What the kernel calls KERNEL is any holder; `is_used` of the crate is true of every free output, too.
            used: info.is_kernel(),
            direction: if info.direction() == LineDirection::Out { Direction::Output } else { Direction::Input },
            active_low: Some(info.is_active_low()),
        })
    }

    fn request(&self, chip: &Chip, offset: u32, want: Want) -> io::Result<Box<dyn Held>> {
        let line = gpio_cdev::Chip::new(&chip.path).and_then(|mut chip| chip.get_line(offset)).map_err(told)?;
        let (flags, level) = match want {
            Want::AsIs => (LineRequestFlags::empty(), 0),
            Want::Input => (LineRequestFlags::INPUT, 0),
            Want::Output(volts) => (LineRequestFlags::OUTPUT, number(volts)),
        };
        Ok(Box::new(Line(line.request(flags, level, CONSUMER).map_err(told)?)))
    }
}

struct Line(LineHandle);

impl Held for Line {
    fn get(&self) -> io::Result<Volts> {
        Ok(if self.0.get_value().map_err(told)? == 0 { Volts::Low } else { Volts::High })
    }

    fn set(&self, volts: Volts) -> io::Result<()> {
        self.0.set_value(number(volts)).map_err(told)
    }
}

const fn number(volts: Volts) -> u8 {
    match volts {
        Volts::Low => 0,
        Volts::High => 1,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "map_err hands it over")]
fn told(error: gpio_cdev::Error) -> io::Error {
    let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    system_error(&cause)
}
