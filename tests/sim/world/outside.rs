//! The networks and the host, on a quiet day: lives are about containers.

use std::time::Duration;

use boardkeeper::port::{self, HostError, NetError, Steered};
use boardkeeper::state::Vpn;
use boardkeeper::state::host::{Addresses, Figures, HostConfig, HostPatch};
use futures_util::stream::{self, Stream, StreamExt};
use tokio::time::sleep;

use super::Sim;
use super::locks::Holder;

/// What a configuration takes: longer than the agent goes without a look.
const TAKES: Duration = Duration::from_secs(10 * 60);

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
        Ok(HostConfig::default())
    }

    async fn configure(&self, patch: &HostPatch) -> Result<(), HostError> {
        let note = |when: &str| {
            self.with(|model| {
                let ours = model.locks.held.values().filter(|it| **it == Holder::Agent).count();
                model.note(format_args!("host: {when} the name {:?} under {ours} locks", patch.hostname.as_deref()));
            });
        };
        note("writes");
        // Units that are restarted take their time; the agent looks around meanwhile.
        sleep(TAKES).await;
        note("has");
        Ok(())
    }
}
