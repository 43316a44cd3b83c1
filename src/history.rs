//! Keeps the history: every entry until the next boot, where that costs no flash, and the newest ones over boots.
//!
//! The durable copy is written before the machine goes down, and otherwise at most every [`DURABLE_EVERY`] while there is
//! something new: some 30 kB each time. A power cut loses what came after it.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use crate::port::{HistoryStore, StoreError};
use crate::state::Status;
use crate::state::history::{History, HistoryEntry, KEPT_OVER_BOOTS};

/// The time between two writes of the durable copy.
const DURABLE_EVERY: Duration = Duration::from_secs(6 * 60 * 60);

/// Keeps the history for as long as it is polled.
pub(crate) async fn run(
    store: &impl HistoryStore,
    mut status: watch::Receiver<Status>,
    mut history: watch::Receiver<History>,
) -> Infallible {
    // What was loaded is kept already. The entries of this start may be there before this task is first polled.
    let kept = match history.wait_for(|it| it.loaded().is_some()).await {
        Ok(history) => history.loaded().unwrap_or_default(),
        Err(_) => pending().await,
    };
    let next_durable = Instant::now() + DURABLE_EVERY;
    let mut keeper = HistoryKeeper { appended: kept, durable: kept, next_durable, is_failing: false };
    loop {
        let entries: Vec<_> = history.borrow_and_update().after(keeper.appended).cloned().collect();
        keeper.append(store, &entries).await;
        let newest = keeper.appended;
        let goes_down = status.borrow_and_update().shutdown.is_under_way();
        let is_due = newest > keeper.durable && (goes_down || keeper.next_durable <= Instant::now());
        if is_due {
            let kept: Vec<_> = history.borrow().entries().rev().take(KEPT_OVER_BOOTS).cloned().collect();
            let kept: Vec<_> = kept.into_iter().rev().collect();
            keeper.save(store, &kept).await;
        }
        let wakes_at = keeper.next_durable;
        tokio::select! {
            biased;
            changed = history.changed() => if changed.is_err() { pending::<()>().await },
            changed = status.changed(), if !goes_down => if changed.is_err() { pending::<()>().await },
            () = sleep_until(wakes_at), if keeper.appended > keeper.durable => (),
        }
    }
}

struct HistoryKeeper {
    /// The newest entry that is kept until the next boot.
    appended: u64,
    /// The newest entry that is kept over boots.
    durable: u64,
    /// When the durable copy may be written.
    next_durable: Instant,
    /// The last write failed, and the log says so.
    is_failing: bool,
}

impl HistoryKeeper {
    async fn append(&mut self, store: &impl HistoryStore, entries: &[Arc<HistoryEntry>]) {
        let Some(newest) = entries.last() else { return };
        let newest = newest.id;
        let outcome = store.append_history(entries).await;
        self.report(&outcome);
        // An entry that could not be written stays in memory; trying again would hold up those after it.
        self.appended = newest;
    }

    async fn save(&mut self, store: &impl HistoryStore, kept: &[Arc<HistoryEntry>]) {
        let outcome = store.save_history(kept).await;
        self.report(&outcome);
        self.durable = self.appended;
        self.next_durable = Instant::now() + DURABLE_EVERY;
    }

    fn report(&mut self, outcome: &Result<(), StoreError>) {
        if let (Err(why), false) = (outcome, self.is_failing) {
            warn!(error = %why, "the history is not kept; a restart of the agent forgets what happened meanwhile");
        }
        self.is_failing = outcome.is_err();
    }
}

#[cfg(test)]
mod tests;
