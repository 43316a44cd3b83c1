//! The planner: from the current state to the target state.
//!
//! [`plan`] is pure: it returns the steps that may start *now*, all at once and in any order, and what it waits for. Take the
//! steps, observe again, plan again; when both are empty, the target is reached. No state is kept between two plans, so a
//! power cut between two steps is not a case of its own.
//!
//! ```text
//! services         one service: from its containers to the one it should have
//! resources        networks and volumes
//! strategies       how an outdated container is replaced
//! lifecycle        the steps of one container: create, rename, connect, start, stop
//! app_plan         one app: which of its steps its update locks allow
//! images           garbage collection of images, and updates checked to fit on the disk
//! release          whether the images of a release are here, and its containers created
//! depends          whether the conditions hold on which a service is started
//! container        which container a service should have, and what a container needs
//! spec             from a service to its container
//! input            what a plan is made from, with the queries that several planning modules need
//! compare          whether a container matches its service
//! ports            which port of the host each service gets, where its document leaves a choice
//! supervisor_env   injects what every container is given: environment, lock directories, features
//! ```
//!
//! A module names only modules below it in this list.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use crate::state::status::StepKind;
use crate::state::{
    AppId, ContainerId, ContainerRef, Current, EngineAction, Force, HeldLock, ImageRef, Overrides, ServiceKey, Target,
};

mod app_plan;
mod compare;
mod container;
mod depends;
mod images;
mod input;
mod lifecycle;
mod ports;
mod release;
mod resources;
mod services;
mod spec;
mod strategies;
mod supervisor_env;
#[cfg(test)]
mod tests;

use app_plan::AppPlan;

pub use depends::{Never, Unmet};
pub use input::ConfigHashes;
pub use spec::{changes, container_name};
pub use supervisor_env::{grants, inject_supervisor_env};

/// The steps to take now, and what is waited for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Steps that may start now, in any order.
    pub steps: Vec<Step>,
    /// What is waited for.
    pub waiting: Vec<Waiting>,
    /// Apps that are not as wanted.
    pub busy: BTreeSet<AppId>,
    /// Every image that is wanted is here.
    pub downloaded: bool,
    /// Updates that must not begin while they are known not to fit on the disk.
    pub updates: Vec<AppUpdate>,
    /// Differences from the target that stay.
    pub differences: Vec<Difference>,
}

/// A difference from the target that only the owner can decide to resolve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What differs, in words.
    pub what: String,
    /// How it differs, and what to do about it.
    pub why: String,
}

/// Images of an app's update that are of use only together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppUpdate {
    /// The app.
    pub app: AppId,
    /// The images yet to be pulled.
    pub images: BTreeSet<ImageRef>,
    /// Containers that are removed before their service's image is pulled.
    pub make_way: BTreeSet<ContainerId>,
    /// The app's locks are needed for nothing else.
    pub takes_locks: bool,
}

/// One action, small enough to be retried as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// An action of the engine.
    Engine(EngineAction),
    /// Take the update locks of these services of an app.
    TakeLocks(AppId, BTreeSet<String>, Force),
    /// Release our update locks of an app.
    ReleaseLocks(AppId),
    /// Wait until the new container of a service takes over, up to `timeout`; then kill the old one.
    HandOver {
        /// The old container.
        old: ContainerRef,
        /// The longest wait.
        timeout: Duration,
    },
    /// Reboot the machine: a service was created that only the next boot starts, or the host's configuration requires it.
    Reboot,
}

/// Something a plan waits for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Waiting {
    /// An update lock that another program holds.
    Lock(AppId, HeldLock),
    /// A condition of a dependency, on which the service is started.
    Dependency(ServiceKey, Unmet),
    /// The images of the app's other services.
    Images(ServiceKey),
    /// The new containers of the release, which are created before an old one is killed.
    Containers(ServiceKey),
    /// The engine, which is stopping or removing a container.
    Engine(ServiceKey),
    /// A network or volume that is not there yet.
    Resource(ServiceKey, String),
    /// The user who paused the container on the engine.
    Paused(ServiceKey),
    /// The next boot, which starts the service.
    Boot(ServiceKey),
    /// The next boot, with which the host's configuration takes effect, as this file says.
    Configured(String),
}

/// What a step acts on. Two steps with the same subject are never in flight at once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The containers of a service.
    Service(ServiceKey),
    /// An image.
    Image(ImageRef),
    /// A network.
    Network(String),
    /// A volume.
    Volume(String),
    /// The update locks of an app.
    Locks(AppId),
    /// The machine.
    Machine,
}

/// Computes the steps that may start now, and what is waited for. `target` is complete (see [`inject_supervisor_env()`]).
#[must_use]
pub fn plan(target: &Target, overrides: &Overrides, current: &Current) -> Plan {
    plan_with(target, &ConfigHashes::of(target), overrides, current)
}

/// As [`plan`], with the target's hashes precomputed: they are most of a plan's cost, and stay valid as long as the target
/// does.
#[must_use]
pub fn plan_with(target: &Target, hashes: &ConfigHashes, overrides: &Overrides, current: &Current) -> Plan {
    let ports = ports::Ports::of(target, overrides, current);
    let input = input::PlanInput { target, overrides, current, hashes, ports: &ports };
    let services = || target.apps.values().flat_map(|app| app.services.values());
    let downloaded = services().all(|it| input.has_image(&it.image));
    let updates = if downloaded { Vec::new() } else { images::updates(input) };
    let mut plan = Plan { downloaded, updates, ..Plan::default() };
    for app in input.apps() {
        let mut draft = AppPlan::new(input, app);
        services::propose(&mut draft);
        resources::propose(&mut draft);
        draft.resolve(&mut plan);
    }
    resources::propose_supervisor_network(input, &mut plan);
    images::remove_unused(input, &mut plan);
    // Two services may want the same image; it is pulled once.
    for step in std::mem::take(&mut plan.steps) {
        if !plan.steps.contains(&step) {
            plan.steps.push(step);
        }
    }
    reboot(input, &mut plan);
    plan
}

/// When only the next boot can do what is left, the machine is rebooted, unless an app is locked.
fn reboot(input: input::PlanInput<'_>, plan: &mut Plan) {
    plan.waiting.extend(input.current.boot_wanted.clone().map(Waiting::Configured));
    let is_reboot_due = plan.waiting.iter().any(|it| matches!(it, Waiting::Boot(_) | Waiting::Configured(_)));
    let other = |it: &Waiting| match it {
        Waiting::Boot(_) | Waiting::Configured(_) => false,
        // A program that others wait for may finish first. A dependency that does not run may wait for the boot itself; and
        // where its new container waits for the boot, or for such a service, the one before it may still run.
        Waiting::Dependency(key, unmet) => {
            let on = ServiceKey::new(key.app, &unmet.on);
            let runs = input.containers_of(key.app).any(|it| it.key == on && it.phase.is_alive());
            let waits = |it: &Waiting| matches!(it, Waiting::Boot(it) | Waiting::Dependency(it, _) if *it == on);
            runs && unmet.never.is_none() && !plan.waiting.iter().any(waits)
        }
        _ => true,
    };
    if !is_reboot_due || !plan.steps.is_empty() || plan.waiting.iter().any(other) {
        return;
    }
    let respected = |app: &AppId| !input.overrides.force.contains(app);
    let locked = input.current.locks.iter().find_map(|(app, locks)| {
        let held = locks.held().filter(|_| respected(app))?;
        Some(Waiting::Lock(*app, held.clone()))
    });
    match locked {
        Some(waiting) => plan.waiting.push(waiting),
        None => plan.steps.push(Step::Reboot),
    }
}

impl AppUpdate {
    /// Whether a step begins this update.
    #[must_use]
    pub fn begins_with(&self, step: &Step) -> bool {
        match step {
            Step::Engine(EngineAction::Pull(image)) => self.images.contains(image),
            Step::Engine(EngineAction::Kill(which)) => self.make_way.contains(&which.id),
            Step::TakeLocks(app, ..) => self.takes_locks && self.app == *app,
            Step::Engine(_) | Step::ReleaseLocks(_) | Step::HandOver { .. } | Step::Reboot => false,
        }
    }
}

impl Step {
    /// What the step acts on.
    #[must_use]
    pub fn subject(&self) -> Subject {
        match self {
            Self::Engine(action) => action.subject(),
            Self::TakeLocks(app, ..) | Self::ReleaseLocks(app) => Subject::Locks(*app),
            Self::HandOver { old, .. } => Subject::Service(old.key.clone()),
            Self::Reboot => Subject::Machine,
        }
    }

    /// The app it belongs to, if any.
    #[must_use]
    pub fn app(&self) -> Option<AppId> {
        match self {
            Self::Engine(EngineAction::RemoveVolume(_, app)) => Some(*app),
            Self::Engine(EngineAction::CreateVolume(volume)) => Some(volume.app),
            Self::Engine(EngineAction::CreateNetwork(network)) => network.app,
            Self::Engine(EngineAction::RemoveNetwork(.., app)) => *app,
            Self::Engine(_) | Self::TakeLocks(..) | Self::ReleaseLocks(_) | Self::HandOver { .. } | Self::Reboot => {
                match self.subject() {
                    Subject::Service(key) => Some(key.app),
                    Subject::Locks(app) => Some(app),
                    Subject::Image(_) | Subject::Network(_) | Subject::Volume(_) | Subject::Machine => None,
                }
            }
        }
    }

    /// How the step counts for the device's one-word status.
    #[must_use]
    pub const fn kind(&self) -> StepKind {
        match self {
            Self::Engine(EngineAction::Pull(_)) => StepKind::Downloading,
            Self::Engine(
                EngineAction::Create(_)
                | EngineAction::Rename(..)
                | EngineAction::Retire(..)
                | EngineAction::Connect(..)
                | EngineAction::CreateNetwork(_)
                | EngineAction::CreateVolume(_),
            ) => StepKind::Installing,
            Self::Engine(EngineAction::Start(_)) => StepKind::Starting,
            Self::Engine(EngineAction::Stop(_) | EngineAction::Kill(_) | EngineAction::Restart(_)) => StepKind::Stopping,
            Self::Engine(EngineAction::RemoveNetwork(..) | EngineAction::RemoveVolume(..) | EngineAction::RemoveImage(_))
            | Self::TakeLocks(..)
            | Self::ReleaseLocks(_)
            | Self::HandOver { .. }
            | Self::Reboot => StepKind::Housekeeping,
        }
    }

    /// Whether the step may be cancelled half-way when it is not wanted any more: a download, a wait.
    #[must_use]
    pub const fn may_be_dropped(&self) -> bool {
        matches!(self, Self::Engine(EngineAction::Pull(_)) | Self::HandOver { .. })
    }
}

impl EngineAction {
    fn subject(&self) -> Subject {
        match self {
            Self::Pull(image) | Self::RemoveImage(image) => Subject::Image(image.clone()),
            Self::Create(spec) => Subject::Service(spec.key.clone()),
            Self::Start(which)
            | Self::Stop(which)
            | Self::Kill(which)
            | Self::Restart(which)
            | Self::Rename(which, _)
            | Self::Retire(which, _)
            | Self::Connect(which, _) => Subject::Service(which.key.clone()),
            Self::CreateNetwork(network) => Subject::Network(network.name.clone()),
            Self::RemoveNetwork(name, ..) => Subject::Network(name.clone()),
            Self::CreateVolume(volume) => Subject::Volume(volume.name.clone()),
            Self::RemoveVolume(name, _) => Subject::Volume(name.clone()),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(action) => action.fmt(f),
            Self::TakeLocks(app, services, Force::No) => write!(f, "lock {app} ({})", names(services)),
            Self::TakeLocks(app, services, Force::Yes) => write!(f, "lock {app} by force ({})", names(services)),
            Self::ReleaseLocks(app) => write!(f, "unlock {app}"),
            Self::HandOver { old, .. } => write!(f, "hand over {}", old.key),
            Self::Reboot => f.write_str("reboot"),
        }
    }
}

fn names(services: &BTreeSet<String>) -> String {
    services.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lock(app, held) => write!(f, "app {app} is locked by its service {} ({})", held.service, held.path),
            Self::Dependency(key, unmet) => write!(f, "{key} waits for {unmet}"),
            Self::Images(key) => write!(f, "{key} waits for the images of the release"),
            Self::Containers(key) => write!(f, "{key} waits until the new containers of the release are created"),
            Self::Engine(key) => write!(f, "{key} waits for the engine to stop or remove its container"),
            Self::Resource(key, name) => write!(f, "{key} waits for {name}"),
            Self::Paused(key) => write!(f, "{key} is paused on the engine; `docker unpause` or the start verb lets it go on"),
            Self::Boot(key) => write!(f, "{key} is started by the next boot"),
            Self::Configured(file) => write!(f, "the host's configuration counts from the next boot ({file})"),
        }
    }
}
