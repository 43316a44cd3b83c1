//! The update locks: which of the observed ones still count, and which are lent to host configuration.

use crate::sorted::{SortedMap, SortedSet};
use crate::state::{AppId, LockState};

/// What happened to update locks since the observation in flight began, and which are lent.
#[derive(Debug, Default)]
pub(super) struct LockTracker {
    /// Locks of ours were released while an observation was in flight: it may have seen locks that are gone.
    released: bool,
    /// Apps whose locks a request has read since the observation in flight began: what that observation sees of them rejects
    /// no request.
    checked: SortedSet<AppId>,
    /// Apps whose locks host configuration holds or is acquiring. `None` when none is in progress.
    loan: Option<SortedSet<AppId>>,
}

impl LockTracker {
    /// An observation begins: it sees what happened to the locks before.
    pub(super) fn on_observation_begins(&mut self) {
        self.released = false;
        self.checked.clear();
    }

    /// Locks of ours are being released.
    pub(super) const fn on_released(&mut self) {
        self.released = true;
    }

    /// A request has read the locks of an app.
    pub(super) fn on_checked(&mut self, app: AppId) {
        self.checked.insert(app);
    }

    /// Whether the locks were released or read since the observation in flight began.
    pub(super) fn changed_since_observation(&self) -> bool {
        self.released || !self.checked.is_empty()
    }

    /// Whether locks of ours were released since the observation in flight began.
    pub(super) const fn were_released(&self) -> bool {
        self.released
    }

    /// Whether a request has read the locks of an app since the observation in flight began.
    pub(super) fn was_checked(&self, app: AppId) -> bool {
        self.checked.contains(&app)
    }

    /// Lends the locks of these apps to host configuration.
    pub(super) fn lend(&mut self, apps: SortedSet<AppId>) {
        self.loan = Some(apps);
    }

    /// Ends the loan and returns its apps.
    pub(super) fn end_loan(&mut self) -> SortedSet<AppId> {
        self.loan.take().unwrap_or_default()
    }

    /// Whether the host is being configured.
    pub(super) const fn has_loan(&self) -> bool {
        self.loan.is_some()
    }

    /// Whether the locks of an app are those under which the host is configured.
    pub(super) fn is_lent(&self, app: AppId) -> bool {
        self.loan.as_ref().is_some_and(|it| it.contains(&app))
    }
}

/// Removes our locks of such apps; locks of services stay.
pub(super) fn remove_ours(locks: &mut SortedMap<AppId, LockState>, of: impl Fn(AppId) -> bool) {
    let all = std::mem::take(locks);
    let left = |(app, it): (AppId, LockState)| Some((app, if of(app) { it.without_ours()? } else { it }));
    *locks = all.into_iter().filter_map(left).collect();
}

#[cfg(test)]
mod tests;
