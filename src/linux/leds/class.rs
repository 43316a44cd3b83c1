//! One LED of the kernel's LED class: reading its state, making it blink, and restoring it.
//!
//! The kernel's rules that matter here, each seen on 6.1 to 7.2: writing 0 to `brightness` removes the trigger; a change of
//! trigger removes the old one's settings and makes the LED dark; writing the same trigger again resets its settings; the
//! `pattern` trigger plays nothing unless `repeat` is written each time; `brightness` is clamped to `max_brightness`.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use rustix::io::Errno;

use crate::linux::leds::files::{LedFiles, refusal};
use crate::port::LedError;
use crate::sorted::{SortedMap, sort_by};
use crate::state::{LedLevel, Pattern, Player};

/// Attributes that every LED has, and directories. All others belong to the trigger.
const OWN: &[&str] = &[
    "brightness",
    "brightness_hw_changed",
    "device",
    "max_brightness",
    "multi_index",
    "multi_intensity",
    "multi_max_intensity",
    "power",
    "subsystem",
    "trigger",
    "uevent",
];

/// The trigger whose settings are files in a directory, one for each USB port; and the directory.
const USBPORT: (&str, &str) = ("usbport", "ports");

/// More ports than the hubs of a board can have.
const PORTS: usize = 256;

/// Settings that others depend on, so that they are written first.
const FIRST: &[&str] = &["device_name", "gpio", "ttyname"];

/// Settings that start something, so that they are written last, in this order.
const LAST: &[&str] = &["repeat", "hr_pattern", "pattern"];

/// The initial delays of the `timer` trigger: 500 ms.
const TIMER_DEFAULT: &str = "500";

/// How often a write to a setting is retried while permission is denied. A new trigger's files belong to root until the udev
/// rule that gives LEDs to our group has run: some 50 ms on an idle board, and seconds on a busy one.
const HANDED_OVER: u32 = 100;
/// Time between two of these retries.
const HAND_OVER_LOOK: Duration = Duration::from_millis(20);

/// The most rounds that the kernel's `repeat` takes: it is an `int`.
const MOST_ROUNDS: u32 = i32::MAX.unsigned_abs();

/// The state of a LED: all that can be restored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LedSnapshot {
    /// The trigger, or `none`.
    pub trigger: String,
    /// The trigger's own settings, by name.
    pub settings: SortedMap<String, String>,
    /// The momentary brightness. `None`: the hardware controls it and does not report it.
    pub brightness: Option<u32>,
    /// The brightness of each colour of a multicolour LED.
    pub intensity: Option<String>,
}

/// A change of ours to a LED, to recognise it later.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OurChanges {
    /// The trigger we set.
    pub trigger: String,
    /// The settings we gave it.
    pub settings: SortedMap<String, String>,
}

impl OurChanges {
    /// No trigger: each change is written.
    pub fn by_hand() -> Self {
        Self { trigger: "none".into(), settings: SortedMap::new() }
    }
}

/// The outcome of restoring a LED.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreOutcome {
    /// The LED is as it was.
    Exactly,
    /// Another program changed the LED meanwhile; that change stays.
    ChangedByOthers,
}

/// A directory of the LED class.
pub struct ClassLed<'a> {
    files: &'a dyn LedFiles,
    dir: &'a Path,
}

impl<'a> ClassLed<'a> {
    /// The LED of this directory.
    pub fn new(files: &'a dyn LedFiles, dir: &'a Path) -> Self {
        Self { files, dir }
    }

    /// The brightness that lights the LED fully. Never 0: then no LED would ever be lit.
    pub fn max(&self) -> Result<u32, LedError> {
        let text = self.read("max_brightness")?;
        Ok(text.trim().parse().unwrap_or(1).max(1))
    }

    /// The brightness that the kernel reports. `None`: the hardware controls it and does not report it.
    pub fn brightness(&self) -> Result<Option<u32>, LedError> {
        match self.files.read(&self.path("brightness")) {
            Ok(text) => Ok(text.trim().parse().ok()),
            Err(error) if error.raw_os_error() == Some(Errno::NODATA.raw_os_error()) => Ok(None),
            Err(error) => Err(refusal(&format!("read {}", self.path("brightness").display()), &error)),
        }
    }

    /// The triggers that the kernel lists, and the current one. A kernel without triggers has `none`.
    pub fn triggers(&self) -> Result<(Vec<String>, String), LedError> {
        match self.files.read(&self.path("trigger")) {
            Ok(text) => Ok(parse_triggers(&text)),
            // The LED may be gone, or the kernel may have been built without triggers.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && self.brightness().is_ok() => {
                Ok((vec!["none".into()], "none".into()))
            }
            Err(error) => Err(refusal(&format!("read {}", self.path("trigger").display()), &error)),
        }
    }

    /// The LED's present state.
    pub fn look(&self) -> Result<LedSnapshot, LedError> {
        let (_, trigger) = self.triggers()?;
        let mut settings = SortedMap::new();
        let mut names = self.files.list(self.dir).map_err(|error| refusal(&format!("list {}", self.dir.display()), &error))?;
        if trigger == USBPORT.0 {
            // If the directory is missing, it went with its trigger.
            let ports = self.files.list(&self.path(USBPORT.1)).unwrap_or_default();
            names.extend(ports.iter().take(PORTS).map(|it| format!("{}/{it}", USBPORT.1)));
        }
        for name in names {
            if OWN.contains(&name.as_str()) || name.starts_with('.') {
                continue;
            }
            // Some are write-only, and some went with their trigger after they were listed: neither can be restored.
            if let Ok(value) = self.files.read(&self.path(&name)) {
                settings.insert(name, value);
            }
        }
        let intensity = self.files.read(&self.path("multi_intensity")).ok();
        Ok(LedSnapshot { trigger, settings, brightness: self.brightness()?, intensity })
    }

    /// The plans for [`ClassLed::play`], the best first. A pattern ends by itself even if the agent dies, a timer at least
    /// saves waking the agent, and writing change by change always works.
    pub fn plans(&self, pattern: &Pattern, rounds: Option<u32>) -> Result<Vec<OurChanges>, LedError> {
        let (known, _) = self.triggers()?;
        let has = |name: &str| known.iter().any(|trigger| trigger == name);
        let plan = |trigger: &str, settings: &[(&str, &str)]| OurChanges {
            trigger: trigger.to_owned(),
            settings: settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        };
        let mut plans = Vec::new();
        if has("pattern") {
            let repeat = rounds.map_or("-1".to_owned(), |rounds| rounds.min(MOST_ROUNDS).to_string());
            plans.push(plan("pattern", &[("repeat", &repeat), ("pattern", &pattern.kernel_text(self.max()?))]));
        }
        if let (true, Some((on, off))) = (has("timer"), pattern.square()) {
            plans.push(plan("timer", &[("delay_on", &on.to_string()), ("delay_off", &off.to_string())]));
        }
        plans.push(OurChanges::by_hand());
        Ok(plans)
    }

    /// Whether the LED is still as we set it, and no other program has changed it since.
    pub fn still_ours(&self, before: &LedSnapshot, ours: &[OurChanges]) -> Result<bool, LedError> {
        Ok(is_ours(&self.look()?, before, ours))
    }

    /// Makes this change. Returns what plays the pattern.
    pub fn play(&self, ours: &OurChanges) -> Result<Player, LedError> {
        self.mix()?;
        if ours.trigger == "timer" {
            self.undim()?;
        }
        self.trigger(&ours.trigger)?;
        for (name, value) in in_order(&ours.settings) {
            self.write_setting(name, value)?;
        }
        Ok(if ours.trigger == "none" { Player::Agent } else { Player::Kernel })
    }

    /// Lights or darkens the LED. Fails with `Busy` if another program has set a trigger.
    pub fn set(&self, level: LedLevel) -> Result<(), LedError> {
        let (_, trigger) = self.triggers()?;
        if trigger != "none" {
            // Writing 0 now would remove that program's trigger. A trigger set between this check and the write is lost all the
            // same: the kernel has no way to do both at once.
            return Err(LedError::Busy(format!(
                "{}: another program set its trigger to `{trigger}` meanwhile",
                self.dir.display()
            )));
        }
        let value = if level == LedLevel::Lit { self.max()? } else { 0 };
        self.write("brightness", &value.to_string())
    }

    /// Restores the state before our changes, unless another program has changed the LED since.
    pub fn restore(&self, before: &LedSnapshot, ours: &[OurChanges]) -> Result<RestoreOutcome, LedError> {
        let now = self.look()?;
        if !is_ours(&now, before, ours) {
            return Ok(RestoreOutcome::ChangedByOthers);
        }
        if let Some(intensity) = before.intensity.as_ref().filter(|it| now.intensity.as_ref() != Some(it)) {
            self.write("multi_intensity", intensity)?;
        }
        if now.trigger != before.trigger {
            self.trigger(&before.trigger)?;
        }
        self.restore_settings(before)?;
        self.restore_brightness(before)?;
        Ok(RestoreOutcome::Exactly)
    }

    fn restore_settings(&self, before: &LedSnapshot) -> Result<(), LedError> {
        let wrong = |name: &str, value: &str| match self.files.read(&self.path(name)) {
            Ok(now) => now != value,
            // Some become readable only when they become writable.
            Err(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
        };
        let changed = before.settings.iter().any(|(name, value)| wrong(name, value));
        for (name, value) in in_order(&before.settings) {
            // Those that start something are written again once any setting was changed: what they started may be over.
            let again = changed && LAST.contains(&name) && !value.is_empty();
            if wrong(name, value) || again {
                self.write_setting(name, value)?;
            }
        }
        Ok(())
    }

    fn restore_brightness(&self, before: &LedSnapshot) -> Result<(), LedError> {
        let Some(value) = before.brightness else { return Ok(()) };
        // Under a trigger the brightness is momentary, and 0 would remove the trigger; but less than full was set by a program.
        if (before.trigger == "none" || self.is_dim(value)?) && self.brightness()? != Some(value) {
            self.write("brightness", &value.to_string())?;
        }
        Ok(())
    }

    /// Lights a dimmed LED fully, because `timer` keeps the brightness that it finds.
    fn undim(&self) -> Result<(), LedError> {
        let (_, trigger) = self.triggers()?;
        if trigger == "none" && self.is_dim(self.brightness()?.unwrap_or_default())? {
            self.write("brightness", &self.max()?.to_string())?;
        }
        Ok(())
    }

    /// Whether this brightness is more than 0 and less than full.
    fn is_dim(&self, brightness: u32) -> Result<bool, LedError> {
        Ok(brightness > 0 && brightness < self.max()?)
    }

    /// Gives a multicolour LED a colour if all its colours are 0: it would stay dark.
    fn mix(&self) -> Result<(), LedError> {
        let Ok(now) = self.files.read(&self.path("multi_intensity")) else { return Ok(()) };
        if now.split_whitespace().any(|part| part != "0") {
            return Ok(());
        }
        let full = self.files.read(&self.path("multi_max_intensity"));
        let max = self.max()?.to_string();
        let full = full.unwrap_or_else(|_| now.split_whitespace().map(|_| max.as_str()).collect::<Vec<_>>().join(" "));
        self.write("multi_intensity", &full)
    }

    /// Sets the trigger. A kernel without triggers always has `none`.
    fn trigger(&self, name: &str) -> Result<(), LedError> {
        let (known, now) = self.triggers()?;
        if name == "none" && now == "none" {
            return Ok(());
        }
        if !known.iter().any(|it| it == name) {
            return Err(LedError::Failed(format!(
                "{}: its trigger was `{name}`, which the kernel no longer knows: load the module again, then `boardkeeper led restore`",
                self.dir.display()
            )));
        }
        self.write("trigger", name)?;
        if name == "none" && now == "timer" {
            // The kernel ends its own blink a moment later, and loses a brightness that is written before that. Writing 0 waits
            // for it.
            self.write("brightness", "0")?;
        }
        Ok(())
    }

    /// Writes a setting of a trigger. Retries while permission is denied: udev may not have run yet.
    fn write_setting(&self, name: &str, value: &str) -> Result<(), LedError> {
        for _ in 0..HANDED_OVER {
            match self.write(name, value) {
                Err(LedError::Permission(_)) => sleep(HAND_OVER_LOOK),
                done => return done,
            }
        }
        self.write(name, value)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn read(&self, name: &str) -> Result<String, LedError> {
        let path = self.path(name);
        self.files.read(&path).map_err(|error| refusal(&format!("read {}", path.display()), &error))
    }

    fn write(&self, name: &str, value: &str) -> Result<(), LedError> {
        let path = self.path(name);
        self.files.write(&path, value).map_err(|error| refusal(&format!("write `{value}` to {}", path.display()), &error))
    }
}

/// The names in a `trigger` file, and the one in brackets. `default` is a keyword of newer kernels, not a trigger.
pub fn parse_triggers(text: &str) -> (Vec<String>, String) {
    let mut current = "none".to_owned();
    let mut known = Vec::new();
    for word in text.split_whitespace().filter(|word| *word != "default") {
        let name = word.trim_start_matches('[').trim_end_matches(']');
        if name.len() + 2 == word.len() {
            name.clone_into(&mut current);
        }
        known.push(name.to_owned());
    }
    (known, current)
}

/// Whether the LED's state is a change of ours, complete, partly made or partly undone, and not another program's.
fn is_ours(now: &LedSnapshot, before: &LedSnapshot, ours: &[OurChanges]) -> bool {
    let made = ours.iter().map(|it| (&it.trigger, &it.settings)).chain([(&before.trigger, &before.settings)]);
    let made: Vec<&SortedMap<String, String>> =
        made.filter(|(trigger, _)| **trigger == now.trigger).map(|(_, settings)| settings).collect();
    if made.is_empty() {
        return false;
    }
    // Each setting that we write has a value that we wrote at some time, or the trigger's initial one.
    let timer = now.trigger == "timer";
    let fresh = |seen: &str| seen.is_empty() || seen == "-1" || timer && seen == TIMER_DEFAULT;
    let plays = timer || now.trigger == "pattern";
    let known = |name: &str, seen: &str| made.iter().any(|it| it.get(name).is_some_and(|value| same_words(value, seen)));
    let written = |name: &str| ours.iter().any(|it| it.settings.contains_key(name));
    !plays || now.settings.iter().all(|(name, seen)| !written(name) || fresh(seen) || known(name, seen))
}

/// Whether two settings are equal but for whitespace: the kernel prints other whitespace than we write.
fn same_words(a: &str, b: &str) -> bool {
    a.split_whitespace().eq(b.split_whitespace())
}

/// Settings in the order in which they must be written.
fn in_order(settings: &SortedMap<String, String>) -> impl Iterator<Item = (&str, &str)> {
    let rank = |name: &str| {
        let last = LAST.iter().position(|it| *it == name).map(|n| n + 2);
        last.unwrap_or_else(|| usize::from(!FIRST.contains(&name)))
    };
    let mut all: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    sort_by(&mut all, |(a, _), (b, _)| (rank(a), a).cmp(&(rank(b), b)));
    all.into_iter()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::linux::leds::files::HostFiles;

    #[test]
    fn the_ports_of_usb_that_light_it_are_put_back() {
        let led = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(led.path().join(name), text).unwrap();
        let show = |name: &str| fs::read_to_string(led.path().join(name)).unwrap();
        for dir in ["ports", "power", "device"] {
            fs::create_dir(led.path().join(dir)).unwrap();
            put(&format!("{dir}/1-1"), "1\n");
        }
        for (name, text) in [("max_brightness", "1\n"), ("brightness", "1\n"), ("ports/1-2", "0\n")] {
            put(name, text);
        }
        put("trigger", "none [usbport]\n");
        let class = ClassLed::new(&HostFiles, led.path());
        let before = class.look().unwrap();
        let ports = [("ports/1-1", "1"), ("ports/1-2", "0")].map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(before.settings, ports.into_iter().collect());

        // The kernel's state after another trigger was set.
        put("trigger", "[none] usbport\n");
        put("ports/1-1", "0\n");
        assert_eq!(class.look().unwrap().settings, SortedMap::new());
        assert_eq!(class.restore(&before, &[OurChanges::by_hand()]).unwrap(), RestoreOutcome::Exactly);
        assert!(show("trigger").starts_with("usbport"));
        assert_eq!((show("ports/1-1").trim(), show("ports/1-2").trim()), ("1", "0"));
    }
}
