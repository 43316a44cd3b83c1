//! Contracts of services and of releases.

use super::*;
use crate::state::contract::{Contract, Requirement};

fn v3(contract: &Value, labels: &Value, release: &Value) -> Result<Vec<Contract>, String> {
    let mut release = release.clone();
    release["services"] =
        json!({"main": {"id": 1, "image_id": 1, "image": "app:1", "contract": contract, "labels": labels, "composition": {}}});
    let document = json!({"device": {"apps": {"b0a2": {"id": 1, "name": "a", "releases": {"c1": release}}}}});
    parse(&document.to_string(), None).map(|it| app(&it, 1).contracts.clone()).map_err(|error| error.0)
}

fn one(kind: &str, slug: Option<&str>, version: Option<&str>) -> Requirement {
    Requirement::One { kind: kind.into(), slug: slug.map(Into::into), version: version.map(Into::into) }
}

#[test]
fn a_contract_is_read_with_what_it_requires() {
    let contract = json!({"type": "sw.container", "slug": "app", "name": "App", "requires": [
        {"type": "sw.supervisor", "version": ">=10.6.17"},
        {"or": [{"type": "hw.device-type", "slug": "raspberrypi3"}, {"type": "hw.device-type", "slug": "raspberrypi4-64"}]},
        {"not": [{"type": "arch.sw", "slug": "rpi"}]},
    ]});
    let requires = vec![
        one("sw.supervisor", None, Some(">=10.6.17")),
        Requirement::Any(vec![
            one("hw.device-type", Some("raspberrypi3"), None),
            one("hw.device-type", Some("raspberrypi4-64"), None),
        ]),
        Requirement::Without(vec![one("arch.sw", Some("rpi"), None)]),
    ];
    let service = Contract { service: Some("main".into()), optional: false, requires: requires.clone() };
    let release = Contract { service: None, ..service.clone() };
    let both = v3(&contract, &json!({}), &json!({"id": 1, "contract": contract}));
    assert_eq!(both.unwrap(), [release, service.clone()]);
    let optional = v3(&contract, &json!({"io.balena.features.optional": "1"}), &json!({"id": 1}));
    assert_eq!(optional.unwrap(), [Contract { optional: true, ..service }]);
}

#[test]
fn a_contract_that_requires_nothing_is_none_and_a_wrong_one_says_where() {
    for empty in [json!({}), json!({"type": "sw.container", "slug": "x"}), json!({"slug": "x", "requires": []}), Value::Null] {
        assert_eq!(v3(&empty, &json!({}), &json!({"id": 1})).unwrap(), []);
    }
    for (wrong, word) in [
        (json!({"requires": {"type": "x"}}), "a list"),
        (json!({"requires": [{"slug": "x"}]}), "contract.requires.0.type"),
        (json!({"requires": [{"or": [{"or": [{"or": [{"or": []}]}]}]}]}), "deeper than 4"),
        (json!({"requires": [{"or": [], "not": []}]}), "both `or` and `not`"),
    ] {
        let why = v3(&wrong, &json!({}), &json!({"id": 1})).unwrap_err();
        assert!(why.contains(word), "{why}");
    }
}
