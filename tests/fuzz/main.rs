//! Every input that a fuzzer found worth keeping, through the same functions, with the plain compiler; and inputs that are made
//! by rules, which go deeper than bytes that are thrown.

#![expect(clippy::unwrap_used, reason = "a test may fall over")]

#[expect(unreachable_pub, reason = "it is a library for the targets that libFuzzer is linked into")]
mod harness;
mod made;

use std::fs;
use std::path::Path;

/// The most bytes of all corpora together: they are kept in the repository.
const CORPORA_BYTES: u64 = 300 * 1024;

type Target = (&'static str, fn(&[u8]));

/// Every target, by the name of its corpus.
const TARGETS: [Target; 9] = [
    ("config", harness::config),
    ("engine", harness::engine),
    ("labels", harness::labels),
    ("locks", harness::locks),
    ("records", harness::records),
    ("replies", harness::replies),
    ("router", harness::router),
    ("sysfs", harness::sysfs),
    ("target", harness::target),
];

#[test]
fn what_was_found_worth_keeping_harms_nobody() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let mut names: Vec<_> = fs::read_dir(&corpora).unwrap().map(|it| it.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, TARGETS.map(|(name, _)| name));
    let mut bytes = 0;
    for (name, target) in TARGETS {
        let mut inputs = 0;
        for entry in fs::read_dir(corpora.join(name)).unwrap() {
            let input = fs::read(entry.unwrap().path()).unwrap();
            bytes += u64::try_from(input.len()).unwrap();
            inputs += 1;
            target(&input);
        }
        assert!(inputs > 0, "{name}");
    }
    assert!(bytes <= CORPORA_BYTES, "{bytes} bytes: make them fewer with `make fuzz-min`");
}

#[test]
fn every_target_is_built_and_named() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        assert!(manifest.contains(&format!("path = \"targets/{name}.rs\"")), "{name}");
    }
}
