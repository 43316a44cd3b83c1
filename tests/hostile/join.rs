//! Joining a cloud and leaving it, with a `config.json` as people give it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::agent::Agent;
use crate::files::soon;

const CONFIG: &str = r#"{"apiEndpoint": "https://127.0.0.1:1", "applicationId": 7, "apiKey": "sesame", "vpnPort": 443, "deviceType": "raspberrypi3", "initialDeviceName": "kitchen"}"#;

/// The exit code and what was printed, after a command on a host of this directory. It never prints the key.
fn ran(home: &Path, arguments: &[&str], input: &str) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_boardkeeper"));
    command.args(arguments).arg("--root").arg(home).arg("--state-dir").arg(home.join("state"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that reads nothing may have ended.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let ended = child.wait_with_output().unwrap();
    let printed = String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap();
    assert!(!printed.contains("sesame"), "{printed}");
    (ended.status.code().unwrap(), printed)
}

#[test]
fn a_running_agent_joins_and_leaves_at_a_reload() {
    let home = tempfile::tempdir().unwrap();
    let (at, root) = (home.path().to_owned(), home.path().display().to_string());
    let given = at.join("given.json");
    fs::write(&given, CONFIG).unwrap();
    let agent = Agent::start_in(home, &["--root", &root]);
    soon("the owner's key opens", || agent.get("/ping").starts_with("HTTP/1.1 200"));
    let (code, said) = ran(&at, &["join", given.to_str().unwrap()], "");
    assert_eq!(code, 0, "{said}");
    for part in ["fleet 7 at https://127.0.0.1:1", "\"kitchen\"", "systemctl reload boardkeeper", "nothing was sent"] {
        assert!(said.contains(part), "{said}");
    }
    let stored = at.join("state/config.json");
    assert_eq!(fs::metadata(&stored).unwrap().permissions().mode() & 0o777, 0o600);
    agent.reload();
    soon("it knows its cloud", || agent.said().contains("the cloud is https://127.0.0.1:1"));
    soon("the account begins", || at.join("state/account.json").exists());

    fs::create_dir_all(at.join("state/vpn")).unwrap();
    fs::write(at.join("state/vpn/credentials"), "sesame").unwrap();
    fs::write(at.join("state/pin.json"), "{}").unwrap();
    let (code, said) = ran(&at, &["leave"], "");
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("run on") && said.contains("stays listed") && said.contains("reload"), "{said}");
    assert_eq!(fs::read_to_string(&stored).unwrap(), "{\"deviceType\":\"raspberrypi3\",\"initialDeviceName\":\"kitchen\"}\n");
    for gone in ["vpn", "account.json", "account.backup.json", "pin.json"] {
        assert!(!at.join("state").join(gone).exists(), "{gone} is there");
    }
    assert!(!fs::read_to_string(at.join("state/boot-config.json")).unwrap().contains("sesame"));
    agent.reload();
    soon("it has no cloud", || agent.said().contains("the cloud is none"));
    assert!(agent.get("/ping").starts_with("HTTP/1.1 200"));
    assert!(at.join("state/identity.json").exists());
}

#[test]
fn the_boot_partitions_file_keeps_what_is_the_hosts() {
    let home = tempfile::tempdir().unwrap();
    let boot = home.path().join("mnt/boot");
    fs::create_dir_all(&boot).unwrap();
    let (code, said) = ran(home.path(), &["join", "-"], CONFIG);
    assert_eq!(code, 0, "{said}");
    assert!(boot.join("config.json").exists() && !home.path().join("state/config.json").exists());
    let old = r#"{"os":{"sshKeys":[ ]},"uuid":"00","apiKey":"old","hostname":"board"}"#;
    fs::write(boot.join("config.json"), old).unwrap();
    assert_eq!(ran(home.path(), &["join", "-"], CONFIG).0, 0);
    let text = fs::read_to_string(boot.join("config.json")).unwrap();
    assert!(text.contains(r#""os":{"sshKeys":[ ]}"#) && text.contains(r#""hostname":"board""#), "{text}");
    assert!(text.contains("\"apiKey\":\"sesame\"") && !text.contains("\"uuid\""), "{text}");
}

#[test]
fn a_registered_device_is_not_taken_from_its_cloud_without_force() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join("state");
    fs::create_dir_all(&state).unwrap();
    let config = state.join("config.json");
    fs::write(&config, r#"{"apiEndpoint": "https://old.example.com", "deviceApiKey": "sesame", "registered_at": 1}"#).unwrap();
    let (code, said) = ran(home.path(), &["join", "-"], CONFIG);
    assert!(code == 1 && said.contains("https://old.example.com") && said.contains("--force"), "{code} {said}");
    assert!(fs::read_to_string(&config).unwrap().contains("old.example.com"));
    assert_eq!(ran(home.path(), &["join", "-", "--force"], CONFIG).0, 0);
    let text = fs::read_to_string(&config).unwrap();
    assert!(text.contains("127.0.0.1:1") && !text.contains("deviceApiKey"), "{text}");
}

#[test]
fn what_is_wrong_is_said_and_nothing_is_stored() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().display().to_string();
    for (source, input, code, part) in [
        ("/nowhere/config.json", "", 2, "No such file"),
        (directory.as_str(), "", 2, "cannot read"),
        ("-", "sesame", 2, "is not JSON"),
        ("-", "", 2, "is not JSON"),
        ("-", "[1]", 2, "is not a JSON object"),
        ("-", r#"{"apiEndpoint": "https://a.example.com", "apiKey": "sesame"}"#, 2, "applicationId is missing"),
        ("-", r#"{"applicationId": "sesame", "apiKey": "sesame"}"#, 2, "apiEndpoint is missing"),
        ("http://example.com/config.json", "", 2, "use https"),
        ("https://127.0.0.1:1/config.json", "", 1, "cannot download"),
    ] {
        let (ended, said) = ran(home.path(), &["join", source], input);
        assert!(ended == code && said.contains(part), "{source} {input}: {ended} {said}");
        assert!(!home.path().join("state").exists(), "{source} {input}");
    }
    let (code, said) = ran(home.path(), &["leave"], "");
    assert!(code == 0 && said.contains("in no cloud"), "{said}");
}
