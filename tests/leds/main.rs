//! LEDs: driven, killed half-way, and always restored.

#![expect(clippy::unwrap_used, reason = "a test may fall over")]

mod bench;
mod driver;
mod kernel;
mod lives;
mod look;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use boardkeeper::board::LedLocation;
use boardkeeper::linux::leds::driver::LedDriver;
use boardkeeper::linux::leds::gpio::{Chip, Gpio, HeldLine, LineInfo, LineRequest};
use boardkeeper::linux::leds::simulated::SimulatedLed;
use rustix::io::Errno;

use crate::kernel::Kernel;

/// No GPIO chip at all.
struct NoGpio;

impl Gpio for NoGpio {
    fn chips(&self) -> std::io::Result<Vec<Chip>> {
        Ok(Vec::new())
    }

    fn line(&self, _: &Chip, _: u32) -> std::io::Result<LineInfo> {
        Err(Errno::NODEV.into())
    }

    fn request(&self, _: &Chip, _: u32, _: LineRequest) -> std::io::Result<Box<dyn HeldLine>> {
        Err(Errno::NODEV.into())
    }
}

fn dir() -> PathBuf {
    PathBuf::from("/sys/class/leds/ACT")
}

fn location() -> LedLocation {
    LedLocation::Class { name: "ACT".into(), dir: dir() }
}

fn driver(kernel: &Arc<Kernel>, runtime: &Path) -> LedDriver {
    LedDriver::new(Arc::clone(kernel) as _, Arc::new(NoGpio), Path::new("/"), runtime, "a test")
}

/// What can be read of a LED without watching it for a while.
fn state(led: &SimulatedLed) -> (String, Vec<(String, String)>, Option<u32>) {
    let settings = led.settings.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    // Under a trigger the brightness is the trigger's.
    let brightness = (led.trigger == "none").then_some(led.brightness);
    (led.trigger.clone(), settings, brightness)
}

/// A LED with these triggers, of which it has this one with these settings, or is this bright.
fn led(triggers: &[&str], trigger: &str, settings: &[(&str, &str)], brightness: u32) -> SimulatedLed {
    let mut led = SimulatedLed::new(255, triggers);
    led.write("trigger", trigger, 0).unwrap();
    for (name, value) in settings {
        led.write(name, value, 0).unwrap();
    }
    if brightness > 0 {
        led.write("brightness", &brightness.to_string(), 0).unwrap();
    }
    led
}
