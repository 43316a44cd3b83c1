//! What happened to containers without the agent, found between two observations.

use crate::port::World;
use crate::reconcile::Reconciler;
use crate::state::history::{Cause, HistoryAction, HistoryNote, HistoryObject, HistoryOutcome};
use crate::state::{Container, ContainerPhase, Current, EngineTime, ServiceKey, Step};

/// Something that happened to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SeenChange {
    pub(super) action: HistoryAction,
    pub(super) key: ServiceKey,
    pub(super) name: String,
    pub(super) why: String,
    /// When, in seconds of the wall clock, where the engine says so.
    pub(super) at_secs: Option<i64>,
}

/// What is known of the time between the two observations.
#[derive(Debug, Clone, Copy)]
pub(super) struct Between {
    /// The engine did not answer.
    pub(super) engine_was_lost: bool,
}

/// Whether a step brought about what happened to a container. `removes`: whether a step on its service removes containers, if
/// there was one. No other step removes one that has run.
pub(super) fn is_of_step(old: &Container, is_gone: bool, removes: Option<bool>) -> bool {
    removes.is_some_and(|removes| !is_gone || removes || old.phase == ContainerPhase::Created)
}

/// What happened to containers without the agent. `is_ours`: whether the agent brought about that a container is gone, or has
/// changed.
pub(super) fn changes_between(
    before: &Current,
    now: &Current,
    between: Between,
    is_ours: impl Fn(&Container, bool) -> bool,
) -> Vec<SeenChange> {
    let mut seen = Vec::new();
    for old in &before.containers {
        let new = now.containers.iter().find(|it| it.id == old.id);
        if is_ours(old, new.is_none()) {
            continue;
        }
        let change =
            |action, why: String, at_secs| SeenChange { action, key: old.key.clone(), name: old.name.clone(), why, at_secs };
        let Some(new) = new else {
            seen.push(change(HistoryAction::RemovedByHand, String::new(), None));
            continue;
        };
        let ran = matches!(old.phase, ContainerPhase::Running | ContainerPhase::Paused);
        match new.phase {
            ContainerPhase::Exited(code) if ran => {
                seen.push(change(HistoryAction::Exited, format!("exit code {code}"), None));
            }
            ContainerPhase::Restarting if ran => {
                seen.push(change(HistoryAction::Exited, "its restart policy starts it again".to_owned(), None));
            }
            ContainerPhase::Dead if ran => {
                seen.push(change(HistoryAction::Exited, "the engine could not remove it".to_owned(), None));
            }
            ContainerPhase::Running if new.started > old.started && new.started.is_some() => {
                let why = started_why(old, new, between);
                let at = new.started.map(EngineTime::secs);
                seen.push(change(HistoryAction::StartedByEngine, why, at));
            }
            _ => (),
        }
    }
    seen
}

fn started_why(old: &Container, new: &Container, between: Between) -> String {
    if between.engine_was_lost {
        return "the container engine was restarted".to_owned();
    }
    if new.restarts > old.restarts {
        return format!("it had ended, and its restart policy `{}` started it again", new.restart);
    }
    "another program started it on the engine".to_owned()
}

impl<W: World> Reconciler<'_, W> {
    /// Enters what happened since the last observation.
    pub(in crate::reconcile) fn note_seen(&mut self, now: &Current) {
        if self.shutdown.is_in_progress() {
            // The machine stops the containers, and the next boot says so.
            return;
        }
        if std::mem::replace(&mut self.history.has_observed, true) {
            let between = Between { engine_was_lost: self.history.engine_was_lost };
            let touched = &self.history.touched;
            let is_ours = |old: &Container, is_gone: bool| {
                is_of_step(old, is_gone, touched.get(&old.key).copied()) || self.overrides.has_stopped(&old.key)
            };
            for change in changes_between(self.observed.current(), now, between, is_ours) {
                if change.action == HistoryAction::RemovedByHand {
                    let why = "its container was removed by another program";
                    self.history.replaced.insert(change.key.clone(), Cause::from_why(why));
                }
                self.note_change(change);
            }
        } else {
            self.note_started_meanwhile(now);
        }
        self.history.engine_was_lost = false;
        // Steps that ended before the observation began are in it as a whole.
        let under_way: Vec<_> = self.work.under_way().filter_map(Step::service).collect();
        self.history.touched.retain(|key, _| under_way.contains(key));
    }

    /// The first observation of this run of the agent: containers that were started since the last entry.
    fn note_started_meanwhile(&mut self, now: &Current) {
        for it in now.containers.iter().filter(|it| it.phase == ContainerPhase::Running) {
            let Some(started) = it.started.map(EngineTime::secs) else { continue };
            let known = self.context.history.borrow().reason_of(&it.key).map(|it| it.at_ms / 1000);
            // A start takes some seconds, and an entry has the time at which it began.
            if known.is_some_and(|known| started <= known + 60) {
                continue;
            }
            let why = match known {
                Some(known) if known < now.booted_secs && started >= now.booted_secs => "the board booted",
                Some(_) => "it was started while the agent did not run",
                // Nothing is known of it that this would add to.
                None => continue,
            };
            self.note_change(SeenChange {
                action: HistoryAction::StartedByEngine,
                key: it.key.clone(),
                name: it.name.clone(),
                why: why.to_owned(),
                at_secs: Some(started),
            });
        }
    }

    fn note_change(&self, SeenChange { action, key, name, why, at_secs }: SeenChange) {
        self.note(HistoryNote {
            at_ms: at_secs.map_or_else(|| self.now_ms(), |it| it.saturating_mul(1000)),
            action,
            object: HistoryObject::Container,
            name,
            app: Some(key.app),
            service: Some(key.service),
            cause: Cause::from_why(why),
            outcome: HistoryOutcome::Seen,
            millis: None,
        });
    }

    /// The engine stopped answering.
    pub(in crate::reconcile) fn note_engine_lost(&mut self, why: &str) {
        self.history.engine_was_lost = true;
        self.note_event(HistoryAction::EngineLost, HistoryObject::Engine, Cause::from_why(why), HistoryOutcome::Seen);
    }

    /// The engine answers again.
    pub(in crate::reconcile) fn note_engine_back(&self) {
        self.note_event(HistoryAction::EngineBack, HistoryObject::Engine, Cause::default(), HistoryOutcome::Seen);
    }
}
