//! The port of the source of targets.

use crate::state::{Target, TargetError};

/// A source of targets: a file, a cloud.
pub trait Targets {
    /// Waits for a document that differs from the one returned last, and returns its target. The first one comes at once.
    ///
    /// Cancel-safe: no document is lost.
    async fn next(&self) -> Result<Target, TargetError>;
    /// Makes a waiting [`Targets::next`] look for a document now.
    fn look_again(&self);
}
