//! The GPIO lines that the board leaves to its owner: lists them, and finds one.

use std::io;

use crate::board::{FreeLine, LedLocation, Polarity};
use crate::linux::leds::files::refusal;
use crate::linux::leds::gpio::{Chip, Direction, Gpio, LineInfo};
use crate::port::LedError;
use crate::state::{FreeLineInfo, LineDirection, LineHolder};

/// The lines that the kernel has. `is_ours`: whether this agent holds the line of this name.
pub fn list(gpio: &dyn Gpio, lines: &[FreeLine], is_ours: impl Fn(&str) -> bool) -> Result<Vec<FreeLineInfo>, LedError> {
    if lines.is_empty() {
        return Ok(Vec::new());
    }
    let chips = chips(gpio)?;
    let info = |line: &FreeLine| read(gpio, &chips, line).map(|(chip, info)| describe(line, chip, info, &is_ours));
    Ok(lines.iter().filter_map(info).collect())
}

/// The line of this name among those that the board leaves to its owner.
pub fn find<'a>(lines: &'a [FreeLine], name: &str) -> Result<&'a FreeLine, LedError> {
    lines.iter().find(|line| line.pin.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
        let names: Vec<&str> = lines.iter().map(|line| line.pin.name).collect();
        LedError::None(if names.is_empty() {
            "the description of this board leaves no GPIO line to its owner; `boardkeeper gpio blink` drives one by hand".into()
        } else {
            format!("there is no GPIO line `{name}` here that may be driven; there is {}", names.join(", "))
        })
    })
}

/// Where the line is.
pub fn locate(gpio: &dyn Gpio, line: &FreeLine) -> Result<LedLocation, LedError> {
    let chips = chips(gpio)?;
    let Some((_, info)) = read(gpio, &chips, line) else {
        return Err(LedError::None(format!("{}: no GPIO chip of this kernel has this line", line.pin.name)));
    };
    Ok(LedLocation::Line {
        device: line.chip.device.to_owned(),
        label: line.chip.label.map(str::to_owned),
        name: info.name,
        offset: line.pin.offset,
        polarity: Polarity::ActiveHigh,
    })
}

/// The kernel's chips: none where it has none.
fn chips(gpio: &dyn Gpio) -> Result<Vec<Chip>, LedError> {
    match gpio.chips() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        chips => chips.map_err(|error| refusal("list the GPIO chips", &error)),
    }
}

/// The line's chip, and what the kernel reports of the line. `None`: the kernel has it not, or has another line there.
fn read<'a>(gpio: &dyn Gpio, chips: &'a [Chip], line: &FreeLine) -> Option<(&'a Chip, LineInfo)> {
    let is_labelled = |chip: &&Chip| chip.device.is_empty() && line.chip.label == Some(chip.label.as_str());
    let by_device = chips.iter().find(|chip| chip.device == line.chip.device);
    let chip = by_device.or_else(|| chips.iter().find(is_labelled))?;
    let info = (line.pin.offset < chip.lines).then(|| gpio.line(chip, line.pin.offset).ok()).flatten()?;
    line.may_be_called(info.name.as_deref()).then_some((chip, info))
}

fn describe(line: &FreeLine, chip: &Chip, info: LineInfo, is_ours: impl Fn(&str) -> bool) -> FreeLineInfo {
    let holder = match info.used {
        true if is_ours(line.pin.name) => LineHolder::Agent,
        true => LineHolder::Other(info.consumer),
        false => LineHolder::None,
    };
    let direction = match info.direction {
        Direction::Input => LineDirection::Input,
        Direction::Output => LineDirection::Output,
    };
    let (name, place) = (line.pin.name.to_owned(), line.pin.place.to_owned());
    FreeLineInfo { name, place, chip: chip.name.clone(), offset: info.offset, direction, holder }
}
