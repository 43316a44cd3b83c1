//! A project's tree as the JSON that the readers of documents take.
//!
//! Fields that those readers know stay as they are. What only compose files have becomes what means the same: files of
//! variables become an environment, secrets and configs become mounts, `deploy.resources` becomes limits. What nothing stands
//! for is left to the readers, which warn of every field that they do not know.

use std::path::Path;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::dotenv::{Environment, Syntax};
use super::load::Loader;
use super::merge::{self, RELEASE_LABELS};
use super::yaml::{Node, Place, Yaml};
use crate::document::at::{path_of, quoted};
use crate::json::object::{object, texts};
use crate::sorted::{SortedMap, SortedSet};

mod deploy;
mod files;

/// Makes JSON of a project, and notes the place of each path.
pub(super) struct Converter<'c, 'l> {
    loader: &'c mut Loader<'l>,
    variables: &'c Environment,
    places: SortedMap<String, Place>,
    secrets: Node,
    configs: Node,
}

impl<'c, 'l> Converter<'c, 'l> {
    pub(super) fn new(loader: &'c mut Loader<'l>, variables: &'c Environment) -> Self {
        let nothing = || Node::of_map(Place::default(), Vec::new());
        Self { loader, variables, places: SortedMap::new(), secrets: nothing(), configs: nothing() }
    }

    /// The places of paths in the JSON, as messages show them.
    pub(super) fn places(self) -> SortedMap<String, String> {
        let shown = |(path, place)| (path, self.loader.shown(place));
        self.places.into_iter().map(shown).collect()
    }

    /// The project. `None`: a mistake is noted.
    pub(super) fn project(&mut self, name: &str, mut model: Node) -> Option<Value> {
        let start = model.place;
        let Some(services) = model.take("services").filter(|it| matches!(it.value, Yaml::Map(_))) else {
            let old = "; a file that begins with its services is of an old format: write them under `services`";
            self.loader.wrong(start, &format!("expected a map `services`, which names what runs{old}"));
            return None;
        };
        for (section, into) in [("secrets", 0), ("configs", 1)] {
            if let Some(node) = model.take(section).filter(|it| matches!(it.value, Yaml::Map(_))) {
                if into == 0 { self.secrets = node } else { self.configs = node }
            }
        }
        let (volumes, external) = self.volumes(model.take("volumes"));
        let networks = model.take("networks").map(|it| self.networks(it));
        let labels = model.take(RELEASE_LABELS).filter(|it| it.value != Yaml::Null).and_then(|it| self.release_labels(it));
        for (key, node) in model.entries() {
            if !["version", "name"].contains(&key.as_str()) && !key.starts_with("x-") {
                self.loader.warn(node.place, &format!("{}: not supported, ignored", path_of("", key)));
            }
        }
        let services = self.services(services);
        let mut project = Map::new();
        project.insert("name".to_owned(), json!(name));
        project.insert("services".to_owned(), self.json("services", services));
        for (key, node) in [("volumes", volumes), ("networks", networks), (RELEASE_LABELS, labels)] {
            if let Some(node) = node {
                project.insert(key.to_owned(), self.json(key, node));
            }
        }
        if !external.is_empty() {
            project.insert("external_volumes".to_owned(), texts(&external));
        }
        Some(Value::Object(project))
    }

    /// A value as JSON. `x-` fields are left out.
    fn json(&mut self, path: &str, node: Node) -> Value {
        self.places.insert(path.to_owned(), node.place);
        match node.value {
            Yaml::Null => Value::Null,
            Yaml::Bool(flag) => Value::Bool(flag),
            Yaml::Number(number) => Value::Number(number),
            Yaml::Text(text) => Value::String(text),
            Yaml::List(items) => {
                items.into_iter().enumerate().map(|(at, it)| self.json(&path_of(path, &at.to_string()), it)).collect()
            }
            Yaml::Map(entries) => {
                // Names of services, variables and labels may begin so.
                let names = ["services", "environment", "labels", RELEASE_LABELS];
                let names = path.rsplit('.').next().is_some_and(|it| names.contains(&it));
                let entries = entries.into_iter().filter(|(key, _)| names || !key.starts_with("x-") || key == files::CONTENTS);
                object(
                    entries.map(|(key, it)| (path_of(path, &key), key, it)).map(|(path, key, it)| (key, self.json(&path, it))),
                )
            }
        }
    }

    /// The project's labels as a map. A value of another kind is an extension that other programs read.
    fn release_labels(&mut self, node: Node) -> Option<Node> {
        let labels = merge::as_map(node, '=');
        let is_map = matches!(labels.value, Yaml::Map(_));
        if !is_map {
            self.loader.warn(labels.place, &format!("{RELEASE_LABELS}: neither a map nor a list of labels, ignored"));
        }
        is_map.then_some(labels)
    }

    /// Named volumes, and the engine's names of those that others made.
    fn volumes(&mut self, node: Option<Node>) -> (Option<Node>, SortedMap<String, String>) {
        let mut external = SortedMap::new();
        let Some(mut node) = node else { return (None, external) };
        if let Some(entries) = node.map_mut() {
            let mut own = Vec::new();
            for (key, mut volume) in std::mem::take(entries) {
                if volume.key("external").is_some_and(|it| it.is_on() || matches!(it.value, Yaml::Map(_))) {
                    let outer = volume.key("external").and_then(|it| it.key("name"));
                    let name = outer.or_else(|| volume.key("name")).and_then(Node::scalar);
                    external.insert(key.clone(), name.unwrap_or(key));
                    continue;
                }
                volume.take("external");
                if let Some(name) = volume.take("name") {
                    self.loader.warn(name.place, &format!(
                        "{key}.name: ignored, names of volumes follow the agent's; with `external: true` a volume of that name is mounted"
                    ));
                }
                own.push((key, volume));
            }
            *entries = own;
        }
        (Some(node), external)
    }

    fn networks(&mut self, mut node: Node) -> Node {
        for (key, network) in node.map_mut().into_iter().flatten() {
            let path = path_of("networks", key);
            let external = network.take("external").filter(Node::is_on);
            if let Some(at) = &external {
                self.loader.warn(at.place, &format!("{path}.external: not supported; the app gets a network of its own"));
            }
            if let Some(name) = network.take("name").filter(|_| external.is_none()) {
                self.loader.warn(name.place, &format!("{path}.name: ignored, names of networks follow the agent's"));
            }
        }
        node
    }

    /// The services of the profiles that are active.
    fn services(&mut self, mut node: Node) -> Node {
        let active = self.variables.get("COMPOSE_PROFILES").map_or("", String::as_str);
        let active: SortedSet<&str> = active.split(',').map(str::trim).filter(|it| !it.is_empty()).collect();
        let place = node.place;
        let all = node.map_mut().map(std::mem::take).unwrap_or_default();
        let any = !all.is_empty();
        let mut services = Vec::new();
        for (name, mut service) in all {
            let profiles = service.take("profiles");
            let profiles: Vec<_> = profiles.iter().flat_map(Node::one_or_more).filter_map(Node::scalar).collect();
            if profiles.is_empty() || active.contains("*") || profiles.iter().any(|it| active.contains(it.as_str())) {
                let service = self.service(&name, service);
                services.push((name, service));
            }
        }
        if any && services.is_empty() {
            self.loader
                .warn(place, "services: nothing runs, as all of them are of profiles that COMPOSE_PROFILES does not name");
        }
        share_links(&mut services);
        Node::of_map(place, services)
    }

    fn service(&mut self, name: &str, mut node: Node) -> Node {
        let place = node.place;
        let path = path_of("services", name);
        if !matches!(node.value, Yaml::Map(_)) {
            self.loader.wrong(place, &format!("{path}: expected a map with `image`"));
            return node;
        }
        node.take(files::CONTENTS);
        self.build(&path, &mut node);
        let env = self.environment(&path, &mut node);
        let container_name = node.take("container_name");
        if let Some(at) = &container_name {
            let why = "ignored: names of containers follow the agent's; other services reach it by this name all the same";
            self.loader.warn(at.place, &format!("{path}.container_name: {why}"));
        }
        if let Some(alias) = container_name.as_ref().and_then(Node::scalar) {
            add_alias(&mut node, &alias);
        }
        self.deploy(&path, &mut node);
        self.mount_files(&path, &mut node);
        if let Some(scale) = node.take("scale").filter(|it| it.scalar().as_deref() != Some("1")) {
            self.loader.warn(scale.place, &format!("{path}.scale: not supported, one container runs"));
        }
        if let Some(entries) = node.map_mut() {
            entries.push(("environment".to_owned(), env));
        }
        node
    }

    /// The agent builds no images.
    fn build(&mut self, path: &str, node: &mut Node) {
        let Some(build) = node.take("build") else { return };
        let how =
            "the agent builds no images; get one here from a registry, with `docker build -t NAME`, or with `balena push`";
        if node.key("image").is_some() {
            self.loader.warn(build.place, &format!("{path}.build: ignored, it runs from its `image`: {how}"));
        } else {
            self.loader.wrong(build.place, &format!("{path}.build: {how}, and name it with `image`"));
        }
    }

    /// The variables of `env_file`, and over them those of `environment`.
    fn environment(&mut self, path: &str, node: &mut Node) -> Node {
        let place = node.place;
        let own = node.take("environment").map(|it| merge::as_map(it, '='));
        let files = node.take("env_file");
        let items = match files.as_ref().map(|it| &it.value) {
            Some(Yaml::List(items)) => items.iter().collect(),
            Some(Yaml::Null) | None => Vec::new(),
            Some(_) => files.iter().collect(),
        };
        let mut all: SortedMap<String, Node> = SortedMap::new();
        for item in items {
            let long = matches!(item.value, Yaml::Map(_));
            let Some(file) = (if long { item.key("path") } else { Some(item) }).and_then(Node::text) else {
                self.loader.wrong(item.place, &format!("{path}.env_file: expected a path, or `path`, `required` and `format`"));
                continue;
            };
            let syntax = if item.key("format").and_then(Node::text) == Some("raw") { Syntax::Raw } else { Syntax::Quoted };
            let Some((values, names)) = self.loader.variables(Path::new(file), syntax, self.variables) else {
                if item.key("required").is_none_or(Node::is_on) {
                    self.loader.wrong(item.place, &format!("{path}.env_file: there is no file {}", quoted(file)));
                }
                continue;
            };
            let given = names.into_iter().filter_map(|it| self.variables.get(&it).map(|value| (it, value.clone())));
            all.extend(given.chain(values).map(|(name, value)| (name, Node::of_text(item.place, &value))));
        }
        match own.map(|it| it.value) {
            None | Some(Yaml::Null) => {}
            Some(Yaml::Map(entries)) => {
                for (name, value) in entries {
                    // A name without a value has that of the agent's environment or of `.env`, if it is there.
                    let value = match value.value {
                        Yaml::Null => self.variables.get(&name).map(|it| Node::of_text(value.place, it)),
                        _ => Some(value),
                    };
                    match value {
                        Some(value) => drop(all.insert(name, value)),
                        None => drop(all.remove(&name)),
                    }
                }
            }
            Some(_) => self.loader.wrong(place, &format!("{path}.environment: expected a map or a list of NAME=value")),
        }
        Node::of_map(place, all.into_iter().collect())
    }
}

/// Adds a name by which other services reach a service, on every network of it.
fn add_alias(node: &mut Node, alias: &str) {
    if node.key("network_mode").is_some() {
        return;
    }
    let place = node.place;
    let networks = node.take("networks").filter(|it| it.value != Yaml::Null);
    let networks = networks.unwrap_or_else(|| Node::of_list(place, vec![Node::of_text(place, "default")]));
    let mut entries = match networks.value {
        Yaml::Map(entries) => entries,
        Yaml::List(items) => {
            items.into_iter().map(|it| (it.scalar().unwrap_or_default(), Node { value: Yaml::Null, ..it })).collect()
        }
        _ => Vec::new(),
    };
    for (_, network) in &mut entries {
        if network.value == Yaml::Null {
            network.value = Yaml::Map(Vec::new());
        }
        let mut aliases = network.take("aliases").map(|it| it.value);
        let mut list = match aliases.take() {
            Some(Yaml::List(list)) => list,
            _ => Vec::new(),
        };
        list.push(Node::of_text(network.place, alias));
        let aliases = Node::of_list(network.place, list);
        if let Some(entries) = network.map_mut() {
            entries.push(("aliases".to_owned(), aliases));
        }
    }
    if let Some(fields) = node.map_mut() {
        fields.push(("networks".to_owned(), Node::of_map(place, entries)));
    }
}

/// `links: [service:alias]`: the service is started after the other one, which has the alias.
fn share_links(services: &mut [(String, Node)]) {
    let mut aliases = Vec::new();
    for (_, node) in services.iter_mut() {
        let Some(links) = node.take("links") else { continue };
        let mut on: Vec<Node> = Vec::new();
        for link in links.one_or_more() {
            let text = link.scalar().unwrap_or_default();
            let (service, alias) = text.split_once(':').unwrap_or((&text, &text));
            on.push(Node::of_text(link.place, service));
            if alias != service {
                aliases.push((service.to_owned(), alias.to_owned()));
            }
        }
        let place = links.place;
        let linked = Node::of_map(place, vec![("depends_on".to_owned(), Node::of_list(place, on))]);
        let own = node.take("depends_on").map(|it| ("depends_on".to_owned(), it));
        // What `depends_on` says of a service counts over the link.
        let merged = merge::service(linked, Node::of_map(place, own.into_iter().collect()));
        if let (Some(fields), Yaml::Map(entries)) = (node.map_mut(), merged.value) {
            fields.extend(entries);
        }
    }
    for (service, alias) in aliases {
        if let Some((_, node)) = services.iter_mut().find(|(name, _)| *name == service) {
            add_alias(node, &alias);
        }
    }
}

/// A short hash of files' paths and contents.
fn fingerprint(parts: &[(String, Vec<u8>)]) -> String {
    let mut hash = Sha256::new();
    for (path, content) in parts {
        hash.update(path.len().to_be_bytes());
        hash.update(path);
        hash.update(content.len().to_be_bytes());
        hash.update(content);
    }
    hex::encode(&hash.finalize()[..8])
}
