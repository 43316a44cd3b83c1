//! Where the engine logs a container's output.

use crate::sorted::SortedMap;
use crate::state::canonical_form::{CanonicalForm, list};

/// The engine's logging driver for a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Logging {
    /// Its name. Empty: the engine's default.
    pub driver: String,
    /// Options of the driver.
    pub options: SortedMap<String, String>,
}

impl CanonicalForm for Logging {
    fn write(&self, text: &mut String) {
        let Self { driver, options } = self;
        list(text, [driver as &dyn CanonicalForm, options], CanonicalForm::write);
    }
}
