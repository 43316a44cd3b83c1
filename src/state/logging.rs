//! Where the engine logs a container's output.

use std::collections::BTreeMap;

/// The engine's logging driver for a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Logging {
    /// Its name. Empty: the engine's default.
    pub driver: String,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
}
