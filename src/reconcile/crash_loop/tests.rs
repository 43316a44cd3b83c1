use super::*;
use crate::reconcile::testing::TestWorld;

fn target(document: &str) -> Target {
    Target { document: document.to_owned(), ..Target::default() }
}

fn count(document: &str, starts: u32) -> StartCount {
    StartCount { document: target(document).fingerprint(), starts }
}

/// What the agent saves when it is started with a target, after so many starts.
async fn saved_at_start(document: &str, before: StartCount) -> Vec<Record> {
    let world = TestWorld::default();
    CrashLoopGuard::new(Some(before)).count_start(&target(document), &world.context()).await;
    world.saved.take()
}

#[tokio::test]
async fn every_start_with_a_target_is_counted_on_the_disk() {
    assert_eq!(saved_at_start("a", count("a", 2)).await, [Record::Trial(Some(count("a", 3)))]);
    let world = TestWorld::default();
    CrashLoopGuard::new(None).count_start(&target("a"), &world.context()).await;
    assert_eq!(*world.saved.borrow(), [Record::Trial(Some(count("a", 1)))]);
    assert_eq!(world.publish.borrow().start_count, Some(count("a", 1)));
}

#[tokio::test]
async fn another_target_is_counted_from_one() {
    assert_eq!(saved_at_start("b", count("a", 4)).await, [Record::Trial(Some(count("b", 1)))]);
}

#[tokio::test]
async fn a_loop_does_not_wear_the_flash() {
    let most = StartCount::MAX_STARTS + 1;
    assert_eq!(saved_at_start("a", count("a", most - 1)).await, [Record::Trial(Some(count("a", most)))]);
    assert_eq!(saved_at_start("a", count("a", most)).await, []);
}

#[tokio::test]
async fn a_target_is_refused_after_more_starts_than_are_allowed_and_no_other_is() {
    for (before, refused) in [(StartCount::MAX_STARTS - 1, false), (StartCount::MAX_STARTS, true)] {
        let world = TestWorld::default();
        let mut guard = CrashLoopGuard::new(Some(count("a", before)));
        guard.count_start(&target("a"), &world.context()).await;
        assert!(!guard.is_over(&target("b")));
        assert_eq!(guard.is_over(&target("a")), refused, "after {before} starts");
    }
}

#[test]
fn a_refused_target_is_tried_once_more_on_request() {
    let mut guard = CrashLoopGuard::new(Some(count("a", StartCount::MAX_STARTS + 1)));
    assert!(!guard.has_refused() && guard.take_refused().is_none());
    guard.refuse(&target("a"));
    assert!(guard.has_refused());
    assert_eq!(guard.take_refused(), Some(target("a")));
    assert!(guard.take_refused().is_none());
}

#[tokio::test]
async fn a_disk_that_takes_no_count_refuses_no_target_for_it() {
    let world = TestWorld::default();
    world.is_full.set(true);
    let mut guard = CrashLoopGuard::new(None);
    guard.count_start(&target("a"), &world.context()).await;
    assert!(!guard.is_over(&target("a")));
}

#[tokio::test]
async fn counting_stops_when_the_target_is_reached_or_replaced() {
    let world = TestWorld::default();
    let mut guard = CrashLoopGuard::new(Some(count("a", StartCount::MAX_STARTS + 1)));
    assert!(guard.is_over(&target("a")));
    guard.refuse(&target("a"));
    guard.reset(&world.context()).await;
    assert!(!guard.is_over(&target("a")) && guard.take_refused().is_none());
    assert_eq!(*world.saved.borrow(), [Record::Trial(None)]);
    // Nothing is left to be saved.
    guard.reset(&world.context()).await;
    assert_eq!(world.saved.borrow().len(), 1);
}

#[tokio::test]
async fn a_count_that_cannot_be_deleted_still_counts() {
    let world = TestWorld::default();
    world.is_full.set(true);
    let mut guard = CrashLoopGuard::new(Some(count("a", StartCount::MAX_STARTS + 1)));
    guard.reset(&world.context()).await;
    assert!(guard.is_over(&target("a")));
}

#[tokio::test(start_paused = true)]
async fn after_ten_minutes_the_target_is_not_what_ends_the_agent() {
    let world = TestWorld::default();
    let mut guard = CrashLoopGuard::new(Some(count("a", StartCount::MAX_STARTS)));
    tokio::time::advance(Duration::from_secs(599)).await;
    guard.on_uptime(&world.context()).await;
    assert!(world.saved.borrow().is_empty());
    tokio::time::advance(Duration::from_secs(1)).await;
    guard.on_uptime(&world.context()).await;
    assert_eq!(*world.saved.borrow(), [Record::Trial(None)]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_target_stays_refused_however_long_the_agent_runs() {
    let world = TestWorld::default();
    let mut guard = CrashLoopGuard::new(Some(count("a", StartCount::MAX_STARTS + 1)));
    tokio::time::advance(STABLE_AFTER).await;
    guard.on_uptime(&world.context()).await;
    assert!(guard.is_over(&target("a")) && world.saved.borrow().is_empty());
}
