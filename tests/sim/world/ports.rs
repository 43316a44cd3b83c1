//! This world as `port::World`; its wall time, and its randomness.

use boardkeeper::port;
use futures_util::{Stream, stream};

use super::Sim;

impl port::World for Sim {
    type Engine = Self;
    type Store = Self;
    type Locks = Self;
    type Targets = Self;
    type Power = Self;
    type Leds = Self;
    type Clock = Self;
    type Random = Self;
    type Net = Self;
    type Host = Self;
    type Cloud = Self;

    fn engine(&self) -> &Self {
        self
    }

    fn store(&self) -> &Self {
        self
    }

    fn locks(&self) -> &Self {
        self
    }

    fn targets(&self) -> &Self {
        self
    }

    fn power(&self) -> &Self {
        self
    }

    fn leds(&self) -> &Self {
        self
    }

    fn clock(&self) -> &Self {
        self
    }

    fn random(&self) -> &Self {
        self
    }

    fn net(&self) -> &Self {
        self
    }

    fn host(&self) -> &Self {
        self
    }

    fn cloud(&self) -> &Self {
        self
    }
}

impl port::Clock for Sim {
    fn now_secs(&self) -> i64 {
        self.with(|model| model.now_secs())
    }

    fn booted_secs(&self) -> i64 {
        self.with(|model| model.booted_secs())
    }

    fn up(&self) -> std::time::Duration {
        self.with(|model| model.up())
    }

    async fn zone_offsets(
        &self,
        zone: Option<&str>,
        range: std::ops::Range<i64>,
    ) -> Result<Vec<boardkeeper::state::window::ZoneOffset>, String> {
        if let Some(zone) = zone.filter(|it| *it != "Sim/Utc") {
            return Err(format!("`{zone}` is no zone of this world"));
        }
        Ok(vec![boardkeeper::state::window::ZoneOffset { begins: range.start, ends: range.end, offset: 0 }])
    }

    fn boot_id(&self) -> String {
        self.with(|model| model.boot_id())
    }

    fn jumps(&self) -> impl Stream<Item = ()> {
        stream::unfold(self.with(|model| model.notifiers.clock.subscribe()), async |mut notifier| {
            notifier.changed().await.expect("the world outlives its agents");
            Some(((), notifier))
        })
    }
}

impl port::Random for Sim {
    fn bytes(&self) -> [u8; 32] {
        self.with(|model| model.rngs.keys.borrow_mut().bytes())
    }
}
