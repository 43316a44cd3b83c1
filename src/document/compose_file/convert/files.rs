//! `secrets` and `configs` of a service: files of the device, mounted read-only.

use std::path::Path;

use super::{Converter, fingerprint};
use crate::document::at::{path_of, quoted};
use crate::document::compose_file::yaml::{Node, Yaml};

/// The field that holds a hash of such files' contents, which becomes a label, so that a change of one recreates the
/// container: an editor that replaces a file leaves the old one mounted.
pub(super) const CONTENTS: &str = "x-boardkeeper-mounted-files";

/// Where a secret is in the container if its service does not say.
const SECRETS: &str = "/run/secrets";

impl Converter<'_, '_> {
    /// Mounts what `secrets` and `configs` of a service name.
    pub(super) fn mount_files(&mut self, path: &str, node: &mut Node) {
        let mut mounts = Vec::new();
        let mut contents = Vec::new();
        for (section, folder) in [("secrets", SECRETS), ("configs", "")] {
            let Some(items) = node.take(section) else { continue };
            let Yaml::List(items) = items.value else {
                self.loader.wrong(items.place, &format!("{path}.{section}: expected a list"));
                continue;
            };
            for item in items {
                let path = format!("{path}.{section}");
                let Some((source, target, content)) = self.file_of(&path, section, &item, folder) else { continue };
                contents.push((target.clone(), content));
                let text = |text: &str| Node::of_text(item.place, text);
                let fields =
                    [("type", text("bind")), ("source", text(&source)), ("target", text(&target)), ("read_only", text("true"))];
                mounts.push(Node::of_map(item.place, fields.map(|(key, it)| (key.to_owned(), it)).into()));
            }
        }
        if mounts.is_empty() {
            return;
        }
        let place = node.place;
        let mut volumes = match node.take("volumes").map(|it| it.value) {
            Some(Yaml::List(volumes)) => volumes,
            _ => Vec::new(),
        };
        volumes.extend(mounts);
        if let Some(fields) = node.map_mut() {
            fields.push(("volumes".to_owned(), Node::of_list(place, volumes)));
            fields.push((CONTENTS.to_owned(), Node::of_text(place, &fingerprint(&contents))));
        }
    }

    /// The file on the device, its path in the container, and what is in it.
    fn file_of(&mut self, path: &str, section: &str, item: &Node, folder: &str) -> Option<(String, String, Vec<u8>)> {
        let name = item.text().or_else(|| item.key("source").and_then(Node::text));
        let Some(name) = name else {
            self.loader.wrong(item.place, &format!("{path}: expected a name, or `source` and `target`"));
            return None;
        };
        for field in ["uid", "gid", "mode"] {
            if let Some(at) = item.key(field) {
                self.loader
                    .warn(at.place, &format!("{path}.{field}: not supported, ignored: the file's own owner and mode count"));
            }
        }
        let defined = if section == "secrets" { &self.secrets } else { &self.configs };
        let Some(defined) = defined.key(name) else {
            self.loader.wrong(item.place, &format!("{path}: the file has no {} under `{section}`", quoted(name)));
            return None;
        };
        let Some(file) = defined.key("file").and_then(Node::text) else {
            let why = "only those of a file are supported; put it into a file, and name that with `file`";
            self.loader.wrong(defined.place, &format!("{}: {why}", path_of(section, name)));
            return None;
        };
        let (file, place) = (file.to_owned(), defined.place);
        let target = item.key("target").and_then(Node::text).unwrap_or(name);
        let target = if target.starts_with('/') { target.to_owned() } else { format!("{folder}/{target}") };
        match self.loader.bytes(Path::new(&file)) {
            Ok(Some(content)) => Some((file, target, content)),
            Ok(None) => {
                self.loader.wrong(place, &format!("{}: there is no file {}", path_of(section, name), quoted(&file)));
                None
            }
            Err(why) => {
                self.loader.wrong(place, &format!("{}: {}: {why}", path_of(section, name), quoted(&file)));
                None
            }
        }
    }
}
