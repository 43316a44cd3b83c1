//! `internal` networks: containers on them cannot reach the API.

use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::json;

use crate::agent::{Agent, KEY, PATIENCE};
use crate::lab::{Lab, pause, until};
use crate::target::{App, Service};

/// Where another program of the host listens everywhere, to show that packets arrive.
const OTHERS: u16 = 48499;

/// Answers each connection with `here`.
fn another_program() {
    let listener = TcpListener::bind(("0.0.0.0", OTHERS)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nhere");
        }
    });
}

/// What a container is answered by a port of the host.
fn asks(lab: &Lab, container: &str, address: &str, port: u16, path: &str) -> String {
    let ask = format!("timeout 5 wget -q -O - http://{address}:{port}{path} 2>&1 || true");
    lab.inside(container, &["sh", "-c", &ask])
}

/// A request that is answered with `OK` wherever the API is reached.
fn ping() -> String {
    format!("/ping?apikey={KEY}")
}

fn gateway(lab: &Lab, network: &str) -> String {
    lab.docker(&["network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", network]).trim().to_owned()
}

/// The container may change its routes, and still reaches the host and not the API.
fn is_kept_out(lab: &Lab, container: &str, gateway: &str) {
    lab.inside(container, &["ip", "route", "add", "10.114.104.1", "via", gateway]);
    for address in [gateway, "10.114.104.1"] {
        assert_eq!(asks(lab, container, address, OTHERS, "/"), "here", "{address}");
        let answer = asks(lab, container, address, 48484, &ping());
        // It has the right key, so only the network keeps it out.
        assert!(!answer.contains("OK") && !answer.contains("401"), "{address}: {answer}");
    }
}

/// Two services of an app on a network of its own that is `internal`, one of them with the label.
fn app(image: &str) -> (App, serde_json::Value) {
    let inner = |name| Service::new(name, image).with("networks", json!(["inner"])).with("cap_add", json!(["NET_ADMIN"]));
    let labelled = inner("labelled").label("io.balena.features.supervisor-api", "1");
    let app = App::new(109, "c1", vec![inner("plain"), labelled, Service::new("other", image)]);
    let mut document = app.v3();
    document["device"]["apps"][app.uuid()]["releases"]["c1"]["networks"] = json!({"inner": {"internal": true}});
    (app, document)
}

fn an_internal_network_is_a_wall(lab: &Lab, agent: &mut Agent<'_>) {
    let image = lab.image("1");
    let (app, document) = app(&image);
    agent.want(&document);
    agent.start();
    agent.arrives(&app);
    let id = |name: &str| lab.the(name).id;
    let inner = gateway(lab, &format!("{}_inner", app.uuid()));
    is_kept_out(lab, &id("plain"), &inner);
    until(PATIENCE, "other networks are open", || asks(lab, &id("other"), "10.114.104.1", 48484, &ping()) == "OK");
    assert_eq!(asks(lab, &id("labelled"), "10.114.104.1", 48484, &ping()), "OK");

    // One that another program creates while the agent runs.
    lab.docker(&["network", "create", "--internal", "foreign"]);
    let foreign = lab.docker(&["run", "-d", "--cap-add", "NET_ADMIN", "--network", "foreign", &image]).trim().to_owned();
    is_kept_out(lab, &foreign, &gateway(lab, "foreign"));
    pause(3000);
    let answer = asks(lab, &foreign, &gateway(lab, "foreign"), 48484, &ping());
    assert!(!answer.contains("OK"), "{answer}");
    lab.docker(&["rm", "-f", &foreign]);
    lab.docker(&["network", "rm", "foreign"]);
}

#[test]
#[ignore = "needs `make engine`"]
fn an_app_on_an_internal_network_reaches_the_api_only_by_its_label() {
    let lab = Lab::enter();
    another_program();
    an_internal_network_is_a_wall(&lab, &mut Agent::new(&lab).on_bridges());
    // The setting that opens every address does not open those networks.
    an_internal_network_is_a_wall(&lab, &mut Agent::new(&lab).everywhere());
}
