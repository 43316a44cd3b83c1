//! The real adapter, on a bus of its own with a fake logind.

use std::cell::RefCell;
use std::time::Duration;

use boardkeeper::linux::power::Power;
use boardkeeper::port::{InhibitorNotice, Power as _};
use boardkeeper::state::PowerAction;
use futures_util::StreamExt;
use tokio::time::timeout;

use super::fake::{Bus, Logind};
use super::{Answers, Fixture};

struct Machine {
    power: Power,
    logind: RefCell<Logind>,
    bus: Bus,
}

impl Machine {
    fn new() -> Self {
        let bus = Bus::new();
        let logind = RefCell::new(Logind::begin(bus.root.path()));
        Self { power: Power::new(bus.root.path(), None), logind, bus }
    }
}

impl Fixture for Machine {
    fn power(&self) -> &impl boardkeeper::port::Power {
        &self.power
    }

    async fn answers(&self, answers: Answers) {
        if answers == Answers::Gone {
            self.logind.borrow().leave();
            tokio::time::sleep(Duration::from_millis(100)).await;
        } else if answers == Answers::Yes {
            self.logind.replace(Logind::begin(self.bus.root.path()));
        } else {
            self.logind.borrow().script.lock().unwrap().answers = answers;
        }
    }

    async fn announces(&self, announced: bool) {
        self.logind.borrow().announce(announced);
    }

    async fn waits(&self) -> bool {
        self.logind.borrow().script.lock().unwrap().is_held()
    }

    async fn accepted(&self) -> Vec<PowerAction> {
        let ending = |it: &String| if it == "Reboot" { PowerAction::Reboot } else { PowerAction::PowerOff };
        self.logind.borrow().script.lock().unwrap().accepted.iter().map(ending).collect()
    }
}

macro_rules! passes {
    ($($fact:ident)*) => {
        $(
            #[tokio::test]
            #[ignore = "needs dbus-daemon"]
            async fn $fact() {
                super::$fact(&Machine::new()).await;
            }
        )*
    };
}

super::every_fact!(passes);

// The simulator's power gets the announcement itself.
passes! { it_is_asked_for_and_accepted }

#[tokio::test]
#[ignore = "needs dbus-daemon"]
async fn only_logind_is_believed() {
    let machine = Machine::new();
    let mut notices = std::pin::pin!(machine.power.notices());
    assert!(timeout(Duration::from_millis(500), notices.next()).await.is_err());
    let socket = machine.bus.root.path().join("run/dbus/system_bus_socket");
    let liar = zbus::connection::Builder::address(format!("unix:path={}", socket.display()).as_str()).build().await.unwrap();
    let (path, manager) = ("/org/freedesktop/login1", "org.freedesktop.login1.Manager");
    // As a broadcast, and to each connection that may be ours.
    liar.emit_signal(None::<&str>, path, manager, "PrepareForShutdown", &true).await.unwrap();
    for name in 0..20 {
        let us = format!(":1.{name}");
        liar.emit_signal(Some(us.as_str()), path, manager, "PrepareForShutdown", &true).await.unwrap();
    }
    assert!(timeout(Duration::from_secs(1), notices.next()).await.is_err());
}

#[tokio::test]
#[ignore = "needs dbus-daemon"]
async fn a_bus_that_comes_late_is_joined() {
    let bus = Bus::new();
    let power = Power::new(bus.root.path(), None);
    let mut notices = std::pin::pin!(power.notices());
    assert!(timeout(Duration::from_millis(500), notices.next()).await.is_err());
    let logind = Logind::begin(bus.root.path());
    assert!(timeout(Duration::from_secs(3), notices.next()).await.is_err());
    logind.announce(true);
    assert!(matches!(timeout(Duration::from_secs(3), notices.next()).await.unwrap(), Some(InhibitorNotice::ShutdownBegins(_))));
}

#[tokio::test]
#[ignore = "needs dbus-daemon"]
async fn a_response_wakes_the_stream_of_notices() {
    let bus = Bus::new();
    let power = Power::new(bus.root.path(), None);
    let mut notices = std::pin::pin!(power.notices());
    // By now it tries every eight seconds, and more seldom with every try.
    assert!(timeout(Duration::from_millis(8500), notices.next()).await.is_err());
    let logind = Logind::begin(bus.root.path());
    power.check_shutdown(PowerAction::Reboot).await.unwrap();
    assert!(timeout(Duration::from_millis(500), notices.next()).await.is_err());
    logind.announce(true);
    assert!(matches!(timeout(Duration::from_secs(2), notices.next()).await.unwrap(), Some(InhibitorNotice::ShutdownBegins(_))));
}
