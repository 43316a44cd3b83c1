//! The port of the machine's power.

use futures_util::Stream;

use crate::state::PowerAction;

/// The machine's power.
///
/// # Guarantees
/// - Every call ends within five seconds, even if the called service hangs.
/// - No call but [`Power::shut_down`] changes anything, and [`Power::shut_down`] does so only if it is accepted.
/// - [`Power::notices`] reports every shutdown, by any requester, also one already in progress when the stream starts.
///   After [`InhibitorNotice::ShutdownBegins`] comes [`InhibitorNotice::ShutdownCancelled`], or the power goes off; where no
///   notice can come any more, the shutdown counts as cancelled.
/// - While the stream is polled, an announced shutdown waits for the [`Power::Inhibition`] to be dropped, for as long as the
///   machine grants. It may grant nothing: then the inhibitor is empty, and nothing waits.
///
/// # Caveats
/// - Between [`Power::check_shutdown`] and [`Power::shut_down`] anything may change.
/// - An error of [`Power::shut_down`] after a lost reply may be wrong: then the notices show what happened.
pub trait Power {
    /// An inhibitor: delays an announced shutdown until it is dropped.
    type Inhibition;

    /// Whether the machine would accept this action from us, or who rejects it.
    async fn check_shutdown(&self, ending: PowerAction) -> Result<(), PowerError>;
    /// Every inhibitor of a shutdown that is not ours.
    async fn inhibitors(&self) -> Result<Vec<Inhibitor>, PowerError>;
    /// The file that says that a host OS update is in progress, if there is one.
    async fn host_update(&self) -> Option<String>;
    /// The file that says that the host was reconfigured with effect from the next boot, if there is one and that boot has
    /// not happened.
    async fn boot_wanted(&self) -> Option<String>;
    /// Requests the action. `Ok`: it was accepted.
    async fn shut_down(&self, ending: PowerAction) -> Result<(), PowerError>;
    /// Shutdown notices. Never ends.
    fn notices(&self) -> impl Stream<Item = InhibitorNotice<Self::Inhibition>>;
}

/// A notice about a shutdown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InhibitorNotice<H> {
    /// The shutdown is announced. Dropping the inhibitor says that the agent is ready for it.
    ShutdownBegins(H),
    /// The shutdown does not happen, and why.
    ShutdownCancelled(String),
}

/// An inhibitor of a shutdown, held by another program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{who} (uid {uid}, process {pid}) holds it up: {why}")]
pub struct Inhibitor {
    /// The name the holder gave.
    pub who: String,
    /// The reason the holder gave.
    pub why: String,
    /// Whether it blocks the shutdown, or only delays it.
    pub mode: InhibitorMode,
    /// User id of the holder's process.
    pub uid: u32,
    /// Process id of the holder.
    pub pid: u32,
}

/// How an inhibitor holds up a shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InhibitorMode {
    /// Blocks it.
    Block,
    /// Delays it by a few seconds.
    Delay,
}

/// Why the machine rejected a power action: who rejected it, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PowerError {
    /// The system bus does not answer.
    #[error("cannot reach the system bus at `{address}`: {why}; start dbus, or set DBUS_SYSTEM_BUS_ADDRESS")]
    NoBus {
        /// The bus's address.
        address: String,
        /// Why, in words.
        why: String,
    },
    /// There is no logind, or it did not answer. May work later.
    #[error("{request}: {why}")]
    Unreachable {
        /// What was requested and does not happen.
        request: String,
        /// Why, and what to do.
        why: String,
    },
    /// logind rejects the request.
    #[error("{request}: {why}")]
    Refused {
        /// What was requested and does not happen.
        request: String,
        /// Why, and what to do.
        why: String,
    },
}
