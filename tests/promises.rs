//! The page of promises and the script that shows them name the same ones.

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn every_promise_has_a_line_and_a_command() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("tests/PROMISES.md")).unwrap();
    let rows = page.lines().filter(|it| it.starts_with("| ")).skip(2);
    let said: Vec<_> = rows.map(|row| row.trim_matches('|').split(" | ").next().unwrap().trim().to_owned()).collect();
    let script = Command::new(root.join("tests/lab/torture.sh")).arg("--names").output().unwrap();
    let shown: Vec<_> = String::from_utf8(script.stdout).unwrap().lines().map(str::to_owned).collect();
    assert!(!shown.is_empty());
    assert_eq!(said, shown, "tests/PROMISES.md, and the functions of tests/lab/torture.sh in their order");
}
