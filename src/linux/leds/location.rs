//! Finds a LED's location: a LED of the kernel's class, or a bare GPIO line.

use crate::board::{LedChoice, LedLocation, OtherLed, Polarity};
use crate::linux::leds::files::refusal;
use crate::linux::leds::gpio::{Chip, Direction, Gpio, LineInfo, LineLevel, LineRequest, by_device};
use crate::port::LedError;
use crate::state::{LedInfo, LedLevel, LedRef};

/// The line level for this LED level.
pub const fn volts(polarity: Polarity, level: LedLevel) -> LineLevel {
    match (polarity, level) {
        (Polarity::ActiveHigh, LedLevel::Lit) | (Polarity::ActiveLow, LedLevel::Dark) => LineLevel::High,
        (Polarity::ActiveHigh, LedLevel::Dark) | (Polarity::ActiveLow, LedLevel::Lit) => LineLevel::Low,
    }
}

/// Finds a LED among those that may be driven.
pub fn find(choice: &LedChoice, which: &LedRef) -> Result<(LedLocation, LedInfo), LedError> {
    let main = choice.led.clone().ok_or_else(|| LedError::None(choice.why.clone()));
    let main = main.map(|location| (LedInfo { name: location.to_string(), why: choice.why.clone() }, location));
    let name = match which {
        LedRef::Identify => return main.map(|(led_info, location)| (location, led_info)),
        LedRef::Named(name) => name,
        LedRef::Line(name) => return Err(LedError::None(format!("{name} is a GPIO line, and no LED"))),
    };
    let is_label = |led: Option<&boards::Led>| led.is_some_and(|led| led.name.eq_ignore_ascii_case(name));
    if let Ok((led_info, location)) = &main
        && (led_info.name == *name || is_label(choice.described))
    {
        return Ok((location.clone(), led_info.clone()));
    }
    let named = choice.others.iter().find(|other| other.name == *name);
    if let Some(other) = named.or_else(|| choice.others.iter().find(|other| is_label(other.described))) {
        return Ok((location_of(other), led_info(other)));
    }
    if let Some((_, why)) = choice.passed_over.iter().find(|(it, _)| it == name) {
        return Err(LedError::Guarded(format!("{name} is not driven: {why}")));
    }
    let there: Vec<&str> = main
        .iter()
        .map(|(led_info, _)| &led_info.name)
        .chain(choice.others.iter().map(|it| &it.name))
        .map(String::as_str)
        .collect();
    let there = if there.is_empty() { "none at all".to_owned() } else { there.join(", ") };
    Err(LedError::None(format!("there is no LED `{name}` here that may be driven; there is {there}")))
}

/// Every LED that may be driven, the one that identifies the device first.
pub fn all(choice: &LedChoice) -> impl Iterator<Item = LedLocation> {
    choice.led.iter().cloned().chain(choice.others.iter().map(location_of))
}

fn location_of(other: &OtherLed) -> LedLocation {
    LedLocation::Class { name: other.name.clone(), dir: other.dir.clone() }
}

/// The name of a LED that was not chosen, and why it may be driven.
pub fn led_info(other: &OtherLed) -> LedInfo {
    let why = other.described.map_or_else(
        || "it looks like a LED for people".to_owned(),
        |led| format!("it is {} of the board, its {} LED", led.name, format!("{:?}", led.role).to_lowercase()),
    );
    LedInfo { name: other.name.clone(), why }
}

/// Finds the line, and makes sure that it is the right one and has no holder.
///
/// The line is found by the device that owns the chip; else by the chip's label, where that is unique; else by the line's name.
/// A line of another name is another line. Chip numbers, and labels made of them, are never used.
pub fn find_line(gpio: &dyn Gpio, location: &LedLocation) -> Result<(Chip, LineInfo), LedError> {
    let LedLocation::Line { device, label, name, offset, .. } = location else {
        return Err(LedError::None(format!("{location} is not a GPIO line")));
    };
    let chips = gpio.chips().map_err(|error| refusal("list the GPIO chips", &error))?;
    let labelled = || label.as_ref().and_then(|label| chips.iter().find(|chip| chip.label == *label));
    // If no device is shown to own the chips, the user names the chip's number.
    let numbered = || chips.iter().find(|chip| chip.device.is_empty() && chip.name == *device);
    let here = match by_device(&chips, device).or_else(labelled).or_else(numbered) {
        Some(chip) => Some((chip.clone(), read_line(gpio, chip, *offset)?)),
        None => None,
    };
    let right = |info: &LineInfo| info.name.is_none() || name.is_none() || info.name == *name;
    let found = match here {
        Some((chip, info)) if right(&info) => (chip, info),
        Some(_) | None => by_name(gpio, &chips, name.as_deref())
            .ok_or_else(|| LedError::None(format!("{location}: no GPIO chip of this kernel has this line")))?,
    };
    if found.1.used {
        let holder = found.1.consumer.as_deref().unwrap_or("a program that gives no name");
        return Err(LedError::Busy(format!("{location} ({} line {offset}) is held by {holder}", found.0.name)));
    }
    Ok(found)
}

/// The state of a line that has no holder. The line is requested as it is for that moment, and not driven.
pub fn look_at_line(gpio: &dyn Gpio, chip: &Chip, info: &LineInfo) -> std::io::Result<(Direction, LineLevel)> {
    let as_is = gpio.request(chip, info.offset, LineRequest::AsIs)?;
    Ok((as_is.direction()?.unwrap_or(info.direction), as_is.get()?))
}

/// The line of this name, if there is only one.
fn by_name(gpio: &dyn Gpio, chips: &[Chip], name: Option<&str>) -> Option<(Chip, LineInfo)> {
    let name = name?;
    let lines = chips.iter().flat_map(|chip| (0..chip.lines).filter_map(move |n| Some((chip, gpio.line(chip, n).ok()?))));
    let mut named = lines.filter(|(_, info)| info.name.as_deref() == Some(name));
    match (named.next(), named.next()) {
        (Some((chip, info)), None) => Some((chip.clone(), info)),
        (None, _) | (Some(_), Some(_)) => None,
    }
}

fn read_line(gpio: &dyn Gpio, chip: &Chip, offset: u32) -> Result<LineInfo, LedError> {
    gpio.line(chip, offset).map_err(|error| refusal(&format!("ask about line {offset} of {}", chip.name), &error))
}
