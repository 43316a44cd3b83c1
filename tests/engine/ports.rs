//! Services that let the agent choose a port of the host.

use serde_json::json;

use crate::agent::{Agent, PATIENCE};
use crate::lab::{Lab, until};
use crate::target::{App, Service};

fn port(lab: &Lab, service: &str) -> String {
    let seen = lab.inspect(&lab.the(service).id);
    seen["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"].as_str().unwrap_or_default().to_owned()
}

#[test]
#[ignore = "needs `make engine`"]
fn a_free_port_of_a_range_is_taken_and_kept() {
    let lab = Lab::enter();
    // A foreign container has the first one.
    lab.docker(&["run", "-d", "--name", "stranger", "-p", "18200:80", &lab.image("1"), "sleep", "100000"]);
    let app = |commit: &str, colour: &str| {
        let service =
            |name: &str| Service::new(name, &lab.image("1")).env("COLOUR", colour).with("ports", json!(["18200-18205:80"]));
        App::new(330, commit, vec![service("one"), service("two")])
    };
    let mut agent = Agent::with(&lab, &app("c1", "red"));
    until(PATIENCE, "both have one", || lab.containers().len() == 2 && agent.is_settled());
    let ports = [port(&lab, "one"), port(&lab, "two")];
    assert!(ports[0] != ports[1] && ports.iter().all(|it| ("18201"..="18205").contains(&it.as_str())), "{ports:?}");
    let told = agent.state()["containers"].to_string();
    assert!(ports.iter().all(|it| told.contains(&format!(":{it}:80/tcp"))), "{told}");

    let same = |why: &str| assert_eq!([port(&lab, "one"), port(&lab, "two")], ports, "{why}");
    lab.docker(&["restart", "-t", "1", &lab.the("two").id, &lab.the("one").id]);
    same("the engine restarted them");
    let next = app("c2", "blue");
    agent.want(&next.v3());
    agent.arrives(&next);
    same("they were created anew");
    assert!(agent.stop("TERM").success());
    agent.start();
    agent.arrives(&next);
    same("the agent started again");
}
