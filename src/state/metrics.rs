//! What the agent counted of itself since it started, for its metrics.

use std::time::Duration;

use crate::sorted::SortedMap;
use crate::state::host::ProcessUse;
use crate::state::{FlashWrites, ServiceKey};

/// What the agent counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentMetrics {
    /// When the agent started, in seconds of the wall clock as it is set now.
    pub started_secs: i64,
    /// Actions that ended.
    pub actions: SortedMap<ActionKind, ActionCounts>,
    /// Restarts of containers that the agent saw, by service.
    pub restarts: SortedMap<ServiceKey, RestartCounts>,
    /// What was written to flash.
    pub flash: FlashWrites,
    /// What the agent's process uses.
    pub process: ProcessUse,
}

/// A kind of action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ActionKind {
    /// What is done: `pull`, `start` and the like.
    pub action: &'static str,
    /// What it is done to: `container`, `image`, `network`, `volume`, `lock` or `machine`.
    pub object: &'static str,
}

/// Actions of a kind, by how they ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ActionCounts {
    /// Actions that succeeded.
    pub done: u64,
    /// Actions that failed. Each attempt counts.
    pub failed: u64,
    /// Actions that the target no longer needed.
    pub cancelled: u64,
    /// How long all of them took.
    pub time: Duration,
}

/// Restarts of a service's containers, by what restarted them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RestartCounts {
    /// The agent did.
    pub by_agent: u64,
    /// The engine did, by the container's restart policy, or a person with the engine's own tool.
    pub by_engine: u64,
}

impl ActionCounts {
    /// How many ended.
    #[must_use]
    pub const fn ended(&self) -> u64 {
        self.done.saturating_add(self.failed).saturating_add(self.cancelled)
    }
}
