//! The labels of releases on trial.

use std::time::Duration;

use super::*;
use crate::state::TrialRules;

fn document(labels: &str) -> String {
    let service = format!(r#"{{"serviceName": "web", "image": "web:1", "labels": {labels}}}"#);
    let app = format!(r#"{{"name": "a", "commit": "c", "releaseId": 1, "services": {{"1": {service}}}}}"#);
    format!(r#"{{"local": {{"name": "d", "config": {{}}, "apps": {{"1": {app}}}}}}}"#)
}

fn rules(labels: &str) -> (TrialRules, Vec<String>) {
    let target = parse(&document(labels), None).unwrap();
    let service = &target.apps[&AppId(1)].services[&"web".to_owned()];
    (service.trial, service.config.labels.keys().cloned().collect())
}

#[test]
fn the_rules_are_read_from_labels_that_are_no_part_of_the_container() {
    assert_eq!(rules(r#"{"own": "1"}"#), (TrialRules::default(), vec!["own".to_owned()]));
    let (settle, deadline) = (Duration::from_secs(90), Duration::from_secs(5 * 60));
    let labels = r#"{"io.boardkeeper.rollback": "true", "io.boardkeeper.settle": "90s", "io.boardkeeper.deadline": "5m"}"#;
    assert_eq!(rules(labels), (TrialRules { rollback: Some(true), settle, deadline }, Vec::new()));
    assert_eq!(rules(r#"{"io.boardkeeper.rollback": "false"}"#).0.rollback, Some(false));
}

#[test]
fn the_rules_of_a_release_are_those_of_its_services_and_their_own_win() {
    let release = document(r#"{"io.boardkeeper.settle": "5s"}"#).replace(
        r#""releaseId": 1"#,
        r#""releaseId": 1, "labels": {"io.boardkeeper.rollback": "true", "io.boardkeeper.settle": "9s"}"#,
    );
    let target = parse(&release, None).unwrap();
    let TrialRules { rollback, settle, .. } = target.apps[&AppId(1)].services[&"web".to_owned()].trial;
    assert_eq!((rollback, settle), (Some(true), Duration::from_secs(5)));
}

#[test]
fn rules_that_cannot_hold_are_mistakes() {
    let said = |labels: &str| parse(&document(labels), None).unwrap_err().to_string();
    let rollback = said(r#"{"io.boardkeeper.rollback": "perhaps"}"#);
    assert!(rollback.contains("`true` or `false` is expected, and \"perhaps\" is given"), "{rollback}");
    let settle = said(r#"{"io.boardkeeper.settle": "25h"}"#);
    assert!(settle.contains("the label io.boardkeeper.settle: a time such as `90s`"), "{settle}");
    let both = said(r#"{"io.boardkeeper.settle": "10m"}"#);
    assert!(both.contains("must be shorter than io.boardkeeper.deadline"), "{both}");
}
