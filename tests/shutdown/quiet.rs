//! What most of these stories are not about: an LED that does as it is told, a cloud, a host that is as it is.

use std::future::pending;
use std::time::Duration;

use boardkeeper::port::{self, Bench, HostError, LedError, NetError, Steered};
use boardkeeper::state::host::{Addresses, Figures, HostConfig, HostPatch, Proxy, ProxyField};
use boardkeeper::state::{Lamp, Pattern, Player, Vpn, Which};
use futures_util::stream::{self, Stream, StreamExt};
use tokio::time::Instant;

use super::world::World;

impl port::Leds for World {
    async fn find(&self, _: &Which) -> Result<Lamp, LedError> {
        Ok(Lamp { name: "ACT".to_owned(), why: "it is the only one".to_owned() })
    }

    async fn others(&self) -> Vec<Lamp> {
        Vec::new()
    }

    async fn show(&self, _: &Which, pattern: &Pattern, _: Option<Duration>) -> Result<Player, LedError> {
        *self.shown.borrow_mut() = Some(pattern.clone());
        Ok(Player::Kernel)
    }

    async fn play(&self, _: &Which, _: &Pattern, _: Instant) -> LedError {
        pending().await
    }

    async fn put_back(&self, _: &Which) -> Result<(), LedError> {
        *self.shown.borrow_mut() = None;
        Ok(())
    }

    async fn restore(&self) -> Result<(), LedError> {
        *self.shown.borrow_mut() = None;
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
        if self.online.get() {
            return Ok(());
        }
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
        let fields = [(ProxyField::Login, "ali"), (ProxyField::Password, "sesame")].map(|(it, value)| (it, value.to_owned()));
        Ok(HostConfig { hostname: "d".to_owned(), proxy: Some(Proxy { fields: fields.into(), ..Proxy::default() }) })
    }

    async fn configure(&self, _: &HostPatch) -> Result<(), HostError> {
        Ok(())
    }
}
