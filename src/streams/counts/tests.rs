//! Examples of what is counted.

use super::*;
use crate::state::{AppId, Container, ContainerRef, ImageRef};
use crate::testing::{container, id, status};

const ACTION: ActionKind = ActionKind { action: "start", object: "container" };

fn start(name: &str) -> Step {
    Step::Engine(EngineAction::Start(ContainerRef { key: container(name).key, id: id(name) }))
}

/// What the engine shows: each container, and when it was started.
fn shown(containers: &[(&str, i64)]) -> Status {
    let started = |(name, at): &(&str, i64)| Container { started: Some(EngineTime(*at)), ..container(name) };
    status(containers.iter().map(started).collect(), "{}")
}

fn restarts(counts: &Counts) -> (u64, u64) {
    counts.restarts.values().fold((0, 0), |(agent, engine), it| (agent + it.by_agent, engine + it.by_engine))
}

#[test]
fn actions_are_counted_by_kind_and_outcome_with_the_time_they_took() {
    let (mut counts, now) = (Counts::default(), Instant::now());
    let after = |seconds| now + Duration::from_secs(seconds);
    let failed = DeviceEvent::Failed { step: start("a"), why: "no".into() };
    counts.on_event(&DeviceEvent::Begun(start("a")), now);
    counts.on_event(&failed, after(2));
    counts.on_event(&DeviceEvent::Begun(start("a")), after(10));
    counts.on_event(&DeviceEvent::Succeeded(start("a")), after(13));
    let pull = Step::Engine(EngineAction::Pull(ImageRef::new("busybox")));
    counts.on_event(&DeviceEvent::Begun(pull.clone()), after(13));
    counts.on_event(&DeviceEvent::Cancelled(pull), after(14));
    let starts = ActionCounts { done: 1, failed: 1, cancelled: 0, time: Duration::from_secs(5) };
    let pulls = ActionCounts { done: 0, failed: 0, cancelled: 1, time: Duration::from_secs(1) };
    let expected = [(ACTION, starts), (ActionKind { action: "pull", object: "image" }, pulls)];
    assert_eq!(counts.actions, expected.into_iter().collect());
    assert_eq!((starts.ended(), pulls.ended()), (2, 1));
}

#[test]
fn an_action_whose_beginning_was_missed_is_counted_without_a_time() {
    let (mut counts, now) = (Counts::default(), Instant::now());
    counts.on_event(&DeviceEvent::Begun(start("a")), now);
    counts.on_missed();
    counts.on_event(&DeviceEvent::Succeeded(start("a")), now + Duration::from_secs(9));
    assert_eq!(counts.actions[&ACTION], ActionCounts { done: 1, ..ActionCounts::default() });
}

#[test]
fn a_container_that_starts_again_is_a_restart_and_its_first_start_is_none() {
    let mut counts = Counts::default();
    counts.on_status(&shown(&[("a", 1)]));
    counts.on_status(&shown(&[("a", 1)]));
    assert_eq!(restarts(&counts), (0, 0));
    counts.on_status(&shown(&[("a", 2)]));
    assert_eq!(restarts(&counts), (0, 1));
    // A new container of the service was not restarted.
    counts.on_status(&shown(&[("b", 3)]));
    assert_eq!(restarts(&counts), (0, 1));
}

#[test]
fn the_agent_restarts_what_it_starts_and_the_engine_the_rest() {
    let (mut counts, now) = (Counts::default(), Instant::now());
    // The first start is not one of the agent's restarts later on.
    counts.on_event(&DeviceEvent::Begun(start("a")), now);
    counts.on_status(&shown(&[("a", 1)]));
    counts.on_event(&DeviceEvent::Succeeded(start("a")), now);
    counts.on_status(&shown(&[("a", 2)]));
    assert_eq!(restarts(&counts), (0, 1));
    counts.on_event(&DeviceEvent::Begun(start("a")), now);
    counts.on_event(&DeviceEvent::Succeeded(start("a")), now);
    counts.on_status(&shown(&[("a", 3)]));
    assert_eq!(restarts(&counts), (1, 1));
    // What failed started nothing.
    counts.on_event(&DeviceEvent::Begun(start("a")), now);
    counts.on_event(&DeviceEvent::Failed { step: start("a"), why: "no".into() }, now);
    counts.on_status(&shown(&[("a", 4)]));
    assert_eq!(restarts(&counts), (1, 2));
}

#[test]
fn restarts_of_services_that_are_gone_are_forgotten() {
    let mut counts = Counts::default();
    let other = |at| Container { key: ServiceKey::new(AppId(9), "gone"), started: Some(EngineTime(at)), ..container("a") };
    counts.on_status(&status(vec![other(1)], "{}"));
    counts.on_status(&status(vec![other(2)], "{}"));
    assert_eq!(restarts(&counts), (0, 1));
    counts.on_status(&shown(&[("b", 1)]));
    assert_eq!((counts.restarts.len(), counts.started.len()), (0, 1));
}

#[test]
fn a_container_whose_start_was_never_seen_is_forgotten_with_it() {
    let mut counts = Counts::default();
    counts.on_status(&shown(&[("a", 1), ("b", 1)]));
    for name in ["a", "b"] {
        counts.on_event(&DeviceEvent::Begun(start(name)), Instant::now());
        counts.on_event(&DeviceEvent::Succeeded(start(name)), Instant::now());
    }
    counts.on_status(&shown(&[("b", 1)]));
    assert_eq!((counts.starting.clone(), counts.begun.len()), ([id("b")].into(), 0));
}

#[test]
fn when_the_agent_started_moves_with_the_clock_and_not_with_the_rounding() {
    let mut counts = Counts::default();
    let started =
        [(1_000, 999), (1_001, 2_000), (1_002, 2_001)].map(|(now, up)| counts.started_secs(now, Duration::from_millis(up)));
    assert_eq!(started, [1_000; 3]);
    assert_eq!(counts.started_secs(1_700_000_010, Duration::from_secs(10)), 1_700_000_000);
}
