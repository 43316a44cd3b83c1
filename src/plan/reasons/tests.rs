use super::*;
use crate::plan::tests::model::{APP, parse_device, parse_target};
use crate::plan::{changes, plan};
use crate::state::{ContainerRef, EngineTime};

/// The reason of a step: the target before, the target, the device, and what changes about it and the requests.
fn reason(targets: [&str; 2], device: &str, step: &Step, change: impl FnOnce(&mut Overrides, &mut Current)) -> String {
    let [before, target] = targets.map(parse_target);
    let (mut current, mut overrides) = (parse_device(device), Overrides::default());
    change(&mut overrides, &mut current);
    let changed: SortedMap<_, _> = changes(&before, &target).into_iter().collect();
    let found = Reasons { target: &target, current: &current, overrides: &overrides, changes: &changed };
    let (trigger, cause) = found.of(step);
    format!("{trigger:?}: {}", cause.text())
}

/// An action on the container of `web`.
fn act(action: fn(ContainerRef) -> EngineAction) -> Step {
    let container = parse_device("web web:1 running").containers.remove(0);
    Step::Engine(action(ContainerRef { key: container.key, id: container.id }))
}

/// The step that creates the container of `web`, as the plan has it.
fn create(target: &str, device: &str) -> Step {
    let steps = plan(&parse_target(target), &Overrides::default(), &parse_device(device)).steps;
    steps.into_iter().find(|it| matches!(it, Step::Engine(EngineAction::Create(_)))).expect("it is created")
}

const RUNS: &str = "web web:1 running";

#[test]
fn a_change_says_the_field_and_both_values() {
    let device = format!("{RUNS}\nimage web:2");
    let image = reason(["web web:1", "web web:2"], &device, &create("web web:2", &device), |_, _| ());
    assert_eq!(image, "Target: its image changed (image: `web:1` became `web:2`)");
    let step = create("web web:1 env:new", RUNS);
    let env = reason(["web web:1", "web web:1 env:new"], RUNS, &step, |_, _| ());
    assert!(env.starts_with("Target: its environment changed (env "), "{env}");
    // What the target was before is not known after a start of the agent.
    let unknown = reason(["web web:1 env:new"; 2], RUNS, &step, |_, _| ());
    assert_eq!(unknown, "Target: its container has another configuration than its target");
}

#[test]
fn requests_are_reasons() {
    let same = ["web web:1"; 2];
    let kill = act(EngineAction::Kill);
    let restarted = reason(same, RUNS, &kill, |overrides, current| {
        overrides.recreate.insert(current.containers[0].id.clone());
    });
    assert_eq!(restarted, "Restart: a restart was requested");
    let purged = reason(same, RUNS, &kill, |overrides, _| {
        overrides.purge.insert(APP);
    });
    assert_eq!(purged, "Purge: a purge of the app's data was requested");
    let stop = act(EngineAction::Stop);
    let stopped = reason(same, RUNS, &stop, |overrides, _| {
        overrides.stopped.insert(ServiceKey::new(APP, "web"));
    });
    assert_eq!(stopped, "Stop: a stop was requested");
    assert_eq!(reason(same, RUNS, &stop, |_, _| ()), "Target: its target says that it is not to run");
}

#[test]
fn a_start_says_what_the_container_was() {
    let same = ["web web:1"; 2];
    let start = act(EngineAction::Start);
    let with = |phase, change: fn(&mut Overrides, &mut Current)| {
        reason(same, RUNS, &start, |overrides, current| {
            current.containers[0].phase = phase;
            change(overrides, current);
        })
    };
    assert_eq!(with(ContainerPhase::Created, |_, _| ()), "Follows: it is to run");
    let ended = with(ContainerPhase::Exited(3), |_, _| ());
    assert_eq!(ended, "Device: it had ended with exit code 3, and is to run");
    let asked = with(ContainerPhase::Exited(0), |overrides, current| {
        overrides.start.insert(current.containers[0].id.clone());
    });
    assert_eq!(asked, "Start: a start was requested");
    let booted = with(ContainerPhase::Exited(0), |_, current| {
        current.containers[0].started = Some(EngineTime(1));
        current.booted_secs = 100;
    });
    assert_eq!(booted, "Device: the board booted since it last ran");
    let depends = reason(["web web:1 after:db\ndb db:1"; 2], "web web:1 created\ndb db:1 running", &start, |_, _| ());
    assert!(depends.starts_with("Follows: it is to run"), "{depends}");
}

#[test]
fn what_the_target_does_not_name_goes_for_that_reason() {
    let gone = reason(["web web:1", "other other:1"], RUNS, &act(EngineAction::Kill), |_, _| ());
    assert_eq!(gone, "Target: the target does not name it");
    let beside = reason(["web web:1"; 2], "web web:1 running\nweb web:1 created beside", &act(EngineAction::Kill), |_, _| ());
    assert_eq!(beside, "Follows: another container takes its place");
}

#[test]
fn steps_that_users_notice_are_told_from_others() {
    assert!([EngineAction::Stop, EngineAction::Kill, EngineAction::Restart].map(act).iter().all(disturbs));
    assert!(disturbs(&Step::Reboot));
    assert!(!disturbs(&act(EngineAction::Start)) && !disturbs(&Step::ReleaseLocks(APP)));
}
