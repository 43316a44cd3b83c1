//! `depends_on` in both of its forms.

use serde_json::{Value, json};

use super::{parse, why};
use crate::state::{Condition, Dependency, Target};

fn app(services: &Value) -> Value {
    json!({"apps": {"aa": {"id": 1, "releases": {"c": {"services": services}}}}})
}

fn read(services: &Value) -> Target {
    parse(&app(services).to_string(), None).unwrap()
}

fn service(composition: &Value) -> Value {
    json!({"image": "x", "composition": composition})
}

#[test]
fn both_forms_are_read() {
    let plain = Dependency::default();
    for (written, expected) in [
        (json!(["db"]), plain),
        (json!({"db": null}), plain),
        (json!({"db": {}}), plain),
        (json!({"db": {"condition": "service_started", "required": true, "restart": false}}), plain),
        (json!({"db": {"condition": "service_healthy"}}), Dependency { condition: Condition::Healthy, ..plain }),
        (
            json!({"db": {"condition": "service_completed_successfully", "required": "false", "restart": true}}),
            Dependency { condition: Condition::Completed, required: false, restart: true },
        ),
    ] {
        let db = service(&json!({"restart": "no"}));
        let target = read(&json!({"web": service(&json!({"depends_on": written})), "db": db}));
        let (_, _, web) = target.services().find(|(_, name, _)| *name == "web").unwrap();
        assert_eq!(web.depends_on, [("db".to_owned(), expected)].into_iter().collect(), "{written}");
        assert!(target.warnings.is_empty(), "{:?}", target.warnings);
    }
}

#[test]
fn mistakes_are_told_by_path() {
    for (written, part) in [
        (
            json!({"side": {"condition": "service_ready"}}),
            "depends_on.side.condition: expected service_started, service_healthy or service_completed_successfully, \
             found \"service_ready\"",
        ),
        (json!({"side": {"condition": 1}}), "depends_on.side.condition: expected a string, found 1"),
        (json!({"side": {"required": "perhaps"}}), "depends_on.side.required: expected true or false, found \"perhaps\""),
        (json!({"side": {"restart": []}}), "depends_on.side.restart: expected true or false, found a list"),
        (json!({"side": "service_started"}), "depends_on.side: expected an object, found \"service_started\""),
        (json!({"absent": {"condition": "service_healthy"}}), "depends_on.absent: the app has no service \"absent\""),
        (json!({"main": {"required": false}}), "depends_on.main: a service cannot wait for itself"),
        (json!(7), "depends_on: expected an object, found 7"),
    ] {
        let said = why(&app(&json!({"main": service(&json!({"depends_on": written})), "side": service(&json!({}))})));
        assert!(said.starts_with("apps.aa.releases.c.services.main") && said.contains(part), "{part} not in {said}");
    }
}

#[test]
fn a_circle_of_conditions_is_a_mistake() {
    let on = |other: &str| service(&json!({"depends_on": {other: {"condition": "service_healthy", "required": false}}}));
    let said = why(&app(&json!({"a": on("b"), "b": on("a")})));
    assert!(said.contains("releases.c.services.a") && said.ends_with("services wait for each other: a, b"), "{said}");
}

#[test]
fn one_that_is_not_required_and_not_there_is_told_and_left_out() {
    let target = read(&json!({"web": service(&json!({"depends_on": {"db": {"required": false}}}))}));
    assert!(target.services().all(|(.., it)| it.depends_on.is_empty()));
    let said =
        "services.web.composition.depends_on.db: the app has no service \"db\"; it is not required, so it is not waited for";
    assert!(target.warnings.len() == 1 && target.warnings[0].ends_with(said), "{:?}", target.warnings);
}

#[test]
fn a_job_that_its_restart_policy_never_lets_complete_is_told() {
    let web = service(&json!({"depends_on": {"job": {"condition": "service_completed_successfully"}}}));
    let told = |job: &Value| read(&json!({"web": web, "job": service(job)})).warnings;
    let said = "waits for \"job\" to complete, whose restart policy `always` starts it again whenever it exits";
    let warnings = told(&json!({}));
    assert!(warnings.len() == 1 && warnings[0].contains("services.web: ") && warnings[0].contains(said), "{warnings:?}");
    assert!(told(&json!({"restart": "no"})).is_empty());
    assert!(told(&json!({"restart": "on-failure"})).is_empty());
}

#[test]
fn a_namespace_that_is_shared_keeps_the_condition_that_is_written() {
    let web = service(&json!({"network_mode": "service:vpn", "depends_on": {"vpn": {"condition": "service_healthy"}}}));
    let target = read(&json!({"web": web, "vpn": {"image": "x"}}));
    let (.., web) = target.services().find(|(_, name, _)| *name == "web").unwrap();
    assert_eq!(web.depends_on[&"vpn".to_owned()].condition, Condition::Healthy);
}

#[test]
fn services_that_wait_for_each_other_are_a_mistake() {
    let one = |on: &str| json!({"image": "x", "composition": {"depends_on": [on]}});
    let services = json!({"a": one("b"), "b": one("c"), "c": one("b"), "d": {"image": "x"}});
    let said = why(&json!({"apps": {"aa": {"id": 1, "releases": {"c": {"services": services}}}}}));
    assert!(said.ends_with("services wait for each other: a, b, c"), "{said}");
}
