//! What the agent writes to flash, by purpose. Flash wears: each cell bears some thousand writes.

use crate::sorted::SortedMap;

/// What was written since the agent started, by purpose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlashWrites(pub SortedMap<FlashPurpose, FlashCount>);

/// What was written for one purpose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FlashCount {
    /// The content that was handed to the file system, in bytes. The file system writes more: whole blocks and its journal.
    pub bytes: u64,
    /// Calls of `fsync`, of files and of directories.
    pub syncs: u64,
}

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FlashPurpose {
    /// The device's identity and its account in the cloud, each with its copy.
    Identity,
    /// The API keys.
    Keys,
    /// Targets, and what is remembered of them: signatures, ETags, starts that were counted.
    Targets,
    /// Services that were stopped by hand, and containers that wait for a reboot.
    Services,
    /// Local mode.
    LocalMode,
    /// The durable copy of how far logs were uploaded.
    LogCursors,
    /// The durable part of the history.
    History,
    /// The configuration of the board's firmware or boot loader, and what is remembered of it.
    BootConfig,
    /// The device's provisioning file, and the copy of it.
    Provisioning,
    /// The host's name and proxy.
    HostConfig,
    /// The VPN's files.
    Vpn,
    /// Files of no other purpose, and directories.
    Other,
}

impl FlashPurpose {
    /// Every purpose.
    pub const ALL: [Self; 12] = [
        Self::Identity,
        Self::Keys,
        Self::Targets,
        Self::Services,
        Self::LocalMode,
        Self::LogCursors,
        Self::History,
        Self::BootConfig,
        Self::Provisioning,
        Self::HostConfig,
        Self::Vpn,
        Self::Other,
    ];

    /// Its name in the metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Keys => "keys",
            Self::Targets => "targets",
            Self::Services => "services",
            Self::LocalMode => "local_mode",
            Self::LogCursors => "log_cursors",
            Self::History => "history",
            Self::BootConfig => "boot_config",
            Self::Provisioning => "provisioning",
            Self::HostConfig => "host_config",
            Self::Vpn => "vpn",
            Self::Other => "other",
        }
    }
}

impl FlashWrites {
    /// Adds what was written for a purpose.
    pub fn add(&mut self, purpose: FlashPurpose, more: FlashCount) {
        let count = self.0.entry(purpose).or_default();
        count.bytes = count.bytes.saturating_add(more.bytes);
        count.syncs = count.syncs.saturating_add(more.syncs);
    }

    /// What was written for a purpose.
    #[must_use]
    pub fn of(&self, purpose: FlashPurpose) -> FlashCount {
        self.0.get(&purpose).copied().unwrap_or_default()
    }

    /// What was written for all purposes.
    #[must_use]
    pub fn sum(&self) -> FlashCount {
        self.0.values().fold(FlashCount::default(), |sum, it| FlashCount {
            bytes: sum.bytes.saturating_add(it.bytes),
            syncs: sum.syncs.saturating_add(it.syncs),
        })
    }
}
