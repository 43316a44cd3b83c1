//! Services that share a namespace of another service, or of a container that is not ours.

use serde_json::json;

use crate::agent::{Agent, PATIENCE};
use crate::lab::{Lab, until};
use crate::target::{App, Service};

fn mode(lab: &Lab, service: &str, field: &str) -> String {
    lab.inspect(&lab.the(service).id)["HostConfig"][field].as_str().unwrap().to_owned()
}

fn started(lab: &Lab, service: &str) -> String {
    lab.inspect(&lab.the(service).id)["State"]["StartedAt"].as_str().unwrap().to_owned()
}

#[test]
#[ignore = "needs `make engine`"]
fn services_share_the_processes_and_the_ipc_of_another_and_follow_it() {
    let lab = Lab::enter();
    let app = |commit: &str, colour: &str| {
        let peer = |name: &str, field: &str| Service::new(name, &lab.image("1")).with(field, json!("service:main"));
        let main = Service::new("main", &lab.image("1")).env("COLOUR", colour);
        App::new(320, commit, vec![main, peer("debug", "pid"), peer("memory", "ipc")])
    };
    let agent = Agent::with(&lab, &app("c1", "red"));
    let follow = || {
        let owner = format!("container:{}", lab.the("main").id);
        assert_eq!((mode(&lab, "debug", "PidMode"), mode(&lab, "memory", "IpcMode")), (owner.clone(), owner));
    };
    follow();
    let processes = lab.inside(&lab.the("debug").id, &["ps"]);
    assert!(processes.matches("sleep").count() >= 2, "{processes}");

    // Another container of the owner: both are created anew.
    let before = lab.the("main").id;
    let next = app("c2", "blue");
    agent.want(&next.v3());
    agent.arrives(&next);
    assert_ne!(lab.the("main").id, before);
    follow();

    // The owner restarts in its container: the others are restarted after it.
    let ids = ["main", "debug", "memory"].map(|it| lab.the(it).id);
    lab.docker(&["restart", "-t", "1", &ids[0]]);
    let after = || ["debug", "memory"].iter().all(|it| started(&lab, it) > started(&lab, "main"));
    until(PATIENCE, "they are restarted after it", || after() && agent.is_settled());
    assert_eq!(["main", "debug", "memory"].map(|it| lab.the(it).id), ids);
    assert!(lab.inside(&ids[1], &["ps"]).matches("sleep").count() >= 2);
}

#[test]
#[ignore = "needs `make engine`"]
fn a_container_of_others_that_is_created_anew_under_its_name_is_followed() {
    let lab = Lab::enter();
    let image = lab.image("1");
    let vpn = || lab.docker(&["run", "-d", "--name", "vpn", &image, "sleep", "100000"]).trim().to_owned();
    let first = vpn();
    let peer = |name: &str, field: &str| Service::new(name, &image).with(field, json!("container:vpn"));
    let app = App::new(321, "c1", vec![peer("net", "network_mode"), peer("pid", "pid")]);
    let agent = Agent::with(&lab, &app);
    assert_eq!(mode(&lab, "net", "NetworkMode"), format!("container:{first}"));

    lab.docker(&["rm", "-f", "vpn"]);
    agent.says("No such container: vpn");
    let second = vpn();
    let follow = || {
        let running = |it: &str| lab.containers().iter().any(|seen| seen.service == it && seen.state == "running");
        running("net") && running("pid") && lab.containers().len() == 2 && agent.is_settled()
    };
    until(PATIENCE, "both share with the new one", follow);
    // A container that was created while there was no such container names it, and one created later has its id.
    for namespace in ["net", "pid"] {
        let of = |id: &str| lab.inside(id, &["readlink", &format!("/proc/self/ns/{namespace}")]);
        assert_eq!(of(&lab.the(namespace).id), of(&second), "{namespace}");
    }
}
