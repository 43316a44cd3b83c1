//! Guesses, on a board without a description, which LED looks most like one to identify it with.
//!
//! Linux's names are `device:colour:function`, or whatever the author of a device tree liked. The guess goes by the function.

use boards::NEVER_BLINK;

use super::{KernelLed, LedFunction};

/// Functions of a status LED, best first. A word counts with digits after it, too: `usr3`, `led0`.
const LIKELY: &[&[&str]] = &[
    &["identify", "ident", "id", "locate", "locator", "uid"],
    &["status", "stat", "sts"],
    &["act", "activity"],
    &["user", "usr"],
    &["system", "sys", "run", "ready"],
    &["heartbeat", "hb"],
    &["indicator", "boot"],
    &["led"],
    &["disk", "mmc", "emmc", "sd", "hdd", "sata", "nand", "usb", "cpu"],
    &["power", "pwr"],
    &["error", "err", "fault", "fail", "alarm", "warn", "warning"],
];

/// The rank in [`LIKELY`] of a LED whose name has no known word.
const SAYS_NOTHING: usize = 8;

/// From this rank on in [`LIKELY`], a word decides alone, whatever else the name says: `disk-activity` is no activity LED.
const NARROW: usize = 8;

/// Words that make it the LED of another device: a link, a key, a lamp, a battery.
const OF_SOMETHING_ELSE: &[&str] = &[
    "backlight",
    "battery",
    "bluetooth",
    "bt",
    "capslock",
    "charger",
    "charging",
    "compose",
    "eth",
    "flash",
    "kana",
    "kbd",
    "lan",
    "lcd",
    "link",
    "micmute",
    "mute",
    "net",
    "numlock",
    "phy",
    "scrolllock",
    "speed",
    "torch",
    "wan",
    "wifi",
    "wlan",
    "wwan",
];

/// Words for what is not a LED: enable and reset lines, switches, motors.
const NO_LED: &[&str] = &["bsl", "en", "enable", "nrst", "oe", "reset", "rst", "rumble", "sel", "vibrator"];

/// Drivers of LED chips whose names do not say `led`.
const CHIPS: &[&str] =
    &["an30259a", "aw2013", "aw200", "bd26", "is31fl", "ktd", "lm35", "lp39", "lp50", "lp55", "pca95", "tlc59"];

/// Why a LED that no board's file describes must be left alone. `None`: it may be driven.
pub(super) fn unfit(led: &KernelLed) -> Option<String> {
    let words = words(&led.name);
    let says = |list: &[&str]| words.iter().any(|(word, _)| list.contains(&word.as_str()));
    if NEVER_BLINK.contains(&led.name.as_str()) || says(NO_LED) {
        return Some("it is a wire that resets or switches something, not a LED".to_owned());
    }
    if let Some(owner) = led.owner {
        return Some(format!("it belongs to {owner}"));
    }
    if led.name.starts_with("led_P8_") || led.name.starts_with("led_P9_") {
        return Some("it is a pin of the header, where anything may hang".to_owned());
    }
    if says(OF_SOMETHING_ELSE) || is_card_reader(&led.name) || led.name.starts_with("input") {
        return Some("by its name it tells of something else".to_owned());
    }
    if !is_plain(led) && rank(led) >= SAYS_NOTHING {
        return Some("neither its driver nor its name says that it is for people".to_owned());
    }
    led.unwritable.clone()
}

/// The LED that looks most like a status LED.
pub(super) fn best<'a>(fit: impl Iterator<Item = &'a KernelLed>) -> Option<&'a KernelLed> {
    fit.min_by_key(|led| (rank(led), !is_plain(led), led.name.clone()))
}

/// Whether its driver only lights LEDs.
pub(super) fn is_plain(led: &KernelLed) -> bool {
    let Some(driver) = &led.driver else { return false };
    (driver.contains("led") && !driver.contains("hid")) || CHIPS.iter().any(|chip| driver.starts_with(chip))
}

/// The rank of its name in [`LIKELY`]; a lower one is likelier.
fn rank(led: &KernelLed) -> usize {
    let words = words(&led.name);
    let at = |word: &str| LIKELY.iter().position(|list| list.contains(&word));
    let ranks: Vec<usize> = words.iter().filter_map(|(word, _)| at(word)).collect();
    // The first LED is the one to use, whatever it is for: on a Raspberry Pi, `led0` is the activity and `led1` the power.
    if let [(word, number)] = words.as_slice()
        && word == "led"
    {
        return if *number == Some(0) { 2 } else { SAYS_NOTHING };
    }
    let narrow = ranks.iter().copied().filter(|it| *it >= NARROW).max();
    narrow.or_else(|| ranks.into_iter().min()).unwrap_or(SAYS_NOTHING)
}

/// The words of a name in lower case, each with the number after it.
fn words(name: &str) -> Vec<(String, Option<u32>)> {
    let parts = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|it| !it.is_empty());
    parts
        .map(|part| {
            let word = part.trim_end_matches(|c: char| c.is_ascii_digit());
            (word.to_ascii_lowercase(), part[word.len()..].parse().ok())
        })
        .collect()
}

/// `mmc0::`, as the kernel names the LED of a card reader.
fn is_card_reader(name: &str) -> bool {
    let number = name.strip_prefix("mmc").and_then(|it| it.strip_suffix("::"));
    number.is_some_and(|it| it.bytes().all(|byte| byte.is_ascii_digit()))
}

impl std::fmt::Display for LedFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            LedFunction::Network => "a network interface",
            LedFunction::Storage => "a disk or a card reader",
            LedFunction::Input => "a keyboard or another input device",
            LedFunction::PowerSupply => "a battery or a charger",
        })
    }
}
