//! What services depend on: health checks, jobs, and the order in which containers may be started.

use boardkeeper::state::{
    AppId, Condition, ContainerConfig, ContainerId, ContainerPhase, ContainerRef, Dependency, EngineTime, HealthStatus,
    ServiceKey, Target,
};
use tokio::time::Instant;

use super::Model;
use super::engine_model::SimContainer;
use super::events::Job;
use super::invariants::{MAX_STALENESS, service};
use super::marks::Mark;

/// The history of a health check.
#[derive(Debug, Clone, Default)]
pub(crate) struct Check {
    /// It never succeeds.
    sick: bool,
    /// When it last succeeded.
    well: Option<Instant>,
    /// When it last failed, or its container ended.
    ill: Option<Instant>,
}

impl Check {
    /// The health check of a container with this configuration.
    pub(crate) fn of(config: &ContainerConfig) -> Self {
        Self { sick: config.env.contains_key("SICK"), ..Self::default() }
    }
}

fn lately(at: Option<Instant>) -> bool {
    at.is_some_and(|at| at.elapsed() < MAX_STALENESS)
}

impl SimContainer {
    /// Its process ended with this code.
    pub(crate) fn ended(&mut self, code: i32) {
        let before = self.view.health.take();
        self.was(before);
        if let Some(check) = &mut self.check {
            check.ill = Some(Instant::now());
        }
        if code == 0 {
            self.completed = Some(Instant::now());
        }
    }

    /// Until now its health was this.
    fn was(&mut self, health: Option<HealthStatus>) {
        let now = Some(Instant::now());
        match (&mut self.check, health) {
            (Some(check), Some(HealthStatus::Healthy)) => check.well = now,
            (Some(check), Some(HealthStatus::Unhealthy)) => check.ill = now,
            _ => (),
        }
    }

    /// Whether it fulfils a condition, or did not long ago: an agent acts on what it saw.
    fn fulfils(&self, condition: Condition) -> bool {
        match condition {
            Condition::Started => self.view.phase != ContainerPhase::Created,
            Condition::Healthy => {
                let well = self.check.as_ref().and_then(|it| it.well);
                self.view.health == Some(HealthStatus::Healthy) || lately(well)
            }
            Condition::Completed => self.view.phase == ContainerPhase::Exited(0) || lately(self.completed),
        }
    }

    /// Whether it was plainly on its way for so long that every agent saw it.
    fn is_coming(&self, condition: Condition, now: EngineTime) -> bool {
        let since = self.view.started.map_or(0, |it| now.secs() - it.secs());
        let runs = self.view.phase == ContainerPhase::Running && since > i64::try_from(MAX_STALENESS.as_secs()).unwrap();
        let fresh = self.restarts == 0 && !self.stopped && self.started == 1;
        runs && fresh
            && match condition {
                Condition::Started => false,
                Condition::Healthy => {
                    let starting = self.view.health == Some(HealthStatus::Starting);
                    starting && self.check.as_ref().is_some_and(|it| it.well.is_none() && it.ill.is_none())
                }
                Condition::Completed => !self.view.restart.restarts_always() && self.completed.is_none(),
            }
    }
}

impl Model {
    /// A container was started: schedules its first health report.
    pub(super) fn check_later(&mut self, id: &ContainerId) {
        if self.engine.containers.get(id).is_some_and(|it| it.check.is_some()) {
            let after = self.rngs.containers.secs(1, 60);
            self.schedule(after, Job::Health(id.clone()));
        }
    }

    /// A health check reports. Without faults every container is healthy, except those that never are.
    pub(super) fn checks(&mut self, id: &ContainerId) {
        let fails = self.rngs.containers.happens(self.rates.faults);
        let Some(it) = self.engine.containers.get_mut(id).filter(|it| it.view.phase == ContainerPhase::Running) else {
            return;
        };
        let Some(sick) = it.check.as_ref().map(|it| it.sick) else { return };
        let before = it.view.health;
        it.was(before);
        let now = if sick || fails { HealthStatus::Unhealthy } else { HealthStatus::Healthy };
        it.view.health = Some(now);
        let key = it.view.key.clone();
        if before != Some(now) {
            self.note(format_args!("{key} is {}", now.word()));
            self.hit(if now == HealthStatus::Healthy { Mark::Healthy } else { Mark::Unhealthy });
            self.event();
        }
        if !sick && (now == HealthStatus::Unhealthy || self.rates.faults > 0) {
            let after = self.rngs.containers.secs(10, 300);
            self.schedule(after, Job::Health(id.clone()));
        }
    }

    /// A service is started when every condition of its dependencies holds, and not before.
    pub(super) fn check_dependencies(&mut self, which: &ContainerRef) {
        let app = which.key.app;
        let early = |target: &Target| {
            let needs = service(target, &which.key).map(|it| it.depends_on.clone()).unwrap_or_default();
            needs.iter().any(|(on, it)| self.is_early(target, app, on, *it))
        };
        if self.all_targets(early) {
            self.violation(format_args!("start {}, before what it depends on", which.key));
        }
        let waited = |target: &Target| {
            service(target, &which.key).is_some_and(|it| it.depends_on.values().any(|it| it.condition != Condition::Started))
        };
        if self.all_targets(waited) {
            self.hit(Mark::ConditionHeld);
        }
    }

    fn is_early(&self, target: &Target, app: AppId, on: &str, dependency: Dependency) -> bool {
        let key = ServiceKey::new(app, on);
        let stays = |it: &&SimContainer| it.view.key == key && !self.checker.leaving.contains(&it.view.id);
        let theirs: Vec<_> = self.engine.ours().filter(stays).collect();
        if self.checker.lately_by_hand(&key.to_string()) || theirs.iter().any(|it| it.fulfils(dependency.condition)) {
            return false;
        }
        // What is not to run need not run for those that depend on it.
        let stopped = self.status.as_ref().is_some_and(|it| it.borrow().overrides.stopped.contains(&key));
        let to_run = !stopped && service(target, &key).is_some_and(|it| it.running);
        if dependency.required {
            dependency.condition != Condition::Started || to_run
        } else {
            to_run && theirs.iter().any(|it| it.is_coming(dependency.condition, self.engine.now))
        }
    }

    /// Whether a container is restarted because a dependency was created anew.
    pub(super) fn mark_restart(&mut self, which: &ContainerRef) {
        let started = self.engine.containers.get(&which.id).and_then(|it| it.view.started);
        let anew = |target: &Target| {
            let needs = service(target, &which.key).map(|it| it.depends_on.clone()).unwrap_or_default();
            needs.iter().filter(|(_, it)| it.restart).any(|(on, _)| {
                let key = ServiceKey::new(which.key.app, on);
                let mut theirs = self.engine.ours().filter(|it| it.view.key == key);
                theirs.any(|it| started.is_some_and(|started| started.secs() < it.view.created_secs))
            })
        };
        if self.all_targets(anew) {
            self.hit(Mark::DependentRestarted);
        }
    }
}
