//! `config.txt` of Raspberry Pi's firmware.
//!
//! The block is at the end, under `[all]`: whatever section the file ends in, it counts on this board. Lines of a key that the
//! target names are disabled in every section, so that the key has the target's value and no other. A key that the file sets to
//! that value already is left alone: an agent that takes over from another one causes no boot.
//!
//! A `dtparam` after a `dtoverlay` is that overlay's, until an empty `dtoverlay` or another one. So the two keys are a list of
//! overlays with their parameters, and one list of parameters of the board's own device tree.

use super::block;
use super::variables::Wanted;
use crate::sorted::{SortedMap, SortedSet};

const DTPARAM: &str = "dtparam";
const DTOVERLAY: &str = "dtoverlay";

/// Parameters of the board's own device tree, wherever they stand. Images have them after overlays too.
const BASE_PARAMETERS: [&str; 8] =
    ["audio", "i2c", "i2c_arm", "i2c_arm_baudrate", "i2c_baudrate", "i2c_vc", "i2c_vc_baudrate", "spi"];

/// The file with what is wanted at its end.
pub(super) fn edited(original: &[u8], wanted: Wanted) -> Vec<u8> {
    let present = Present::read(original);
    let wanted = wanted.without(|key, values| present.has(key, values));
    if wanted.is_empty() {
        return original.to_vec();
    }
    let mut file = Vec::with_capacity(original.len() + 512);
    let (mut in_overlay, mut open_overlay) = (false, false);
    for line in block::lines(original) {
        let (key, value) = pair(line).unwrap_or_default();
        let is_overlays = key == DTPARAM && in_overlay && !value.split(',').all(is_base);
        if key == DTOVERLAY {
            in_overlay = !value.is_empty();
        }
        if wanted.has(if is_overlays { DTOVERLAY } else { &key }) {
            block::disable(&mut file, line);
        } else {
            if key == DTOVERLAY {
                open_overlay = in_overlay;
            }
            file.extend_from_slice(line);
        }
    }
    let mut lines = vec!["[all]".to_owned()];
    lines.extend(wanted.except(&[DTPARAM, DTOVERLAY]).map(|(key, value)| format!("{key}={value}")));
    let parameters = wanted.values(DTPARAM);
    if open_overlay && !parameters.is_empty() {
        lines.push(format!("{DTOVERLAY}="));
    }
    lines.extend(parameters.iter().map(|it| format!("{DTPARAM}={it}")));
    for overlay in wanted.values(DTOVERLAY) {
        // The firmware does not read the end of a long line.
        let mut parts = overlay.split(',');
        lines.extend(parts.next().map(|it| format!("{DTOVERLAY}={it}")));
        lines.extend(parts.map(|it| format!("{DTPARAM}={it}")));
    }
    block::add(&mut file, &lines);
    file
}

/// What a file sets.
#[derive(Default)]
struct Present {
    /// Values by key, in their order; of overlays, each with its parameters.
    values: SortedMap<String, Vec<String>>,
    /// Keys that are set in a section for some boards only.
    conditional: SortedSet<String>,
}

impl Present {
    fn read(file: &[u8]) -> Self {
        let mut present = Self::default();
        let (mut is_conditional, mut in_overlay) = (false, false);
        for line in block::lines(file) {
            if line.trim_ascii_start().starts_with(b"[") {
                is_conditional = line.trim_ascii() != b"[all]";
            }
            let Some((key, value)) = pair(line) else { continue };
            if is_conditional {
                present.conditional.extend([key.clone()]);
                // Its parameters may be in another section.
                present.conditional.extend((key == DTPARAM).then(|| DTOVERLAY.to_owned()));
            }
            match key.as_str() {
                DTOVERLAY => {
                    in_overlay = !value.is_empty();
                    let overlays = present.values.entry(key).or_default();
                    overlays.extend(in_overlay.then_some(value));
                }
                DTPARAM => value.split(',').for_each(|it| present.add_parameter(it, in_overlay)),
                _ => present.values.entry(key).or_default().push(value),
            }
        }
        present
    }

    fn add_parameter(&mut self, parameter: &str, in_overlay: bool) {
        let overlay = self.values.get_mut(DTOVERLAY).and_then(|it| it.last_mut()).filter(|_| in_overlay && !is_base(parameter));
        match overlay {
            Some(overlay) => *overlay = format!("{overlay},{parameter}"),
            None => self.values.entry(DTPARAM.to_owned()).or_default().push(parameter.to_owned()),
        }
    }

    /// Whether the key has these values, on every board.
    fn has(&self, key: &str, values: &[String]) -> bool {
        let wanted: Vec<&str> = match key {
            DTPARAM => values.iter().flat_map(|it| it.split(',')).collect(),
            _ => values.iter().map(String::as_str).collect(),
        };
        !wanted.is_empty() && !self.conditional.contains(key) && self.values.get(key).is_some_and(|it| *it == wanted)
    }
}

/// The key and the value of a line, if it is text.
fn pair(line: &[u8]) -> Option<(String, String)> {
    let (key, value) = block::pair(line)?;
    Some((String::from_utf8(key.to_vec()).ok()?, String::from_utf8(value.to_vec()).ok()?))
}

/// Whether a parameter is one of the board's own device tree.
fn is_base(parameter: &str) -> bool {
    BASE_PARAMETERS.contains(&parameter.split('=').next().unwrap_or_default().trim())
}
