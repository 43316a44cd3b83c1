//! The agent's own lines in the log, in the words of supervisors of 2026: dashboards and scripts know them.

use std::time::Duration;

use tokio::time::Instant;

use crate::sorted::SortedMap;
use crate::state::{
    AppId, Container, ContainerId, ContainerPhase, ContainerRef, Current, DeviceEvent, EngineAction, ImageRef, PowerAction,
    ShutdownStatus, Status, Step, StepFault, Trouble, Waiting,
};

/// The first line.
pub(crate) const STARTING: &str = "Supervisor starting";
/// Locks of other programs are watched, and looked at this often in any case.
const LOCKS_EVERY: Duration = Duration::from_secs(180);
/// Settings whose changes are logged: those that take effect at once.
const SETTINGS: &str = "SUPERVISOR_";

/// What is needed to say only what is new.
#[derive(Debug, Default)]
pub(crate) struct SystemWords {
    /// What containers are called that a step acts on: afterwards they may be gone.
    names: SortedMap<ContainerId, String>,
    /// The words for the container that is being removed: its phase changes meanwhile.
    kills: SortedMap<ContainerId, Phrases>,
    phases: SortedMap<ContainerId, ContainerPhase>,
    /// The last one. `None`: none was seen yet.
    settings: Option<SortedMap<String, String>>,
    rejected: Option<String>,
    locked: Option<String>,
    is_ending: bool,
}

/// How far a step is.
enum Stage<'a> {
    Begun,
    Succeeded,
    Failed(&'a str),
}

/// Words for an action: before, after, and when it failed. An empty one is not logged.
type Phrases = [&'static str; 3];

const DOWNLOAD: Phrases = ["Downloading image", "Downloaded image", "Failed to download image"];
const INSTALL: Phrases = ["Installing service", "Installed service", "Failed to install service"];
const START: Phrases = ["Starting service", "Started service", "Failed to start service"];
const RESTART: Phrases = ["Restarting service", "Started service", "Failed to start service"];
const KILL: Phrases = ["Killing service", "Killed service", "Failed to kill service"];
const STOPPED: Phrases =
    ["Service is already stopped, removing container", "Service is already stopped and the container removed", KILL[2]];
const DEAD: Phrases = ["Removing dead container", "", "Error removing dead container"];
const UPDATE: Phrases = ["Updating config for service", "Updated config for service", "Failed to update config for service"];
const DELETE: Phrases = ["Deleting image", "Deleted image", "Failed to delete image"];
const NEW_VOLUME: Phrases = ["Creating volume", "", "Error creating volume"];
const NO_VOLUME: Phrases = ["Removing volume", "", "Error removing volume"];
const KEEP_DATA: Phrases = ["Copying volume", "Copied volume", "Error copying volume"];
const PUT_DATA_BACK: Phrases = ["Putting back volume", "Put back volume", "Error putting back volume"];
const NEW_NETWORK: Phrases = ["Creating network", "", "Error creating network"];
const NO_NETWORK: Phrases = ["Removing network", "", "Error removing network"];

impl SystemWords {
    /// What to say of an event, if anything.
    pub(crate) fn on_event(&mut self, event: &DeviceEvent, current: &Current) -> Option<String> {
        let (step, stage) = match event {
            DeviceEvent::Begun(step) => (step, Stage::Begun),
            DeviceEvent::Succeeded(step) => (step, Stage::Succeeded),
            DeviceEvent::Failed { step, why } => (step, Stage::Failed(why)),
            // A download that nothing needs any more.
            DeviceEvent::Cancelled(_) => return None,
        };
        match step {
            Step::Engine(action) => {
                let (phrases, object) = self.engine_action(action, current, &stage);
                sentence(phrases, &object, &stage)
            }
            Step::TakeLocks(..) => matches!(stage, Stage::Begun).then(|| "Taking update locks".to_owned()),
            Step::ReleaseLocks(_) => matches!(stage, Stage::Begun).then(|| "Releasing update locks".to_owned()),
            // The old container is killed at its end.
            Step::HandOver { old, .. } => {
                let object = self.container_name(old, current, &stage);
                sentence(["", KILL[1], KILL[2]], &object, &stage)
            }
            // Phrases when the machine goes down.
            Step::Reboot => None,
        }
    }

    /// What to say of the status.
    pub(crate) fn on_status(&mut self, status: &Status) -> Vec<String> {
        let mut words: Vec<String> = self.exits(status).into_iter().map(|(_, text)| text).collect();
        words.extend(self.on_device_status(status));
        words
    }

    /// The same, without what concerns a single app.
    pub(crate) fn on_device_status(&mut self, status: &Status) -> Vec<String> {
        let mut words = Vec::new();
        if self.rejected != status.rejected {
            self.rejected.clone_from(&status.rejected);
            words.extend(self.rejected.as_ref().map(|why| format!("Could not move to new release: {why}")));
        }
        let locked = locked(status);
        let reason = locked.as_ref().map(|(_, why)| why.clone());
        if self.locked != reason {
            words.extend(locked.map(|(wait, why)| format!("Updates are locked, retrying in {}. Reason: {why}", short(wait))));
            self.locked = reason;
        }
        self.say_settings(status, &mut words);
        let is_ending = status.shutdown.is_under_way();
        if is_ending && !self.is_ending {
            let is_reboot = matches!(status.shutdown, ShutdownStatus::UnderWay { ending: Some(PowerAction::Reboot), .. });
            words.push(if is_reboot { "Rebooting" } else { "Shutting down" }.to_owned());
        }
        self.is_ending = is_ending;
        words
    }

    fn engine_action(&mut self, action: &EngineAction, current: &Current, stage: &Stage<'_>) -> (Phrases, String) {
        match action {
            EngineAction::Pull(image) => (DOWNLOAD, image.to_string()),
            EngineAction::RemoveImage(image) => (DELETE, image.to_string()),
            EngineAction::Create(spec) => (INSTALL, service_name(&spec.key.service, &spec.image, current)),
            EngineAction::Start(which) => (START, self.container_name(which, current, stage)),
            EngineAction::Restart(which) => (RESTART, self.container_name(which, current, stage)),
            EngineAction::Stop(which) => (KILL, self.container_name(which, current, stage)),
            EngineAction::Kill(which) => (self.kill(which, current, stage), self.container_name(which, current, stage)),
            EngineAction::Rename(which, _) => (UPDATE, self.container_name(which, current, stage)),
            // Parts of a hand-over, mending, and what goes before an update.
            EngineAction::Retire(..) | EngineAction::Connect(..) | EngineAction::RunHook(..) => ([""; 3], String::new()),
            EngineAction::CreateNetwork(network) => (NEW_NETWORK, network.name.clone()),
            EngineAction::RemoveNetwork(name, ..) => (NO_NETWORK, name.clone()),
            EngineAction::CreateVolume(volume) => (NEW_VOLUME, volume.name.clone()),
            EngineAction::RemoveVolume(name, _) => (NO_VOLUME, name.clone()),
            EngineAction::KeepData(copy) => (KEEP_DATA, copy.volume.name.clone()),
            EngineAction::PutDataBack(copy) => (PUT_DATA_BACK, copy.volume.name.clone()),
        }
    }

    fn kill(&mut self, which: &ContainerRef, current: &Current, stage: &Stage<'_>) -> Phrases {
        if !matches!(stage, Stage::Begun) {
            return self.kills.remove(&which.id).unwrap_or(KILL);
        }
        let phrases = match container(which, current).map(|it| it.phase) {
            Some(ContainerPhase::Dead) => DEAD,
            Some(ContainerPhase::Created | ContainerPhase::Exited(_)) => STOPPED,
            Some(ContainerPhase::Running | ContainerPhase::Restarting | ContainerPhase::Paused | ContainerPhase::Removing)
            | None => KILL,
        };
        self.kills.insert(which.id.clone(), phrases);
        phrases
    }

    /// What a container is called, also when it is gone.
    fn container_name(&mut self, which: &ContainerRef, current: &Current, stage: &Stage<'_>) -> String {
        let seen = container(which, current).map(|it| format!("{} {}", it.key.service, it.image));
        match stage {
            Stage::Begun => {
                let name = seen.unwrap_or_else(|| which.key.service.clone());
                self.names.insert(which.id.clone(), name.clone());
                name
            }
            Stage::Succeeded | Stage::Failed(_) => {
                self.names.remove(&which.id).or(seen).unwrap_or_else(|| which.key.service.clone())
            }
        }
    }

    /// Containers that ended by themselves, each with its app.
    pub(crate) fn exits(&mut self, status: &Status) -> Vec<(AppId, String)> {
        let acted_on = |it: &Container| status.steps_in_flight.iter().any(|step| step.service().as_ref() == Some(&it.key));
        let mut words = Vec::new();
        let containers = &status.current.containers;
        for it in containers {
            let before = self.phases.insert(it.id.clone(), it.phase);
            let ran = matches!(before, Some(ContainerPhase::Running | ContainerPhase::Paused));
            let is_over = matches!(it.phase, ContainerPhase::Exited(_) | ContainerPhase::Restarting);
            // One that a step stopped is logged as killed.
            let is_stopped = status.overrides.stopped.contains(&it.key) || self.names.contains_key(&it.id) || acted_on(it);
            if ran && is_over && !is_stopped {
                words.push((it.key.app, format!("Service exited '{} {}'", it.key.service, it.image)));
            }
        }
        self.phases.retain(|id, _| containers.iter().any(|it| it.id == *id));
        words
    }

    fn say_settings(&mut self, status: &Status, words: &mut Vec<String>) {
        let Some(target) = &status.target else { return };
        let own = target.config.iter().filter(|(name, _)| name.starts_with(SETTINGS));
        let now: SortedMap<_, _> = own.map(|(name, value)| (name.clone(), value.clone())).collect();
        let before = self.settings.replace(now.clone());
        let Some(before) = before else { return };
        for (name, value) in now.iter().filter(|(name, value)| before.get(*name) != Some(*value)) {
            for verb in ["Applying", "Applied"] {
                words.push(format!("{verb} configuration change {{{name:?}:{value:?}}}"));
            }
        }
    }
}

/// Why updates are locked, and when they are tried again.
fn locked(status: &Status) -> Option<(Duration, String)> {
    let held = status.waiting.iter().find(|it| matches!(it, Waiting::Lock(..) | Waiting::Lease(..)));
    let failed = || {
        status.troubles.iter().find_map(|it| match it {
            Trouble::Step { step, why: StepFault::Failed(why), again, .. } if matches!(**step, Step::TakeLocks(..)) => {
                Some((again.saturating_duration_since(Instant::now()), why.clone()))
            }
            Trouble::Step { .. } | Trouble::Difference(_) => None,
        })
    };
    held.map(|it| (LOCKS_EVERY, it.to_string())).or_else(failed)
}

fn sentence(phrases: Phrases, object: &str, stage: &Stage<'_>) -> Option<String> {
    let [begun, succeeded, failed] = phrases;
    let text = match stage {
        Stage::Begun => begun,
        Stage::Succeeded => succeeded,
        Stage::Failed(_) => failed,
    };
    let cause = if let Stage::Failed(why) = stage { format!(" due to '{why}'") } else { String::new() };
    (!text.is_empty()).then(|| format!("{text} '{object}'{cause}"))
}

fn container<'a>(which: &ContainerRef, current: &'a Current) -> Option<&'a Container> {
    current.containers.iter().find(|it| it.id == which.id)
}

/// A service with the id of its image, or the image's name where it is not there.
fn service_name(service: &str, image: &ImageRef, current: &Current) -> String {
    let id = current.images.iter().find(|it| it.answers_to(image)).map(|it| it.id.to_string());
    format!("{service} {}", id.unwrap_or_else(|| image.to_string()))
}

/// A wait in its largest unit: `500ms`, `30s`, `3m`.
fn short(wait: Duration) -> String {
    match wait.as_millis() {
        millis @ 0..1000 => format!("{millis}ms"),
        millis @ 1000..60_000 => format!("{}s", millis / 1000),
        millis @ 60_000..3_600_000 => format!("{}m", millis / 60_000),
        millis => format!("{}h", millis / 3_600_000),
    }
}

#[cfg(test)]
mod tests;
