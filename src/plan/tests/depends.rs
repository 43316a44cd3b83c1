//! Services that depend on others, with conditions.

use insta::assert_snapshot;
use proptest::prelude::*;

use super::laws::{any_device, any_target};
use super::model::{APP, parse_device, parse_target, story, story_of};
use crate::plan::plan;
use crate::state::{
    Condition, ContainerPhase, Current, EngineAction, EngineTime, HealthStatus, LockState, Never, Overrides, ServiceKey, Step,
    Waiting,
};

#[test]
fn a_service_waits_until_another_is_healthy() {
    let target = "web web:1 healthy:db\ndb db:1";
    assert_snapshot!(story(target, "web web:1 created\ndb db:1 running starting"), @"… 1/web waits for db to be healthy");
    assert_snapshot!(story(target, "web web:1 created\ndb db:1 running is-healthy"), @"start 1/web");
    assert_snapshot!(story(target, "web web:1 created\ndb db:1 restarting starting"), @"… 1/web waits for db to be healthy");
}

#[test]
fn a_service_waits_for_those_it_depends_on() {
    assert_snapshot!(story("web web:1 after:db\ndb db:1 after:disk\ndisk disk:1", ""), @"
    pull db:1, pull disk:1, pull web:1, create network app_default
    create 1/db from db:1, create 1/disk from disk:1, create 1/web from web:1
    start 1/disk
    start 1/db
    start 1/web
    ");
}

#[test]
fn a_job_that_completed_is_not_run_again() {
    let target = "web web:1 completed:job\njob job:1 rests";
    assert_snapshot!(story(target, "web web:1 created\njob job:1 exited rests"), @"start 1/web");
    assert_snapshot!(story(target, "web web:1 running\njob job:1 exited rests"), @"");
    assert_snapshot!(story("web web:1 completed:job\njob job:1 retries", "web web:1 running\njob job:1 exited retries"), @"");
}

#[test]
fn an_update_runs_its_job_before_what_depends_on_it() {
    assert_snapshot!(story("web web:2 completed:job\njob job:2 rests", "web web:1 running\njob job:1 exited rests"), @"
    pull job:2, pull web:2
    create 1/job from job:2, create 1/web from web:2
    lock 1 (job web)
    kill 1/job, kill 1/web
    rename 1/job to job_1_1_one, start 1/job, rename 1/web to web_1_1_one, remove image job:1, remove image web:1
    unlock 1
    … 1/web waits for job to complete with exit code 0
    ");
}

#[test]
fn under_hand_over_the_old_one_goes_on_until_the_dependency_is_healthy() {
    assert_snapshot!(story("web web:2 hand-over healthy:db\ndb db:1", "web web:1 running\ndb db:1 running starting"), @"
    pull web:2
    create 1/web from web:2
    … 1/web waits for db to be healthy
    ");
}

#[test]
fn what_runs_goes_on_when_its_dependency_becomes_unhealthy() {
    let device = "web web:1 running\ndb db:1 running unhealthy";
    assert_snapshot!(story("web web:1 healthy:db\ndb db:1", device), @"");
}

#[test]
fn a_condition_alone_is_no_reason_for_another_container() {
    let device = "web web:1 running\ndb db:1 running";
    assert_snapshot!(story("web web:1 healthy:db\ndb db:1", device), @"");
    assert_snapshot!(story("web web:1 with:db\ndb db:1", device), @"");
}

#[test]
fn why_a_dependency_does_not_come_is_said() {
    let why = |web: &str, db: &str, device: &str| {
        story(&format!("web web:1 {web}\ndb db:1{db}"), &format!("web web:1 created\ndb db:1 {device}"))
    };
    assert_snapshot!(why("healthy:db", "", "running"), @"… 1/web waits for db to be healthy, and it does not: its container has no health check; give it a `healthcheck`, or wait for `service_started`");
    assert_snapshot!(why("healthy:db", "", "running unhealthy"), @"… 1/web waits for db to be healthy, and it does not: its health check fails; `docker inspect` shows what the check printed");
    assert_snapshot!(why("healthy:db", " off", "exited"), @"… 1/web waits for db to be healthy, and it does not: its target says `running: false`; change the target");
    assert_snapshot!(why("completed:db", " rests", "failed rests"), @"… 1/web waits for db to complete with exit code 0, and it does not: it exited with 3, and its restart policy `no` leaves it so; start it again with `docker start`, or give it `restart: on-failure`");
    assert_snapshot!(why("completed:db", "", "running"), @r#"… 1/web waits for db to complete with exit code 0, and it does not: its restart policy `always` starts it again whenever it exits; give it `restart: "no"` or `on-failure`"#);
}

#[test]
fn a_dependency_that_a_request_stopped_is_named() {
    let stopped = |target: &str| {
        story_of(target, "web web:1 created\ndb db:1 exited", |overrides, _| {
            overrides.stopped.insert(ServiceKey::new(APP, "db"));
        })
    };
    assert_snapshot!(stopped("web web:1 healthy:db\ndb db:1"), @"… 1/web waits for db to be healthy, and it does not: a request stopped it; start it");
    // A dependency that was started once is enough.
    assert_snapshot!(stopped("web web:1 after:db\ndb db:1"), @"start 1/web");
    assert_snapshot!(stopped("web web:1 wish:db\ndb db:1"), @"start 1/web");
}

#[test]
fn what_waits_for_one_that_waits_in_vain_says_so() {
    let target = "web web:1 healthy:db\ndb db:1 completed:job\njob job:1 rests";
    assert_snapshot!(story(target, "web web:1 created\ndb db:1 created\njob job:1 failed rests"), @"
    … 1/db waits for job to complete with exit code 0, and it does not: it exited with 3, and its restart policy `no` leaves it so; start it again with `docker start`, or give it `restart: on-failure`
    … 1/web waits for db to be healthy, and it does not: it waits for job itself, in vain
    ");
}

#[test]
fn one_that_is_not_required_is_waited_for_while_it_comes_and_no_longer() {
    let target = "web web:1 wish:db\ndb db:1";
    assert_snapshot!(story(target, "web web:1 created\ndb db:1 running starting"), @"… 1/web waits for db to be healthy");
    for device in ["running unhealthy", "running"] {
        assert_eq!(story(target, &format!("web web:1 created\ndb db:1 {device}")), "start 1/web");
    }
    assert_snapshot!(story("web web:1 wish:db\ndb db:1 off", "web web:1 created"), @"
    pull db:1, start 1/web
    create 1/db from db:1
    ");
}

#[test]
fn one_that_is_not_required_and_fails_again_and_again_is_not_waited_for() {
    let fails = |target: &str| {
        let mut current = parse_device("web web:1 created");
        current.failing.insert(ServiceKey::new(APP, "db"));
        plan(&parse_target(target), &Overrides::default(), &current)
    };
    let starts = |it: &Step| matches!(it, Step::Engine(EngineAction::Start(which)) if which.key.service == "web");
    assert!(fails("web web:1 wish:db\ndb db:1").steps.iter().any(starts));
    let required = fails("web web:1 after:db\ndb db:1");
    assert!(!required.steps.iter().any(starts));
    assert!(matches!(&required.waiting[..], [Waiting::Dependency(_, unmet)] if unmet.never == Some(Never::Failing)));
}

#[test]
fn a_dependent_is_restarted_after_its_dependency_was_created_anew() {
    let device = "web web:1 running\ndb db:1 running";
    let started = |current: &mut Current| {
        for it in &mut current.containers {
            it.started = Some(EngineTime(101_500_000_000));
        }
    };
    assert_snapshot!(story_of("web web:1 with:db\ndb db:2", device, |_, current| started(current)), @"
    pull db:2
    create 1/db from db:2
    lock 1 (db web)
    kill 1/db
    rename 1/db to db_1_1_one, start 1/db, remove image db:1
    restart 1/web
    unlock 1
    ");
    // A container that the engine restarted by itself is the same one.
    let crashed = |_: &mut Overrides, current: &mut Current| {
        started(current);
        current.containers[1].started = Some(EngineTime(200_000_000_000));
    };
    assert_snapshot!(story_of("web web:1 with:db\ndb db:1", device, crashed), @"");
    // A start time from before the clock was set, and a creation time in the future.
    assert_snapshot!(story_of("web web:1 with:db\ndb db:1", device, |_, current| {
        started(current);
        current.containers[0].started = Some(EngineTime(0));
    }), @"");
    assert_snapshot!(story_of("web web:1 with:db\ndb db:1", device, |_, current| {
        started(current);
        current.containers[1].created_secs = i64::MAX / 2_000_000_000;
    }), @"");
}

#[test]
fn locks_are_not_kept_while_a_dependency_is_waited_for() {
    let locked = |_: &mut Overrides, current: &mut Current| {
        current.locks.insert(APP, LockState::Ours(["db".to_owned(), "web".to_owned()].into()));
    };
    let device = "web web:1 created\ndb db:1 running unhealthy";
    assert!(story_of("web web:1 healthy:db\ndb db:1", device, locked).starts_with("unlock 1\n… 1/web waits"));
}

#[test]
fn a_reboot_does_not_wait_for_what_waits_for_it_although_an_old_container_runs() {
    let target = "db db:2 hand-over reboot\nweb web:1 healthy:db";
    let device = "db db:1 running is-healthy retired\ndb db:2 created\nweb web:1 created";
    let story = story_of(target, device, |_, current| current.now_secs = current.booted_secs + 10);
    assert!(story.ends_with("reboot"), "{story}");
}

#[test]
fn no_service_starts_on_the_health_of_one_that_is_about_to_be_stopped() {
    let stopped = |overrides: &mut Overrides, _: &mut Current| {
        overrides.stopped.insert(ServiceKey::new(APP, "db"));
    };
    let story = story_of("web web:1 healthy:db\ndb db:1", "web web:1 created\ndb db:1 running is-healthy", stopped);
    assert!(story.contains("stop 1/db") && !story.contains("start 1/web"), "{story}");
}

#[test]
fn a_reboot_waits_for_a_job_that_others_wait_for() {
    let target = "driver driver:1 reboot\nweb web:1 completed:job\njob job:1 rests";
    let device = |job: &str| format!("driver driver:1 created\nweb web:1 created\njob job:1 {job} rests");
    let story = story_of(target, &device("running"), |_, current| current.now_secs = current.booted_secs + 10);
    assert!(!story.contains("reboot\n") && story.contains("1/driver is started by the next boot"), "{story}");
    let story = story_of(target, &device("failed"), |_, current| current.now_secs = current.booted_secs + 10);
    assert!(story.ends_with("reboot"), "{story}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// No step starts a service whose condition does not hold.
    #[test]
    fn a_service_never_starts_before_its_conditions_hold(
        target in any_target(), device in any_device(), on in prop_oneof![Just("healthy"), Just("completed"), Just("wish")],
    ) {
        let (target, current) = (parse_target(&target.replace("after", on)), parse_device(&device));
        let app = target.apps.get(&APP);
        let plan = plan(&target, &Overrides::default(), &current);
        for step in &plan.steps {
            let Step::Engine(EngineAction::Start(which)) = step else { continue };
            let service = &app.unwrap().services[&which.key.service];
            for (name, dependency) in service.depends_on.iter().filter(|(name, it)| it.required && app.unwrap().services.contains_key(*name)) {
                let theirs = current.containers.iter().filter(|it| it.key.service == *name);
                let holds = theirs.clone().any(|it| match dependency.condition {
                    Condition::Started => true,
                    Condition::Healthy => it.phase == ContainerPhase::Running && it.health == Some(HealthStatus::Healthy),
                    Condition::Completed => it.phase == ContainerPhase::Exited(0),
                });
                prop_assert!(holds, "{step}, and {name} is {:?}", theirs.collect::<Vec<_>>());
            }
        }
    }
}
