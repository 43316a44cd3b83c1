//! Detects the board from its device tree, its configuration and the cloud's device type.
//!
//! The configuration comes first, then the device tree, then `/proc/cpuinfo` where a container hides the device tree, then the
//! device type. A model beats `compatible`: Raspberry Pi's kernels boot several boards with the device tree of the most similar
//! one, and only the firmware's model tells them apart.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use boards::Board;

use super::{BoardHints, DetectedBoard, DetectedBy};

/// Where the device tree is. The first is its real place; the second is a link to it with an absolute path, which under another
/// root than `/` leads out of that root.
const DEVICE_TREES: &[&str] = &["sys/firmware/devicetree/base", "proc/device-tree"];

/// Files in which an image says what device type it was made for.
const DEVICE_TYPE_FILES: &[&str] = &["mnt/boot/device-type.json", "resin-boot/device-type.json"];

/// The most bytes read of a file that identifies the board. The longest property seen has 90 bytes, `cpuinfo` a few thousand.
const LONGEST: u64 = 64 * 1024;

/// Detects the board. Everything is read under `root`.
pub fn detect(root: &Path, told: &BoardHints) -> DetectedBoard {
    let evidence = Evidence::read(root, told);
    let mut detected = decide(&evidence);
    detected.model = evidence.model.or(evidence.cpuinfo);
    detected.compatible = evidence.compatible;
    detected
}

/// All statements on what the board is.
#[derive(Debug, Default)]
struct Evidence {
    /// From the configuration.
    configured: Option<String>,
    /// The device tree's `model`.
    model: Option<String>,
    /// The device tree's `compatible`, most specific first.
    compatible: Vec<String>,
    /// The model in `/proc/cpuinfo`, if the device tree has none.
    cpuinfo: Option<String>,
    /// Device types, each with its source.
    device_types: Vec<(String, String)>,
}

impl Evidence {
    fn read(root: &Path, told: &BoardHints) -> Self {
        let property = |name: &str| DEVICE_TREES.iter().find_map(|tree| read(&root.join(tree).join(name)));
        let model = property("model").and_then(|bytes| strings(&bytes).into_iter().next());
        let cpuinfo = if model.is_none() { read(&root.join("proc/cpuinfo")).and_then(|it| cpuinfo_model(&it)) } else { None };
        let environment = told.device_type.iter().map(|slug| (slug.clone(), "the environment".to_owned()));
        let files = DEVICE_TYPE_FILES.iter().filter_map(|path| {
            let slug = read(&root.join(path)).and_then(|bytes| slug(&bytes))?;
            Some((slug, format!("`/{path}`")))
        });
        Self {
            configured: told.board.clone().filter(|it| !it.trim().is_empty() && it != "auto"),
            model,
            compatible: property("compatible").map(|bytes| strings(&bytes)).unwrap_or_default(),
            cpuinfo,
            device_types: environment.chain(files).filter(|(slug, _)| !slug.is_empty()).collect(),
        }
    }

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

/// Decides between the statements.
fn decide(evidence: &Evidence) -> DetectedBoard {
    let hardware = evidence.hardware();
    let Some(said) = &evidence.configured else { return unconfigured(evidence, hardware) };
    let how = DetectedBy::Configuration(said.clone());
    if let Some(board) = Board::by_id(said) {
        return found(board, how, contradiction(said, board, hardware.as_ref()));
    }
    match (Board::by_slug(said).collect::<Vec<_>>().as_slice(), hardware) {
        ([], hardware) => DetectedBoard { complaint: Some(unknown(said)), ..unconfigured(evidence, hardware) },
        ([only], hardware) => found(only, how, contradiction(said, only, hardware.as_ref())),
        // Several boards share the slug, and the hardware is one of them.
        (several, Some((board, how))) if several.contains(&board) => found(board, how, None),
        (several, Some((board, _))) => {
            let complaint = format!("the configuration says `{said}`, the hardware says {}: see `--board`", board.name);
            DetectedBoard { complaint: Some(complaint), ..one_of(several.to_vec(), how) }
        }
        (several, None) => one_of(several.to_vec(), how),
    }
}

/// The decision without a configured board that is known.
fn unconfigured(evidence: &Evidence, hardware: Option<(&'static Board, DetectedBy)>) -> DetectedBoard {
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
fn contradiction(said: &str, board: &Board, hardware: Option<&(&'static Board, DetectedBy)>) -> Option<String> {
    let (other, how) = hardware.filter(|(other, _)| *other != board)?;
    Some(format!("configured as `{said}`, but this is a {} {how}: remove `--board` if that is right", other.name))
}

fn unknown(said: &str) -> String {
    format!("`--board {said}`: no board goes by that name; it was looked for in the hardware instead")
}

/// The first bytes of a file, if it can be read.
fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(LONGEST).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The strings of a device-tree property. Each ends with a NUL, the last one too.
fn strings(property: &[u8]) -> Vec<String> {
    let items = property.split(|byte| *byte == 0).map(|it| String::from_utf8_lossy(it).trim().to_owned());
    items.filter(|it| !it.is_empty()).collect()
}

/// The `Model` line, which Raspberry Pi's kernels add below the processors. The `model name` of the processors is a different
/// field.
fn cpuinfo_model(text: &[u8]) -> Option<String> {
    String::from_utf8_lossy(text).lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "Model" && !value.trim().is_empty()).then(|| value.trim().to_owned())
    })
}

/// The slug in a `device-type.json`.
fn slug(text: &[u8]) -> Option<String> {
    let document: serde_json::Value = serde_json::from_slice(text).ok()?;
    document.get("slug")?.as_str().map(str::to_owned)
}
