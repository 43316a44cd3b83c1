//! The results of a test, as a table for users and as JSON for files.

use std::time::UNIX_EPOCH;

use serde::Serialize;

use crate::cli::table::table;
use crate::cli::tool::{ToolResult, ToolStop};
use crate::linux::leds::LedError;
use crate::linux::leds::class::LedSnapshot;
use crate::linux::leds::gpio::{Direction, LineLevel};
use crate::linux::leds::host::{LedHost, ListedLed};
use crate::sorted::SortedMap;
use crate::state::utc::utc;

/// The layout version of the JSON.
const SCHEMA: u32 = 1;

/// The results of a test.
#[derive(Debug, Serialize)]
pub(super) struct TestReport {
    schema: u32,
    tool: String,
    time_utc: String,
    board: Board,
    kernel: Option<String>,
    serial: Option<String>,
    /// The LEDs, in the order in which they were tested.
    pub(super) leds: Vec<TestedLed>,
}

#[derive(Debug, Serialize)]
struct Board {
    id: Option<&'static str>,
    name: Option<&'static str>,
    recognised: String,
    model: Option<String>,
    compatible: Vec<String>,
    simulated: bool,
}

/// The results for one LED.
#[derive(Debug, Serialize)]
pub(super) struct TestedLed {
    name: String,
    label: Option<&'static str>,
    colour: Option<&'static str>,
    place: String,
    /// Whether the driver accepted every write, read back the same, and restored the LED.
    driver_ok: bool,
    /// Whether the user saw it blink. Null: the user was not asked, or skipped it.
    operator_ok: Option<bool>,
    /// What was read after each write: how often right, how often wrong, how often not readable.
    read_back: ReadBack,
    /// Whether the LED is as it was before. Null: its state could not be read.
    restored: Option<bool>,
    trouble: Option<String>,
    before_trigger: Option<String>,
    after_trigger: Option<String>,
    before_brightness: Option<u32>,
    after_brightness: Option<u32>,
    before_settings: SortedMap<String, String>,
    after_settings: SortedMap<String, String>,
    /// For a LED on a bare line, `input` or `output`; else null.
    before_direction: Option<String>,
    after_direction: Option<String>,
    before_level: Option<LineLevel>,
    after_level: Option<LineLevel>,
    #[serde(skip)]
    pub(super) before: Option<LedState>,
    #[serde(skip)]
    pub(super) after: Option<LedState>,
    #[serde(skip)]
    pub(super) operator: Option<Sighting>,
    #[serde(skip)]
    error: Option<LedError>,
}

#[derive(Debug, Default, Serialize)]
struct ReadBack {
    right: u32,
    wrong: u32,
    untold: u32,
    /// The first wrong one, in words.
    example: Option<String>,
}

/// The state of a LED while no program of ours holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LedState {
    /// A LED of the kernel's LED class.
    Led(LedSnapshot),
    /// A LED on a bare line.
    Line {
        /// The line's direction.
        direction: Direction,
        /// The line's level.
        level: LineLevel,
    },
}

impl LedState {
    /// Whether the state `after` equals this one, but for what changes by itself.
    fn is_back(&self, after: &Self) -> bool {
        match (self, after) {
            (Self::Led(before), Self::Led(after)) => {
                // Under a trigger, the brightness is momentary.
                let still = before.trigger == "none" && before.brightness != after.brightness;
                before.trigger == after.trigger && before.settings == after.settings && !still
            }
            // The level of an input is set from outside.
            (Self::Line { direction: Direction::Input, .. }, Self::Line { direction, .. }) => *direction == Direction::Input,
            (before, after) => before == after,
        }
    }
}

/// What the user saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sighting {
    /// The LED blinked.
    Seen,
    /// The LED did not blink.
    NotSeen,
}

impl TestReport {
    pub(super) fn new(host: &LedHost) -> Self {
        let read = |path: &str| host.files().read(&host.place.root.join(path)).ok();
        let plain = |text: String| text.trim_matches(['\0', '\n', ' ']).to_owned();
        let detected = &host.detected;
        Self {
            schema: SCHEMA,
            tool: format!("boardkeeper {}", env!("CARGO_PKG_VERSION")),
            time_utc: now_utc(),
            board: Board {
                id: detected.board.map(|board| board.id),
                name: detected.board.map(|board| board.name),
                recognised: detected.to_string(),
                model: detected.model.clone(),
                compatible: detected.compatible.clone(),
                simulated: host.simulated,
            },
            kernel: read("proc/sys/kernel/osrelease").map(plain),
            serial: read("proc/device-tree/serial-number").or_else(|| cpuinfo_serial(&read("proc/cpuinfo")?)).map(plain),
            leds: Vec::new(),
        }
    }

    pub(super) fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report is strings, numbers and flags")
    }

    pub(super) fn table(&self) -> String {
        let unknown = || "not told".to_owned();
        let serial = self.serial.clone().unwrap_or_else(unknown);
        let kernel = self.kernel.clone().unwrap_or_else(unknown);
        let head = format!("{}\nkernel {kernel}, serial {serial}, {}, {}\n\n", self.board.recognised, self.tool, self.time_utc);
        let heads = ["LED", "DRIVER", "OPERATOR", "RESTORED", "REMARK"];
        head + &table(&heads, self.leds.iter().map(TestedLed::cells).collect())
    }

    /// The outcome for the exit code: the first LED that could not be driven, else any that failed.
    pub(super) fn outcome(&self) -> ToolResult {
        if let Some(error) = self.leds.iter().find_map(|led| led.error.clone()) {
            return Err(ToolStop::Led(error));
        }
        let failed = self.leds.iter().any(|led| !led.driver_ok || led.operator == Some(Sighting::NotSeen));
        if failed { Err(ToolStop::Failed) } else { Ok(()) }
    }
}

impl TestedLed {
    pub(super) fn new(item: &ListedLed) -> Self {
        Self {
            name: item.location.to_string(),
            label: item.label,
            colour: item.colour,
            place: item.spot.clone(),
            driver_ok: true,
            operator_ok: None,
            read_back: ReadBack::default(),
            restored: None,
            trouble: None,
            before_trigger: None,
            after_trigger: None,
            before_brightness: None,
            after_brightness: None,
            before_settings: SortedMap::new(),
            after_settings: SortedMap::new(),
            before_direction: None,
            after_direction: None,
            before_level: None,
            after_level: None,
            before: None,
            after: None,
            operator: None,
            error: None,
        }
    }

    /// Records that the LED or its driver failed.
    pub(super) fn fail(&mut self, error: LedError) {
        self.driver_ok = false;
        self.trouble.get_or_insert_with(|| error.to_string());
        self.error.get_or_insert(error);
    }

    /// Records what was read after a write.
    pub(super) fn read_back(&mut self, written: u32, read: Option<u32>) {
        match read {
            None => self.read_back.untold += 1,
            Some(read) if read == written => self.read_back.right += 1,
            Some(read) => {
                self.read_back.wrong += 1;
                self.driver_ok = false;
                let example = format!("{written} was written, and {read} is read");
                self.read_back.example.get_or_insert(example);
            }
        }
    }

    /// Compares the state after the test with the one before.
    pub(super) fn check_restored(&mut self) {
        self.operator_ok = self.operator.map(|seen| seen == Sighting::Seen);
        if let (Some(before), Some(after)) = (&self.before, &self.after) {
            let same = before.is_back(after);
            self.restored = Some(same);
            self.driver_ok &= same;
        }
        if let Some(LedState::Led(before)) = self.before.clone() {
            (self.before_trigger, self.before_brightness) = (Some(before.trigger), before.brightness);
            self.before_settings = before.settings;
        }
        if let Some(LedState::Led(after)) = self.after.clone() {
            (self.after_trigger, self.after_brightness) = (Some(after.trigger), after.brightness);
            self.after_settings = after.settings;
        }
        if let Some(LedState::Line { direction, level }) = self.before {
            (self.before_direction, self.before_level) = (Some(direction.to_string()), Some(level));
        }
        if let Some(LedState::Line { direction, level }) = self.after {
            (self.after_direction, self.after_level) = (Some(direction.to_string()), Some(level));
        }
    }

    fn cells(&self) -> Vec<String> {
        let word = |flag: Option<bool>, yes: &str, no: &str| match flag {
            None => "-".to_owned(),
            Some(flag) => if flag { yes } else { no }.to_owned(),
        };
        let remark = self.trouble.clone().or_else(|| self.read_back.example.clone()).unwrap_or_default();
        vec![
            self.name.clone(),
            word(Some(self.driver_ok), "ok", "FAILED"),
            word(self.operator_ok, "seen", "NOT SEEN"),
            word(self.restored, "yes", "NO"),
            remark,
        ]
    }
}

fn cpuinfo_serial(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("Serial"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The current time, as `2026-11-23T15:04:05Z`.
#[expect(clippy::disallowed_methods, reason = "a report says when it was made, and nothing depends on it")]
fn now_utc() -> String {
    let secs = std::time::SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    utc(secs.cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_back_that_lies_fails_the_driver_and_says_how() {
        let location = crate::board::LedLocation::Class { name: "ACT".into(), dir: "/sys/class/leds/ACT".into() };
        let mut tested = TestedLed::new(&ListedLed {
            location,
            label: None,
            role: "identify".into(),
            colour: None,
            spot: String::new(),
            at: None,
            guard: None,
        });
        tested.read_back(1, Some(1));
        tested.read_back(0, None);
        assert!(tested.driver_ok);
        tested.read_back(0, Some(1));
        assert!(!tested.driver_ok);
        assert_eq!(tested.read_back.example.as_deref(), Some("0 was written, and 1 is read"));
    }

    #[test]
    fn the_serial_number_may_be_in_cpuinfo() {
        assert_eq!(cpuinfo_serial("Hardware\t: BCM\nSerial\t\t: 00aa\n").as_deref(), Some("00aa"));
    }
}
