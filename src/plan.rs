//! From what is to what is wanted.
//!
//! [`plan`] is pure: it returns the steps that may be taken *now*, all at once and in any order, and what it waits for. Take
//! them, look again, plan again; both empty means we have arrived. Nothing is remembered between two plans, so losing power
//! between two steps is not a case of its own.
//!
//! ```text
//! complete     what every container is given: environment, lock directories, features
//! scene        what is looked at, and the questions everybody asks of it
//! draft        one app: what it needs, and which of it its update locks let through
//! services     one service: from its containers to the one it should have
//! depends      whether the conditions hold on which a service is started
//! strategies   how an old container gives way to a new one
//! release      whether the images of a release are here, and its containers created
//! spec         from a service to its container, and whether one is that container
//! resources    networks and volumes
//! ports        which port of the host each service gets, where its document leaves a choice
//! images       what nobody wants any more
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::state::config::Port;
use crate::state::network::NetworkAttachment;
use crate::state::status::StepKind;
use crate::state::{
    AppId, ConfigHash, ContainerConfig, ContainerId, Current, Force, HeldLock, ImageRef, Network, NetworkId, Overrides,
    ServiceKey, Target, Volume,
};

mod app_plan;
mod complete;
mod depends;
mod images;
mod input;
mod ports;
mod release;
mod resources;
mod services;
mod spec;
mod strategies;
#[cfg(test)]
mod tests;

pub use complete::{given_paths, grants, inject_supervisor_env};
pub use depends::{Never, Unmet};
pub use input::ConfigHashes;
pub use spec::{changes, container_name};

/// What to do now, and what comes later.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Steps that may be taken now, in any order.
    pub steps: Vec<Step>,
    /// What is waited for.
    pub waiting: Vec<Waiting>,
    /// Apps that are not as wanted.
    pub busy: BTreeSet<AppId>,
    /// Every image that is wanted is here.
    pub downloaded: bool,
    /// What is not to be begun while it is known not to fit.
    pub updates: Vec<AppUpdate>,
    /// What stays although the target says otherwise.
    pub differences: Vec<Difference>,
}

/// Something that is not as the target says, and that only its owner can decide to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What differs, in words.
    pub what: String,
    /// How, and what to do about it.
    pub why: String,
}

/// Images of an app's update that are of use only together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppUpdate {
    /// The app.
    pub app: AppId,
    /// They are yet to be pulled.
    pub images: BTreeSet<ImageRef>,
    /// Containers that make way before their service's image is pulled.
    pub make_way: BTreeSet<ContainerId>,
    /// The app's locks are wanted for nothing else.
    pub takes_locks: bool,
}

/// One deed, small enough to be retried whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Something the engine does.
    Engine(EngineAction),
    /// Take the update locks of these services of an app.
    TakeLocks(AppId, BTreeSet<String>, Force),
    /// Give back our update locks of an app.
    ReleaseLocks(AppId),
    /// Wait until the new container of a service takes over, at most so long; then kill the old one.
    HandOver {
        /// The old container.
        old: ContainerRef,
        /// The most to wait.
        timeout: Duration,
    },
    /// Reboot the machine: a service was created that is only started by the next boot, or the host was configured so.
    Reboot,
}

/// One thing the engine does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineAction {
    /// Pull an image.
    Pull(ImageRef),
    /// Create a container. Its image, networks and volumes are here.
    Create(Box<ContainerSpec>),
    /// Start a container that does not run, or let one go on that is paused.
    Start(ContainerRef),
    /// Stop a container, and keep it.
    Stop(ContainerRef),
    /// Stop a container, and remove it.
    Kill(ContainerRef),
    /// Stop a container and start it again.
    Restart(ContainerRef),
    /// Give a container a name: only its release changed, or the container that it replaces is gone.
    Rename(ContainerRef, String),
    /// Rename the old container of a hand-over, and let the engine no longer start it by itself.
    Retire(ContainerRef, String),
    /// Attach a container to networks that it lost, or that were created anew under the same name.
    Connect(ContainerRef, Vec<NetworkConnection>),
    /// Create a network.
    CreateNetwork(Network),
    /// Remove a network no container is attached to.
    RemoveNetwork(String, NetworkId, Option<AppId>),
    /// Create a volume.
    CreateVolume(Volume),
    /// Remove a volume no container uses.
    RemoveVolume(String, AppId),
    /// Delete an image no container uses.
    RemoveImage(ImageRef),
}

/// A container, by what it is for and by id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContainerRef {
    /// The service.
    pub key: ServiceKey,
    /// The engine's id.
    pub id: ContainerId,
}

/// A network that a container is to be attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkConnection {
    /// Its name on the engine.
    pub network: String,
    /// The engine's id of it. Empty: it goes by its name.
    pub id: NetworkId,
    /// Another network of that name, that the container is still attached to.
    pub instead_of: Option<NetworkId>,
    /// How it is attached.
    pub attachment: NetworkAttachment,
}

/// A container to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSpec {
    /// The service.
    pub key: ServiceKey,
    /// The app's unique name.
    pub app_uuid: String,
    /// The engine's names of the networks that the configuration names: those of the networks that are there.
    pub networks: BTreeMap<String, String>,
    /// The service's number.
    pub service_id: u32,
    /// The container's name: `<service>_<image id>_<release id>_<commit>`, after `new_` while the container that it replaces has
    /// that name. Creating it twice is refused by the engine itself.
    pub name: String,
    /// The image.
    pub image: ImageRef,
    /// The port of the host that is chosen for each port that leaves a choice.
    pub ports: BTreeMap<Port, u16>,
    /// The containers of the services whose namespaces it shares.
    pub owners: BTreeMap<String, ContainerId>,
    /// Variables that it is given when it is created, and that make no difference afterwards.
    pub told_once: BTreeMap<String, String>,
    /// Everything else.
    pub config: ContainerConfig,
    /// What its label will say it was made from.
    pub hash: ConfigHash,
}

/// Something a plan waits for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Waiting {
    /// An update lock that somebody holds.
    Lock(AppId, HeldLock),
    /// A condition of another service, on which it is started.
    Dependency(ServiceKey, Unmet),
    /// The images of the app's other services.
    Images(ServiceKey),
    /// The new containers of the release, which are created before an old one is killed.
    Containers(ServiceKey),
    /// The engine, which is stopping or removing a container.
    Engine(ServiceKey),
    /// A network or volume that is not there yet.
    Resource(ServiceKey, String),
    /// Whoever paused the container on the engine.
    Paused(ServiceKey),
    /// The next boot.
    Boot(ServiceKey),
    /// The next boot, from which on the host's configuration counts, as this file says.
    Configured(String),
}

/// What a step is done to. Two steps with one subject are never under way together.
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

/// Steps that may be taken now, and what is waited for. `target` is complete (see [`inject_supervisor_env()`]).
#[must_use]
pub fn plan(target: &Target, demands: &Overrides, current: &Current) -> Plan {
    plan_with(target, &ConfigHashes::of(target), demands, current)
}

/// As [`plan`], with the target's hashes at hand: they are most of what a plan costs, and stay while the target does.
#[must_use]
pub fn plan_with(target: &Target, hashes: &ConfigHashes, demands: &Overrides, current: &Current) -> Plan {
    let ports = ports::Ports::of(target, demands, current);
    let scene = input::PlanInput { target, overrides: demands, current, hashes, ports: &ports };
    let services = || target.apps.values().flat_map(|app| app.services.values());
    let downloaded = services().all(|it| scene.has_image(&it.image));
    let updates = if downloaded { Vec::new() } else { images::updates(scene) };
    let mut plan = Plan { downloaded, updates, ..Plan::default() };
    for app in scene.apps() {
        app_plan::app(scene, app, &mut plan);
    }
    resources::supervisor(scene, &mut plan);
    images::collect(scene, &mut plan);
    // Two services may want one image; it is pulled once.
    for step in std::mem::take(&mut plan.steps) {
        if !plan.steps.contains(&step) {
            plan.steps.push(step);
        }
    }
    reboot(scene, &mut plan);
    plan
}

/// When nothing is left but what the next boot does, the machine is rebooted; not while an app is locked.
fn reboot(scene: input::PlanInput<'_>, plan: &mut Plan) {
    plan.waiting.extend(scene.current.boot_wanted.clone().map(Waiting::Configured));
    let boot = plan.waiting.iter().any(|it| matches!(it, Waiting::Boot(_) | Waiting::Configured(_)));
    let other = |it: &Waiting| match it {
        Waiting::Boot(_) | Waiting::Configured(_) => false,
        // A program that others wait for is let finish. What does not run may wait for the boot itself; and where a new container
        // does, or waits for such a one, the one before it may still run.
        Waiting::Dependency(key, unmet) => {
            let on = ServiceKey::new(key.app, &unmet.on);
            let runs = scene.containers_of(key.app).any(|it| it.key == on && it.phase.is_alive());
            let waits = |it: &Waiting| matches!(it, Waiting::Boot(it) | Waiting::Dependency(it, _) if *it == on);
            runs && unmet.never.is_none() && !plan.waiting.iter().any(waits)
        }
        _ => true,
    };
    if !boot || !plan.steps.is_empty() || plan.waiting.iter().any(other) {
        return;
    }
    let respected = |app: &AppId| !scene.overrides.force.contains(app);
    let locked = scene.current.locks.iter().find_map(|(app, locks)| {
        let held = locks.held().filter(|_| respected(app))?;
        Some(Waiting::Lock(*app, held.clone()))
    });
    match locked {
        Some(waiting) => plan.waiting.push(waiting),
        None => plan.steps.push(Step::Reboot),
    }
}

impl AppUpdate {
    /// Whether a step begins it.
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
    /// What it is done to.
    #[must_use]
    pub fn subject(&self) -> Subject {
        match self {
            Self::Engine(deed) => deed.subject(),
            Self::TakeLocks(app, ..) | Self::ReleaseLocks(app) => Subject::Locks(*app),
            Self::HandOver { old, .. } => Subject::Service(old.key.clone()),
            Self::Reboot => Subject::Machine,
        }
    }

    /// What the device's one-word status makes of it.
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

    /// Whether it may be dropped half-way when nobody wants it any more: a download, a wait.
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
            Self::Engine(deed) => deed.fmt(f),
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

impl fmt::Display for EngineAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pull(image) => write!(f, "pull {image}"),
            Self::Create(spec) => write!(f, "create {} from {}", spec.key, spec.image),
            Self::Start(which) => write!(f, "start {}", which.key),
            Self::Stop(which) => write!(f, "stop {}", which.key),
            Self::Kill(which) => write!(f, "kill {}", which.key),
            Self::Restart(which) => write!(f, "restart {}", which.key),
            Self::Rename(which, name) => write!(f, "rename {} to {name}", which.key),
            Self::Retire(which, name) => write!(f, "retire {} as {name}", which.key),
            Self::CreateNetwork(network) => write!(f, "create network {}", network.name),
            Self::RemoveNetwork(name, ..) => write!(f, "remove network {name}"),
            Self::Connect(which, networks) => {
                write!(f, "connect {} to", which.key)?;
                networks.iter().try_for_each(|it| write!(f, " {}", it.network))
            }
            Self::CreateVolume(volume) => write!(f, "create volume {}", volume.name),
            Self::RemoveVolume(name, _) => write!(f, "remove volume {name}"),
            Self::RemoveImage(image) => write!(f, "remove image {image}"),
        }
    }
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
