//! The whole outside world, on a Linux board.

use crate::linux::clock::{Clock, Random};
use crate::linux::cloud::CloudClient;
use crate::linux::host::LiveHost;
use crate::linux::leds::Leds;
use crate::linux::locks::Locks;
use crate::linux::net::NetAdapter;
use crate::linux::power::Power;
use crate::linux::store::Store;
use crate::port::{Engine, Targets, World};

/// Every port, with its implementation on a real machine.
pub struct Linux<E, T> {
    /// The container engine.
    pub engine: E,
    /// Records that survive a power cut.
    pub store: Store,
    /// The update locks.
    pub locks: Locks,
    /// The source of targets.
    pub targets: T,
    /// The machine's power.
    pub power: Power,
    /// The LED by which a user finds the board.
    pub leds: Leds,
    /// Wall time.
    pub clock: Clock,
    /// Random numbers.
    pub chance: Random,
    /// The machine's networks.
    pub net: NetAdapter,
    /// The host.
    pub host: LiveHost,
    /// The cloud.
    pub cloud: CloudClient,
}

impl<E: Engine, T: Targets> World for Linux<E, T> {
    type Engine = E;
    type Store = Store;
    type Locks = Locks;
    type Targets = T;
    type Power = Power;
    type Leds = Leds;
    type Clock = Clock;
    type Random = Random;
    type Net = NetAdapter;
    type Host = LiveHost;
    type Cloud = CloudClient;

    fn engine(&self) -> &E {
        &self.engine
    }
    fn store(&self) -> &Store {
        &self.store
    }
    fn locks(&self) -> &Locks {
        &self.locks
    }
    fn targets(&self) -> &T {
        &self.targets
    }
    fn power(&self) -> &Power {
        &self.power
    }
    fn leds(&self) -> &Leds {
        &self.leds
    }
    fn clock(&self) -> &Clock {
        &self.clock
    }
    fn random(&self) -> &Random {
        &self.chance
    }
    fn net(&self) -> &NetAdapter {
        &self.net
    }
    fn host(&self) -> &LiveHost {
        &self.host
    }
    fn cloud(&self) -> &CloudClient {
        &self.cloud
    }
}
