//! `depends_on`: whether the conditions hold on which a service is started, and why one never will.
//!
//! A condition holds up a start and nothing else: a running service is not stopped because a dependency became unhealthy, and
//! no completed program runs again for its dependents. The engine's restart policies start containers by themselves, after a
//! boot for example, and know no dependencies.

use crate::plan::container::{Outdated, is_fresh, needs_start, newest_live, sibling};
use crate::plan::input::PlanInput;
use crate::state::{App, Condition, Container, ContainerPhase, Dependency, HealthStatus, Never, Service, ServiceKey, Unmet};

/// Progress of a condition.
enum Progress {
    Met,
    Pending,
    Never(Never),
}

/// The search for an unmet condition.
struct Search<'d, 's, F> {
    input: PlanInput<'s>,
    app: &'d App,
    /// Finds the container that counts for a service.
    find: F,
}

/// The first condition of a service that does not hold; one that never will comes before the others.
pub(super) fn unmet(input: PlanInput<'_>, app: &App, service: &Service) -> Option<Unmet> {
    let find = |name: &str| sibling(input, app, name);
    Search { input, app, find }.unmet(service, app.services.len())
}

/// As `unmet`, while a release is on its way: the dependency's existing container counts, unless it is about to be removed.
pub(super) fn unmet_meanwhile(input: PlanInput<'_>, old: &Outdated<'_>) -> Option<Unmet> {
    let stays = |it: &&Container| {
        let service = old.app.services.get(&it.key.service).filter(|it| it.strategy.makes_way_first());
        service.is_none_or(|service| is_fresh(input, old.app, service, it, old.changed))
    };
    let find = |name: &str| {
        let containers = input.containers_of(old.app.id).filter(|it| it.key.service == *name);
        newest_live(containers).filter(stays)
    };
    Search { input, app: old.app, find }.unmet(old.service, old.app.services.len())
}

/// Whether a running container was started before a dependency's container was recreated, and must be restarted for that. A
/// dependency that the engine restarted by itself keeps its container.
pub(super) fn needs_restart(input: PlanInput<'_>, app: &App, service: &Service, container: &Container) -> bool {
    let (ContainerPhase::Running, Some(started)) = (container.phase, container.started) else { return false };
    let (booted, now) = (input.current.booted_secs, input.current.now_secs);
    let recreated = |(name, dependency): (&String, &Dependency)| {
        let other = sibling(input, app, name).filter(|_| dependency.restart);
        other.is_some_and(|it| {
            // A creation time in the future is from before the clock was set back: no restart would come after it.
            let later = started.secs() < it.created_secs && it.created_secs <= now;
            later && is_met(input, it, dependency.condition)
        })
    };
    // No container runs across a boot: a start time before the boot is from before the clock was set, and cannot be compared.
    started.secs() >= booted && service.depends_on.iter().any(recreated)
}

/// Whether the container of a dependency meets a condition.
fn is_met(input: PlanInput<'_>, container: &Container, condition: Condition) -> bool {
    match condition {
        Condition::Started => match container.phase {
            ContainerPhase::Running | ContainerPhase::Restarting | ContainerPhase::Paused | ContainerPhase::Exited(_) => true,
            ContainerPhase::Created | ContainerPhase::Removing | ContainerPhase::Dead => false,
        },
        Condition::Healthy => container.phase == ContainerPhase::Running && container.health == Some(HealthStatus::Healthy),
        Condition::Completed => container.phase == ContainerPhase::Exited(0) && !needs_start(input, container),
    }
}

/// Why the container of a dependency will never meet a condition that it does not meet now.
fn why_never(input: PlanInput<'_>, container: &Container, condition: Condition) -> Option<Never> {
    match (condition, container.phase) {
        (Condition::Healthy, ContainerPhase::Running) => match container.health {
            None => Some(Never::NoHealthCheck),
            Some(HealthStatus::Unhealthy) => Some(Never::Unhealthy),
            Some(HealthStatus::Starting | HealthStatus::Healthy) => None,
        },
        (Condition::Healthy | Condition::Completed, ContainerPhase::Exited(code)) if !needs_start(input, container) => {
            Some(Never::Exited(code, container.restart))
        }
        (Condition::Started | Condition::Healthy | Condition::Completed, _) => None,
    }
}

impl<'c, F: Fn(&str) -> Option<&'c Container>> Search<'_, '_, F> {
    fn unmet(&self, service: &Service, depth: usize) -> Option<Unmet> {
        // No container can join a namespace of one that does not run.
        let shared = service.config.shares().map(|(_, owner)| (owner, Dependency::default()));
        let all = service.depends_on.iter().map(|(name, it)| (name.as_str(), *it)).chain(shared);
        let unmet = all.filter_map(|(name, it)| {
            let never = match self.progress(name, it.condition, depth) {
                Progress::Met => return None,
                Progress::Never(_) if !it.required => return None,
                Progress::Never(why) => Some(why),
                Progress::Pending => None,
            };
            Some(Unmet { on: name.to_owned(), condition: it.condition, never })
        });
        unmet.min_by_key(|it| it.never.is_none())
    }

    fn progress(&self, name: &str, condition: Condition, depth: usize) -> Progress {
        let (input, container) = (self.input, (self.find)(name));
        // The parser leaves no such name; a service that is not in the app is not waited for.
        let Some(service) = self.app.services.get(name) else { return Progress::Met };
        let key = ServiceKey::new(self.app.id, name);
        let wanted_running = input.is_wanted_running(&key, service);
        // A healthy dependency that is about to be stopped is of no use to a service that starts now.
        let counts = wanted_running || condition != Condition::Healthy;
        if counts && container.is_some_and(|it| is_met(input, it, condition)) {
            return Progress::Met;
        }
        if !wanted_running {
            return match (condition, service.running) {
                // A dependency that is not to run need not have been started for its dependents.
                (Condition::Started, _) => Progress::Met,
                (Condition::Healthy | Condition::Completed, true) => Progress::Never(Never::Stopped),
                (Condition::Healthy | Condition::Completed, false) => Progress::Never(Never::NotToRun),
            };
        }
        if condition == Condition::Completed && service.config.restart.restarts_always() {
            return Progress::Never(Never::Endless(service.config.restart));
        }
        let never = container.and_then(|it| why_never(input, it, condition)).or_else(|| {
            let is_to_start = container.is_none_or(|it| needs_start(input, it));
            if is_to_start && input.current.failing.contains(&key) {
                return Some(Never::Failing);
            }
            // The parser rejects cycles; the depth limits the recursion all the same.
            let depth = depth.checked_sub(1).filter(|_| is_to_start)?;
            let before = self.unmet(service, depth)?;
            before.never.map(|_| Never::HeldBack(before.on))
        });
        never.map_or(Progress::Pending, Progress::Never)
    }
}
