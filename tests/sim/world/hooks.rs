//! Hooks before updates: commands of services that succeed, fail or hang.

use std::time::Duration;

use boardkeeper::plan::inject_supervisor_env;
use boardkeeper::port::EngineError;
use boardkeeper::sorted::{SortedMap, SortedSet};
use boardkeeper::state::hook::{HookRun, UpdateHook};
use boardkeeper::state::labels::{BEFORE_UPDATE_LABEL, BEFORE_UPDATE_TIMEOUT_LABEL};
use boardkeeper::state::{
    ConfigHash, ContainerId, ContainerPhase, ContainerRef, EngineAction, ReleaseTrial, ServiceKey, Target,
};

use super::engine_model::{EngineModel, SimContainer};
use super::invariants::{MAX_STALENESS, service};
use super::marks::Mark;
use super::rng::Rng;
use super::{Model, Sim};

/// How hooks behave.
#[derive(Debug, Default)]
pub(crate) struct HookBehaviour {
    /// Services whose hook fails.
    pub(crate) failing: SortedSet<ServiceKey>,
    /// Services whose hook does not end.
    pub(crate) hanging: SortedSet<ServiceKey>,
    /// In lives of chance: while there are faults, some runs fail or hang.
    pub(crate) chance: Option<Rng>,
    /// How often each container's hook succeeded.
    pub(crate) succeeded: SortedMap<ContainerId, u32>,
    /// For which updates hooks succeeded, as the agent that runs may remember: the container, and the wanted configuration.
    remembered: SortedSet<(ContainerId, ConfigHash)>,
    /// A client had a target tried: what goes back from it has no hooks.
    pub(crate) is_target_tried: bool,
}

impl HookBehaviour {
    /// The agent's memory is gone: it runs every hook anew.
    pub(super) fn agent_died(&mut self) {
        self.remembered.clear();
    }
}

/// Gives every service a hook.
pub(super) fn give(target: &mut Target, command: &str) {
    for (_, service) in target.apps.iter_mut().flat_map(|(_, it)| &mut it.services) {
        service.config.labels.insert(BEFORE_UPDATE_LABEL.to_owned(), command.to_owned());
        service.config.labels.insert(BEFORE_UPDATE_TIMEOUT_LABEL.to_owned(), "20s".to_owned());
    }
}

impl Sim {
    /// Runs a hook for as long as it takes, up to its time.
    pub(super) async fn run_hook(&self, which: &ContainerRef, run: &HookRun, epoch: u64) -> Result<(), EngineError> {
        let hangs = self.with(|model| model.hook_hangs(which, &run.hook));
        let takes = if hangs { run.hook.timeout } else { Duration::from_millis(200) };
        tokio::time::sleep(takes).await;
        self.answers(Some(epoch))?;
        if hangs {
            let secs = run.hook.timeout.as_secs();
            return Err(EngineError::Refused(format!("the hook did not end within {secs} s, and goes on")));
        }
        Ok(())
    }
}

impl Model {
    /// Whether a run of a hook takes longer than it may.
    pub(crate) fn hook_hangs(&mut self, which: &ContainerRef, hook: &UpdateHook) -> bool {
        if !self.engine.runs(&which.id) {
            return false;
        }
        let sleeps = match hook.command.as_slice() {
            [program, secs] if program == "sleep" => secs.parse().is_ok_and(|it| Duration::from_secs(it) > hook.timeout),
            _ => false,
        };
        let by_chance = !self.rates.events.is_empty() && self.hooks.chance.as_mut().is_some_and(|it| it.happens(100));
        let hangs = self.hooks.hanging.contains(&which.key) || sleeps || by_chance;
        if hangs {
            self.hit(Mark::HookHangs);
        }
        hangs
    }

    /// A hook runs to its end.
    pub(crate) fn run_hook(&mut self, which: &ContainerRef, run: &HookRun) -> Result<(), EngineError> {
        let hook = &run.hook;
        if !self.engine.runs(&which.id) {
            self.hooks.remembered.insert((which.id.clone(), run.wanted.clone()));
            return Ok(());
        }
        let by_chance = !self.rates.events.is_empty() && self.hooks.chance.as_mut().is_some_and(|it| it.happens(250));
        if self.hooks.failing.contains(&which.key) || by_chance || hook.command[0] == "false" {
            return Err(EngineError::Refused("the hook ended with exit code 1; it said: no room".into()));
        }
        self.hit(Mark::HookSucceeds);
        self.hooks.remembered.insert((which.id.clone(), run.wanted.clone()));
        *self.hooks.succeeded.entry(which.id.clone()).or_default() += 1;
        Ok(())
    }

    /// The agent runs a hook: under the lock, as it is the first part of what disturbs the service.
    pub(super) fn check_hook(&mut self, action: &EngineAction, which: &ContainerRef) {
        self.check_ownership(action, which);
        self.check_lock(action, which);
    }

    /// A container is removed or retired. Where that is an update, its hook succeeded before, for that update.
    pub(super) fn check_hook_ran(&mut self, action: &EngineAction, which: &ContainerRef) {
        let Some(container) = self.engine.containers.get(&which.id) else { return };
        // An agent may have seen one that has not run for long before it was started.
        let has_run = |it: &SimContainer| it.view.started.is_some_and(|at| self.now_secs() - at.secs() > STALE_SECS);
        let has_hook = container.view.phase == ContainerPhase::Running && container.view.before_update.is_some();
        let is_clock_steady = self.jumped.elapsed() > MAX_STALENESS;
        if !has_hook || !has_run(container) || !is_clock_steady || !self.is_update(which) {
            return;
        }
        let updates = self.wanted_hashes(&which.key);
        if updates.into_iter().any(|it| self.hooks.remembered.contains(&(which.id.clone(), it))) {
            self.hit(Mark::UpdateAfterHook);
        } else {
            self.violation(format_args!("{action}, and its hook did not succeed before"));
        }
    }

    /// Whether the agent can have no other reason to remove a container than an update that nothing exempts from hooks.
    fn is_update(&self, which: &ContainerRef) -> bool {
        let (key, checker) = (&which.key, &self.checker);
        let is_requested = [&checker.restarted, &checker.purged].iter().any(|it| it.contains(&key.app));
        let is_local = checker.developed || self.all_targets(|it| it.local.is_some());
        let goes_back = self.hooks.is_target_tried || self.went_back(which);
        // The end of a hand-over: the hook was run before it began, maybe by another agent.
        let began =
            |it: &SimContainer| it.view.key == *key && it.view.id != which.id && it.view.phase != ContainerPhase::Created;
        let is_finished = self.engine.ours().any(began);
        let is_retired = self.engine.containers.get(&which.id).is_some_and(|it| it.retired_by.is_some());
        let stays = self.all_targets(|it| service(it, key).is_some());
        stays && !is_requested && !is_local && !goes_back && !is_finished && !is_retired && !self.may_force(key.app)
    }

    /// Whether the app goes back to its last good release, or did by what is on the disk.
    fn went_back(&self, which: &ContainerRef) -> bool {
        let app = which.key.app;
        let is_back = |it: &ReleaseTrial| matches!(it, ReleaseTrial::RolledBack(..));
        let says = self.status.as_ref().is_some_and(|it| it.borrow().releases.get(&app).is_some_and(is_back));
        says || self.disk.kept.failed_releases.contains_key(&app)
    }

    /// The configurations that a service is to have by the targets that the agent may have in memory.
    fn wanted_hashes(&self, key: &ServiceKey) -> Vec<ConfigHash> {
        let mut hashes = Vec::new();
        self.known_targets(|target| hashes.extend(self.hashes_by(target, key)));
        hashes
    }

    /// The configurations that a service is to have by this target: as it is, and with what this device gives containers.
    pub(super) fn hashes_by(&self, target: &Target, key: &ServiceKey) -> Vec<ConfigHash> {
        let (Some(status), Some(keys)) = (&self.status, &self.disk.kept.keys) else { return Vec::new() };
        let given = inject_supervisor_env(target, &status.borrow().device, keys);
        let hash = |it: &Target| service(it, key).map(|it| it.config.hash(it.image.as_str()));
        [target, &given].into_iter().filter_map(hash).collect()
    }
}

/// For so long a container has to run before the agent must have seen it.
const STALE_SECS: i64 = MAX_STALENESS.as_secs().cast_signed();

impl EngineModel {
    fn runs(&self, id: &ContainerId) -> bool {
        self.containers.get(id).is_some_and(|it| it.view.phase == ContainerPhase::Running)
    }
}
