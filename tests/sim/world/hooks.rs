//! Hooks before updates: commands of services that succeed, fail or hang.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use boardkeeper::port::EngineError;
use boardkeeper::state::hook::{HookRun, UpdateHook};
use boardkeeper::state::labels::{BEFORE_UPDATE_LABEL, BEFORE_UPDATE_TIMEOUT_LABEL};
use boardkeeper::state::{ContainerId, ContainerPhase, ContainerRef, EngineAction, ServiceKey, Target};

use super::engine_model::EngineModel;
use super::marks::Mark;
use super::rng::Rng;
use super::{Model, Sim};

/// How hooks behave.
#[derive(Debug, Default)]
pub(crate) struct HookBehaviour {
    /// Services whose hook fails.
    pub(crate) failing: BTreeSet<ServiceKey>,
    /// Services whose hook does not end.
    pub(crate) hanging: BTreeSet<ServiceKey>,
    /// In lives of chance: while there are faults, some runs fail or hang.
    pub(crate) chance: Option<Rng>,
    /// How often each container's hook succeeded.
    pub(crate) succeeded: BTreeMap<ContainerId, u32>,
}

/// Gives every service a hook.
pub(super) fn give(target: &mut Target, command: &str) {
    for service in target.apps.values_mut().flat_map(|it| it.services.values_mut()) {
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
    pub(crate) fn run_hook(&mut self, which: &ContainerRef, hook: &UpdateHook) -> Result<(), EngineError> {
        if !self.engine.runs(&which.id) {
            return Ok(());
        }
        let by_chance = !self.rates.events.is_empty() && self.hooks.chance.as_mut().is_some_and(|it| it.happens(250));
        if self.hooks.failing.contains(&which.key) || by_chance || hook.command[0] == "false" {
            return Err(EngineError::Refused("the hook ended with exit code 1; it said: no room".into()));
        }
        self.hit(Mark::HookSucceeds);
        *self.hooks.succeeded.entry(which.id.clone()).or_default() += 1;
        Ok(())
    }

    /// The agent runs a hook: under the lock, as it is the first part of what disturbs the service.
    pub(super) fn check_hook(&mut self, action: &EngineAction, which: &ContainerRef) {
        self.check_ownership(action, which);
        self.check_lock(action, which);
    }
}

impl EngineModel {
    fn runs(&self, id: &ContainerId) -> bool {
        self.containers.get(id).is_some_and(|it| it.view.phase == ContainerPhase::Running)
    }
}
