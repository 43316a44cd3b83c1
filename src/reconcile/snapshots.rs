//! The data of volumes while a release is on trial: which of it is kept, and when it is put back.
//!
//! The record on the disk decides, and not what is found on the engine: a snapshot that is not in it is incomplete. It says
//! that a volume is kept before the first container of the release may start, and that it is being put back before anything of
//! it is overwritten; from then on it is put back to the end, whatever release is wanted by then. So after a power cut a volume
//! has the data of one release, whole.
//!
//! A snapshot is of the data of the last good release, and stays until a release is proven good. A further release that is
//! wanted meanwhile begins with the data as the one before it left it. The data is put back when the app is back at the good
//! release, be it by itself or because its owner wants that one again.

use tracing::{info, warn};

use crate::port::World;
use crate::reconcile::Reconciler;
use crate::reconcile::persistence::RecordKind;
use crate::reconcile::targets::TargetTracker;
use crate::sorted::{SortedMap, SortedSet};
use crate::state::volume::VolumeLocation;
use crate::state::{
    App, AppId, Current, DataDemand, DataPlan, DataState, EngineAction, KeptData, Step, Volume, VolumeSnapshot,
};

/// What is kept of the data of volumes.
#[derive(Debug, Default)]
pub(super) struct SnapshotTracker {
    kept: SortedMap<AppId, KeptData>,
    /// What is to be done, as of the last observation.
    plans: SortedMap<AppId, DataPlan>,
}

/// What the engine has.
struct Seen<'a> {
    volumes: &'a [Volume],
    snapshots: &'a [VolumeSnapshot],
    /// A copy was made since, or is being made: what was seen of its snapshot may be out of date.
    is_copied: &'a dyn Fn(AppId, &str) -> bool,
}

impl Seen<'_> {
    fn volume(&self, app: AppId, name: &str) -> Option<&Volume> {
        let name = Volume::engine_name(app, name);
        self.volumes.iter().find(|it| it.name == name)
    }

    fn has_snapshot(&self, app: AppId, name: &str) -> bool {
        self.snapshots.iter().any(|it| it.app == app && it.volume == name) || (self.is_copied)(app, name)
    }
}

impl SnapshotTracker {
    /// As stored.
    pub(super) fn new(kept: SortedMap<AppId, KeptData>) -> Self {
        Self { kept, plans: SortedMap::new() }
    }

    /// What is kept, for its record.
    pub(super) const fn record(&self) -> &SortedMap<AppId, KeptData> {
        &self.kept
    }

    /// What is to be done, as of the last observation.
    pub(super) const fn plans(&self) -> &SortedMap<AppId, DataPlan> {
        &self.plans
    }

    /// Finds out what is to be done, and drops what is of no use any more. Returns whether the record changed. `good_is_saved`:
    /// which releases are good is on the disk; until then a power cut makes an earlier one the good one again, with its data.
    fn refresh(&mut self, targets: &TargetTracker, good_is_saved: bool, seen: &Seen<'_>) -> bool {
        let before = self.kept.clone();
        self.plans.clear();
        for (app, kept) in &mut self.kept {
            drop_lost(*app, kept, seen);
            if good_is_saved {
                drop_unneeded(*app, kept, targets);
            }
        }
        for app in targets.on_trial() {
            let Some(good) = targets.good_fingerprint(app.id).filter(|it| *it != app.fingerprint()) else { continue };
            let kept = self.kept.entry(app.id).or_insert_with(|| KeptData {
                release: good.clone(),
                begun: false,
                volumes: SortedMap::new(),
            });
            if kept.release != good {
                // The data of an earlier release is being put back.
                continue;
            }
            let due = due(&app, kept, seen);
            if !due.is_empty() {
                self.plans.entry(app.id).or_default().demand = DataDemand::Keep(due);
            } else if !kept.volumes.is_empty() {
                kept.begun = true;
            }
        }
        self.kept.retain(|_, it| !it.volumes.is_empty());
        for (app, kept) in &self.kept {
            let plan = self.plans.entry(*app).or_default();
            plan.kept = kept.volumes.iter().filter(|(_, it)| it.has_snapshot()).map(|(name, _)| name.clone()).collect();
            let back = kept.put_back(targets.fingerprint_in_force(*app).as_ref() == Some(&kept.release));
            if !back.is_empty() {
                plan.demand = DataDemand::PutBack(back);
            }
        }
        for app in targets.keeping_data_beneath() {
            self.plans.entry(app).or_default().guarded = true;
        }
        for (app, plan) in &mut self.plans {
            let of_record = self.kept.get(app).map(|it| it.release.clone());
            plan.release = of_record.or_else(|| targets.good_fingerprint(*app)).unwrap_or_default();
        }
        self.kept != before
    }

    /// A volume was copied. Returns whether that is to be recorded.
    fn on_kept(&mut self, app: AppId, name: &str, release: &str) -> bool {
        let new = || KeptData { release: release.to_owned(), begun: false, volumes: SortedMap::new() };
        let kept = self.kept.entry(app).or_insert_with(new);
        let counts = kept.release == release;
        if counts {
            kept.volumes.insert(name.to_owned(), DataState::Kept);
        }
        counts
    }

    /// A volume was put back.
    fn on_put_back(&mut self, app: AppId, name: &str) {
        if let Some(kept) = self.kept.get_mut(&app) {
            kept.volumes.remove(name);
        }
    }

    /// The volumes of an app are about to be put back, all of them. Returns whether that is to be recorded first.
    fn begin_putting_back(&mut self, app: AppId) -> bool {
        let Some(kept) = self.kept.get_mut(&app) else { return false };
        let states = kept.volumes.iter_mut().map(|(_, it)| it).filter(|it| **it == DataState::Kept);
        states.map(|it| *it = DataState::PuttingBack).count() > 0
    }
}

/// What an agent would do with the data of volumes that starts with these targets and this record.
pub(super) fn plans(
    kept: SortedMap<AppId, KeptData>,
    targets: &TargetTracker,
    volumes: &[Volume],
    snapshots: &[VolumeSnapshot],
) -> SortedMap<AppId, DataPlan> {
    let mut tracker = SnapshotTracker::new(kept);
    tracker.refresh(targets, true, &Seen { volumes, snapshots, is_copied: &|_, _| false });
    tracker.plans
}

impl KeptData {
    /// The volumes to put back. `is_back`: the release whose data it is, is in force.
    fn put_back(&self, is_back: bool) -> SortedSet<String> {
        let counts = |state: DataState| match state {
            DataState::PuttingBack => true,
            DataState::Kept => is_back && self.begun,
            DataState::Absent => false,
        };
        self.volumes.iter().filter(|(_, state)| counts(**state)).map(|(name, _)| name.clone()).collect()
    }
}

/// A snapshot that is gone cannot be put back. The volume counts as one of which nothing is kept: it is not copied again, as
/// the release has begun.
fn drop_lost(app: AppId, kept: &mut KeptData, seen: &Seen<'_>) {
    for (name, state) in &mut kept.volumes {
        if state.has_snapshot() && !seen.has_snapshot(app, name) {
            warn!(%app, volume = name, "the copy of the volume's data was removed: a rollback cannot put it back");
            *state = DataState::Absent;
        }
    }
}

/// Of what was kept for a release that is no longer the one to go back to, or that was not begun, nothing is put back. What is
/// being put back is put back to the end.
fn drop_unneeded(app: AppId, kept: &mut KeptData, targets: &TargetTracker) {
    let is_back = targets.fingerprint_in_force(app).as_ref() == Some(&kept.release);
    let is_good = targets.good_fingerprint(app).as_ref() == Some(&kept.release);
    let is_needed = is_good && (!is_back || kept.begun);
    kept.volumes.retain(|_, state| match state {
        DataState::PuttingBack => true,
        DataState::Kept => is_needed,
        DataState::Absent => is_needed && !is_back,
    });
}

/// The volumes whose data is to be copied before a release begins. Those that have none are noted as such, so that they are not
/// copied once the release has filled them.
fn due(app: &App, kept: &mut KeptData, seen: &Seen<'_>) -> SortedSet<String> {
    let mut due = SortedSet::new();
    for name in app.snapshots.iter().filter(|it| !kept.volumes.contains_key(*it)).cloned().collect::<Vec<_>>() {
        match seen.volume(app.id, &name).map(|it| it.config.place()) {
            Some(VolumeLocation::Engine) => drop(due.insert(name)),
            place => {
                if place.is_some() {
                    warn!(app = %app.id, volume = name, "its data is not where the engine keeps volumes: a rollback does not put it back");
                }
                kept.volumes.insert(name, DataState::Absent);
            }
        }
    }
    due
}

impl<W: World> Reconciler<'_, W> {
    /// Finds out which data is to be copied. The record is saved before anything follows from it.
    pub(super) async fn refresh_snapshots(&mut self, current: &Current) {
        if self.targets.is_local_mode() {
            // The owner's apps stand still.
            self.snapshots.plans.clear();
            return;
        }
        let work = &self.work;
        let is_copied = |app: AppId, name: &str| {
            work.under_way().any(|step| match step {
                Step::Engine(EngineAction::KeepData(copy) | EngineAction::PutDataBack(copy)) => {
                    copy.volume.app == app && copy.name == name
                }
                _ => false,
            })
        };
        let seen = Seen { volumes: &current.volumes, snapshots: &current.snapshots, is_copied: &is_copied };
        let good_is_saved = !self.records.is_dirty(RecordKind::Targets);
        if self.snapshots.refresh(&self.targets, good_is_saved, &seen) {
            self.save(RecordKind::KeptData).await;
        }
        if self.records.is_dirty(RecordKind::KeptData) {
            // What the disk says of a snapshot must hold for as long as it says so.
            let of_plans = self.snapshots.kept.keys().chain(self.snapshots.plans.keys()).copied();
            let apps: SortedSet<_> = of_plans.chain(current.snapshots.iter().map(|it| it.app)).collect();
            for app in apps {
                self.snapshots.plans.entry(app).or_default().unsaved = true;
            }
        }
        self.publish_kept_data();
    }

    /// A step that copies data succeeded.
    pub(super) async fn on_data_copied(&mut self, action: &EngineAction) {
        match action {
            EngineAction::KeepData(copy) => {
                info!(volume = copy.volume.name, "its data is kept until the release is proven good");
                if !self.snapshots.on_kept(copy.volume.app, &copy.name, &copy.release) {
                    return;
                }
            }
            EngineAction::PutDataBack(copy) => {
                info!(volume = copy.volume.name, "its data is as it was before the release that failed");
                self.snapshots.on_put_back(copy.volume.app, &copy.name);
            }
            _ => return,
        }
        self.save(RecordKind::KeptData).await;
        self.publish_kept_data();
    }

    /// Records which volumes are about to be put back. Returns whether the record had to be saved for it.
    pub(super) async fn record_putting_back(&mut self, steps: &[Step]) -> bool {
        let mut is_new = false;
        for step in steps {
            if let Step::Engine(EngineAction::PutDataBack(copy)) = step {
                is_new |= self.snapshots.begin_putting_back(copy.volume.app);
            }
        }
        if is_new {
            self.save(RecordKind::KeptData).await;
            self.publish_kept_data();
        }
        is_new
    }

    fn publish_kept_data(&self) {
        let kept = self.snapshots.record();
        self.context.publish.send_if_modified(|status| {
            let differs = status.kept_data != *kept;
            if differs {
                status.kept_data.clone_from(kept);
            }
            differs
        });
    }
}

#[cfg(test)]
mod tests;
