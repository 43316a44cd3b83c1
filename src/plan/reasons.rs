//! Why the planner takes a step, for people: in the history, and in what would be done for a target.

use crate::sorted::SortedMap;
use crate::state::history::{Cause, FieldChange};
use crate::state::{
    Container, ContainerId, ContainerPhase, Current, DataDemand, EngineAction, Force, Overrides, ServiceKey, Step, StepKind,
    Target,
};

/// What the reasons are found in.
#[derive(Debug, Clone, Copy)]
pub struct Reasons<'r> {
    /// The target that the plan was made for.
    pub target: &'r Target,
    /// The observation that it was made from.
    pub current: &'r Current,
    /// What users requested.
    pub overrides: &'r Overrides,
    /// How services differ from the target before.
    pub changes: &'r SortedMap<ServiceKey, Vec<FieldChange>>,
}

/// What brings a step about. Decides which request it is attributed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// The target differs from what is there.
    Target,
    /// A restart that was requested.
    Restart,
    /// A purge that was requested.
    Purge,
    /// A stop that was requested.
    Stop,
    /// A start that was requested.
    Start,
    /// Something that happened on the device.
    Device,
    /// It follows from another step of the service, or there is nothing to be said.
    Follows,
}

impl Reasons<'_> {
    /// Why a step is taken, and what brings it about.
    #[must_use]
    pub fn of(self, step: &Step) -> (Trigger, Cause) {
        let simple = |trigger, why: &str| (trigger, Cause::from_why(why));
        match step {
            Step::Engine(EngineAction::Pull(_)) => simple(Trigger::Target, "the engine does not have it"),
            Step::Engine(EngineAction::Create(spec)) => self.of_new(&spec.key),
            Step::Engine(EngineAction::Start(which)) => self.of_start(&which.key, &which.id),
            Step::Engine(EngineAction::Stop(which)) => self.of_stop(&which.key),
            Step::Engine(EngineAction::Kill(which)) => self.of_removed(&which.key, &which.id),
            Step::HandOver { old, .. } => self.of_removed(&old.key, &old.id),
            Step::Engine(EngineAction::RunHook(which, _)) => {
                let (trigger, cause) = self.differs(&which.key);
                (trigger, Cause { why: format!("an update is due: {}", cause.why), ..cause })
            }
            Step::Engine(EngineAction::Retire(..)) => simple(Trigger::Follows, "another container takes its place"),
            Step::Engine(EngineAction::Restart(_)) => simple(Trigger::Device, "a service that it depends on was created anew"),
            Step::Engine(EngineAction::Rename(..)) => simple(Trigger::Follows, "names of containers say the release"),
            Step::Engine(EngineAction::Connect(..)) => {
                simple(Trigger::Device, "it has lost its networks, or they were created anew")
            }
            Step::Engine(EngineAction::CreateNetwork(_) | EngineAction::CreateVolume(_)) => {
                simple(Trigger::Target, "the target names it")
            }
            Step::Engine(EngineAction::RemoveNetwork(..)) => {
                simple(Trigger::Target, "the target does not name it, or otherwise")
            }
            Step::Engine(EngineAction::KeepData(_)) => simple(Trigger::Target, "its data is put back if the new release fails"),
            Step::Engine(EngineAction::PutDataBack(_)) => simple(Trigger::Target, "the app is back at its last good release"),
            Step::Engine(EngineAction::RemoveVolume(name, _)) if self.current.snapshots.iter().any(|it| it.name == *name) => {
                simple(Trigger::Follows, "the copy is of no use any more")
            }
            Step::Engine(EngineAction::RemoveVolume(_, app)) if self.overrides.purge.contains(app) => {
                simple(Trigger::Purge, "a purge of the app's data was requested")
            }
            Step::Engine(EngineAction::RemoveVolume(..)) => simple(Trigger::Target, "the target does not name it"),
            Step::Engine(EngineAction::RemoveImage(_)) => {
                simple(Trigger::Target, "it was pulled for a service, and none needs it any more")
            }
            Step::TakeLocks(.., Force::No) => simple(Trigger::Follows, "a container of the app is stopped"),
            Step::TakeLocks(.., Force::Yes) => {
                simple(Trigger::Follows, "a container of the app is stopped, and locks are overridden")
            }
            Step::ReleaseLocks(_) => simple(Trigger::Follows, "no container of the app is stopped any more"),
            Step::Reboot => simple(Trigger::Target, "a service or the host's configuration waits for the next boot"),
        }
    }

    fn containers(&self, key: &ServiceKey) -> impl Iterator<Item = &Container> {
        self.current.containers.iter().filter(move |it| it.key == *key)
    }

    fn of_new(self, key: &ServiceKey) -> (Trigger, Cause) {
        if let Some(requested) = self.requested(key, None) {
            return requested;
        }
        if self.containers(key).next().is_none() {
            return (Trigger::Follows, Cause::from_why("the target names it, and it has no container"));
        }
        self.differs(key)
    }

    /// A restart or a purge that was requested, of a service or of one of its containers.
    fn requested(self, key: &ServiceKey, id: Option<&ContainerId>) -> Option<(Trigger, Cause)> {
        if self.overrides.purge.contains(&key.app) {
            return Some((Trigger::Purge, Cause::from_why("a purge of the app's data was requested")));
        }
        let recreated = match id {
            Some(id) => self.overrides.recreate.contains(id),
            None => self.containers(key).any(|it| self.overrides.recreate.contains(&it.id)),
        };
        recreated.then(|| (Trigger::Restart, Cause::from_why("a restart was requested")))
    }

    /// How the container of a service differs from its target.
    fn differs(self, key: &ServiceKey) -> (Trigger, Cause) {
        let Some(service) = self.target.service(key) else {
            return (Trigger::Target, Cause::from_why("the target does not name it"));
        };
        let old = self.containers(key).find(|it| it.image_ref != service.image);
        let mut changes = self.changes.get(key).cloned().unwrap_or_default();
        if let Some(old) = old
            && !changes.iter().any(|it| it.field == "image")
        {
            let [old, new] = [&old.image_ref, &service.image].map(|it| Some(it.to_string()));
            changes.insert(0, FieldChange { field: "image".to_owned(), old, new });
        }
        let why = match changes.as_slice() {
            [] => "its container has another configuration than its target".to_owned(),
            changes if changes.iter().any(|it| it.field == "image") => "its image changed".to_owned(),
            changes if changes.iter().all(|it| it.field.starts_with("env ")) => "its environment changed".to_owned(),
            _ => "its configuration changed".to_owned(),
        };
        (Trigger::Target, Cause { why, changes, asked_by: None })
    }

    fn of_removed(self, key: &ServiceKey, id: &ContainerId) -> (Trigger, Cause) {
        if self.target.service(key).is_none() {
            return (Trigger::Target, Cause::from_why("the target does not name it"));
        }
        if let Some(requested) = self.requested(key, Some(id)) {
            return requested;
        }
        // Beside its successor only the changes of the target say more.
        let is_replaced = self.containers(key).count() > 1;
        if is_replaced && !self.changes.contains_key(key) {
            return (Trigger::Follows, Cause::from_why("another container takes its place"));
        }
        self.differs(key)
    }

    fn of_stop(self, key: &ServiceKey) -> (Trigger, Cause) {
        if self.overrides.stopped.contains(key) {
            return (Trigger::Stop, Cause::from_why("a stop was requested"));
        }
        let is_copied = self.current.data.get(&key.app).is_some_and(|it| matches!(it.demand, DataDemand::Keep(_)));
        let why = if is_copied && self.target.service(key).is_some_and(|it| it.running) {
            "the data of its volume is copied before the new release begins"
        } else if self.target.keeps(key.app) {
            "local mode keeps the app stopped"
        } else {
            "its target says that it is not to run"
        };
        (Trigger::Target, Cause::from_why(why))
    }

    fn of_start(self, key: &ServiceKey, id: &ContainerId) -> (Trigger, Cause) {
        if self.overrides.start.contains(id) {
            return (Trigger::Start, Cause::from_why("a start was requested"));
        }
        let Some(container) = self.current.containers.iter().find(|it| it.id == *id) else {
            return (Trigger::Follows, Cause::from_why("it is to run"));
        };
        match container.phase {
            ContainerPhase::Created => {
                let others = self.target.service(key).map(|it| it.depends_on.keys().cloned().collect::<Vec<_>>().join(", "));
                let after = others.filter(|it| !it.is_empty()).map(|it| format!(", after {it}")).unwrap_or_default();
                (Trigger::Follows, Cause::from_why(format!("it is to run{after}")))
            }
            _ if container.started.is_some_and(|it| it.secs() < self.current.booted_secs) => {
                (Trigger::Device, Cause::from_why("the board booted since it last ran"))
            }
            ContainerPhase::Exited(code) => {
                (Trigger::Device, Cause::from_why(format!("it had ended with exit code {code}, and is to run")))
            }
            ContainerPhase::Paused => (Trigger::Device, Cause::from_why("it was paused, and is to run")),
            ContainerPhase::Running | ContainerPhase::Restarting | ContainerPhase::Removing | ContainerPhase::Dead => {
                (Trigger::Device, Cause::from_why("it is to run"))
            }
        }
    }
}

/// Whether a step changes a container in a way that its users notice.
#[must_use]
pub fn disturbs(step: &Step) -> bool {
    matches!(step, Step::HandOver { .. } | Step::Reboot) || step.kind() == StepKind::Stopping
}

#[cfg(test)]
mod tests;
