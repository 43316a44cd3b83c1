//! What the reconciler would do to a device for a target, with the reasons, without doing it: the same planner over the same
//! observation, from a process of its own beside a running agent.

use std::time::Duration;

use crate::plan::{Reasons, changes, check_contracts, forecast, inject_supervisor_env, leave_out_unmet};
use crate::port::{Clock, Engine, Locks, StoredState, StoredTargets};
use crate::reconcile::observed::add_containers;
use crate::reconcile::targets::TargetTracker;
use crate::reconcile::{ReconcilerSettings, snapshots};
use crate::sorted::{SortedMap, SortedSet};
use crate::state::release::trial_text;
use crate::state::{
    AppId, BootState, Current, Device, Force, Identity, Keys, LockHolders, Overrides, ReleaseTrial, Secret, Target,
};

/// What would be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preview {
    /// The steps, in order.
    pub steps: Vec<PreviewStep>,
    /// What would then be waited for.
    pub waiting: Vec<String>,
    /// Services that the device would leave out.
    pub left_out: Vec<String>,
}

/// A step that would be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviewStep {
    /// From 1: steps of one number run side by side, after those of the number before.
    pub wave: usize,
    /// The step, as the log names it.
    pub what: String,
    /// Why it is taken.
    pub why: String,
}

/// What a preview is made from, beside the engine and the locks.
#[derive(Debug, Clone)]
pub struct PreviewInput {
    /// Facts about the device, as the agent would have them.
    pub device: Device,
    /// What the agent keeps.
    pub stored: StoredState,
    /// The target to plan for.
    pub target: Target,
    /// Whether update locks are always overridden, as configured.
    pub force: Force,
    /// Whether an app goes back to its last good release when a new one fails, as configured.
    pub rollback: bool,
}

/// Plans for a target. Error: the engine or the locks cannot be read, or the device does not accept the target.
pub async fn preview(
    engine: &impl Engine,
    locks: &impl Locks,
    clock: &impl Clock,
    input: PreviewInput,
) -> Result<Preview, String> {
    let PreviewInput { mut device, stored, target, force, rollback } = input;
    if let Some(identity) = &stored.identity {
        device.uuid.clone_from(&identity.uuid);
    }
    let account = stored.account.as_ref().filter(|it| it.is_registered() && Some(&it.endpoint) == device.api_endpoint.as_ref());
    if let Some(account) = account {
        device.uuid.clone_from(&account.uuid);
        device.cloud_key = Some(account.key.clone());
    }
    check_contracts(&target, &device).map_err(|why| why.0)?;
    let nothing = || Keys {
        device: Secret::new(String::new()),
        root: Secret::new(String::new()),
        generations: SortedMap::new(),
        kept: SortedMap::new(),
    };
    let keys = stored.keys.clone().unwrap_or_else(nothing);
    let complete = |target: &Target| {
        let mut target = target.clone();
        let left_out = leave_out_unmet(&mut target, &device);
        (inject_supervisor_env(&target, &device, &keys), left_out)
    };
    let targets = tracker(&stored, &device, &keys, target, rollback);
    let (target, left_out) = complete(&targets.with_rollbacks().unwrap_or_default());
    let before = stored.targets.wanted.as_ref().map(|it| complete(it).0);
    let mut current = observe(engine, locks, clock, &stored, &target).await?;
    current.data = snapshots::plans(stored.kept_data, &targets, &current.volumes, &current.snapshots);
    let force = if force == Force::Yes { target.apps.keys().copied().collect() } else { SortedSet::new() };
    let without_hooks = targets.going_back();
    let overrides = Overrides { stopped: stored.stopped, force, without_hooks, ..Overrides::default() };
    let forecast = forecast(&target, &overrides, &current);
    let changes: SortedMap<_, _> = before.iter().flat_map(|it| changes(it, &target)).collect();
    let reasons = Reasons { target: &target, current: &current, overrides: &overrides, changes: &changes };
    let mut steps = Vec::new();
    for (at, wave) in forecast.waves.iter().enumerate() {
        steps.extend(wave.iter().map(|it| PreviewStep { wave: at + 1, what: it.to_string(), why: reasons.of(it).1.text() }));
    }
    let waiting = given_up(&targets, &target).chain(forecast.waiting.iter().map(ToString::to_string)).collect();
    Ok(Preview { steps, waiting, left_out })
}

/// The targets of an agent that is given this one.
fn tracker(stored: &StoredState, device: &Device, keys: &Keys, target: Target, rollback: bool) -> TargetTracker {
    let settings = ReconcilerSettings {
        observe_every: Duration::ZERO,
        device: device.clone(),
        uuid: None,
        device_key: None,
        force: Force::No,
        update_window: None,
        rollback,
        service_verbs: SortedSet::new(),
    };
    let targets = StoredTargets { wanted: Some(target), ..stored.targets.clone() };
    let identity = Identity { uuid: device.uuid.clone() };
    TargetTracker::new(settings, identity, keys.clone(), targets, None).with_failed_releases(stored.failed_releases.clone())
}

/// Releases that are not begun, because they failed before.
fn given_up<'a>(targets: &TargetTracker, target: &'a Target) -> impl Iterator<Item = String> + use<'a> {
    targets.trials().into_iter().filter_map(|(id, trial)| {
        let trial = trial.filter(|it| matches!(it, ReleaseTrial::RolledBack(..)))?;
        trial_text(&target.apps.get(&id)?.name, id, &trial)
    })
}

/// The machine as it is, read only.
async fn observe(
    engine: &impl Engine,
    locks: &impl Locks,
    clock: &impl Clock,
    stored: &StoredState,
    target: &Target,
) -> Result<Current, String> {
    let seen = engine.observe().await.map_err(|why| {
        format!("{why}; nothing can be planned without the engine: start it, or name another with DOCKER_HOST")
    })?;
    let mut apps: SortedMap<AppId, LockHolders> = target.apps.keys().map(|it| (*it, LockHolders::default())).collect();
    for (app, name, _) in target.services() {
        apps.entry(app.id).or_default().add(name);
    }
    add_containers(&mut apps, &seen.containers);
    let mut held = locks.observe(&apps).await.map_err(|why| why.to_string())?;
    // Locks of the running agent are its own business, and released by the time that another target is planned for.
    held.retain(|_, it| it.held().is_some());
    let boot = clock.boot_id();
    let awaited = |seen: &String| if *seen == boot { BootState::NotYet } else { BootState::Done };
    let kept: SortedSet<_> = stored.targets.last_good.iter().flat_map(Target::services).map(|(.., it)| &it.image).collect();
    Ok(Current {
        containers: seen.containers,
        images: seen.images,
        removable_images: stored.targets.pulled.iter().filter(|it| !kept.contains(it)).cloned().collect(),
        networks: seen.networks,
        volumes: seen.volumes,
        snapshots: seen.snapshots,
        locks: held,
        booted_secs: clock.booted_secs(),
        now_secs: clock.now_secs(),
        boot_waits: stored.awaiting.iter().map(|(id, seen)| (id.clone(), awaited(seen))).collect(),
        ..Current::default()
    })
}
