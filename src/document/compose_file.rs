//! Compose files as targets: the Compose Specification as people write it, read into one app.
//!
//! ```text
//! load         a file with its `.env`, override files, `include` and `extends`, as one tree
//! yaml         YAML as a tree of nodes that know their place
//! interpolate  variables in texts
//! dotenv       files of variables
//! merge        one file's values over another's
//! paths        relative paths of the host made absolute
//! convert      the tree as the JSON that the readers of documents take, with the place of each path
//! project      the app's number, uuid and name
//! ```
//!
//! Pure: what is read of the disk comes through a [`ReadFile`]. The readers of `document` then read the JSON as they read a
//! cloud's documents, with compose's own defaults, and with the host's paths: a cloud may not mount them, but the owner of a
//! file on the device is its root.
//!
//! The app's number and uuid are derived from the project's name, so that the same project keeps its containers and volumes.
//! The number is a hash between 1,000,000,000 and 1,999,999,999: a cloud counts its apps from 1, and no program that keeps the
//! number in 32 bits with a sign loses it. Apps that local mode renumbers begin at 2,000,000,000.
//!
//! The target is kept as the JSON that the readers took (`{"boardkeeper_compose": …}`), in which files and variables are
//! resolved, so that it means the same after a power cut, whatever became of the files. Only [`super::parse_kept`] takes it: a
//! cloud cannot mount the host's paths that way. Contents of secrets are not in it.

mod convert;
mod dotenv;
mod interpolate;
mod load;
mod merge;
mod paths;
mod project;
mod yaml;

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::sorted::{SortedMap, SortedSet};
use crate::state::app::Generation;
use crate::state::{App, Target, TargetError};

use super::at::{Cursor, Diagnostics};
use super::fields::ObjectFields;
use super::release_names::DocumentOrigin;
use super::{app, apps};
use convert::Converter;
use dotenv::{Environment, Syntax};
use load::{Loader, Scope};

/// Reads a file: its bytes. `None`: it is missing. Error: why it cannot be read.
pub type ReadFile<'r> = dyn FnMut(&Path) -> Result<Option<Vec<u8>>, String> + 'r;

/// Limits of a project, with every copy that aliases, `extends` and variables make: values, and bytes of texts. The largest
/// files have some thousand values.
const NODES: usize = 50_000;
const BYTES: usize = 4 << 20;

/// Names of compose files in a folder, the most preferred first, and the name of each one's override file without its suffix.
const NAMES: [(&str, &str); 4] = [
    ("compose.yaml", "compose.override"),
    ("compose.yml", "compose.override"),
    ("docker-compose.yml", "docker-compose.override"),
    ("docker-compose.yaml", "docker-compose.override"),
];

/// The key under which a resolved project is kept.
const KEPT: &str = "boardkeeper_compose";

/// What became of a compose file.
#[derive(Debug)]
pub struct ComposeReading {
    /// The target, or what is wrong with the file.
    pub target: Result<Target, TargetError>,
    /// Every file that the target depends on, missing ones too.
    pub files: SortedSet<PathBuf>,
}

/// How much a project may still grow.
#[derive(Debug, Clone)]
struct Budget {
    nodes: usize,
    bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { nodes: NODES, bytes: BYTES }
    }
}

impl Budget {
    fn take(&mut self, nodes: usize, bytes: usize) -> Result<(), String> {
        self.nodes = self.nodes.checked_sub(nodes).ok_or_else(|| {
            format!("the project has more than {NODES} values, those counted that aliases and `extends` repeat")
        })?;
        self.bytes = self.bytes.checked_sub(bytes).ok_or_else(|| format!("the project has more than {BYTES} bytes of text"))?;
        Ok(())
    }

    fn bytes_left(&self) -> usize {
        self.bytes
    }
}

/// Where a project begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComposePath<'p> {
    /// A compose file. Its override file counts too where it has one of the usual names.
    File(&'p Path),
    /// A folder with a compose file of a usual name.
    Folder(&'p Path),
}

/// Reads a compose file, whose path is absolute. `agent`: the agent's environment, which wins over `.env`.
pub fn read(path: ComposePath<'_>, agent: &SortedMap<String, String>, read: &mut ReadFile<'_>) -> ComposeReading {
    let notes = Diagnostics::default();
    let folder = match path {
        ComposePath::File(file) => file.parent().unwrap_or(file),
        ComposePath::Folder(folder) => folder,
    };
    let home = agent.get("HOME").map(String::as_str);
    let mut loader = Loader::new(folder, home, &notes, read);
    let resolved = resolved(&mut loader, path, folder, agent);
    let files = std::mem::take(&mut loader.asked);
    let target = match resolved {
        Some(project) if !notes.has_mistakes() => {
            let target = target(&project, &notes);
            let document = serde_json::json!({ KEPT: project }).to_string();
            notes.verdict().map(|warnings| Target { document, warnings, ..target })
        }
        _ => notes.verdict().and(Err("it is empty; write `services` into it".to_owned())),
    };
    ComposeReading { target: target.map_err(TargetError), files }
}

/// The target of a kept project. `None`: the document is none.
pub(super) fn kept(value: &Value, text: &str) -> Option<Result<Target, TargetError>> {
    let project = value.as_object().filter(|it| it.len() == 1)?.get(KEPT)?;
    let notes = Diagnostics::default();
    let target = target(project, &notes);
    Some(notes.verdict().map(|warnings| Target { document: text.to_owned(), warnings, ..target }).map_err(TargetError))
}

/// The project as JSON, with the places of its paths in the notes. `None`: a mistake is noted.
fn resolved(loader: &mut Loader<'_>, path: ComposePath<'_>, folder: &Path, agent: &Environment) -> Option<Value> {
    let (mut variables, _) = loader.variables(&folder.join(".env"), Syntax::Quoted, agent).unwrap_or_default();
    variables.extend(agent.clone());
    variables.insert("PWD".to_owned(), folder.to_string_lossy().into_owned());
    let files = files(loader, path, folder)?;
    let name = project::name(loader, &files[0], folder, &mut variables)?;
    let model = loader.model(&files, Scope { base: folder, variables: &variables })?;
    let mut converter = Converter::new(loader, &variables);
    let project = converter.project(&name, model)?;
    let places = converter.places();
    loader.notes.set_places(places);
    Some(project)
}

/// The files of the project: the main file, and the override file beside it.
fn files(loader: &mut Loader<'_>, path: ComposePath<'_>, folder: &Path) -> Option<Vec<PathBuf>> {
    let mut exists = |path: &Path| matches!(loader.bytes(path), Ok(Some(_)) | Err(_));
    let main = match path {
        ComposePath::File(file) => file.to_owned(),
        ComposePath::Folder(_) => {
            let found = NAMES.iter().map(|(name, _)| folder.join(name)).find(|it| exists(it));
            let Some(found) = found else {
                let names = NAMES.map(|(name, _)| name).join(", ");
                loader.notes.wrong_at(&folder.display().to_string(), &format!("the folder has no compose file ({names})"));
                return None;
            };
            found
        }
    };
    let name = main.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let beside = NAMES.iter().find(|(it, _)| *it == name).map(|(_, beside)| beside);
    let over = beside
        .and_then(|beside| ["yml", "yaml"].map(|it| folder.join(format!("{beside}.{it}"))).into_iter().find(|it| exists(it)));
    Some([main].into_iter().chain(over).collect())
}

/// The target of a resolved project.
fn target(project: &Value, notes: &Diagnostics) -> Target {
    let at = Cursor::root(project, notes);
    at.has_no_nul();
    let mut fields = ObjectFields::of(&at);
    let name = fields.text("name").unwrap_or_default();
    let (id, uuid) = project::identity(&name);
    let mut app = App { uuid, name, commit: Some(project::COMMIT.to_owned()), shape: Generation::Compose, ..app::empty(id) };
    let services = fields.take("services").map(|it| it.entries()).unwrap_or_default();
    let services = services.into_iter().map(|(name, at)| (name.to_owned(), None, at)).collect();
    apps::release_of(services, &mut fields, &mut app, DocumentOrigin::ComposeFile);
    fields.rest();
    let apps = SortedMap::from_iter([(id, app)]);
    apps::within(&apps, &at);
    Target { apps, ..Target::default() }
}

#[cfg(test)]
mod tests;
