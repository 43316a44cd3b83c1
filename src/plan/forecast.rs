//! The steps from the current state to the target, wave after wave, if each of them succeeds: for users who ask what would be
//! done. The reconciler plans again after every step instead, because steps fail.

use std::sync::Arc;

use crate::plan::plan;
use crate::state::config::RestartPolicy;
use crate::state::hook::{HookOutcome, UpdateHook};
use crate::state::{
    Condition, Container, ContainerId, ContainerPhase, ContainerSpec, Current, DataDemand, DataPlan, EngineAction, EngineTime,
    HealthStatus, Image, ImageId, ImageRef, LockState, Origin, Overrides, ServiceKey, Step, Target, VolumeCopy, Waiting,
};

/// Waves after which a forecast ends. The longest update of one service takes ten.
const WAVES: usize = 50;

/// What would be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forecast {
    /// The steps of each wave: those of one wave run side by side.
    pub waves: Vec<Vec<Step>>,
    /// What would then be waited for.
    pub waiting: Vec<Waiting>,
}

/// Forecasts the steps. `target` is complete, as for [`plan()`].
#[must_use]
pub fn forecast(target: &Target, overrides: &Overrides, current: &Current) -> Forecast {
    let mut current = current.clone();
    let mut forecast = Forecast::default();
    for _ in 0..WAVES {
        let plan = plan(target, overrides, &current);
        forecast.waiting = plan.waiting;
        if plan.steps.is_empty() {
            break;
        }
        let ends = plan.steps.contains(&Step::Reboot);
        for step in &plan.steps {
            apply(target, &mut current, step);
        }
        forecast.waves.push(plan.steps);
        if ends {
            break;
        }
    }
    forecast
}

fn apply(target: &Target, current: &mut Current, step: &Step) {
    match step {
        Step::Engine(action) => apply_action(target, current, action),
        Step::TakeLocks(app, services, _) => drop(current.locks.insert(*app, LockState::Ours(services.clone()))),
        Step::ReleaseLocks(app) => drop(current.locks.remove(app)),
        Step::HandOver { old, .. } => current.containers.retain(|it| it.id != old.id),
        Step::Reboot => {}
    }
}

fn apply_action(target: &Target, current: &mut Current, action: &EngineAction) {
    match action {
        EngineAction::Pull(image) => {
            current.images.push(Image { id: image_id(image), names: [image.clone()].into(), size_bytes: 0 });
            current.removable_images.insert(image.clone());
        }
        EngineAction::Create(spec) => create(current, spec),
        EngineAction::Start(which) | EngineAction::Restart(which) => {
            let phase = if completes(target, &which.key) { ContainerPhase::Exited(0) } else { ContainerPhase::Running };
            let now = EngineTime(current.now_secs.saturating_mul(1_000_000_000));
            change(current, &which.id, |it| {
                it.phase = phase;
                it.started = Some(now);
                it.health = Some(HealthStatus::Healthy);
            });
        }
        EngineAction::Stop(which) => change(current, &which.id, |it| it.phase = ContainerPhase::Exited(0)),
        EngineAction::Kill(which) => current.containers.retain(|it| it.id != which.id),
        EngineAction::Rename(which, name) => change(current, &which.id, |it| it.name.clone_from(name)),
        EngineAction::Retire(which, name) => change(current, &which.id, |it| {
            it.name.clone_from(name);
            it.restart = RestartPolicy::No;
        }),
        EngineAction::RunHook(which, run) => {
            drop(current.hooks.insert((which.id.clone(), run.wanted.clone()), HookOutcome::Done));
        }
        EngineAction::CreateNetwork(network) => current.networks.push(network.clone()),
        EngineAction::RemoveNetwork(name, id, _) => current.networks.retain(|it| it.name != *name || it.id != *id),
        EngineAction::Connect(which, connections) => change(current, &which.id, |it| {
            let joined = connections.iter().map(|it| (it.network.clone(), it.id.clone()));
            it.networks.get_or_insert_default().extend(joined);
        }),
        EngineAction::CreateVolume(volume) => current.volumes.push(volume.clone()),
        EngineAction::RemoveVolume(name, _) => {
            current.volumes.retain(|it| it.name != *name);
            current.snapshots.retain(|it| it.name != *name);
        }
        EngineAction::KeepData(copy) => drop(is_copied(current, copy)),
        EngineAction::PutDataBack(copy) => {
            current.volumes.retain(|it| it.name != copy.volume.name);
            current.volumes.push(copy.volume.clone());
            if let Some(plan) = is_copied(current, copy) {
                // Its snapshot is removed next.
                plan.kept.remove(&copy.name);
            }
        }
        EngineAction::RemoveImage(image) => {
            current.images.retain(|it| !it.answers_to(image));
            current.removable_images.remove(image);
        }
    }
}

/// Whether other services wait for this one to complete: then it is a job, and ends.
fn completes(target: &Target, key: &ServiceKey) -> bool {
    let services = target.apps.get(&key.app).into_iter().flat_map(|it| it.services.values());
    services.into_iter().any(|it| it.depends_on.get(&key.service).is_some_and(|it| it.condition == Condition::Completed))
}

fn image_id(image: &ImageRef) -> ImageId {
    ImageId(format!("the image of {image}"))
}

fn change(current: &mut Current, id: &ContainerId, change: impl FnOnce(&mut Container)) {
    if let Some(container) = current.containers.iter_mut().find(|it| it.id == *id) {
        change(container);
    }
}

/// The data of a volume was copied to its snapshot, or from it. What is left to be done with the app's data.
fn is_copied<'a>(current: &'a mut Current, copy: &VolumeCopy) -> Option<&'a mut DataPlan> {
    let plan = current.data.get_mut(&copy.volume.app)?;
    if let DataDemand::Keep(names) | DataDemand::PutBack(names) = &mut plan.demand {
        names.remove(&copy.name);
        if names.is_empty() {
            plan.demand = DataDemand::Nothing;
        }
    }
    Some(plan)
}

fn create(current: &mut Current, spec: &ContainerSpec) {
    let image = current.images.iter().find(|it| it.answers_to(&spec.image)).map(|it| it.id.clone());
    current.containers.push(Container {
        id: ContainerId(format!("the new container {} of {}", spec.name, spec.key)),
        name: spec.name.clone(),
        key: spec.key.clone(),
        phase: ContainerPhase::Created,
        created_secs: current.now_secs,
        image: image.unwrap_or_else(|| image_id(&spec.image)),
        image_ref: spec.image.clone(),
        made: Origin::Ours(spec.hash.clone()),
        outcome: None,
        env: Arc::new(spec.config.env.clone()),
        restart: spec.config.restart,
        started: None,
        networks: None,
        ports: spec.config.ports.iter().map(|it| spec.ports.get(it).map_or_else(|| it.clone(), |port| it.at(*port))).collect(),
        is_port_taken: false,
        before_update: UpdateHook::of_labels(&spec.config.labels).ok().flatten(),
        shares: spec.config.shares().filter_map(|(kind, owner)| Some((kind, spec.owners.get(owner)?.clone()))).collect(),
        shares_since: None,
        is_orphaned: false,
        volumes: spec.config.mounts.iter().filter_map(|it| it.engine_volume(spec.key.app)).collect(),
        restarts: 0,
        is_out_of_memory: false,
        error: None,
        health: None,
    });
}
