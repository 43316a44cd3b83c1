//! The name of a compose project, and the app's number and uuid that follow from it.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::dotenv::Environment;
use super::load::Loader;
use crate::state::AppId;

/// The commit of every release: a compose file has none, and names of containers end in it.
pub(super) const COMMIT: &str = "compose";

/// The lowest number of such an app, and how many there are. See the header of the module above.
const FIRST: u32 = 1_000_000_000;
const NUMBERS: u32 = 1_000_000_000;

/// The project's name: of `COMPOSE_PROJECT_NAME`, of the file, of the folder. It is a variable of the file too.
pub(super) fn name(loader: &mut Loader<'_>, main: &Path, folder: &Path, variables: &mut Environment) -> Option<String> {
    let mut tree = loader.peek(main)?;
    let written = tree.take("name").map(|mut it| {
        loader.fill_in(&mut it, variables);
        (it.place, it.scalar().unwrap_or_default())
    });
    let of_folder = || folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let given = variables.get("COMPOSE_PROJECT_NAME").filter(|it| !it.is_empty()).cloned();
    let name = normalized(&given.or_else(|| written.as_ref().map(|it| it.1.clone())).unwrap_or_else(of_folder));
    let name = if name.is_empty() { "default".to_owned() } else { name };
    variables.insert("COMPOSE_PROJECT_NAME".to_owned(), name.clone());
    Some(name)
}

/// Lower-case letters, digits, `-` and `_`, beginning with a letter or digit, as compose normalizes names.
fn normalized(name: &str) -> String {
    let lower = name.to_lowercase();
    let kept: String = lower.chars().filter(|it| it.is_ascii_alphanumeric() || "-_".contains(*it)).collect();
    kept.trim_start_matches(['-', '_']).to_owned()
}

/// The app's number and uuid.
pub(super) fn identity(name: &str) -> (AppId, String) {
    let hash = Sha256::digest(format!("boardkeeper compose project {name}"));
    let number = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
    (AppId(FIRST + number % NUMBERS), hex::encode(&hash[..16]))
}
