//! Upgrades of the package with apt, also to versions that do not work: the version before takes their place by itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::machine::{Machine, REBOOTED, Suite, until};
use crate::package::{log, settled, settled_on, shows};

const SOON: Duration = Duration::from_secs(30);
/// How soon the version before has to answer again.
const BACK: Duration = Duration::from_secs(180);
/// Begins nothing, and ignores that it is asked to stop.
const HANGS: &[u8] = b"#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 1; done\n";
/// What the journal says of it.
const TAKES_ITS_PLACE: &str = "takes its place until a working package is installed";

fn agent() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_boardkeeper"))
}

/// A program with this content.
fn program(dir: &tempfile::TempDir, content: &[u8]) -> PathBuf {
    let path = dir.path().join("program");
    fs::write(&path, content).unwrap();
    path
}

fn answers(machine: &Machine, key: &str) -> bool {
    machine.ask("GET", &format!("/ping?apikey={key}"), "").0 == 200
}

/// The complaints of the agent that runs. The installed program may be none that prints the key.
fn complaints(machine: &Machine, key: &str) -> String {
    let (_, body) = machine.ask("GET", &format!("/agent/v1/state?apikey={key}"), "");
    let state: Value = serde_json::from_str(&body).unwrap();
    state["complaints"].to_string()
}

/// Upgrades to this program; the version before has to answer again by itself.
fn falls_back(suite: Suite, name: &str, content: &[u8]) {
    let (mut machine, dir) = (settled_on(suite, &format!("{name}-{}", suite.name())), tempfile::tempdir().unwrap());
    machine.installs("1.0", agent());
    let key = machine.run("boardkeeper key");
    until("the first version is ready", SOON, || answers(&machine, &key));
    assert_eq!(complaints(&machine, &key), "[]");
    let (before, own) = (machine.starts(), env!("CARGO_PKG_VERSION"));
    let began = Instant::now();
    machine.installs("2.0", &program(&dir, content));
    until("the version before answers", BACK, || answers(&machine, &key));
    eprintln!("figure: {suite:?}: {name}: the version before answers {} s after the upgrade began", began.elapsed().as_secs());
    let said = format!("boardkeeper 2.0 did not become ready: {own}, which did, {TAKES_ITS_PLACE}");
    assert_eq!(log(&machine).matches(&said).count(), 1, "{}", log(&machine));
    until("it says whose place it took", SOON, || {
        complaints(&machine, &key)
            .contains(&format!("boardkeeper 2.0 is installed and did not become ready; boardkeeper {own} runs"))
    });
    assert_eq!(machine.starts(), before, "no container was restarted");
    // Another boot begins with the version that works.
    let began = Instant::now();
    machine.shell("systemctl --no-block reboot").status().unwrap();
    assert_eq!(machine.ends(), REBOOTED);
    machine.boot();
    assert!(complaints(&machine, &key).contains("boardkeeper 2.0 is installed"));
    assert_eq!(shows(&machine, "NRestarts"), "0");
    eprintln!("figure: {suite:?}: {name}: after a reboot it answers in {} s", began.elapsed().as_secs());
    // A package that works takes over, and is what the next one falls back to.
    machine.installs("2.1", agent());
    until("the working package answers", SOON, || answers(&machine, &key));
    assert_eq!(complaints(&machine, &key), "[]");
    assert_eq!(machine.run("boardkeeper key"), key);
    let marks = machine.run("ls /var/lib/boardkeeper-fallback /run/boardkeeper-fallback");
    assert!(marks.contains("ready") && !marks.contains("replaced") && !marks.contains("environment"), "{marks}");
    assert_eq!(machine.containers().len(), 1);
}

#[test]
#[ignore = "needs `make power`"]
fn an_upgrade_to_a_program_that_ends_at_once_falls_back() {
    for suite in Suite::ALL {
        falls_back(suite, "ends", b"#!/bin/sh\nexit 0\n");
    }
}

#[test]
#[ignore = "needs `make power`, and minutes"]
fn an_upgrade_to_a_program_that_hangs_falls_back() {
    for suite in Suite::ALL {
        falls_back(suite, "hangs", HANGS);
    }
}

#[test]
#[ignore = "needs `make power`"]
fn an_upgrade_to_something_that_is_no_program_falls_back() {
    for suite in Suite::ALL {
        falls_back(suite, "none", b"\x7fELF, as far as the first bytes go");
    }
}

/// The new files are there, and nothing of the package was set up yet.
#[test]
#[ignore = "needs `make power`"]
fn after_a_power_cut_in_the_middle_of_an_upgrade_the_version_before_takes_over_too() {
    let (mut machine, dir) = (settled("cut"), tempfile::tempdir().unwrap());
    machine.installs("1.0", agent());
    let key = machine.run("boardkeeper key");
    until("the first version is ready", SOON, || answers(&machine, &key));
    let package = machine.makes_package("2.0", &program(&dir, b"#!/bin/sh\nexit 1\n"));
    machine.run(&format!("dpkg --unpack {package}"));
    machine.shell("systemctl --force --force reboot").status().unwrap();
    assert_eq!(machine.ends(), REBOOTED);
    machine.boot();
    assert!(log(&machine).contains(TAKES_ITS_PLACE), "{}", log(&machine));
    assert!(complaints(&machine, &key).contains("boardkeeper 2.0 is installed"));
    machine.installs("2.1", agent());
    until("the working package answers", SOON, || answers(&machine, &key));
    assert_eq!(complaints(&machine, &key), "[]");
}

#[test]
#[ignore = "needs `make power`"]
fn no_version_takes_over_a_state_that_it_cannot_read_and_the_journal_says_why() {
    let (machine, dir) = (settled("unreadable"), tempfile::tempdir().unwrap());
    machine.installs("1.0", agent());
    let key = machine.run("boardkeeper key");
    until("the first version is ready", SOON, || answers(&machine, &key));
    let newer = "#!/bin/sh\necho 2 2.0 > /var/lib/boardkeeper/format\nexit 1\n";
    machine.installs("2.0", &program(&dir, newer.as_bytes()));
    let said = "boardkeeper 2.0 did not become ready, and the version before cannot take its place: boardkeeper: this version of \
                boardkeeper";
    until("the journal says why", SOON, || log(&machine).contains(said));
    assert!(log(&machine).contains("boardkeeper 2.0 or a newer version wrote it, in format 2"), "{}", log(&machine));
    assert!(!log(&machine).contains(TAKES_ITS_PLACE) && !answers(&machine, &key));
    assert_eq!(machine.run("cat /var/lib/boardkeeper/format; ls /var/lib/boardkeeper | grep unreadable || true"), "2 2.0");
    // The next package can, and needs no help.
    machine.run("echo 1 1.0 > /var/lib/boardkeeper/format");
    machine.installs("2.1", agent());
    until("the working package answers", SOON, || answers(&machine, &key));
    assert_eq!(complaints(&machine, &key), "[]");
}

#[test]
#[ignore = "needs `make power`"]
fn where_the_version_before_does_not_work_either_the_installed_one_gets_another_chance() {
    let (machine, dir) = (settled("neither"), tempfile::tempdir().unwrap());
    machine.installs("1.0", agent());
    let key = machine.run("boardkeeper key");
    until("the first version is ready", SOON, || answers(&machine, &key));
    // Something is wrong with the host: no agent becomes ready.
    machine.run("mkdir -p /run/systemd/system/boardkeeper.service.d");
    machine
        .run("printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\n' > /run/systemd/system/boardkeeper.service.d/test.conf");
    machine.installs("2.0", &program(&dir, &fs::read(agent()).unwrap()));
    until("the version before was tried", SOON, || log(&machine).contains(TAKES_ITS_PLACE));
    let again = "the version before did not become ready either: boardkeeper 2.0 is tried again";
    until("the installed one is tried again", SOON, || log(&machine).contains(again));
    machine.run("rm /run/systemd/system/boardkeeper.service.d/test.conf; systemctl daemon-reload");
    until("the installed one is ready", SOON, || answers(&machine, &key));
    assert_eq!(complaints(&machine, &key), "[]");
    // From now on it is not replaced, whatever ends it.
    for _ in 0..3 {
        let pid = shows(&machine, "MainPID");
        machine.run(&format!("kill -KILL {pid}"));
        until("it was started again", SOON, || {
            let now = shows(&machine, "MainPID");
            now != pid && now != "0" && answers(&machine, &key)
        });
    }
    assert_eq!(complaints(&machine, &key), "[]");
}

/// What the simulated LEDs are set to.
fn leds(machine: &Machine) -> String {
    machine.run("cd /run/boardkeeper/simulated-board/sys/class/leds && grep -H '' */trigger */brightness")
}

#[test]
#[ignore = "needs `make power`"]
fn a_newer_and_an_older_package_restart_no_container_and_keep_keys_and_leds() {
    for suite in Suite::ALL {
        let machine = settled_on(suite, &format!("up-and-down-{}", suite.name()));
        machine.installs("1.0", agent());
        let key = machine.run("boardkeeper key");
        until("the first version is ready", SOON, || answers(&machine, &key));
        let (starts, lit) = (machine.starts(), leds(&machine));
        assert!(!starts.is_empty() && lit.contains("brightness"), "{starts} {lit}");
        for version in ["1.1", "0.9", "1.0"] {
            let pid = shows(&machine, "MainPID");
            // It blinks when the agent is replaced.
            assert_eq!(machine.post("/v1/blink", "").0, 200);
            until("it blinks", SOON, || leds(&machine) != lit);
            machine.installs(version, agent());
            until("the new one is ready", SOON, || answers(&machine, &key));
            assert_ne!(shows(&machine, "MainPID"), pid, "{suite:?}: {version}");
            until("the LED is as before", SOON, || leds(&machine) == lit);
            until("it is as wanted", SOON, || shows(&machine, "StatusText") == "as wanted; running: 1");
            assert_eq!(machine.starts(), starts, "{suite:?}: {version}");
            assert_eq!(machine.run("boardkeeper key"), key, "{suite:?}: {version}");
            assert_eq!(complaints(&machine, &key), "[]");
        }
    }
}
