//! Documents that describe a container in another form than those it was created from.

use serde_json::{Value, json};

use crate::agent::{Agent, PATIENCE};
use crate::lab::{Lab, pause, until};
use crate::takeover::build;
use crate::target::{App, Service};

const IMAGE: &str = "tests/same:rich";

/// An image that says something of everything that an image can say.
fn image(lab: &Lab) {
    let lines = "CMD [\"sleep\", \"100000\"]\nENTRYPOINT [\"/bin/busybox\"]\nENV OF=image\nLABEL of=image\nWORKDIR /tmp\nUSER 7\n\
        EXPOSE 81\nSTOPSIGNAL SIGQUIT\nHEALTHCHECK --interval=9s CMD true\n";
    build(lab, IMAGE, lines);
}

/// A service that says of every field what the image says, or the default.
fn repeating() -> Service {
    let fields = [
        ("command", json!(["sleep", "100000"])),
        ("entrypoint", json!(["/bin/busybox"])),
        ("working_dir", json!("/tmp/")),
        ("user", json!("7")),
        ("expose", json!(["81"])),
        ("stop_signal", json!("QUIT")),
        ("healthcheck", json!({"test": "true", "interval": "9s", "timeout": "30s", "retries": 3})),
        ("cpu_shares", json!(1024)),
    ];
    let service = Service::new("web", IMAGE).env("OF", "image").label("of", "image");
    fields.into_iter().fold(service, |service, (name, value)| service.with(name, value))
}

fn started(lab: &Lab, name: &str) -> (String, Value) {
    let id = lab.the(name).id;
    let since = lab.inspect(&id)["State"]["StartedAt"].clone();
    (id, since)
}

#[test]
#[ignore = "needs `make engine`"]
fn a_document_that_repeats_what_the_image_says_makes_nothing_anew() {
    let lab = Lab::enter();
    image(&lab);
    let plain = || Service::new("web", IMAGE);
    for (id, [first, second]) in [(310, [plain(), repeating()]), (311, [repeating(), plain()])] {
        let mut agent = Agent::with(&lab, &App::new(id, "c1", vec![first.clone()]));
        let before = started(&lab, "web");
        for (commit, service) in [("c2", &second), ("c3", &first), ("c4", &second)] {
            let app = App::new(id, commit, vec![service.clone()]);
            agent.want(&app.v3());
            agent.arrives(&app);
            assert_eq!(started(&lab, "web"), before, "{id} {commit}");
        }
        // The agent starts again, and sees the same.
        assert!(agent.stop("TERM").success());
        agent.start();
        agent.arrives(&App::new(id, "c4", vec![second.clone()]));
        pause(2000);
        assert_eq!(started(&lab, "web"), before, "{id}");
        // Another value is another container.
        let other = App::new(id, "c5", vec![second.with("user", json!("8"))]);
        agent.want(&other.v3());
        agent.arrives(&other);
        assert_ne!(started(&lab, "web").0, before.0, "{id}");
        assert_eq!(lab.inspect(&lab.the("web").id)["Config"]["User"], "8");
        agent.want(&json!({"device": {"name": "board", "apps": {}}}));
        until(PATIENCE, "it is gone", || lab.containers().is_empty());
    }
}

#[test]
#[ignore = "needs `make engine`"]
fn an_images_command_counts_beside_an_entrypoint_of_the_services_own() {
    let lab = Lab::enter();
    build(&lab, "tests/same:entry", "ENTRYPOINT [\"/bin/false\"]\nCMD [\"sleep\", \"100000\"]\n");
    let app = |commit: &str, entrypoint: Value| {
        App::new(312, commit, vec![Service::new("web", "tests/same:entry").with("entrypoint", entrypoint)])
    };
    let agent = Agent::with(&lab, &app("c1", json!(["/bin/busybox"])));
    let made = lab.inspect(&lab.the("web").id);
    let runs = |made: &Value| (made["Path"].clone(), made["Args"].clone());
    assert_eq!(runs(&made), (json!("/bin/busybox"), json!(["sleep", "100000"])));
    // One empty word clears the image's entrypoint, and not its command.
    let cleared = app("c2", json!([""]));
    agent.want(&cleared.v3());
    agent.arrives(&cleared);
    assert_eq!(runs(&lab.inspect(&lab.the("web").id)), (json!("sleep"), json!(["100000"])));
}

/// Makes another supervisor's container from one of ours, as `docker commit` would: the same but for what only we give.
fn given_away(lab: &Lab, change: impl FnOnce(&mut Value)) {
    let seen = lab.the("web");
    let made = lab.inspect(&seen.id);
    let mut body = made["Config"].clone();
    body["HostConfig"] = made["HostConfig"].clone();
    // The engine's choice: the container's id.
    body["Hostname"] = json!("");
    let labels = body["Labels"].as_object_mut().unwrap();
    labels.retain(|name, _| !name.starts_with("io.boardkeeper."));
    let name = made["Name"].as_str().unwrap().trim_start_matches('/').to_owned();
    change(&mut body);
    lab.docker(&["rm", "-f", &seen.id]);
    let reply = lab.call("POST", &format!("/containers/create?name={name}"), &body.to_string());
    assert!(reply.status < 300, "{}", reply.body);
    lab.docker(&["start", &name]);
}

#[test]
#[ignore = "needs `make engine`"]
fn a_container_on_the_engines_own_bridge_is_adopted() {
    let lab = Lab::enter();
    // Without the API's label and with a second service it is on no other network.
    let web = Service::new("web", &lab.image("1")).with("network_mode", json!("bridge"));
    let app = App::new(313, "c1", vec![web, Service::new("other", &lab.image("1"))]);
    let mut agent = Agent::with(&lab, &app);
    agent.kill();
    given_away(&lab, |body| body["HostConfig"]["NetworkMode"] = json!("bridge"));
    let before = started(&lab, "web");
    agent.start();
    agent.arrives(&app);
    pause(3000);
    assert!(agent.is_settled(), "{}", agent.words());
    assert_eq!(started(&lab, "web"), before);
}

#[test]
#[ignore = "needs `make engine`"]
fn an_adopted_container_without_the_images_command_is_made_anew() {
    let lab = Lab::enter();
    build(&lab, "tests/same:arguments", "ENTRYPOINT [\"/bin/false\"]\nCMD [\"sleep\", \"100000\"]\n");
    let service = || {
        let service = Service::new("web", "tests/same:arguments").with("entrypoint", json!(["/bin/busybox"]));
        service.with("network_mode", json!("none"))
    };
    for (id, is_kept) in [(314, true), (315, false)] {
        let app = App::new(id, "c1", vec![service()]);
        let mut agent = Agent::with(&lab, &app);
        agent.kill();
        given_away(&lab, |body| {
            if !is_kept {
                // Compose drops an image's command beside an entrypoint of the service's own.
                body["Cmd"] = Value::Null;
            }
        });
        let before = lab.the("web").id;
        agent.start();
        agent.arrives(&app);
        pause(2000);
        assert_eq!(lab.the("web").id == before, is_kept);
        assert_eq!(lab.inspect(&lab.the("web").id)["Args"], json!(["sleep", "100000"]));
        agent.want(&json!({"device": {"name": "board", "apps": {}}}));
        until(PATIENCE, "it is gone", || lab.containers().is_empty());
    }
}
