//! Files that a compose file is made of: merged, extended, included.

use super::*;

#[test]
fn an_override_file_adds_to_lists_and_replaces_scalars() {
    let all = Files::new(&[
        (
            "compose.yaml",
            "services:\n  web:\n    image: a\n    command: [one, two]\n    environment: [A=1, B=1]\n    ports: ['80:80', '81:81']\n    volumes: ['./x:/data', './y:/y']\n    depends_on: [db]\n    labels: {l: '1'}\n    dns: 1.1.1.1\n    logging: {driver: json-file, options: {max-size: 1m}}\n    healthcheck: {test: [CMD, a], retries: 3}\n  db: {image: db, hostname: h, cap_add: [A]}\n",
        ),
        (
            "compose.override.yaml",
            "services:\n  web:\n    image: b\n    command: [three]\n    environment: {B: 2, C: 3}\n    ports: ['81:81', '82:82']\n    volumes: ['./z:/data']\n    depends_on: {db: {condition: service_healthy}}\n    labels: [m=2]\n    dns: [8.8.8.8]\n    logging: {options: {max-file: '2'}}\n    healthcheck: {test: [CMD, b]}\n  db: {hostname: !reset null, cap_add: !override [B]}\n  more: {image: m}\n",
        ),
    ]);
    let app = all.app();
    let web = &app.services[&"web".to_owned()].config;
    assert_eq!(app.services[&"web".to_owned()].image.as_str(), "b:latest");
    assert_eq!(web.command.as_deref(), Some(&["three".to_owned()][..]));
    let env: Vec<_> = web.env.iter().map(|(a, b)| format!("{a}={b}")).collect();
    assert_eq!(env, ["A=1", "B=2", "C=3"]);
    assert_eq!(web.ports.iter().map(ToString::to_string).collect::<Vec<_>>(), [":80:80/tcp", ":81:81/tcp", ":82:82/tcp"]);
    let mounts: Vec<_> = web.mounts.iter().map(|it| format!("{it}")).collect();
    assert!(mounts.len() == 2 && mounts.iter().any(|it| it.contains("/srv/My App/z")), "{mounts:?}");
    assert_eq!(app.services[&"web".to_owned()].depends_on[&"db".to_owned()].condition, Condition::Healthy);
    assert_eq!(web.labels.len(), 2);
    assert_eq!(web.dns, ["1.1.1.1", "8.8.8.8"]);
    assert_eq!(web.logging.as_ref().unwrap().options.len(), 2);
    let health = web.health.as_ref().unwrap();
    assert_eq!((health.test.as_slice(), health.retries), (&["CMD".to_owned(), "b".to_owned()][..], 3));
    assert_eq!(app.services[&"db".to_owned()].config.hostname, None);
    assert_eq!(app.services[&"db".to_owned()].config.cap_add, ["B".to_owned()].into());
    assert!(app.services.contains_key("more"));
}

#[test]
fn one_text_and_another_are_a_list_where_a_list_may_be() {
    let all = Files::new(&[
        ("compose.yaml", "services: {web: {image: x, env_file: a, dns: 1.1.1.1, tmpfs: /a, working_dir: /a}}"),
        ("compose.override.yml", "services: {web: {env_file: b, dns: 8.8.8.8, tmpfs: /b, working_dir: /b}}"),
        ("a", "A=a\nB=a"),
        ("b", "B=b"),
    ]);
    let config = all.service("web").config;
    assert_eq!((config.env[&"A".to_owned()].as_str(), config.env[&"B".to_owned()].as_str()), ("a", "b"));
    assert_eq!((config.dns.len(), config.tmpfs.len(), config.working_dir.as_deref()), (2, 2, Some("/b")));
}

#[test]
fn a_service_extends_one_of_the_same_file_or_of_another() {
    let all = Files::new(&[
        (
            "compose.yaml",
            "services:\n  base: {image: a, environment: {A: 1}}\n  web: {extends: base, environment: {B: 2}}\n  far:\n    extends: {file: common/c.yml, service: up}\n    image: own\n",
        ),
        (
            "common/c.yml",
            "services:\n  deep: {image: d, volumes: ['./data:/data'], env_file: e}\n  up: {extends: {service: deep}, hostname: h}\n",
        ),
        ("common/e", "E=1"),
    ]);
    let app = all.app();
    assert_eq!(app.services[&"web".to_owned()].image.as_str(), "a:latest");
    assert_eq!(app.services[&"web".to_owned()].config.env.len(), 2);
    let far = &app.services[&"far".to_owned()];
    assert_eq!(
        (far.image.as_str(), far.config.hostname.as_deref(), far.config.env[&"E".to_owned()].as_str()),
        ("own:latest", Some("h"), "1")
    );
    assert!(format!("{}", far.config.mounts.first().unwrap()).contains("/srv/My App/common/data"));
    assert!(all.read().files.contains(Path::new("/srv/My App/common/c.yml")));
}

#[test]
fn what_cannot_be_extended_is_said() {
    for (text, said) in [
        ("services: {a: {extends: b}, b: {extends: a}}", "compose.yaml:1:16: services extend each other more than 16 times"),
        ("services: {a: {extends: z}}", "compose.yaml:1:16: there is no service \"z\" to extend"),
        ("services: {a: {extends: {service: z, file: gone.yml}}}", "compose.yaml:1:16: gone.yml: no such file"),
        (
            "services: {a: {extends: {file: gone.yml}}}",
            "compose.yaml:1:16: `extends` expects the name of a service, or `service` and `file`",
        ),
    ] {
        let wrong = file(text).wrong();
        assert!(wrong.contains(said), "{wrong}");
    }
}

#[test]
fn files_are_included_with_variables_and_a_folder_of_their_own() {
    let all = Files::new(&[
        (
            "compose.yaml",
            "include:\n  - db/compose.yaml\n  - {path: [m.yml, m2.yml], project_directory: other, env_file: m.env}\nservices: {web: {image: x, depends_on: [db]}}\n",
        ),
        (".env", "TOP=top"),
        (
            "db/compose.yaml",
            "services: {db: {image: 'db:${TAG}', hostname: $TOP, volumes: ['./d:/d', 'data:/v']}}\nvolumes: {data: {}}\n",
        ),
        ("db/.env", "TAG=5\nTOP=own"),
        ("m.yml", "services: {m: {image: $M, volumes: ['./m:/m']}}"),
        ("m2.yml", "services: {m: {hostname: h}}"),
        ("m.env", "M=mm"),
    ]);
    let app = all.app();
    let db = &app.services[&"db".to_owned()];
    assert_eq!((db.image.as_str(), db.config.hostname.as_deref()), ("db:5", Some("top")));
    assert!(format!("{}", db.config.mounts.iter().next_back().unwrap()).contains("/srv/My App/db/d"));
    assert!(app.volumes.contains_key("data"));
    let m = &app.services[&"m".to_owned()];
    assert_eq!((m.image.as_str(), m.config.hostname.as_deref()), ("mm:latest", Some("h")));
    assert!(format!("{}", m.config.mounts.first().unwrap()).contains("/srv/My App/other/m"));
    for name in ["db/.env", "m2.yml", "m.env"] {
        assert!(all.read().files.contains(&Path::new("/srv/My App").join(name)), "{name}");
    }
}

#[test]
fn what_cannot_be_included_is_said() {
    let both = Files::new(&[
        ("compose.yaml", "include: [b.yml]\nservices: {web: {image: x}}"),
        ("b.yml", "services: {web: {image: y}}"),
    ]);
    assert_eq!(
        both.wrong(),
        "b.yml:1:12: services.web: compose.yaml:2:12 has it too; a file may not include what it defines itself"
    );
    let round = Files::new(&[("compose.yaml", "include: [compose.yaml]\nservices: {web: {image: x}}")]);
    assert_eq!(round.wrong(), "compose.yaml:1:11: files include each other, or more than 16 in a row");
    assert_eq!(file("include: gone.yml\nservices: {}").wrong(), "compose.yaml:1:1: gone.yml: no such file");
}

#[test]
fn anchors_and_merge_keys_are_what_yaml_says() {
    let all = file(
        "x-base: &base\n  image: a\n  restart: always\nx-env: &env {A: 1}\nservices:\n  one: {<<: *base, hostname: h, environment: {<<: *env, B: 2}}\n  two: {<<: [*base, {image: b, tty: true}], restart: 'no'}\n",
    );
    let app = all.app();
    assert_eq!(
        (app.services[&"one".to_owned()].image.as_str(), app.services[&"one".to_owned()].config.restart),
        ("a:latest", RestartPolicy::Always)
    );
    assert_eq!(app.services[&"one".to_owned()].config.env.len(), 2);
    let two = &app.services[&"two".to_owned()];
    assert_eq!((two.image.as_str(), two.config.restart, two.config.tty), ("a:latest", RestartPolicy::No, true));
}
