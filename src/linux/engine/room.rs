//! Disk space for images: what is free, and what pulls in flight have reserved.

use std::path::PathBuf;

use crate::linux::engine::Engine;
use crate::linux::engine::connection::EngineConnection;
use crate::port::EngineError;
use crate::state::ImageRef;

impl Engine {
    /// Where the engine keeps images, and the free space there in bytes. `None`: the agent cannot see that directory.
    pub(super) fn free(&self, connection: &EngineConnection) -> Option<(PathBuf, u64)> {
        let path = self.settings.root.join(connection.facts.data_root.as_deref()?.trim_start_matches('/'));
        let disk = rustix::fs::statvfs(&path).ok()?;
        Some((path, disk.f_bavail.saturating_mul(disk.f_frsize)))
    }

    /// Reserves space for a pull, in place of what it reserved earlier. `needed` bytes must be free; `foreseen` bytes are only
    /// expected.
    pub(super) fn reserve(
        &self,
        image: &ImageRef,
        connection: &EngineConnection,
        needed: u64,
        foreseen: u64,
    ) -> Result<(), EngineError> {
        self.has_room(connection, &format!("pull {image}"), |other| other != image, needed)?;
        self.reserved_bytes.borrow_mut().insert(image.clone(), needed.saturating_add(foreseen));
        Ok(())
    }

    /// Checks that `needed` bytes fit, beside what other pulls in flight still need, and leave the floor free. If free space is
    /// unknown, everything fits. `what` completes "cannot …".
    pub(super) fn has_room(
        &self,
        connection: &EngineConnection,
        what: &str,
        is_other: impl Fn(&ImageRef) -> bool,
        needed: u64,
    ) -> Result<(), EngineError> {
        let Some((path, free)) = self.free(connection) else { return Ok(()) };
        let others = added(self.reserved_bytes.borrow().iter().filter(|(image, _)| is_other(image)).map(|(_, bytes)| *bytes));
        let floor = self.settings.floor_bytes;
        if free >= needed.saturating_add(others).saturating_add(floor) {
            return Ok(());
        }
        let mebibytes = |bytes: u64| bytes.div_ceil(1024 * 1024);
        let others = if others == 0 { String::new() } else { format!("{} MiB for other pulls, ", mebibytes(others)) };
        Err(EngineError::Full(format!(
            "cannot {what}: {} MiB are free in {}, {} MiB are needed, {others}and {} MiB must stay free; delete files or unused images",
            mebibytes(free),
            path.display(),
            mebibytes(needed),
            mebibytes(floor),
        )))
    }
}

/// The space that a pull reserved, released when the pull ends in any way.
pub(super) struct RoomReservation<'a> {
    pub(super) engine: &'a Engine,
    pub(super) image: &'a ImageRef,
}

impl Drop for RoomReservation<'_> {
    fn drop(&mut self) {
        self.engine.reserved_bytes.borrow_mut().remove(self.image);
    }
}

/// Space that so many compressed bytes need while they are downloaded and unpacked: 2.5 times as much; programs rarely unpack
/// to more.
pub(super) fn room_for(packed: u64) -> u64 {
    packed.saturating_add(unpacked(packed))
}

/// Space that so many compressed bytes need once they are unpacked.
pub(super) fn unpacked(packed: u64) -> u64 {
    packed.saturating_add(packed / 2)
}

/// A sum of sizes that may be an engine's invention: it saturates.
pub(super) fn added(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(0, u64::saturating_add)
}
