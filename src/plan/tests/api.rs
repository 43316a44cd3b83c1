//! Which services are given access to the API.

use super::model::{APP, story_with};
use super::*;
use crate::sorted::SortedSet;

#[test]
fn a_service_is_told_of_the_api_where_its_label_says_so_or_it_is_alone_and_says_nothing() {
    let keys = Keys {
        device: Secret::from_bytes([2; 32]),
        root: Secret::from_bytes([1; 32]),
        generations: SortedMap::new(),
        kept: SortedMap::new(),
    };
    let gets_variables = |words: &str, label: Option<&str>, shape: Generation| {
        let mut target = parse_target(words);
        for app in target.apps.iter_mut().map(|(_, it)| it) {
            app.shape = shape;
            let web = app.services.get_mut("web").unwrap();
            if let Some(label) = label {
                web.config.labels.insert("io.balena.features.supervisor-api".to_owned(), label.to_owned());
                web.features.extend((label == "1").then_some(Feature::SupervisorApi));
            }
        }
        let completed = inject_supervisor_env(&target, &Device::default(), &keys);
        let env = &completed.apps[&AppId(1)].services[&"web".to_owned()].config.env;
        let names = ["SUPERVISOR_API_KEY", "SUPERVISOR_HOST", "SUPERVISOR_PORT", "SUPERVISOR_ADDRESS"];
        let gets_variables =
            ["RESIN", "BALENA"].iter().flat_map(|prefix| names.map(|name| env.contains_key(&format!("{prefix}_{name}"))));
        let gets_variables: SortedSet<bool> = gets_variables.collect();
        assert_eq!(gets_variables.len(), 1, "all of it or nothing");
        gets_variables.contains(&true)
    };
    let (alone, two) = ("web web:1", "web web:1\ndb db:1");
    for (words, label, shape, expected) in [
        (alone, None, Generation::Services, true),
        (alone, Some("1"), Generation::Services, true),
        (alone, Some("0"), Generation::Services, false),
        (two, None, Generation::Services, false),
        (two, Some("1"), Generation::Services, true),
        (two, Some("false"), Generation::Services, false),
        (alone, None, Generation::Single, true),
        (alone, None, Generation::Compose, false),
        (alone, Some("1"), Generation::Compose, true),
    ] {
        assert_eq!(gets_variables(words, label, shape), expected, "{words:?} {label:?} {shape:?}");
    }
}

#[test]
fn the_network_of_the_api_comes_first_for_a_service_that_uses_it_and_last_otherwise() {
    let story = |label: &str, failing: Option<&str>| {
        let mut target = parse_target("web web:1");
        let web = target.apps.get_mut(&APP).unwrap().services.get_mut("web").unwrap();
        web.config.labels.insert("io.balena.features.supervisor-api".to_owned(), label.to_owned());
        web.features.extend((label == "1").then_some(Feature::SupervisorApi));
        story_with(&target, "image web:1", |_, current| {
            current.networks.clear();
            current.failing.extend(failing.map(|it| ServiceKey::new(APP, it)));
        })
    };
    let creates = "create network supervisor0";
    // Nor does a service that fails for good hold it up.
    for first in [story("1", None), story("0", Some("web"))] {
        assert!(first.lines().next().unwrap().contains(creates), "{first}");
    }
    let last = story("0", None);
    assert!(last.lines().next_back().unwrap() == creates && last.matches(creates).count() == 1, "{last}");
}
