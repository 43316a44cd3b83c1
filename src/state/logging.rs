//! Where the engine puts what a container prints.

use std::collections::BTreeMap;

/// The engine's logging driver for a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Logging {
    /// Its name. Empty: the engine's default.
    pub driver: String,
    /// Options for it.
    pub options: BTreeMap<String, String>,
}
