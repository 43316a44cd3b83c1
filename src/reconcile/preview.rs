//! What the reconciler would do to a device for a target, with the reasons, without doing it: the same planner over the same
//! observation, from a process of its own beside a running agent.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::{changes, check_contracts, forecast, inject_supervisor_env, leave_out_unmet};
use crate::port::{Clock, Engine, Locks, StoredState};
use crate::reconcile::observed::add_containers;
use crate::state::{
    AppId, BootState, Container, Current, Device, EngineAction, Force, Keys, LockHolders, Overrides, Secret, ServiceKey, Step,
    Target,
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
}

/// Plans for a target. Error: the engine or the locks cannot be read, or the device does not accept the target.
pub async fn preview(
    engine: &impl Engine,
    locks: &impl Locks,
    clock: &impl Clock,
    input: PreviewInput,
) -> Result<Preview, String> {
    let PreviewInput { mut device, stored, target, force } = input;
    if let Some(identity) = &stored.identity {
        device.uuid.clone_from(&identity.uuid);
    }
    let account = stored.account.as_ref().filter(|it| it.is_registered() && Some(&it.endpoint) == device.api_endpoint.as_ref());
    if let Some(account) = account {
        device.uuid.clone_from(&account.uuid);
        device.cloud_key = Some(account.key.clone());
    }
    check_contracts(&target, &device).map_err(|why| why.0)?;
    let nothing =
        || Keys { device: Secret::new(String::new()), root: Secret::new(String::new()), generations: BTreeMap::new() };
    let keys = stored.keys.clone().unwrap_or_else(nothing);
    let complete = |target: &Target| {
        let mut target = target.clone();
        let left_out = leave_out_unmet(&mut target, &device);
        (inject_supervisor_env(&target, &device, &keys), left_out)
    };
    let (target, left_out) = complete(&target);
    let before = stored.targets.wanted.as_ref().map(|it| complete(it).0);
    let current = observe(engine, locks, clock, &stored, &target).await?;
    let force = if force == Force::Yes { target.apps.keys().copied().collect() } else { BTreeSet::new() };
    let overrides = Overrides { stopped: stored.stopped, force, ..Overrides::default() };
    let forecast = forecast(&target, &overrides, &current);
    let fields: BTreeMap<_, _> = before.iter().flat_map(|it| changes(it, &target)).collect();
    let reasons = Reasons { target: &target, current: &current, fields: &fields };
    let mut steps = Vec::new();
    for (at, wave) in forecast.waves.iter().enumerate() {
        steps.extend(wave.iter().map(|it| PreviewStep { wave: at + 1, what: it.to_string(), why: reasons.of(it) }));
    }
    Ok(Preview { steps, waiting: forecast.waiting.iter().map(ToString::to_string).collect(), left_out })
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
    let mut apps: BTreeMap<AppId, LockHolders> = target.apps.keys().map(|it| (*it, LockHolders::default())).collect();
    for (app, name, _) in target.services() {
        apps.entry(app.id).or_default().add(name);
    }
    add_containers(&mut apps, &seen.containers);
    let mut held = locks.observe(&apps).await.map_err(|why| why.to_string())?;
    // Locks of the running agent are its own business, and released by the time that another target is planned for.
    held.retain(|_, it| it.held().is_some());
    let boot = clock.boot_id();
    let awaited = |seen: &String| if *seen == boot { BootState::NotYet } else { BootState::Done };
    let kept: BTreeSet<_> = stored.targets.last_good.iter().flat_map(Target::services).map(|(.., it)| &it.image).collect();
    Ok(Current {
        containers: seen.containers,
        images: seen.images,
        removable_images: stored.targets.pulled.iter().filter(|it| !kept.contains(it)).cloned().collect(),
        networks: seen.networks,
        volumes: seen.volumes,
        locks: held,
        booted_secs: clock.booted_secs(),
        now_secs: clock.now_secs(),
        boot_waits: stored.awaiting.iter().map(|(id, seen)| (id.clone(), awaited(seen))).collect(),
        ..Current::default()
    })
}

/// Why steps are taken.
struct Reasons<'r> {
    target: &'r Target,
    current: &'r Current,
    /// The fields of services that differ from the target in force.
    fields: &'r BTreeMap<ServiceKey, String>,
}

impl Reasons<'_> {
    fn of(&self, step: &Step) -> String {
        let named = |is_named: bool| if is_named { "the target names it" } else { "the target does not name it" };
        match step {
            Step::Engine(EngineAction::Pull(_)) => "the engine does not have it".to_owned(),
            Step::Engine(EngineAction::Create(spec)) => self.of_new(&spec.key),
            Step::Engine(EngineAction::Start(which)) => self.of_start(&which.key),
            Step::Engine(EngineAction::Stop(_)) => "it is not to run".to_owned(),
            Step::Engine(EngineAction::Kill(which)) if self.target.service(&which.key).is_none() => named(false).to_owned(),
            Step::Engine(EngineAction::Kill(_) | EngineAction::Retire(..)) | Step::HandOver { .. } => {
                "another container takes its place".to_owned()
            }
            Step::Engine(EngineAction::Restart(_)) => "a service that it depends on was created anew".to_owned(),
            Step::Engine(EngineAction::Rename(..)) => "names of containers say the release".to_owned(),
            Step::Engine(EngineAction::Connect(..)) => "it has lost them, or they were created anew".to_owned(),
            Step::Engine(EngineAction::CreateNetwork(_) | EngineAction::CreateVolume(_)) => named(true).to_owned(),
            Step::Engine(EngineAction::RemoveNetwork(..)) => "the target does not name it, or otherwise".to_owned(),
            Step::Engine(EngineAction::RemoveVolume(..)) => named(false).to_owned(),
            Step::Engine(EngineAction::RemoveImage(_)) => "it was pulled for a service, and none needs it".to_owned(),
            Step::TakeLocks(..) => "a container of the app is stopped".to_owned(),
            Step::ReleaseLocks(_) => "no container of the app is stopped any more".to_owned(),
            Step::Reboot => "a service or the host's configuration waits for the next boot".to_owned(),
        }
    }

    fn containers(&self, key: &ServiceKey) -> impl Iterator<Item = &Container> {
        self.current.containers.iter().filter(move |it| it.key == *key)
    }

    fn of_new(&self, key: &ServiceKey) -> String {
        let Some(old) = self.containers(key).next() else { return "it has no container".to_owned() };
        let wanted = self.target.service(key).map(|it| &it.image);
        if let Some(image) = wanted.filter(|it| **it != old.image_ref) {
            return format!("its image is to be {image}, and is {}", old.image_ref);
        }
        match self.fields.get(key) {
            Some(fields) => format!("its configuration differs: {fields}"),
            None => "its container has another configuration".to_owned(),
        }
    }

    fn of_start(&self, key: &ServiceKey) -> String {
        let depends = self.target.service(key).map(|it| it.depends_on.keys().cloned().collect::<Vec<_>>().join(", "));
        match depends.filter(|it| !it.is_empty()) {
            Some(others) => format!("it is to run, after {others}"),
            None => "it is to run".to_owned(),
        }
    }
}
