//! The README's table of endpoints says what the agent's own table says.

#![expect(clippy::unwrap_used, reason = "a test may fall over")]

use std::fs;
use std::path::Path;

use boardkeeper::api::{Endpoint, routes};

/// The rows of the table: what is in their first and last columns.
fn rows() -> Vec<(String, String)> {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let table = readme.split("| endpoint |").nth(1).unwrap().split("\n\n").next().unwrap().to_owned();
    let rows = table.lines().skip(2).map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect::<Vec<_>>());
    rows.map(|row| (row[0].to_owned(), row[row.len() - 1].to_owned())).collect()
}

#[test]
fn every_endpoint_is_in_the_readme_with_its_state() {
    let rows = rows();
    for route in routes() {
        let (whole, family) = (format!("`{} {}`", route.method, route.path), "everything under `/v2/`");
        let row = rows.iter().find(|(name, _)| *name == whole || (name == family && route.path.starts_with("/v2/")));
        let (_, state) = row.unwrap_or_else(|| panic!("the README has no row for {whole}"));
        let there = if route.endpoint == Endpoint::NotYet { "no: 501" } else { "yes" };
        assert_eq!(state, there, "{whole}");
    }
}

#[test]
fn the_readme_has_no_endpoint_that_is_not_there() {
    for (name, _) in rows().iter().filter(|(name, _)| !name.starts_with("everything")) {
        let known = routes().iter().any(|it| *name == format!("`{} {}`", it.method, it.path));
        assert!(known, "{name} is in the README only");
    }
}
