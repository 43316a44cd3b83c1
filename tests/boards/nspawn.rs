//! A real systemd, logind and polkit: what is requested really happens, or really does not.

use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::machine::{Machine, OFF, REBOOTED, until};

const SOON: Duration = Duration::from_secs(30);

#[test]
#[ignore = "needs `make power`"]
fn a_reboot_really_reboots_and_the_agent_finds_what_was_its() {
    let mut machine = Machine::boots("reboot");
    machine.with_engine();
    machine.wants(&json!({}));
    until("the service runs", SOON, || machine.containers().len() == 1);
    let before = (machine.run("boardkeeper key"), machine.state()["device"]["uuid"].clone(), machine.containers());
    let boot = machine.run("cat /proc/sys/kernel/random/boot_id");
    assert_eq!(machine.post("/v1/reboot", ""), (202, json!({"Data": "OK", "Error": ""})));
    assert_eq!(machine.state()["activity"], "shutting down");
    assert_eq!(machine.ends(), REBOOTED);
    machine.boot();
    assert_ne!(machine.run("cat /proc/sys/kernel/random/boot_id"), boot);
    until("it is as wanted", SOON, || machine.state()["activity"] == "settled");
    let after = (machine.run("boardkeeper key"), machine.state()["device"]["uuid"].clone(), machine.containers());
    assert_eq!(after, before);
    assert_eq!(machine.state()["shutdown"], json!({"state": "no"}));
}

#[test]
#[ignore = "needs `make power`"]
fn a_shutdown_really_powers_off() {
    let mut machine = Machine::boots("shutdown");
    assert_eq!(machine.post("/v1/shutdown", "{\"force\":true}"), (202, json!({"Data": "OK", "Error": ""})));
    assert_eq!(machine.ends(), OFF);
}

#[test]
#[ignore = "needs `make power`"]
fn without_a_byte_of_room_it_identifies_and_reboots() {
    let mut machine = Machine::boots("full");
    let dirs = ["/var/lib/boardkeeper", "/tmp/balena-supervisor"];
    machine.run("systemctl stop boardkeeper");
    for dir in dirs {
        machine.run(&format!("mkdir -p {dir} && mount -t tmpfs -o size=256k small {dir}"));
    }
    machine.run("systemctl start boardkeeper");
    machine.with_engine();
    machine.wants(&json!({}));
    until("the service runs", SOON, || machine.containers().len() == 1);
    for dir in dirs {
        machine.run(&format!("cat /dev/zero > {dir}/filler 2> /dev/null; ! echo more > {dir}/more"));
    }
    assert_eq!(machine.post("/v1/blink", "").0, 200);
    assert_eq!(machine.post("/v1/reboot", ""), (202, json!({"Data": "OK", "Error": ""})));
    assert_eq!(machine.ends(), REBOOTED);
}

#[test]
#[ignore = "needs `make power`"]
fn a_blocking_inhibitor_really_blocks_it() {
    let mut machine = Machine::boots("block");
    let block = "systemd-inhibit --what=shutdown --mode=block --who=updater --why='installing firmware' \
        sh -c 'echo $$ > /run/updater; exec sleep 600'";
    let mut updater = machine.shell(block).stdout(Stdio::null()).spawn().unwrap();
    until("it is blocked", SOON, || machine.run("systemd-inhibit --list --no-pager").contains("updater"));
    for body in ["", "{\"force\":true}"] {
        for path in ["/v1/reboot", "/v1/shutdown"] {
            let (status, said) = machine.post(path, body);
            let why = said["Error"].as_str().unwrap();
            assert_eq!(status, 500, "{why}");
            assert!(why.contains("updater (uid 0, process ") && why.contains("installing firmware"), "{why}");
        }
    }
    sleep(Duration::from_secs(3));
    assert_eq!(machine.state()["shutdown"], json!({"state": "no"}));
    machine.run("kill $(cat /run/updater)");
    updater.wait().unwrap();
    assert_eq!(machine.post("/v1/reboot", "").0, 202);
    assert_eq!(machine.ends(), REBOOTED);
}

#[test]
#[ignore = "needs `make power`"]
fn an_update_lock_and_an_update_of_the_host_hold_it_up() {
    let mut machine = Machine::boots("locks");
    machine.run("mkdir -p /mnt/state && touch /mnt/state/rollback-health-breadcrumb");
    let waits = json!({"Data": "", "Error": "Waiting for Host OS update to finish"});
    assert_eq!(machine.post("/v1/reboot", ""), (423, waits));
    machine.run("rm /mnt/state/rollback-health-breadcrumb");
    machine.with_engine();
    machine.wants(&json!({}));
    until("the service runs", SOON, || machine.containers().len() == 1);
    let dir = "/tmp/balena-supervisor/services/1/web";
    machine.run(&format!("mkdir -p {dir} && touch {dir}/updates.lock"));
    let (status, said) = machine.post("/v1/shutdown", "");
    assert_eq!(status, 423, "{said}");
    assert!(said["Error"].as_str().unwrap().contains("appId: 1, service: web"), "{said}");
    assert_eq!(machine.post("/v1/shutdown", "{\"force\":true}").0, 202);
    assert_eq!(machine.ends(), OFF);
}

#[test]
#[ignore = "needs `make power`"]
fn a_reboot_by_another_program_waits_until_the_agent_is_idle_and_no_longer() {
    let mut machine = Machine::boots("others");
    until("it is waited for", SOON, || machine.run("systemd-inhibit --list --no-pager").contains("boardkeeper"));
    let before = Instant::now();
    machine.run("busctl call org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager Reboot b false");
    assert_eq!(machine.ends(), REBOOTED);
    assert!(before.elapsed() < Duration::from_secs(20), "{:?}", before.elapsed());
    machine.boot();
    let log = machine.run("journalctl --no-pager -b -1 -u boardkeeper");
    for said in ["another program shuts the machine down", "all steps have ended; releasing the inhibitor"] {
        assert!(log.contains(said), "{log}");
    }
    assert!(!log.contains("reconciliation resumes"), "{log}");
}

#[test]
#[ignore = "needs `make power`"]
fn while_an_end_is_announced_the_api_refuses_connections_and_takes_them_when_it_is_called_off() {
    let mut machine = Machine::boots("closes");
    until("it is waited for", SOON, || machine.run("systemd-inhibit --list --no-pager").contains("boardkeeper"));
    let delay = "systemd-inhibit --what=shutdown --mode=delay --who=editor --why='saving' sh -c 'echo $$ > /run/editor; exec sleep 600'";
    let mut editor = machine.shell(delay).stdout(Stdio::null()).spawn().unwrap();
    until("it is held up", SOON, || machine.run("systemd-inhibit --list --no-pager").contains("editor"));
    assert!(machine.connects());
    machine.run("busctl call org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager Reboot b false");
    until("it is closed", Duration::from_secs(3), || !machine.connects());
    // logind cannot begin it, and calls it off.
    machine.run("ln -s /dev/null /run/systemd/system/reboot.target && systemctl daemon-reload");
    machine.run("kill $(cat /run/editor)");
    until("it is open again", Duration::from_secs(10), || machine.connects());
    editor.wait().unwrap();
    assert_eq!(machine.state()["shutdown"]["state"], "came_to_nothing");
    machine.run("rm /run/systemd/system/reboot.target && systemctl daemon-reload");
    assert_eq!(machine.post("/v1/shutdown", "").0, 202);
    assert_eq!(machine.ends(), OFF);
}

#[test]
#[ignore = "needs `make power`"]
fn a_release_that_wants_a_reboot_gets_one() {
    let mut machine = Machine::boots("release");
    machine.with_engine();
    machine.wants(&json!({"io.balena.update.requires-reboot": "1"}));
    assert_eq!(machine.ends(), REBOOTED);
    assert_eq!(machine.containers().len(), 0);
    // The kernel is the host's, so by the clock the container was made after this boot; by its id it was not.
    machine.boot();
    until("the service runs", SOON, || machine.containers().len() == 1);
    sleep(Duration::from_secs(5));
    assert_eq!(machine.state()["activity"], "settled");
}

#[test]
#[ignore = "needs `make power`"]
fn as_a_service_it_says_what_it_does_stops_at_once_and_is_started_again_when_stuck() {
    let mut machine = Machine::boots("service");
    machine.with_engine();
    machine.wants(&json!({}));
    let shows = |machine: &Machine, what: &str| machine.run(&format!("systemctl show boardkeeper -p {what} --value"));
    until("it says so", SOON, || shows(&machine, "StatusText") == "as wanted; running: 1");
    // Stopped at once, with its containers running.
    let took = machine.stops_agent();
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(machine.containers().len(), 1);
    // Stuck, and not as patient as on a board.
    machine.run("mkdir -p /run/systemd/system/boardkeeper.service.d");
    machine.run("printf '[Service]\\nWatchdogSec=2\\n' > /run/systemd/system/boardkeeper.service.d/test.conf");
    machine.run("systemctl daemon-reload && systemctl start boardkeeper");
    sleep(Duration::from_secs(6));
    assert_eq!(shows(&machine, "NRestarts"), "0");
    let pid = shows(&machine, "MainPID");
    machine.run(&format!("kill -STOP {pid}"));
    until("it was started again", SOON, || {
        let now = shows(&machine, "MainPID");
        now != pid && now != "0" && shows(&machine, "ActiveState") == "active"
    });
    assert_eq!(machine.containers().len(), 1);
}

#[test]
#[ignore = "needs `make power`"]
fn polkit_really_decides_for_an_agent_that_is_not_root() {
    let mut machine = Machine::boots("polkit");
    machine.run("mkdir -p /run/systemd/system/boardkeeper.service.d /etc/polkit-1/rules.d");
    let user = "[Service]\\nUser=daemon\\nStateDirectory=boardkeeper\\nRuntimeDirectory=boardkeeper\\n";
    machine.run(&format!("printf '{user}' > /run/systemd/system/boardkeeper.service.d/user.conf"));
    machine.run("systemctl daemon-reload && systemctl restart boardkeeper");
    let (status, said) = machine.post("/v1/reboot", "");
    let why = said["Error"].as_str().unwrap();
    assert_eq!(status, 500, "{why}");
    assert!(why.contains("refuses it (`challenge`)") && why.contains("org.freedesktop.login1.reboot in polkit"), "{why}");
    let rule = r#"polkit.addRule(function (action, subject) {
        if (subject.user == "daemon" && action.id.indexOf("org.freedesktop.login1.reboot") == 0) return polkit.Result.YES;
    });"#;
    machine.run(&format!("echo '{rule}' > /etc/polkit-1/rules.d/50-test.rules && systemctl restart polkit"));
    assert_eq!(machine.post("/v1/shutdown", "").0, 500);
    assert_eq!(machine.post("/v1/reboot", "").0, 202);
    assert_eq!(machine.ends(), REBOOTED);
}
