//! Chooses the LED to identify the board with. Pure: touches nothing.
//!
//! In this order: the LED that a user configured, if it is one; the LEDs that the board's file describes, the one for
//! identifying first; the line of that LED, if the kernel made no LED of it; the LED that looks most like a status LED; none,
//! and why.

use boards::{Board, Led, Line, NEVER_BLINK, Place, Role};

use super::free_lines::free_lines;
use super::guess::{best, is_plain, unfit};
use super::{AvailableLeds, DetectedBoard, KernelChip, KernelLed, LedChoice, LedLocation, OtherLed, is_sure};

/// The order in which a board's LEDs serve to identify it.
const BY_USE: [Role; 4] = [Role::Identify, Role::User, Role::Activity, Role::Power];

/// Chooses among the host's LEDs.
///
/// `led_file` is a path as in balena's images, `/sys/class/leds/led0/brightness`, or the LED's directory, or its name alone.
pub fn choose_led(detected: &DetectedBoard, led_file: Option<&str>, available: &AvailableLeds) -> LedChoice {
    let mut search = Search { detected, available, passed_over: Vec::new() };
    let found = search
        .by_file(led_file)
        .or_else(|| search.by_board())
        .or_else(|| search.by_line(Place::is_on_the_board))
        .or_else(|| search.by_guess())
        .or_else(|| search.by_line(Place::is_on_a_carrier));
    let (led, described, why) = match found {
        Some((led, described, why)) => (Some(led), described, why),
        None => (None, None, search.why_none()),
    };
    let others = search.others(led.as_ref());
    LedChoice { led, described, why, passed_over: search.passed_over, others, free_lines: free_lines(detected) }
}

/// A LED, the board file's description of it, and why it was chosen.
type Candidate = (LedLocation, Option<&'static Led>, String);

struct Search<'a> {
    detected: &'a DetectedBoard,
    available: &'a AvailableLeds,
    passed_over: Vec<(String, String)>,
}

impl<'a> Search<'a> {
    /// The LED that a user or an image configured. An image may be older than its kernel, so a stale name is no error.
    fn by_file(&mut self, led_file: Option<&str>) -> Option<Candidate> {
        let path = led_file.map(str::trim).filter(|it| !it.is_empty())?;
        let name = led_name(path);
        let Some(led) = self.available.leds.iter().find(|led| Some(led.name.as_str()) == name) else {
            let why = if path.starts_with("/dev/") { "it is no LED" } else { "this kernel has no such LED" };
            return self.pass_over(name.unwrap_or(path), format!("configured as `{path}`, but {why}"));
        };
        if NEVER_BLINK.contains(&led.name.as_str()) {
            return self.pass_over(&led.name, "configured, but it is a wire that resets something, not a LED".to_owned());
        }
        if let Some(why) = &led.unwritable {
            return self.pass_over(&led.name, format!("configured, but {why}"));
        }
        Some((chosen(led), self.described(led), format!("configured as `{path}`")))
    }

    /// The LED that the board's file describes.
    fn by_board(&mut self) -> Option<Candidate> {
        let boards = self.boards();
        for role in BY_USE {
            for board in &boards {
                for led in board.leds.iter().filter(|led| led.role == role) {
                    if let Some(kernel_led) = self.usable_class(board, led) {
                        return Some((chosen(kernel_led), Some(led), self.why_described(board, led)));
                    }
                }
            }
        }
        None
    }

    /// The kernel's LED for a described one. Records why a LED that exists was rejected.
    fn usable_class(&mut self, board: &Board, led: &Led) -> Option<&'a KernelLed> {
        for name in led.classes {
            let (fit, unfit): (Vec<&KernelLed>, Vec<&KernelLed>) =
                self.named(board, name).partition(|it| it.owner.is_none() && it.unwritable.is_none());
            for other in unfit {
                let why = other.owner.map(|owner| format!("it belongs to {owner}")).or_else(|| other.unwritable.clone());
                let _: Option<()> = self.pass_over(&other.name, why.unwrap_or_default());
            }
            // A program may have created a LED with this name before the kernel found the real one, so LED drivers come first.
            if let Some(first) = fit.into_iter().min_by_key(|it| !is_plain(it)) {
                return Some(first);
            }
        }
        None
    }

    /// The kernel's LEDs of this name, and of this name with the number that the kernel appends when a name is taken.
    fn named(&self, board: &Board, name: &'static str) -> impl Iterator<Item = &'a KernelLed> + use<'a> {
        let listed: Vec<&str> = board.leds.iter().flat_map(|led| led.classes).copied().collect();
        self.available.leds.iter().filter(move |led| {
            let number = led.name.strip_prefix(name).and_then(|rest| rest.strip_prefix('_'));
            let numbered = number.is_some_and(|it| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit()));
            led.name == name || (numbered && !listed.contains(&led.name.as_str()))
        })
    }

    /// The line of the LED for identifying, if the kernel made no LED of it and the board is known for certain.
    fn by_line(&mut self, place: fn(&Place) -> bool) -> Option<Candidate> {
        let board = self.detected.board?;
        let led = board.identify().filter(|led| place(&led.place) && !led.lines.is_empty())?;
        if let Some(taken) = led.classes.iter().find_map(|name| self.available.leds.iter().find(|it| it.name == *name)) {
            return self.pass_over(&format!("the line of {}", led.name), format!("the kernel's LED `{}` holds it", taken.name));
        }
        if !is_sure(self.detected) {
            let why = "which board this is was not told by the board itself, so no line is driven by hand";
            return self.pass_over(&format!("the line of {}", led.name), why.to_owned());
        }
        for line in led.lines {
            if self.available.chips.iter().any(|chip| is_chip_of(chip, line)) {
                let why = format!("this kernel has no LED for {} of {}, so its line is driven directly", led.name, board.name);
                return Some((chosen_line(line), Some(led), why));
            }
            let name = format!("line {} of {}", line.offset, line.chip.device);
            let _: Option<()> = self.pass_over(&name, "this kernel has no such chip".to_owned());
        }
        None
    }

    /// The LED that looks most like a status LED.
    fn by_guess(&mut self) -> Option<Candidate> {
        for led in &self.available.leds {
            if let Some(why) = unfit(led) {
                let _: Option<()> = self.pass_over(&led.name, why);
            }
        }
        let led = best(self.available.leds.iter().filter(|led| unfit(led).is_none()))?;
        let known = self.boards().iter().any(|board| !board.leds.is_empty());
        let because = if known { "none of the LEDs we know of this board is here" } else { "we do not know this board's LEDs" };
        Some((chosen(led), None, format!("{because}; of those here, `{}` looks most like a status LED", led.name)))
    }

    fn why_described(&self, board: &Board, led: &Led) -> String {
        let of = if self.detected.board.is_some() { "" } else { ", which this may be" };
        match led.role {
            Role::Identify => format!("it is {} of {}{of}, the LED to identify it with", led.name, board.name),
            Role::User | Role::Activity | Role::Power => {
                let better = board.identify().map_or("the LED to identify it with", |it| it.name);
                format!("it is {} of {}{of}, where {better} cannot be used", led.name, board.name)
            }
        }
    }

    fn why_none(&self) -> String {
        match self.available.leds.as_slice() {
            [] => "this kernel has no LED, and no line of one that we may drive".to_owned(),
            [only] => format!("the only LED here is `{}`, and {}", only.name, self.reason(&only.name)),
            [first, rest @ ..] => {
                format!("none of the {} LEDs here may be used; `{}`: {}", rest.len() + 1, first.name, self.reason(&first.name))
            }
        }
    }

    fn reason(&self, name: &str) -> &str {
        self.passed_over.iter().find(|(it, _)| it == name).map_or("it will not do", |(_, why)| why)
    }

    /// The other LEDs that a user may name.
    fn others(&self, led: Option<&LedLocation>) -> Vec<OtherLed> {
        let is_chosen = |it: &KernelLed| matches!(led, Some(LedLocation::Class { name, .. }) if *name == it.name);
        let rest = self.available.leds.iter().filter(|it| !is_chosen(it));
        rest.filter_map(|it| {
            let described = self.described(it);
            let may = if described.is_some() { it.unwritable.is_none() } else { unfit(it).is_none() };
            may.then(|| OtherLed { name: it.name.clone(), dir: it.dir.clone(), described })
        })
        .collect()
    }

    /// The board file's description of a kernel's LED. Of a LED's names, only the first that exists is that LED.
    fn described(&self, kernel_led: &KernelLed) -> Option<&'static Led> {
        let all = self.boards().into_iter().flat_map(|board| board.leds.iter().map(move |led| (board, led)));
        all.filter(|_| kernel_led.owner.is_none())
            .find(|(board, led)| {
                let mut here = led.classes.iter().flat_map(|name| self.named(board, name).filter(|it| it.owner.is_none()));
                here.next().is_some_and(|first| first.name == kernel_led.name)
            })
            .map(|(_, led)| led)
    }

    fn boards(&self) -> Vec<&'static Board> {
        self.detected.board.map_or_else(|| self.detected.perhaps.clone(), |board| vec![board])
    }

    /// Records why a candidate was rejected, once for each.
    fn pass_over<T>(&mut self, name: &str, why: String) -> Option<T> {
        if !self.passed_over.iter().any(|(it, _)| it == name) {
            self.passed_over.push((name.to_owned(), why));
        }
        None
    }
}

/// The LED that a path names: `led0` in `/sys/class/leds/led0/brightness`.
fn led_name(path: &str) -> Option<&str> {
    let path = path.trim_end_matches('/');
    path.strip_suffix("/brightness").unwrap_or(path).rsplit('/').next().filter(|it| !it.is_empty())
}

fn is_chip_of(chip: &KernelChip, line: &Line) -> bool {
    chip.device == line.chip.device || (chip.label.is_some() && chip.label.as_deref() == line.chip.label)
}

fn chosen(led: &KernelLed) -> LedLocation {
    LedLocation::Class { name: led.name.clone(), dir: led.dir.clone() }
}

fn chosen_line(line: &Line) -> LedLocation {
    LedLocation::Line {
        device: line.chip.device.to_owned(),
        label: line.chip.label.map(str::to_owned),
        name: line.name.map(str::to_owned),
        offset: line.offset,
        polarity: line.lit_by,
    }
}
