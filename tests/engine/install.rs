//! From an empty device to running services, from each generation of documents.

use serde_json::json;

use crate::agent::{Agent, KEY, PATIENCE};
use crate::lab::{Lab, pause, run, until};
use crate::target::{App, Service};

#[test]
#[ignore = "needs `make engine`"]
fn a_document_of_today_is_brought_up() {
    let lab = Lab::enter();
    let image = lab.image("1");
    let web = Service::new("web", &image)
        .env("COLOUR", "blue")
        .with("ports", json!(["18080:80"]))
        .with("volumes", json!(["data:/data"]));
    let app =
        App::new(100, "c1", vec![web, Service::new("work", &image).with("depends_on", json!(["web"]))]).volumes(&["data"]);
    let since = crate::lab::now();
    let agent = Agent::with(&lab, &app);

    let web = lab.the("web");
    assert_eq!(web.name, "web_1_7_c1");
    let env = lab.env(&web.id);
    for (name, value) in [("COLOUR", "blue"), ("BALENA_APP_ID", "100"), ("RESIN_SERVICE_NAME", "web"), ("BALENA", "1")] {
        assert_eq!(env.get(name).map(String::as_str), Some(value), "{name}");
    }
    let inspected = lab.inspect(&web.id);
    assert_eq!(inspected["HostConfig"]["PortBindings"]["80/tcp"][0]["HostPort"], "18080");
    assert_eq!(inspected["Config"]["Labels"]["io.balena.app-id"], "100");
    assert_eq!(lab.inside(&lab.the("work").id, &["cat", "/version"]).trim(), "tests/app:1");
    assert!(lab.docker(&["volume", "ls", "-q"]).contains("100_data"));
    assert!(lab.docker(&["network", "ls", "--format", "{{.Name}}"]).contains(&format!("{}_default", app.uuid())));

    let events = lab.events(&since);
    let at = |what: &str| events.iter().position(|it| it == what).unwrap_or_else(|| panic!("no `{what}` in {events:#?}"));
    assert!(at("start web") < at("start work"), "a dependency starts first: {events:#?}");
    drop(agent);
}

#[test]
#[ignore = "needs `make engine`"]
fn services_of_an_app_find_each_other_by_name() {
    let lab = Lab::enter();
    let image = lab.image("1");
    let page = json!(["sh", "-c", "trap 'exit 0' TERM; echo hello > /www/index.html; httpd -f -p 80 -h /www & wait"]);
    let app = App::new(101, "c1", vec![Service::new("client", &image), Service::new("web", &image).with("command", page)]);
    let _agent = Agent::with(&lab, &app);
    let client = lab.the("client").id;
    until(PATIENCE, "the page is there", || {
        let fetch = ["-H", &lab.docker_host(), "exec", &client, "wget", "-q", "-O", "-", "http://web/"].map(str::to_owned);
        std::process::Command::new("docker").args(fetch).output().unwrap().stdout == b"hello\n"
    });
}

#[test]
#[ignore = "needs `make engine`"]
fn a_document_of_local_mode_is_brought_up() {
    let lab = Lab::enter();
    let app =
        App::new(102, "c1", vec![Service::new("main", &lab.image("1")).env("A", "1"), Service::new("other", &lab.image("1"))]);
    let mut agent = Agent::new(&lab);
    agent.want(&app.v2());
    agent.start();
    agent.arrives(&app);
    assert_eq!(lab.env(&lab.the("main").id).get("A").map(String::as_str), Some("1"));
}

#[test]
#[ignore = "needs `make engine`"]
fn a_document_of_2017_runs_one_privileged_container_on_the_host_network() {
    let lab = Lab::enter();
    let app = App::new(103, "c1", vec![Service::new("main", &lab.image("1")).env("FOO", "bar")]);
    let mut agent = Agent::new(&lab);
    agent.want(&app.of_2017());
    agent.start();
    until(PATIENCE, "it runs", || agent.is_settled() && lab.containers().iter().any(|it| it.state == "running"));

    let main = &lab.containers()[0];
    let inspected = lab.inspect(&main.id);
    assert_eq!(inspected["HostConfig"]["NetworkMode"], "host");
    assert_eq!(inspected["HostConfig"]["Privileged"], true);
    lab.inside(&main.id, &["touch", "/data/here", "/tmp/resin/here"]);

    // The reference's own example, from within.
    let env = lab.env(&main.id);
    assert_eq!(env.get("FOO").map(String::as_str), Some("bar"));
    let ping = r#"wget -q -O - "$RESIN_SUPERVISOR_ADDRESS/ping?apikey=$RESIN_SUPERVISOR_API_KEY""#;
    assert_eq!(lab.inside(&main.id, &["sh", "-c", ping]), "OK");

    let told = agent.get("/v1/apps/103").json();
    assert_eq!((&told["appId"], &told["commit"], &told["containerId"]), (&json!(103), &json!("c1"), &json!(main.id)));
    assert_eq!(told["env"]["FOO"], "bar");
}

#[test]
#[ignore = "needs `make engine`"]
fn a_service_on_its_apps_own_network_reaches_the_api() {
    let lab = Lab::enter();
    let image = lab.image("1");
    // Neither of them asks for the API's network. An app's only service gets the API's address; one of several reaches it
    // there too.
    let alone = App::new(107, "c1", vec![Service::new("main", &image)]);
    let several = App::new(108, "c1", vec![Service::new("one", &image), Service::new("two", &image)]);
    let mut agent = Agent::new(&lab).on_bridges();
    agent.want(&App::together(&[&alone, &several]));
    agent.start();
    until(PATIENCE, "all run", || {
        agent.is_settled() && lab.containers().iter().filter(|it| it.state == "running").count() == 3
    });

    let ping = r#"timeout 5 wget -q -O - "$BALENA_SUPERVISOR_ADDRESS/ping?apikey=$BALENA_SUPERVISOR_API_KEY" 2>&1 || true"#;
    assert_eq!(lab.inside(&lab.the("main").id, &["sh", "-c", ping]), "OK");
    let told = |name: &str| lab.env(&lab.the(name).id).get("BALENA_SUPERVISOR_ADDRESS").cloned();
    let address = told("main").unwrap();
    assert_eq!(told("one"), None);
    let ping = format!("timeout 5 wget -q -O - '{address}/ping?apikey={KEY}' 2>&1 || true");
    assert_eq!(lab.inside(&lab.the("one").id, &["sh", "-c", &ping]), "OK");
    let read = r#"timeout 5 wget -q -O - --header "Authorization: Bearer $BALENA_SUPERVISOR_API_KEY" "$BALENA_SUPERVISOR_ADDRESS/v1/device""#;
    assert!(lab.inside(&lab.the("main").id, &["sh", "-c", read]).contains("supervisor_version"));

    // The network goes, and with it where it was listened on.
    agent.want(&several.v3());
    agent.arrives(&several);
    // Of the engine's own bridge, which stays, nothing can be said here.
    let is_ours = |it: &&str| it.contains("10.114.104.1%") && !it.contains("%docker0");
    let listens = || run(std::process::Command::new("ss").args(["-Hltn"])).lines().filter(is_ours).count();
    until(PATIENCE, "the API's network and the other app's are listened on", || listens() == 2);
    assert_eq!(lab.inside(&lab.the("one").id, &["sh", "-c", &ping]), "OK");
}

#[test]
#[ignore = "needs `make engine`"]
fn ten_services_at_once_come_up_once_each() {
    let lab = Lab::enter();
    let image = lab.image("1");
    let services = (0..10).map(|it| Service::new(&format!("s{it}"), &image)).collect();
    let app = App::new(104, "c1", services);
    let agent = Agent::with(&lab, &app);
    assert_eq!(lab.containers().len(), 10);
    assert_eq!(agent.state()["containers"].as_array().unwrap().len(), 10);
}

#[test]
#[ignore = "needs `make engine`"]
fn the_key_is_printed_to_a_user_who_may_read_the_state() {
    let lab = Lab::enter();
    let agent = Agent::with(&lab, &App::new(105, "c1", vec![Service::new("main", &lab.image("1"))]));
    let mut key = std::process::Command::new(env!("CARGO_BIN_EXE_boardkeeper"));
    assert_eq!(run(key.arg("key").arg("--state-dir").arg(agent.path("state"))).trim(), KEY);
}

#[test]
#[ignore = "needs `make engine`"]
fn asked_to_stop_it_leaves_the_containers_and_takes_them_over_again() {
    let lab = Lab::enter();
    let app = App::new(106, "c1", vec![Service::new("main", &lab.image("1")), Service::new("other", &lab.image("1"))]);
    let mut agent = Agent::with(&lab, &app);
    let before = lab.containers();
    for signal in ["TERM", "INT"] {
        assert_eq!(agent.stop(signal).code(), Some(0), "after SIG{signal}");
        assert_eq!(lab.containers(), before);
        agent.start();
        agent.arrives(&app);
        pause(1000);
        assert_eq!(lab.containers(), before, "the same containers, untouched");
    }
}
