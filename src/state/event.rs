//! What the reconciler does, published as it happens.

use crate::state::Step;

/// Something that happened on the device. Published once, when it happens; the status shows how things are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceEvent {
    /// A step was begun.
    Begun(Step),
    /// A step succeeded.
    Succeeded(Step),
    /// A step failed; it is retried.
    Failed {
        /// The step.
        step: Step,
        /// Why, in words.
        why: String,
    },
    /// A step was cancelled: the target no longer needs it.
    Cancelled(Step),
}
