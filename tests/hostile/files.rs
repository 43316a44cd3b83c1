//! Files that a power cut or a user corrupted: the device keeps its identity, and reports them.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::time::Instant;

use crate::agent::{Agent, command};

/// An agent that has kept everything, killed.
fn lived_in() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("config.json"), CONFIG).unwrap();
    let path = home.path().join("config.json").display().to_string();
    let agent = Agent::start_in(home, &["--boot-config", &path]);
    soon("it has kept its keys", || agent.get("/ping").starts_with("HTTP/1.1 200"));
    agent.killed()
}

/// A device's, as the cloud's tools write it.
const CONFIG: &str = r#"{"uuid": "c0ffee00c0ffee00c0ffee00c0ffee00", "deviceType": "raspberrypi3", "listenPort": 48999,
    "hostname": "kitchen", "apiEndpoint": "", "apiKey": "sesame", "developmentMode": false}"#;

pub(crate) fn soon(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !is() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn uuid(agent: &Agent) -> String {
    let state = agent.get("/agent/v1/state");
    state.split("\"uuid\":\"").nth(1).and_then(|it| it.split('"').next()).unwrap_or_default().to_owned()
}

/// Puts something else where a file is.
type Shape = (&'static str, fn(&Path));

const SHAPES: [Shape; 5] = [
    ("400 MB", |path| File::create(path).unwrap().set_len(400_000_000).unwrap()),
    ("1 TB", |path| File::create(path).unwrap().set_len(1 << 40).unwrap()),
    ("a FIFO", |path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success())),
    ("a directory", |path| fs::create_dir(path).unwrap()),
    ("a link to a device", |path| symlink("/dev/zero", path).unwrap()),
];

#[test]
fn a_record_that_is_no_file_any_more_or_a_huge_one_does_not_stop_the_agent() {
    for name in ["targets", "keys", "identity", "stopped", "awaiting-boot", "trial"] {
        for (what, put) in SHAPES {
            let home = lived_in();
            let path = home.path().join("state").join(name).with_extension("json");
            // Some are made when there is something to keep.
            let _ = fs::remove_file(&path);
            put(&path);
            let agent = Agent::start_in(home, &[]);
            soon("the owner's key opens", || agent.get("/ping").starts_with("HTTP/1.1 200"));
            assert_eq!(uuid(&agent), "c0ffee00c0ffee00c0ffee00c0ffee00", "{name} is {what}");
            let state = agent.get("/agent/v1/state");
            let told = format!("{name}.json.unreadable-1");
            assert!(state.contains(&told), "{name} is {what}: {state}");
            soon("the log says it", || agent.said().contains(&told));
        }
    }
}

#[test]
fn empty_keys_admit_no_client_that_sends_them() {
    let home = lived_in();
    fs::write(home.path().join("state/keys.json"), r#"{"device": "", "root": "", "generations": []}"#).unwrap();
    let agent = Agent::start_in(home, &[]);
    soon("the owner's key opens", || agent.get("/ping").starts_with("HTTP/1.1 200"));
    for header in ["Authorization: Bearer ", "Authorization: ApiKey ", "X: y"] {
        let asked = format!("GET /v1/device?apikey= HTTP/1.1\r\nHost: {}\r\n{header}\r\nConnection: close\r\n\r\n", agent.at);
        let (answer, _) = agent.answer(asked.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 401"), "{header}: {answer}");
    }
    assert!(agent.get("/agent/v1/state").contains("keys.json.unreadable-1"));
}

/// What a power cut, or an editor, leaves of a `config.json`.
const DAMAGED: [(&str, &[u8]); 6] = [
    ("empty", b""),
    ("zeros", &[0; 600]),
    ("a comma too many", br#"{"uuid": "c0ffee00c0ffee00c0ffee00c0ffee00",}"#),
    ("Latin-1", b"{\"hostname\": \"k\xfcche\"}"),
    ("half", br#"{"uuid": "c0ffee00c0ff"#),
    ("a port that is none", br#"{"listenPort": "none"}"#),
];

#[test]
fn a_config_json_that_cannot_be_read_does_not_stop_a_device_that_has_an_identity() {
    let others: [Shape; 3] = [
        ("a directory", |path| fs::create_dir(path).unwrap()),
        ("a FIFO", |path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success())),
        ("gone", |_| ()),
    ];
    for number in 0..DAMAGED.len() + others.len() {
        let home = lived_in();
        let path = home.path().join("config.json");
        fs::remove_file(&path).unwrap();
        let what = if let Some((what, bytes)) = DAMAGED.get(number) {
            fs::write(&path, bytes).unwrap();
            what
        } else {
            let (what, put) = &others[number - DAMAGED.len()];
            put(&path);
            what
        };
        let shown = path.display().to_string();
        let agent = Agent::start_in(home, &["--boot-config", &shown]);
        soon("the owner's key opens", || agent.get("/ping").starts_with("HTTP/1.1 200"));
        let state = agent.get("/agent/v1/state");
        assert_eq!(uuid(&agent), "c0ffee00c0ffee00c0ffee00c0ffee00", "{what}");
        assert!(state.contains("raspberrypi3") && state.contains("kitchen"), "{what}: what it said counts: {state}");
        let is_told = |told: &str| told.contains("config.json") && told.contains("until then its last good contents apply");
        assert!(is_told(&state), "{what}: {state}");
        soon("the log says it", || is_told(&agent.said()));
        let home = agent.killed();
        let copy = home.path().join("state/boot-config.json");
        let kept = fs::read_to_string(&copy).unwrap();
        assert!(kept.contains("48999"), "{what}: {kept}");
        // A start without the file needs the keys; the copy is for its owner only.
        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600, "{what}");
        let doctor = Command::new(env!("CARGO_BIN_EXE_boardkeeper"))
            .args(["doctor", "--board", "simulated", "--boot-config", &shown, "--state-dir"])
            .arg(home.path().join("state"))
            .output()
            .unwrap();
        let found = String::from_utf8(doctor.stdout).unwrap();
        assert!(found.lines().any(|it| it.starts_with("wrong") && is_told(it)), "{what}: {found}");
    }
}

#[test]
fn a_new_device_says_what_is_wrong_with_its_config_json_and_takes_no_other_identity() {
    for (what, bytes) in DAMAGED {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("config.json");
        fs::write(&path, bytes).unwrap();
        let mut agent = command(home.path(), &["--boot-config", path.to_str().unwrap()]);
        let ended = agent.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{what}: {said}");
        assert!(said.contains("config.json"), "{what}: {said}");
        assert!(!home.path().join("state/identity.json").exists(), "{what}");
    }
}

#[test]
fn a_config_json_that_an_editor_of_windows_wrote_is_read() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("config.json");
    fs::write(&path, ["\u{feff}", &CONFIG.replace('\n', "\r\n")].concat()).unwrap();
    let shown = path.display().to_string();
    let agent = Agent::start_in(home, &["--boot-config", &shown]);
    soon("the owner's key opens", || agent.get("/ping").starts_with("HTTP/1.1 200"));
    assert_eq!(uuid(&agent), "c0ffee00c0ffee00c0ffee00c0ffee00");
}
