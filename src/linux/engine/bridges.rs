//! The engine's bridges: the networks by which containers reach the host itself.

use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::linux::engine::connection::EngineConnection;
use crate::linux::engine::json::EngineJson;
use crate::linux::engine::{Engine, OBSERVE, resources};
use crate::port::EngineError;
use crate::state::Network;
use crate::state::network::SUPERVISOR_NETWORK;

/// How long a request for the bridges waits for the snapshot that follows when the agent creates a network.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(1);

/// The network option that names its bridge.
const BRIDGE_NAME: &str = "com.docker.network.bridge.name";
/// The digits of its network's id in the name of a bridge that has no name of its own.
const ID_DIGITS: usize = 12;

/// A network of the engine that has a bridge on the host. Foreign networks count too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// The bridge's interface. Podman does not report it; then the subnets identify the bridge.
    pub interface: String,
    /// Whether containers must not leave the network. The agent's own network is never internal in this sense: it leads to the
    /// API.
    pub internal: bool,
    /// The network's subnets.
    pub subnets: Vec<(IpAddr, u8)>,
}

impl Engine {
    /// The bridges of all networks, foreign ones included, as the engine lists them after this call began.
    pub async fn bridges(&self) -> Result<Vec<Bridge>, EngineError> {
        if self.lists.borrow().are_networks_changing()
            && let Some(bridges) = self.bridges_of_next_snapshot().await
        {
            return Ok(bridges);
        }
        let ask = async {
            let connection = self.connection().await?;
            self.list(&connection, "list networks", "/networks", |it| bridge(&it)).await
        };
        self.within(OBSERVE, ask).await
    }

    /// The bridges that the next snapshot sees, if it lists networks soon.
    async fn bridges_of_next_snapshot(&self) -> Option<Vec<Bridge>> {
        let (listed, bridges) = oneshot::channel();
        *self.bridges_wanted.borrow_mut() = Some(listed);
        timeout(SNAPSHOT_WAIT, bridges).await.ok()?.ok()
    }

    /// Lists the agent's networks for a snapshot, and all bridges for a request that waits for them.
    pub(super) async fn networks(&self, connection: &EngineConnection) -> Result<Vec<Network>, EngineError> {
        // Taken before the list is requested: a bridge that comes later is not in it.
        let wanted = self.bridges_wanted.borrow_mut().take();
        let keep = |it: EngineJson| {
            let bridge = wanted.as_ref().and_then(|_| bridge(&it));
            let ours = Some(it).filter(resources::is_ours);
            (ours.is_some() || bridge.is_some()).then_some((ours, bridge))
        };
        let listed = self.list(connection, "list networks", "/networks", keep).await?;
        let (ours, bridges): (Vec<_>, Vec<_>) = listed.into_iter().unzip();
        if let Some(wanted) = wanted {
            // The request may have given up.
            drop(wanted.send(bridges.into_iter().flatten().collect()));
        }
        Ok(resources::networks(ours.into_iter().flatten().collect()))
    }
}

fn bridge(network: &EngineJson) -> Option<Bridge> {
    if network.text("/Driver") != "bridge" {
        return None;
    }
    let named = network.labels("/Options").remove(BRIDGE_NAME).filter(|it| !it.is_empty());
    let id = network.text("/Id");
    let interface = named.unwrap_or_else(|| format!("br-{}", id.get(..ID_DIGITS).unwrap_or(id)));
    let subnets = network.items("/IPAM/Config").filter_map(|it| subnet(it.text("/Subnet"))).collect();
    let internal = network.is("/Internal") && network.text("/Name") != SUPERVISOR_NETWORK;
    Some(Bridge { interface, internal, subnets })
}

/// Reads `172.18.0.0/16`.
fn subnet(text: &str) -> Option<(IpAddr, u8)> {
    let (ip, prefix) = text.split_once('/')?;
    Some((ip.parse().ok()?, prefix.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(network: Value) -> Option<Bridge> {
        bridge(&EngineJson(network))
    }

    #[test]
    fn a_network_is_found_by_the_name_of_its_bridge_or_by_its_own_id() {
        let id = "0123456789abcdef0123";
        let pools = json!([{"Subnet": "172.18.0.0/16", "Gateway": "172.18.0.1"}, {"Subnet": "fd00::/64"}, {"Subnet": "?"}, {}]);
        let inner = read(json!({"Id": id, "Driver": "bridge", "Internal": true, "IPAM": {"Config": pools}})).unwrap();
        assert_eq!((inner.interface.as_str(), inner.internal), ("br-0123456789ab", true));
        assert_eq!(inner.subnets, [("172.18.0.0".parse().unwrap(), 16), ("fd00::".parse().unwrap(), 64)]);
        let named = json!({"Id": id, "Driver": "bridge", "Internal": false, "Options": {BRIDGE_NAME: "docker0"}});
        assert_eq!(read(named), Some(Bridge { interface: "docker0".to_owned(), internal: false, subnets: Vec::new() }));
        let ours = json!({"Name": "supervisor0", "Id": "ab", "Driver": "bridge", "Internal": true});
        assert_eq!(read(ours), Some(Bridge { interface: "br-ab".to_owned(), internal: false, subnets: Vec::new() }));
        assert_eq!(read(json!({"Id": id, "Driver": "macvlan", "Internal": true})), None);
        assert_eq!(read(json!({})), None);
    }
}
