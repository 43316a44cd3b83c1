//! A device that another supervisor managed: the agent adopts its containers, volumes, networks and identity as they are.
//!
//! What that supervisor leaves is created here with the engine's own tool, named and labelled as today's balena-supervisor
//! does; and from `fixtures/balena-19.0.5.json`. The networks and volumes in it were read back from Docker 20.10; the
//! containers in it are the requests that the release 19.0.5 composed for Docker 20.10 from the document in [`served`]. They
//! were composed by its own modules `service`, `network` and `volume`, run by themselves: neither its cloud client nor its
//! reconciler took part.

use std::fs;

use serde_json::{Value, json};

use crate::agent::{Agent, KEY, PATIENCE};
use crate::lab::{Lab, pause, until};
use crate::target::{App, Service};

/// As its `config.json` has it.
const UUID: &str = "0123456789abcdef0123456789abcdef";

#[test]
#[ignore = "needs `make engine`"]
fn what_another_supervisor_left_runs_on_untouched() {
    let lab = Lab::enter();
    let (app, mut agent) = left_by_another(&lab);
    let before = (lab.the("web"), lab.inspect(&lab.the("web").id)["State"]["StartedAt"].clone());
    let volume = lab.docker(&["volume", "inspect", "300_data"]);
    let network = lab.docker(&["network", "inspect", "-f", "{{.Id}}", &format!("{}_default", app.uuid())]);

    agent.want(&app.v3());
    agent.start();
    agent.arrives(&app);
    assert_eq!(agent.state()["device"]["uuid"], UUID);
    assert_eq!(agent.get("/ping").body, "OK");
    pause(3000);
    assert_eq!((lab.the("web"), lab.inspect(&lab.the("web").id)["State"]["StartedAt"].clone()), before);
    assert_eq!(lab.docker(&["volume", "inspect", "300_data"]), volume);
    assert_eq!(lab.docker(&["network", "inspect", "-f", "{{.Id}}", &format!("{}_default", app.uuid())]), network);
    assert_eq!(lab.inside(&before.0.id, &["cat", "/data/kept"]), "yes\n");
}

#[test]
#[ignore = "needs `make engine`"]
fn what_another_supervisor_left_is_updated_as_our_own() {
    let lab = Lab::enter();
    let (mut app, mut agent) = left_by_another(&lab);
    let before = lab.the("web").id;
    app.commit = "c2".to_owned();
    app.services = vec![web(&lab).env("COLOUR", "red")];
    agent.want(&app.v3());
    agent.start();
    agent.arrives(&app);
    let now = lab.the("web");
    assert_ne!(now.id, before);
    assert_eq!(lab.env(&now.id)["COLOUR"], "red");
    assert_eq!(lab.inside(&now.id, &["cat", "/data/kept"]), "yes\n");
}

#[test]
#[ignore = "needs `make engine`"]
fn without_a_target_what_another_supervisor_left_is_not_touched() {
    let lab = Lab::enter();
    let (_, mut agent) = left_by_another(&lab);
    let before = lab.the("web");
    agent.start();
    until(PATIENCE, "it answers", || agent.answers());
    pause(3000);
    assert_eq!(lab.the("web"), before);
}

#[test]
#[ignore = "needs `make engine`"]
fn containers_of_balena_supervisor_19_run_on_under_ours_and_when_it_comes_back() {
    let lab = Lab::enter();
    let (app, mut agent) = left_by_balena(&lab);
    let seen = || {
        let containers = ["web", "worker"].map(|name| {
            let seen = lab.inspect(&lab.the(name).id);
            ["Id", "Name", "Config", "HostConfig"].map(|field| seen[field].clone()).to_vec()
        });
        let started = ["web", "worker"].map(|name| lab.inspect(&lab.the(name).id)["State"]["StartedAt"].clone());
        let networks = ["supervisor0".to_owned(), format!("{}_default", app.uuid())];
        let networks = networks.map(|name| lab.call("GET", &format!("/networks/{name}"), "").json());
        let volume = lab.call("GET", "/volumes/300_data", "").json();
        // All of it is what the other compares when it comes back, and more.
        (containers, started, networks.map(|it| (it["Id"].clone(), it["Labels"].clone(), it["Options"].clone())), volume)
    };
    let before = seen();

    agent.want(&app.v3());
    agent.start();
    agent.arrives(&app);
    pause(3000);
    assert!(agent.is_settled(), "{}", agent.words());
    assert_eq!(seen(), before);
    assert!(agent.stop("TERM").success());
    assert_eq!(seen(), before);
}

#[test]
#[ignore = "needs `make engine`"]
fn networks_and_volumes_of_ours_are_made_as_balena_supervisor_19_makes_them() {
    let lab = Lab::enter();
    let app = App::new(300, "c1", vec![web(&lab)]).volumes(&["data"]);
    let _agent = Agent::with(&lab, &app);
    let theirs = fixture();
    for (name, theirs) in [
        ("supervisor0".to_owned(), &theirs["networks"]["supervisor0"]),
        (format!("{}_default", app.uuid()), &theirs["networks"]["default"]),
    ] {
        let ours = lab.call("GET", &format!("/networks/{name}"), "").json();
        for field in ["Name", "Driver", "Labels", "Options"] {
            assert_eq!(ours[field], theirs[field], "{field} of network {name}");
        }
    }
    let ours = lab.call("GET", "/volumes/300_data", "").json();
    for field in ["Name", "Driver", "Labels"] {
        assert_eq!(ours[field], theirs["volume"][field], "{field} of the volume");
    }
}

#[test]
#[ignore = "needs `make engine`"]
fn an_empty_entrypoint_clears_the_images_and_null_keeps_it() {
    let lab = Lab::enter();
    build(&lab, "tests/takeover:entry", "ENTRYPOINT [\"/bin/busybox\"]\nCMD [\"sleep\", \"100000\"]\n");
    for (app, entrypoint, cleared) in [(301, json!([]), true), (302, json!(""), true), (303, json!(null), false)] {
        let service = Service::new("web", "tests/takeover:entry").with("entrypoint", entrypoint.clone());
        let _agent = Agent::with(&lab, &App::new(app, "c1", vec![service]));
        let made = lab.inspect(&lab.the("web").id);
        let none = made["Config"]["Entrypoint"].as_array().is_none_or(Vec::is_empty);
        assert_eq!((none, &made["Path"]), (cleared, &json!(if cleared { "sleep" } else { "/bin/busybox" })), "{entrypoint}");
        assert_eq!(made["Config"]["Cmd"], json!(["sleep", "100000"]), "{entrypoint}");
    }
}

/// What release 19.0.5 makes of [`served`].
pub(crate) fn fixture() -> Value {
    serde_json::from_str(include_str!("fixtures/balena-19.0.5.json")).unwrap()
}

/// The app that release 19.0.5 was given.
pub(crate) fn served() -> App {
    let web = Service::new("web", "tests/takeover:rich")
        .env("COLOUR", "blue")
        .label("io.balena.features.supervisor-api", "0")
        .label("mine", "yes")
        .with("volumes", json!(["data:/data"]))
        .with("ports", json!(["8080:80"]))
        .with("expose", json!(["9000"]))
        .with("restart", json!("always"));
    let worker = Service::new("worker", "tests/takeover:plain")
        .with("cap_add", json!(["NET_ADMIN"]))
        .with("devices", json!(["/dev/null:/dev/mine"]))
        .with("tmpfs", json!(["/scratch"]))
        .with("ulimits", json!({"nofile": 512}))
        .with("stop_signal", json!("SIGINT"))
        .with("depends_on", json!(["web"]))
        .with("network_mode", json!("host"));
    App::new(300, "c1", vec![web, worker]).volumes(&["data"])
}

pub(crate) fn build(lab: &Lab, name: &str, lines: &str) {
    let recipe = lab.dir().join(name.replace(['/', ':'], "-"));
    fs::create_dir_all(&recipe).unwrap();
    // The path that the fixture's image had.
    let path = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    fs::write(recipe.join("Dockerfile"), format!("FROM {}\n{path}\n{lines}", lab.image("1"))).unwrap();
    lab.docker(&["build", "-q", "-t", name, recipe.to_str().unwrap()]);
}

/// What release 19.0.5 left, running, and an agent of ours that is to take it over.
fn left_by_balena(lab: &Lab) -> (App, Agent<'_>) {
    left_with(lab, &fixture())
}

/// The same with other containers.
pub(crate) fn left_with<'lab>(lab: &'lab Lab, fixture: &Value) -> (App, Agent<'lab>) {
    let rich = "CMD [\"sleep\", \"100000\"]\nENTRYPOINT [\"/bin/busybox\"]\nENV OF=image\nLABEL of=image\nWORKDIR /tmp\nUSER 7\n\
        EXPOSE 81\nSTOPSIGNAL SIGQUIT\nVOLUME /var\nHEALTHCHECK --interval=9s CMD true\n";
    build(lab, "tests/takeover:rich", rich);
    build(lab, "tests/takeover:plain", "ENTRYPOINT []\nCMD [\"sleep\", \"100000\"]\n");
    let image =
        |tag: &str| lab.docker(&["image", "inspect", "-f", "{{.Id}}", &format!("tests/takeover:{tag}")]).trim().to_owned();
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let left = fixture.to_string().replace("IMAGE-RICH", &image("rich")).replace("IMAGE-PLAIN", &image("plain"));
    let left = left.replace("OS-VERSION", &os_version()).replace("HOST-NAME", host.trim());
    let left: Value = serde_json::from_str(&left).unwrap();
    let post = |path: &str, body: &Value| {
        let reply = lab.call("POST", path, &body.to_string());
        assert!(reply.status < 300, "{path}: {}", reply.body);
    };
    for network in left["networks"].as_object().unwrap().values() {
        post("/networks/create", network);
    }
    post("/volumes/create", &left["volume"]);
    for name in ["web", "worker"] {
        fs::create_dir_all(format!("/tmp/balena-supervisor/services/300/{name}")).unwrap();
        let (body, container) = (&left["containers"][name], left["containers"][name]["name"].as_str().unwrap());
        post(&format!("/containers/create?name={container}"), body);
        post(&format!("/containers/{container}/start"), &json!({}));
    }
    let agent = Agent::new(lab);
    let config = json!({"uuid": UUID, "deviceType": "raspberrypi3", "initialDeviceName": "kitchen", "listenPort": 48484});
    fs::create_dir_all(agent.path("boot")).unwrap();
    fs::write(agent.path("boot/config.json"), config.to_string()).unwrap();
    fs::write(agent.path("boot/device-type.json"), r#"{"slug":"raspberrypi3","arch":"armv7hf"}"#).unwrap();
    let config = agent.path("boot/config.json").display().to_string();
    (served(), agent.arguments(&["--boot-config", &config]))
}

fn os_version() -> String {
    let os = fs::read_to_string("/etc/os-release").unwrap();
    os.lines().find_map(|it| it.strip_prefix("PRETTY_NAME=")).unwrap().trim_matches('"').to_owned()
}

fn web(lab: &Lab) -> Service {
    Service::new("web", &lab.image("1")).env("COLOUR", "blue").with("volumes", json!(["data:/data"]))
}

/// An app of another supervisor's that runs, and an agent of ours that is to take it over.
fn left_by_another(lab: &Lab) -> (App, Agent<'_>) {
    let app = App::new(300, "c1", vec![web(lab)]).volumes(&["data"]);
    let (uuid, network) = (app.uuid(), format!("{}_default", app.uuid()));
    let both = ["--label", "io.balena.supervised=true", "--label", "io.balena.app-id=300"];
    let of_app = format!("io.balena.app-uuid={uuid}");
    lab.docker(&[&["network", "create"][..], &both, &[&network]].concat());
    lab.docker(&["volume", "create", "--label", "io.balena.supervised=true", "--label", &of_app, "300_data"]);

    let os = os_version();
    let mut variables = vec![
        "COLOUR=blue".to_owned(),
        "BALENA=1".to_owned(),
        "RESIN=1".to_owned(),
        "USER=root".to_owned(),
        "RESIN_SERVICE_KILL_ME_PATH=/tmp/balena/handover-complete".to_owned(),
        "BALENA_SERVICE_HANDOVER_COMPLETE_PATH=/tmp/balena/handover-complete".to_owned(),
    ];
    for (name, value) in [
        ("APP_ID", "300"),
        ("APP_UUID", &uuid),
        ("APP_NAME", "app"),
        ("SERVICE_NAME", "web"),
        ("DEVICE_UUID", UUID),
        ("DEVICE_TYPE", "raspberrypi4-64"),
        ("DEVICE_ARCH", "amd64"),
        ("HOST_OS_VERSION", &os),
        ("APP_LOCK_PATH", "/tmp/balena/updates.lock"),
        ("DEVICE_NAME_AT_INIT", "kitchen"),
    ] {
        variables.extend([format!("RESIN_{name}={value}"), format!("BALENA_{name}={value}")]);
    }
    let locks = "/tmp/balena-supervisor/services/300/web";
    fs::create_dir_all(locks).unwrap();
    let binds = [format!("{locks}:/tmp/resin"), format!("{locks}:/tmp/balena")];
    let mut create = vec!["run", "-d", "--name", "web_1_7_c1", "--restart", "always", "--tty", "--ipc", "shareable"];
    create.extend(["--stop-timeout", "10", "--stop-signal", "SIGTERM", "--network", &network, "--network-alias", "web"]);
    create.extend(["--label", &of_app, "--label", "io.balena.service-id=1", "--label", "io.balena.service-name=web"]);
    create.extend(both);
    create.extend(["-v", &binds[0], "-v", &binds[1], "-v", "300_data:/data"]);
    create.extend(variables.iter().flat_map(|it| ["-e", it]));
    let image = lab.image("1");
    create.push(&image);
    lab.docker(&create);
    lab.inside(&lab.the("web").id, &["sh", "-c", "echo yes > /data/kept"]);

    let agent = Agent::new(lab);
    let config = agent.path("config.json");
    let text = json!({"uuid": UUID, "deviceType": "raspberrypi4-64", "initialDeviceName": "kitchen", "deviceApiKey": KEY,
        "apiEndpoint": "https://api.example.com", "listenPort": 48484});
    fs::write(&config, text.to_string()).unwrap();
    let config = config.display().to_string();
    (app, agent.arguments(&["--boot-config", &config]))
}
