//! A device that another supervisor kept: its containers, volumes, networks and identity are ours as they are.
//!
//! What that supervisor leaves is made here with the engine's own tool, named and labelled as today's balena-supervisor does.

use std::fs;

use serde_json::json;

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

    let os = fs::read_to_string("/etc/os-release").unwrap();
    let os = os.lines().find_map(|it| it.strip_prefix("PRETTY_NAME=")).unwrap().trim_matches('"');
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
        ("HOST_OS_VERSION", os),
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
