//! Container configurations: what the engine is sent, and what is read back of a container that another program created.

use std::pin::pin;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use boardkeeper::port::Engine as _;
use boardkeeper::sorted::{SortedMap, SortedSet};
use boardkeeper::state::config::{HealthCheck, Mount, MountMode, NetworkMode, Port, Propagation, RestartPolicy};
use boardkeeper::state::logging::Logging;
use boardkeeper::state::network::NetworkAttachment;
use boardkeeper::state::{AdoptedContainer, ContainerConfig, ContainerPhase, ContainerSpec, EngineAction, ImageRef, Origin};
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::lab::Real;
use super::{APP, Lab, UUID, made_from, network, seen, take, volume, which};

fn texts<C: FromIterator<String>>(list: &[&str]) -> C {
    list.iter().map(|it| (*it).to_owned()).collect()
}

fn pairs(list: &[(&str, &str)]) -> SortedMap<String, String> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn port(container: u16, protocol: &str, host_ip: &str, host: Option<u16>) -> Port {
    Port { container, protocol: protocol.into(), host_ip: host_ip.into(), host, host_last: None }
}

/// Nearly everything a document can say, and this kernel can do.
fn rich() -> ContainerConfig {
    ContainerConfig {
        command: Some(texts(&["sleep", "1000"])),
        entrypoint: Some(texts(&["/bin/busybox"])),
        env: pairs(&[("A", "1=2"), ("EMPTY", "")]),
        labels: pairs(&[("mine", "yes"), ("io.balena.features.dbus", "1")]),
        working_dir: Some("/tmp".into()),
        user: Some("1000:1000".into()),
        open_stdin: true,
        tty: false,
        init: true,
        stop_signal: Some("SIGINT".into()),
        stop_grace: Duration::from_secs(3),
        health: Some(HealthCheck {
            test: texts(&["CMD-SHELL", "true"]),
            interval: Duration::from_secs(60),
            timeout: Duration::from_millis(1500),
            start_period: Duration::from_secs(2),
            retries: 4,
        }),
        restart: RestartPolicy::OnFailure(3),
        logging: Some(Logging { driver: "json-file".into(), options: pairs(&[("max-size", "1m")]) }),
        read_only: true,
        cap_add: texts(&["NET_ADMIN"]),
        cap_drop: texts(&["CHOWN", "MKNOD"]),
        security_opt: texts(&["no-new-privileges"]),
        devices: texts(&["/dev/null:/dev/mine:rw"]),
        device_cgroup_rules: texts(&["c 1:3 r"]),
        group_add: texts(&["20"]),
        ulimits: SortedMap::from_iter([("nofile".into(), (512, 1024))]),
        sysctls: pairs(&[("net.ipv4.ip_unprivileged_port_start", "80")]),
        pid: Some("host".into()),
        ipc: "private".into(),
        memory_bytes: 64 << 20,
        memory_reservation_bytes: 32 << 20,
        shm_bytes: 16 << 20,
        cpu_shares: 512,
        cpuset: "0".into(),
        pids_limit: 50,
        oom_score_adj: 300,
        networks: SortedMap::from_iter([
            (
                "default".into(),
                NetworkAttachment {
                    aliases: texts(&["main", "other"]),
                    ipv4: Some("10.77.0.9".into()),
                    ..NetworkAttachment::default()
                },
            ),
            ("back".into(), NetworkAttachment { aliases: texts(&["main"]), ..NetworkAttachment::default() }),
        ]),
        ports: SortedSet::from([port(80, "tcp", "127.0.0.1", Some(18_080)), port(53, "udp", "", None)]),
        expose: texts(&["80/tcp", "53/udp", "9000/tcp"]),
        dns: texts(&["10.0.0.2", "10.0.0.1"]),
        dns_opt: texts(&["ndots:2"]),
        dns_search: texts(&["b.example", "a.example"]),
        extra_hosts: texts(&["somehost:10.0.0.3"]),
        hostname: Some("board".into()),
        domainname: Some("example".into()),
        mounts: SortedSet::from([
            Mount::Volume { name: "data".into(), path: "/data".into(), access: MountMode::Write },
            Mount::Bind {
                host: "/var/tmp".into(),
                path: "/host-tmp".into(),
                access: MountMode::ReadOnly,
                propagation: Propagation::Kind("private"),
            },
        ]),
        tmpfs: pairs(&[("/run", "size=65536k")]),
        ..ContainerConfig::default()
    }
}

async fn surroundings(lab: &Real) {
    lab.docker(&[
        "network",
        "create",
        "--subnet",
        "10.77.0.0/24",
        "--label",
        "io.balena.supervised=true",
        &network("default").name,
    ]);
    take(lab, EngineAction::CreateNetwork(network("back"))).await.unwrap();
    take(lab, EngineAction::CreateVolume(volume("data"))).await.unwrap();
}

fn inspect(lab: &Real, name: &str) -> Value {
    serde_json::from_str::<Value>(&lab.docker(&["inspect", name])).unwrap()[0].take()
}

/// Sends a request to the engine, as any other client would.
fn post(lab: &Real, path: &str, body: &Value) {
    let socket = lab.dir().join("docker.sock");
    let status = Command::new("curl")
        .args([
            "-sf",
            "-o",
            "/dev/null",
            "-X",
            "POST",
            "-H",
            "Content-Type: application/json",
            "-d",
            &body.to_string(),
            "--unix-socket",
        ])
        .arg(socket)
        .arg(format!("http://engine{path}"))
        .status();
    assert!(status.unwrap().success(), "{path}: {body}");
}

/// Makes a container as another supervisor does: the engine's account of ours, without our label.
fn copy_by_hand(lab: &Real, spec: &ContainerSpec) {
    let ours = inspect(lab, &spec.name);
    lab.docker(&["rm", &spec.name]);
    let mut body = ours["Config"].clone();
    body["Labels"].as_object_mut().unwrap().retain(|name, _| !name.starts_with("io.boardkeeper."));
    // A host name that the target does not set is the engine's own.
    if spec.config.hostname.is_none() {
        body.as_object_mut().unwrap().remove("Hostname");
    }
    body["HostConfig"] = ours["HostConfig"].clone();
    let networks = ours["NetworkSettings"]["Networks"].as_object().unwrap();
    let id = ours["Id"].as_str().unwrap();
    let endpoint = |name: &String| {
        let mut aliases = networks[name]["Aliases"].clone();
        if let Some(list) = aliases.as_array_mut() {
            // The engine's own, of a container that is gone.
            list.retain(|it| !id.starts_with(it.as_str().unwrap()));
        }
        json!({"Aliases": aliases, "IPAMConfig": networks[name]["IPAMConfig"]})
    };
    let mode = ours["HostConfig"]["NetworkMode"].as_str().unwrap().to_owned();
    body["NetworkingConfig"] =
        json!({"EndpointsConfig": networks.contains_key(&mode).then(|| json!({&mode: endpoint(&mode)}))});
    post(lab, &format!("/containers/create?name={}", spec.name), &body);
    for name in networks.keys().filter(|it| **it != mode) {
        post(lab, &format!("/networks/{name}/connect"), &json!({"Container": spec.name, "EndpointConfig": endpoint(name)}));
    }
}

/// What is read back of a container of the same service that another program created.
async fn read_back(lab: &Real, spec: &ContainerSpec) -> AdoptedContainer {
    take(lab, EngineAction::Create(Arc::new(spec.clone()))).await.unwrap();
    assert_eq!(seen(lab, "main").await.unwrap().made, Origin::Ours(spec.hash.clone()));
    copy_by_hand(lab, spec);
    match seen(lab, "main").await.unwrap().made {
        Origin::Adopted(foreign) => *foreign,
        Origin::Ours(hash) => panic!("it has our label {hash}"),
    }
}

/// What was read and what was written come to the same, on the image it was made from.
fn assert_same(read: &AdoptedContainer, written: &ContainerConfig) {
    let (read, written) = (read.config.effective(&read.base), written.effective(&read.base));
    assert_eq!(read.differences(&written), [""; 0], "\n{:#?}\n{:#?}", read.fields(), written.fields());
}

#[tokio::test]
async fn every_field_reaches_the_engine_and_is_read_back() {
    let Some(lab) = Real::up() else { return };
    surroundings(&lab).await;
    let spec = made_from(lab.image(), "main", rich());
    // The engine fills in its own defaults of logging, so that what is read of it says nothing of what was wanted.
    assert_same(&read_back(&lab, &spec).await, &ContainerConfig { logging: None, ..spec.config.clone() });

    // Not read from what we wrote: the engine's own words.
    let told = inspect(&lab, &spec.name);
    for (path, value) in [
        ("/Config/StopTimeout", json!(3)),
        ("/Config/Healthcheck/Timeout", json!(1_500_000_000)),
        ("/Config/User", json!("1000:1000")),
        ("/HostConfig/RestartPolicy", json!({"Name": "on-failure", "MaximumRetryCount": 3})),
        ("/HostConfig/NetworkMode", json!(network("default").name)),
        ("/HostConfig/PortBindings/80~1tcp", json!([{"HostIp": "127.0.0.1", "HostPort": "18080"}])),
        ("/HostConfig/Binds", json!([format!("{APP}_data:/data"), "/var/tmp:/host-tmp:ro,private"])),
        ("/HostConfig/Devices/0/PathInContainer", json!("/dev/mine")),
        ("/HostConfig/Memory", json!(64 << 20)),
        ("/HostConfig/Dns", json!(["10.0.0.2", "10.0.0.1"])),
        ("/HostConfig/Tmpfs", json!({"/run": "size=65536k"})),
        ("/HostConfig/ReadonlyRootfs", json!(true)),
        ("/HostConfig/Init", json!(true)),
        ("/HostConfig/LogConfig", json!({"Type": "json-file", "Config": {"max-size": "1m"}})),
    ] {
        assert_eq!(told.pointer(path), Some(&value), "{path}");
    }
}

#[tokio::test]
async fn a_container_of_the_richest_kind_runs() {
    let Some(lab) = Real::up() else { return };
    surroundings(&lab).await;
    let mac_address = Some("02:11:22:33:44:55".to_owned());
    let spec = made_from(lab.image(), "main", ContainerConfig { mac_address: mac_address.clone(), ..rich() });
    take(&lab, EngineAction::Create(Arc::new(spec.clone()))).await.unwrap();
    take(&lab, EngineAction::Start(which(&lab, "main").await)).await.unwrap();
    let said = |words: &[&str]| lab.docker(&[&["exec", &spec.name], words].concat()).trim().to_owned();
    assert_eq!(said(&["id", "-u"]), "1000");
    assert_eq!(said(&["hostname"]), "board");
    assert_eq!(said(&["pwd"]), "/tmp");
    assert!(said(&["cat", "/etc/hosts"]).contains("somehost"));
    let told = inspect(&lab, &spec.name);
    let endpoints = &told["NetworkSettings"]["Networks"];
    assert_eq!(endpoints[network("default").name]["MacAddress"].as_str(), mac_address.as_deref());
    assert_eq!(endpoints[network("default").name]["IPAddress"], "10.77.0.9");
    assert!(endpoints[network("back").name]["Aliases"].as_array().unwrap().contains(&json!("main")));
    assert_eq!(told["Config"]["Labels"]["io.balena.service-name"], "main");
    assert_eq!(told["Config"]["Labels"]["io.balena.app-uuid"], UUID);
}

#[tokio::test]
async fn what_says_nothing_is_read_back_as_nothing() {
    let Some(lab) = Real::up() else { return };
    surroundings(&lab).await;
    let networks = SortedMap::from_iter([(
        "default".into(),
        NetworkAttachment { aliases: texts(&["main"]), ..NetworkAttachment::default() },
    )]);
    for config in [
        ContainerConfig { networks, ..ContainerConfig::default() },
        ContainerConfig { network_mode: NetworkMode::Host, privileged: true, ..ContainerConfig::default() },
        ContainerConfig { network_mode: NetworkMode::None, uts: Some("host".into()), ..ContainerConfig::default() },
    ] {
        let spec = made_from(lab.image(), "main", config);
        assert_same(&read_back(&lab, &spec).await, &spec.config);
        lab.docker(&["rm", &spec.name]);
    }
}

#[tokio::test]
async fn what_the_image_brings_is_not_read_as_the_owners() {
    let Some(lab) = Real::up() else { return };
    let recipe = lab.dir().join("recipe");
    std::fs::create_dir(&recipe).unwrap();
    let lines = "FROM tests/busybox:1\nCMD [\"sleep\", \"5\"]\nENTRYPOINT [\"/bin/busybox\"]\nENV OF=image\nLABEL of=image\n\
        LABEL io.boardkeeper.networks='{\"nowhere\":{}}'\nWORKDIR /tmp\nUSER 7\n\
        EXPOSE 81\nSTOPSIGNAL SIGQUIT\nVOLUME /var\nHEALTHCHECK --interval=9s CMD true\n";
    std::fs::write(recipe.join("Dockerfile"), lines).unwrap();
    lab.docker(&["build", "-t", "tests/rich:1", recipe.to_str().unwrap()]);
    let config = ContainerConfig { network_mode: NetworkMode::None, ..ContainerConfig::default() };
    let spec = made_from(ImageRef::new("tests/rich:1"), "main", config);
    assert_same(&read_back(&lab, &spec).await, &spec.config);
}

#[tokio::test]
async fn a_container_of_the_other_supervisor_is_read_as_its_document() {
    let Some(lab) = Real::up() else { return };
    surroundings(&lab).await;
    // Flags, not our own code: made as that supervisor makes one.
    let labels = [
        "io.balena.supervised=true",
        &format!("io.balena.app-id={APP}"),
        &format!("io.balena.app-uuid={UUID}"),
        "io.balena.service-id=5",
        "io.balena.service-name=main",
        "io.balena.features.supervisor-api=1",
    ];
    let labels: Vec<_> = labels.iter().flat_map(|it| ["--label", *it]).collect();
    let mount = format!("{APP}_data:/data");
    let words = [
        "--name",
        "main_1_2_abc",
        "--network",
        &network("default").name,
        "--network-alias",
        "main",
        "--restart",
        "always",
        "-t",
        "--ipc",
        "shareable",
        "--stop-signal",
        "SIGTERM",
        "--stop-timeout",
        "10",
        "-e",
        "RESIN=1",
        "-v",
        &mount,
        "-v",
        "/tmp/lock:/tmp/balena",
        "-p",
        "8080:80",
    ];
    lab.docker(&[&["create"], &labels[..], &words[..], &["tests/busybox:1", "sleep", "1000"]].concat());
    let wanted = ContainerConfig {
        command: Some(texts(&["sleep", "1000"])),
        env: pairs(&[("RESIN", "1")]),
        labels: pairs(&[("io.balena.features.supervisor-api", "1")]),
        networks: SortedMap::from_iter([(
            "default".into(),
            NetworkAttachment { aliases: texts(&["main"]), ..NetworkAttachment::default() },
        )]),
        ports: SortedSet::from([port(80, "tcp", "", Some(8080))]),
        expose: texts(&["80/tcp"]),
        mounts: SortedSet::from([
            Mount::Volume { name: "data".into(), path: "/data".into(), access: MountMode::Write },
            Mount::Bind {
                host: "/tmp/lock".into(),
                path: "/tmp/balena".into(),
                access: MountMode::Write,
                propagation: Propagation::default(),
            },
        ]),
        ..ContainerConfig::default()
    };
    let Origin::Adopted(read) = seen(&lab, "main").await.unwrap().made else { panic!("it has no label of ours") };
    assert_same(&read, &wanted);
}

#[tokio::test]
async fn containers_with_broken_labels_are_left_alone() {
    let Some(lab) = Real::up() else { return };
    for (name, label) in [("no-app", "io.balena.service-name=main"), ("no-service", "io.balena.app-id=1")] {
        lab.docker(&["create", "--name", name, "--label", "io.balena.supervised=true", "--label", label, "tests/busybox:1"]);
    }
    let old = ["io.resin.supervised=1", "io.resin.app-id=77", "io.resin.service-name=old"];
    let old: Vec<_> = old.iter().flat_map(|it| ["--label", *it]).collect();
    lab.docker(&[&["create", "--name", "old"], &old[..], &["tests/busybox:1"]].concat());
    let found = boardkeeper::port::Engine::observe(lab.engine()).await.unwrap().containers;
    let found: Vec<_> = found.iter().map(|it| it.key.to_string()).collect();
    assert_eq!(found, ["77/old"]);
}

/// A container that was just created is not inspected before it starts. What the agent takes it for must be what it is.
#[tokio::test]
async fn a_container_just_created_is_as_an_inspection_describes_it() {
    let Some(lab) = Real::up() else { return };
    surroundings(&lab).await;
    let mut events = pin!(lab.engine().events());
    // From here on the engine's events are read.
    events.next().await.unwrap();
    let alone = || {
        let mut config = rich();
        config.networks.remove("back");
        config
    };
    let on_host =
        ContainerConfig { network_mode: NetworkMode::Host, networks: SortedMap::new(), ports: SortedSet::new(), ..alone() };
    let configs = [
        ("rich", alone()),
        ("plain", ContainerConfig::default()),
        ("always", ContainerConfig { restart: RestartPolicy::Always, health: None, ..alone() }),
        ("unless", ContainerConfig { restart: RestartPolicy::UnlessStopped, mounts: SortedSet::new(), ..alone() }),
        ("host", ContainerConfig { hostname: None, domainname: None, sysctls: SortedMap::new(), ..on_host }),
    ];
    for (service, config) in configs {
        let spec = made_from(lab.image(), service, config);
        take(&lab, EngineAction::Create(Arc::new(spec))).await.unwrap();
        let taken_for = seen(&lab, service).await.unwrap();
        let inspected = lab.engine().beside().observe().await.unwrap().containers;
        assert_eq!(Some(&taken_for), inspected.iter().find(|it| it.key == taken_for.key), "{service}");
        assert_eq!(taken_for.phase, ContainerPhase::Created);
    }
}
