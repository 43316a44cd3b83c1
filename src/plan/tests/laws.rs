//! Properties that hold for every plan.

use proptest::prelude::*;

use super::model::{APP, apply, drop_fulfilled, parse_device, parse_target};
use crate::plan::plan;
use crate::state::service::Strategy as Update;
use crate::state::{ContainerPhase, Current, LockState, Overrides, Target, Waiting};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Any device reaches any target, in few waves, and then no step is left; what is wanted runs, and nothing else.
    #[test]
    fn every_plan_arrives(target in any_target(), device in any_device(), restart in any::<bool>(), purge in any::<bool>()) {
        let (target, mut current) = (parse_target(&target), parse_device(&device));
        let mut overrides = overrides_of(&current, restart, purge);
        for _ in 0..40 {
            let steps = plan(&target, &overrides, &current).steps;
            for step in &steps {
                apply(&mut current, step);
            }
            drop_fulfilled(&mut overrides, &current, &steps);
        }
        let last = plan(&target, &overrides, &current);
        // A container that the user paused stays paused until a request starts it.
        let paused = |it: &Waiting| matches!(it, Waiting::Paused(_));
        prop_assert!(last.steps.is_empty() && last.waiting.iter().all(paused), "{last:?}");
        prop_assert!(current.locks.is_empty());
        for (name, service) in target.apps.get(&APP).into_iter().flat_map(|it| &it.services) {
            let theirs: Vec<_> = current.containers.iter().filter(|it| it.key.service == *name).collect();
            prop_assert_eq!(theirs.len(), 1, "one container of {}", name);
            let runs = theirs[0].phase.is_alive();
            let rested = theirs[0].phase == ContainerPhase::Exited(0) && !theirs[0].restart.restarts_always();
            prop_assert!(runs == service.running || rested || (theirs[0].phase == ContainerPhase::Paused), "{:?}", theirs[0]);
        }
        let strangers = current.containers.iter().any(|it| {
            target.apps.get(&it.key.app).is_none_or(|app| !app.services.contains_key(&it.key.service))
        });
        prop_assert!(!strangers, "nothing else runs");
    }

    /// Steps of one plan are independent: they may run in any order.
    #[test]
    fn steps_commute(target in any_target(), device in any_device(), locked in any::<bool>()) {
        let target = parse_target(&target);
        let mut forth = parse_device(&device);
        if locked {
            let services = ["a", "b", "c"].map(str::to_owned);
            forth.locks.insert(APP, LockState::Ours(services.into()));
        }
        let mut back = forth.clone();
        let steps = plan(&target, &Overrides::default(), &forth).steps;
        // Of two steps with the same subject only one is taken at a time.
        let mut subjects = crate::sorted::SortedSet::new();
        let steps: Vec<_> = steps.into_iter().filter(|it| subjects.insert(it.subject())).collect();
        for step in &steps {
            apply(&mut forth, step);
        }
        for step in steps.iter().rev() {
            apply(&mut back, step);
        }
        prop_assert_eq!(sorted(forth), sorted(back));
    }

    /// Under download-then-kill no old container is killed while an image of its release is missing.
    #[test]
    fn nothing_is_killed_for_an_image_that_is_not_here(target in any_target(), device in any_device()) {
        let (target, current) = (parse_target(&target), parse_device(&device));
        let app = target.apps.get(&APP);
        let plan = plan(&target, &Overrides::default(), &locked(current));
        let careful = |name: &String| app.and_then(|it| it.services.get(name)).is_some_and(|it| it.strategy == Update::DownloadThenKill);
        if !plan.downloaded {
            for step in &plan.steps {
                if let crate::plan::Step::Engine(crate::state::EngineAction::Kill(which)) = step {
                    let dead = which.id.0.is_empty();
                    prop_assert!(dead || !careful(&which.key.service) || duplicate(&device, &which.key.service), "{step}");
                }
            }
        }
    }
}

/// Takes all locks for us, so that no lock holds anything back.
fn locked(mut current: Current) -> Current {
    current.locks.insert(APP, LockState::Ours(["a", "b", "c"].map(str::to_owned).into()));
    current
}

/// Whether the device has two containers of a service, or one the engine could not remove.
fn duplicate(device: &str, service: &str) -> bool {
    let mine = || device.lines().filter(|line| line.starts_with(&format!("{service} ")));
    mine().count() > 1 || mine().any(|line| line.contains("dead"))
}

fn sorted(mut current: Current) -> Current {
    current.containers.sort_by(|a, b| a.name.cmp(&b.name));
    for (at, container) in current.containers.iter_mut().enumerate() {
        // The model numbers containers in order of creation.
        container.id.0 = format!("{at}");
        container.created_secs = 0;
    }
    current.images.sort_by(|a, b| a.id.cmp(&b.id));
    current.networks.sort_by(|a, b| a.name.cmp(&b.name));
    current.volumes.sort_by(|a, b| a.name.cmp(&b.name));
    current
}

pub(super) fn any_target() -> impl Strategy<Value = String> {
    let line = |name: &'static str| {
        let words = prop_oneof![
            4 => Just(""), 1 => Just(" kill-first"), 1 => Just(" delete-first"), 2 => Just(" hand-over"), 1 => Just(" off"),
            1 => Just(" rests"), 1 => Just(" volume:data"), 1 => Just(" env:new"),
        ];
        // Dependencies point backwards, so that there is no cycle.
        let after = match name {
            "b" => prop_oneof![Just(""), Just(" after:a")].boxed(),
            "c" => prop_oneof![Just(""), Just(" after:a"), Just(" after:b")].boxed(),
            _ => Just("").boxed(),
        };
        prop_oneof![
            1 => Just(String::new()),
            3 => ("[xy]:[12]", words, after).prop_map(move |(image, words, after)| format!("{name} {image}{words}{after}\n")),
        ]
    };
    ("(release two\n)?", line("a"), line("b"), line("c")).prop_map(|(release, a, b, c)| {
        if a.is_empty() && b.is_empty() && c.is_empty() { String::new() } else { format!("{release}{a}{b}{c}") }
    })
}

pub(super) fn any_device() -> impl Strategy<Value = String> {
    let phase = prop_oneof![Just("created"), Just("running"), Just("restarting"), Just("paused"), Just("exited"), Just("dead")];
    let words = prop_oneof![3 => Just(""), 1 => Just(" retired"), 1 => Just(" env:old"), 1 => Just(" rests"), 1 => Just(" elsewhere"),
        1 => Just(" is-healthy"), 1 => Just(" starting")];
    let container =
        ("[abc]", "[xy]:[12]", phase, words).prop_map(|(name, image, phase, words)| format!("{name} {image} {phase}{words}"));
    proptest::collection::vec(container, 0..5).prop_map(|lines| lines.join("\n"))
}

/// Overrides that requests may have left: everything restarted, everything purged, both.
fn overrides_of(current: &Current, restart: bool, purge: bool) -> Overrides {
    let recreate = current.containers.iter().filter(|_| restart).map(|it| it.id.clone());
    Overrides { recreate: recreate.collect(), purge: purge.then_some(APP).into_iter().collect(), ..Overrides::default() }
}

/// The type the stories are about, so that a reader finds it from here.
#[test]
fn an_empty_target_wants_nothing() {
    assert_eq!(plan(&Target::default(), &Overrides::default(), &Current::default()).steps, []);
}
