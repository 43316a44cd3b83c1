//! The networks and the host, on a quiet day: lives are about containers.

use std::future::pending;

use boardkeeper::port::{self, HostError, NetError, Steered};
use boardkeeper::state::Vpn;
use boardkeeper::state::host::{Addresses, Figures, HostConfig, HostPatch};
use futures_util::stream::{self, Stream, StreamExt};

use super::Sim;

impl port::Net for Sim {
    async fn dial(&self, host: &str, port: u16) -> Result<(), NetError> {
        // Lives have no cloud, so nobody asks.
        Err(NetError(format!("there is no {host} port {port}")))
    }

    fn vpn(&self) -> impl Stream<Item = Vpn> {
        stream::iter([Vpn::Down]).chain(stream::pending())
    }

    async fn steer_vpn(&self, _to: Vpn) -> Result<Steered, NetError> {
        Ok(Steered::Already)
    }
}

impl port::Host for Sim {
    fn addresses(&self) -> impl Stream<Item = Addresses> {
        stream::pending()
    }

    fn figures(&self) -> Figures {
        Figures::default()
    }

    async fn config(&self) -> Result<HostConfig, HostError> {
        pending().await
    }

    async fn configure(&self, _patch: &HostPatch) -> Result<(), HostError> {
        pending().await
    }
}
