//! Networks that older supervisors, users or crashes left in another state than the agent creates.

use std::process::Command;

use serde_json::{Value, json};

use crate::agent::{Agent, PATIENCE};
use crate::lab::{Lab, pause, run, until};
use crate::target::{App, Service};

/// Labels that supervisors give a network of an app.
fn labels(app: &App) -> [String; 4] {
    let of_app = format!("io.balena.app-id={}", app.id);
    ["--label".into(), "io.balena.supervised=true".into(), "--label".into(), of_app]
}

/// A user creates a network with a supervisor's labels, as the engine permits.
fn create_network(lab: &Lab, app: &App, name: &str) -> String {
    let labels = labels(app);
    let mut words = vec!["network", "create"];
    words.extend(labels.iter().map(String::as_str));
    words.push(name);
    lab.docker(&words).trim().to_owned()
}

/// The same where there is one of that name already.
fn create_twin(lab: &Lab, app: &App, name: &str) {
    let labels = json!({"io.balena.supervised": "true", "io.balena.app-id": app.id.to_string()});
    let body = json!({"Name": name, "CheckDuplicate": false, "Labels": labels});
    assert_eq!(lab.call("POST", "/networks/create", &body.to_string()).status, 201);
}

/// Ids of the networks of an app, by name.
fn networks(lab: &Lab, app: &App) -> Vec<String> {
    let of_app = format!("label=io.balena.app-id={}", app.id);
    let told = lab.docker(&["network", "ls", "--no-trunc", "--filter", &of_app, "--format", "{{.Name}} {{.ID}}"]);
    let mut all: Vec<_> = told.lines().map(str::to_owned).collect();
    all.sort();
    all
}

/// Networks that the container of a service is attached to, and their ids.
fn attached(lab: &Lab, service: &str) -> Vec<String> {
    let found = lab.inspect(&lab.the(service).id)["NetworkSettings"]["Networks"].clone();
    found.as_object().unwrap().iter().map(|(name, it)| format!("{name} {}", it["NetworkID"].as_str().unwrap())).collect()
}

/// Names of network interfaces in the container of a service.
fn interfaces(lab: &Lab, service: &str) -> Vec<String> {
    let told = lab.inside(&lab.the(service).id, &["ls", "/sys/class/net"]);
    told.split_whitespace().map(str::to_owned).collect()
}

/// The program of a service is killed, as a crash would.
fn crash(lab: &Lab, service: &str) {
    let pid = lab.inspect(&lab.the(service).id)["State"]["Pid"].to_string();
    run(Command::new("kill").args(["-9", &pid]));
}

fn one(lab: &Lab, id: u32) -> App {
    App::new(id, "c1", vec![Service::new("main", &lab.image("1"))])
}

fn started(lab: &Lab, service: &str) -> Value {
    lab.inspect(&lab.the(service).id)["State"]["StartedAt"].clone()
}

#[test]
#[ignore = "needs `make engine`"]
fn an_app_on_an_older_supervisors_network_is_started() {
    let lab = Lab::enter();
    let app = one(&lab, 900);
    create_network(&lab, &app, "900_default");
    let agent = Agent::with(&lab, &app);
    assert_eq!(attached(&lab, "main"), networks(&lab, &app));
    let next = App { commit: "c2".into(), services: vec![Service::new("main", &lab.image("1")).env("A", "b")], ..app };
    agent.want(&next.v3());
    agent.arrives(&next);
    assert_eq!(agent.ask("POST", "/v1/restart", &json!({"appId": 900})).status, 200);
    agent.arrives(&next);
    assert_eq!(networks(&lab, &next).len(), 1);
}

#[test]
#[ignore = "needs `make engine`"]
fn an_app_whose_network_was_pruned_while_it_was_stopped_starts_again() {
    let lab = Lab::enter();
    let app = one(&lab, 901);
    let agent = Agent::with(&lab, &app);
    let before = lab.the("main").id;
    assert_eq!(agent.ask("POST", "/v1/apps/901/stop", &json!({})).status, 200);
    lab.docker(&["network", "prune", "-f"]);
    until(PATIENCE, "the network is there again", || !networks(&lab, &app).is_empty());
    assert_eq!(agent.ask("POST", "/v1/apps/901/start", &json!({})).status, 200);
    agent.arrives(&app);
    assert_eq!(attached(&lab, "main"), networks(&lab, &app));
    assert_eq!(lab.the("main").id, before, "the container is the same");
}

/// It was created on the network that an older supervisor made, and now there is one of the current name, which no container
/// is on. Engines from 25 on start a container only while there is a network of the name that it was created with.
#[test]
#[ignore = "needs `make engine`"]
fn a_container_that_does_not_run_keeps_the_network_that_it_is_on() {
    let lab = Lab::enter();
    let app = one(&lab, 912);
    create_network(&lab, &app, "912_default");
    let mut agent = Agent::with(&lab, &app);
    let (container, before) = (lab.the("main").id, networks(&lab, &app));
    agent.kill();
    lab.docker(&["stop", "-t", "0", &container]);
    create_network(&lab, &app, &format!("{}_default", app.uuid()));
    agent.start();
    agent.arrives(&app);
    until(PATIENCE, "the other network is gone", || networks(&lab, &app) == before);
    assert_eq!((attached(&lab, "main"), lab.the("main").id), (before, container));
}

/// Another program moved one container to a network of the current name, and removed that of the other, which did not run.
#[test]
#[ignore = "needs `make engine`"]
fn a_container_whose_network_is_gone_is_made_anew_on_the_one_that_others_are_on() {
    let lab = Lab::enter();
    let services = ["main", "side"].map(|it| Service::new(it, &lab.image("1")));
    let app = App::new(913, "c1", services.into());
    create_network(&lab, &app, "913_default");
    let mut agent = Agent::with(&lab, &app);
    let [main, side] = ["main", "side"].map(|it| lab.the(it).id);
    agent.kill();
    lab.docker(&["stop", "-t", "0", &main]);
    let name = format!("{}_default", app.uuid());
    create_network(&lab, &app, &name);
    lab.docker(&["network", "connect", &name, &side]);
    lab.docker(&["network", "disconnect", "913_default", &side]);
    lab.docker(&["network", "rm", "913_default"]);
    agent.start();
    agent.arrives(&app);
    assert_eq!(attached(&lab, "main"), networks(&lab, &app));
    assert_eq!(lab.the("side").id, side, "the other container is the same");
}

#[test]
#[ignore = "needs `make engine`"]
fn a_network_that_a_user_created_anew_is_the_one_that_is_used() {
    let lab = Lab::enter();
    let app = one(&lab, 902);
    let mut agent = Agent::with(&lab, &app);
    let name = format!("{}_default", app.uuid());
    agent.kill();
    lab.docker(&["network", "disconnect", "-f", &name, &lab.the("main").id]);
    lab.docker(&["network", "rm", &name]);
    create_network(&lab, &app, &name);
    agent.start();
    until(PATIENCE, "the app is on the new network", || attached(&lab, "main") == networks(&lab, &app));
    agent.arrives(&app);
    // An engine counts on from the interface that was taken away.
    assert!(interfaces(&lab, "main").iter().any(|it| it.starts_with("eth")));
}

#[test]
#[ignore = "needs `make engine`"]
fn a_container_that_was_disconnected_by_hand_is_connected_again() {
    let lab = Lab::enter();
    let app = one(&lab, 903);
    let agent = Agent::with(&lab, &app);
    let before = started(&lab, "main");
    lab.docker(&["network", "disconnect", &format!("{}_default", app.uuid()), &lab.the("main").id]);
    assert_eq!(attached(&lab, "main"), [""; 0]);
    let took = until(20, "it is connected", || attached(&lab, "main") == networks(&lab, &app));
    eprintln!("connected again after {took:?}");
    agent.settles();
    assert_eq!(started(&lab, "main"), before, "and was not restarted for it");
    let names = lab.inspect(&lab.the("main").id)["NetworkSettings"]["Networks"].to_string();
    assert!(names.contains("\"main\""), "it answers to its service's name: {names}");
}

#[test]
#[ignore = "needs `make engine`"]
fn what_shares_the_network_of_a_service_that_crashed_is_restarted() {
    let lab = Lab::enter();
    let image = lab.image("1");
    let other = lab.docker(&["run", "-d", "--name", "theirs", "--restart", "always", &image]);
    let shares = |name: &str, mode: &str| Service::new(name, &image).with("network_mode", json!(mode));
    let by_id = format!("container:{}", other.trim());
    let services = vec![Service::new("vpn", &image), shares("web", "service:vpn"), shares("side", &by_id)];
    let app = App::new(904, "c1", services);
    let agent = Agent::with(&lab, &app);
    for (owner, service) in [("vpn", "web"), ("theirs", "side")] {
        let before = started(&lab, service);
        let id = if owner == "vpn" { lab.the("vpn").id } else { other.trim().to_owned() };
        let pid = lab.inspect(&id)["State"]["Pid"].to_string();
        run(Command::new("kill").args(["-9", &pid]));
        let took = until(PATIENCE, "it is restarted", || started(&lab, service) != before);
        eprintln!("{service} was restarted after {took:?}");
        until(PATIENCE, "it has a network", || interfaces(&lab, service).contains(&"eth0".to_owned()));
        agent.settles();
        let now = started(&lab, service);
        pause(3000);
        assert_eq!(started(&lab, service), now, "once");
    }
}

#[test]
#[ignore = "needs `make engine`"]
fn a_service_on_the_engines_bridge_that_asks_for_the_api_has_both() {
    let lab = Lab::enter();
    let service = Service::new("main", &lab.image("1")).with("network_mode", json!("bridge"));
    let app = App::new(905, "c1", vec![service.label("io.balena.features.supervisor-api", "1")]);
    let agent = Agent::with(&lab, &app);
    let names = |lab: &Lab| -> Vec<String> {
        attached(lab, "main").iter().map(|it| it.split(' ').next().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&lab), ["bridge", "supervisor0"]);
    lab.docker(&["network", "disconnect", "bridge", &lab.the("main").id]);
    until(PATIENCE, "it is connected", || names(&lab) == ["bridge", "supervisor0"]);
    agent.settles();
}

#[test]
#[ignore = "needs `make engine`"]
fn a_second_network_of_one_name_is_removed() {
    let lab = Lab::enter();
    let app = one(&lab, 906);
    let agent = Agent::with(&lab, &app);
    create_twin(&lab, &app, &format!("{}_default", app.uuid()));
    until(PATIENCE, "the second one is gone", || networks(&lab, &app).len() == 1);
    assert_eq!(attached(&lab, "main"), networks(&lab, &app), "and the one in use stays");
    assert_eq!(agent.ask("POST", "/v1/restart", &json!({"appId": 906})).status, 200);
    agent.arrives(&app);
}

#[test]
#[ignore = "needs `make engine`"]
fn nothing_is_killed_for_a_release_whose_network_cannot_be_created() {
    let lab = Lab::enter();
    let app = one(&lab, 907);
    let agent = Agent::with(&lab, &app);
    let before = lab.the("main");
    let foreign = format!("{}_back", app.uuid());
    lab.docker(&["network", "create", &foreign]);
    let next = App { commit: "c2".into(), ..app.clone() };
    let with_network = |app: &App| {
        let main = Service::new("main", &lab.image("1")).with("networks", json!(["back"]));
        let app = App { services: vec![main], ..app.clone() };
        let mut document = app.v3();
        document["device"]["apps"][app.uuid()]["releases"]["c2"]["networks"] = json!({"back": {}});
        document
    };
    agent.want(&with_network(&next));
    agent.says("no supervisor made");
    pause(2000);
    assert_eq!((lab.the("main").id, lab.the("main").state), (before.id, before.state));
    let device = agent.get("/v1/device").json();
    assert_eq!((&device["status"], &device["update_failed"]), (&json!("Installing"), &json!(true)));
    lab.docker(&["network", "rm", &foreign]);
    agent.arrives(&next);
}

#[test]
#[ignore = "needs `make engine`"]
fn a_start_that_fails_for_ever_is_no_idle_device() {
    let lab = Lab::enter();
    let app = one(&lab, 908);
    let agent = Agent::with(&lab, &app);
    assert_eq!(agent.get("/v1/device").json()["status"], "Idle");
    let main = Service::new("main", &lab.image("1")).with("command", json!(["/no/such/program"]));
    agent.want(&App { services: vec![main], ..app.clone() }.v3());
    agent.says("/no/such/program");
    // Tries are seconds apart, and between two of them nothing is under way.
    for _ in 0..100 {
        let device = agent.get("/v1/device").json();
        assert_ne!(device["status"], "Idle", "{device}");
        assert_eq!(device["update_failed"], true, "{device}");
        pause(100);
    }
    assert_eq!(agent.get("/v1/device").json()["status"], "Starting");
    assert_eq!(agent.get("/v1/healthy").status, 200, "to restart the agent would not help");
    agent.want(&app.v3());
    agent.arrives(&app);
    until(PATIENCE, "it is idle", || agent.get("/v1/device").json()["status"] == "Idle");
}

#[test]
#[ignore = "needs `make engine`"]
fn a_start_that_failed_after_a_crash_is_reported_and_retried() {
    let lab = Lab::enter();
    let node = lab.dir().join("usb0").display().to_string();
    let plug = || run(Command::new("mknod").args([&node, "c", "1", "3"]));
    let unplug = || run(Command::new("rm").args(["-f", &node]));
    for (id, policy) in [(910, "on-failure"), (911, "always")] {
        plug();
        let service = Service::new("main", &lab.image("1")).with("devices", json!([format!("{node}:/dev/usb0")]));
        let app = App::new(id, "c1", vec![service.with("restart", json!(policy))]);
        let agent = Agent::with(&lab, &app);
        unplug();
        crash(&lab, "main");
        agent.says("usb0");
        assert_eq!(agent.get("/v1/device").json()["update_failed"], true);
        plug();
        let took = agent.arrives(&app);
        eprintln!("with {policy} it runs {took:?} after the device is back");
        unplug();
        drop(agent);
        lab.docker(&["rm", "-f", &lab.the("main").id]);
    }
}

#[test]
#[ignore = "needs `make engine`"]
fn a_network_gets_the_addresses_that_it_asks_for_and_the_engine_chooses_others_for_the_next() {
    let lab = Lab::enter();
    let subnet = |network: &str| {
        let told = lab.docker(&["network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", network]);
        told.trim().to_owned()
    };
    lab.docker(&["network", "create", "probe"]);
    let next = subnet("probe");
    lab.docker(&["network", "rm", "probe"]);
    let on = |name: &str, network: &str| Service::new(name, &lab.image("1")).with("networks", json!([network]));
    let app = App::new(912, "c1", vec![on("asking", "b"), on("plain", "a")]);
    let mut document = app.v3();
    document["device"]["apps"][app.uuid()]["releases"]["c1"]["networks"] =
        json!({"a": {}, "b": {"ipam": {"config": [{"subnet": next}]}}});
    let mut agent = Agent::new(&lab);
    agent.want(&document);
    agent.start();
    agent.arrives(&app);
    assert_eq!(subnet(&format!("{}_b", app.uuid())), next);
}
