//! Rules of the sources that reviewers would otherwise have to remember.

#![expect(clippy::unwrap_used, reason = "a test may fall over")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What every module may name: the collections.
const FOR_ALL: &str = "sorted";

/// Who may name whom. A module absent from a row is out of its reach.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("state", &[]),
    ("apart", &[]),
    ("backoff", &[]),
    ("board", &[]),
    ("json", &[]),
    ("sorted", &[]),
    ("boot_config", &["state", "json"]),
    ("document", &["state", "json"]),
    ("plan", &["state"]),
    ("request", &["state"]),
    ("port", &["state"]),
    // Worlds for tests.
    ("testing", &["state", "port", "document"]),
    ("followers", &["state", "port", "backoff"]),
    ("system_words", &["state", "testing"]),
    ("reconcile", &["state", "plan", "request", "port", "backoff", "boot_config", "testing"]),
    ("poll", &["state", "request", "port", "backoff"]),
    ("led", &["state", "request", "port"]),
    ("connectivity", &["state", "port"]),
    ("streams", &["state", "request", "port", "followers", "system_words", "testing"]),
    ("journal", &["state", "port"]),
    ("history", &["state", "port"]),
    ("cloud", &["state", "request", "document", "port", "backoff", "followers", "system_words", "testing"]),
    ("notify", &["state", "request", "port"]),
    ("api", &["state", "request", "json"]),
    // The facts of a connection that the API reads, and whether the machine shuts down.
    ("http", &["state", "apart"]),
    ("linux", &["state", "board", "document", "http", "port", "backoff", "json"]),
    ("config", &["state", "json"]),
    ("cli", &["board", "config", "json", "linux", "reconcile", "run", "state"]),
];

/// Crates that belong to one module, so that replacing them is a local affair.
const KEPT_IN: &[(&str, &[&str])] = &[
    ("axum", &["api", "http", "lib"]),
    ("base64", &["linux"]),
    ("bollard", &["linux"]),
    ("boards", &["board", "linux"]),
    ("clap", &["cli", "main"]),
    ("dlmalloc", &["main"]),
    ("flate2", &["linux"]),
    ("gpio_cdev", &["linux"]),
    ("gpiocdev", &["linux"]),
    ("heapless", &["state"]),
    ("http_body_util", &["linux"]),
    ("httparse", &["linux"]),
    ("httpdate", &["linux"]),
    ("hyper", &["http", "linux"]),
    ("hyper_util", &["http", "linux"]),
    ("litemap", &["sorted"]),
    ("minisign_verify", &["config", "linux"]),
    ("qrcodegen", &["cli"]),
    ("saphyr_parser", &["document"]),
    ("semver", &["plan"]),
    ("serde", &["api", "cli", "config", "json", "linux"]),
    ("serde_json", &["api", "cli", "config", "document", "json", "linux"]),
    ("subtle", &["state"]),
    ("sysfs_gpio", &["linux"]),
    ("tokio_io_timeout", &["http"]),
    ("tokio_rustls", &["linux"]),
    ("webpki", &["linux"]),
    ("zbus", &["linux"]),
];

/// A file longer than this wants to be two.
const LINES: usize = 500;

#[test]
fn modules_name_only_those_below_them() {
    for source in sources("src") {
        let Some((_, allowed)) = MAY_NAME.iter().find(|(name, _)| *name == source.module) else {
            assert!(source.is_root(), "{}: add it to MAY_NAME", source.path.display());
            continue;
        };
        for named in source.words_after("crate::") {
            let own = named == source.module || named == FOR_ALL;
            assert!(
                own || allowed.contains(&named.as_str()),
                "{}: `{}` may not name `{named}`",
                source.path.display(),
                source.module,
            );
        }
    }
}

#[test]
fn super_stays_within_its_module() {
    for source in sources("src") {
        let levels = source.path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap().iter().count();
        let mut above = levels - 1;
        for line in source.code() {
            if line.starts_with("mod ") && line.ends_with('{') {
                above += 1;
            }
            let paths = line.split(|c: char| !c.is_alphanumeric() && !"_:".contains(c));
            let up = paths.map(|it| it.split("::").take_while(|it| *it == "super").count()).max().unwrap_or(0);
            assert!(up <= above, "{}: name it from `crate::`: {line}", source.path.display());
        }
    }
}

/// A child may name what its parent's own file defines, as all of the crate does: the parent is what its children have in
/// common, and puts them together. So an arrow that points to a module above the file does not count. What a parent passes on
/// with `pub use` counts as the file that defines it.
#[test]
fn files_of_a_module_name_each_other_in_no_circle() {
    let all = sources("src");
    let files: BTreeMap<_, _> = all.iter().filter(|it| !it.is_root() && !it.is_tests()).map(|it| (it.names(), it)).collect();
    let mut passed_on = BTreeMap::new();
    let mut named = Vec::new();
    for (file, source) in &files {
        for (path, is_passed_on) in source.paths(file, &files) {
            if let (true, Some(name)) = (is_passed_on, path.last()) {
                passed_on.insert([file, std::slice::from_ref(name)].concat(), path.clone());
            }
            named.push((file, path));
        }
    }
    let mut arrows: BTreeMap<&Names, BTreeSet<Names>> = BTreeMap::new();
    for (file, path) in named {
        let target = home(&path, &files, &passed_on);
        if target.first() == file.first() && !file.starts_with(&target) {
            arrows.entry(file).or_default().insert(target);
        }
    }
    assert!(arrows.len() > 50, "the search finds {} files only", arrows.len());
    // What names no file that is left is in no circle.
    while let Some(file) = arrows.iter().find(|(_, it)| it.iter().all(|it| !arrows.contains_key(it))).map(|(file, _)| *file) {
        arrows.remove(file);
    }
    let mut trail: Vec<&Names> = arrows.keys().take(1).copied().collect();
    while let Some(next) = trail.last().and_then(|file| arrows[file].iter().find(|it| arrows.contains_key(it))) {
        let start = trail.iter().position(|it| *it == next);
        trail.push(next);
        let circle = trail[start.unwrap_or(0)..].iter().map(|it| it.join("/")).collect::<Vec<_>>();
        assert!(start.is_none(), "a circle: {}", circle.join(" -> "));
    }
}

/// The standard library's collections have six times the code for each type, and room for eleven entries where one is.
#[test]
fn collections_are_small() {
    let is_large = |source: &Source| source.code().any(|it| it.contains("BTreeMap") || it.contains("BTreeSet"));
    let large = sources("src").into_iter().filter(|it| !it.is_tests() && is_large(it)).map(|it| it.path);
    let large: Vec<_> = large.collect();
    assert!(large.is_empty(), "use crate::sorted: {large:?}");
}

/// The names of a path.
type Names = Vec<String>;

/// The file in which the item of a path is.
fn home(path: &[String], files: &BTreeMap<Names, &Source>, passed_on: &BTreeMap<Names, Names>) -> Names {
    let file = (0..=path.len()).rev().map(|end| &path[..end]).find(|it| files.contains_key(*it)).unwrap_or_default();
    let item = path.len().min(file.len() + 1);
    match passed_on.get(&path[..item]) {
        Some(from) if item > file.len() => home(&[&from[..], &path[item..]].concat(), files, passed_on),
        _ => file.to_vec(),
    }
}

/// Every path that begins a text: several where it ends in braces. And the rest of the text.
fn expanded(text: &str) -> (Vec<String>, &str) {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(text.len());
    let (head, mut rest) = text.split_at(end);
    if !rest.starts_with('{') {
        return (vec![head.to_owned()], rest);
    }
    let mut all = Vec::new();
    while !rest.starts_with('}') {
        let (paths, after) = expanded(rest[1..].trim_start());
        all.extend(paths.iter().map(|it| format!("{head}{it}")));
        rest = &after[after.find([',', '}']).unwrap()..];
    }
    (all, &rest[1..])
}

/// A name that a port and its adapter share is one meaning: the trait, and what it is on a real machine.
#[test]
fn public_types_have_one_meaning_each() {
    let mut homes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let is_tests = |it: &&Source| it.path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().to_string_lossy().contains("tests");
    for source in sources("src").iter().filter(|it| !is_tests(it)) {
        let code = source.code().take_while(|line| *line != "mod tests {");
        for line in code.filter(|line| line.starts_with("pub")) {
            let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|it| !it.is_empty()).collect();
            let kinds = ["struct", "enum", "trait", "type"];
            let kind = words.iter().take(5).position(|it| kinds.contains(it));
            if let Some(name) = kind.and_then(|at| words.get(at + 1)) {
                homes.entry((*name).to_owned()).or_default().push(source.module.clone());
            }
        }
    }
    for (name, homes) in &homes {
        let port_and_adapter = homes.len() == 2 && ["port", "linux"].iter().all(|it| homes.iter().any(|home| home == it));
        assert!(homes.len() == 1 || port_and_adapter, "`{name}` has {} meanings, in {homes:?}", homes.len());
    }
    assert!(homes.len() > 200, "the search finds {} public types only", homes.len());
}

/// Words that leave out who acts, in two halves, so that a search for them does not find this list.
const VAGUE: [(&str, &str); 6] =
    [("who", "ever"), ("no", "body"), ("some", "body"), ("any", "body"), ("every", "body"), ("is ", "told")];

#[test]
fn comments_name_who_acts() {
    for source in sources("src").into_iter().chain(sources("tests")) {
        for line in source.text.lines().filter_map(|line| line.trim_start().strip_prefix("//")) {
            let prose = line.split('`').step_by(2).collect::<Vec<_>>().join(" ").to_lowercase();
            let vague = VAGUE.iter().map(|(a, b)| format!("{a}{b}")).find(|it| prose.contains(it.as_str()));
            let is_help = source.module == "cli" && line.starts_with('/');
            assert!(vague.is_none() || is_help, "{}: `{}`: who acts? {line}", source.path.display(), vague.unwrap_or_default());
        }
    }
}

/// Words of our own that once stood for terms of the field, and what to call the thing instead.
const PRIVATE: [(&str, &str); 20] = [
    ("deed", "action"),
    ("told", "reported, described"),
    ("said", "message, text"),
    ("intent", "request"),
    ("asker", "requester"),
    ("stranger", "unauthenticated, other program"),
    ("house", "limiter, prefix"),
    ("door", "handle"),
    ("crowd", "limits"),
    ("guest", "connection"),
    ("lamp", "led"),
    ("grip", "held led"),
    ("crumb", "breadcrumb"),
    ("patient", "checks"),
    ("spared", "skipped"),
    ("shelf", "inner"),
    ("fates", "rngs"),
    ("weather", "fault rates"),
    ("doom", "power cut"),
    ("figures", "metrics"),
];

/// Tests may be called what happens in them.
#[test]
fn names_are_terms_of_the_field() {
    for source in sources("src").iter().filter(|it| !it.is_tests()) {
        for line in source.code().take_while(|line| !line.ends_with("mod tests {")) {
            let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
            let kinds = ["fn", "struct", "enum", "trait", "type", "const", "static", "mod", "let", "mut"];
            let defined = words.windows(2).filter(|it| kinds.contains(&it[0])).map(|it| snake(it[1]));
            for name in defined {
                let found = PRIVATE
                    .iter()
                    .find(|(word, _)| name.split('_').any(|it| it == *word || it.strip_suffix('s') == Some(word)));
                assert_eq!(found, None, "{}: `{name}` needs a dictionary of our own", source.path.display());
            }
        }
    }
}

/// A name in lower case, with `_` between its words.
fn snake(name: &str) -> String {
    let is_type = name.chars().any(char::is_lowercase);
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_uppercase() && is_type && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    snake
}

/// Functions whose names say nothing without the module's name before them.
const GENERAL: [&str; 4] = ["read", "run", "of", "tell"];

#[test]
fn functions_of_general_names_are_called_with_their_modules() {
    for source in sources("src") {
        let text = source.code().collect::<Vec<_>>().join(" ");
        for statement in text.split("use ").skip(1).filter_map(|it| it.split(';').next()) {
            let names = statement.split(['{', '}', ',']).filter_map(|it| it.trim().rsplit("::").next());
            let general = names.into_iter().find(|it| GENERAL.contains(it));
            assert_eq!(general, None, "{}: name it with its module: use {statement}", source.path.display());
        }
    }
}

#[test]
fn comments_are_no_wider_than_the_code() {
    for source in sources("src").into_iter().chain(sources("tests")) {
        let wide = source.text.lines().find(|it| it.trim_start().starts_with("//") && it.chars().count() > 128);
        assert_eq!(wide, None, "{}", source.path.display());
    }
}

#[test]
fn crates_stay_where_they_are_kept() {
    for source in sources("src") {
        for (name, homes) in KEPT_IN {
            let named = source.code().any(|line| line.contains(&format!("{name}::")));
            assert!(
                !named || homes.contains(&source.module.as_str()),
                "{}: `{name}` belongs to {homes:?}",
                source.path.display(),
            );
        }
    }
}

#[test]
fn keys_are_compared_in_one_place_that_takes_as_long_wherever_they_differ() {
    let all = sources("src");
    let lines = || all.iter().flat_map(|it| it.code().map(move |line| (it.path.display(), line)));
    let comparing: Vec<_> = lines().filter(|(_, line)| line.contains("ct_eq")).map(|(path, _)| path.to_string()).collect();
    assert!(matches!(&comparing[..], [one] if one.ends_with("src/state/keys.rs")), "{comparing:?}");
    for (path, line) in lines().filter(|(_, line)| line.contains("reveal()")) {
        let words = ["==", "!=", ".eq(", "cmp(", "starts_with", "ends_with", "contains", "matches!"];
        assert!(!words.iter().any(|it| line.contains(it)), "{path}: a key is compared by other means: {line}");
    }
}

#[test]
fn boards_are_descriptions() {
    for source in sources("boards").into_iter().filter(|it| !it.is_root() && it.module != "check") {
        for line in source.code() {
            let code = ["fn ", "impl ", "unsafe", "cfg("].iter().any(|word| line.contains(word));
            assert!(!code, "{}: a board has no code: {line}", source.path.display());
        }
    }
}

#[test]
fn files_are_short_and_say_what_they_are() {
    for source in sources("src").into_iter().chain(sources("tests")) {
        let path = source.path.display();
        assert!(source.text.lines().count() <= LINES, "{path}: longer than {LINES} lines");
        let is_tests = source.path.ends_with("tests.rs");
        assert!(is_tests || source.text.starts_with("//! "), "{path}: what is it?");
    }
}

#[test]
fn scripts_are_what_their_shells_can_read() {
    for Script { path, shell, .. } in scripts() {
        // A merge that was left half done, for one.
        let checked = Command::new(shell).arg("-n").arg(&path).output().unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    }
}

#[test]
fn what_a_script_does_at_its_end_needs_nothing_of_a_function() {
    for Script { path, text, .. } in scripts() {
        let mut local = BTreeSet::new();
        for line in text.lines() {
            if line == "}" {
                local.clear();
            }
            let line = line.trim_start();
            if let Some(names) = line.strip_prefix("local ") {
                local.extend(names.split_whitespace().map(|it| it.split('=').next().unwrap_or(it)));
            }
            // The function has returned by then, and `set -u` makes a failure of a variable that is no longer set.
            let at_its_end = line.starts_with("trap ") && line.ends_with("EXIT");
            let gone = local.iter().find(|it| at_its_end && line.contains(&format!("${it}")));
            assert_eq!(gone, None, "{}: {line}", path.display());
        }
    }
}

#[test]
fn patterns_need_no_operating_system() {
    let source = sources("src").into_iter().find(|it| it.path.ends_with("state/pattern.rs")).unwrap();
    assert!(!source.code().any(|line| line.contains("std::") || line.contains("crate::")), "a fixture has neither");
}

struct Source {
    path: PathBuf,
    module: String,
    text: String,
}

impl Source {
    /// May name all modules.
    fn is_root(&self) -> bool {
        ["lib", "main", "daemon"].contains(&self.module.as_str())
    }

    fn is_tests(&self) -> bool {
        self.path.iter().any(|it| it == "tests" || it == "tests.rs")
    }

    /// The path of the file's module.
    fn names(&self) -> Names {
        let within = self.path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap().with_extension("");
        within.iter().map(|it| it.to_str().unwrap().to_owned()).collect()
    }

    /// The paths of the crate that the file names, tests apart, and whether it passes them on.
    fn paths(&self, file: &Names, files: &BTreeMap<Names, &Self>) -> Vec<(Names, bool)> {
        let text = self.code().take_while(|line| !line.ends_with("mod tests {")).collect::<Vec<_>>().join("\n");
        let children = files.keys().filter(|it| it.len() == file.len() + 1 && it.starts_with(file)).filter_map(|it| it.last());
        let mut all = Vec::new();
        for first in children.map(String::as_str).chain(["crate", "super"]) {
            for (at, _) in text.match_indices(&format!("{first}::")) {
                if text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
                    continue;
                }
                let is_passed_on =
                    text[..at].lines().next_back().is_some_and(|it| it.starts_with("pub") && it.ends_with("use "));
                for path in expanded(&text[at..]).0 {
                    let up = path.matches("super::").count();
                    let names = path.split("::").filter(|it| !["crate", "super", "self", ""].contains(it)).map(str::to_owned);
                    let above = if first == "crate" { &[] } else { &file[..file.len() - up] };
                    all.push((above.iter().cloned().chain(names).collect(), is_passed_on));
                }
            }
        }
        all
    }

    /// Lines that are not comments.
    fn code(&self) -> impl Iterator<Item = &str> {
        self.text.lines().map(str::trim_start).filter(|line| !line.starts_with("//"))
    }

    /// First path segments after `prefix`, wherever it occurs in code.
    fn words_after(&self, prefix: &str) -> BTreeSet<String> {
        let rest = self.code().flat_map(|line| line.split(prefix).skip(1));
        rest.map(|it| it.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
            .filter(|it: &String| !it.is_empty())
            .collect()
    }
}

struct Script {
    path: PathBuf,
    shell: &'static str,
    text: String,
}

fn scripts() -> impl Iterator<Item = Script> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dirs = ["tests/lab", "packaging", "packaging/debian", "docs"].map(|dir| fs::read_dir(root.join(dir)).unwrap());
    dirs.into_iter().flatten().map(|it| it.unwrap().path()).filter(|it| it.is_file()).filter_map(|path| {
        let text = String::from_utf8(fs::read(&path).unwrap()).ok()?;
        let shell = if text.strip_prefix("#!/bin/")?.starts_with("bash") { "bash" } else { "sh" };
        Some(Script { path, shell, text })
    })
}

fn sources(dir: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(dir);
    let mut found = Vec::new();
    let mut todo = vec![root.clone()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                let within = path.strip_prefix(&root).unwrap().with_extension("");
                let module = within.iter().next().unwrap().to_str().unwrap().to_owned();
                let text = fs::read_to_string(&path).unwrap();
                found.push(Source { path, module, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}
