//! The unit as the package installs it: its own user, polkit, watchdog, nothing made easier for the test.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::machine::{Machine, OFF, REBOOTED, Suite, until};

const SOON: Duration = Duration::from_secs(30);
/// How soon an agent that is stuck has to be started again.
const STUCK: Duration = Duration::from_secs(90);
const IMAGE: &str = "tests/busybox:1";

/// The directory of a service's update locks.
const LOCKS: &str = "/tmp/balena-supervisor/services/1/web";

/// A machine with the package and an engine that its user may use, on which one service runs.
pub(crate) fn settled(name: &str) -> Machine {
    settled_on(Suite::Bookworm, name)
}

pub(crate) fn settled_on(suite: Suite, name: &str) -> Machine {
    let mut machine = Machine::with_package(name, suite);
    machine.with_engine();
    machine.run("chgrp docker /run/engine/docker.sock && chmod 0660 /run/engine/docker.sock");
    machine.set_target(&[("web", IMAGE)], &json!({}));
    until("the service runs", SOON, || shows(&machine, "StatusText") == "as wanted; running: 1");
    machine
}

pub(crate) fn shows(machine: &Machine, what: &str) -> String {
    machine.run(&format!("systemctl show boardkeeper -p {what} --value"))
}

pub(crate) fn log(machine: &Machine) -> String {
    machine.run("journalctl --no-pager -o cat -u boardkeeper")
}

#[test]
#[ignore = "needs `make power`"]
fn as_packaged_it_is_ready_says_what_it_does_and_stops_and_reloads_on_signals() {
    let machine = settled("packaged");
    let as_shipped = [
        ("Type", "notify"),
        ("ActiveState", "active"),
        ("SubState", "running"),
        ("User", "boardkeeper"),
        ("NRestarts", "0"),
        ("WatchdogUSec", "1min"),
    ];
    for (what, is) in as_shipped {
        assert_eq!(shows(&machine, what), is, "{what}");
    }
    let pid = shows(&machine, "MainPID");
    assert_eq!(machine.run(&format!("stat -c %U:%G /proc/{pid}")), "boardkeeper:boardkeeper");
    let status = machine.run(&format!("grep -E '^(CapEff|CapPrm|CapBnd|NoNewPrivs)' /proc/{pid}/status"));
    let none = "0".repeat(16);
    assert_eq!(status.split_whitespace().skip(1).step_by(2).collect::<Vec<_>>(), [&none, &none, &none, "1"], "{status}");
    // The device's key may be among the settings, and the agent reads them all the same.
    assert_eq!(machine.run("stat -c '%a %U %G' /etc/default/boardkeeper"), "640 root boardkeeper");
    // SIGHUP: another target and more in the log, by the same process.
    machine.run("sed -i 's,^#BOARDKEEPER_LOG=.*,BOARDKEEPER_LOG=debug,; s,target.json,other.json,' /etc/default/boardkeeper");
    machine.run("sed s/web/other/ /etc/boardkeeper/target.json > /etc/boardkeeper/other.json; systemctl reload boardkeeper");
    until("it was read again", SOON, || log(&machine).contains("targets come from /etc/boardkeeper/other.json"));
    until("the other service runs", SOON, || {
        let state = machine.state();
        state["activity"] == "settled" && state["containers"].to_string().contains("other")
    });
    assert_eq!((shows(&machine, "MainPID"), shows(&machine, "NRestarts")), (pid, "0".to_owned()));
    // Reads are logged for those only who look closer.
    assert!(log(&machine).contains("method=GET"), "{}", log(&machine));
    // SIGTERM: at once, and the containers run on.
    let took = machine.stops_agent();
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(shows(&machine, "Result"), "success");
    assert_eq!(machine.containers().len(), 1);
    machine.run("systemctl start boardkeeper");
    assert_eq!(shows(&machine, "ActiveState"), "active");
    let doctor = machine.run("runuser -u boardkeeper -- boardkeeper doctor --config /etc/default/boardkeeper");
    assert!(doctor.lines().all(|it| it.starts_with("fine") || it.starts_with("none")), "{doctor}");
    let exposed = machine.run("systemd-analyze security --no-pager boardkeeper.service | grep -o 'service: [0-9.]*'");
    let level: f32 = exposed.rsplit(' ').next().unwrap().parse().unwrap();
    eprintln!("{doctor}\nfigure: exposure level {level}, stopped in {} ms", took.as_millis());
    assert!(level <= 1.8, "docs/install.md says 1.8: {level}");
}

#[test]
#[ignore = "needs `make power`, and minutes"]
fn as_packaged_it_is_started_again_when_stuck_and_not_because_a_pull_or_the_engine_is_slow() {
    let machine = settled("watchdog");
    // A registry that takes the connection and says nothing more.
    let registry = TcpListener::bind("127.0.0.1:0").unwrap();
    let slow = format!("{}/slow:1", registry.local_addr().unwrap());
    machine.set_target(&[("web", IMAGE), ("slow", &slow)], &json!({}));
    until("it pulls", SOON, || shows(&machine, "StatusText").contains(&slow));
    let pid = shows(&machine, "MainPID");
    std::thread::sleep(Duration::from_secs(100));
    assert_eq!((shows(&machine, "MainPID"), shows(&machine, "NRestarts")), (pid.clone(), "0".to_owned()));
    let said = shows(&machine, "StatusText");
    assert!(said.contains(&slow), "{said}");
    let before = Instant::now();
    machine.run(&format!("kill -STOP {pid}"));
    until("it was started again", STUCK, || {
        let now = shows(&machine, "MainPID");
        now != pid && now != "0" && shows(&machine, "ActiveState") == "active"
    });
    eprintln!("figure: started again {} s after it hung", before.elapsed().as_secs());
    assert!(log(&machine).contains("Watchdog timeout"), "{}", log(&machine));
    assert_eq!(machine.containers().len(), 1);
}

/// Every unit that the polkit rule names, read off the rule itself.
fn named_units() -> Vec<String> {
    let rule = include_str!("../../packaging/boardkeeper.polkit");
    let names = rule.split('"').filter(|it| it.ends_with(".service")).map(str::to_owned);
    names.collect()
}

#[test]
#[ignore = "needs `make power`"]
fn polkit_lets_the_agents_user_restart_and_stop_its_units_and_never_run_a_command_as_root() {
    let units = named_units();
    assert_eq!(units.len(), 6, "{units:?}");
    for suite in Suite::ALL {
        let machine = Machine::with_package(&format!("rule-{}", suite.name()), suite);
        let as_it = |command: &str| machine.shell(&format!("runuser -u boardkeeper -- {command}")).output().unwrap();
        let is_refused = |command: &str| {
            let tried = as_it(command);
            let said = String::from_utf8(tried.stderr).unwrap();
            assert!(!tried.status.success(), "{suite:?}: {command}");
            assert!(
                said.contains("nteractive authentication") || said.contains("Access denied"),
                "{suite:?}: {command}: {said}"
            );
        };
        eprintln!("{suite:?}: {}", machine.run("systemctl --version | head -1"));
        for unit in &units {
            // Where the host has no unit of that name, and where it has one.
            for is_there in [false, true] {
                if is_there {
                    machine.run(&format!(
                        "printf '[Service]\\nExecStart=/bin/sleep 1000\\n' > /etc/systemd/system/{unit}; systemctl daemon-reload"
                    ));
                }
                for kind in ["", "--scope", "--on-active=1", "--property=Type=oneshot", "--remain-after-exit"] {
                    let command = "/bin/sh -c 'id > /run/as-root'";
                    is_refused(&format!("systemd-run --no-ask-password {kind} --unit={unit} {command}"));
                }
            }
            is_refused(&format!("systemctl --no-ask-password start {unit}"));
            // What the agent asks for: `Restart` also starts what is stopped.
            let mut before = String::new();
            for (verb, becomes) in [("restart", "active"), ("restart", "active"), ("stop", "inactive")] {
                let done = as_it(&format!("systemctl --no-ask-password {verb} {unit}"));
                assert!(done.status.success(), "{suite:?}: {verb} {unit}: {}", String::from_utf8_lossy(&done.stderr));
                assert_eq!(machine.run(&format!("systemctl is-active {unit} || true")), becomes, "{suite:?}: {unit}");
                let now = machine.run(&format!("systemctl show {unit} -p MainPID --value"));
                assert_ne!(before, now, "{suite:?}: {verb} {unit}");
                before = now;
                for other in
                    ["kill", "set-property --runtime", "freeze", "clean --what=all"].iter().filter(|_| verb == "restart")
                {
                    let value = if other.starts_with("set") { "CPUQuota=1%" } else { "" };
                    is_refused(&format!("systemctl --no-ask-password {other} {unit} {value}"));
                }
            }
        }
        assert_eq!(machine.run("ls /run/as-root 2> /dev/null || true"), "", "{suite:?}");
    }
}

#[test]
#[ignore = "needs `make power`"]
fn as_packaged_the_journal_outlives_a_boot_while_the_target_says_so() {
    let mut machine = settled("journal");
    // As on Raspberry Pi OS.
    machine.run(
        "mkdir -p /etc/systemd/journald.conf.d; printf '[Journal]\\nStorage=volatile\\n' \
        > /etc/systemd/journald.conf.d/40-volatile.conf; rm -rf /var/log/journal; systemctl restart systemd-journald",
    );
    let on_disk =
        |machine: &Machine| machine.run("ls /var/log/journal/$(cat /etc/machine-id)/system.journal 2> /dev/null || true");
    assert_eq!(on_disk(&machine), "");
    machine.set_target(&[("web", IMAGE)], &json!({"SUPERVISOR_PERSISTENT_LOGGING": "true"}));
    until("the journal is on the disk", SOON, || !on_disk(&machine).is_empty());
    machine.run("logger -t story before-the-boot; journalctl --sync");
    let (status, said) = machine.post("/v1/reboot", "");
    assert_eq!(status, 202, "{said}");
    assert_eq!(machine.ends(), REBOOTED);
    machine.boot();
    until("its unit is active again", SOON, || machine.run("systemctl is-active boardkeeper-journal || true") == "active");
    let kept = machine.run("journalctl --no-pager -o cat -t story -b -1");
    assert_eq!(kept, "before-the-boot");
    machine.set_target(&[("web", IMAGE)], &json!({}));
    let drop_in = "ls /run/systemd/journald.conf.d/90-boardkeeper.conf 2> /dev/null || true";
    until("its unit is stopped", SOON, || {
        machine.run("systemctl is-active boardkeeper-journal || true") == "inactive" && machine.run(drop_in).is_empty()
    });
    machine.run("logger -t story after-it; journalctl --sync");
    let on_disk = machine.run("journalctl --no-pager -o cat -t story -D /var/log/journal");
    assert_eq!(on_disk, "before-the-boot", "what follows is in memory");
}

#[test]
#[ignore = "needs `make power`"]
fn as_packaged_polkit_lets_it_reboot_shut_down_and_steer_the_vpn_and_nothing_else() {
    Suite::ALL.into_iter().for_each(reboots_shuts_down_and_steers_the_vpn);
}

fn reboots_shuts_down_and_steers_the_vpn(suite: Suite) {
    let mut machine = settled_on(suite, &format!("granted-{}", suite.name()));
    machine.run(
        "printf '[Service]\\nExecStart=/bin/sleep 1000\\n' | tee /etc/systemd/system/boardkeeper-vpn.service \
        > /etc/systemd/system/other.service; systemctl daemon-reload; systemctl start boardkeeper-vpn other",
    );
    machine.set_target(&[("web", IMAGE)], &json!({"SUPERVISOR_VPN_CONTROL": "false"}));
    until("the VPN is stopped", SOON, || machine.run("systemctl is-active boardkeeper-vpn || true") == "inactive");
    machine.set_target(&[("web", IMAGE)], &json!({"SUPERVISOR_VPN_CONTROL": "true"}));
    // Told again at most once an hour by one agent.
    machine.run("systemctl restart boardkeeper");
    until("the VPN runs again", SOON, || machine.run("systemctl is-active boardkeeper-vpn || true") == "active");
    let as_it = |command: &str| machine.shell(&format!("runuser -u boardkeeper -- {command}")).output().unwrap();
    assert!(!as_it("systemctl --no-ask-password stop other").status.success());
    assert_eq!(machine.run("systemctl is-active other"), "active");
    let held = machine.run("systemd-inhibit --list --no-pager");
    assert!(
        held.lines().any(|it| it.starts_with("boardkeeper") && it.contains("boardkeeper ") && it.contains("delay")),
        "{held}"
    );
    // A lock that a service holds is seen and, by force, taken away, although it is root's and we are not.
    machine.run(&format!("touch {LOCKS}/updates.lock"));
    let (status, said) = machine.post("/v1/reboot", "");
    assert_eq!(status, 423, "{said}");
    assert!(said["Error"].as_str().unwrap().contains("appId: 1, service: web"), "{said}");
    let before = machine.containers();
    assert_eq!(machine.post("/v1/reboot", "{\"force\":true}"), (202, json!({"Data": "OK", "Error": ""})));
    until("it says so", SOON, || shows(&machine, "StatusText").starts_with("shutting down"));
    assert_eq!(machine.ends(), REBOOTED);
    machine.boot();
    until("it is as wanted", SOON, || shows(&machine, "StatusText") == "as wanted; running: 1");
    assert_eq!(machine.containers(), before);
    assert_eq!(machine.run(&format!("ls {LOCKS} 2> /dev/null || true")), "");
    assert_eq!(machine.post("/v1/shutdown", "").0, 202);
    assert_eq!(machine.ends(), OFF);
}

#[test]
#[ignore = "needs `make power`"]
fn as_packaged_it_locks_services_whose_directories_the_engine_made_at_boot() {
    Suite::ALL.into_iter().for_each(locks_what_the_engine_made);
}

fn locks_what_the_engine_made(suite: Suite) {
    let mut machine = settled_on(suite, &format!("locks-of-root-{}", suite.name()));
    let whose = |machine: &Machine| machine.run(&format!("stat -c '%U:%G %a' {LOCKS} {LOCKS}/.. {LOCKS}/../.."));
    let the_agents = "boardkeeper:boardkeeper 1777\nboardkeeper:boardkeeper 755\nboardkeeper:boardkeeper 755";
    assert_eq!(whose(&machine), the_agents, "it made them itself, before the engine could");
    assert_eq!(machine.post("/v1/restart", "{\"appId\":1}").0, 200);
    // What an engine does at boot where /tmp is emptied; a service has put a link there before the agent comes.
    let engine = format!(
        "[Service]\\nType=oneshot\\nRemainAfterExit=yes\\nExecStart=/bin/sh -c 'rm -rf /tmp/balena-supervisor; \
        mkdir -p {LOCKS}; ln -s /etc {LOCKS}/etc; ln -s /etc/passwd {LOCKS}/updates.lock'\\n[Install]\\nWantedBy=multi-user.target\\n"
    );
    machine.run(&format!("printf \"{engine}\" > /etc/systemd/system/docker.service; systemctl -q enable docker"));
    assert_eq!(machine.post("/v1/reboot", "").0, 202);
    assert_eq!(machine.ends(), REBOOTED);
    machine.boot();
    assert_eq!(whose(&machine), the_agents);
    assert_eq!(machine.run("stat -c %U /etc /etc/passwd"), "root\nroot");
    assert_eq!(machine.post("/v1/restart", "{\"appId\":1}").0, 423);
    assert_eq!(machine.post("/v1/restart", "{\"appId\":1,\"force\":true}").0, 200);
    assert_eq!(machine.run("stat -c %U /etc/passwd"), "root");
    // A container closed its own directory, and the engine made one more: the next start takes them over again.
    machine.run(&format!("chown 1000:1000 {LOCKS}; chmod 700 {LOCKS}; mkdir {LOCKS}/../other; systemctl restart boardkeeper"));
    assert_eq!(whose(&machine), the_agents);
    assert_eq!(machine.run(&format!("stat -c '%U %a' {LOCKS}/../other")), "boardkeeper 1777");
    assert_eq!(machine.post("/v1/restart", "{\"appId\":1}").0, 200);
}

/// What a program with the rights of the agent's user can put in the way of root: links as directories of apps, and one that is
/// a directory at one moment and a link at the next. `ARGV` says how long it pauses, and which directory it swaps.
const SWAPS: &str = r#"
    my ($pause, $swapped, $link) = @ARGV;
    chdir "/tmp/balena-supervisor/services" or die;
    symlink "/srv/victim", "absolute"; symlink "../../../srv/victim", "relative"; symlink "/srv/victim/web", "1/absolute";
    symlink "/srv/victim", "3"; symlink "../../../srv/victim", "4"; mkdir "5"; mkdir "5/web";
    my ($aside, $real) = ("$swapped.link", "$swapped.real");
    symlink $link, $aside;
    for (;;) {
        rename $swapped, $real; rename $aside, $swapped;
        select undef, undef, undef, rand $pause;
        rename $swapped, $aside; rename $real, $swapped;
        select undef, undef, undef, rand $pause;
    }
"#;

/// Each level of the tree that the agent's user may rename, and what a link there leads root to.
const LEVELS: [(&str, &str); 4] = [
    ("/tmp/balena-supervisor/services/5", "/srv/victim"),
    ("/tmp/balena-supervisor/services/1/web", "/srv/victim/web"),
    ("/tmp/balena-supervisor/services", "/srv/victim"),
    ("/tmp/balena-supervisor", "/srv/base"),
];

/// Root's directories are still root's.
fn is_unharmed(machine: &Machine, seen: &str) {
    let all = machine.run("find /srv -printf '%u %g %m\\n' | sort -u");
    assert_eq!(all, "root root 755", "{seen}");
}

/// Runs commands of root's while the agent's user swaps a directory for a link as fast as it can.
fn while_swapped(machine: &Machine, pause: &str, (swapped, link): (&str, &str), commands: impl FnOnce()) {
    let mut swaps =
        machine.shell(&format!("exec runuser -u boardkeeper -- perl -e '{SWAPS}' {pause} {swapped} {link}")).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    commands();
    assert!(swaps.try_wait().unwrap().is_none(), "it swaps all the while");
    machine.run("for it in /proc/[0-9]*; do case $(cat $it/comm) in perl) kill ${it##*/};; esac; done || true");
    swaps.kill().unwrap();
    swaps.wait().unwrap();
    let (aside, real) = (format!("{swapped}.link"), format!("{swapped}.real"));
    machine.run(&format!("if [ -e {real} ]; then rm -f {swapped}; mv {real} {swapped}; fi; rm -f {aside}"));
}

#[test]
#[ignore = "needs `make power`"]
fn no_directory_of_roots_is_given_away_to_a_user_who_swaps_lock_directories_while_the_agent_starts() {
    for suite in Suite::ALL {
        let machine = Machine::with_package(&format!("swaps-{}", suite.name()), suite);
        machine.run(
            "mkdir -p /srv/victim/web /srv/victim/5/web /srv/base/services/5/web /tmp/balena-supervisor/services/1/web
            chown -R boardkeeper: /tmp/balena-supervisor/services",
        );
        // Not every kernel minds whose link it is in /tmp.
        machine.run("sysctl -qw fs.protected_symlinks=0 2> /dev/null || true");
        while_swapped(&machine, "0.003", LEVELS[0], || {
            for start in 0..40 {
                machine.run("systemctl reset-failed boardkeeper; systemctl restart boardkeeper");
                is_unharmed(&machine, &format!("{suite:?}, start {start}"));
            }
        });
        machine.run("systemctl stop boardkeeper");
        for level in LEVELS {
            while_swapped(&machine, "0.0001", level, || {
                // What it is refused is not of interest here.
                machine.run(
                    "for it in $(seq 500); do boardkeeper hand-over-locks /var/lib/boardkeeper 2> /dev/null || true; done",
                );
                is_unharmed(&machine, &format!("{suite:?}, {level:?}"));
            });
        }
        // It still does what it is for.
        machine.run("mkdir -p /tmp/balena-supervisor/services/7/web; boardkeeper hand-over-locks /var/lib/boardkeeper");
        let whose = machine.run("stat -c '%U %a' /tmp/balena-supervisor/services/7 /tmp/balena-supervisor/services/7/web");
        assert_eq!(whose, "boardkeeper 755\nboardkeeper 1777", "{suite:?}");
    }
}

/// What the kernel has in a LED's directory: the mode of each file as it makes it, and whether the agent's user may write it
/// then.
const LED_FILES: &[(&str, &str, bool)] = &[
    ("brightness", "644", true),
    ("trigger", "644", true),
    ("delay_on", "644", true),
    ("delay_off", "644", true),
    ("pattern", "644", true),
    ("repeat", "644", true),
    ("ports/usb1-port1", "644", true),
    ("max_brightness", "444", false),
    ("uevent", "644", false),
    ("power/control", "644", false),
    ("power/autosuspend_delay_ms", "644", false),
    ("device/driver_override", "644", false),
];

#[test]
#[ignore = "needs `make power`"]
fn udev_gives_the_agents_user_what_drives_a_led_and_neither_its_uevent_nor_its_power() {
    let machine = Machine::with_package("udev", Suite::Trixie);
    // No machine here has a LED, so what udev runs is run on a directory like one.
    let rules = include_str!("../../packaging/boardkeeper.udev");
    let rule = rules.lines().find(|it| it.starts_with("ACTION==\"add|change\", SUBSYSTEM==\"leds\"")).unwrap();
    let command = rule.split_once("RUN+=\"").unwrap().1.strip_suffix('"').unwrap();
    let command = command.replace("%p", "/../run/leds/ACT").replace("$$", "$");
    machine.run("mkdir -p /run/leds/ACT/power /run/leds/ACT/ports /run/leds/gpio; ln -s ../gpio /run/leds/ACT/device");
    for (name, mode, _) in LED_FILES {
        machine.run(&format!("cd /run/leds/ACT; touch {name}; chmod {mode} {name}"));
    }
    machine.run(&command);
    for (name, _, writable) in LED_FILES {
        let may = machine.shell(&format!("runuser -u boardkeeper -- test -w /run/leds/ACT/{name}")).status().unwrap();
        assert_eq!(may.success(), *writable, "{name}");
    }
    assert_eq!(machine.run("stat -c '%U %a' /run/leds /run/leds/ACT /run/leds/ACT/power"), "root 755\nroot 755\nroot 755");
}
