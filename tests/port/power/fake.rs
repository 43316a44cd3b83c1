//! A fake logind, on a bus of its own.

use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use futures_util::StreamExt;
use tokio::sync::mpsc;
use zbus::message::Type;
use zbus::{Connection, Message, MessageStream, OwnedFd};

use super::Answers;
use crate::bus::{self, Daemon};

const PATH: &str = "/org/freedesktop/login1";
const MANAGER: &str = "org.freedesktop.login1.Manager";

/// A bus below a root of its own, gone with the test.
pub(super) struct Bus {
    _daemon: Daemon,
    pub(super) root: tempfile::TempDir,
}

impl Bus {
    pub(super) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        Self { _daemon: Daemon::start(root.path()), root }
    }
}

/// What logind does, and what was done to it.
pub(super) struct Script {
    pub(super) answers: Answers,
    pub(super) announced: bool,
    pub(super) accepted: Vec<String>,
    /// Our ends of what was granted.
    granted: Vec<UnixStream>,
}

impl Script {
    /// Whether the granted inhibitor lock is still held.
    pub(super) fn is_held(&mut self) -> bool {
        let alive = |it: &mut UnixStream| matches!(it.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock);
        self.granted.retain_mut(alive);
        !self.granted.is_empty()
    }
}

/// logind, in a thread of its own, gone with the test.
pub(super) struct Logind {
    pub(super) script: Arc<Mutex<Script>>,
    orders: mpsc::Sender<Order>,
}

/// Something that it is to do by itself.
enum Order {
    Announce(bool),
    Leave,
}

impl Logind {
    /// Begins, and is on the bus when this returns.
    pub(super) fn begin(root: &Path) -> Self {
        let script = Script { answers: Answers::Yes, announced: false, accepted: Vec::new(), granted: Vec::new() };
        let script = Arc::new(Mutex::new(script));
        let (orders, inbox) = mpsc::channel(4);
        let (ready, is_ready) = std::sync::mpsc::channel();
        let address = bus::address(root);
        let play = Arc::clone(&script);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(live(&address, &play, inbox, || ready.send(()).unwrap()));
        });
        is_ready.recv().unwrap();
        Self { script, orders }
    }

    pub(super) fn announce(&self, announced: bool) {
        self.script.lock().unwrap().announced = announced;
        self.orders.try_send(Order::Announce(announced)).unwrap();
    }

    pub(super) fn leave(&self) {
        // It may be gone.
        let _ = self.orders.try_send(Order::Leave);
    }
}

async fn live(address: &str, script: &Mutex<Script>, mut orders: mpsc::Receiver<Order>, ready: impl FnOnce()) {
    let bus = zbus::connection::Builder::address(address).build().await.unwrap();
    let mut calls = MessageStream::from(&bus);
    let name = ("org.freedesktop.login1", 4_u32);
    let bus_name = "org.freedesktop.DBus";
    bus.call_method(Some(bus_name), "/org/freedesktop/DBus", Some(bus_name), "RequestName", &name).await.unwrap();
    ready();
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Announce(it)) => {
                    bus.emit_signal(None::<&str>, PATH, MANAGER, "PrepareForShutdown", &it).await.unwrap();
                }
                Some(Order::Leave) | None => return,
            },
            call = calls.next() => {
                let call = call.unwrap().unwrap();
                if call.message_type() == Type::MethodCall && !answer(&bus, &call, script).await {
                    return;
                }
            }
        }
    }
}

/// Answers a call. `false`: it goes away instead.
async fn answer(bus: &Connection, call: &Message, script: &Mutex<Script>) -> bool {
    let header = call.header();
    let member = header.member().unwrap().to_string();
    let answers = script.lock().unwrap().answers;
    let listening = matches!(member.as_str(), "Get" | "Inhibit");
    if answers == Answers::Hanging && !listening {
        return true;
    }
    match member.as_str() {
        "Get" => {
            let announced = script.lock().unwrap().announced;
            bus.reply(&header, &zbus::Variant::from(announced)).await.unwrap();
        }
        "Inhibit" => {
            let (what, _, _, mode): (String, String, String, String) = call.body().deserialize().unwrap();
            assert_eq!((what.as_str(), mode.as_str()), ("shutdown", "delay"));
            let (ours, theirs) = UnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            script.lock().unwrap().granted.push(ours);
            bus.reply(&header, &OwnedFd::from(std::os::fd::OwnedFd::from(theirs))).await.unwrap();
        }
        "CanReboot" | "CanPowerOff" => {
            bus.reply(&header, if answers == Answers::Refused { &"challenge" } else { &"yes" }).await.unwrap();
        }
        "ListInhibitors" => bus.reply(&header, &rows(answers)).await.unwrap(),
        "Reboot" | "PowerOff" => match answers {
            Answers::Vanishing => return false,
            Answers::Refused => {
                let name = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired";
                bus.reply_error(&header, name, &"Interactive authentication required.").await.unwrap();
            }
            Answers::Yes | Answers::Blocked | Answers::Hanging | Answers::Gone => {
                assert!(!call.body().deserialize::<bool>().unwrap(), "nobody is there to be asked for a password");
                script.lock().unwrap().accepted.push(member);
                bus.reply(&header, &()).await.unwrap();
            }
        },
        other => panic!("{other}"),
    }
    true
}

type Row = (&'static str, &'static str, &'static str, &'static str, u32, u32);

/// Ours, and one that is not about shutdowns, are always there.
fn rows(answers: Answers) -> Vec<Row> {
    let mut rows: Vec<Row> = vec![
        ("shutdown", "boardkeeper", "finishes", "delay", 0, std::process::id()),
        ("sleep", "NetworkManager", "turns off", "block", 0, 12),
    ];
    if answers == Answers::Blocked {
        rows.push(("shutdown:sleep", "updater", "it is busy", "block", 7, 11));
        rows.push(("sleep:shutdown", "editor", "it is busy", "delay", 7, 11));
    }
    rows
}
