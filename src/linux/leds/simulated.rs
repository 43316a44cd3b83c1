//! A simulated board: LEDs and GPIO lines that behave as the kernel's do, in a directory that any program may watch.
//!
//! [`SimulatedLed`] follows the kernel's rules, as measured on 6.1 to 7.2. [`folder`] keeps LEDs in files, so that the next
//! process finds them. [`lines`] does so with GPIO lines.

pub mod folder;
pub mod lines;

use std::io;

use rustix::io::Errno;

use crate::sorted::SortedMap;

/// A simulated LED. Time is in milliseconds since a fixed moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimulatedLed {
    /// The maximum brightness.
    pub max: u32,
    /// The triggers the kernel has.
    pub triggers: Vec<String>,
    /// The current trigger, or `none`.
    pub trigger: String,
    /// The brightness that was written last, or that a trigger set.
    pub brightness: u32,
    /// The settings of the trigger, by name.
    pub settings: SortedMap<String, String>,
    /// When the current blink or pattern began.
    pub since_ms: u64,
    /// Rounds that the pattern plays, -1 without end; `None`: `repeat` was not written since the pattern ended.
    pub repeat: Option<i64>,
    /// The kernel has yet to end a blink of the trigger `timer`; a brightness written before that is lost.
    pub ending: bool,
}

impl SimulatedLed {
    /// A dark LED without a trigger, of a kernel that has these triggers.
    pub fn new(max: u32, triggers: &[&str]) -> Self {
        let triggers = ["none"].iter().chain(triggers).map(|name| (*name).to_owned()).collect();
        let (trigger, settings) = ("none".to_owned(), SortedMap::new());
        Self { max, triggers, trigger, brightness: 0, settings, since_ms: 0, repeat: Some(-1), ending: false }
    }

    /// Reads an attribute.
    pub fn read(&self, name: &str, now_ms: u64) -> io::Result<String> {
        match name {
            "max_brightness" => Ok(self.max.to_string()),
            "brightness" => Ok(self.light(now_ms).to_string()),
            "trigger" => Ok(self.trigger_list()),
            _ => self.settings.get(name).cloned().ok_or_else(|| Errno::NOENT.into()),
        }
    }

    /// Writes an attribute.
    pub fn write(&mut self, name: &str, text: &str, now_ms: u64) -> io::Result<()> {
        let text = text.trim();
        match name {
            "brightness" => self.write_brightness(text),
            "trigger" => self.write_trigger(text, now_ms),
            "max_brightness" => Err(Errno::ACCESS.into()),
            _ if self.settings.contains_key(name) => self.write_setting(name, text, now_ms),
            _ => Err(Errno::NOENT.into()),
        }
    }

    /// The names of its attributes.
    pub fn names(&self) -> Vec<String> {
        let own = ["brightness", "max_brightness", "trigger"].map(str::to_owned);
        own.into_iter().chain(self.settings.keys().cloned()).collect()
    }

    /// The brightness at this moment.
    pub fn light(&self, now_ms: u64) -> u32 {
        let passed = now_ms.saturating_sub(self.since_ms);
        let number = |name: &str| self.settings.get(name).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        match self.trigger.as_str() {
            "timer" => {
                let (on, off) = (number("delay_on"), number("delay_off"));
                let lit = on > 0 && (off == 0 || passed % (on + off) < on);
                if lit { self.brightness } else { 0 }
            }
            // As the kernel's: two beats of 70 ms, and a pause.
            "heartbeat" if matches!(passed % 1260, 0..70 | 140..210) => self.brightness,
            "heartbeat" => 0,
            "pattern" => self.pattern_light(passed),
            _ => self.brightness,
        }
    }

    fn pattern_light(&self, passed: u64) -> u32 {
        let steps = self.settings.get("pattern").and_then(|text| tuples(text, self.max).ok()).unwrap_or_default();
        let round: u64 = steps.iter().map(|(_, ms)| ms).sum();
        let rounds = passed.checked_div(round).unwrap_or(0);
        let over = match self.repeat {
            None => true,
            Some(repeat) => u64::try_from(repeat).is_ok_and(|repeat| rounds >= repeat),
        };
        if round == 0 || over {
            return 0;
        }
        let mut left = passed % round;
        for (level, ms) in steps {
            if left < ms {
                return level;
            }
            left -= ms;
        }
        0
    }

    fn trigger_list(&self) -> String {
        let shown = |name: &String| if *name == self.trigger { format!("[{name}]") } else { name.clone() };
        self.triggers.iter().map(shown).collect::<Vec<_>>().join(" ")
    }

    fn write_brightness(&mut self, text: &str) -> io::Result<()> {
        let value: u32 = text.parse().map_err(|_| Errno::INVAL)?;
        let lost = std::mem::take(&mut self.ending);
        self.brightness = if lost { 0 } else { value.min(self.max) };
        if value == 0 {
            "none".clone_into(&mut self.trigger);
            self.settings.clear();
        }
        Ok(())
    }

    fn write_trigger(&mut self, name: &str, now_ms: u64) -> io::Result<()> {
        if !self.triggers.iter().any(|known| known == name) {
            return Err(Errno::INVAL.into());
        }
        self.ending = self.trigger == "timer" && name == "none";
        let dimmed = self.trigger == "none" && self.brightness > 0;
        name.clone_into(&mut self.trigger);
        self.since_ms = now_ms;
        self.repeat = Some(-1);
        self.settings = settings_of(name);
        self.brightness = match name {
            // `timer` keeps the brightness of a LED that was lit.
            "timer" if dimmed => self.brightness,
            "default-on" | "timer" | "heartbeat" => self.max,
            _ => 0,
        };
        Ok(())
    }

    fn write_setting(&mut self, name: &str, text: &str, now_ms: u64) -> io::Result<()> {
        let round: u64 =
            self.settings.get("pattern").and_then(|it| tuples(it, self.max).ok()).into_iter().flatten().map(|it| it.1).sum();
        let over = self.repeat.is_some_and(|repeat| {
            u64::try_from(repeat).is_ok_and(|repeat| round > 0 && now_ms.saturating_sub(self.since_ms) >= repeat * round)
        });
        match name {
            "pattern" => {
                tuples(text, self.max)?;
                if over {
                    // The rounds that `repeat` asked for are over: nothing plays until `repeat` is written again.
                    self.repeat = None;
                }
            }
            "repeat" => {
                let repeat: i64 = text.parse().map_err(|_| Errno::INVAL)?;
                if repeat == 0 || repeat < -1 {
                    return Err(Errno::INVAL.into());
                }
                self.repeat = Some(repeat);
            }
            "device_name" => {}
            _ => {
                text.parse::<u32>().map_err(|_| Errno::INVAL)?;
            }
        }
        self.since_ms = now_ms;
        self.settings.insert(name.to_owned(), text.to_owned());
        Ok(())
    }
}

/// The settings that appear with a trigger, with their initial values.
fn settings_of(trigger: &str) -> SortedMap<String, String> {
    let all: &[(&str, &str)] = match trigger {
        "timer" => &[("delay_off", "500"), ("delay_on", "500")],
        "oneshot" => &[("delay_off", "100"), ("delay_on", "100"), ("invert", "0")],
        "heartbeat" => &[("invert", "0")],
        "pattern" => &[("pattern", ""), ("repeat", "-1")],
        "netdev" => &[("device_name", ""), ("interval", "50"), ("link", "0"), ("rx", "0"), ("tx", "0")],
        _ => &[],
    };
    all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Parses the pattern trigger's pairs of brightness and milliseconds.
fn tuples(text: &str, max: u32) -> io::Result<Vec<(u32, u64)>> {
    let numbers: Vec<u64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>().map_err(|_| Errno::INVAL)?;
    let (pairs, rest) = numbers.as_chunks::<2>();
    let pair = |[level, ms]: &[u64; 2]| {
        let level = u32::try_from(*level).ok().filter(|level| *level <= max).ok_or(Errno::INVAL)?;
        Ok((level, *ms))
    };
    if rest.is_empty() { pairs.iter().map(pair).collect() } else { Err(Errno::INVAL.into()) }
}
