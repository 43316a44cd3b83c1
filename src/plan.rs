//! The planner: from the current state to the target state.
//!
//! [`plan`] is pure: it returns the steps that may start *now*, all at once and in any order, and what it waits for. Take the
//! steps, observe again, plan again; when both are empty, the target is reached. No state is kept between two plans, so a
//! power cut between two steps is not a case of its own.
//!
//! ```text
//! forecast         the steps to the target, if each succeeds
//! reasons          why a step is taken, for people
//! services         one service: from its containers to the one it should have
//! resources        networks and volumes
//! strategies       how an outdated container is replaced
//! lifecycle        the steps of one container: create, rename, connect, start, stop
//! data             volumes whose data is copied before an update, or put back
//! app_plan         one app: which of its steps its update locks allow
//! hooks            the hook before an update
//! images           garbage collection of images, and updates checked to fit on the disk
//! release          whether the images of a release are here, and its containers created
//! depends          whether the conditions hold on which a service is started
//! data_work        which data is to be copied, either way
//! container        which container a service should have, and what a container needs
//! spec             from a service to its container
//! input            what a plan is made from, with the queries that several planning modules need
//! compare          whether a container matches its service
//! ports            which port of the host each service gets, where its document leaves a choice
//! contracts        whether the device meets what a release and its services require
//! supervisor_env   injects what every container is given: environment, lock directories, features
//! ```
//!
//! A module names only modules below it in this list.

use crate::sorted::SortedSet;
use crate::state::{
    AppId, ContainerId, Current, Difference, EngineAction, ImageRef, Overrides, ServiceKey, Step, Target, Waiting,
};

mod app_plan;
mod compare;
mod container;
mod contracts;
mod data;
mod data_work;
mod depends;
mod forecast;
mod hooks;
mod images;
mod input;
mod lifecycle;
mod ports;
mod reasons;
mod release;
mod resources;
mod services;
mod spec;
mod strategies;
mod supervisor_env;
#[cfg(test)]
pub(crate) mod tests;

use app_plan::AppPlan;

pub use container::containers_as_wanted;
pub use contracts::{check_contracts, leave_out_unmet};
pub use forecast::{Forecast, forecast};
pub use input::ConfigHashes;
pub use reasons::{Reasons, Trigger, disturbs};
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
    pub busy: SortedSet<AppId>,
    /// Every image that is wanted is here.
    pub downloaded: bool,
    /// Updates that must not begin while they are known not to fit on the disk.
    pub updates: Vec<AppUpdate>,
    /// Differences from the target that stay.
    pub differences: Vec<Difference>,
}

/// What an app's update needs room for: images that are of use only together, and copies of volumes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppUpdate {
    /// The app.
    pub app: AppId,
    /// The images yet to be pulled.
    pub images: SortedSet<ImageRef>,
    /// Containers that are removed before their service's image is pulled, or before volumes are copied.
    pub make_way: SortedSet<ContainerId>,
    /// Volumes that are copied first, by their names on the engine.
    pub volumes: SortedSet<String>,
    /// The app's locks are needed for nothing else.
    pub takes_locks: bool,
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
    let downloaded = input.active_apps().flat_map(|app| app.services.values()).all(|it| input.has_image(&it.image));
    let mut updates = if downloaded { Vec::new() } else { images::updates(input) };
    data::add_updates(input, &mut updates);
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
    plan.waiting.extend(input.current.reboot_request_file.clone().map(Waiting::Configured));
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
    if let Some(window) = input.closed_reboot_window() {
        return plan.waiting.push(Waiting::Window(None, window.clone()));
    }
    let respected = |app: &AppId| !input.overrides.force.contains(app);
    let locked = input.current.locks.iter().find_map(|(app, locks)| {
        let held = locks.held().filter(|_| respected(app))?;
        Some(Waiting::Lock(*app, held.clone()))
    });
    // A lease of an app that has no container holds up nothing.
    let is_there = |app: &&AppId| input.containers_of(**app).next().is_some();
    let leased = || {
        let mut apps = input.current.leases.keys().filter(is_there);
        apps.find_map(|app| Some(Waiting::Lease(*app, input.lease(*app)?.clone())))
    };
    match locked.or_else(leased) {
        Some(waiting) => plan.waiting.push(waiting),
        None => plan.steps.push(Step::Reboot),
    }
}

impl AppUpdate {
    /// An update that needs nothing.
    pub(crate) const fn of(app: AppId) -> Self {
        Self { app, images: SortedSet::new(), make_way: SortedSet::new(), volumes: SortedSet::new(), takes_locks: false }
    }

    /// Whether a step begins this update.
    #[must_use]
    pub fn begins_with(&self, step: &Step) -> bool {
        match step {
            Step::Engine(EngineAction::Pull(image)) => self.images.contains(image),
            Step::Engine(EngineAction::Kill(which)) => self.make_way.contains(&which.id),
            Step::Engine(EngineAction::Stop(which)) => !self.volumes.is_empty() && self.make_way.contains(&which.id),
            Step::TakeLocks(app, ..) => self.takes_locks && self.app == *app,
            Step::Engine(_) | Step::ReleaseLocks(_) | Step::HandOver { .. } | Step::Reboot => false,
        }
    }
}
