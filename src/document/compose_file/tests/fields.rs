//! Fields of services, networks and volumes.

use std::time::Duration;

use super::*;

#[test]
fn paths_of_the_host_are_mounted_from_the_folder_on() {
    let web = web(
        "    volumes:\n      - ./conf/../data:/data\n      - ~/x:/x:ro\n      - /var/run/docker.sock:/var/run/docker.sock\n      - data:/vol:ro\n      - /anonymous\n      - /:/host:ro,rslave\n      - {type: bind, source: ., target: /here, read_only: true, bind: {propagation: shared}}\n      - {type: tmpfs, target: /t, tmpfs: {size: 1m}}\n      - {type: volume, source: data, target: /long}",
    );
    let bind =
        |host: &str, path: &str, access, propagation| Mount::Bind { host: host.into(), path: path.into(), access, propagation };
    let plain = Propagation::default();
    let config = web.service("web").config;
    assert_eq!(
        config.mounts,
        SortedSet::from([
            bind("/srv/My App/data", "/data", MountMode::Write, plain),
            bind("/root/x", "/x", MountMode::ReadOnly, plain),
            bind("/var/run/docker.sock", "/var/run/docker.sock", MountMode::Write, plain),
            bind("/", "/host", MountMode::ReadOnly, Propagation::Kind("rslave")),
            bind("/srv/My App", "/here", MountMode::ReadOnly, Propagation::Kind("shared")),
            Mount::Volume { name: "data".into(), path: "/vol".into(), access: MountMode::ReadOnly },
            Mount::Volume { name: "data".into(), path: "/long".into(), access: MountMode::Write },
            Mount::Anonymous { path: "/anonymous".into() },
        ])
    );
    assert_eq!(config.tmpfs[&"/t".to_owned()], "size=1048576");
    assert_eq!(web.target().warnings, Vec::<String>::new());
}

#[test]
fn a_volume_that_others_made_is_mounted_by_its_name() {
    let project = file(
        "services: {web: {image: x, volumes: ['old:/o', 'a:/a']}}\nvolumes: {old: {external: true, name: nas_data}, a: {external: {name: b}}}\n",
    );
    let mounts = project.service("web").config.mounts;
    let hosts: Vec<_> =
        mounts.iter().filter_map(|it| if let Mount::Bind { host, .. } = it { Some(host.as_str()) } else { None }).collect();
    assert_eq!(hosts, ["b", "nas_data"]);
    assert!(project.app().volumes.is_empty());
}

#[test]
fn a_port_without_one_of_the_host_is_chosen_by_the_engine() {
    let web = web("    ports: ['80', '8080:81/udp', {target: 82}, 127.0.0.1:8083:83]").service("web");
    let ports: Vec<_> = web.config.ports.iter().map(ToString::to_string).collect();
    assert_eq!(ports, ["::80/tcp", ":8080:81/udp", "::82/tcp", "127.0.0.1:8083:83/tcp"]);
}

#[test]
fn environment_is_of_files_and_of_the_file_and_of_the_agent() {
    let project = Files::new(&[
        (
            "compose.yaml",
            "services:\n  web:\n    image: x\n    env_file: [a.env, {path: raw.env, format: raw}, {path: none, required: false}]\n    environment:\n      OVER: own\n      NUMBER: 1.50\n      FLAG: yes\n      GIVEN:\n      ABSENT:\n",
        ),
        ("a.env", "OVER=file\nA=\"x y\"\nGIVEN\n"),
        ("raw.env", "R='$HOME' # all of it"),
        (".env", "GIVEN=env"),
    ]);
    let env = project.service("web").config.env;
    let expected =
        [("A", "x y"), ("FLAG", "yes"), ("GIVEN", "env"), ("NUMBER", "1.5"), ("OVER", "own"), ("R", "'$HOME' # all of it")];
    assert_eq!(env.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect::<Vec<_>>(), expected);
    let absent = web("    env_file: not-there").wrong();
    assert_eq!(absent, "compose.yaml:4:5: services.web.env_file: there is no file \"/srv/My App/not-there\"");
}

#[test]
fn secrets_and_configs_are_mounted_read_only() {
    let text = "services:\n  web:\n    image: x\n    secrets: [pw, {source: pw, target: other}]\n    configs: [{source: c, target: /etc/c.conf}, c]\nsecrets: {pw: {file: ./pw.txt}}\nconfigs: {c: {file: c.conf}}\n";
    let with = |secret: &str| Files::new(&[("compose.yaml", text), ("pw.txt", secret), ("c.conf", "1")]).service("web").config;
    let (one, two) = (with("hunter2"), with("hunter3"));
    let paths: Vec<_> = one.mounts.iter().map(|it| (it.path().to_owned(), format!("{it}").ends_with(" ro"))).collect();
    let expected = [("/c", true), ("/etc/c.conf", true), ("/run/secrets/other", true), ("/run/secrets/pw", true)];
    assert_eq!(paths, expected.map(|(path, ro)| (path.to_owned(), ro)));
    // Another content is another container.
    assert_ne!(one, two);
    assert_eq!(one.differences(&two), ["labels"]);
    for (text, said) in [
        (
            "services: {web: {image: x, secrets: [a]}}",
            "compose.yaml:1:38: services.web.secrets: the file has no \"a\" under `secrets`",
        ),
        (
            "services: {web: {image: x, secrets: [a]}}\nsecrets: {a: {file: gone}}",
            "compose.yaml:2:11: secrets.a: there is no file \"/srv/My App/gone\"",
        ),
        (
            "services: {web: {image: x, secrets: [a]}}\nsecrets: {a: {environment: A}}",
            "compose.yaml:2:11: secrets.a: only those of a file are supported; put it into a file, and name that with `file`",
        ),
    ] {
        assert_eq!(file(text).wrong(), said);
    }
}

#[test]
fn what_is_to_be_built_is_refused_and_an_image_beside_it_runs() {
    let how = "the agent builds no images; get one here from a registry, with `docker build -t NAME`, or with `balena push`";
    assert_eq!(
        file("services: {web: {build: .}}").wrong().lines().next().unwrap(),
        format!("compose.yaml:1:18: services.web.build: {how}, and name it with `image`")
    );
    let both = file("services: {web: {build: ., image: mine}}").target();
    assert_eq!(both.warnings, [format!("compose.yaml:1:18: services.web.build: ignored, it runs from its `image`: {how}")]);
}

#[test]
fn limits_of_deploy_are_the_services() {
    let web = web(
        "    deploy:\n      replicas: 1\n      resources:\n        limits: {cpus: '0.50', memory: 50M, pids: 5}\n        reservations: {memory: 20M, cpus: '0.1'}\n      restart_policy: {condition: on-failure, max_attempts: 3}",
    );
    let config = web.service("web").config;
    assert_eq!((config.nano_cpus, config.memory_bytes, config.memory_reservation_bytes), (500_000_000, 50 << 20, 20 << 20));
    assert_eq!((config.pids_limit, config.restart), (5, RestartPolicy::OnFailure(3)));
    assert_eq!(
        web.target().warnings,
        ["compose.yaml:8:37: services.web.deploy.resources.reservations.cpus: not supported, ignored"]
    );
}

#[test]
fn other_services_are_waited_for_and_reached_by_their_names() {
    let project = file(
        "services:\n  web:\n    image: x\n    links: ['db:database', cache]\n    depends_on:\n      db: {condition: service_healthy}\n  db: {image: x, container_name: my-db}\n  cache: {image: x, network_mode: host, container_name: c}\n",
    );
    let app = project.app();
    let waits: Vec<_> =
        app.services[&"web".to_owned()].depends_on.iter().map(|(name, it)| (name.as_str(), it.condition)).collect();
    assert_eq!(waits, [("cache", Condition::Started), ("db", Condition::Healthy)]);
    let aliases: Vec<_> =
        app.services[&"db".to_owned()].config.networks[&"default".to_owned()].aliases.iter().cloned().collect();
    assert_eq!(aliases, ["database", "db", "my-db"]);
    assert_eq!(app.services[&"cache".to_owned()].config.network_mode, NetworkMode::Host);
}

#[test]
fn an_entrypoint_drops_the_images_command() {
    let words = |fields: &str| web(fields).service("web").config.command;
    assert_eq!(words(""), None);
    assert_eq!(words("    command:"), None);
    assert_eq!(words("    command: []"), Some(Vec::new()));
    assert_eq!(words("    entrypoint: /run"), Some(Vec::new()));
    assert_eq!(words("    entrypoint: /run\n    command: a b"), Some(vec!["a".to_owned(), "b".to_owned()]));
}

#[test]
fn profiles_decide_what_runs() {
    let text = "services: {web: {image: x}, debug: {image: x, profiles: [debug, dev]}}";
    let names = |project: Files| project.app().services.into_iter().map(|(it, _)| it).collect::<Vec<_>>();
    assert_eq!(names(file(text)), ["web"]);
    assert_eq!(names(Files::new(&[("compose.yaml", text), (".env", "COMPOSE_PROFILES=x,dev")])), ["debug", "web"]);
    assert_eq!(names(Files::new(&[("compose.yaml", text), (".env", "COMPOSE_PROFILES=*")])), ["debug", "web"]);
    let none = file("services: {debug: {image: x, profiles: [debug]}}").target();
    assert_eq!(
        none.warnings,
        ["compose.yaml:1:1: services: nothing runs, as all of them are of profiles that COMPOSE_PROFILES does not name"]
    );
}

#[test]
fn scalars_are_read_as_docker_compose_reads_them() {
    let web = web(
        "    environment: {A: 0755, B: 0x1f, C: 1e3, D: 08, E: ~, F: 'null', G: TRUE, H: 22:22, I: 2020-01-01, J: -7, K: !!str 12}\n    stop_grace_period: 1m30s\n    mem_limit: 1gb\n    stdin_open: yes\n    tty: 'true'\n    shm_size: 128m\n    restart: no\n    healthcheck: {test: curl localhost, interval: 1m, retries: '3'}",
    );
    let config = web.service("web").config;
    let env: Vec<_> = config.env.iter().map(|(a, b)| format!("{a}={b}")).collect();
    assert_eq!(env.join(" "), "A=493 B=31 C=1000 D=08 F=null G=true H=22:22 I=2020-01-01 J=-7 K=12");
    assert_eq!((config.stop_grace, config.memory_bytes, config.shm_bytes), (Duration::from_secs(90), 1 << 30, 128 << 20));
    assert!(config.open_stdin && config.tty);
    assert_eq!(config.health.unwrap().retries, 3);
}
