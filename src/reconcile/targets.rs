//! The targets: the wanted one, the last good one, and what this device makes of the wanted one.

use std::sync::Arc;

use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::plan::{ConfigHashes, changes, check_contracts, grants, inject_supervisor_env, leave_out_unmet};
use crate::port::{Record, StoredTargets, World};
use crate::reconcile::crash_loop::CrashLoopGuard;
use crate::reconcile::local_mode::LocalModeTracker;
use crate::reconcile::persistence::save;
use crate::reconcile::releases::ReleaseTracker;
use crate::reconcile::{Context, ReconcilerSettings};
use crate::request::Refusal;
use crate::sorted::{SortedMap, SortedSet};
use crate::state::cloud::CloudAccount;
use crate::state::history::FieldChange;
use crate::state::host::HostAddresses;
use crate::state::keys::DeviceAction;
use crate::state::local_mode::LocalModeRecord;
use crate::state::switch::is_on;
use crate::state::target_trial::TargetTrialRecord;
use crate::state::{
    Activity, App, AppId, Caller, ConnectivityCheck, Device, EngineAction, Force, Identity, Image, ImageRef, Keys, Secret,
    ServiceKey, StartCount, Status, Step, Target,
};

/// The targets, and the identity and the keys with which the wanted one is completed.
pub(super) struct TargetTracker {
    device: Device,
    keys: Keys,
    /// The targets as stored: the wanted one, the last good one, and the images pulled for them.
    stored: StoredTargets,
    /// The wanted target was reached once.
    reached: bool,
    /// The wanted target, with the supervisor's environment injected. `None` until a target is known.
    completed: Option<Arc<Target>>,
    /// Configuration hashes of `completed`.
    hashes: ConfigHashes,
    /// Whether `completed` changed since the last plan.
    changed: bool,
    /// How services differ from what they were before they were last changed.
    changes: SortedMap<ServiceKey, Vec<FieldChange>>,
    crash_loop: CrashLoopGuard,
    releases: ReleaseTracker,
    /// Whether update locks are always overridden, as configured.
    force: Force,
    /// Device-wide actions that the services' API keys may be used for.
    service_verbs: SortedSet<DeviceAction>,
    local_mode: LocalModeTracker,
    /// What is on trial or kept, in place of `stored.wanted`.
    trial: TargetTrialRecord,
    /// A trial ended, and what ran before is not reached yet.
    is_returning: bool,
}

impl TargetTracker {
    /// The targets as stored. Nothing is published before [`TargetTracker::start`].
    pub(super) fn new(
        settings: ReconcilerSettings,
        identity: Identity,
        keys: Keys,
        stored: StoredTargets,
        trial: Option<StartCount>,
    ) -> Self {
        let device = Device { uuid: identity.uuid, ..settings.device };
        let reached = stored.wanted.is_some() && stored.wanted == stored.last_good;
        Self {
            device,
            keys,
            stored,
            reached,
            completed: None,
            hashes: ConfigHashes::default(),
            changed: false,
            changes: SortedMap::new(),
            crash_loop: CrashLoopGuard::new(trial),
            releases: ReleaseTracker::new(settings.rollback),
            force: settings.force,
            service_verbs: settings.service_verbs,
            local_mode: LocalModeTracker::new(LocalModeRecord::default()),
            trial: TargetTrialRecord::default(),
            is_returning: false,
        }
    }

    /// The same, with what is remembered of local mode.
    pub(super) fn with_local_mode(self, record: LocalModeRecord) -> Self {
        Self { local_mode: LocalModeTracker::new(record), ..self }
    }

    /// Counts this start, if something of the sources' target was never proven. Returns whether there were too many.
    pub(super) async fn count_start<W: World>(&mut self, context: &Context<'_, W>) -> bool {
        let sources = self.stored.wanted.as_ref().filter(|_| self.trial.in_force().is_none());
        let is_tried = !self.reached && (!self.is_rolled_back() || self.has_unproven());
        let Some(wanted) = sources.filter(|_| is_tried) else { return false };
        self.crash_loop.count_start(wanted, context).await;
        self.crash_loop.is_over(wanted)
    }

    /// Refuses the sources' target for its crash loop. What proved good last takes its place.
    pub(super) fn refuse(&mut self, publish: &watch::Sender<Status>) {
        let good = self.good_target();
        let refused = std::mem::replace(&mut self.stored.wanted, good);
        self.reached = self.stored.wanted.is_some();
        if let Some(refused) = &refused {
            self.crash_loop.refuse(refused);
        }
        self.publish_refusal(refused.as_ref(), publish);
    }

    /// The agent starts with what is in force: publishes it.
    pub(super) fn start(&mut self, publish: &watch::Sender<Status>) {
        if let Some(target) = self.wanted() {
            publish_check(None, target, publish);
        }
        self.complete(publish);
    }

    /// The wanted target, completed.
    pub(super) const fn completed(&self) -> Option<&Arc<Target>> {
        self.completed.as_ref()
    }

    /// Configuration hashes of the completed target.
    pub(super) const fn hashes(&self) -> &ConfigHashes {
        &self.hashes
    }

    /// How services differ from what they were before they were last changed in this run of the agent.
    pub(super) const fn changes(&self) -> &SortedMap<ServiceKey, Vec<FieldChange>> {
        &self.changes
    }

    /// The last target that was reached.
    pub(super) const fn last_good(&self) -> Option<&Target> {
        self.stored.last_good.as_ref()
    }

    /// An app of the target.
    pub(super) fn app(&self, app: AppId) -> Option<&App> {
        self.completed.as_ref()?.apps.get(&app)
    }

    /// The device's unique id.
    pub(super) fn uuid(&self) -> &str {
        &self.device.uuid
    }

    /// The record of the device's identity.
    pub(super) fn identity_record(&self) -> Record {
        Record::Identity(Identity { uuid: self.device.uuid.clone() })
    }

    /// The record of the API keys.
    pub(super) fn keys_record(&self) -> Record {
        Record::Keys(self.keys.clone())
    }

    /// The record of the targets.
    pub(super) fn targets_record(&self) -> Record {
        Record::Targets(Box::new(self.stored.clone()))
    }

    /// Whether update locks are always overridden.
    pub(super) fn force(&self) -> Force {
        if self.setting("SUPERVISOR_OVERRIDE_LOCK") || self.setting("OVERRIDE_LOCK") { Force::Yes } else { self.force }
    }

    /// Whether the wanted target was reached once.
    pub(super) const fn is_reached(&self) -> bool {
        self.reached
    }

    /// Whether the completed target changed since the last call of [`TargetTracker::take_changed`].
    pub(super) const fn has_changed(&self) -> bool {
        self.changed
    }

    /// As [`TargetTracker::has_changed`]; from now on it counts as planned for.
    pub(super) const fn take_changed(&mut self) -> bool {
        std::mem::replace(&mut self.changed, false)
    }

    /// Accepts a new target, which must be completed next. Returns whether it differs from the wanted one and is not refused
    /// for its crash loop.
    pub(super) async fn accept<W: World>(&mut self, target: Target, context: &Context<'_, W>) -> bool {
        // One that is in force was not refused: its releases failed, and the count may still be on the disk.
        let is_in_force = self.stored.wanted.as_ref() == Some(&target);
        if !is_in_force && self.crash_loop.is_over(&target) {
            self.crash_loop.refuse(&target);
            self.publish_refusal(Some(&target), context.publish);
            return false;
        }
        if let Err(error) = check_contracts(&target, &self.device) {
            warn!(%error, "the target was not accepted; the last good one stays");
            publish_rejection(error.to_string(), &target, context.publish);
            return false;
        }
        context.publish.send_modify(|it| {
            it.rejected = None;
            it.rejected_releases.clear();
        });
        if is_in_force {
            return false;
        }
        for warning in &target.warnings {
            warn!("{warning}");
        }
        if target.pin.is_some() {
            warn!("`pinDevice` is ignored: only that of a preloaded `apps.json` pins the device; pin it in the cloud");
        }
        let apps: Vec<String> =
            target.apps.values().map(|it| format!("{} ({} services)", it.name, it.services.len())).collect();
        info!(apps = apps.join(", "), "a new target");
        if self.is_on_trial() {
            info!("it is applied when the trial of a target ends");
            self.stored.wanted = Some(target);
            return true;
        }
        self.is_returning = false;
        self.reached = self.stored.last_good.as_ref() == Some(&target);
        publish_check(self.wanted(), &target, context.publish);
        self.stored.wanted = Some(target);
        self.warn_of_vain_snapshots();
        self.crash_loop.reset(context).await;
        true
    }

    /// The target that was refused for its crash loop, to be tried once more. Its starts are counted anew.
    pub(super) async fn take_refused<W: World>(&mut self, context: &Context<'_, W>) -> Option<Target> {
        let target = self.crash_loop.take_refused()?;
        self.crash_loop.reset(context).await;
        Some(target)
    }

    /// Completes the wanted target with the environment this device gives its containers, and publishes it with what each API
    /// key authorizes.
    pub(super) fn complete(&mut self, publish: &watch::Sender<Status>) {
        let before = self.completed.take();
        let says = self.target_says_local_mode();
        let in_force = self.local_mode.in_force(self.with_rollbacks().as_ref(), says);
        self.completed = in_force.map(|it| Arc::new(self.completed_from(it)));
        if let (Some(before), Some(now)) = (before, &self.completed) {
            self.changes.retain(|key, _| now.service(key).is_some());
            for (service, fields) in changes(&before, now) {
                let names: Vec<_> = fields.iter().map(|it| it.field.as_str()).collect();
                info!(%service, fields = names.join(", "), "its configuration changed");
                self.changes.insert(service, fields);
            }
        }
        self.hashes = self.completed.as_deref().map(ConfigHashes::of).unwrap_or_default();
        let services = self.completed.as_deref().map(grants).unwrap_or_default();
        let mut access = self.keys.access(services);
        access.local_mode = self.is_local_mode();
        access.service_verbs.clone_from(&self.service_verbs);
        publish.send_modify(|status| {
            status.device.clone_from(&self.device);
            status.access = access;
            status.device_key = Some(self.keys.device.clone());
            status.target.clone_from(&self.completed);
            status.local_mode = self.local_mode.status(says);
        });
    }

    /// Whether the owner's target asks for local mode.
    pub(super) fn target_says_local_mode(&self) -> bool {
        self.setting("SUPERVISOR_LOCAL_MODE")
    }

    /// Whether local mode is on.
    pub(super) fn is_local_mode(&self) -> bool {
        self.local_mode.is_on(self.target_says_local_mode())
    }

    /// Local mode.
    pub(super) const fn local_mode(&self) -> &LocalModeTracker {
        &self.local_mode
    }

    /// Changes local mode, given what the owner's target says of it.
    pub(super) fn follow_local_mode<T>(&mut self, change: impl FnOnce(&mut LocalModeTracker, bool) -> T) -> T {
        let says = self.target_says_local_mode();
        change(&mut self.local_mode, says)
    }

    /// The pushed apps, if local mode was left and they are still to be removed.
    pub(super) fn leaving(&self) -> SortedSet<AppId> {
        self.local_mode.leaving(self.target_says_local_mode())
    }

    /// A target as this device runs it: without optional services that it cannot run, and with what its containers are given.
    fn completed_from(&self, mut target: Target) -> Target {
        for left_out in leave_out_unmet(&mut target, &self.device) {
            warn!("{left_out}");
        }
        inject_supervisor_env(&target, &self.device, &self.keys)
    }

    /// As [`TargetTracker::complete`], after a change that has to be planned for. Until then the device counts as busy: a
    /// client that asks right after its push must not learn that all is done.
    pub(super) fn complete_changed(&mut self, publish: &watch::Sender<Status>) {
        self.complete(publish);
        self.changed = true;
        if self.completed.is_some() {
            publish.send_modify(|it| it.activity = Activity::Applying);
        }
    }

    /// The device's account in the cloud. Returns whether containers are given another environment.
    pub(super) fn set_account(&mut self, account: Option<&CloudAccount>) -> bool {
        let mut device = self.device.clone();
        if let Some(account) = account {
            device.uuid.clone_from(&account.uuid);
        }
        device.api_endpoint = account.map(|it| it.endpoint.clone());
        device.cloud_key = account.map(|it| it.key.clone());
        let differs = device != self.device;
        self.device = device;
        differs
    }

    /// The device's addresses changed.
    pub(super) fn set_addresses(&mut self, HostAddresses { ips, macs }: HostAddresses, publish: &watch::Sender<Status>) {
        info!(addresses = ips.join(" "), "the device's addresses");
        self.device.ip_addresses = ips;
        self.device.mac_address = macs;
        publish.send_modify(|it| it.device.clone_from(&self.device));
    }

    /// The keys after the caller's key is regenerated, and its new key.
    pub(super) fn renewed_keys(&self, caller: Caller, random: impl FnOnce() -> Secret) -> Result<(Keys, Secret), Refusal> {
        let mut keys = self.keys.clone();
        let key = match caller {
            // Local mode ends; a key handed out by it would stay valid.
            Caller::Local => return Err(Refusal::UnknownKey),
            Caller::Device => {
                keys.device = random();
                keys.device.clone()
            }
            Caller::Service { key, .. } => {
                let app = self.app(key.app).ok_or(Refusal::UnknownKey)?;
                keys.renew(&key);
                keys.of(&key, &app.uuid)
            }
        };
        Ok((keys, key))
    }

    /// Replaces the keys: services have to be given their new ones.
    pub(super) fn set_keys(&mut self, keys: Keys) {
        self.keys = keys;
        self.reached = false;
    }

    /// Records the images that a new target will pull, and forgets those neither present nor wanted. Returns whether there was
    /// anything to record.
    pub(super) fn record_expected_pulls(&mut self, images: &[Image], is_pulling: impl Fn(&ImageRef) -> bool) -> bool {
        let is_here = |image: &ImageRef| images.iter().any(|it| it.answers_to(image));
        let kept = self.trial.kept.as_ref().map(|it| &it.target);
        let services = self.wanted().into_iter().chain(kept).chain(&self.stored.wanted).flat_map(Target::services);
        let wanted: SortedSet<ImageRef> = services.map(|(.., it)| it.image.clone()).collect();
        let mut pulled = self.stored.pulled.clone();
        pulled.retain(|image| is_here(image) || wanted.contains(image) || is_pulling(image));
        pulled.extend(wanted.into_iter().filter(|image| !is_here(image)));
        let new = pulled != self.stored.pulled;
        self.stored.pulled = pulled;
        new
    }

    /// Records that these steps pull images for this device. Returns whether there was anything to record.
    pub(super) fn record_pulls(&mut self, steps: &[Step]) -> bool {
        let before = self.stored.pulled.len();
        for step in steps {
            if let Step::Engine(EngineAction::Pull(image)) = step {
                self.stored.pulled.insert(image.clone());
            }
        }
        self.stored.pulled.len() != before
    }

    /// Records images as this device's, to be deleted once nothing needs them. Returns whether there was anything to record.
    pub(super) fn remember_pulled(&mut self, images: SortedSet<ImageRef>) -> bool {
        let before = self.stored.pulled.len();
        self.stored.pulled.extend(images);
        self.stored.pulled.len() != before
    }

    /// An image was deleted, or is left to the foreign container that uses it.
    pub(super) fn forget_pulled(&mut self, image: &ImageRef) {
        self.stored.pulled.remove(image);
    }

    /// Images to delete once no app wants them. Those of the last good target stay until the new one is reached, so that a
    /// rollback needs no network; unless the space is needed, or a service has the strategy `delete-then-download`.
    pub(super) fn removable_images(&self, is_out_of_space: bool) -> SortedSet<ImageRef> {
        let mut removable = self.stored.pulled.clone();
        let keeps = |app: AppId| !is_out_of_space || self.rolls_back(app);
        let good = self.good_services().filter(|(app, ..)| !self.reached && keeps(app.id));
        for (app, name, service) in good {
            if !self.makes_room(app.id, name) {
                removable.remove(&service.image);
            }
        }
        let beneath = self.images_beneath();
        removable.retain(|it| !beneath.contains(it));
        removable
    }

    /// The wanted target was reached: it becomes the last good one. A mark beside the saved record says so. Returns whether the
    /// record has to be saved instead: `is_dirty`, so that it is not on the disk, or the disk did not take the mark.
    pub(super) async fn mark_reached<W: World>(&mut self, is_dirty: bool, context: &Context<'_, W>) -> bool {
        self.reached = true;
        info!("the device is as wanted");
        // A target on trial is none to go back to.
        if self.is_on_trial() || self.stored.last_good.as_ref() == self.wanted() {
            return false;
        }
        self.stored.last_good = self.wanted().cloned();
        let has_good_apps = !std::mem::take(&mut self.stored.good_apps).is_empty();
        if self.trial.kept.is_some() {
            // A mark says it of the sources' target only.
            return true;
        }
        let proved = self.stored.wanted.as_ref().map(|it| Record::Proved(it.fingerprint()));
        // A record that is not on the disk yet cannot be marked as reached there.
        match proved.filter(|_| !is_dirty && !has_good_apps) {
            Some(proved) => !save(context.world, &proved).await,
            None => true,
        }
    }

    /// Why the last good target is in force, and not the one that was sent last. `None`: that one is.
    pub(super) fn refusal(&self) -> Option<String> {
        let starts = StartCount::MAX_STARTS;
        self.crash_loop.has_refused().then(|| format!("the agent or the board ended {starts} times in a row with the new one"))
    }

    /// The crash-loop guard of the wanted target.
    pub(super) const fn crash_loop(&mut self) -> &mut CrashLoopGuard {
        &mut self.crash_loop
    }

    /// A device-wide boolean setting of the target.
    fn setting(&self, name: &str) -> bool {
        let value = self.wanted().and_then(|it| it.config.get(name));
        value.is_some_and(|it| is_on(it))
    }

    fn publish_refusal(&self, refused: Option<&Target>, publish: &watch::Sender<Status>) {
        let kept = match &self.stored.wanted {
            Some(good) => {
                let apps: Vec<_> = good.apps.values().map(|it| it.name.as_str()).collect();
                format!("the last good one is kept ({})", apps.join(", "))
            }
            None => "there is no good one, so containers stay as they are".to_owned(),
        };
        let why = format!(
            "the agent ended {} times in a row with this target before it was reached; {kept}. Change the target, or ask for an \
             update (POST /v1/update) to try it once more",
            StartCount::MAX_STARTS
        );
        error!("{why}");
        publish_rejection(why, refused.unwrap_or(&Target::default()), publish);
    }
}

/// Publishes that a target is rejected, and which releases it names.
fn publish_rejection(why: String, target: &Target, publish: &watch::Sender<Status>) {
    let commits = target.apps.values().filter_map(|it| Some((it.uuid.clone(), it.commit.clone()?)));
    publish.send_modify(|it| {
        it.rejected = Some(why);
        it.rejected_releases = commits.collect();
    });
}

/// The target's setting of the connectivity check holds until a request changes it, or a target with another setting arrives.
fn publish_check(before: Option<&Target>, target: &Target, publish: &watch::Sender<Status>) {
    if let Some(check) = ConnectivityCheck::changed(before, target) {
        publish.send_modify(|it| it.check = check);
    }
}

mod good;
#[cfg(test)]
pub(super) mod tests;
mod trial;
