//! What programs were granted: leases of apps, which no restart of the agent ends and every boot does.

use std::time::Duration;

use boardkeeper::sorted::SortedMap;
use boardkeeper::state::AppId;
use boardkeeper::state::lease::Leases;
use tokio::time::Instant;

use super::Model;
use super::marks::Mark;
use super::rng::Rng;

/// The leases that clients know of.
#[derive(Debug)]
pub(crate) struct LeaseBook {
    /// Programs ask for leases by themselves.
    pub(crate) are_asked_for: bool,
    pub(crate) rng: Rng,
    /// When each begins and ends at the earliest, by app and owner.
    granted: SortedMap<AppId, SortedMap<String, Granted>>,
}

#[derive(Debug, Clone, Copy)]
struct Granted {
    begins: Instant,
    ends: Instant,
}

impl LeaseBook {
    pub(super) const fn new(rng: Rng) -> Self {
        Self { are_asked_for: false, rng, granted: SortedMap::new() }
    }

    /// Whether a client knows that it has a lease of an app, and that long already.
    pub(crate) fn lasts(&self, app: AppId, since: Duration) -> bool {
        let of_app = self.granted.get(&app).into_iter().flat_map(|it| it.values());
        of_app.into_iter().any(|it| it.ends > Instant::now() && it.begins.elapsed() >= since)
    }
}

impl Model {
    /// A client renews its lease, or ends it: the agent may have done so from now on.
    pub(crate) fn lease_may_end(&mut self, app: AppId, owner: &str, ends: Instant) {
        if let Some(it) = self.leases.granted.get_mut(&app).and_then(|it| it.get_mut(owner)) {
            it.ends = it.ends.min(ends);
        }
    }

    /// A client was granted a lease, which it had asked for at that time.
    pub(crate) fn lease_granted(&mut self, app: AppId, owner: &str, asked: Instant, length: Duration) {
        self.hit(Mark::LeaseGranted);
        let of_app = self.leases.granted.entry(app).or_default();
        let begins = of_app.get(owner).filter(|it| it.ends > asked).map_or_else(Instant::now, |it| it.begins);
        of_app.insert(owner.to_owned(), Granted { begins, ends: asked + length });
    }

    /// The agent is killed while leases last.
    pub(super) fn leases_outlive_the_agent(&mut self) {
        if self.leases.granted.values().flat_map(|it| it.values()).any(|it| it.ends > Instant::now()) {
            self.hit(Mark::CutInLease);
        }
    }

    /// The machine boots.
    pub(super) fn lose_leases(&mut self) {
        self.leases.granted.clear();
    }

    /// The leases that the agent saved, as far as they last.
    pub(super) fn lasting_leases(&self) -> Leases {
        let mut leases = self.disk.kept.leases.leases.clone();
        let up = self.up();
        for (_, it) in &mut leases {
            it.retain(|_, lease| lease.ends_up > up);
        }
        leases.retain(|_, it| !it.is_empty());
        leases
    }

    /// A running service of an app is disturbed, or the machine is ended.
    pub(super) fn check_lease(&mut self, what: &str, app: AppId, since: Duration) {
        if !self.leases.lasts(app, since) {
            return;
        }
        if self.may_force(app) {
            self.hit(Mark::LeaseForced);
        } else {
            self.violation(format_args!("{what} under a lease of {app}"));
        }
    }
}
