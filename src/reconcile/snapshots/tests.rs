use super::*;
use crate::reconcile::targets::tests::{on_trial, target};
use crate::reconcile::testing::{APP, TestWorld};
use crate::state::target_trial::{BootTime, TargetTrialRecord, TrialTime, TriedTarget};
use crate::state::{FailedRelease, Target, VolumeConfig};

/// A release with a volume whose data goes back too.
fn release(version: u32) -> Target {
    let mut target = target(&format!("web web:{version} volume:data"));
    target.apps.get_mut(&APP).unwrap().snapshots.insert("data".to_owned());
    target
}

/// The second release is wanted, and the first is good.
fn second_on_trial() -> TargetTracker {
    on_trial(release(2), Some(release(1)))
}

/// The fingerprint of a release of the app.
fn fingerprint(version: u32) -> String {
    release(version).apps[&APP].fingerprint()
}

/// The wanted release has failed.
fn fail(targets: &mut TargetTracker) {
    let app = targets.on_trial().remove(0);
    let failed = FailedRelease { fingerprint: app.fingerprint(), commit: None, at_secs: 0, cause: None, services: Vec::new() };
    targets.releases_mut().fail(APP, failed);
}

/// What the engine has: the volume, if it is filled, and its snapshot.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Has {
    Nothing,
    Volume,
    Both,
}

impl SnapshotTracker {
    /// Refreshes, with what the engine has. Returns whether the record changed.
    fn sees(&mut self, targets: &TargetTracker, has: Has) -> bool {
        self.sees_unless_saved(targets, has, true)
    }

    fn sees_unless_saved(&mut self, targets: &TargetTracker, has: Has, good_is_saved: bool) -> bool {
        let volume = Volume { name: Volume::engine_name(APP, "data"), app: APP, config: VolumeConfig::default() };
        let name = VolumeSnapshot::engine_name(APP, "data");
        let snapshot = VolumeSnapshot { name, app: APP, volume: "data".to_owned() };
        let volumes = if has == Has::Nothing { Vec::new() } else { vec![volume] };
        let snapshots = if has == Has::Both { vec![snapshot] } else { Vec::new() };
        self.refresh(targets, good_is_saved, &Seen { volumes: &volumes, snapshots: &snapshots, is_copied: &|_, _| false })
    }

    fn demand(&self) -> DataDemand {
        self.plans.get(&APP).map(|it| it.demand.clone()).unwrap_or_default()
    }

    /// What is recorded of the volume.
    fn state(&self) -> Option<DataState> {
        self.kept.get(&APP)?.volumes.get("data").copied()
    }
}

fn data() -> SortedSet<String> {
    ["data".to_owned()].into()
}

/// The data was copied, and the second release has begun.
fn begun(targets: &TargetTracker) -> SnapshotTracker {
    let mut tracker = SnapshotTracker::default();
    tracker.sees(targets, Has::Volume);
    assert!(tracker.on_kept(APP, "data", &fingerprint(1)));
    tracker.sees(targets, Has::Both);
    tracker
}

#[test]
fn data_is_copied_before_a_release_on_trial_begins_and_no_other() {
    let (mut tracker, targets) = (SnapshotTracker::default(), second_on_trial());
    assert!(!tracker.sees(&targets, Has::Volume), "nothing is recorded before it is copied");
    assert_eq!((tracker.demand(), tracker.plans[&APP].release.clone()), (DataDemand::Keep(data()), fingerprint(1)));
    assert!(tracker.on_kept(APP, "data", &fingerprint(1)));
    assert!(tracker.sees(&targets, Has::Both), "from now on the release may begin, and that is recorded");
    assert_eq!((tracker.demand(), tracker.plans[&APP].kept.clone()), (DataDemand::Nothing, data()));
    assert!(tracker.record()[&APP].begun && !tracker.sees(&targets, Has::Both));
    for proven in [on_trial(release(1), Some(release(1))), on_trial(release(1), None)] {
        let mut tracker = SnapshotTracker::default();
        assert!(!tracker.sees(&proven, Has::Volume) && tracker.plans().is_empty(), "nothing is on trial, or none is good");
    }
}

#[test]
fn a_volume_without_data_is_noted_and_not_copied_once_the_release_has_filled_it() {
    let (mut tracker, targets) = (SnapshotTracker::default(), second_on_trial());
    assert!(tracker.sees(&targets, Has::Nothing));
    assert_eq!((tracker.state(), tracker.demand()), (Some(DataState::Absent), DataDemand::Nothing));
    tracker.sees(&targets, Has::Volume);
    assert_eq!((tracker.state(), tracker.demand()), (Some(DataState::Absent), DataDemand::Nothing));
}

#[test]
fn data_is_put_back_when_the_app_is_back_and_to_the_end_whatever_is_wanted_then() {
    let mut targets = second_on_trial();
    let mut tracker = begun(&targets);
    fail(&mut targets);
    tracker.sees(&targets, Has::Both);
    assert_eq!(tracker.demand(), DataDemand::PutBack(data()));
    assert!(tracker.begin_putting_back(APP) && !tracker.begin_putting_back(APP), "it is recorded once");
    // A further release is wanted in the middle of it.
    let mut tracker = SnapshotTracker::new(tracker.record().clone());
    tracker.sees(&on_trial(release(3), Some(release(1))), Has::Both);
    assert_eq!((tracker.demand(), tracker.state()), (DataDemand::PutBack(data()), Some(DataState::PuttingBack)));
    tracker.on_put_back(APP, "data");
    assert!(tracker.sees(&targets, Has::Both), "and then nothing is kept");
    assert!(tracker.record().is_empty() && tracker.plans().is_empty());
}

#[test]
fn data_of_a_release_that_never_began_is_not_put_back() {
    let mut tracker = SnapshotTracker::default();
    tracker.sees(&second_on_trial(), Has::Volume);
    assert!(tracker.on_kept(APP, "data", &fingerprint(1)));
    // Its owner wants the good one again before it began.
    assert!(tracker.sees(&on_trial(release(1), Some(release(1))), Has::Both));
    assert!(tracker.record().is_empty() && tracker.plans().is_empty());
}

#[test]
fn a_copy_is_dropped_once_the_release_is_good_and_the_disk_says_so() {
    let mut targets = second_on_trial();
    let mut tracker = begun(&targets);
    targets.prove(APP);
    assert!(!tracker.sees_unless_saved(&targets, Has::Both, false));
    assert_eq!(tracker.state(), Some(DataState::Kept), "after a power cut the first one would be the good one");
    assert!(tracker.sees(&targets, Has::Both) && tracker.record().is_empty());
}

#[test]
fn a_copy_that_is_gone_is_neither_put_back_nor_made_of_what_the_release_left() {
    let mut targets = second_on_trial();
    let mut tracker = begun(&targets);
    assert!(tracker.sees(&targets, Has::Volume));
    assert_eq!((tracker.state(), tracker.demand()), (Some(DataState::Absent), DataDemand::Nothing));
    fail(&mut targets);
    tracker.sees(&targets, Has::Volume);
    assert_eq!(tracker.demand(), DataDemand::Nothing);
}

#[test]
fn a_copy_of_another_release_than_the_one_that_is_kept_does_not_count() {
    let mut tracker = begun(&second_on_trial());
    assert!(!tracker.on_kept(APP, "data", &fingerprint(7)));
    assert_eq!(tracker.record()[&APP].release, fingerprint(1));
}

#[test]
fn an_agent_that_starts_plans_the_copy_for_a_preview() {
    let volume = Volume { name: Volume::engine_name(APP, "data"), app: APP, config: VolumeConfig::default() };
    let plans = plans(SortedMap::new(), &second_on_trial(), &[volume], &[]);
    assert_eq!(plans[&APP].demand, DataDemand::Keep(data()));
}

/// The target on trial names no such volume, or another app altogether.
#[tokio::test]
async fn a_trial_guards_the_data_that_the_target_beneath_keeps() {
    let world = TestWorld::default();
    let mut targets = second_on_trial();
    let mut tracker = SnapshotTracker::default();
    let is_guarded = |tracker: &mut SnapshotTracker, targets: &TargetTracker| {
        tracker.sees(targets, Has::Volume);
        tracker.plans.get(&APP).is_some_and(|it| it.guarded)
    };
    assert!(!is_guarded(&mut tracker, &targets), "its own rules are enough");
    let time = TrialTime::begin(600, &BootTime { boot_id: "a".to_owned(), up_secs: 0 });
    let tried = TriedTarget { target: target("web web:3"), time, over: release(2).fingerprint() };
    targets.set_trial(TargetTrialRecord { tried: Some(tried), kept: None }, &world.publish);
    assert!(is_guarded(&mut tracker, &targets));
    assert_eq!(tracker.demand(), DataDemand::Nothing);
    targets.end_trial(&world.publish);
    assert!(!is_guarded(&mut tracker, &targets));
}
