//! Hooks before updates: which have succeeded for which update, and when those that failed are run again.
//!
//! A success counts for one container and one wanted configuration, in memory: after a restart of the agent a hook is run once
//! more.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::sorted::SortedMap;
use crate::state::hook::HookOutcome;
use crate::state::{ConfigHash, ContainerId, Current, EngineAction, Step};

/// The first delay after a failure, and the longest: those of other steps.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(5 * 60);

/// A container, and the configuration that an update leads to.
type UpdateKey = (ContainerId, ConfigHash);

/// The hooks that were run.
#[derive(Debug, Default)]
pub(super) struct HookTracker(SortedMap<UpdateKey, HookMemory>);

#[derive(Debug)]
enum HookMemory {
    Done,
    Failed { why: String, backoff: Backoff, failures: u32, until: Instant },
}

impl HookTracker {
    /// A hook succeeded.
    pub(super) fn succeed(&mut self, container: ContainerId, wanted: ConfigHash) {
        self.0.insert((container, wanted), HookMemory::Done);
    }

    /// A hook failed: it is run again later. Returns the delay.
    pub(super) fn fail(&mut self, container: ContainerId, wanted: ConfigHash, why: String) -> Duration {
        let key = (container, wanted);
        let (mut backoff, failures) = match self.0.remove(&key) {
            Some(HookMemory::Failed { backoff, failures, .. }) => (backoff, failures),
            Some(HookMemory::Done) | None => (Backoff::new(FIRST, LONGEST), 0),
        };
        let delay = backoff.fail();
        self.0.insert(key, HookMemory::Failed { why, backoff, failures: failures + 1, until: Instant::now() + delay });
        delay
    }

    /// Runs every hook that failed again now, as a request asks.
    pub(super) fn retry_now(&mut self) {
        for (_, memory) in &mut self.0 {
            if let HookMemory::Failed { until, .. } = memory {
                *until = Instant::now();
            }
        }
    }

    /// Forgets the hooks of containers that are gone.
    pub(super) fn keep_only(&mut self, current: &Current) {
        self.0.retain(|(id, _), _| current.containers.iter().any(|it| it.id == *id));
    }

    /// What the planner has to know: what succeeded, and what failed and is not due again.
    pub(super) fn outcomes(&self) -> SortedMap<UpdateKey, HookOutcome> {
        let now = Instant::now();
        let outcome = |memory: &HookMemory| match memory {
            HookMemory::Done => Some(HookOutcome::Done),
            HookMemory::Failed { why, failures, until, .. } => (*until > now).then(|| {
                let times = if *failures == 1 { "once".to_owned() } else { format!("{failures} times") };
                HookOutcome::Failed(format!("{why} (failed {times})"))
            }),
        };
        self.0.iter().filter_map(|(key, memory)| Some((key.clone(), outcome(memory)?))).collect()
    }

    /// When the next hook is due.
    pub(super) fn next(&self) -> Option<Instant> {
        let now = Instant::now();
        let until = |memory: &HookMemory| match memory {
            HookMemory::Done => None,
            HookMemory::Failed { until, .. } => Some(*until),
        };
        self.0.values().filter_map(until).filter(|it| *it > now).min()
    }
}

/// Whether a step runs a hook, which is of no use where the plan does not have it any more.
pub(super) const fn is_hook(step: &Step) -> bool {
    matches!(step, Step::Engine(EngineAction::RunHook(..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> UpdateKey {
        (ContainerId("a".to_owned()), ConfigHash("1".to_owned()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_hook_is_due_again_after_a_growing_delay_and_at_once_on_request() {
        let mut hooks = HookTracker::default();
        let (container, wanted) = key();
        let first = hooks.fail(container.clone(), wanted.clone(), "exit code 1".to_owned());
        let second = hooks.fail(container, wanted, "exit code 1".to_owned());
        assert!(second > first);
        let expected = HookOutcome::Failed("exit code 1 (failed 2 times)".to_owned());
        assert_eq!(hooks.outcomes().get(&key()), Some(&expected));
        assert_eq!(hooks.next(), Some(Instant::now() + second));
        tokio::time::advance(second).await;
        assert_eq!((hooks.outcomes().len(), hooks.next()), (0, None));
        let (container, wanted) = key();
        hooks.fail(container, wanted, "exit code 1".to_owned());
        hooks.retry_now();
        assert_eq!(hooks.outcomes().len(), 0);
    }

    #[test]
    fn a_success_counts_until_the_container_is_gone() {
        let mut hooks = HookTracker::default();
        let (container, wanted) = key();
        hooks.succeed(container, wanted);
        assert_eq!(hooks.outcomes().get(&key()), Some(&HookOutcome::Done));
        hooks.keep_only(&Current::default());
        assert!(hooks.outcomes().is_empty());
    }
}
