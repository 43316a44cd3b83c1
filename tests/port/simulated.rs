//! The suites, on the simulator's ports: a life there is worth something only if its world keeps the promises of the real one.

use std::collections::{BTreeMap, BTreeSet};

use boardkeeper::port::Memory;
use boardkeeper::state::{ImageRef, ServiceKey};

use crate::engine::{Lab, Thing};
use crate::world::locks::Holder;
use crate::world::machine::Machine;
use crate::world::{Model, Sim, Telling, Weather};

fn fair() -> Sim {
    Sim::new(1, Weather::default(), Telling::Nothing)
}

/// A simulated disk.
struct Disk(Sim);

impl Disk {
    fn new() -> Self {
        Self(fair())
    }
}

impl crate::store::Fixture for Disk {
    fn open(&self) -> impl boardkeeper::port::Store + use<> {
        self.0.clone()
    }

    fn spoils(&self, kind: &str) {
        self.0.with(|model| {
            let Memory { keys, targets, stopped, complaints, .. } = &mut model.disk.kept;
            match kind {
                "keys" => *keys = None,
                "targets" => *targets = boardkeeper::port::Targeted::default(),
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
    others: std::cell::RefCell<BTreeMap<ServiceKey, BTreeSet<String>>>,
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

/// A simulated engine.
struct Engine {
    sim: Sim,
    count: std::cell::Cell<u64>,
}

impl Engine {
    fn new() -> Self {
        let sim = fair();
        sim.with(|model| model.machine.keep(Machine::registry(&ImageRef::new("tests/busybox:1"))));
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

    fn stranger(&self, thing: Thing<'_>) {
        self.count.set(self.count.get() + 1);
        let id = format!("{:064x}", self.count.get());
        self.sim.with(|model| match thing {
            Thing::Container(name) => model.machine.stranger(name, id),
            Thing::Network(name) => model.machine.foreign_network(name),
            Thing::Volume(name) => model.machine.foreign_volume(name),
        });
    }

    fn everything(&self) -> BTreeSet<String> {
        self.sim.with(|model| {
            let machine = &model.machine;
            let containers = machine.containers.values().map(|it| format!("container {} {:?}", it.face.name, it.face.phase));
            let networks = machine.networks.keys().map(|it| format!("network {it}"));
            let volumes = machine.volumes.keys().map(|it| format!("volume {it}"));
            containers.chain(networks).chain(volumes).collect()
        })
    }

    fn crash(&self) {
        self.sim.with(|model| {
            model.machine.die();
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

hold!(locks, Directory:
    there_are_none_at_first
    what_is_taken_is_ours_until_released
    a_lock_of_a_service_holds_up_the_app
    a_refused_one_leaves_none_of_ours
    force_takes_it_away
    what_is_given_back_is_told
    a_hand_over_is_waited_for
    names_that_lead_elsewhere_are_refused);

hold!(store, Disk:
    there_is_nothing_at_first
    what_was_saved_comes_back
    the_last_one_counts
    what_cannot_be_read_is_put_aside);

/// As above; an engine goes on with what it was told while nobody waits.
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

promises! {
    every_deed_may_be_done_twice
    an_image_is_pulled_and_removed
    strangers_are_neither_seen_nor_touched
    what_is_not_there_cannot_be_started
    a_deed_that_was_dropped_is_told_by_the_next_look
    an_engine_that_dies_is_unreachable_until_it_is_back
}
