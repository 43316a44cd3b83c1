use tokio::sync::oneshot;

use super::*;
use crate::plan::{Plan, plan};
use crate::port::EngineError;
use crate::reconcile::execute::StepFailure;
use crate::reconcile::schedule::Schedule;
use crate::reconcile::testing::{APP, act, held, key, parse_device, parse_target, pull};
use crate::request::NotStarted;
use crate::sorted::{SortedMap, SortedSet};
use crate::state::LockState;

/// A job that `web` waits for; it is on its way.
const JOB: &str = "web web:1 completed:job\njob job:1 rests";
const JOB_RUNS: &str = "web web:1 created\njob job:1 running rests";

/// What the goal of a request is checked against. The request arrives when the scene begins.
struct Scene {
    target: Target,
    observed: Observed,
    overrides: ActiveOverrides,
    work: Work,
    since: Instant,
}

impl Scene {
    /// The device as observed, with the plan for it.
    fn new(target: &str, device: &str) -> Self {
        let mut scene = Self {
            target: parse_target(target),
            observed: Observed::new(SortedMap::new(), Schedule::new(Duration::from_secs(60))),
            overrides: ActiveOverrides::new(SortedSet::new()),
            work: Work::default(),
            since: Instant::now(),
        };
        scene.observed.set_current(parse_device(device));
        scene.replan();
        scene
    }

    /// As `new`, after a request.
    fn requested(target: &str, device: &str, request: impl FnOnce(&mut ActiveOverrides)) -> Self {
        let mut scene = Self::new(target, device);
        request(&mut scene.overrides);
        scene.replan();
        scene
    }

    fn replan(&mut self) {
        let plan = plan(&self.target, self.overrides.requested(), self.observed.current());
        self.observed.set_plan(plan);
    }

    /// The engine refuses a step of the plan.
    fn refused(mut self, such: impl Fn(&Step) -> bool) -> Self {
        let step = self.observed.plan().steps.iter().find(|it| such(it)).expect("the plan has the step").clone();
        self.work.fail(&step, &StepFailure::Engine(EngineError::Refused("refused".to_owned())));
        self
    }

    /// A service holds the lock that the plan waits for.
    fn locked(mut self) -> Self {
        let waiting = vec![Waiting::Lock(APP, held("web"))];
        self.observed.set_plan(Plan { waiting, ..Plan::default() });
        self
    }

    fn check(&self) -> GoalCheck<'_> {
        GoalCheck { target: Some(&self.target), observed: &self.observed, overrides: &self.overrides, work: &self.work }
    }

    /// The response to a request. `None`: it waits on.
    fn response<T>(&self, goal: impl FnOnce(Reply<T>) -> Goal) -> Option<Result<T, Refusal>> {
        let (reply, mut response) = oneshot::channel();
        let waiter = self.check().answer(Waiter { app: APP, goal: goal(reply), since: self.since });
        let response = response.try_recv().ok();
        assert_ne!(waiter.is_some(), response.is_some(), "it is either answered or kept");
        response
    }

    fn restart(&self) -> Option<Result<NotStarted, Refusal>> {
        self.response(Goal::Settled)
    }

    fn restart_service(&self, service: &str) -> Option<Result<String, Refusal>> {
        self.response(|reply| Goal::Restarted(key(service), reply)).map(|it| it.map(|id| id.0))
    }

    fn purge(&self) -> Option<Result<NotStarted, Refusal>> {
        self.response(|reply| Goal::Purged("/data stays".to_owned(), reply))
    }

    fn stop(&self, service: &str) -> Option<Result<String, Refusal>> {
        self.response(|reply| Goal::Stopped(key(service), reply)).map(|it| it.map(|id| id.0))
    }

    fn start(&self, service: &str) -> Option<Result<String, Refusal>> {
        self.response(|reply| Goal::Started(key(service), reply)).map(|it| it.map(|id| id.0))
    }
}

fn stop(service: &str) -> impl FnOnce(&mut ActiveOverrides) {
    move |it| {
        let _ = it.stop(&key(service));
    }
}

fn recreate_web(overrides: &mut ActiveOverrides) {
    overrides.restart_service(&key("web"), &parse_device("web web:1 running"));
}

/// Whether a request failed with a reason that has these words.
fn failed<T>(response: Option<Result<T, Refusal>>, words: &str) -> bool {
    matches!(response, Some(Err(Refusal::Failed(why))) if why.contains(words))
}

fn is_pull(step: &Step) -> bool {
    matches!(step, Step::Engine(EngineAction::Pull(_)))
}

#[test]
fn a_restart_is_done_when_its_containers_run_again() {
    let before = Scene::requested("web web:1", "web web:1 running", recreate_web);
    assert_eq!(before.restart(), None);
    let mut after = Scene::requested("web web:1", "web web:1 running", |_| ());
    assert_eq!(after.restart(), Some(Ok(Vec::new())));
    after.work.launch(&act(EngineAction::Start, "web"));
    assert_eq!(after.restart(), None, "a step is in flight");
}

#[test]
fn a_restart_does_not_wait_for_the_images_of_an_update() {
    let scene = Scene::new("web web:2\nnew new:1", "web web:1 running");
    assert_eq!(scene.restart(), Some(Ok(Vec::new())));
}

#[tokio::test(start_paused = true)]
async fn a_restart_says_which_services_it_did_not_start_and_why() {
    let not_started = |name: &str, why| Some(Ok(vec![(name.to_owned(), why)]));
    assert_eq!(Scene::new("web web:1 off", "web web:1 exited").restart(), not_started("web", "not-to-run"));
    assert_eq!(Scene::new("web web:1 reboot", "web web:1 created").restart(), not_started("web", "next-boot"));
    let scene = Scene::new(JOB, JOB_RUNS);
    assert_eq!(scene.restart(), None);
    tokio::time::advance(DEPENDENCY_WAIT).await;
    assert_eq!(scene.restart(), not_started("web", "dependency"));
}

#[test]
fn a_purge_that_leaves_data_behind_says_so_when_it_is_done() {
    let target = "web web:1 volume:data";
    let device = "web web:1 running volume:data\nvolume data";
    assert_eq!(Scene::requested(target, device, |it| it.purge(APP)).purge(), None);
    assert_eq!(Scene::new(target, device).purge(), Some(Err(Refusal::Failed("/data stays".to_owned()))));
}

#[test]
fn a_restart_fails_when_the_engine_rejects_the_new_container() {
    let is_create = |step: &Step| matches!(step, Step::Engine(EngineAction::Create(_)));
    let scene = Scene::requested("web web:1", "web web:1 running", recreate_web).refused(is_create);
    assert!(failed(scene.restart(), "create 1/web from web:1: refused"));
}

#[test]
fn a_restart_fails_when_a_service_without_a_container_has_no_image() {
    let target = "web web:1\nnew new:1 kill-first";
    assert_eq!(Scene::new(target, "web web:1 running").restart(), None);
    assert!(failed(Scene::new(target, "web web:1 running").refused(is_pull).restart(), "pull new:1: refused"));
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_an_app_of_which_nothing_can_run_fails_also_while_its_image_is_pulled_again() {
    let scene = Scene::new("web web:1", "").refused(is_pull);
    assert!(failed(scene.restart(), "pull web:1: refused"));
    tokio::time::advance(Duration::from_secs(60)).await;
    assert!(!scene.work.retries().is_backing_off(&pull("web:1")));
    assert!(failed(scene.restart(), "pull web:1: refused"));
}

#[test]
fn a_stop_is_done_when_nothing_runs_and_the_locks_are_released() {
    assert_eq!(Scene::requested("web web:1", "web web:1 running", stop("web")).stop("web"), None);
    let mut scene = Scene::requested("web web:1", "web web:1 exited", stop("web"));
    assert_eq!(scene.stop("web"), Some(Ok("web-0".to_owned())));
    scene.observed.update_locks([(APP, LockState::Ours(["web".to_owned()].into()))].into_iter().collect());
    scene.replan();
    assert_eq!(scene.stop("web"), None, "our locks are not released yet");
}

#[test]
fn a_service_without_a_container_cannot_be_stopped() {
    assert_eq!(Scene::requested("web web:1", "", stop("web")).stop("web"), Some(Err(Refusal::NoContainer)));
}

#[test]
fn a_stop_fails_when_the_service_does_not_stay_stopped() {
    assert_eq!(Scene::new("web web:1", "old old:1 running").stop("old"), Some(Err(Refusal::NotInTarget)));
    assert!(failed(Scene::new("web web:1", "web web:1 running").stop("web"), "started again by another request"));
}

#[test]
fn a_stop_fails_when_the_engine_does_not_stop_the_container() {
    let mut scene = Scene::requested("web web:1", "web web:1 running", stop("web"));
    scene.work.fail(&act(EngineAction::Stop, "db"), &StepFailure::Engine(EngineError::Refused("refused".to_owned())));
    assert_eq!(scene.stop("web"), None);
    scene.work.fail(&act(EngineAction::Stop, "web"), &StepFailure::Engine(EngineError::Refused("refused".to_owned())));
    assert!(failed(scene.stop("web"), "stop 1/web: refused"));
}

#[test]
fn a_start_is_done_when_the_container_runs_or_has_run() {
    for phase in ["running", "paused", "restarting", "exited"] {
        let scene = Scene::new("web web:1 rests", &format!("web web:1 {phase} rests"));
        assert_eq!(scene.start("web"), Some(Ok("web-0".to_owned())), "{phase}");
    }
    assert_eq!(Scene::new("web web:1", "web web:1 created").start("web"), None);
}

#[test]
fn a_start_of_a_container_that_has_run_before_waits_until_it_is_started_anew() {
    let device = "web web:1 exited rests";
    let mut scene = Scene::new("web web:1 rests", device);
    let _ = scene.overrides.start(&key("web"), scene.observed.current());
    assert_eq!(scene.start("web"), None);
}

#[test]
fn a_service_that_is_not_wanted_running_cannot_be_started() {
    let device = "web web:1 created";
    assert_eq!(Scene::new("web web:1", device).start("old"), Some(Err(Refusal::NotInTarget)));
    assert_eq!(Scene::new("web web:1 off", device).start("web"), Some(Err(Refusal::NotToRun(key("web")))));
    let stopped = Scene::requested("web web:1", device, stop("web"));
    assert!(failed(stopped.start("web"), "1/web was stopped by another request"));
    assert!(failed(Scene::new("web web:1 reboot", device).start("web"), "is started by the next boot"));
}

#[test]
fn a_start_fails_when_the_engine_refuses_a_step_of_the_service() {
    let scene = Scene::new("web web:1", "web web:1 created").refused(|it| *it == act(EngineAction::Start, "web"));
    assert!(failed(scene.start("web"), "start 1/web: refused"));
    assert!(failed(Scene::new("web web:1", "").refused(is_pull).start("web"), "pull web:1: refused"));
}

#[test]
fn a_start_fails_for_the_steps_of_another_service_only_if_it_waits_for_that_service() {
    let device = "web web:1 created";
    let is_pull_of_db = |step: &Step| *step == pull("db:1");
    let waits = Scene::new("web web:1 after:db\ndb db:1", device).refused(is_pull_of_db);
    assert!(failed(waits.start("web"), "pull db:1: refused"));
    assert_eq!(Scene::new("web web:1\ndb db:1", device).refused(is_pull_of_db).start("web"), None);
}

#[test]
fn a_start_is_rejected_for_the_lock_that_holds_up_what_it_waits_for() {
    let mut scene = Scene::new("web web:1", "").locked();
    assert_eq!(scene.start("web"), Some(Err(Refusal::Locked(held("web")))));
    scene.work.launch(&act(EngineAction::Start, "web"));
    assert_eq!(scene.start("web"), None, "its own step goes on");
    // Starting an existing container needs no lock.
    let scene = Scene::new("web web:1", "web web:1 running").locked();
    assert_eq!(scene.start("web"), Some(Ok("web-0".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_start_waits_a_minute_for_a_dependency_that_is_on_its_way() {
    let scene = Scene::new(JOB, JOB_RUNS);
    let waiter = |since| Waiter { app: APP, goal: Goal::Settled(oneshot::channel().0), since };
    let waiters = [waiter(scene.since + Duration::from_secs(5)), waiter(scene.since)];
    assert_eq!(scene.check().next_deadline(&waiters), Some(scene.since + Duration::from_secs(60)));
    tokio::time::advance(Duration::from_millis(59_999)).await;
    assert_eq!(scene.start("web"), None);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(failed(scene.start("web"), "it is started as soon as that is so"));
    // That deadline is over; the next is that of the other request.
    assert_eq!(scene.check().next_deadline(&waiters), Some(scene.since + Duration::from_secs(65)));
}

#[test]
fn no_deadline_is_set_where_no_dependency_is_waited_for() {
    let scene = Scene::new("web web:1", "web web:1 created");
    let waiter = Waiter { app: APP, goal: Goal::Settled(oneshot::channel().0), since: scene.since };
    assert_eq!(scene.check().next_deadline(&[waiter]), None);
}

#[test]
fn a_dependency_that_will_not_be_met_is_not_waited_for() {
    let scene = Scene::new("web web:1 healthy:db\ndb db:1 off", "web web:1 created\ndb db:1 created");
    assert!(failed(scene.start("web"), "1/web waits for"));
    assert!(failed(scene.restart(), "1/web waits for"));
}

#[test]
fn a_lock_rejects_whatever_would_disturb_its_service() {
    let scene = Scene::new("web web:1", "web web:1 running").locked();
    let against = |goal| scene.check().lock_against(&Waiter { app: APP, goal, since: scene.since });
    assert_eq!(against(Goal::Settled(oneshot::channel().0)), Some(Refusal::Locked(held("web"))));
    assert_eq!(against(Goal::Purged(String::new(), oneshot::channel().0)), Some(Refusal::Locked(held("web"))));
    assert_eq!(against(Goal::Stopped(key("web"), oneshot::channel().0)), Some(Refusal::Locked(held("web"))));
    assert_eq!(against(Goal::Restarted(key("web"), oneshot::channel().0)), Some(Refusal::Locked(held("web"))));
    assert_eq!(against(Goal::Started(key("web"), oneshot::channel().0)), None);
}

#[test]
fn a_restart_of_a_service_is_done_when_its_new_container_runs() {
    let target = "web web:1\ndb db:1";
    let before = Scene::requested(target, "web web:1 running\ndb db:1 running", recreate_web);
    assert_eq!(before.restart_service("web"), None, "the old container runs");
    assert_eq!(before.restart_service("db"), Some(Ok("db-1".to_owned())), "it is none of the other service");
    let created = Scene::requested(target, "web web:1 created\ndb db:1 running", |_| ());
    assert_eq!(created.restart_service("web"), None);
    let runs = Scene::requested(target, "web web:1 running\ndb db:1 running", |_| ());
    assert_eq!(runs.restart_service("web"), Some(Ok("web-0".to_owned())));
}

#[test]
fn a_restart_of_a_service_is_answered_once_the_locks_are_released() {
    let mut scene = Scene::new("web web:1", "web web:1 running");
    scene.observed.set_plan(Plan { steps: vec![Step::ReleaseLocks(APP)], ..Plan::default() });
    assert_eq!(scene.restart_service("web"), None);
}

#[test]
fn a_restart_of_a_service_fails_when_the_engine_rejects_its_new_container() {
    let is_create = |step: &Step| matches!(step, Step::Engine(EngineAction::Create(_)));
    let target = "web web:1\ndb db:1";
    let scene = Scene::requested(target, "web web:1 running\ndb db:1 running", recreate_web).refused(is_create);
    assert!(failed(scene.restart_service("web"), "create 1/web from web:1: refused"));
    assert_eq!(scene.restart_service("db"), Some(Ok("db-1".to_owned())));
}

#[test]
fn a_restart_of_a_service_fails_when_another_request_stops_it() {
    let scene = Scene::requested("web web:1", "web web:1 exited", stop("web"));
    assert!(failed(scene.restart_service("web"), "1/web was stopped by another request"));
    let scene = Scene::new("", "web web:1 exited");
    assert_eq!(scene.restart_service("web"), Some(Err(Refusal::NotInTarget)));
}
