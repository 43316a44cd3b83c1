//! Which bridges the API may be reached by.
//!
//! The kernel says by which interface a connection comes, and the engine says whether that interface is the bridge of an
//! `internal` network. A bridge counts as closed until the engine has reported it as open: a network's bridge exists before
//! the network is in the engine's list.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::interfaces::{self, AddressChanges, InterfaceAddress};
use crate::linux::engine::Bridge;
use crate::port::EngineError;
use crate::sorted::SortedMap;
use crate::state::private_network::same_network;

/// The wait between an engine query that left a bridge unknown and the next query. It doubles each time.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// The engine is queried repeatedly for this long after an interface came that it does not know, even if that does not look
/// like one of an engine: a network whose bridge has a name its owner chose may not be in its list yet.
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
pub struct EngineNetworks(SortedMap<u32, ContainerAccess>);

impl EngineNetworks {
    /// What the engine reported of an interface. `None`: nothing yet, or it is not the engine's.
    pub(super) fn way(&self, index: u32) -> Option<ContainerAccess> {
        self.0.get(&index).copied()
    }

    /// Classifies interfaces by what the engine reports. The addresses must have been read before the engine was queried.
    pub(super) fn new(addresses: &[InterfaceAddress], bridges: &[Bridge]) -> Self {
        let mut ways = SortedMap::new();
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

    /// Whether there is an interface that was not there before, and is none of the engine's: its network may not be in the
    /// engine's list yet.
    fn has_unknown(&self, addresses: &[InterfaceAddress], before: &[InterfaceAddress]) -> bool {
        let is_new = |it: &InterfaceAddress| before.iter().all(|old| old.index != it.index);
        addresses.iter().any(|it| is_new(it) && self.way(it.index).is_none())
    }

    /// Whether there is a bridge that the engine has not reported yet.
    fn lacks_any(&self, addresses: &[InterfaceAddress]) -> bool {
        addresses.iter().any(|it| interfaces::is_bridge(&it.interface) && self.way(it.index).is_none())
    }
}

/// Queries the engine's bridges whenever the addresses of networks change, and publishes the result. Must be called within a
/// runtime.
pub async fn follow(
    ask: impl AsyncFn() -> Result<Vec<Bridge>, EngineError>,
    publish: watch::Sender<EngineNetworks>,
) -> Infallible {
    let changes = AddressChanges::new().inspect_err(|why| warn!(%why, "changes of addresses are not followed")).ok();
    let mut settled = Vec::new();
    let mut wait = FIRST_WAIT;
    loop {
        let addresses = network_addresses();
        let networks = match ask_about(&ask, &addresses).await {
            Ok(networks) => Some(networks),
            Err(why) => {
                debug!(%why, "the engine does not say which networks are internal; new bridges stay closed");
                None
            }
        };
        let longest = if networks.is_some() { LONGEST_WAIT } else { UNREACHABLE_WAIT };
        let mut is_settled = false;
        if let (Some(networks), Ok(addresses)) = (networks, &addresses) {
            is_settled = !networks.lacks_any(addresses) && (wait > SETTLED || !networks.has_unknown(addresses, &settled));
            publish.send_if_modified(|it| {
                let differs = *it != networks;
                *it = networks;
                differs
            });
            if is_settled {
                settled.clone_from(addresses);
            }
        }
        let next_change = async {
            let Some(changes) = &changes else { return pending().await };
            // Containers that come and go change nothing here, nor does a further address of a bridge that the engine reported.
            let is_as_before = || {
                let networks = publish.borrow();
                unreported(&network_addresses(), &networks) == unreported(&addresses, &networks)
            };
            while is_as_before() {
                changes.next().await;
            }
        };
        let next = if is_settled { longest } else { wait };
        wait = match timeout(next.min(longest), next_change).await {
            Ok(()) => FIRST_WAIT,
            Err(_) => (wait * 2).min(longest),
        };
    }
}

/// The addresses of the machine by which other machines or containers may reach it: containers' own interfaces are left out.
fn network_addresses() -> Result<Vec<InterfaceAddress>, String> {
    let mut addresses = interfaces::addresses().map_err(|why| why.to_string())?;
    addresses.retain(|it| it.interface != "lo" && !it.interface.starts_with("veth"));
    Ok(addresses)
}

/// The addresses of interfaces that the engine has not reported.
fn unreported<'a>(
    addresses: &'a Result<Vec<InterfaceAddress>, String>,
    networks: &EngineNetworks,
) -> Result<Vec<&'a InterfaceAddress>, &'a String> {
    addresses.as_ref().map(|all| all.iter().filter(|it| networks.way(it.index).is_none()).collect())
}

/// Queries the engine once about addresses that were read before.
async fn ask_about(
    ask: &impl AsyncFn() -> Result<Vec<Bridge>, EngineError>,
    addresses: &Result<Vec<InterfaceAddress>, String>,
) -> Result<EngineNetworks, String> {
    let addresses = addresses.as_deref().map_err(Clone::clone)?;
    Ok(EngineNetworks::new(addresses, &ask().await.map_err(|why| why.to_string())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(index: u32, interface: &str) -> InterfaceAddress {
        InterfaceAddress { interface: interface.into(), index, ip: [10, 0, 0, u8::try_from(index).unwrap()].into(), prefix: 8 }
    }

    #[test]
    fn only_an_interface_that_is_new_and_not_the_engines_may_still_become_its() {
        let lan = address(2, "eth0");
        let ours = address(3, "br-0123456789ab");
        let named = address(4, "kitchen");
        let bridge = Bridge { interface: "br-0123456789ab".into(), internal: false, subnets: Vec::new() };
        let networks = EngineNetworks::new(&[lan.clone(), ours.clone(), named.clone()], &[bridge]);
        let settled = [lan.clone()];
        assert!(!networks.has_unknown(&[lan.clone(), ours.clone()], &settled), "the engine knows it");
        assert!(networks.has_unknown(&[lan.clone(), ours, named.clone()], &settled), "the engine may name it in a moment");
        assert!(!networks.has_unknown(&[lan.clone(), named.clone()], &[lan, named]), "it was there before");
    }

    #[test]
    fn a_further_address_of_a_bridge_that_the_engine_reported_is_no_news() {
        let (lan, ours) = (address(2, "eth0"), address(3, "br-0123456789ab"));
        let bridge = Bridge { interface: ours.interface.clone(), internal: true, subnets: Vec::new() };
        let networks = EngineNetworks::new(&[lan.clone(), ours.clone()], &[bridge]);
        let of = |all: &[InterfaceAddress]| -> usize { unreported(&Ok(all.to_vec()), &networks).unwrap().len() };
        let further = InterfaceAddress { ip: [10, 0, 1, 3].into(), ..ours.clone() };
        assert_eq!((of(&[lan.clone(), ours.clone()]), of(&[lan.clone(), ours, further])), (1, 1));
        assert_eq!(of(&[lan, address(4, "br-ba9876543210")]), 2, "a new bridge is");
    }
}
