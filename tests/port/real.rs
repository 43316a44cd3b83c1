//! The suites, on this machine.

use std::cell::{Cell, RefCell};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use boardkeeper::linux::clock::Clock;
use boardkeeper::linux::host::LiveHost;
use boardkeeper::linux::leds::files::LedFiles as _;
use boardkeeper::linux::leds::saved::LockFile;
use boardkeeper::linux::leds::simulated::folder::SimulatedBoard;
use boardkeeper::linux::leds::{Leds, host as leds_host, tool_lock};
use boardkeeper::linux::locks::Locks;
use boardkeeper::linux::net::NetAdapter;
use boardkeeper::linux::store::Store;
use boardkeeper::port::{self, HistoryStore, ToolLock};
use boardkeeper::state::{ServiceKey, VpnState};

use crate::cloud::lab::OverTls;
use crate::{clock, leds, locks, net, store};

struct Host {
    root: tempfile::TempDir,
    locks: Locks,
}

impl Host {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("tmp")).unwrap();
        let locks = Locks::new(root.path());
        Self { root, locks }
    }

    fn directory(&self, service: &ServiceKey) -> PathBuf {
        self.root.path().join(format!("tmp/balena-supervisor/services/{}/{}", service.app, service.service))
    }
}

impl locks::Fixture for Host {
    fn locks(&self) -> &impl boardkeeper::port::Locks {
        &self.locks
    }

    fn makes(&self, service: &ServiceKey, file: &str) {
        let directory = self.directory(service);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(file), "").unwrap();
    }

    fn makes_as_nobody(&self, service: &ServiceKey, file: &str) {
        self.makes(service, file);
        // Only root gives files away; else it is a lock like any other.
        let _ = std::os::unix::fs::chown(self.directory(service).join(file), Some(65534), Some(65534));
    }

    fn removes(&self, service: &ServiceKey, file: &str) {
        fs::remove_file(self.directory(service).join(file)).unwrap();
    }

    fn has(&self, service: &ServiceKey) -> Vec<String> {
        let entries = fs::read_dir(self.directory(service)).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.map(|it| it.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

struct Disk {
    dir: tempfile::TempDir,
}

impl Disk {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }
}

impl store::Fixture for Disk {
    fn open(&self) -> impl port::Store + HistoryStore + use<> {
        let state = self.dir.path().join("state");
        Store::new(&state, Box::new(|document| Ok(store::target(document))))
            .with_runtime_directory(&self.dir.path().join("run"))
    }

    fn spoils(&self, kind: &str) {
        fs::write(self.dir.path().join(format!("state/{kind}.json")), "\0\0\0\0").unwrap();
    }
}

/// Networks, with a listener on loopback.
struct Wires {
    root: tempfile::TempDir,
    reach: NetAdapter,
    somebody: RefCell<Option<TcpListener>>,
}

impl Wires {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let reach = NetAdapter::new(root.path(), root.path(), None);
        Self { root, reach, somebody: RefCell::new(Some(TcpListener::bind("127.0.0.1:0").unwrap())) }
    }
}

impl net::Fixture for Wires {
    fn net(&self) -> &impl boardkeeper::port::Net {
        &self.reach
    }

    fn listener(&self) -> (String, u16) {
        let at = self.somebody.borrow().as_ref().unwrap().local_addr().unwrap();
        (at.ip().to_string(), at.port())
    }

    fn hangs_up(&self) {
        self.somebody.take();
    }

    fn has_vpn(&self, vpn: VpnState) {
        let active = self.root.path().join("run/openvpn/vpn_status/active");
        match vpn {
            VpnState::Up => fs::write(active, "").unwrap(),
            VpnState::Down => fs::remove_file(active).unwrap(),
        }
    }
}

/// A machine's clock, and what its kernel says of its start.
struct Machine {
    root: tempfile::TempDir,
    clock: Clock,
    boots: Cell<u32>,
}

impl Machine {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("proc/sys/kernel/random")).unwrap();
        let clock = Clock::new(root.path());
        let machine = Self { root, clock, boots: Cell::default() };
        clock::Fixture::boots(&machine);
        machine
    }
}

impl clock::Fixture for Machine {
    fn clock(&self) -> &impl boardkeeper::port::Clock {
        &self.clock
    }

    fn boots(&self) {
        self.boots.set(self.boots.get() + 1);
        let proc = self.root.path().join("proc");
        let now = boardkeeper::port::Clock::now_secs(&self.clock);
        fs::write(proc.join("stat"), format!("cpu 1 2\nbtime {now}\nprocesses 3\n")).unwrap();
        fs::write(proc.join("sys/kernel/random/boot_id"), format!("boot-{}\n", self.boots.get())).unwrap();
    }

    fn zone(&self) -> &'static str {
        "+05:30"
    }

    async fn waits(&self) {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }

    fn is_set(&self) -> bool {
        // To the time that it shows, which is a step all the same. Only root may, and no process in most containers.
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        rustix::time::clock_settime(rustix::time::ClockId::Realtime, now).is_ok()
    }
}

/// The board that `--board simulated` makes up: the real adapter, on files that behave as the kernel's.
struct Board {
    runtime: tempfile::TempDir,
    host: leds_host::LedHost,
    leds: Option<Leds>,
    claim: Option<LockFile>,
}

impl Board {
    fn new() -> Self {
        let runtime = tempfile::tempdir().unwrap();
        let place = leds_host::HostPaths {
            root: "/nowhere".into(),
            runtime: runtime.path().to_owned(),
            board: Some(leds_host::SIMULATED.to_owned()),
            device_type: None,
            led_file: None,
        };
        let host = leds_host::LedHost::open(place).unwrap();
        Self { leds: Some(host.leds("a test")), runtime, host, claim: None }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.host.place.root.join("sys/class/leds/ACT").join(name)
    }

    /// The holder of the first line that the board leaves to its owner.
    fn line_is_held_by(&self, consumer: &str) {
        fs::write(self.host.place.root.join("gpio/gpiochip0/line5/consumer"), consumer).unwrap();
    }
}

impl leds::Fixture for Board {
    fn leds(&self) -> &impl boardkeeper::port::Leds {
        self.leds.as_ref().unwrap()
    }

    fn shows(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.file(name)).unwrap();
        let triggers = read("trigger");
        let trigger = triggers.split_once('[').unwrap().1.split_once(']').unwrap().0;
        if trigger == "none" { format!("none {}", read("brightness").trim()) } else { trigger.to_owned() }
    }

    fn is_set(&self) {
        SimulatedBoard::open(&self.host.place.root).unwrap().write(&self.file("trigger"), "default-on").unwrap();
    }

    fn dies(&mut self) {
        // One that ends in good order puts everything back. So what was on the disk before is there again afterwards.
        let before = tempfile::tempdir().unwrap();
        copy(self.runtime.path(), before.path());
        drop(self.leds.take());
        copy(before.path(), self.runtime.path());
        // The kernel releases the lines of a process that ended.
        self.line_is_held_by("");
        self.leds = Some(self.host.leds("a test"));
    }

    fn bench(&mut self, now: ToolLock) {
        self.claim = (now == ToolLock::Taken).then(|| LockFile::take(&tool_lock(self.runtime.path()), "a test").unwrap());
    }

    fn line_is_taken(&self) {
        self.line_is_held_by("a driver");
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else if kind.is_file() {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A test for each fact of a suite.
macro_rules! hold {
    ($suite:ident, $world:ident: $($fact:ident)*) => {
        mod $suite {
            $(#[tokio::test]
            async fn $fact() {
                crate::$suite::$fact(super::$world::new()).await;
            })*
        }
    };
}

#[test]
fn what_the_process_uses_is_known() {
    let state = tempfile::tempdir().unwrap();
    crate::host::what_the_process_uses_is_known(&LiveHost::new(Path::new("/"), state.path(), None, None, None));
}

#[tokio::test]
#[ignore = "needs journalctl"]
async fn a_journal_is_read_to_its_end_or_followed() {
    let state = tempfile::tempdir().unwrap();
    let host = LiveHost::new(Path::new("/"), state.path(), None, None, None);
    crate::host::a_journal_is_read_to_its_end_or_followed(&host).await;
}

mod on_linux {
    use super::{Board, Disk, Host, Machine, OverTls, Wires};

    crate::clock::every_fact!(hold, clock, Machine);
    crate::cloud::every_fact!(hold, cloud, OverTls);
    crate::leds::every_fact!(hold, leds, Board);
    crate::locks::every_fact!(hold, locks, Host);
    crate::net::every_fact!(hold, net, Wires);
    crate::store::every_fact!(hold, store, Disk);
}
