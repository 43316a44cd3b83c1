use super::*;
use crate::port::LockError;
use crate::reconcile::testing::{act, held, key, pull, remove_image};

fn refused() -> StepFailure {
    StepFailure::Engine(EngineError::Refused("no such image".to_owned()))
}

fn unreachable() -> StepFailure {
    StepFailure::Engine(EngineError::Unreachable("no socket".to_owned()))
}

fn full() -> StepFailure {
    StepFailure::Engine(EngineError::Full("no space left".to_owned()))
}

fn delays(failure: &StepFailure) -> Vec<u64> {
    let mut retries = Retries::default();
    (0..11).map(|_| retries.fail(&pull("web:1"), failure).as_secs()).collect()
}

#[test]
fn a_step_that_fails_again_and_again_is_retried_ever_later_up_to_five_minutes() {
    for failure in [refused(), full(), StepFailure::Lock(LockError::Held(held("web")))] {
        assert_eq!(delays(&failure), [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300], "{failure}");
    }
}

#[test]
fn an_engine_that_does_not_answer_is_asked_again_within_ten_seconds() {
    assert_eq!(delays(&unreachable()), [1, 2, 4, 8, 10, 10, 10, 10, 10, 10, 10]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_step_backs_off_until_its_delay_is_over() {
    let mut retries = Retries::default();
    let (web, db) = (pull("web:1"), pull("db:1"));
    let delay = retries.fail(&web, &refused());
    assert!(retries.is_backing_off(&web) && !retries.is_backing_off(&db));
    assert_eq!(retries.next(), Some(Instant::now() + delay));
    assert!(retries.failure_backing_off(|it| *it == web).is_some_and(|it| it.contains("no such image")));
    tokio::time::advance(delay).await;
    assert!(!retries.is_backing_off(&web) && retries.has_failed(&web) && retries.next().is_none());
    assert!(retries.failure_backing_off(|_| true).is_none());
    assert!(retries.last_failure(|it| *it == web).is_some_and(|it| it.contains("no such image")));
}

#[test]
fn a_step_that_succeeds_starts_over_with_the_first_delay() {
    let mut retries = Retries::default();
    let web = pull("web:1");
    assert_eq!([0; 3].map(|_| retries.fail(&web, &refused()).as_secs()), [1, 2, 4]);
    retries.succeed(&web);
    assert!(!retries.has_failed(&web));
    assert_eq!(retries.fail(&web, &refused()).as_secs(), 1);
}

#[test]
fn steps_that_the_plan_no_longer_has_are_forgotten() {
    let mut retries = Retries::default();
    let (old, new) = (pull("web:1"), pull("web:2"));
    retries.fail(&old, &refused());
    retries.fail(&new, &refused());
    retries.keep_only(std::slice::from_ref(&new));
    assert!(!retries.has_failed(&old) && retries.has_failed(&new));
}

#[test]
fn an_engine_that_is_back_is_asked_at_once_for_what_it_did_not_answer_and_not_for_what_it_refused() {
    let mut retries = Retries::default();
    let (web, db) = (pull("web:1"), pull("db:1"));
    retries.fail(&web, &unreachable());
    retries.fail(&db, &refused());
    retries.forget_unreachable();
    assert!(!retries.has_failed(&web) && retries.is_backing_off(&db));
}

#[test]
fn an_image_that_cannot_be_deleted_keeps_no_app_from_its_target() {
    let mut retries = Retries::default();
    retries.fail(&remove_image("old:1"), &refused());
    assert!(!retries.is_blocking());
    retries.fail(&pull("web:1"), &refused());
    assert!(retries.is_blocking());
}

#[test]
fn a_step_is_failing_after_three_failures_that_the_engine_answered() {
    let mut retries = Retries::default();
    let (web, db) = (pull("web:1"), pull("db:1"));
    for failures in 1..=3 {
        assert_eq!(retries.failing().count(), 0, "after {} failures", failures - 1);
        retries.fail(&web, &refused());
        retries.fail(&db, &unreachable());
    }
    assert!(retries.failing().eq([&web]));
}

#[test]
fn the_disk_is_too_small_while_a_step_last_failed_for_it() {
    let mut retries = Retries::default();
    retries.fail(&pull("web:1"), &full());
    assert!(retries.is_out_of_space());
    retries.fail(&pull("web:1"), &refused());
    assert!(!retries.is_out_of_space());
}

#[test]
fn an_update_request_retries_every_step_now_and_keeps_the_failure_counts() {
    let mut retries = Retries::default();
    let (web, db) = (pull("web:1"), act(EngineAction::Start, "db"));
    retries.fail(&web, &refused());
    retries.fail(&db, &refused());
    retries.retry_now();
    assert!(!retries.is_backing_off(&web) && !retries.is_backing_off(&db));
    assert!(retries.troubles().all(|it| matches!(it, Trouble::Step { failures: 1, .. })));
    assert_eq!(retries.fail(&web, &refused()).as_secs(), 2);
}

#[test]
fn a_start_request_retries_the_steps_of_its_service_only() {
    let mut retries = Retries::default();
    let (web, db) = (act(EngineAction::Start, "web"), act(EngineAction::Start, "db"));
    retries.fail(&web, &refused());
    retries.fail(&db, &refused());
    retries.retry_service_now(&key("web"));
    assert!(!retries.is_backing_off(&web) && retries.is_backing_off(&db));
}
