//! Selects the interface to GPIO lines: the first that the kernel knows.

use std::io;
use std::path::Path;

use rustix::io::Errno;

use crate::linux::leds::gpio::{Chip, Gpio, HeldLine, LineInfo, LineRequest, SysfsGpio, UapiV1, UapiV2};

/// All interfaces, the best first.
pub struct GpioFallback {
    devices: Vec<Box<dyn Gpio>>,
    last: Box<dyn Gpio>,
}

impl GpioFallback {
    /// The lines of the host with this root.
    pub fn new(root: &Path) -> Self {
        let devices: Vec<Box<dyn Gpio>> = vec![Box::new(UapiV2::new(root)), Box::new(UapiV1::new(root))];
        Self { devices, last: Box::new(SysfsGpio::new(root)) }
    }

    /// A fallback over these backends; `last` is used where the others find no chip at all.
    #[cfg(test)]
    pub(super) fn of(devices: Vec<Box<dyn Gpio>>, last: Box<dyn Gpio>) -> Self {
        Self { devices, last }
    }

    /// The first backend that knows this chip's lines, and what it reports of this one.
    ///
    /// A line-info request is used because it is always valid: the kernel answers a bad request with EINVAL, too.
    fn backend(&self, chip: &Chip, offset: u32) -> io::Result<(&dyn Gpio, LineInfo)> {
        if chip.path.to_string_lossy().contains("/sys/class/gpio/") {
            return Ok((&*self.last, self.last.line(chip, offset)?));
        }
        let mut rungs = self.devices.iter().peekable();
        while let Some(rung) = rungs.next() {
            match rung.line(chip, offset) {
                Err(error) if rungs.peek().is_some() && is_unknown(&error) => {}
                answer => return answer.map(|info| (&**rung, info)),
            }
        }
        Err(Errno::NODEV.into())
    }
}

impl Gpio for GpioFallback {
    fn chips(&self) -> io::Result<Vec<Chip>> {
        // Both ABIs describe chips with the same request, so the first backend answers for the second.
        let found = self.devices.first().map_or_else(|| Ok(Vec::new()), |rung| rung.chips());
        match found {
            Ok(chips) if chips.is_empty() => Ok(self.last.chips().unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(self.last.chips().unwrap_or_default()),
            found => found,
        }
    }

    fn line(&self, chip: &Chip, offset: u32) -> io::Result<LineInfo> {
        self.backend(chip, offset).map(|(_, info)| info)
    }

    fn request(&self, chip: &Chip, offset: u32, want: LineRequest) -> io::Result<Box<dyn HeldLine>> {
        let (rung, _) = self.backend(chip, offset)?;
        rung.request(chip, offset, want)
    }

    fn take_over(&self, chip: &Chip, offset: u32, want: LineRequest) -> io::Result<Box<dyn HeldLine>> {
        let (rung, _) = self.backend(chip, offset)?;
        rung.take_over(chip, offset, want)
    }
}

/// Whether the kernel does not know the request, in either of the two ways in which it says so.
fn is_unknown(error: &io::Error) -> bool {
    let number = error.raw_os_error();
    number == Some(Errno::INVAL.raw_os_error()) || number == Some(Errno::NOTTY.raw_os_error())
}
