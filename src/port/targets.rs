//! The port of the source of targets.

use crate::state::{Target, TargetError};

/// A source of targets: a file, a cloud.
pub trait Targets {
    /// Waits for a document that differs from the one returned last, and returns its target. The first one comes at once.
    ///
    /// Cancel-safe: no document is lost.
    async fn next(&self) -> Result<Target, TargetError>;
    /// Parses a document that comes from elsewhere, as this source parses its own.
    async fn parse(&self, document: String) -> Result<Target, TargetError>;
    /// Parses a document of any kind that a file may have, or that the agent kept of a compose file, for the device with this
    /// uuid.
    async fn parse_kept(&self, document: String, _device_uuid: &str) -> Result<Target, TargetError> {
        self.parse(document).await
    }
    /// Makes a waiting [`Targets::next`] look for a document now.
    fn look_again(&self);
    /// The target that the device's image was made with. Asked for by a device that has no target. `None`: there is none.
    async fn preloaded(&self) -> Option<Result<Target, TargetError>> {
        None
    }
    /// The preloaded target is saved, and must not be given again.
    async fn on_preloaded_saved(&self) {}
}
