//! The records that survive a power cut, and the defaults generated when none are stored.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::backoff::Backoff;
use crate::port::{BootWindow, Random, Record, Store, StoredLeases, StoredState, StoredTargets, Targets, World};
use crate::reconcile::{Reconciler, ReconcilerSettings};
use crate::sorted::{SortedMap, SortedSet};
use crate::state::boot_config::BootConfigRecord;
use crate::state::local_mode::LocalModeRecord;
use crate::state::target_trial::TargetTrialRecord;
use crate::state::{AppId, ContainerId, FailedRelease, Identity, KeptData, Keys, Secret, ServiceKey, StartCount, Status};

/// The state the agent starts with.
pub(super) struct LoadedState {
    pub(super) identity: Identity,
    /// The key in the cloud, if the device is registered in the one that is configured.
    pub(super) cloud_key: Option<Secret>,
    pub(super) keys: Keys,
    pub(super) targets: StoredTargets,
    pub(super) stopped: SortedSet<ServiceKey>,
    pub(super) awaiting: SortedMap<ContainerId, String>,
    pub(super) leases: StoredLeases,
    pub(super) boot_window: BootWindow,
    pub(super) trial: Option<StartCount>,
    pub(super) failed_releases: SortedMap<AppId, FailedRelease>,
    pub(super) kept_data: SortedMap<AppId, KeptData>,
    pub(super) boot_config: BootConfigRecord,
    pub(super) local_mode: LocalModeRecord,
    pub(super) target_trial: TargetTrialRecord,
    pub(super) unsaved: SortedSet<RecordKind>,
}

/// Retry interval after a disk failed to save a record.
const RETRY_EVERY: Duration = Duration::from_secs(10);

/// The kinds of record that are saved again when saving failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RecordKind {
    Identity,
    Keys,
    /// Before the targets, as in [`take_preloaded`].
    Pin,
    Targets,
    /// After the targets: a kept one counts for as long as they are what they were.
    TargetTrial,
    Stopped,
    Awaiting,
    LocalMode,
    Leases,
    BootWindow,
    /// Before the target changes for it.
    FailedReleases,
    /// Before a container starts that changes the data, and before it is put back.
    KeptData,
}

/// Loads what is stored, and generates and saves what is not.
pub(super) async fn load<W: World>(world: &W, settings: &ReconcilerSettings, publish: &watch::Sender<Status>) -> LoadedState {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
    let stored = loop {
        match world.store().load().await {
            Ok(stored) => break stored,
            // Starting without the stored state would give the device a new identity, and overwrite the stored one.
            Err(problem) => {
                error!(error = %problem, "cannot read the saved state; retrying");
                tokio::time::sleep(backoff.fail()).await;
            }
        }
    };
    for complaint in &stored.complaints {
        warn!("{complaint}");
    }
    publish.send_modify(|status| status.unreadable_records.clone_from(&stored.complaints));
    let mut unsaved = SortedSet::new();
    let identity = match stored.identity {
        Some(identity) => identity,
        None => new_identity(world, settings, &mut unsaved).await,
    };
    let keys = match stored.keys {
        Some(keys) => keys,
        None => new_keys(world, settings, &mut unsaved).await,
    };
    // In the cloud the device is known by its account there.
    let endpoint = settings.device.api_endpoint.as_ref();
    let account = stored.account.filter(|it| it.is_registered() && Some(&it.endpoint) == endpoint);
    let (identity, cloud_key) = match account {
        Some(account) => (Identity { uuid: account.uuid }, Some(account.key)),
        None => (identity, None),
    };
    publish.send_modify(|it| it.pin = stored.pin);
    let mut targets = stored.targets;
    if targets.wanted.is_none() {
        take_preloaded(world, &mut targets, publish, &mut unsaved).await;
    }
    let StoredState { stopped, awaiting, leases, boot_window, trial, failed_releases, kept_data, .. } = stored;
    let StoredState { boot_config, local_mode, target_trial, .. } = stored;
    LoadedState {
        identity,
        cloud_key,
        keys,
        targets,
        stopped,
        awaiting,
        leases,
        boot_window,
        trial,
        failed_releases,
        kept_data,
        boot_config,
        local_mode,
        target_trial,
        unsaved,
    }
}

/// Takes the target that the device's image was made with. Its images are this device's, as if they had been pulled.
async fn take_preloaded<W: World>(
    world: &W,
    targets: &mut StoredTargets,
    publish: &watch::Sender<Status>,
    unsaved: &mut SortedSet<RecordKind>,
) {
    match world.targets().preloaded().await {
        None => (),
        Some(Err(why)) => {
            warn!(error = %why, "the preloaded target is not accepted");
            publish.send_modify(|it| it.rejected = Some(why.to_string()));
        }
        Some(Ok(target)) => {
            for warning in &target.warnings {
                warn!("{warning}");
            }
            targets.pulled.extend(target.services().map(|(.., it)| it.image.clone()));
            // Before the target: a start between the two takes the preloaded target, and with it the pin, once more.
            let pin_is_saved = target.pin.is_none() || save(world, &Record::Pin(target.pin.clone())).await;
            if let Some(pin) = &target.pin {
                info!(commit = pin.commit, "the cloud is to pin the device on its preloaded release");
                publish.send_modify(|it| it.pin = Some(pin.clone()));
            }
            targets.wanted = Some(target);
            if !pin_is_saved {
                unsaved.extend([RecordKind::Pin, RecordKind::Targets]);
            } else if save(world, &Record::Targets(Box::new(targets.clone()))).await {
                world.targets().on_preloaded_saved().await;
            } else {
                unsaved.insert(RecordKind::Targets);
            }
        }
    }
}

async fn new_identity<W: World>(world: &W, settings: &ReconcilerSettings, unsaved: &mut SortedSet<RecordKind>) -> Identity {
    let made = || Secret::from_bytes(world.random().bytes()).reveal()[..32].to_owned();
    let identity = Identity { uuid: settings.uuid.clone().unwrap_or_else(made) };
    info!(uuid = identity.uuid, "generated the device's identity");
    if !save(world, &Record::Identity(identity.clone())).await {
        unsaved.insert(RecordKind::Identity);
    }
    identity
}

async fn new_keys<W: World>(world: &W, settings: &ReconcilerSettings, unsaved: &mut SortedSet<RecordKind>) -> Keys {
    let device = settings.device_key.clone().unwrap_or_else(|| Secret::from_bytes(world.random().bytes()));
    let keys = Keys {
        device,
        root: Secret::from_bytes(world.random().bytes()),
        generations: SortedMap::new(),
        kept: SortedMap::new(),
    };
    if !save(world, &Record::Keys(keys.clone())).await {
        unsaved.insert(RecordKind::Keys);
    }
    keys
}

/// Saves a record; returns whether it was saved. On failure the agent goes on: the state in memory is still right, until a
/// power cut.
pub(super) async fn save<W: World>(world: &W, record: &Record) -> bool {
    match world.store().save(record).await {
        Ok(()) => true,
        Err(problem) => {
            error!(error = %problem, "cannot save a record; a power cut before the retry loses it");
            false
        }
    }
}

/// The records that could not be saved yet.
#[derive(Debug)]
pub(super) struct Records {
    dirty: SortedSet<RecordKind>,
    retry_at: Instant,
}

impl Records {
    /// At the start. `dirty`: generated defaults that could not be saved.
    pub(super) fn new(dirty: SortedSet<RecordKind>) -> Self {
        Self { dirty, retry_at: Instant::now() }
    }

    /// A record changed. It is saved with those that could not be saved before.
    pub(super) fn mark(&mut self, record: RecordKind) {
        self.dirty.insert(record);
    }

    /// The unsaved records are saved at the next opportunity.
    pub(super) fn retry_now(&mut self) {
        self.retry_at = Instant::now();
    }

    /// Whether a record is not saved.
    pub(super) fn is_dirty(&self, record: RecordKind) -> bool {
        self.dirty.contains(&record)
    }

    /// The records to save now. A full disk is retried every [`RETRY_EVERY`], not at every observation.
    pub(super) fn due(&self) -> SortedSet<RecordKind> {
        if self.retry_at > Instant::now() { SortedSet::new() } else { self.dirty.clone() }
    }

    /// When unsaved records are to be saved. `None`: every record is saved.
    pub(super) fn next_retry(&self) -> Option<Instant> {
        (!self.dirty.is_empty()).then_some(self.retry_at)
    }

    /// Saves a record, or schedules a retry.
    pub(super) async fn save<W: World>(&mut self, kind: RecordKind, record: &Record, world: &W) {
        if save(world, record).await {
            self.dirty.remove(&kind);
        } else {
            self.dirty.insert(kind);
            self.retry_at = Instant::now() + RETRY_EVERY;
        }
    }
}

impl<W: World> Reconciler<'_, W> {
    /// Saves the records that could not be saved before.
    pub(super) async fn save_dirty_records(&mut self) {
        for kind in self.records.due() {
            self.save(kind).await;
        }
    }

    /// Retries the unsaved records at once: the machine is about to shut down.
    pub(super) async fn save_before_shutdown(&mut self) {
        self.records.retry_now();
        self.save_dirty_records().await;
    }

    pub(super) async fn save(&mut self, kind: RecordKind) {
        let record = match kind {
            RecordKind::Pin => Record::Pin(self.context.publish.borrow().pin.clone()),
            RecordKind::Identity => self.targets.identity_record(),
            RecordKind::Keys => self.targets.keys_record(),
            RecordKind::Targets => self.targets.targets_record(),
            RecordKind::Awaiting => Record::Awaiting(self.observed.awaiting_reboot().clone()),
            RecordKind::Leases => self.leases_record(),
            RecordKind::BootWindow => Record::BootWindow(self.windows.boot_window().clone()),
            RecordKind::FailedReleases => Record::FailedReleases(self.targets.releases().record()),
            RecordKind::Stopped => Record::Stopped(self.overrides.stopped_record()),
            RecordKind::KeptData => Record::KeptData(self.snapshots.record().clone()),
            RecordKind::TargetTrial => self.targets.trial_record(),
            RecordKind::LocalMode => Record::LocalMode(Box::new(self.targets.local_mode().record().clone())),
        };
        self.records.save(kind, &record, self.context.world).await;
    }
}
