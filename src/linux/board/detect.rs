//! Reads what the device tree, the configuration and the image say of the board.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::board::{BoardEvidence, BoardHints, DetectedBoard, recognise};

/// Where the device tree is. The first is its real place; the second is a link to it with an absolute path, which under another
/// root than `/` leads out of that root.
const DEVICE_TREES: &[&str] = &["sys/firmware/devicetree/base", "proc/device-tree"];

/// Files in which an image says what device type it was made for.
const DEVICE_TYPE_FILES: &[&str] = &["mnt/boot/device-type.json", "resin-boot/device-type.json"];

/// The most bytes read of a file that identifies the board. The longest property seen has 90 bytes, `cpuinfo` a few thousand.
const LONGEST: u64 = 64 * 1024;

/// Detects the board. Everything is read under `root`.
pub fn detect(root: &Path, hints: &BoardHints) -> DetectedBoard {
    recognise(read_evidence(root, hints))
}

fn read_evidence(root: &Path, hints: &BoardHints) -> BoardEvidence {
    let property = |name: &str| DEVICE_TREES.iter().find_map(|tree| read(&root.join(tree).join(name)));
    let model = property("model").and_then(|bytes| strings(&bytes).into_iter().next());
    let cpuinfo = if model.is_none() { read(&root.join("proc/cpuinfo")).and_then(|it| cpuinfo_model(&it)) } else { None };
    let environment = hints.device_type.iter().map(|slug| (slug.clone(), "the environment".to_owned()));
    let files = DEVICE_TYPE_FILES.iter().filter_map(|path| {
        let slug = read(&root.join(path)).and_then(|bytes| slug(&bytes))?;
        Some((slug, format!("`/{path}`")))
    });
    BoardEvidence {
        configured: hints.board.clone().filter(|it| !it.trim().is_empty() && it != "auto"),
        model,
        compatible: property("compatible").map(|bytes| strings(&bytes)).unwrap_or_default(),
        cpuinfo,
        device_types: environment.chain(files).filter(|(slug, _)| !slug.is_empty()).collect(),
    }
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
