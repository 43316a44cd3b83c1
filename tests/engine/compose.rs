//! Twenty compose files of the kinds that people run on a small board, under the agent and under `docker-compose`: what the
//! engine says of both containers of a service agrees, except for what [`DIFFERENCES`] lists.
//!
//! The files are written after the settings that the projects document, with one small image in place of the projects' own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value, json};

use crate::agent::{Agent, PATIENCE};
use crate::lab::{Lab, run, until};

/// What differs on purpose, by its path in what the engine says, and why.
const DIFFERENCES: [(&str, &str); 14] = [
    ("Config.AttachStdout", "the reference attaches to a container that it creates for a terminal of its own"),
    ("Config.AttachStderr", "the same"),
    ("Config.Hostname", "the engine's own, the id, where the file names none; compared where it does"),
    ("Config.Image", "the agent writes the tag out"),
    ("Config.StopTimeout", "the agent always says it; the engine's default is the same 10 s"),
    ("Config.Volumes", "the reference repeats mounts there; what is mounted is compared"),
    ("HostConfig.Binds", "what is mounted is compared, with the names of volumes that each gives"),
    ("HostConfig.Mounts", "the same: the reference uses another form of the request for some"),
    ("HostConfig.Tmpfs", "the reference writes a tmpfs with a size as a mount; what is mounted is compared"),
    ("HostConfig.NetworkMode", "names of networks follow each one's rule; which networks is compared"),
    ("HostConfig.PidMode", "the id of another container; whether it is one is compared"),
    ("HostConfig.Init", "the agent says `false` where the reference says nothing"),
    ("HostConfig.LogConfig", "the reference says an empty configuration; compared where the file names one"),
    ("HostConfig.RestartPolicy", "the agent says `no` where the reference says nothing; compared where it is another"),
];

/// What the reference, of the first generation, reads otherwise than the specification: project, service, path and why.
const OTHERWISE: [(&str, &str, &str, &str); 3] = [
    ("immich", "immich-server", "Config.Healthcheck", "it takes `disable: false` for true"),
    ("nextcloud", "db", "Config.Env", "it takes the values of `env_file` as they are, where `$$` stands for `$`"),
    ("paperless", "webserver", "Config.Env", "it takes 22:22 for a number of base 60, as YAML 1.1 did"),
];

/// Names by which other services reach a service, of `container_name` and `links`: the reference has them elsewhere.
const NAMES: [&str; 3] = ["immich_server", "immich_redis", "tsdb"];

/// Where the agent mounts the directories of update locks.
const LOCKS: [&str; 2] = ["/tmp/balena", "/tmp/resin"];

macro_rules! projects {
    ($($test:ident: $name:literal,)+) => {
        $(#[test]
        #[ignore = "needs `make engine`"]
        fn $test() {
            runs_as_under_docker_compose($name);
        })+

        #[test]
        fn every_project_is_run() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/compose");
            let all: BTreeSet<String> = fs::read_dir(folder).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
            assert_eq!(all, [$($name),+].map(str::to_owned).into());
            assert!(all.len() >= 20, "{all:?}");
        }
    };
}

projects! {
    adguard: "adguard",
    esphome: "esphome",
    frigate: "frigate",
    grafana: "grafana",
    home_assistant: "home-assistant",
    immich: "immich",
    influxdb: "influxdb",
    jellyfin: "jellyfin",
    nextcloud: "nextcloud",
    node_red: "node-red",
    octoprint: "octoprint",
    paperless: "paperless",
    pi_hole: "pi-hole",
    portainer: "portainer",
    syncthing: "syncthing",
    traefik: "traefik",
    unifi: "unifi",
    vaultwarden: "vaultwarden",
    wireguard: "wireguard",
    zigbee2mqtt: "zigbee2mqtt",
}

#[test]
#[ignore = "needs `make engine`"]
fn a_plan_says_what_would_be_done_and_does_nothing() {
    let lab = Lab::enter();
    let image = lab.image("1");
    let folder = lab.dir().join("planned");
    fs::create_dir_all(&folder).unwrap();
    let write = |more: &str| {
        let text = format!("name: planned\nservices:\n  web: {{image: '{image}', environment: {{A: '1'}}}}\n{more}");
        fs::write(folder.join("compose.yaml"), text).unwrap();
    };
    write("");
    let mut agent = Agent::new(&lab).aimed_at(&folder);
    agent.start();
    until(PATIENCE, "it runs", || lab.containers().iter().any(|it| it.state == "running"));
    agent.settles();
    let before = lab.containers();
    let state = agent.path("state").display().to_string();
    let planned = |file: &Path, engine: &str| {
        let words = ["target", "plan", "--json", "--state-dir", &state, "--board", "simulated"];
        Command::new(env!("CARGO_BIN_EXE_boardkeeper")).args(words).arg(file).env("DOCKER_HOST", engine).output().unwrap()
    };
    let steps = |file: &Path| -> Vec<(String, String)> {
        let output = planned(file, &lab.docker_host());
        assert!(output.status.success(), "{output:?}");
        let value: Value = serde_json::from_slice(&output.stdout).unwrap();
        let text = |it: &Value| it.as_str().unwrap().to_owned();
        value["steps"].as_array().unwrap().iter().map(|it| (text(&it["what"]), text(&it["why"]))).collect()
    };
    assert_eq!(steps(&folder), []);
    // Another file of the same project: what the agent watches stays.
    let other = lab.dir().join("other.yml");
    let text = format!(
        "name: planned\nservices:\n  web: {{image: '{image}', environment: {{A: '2'}}}}\n  new: {{image: 'nowhere/x:1'}}\n"
    );
    fs::write(&other, text).unwrap();
    let all = steps(&other);
    let why = |what: &str| {
        let found = all.iter().find(|it| it.0.starts_with(what)).unwrap_or_else(|| panic!("{what}: {all:?}"));
        found.1.clone()
    };
    assert_eq!(why("pull nowhere/x:1"), "the engine does not have it");
    let app = before[0].name.clone();
    assert!(app.starts_with("web_0_0_compose"), "{app}");
    let web = all.iter().find(|it| it.0.contains("/web from")).unwrap();
    assert_eq!(web.1, "its environment changed (env A: `1` became `2`)");
    assert!(
        all.iter().any(|it| it.0.contains("/new from") && it.1 == "the target names it, and it has no container"),
        "{all:?}"
    );
    assert!(all.iter().any(|it| it.0.starts_with("kill ") && it.1 == web.1), "{all:?}");
    assert_eq!(lab.containers(), before);
    let down = planned(&other, "unix:///nowhere.sock");
    assert_eq!(down.status.code(), Some(1));
    let said = String::from_utf8(down.stderr).unwrap();
    assert!(said.contains("nothing can be planned without the engine: start it"), "{said}");
    fs::write(&other, "services: {web: {}}").unwrap();
    assert_eq!(planned(&other, &lab.docker_host()).status.code(), Some(2));
}

#[test]
#[ignore = "needs `make engine`"]
fn a_change_of_a_file_that_it_names_changes_the_containers() {
    let lab = Lab::enter();
    let image = lab.image("1");
    let folder = lab.dir().join("changed");
    fs::create_dir_all(&folder).unwrap();
    let text = format!(
        "services:\n  web: {{image: '{image}', env_file: web.env, secrets: [pw], volumes: ['./data:/data']}}\n  side: {{image: '{image}'}}\nsecrets: {{pw: {{file: pw}}}}\n"
    );
    for (name, text) in [("compose.yaml", text.as_str()), ("web.env", "A=1"), ("pw", "hunter2")] {
        fs::write(folder.join(name), text).unwrap();
    }
    let mut agent = Agent::new(&lab).aimed_at(&folder);
    agent.start();
    let runs = |service: &str| lab.containers().into_iter().find(|it| it.service == service && it.state == "running");
    until(PATIENCE, "both run", || runs("web").is_some() && runs("side").is_some());
    agent.settles();
    let (web, side) = (lab.the("web").id, lab.the("side").id);
    assert_eq!(lab.inside(&web, &["cat", "/run/secrets/pw"]), "hunter2");
    fs::write(folder.join("web.env"), "A=2").unwrap();
    until(PATIENCE, "the variable has changed", || {
        runs("web").is_some_and(|it| lab.env(&it.id).get("A").is_some_and(|it| it == "2"))
    });
    fs::write(folder.join("pw.new"), "hunter3").unwrap();
    fs::rename(folder.join("pw.new"), folder.join("pw")).unwrap();
    let secret = |id: &str| {
        lab.call("GET", &format!("/containers/{id}/json"), "").status == 200
            && lab.inside(id, &["cat", "/run/secrets/pw"]) == "hunter3"
    };
    let before = lab.the("web").id;
    until(PATIENCE, "the secret has changed", || runs("web").is_some_and(|it| it.id != before && secret(&it.id)));
    agent.settles();
    assert_eq!(lab.the("side").id, side, "it is left alone");
    assert!(folder.join("data").is_dir());
    for word in ["hunter2", "hunter3"] {
        assert!(!agent.whole_log().contains(word) && !agent.state().to_string().contains(word));
    }
}

fn runs_as_under_docker_compose(name: &str) {
    let lab = Lab::enter();
    lab.image("1");
    // A mount of the host's root asks for it.
    run(Command::new("mount").args(["--make-rshared", "/"]));
    let folder = project(&lab, name);
    let reference = reference(&lab, &folder);
    let mut agent = Agent::new(&lab).aimed_at(&folder);
    agent.start();
    until(PATIENCE, "every service has a container", || agent.answers() && lab.containers().len() == reference.len());
    agent.settles();
    let mut wrong = Vec::new();
    for (service, theirs) in &reference {
        let ours = lab.inspect(&lab.the(service).id);
        let (theirs, ours) = (normalized(theirs), normalized(&ours));
        let otherwise =
            |path: &str| OTHERWISE.iter().any(|it| it.0 == name && it.1.split(' ').any(|it| it == service) && it.2 == path);
        for (path, value) in &theirs {
            let own = ours.get(path).unwrap_or(&Value::Null);
            if (own != value) != otherwise(path) {
                wrong.push(format!("{service} {path}: {own}, under docker-compose {value}"));
            }
        }
        let more = ours.iter().filter(|(path, _)| !theirs.contains_key(*path));
        wrong.extend(more.map(|(path, own)| format!("{service} {path}: {own}, under docker-compose nothing")));
    }
    assert!(wrong.is_empty(), "{name}:\n{}", wrong.join("\n"));
    // The same file read again changes nothing.
    let before = lab.containers();
    assert!(agent.stop("TERM").success());
    agent.start();
    until(PATIENCE, "it answers", || agent.answers());
    agent.settles();
    assert_eq!(lab.containers(), before);
}

/// A copy of the project in a folder of the same name.
fn project(lab: &Lab, name: &str) -> PathBuf {
    let folder = lab.dir().join("projects").join(name);
    fs::create_dir_all(folder.parent().unwrap()).unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/compose").join(name);
    run(Command::new("cp").arg("-r").arg(from).arg(&folder));
    folder
}

/// What the engine says of each service's container under `docker-compose`, which has removed them again.
fn reference(lab: &Lab, folder: &Path) -> BTreeMap<String, Value> {
    let compose = |words: &[&str]| {
        let mut command = Command::new("docker-compose");
        run(command.current_dir(folder).env("DOCKER_HOST", lab.docker_host()).args(words))
    };
    // This release looks for two of the four names.
    let file = ["compose.yaml", "docker-compose.yml"].into_iter().find(|it| folder.join(it).exists()).unwrap();
    let over = folder.join("docker-compose.override.yml").exists().then_some(["-f", "docker-compose.override.yml"]);
    let files: Vec<&str> = ["-f", file].into_iter().chain(over.into_iter().flatten()).collect();
    compose(&[&files[..], &["up", "-d", "--quiet-pull"]].concat());
    let ids = lab.docker(&["ps", "-aq", "--no-trunc"]);
    let all = ids.split_whitespace().map(|id| lab.inspect(id));
    let of_service = |it: Value| (it["Config"]["Labels"]["com.docker.compose.service"].as_str().unwrap().to_owned(), it);
    let all = all.map(of_service).collect();
    compose(&[&files[..], &["down", "-v", "-t", "0"]].concat());
    all
}

/// What the engine says of a container, without what no file can ask for: paths and values, none of them empty.
fn normalized(seen: &Value) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for part in ["Config", "HostConfig"] {
        for (name, value) in seen[part].as_object().unwrap() {
            all.insert(format!("{part}.{name}"), value.clone());
        }
    }
    let id = seen["Id"].as_str().unwrap();
    let mode = seen["HostConfig"]["NetworkMode"].as_str().unwrap();
    let is_of_another = mode == "host" || mode.starts_with("container:");
    let hostname = seen["Config"]["Hostname"].as_str().filter(|it| !id.starts_with(*it) && !is_of_another);
    all.insert("named hostname".to_owned(), json!(hostname));
    let policy = &seen["HostConfig"]["RestartPolicy"];
    if policy["Name"] != "" && policy["Name"] != "no" {
        all.insert("restart policy".to_owned(), policy.clone());
    }
    all.insert(
        "pid of another container".to_owned(),
        json!(seen["HostConfig"]["PidMode"].as_str().is_some_and(|it| it.starts_with("container:"))),
    );
    if seen["HostConfig"]["PidMode"] == "host" {
        all.insert("pid of the host".to_owned(), json!(true));
    }
    all.insert("log".to_owned(), seen["HostConfig"]["LogConfig"]["Config"].clone());
    all.insert("log driver".to_owned(), seen["HostConfig"]["LogConfig"]["Type"].clone());
    all.insert("init".to_owned(), json!(seen["HostConfig"]["Init"] == true));
    for (path, _) in DIFFERENCES {
        all.remove(path);
    }
    all.insert("Config.Env".to_owned(), json!(environment(&seen["Config"]["Env"])));
    let labels = seen["Config"]["Labels"].as_object().unwrap();
    let own = |name: &str| !["com.docker.compose.", "io.balena.", "io.boardkeeper."].iter().any(|it| name.starts_with(it));
    let labels: Map<_, _> = labels.iter().filter(|(name, _)| own(name)).map(|(a, b)| (a.clone(), b.clone())).collect();
    all.insert("Config.Labels".to_owned(), Value::Object(labels));
    all.extend(mounts(&seen["Mounts"]));
    for path in ["HostConfig.Tmpfs", "HostConfig.Mounts"] {
        all.extend(tmpfs(path, seen));
    }
    all.extend(networks(seen));
    // Lists are sets to an engine, except for a program's words.
    for (path, value) in &mut all {
        if let Value::Array(items) = value
            && !path.contains("Cmd")
            && !path.contains("Entrypoint")
            && !path.contains("Test")
        {
            items.sort_by_key(Value::to_string);
        }
    }
    all.retain(|_, value| !is_empty(value));
    all
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(object) => object.is_empty(),
    }
}

/// Without the device's name, which the agent gives every container.
fn environment(lines: &Value) -> BTreeSet<String> {
    let lines = lines.as_array().into_iter().flatten().filter_map(Value::as_str);
    lines.filter(|it| !it.contains("_DEVICE_NAME_AT_INIT=")).map(str::to_owned).collect()
}

/// What is mounted where. Names of volumes are those of the file.
fn mounts(seen: &Value) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for it in seen.as_array().unwrap() {
        let at = it["Destination"].as_str().unwrap();
        if LOCKS.contains(&at) || it["Type"] == "tmpfs" {
            continue;
        }
        let name = it["Name"].as_str().unwrap_or_default();
        let is_anonymous = name.len() == 64;
        let from = match name.split_once('_') {
            _ if is_anonymous => "anonymous",
            Some((_, name)) => name,
            None => it["Source"].as_str().unwrap_or_default(),
        };
        let is_bind = it["Type"] == "bind";
        let propagation = if is_bind { it["Propagation"].clone() } else { Value::Null };
        all.insert(format!("mounted at {at}"), json!([it["Type"], from, it["RW"], propagation]));
    }
    all
}

/// What is mounted in memory, in either form of the request.
fn tmpfs(path: &str, seen: &Value) -> BTreeMap<String, Value> {
    let value = &seen["HostConfig"][path.trim_start_matches("HostConfig.")];
    let mut all = BTreeMap::new();
    for (at, options) in value.as_object().into_iter().flatten() {
        let size = options.as_str().unwrap().split(',').find_map(|it| it.strip_prefix("size=")).map(str::to_owned);
        all.insert(format!("tmpfs at {at}"), json!(["tmpfs", size]));
    }
    for it in value.as_array().into_iter().flatten().filter(|it| it["Type"] == "tmpfs") {
        let size = it["TmpfsOptions"]["SizeBytes"].as_i64().map(|it| it.to_string());
        all.insert(format!("tmpfs at {}", it["Target"].as_str().unwrap()), json!(["tmpfs", size]));
    }
    all
}

/// The networks by their names in the file, with aliases but those that the engine and each of both add.
fn networks(seen: &Value) -> BTreeMap<String, Value> {
    let id = seen["Id"].as_str().unwrap();
    let mut all = BTreeMap::new();
    for (name, it) in seen["NetworkSettings"]["Networks"].as_object().unwrap() {
        let name = name.split_once('_').map_or(name.as_str(), |(_, name)| name);
        let aliases = it["Aliases"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let aliases: BTreeSet<_> = aliases.filter(|it| !id.starts_with(*it) && !NAMES.contains(it)).collect();
        let fixed = it["IPAMConfig"].as_object().filter(|it| !it.is_empty());
        all.insert(format!("network {name}"), json!([aliases, fixed]));
    }
    all
}
