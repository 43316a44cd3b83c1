//! The port of the host.

use futures_util::Stream;
use futures_util::stream::LocalBoxStream;

use crate::state::boot_config::BootFile;
use crate::state::cloud::ProvisionedFields;
use crate::state::host::{HostAddresses, HostConfig, HostMetrics, HostPatch, ProcessUse};
use crate::state::journal::JournalQuery;

/// The host: its metrics, its addresses, and its configuration.
pub trait Host {
    /// The device's addresses: at once, and whenever they change. Never ends.
    fn addresses(&self) -> impl Stream<Item = HostAddresses>;
    /// The metrics that change all the time. Reads memory, not disks, so it does not block.
    fn metrics(&self) -> HostMetrics;
    /// What the agent's own process uses. Reads memory, not disks, so it does not block.
    fn own_use(&self) -> ProcessUse;
    /// The host's configuration.
    async fn config(&self) -> Result<HostConfig, HostError>;
    /// Changes the configuration, and has the host use it. Each file is the old one or the new one, also after a power cut.
    ///
    /// Must not be called concurrently. May be dropped at any await: then part of the change was made.
    async fn configure(&self, patch: &HostPatch) -> Result<(), HostError>;
    /// The file in which the board's firmware or boot loader is configured. `None`: the board is not known, or has none.
    async fn boot_file(&self) -> Result<Option<BootFile>, HostError>;
    /// Replaces the content of that file. After a power cut at any time it is the old one or the new one, and once this
    /// returned it is the new one. `good`: what the machine is known to work with; a copy of it is beside the file before the
    /// file changes.
    ///
    /// Must not be called concurrently. May be dropped at any await: then the file is the old one or the new one.
    async fn write_boot_file(&self, file: &BootFile, good: Option<&Vec<u8>>) -> Result<(), HostError>;
    /// Writes into the device's provisioning file that it is registered, and deletes the provisioning key there. Every other
    /// field stays as it is, and so does a file that needs no change. The file is the old one or the new one, also after a
    /// power cut. A file that does not exist is not created, which is an error.
    ///
    /// Must not be called concurrently, nor with [`Host::configure`]. May be dropped at any await.
    async fn write_provisioning(&self, fields: &ProvisionedFields) -> Result<(), HostError>;
    /// Has the host keep its journal over boots, or not. A host that does so already is left alone.
    ///
    /// May be dropped at any await: the next call finds out what was done.
    async fn persist_journal(&self, persistent: bool) -> Result<JournalChange, HostError>;
    /// What the host's journal has, in the form in which the host's own tool prints it, in parts of any length. An error: there
    /// is no journal, or it may not be read; says what to do.
    ///
    /// The stream ends with the journal, or never, if the query follows it. Nothing is read ahead of the caller but some
    /// kilobytes. To drop the future or the stream ends what reads the journal.
    async fn read_journal(&self, query: &JournalQuery) -> Result<LocalBoxStream<'static, Vec<u8>>, HostError>;
}

/// What was done so that the host's journal is kept over boots, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalChange {
    /// Nothing: it is so already.
    Already,
    /// It is so from now on.
    Now,
    /// It is so from the next boot on, which [`Power::boot_wanted`](super::Power::boot_wanted) asks for.
    NextBoot,
}

/// Why the host's configuration could not be read or changed. Says what, where and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HostError(pub String);
