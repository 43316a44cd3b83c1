//! Pages of the documentation, and their tables.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the repository.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|why| panic!("{path}: {why}"))
}

/// Every page, by its path from the root.
pub(crate) fn pages() -> Vec<String> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|it| it.unwrap().path());
    let docs = docs.filter(|it| it.extension().is_some_and(|it| it == "md"));
    let mut all: Vec<_> = docs.map(|it| it.strip_prefix(root()).unwrap().display().to_string()).collect();
    all.extend(["README.md".to_owned(), "boards/README.md".to_owned()]);
    all.sort();
    all
}

/// The rows of the table whose first column has this heading, each without the marks around its cells.
pub(crate) fn table(path: &str, heading: &str) -> Vec<Vec<String>> {
    let page = read(path);
    let start = format!("| {heading} |");
    let mut lines =
        page.lines().skip_while(|it| !it.starts_with(&start)).take_while(|it| it.starts_with('|')).skip(2).peekable();
    assert!(lines.peek().is_some(), "{path} has no table that begins with `{start}`");
    lines.map(|row| row.trim().trim_matches('|').split('|').map(|it| it.trim().to_owned()).collect()).collect()
}

/// What stands between backticks.
pub(crate) fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// What stands between backticks in the first column of a table.
pub(crate) fn first_column(path: &str, heading: &str) -> BTreeSet<String> {
    table(path, heading).iter().flat_map(|row| quoted(&row[0])).map(ToOwned::to_owned).collect()
}

/// The names in a directory.
pub(crate) fn names(dir: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(root().join(dir)).unwrap().map(|it| it.unwrap());
    entries.map(|it| it.file_name().to_str().unwrap().to_owned()).collect()
}

/// Every Rust file below `src`.
pub(crate) fn sources() -> Vec<String> {
    rust_files("src")
}

/// Every Rust file below a directory.
pub(crate) fn rust_files(dir: &str) -> Vec<String> {
    let mut todo: Vec<PathBuf> = vec![root().join(dir)];
    let mut found = Vec::new();
    while let Some(dir) = todo.pop() {
        for path in fs::read_dir(dir).unwrap().map(|it| it.unwrap().path()) {
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                found.push(fs::read_to_string(path).unwrap());
            }
        }
    }
    found
}
