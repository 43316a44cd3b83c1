//! Services that depend on others, with conditions.

use serde_json::{Value, json};

use crate::agent::{Agent, PATIENCE};
use crate::lab::{Lab, pause, until};
use crate::target::{App, Service};

/// A service whose health check looks for a file.
fn with_check(name: &str, image: &str) -> Service {
    let check = json!({"test": ["CMD", "ls", "/tmp/well"], "interval": "1s", "retries": 2, "timeout": "5s"});
    Service::new(name, image).with("healthcheck", check)
}

fn on(name: &str, image: &str, other: &str, condition: &str) -> Service {
    Service::new(name, image).with("depends_on", json!({other: {"condition": condition}}))
}

/// A service that waits for a file, and exits with a code.
fn job(image: &str, code: u8) -> Service {
    let script = format!("until [ -e /tmp/go ]; do sleep 0.1; done; exit {code}");
    Service::new("job", image).with("command", json!(["sh", "-c", script])).with("restart", json!("no"))
}

fn agent_with<'lab>(lab: &'lab Lab, app: &App) -> Agent<'lab> {
    let mut agent = Agent::new(lab);
    agent.want(&app.v3());
    agent.start();
    agent
}

fn state_of(lab: &Lab, service: &str) -> String {
    lab.containers().into_iter().find(|it| it.service == service).map(|it| it.state).unwrap_or_default()
}

fn is(lab: &Lab, service: &str, state: &str) {
    until(PATIENCE, &format!("{service} is {state}"), || state_of(lab, service) == state);
}

/// What the agent tells of a service of its only app.
fn told(agent: &Agent<'_>, service: &str) -> Value {
    let picture = agent.state();
    let services = picture["apps"][0]["services"].as_array().cloned().unwrap_or_default();
    services.into_iter().find(|it| it["name"] == service).unwrap_or_default()
}

fn started_at(lab: &Lab, service: &str) -> String {
    lab.inspect(&lab.the(service).id)["State"]["StartedAt"].as_str().unwrap_or_default().to_owned()
}

#[test]
#[ignore = "needs `make engine`"]
fn a_service_starts_when_the_one_it_depends_on_is_healthy() {
    let lab = Lab::enter();
    let image = lab.image("1");
    let app = App::new(930, "c1", vec![with_check("db", &image), on("web", &image, "db", "service_healthy")]);
    let agent = agent_with(&lab, &app);
    is(&lab, "db", "running");
    agent.says("930/web waits for db to be healthy");
    assert_eq!(state_of(&lab, "web"), "created");
    // Once nothing else is left to do: the network of the API, which neither uses, comes last.
    until(PATIENCE, "the device is starting", || agent.get("/v1/device").json()["status"] == "Starting");
    lab.inside(&lab.the("db").id, &["touch", "/tmp/well"]);
    let took = until(PATIENCE, "web runs", || state_of(&lab, "web") == "running");
    // The engine's event says so; a timer would after minutes.
    assert!(took.as_secs() < 30, "{took:?}");
    agent.arrives(&app);
    assert_eq!(told(&agent, "web")["waits_for"], Value::Null);
    // It goes on when the other becomes unhealthy.
    let before = lab.the("web");
    lab.inside(&lab.the("db").id, &["rm", "/tmp/well"]);
    until(PATIENCE, "db is unhealthy", || {
        let state = agent.state();
        let containers = state["containers"].as_array().unwrap();
        containers.iter().any(|it| it["service"] == "db" && it["health"] == "unhealthy")
    });
    agent.settles();
    assert_eq!(lab.the("web"), before);
}

#[test]
#[ignore = "needs `make engine`"]
fn a_service_that_never_becomes_healthy_is_reported_and_nothing_else_stalls() {
    let lab = Lab::enter();
    let image = lab.image("1");
    let services = vec![with_check("db", &image), Service::new("other", &image), on("web", &image, "db", "service_healthy")];
    let app = App::new(931, "c1", services.clone());
    let agent = agent_with(&lab, &app);
    agent.says("931/web waits for db to be healthy, and it does not: its health check fails");
    is(&lab, "other", "running");
    let said = told(&agent, "web")["waits_for"].to_string();
    assert!(said.contains("its health check fails"), "{said}");
    // A request that waits is answered, and why.
    let reply = agent.ask("POST", "/v1/restart", &json!({"appId": 931}));
    assert!(reply.status == 503 && reply.body.contains("web waits for db to be healthy, and it does not"), "{}", reply.body);
    // The next release of another service arrives.
    let mut next = services;
    next[1] = Service::new("other", &lab.image("2"));
    agent.want(&App::new(931, "c2", next).v3());
    until(PATIENCE, "the next release of the other runs", || {
        let seen = lab.started();
        seen.iter().any(|it| it.service == "other" && it.image.ends_with(":2") && it.state == "running")
    });
    assert_eq!(state_of(&lab, "web"), "created");
    assert_eq!(agent.get("/v1/healthy").status, 200);
    // It starts once the other is healthy after all.
    lab.inside(&lab.the("db").id, &["touch", "/tmp/well"]);
    is(&lab, "web", "running");
    agent.settles();
}

#[test]
#[ignore = "needs `make engine`"]
fn a_service_without_a_health_check_is_never_healthy_and_that_is_reported() {
    let lab = Lab::enter();
    let image = lab.image("1");
    let app = App::new(932, "c1", vec![Service::new("db", &image), on("web", &image, "db", "service_healthy")]);
    let agent = agent_with(&lab, &app);
    agent.says("932/web waits for db to be healthy, and it does not: its container has no health check");
    // Another condition replaces no container.
    let (db, web) = (lab.the("db").id, lab.the("web").id);
    let app = App::new(932, "c1", vec![Service::new("db", &image), on("web", &image, "db", "service_started")]);
    agent.want(&app.v3());
    agent.arrives(&app);
    assert_eq!((lab.the("db").id, lab.the("web").id), (db, web));
}

#[test]
#[ignore = "needs `make engine`"]
fn a_service_starts_when_the_job_it_depends_on_has_completed_and_the_job_runs_once() {
    let lab = Lab::enter();
    let image = lab.image("1");
    let app = App::new(933, "c1", vec![job(&image, 0), on("web", &image, "job", "service_completed_successfully")]);
    let mut agent = agent_with(&lab, &app);
    is(&lab, "job", "running");
    agent.says("933/web waits for job to complete with exit code 0");
    assert_eq!(state_of(&lab, "web"), "created");
    lab.inside(&lab.the("job").id, &["touch", "/tmp/go"]);
    is(&lab, "web", "running");
    agent.settles();
    let (job, started) = (lab.the("job"), started_at(&lab, "job"));
    assert_eq!(job.state, "exited");
    // Neither the next look nor the next agent runs it again.
    agent.kill();
    agent.start();
    until(PATIENCE, "the agent answers", || agent.answers());
    agent.settles();
    lab.docker(&["restart", "-t", "1", &lab.the("web").id]);
    pause(1000);
    agent.settles();
    assert_eq!((lab.the("job"), started_at(&lab, "job")), (job, started));
}

#[test]
#[ignore = "needs `make engine`"]
fn a_job_that_fails_is_reported_and_what_depends_on_it_starts_once_it_succeeds() {
    let lab = Lab::enter();
    let image = lab.image("1");
    let script = "[ -e /tmp/done ] || { touch /tmp/done; exit 3; }";
    let job = Service::new("job", &image).with("command", json!(["sh", "-c", script])).with("restart", json!("no"));
    let app = App::new(934, "c1", vec![job, on("web", &image, "job", "service_completed_successfully")]);
    let agent = agent_with(&lab, &app);
    agent
        .says("web waits for job to complete with exit code 0, and it does not: it exited with 3, and its restart policy `no`");
    assert_eq!(state_of(&lab, "web"), "created");
    assert_eq!(agent.get("/v1/device").json()["update_failed"], true);
    // What the words advise.
    lab.docker(&["start", &lab.the("job").id]);
    is(&lab, "web", "running");
    agent.settles();
}

#[test]
#[ignore = "needs `make engine`"]
fn a_dependency_that_is_not_required_is_not_waited_for_when_it_fails() {
    let lab = Lab::enter();
    let image = lab.image("1");
    let wish = |other: &str, condition: &str| json!({other: {"condition": condition, "required": false}});
    let web = Service::new("web", &image).with("depends_on", wish("db", "service_healthy"));
    let mail = Service::new("mail", &image).with("depends_on", wish("gone", "service_started"));
    // The image of the last one is nowhere.
    let gone = Service::new("gone", "127.0.0.1:5000/tests/nowhere:1");
    lab.registry();
    let app = App::new(935, "c1", vec![with_check("db", &image), web, mail, gone]);
    let agent = agent_with(&lab, &app);
    agent.says("935/web waits for db to be healthy");
    is(&lab, "web", "running");
    is(&lab, "mail", "running");
    assert_eq!(lab.inspect(&lab.the("db").id)["State"]["Health"]["Status"], "unhealthy");
    assert!(agent.words().contains("nowhere"), "the failure is logged all the same");
}

#[test]
#[ignore = "needs `make engine`"]
fn a_service_is_restarted_after_its_dependency_was_made_anew_where_it_asks_for_that() {
    let lab = Lab::enter();
    let image = lab.image("1");
    let with = json!({"db": {"condition": "service_started", "restart": true}});
    let services = |db: &str| {
        let web = Service::new("web", &image).with("depends_on", with.clone());
        vec![Service::new("db", db), web, Service::new("mail", &image).with("depends_on", json!(["db"]))]
    };
    let app = App::new(936, "c1", services(&image));
    let agent = Agent::with(&lab, &app);
    let ids = || (lab.the("web").id, lab.the("mail").id);
    let started = || (started_at(&lab, "web"), started_at(&lab, "mail"));
    let (before, (web, mail)) = (ids(), started());
    // The engine's own restart is no reason.
    lab.docker(&["restart", "-t", "1", &lab.the("db").id]);
    pause(1500);
    agent.settles();
    assert_eq!(started(), (web.clone(), mail.clone()));
    let next = App::new(936, "c2", services(&lab.image("2")));
    agent.want(&next.v3());
    agent.arrives(&next);
    until(PATIENCE, "web was restarted", || started_at(&lab, "web") != web);
    agent.settles();
    assert_eq!(ids(), before, "restarted, and not made anew");
    let after = started();
    assert_eq!(after.1, mail, "who does not ask for it goes on");
    // Once.
    pause(2000);
    assert_eq!(started(), after);
}
