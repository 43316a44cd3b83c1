//! The store's own code over disks that lose what was not synced, tear it, reorder it, fill up and fail.
//!
//! ```text
//! layer        file systems in memory that know what is on the disk     rng      reproducible randomness
//! cut          what a power cut leaves of them                          oracle   what may be found then
//! operations   every operation, every moment, every state               lives    random sequences of operations and cuts
//! released     what earlier versions left, which this one reads           accepted the record of signed documents
//! ```

#![expect(clippy::unwrap_used, reason = "a test may fall over")]

mod accepted;
mod ext4;
mod layer;
mod lives;
mod operations;
mod oracle;
mod power_cut;
mod released;
mod rng;

/// Runs a future with threads for what blocks.
fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}
