//! Reads a target-state file, or a compose file with what it names.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::document::compose_file::{self, ComposePath};
use crate::document::parse;
use crate::sorted::{SortedMap, SortedSet};
use crate::state::{Target, TargetError};

/// Size limit of a document, in bytes. A release of a hundred services takes some 200 kB.
pub const DOCUMENT_BYTES: u64 = 4 * 1024 * 1024;

/// Identifies what a file says.
pub(super) type Print = [u8; 32];

/// The print, what is said if it is not what was given, and the other files that were read.
type Looked = (Print, Option<Result<Target, String>>, SortedSet<PathBuf>);

pub(super) fn look(path: &Path, uuid: Option<&str>, given: Option<Print>) -> Looked {
    if let Some(compose) = compose_path(path) {
        let (target, files) = read_compose(compose);
        // The warnings name places, which a comment moves.
        let print = print(&target.as_ref().map(|it| it.document.clone()).map_err(Clone::clone));
        return (print, Some(target), files);
    }
    let text = read(path);
    let print = print(&text);
    let target = (given != Some(print)).then(|| text.and_then(|it| parse(&it, uuid).map_err(|error| error.0)));
    (print, target, SortedSet::new())
}

/// Whether a path leads to a compose file: by its name, or because it is a folder.
pub(super) fn compose_path(path: &Path) -> Option<ComposePath<'_>> {
    let is_yaml = path.extension().is_some_and(|it| it.eq_ignore_ascii_case("yml") || it.eq_ignore_ascii_case("yaml"));
    if path.is_dir() { Some(ComposePath::Folder(path)) } else { is_yaml.then_some(ComposePath::File(path)) }
}

fn read_compose(path: ComposePath<'_>) -> (Result<Target, String>, SortedSet<PathBuf>) {
    if let ComposePath::File(file) = path
        && !file.exists()
    {
        return (Err(MISSING.to_owned()), SortedSet::new());
    }
    // A variable that is not text cannot stand in a file.
    let agent: SortedMap<String, String> =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect();
    let reading = compose_file::read(path, &agent, &mut |path| {
        if path.exists() { read_bytes(path).map(Some) } else { Ok(None) }
    });
    (reading.target.map_err(|it| it.0), reading.files)
}

/// Reads a target of any kind, once. Mistakes and warnings name the place.
pub fn read_once(path: &Path, device_uuid: Option<&str>) -> Result<Target, TargetError> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (_, target, _) = look(&path, device_uuid, None);
    // Without a print of an earlier look, there is a target or a mistake.
    let target = target.unwrap_or_else(|| Err(MISSING.to_owned()));
    target.map_err(|why| TargetError(format!("{}: {why}", path.display())))
}

const MISSING: &str = "no such file; it is read as soon as it appears";

fn read(path: &Path) -> Result<String, String> {
    let text = String::from_utf8(read_bytes(path)?);
    text.map_err(|error| format!("it is not UTF-8 text from byte {} on", error.utf8_error().valid_up_to()))
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, String> {
    let about = match fs::metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(MISSING.to_owned()),
        Err(error) => return Err(format!("it cannot be read: {error}")),
    };
    // Reading a pipe would block until there is a writer.
    if !about.is_file() {
        return Err("it is not a file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|error| format!("it cannot be read: {error}"))?;
    file.take(DOCUMENT_BYTES + 1).read_to_end(&mut bytes).map_err(|error| format!("it cannot be read: {error}"))?;
    if bytes.len() as u64 > DOCUMENT_BYTES {
        return Err(format!("it is larger than {DOCUMENT_BYTES} bytes, the most a document may have"));
    }
    Ok(bytes)
}

pub(super) fn print(text: &Result<String, String>) -> Print {
    let (kind, text) = match text {
        Ok(text) => ("good", text),
        Err(text) => ("bad", text),
    };
    Sha256::new().chain_update(kind).chain_update(text).finalize().into()
}

#[cfg(test)]
mod tests;
