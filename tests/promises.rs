//! The page of promises and the script that demonstrates them name the same ones.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

#[test]
fn every_promise_has_a_line_and_a_command() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/testing.md")).unwrap();
    let table = page.lines().skip_while(|it| !it.starts_with("| name | promise |"));
    let rows = table.take_while(|it| it.starts_with("| ")).skip(2);
    let said: Vec<_> = rows.map(|row| row.trim_matches('|').split(" | ").next().unwrap().trim().to_owned()).collect();
    let script = Command::new(root.join("tests/lab/torture.sh")).arg("--names").output().unwrap();
    let shown: Vec<_> = String::from_utf8(script.stdout).unwrap().lines().map(str::to_owned).collect();
    assert!(!shown.is_empty());
    assert_eq!(said, shown, "docs/testing.md, and the functions of tests/lab/torture.sh in their order");
}

/// What `make torture ONLY=…` was told came down to the verbs, which left out every test that is not called so, and all was
/// well.
#[test]
fn a_promise_is_kept_when_something_was_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let make = dir.path().join("make");
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let torture = |says: &str| {
        fs::write(&make, format!("#!/bin/sh\necho \"{says}\"\n")).unwrap();
        fs::set_permissions(&make, fs::Permissions::from_mode(0o755)).unwrap();
        let mut script = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/torture.sh"));
        script.arg("access").env("PATH", &path).env("OUT", dir.path());
        let done = script.env("ONLY", "access").env("MAKEFLAGS", "-- ONLY=access").output().unwrap();
        (done.status.success(), String::from_utf8(done.stdout).unwrap())
    };
    let (kept, table) = torture("figure: $ONLY,$MAKEFLAGS.");
    assert!(kept && table.contains("| ,. |"), "{table}");
    for nothing in ["", "test result: ok. 0 passed; 0 failed; 0 ignored"] {
        let (kept, table) = torture(nothing);
        assert!(!kept && table.contains("**not kept** (nothing was looked at"), "{table}");
    }
}
