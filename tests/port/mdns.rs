//! mDNS in local mode: a real avahi publishes the board, and a real avahi at the other end of a cable finds it.
//!
//! Needs root, and a network of its own: `tests/lab/inside.sh` gives it one.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;

use boardkeeper::linux::mdns::Mdns;
use boardkeeper::state::Status;
use tokio::sync::{oneshot, watch};

use crate::listen::{Other, run};

/// avahi's own policy says which users may speak to it.
const BUS: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=SOCKET</listen><auth>EXTERNAL</auth><policy context="default">
<allow user="*"/><deny own="*"/><deny send_type="method_call"/><allow send_type="signal"/>
<allow send_requested_reply="true" send_type="method_return"/><allow send_requested_reply="true" send_type="error"/>
<allow receive_type="method_call"/><allow receive_type="method_return"/><allow receive_type="error"/>
<allow receive_type="signal"/><allow send_destination="org.freedesktop.DBus"/></policy>
<include ignore_missing="yes">/etc/dbus-1/system.d/avahi-dbus.conf</include>
<include ignore_missing="yes">/usr/share/dbus-1/system.d/avahi-dbus.conf</include></busconfig>"#;

/// A process that ends with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A computer with a bus, on which avahi runs or not.
struct Host<'a> {
    dir: PathBuf,
    name: &'static str,
    other: Option<&'a Other>,
    _bus: Running,
}

impl<'a> Host<'a> {
    fn new(dir: &Path, name: &'static str, other: Option<&'a Other>) -> Self {
        let dir = dir.join(name);
        fs::create_dir_all(dir.join("run/dbus")).unwrap();
        fs::create_dir_all(dir.join("run-avahi")).unwrap();
        let socket = dir.join("run/dbus/system_bus_socket");
        fs::write(dir.join("bus.conf"), BUS.replace("SOCKET", socket.to_str().unwrap())).unwrap();
        let conf = format!(
            "[server]\nhost-name={name}\nuse-ipv6=no\n[wide-area]\nenable-wide-area=no\n[publish]\npublish-workstation=no\n"
        );
        fs::write(dir.join("avahi.conf"), conf).unwrap();
        let mut bus = Command::new("dbus-daemon");
        bus.arg("--nofork").arg("--config-file").arg(dir.join("bus.conf")).stderr(Stdio::null());
        let bus = Running(bus.spawn().unwrap());
        while UnixStream::connect(&socket).is_err() {
            sleep(Duration::from_millis(10));
        }
        Self { dir, name, other, _bus: bus }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = self.other.map_or_else(|| Command::new("env"), |other| other.command("env"));
        command.arg(format!("DBUS_SYSTEM_BUS_ADDRESS=unix:path={}/run/dbus/system_bus_socket", self.dir.display()));
        command.arg(program);
        command
    }

    /// Starts avahi, with a directory of its own for its pid.
    fn avahi(&self) -> Running {
        let dir = self.dir.display();
        let line = format!(
            "mkdir -p /run/avahi-daemon && mount --bind {dir}/run-avahi /run/avahi-daemon && \
             exec avahi-daemon --no-drop-root --no-chroot --no-rlimits -f {dir}/avahi.conf > {dir}/avahi.log 2>&1"
        );
        let avahi = Running(self.command("unshare").args(["--mount", "sh", "-c", &line]).spawn().unwrap());
        let asks = ["--system", "--print-reply", "--dest=org.freedesktop.Avahi", "/", "org.freedesktop.Avahi.Server.GetState"];
        while !self.command("dbus-send").args(asks).output().unwrap().status.success() {
            sleep(Duration::from_millis(50));
        }
        avahi
    }

    /// What is found with the subtype: names, addresses and ports.
    fn finds(&self) -> Vec<String> {
        let browse = self.command("avahi-browse").args(["-rtp", "_resin-device._sub._ssh._tcp"]).output().unwrap();
        let text = String::from_utf8_lossy(&browse.stdout).into_owned();
        let rows = text.lines().map(|it| it.split(';').collect::<Vec<_>>()).filter(|it| it[0] == "=" && it[1] != "lo");
        let mut found: Vec<_> = rows.map(|it| format!("{} {} {} {}", it[3], it[6], it[7], it[8])).collect();
        found.sort();
        found
    }

    fn until_it_finds(&self, what: &[&str]) {
        let mut found = Vec::new();
        for _ in 0..60 {
            found = self.finds();
            if found == what {
                return;
            }
            sleep(Duration::from_millis(250));
        }
        panic!("{} finds {found:?}, not {what:?}: {}", self.name, fs::read_to_string(self.dir.join("avahi.log")).unwrap());
    }
}

/// The adapter, in a thread of its own.
struct Publisher {
    status: watch::Sender<Status>,
    _stop: oneshot::Sender<()>,
    _thread: JoinHandle<()>,
}

impl Publisher {
    fn start(root: &Path) -> Self {
        let (status, said) = watch::channel(Status::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let mdns = Mdns::new(root, None);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => (),
                    never = mdns.run(said) => match never {},
                }
            });
        });
        Self { status, _stop: stop, _thread: thread }
    }

    fn set_local_mode(&self, on: bool) {
        self.status.send_modify(|it| it.access.local_mode = on);
    }
}

const BOARD: &str = "kitchen kitchen.local 10.77.0.1 22";

fn cable() -> Other {
    let other = Other::new();
    other.cable("lan0", "10.77.0.2/24");
    run("ip address add 10.77.0.1/24 dev lan0");
    run("ip link set lan0 up");
    other
}

#[test]
#[ignore = "needs `make bus`"]
fn a_board_in_local_mode_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let other = cable();
    let (board, computer) = (Host::new(dir.path(), "kitchen", None), Host::new(dir.path(), "desk", Some(&other)));
    let _finder = computer.avahi();
    let publisher = Publisher::start(&board.dir);
    publisher.set_local_mode(true);
    // avahi comes later than local mode.
    let avahi = board.avahi();
    computer.until_it_finds(&[BOARD]);
    // The packaged agent is not root.
    let mut asks = board.command("setpriv");
    asks.args(["--reuid=65534", "--regid=65534", "--clear-groups", "dbus-send", "--system", "--print-reply"]);
    asks.args(["--dest=org.freedesktop.Avahi", "/", "org.freedesktop.Avahi.Server.EntryGroupNew"]);
    let asked = asks.output().unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));

    drop(avahi);
    let _avahi = board.avahi();
    computer.until_it_finds(&[BOARD]);
    publisher.set_local_mode(false);
    computer.until_it_finds(&[]);
    publisher.set_local_mode(true);
    computer.until_it_finds(&[BOARD]);
    // However the agent ends, the bus has avahi take it back.
    drop(publisher);
    computer.until_it_finds(&[]);
}

#[test]
#[ignore = "needs `make bus`"]
fn a_name_that_another_computer_has_is_left_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let other = cable();
    let (board, computer) = (Host::new(dir.path(), "kitchen", None), Host::new(dir.path(), "desk", Some(&other)));
    let (_avahi, _finder) = (board.avahi(), computer.avahi());
    let mut first = computer.command("avahi-publish");
    first.args(["-s", "--subtype=_resin-device._sub._ssh._tcp", "kitchen", "_ssh._tcp", "2200"]);
    let _first = Running(first.stdout(Stdio::null()).spawn().unwrap());
    let theirs = "kitchen desk.local 10.77.0.2 2200";
    computer.until_it_finds(&[theirs]);
    let publisher = Publisher::start(&board.dir);
    publisher.set_local_mode(true);
    computer.until_it_finds(&[theirs, "kitchen\\032\\0352 kitchen.local 10.77.0.1 22"]);
    publisher.set_local_mode(false);
    computer.until_it_finds(&[theirs]);
}

#[test]
#[ignore = "needs `make bus`"]
fn a_host_that_publishes_itself_is_published_once() {
    let dir = tempfile::tempdir().unwrap();
    let other = cable();
    let (board, computer) = (Host::new(dir.path(), "kitchen", None), Host::new(dir.path(), "desk", Some(&other)));
    let (_avahi, _finder) = (board.avahi(), computer.avahi());
    let services = board.dir.join("etc/avahi/services");
    fs::create_dir_all(&services).unwrap();
    let publisher = Publisher::start(&board.dir);
    fs::write(services.join("other.service"), "<type>_http._tcp</type>").unwrap();
    publisher.set_local_mode(true);
    computer.until_it_finds(&[BOARD]);
    publisher.set_local_mode(false);
    computer.until_it_finds(&[]);
    fs::write(services.join("device.service"), "<subtype>_resin-device._sub._ssh._tcp</subtype>").unwrap();
    publisher.set_local_mode(true);
    // Another service that is published afterwards is found, so the board's own would have been.
    let mut later = board.command("avahi-publish");
    let _later = Running(
        later
            .args(["-s", "--subtype=_resin-device._sub._ssh._tcp", "later", "_ssh._tcp", "22"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap(),
    );
    computer.until_it_finds(&["later kitchen.local 10.77.0.1 22"]);
}
