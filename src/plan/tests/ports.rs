//! Services that leave the choice of a host port.

use super::model::{parse_device, parse_target};
use crate::plan::{Plan, plan};
use crate::sorted::SortedMap;
use crate::state::{Current, EngineAction, Overrides, Step};

/// The host port of each container to be created.
fn chosen(plan: &Plan) -> SortedMap<String, u16> {
    let created = plan.steps.iter().filter_map(|it| match it {
        Step::Engine(EngineAction::Create(spec)) => Some((spec.key.service.clone(), *spec.ports.values().next()?)),
        _ => None,
    });
    created.collect()
}

fn choices(target: &str, device: &str, change: impl FnOnce(&mut Current)) -> SortedMap<String, u16> {
    let mut current = parse_device(device);
    change(&mut current);
    chosen(&plan(&parse_target(target), &Overrides::default(), &current))
}

fn pairs(pairs: &[(&str, u16)]) -> SortedMap<String, u16> {
    pairs.iter().map(|(name, port)| ((*name).to_owned(), *port)).collect()
}

#[test]
fn services_of_one_range_get_different_ports() {
    let target = "a app:1 ports:8000-8002\nb app:1 ports:8000-8001\nc app:1 ports:8001-8002";
    let device = "network default\nimage app:1";
    assert_eq!(choices(target, device, |_| ()), pairs(&[("a", 8000), ("b", 8001), ("c", 8002)]));
}

#[test]
fn a_service_whose_ports_others_have_is_told_what_to_do() {
    let target = parse_target("a app:1 ports:8000-8001\nb app:1 ports:8000-8001\nc app:1 ports:8000-8001");
    let plan = plan(&target, &Overrides::default(), &parse_device("network default\nimage app:1"));
    assert_eq!(chosen(&plan), pairs(&[("a", 8000), ("b", 8001)]));
    assert!(plan.waiting.iter().any(|it| it.to_string().starts_with("1/c waits for a free port of the host")));
    assert!(plan.differences[0].why.ends_with("widen the range, or free one"), "{}", plan.differences[0].why);
}

#[test]
fn a_container_created_anew_keeps_its_port_while_it_is_in_the_range() {
    let device = "a app:1 running ports:8000-8003 has:8002\nimage app:2";
    assert_eq!(choices("a app:2 ports:8000-8003", device, |_| ()), pairs(&[("a", 8002)]));
    assert_eq!(choices("a app:2 ports:8002-8009", device, |_| ()), pairs(&[("a", 8002)]));
    assert_eq!(choices("a app:2 ports:8005-8009", device, |_| ()), pairs(&[("a", 8005)]));
    // A new service gets another port; a hand-over needs two.
    assert_eq!(choices("_ app:2 ports:8002-8003\na app:1 ports:8000-8003", device, |_| ()), pairs(&[("_", 8003)]));
    assert_eq!(choices("a app:2 ports:8000-8003 hand-over", device, |_| ()), pairs(&[("a", 8003)]));
    assert_eq!(choices("a app:1 ports:8000-8003", device, |_| ()), pairs(&[]));
}

#[test]
fn a_port_that_something_else_on_the_host_has_is_exchanged_for_the_next() {
    let exited = |range: &str| {
        choices(&format!("a app:1 ports:{range}"), &format!("a app:1 exited ports:{range} has:8001"), |current| {
            current.containers[0].is_port_taken = true;
        })
    };
    assert_eq!(exited("8000-8001"), pairs(&[("a", 8000)]));
    assert_eq!(exited("8001-8002"), pairs(&[("a", 8002)]));
}
