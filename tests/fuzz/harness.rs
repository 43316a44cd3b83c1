//! What is done with bytes that somebody made up: the agent's own code, and what must hold of it whatever they are.
//!
//! `make fuzz TARGET=…` has libFuzzer make them up; `tests/fuzz/main.rs` replays what it found worth keeping.

mod engine;
mod files;
mod router;

use std::collections::BTreeMap;

use boardkeeper::linux::document;
use boardkeeper::linux::engine::heard;
use boardkeeper::plan::{self, EngineAction};
use boardkeeper::state::{Current, Device, Image, ImageId, Keys, Overrides, Secret, Target};

pub use engine::{engine, labels, replies};
pub use files::{config, locks, records, sysfs};
pub use router::router;

/// The device whose part of a document is ours.
const UUID: &str = "0123456789abcdef0123456789abcdef";

/// A target-state document of any generation: what is accepted is accepted again, can be planned for, and said to an engine.
pub fn target(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match document::parse(text, Some(UUID)) {
        Ok(target) => {
            let again = document::parse(&target.document, Some(UUID)).expect("what was accepted is accepted again");
            assert_eq!(again, target);
            planned(&target);
        }
        Err(error) => assert!(!error.0.contains('\n') && error.0.len() < 20_000, "{error}"),
    }
}

/// Plans from nothing, and from a machine that has the images, so that containers are made.
fn planned(target: &Target) {
    let keys = Keys { device: Secret::new("d".repeat(64)), root: Secret::new("r".repeat(64)), generations: BTreeMap::new() };
    let target = plan::inject_supervisor_env(target, &Device::default(), &keys);
    let mut current = Current::default();
    let _ = plan::plan(&target, &Overrides::default(), &current);
    let images = target.apps.values().flat_map(|app| app.services.values()).map(|it| &it.image);
    current.images = images
        .map(|name| Image { id: ImageId(name.to_string()), names: [name.clone()].into_iter().collect(), size_bytes: 1 })
        .collect();
    for step in plan::plan(&target, &Overrides::default(), &current).steps {
        if let plan::Step::Engine(EngineAction::Create(spec)) = &step {
            assert!(heard::told(spec).contains("io.balena.supervised"));
        }
        assert!(!step.to_string().contains('\n'), "{step}");
    }
}
