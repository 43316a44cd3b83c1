//! What is printed of a target.

use super::*;

/// The compose file `text` in a folder of its own.
fn what(text: &str, json: bool) -> (tempfile::TempDir, WhatArgs) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("compose.yaml");
    std::fs::write(&file, format!("name: demo\n{text}")).unwrap();
    (dir, WhatArgs { file, json })
}

fn target(text: &str) -> Target {
    let (dir, what) = what(text, false);
    let config = Config { state_dir: dir.path().join("state"), ..Config::default() };
    super::read(&what, &config).unwrap()
}

#[test]
fn a_good_target_is_printed_as_a_table_with_its_warnings() {
    let target = target(
        "services:\n  web: {image: nginx, ports: ['8080:80', 53/udp], volumes: ['/a:/b:ro', data:/c], restart: always}\n  db: {image: db, network_mode: host, frob: 1}\nvolumes: {data: {}}\n",
    );
    let id = target.apps.keys().next().unwrap();
    let expected = format!(
        "{}\n{id} demo  db       db:latest     -                host     no       -\n{id} demo  web      nginx:latest  :53/udp 8080:80  default  always   data:/c /a:/b:ro\nwarning   compose.yaml:4:39: services.db.frob: not supported, ignored\n",
        "APP              SERVICE  IMAGE         PORTS            NETWORK  RESTART  VOLUMES"
    );
    assert_eq!(for_people(&target), expected);
}

#[test]
fn json_has_the_same() {
    let target = target("services: {web: {image: nginx, depends_on: [db]}, db: {image: db}}");
    let value: serde_json::Value = serde_json::from_str(&json(&CheckOutput::of(&target))).unwrap();
    assert_eq!(value["apps"][0]["name"], "demo");
    assert_eq!(value["apps"][0]["services"][1]["depends_on"][0], "db");
    assert_eq!(value["warnings"], serde_json::json!([]));
}

#[test]
fn a_wrong_target_ends_with_2_and_a_missing_one_with_1() {
    let (dir, wrong) = what("services: {web: {}}", false);
    let config = Config { state_dir: dir.path().join("state"), ..Config::default() };
    let error = super::read(&wrong, &config).unwrap_err();
    assert_eq!(error.code(), 2);
    assert!(error.to_string().contains("compose.yaml:2:12: services.web.image: expected the name of an image"), "{error}");
    let gone = WhatArgs { file: dir.path().join("gone.yml"), json: false };
    assert_eq!(super::read(&gone, &config).unwrap_err().code(), 1);
}

#[test]
fn steps_are_printed_with_their_reasons() {
    let step =
        |wave, what: &str, why: &str| crate::reconcile::preview::PreviewStep { wave, what: what.into(), why: why.into() };
    let preview = Preview {
        steps: vec![step(1, "pull a", "the engine does not have it"), step(2, "create 1/a from a", "it has no container")],
        waiting: vec!["1/b: its locks".into()],
        left_out: Vec::new(),
    };
    let expected = concat!(
        "WAVE  STEP               WHY\n",
        "1     pull a             the engine does not have it\n",
        "2     create 1/a from a  it has no container\n",
        "waiting   1/b: its locks\n",
    );
    assert_eq!(steps(&preview, &[]), expected);
    assert_eq!(steps(&Preview::default(), &["w".into()]), "nothing is to be done\nwarning   w\n");
}
