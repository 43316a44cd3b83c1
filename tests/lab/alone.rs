//! Tests of a binary whose allocations are all counted run one after another.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held by the test that counts.
static COUNTS: Mutex<()> = Mutex::new(());

/// Until it is dropped no other test allocates.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    COUNTS.lock().unwrap_or_else(PoisonError::into_inner)
}
