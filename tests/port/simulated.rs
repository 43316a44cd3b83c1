//! The suites, on the simulator's ports: a simulated life proves something only if its world keeps the contract of the real
//! one.

use std::collections::BTreeMap;

use boardkeeper::port::{HistoryStore, Store, StoredState, ToolLock};
use boardkeeper::sorted::SortedSet;
use boardkeeper::state::{ContainerId, ImageRef, OutputStream, ServiceKey, VpnState};

use crate::engine::{Lab, Thing};
use crate::world::engine_model::EngineModel;
use crate::world::locks::Holder;
use crate::world::{CrashKind, FaultRates, Model, Sim, Trace};

fn fair() -> Sim {
    Sim::new(1, FaultRates::default(), Trace::Off)
}

/// A simulated machine: its disk, networks, clock and LED.
struct World(Sim);

impl World {
    fn new() -> Self {
        Self(fair())
    }
}

impl crate::store::Fixture for World {
    fn open(&self) -> impl Store + HistoryStore + use<> {
        self.0.clone()
    }

    fn spoils(&self, kind: &str) {
        self.0.with(|model| {
            let StoredState { keys, targets, stopped, complaints, .. } = &mut model.disk.kept;
            match kind {
                "keys" => *keys = None,
                "targets" => *targets = boardkeeper::port::StoredTargets::default(),
                "stopped" => stopped.clear(),
                // Of the identity there is a second copy.
                _ => (),
            }
            complaints.push(format!("{kind} cannot be read, and was put aside"));
        });
    }
}

/// A simulated directory of locks, and what else services keep there.
struct Directory {
    sim: Sim,
    others: std::cell::RefCell<BTreeMap<ServiceKey, SortedSet<String>>>,
}

impl Directory {
    fn new() -> Self {
        Self { sim: fair(), others: std::cell::RefCell::default() }
    }
}

const WORDS_OF_A_HAND_OVER: [&str; 2] = ["handover-complete", "resin-kill-me"];

impl crate::locks::Fixture for Directory {
    fn locks(&self) -> &impl boardkeeper::port::Locks {
        &self.sim
    }

    fn makes(&self, service: &ServiceKey, file: &str) {
        if file.ends_with("updates.lock") {
            self.sim.with(|model| {
                model.locks.held.insert(service.clone(), Holder::User(0));
                model.locks.files.insert(service.clone(), file.to_owned());
            });
        } else if WORDS_OF_A_HAND_OVER.contains(&file) {
            self.sim.with(|model| model.becomes_ready(service.clone()));
        } else {
            self.others.borrow_mut().entry(service.clone()).or_default().insert(file.to_owned());
        }
    }

    fn removes(&self, service: &ServiceKey, file: &str) {
        if file.ends_with("updates.lock") {
            self.sim.with(|model| model.unlock(service));
        } else if WORDS_OF_A_HAND_OVER.contains(&file) {
            self.sim.with(|model| model.locks.ready.remove(service));
        } else {
            self.others.borrow_mut().entry(service.clone()).or_default().remove(file);
        }
    }

    fn has(&self, service: &ServiceKey) -> Vec<String> {
        let mut names = self.others.borrow().get(service).cloned().unwrap_or_default();
        self.sim.with(|model| {
            match model.locks.held.get(service) {
                Some(Holder::Agent) => names.extend(["resin-updates.lock".to_owned(), "updates.lock".to_owned()]),
                Some(Holder::User(_)) => names.extend(model.locks.files.get(service).cloned()),
                None => (),
            }
            names.extend(model.locks.ready.contains(service).then(|| WORDS_OF_A_HAND_OVER[0].to_owned()));
        });
        names.into_iter().collect()
    }
}

impl crate::net::Fixture for World {
    fn net(&self) -> &impl boardkeeper::port::Net {
        &self.0
    }

    fn listener(&self) -> (String, u16) {
        ("api.example.com".to_owned(), 443)
    }

    fn hangs_up(&self) {
        self.0.with(|model| model.go_offline(true));
    }

    fn has_vpn(&self, vpn: VpnState) {
        self.0.with(|model| {
            if model.net.vpn != vpn {
                model.turn_vpn();
            }
        });
    }
}

impl crate::clock::Fixture for World {
    fn clock(&self) -> &impl boardkeeper::port::Clock {
        &self.0
    }

    fn boots(&self) {
        self.0.after_crash(CrashKind::Power);
    }

    fn zone(&self) -> &'static str {
        "Sim/Utc"
    }

    async fn waits(&self) {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }

    fn is_set(&self) -> bool {
        self.0.with(|model| {
            let now = model.now_secs();
            model.skew(3600);
            if model.now_secs() == now {
                model.skew(0);
            }
        });
        true
    }
}

impl crate::leds::Fixture for World {
    fn leds(&self) -> &impl boardkeeper::port::Leds {
        &self.0
    }

    fn shows(&self) -> String {
        self.0.with(|model| format!("{:?}", model.led.shows()))
    }

    fn is_set(&self) {
        self.0.with(Model::set_led_by_another);
    }

    fn dies(&mut self) {
        self.0.with(|model| {
            model.led.agent_died();
            model.gpio_line.agent_died();
        });
    }

    fn bench(&mut self, now: ToolLock) {
        self.0.with(|model| model.set_tool_lock(now));
    }

    fn line_is_taken(&self) {
        self.0.with(|model| model.gpio_line.hold_by_another());
    }
}

/// A simulated engine.
struct Engine {
    sim: Sim,
    count: std::cell::Cell<u64>,
}

impl Engine {
    fn new() -> Self {
        let sim = fair();
        sim.with(|model| model.engine.keep(EngineModel::registry(&ImageRef::new("tests/busybox:1"))));
        Self { sim, count: std::cell::Cell::new(0) }
    }
}

impl Lab for Engine {
    type Engine = Sim;

    fn engine(&self) -> &Sim {
        &self.sim
    }

    fn image(&self) -> ImageRef {
        ImageRef::new("tests/busybox:1")
    }

    fn remote_image(&self) -> ImageRef {
        ImageRef::new("r/app:3")
    }

    fn create_foreign(&self, thing: Thing<'_>) {
        self.count.set(self.count.get() + 1);
        let id = format!("{:064x}", self.count.get());
        self.sim.with(|model| match thing {
            Thing::Container(name) => model.engine.create_foreign_container(name, id),
            Thing::Network(name) => model.engine.foreign_network(name),
            Thing::Volume(name) => model.engine.foreign_volume(name),
        });
    }

    fn everything(&self) -> SortedSet<String> {
        self.sim.with(|model| {
            let engine = &model.engine;
            let containers = engine.containers.values().map(|it| format!("container {} {:?}", it.view.name, it.view.phase));
            let networks = engine.networks.keys().map(|it| format!("network {it}"));
            let volumes = engine.volumes.keys().chain(engine.snapshots.keys()).map(|it| format!("volume {it}"));
            containers.chain(networks).chain(volumes).collect()
        })
    }

    fn print(&self, container: &ContainerId, stream: OutputStream, lines: &[&str]) {
        self.sim.with(|model| lines.iter().for_each(|it| model.print(container, stream, it)));
    }

    fn write(&self, volume: &str, text: &str) {
        self.sim.with(|model| {
            let data = model.engine.data.entry(volume.to_owned()).or_default();
            data.writes = vec![(String::new(), text.to_owned())];
        });
    }

    fn read(&self, volume: &str) -> String {
        self.sim.with(|model| model.engine.data[&volume.to_owned()].writes.last().unwrap().1.clone())
    }

    fn crash(&self) {
        self.sim.with(|model| {
            model.engine.die();
            model.event();
        });
    }

    fn revive(&self) {
        self.sim.with(Model::engine_back);
    }
}

/// A test for each fact of a suite.
macro_rules! hold {
    ($suite:ident, $world:ident: $($fact:ident)*) => {
        mod $suite {
            $(#[tokio::test(start_paused = true)]
            async fn $fact() {
                crate::$suite::$fact(super::$world::new()).await;
            })*
        }
    };
}

crate::clock::every_fact!(hold, clock, World);
crate::leds::every_fact!(hold, leds, World);
crate::locks::every_fact!(hold, locks, Directory);
crate::net::every_fact!(hold, net, World);
crate::store::every_fact!(hold, store, World);

#[test]
fn what_the_process_uses_is_known() {
    crate::host::what_the_process_uses_is_known(&fair());
}

#[tokio::test(start_paused = true)]
async fn a_journal_is_read_to_its_end_or_followed() {
    crate::host::a_journal_is_read_to_its_end_or_followed(&fair()).await;
}

/// As above; an engine finishes an action although its caller is gone.
macro_rules! promises {
    ($($fact:ident)*) => {$(
        #[tokio::test(start_paused = true)]
        async fn $fact() {
            let lab = Engine::new();
            tokio::select! {
                biased;
                () = lab.sim.jobs() => (),
                () = crate::engine::$fact(&lab) => (),
            }
        }
    )*};
}

crate::engine::every_fact!(promises);
promises! { an_image_is_pulled_and_removed }
