//! The targets that the agent may act on: what it received, what it started with, and what was in force until it received that.

use std::collections::VecDeque;
use std::sync::Arc;

use boardkeeper::state::{AppId, ServiceKey, Target};

use super::Model;
use super::invariants::service;

/// The services that clients have tried, in app 1.
pub(crate) const TRIED: [&str; 2] = ["db", "web"];

/// The targets that the agent may have in memory.
#[derive(Debug, Default)]
pub(super) struct KnownTargets {
    /// The last two that it received.
    received: VecDeque<Target>,
    /// What it started with.
    loaded: Vec<Target>,
    /// What was in force when it received the last one: steps that were planned by it may be under way.
    superseded: Option<Arc<Target>>,
}

impl KnownTargets {
    /// What it received last.
    pub(super) fn newest(&self) -> Option<&Target> {
        self.received.back()
    }
}

impl Model {
    /// The agent received this target.
    pub(crate) fn target_received(&mut self, target: &Target) {
        self.checker.stopped.retain(|key| service(target, key).is_some());
        let known = &mut self.checker.targets;
        known.superseded = self.status.as_ref().and_then(|it| it.borrow().target.clone());
        known.received.push_back(target.clone());
        if known.received.len() > 2 {
            known.received.pop_front();
        }
    }

    /// The agent starts with what it saved: it acts on that until a document comes, and falls back to it when it crashes again
    /// and again.
    pub(crate) fn agent_starts(&mut self) {
        let (kept, trial) = (&self.disk.kept.targets, &self.disk.kept.target_trial);
        let tried = trial.tried.iter().map(|it| &it.target).chain(trial.kept.iter().map(|it| &it.target));
        let good = kept.good_apps.values();
        let known = &mut self.checker.targets;
        known.loaded = [&kept.wanted, &kept.last_good].into_iter().flatten().chain(good).chain(tried).cloned().collect();
        known.superseded = None;
    }

    /// A client asks to keep the target on trial: what a person stopped stays so for as long as the target has it.
    pub(crate) fn target_may_be_kept(&mut self) {
        if self.hooks.is_target_tried {
            self.checker.stopped.retain(|ServiceKey { app, service }| *app == AppId(1) && TRIED.contains(&service.as_str()));
        }
    }

    /// Visits every target the agent may still have in memory.
    pub(super) fn known_targets(&self, mut look: impl FnMut(&Target)) {
        let known = &self.checker.targets;
        known.received.iter().chain(known.superseded.as_deref()).for_each(&mut look);
        if let Some(status) = &self.status {
            status.borrow().target.as_deref().into_iter().for_each(look);
        }
    }

    /// Whether the rule holds for every target in the agent's memory; false where there is none.
    pub(crate) fn all_targets(&self, rule: impl Fn(&Target) -> bool) -> bool {
        let (mut some, mut all) = (false, true);
        self.known_targets(|it| (some, all) = (true, all && rule(it)));
        some && all
    }

    /// Whether the rule holds for one of them, or for one that the agent loaded at its start.
    pub(super) fn any_target(&self, rule: impl Fn(&Target) -> bool) -> bool {
        let mut one = self.checker.targets.loaded.iter().any(&rule);
        self.known_targets(|it| one = one || rule(it));
        one
    }
}
