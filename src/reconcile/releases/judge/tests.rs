use super::*;
use crate::plan::{ConfigHashes, containers_as_wanted};
use crate::reconcile::testing::{APP, parse_device, parse_target};
use crate::state::{Current, Target};

/// A release, and the device that runs it, in short words; see `plan::tests::model`.
struct Trial {
    target: Target,
    current: Current,
    memory: TrialMemory,
    refused: SortedMap<String, String>,
    is_busy: bool,
    holds: bool,
}

impl Trial {
    fn of(target: &str, device: &str) -> Self {
        let mut current = parse_device(device);
        for (at, it) in current.containers.iter_mut().enumerate() {
            it.started = (it.phase != ContainerPhase::Created).then_some(EngineTime(1 + i64::try_from(at).unwrap()));
        }
        let (memory, refused) = Default::default();
        Self { target: parse_target(target), current, memory, refused, is_busy: false, holds: false }
    }

    fn change(&mut self, service: &str, change: impl FnOnce(&mut Container)) {
        change(self.current.containers.iter_mut().find(|it| it.key.service == service).unwrap());
    }

    fn judge(&mut self) -> ReleaseVerdict {
        let hashes = ConfigHashes::of(&self.target);
        let app = &self.target.apps[&APP];
        self.memory.judge(&ReleaseEvidence {
            app,
            containers: containers_as_wanted(app, &hashes, &self.current),
            stopped: SortedSet::new(),
            refused: self.refused.clone(),
            is_busy: self.is_busy,
            holds: self.holds,
        })
    }

    /// How the services failed. Empty: none has.
    fn failures(&mut self) -> Vec<String> {
        match self.judge() {
            ReleaseVerdict::Failed(failures) => failures.iter().map(|it| format!("{}: {}", it.service, it.why)).collect(),
            ReleaseVerdict::Good | ReleaseVerdict::Open(..) => Vec::new(),
        }
    }

    /// What it waits for. Empty: nothing.
    fn reasons(&mut self) -> Vec<String> {
        match self.judge() {
            ReleaseVerdict::Open(reasons, _) => reasons,
            ReleaseVerdict::Good | ReleaseVerdict::Failed(_) => Vec::new(),
        }
    }
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_release_is_good_once_each_service_has_run_for_its_settle_time() {
    let mut trial = Trial::of("web web:1\ndb db:1", "web web:1 running\ndb db:1 running");
    assert_eq!(trial.reasons(), ["db has run for 0 s of 60 s", "web has run for 0 s of 60 s"]);
    pass(59).await;
    let ReleaseVerdict::Open(_, Some(again)) = trial.judge() else { panic!("it is open") };
    assert_eq!(again - Instant::now(), Duration::from_secs(1));
    // The engine starts one of them again: it settles anew.
    trial.change("web", |it| (it.started, it.restarts) = (Some(EngineTime(9)), 1));
    assert_eq!(trial.reasons().len(), 2);
    pass(1).await;
    assert_eq!(trial.reasons(), ["web has run for 1 s of 60 s"]);
    pass(59).await;
    trial.is_busy = true;
    assert_eq!(trial.reasons(), ["the update is under way"]);
    trial.is_busy = false;
    assert_eq!(trial.judge(), ReleaseVerdict::Good);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_stays_unhealthy_fails_at_its_deadline_and_not_while_something_is_waited_for() {
    let mut trial = Trial::of("web web:1", "web web:1 running");
    trial.change("web", |it| it.health = Some(HealthStatus::Starting));
    assert_eq!(trial.reasons(), ["web is not healthy yet"]);
    trial.change("web", |it| it.health = Some(HealthStatus::Unhealthy));
    pass(599).await;
    assert_eq!(trial.reasons(), ["web is unhealthy"]);
    pass(1).await;
    trial.holds = true;
    assert_eq!(trial.reasons(), ["web is unhealthy"]);
    trial.holds = false;
    assert_eq!(trial.failures(), ["web: it is unhealthy, 600 s after the last container was started"]);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_counts_from_the_last_start_of_a_container_and_not_from_restarts() {
    let mut trial = Trial::of("web web:1\ndb db:1", "web web:1 running\ndb db:1 created");
    trial.change("web", |it| it.health = Some(HealthStatus::Unhealthy));
    trial.judge();
    pass(500).await;
    trial.change("db", |it| (it.phase, it.started) = (ContainerPhase::Running, Some(EngineTime(5))));
    trial.judge();
    pass(500).await;
    trial.change("web", |it| (it.restarts, it.started) = (1, Some(EngineTime(6))));
    assert_eq!(trial.failures(), [""; 0]);
    pass(100).await;
    assert_eq!(trial.failures().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn more_than_five_restarts_are_a_failure() {
    let mut trial = Trial::of("web web:1", "web web:1 running");
    trial.change("web", |it| it.restarts = 5);
    assert_eq!(trial.failures(), [""; 0]);
    trial.change("web", |it| it.restarts = 6);
    assert_eq!(trial.failures(), ["web: it was restarted 6 times"]);
}

#[tokio::test(start_paused = true)]
async fn restarts_of_before_the_agent_took_a_container_over_are_no_failure() {
    let mut trial = Trial::of("web web:1", "web web:1 running");
    let config = trial.target.apps[&APP].services[&"web".to_owned()].config.clone();
    trial.change("web", |it| (it.made, it.restarts) = (Origin::Adopted(Box::new(config.into())), 40));
    assert_eq!(trial.failures(), [""; 0]);
    trial.change("web", |it| it.restarts = 45);
    assert_eq!(trial.failures(), [""; 0]);
    trial.change("web", |it| it.restarts = 46);
    assert_eq!(trial.failures(), ["web: it was restarted 6 times"]);
    // Started by hand, after which the engine counts anew.
    trial.change("web", |it| it.restarts = 0);
    assert_eq!(trial.failures(), [""; 0]);
    trial.change("web", |it| it.restarts = 6);
    assert_eq!(trial.failures(), ["web: it was restarted 6 times"]);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_fails_is_a_failure_if_another_service_waits_for_it() {
    let ended = |code| move |it: &mut Container| (it.phase, it.restart) = (ContainerPhase::Exited(code), RestartPolicy::No);
    for (others, code, failures) in [
        ("web web:1 completed:job", 3, vec!["job: it ended with exit code 3, and web waits for it to complete"]),
        ("web web:1", 3, vec![]),
        ("web web:1 completed:job", 0, vec![]),
    ] {
        let mut trial = Trial::of(&format!("job job:1 rests\n{others}"), "job job:1 running rests");
        trial.change("job", ended(code));
        assert_eq!(trial.failures(), failures, "{others}, {code}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_created_or_started_is_a_failure() {
    let mut trial = Trial::of("web web:1\ndb db:1", "web web:1 running");
    assert_eq!(trial.reasons(), ["db has no container of this release yet", "web has run for 0 s of 60 s"]);
    trial.refused.insert("db".to_owned(), "the registry has no such image".to_owned());
    assert_eq!(trial.failures(), ["db: it does not come to run: the registry has no such image"]);
}

#[tokio::test(start_paused = true)]
async fn a_container_of_another_release_proves_nothing() {
    let mut trial = Trial::of("web web:2", "web web:1 running");
    pass(3600).await;
    assert_eq!(trial.reasons(), ["web has no container of this release yet"]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_names_that_the_container_ran_out_of_memory_also_when_it_is_started_again() {
    let mut trial = Trial::of("web web:1", "web web:1 running");
    trial.change("web", |it| {
        it.is_out_of_memory = true;
        it.restarts = 3;
    });
    assert_eq!(trial.failures(), [""; 0]);
    trial.change("web", |it| {
        it.is_out_of_memory = false;
        it.restarts = 6;
    });
    assert_eq!(trial.failures(), ["web: it was restarted 6 times; it ran out of memory"]);
    trial.change("web", |it| {
        it.id = ContainerId("another".to_owned());
        it.restarts = 7;
    });
    assert_eq!(trial.failures(), ["web: it was restarted 7 times"], "another container did not");
}
