//! A state directory that a newer version of the agent wrote: every command refuses it, and none changes it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use boardkeeper::cli::Cli;
use clap::CommandFactory;

use crate::agent::Agent;
use crate::files::soon;

/// Arguments of every command that has a state directory.
const COMMANDS: [&[&str]; 18] = [
    &["run"],
    &["state"],
    &["why"],
    &["logs"],
    &["history"],
    &["target", "check", "target.json"],
    &["target", "plan", "target.json"],
    &["target", "try", "target.json"],
    &["target", "keep"],
    &["target", "back"],
    &["doctor"],
    &["join", "joined.json"],
    &["leave"],
    &["key"],
    &["page"],
    &["local-mode", "on"],
    &["local-mode", "off"],
    &["take-over", "database.sqlite"],
];

/// The names of the commands below this one that have a state directory, each with a space after it.
fn with_state_dir(command: &clap::Command, path: &str) -> Vec<String> {
    let mut names = Vec::new();
    for command in command.get_subcommands() {
        let name = format!("{path}{} ", command.get_name());
        names.extend(with_state_dir(command, &name));
        if command.get_arguments().any(|arg| arg.get_id() == "--state-dir") {
            names.push(name);
        }
    }
    names
}

/// Every file below a directory, with its content and when it was changed.
fn contents(dir: &Path) -> BTreeMap<String, (Vec<u8>, SystemTime)> {
    let entry = |it: fs::DirEntry| {
        let changed = it.metadata().unwrap().modified().unwrap();
        (it.file_name().into_string().unwrap(), (fs::read(it.path()).unwrap(), changed))
    };
    fs::read_dir(dir).unwrap().map(|it| entry(it.unwrap())).collect()
}

#[test]
fn a_state_directory_of_a_newer_version_is_refused_by_every_command_and_is_not_changed() {
    let tried: Vec<_> = COMMANDS.iter().map(|it| it.join(" ") + " ").collect();
    let missing: Vec<_> =
        with_state_dir(&Cli::command(), "").into_iter().filter(|name| !tried.iter().any(|it| it.starts_with(name))).collect();
    assert_eq!(missing, <[String; 0]>::default(), "these commands have a state directory, and COMMANDS lacks them");

    let agent = Agent::start_in(tempfile::tempdir().unwrap(), &[]);
    soon("the owner's key opens", || agent.get("/ping").starts_with("HTTP/1.1 200"));
    let home = agent.killed();
    let state = home.path().join("state");
    fs::write(home.path().join("target.json"), include_str!("../data/target-v2.json")).unwrap();
    fs::write(home.path().join("database.sqlite"), include_bytes!("../data/take-over/supervisor-19.sqlite")).unwrap();
    fs::write(home.path().join("joined.json"), r#"{"apiEndpoint": "https://127.0.0.1:1", "applicationId": 7, "apiKey": "k"}"#)
        .unwrap();
    // This version would put these two aside, or replace them.
    fs::write(state.join("keys.json"), "a secret of another format").unwrap();
    fs::write(state.join(".keys.json.new"), "half of it").unwrap();
    fs::write(state.join("format"), "2 9.8.7\n").unwrap();
    let before = contents(&state);
    let own = env!("CARGO_PKG_VERSION");
    let expected = format!(
        "boardkeeper: this version of boardkeeper ({own}) cannot read `{}`: boardkeeper 9.8.7 or a newer version wrote it, in \
         format 2, and this one reads formats up to 1; install that version again, or choose another place with --state-dir\n",
        state.display()
    );
    for arguments in COMMANDS {
        let mut command = Command::new(env!("CARGO_BIN_EXE_boardkeeper"));
        command.current_dir(home.path()).args(arguments).arg("--state-dir").arg(&state);
        let ended = command.env("BOARDKEEPER_BOARD", "simulated").stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(said, expected, "{arguments:?}");
        assert_eq!((ended.status.code(), ended.stdout.as_slice()), (Some(1), &b""[..]), "{arguments:?}");
        assert_eq!(contents(&state), before, "{arguments:?}");
    }
}

#[test]
fn the_format_is_written_once_and_not_at_each_start() {
    let agent = Agent::start_in(tempfile::tempdir().unwrap(), &[]);
    soon("the owner's key opens", || agent.get("/ping").starts_with("HTTP/1.1 200"));
    let home = agent.killed();
    let format = |home: &Path| contents(&home.join("state")).remove("format").unwrap();
    let before = format(home.path());
    assert_eq!(before.0, format!("1 {}\n", env!("CARGO_PKG_VERSION")).as_bytes());
    let agent = Agent::start_in(home, &[]);
    soon("the owner's key opens", || agent.get("/ping").starts_with("HTTP/1.1 200"));
    assert_eq!(format(agent.killed().path()), before);
}
