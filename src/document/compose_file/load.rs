//! Reads a compose file with all that it names: `.env`, override files, `include`, `extends`.
//!
//! The result is one tree in which every variable is replaced, every path is absolute, and every value knows its place.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::dotenv::{Environment, Syntax};
use super::interpolate::{Variables, in_a_line, substitute};
use super::merge::RELEASE_LABELS;
use super::yaml::{MergeTag, Node, Place, Yaml};
use super::{Budget, ReadFile, dotenv, merge, paths, yaml};
use crate::document::at::{Diagnostics, path_of, quoted};
use crate::sorted::{SortedMap, SortedSet};

/// Files that a project may be made of. Each is read and watched.
const FILES: usize = 64;

/// Characters of a path that a message shows.
const PATH_CHARS: usize = 200;

/// Files that include each other, and services that extend each other.
const CHAIN: usize = 16;

/// The parts of a file that an included file may add to.
const SECTIONS: [&str; 5] = ["services", "networks", "volumes", "secrets", "configs"];

/// Reads files, and remembers which.
pub(super) struct Loader<'l> {
    read: &'l mut ReadFile<'l>,
    /// Every file that was asked for, missing ones too.
    pub(super) asked: SortedSet<PathBuf>,
    /// The names of files as messages show them, by [`Place::file`].
    shown: Vec<String>,
    project: PathBuf,
    home: Option<String>,
    budget: Budget,
    /// Files that services extend, by path.
    extended: SortedMap<PathBuf, Rc<Node>>,
    /// Variables without a value that a warning was given for.
    unset: SortedSet<String>,
    pub(super) notes: &'l Diagnostics,
}

/// Variables, with those noted that have no value.
struct Known<'k> {
    values: &'k Environment,
    unset: RefCell<Vec<String>>,
}

/// What a file's texts mean.
#[derive(Clone, Copy)]
pub(super) struct Scope<'s> {
    /// Where relative paths begin.
    pub(super) base: &'s Path,
    /// What variables stand for.
    pub(super) variables: &'s Environment,
}

/// The services of a file.
#[derive(Clone, Copy)]
struct Siblings<'s> {
    path: &'s Path,
    services: &'s Node,
}

impl Variables for Known<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    fn on_unset(&self, name: &str) {
        self.unset.borrow_mut().push(name.to_owned());
    }
}

impl<'l> Loader<'l> {
    pub(super) fn new(project: &Path, home: Option<&str>, notes: &'l Diagnostics, read: &'l mut ReadFile<'l>) -> Self {
        Self {
            read,
            asked: SortedSet::new(),
            shown: Vec::new(),
            project: project.to_owned(),
            home: home.map(str::to_owned),
            budget: Budget::default(),
            extended: SortedMap::new(),
            unset: SortedSet::new(),
            notes,
        }
    }

    /// A place as messages show it: `compose.yaml:3:5`.
    pub(super) fn shown(&self, place: Place) -> String {
        let name = self.shown.get(place.file).map_or("", String::as_str);
        format!("{name}:{}:{}", place.line, place.column)
    }

    pub(super) fn wrong(&self, place: Place, why: &str) {
        self.notes.wrong_at(&self.shown(place), why);
    }

    pub(super) fn warn(&self, place: Place, why: &str) {
        self.notes.warn_at(&self.shown(place), why);
    }

    /// A path as messages show it: from the project directory, if it is below that.
    fn name_of(&self, path: &Path) -> String {
        in_a_line(&path.strip_prefix(&self.project).unwrap_or(path).display().to_string(), PATH_CHARS)
    }

    /// The bytes of a file. `None`: it is missing. Error: it cannot be read.
    pub(super) fn bytes(&mut self, path: &Path) -> Result<Option<Vec<u8>>, String> {
        if self.asked.len() >= FILES && !self.asked.contains(path) {
            return Err(format!("it is one of more than {FILES} files, the most a project may be made of"));
        }
        self.asked.insert(path.to_owned());
        (self.read)(path)
    }

    fn text(&mut self, path: &Path) -> Result<Option<String>, String> {
        let Some(bytes) = self.bytes(path)? else { return Ok(None) };
        self.budget.take(0, bytes.len())?;
        let text = String::from_utf8(bytes);
        text.map(Some).map_err(|error| format!("it is not UTF-8 text from byte {} on", error.utf8_error().valid_up_to()))
    }

    /// The variables of a file like `.env`, which may name those of `outer`. `None`: it is missing.
    pub(super) fn variables(&mut self, path: &Path, syntax: Syntax, outer: &Environment) -> Option<(Environment, Vec<String>)> {
        let shown = self.name_of(path);
        let text = match self.text(path) {
            Ok(text) => text?,
            Err(why) => {
                self.notes.wrong_at(&shown, &why);
                return Some(Default::default());
            }
        };
        let lines = dotenv::read(&text, syntax, outer, self.budget.bytes_left());
        for (line, why) in lines.mistakes {
            self.notes.wrong_at(&format!("{shown}:{line}"), &why);
        }
        for (line, name) in lines.unset {
            self.unset_variable(&format!("{shown}:{line}"), &name);
        }
        let bytes = lines.values.values().map(String::len).sum();
        if let Err(why) = self.budget.take(lines.values.len(), bytes) {
            self.notes.wrong_at(&shown, &why);
        }
        Some((lines.values, lines.names))
    }

    fn unset_variable(&mut self, shown: &str, name: &str) {
        if self.unset.insert(name.to_owned()) {
            let name = in_a_line(name, 60);
            self.notes.warn_at(shown, &format!("the variable {name} has no value, nothing is put in its place"));
        }
    }

    /// A YAML file as it is. `None`: it is missing, or there is a mistake, which is noted.
    pub(super) fn tree(&mut self, path: &Path, asked_by: Option<Place>) -> Option<Node> {
        let shown = self.name_of(path);
        self.shown.push(shown.clone());
        let file = self.shown.len() - 1;
        let failed = |this: &Self, why: &str| match asked_by {
            Some(place) => this.wrong(place, &format!("{shown}: {why}")),
            None => this.notes.wrong_at(&shown, why),
        };
        let text = match self.text(path) {
            Ok(Some(text)) => text,
            Ok(None) => {
                failed(self, "no such file");
                return None;
            }
            Err(why) => {
                failed(self, &why);
                return None;
            }
        };
        let tree = match yaml::parse(text.trim_start_matches('\u{feff}'), file, &mut self.budget) {
            Ok(tree) => tree,
            Err((place, why)) => {
                self.wrong(place, &why);
                return None;
            }
        };
        if !matches!(tree.value, Yaml::Map(_)) {
            self.wrong(tree.place, "expected a map with `services`");
            return None;
        }
        Some(tree)
    }

    /// The same without a charge: the file is read again.
    pub(super) fn peek(&mut self, path: &Path) -> Option<Node> {
        let budget = self.budget.clone();
        let tree = self.tree(path, None);
        self.budget = budget;
        tree
    }

    /// Replaces the variables of a tree's texts.
    pub(super) fn fill_in(&mut self, node: &mut Node, variables: &Environment) {
        match &mut node.value {
            Yaml::Text(text) if text.contains('$') => {
                let known = Known { values: variables, unset: RefCell::default() };
                let filled = substitute(text, &known, self.budget.bytes_left());
                let place = node.place;
                for name in known.unset.into_inner() {
                    self.unset_variable(&self.shown(place), &name);
                }
                let filled = filled.and_then(|it| self.budget.take(0, it.len()).map(|()| it));
                match filled {
                    Ok(filled) => node.value = Yaml::Text(filled),
                    Err(why) => self.wrong(place, &why),
                }
            }
            Yaml::List(items) => items.iter_mut().for_each(|it| self.fill_in(it, variables)),
            Yaml::Map(entries) => {
                for (_, it) in entries.iter_mut().filter(|(key, _)| !key.starts_with("x-") || key == RELEASE_LABELS) {
                    self.fill_in(it, variables);
                }
            }
            Yaml::Null | Yaml::Bool(_) | Yaml::Number(_) | Yaml::Text(_) => {}
        }
    }

    /// The model that files make, each over the ones before it, with what they include.
    pub(super) fn model(&mut self, files: &[PathBuf], scope: Scope<'_>) -> Option<Node> {
        self.model_within(files, scope, None, &[])
    }

    /// The same for files that others include, those above them.
    fn model_within(
        &mut self,
        files: &[PathBuf],
        scope: Scope<'_>,
        asked_by: Option<Place>,
        above: &[PathBuf],
    ) -> Option<Node> {
        let mut all: Option<Node> = None;
        let mut includes = Vec::new();
        for path in files {
            let mut tree = self.prepared(path, scope, asked_by)?;
            includes.extend(tree.take("include"));
            self.extend_all(&mut tree, path, scope.variables);
            all = Some(match all {
                Some(lower) => merge::files(lower, tree),
                None => tree,
            });
        }
        let mut all = all?;
        for include in includes {
            let items = match include.value {
                Yaml::List(items) => items,
                _ => vec![include],
            };
            for item in items {
                if let Some(model) = self.included(&item, scope, &[above, files].concat()) {
                    self.add(&mut all, model);
                }
            }
        }
        Some(all)
    }

    /// A file with its variables replaced and its paths made absolute.
    fn prepared(&mut self, path: &Path, scope: Scope<'_>, asked_by: Option<Place>) -> Option<Node> {
        let mut tree = self.tree(path, asked_by)?;
        self.fill_in(&mut tree, scope.variables);
        paths::make_absolute(&mut tree, scope.base, self.home.as_deref());
        Some(tree)
    }

    /// The model of an item of `include`: a path, or an object.
    fn included(&mut self, item: &Node, scope: Scope<'_>, above: &[PathBuf]) -> Option<Node> {
        let paths = |node: Option<&Node>| -> Vec<PathBuf> {
            node.map(Node::one_or_more).unwrap_or_default().iter().filter_map(|it| it.text()).map(PathBuf::from).collect()
        };
        let files = paths(if matches!(item.value, Yaml::Map(_)) { item.key("path") } else { Some(item) });
        let Some(first) = files.first() else {
            self.wrong(item.place, "expected the path of a compose file");
            return None;
        };
        if above.len() >= CHAIN || files.iter().any(|it| above.contains(it)) {
            self.wrong(item.place, &format!("files include each other, or more than {CHAIN} in a row"));
            return None;
        }
        let directory = item.key("project_directory").and_then(Node::text).map(PathBuf::from);
        let base = directory.or_else(|| first.parent().map(ToOwned::to_owned)).unwrap_or_else(|| scope.base.to_owned());
        let named = paths(item.key("env_file"));
        let mut variables = Environment::new();
        for path in if named.is_empty() { vec![base.join(".env")] } else { named } {
            variables.extend(self.variables(&path, Syntax::Quoted, scope.variables).unwrap_or_default().0);
        }
        // Those of the including project win.
        variables.extend(scope.variables.clone());
        self.model_within(&files, Scope { base: &base, variables: &variables }, Some(item.place), above)
    }

    /// Adds an included model. What both define must be the same.
    fn add(&self, all: &mut Node, model: Node) {
        if let Some(labels) = model.key(RELEASE_LABELS) {
            self.warn(labels.place, "x-labels: of an included file, ignored; write them into the file that includes it");
        }
        let Yaml::Map(sections) = model.value else { return };
        for (section, node) in sections.into_iter().filter(|(it, _)| SECTIONS.contains(&it.as_str())) {
            let Some(entries) = all.map_mut() else { return };
            let Some((_, own)) = entries.iter_mut().find(|(it, _)| *it == section) else {
                entries.push((section, node));
                continue;
            };
            if own.value == Yaml::Null {
                *own = node;
                continue;
            }
            let Yaml::Map(added) = node.value else { continue };
            for (name, value) in added {
                let place = value.place;
                let twice = own.entries().iter().find(|(it, _)| *it == name).map(|(_, it)| it.place);
                match (twice, own.map_mut()) {
                    (None, Some(own)) => own.push((name, value)),
                    (Some(other), _) if other != place => {
                        let why = format!(
                            "{}: {} has it too; a file may not include what it defines itself",
                            path_of(&section, &name),
                            self.shown(other)
                        );
                        self.wrong(place, &why);
                    }
                    _ => {}
                }
            }
        }
    }

    /// Puts what each service extends below it.
    fn extend_all(&mut self, tree: &mut Node, path: &Path, variables: &Environment) {
        let names: Vec<String> =
            tree.key("services").map(Node::entries).unwrap_or_default().iter().map(|(it, _)| it.clone()).collect();
        let original = tree.key("services").cloned();
        for name in names {
            let Some(services) = &original else { return };
            if services.key(&name).and_then(|it| it.key("extends")).is_none() {
                continue;
            }
            let whole = self.extended(Siblings { path, services }, &name, variables, CHAIN);
            let slot = tree.map_mut().into_iter().flatten().find(|(it, _)| it == "services");
            let slot = slot.and_then(|(_, it)| it.map_mut()).into_iter().flatten().find(|(it, _)| *it == name);
            if let (Some((_, slot)), Some(whole)) = (slot, whole) {
                *slot = whole;
            }
        }
    }

    fn extended(&mut self, all: Siblings<'_>, name: &str, variables: &Environment, depth: usize) -> Option<Node> {
        let mut own = all.services.key(name)?.clone();
        let Some(extends) = own.take("extends").filter(|it| it.value != Yaml::Null) else { return Some(own) };
        let Some(depth) = depth.checked_sub(1) else {
            self.wrong(extends.place, &format!("services extend each other more than {CHAIN} times"));
            return None;
        };
        let service = extends.text().or_else(|| extends.key("service").and_then(Node::text));
        let Some(service) = service else {
            self.wrong(extends.place, "`extends` expects the name of a service, or `service` and `file`");
            return None;
        };
        let file = extends.key("file").and_then(Node::text).map(PathBuf::from).filter(|it| it != all.path);
        let lower = match file {
            None => {
                let lower = self.extended(all, service, variables, depth);
                self.found(lower, all.services, service, extends.place)
            }
            Some(file) => {
                let tree = self.file_of_services(&file, variables, extends.place)?;
                let Some(services) = tree.key("services") else {
                    self.wrong(tree.place, "it has no `services`");
                    return None;
                };
                let lower = self.extended(Siblings { path: &file, services }, service, variables, depth);
                self.found(lower, services, service, extends.place)
            }
        }?;
        let (nodes, bytes) = lower.cost();
        if let Err(why) = self.budget.take(nodes, bytes) {
            self.wrong(extends.place, &why);
            return None;
        }
        // What it says of the lower service is where the upper one is.
        Some(merge::service(Node { merge: MergeTag::None, ..lower }, own))
    }

    fn found(&self, lower: Option<Node>, services: &Node, name: &str, place: Place) -> Option<Node> {
        if services.key(name).is_none() {
            self.wrong(place, &format!("there is no service {} to extend", quoted(name)));
        }
        lower
    }

    fn file_of_services(&mut self, path: &Path, variables: &Environment, asked_by: Place) -> Option<Rc<Node>> {
        if let Some(tree) = self.extended.get(path) {
            return Some(Rc::clone(tree));
        }
        let base = path.parent().unwrap_or(path).to_owned();
        let tree = Rc::new(self.prepared(path, Scope { base: &base, variables }, Some(asked_by))?);
        self.extended.insert(path.to_owned(), Rc::clone(&tree));
        Some(tree)
    }
}
