//! The records that survive a power cut, and the defaults generated when none are stored.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::backoff::Backoff;
use crate::plan::{Step, Waiting};
use crate::port::{Clock, Random, Record, Store, StoredState, StoredTargets, World};
use crate::reconcile::{Reconciler, ReconcilerSettings};
use crate::state::{
    BootState, ContainerId, ContainerPhase, EngineAction, Identity, Image, ImageRef, Keys, Secret, ServiceKey, StartCount,
    Status,
};

/// The state the agent starts with.
pub(super) struct LoadedState {
    pub(super) identity: Identity,
    pub(super) keys: Keys,
    pub(super) targets: StoredTargets,
    pub(super) reached: bool,
    pub(super) stopped: BTreeSet<ServiceKey>,
    pub(super) awaiting: BTreeMap<ContainerId, String>,
    pub(super) trial: Option<StartCount>,
    pub(super) unsaved: BTreeSet<DirtyRecord>,
}

/// Retry interval after a disk failed to save a record.
const SAVE_EVERY: Duration = Duration::from_secs(10);

/// A record that could not be saved yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DirtyRecord {
    Identity,
    Keys,
    Targets,
    Stopped,
    Awaiting,
}

/// Loads what is stored, and generates and saves what is not.
pub(super) async fn load<W: World>(world: &W, settings: &ReconcilerSettings, publish: &watch::Sender<Status>) -> LoadedState {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
    let memory = loop {
        match world.store().load().await {
            Ok(memory) => break memory,
            // Starting without the stored state would give the device a new identity, and overwrite the stored one.
            Err(problem) => {
                error!(error = %problem, "what was saved cannot be read; it is tried again");
                tokio::time::sleep(backoff.fail()).await;
            }
        }
    };
    for complaint in &memory.complaints {
        warn!("{complaint}");
    }
    publish.send_modify(|status| status.complaints.clone_from(&memory.complaints));
    let mut unsaved = BTreeSet::new();
    let identity = match memory.identity {
        Some(identity) => identity,
        None => new_identity(world, settings, &mut unsaved).await,
    };
    let keys = match memory.keys {
        Some(keys) => keys,
        None => new_keys(world, settings, &mut unsaved).await,
    };
    let reached = memory.targets.wanted.is_some() && memory.targets.wanted == memory.targets.good;
    let StoredState { targets, stopped, awaiting, trial, .. } = memory;
    LoadedState { identity, keys, targets, reached, stopped, awaiting, trial, unsaved }
}

async fn new_identity<W: World>(world: &W, settings: &ReconcilerSettings, unsaved: &mut BTreeSet<DirtyRecord>) -> Identity {
    let made = || Secret::from_bytes(world.chance().bytes()).reveal()[..32].to_owned();
    let identity = Identity { uuid: settings.uuid.clone().unwrap_or_else(made) };
    info!(uuid = identity.uuid, "this device has an identity now");
    if !save(world, &Record::Identity(identity.clone())).await {
        unsaved.insert(DirtyRecord::Identity);
    }
    identity
}

async fn new_keys<W: World>(world: &W, settings: &ReconcilerSettings, unsaved: &mut BTreeSet<DirtyRecord>) -> Keys {
    let device = settings.device_key.clone().unwrap_or_else(|| Secret::from_bytes(world.chance().bytes()));
    let keys = Keys { device, root: Secret::from_bytes(world.chance().bytes()), generations: BTreeMap::new() };
    if !save(world, &Record::Keys(keys.clone())).await {
        unsaved.insert(DirtyRecord::Keys);
    }
    keys
}

/// Saves a record; returns whether it was saved. On failure the agent goes on: the state in memory is still right, until a
/// power cut.
pub(super) async fn save<W: World>(world: &W, record: &Record) -> bool {
    match world.store().save(record).await {
        Ok(()) => true,
        Err(problem) => {
            error!(error = %problem, "cannot save; a power cut now would lose it");
            false
        }
    }
}

impl<W: World> Reconciler<'_, W> {
    /// Records the images that a new target will pull, and forgets those neither present nor wanted, before the targets are
    /// saved.
    pub(super) fn record_expected_pulls(&mut self, images: &[Image]) {
        let is_here = |image: &ImageRef| images.iter().any(|it| it.answers_to(image));
        let services = self.targets.wanted.iter().flat_map(|it| it.apps.values()).flat_map(|it| it.services.values());
        let wanted: BTreeSet<ImageRef> = services.map(|it| it.image.clone()).collect();
        let pulling = |image: &ImageRef| {
            self.running.iter().any(|(step, _)| matches!(step, Step::Engine(EngineAction::Pull(it)) if it == image))
        };
        let mut pulled = self.targets.pulled.clone();
        pulled.retain(|image| is_here(image) || wanted.contains(image) || pulling(image));
        pulled.extend(wanted.into_iter().filter(|image| !is_here(image)));
        if pulled != self.targets.pulled {
            self.targets.pulled = pulled;
            // The target's own record may have been saved before the engine's images were known.
            self.dirty.insert(DirtyRecord::Targets);
        }
    }

    /// Before an image is pulled it is recorded as ours, so that it can be garbage-collected whatever happens afterwards.
    /// Returns whether there was anything to record.
    pub(super) async fn record_pulls(&mut self, steps: &[Step]) -> bool {
        let before = self.targets.pulled.len();
        for step in steps {
            if let Step::Engine(EngineAction::Pull(image)) = step {
                self.targets.pulled.insert(image.clone());
            }
        }
        let new = self.targets.pulled.len() != before;
        if new {
            self.save_targets().await;
        }
        new
    }

    /// Records that the target was reached.
    pub(super) async fn mark_reached(&mut self) {
        let settled = self.plan.busy.is_empty() && self.plan.steps.is_empty() && self.running.is_empty();
        if !settled || self.reached || self.target.is_none() {
            return;
        }
        self.reached = true;
        info!("the device is as wanted");
        // Images kept for a rollback may now go.
        self.request_resync();
        if self.targets.good != self.targets.wanted {
            self.targets.good.clone_from(&self.targets.wanted);
            let proved = self.targets.wanted.as_ref().map(|it| Record::Proved(it.fingerprint()));
            // A record that is not on the disk yet cannot be marked as reached there.
            let saved = match proved.filter(|_| !self.dirty.contains(&DirtyRecord::Targets)) {
                Some(proved) => save(self.world, &proved).await,
                None => false,
            };
            if !saved {
                self.save_targets().await;
            }
        }
        self.reset_start_count().await;
    }

    /// For each container that waits for a reboot: whether the reboot has happened.
    pub(super) fn awaited_boots(&self) -> BTreeMap<ContainerId, BootState> {
        let now = self.world.clock().boot_id();
        let boot = |seen: &String| if *seen == now { BootState::NotYet } else { BootState::Done };
        self.awaiting_reboot.iter().map(|(id, seen)| (id.clone(), boot(seen))).collect()
    }

    /// Records which containers wait for the next boot, by boot id, so that no correct clock is needed to tell that boot from
    /// this one.
    pub(super) async fn record_awaiting_reboot(&mut self) {
        let now = self.world.clock().boot_id();
        let mut awaiting = self.awaiting_reboot.clone();
        awaiting.retain(|id, _| self.current.containers.iter().any(|it| it.id == *id));
        for waiting in self.plan.waiting.iter().filter(|_| !now.is_empty()) {
            let Waiting::Boot(key) = waiting else { continue };
            for container in self.current.containers.iter().filter(|it| it.key == *key && it.phase == ContainerPhase::Created) {
                awaiting.entry(container.id.clone()).or_insert_with(|| now.clone());
            }
        }
        if awaiting != self.awaiting_reboot {
            self.awaiting_reboot = awaiting;
            self.save_one(DirtyRecord::Awaiting).await;
        }
    }

    pub(super) async fn save_targets(&mut self) {
        self.save_one(DirtyRecord::Targets).await;
    }

    /// Saves which services the user stopped, and which are still to be restarted.
    pub(super) async fn save_stopped(&mut self) {
        self.save_one(DirtyRecord::Stopped).await;
    }

    /// Saves the records that could not be saved before. A full disk is retried every `SAVE_EVERY`, not at every observation.
    pub(super) async fn retry_saves(&mut self) {
        if self.save_after > Instant::now() {
            return;
        }
        for what in self.dirty.clone() {
            self.save_one(what).await;
        }
    }

    /// Retries the unsaved records at once: the machine is about to shut down.
    pub(super) async fn save_before_shutdown(&mut self) {
        self.save_after = Instant::now();
        self.retry_saves().await;
    }

    async fn save_one(&mut self, what: DirtyRecord) {
        let record = match what {
            DirtyRecord::Identity => Record::Identity(Identity { uuid: self.device.uuid.clone() }),
            DirtyRecord::Keys => Record::Keys(self.keys.clone()),
            DirtyRecord::Targets => Record::Targets(Box::new(self.targets.clone())),
            DirtyRecord::Awaiting => Record::Awaiting(self.awaiting_reboot.clone()),
            DirtyRecord::Stopped => Record::Stopped(self.overrides.stopped.union(&self.restart_after_stop).cloned().collect()),
        };
        if save(self.world, &record).await {
            self.dirty.remove(&what);
        } else {
            self.dirty.insert(what);
            self.save_after = Instant::now() + SAVE_EVERY;
        }
    }
}
