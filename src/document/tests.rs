//! Whole documents: each shape, and each class of mistake.

mod any;
mod contracts;
mod depends;
mod labels;
mod limits;
mod pin;
mod rejected;
mod release_labels;
mod shares;
mod snapshots;
mod strict;
mod trial;
mod windows;

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::state::app::Generation;
use crate::state::config::{Mount, MountMode, NetworkMode, RestartPolicy};
use crate::state::service::{Feature, Strategy};
use crate::state::{App, AppId, ContainerConfig, Dependency, Service};

const V3: &str = include_str!("../../tests/data/target-v3.json");
const V2: &str = include_str!("../../tests/data/target-v2.json");
const OF_2017: &str = include_str!("../../tests/data/target-2017.json");
const PRELOADED: &str = include_str!("../../tests/data/target-preloaded.json");
const COMPOSE: &str = include_str!("../../tests/data/target-compose.json");
const ALL: [&str; 5] = [V3, V2, OF_2017, PRELOADED, COMPOSE];
const DEVICE: &str = "335a908fe6803c7dda6f13eadcd1f7e0";

fn app(target: &Target, id: u32) -> &App {
    &target.apps[&AppId(id)]
}

/// The only service of a v2 document made of these fields.
fn service(fields: &Value) -> Result<Service, String> {
    parse(&v2(fields), None).map_err(|error| error.0).map(|it| app(&it, 1).services[&"main".to_owned()].clone())
}

fn v2(fields: &Value) -> String {
    let mut service = json!({"serviceName": "main", "image": "x"});
    service.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let release = json!({"commit": "c", "services": {"2": service}, "volumes": {"data": {}}, "networks": {"n": {}}});
    json!({"local": {"apps": {"1": release}}}).to_string()
}

fn config(fields: &Value) -> ContainerConfig {
    service(fields).unwrap().config
}

fn mistake(fields: &Value) -> String {
    service(fields).unwrap_err()
}

fn why(document: &Value) -> String {
    parse(&document.to_string(), None).unwrap_err().0
}

#[test]
fn a_v3_document_is_read_without_what_is_the_hosts() {
    let target = parse(V3, Some(DEVICE)).unwrap();
    assert_eq!(target.name.as_deref(), Some("little-thunder"));
    assert_eq!(target.config[&"SUPERVISOR_POLL_INTERVAL".to_owned()], "10000");
    assert_eq!(target.apps.keys().collect::<Vec<_>>(), [&AppId(1)]);
    let app = app(&target, 1);
    assert_eq!(app.uuid, "797e233cf79543d3bc61aaf99e793a26");
    assert_eq!((app.name.as_str(), app.commit.as_deref(), app.release_id), ("fleet-raspberrypi3", Some("19c48bcaffa860"), 21));
    assert_eq!(app.shape, Generation::Services);
    let main = &app.services[&"main".to_owned()];
    assert_eq!((main.id, main.image_id, main.running), (11, 31, true));
    assert_eq!(main.config.env[&"SVC".to_owned()], "from-service", "the document's own word wins over the composition's");
    assert_eq!(main.config.env[&"only.here".to_owned()], "1");
    assert_eq!(main.features, [Feature::SupervisorApi].into());
    assert_eq!(main.config.labels[&"io.balena.features.supervisor-api".to_owned()], "1");
    assert_eq!(main.depends_on, [("side".to_owned(), Dependency::default())].into_iter().collect());
    assert_eq!(main.config.expose, ["80/tcp".to_owned()].into());
    let aliases = &main.config.networks[&"default".to_owned()].aliases;
    assert_eq!(aliases, &["main".to_owned()].into());
    assert_eq!(app.services[&"side".to_owned()].config.network_mode, NetworkMode::Host);
    assert!(app.services[&"side".to_owned()].config.networks.is_empty());
    assert_eq!(target.warnings.len(), 2, "{:?}", target.warnings);
    assert!(target.warnings.iter().all(|it| it.ends_with("belongs to the host, left to it")));
}

#[test]
fn v2_and_v3_say_the_same() {
    let (v3, v2) = (parse(V3, None).unwrap(), parse(V2, None).unwrap());
    assert_eq!((&v3.name, &v3.config), (&v2.name, &v2.config));
    let (mut newer, older) = (app(&v3, 1).clone(), app(&v2, 1).clone());
    assert_eq!(older.uuid, "1");
    newer.uuid = "1".to_owned();
    newer.services.get_mut("main").unwrap().config.env.remove("only.here");
    assert_eq!(newer, older);
    assert!(v2.warnings.is_empty(), "{:?}", v2.warnings);
}

#[test]
fn a_document_of_2017_is_one_container_with_everything() {
    let target = parse(OF_2017, None).unwrap();
    let app = app(&target, 1234);
    assert_eq!((app.uuid.as_str(), app.shape, app.commit.as_deref()), ("1234", Generation::Single, Some("e7a1c2")));
    assert_eq!(app.volumes.keys().collect::<Vec<_>>(), ["data"]);
    let main = &app.services[&"main".to_owned()];
    assert_eq!(main.image.as_str(), "registry.test/hello/e7a1c2:latest");
    assert_eq!((main.strategy, main.handover_timeout), (Strategy::HandOver, Duration::from_secs(5)));
    let expected = [Feature::Dbus, Feature::KernelModules, Feature::Firmware, Feature::SupervisorApi];
    assert_eq!(main.features, expected.into());
    let config = &main.config;
    assert_eq!((&config.network_mode, config.privileged, config.tty), (&NetworkMode::Host, true, true));
    assert_eq!((config.restart, &config.command), (RestartPolicy::OnFailure(3), &None));
    assert_eq!(config.mounts.len(), 1);
    assert_eq!(config.ports.iter().map(ToString::to_string).collect::<Vec<_>>(), [":80:80/tcp", ":8080:8080/tcp"]);
    assert_eq!(config.expose.len(), 2);
    assert_eq!(config.env[&"GREETING".to_owned()], "hi");
    assert_eq!(target.config[&"SUPERVISOR_DELTA".to_owned()], "1");
    assert_eq!(target.warnings, ["local.apps.1234.config.RESIN_SUPERVISOR_DELTA: ignored: the agent pulls whole layers"]);
}

#[test]
fn a_preloaded_document_is_read_too() {
    let target = parse(PRELOADED, None).unwrap();
    let app = app(&target, 1);
    assert_eq!(app.services[&"main".to_owned()].image.as_str(), "busybox:latest");
    assert_eq!((app.services[&"main".to_owned()].id, app.release_id), (0, 0));
    assert_eq!(target.config[&"HOST_DISCOVERABILITY".to_owned()], "true");
    assert!(target.warnings.is_empty(), "{:?}", target.warnings);
}

#[test]
fn every_compose_field_is_read() {
    let target = parse(COMPOSE, None).unwrap();
    let web = &app(&target, 7).services[&"web".to_owned()];
    assert_eq!((web.image.as_str(), web.running, web.requires_reboot), ("web:2", false, true));
    assert_eq!((web.strategy, web.handover_timeout), (Strategy::HandOver, Duration::from_millis(1500)));
    assert_eq!(web.features, [Feature::Dbus, Feature::KernelModules, Feature::Gpu, Feature::BalenaSocket].into());
    assert_eq!(web.depends_on, [("db".to_owned(), Dependency::default())].into_iter().collect());
    assert_eq!(web.config.labels[&"io.balena.both".to_owned()], "new");
    let fields: Vec<_> = web.config.fields().into_iter().map(|(name, text)| format!("{name}={text}")).collect();
    // A container is created from these values: a change here recreates the containers of every device.
    insta::assert_snapshot!(fields.join("\n"));
    assert_eq!(web.config.memory_bytes, 64 << 20);
    assert_eq!(web.config.nano_cpus, 500_000_000);
}

#[test]
fn networks_and_volumes_are_read() {
    let target = parse(COMPOSE, None).unwrap();
    let app = app(&target, 7);
    let back = &app.networks[&"back".to_owned()];
    assert_eq!((back.enable_ipv6, back.internal, back.ipam.len()), (true, true, 1));
    assert_eq!(back.ipam[0].aux_addresses[&"x".to_owned()], "10.1.0.9");
    assert_eq!(back.labels[&"io.balena.note".to_owned()], "1");
    assert_eq!(app.networks[&"front".to_owned()], crate::state::NetworkConfig::default());
    assert_eq!(app.volumes[&"cache".to_owned()].driver_opts[&"type".to_owned()], "tmpfs");
}

#[test]
fn what_is_left_aside_is_named() {
    let warnings = parse(COMPOSE, None).unwrap().warnings;
    let bind = "a path of the host cannot be mounted, ignored; use a named volume or a label io.balena.features.*";
    let expected = [
        "security_opt.1: not supported, ignored".to_owned(),
        format!("volumes.2: {bind}"),
        format!("volumes.3: {bind}"),
        format!("volumes.7: {bind}"),
        "build: not supported, ignored".to_owned(),
        "extends: not supported, ignored".to_owned(),
    ];
    assert_eq!(warnings, expected.map(|it| format!("apps.7.services.2.{it}")));
}

#[test]
fn the_device_s_part_of_a_v3_document_is_found() {
    let two = json!({"aa": {"apps": {}, "name": "a"}, "bb": {"apps": {}, "name": "b"}}).to_string();
    let target = parse(&two, Some("bb")).unwrap();
    assert_eq!(target.name.as_deref(), Some("b"));
    assert_eq!(target.warnings, ["aa: is another device's, ignored"]);
    let said = parse(&two, Some("cc")).unwrap_err().0;
    assert_eq!(said, "the document: expected `local`, `apps` or this device's uuid (cc), found the keys [aa, bb]");
    let one = json!({"aa": {"apps": {}}}).to_string();
    assert!(parse(&one, None).unwrap().warnings.is_empty());
    assert_eq!(parse(&one, Some("cc")).unwrap().warnings.len(), 1);
}

#[test]
fn a_document_that_says_nothing_removes_nothing() {
    for (document, said) in [
        (json!({}), "the document: expected `local`, `apps` or this device's uuid (not known yet), found the keys []"),
        (json!([]), "the document: expected an object, found a list"),
        (json!({"local": {}}), "local.apps: expected an object, empty if nothing is to run, found nothing"),
        (json!({"local": {"apps": null}}), "local.apps: expected an object, empty if nothing is to run, found nothing"),
        (json!({"aa": {"name": "x"}}), "aa.apps: expected an object, empty if nothing is to run, found nothing"),
        (
            json!({"aa": 5}),
            "2 mistakes: aa: expected an object, found 5; aa.apps: expected an object, empty if nothing is to run, found nothing",
        ),
    ] {
        assert_eq!(why(&document), said);
    }
    assert_eq!(parse("{\"a\":\n 1,}", None).unwrap_err().0, "it is not JSON: trailing comma at line 2 column 4");
    assert!(parse("", None).unwrap_err().0.starts_with("it is not JSON: EOF"));
    assert!(parse(&"[".repeat(100_000), None).unwrap_err().0.contains("recursion limit"));
}

#[test]
fn mistakes_are_told_together_by_path() {
    let document = json!({"local": {"name": "a\nb", "config": {"9": "x"}, "apps": {"1234": {
        "commit": "c", "services": {"2": {"serviceName": 5, "image": "x"}, "x": {"serviceName": "a/b", "image": "a b", "imageId": -1}}
    }}}});
    let said = why(&document);
    for part in [
        "local.name: expected at most 255 characters on one line, found \"a\\nb\"",
        "local.config.9: the name must be letters",
        "local.apps.1234.services.2.serviceName: expected a string, found 5",
        "local.apps.1234.services.x: the service's key must be its number",
        "local.apps.1234.services.x.serviceName: expected letters, digits",
        "local.apps.1234.services.x.image: expected the name of an image, at most 456 characters, found \"a b\"",
        "local.apps.1234.services.x.imageId: expected a whole number from 0 to 4294967295, found -1",
    ] {
        assert!(said.contains(part), "{part} not in {said}");
    }
}

#[test]
fn names_and_numbers_of_apps_are_checked() {
    let v3 = |app: Value| json!({"apps": {"aa": app}});
    let main = json!({"image": "x"});
    for (document, part) in [
        (v3(json!({"releases": {}})), "apps.aa.id: expected the app's number, found nothing"),
        (v3(json!({"id": "x", "releases": {}})), "apps.aa.id: expected a whole number"),
        (v3(json!({"id": 1.5, "releases": {}})), "apps.aa.id: expected a whole number from 0 to 4294967295, found 1.5"),
        (v3(json!({"id": 4_294_967_296_u64})), "apps.aa.id: expected a whole number"),
        (v3(json!({"id": 1, "releases": {"a": {}, "b": {}}})), "apps.aa: expected one release, found 2 (a, b)"),
        (v3(json!({"id": 1, "releases": {"a/b": {}}})), "apps.aa.releases.a/b: the commit must be"),
        (v3(json!({"id": 1, "name": "n".repeat(256)})), "apps.aa.name: expected at most 255 characters"),
        (json!({"apps": {"a b": {"id": 1}}}), "the app's uuid must be"),
        (json!({"apps": {"a": {"id": 1}, "b": {"id": 1}}}), "apps.b: has the same number as the app \"a\""),
        (json!({"apps": {"x": {"services": {}}}}), "apps.x: the app's key must be its number"),
        (
            json!({"apps": {"1": {"commit": "c", "services": {"1": {"image": "x"}}}}}),
            "services.1.serviceName: expected the service's name",
        ),
        (
            json!({"apps": {"1": {"commit": "c", "services": {
            "1": {"serviceName": "a", "image": "x"}, "2": {"serviceName": "a", "image": "x"}}}}}),
            "has the service \"a\" twice",
        ),
        (v3(json!({"id": 1, "releases": {"c": {"services": {"a b": main}}}})), "the service's name must be"),
        (v3(json!({"id": 1, "releases": {"c": {"volumes": {"a b": {}}}}})), "releases.c.volumes.\"a b\": the name must be"),
        (v3(json!({"id": 1, "releases": {"c": {"networks": {"": {}}}}})), "releases.c.networks.\"\": the name must be"),
        (
            v3(json!({"id": 1, "releases": {"c": {"services": {"a": {}}}}})),
            "services.a.image: expected the name of an image, found nothing",
        ),
    ] {
        let said = why(&document);
        assert!(said.contains(part), "{part} not in {said}");
    }
}

#[test]
fn mistakes_in_a_service_are_told_by_path() {
    for (fields, part) in [
        (json!({"environment": {"A-B": "x"}}), "environment.A-B: the name must be letters, digits or `_`"),
        (json!({"environment": ["9=x"]}), "environment.0: the name \"9\" must be"),
        (json!({"labels": {"a b": "x"}}), "labels.\"a b\": the name must be printable ASCII"),
        (json!({"mem_limit": "lots"}), "mem_limit: expected a size such as 64m, 1g or a number of bytes, found \"lots\""),
        (json!({"stop_grace_period": "soon"}), "stop_grace_period: expected a duration such as 1m30s"),
        (json!({"restart": "sometimes"}), "restart: expected no, always, unless-stopped"),
        (json!({"command": "a 'b"}), "command: a quote is left open"),
        (json!({"ports": ["x"]}), "ports.0: expected a port such as 80"),
        (json!({"expose": ["x"]}), "expose.0: expected a port such as 80"),
        (json!({"privileged": "maybe"}), "privileged: expected true or false, found \"maybe\""),
        (json!({"cpus": "x"}), "cpus: expected a number, found \"x\""),
        (json!({"cpus": -1}), "cpus: expected a number of processors"),
        (json!({"cpu_shares": 1.5}), "cpu_shares: expected a whole number, found 1.5"),
        (json!({"oom_score_adj": 2000}), "oom_score_adj: expected a whole number from -1000 to 1000"),
        (json!({"ulimits": {"nofile": {"soft": 1}}}), "ulimits.nofile: expected whole numbers `soft` and `hard`"),
        (json!({"healthcheck": {"test": ["curl"]}}), "healthcheck.test: expected a list that begins with"),
        (json!({"extra_hosts": ["x"]}), "extra_hosts.0: expected a host such as name:192.168.0.1"),
        (json!({"devices": [""]}), "devices.0: expected a device such as"),
        (json!({"depends_on": ["nobody"]}), "depends_on.0: the app has no service \"nobody\""),
        (json!({"depends_on": {"main": null}}), "depends_on.main: a service cannot wait for itself"),
        (json!({"networks": ["x"]}), "networks.0: the app has no network \"x\""),
        (json!({"networks": {"n": {"ipv4_address": "x"}}}), "networks.n.ipv4_address: expected an IP address, found \"x\""),
        (
            json!({"network_mode": "x"}),
            "network_mode: expected host, none, bridge, service:<name>, container:<id> or a network",
        ),
        (json!({"network_mode": "service:x"}), "network_mode: the app has no service \"x\""),
        (json!({"volumes": ["x:/x"]}), "volumes.0: the app has no volume \"x\""),
        (json!({"volumes": ["data:x"]}), "volumes.0: expected an absolute path in the container, found \"x\""),
        (
            json!({"volumes": [{"type": "npipe", "target": "/x"}]}),
            "volumes.0: expected `type` volume or tmpfs, found \"npipe\"",
        ),
        (json!({"volumes": ["data:/a", "data:/a/:ro"]}), "volumes: two things are mounted at \"/a\""),
        (json!({"volumes": ["data:/a"], "tmpfs": "/a"}), "volumes: two things are mounted at \"/a\""),
        (json!({"tmpfs": "x"}), "tmpfs: expected an absolute path"),
        (json!({"tmpfs": "/x:foo=1"}), "tmpfs: a tmpfs has no option \"foo=1\""),
        (json!({"volumes": ["data:/a", "/b/..//a/."]}), "volumes: two things are mounted at \"/b/..//a/.\""),
        (json!({"volumes": ["data:/"]}), "volumes.0: expected a path in the container without `:`, and not its root"),
        (
            json!({"volumes": [{"type": "volume", "source": "data", "target": "/x:ro"}]}),
            "volumes.0: expected a path in the container without `:`, and not its root, found \"/x:ro\"",
        ),
        (json!({"volumes": ["data:/tmp/balena"]}), "mounts something at \"/tmp/balena\", where the agent mounts"),
        (json!({"tmpfs": "/tmp/./resin/"}), "mounts something at \"/tmp/./resin\", where the agent mounts"),
        (json!({"volumes": ["data:/sys"], "labels": {"io.balena.features.sysfs": "1"}}), "mounts something at \"/sys\""),
        (json!({"user": "a\0b"}), "user: holds the character NUL"),
        (json!({"environment": {"A": "a\0b"}}), "environment.A: holds the character NUL"),
        (json!({"command": ["a", "b\0"]}), "command.1: holds the character NUL"),
        (json!({"x-any": {"a\0": ""}}), "x-any.\"a\\0\": its name holds the character NUL"),
        (json!({"sysctls": {"vm.swappiness": 1}}), "sysctls.vm.swappiness: the name must be net.*, fs.mqueue.*"),
        (json!({"cap_add": ["A"], "capAdd": ["B"]}), "is there twice, spelled differently"),
    ] {
        let said = mistake(&fields);
        assert!(said.starts_with("local.apps.1.services.2") && said.contains(part), "{part} not in {said}");
    }
}

#[test]
fn a_secret_is_not_in_a_message() {
    let said = mistake(&json!({"environment": {"KEY": ["hunter2"], "B": {"x": "hunter2"}}, "labels": {"a": []}}));
    assert!(said.contains("environment.KEY: expected a string, found a list") && !said.contains("hunter2"), "{said}");
    let said = mistake(&json!({"environment": "hunter2"}));
    assert!(!said.contains("hunter2"), "{said}");
    let said = mistake(&json!({"environment": [{"hunter2": 1}, "A B=hunter2"]}));
    assert!(!said.contains("hunter2") && said.contains("\"A B\""), "{said}");
}

#[test]
fn networks_are_attached_as_the_mode_says() {
    let names = |config: &ContainerConfig| config.networks.keys().cloned().collect::<Vec<_>>();
    for (fields, mode, networks) in [
        (json!({}), NetworkMode::App, vec!["default"]),
        (json!({"networks": []}), NetworkMode::App, vec!["default"]),
        (json!({"networks": ["n"]}), NetworkMode::App, vec!["n"]),
        (json!({"network_mode": "n"}), NetworkMode::App, vec!["n"]),
        (json!({"network_mode": "default"}), NetworkMode::App, vec!["default"]),
        (json!({"network_mode": "bridge"}), NetworkMode::App, vec![]),
        (json!({"network_mode": "host", "networks": ["n"]}), NetworkMode::Host, vec![]),
        (json!({"networkMode": "none"}), NetworkMode::None, vec![]),
        (json!({"network_mode": "container:ab"}), NetworkMode::Container("ab".into()), vec![]),
    ] {
        let config = config(&fields);
        assert_eq!(
            (&config.network_mode, names(&config)),
            (&mode, networks.into_iter().map(str::to_owned).collect()),
            "{fields}"
        );
        assert!(config.networks.values().all(|it| it.aliases.contains("main")), "{fields}");
    }
}

#[test]
fn a_service_waits_for_the_one_whose_network_it_has() {
    let services =
        json!({"1": {"serviceName": "a", "image": "x"}, "2": {"serviceName": "b", "image": "x", "network_mode": "service: a"}});
    let target = parse(&json!({"apps": {"1": {"commit": "c", "services": services}}}).to_string(), None).unwrap();
    let b = &app(&target, 1).services[&"b".to_owned()];
    assert_eq!(
        (&b.config.network_mode, &b.depends_on),
        (&NetworkMode::Service("a".into()), &[("a".to_owned(), Dependency::default())].into_iter().collect())
    );
}

#[test]
fn spellings_that_mean_the_same_are_the_same() {
    for (one, other) in [
        (json!({"ports": ["8080:80", "53:53/udp"]}), json!({"ports": ["53:53/udp", {"target": 80, "published": 8080}]})),
        (json!({"environment": {"A": 1, "B": null}}), json!({"environment": ["B=", "A=1"]})),
        (json!({"labels": {"A": true}}), json!({"labels": ["A=true"]})),
        (json!({"command": "a b"}), json!({"command": ["a", "b"]})),
        (json!({"command": ""}), json!({})),
        (json!({"entrypoint": []}), json!({"entrypoint": ""})),
        (json!({"entrypoint": null}), json!({})),
        (json!({"command": []}), json!({"command": null})),
        (json!({"cap_add": ["CAP_SYS_TIME", "net_raw"]}), json!({"capAdd": ["NET_RAW", "SYS_TIME"]})),
        (json!({"mem_limit": "64m"}), json!({"memLimit": 67_108_864})),
        (json!({"mem_limit": 1e6}), json!({"mem_limit": "1000000b"})),
        (json!({"shm_size": "64m"}), json!({})),
        (json!({"stop_grace_period": "10s"}), json!({"stopGracePeriod": 10})),
        (json!({"restart": "always"}), json!({"restart": null})),
        (json!({"restart": false}), json!({"restart": "no"})),
        (json!({"healthcheck": {"disable": true}}), json!({"healthcheck": {"test": ["NONE"], "interval": "5s"}})),
        (json!({"healthcheck": {}}), json!({})),
        (json!({"healthcheck": {"test": "x"}}), json!({"healthcheck": {"test": ["CMD-SHELL", "x"]}})),
        (json!({"extra_hosts": {"a": "10.0.0.1"}}), json!({"extra_hosts": ["a=10.0.0.1"]})),
        (json!({"sysctls": {"net.a": 1}}), json!({"sysctls": ["net.a=1"]})),
        (
            json!({"volumes": ["data:/d:ro"]}),
            json!({"volumes": [{"type": "volume", "source": "data", "target": "/d/", "readOnly": true}]}),
        ),
        (json!({"tmpfs": "/t:size=1024"}), json!({"volumes": [{"type": "tmpfs", "target": "/t", "tmpfs": {"size": 1024}}]})),
        (json!({"devices": ["/dev/a"]}), json!({"devices": [{"source": "/dev/a", "target": "/dev/a", "permissions": "rwm"}]})),
        (json!({"ulimits": {"nofile": 5}}), json!({"ulimits": {"nofile": {"soft": 5, "hard": "5"}}})),
        (json!({"working_dir": "/a/"}), json!({"working_dir": "/a"})),
        (json!({"stop_signal": "TERM"}), json!({"stop_signal": "SIGTERM"})),
        (json!({"dns": "1.1.1.1"}), json!({"dns": ["1.1.1.1"]})),
        (json!({"networks": {"n": {"aliases": ["main"]}}}), json!({"networks": ["n"]})),
        (json!({"expose": [80]}), json!({"expose": ["80/tcp"]})),
        (json!({"networks": ["n", "default"]}), json!({"networks": ["default", "n"]})),
        (json!({"networks": {"n": null, "default": {}}}), json!({"networks": ["default", "n"]})),
        (json!({"volumes": ["data:/d:rw"]}), json!({"volumes": ["data:/d"]})),
        (json!({"volumes": ["data:/d", "data:/e:rw"]}), json!({"volumes": ["data:/e", "data:/d"]})),
        (json!({"pids_limit": -1}), json!({})),
    ] {
        assert_eq!(config(&one), config(&other), "{one} and {other}");
    }
}

#[test]
fn the_clouds_api_is_given_without_a_warning() {
    for label in ["io.balena.features.balena-api", "io.resin.features.resin-api"] {
        let target = parse(&v2(&json!({"labels": {label: "1"}})), None).unwrap();
        assert_eq!(app(&target, 1).services[&"main".to_owned()].features, [Feature::BalenaApi].into());
        assert!(target.warnings.is_empty(), "{:?}", target.warnings);
    }
    assert!(parse(&v2(&json!({"labels": {"io.balena.features.balena-api": "0"}})), None).unwrap().warnings.is_empty());
}

#[test]
fn unknown_words_in_labels_and_settings_fall_back_and_are_told() {
    let labels = json!({"io.balena.update.strategy": "handover", "io.balena.update.handover-timeout": "-1",
        "io.balena.features.teleport": "1", "io.balena.features.teleport2": "0"});
    let document = v2(&json!({"labels": labels}));
    let target = parse(&document, None).unwrap();
    let main = &app(&target, 1).services[&"main".to_owned()];
    assert_eq!((main.strategy, main.handover_timeout), (Strategy::DownloadThenKill, Duration::from_secs(60)));
    assert_eq!(target.warnings.len(), 3, "{:?}", target.warnings);

    let app = |config: Value| json!({"local": {"apps": {"1": {"image": "x", "commit": "c", "config": config}}}});
    assert!(why(&app(json!({"RESIN_APP_RESTART_POLICY": "maybe"}))).contains("APP_RESTART_POLICY must be"));
    let target = parse(&app(json!({"RESIN_A": "old", "BALENA_A": "new", "B": 1})).to_string(), None).unwrap();
    assert_eq!(target.config, [("A".to_owned(), "new".to_owned()), ("B".to_owned(), "1".to_owned())].into_iter().collect());
}

#[test]
fn a_release_that_is_not_there_runs_nothing() {
    let target = parse(r#"{"apps": {"aa": {"id": 4, "releases": {}}}}"#, None).unwrap();
    assert_eq!((&app(&target, 4).commit, app(&target, 4).services.len()), (&None, 0));
    let target = parse(r#"{"apps": {"4": {"services": {"1": {"serviceName": "a", "image": "x"}}}}}"#, None).unwrap();
    assert_eq!((&app(&target, 4).commit, app(&target, 4).services.len()), (&None, 0));
    assert_eq!(target.warnings, ["apps.4: has no `commit`, so that none of its services is run"]);
}

#[test]
fn a_host_s_path_is_never_mounted() {
    for volume in ["/:/host", "/etc:/etc:rw", "./a:/a", "../a:/a", "~/a:/a", "~:/a", " /etc:/etc"] {
        assert!(config(&json!({"volumes": [volume]})).mounts.is_empty(), "{volume}");
    }
    let long = json!({"volumes": [{"type": "volume", "source": "/etc", "target": "/a"}, {"type": "bind", "source": "data", "target": "/a"}]});
    assert!(config(&long).mounts.is_empty());
    let kept = config(&json!({"volumes": ["data:/d"]})).mounts;
    assert_eq!(kept, [Mount::Volume { name: "data".into(), path: "/d".into(), access: MountMode::Write }].into());
}

#[test]
fn what_was_kept_is_read_again_as_the_same() {
    for text in ALL {
        let target = parse(text, None).unwrap();
        assert!(!target.document.contains('\n'));
        assert_eq!(parse(&target.document, None).unwrap(), target);
    }
    let spaced = "\u{feff} { \"apps\" : { } , \"name\" : \"a \\\" \\\\\" } ";
    let target = parse(spaced, None).unwrap();
    assert_eq!(target.document, r#"{"apps":{},"name":"a \" \\"}"#);
    assert_eq!(parse(&target.document, None).unwrap(), target);
}

#[test]
fn no_name_leads_to_another_directory() {
    let document = |service: &str, volume: &str, network: &str, commit: &str, uuid: &str| {
        let services = json!({service: {"id": 1, "image_id": 1, "image": "x", "environment": {}, "labels": {}}});
        let release = json!({"id": 1, "services": services, "volumes": {volume: {}}, "networks": {network: {}}});
        json!({"device": {"name": "d", "apps": {uuid: {"id": 1, "name": "a", "releases": {commit: release}}}}})
    };
    parse(&document("s", "v", "n", "c", "u").to_string(), None).unwrap();
    for name in ["..", ".", "../x", "a/../b", "a/b", "/etc", "", "~", "a\0b", "a\nb", "..\\x", "%2e%2e"] {
        for document in [
            document(name, "v", "n", "c", "u"),
            document("s", name, "n", "c", "u"),
            document("s", "v", name, "c", "u"),
            document("s", "v", "n", name, "u"),
            document("s", "v", "n", "c", name),
        ] {
            assert!(parse(&document.to_string(), None).is_err(), "{name:?} in {document}");
        }
    }
    for volume in ["v/../../etc:/a", "v\0:/a", "..:/a", "v/..:/a"] {
        let fields = json!({"volumes": [volume]});
        let mounts = service(&fields).map(|it| it.config.mounts);
        assert!(mounts.iter().all(crate::sorted::SortedSet::is_empty), "{volume:?}: {mounts:?}");
    }
}
