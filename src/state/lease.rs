//! A lease: an update lock of an app that is asked for over the API, and ends by itself.

use std::fmt;
use std::time::Duration;

use crate::sorted::SortedMap;
use crate::state::AppId;
use crate::state::utc::utc;

/// The longest owner of a lease, in characters.
pub const MAX_OWNER_CHARS: usize = 64;
/// The longest reason of a lease, in characters.
pub const MAX_REASON_CHARS: usize = 256;
/// The longest lease, in seconds: one day. A program that needs the app longer renews its lease; one that was forgotten holds
/// up an update for no more than that.
pub const MAX_SECONDS: u32 = 86_400;
/// The most leases of an app at a time.
pub const MAX_PER_APP: usize = 16;

/// What is asked for with a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseTerms {
    /// The program that asks, by a name it gives itself. The same owner renews its lease.
    pub owner: String,
    /// Why the app must not be disturbed, in words. May be empty.
    pub reason: String,
    /// How long from now, in seconds.
    pub seconds: u32,
}

/// A lease of an app. While it lasts it has the effect of a lock file of one of the app's services.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lease {
    /// The program that has it.
    pub owner: String,
    /// Why the app must not be disturbed, in words. May be empty.
    pub reason: String,
    /// How long it was asked for, in seconds.
    pub seconds: u32,
    /// When it ends, as time since the boot. Setting the wall clock does not change that.
    pub ends_up: Duration,
    /// The same in seconds of the wall clock, as that clock was last observed. For people.
    pub ends_secs: i64,
}

/// The leases of each app, by owner. An app without leases is not in it.
pub type Leases = SortedMap<AppId, SortedMap<String, Lease>>;

/// Of an app's leases, the one that ends last.
#[must_use]
pub fn last_of(leases: &Leases, app: AppId) -> Option<&Lease> {
    leases.get(&app)?.values().max_by_key(|it| it.ends_up)
}

impl Lease {
    /// When it ends, in the form `2026-11-23T16:40:05Z`.
    #[must_use]
    pub fn ends(&self) -> String {
        utc(self.ends_secs)
    }
}

impl fmt::Display for Lease {
    /// Completes "is locked by".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a lease of {} until {}", self.owner, self.ends())?;
        if self.reason.is_empty() { Ok(()) } else { write!(f, " ({})", self.reason) }
    }
}
