//! Which bridges the API may be reached by.
//!
//! The kernel says by which interface a connection comes, and the engine says whether that interface is the bridge of an
//! `internal` network. A bridge counts as closed until the engine has reported it as open: a network's bridge exists before
//! the network is in the engine's list.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::interfaces::{self, AddressChanges, InterfaceAddress};
use crate::linux::engine::Bridge;
use crate::port::EngineError;
use crate::state::private_network::same_network;

/// The wait between an engine query that left a bridge unknown and the next query. It doubles each time.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// The engine is queried repeatedly for this long after a change, even if it knows every bridge that looks like one of an
/// engine: a network whose bridge has a name its owner chose may not be in its list yet.
const SETTLED: Duration = Duration::from_secs(2);
/// The longest wait while the engine is unreachable.
const UNREACHABLE_WAIT: Duration = Duration::from_secs(10);
/// The longest wait otherwise. An engine may adopt a bridge that existed before, and no address changes then.
const LONGEST_WAIT: Duration = Duration::from_secs(180);

/// Whether containers on a bridge may reach the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerAccess {
    /// They may.
    Open,
    /// Their network is `internal`.
    Internal,
}

/// The interfaces of the engine's networks, by interface index. The kernel never reuses an index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineNetworks(BTreeMap<u32, ContainerAccess>);

impl EngineNetworks {
    /// What the engine reported of an interface. `None`: nothing yet, or it is not the engine's.
    pub(super) fn way(&self, index: u32) -> Option<ContainerAccess> {
        self.0.get(&index).copied()
    }

    /// Classifies interfaces by what the engine reports. The addresses must have been read before the engine was queried.
    pub(super) fn new(addresses: &[InterfaceAddress], bridges: &[Bridge]) -> Self {
        let mut ways = BTreeMap::new();
        for address in addresses {
            let its = |it: &&Bridge| {
                let in_subnet = |(subnet, prefix): &_| same_network(*subnet, address.ip, *prefix);
                // Only bridges of an engine may be matched by subnet: the device's networks may have the same one.
                it.interface == address.interface
                    || interfaces::is_bridge(&address.interface) && it.subnets.iter().any(in_subnet)
            };
            for bridge in bridges.iter().filter(its) {
                let judged = ways.entry(address.index).or_insert(ContainerAccess::Open);
                if bridge.internal {
                    *judged = ContainerAccess::Internal;
                }
            }
        }
        Self(ways)
    }

    /// Whether there is a bridge that the engine has not reported yet.
    fn lacks_any(&self, addresses: &[InterfaceAddress]) -> bool {
        addresses.iter().any(|it| interfaces::is_bridge(&it.interface) && self.way(it.index).is_none())
    }
}

/// Queries the engine's bridges whenever addresses change, and publishes the result. Must be called within a runtime.
pub async fn follow(
    ask: impl AsyncFn() -> Result<Vec<Bridge>, EngineError>,
    publish: watch::Sender<EngineNetworks>,
) -> Infallible {
    let changes = AddressChanges::new().inspect_err(|why| warn!(%why, "changes of addresses are not followed")).ok();
    let mut wait = FIRST_WAIT;
    loop {
        let (next, longest) = match look(&ask).await {
            Ok((networks, complete)) => {
                publish.send_if_modified(|it| {
                    let differs = *it != networks;
                    *it = networks;
                    differs
                });
                (if complete && wait > SETTLED { LONGEST_WAIT } else { wait }, LONGEST_WAIT)
            }
            Err(why) => {
                debug!(%why, "the engine does not say which networks are internal; new bridges stay closed");
                (wait, UNREACHABLE_WAIT)
            }
        };
        let next_change = async {
            match &changes {
                Some(changes) => changes.next().await,
                None => pending().await,
            }
        };
        wait = match timeout(next.min(longest), next_change).await {
            Ok(()) => FIRST_WAIT,
            Err(_) => (wait * 2).min(longest),
        };
    }
}

/// Queries the engine once. Also says whether it knows every bridge.
async fn look(ask: &impl AsyncFn() -> Result<Vec<Bridge>, EngineError>) -> Result<(EngineNetworks, bool), String> {
    let addresses = interfaces::addresses().map_err(|why| why.to_string())?;
    let networks = EngineNetworks::new(&addresses, &ask().await.map_err(|why| why.to_string())?);
    let complete = !networks.lacks_any(&addresses);
    Ok((networks, complete))
}
