//! The host whose LEDs are driven: the real one, or a simulated board.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use boards::{Board, Colour, Place as Spot, Point};

use crate::board::{AvailableLeds, BoardHints, DetectedBoard, LedChoice, LedLocation, choose_led};
use crate::linux::board::{detect, read_leds};
use crate::linux::leds::Leds;
use crate::linux::leds::class::ClassLed;
use crate::linux::leds::driver::LedDriver;
use crate::linux::leds::files::{HostFiles, LedFiles};
use crate::linux::leds::gpio::{Gpio, GpioFallback, by_device};
use crate::linux::leds::simulated::folder::SimulatedBoard;
use crate::linux::leds::simulated::lines::SimulatedLines;
use crate::port::LedError;

/// The value of `--board` for a simulated board.
pub const SIMULATED: &str = "simulated";

/// The host's root and settings, from flags and environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPaths {
    /// The host's root.
    pub root: PathBuf,
    /// Directory of records that need not outlive a reboot.
    pub runtime: PathBuf,
    /// The configured board, [`SIMULATED`], or none.
    pub board: Option<String>,
    /// The device type from the environment.
    pub device_type: Option<String>,
    /// The LED that a user or an image configured.
    pub led_file: Option<String>,
}

/// A host with its detected board.
#[derive(Clone)]
pub struct LedHost {
    /// The host's root and settings. The root is the simulated board's, if it is one.
    pub place: HostPaths,
    /// The detected board.
    pub detected: DetectedBoard,
    /// Whether the board is simulated.
    pub simulated: bool,
    files: Arc<dyn LedFiles>,
    gpio: Arc<dyn Gpio>,
}

/// A LED that a user may name.
#[derive(Debug, Clone)]
pub struct ListedLed {
    /// Where it is connected.
    pub location: LedLocation,
    /// The label printed beside it, if the board's file gives one.
    pub label: Option<&'static str>,
    /// What the agent uses it for.
    pub role: String,
    /// Its colour, if known.
    pub colour: Option<&'static str>,
    /// Where on the device to look for it.
    pub spot: String,
    /// Where it is on the outline of the board, if that is known.
    pub at: Option<Point>,
    /// Why it must not be driven without force. `None`: it may be driven.
    pub guard: Option<String>,
}

impl LedHost {
    /// Detects the board. A simulated board that does not exist yet is created, under the runtime directory.
    pub fn open(mut place: HostPaths) -> io::Result<Self> {
        if place.board.as_deref() == Some(SIMULATED) {
            if SimulatedBoard::open(&place.root).is_none() {
                place.root = place.runtime.join("simulated-board");
                SimulatedBoard::create(&place.root)?;
            }
            // The simulated board has a device tree that identifies it.
            place.board = None;
        }
        Ok(Self::look(place))
    }

    /// A substitute for a simulated board that cannot be created: a host without LEDs, of which nothing is known. The real
    /// host's LEDs are left alone, as the user did not want them driven.
    #[must_use]
    pub fn bare(place: HostPaths) -> Self {
        let root = place.runtime.join("simulated-board");
        Self::look(HostPaths { root, board: None, device_type: None, led_file: None, ..place })
    }

    fn look(place: HostPaths) -> Self {
        let board = SimulatedBoard::open(&place.root);
        let simulated = board.is_some();
        let hints = BoardHints { board: place.board.clone(), device_type: place.device_type.clone() };
        let detected = detect(&place.root, &hints);
        let (files, gpio): (Arc<dyn LedFiles>, Arc<dyn Gpio>) = match board {
            Some(board) => (Arc::new(board), Arc::new(SimulatedLines::new(&place.root))),
            None => (Arc::new(HostFiles), Arc::new(GpioFallback::new(&place.root))),
        };
        Self { place, detected, simulated, files, gpio }
    }

    /// The driver of its LEDs. `who`: the holder's name in the lock files.
    pub fn driver(&self, who: &'static str) -> LedDriver {
        LedDriver::new(Arc::clone(&self.files), Arc::clone(&self.gpio), &self.place.root, &self.place.runtime, who)
    }

    /// The LEDs of the host, with the one to identify it by.
    pub fn leds(&self, who: &'static str) -> Leds {
        let host = self.clone();
        Leds::new(self.driver(who), Box::new(move || host.choice(&host.offer())), &self.place.runtime)
    }

    /// The LEDs and chips that its kernel has.
    pub fn offer(&self) -> AvailableLeds {
        read_leds(&self.place.root)
    }

    /// The LED to identify it with.
    pub fn choice(&self, offer: &AvailableLeds) -> LedChoice {
        choose_led(&self.detected, self.place.led_file.as_deref(), offer)
    }

    /// Its files.
    pub fn files(&self) -> &dyn LedFiles {
        &*self.files
    }

    /// Its lines.
    pub fn gpio(&self) -> &dyn Gpio {
        &*self.gpio
    }

    /// A LED of the LED class.
    pub fn class<'a>(&'a self, dir: &'a Path) -> ClassLed<'a> {
        ClassLed::new(&*self.files, dir)
    }

    /// Every LED: first the one for identifying, then those that may be driven, then those that may not.
    pub fn items(&self) -> Vec<ListedLed> {
        let offer = self.offer();
        let choice = self.choice(&offer);
        let mut items = Vec::new();
        if let Some(location) = choice.led.clone() {
            items.push(item(location, choice.described, "identify", None));
        }
        for other in &choice.others {
            let location = LedLocation::Class { name: other.name.clone(), dir: other.dir.clone() };
            items.push(item(location, other.described, "", None));
        }
        for led in offer.leds {
            let location = LedLocation::Class { name: led.name.clone(), dir: led.dir };
            if items.iter().all(|item| item.location != location) {
                let guard = choice.passed_over.iter().find(|(name, _)| *name == led.name).map(|(_, why)| why.clone());
                let guard = guard.unwrap_or_else(|| "it is not one of the LEDs of this board".into());
                items.push(item(location, None, "-", Some(guard)));
            }
        }
        items
    }

    /// The LEDs of these names; without names, all that may be driven. `force`: permits guarded ones, too.
    pub fn pick(&self, names: &[String], force: bool) -> Result<Vec<ListedLed>, LedError> {
        let items = self.items();
        if names.is_empty() {
            let free: Vec<ListedLed> = items.into_iter().filter(|item| item.guard.is_none()).collect();
            let why = || LedError::None(self.choice(&self.offer()).why);
            return if free.is_empty() { Err(why()) } else { Ok(free) };
        }
        names.iter().map(|name| pick_one(&items, name, force)).collect()
    }

    /// Why a line must not be driven by hand on this board. `None`: it may be driven.
    pub fn guard_of_line(&self, device: &str, offset: u32) -> Option<String> {
        let boards: Vec<&Board> = self.detected.board.into_iter().chain(self.detected.perhaps.iter().copied()).collect();
        let forbidden =
            boards.iter().flat_map(|board| board.not_lines).find(|line| line.chip.device == device && line.offset == offset)?;
        let name = forbidden.name.unwrap_or("this line");
        Some(format!("on this board {name} is no LED's, and driving it does harm"))
    }

    /// The current name of the chip that this device owns, for messages.
    pub fn chip_name(&self, device: &str) -> Option<String> {
        by_device(&self.gpio.chips().ok()?, device).map(|chip| chip.name.clone())
    }
}

fn pick_one(items: &[ListedLed], name: &str, force: bool) -> Result<ListedLed, LedError> {
    let is = |item: &&ListedLed| {
        item.location.to_string() == name
            || item.label.is_some_and(|label| label.eq_ignore_ascii_case(name))
            || item.role == name
    };
    let Some(item) = items.iter().find(is) else {
        let known: Vec<String> = items.iter().map(|item| item.location.to_string()).collect();
        let known = if known.is_empty() { "none at all".into() } else { known.join(", ") };
        return Err(LedError::None(format!("there is no LED `{name}` here; there is {known}")));
    };
    match &item.guard {
        Some(why) if !force => Err(LedError::Guarded(format!("{name} is not driven: {why}; --force drives it all the same"))),
        Some(_) | None => Ok(item.clone()),
    }
}

fn item(location: LedLocation, described: Option<&'static boards::Led>, role: &str, guard: Option<String>) -> ListedLed {
    let colour = described.and_then(|led| match led.colour {
        Colour::Blue => Some("blue"),
        Colour::Green => Some("green"),
        Colour::Red => Some("red"),
        Colour::Unknown => None,
    });
    let spot = described.map_or("", |led| match led.place {
        Spot::OnBoard => "on the board",
        Spot::At(spot) => spot,
        Spot::Carrier => "on the carrier",
    });
    let role = match (role, described) {
        ("", Some(led)) => format!("{:?}", led.role).to_lowercase(),
        (role, _) => role.to_owned(),
    };
    let (label, at) = (described.map(|led| led.name), described.and_then(|led| led.at));
    ListedLed { location, label, role, colour, spot: spot.to_owned(), at, guard }
}
