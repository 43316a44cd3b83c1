//! Leases: update locks of apps that programs ask for over the API.
//!
//! Several owners may have a lease of the same app at once, as several services may have a lock file: the app is undisturbed
//! until the last one ends. No lease is granted while the agent itself holds the app's update locks, as no lock file can be
//! made then. A forced action overrides leases, and they go on after it.

use std::time::Duration;

use tokio::time::Instant;
use tracing::info;

use crate::port::{Clock, Record, StoredLeases, World};
use crate::reconcile::Reconciler;
use crate::reconcile::persistence::RecordKind;
use crate::request::Refusal;
use crate::state::lease::{Lease, LeaseTerms, Leases, MAX_PER_APP, last_of};
use crate::state::{AppId, LockState, Step};

/// The leases that last.
#[derive(Debug, Default)]
pub(super) struct LeaseTracker {
    leases: Leases,
}

impl LeaseTracker {
    /// The leases as stored, if they are of this boot.
    pub(super) fn new(stored: StoredLeases, boot_id: &str) -> Self {
        Self { leases: if stored.boot_id == boot_id { stored.leases } else { Leases::default() } }
    }

    /// The leases that last.
    pub(super) const fn all(&self) -> &Leases {
        &self.leases
    }

    /// Grants a lease, or renews the one that the owner has. `up`: the time since the boot; `now_secs`: the wall clock.
    fn grant(&mut self, app: AppId, terms: LeaseTerms, up: Duration, now_secs: i64) -> Result<Lease, Refusal> {
        let of_app = self.leases.entry(app).or_default();
        let LeaseTerms { owner, reason, seconds } = terms;
        if of_app.len() >= MAX_PER_APP && !of_app.contains_key(&owner) {
            return Err(Refusal::TooManyLeases(app));
        }
        let ends_up = up + Duration::from_secs(seconds.into());
        let lease = Lease { owner, reason, seconds, ends_up, ends_secs: wall_end(ends_up, up, now_secs) };
        of_app.insert(lease.owner.clone(), lease.clone());
        Ok(lease)
    }

    /// Ends the lease of an owner, or every lease of the app. Returns whether there was any.
    fn end(&mut self, app: AppId, owner: Option<&str>) -> bool {
        let Some(of_app) = self.leases.get_mut(&app) else { return false };
        let before = of_app.len();
        of_app.retain(|it, _| owner.is_some_and(|owner| owner != it));
        let ended = of_app.len() != before;
        self.leases.retain(|_, it| !it.is_empty());
        ended
    }

    /// Drops the leases that have ended. Says when the others end by a wall clock that may have been set.
    fn refresh(&mut self, up: Duration, now_secs: i64) {
        for (app, of_app) in &mut self.leases {
            of_app.retain(|owner, lease| {
                let lasts = lease.ends_up > up;
                if !lasts {
                    info!(%app, owner, "a lease has ended");
                }
                lasts
            });
            for (_, lease) in of_app.iter_mut() {
                let ends_secs = wall_end(lease.ends_up, up, now_secs);
                // Both clocks are read to the second at best: the end that people see must not flicker.
                if lease.ends_secs.abs_diff(ends_secs) > 1 {
                    lease.ends_secs = ends_secs;
                }
            }
        }
        self.leases.retain(|_, it| !it.is_empty());
    }

    /// How long from now until the first lease ends.
    fn next_end(&self, up: Duration) -> Option<Duration> {
        let ends = self.leases.values().flat_map(|it| it.values()).map(|it| it.ends_up).min()?;
        Some(ends.saturating_sub(up))
    }
}

impl<W: World> Reconciler<'_, W> {
    /// Grants or renews a lease of an app.
    pub(super) async fn lease(&mut self, app: AppId, terms: LeaseTerms) -> Result<Lease, Refusal> {
        if !self.has_app(app) {
            return Err(Refusal::UnknownApp(app));
        }
        if self.is_at_the_locks_of(app) {
            return Err(Refusal::Busy(app));
        }
        self.refresh_leases();
        let clock = self.context.world.clock();
        let lease = self.leases.grant(app, terms, clock.up(), clock.now_secs())?;
        info!(%app, %lease, "the app is leased");
        self.on_leases_changed().await;
        Ok(lease)
    }

    /// Ends the lease of an owner, or every lease of the app. It is fine if there is none.
    pub(super) async fn end_lease(&mut self, app: AppId, owner: Option<&str>) -> Result<(), Refusal> {
        if !self.has_app(app) && !self.leases.all().contains_key(&app) {
            return Err(Refusal::UnknownApp(app));
        }
        if self.leases.end(app, owner) {
            info!(%app, owner = owner.unwrap_or("all"), "a lease was given back");
            self.on_leases_changed().await;
        }
        Ok(())
    }

    /// Drops the leases that have ended. Those that last count for the next plan.
    pub(super) fn refresh_leases(&mut self) {
        let clock = self.context.world.clock();
        let (up, now_secs) = (clock.up(), clock.now_secs());
        self.leases.refresh(up, now_secs);
        self.observed.update_leases(self.leases.all());
        if let Some(next) = self.leases.next_end(up) {
            self.observed.schedule().resync_by(Instant::now() + next);
        }
    }

    /// The lease that holds up a request about an app.
    pub(super) fn lease_against(&mut self, app: AppId) -> Option<Lease> {
        self.refresh_leases();
        last_of(self.leases.all(), app).cloned()
    }

    /// The record of the leases.
    pub(super) fn leases_record(&self) -> Record {
        let boot_id = self.context.world.clock().boot_id();
        Record::Leases(StoredLeases { boot_id, leases: self.leases.all().clone() })
    }

    /// The plan at hand does not know of the change: none of its steps is launched.
    async fn on_leases_changed(&mut self) {
        self.observed.update_leases(self.leases.all());
        self.observed.set_plan_ready(false);
        self.context.publish.send_modify(|status| status.current.clone_from(self.observed.current()));
        self.request_resync();
        self.save(RecordKind::Leases).await;
    }

    /// Whether the target or the engine has the app.
    fn has_app(&self, app: AppId) -> bool {
        self.targets.app(app).is_some() || self.observed.current().containers.iter().any(|it| it.key.app == app)
    }

    /// Whether the agent holds update locks of an app, or is taking them: for an update, for the host's configuration or for a
    /// shutdown.
    fn is_at_the_locks_of(&self, app: AppId) -> bool {
        let is_taking = || self.work.under_way().any(|it| matches!(it, Step::TakeLocks(of, ..) if *of == app));
        let has = self.observed.current().locks.get(&app).is_some_and(LockState::has_ours);
        has || is_taking() || self.observed.locks().is_lent(app) || self.shutdown.is_in_progress()
    }
}

/// When a lease ends, in seconds of the wall clock.
fn wall_end(ends_up: Duration, up: Duration, now_secs: i64) -> i64 {
    now_secs.saturating_add_unsigned(ends_up.saturating_sub(up).as_secs())
}

#[cfg(test)]
mod tests;
