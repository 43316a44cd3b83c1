use super::seen::{Between, SeenChange, changes_between, is_of_step};
use super::*;
use crate::reconcile::testing::{TestWorld, act, key, parse_device, parse_target};
use crate::sorted::SortedMap;
use crate::state::history::{HistoryAction, KEPT};
use crate::state::{ContainerPhase, Current, EngineTime, Overrides};

fn seen(change: impl FnOnce(&mut Current), between: Between, is_ours: bool) -> Vec<(HistoryAction, String)> {
    let mut before = parse_device("web web:1 running");
    before.containers[0].started = Some(EngineTime(1));
    let mut now = before.clone();
    change(&mut now);
    let all = changes_between(&before, &now, between, |_, _| is_ours);
    all.into_iter().map(|SeenChange { action, why, .. }| (action, why)).collect()
}

const QUIET: Between = Between { engine_was_lost: false };

#[test]
fn what_happens_to_a_container_without_the_agent_is_seen() {
    let removed = |now: &mut Current| now.containers.clear();
    assert_eq!(seen(removed, QUIET, false), [(HistoryAction::RemovedByHand, String::new())]);
    assert_eq!(seen(removed, QUIET, true), [], "a step of the agent removed it");
    let exited = |now: &mut Current| now.containers[0].phase = ContainerPhase::Exited(137);
    assert_eq!(seen(exited, QUIET, false), [(HistoryAction::Exited, "exit code 137".to_owned())]);
    let again = |now: &mut Current| {
        now.containers[0].started = Some(EngineTime(9));
        now.containers[0].restarts = 1;
    };
    let policy = now_policy();
    let why = format!("it had ended, and its restart policy `{policy}` started it again");
    assert_eq!(seen(again, QUIET, false), [(HistoryAction::StartedByEngine, why)]);
    let engine = seen(again, Between { engine_was_lost: true }, false);
    assert_eq!(engine, [(HistoryAction::StartedByEngine, "the container engine was restarted".to_owned())]);
    let by_hand = |now: &mut Current| now.containers[0].started = Some(EngineTime(9));
    let other = "another program started it on the engine".to_owned();
    assert_eq!(seen(by_hand, QUIET, false), [(HistoryAction::StartedByEngine, other)]);
    assert_eq!(seen(|_| (), QUIET, false), []);
}

#[test]
fn a_container_that_goes_after_its_start_was_removed_by_another_program() {
    let device = parse_device("web web:1 running");
    let mut old = device.containers[0].clone();
    let (gone, changed) = (true, false);
    assert!(!is_of_step(&old, gone, Some(false)), "a start removes no container");
    assert!(is_of_step(&old, changed, Some(false)) && is_of_step(&old, gone, Some(true)));
    assert!(!is_of_step(&old, gone, None) && !is_of_step(&old, changed, None));
    old.phase = ContainerPhase::Created;
    assert!(is_of_step(&old, gone, Some(false)), "a creation that fails half-way is undone");
}

fn now_policy() -> String {
    parse_device("web web:1 running").containers[0].restart.to_string()
}

/// The reason of a step, for this device and this tracker.
fn reason(tracker: &mut HistoryTracker, target: &str, device: &str, overrides: &Overrides, step: &Step) -> String {
    let (target, current, changes) = (parse_target(target), parse_device(device), SortedMap::new());
    let found = Reasons { target: &target, current: &current, overrides, changes: &changes }.of(step);
    let cause = tracker.complete(step, found, None);
    let by = cause.asked_by.map(|it| format!(" by {it}")).unwrap_or_default();
    format!("{}{by}", cause.why)
}

#[test]
fn what_follows_from_a_step_has_its_reason() {
    let mut tracker = HistoryTracker::default();
    let overrides = Overrides { purge: [key("web").app].into(), ..Overrides::default() };
    let by = Some(Requester::new("device key"));
    tracker.asked.insert((key("web").app, None), (Trigger::Purge, by));
    let device = "web web:1 running";
    let kill = act(EngineAction::Kill, "web");
    let purge = "a purge of the app's data was requested by device key";
    assert_eq!(reason(&mut tracker, "web web:1", device, &overrides, &kill), purge);
    // The purge is over by then.
    let start = act(EngineAction::Start, "web");
    let created = "web web:1 created";
    assert_eq!(reason(&mut tracker, "web web:1", created, &Overrides::default(), &start), purge);
}

#[test]
fn a_window_that_was_waited_for_and_a_rollback_are_part_of_the_reason() {
    let mut tracker = HistoryTracker::default();
    tracker.waited.insert(key("web").app, "1/web waits for its update window".to_owned());
    let kill = act(EngineAction::Kill, "web");
    let device = "web web:1 running";
    let of = |tracker: &mut HistoryTracker| reason(tracker, "web web:2", device, &Overrides::default(), &kill);
    assert_eq!(of(&mut tracker), "its image changed, after it was held up (1/web waits for its update window)");
    tracker.on_rollback(Some("the agent ended 5 times in a row with the new one".to_owned()));
    assert_eq!(
        of(&mut tracker),
        "its image changed, as the device went back to its last good target: the agent ended 5 times in a row with the new one"
    );
    tracker.on_target(Some(Requester::new("the cloud")));
    assert_eq!(of(&mut tracker), "its image changed by the cloud");
}

#[test]
fn what_an_earlier_target_waited_for_is_no_reason_of_a_later_one() {
    let mut tracker = HistoryTracker::default();
    tracker.waited.insert(key("web").app, "1/web waits for its update window".to_owned());
    tracker.keep_only(&parse_target("web web:2"));
    let kill = act(EngineAction::Kill, "web");
    let why = reason(&mut tracker, "web web:2", "web web:1 running", &Overrides::default(), &kill);
    assert_eq!(why, "its image changed");
}

#[test]
fn a_boot_and_each_start_of_the_agent_are_entries() {
    let world = TestWorld::default();
    let actions = |it: &History| it.entries().map(|it| it.action).collect::<Vec<_>>();
    let first = started(&world, Vec::new(), "1.2.3");
    assert_eq!(actions(&first), [HistoryAction::Booted, HistoryAction::AgentStarted]);
    let kept: Vec<_> = first.entries().map(|it| HistoryEntry::clone(it)).collect();
    let second = started(&world, kept, "1.2.3");
    let expected = [HistoryAction::Booted, HistoryAction::AgentStarted, HistoryAction::AgentStarted];
    assert_eq!(actions(&second), expected, "it is the same boot");
    assert!(second.newest() < KEPT as u64);
}
