//! What these stories are not about: no LED, no networks, a host nobody configures.

use std::future::pending;
use std::time::Duration;

use boardkeeper::port::{self, Bench, HostError, LedError, NetError, Steered};
use boardkeeper::state::host::{Addresses, Figures, HostConfig, HostPatch};
use boardkeeper::state::{Lamp, Level, Pattern, Player, Vpn};
use futures_util::stream::{self, Stream, StreamExt};

use super::world::World;

fn no_led<T>() -> Result<T, LedError> {
    Err(LedError::None("this device has no LED".to_owned()))
}

impl port::Leds for World {
    async fn find(&self) -> Result<Lamp, LedError> {
        no_led()
    }

    async fn show(&self, _: &Pattern, _: Option<Duration>) -> Result<Player, LedError> {
        no_led()
    }

    async fn set(&self, _: Level) -> Result<(), LedError> {
        no_led()
    }

    async fn restore(&self) -> Result<(), LedError> {
        Ok(())
    }

    async fn bench(&self, now: Bench) -> Bench {
        match now {
            Bench::Free => pending().await,
            Bench::Taken => Bench::Free,
        }
    }
}

impl port::Net for World {
    async fn dial(&self, host: &str, port: u16) -> Result<(), NetError> {
        Err(NetError(format!("there is no {host} port {port}")))
    }

    fn vpn(&self) -> impl Stream<Item = Vpn> {
        stream::iter([Vpn::Down]).chain(stream::pending())
    }

    async fn steer_vpn(&self, _: Vpn) -> Result<Steered, NetError> {
        Ok(Steered::Already)
    }
}

impl port::Host for World {
    fn addresses(&self) -> impl Stream<Item = Addresses> {
        stream::pending()
    }

    fn figures(&self) -> Figures {
        Figures::default()
    }

    async fn config(&self) -> Result<HostConfig, HostError> {
        Ok(HostConfig::default())
    }

    async fn configure(&self, _: &HostPatch) -> Result<(), HostError> {
        Err(HostError("nobody configures this host".to_owned()))
    }
}
