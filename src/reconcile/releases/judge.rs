//! Whether a release on trial is good, has failed, or has to be waited for.
//!
//! A release is good once each service that is to run has done so for its settle time, healthy where it has a health check. It
//! has failed when a service was restarted too often, ended with an error though others wait for it to complete, cannot be
//! created or started, or does not run within its deadline. What merely waits (for a lock, a window, an image on a slow line)
//! has not failed, however long that takes: see `holds`.

use std::time::Duration;

use tokio::time::Instant;

use crate::sorted::{SortedMap, SortedSet};
use crate::state::config::RestartPolicy;
use crate::state::release::MOST_RESTARTS;
use crate::state::{App, Condition, Container, ContainerId, ContainerPhase, EngineTime, HealthStatus, Origin, Service};

/// What a release is judged by.
#[derive(Debug)]
pub(super) struct ReleaseEvidence<'a> {
    pub(super) app: &'a App,
    /// The containers of the release, by service.
    pub(super) containers: SortedMap<&'a str, &'a Container>,
    /// Services that a user stopped.
    pub(super) stopped: SortedSet<&'a str>,
    /// Services whose container cannot be created or started, for a reason that waiting does not mend.
    pub(super) refused: SortedMap<String, String>,
    /// The plan has steps for the app, or waits.
    pub(super) is_busy: bool,
    /// The app waits for something that may take as long as it likes.
    pub(super) holds: bool,
}

/// What is remembered of a release while it is on trial, beyond what each observation shows.
#[derive(Debug, Default)]
pub(super) struct TrialMemory {
    /// When each container was first seen after its start.
    started: SortedMap<ContainerId, Instant>,
    /// Since when each service has run without a break.
    steady: SortedMap<String, SteadyRun>,
    /// How often a container of another supervisor was restarted before the agent saw it.
    restarts_before: SortedMap<ContainerId, u32>,
    /// Containers that were seen to run out of memory. An engine may say it only until it starts them again.
    out_of_memory: SortedSet<ContainerId>,
}

/// A service that runs, healthy where it has a health check.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SteadyRun {
    container: ContainerId,
    started: Option<EngineTime>,
    since: Instant,
}

/// What the evidence says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ReleaseVerdict {
    /// It is proven good.
    Good,
    /// It has failed, by these services.
    Failed(Vec<ServiceFailure>),
    /// Neither, for these reasons. It is to be judged again at this time, if nothing happens before.
    Open(Vec<String>, Option<Instant>),
}

/// How a service failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServiceFailure {
    pub(super) service: String,
    pub(super) why: String,
    pub(super) container: Option<ContainerId>,
    pub(super) is_unhealthy: bool,
}

/// What one service shows.
enum ServiceEvidence {
    Settled,
    /// It runs as it should, and has done so since this time.
    Runs(Instant),
    /// It does not run as it should, in these words, and may come to.
    Falters(String),
    /// It waits: no deadline counts.
    Waits(String),
    Failed(String),
}

impl TrialMemory {
    /// Remembers what an observation shows, and judges.
    pub(super) fn judge(&mut self, evidence: &ReleaseEvidence<'_>) -> ReleaseVerdict {
        let now = Instant::now();
        self.remember(evidence, now);
        let last_start = self.started.values().max().copied().unwrap_or(now);
        let (mut failures, mut reasons, mut times) = (Vec::new(), Vec::new(), Vec::new());
        for (name, service) in &evidence.app.services {
            let mut fail = |mut why: String| {
                let container = evidence.containers.get(name.as_str());
                if container.is_some_and(|it| self.out_of_memory.contains(&it.id)) {
                    why.push_str("; it ran out of memory");
                }
                let is_unhealthy = container.is_some_and(|it| it.health == Some(HealthStatus::Unhealthy));
                let (service, container) = (name.clone(), container.map(|it| it.id.clone()));
                failures.push(ServiceFailure { service, why, container, is_unhealthy });
            };
            match self.look_at(evidence, name, service) {
                ServiceEvidence::Settled => (),
                ServiceEvidence::Runs(since) => {
                    let settles = since + service.trial.settle;
                    if settles > now {
                        reasons.push(format!(
                            "{name} has run for {} of {}",
                            seconds(now - since),
                            seconds(service.trial.settle)
                        ));
                        times.push(settles);
                    }
                }
                ServiceEvidence::Waits(what) => reasons.push(format!("{name} {what}")),
                ServiceEvidence::Falters(what) => {
                    let ends = last_start + service.trial.deadline;
                    if ends <= now && !evidence.holds {
                        fail(format!("it {what}, {} after the last container was started", seconds(service.trial.deadline)));
                    } else {
                        reasons.push(format!("{name} {what}"));
                        times.push(ends);
                    }
                }
                ServiceEvidence::Failed(why) => fail(why),
            }
        }
        if !failures.is_empty() {
            return ReleaseVerdict::Failed(failures);
        }
        if reasons.is_empty() && evidence.is_busy {
            reasons.push("the update is under way".to_owned());
        }
        if reasons.is_empty() { ReleaseVerdict::Good } else { ReleaseVerdict::Open(reasons, times.into_iter().min()) }
    }

    fn remember(&mut self, evidence: &ReleaseEvidence<'_>, now: Instant) {
        let has_started = |it: &&&Container| it.started.is_some() && it.phase != ContainerPhase::Created;
        let started = evidence.containers.values().filter(has_started);
        let started: SortedMap<_, _> =
            started.map(|it| (it.id.clone(), self.started.get(&it.id).copied().unwrap_or(now))).collect();
        self.started = started;
        self.out_of_memory.retain(|id| evidence.containers.values().any(|it| it.id == *id));
        let ended = evidence.containers.values().filter(|it| it.is_out_of_memory);
        self.out_of_memory.extend(ended.map(|it| it.id.clone()));
        let adopted = evidence.containers.values().filter(|it| matches!(it.made, Origin::Adopted(_)));
        // What a container went through under another supervisor proves nothing of a release. A start by hand counts anew.
        let before = |it: &Container| self.restarts_before.get(&it.id).copied().unwrap_or(it.restarts).min(it.restarts);
        self.restarts_before = adopted.map(|it| (it.id.clone(), before(it))).collect();
        let is_steady = |it: &&(&&str, &&Container)| {
            it.1.phase == ContainerPhase::Running && it.1.health.is_none_or(|health| health == HealthStatus::Healthy)
        };
        let runs = evidence.containers.iter().collect::<Vec<_>>();
        let steady = runs.iter().filter(is_steady).map(|(name, it)| {
            let before = self.steady.get(**name).filter(|run| run.container == it.id && run.started == it.started);
            let since = before.map_or(now, |run| run.since);
            ((**name).to_owned(), SteadyRun { container: it.id.clone(), started: it.started, since })
        });
        self.steady = steady.collect();
    }

    fn look_at(&self, evidence: &ReleaseEvidence<'_>, name: &str, service: &Service) -> ServiceEvidence {
        if !service.running || evidence.stopped.contains(name) {
            return ServiceEvidence::Settled;
        }
        if let Some(why) = evidence.refused.get(name) {
            return ServiceEvidence::Failed(format!("it does not come to run: {why}"));
        }
        let Some(container) = evidence.containers.get(name) else {
            return ServiceEvidence::Waits("has no container of this release yet".to_owned());
        };
        let restarts = container.restarts - self.restarts_before.get(&container.id).copied().unwrap_or_default();
        if restarts > MOST_RESTARTS {
            return ServiceEvidence::Failed(format!("it was restarted {restarts} times"));
        }
        match container.phase {
            ContainerPhase::Created => ServiceEvidence::Waits("is not started yet".to_owned()),
            ContainerPhase::Paused => ServiceEvidence::Waits("is paused".to_owned()),
            ContainerPhase::Running => match (self.steady.get(name), container.health) {
                (Some(run), _) => ServiceEvidence::Runs(run.since),
                (None, Some(HealthStatus::Unhealthy)) => ServiceEvidence::Falters("is unhealthy".to_owned()),
                (None, _) => ServiceEvidence::Falters("is not healthy yet".to_owned()),
            },
            ContainerPhase::Exited(code) => exited(evidence.app, name, service, code),
            ContainerPhase::Restarting | ContainerPhase::Removing | ContainerPhase::Dead => {
                ServiceEvidence::Falters("ends again and again".to_owned())
            }
        }
    }
}

/// A container that ended. One that the engine restarts at every exit was stopped by hand.
fn exited(app: &App, name: &str, service: &Service, code: i32) -> ServiceEvidence {
    let waits = |it: &Service| it.depends_on.get(name).is_some_and(|on| on.condition == Condition::Completed && on.required);
    match service.config.restart {
        RestartPolicy::No if code != 0 => match app.services.iter().find(|(_, it)| waits(it)) {
            Some((other, _)) => {
                ServiceEvidence::Failed(format!("it ended with exit code {code}, and {other} waits for it to complete"))
            }
            None => ServiceEvidence::Settled,
        },
        RestartPolicy::No => ServiceEvidence::Settled,
        RestartPolicy::OnFailure(_) if code == 0 => ServiceEvidence::Settled,
        RestartPolicy::OnFailure(_) | RestartPolicy::Always | RestartPolicy::UnlessStopped => {
            ServiceEvidence::Falters(format!("ended with exit code {code}"))
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs())
}

#[cfg(test)]
mod tests;
