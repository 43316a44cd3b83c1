//! What outlives a power cut, and what is made when there is nothing to remember.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::plan::{Deed, Step, Waiting};
use crate::port::{Chance, Clock, Memory, Record, Store, Targeted, World};
use crate::reconcile::{Keeper, Settings};
use crate::state::{Boot, ContainerId, Identity, Keys, Phase, Secret, ServiceKey, Status};

/// What the agent begins with.
pub(super) struct Remembered {
    pub(super) identity: Identity,
    pub(super) keys: Keys,
    pub(super) targets: Targeted,
    pub(super) reached: bool,
    pub(super) stopped: BTreeSet<ServiceKey>,
    pub(super) awaiting: BTreeMap<ContainerId, String>,
}

/// Loads what was saved, and makes and saves what was not.
pub(super) async fn load<W: World>(world: &W, settings: &Settings, publish: &watch::Sender<Status>) -> Remembered {
    let memory = world.store().load().await.unwrap_or_else(|problem| {
        error!(error = %problem, "nothing that was saved can be read; the agent goes on as if it were new");
        Memory::default()
    });
    for complaint in &memory.complaints {
        warn!("{complaint}");
    }
    publish.send_modify(|status| status.complaints.clone_from(&memory.complaints));
    let identity = match memory.identity {
        Some(identity) => identity,
        None => new_identity(world, settings).await,
    };
    let keys = match memory.keys {
        Some(keys) => keys,
        None => new_keys(world, settings).await,
    };
    let reached = memory.targets.wanted.is_some() && memory.targets.wanted == memory.targets.good;
    Remembered { identity, keys, targets: memory.targets, reached, stopped: memory.stopped, awaiting: memory.awaiting }
}

async fn new_identity<W: World>(world: &W, settings: &Settings) -> Identity {
    let made = || Secret::from_bytes(world.chance().bytes()).reveal()[..32].to_owned();
    let identity = Identity { uuid: settings.uuid.clone().unwrap_or_else(made) };
    info!(uuid = identity.uuid, "this device has an identity now");
    save(world, &Record::Identity(identity.clone())).await;
    identity
}

async fn new_keys<W: World>(world: &W, settings: &Settings) -> Keys {
    let device = settings.device_key.clone().unwrap_or_else(|| Secret::from_bytes(world.chance().bytes()));
    let keys = Keys { device, root: Secret::from_bytes(world.chance().bytes()), generations: BTreeMap::new() };
    save(world, &Record::Keys(keys.clone())).await;
    keys
}

/// Keeps a record. The agent goes on when it cannot: what it knows is still right, until the power is cut.
pub(super) async fn save<W: World>(world: &W, record: &Record) -> bool {
    match world.store().save(record).await {
        Ok(()) => true,
        Err(problem) => {
            error!(error = %problem, "cannot save; a power cut now would lose it");
            false
        }
    }
}

impl<W: World> Keeper<'_, W> {
    /// Before an image is pulled it is written down as ours, so that it can be deleted after whatever happens.
    pub(super) async fn remember_pulls(&mut self, steps: &[Step]) {
        let before = self.targets.pulled.len();
        for step in steps {
            if let Step::Engine(Deed::Pull(image)) = step {
                self.targets.pulled.insert(image.clone());
            }
        }
        if self.targets.pulled.len() != before {
            self.save_targets().await;
        }
    }

    /// Notes that the target was reached.
    pub(super) async fn arrived(&mut self) {
        let settled = self.plan.busy.is_empty() && self.plan.steps.is_empty() && self.running.is_empty();
        if !settled || self.reached || self.target.is_none() {
            return;
        }
        self.reached = true;
        info!("the device is as wanted");
        if self.targets.good != self.targets.wanted {
            self.targets.good.clone_from(&self.targets.wanted);
            self.save_targets().await;
        }
    }

    /// Whether the boots have been that containers wait for.
    pub(super) fn boots(&self) -> BTreeMap<ContainerId, Boot> {
        let now = self.world.clock().boot_id();
        let boot = |seen: &String| if *seen == now { Boot::ToCome } else { Boot::Been };
        self.awaiting.iter().map(|(id, seen)| (id.clone(), boot(seen))).collect()
    }

    /// Writes down which containers wait for the next boot, so that the clock need not be right to tell it from this one.
    pub(super) async fn remember_waiting(&mut self) {
        let now = self.world.clock().boot_id();
        let mut awaiting = self.awaiting.clone();
        awaiting.retain(|id, _| self.current.containers.iter().any(|it| it.id == *id));
        for waiting in self.plan.waiting.iter().filter(|_| !now.is_empty()) {
            let Waiting::Boot(key) = waiting else { continue };
            for container in self.current.containers.iter().filter(|it| it.key == *key && it.phase == Phase::Created) {
                awaiting.entry(container.id.clone()).or_insert_with(|| now.clone());
            }
        }
        if awaiting != self.awaiting {
            self.awaiting = awaiting;
            save(self.world, &Record::Awaiting(self.awaiting.clone())).await;
        }
    }

    pub(super) async fn save_targets(&mut self) {
        save(self.world, &Record::Targets(Box::new(self.targets.clone()))).await;
    }

    /// Writes down what a person stopped, and who is still owed a start.
    pub(super) async fn save_stopped(&mut self) {
        let stopped = self.demands.stopped.union(&self.owed).cloned().collect();
        save(self.world, &Record::Stopped(stopped)).await;
    }
}
