//! Recognises the board by its configuration, its device tree and the cloud's device type.
//!
//! The configuration comes first, then the device tree, then `/proc/cpuinfo` where a container hides the device tree, then the
//! device type. A model beats `compatible`: Raspberry Pi's kernels boot several boards with the device tree of the most similar
//! one, and only the firmware's model tells them apart.

use boards::Board;

use super::{DetectedBoard, DetectedBy};

/// All statements on what the board is.
#[derive(Debug, Default)]
pub struct BoardEvidence {
    /// From the configuration.
    pub configured: Option<String>,
    /// The device tree's `model`.
    pub model: Option<String>,
    /// The device tree's `compatible`, most specific first.
    pub compatible: Vec<String>,
    /// The model in `/proc/cpuinfo`, if the device tree has none.
    pub cpuinfo: Option<String>,
    /// Device types, each with its source.
    pub device_types: Vec<(String, String)>,
}

/// Recognises the board.
pub fn recognise(evidence: BoardEvidence) -> DetectedBoard {
    let detected = decide(&evidence);
    DetectedBoard { model: evidence.model.or(evidence.cpuinfo), compatible: evidence.compatible, ..detected }
}

impl BoardEvidence {
    /// The board that the hardware itself names.
    fn hardware(&self) -> Option<(&'static Board, DetectedBy)> {
        let model = self.model.as_ref().or(self.cpuinfo.as_ref());
        let by_model = model.and_then(|it| Some((Board::by_model(it)?, DetectedBy::Model(it.clone()))));
        by_model.or_else(|| {
            let (board, entry) = Board::by_compatible(self.compatible.iter().map(String::as_str))?;
            Some((board, DetectedBy::Compatible(entry.to_owned())))
        })
    }
}

/// Decides between the statements. [`recognise`] adds `model` and `compatible`.
fn decide(evidence: &BoardEvidence) -> DetectedBoard {
    let hardware = evidence.hardware();
    let Some(configured) = &evidence.configured else { return unconfigured(evidence, hardware) };
    let how = DetectedBy::Configuration(configured.clone());
    if let Some(board) = Board::by_id(configured) {
        return found(board, how, contradiction(configured, board, hardware.as_ref()));
    }
    match (Board::by_slug(configured).collect::<Vec<_>>().as_slice(), hardware) {
        ([], hardware) => DetectedBoard { complaint: Some(unknown(configured)), ..unconfigured(evidence, hardware) },
        ([only], hardware) => found(only, how, contradiction(configured, only, hardware.as_ref())),
        // Several boards share the slug, and the hardware is one of them.
        (several, Some((board, how))) if several.contains(&board) => found(board, how, None),
        (several, Some((board, _))) => {
            let complaint = format!("the configuration says `{configured}`, the hardware says {}: see `--board`", board.name);
            DetectedBoard { complaint: Some(complaint), ..one_of(several.to_vec(), how) }
        }
        (several, None) => one_of(several.to_vec(), how),
    }
}

/// The decision without a configured board that is known.
fn unconfigured(evidence: &BoardEvidence, hardware: Option<(&'static Board, DetectedBy)>) -> DetectedBoard {
    if let Some((board, how)) = hardware {
        return found(board, how, None);
    }
    for (slug, from) in &evidence.device_types {
        let how = DetectedBy::DeviceType { slug: slug.clone(), from: from.clone() };
        match Board::by_slug(slug).collect::<Vec<_>>().as_slice() {
            [] => {}
            [only] => return found(only, how, None),
            several => return one_of(several.to_vec(), how),
        }
    }
    one_of(Vec::new(), DetectedBy::Nothing)
}

fn found(board: &'static Board, how: DetectedBy, complaint: Option<String>) -> DetectedBoard {
    DetectedBoard { board: Some(board), perhaps: Vec::new(), how, model: None, compatible: Vec::new(), complaint }
}

fn one_of(perhaps: Vec<&'static Board>, how: DetectedBy) -> DetectedBoard {
    DetectedBoard { board: None, perhaps, how, model: None, compatible: Vec::new(), complaint: None }
}

/// A user may know better than the hardware; if the two differ, this is the warning.
fn contradiction(configured: &str, board: &Board, hardware: Option<&(&'static Board, DetectedBy)>) -> Option<String> {
    let (other, how) = hardware.filter(|(other, _)| *other != board)?;
    Some(format!("configured as `{configured}`, but this is a {} {how}: remove `--board` if that is right", other.name))
}

fn unknown(configured: &str) -> String {
    format!("`--board {configured}`: no board goes by that name; it was looked for in the hardware instead")
}
