//! A network of an app has one of two names on the engine: the one of current supervisors, or that of older ones, which a
//! document without an app's unique name has too.

use insta::assert_snapshot;

use super::model::{network, story_of};
use crate::state::{Current, NetworkId, Overrides};

/// Puts a container on networks of the app.
fn put_on(current: &mut Current, container: usize, networks: &[&str]) {
    let on = networks.iter().map(|it| network(it)).map(|it| (it.name, it.id));
    current.containers[container].networks = Some(on.collect());
}

/// An engine starts no container that is on a network which is gone. The next release is not on it, and then it goes.
#[test]
fn a_network_stays_for_as_long_as_a_container_is_on_it() {
    let on_different_ones = |_: &mut Overrides, current: &mut Current| {
        current.networks.push(network("1_default"));
        put_on(current, 0, &["1_default"]);
        put_on(current, 1, &["app_default"]);
    };
    for (phase, starts) in [("created", "\nstart 1/web"), ("exited", "\nstart 1/web"), ("running", "")] {
        let device = format!("web web:1 {phase}\ndb db:1 running\nnetwork default");
        let story = story_of("web web:1\ndb db:1", &device, on_different_ones);
        assert_eq!(story, format!("connect 1/web to app_default{starts}"), "{phase}");
    }
    let device = "web web:1 running\ndb db:1 running\nimage web:2\nnetwork default";
    assert_snapshot!(story_of("web web:2\ndb db:1", device, on_different_ones), @"
    create 1/web from web:2
    lock 1 (db web)
    kill 1/web
    rename 1/web to web_1_1_one, start 1/web, remove network 1_default, remove image web:1
    unlock 1
    ");
}

/// As an older agent leaves it, or another supervisor.
#[test]
fn a_container_that_is_on_both_is_started() {
    let on_both = |_: &mut Overrides, current: &mut Current| {
        current.networks.push(network("1_default"));
        put_on(current, 0, &["app_default", "1_default"]);
    };
    assert_snapshot!(story_of("web web:1", "web web:1 exited\nnetwork default", on_both), @"start 1/web");
}

#[test]
fn of_two_networks_the_one_is_used_that_a_container_is_on_be_it_alive_or_not() {
    let on_the_older = |_: &mut Overrides, current: &mut Current| {
        current.networks.push(network("1_default"));
        put_on(current, 0, &["1_default"]);
    };
    assert_snapshot!(story_of("web web:1", "web web:1 exited\nnetwork default", on_the_older), @"start 1/web, remove network app_default");
}

/// A container cannot leave a network that the engine has no more, but it can have another of the same name instead.
#[test]
fn a_network_that_was_pruned_is_created_by_the_name_that_its_containers_know() {
    let pruned = |_: &mut Overrides, current: &mut Current| {
        current.networks.retain(|it| it.app.is_none());
        let gone = NetworkId("id-pruned".to_owned());
        current.containers[0].networks = Some([("1_default".to_owned(), gone)].into_iter().collect());
    };
    assert_snapshot!(story_of("web web:1", "web web:1 exited\nnetwork default", pruned), @"
    create network 1_default
    connect 1/web to 1_default
    start 1/web
    ");
}

/// One that has done its job is left alone.
#[test]
fn a_container_whose_network_was_pruned_is_made_anew_where_others_are_on_one_of_another_name() {
    let stranded = |_: &mut Overrides, current: &mut Current| {
        put_on(current, 0, &["1_default"]);
        put_on(current, 1, &["app_default"]);
    };
    let device = |words: &str| format!("web web:1 exited{words}\ndb db:1 running\nnetwork default");
    assert_snapshot!(story_of("web web:1\ndb db:1", &device(""), stranded), @"
    create 1/web from web:1
    lock 1 (db web)
    kill 1/web
    rename 1/web to web_1_1_one, start 1/web
    unlock 1
    ");
    assert_snapshot!(story_of("web web:1 rests\ndb db:1", &device(" rests"), stranded), @"connect 1/web to app_default");
}
