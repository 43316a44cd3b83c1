//! Networks of an app.

use crate::sorted::{SortedMap, SortedSet};
use crate::state::AppId;
use crate::state::canonical_form::{CanonicalForm, list};

/// The configuration of a network. Networks with equal configurations need no recreation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkConfig {
    /// The engine's driver.
    pub driver: String,
    /// Address pools. Empty: the engine chooses.
    pub ipam: Vec<AddressPool>,
    /// The IPAM driver.
    pub ipam_driver: String,
    /// Options of the IPAM driver.
    pub ipam_options: SortedMap<String, String>,
    /// Whether IPv6 is enabled.
    pub enable_ipv6: bool,
    /// Whether it has no route to the outside.
    pub internal: bool,
    /// Options of the driver.
    pub options: SortedMap<String, String>,
    /// The owner's labels.
    pub labels: SortedMap<String, String>,
    /// The engine keeps it as a name only: every service uses the host's network.
    pub config_only: bool,
}

/// One address pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct AddressPool {
    /// The subnet, `10.1.0.0/16`.
    pub subnet: String,
    /// The gateway, if one is chosen.
    pub gateway: Option<String>,
    /// The part of the subnet from which the engine allocates addresses.
    pub ip_range: Option<String>,
    /// Addresses that the engine must not allocate.
    pub aux_addresses: SortedMap<String, String>,
}

/// The engine's id of a network. Engines allow two networks of one name; their ids differ.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct NetworkId(pub String);

impl NetworkId {
    /// Whether both may be the same network: an id is empty until the engine has chosen it.
    #[must_use]
    pub fn may_be(&self, other: &Self) -> bool {
        self.0.is_empty() || other.0.is_empty() || self == other
    }
}

/// A supervised network on the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The engine's id. Empty: the network is yet to be created.
    pub id: NetworkId,
    /// Its name on the engine: see [`App::engine_network_name`](crate::state::App::engine_network_name).
    pub name: String,
    /// The app it belongs to. `None`: the agent's own `supervisor0`.
    pub app: Option<AppId>,
    /// Its configuration.
    pub config: NetworkConfig,
}

/// The engine's own network, for containers that name none. No supervisor creates it.
pub const ENGINE_NETWORK: &str = "bridge";
/// The network on which services reach the supervisor API.
pub const SUPERVISOR_NETWORK: &str = "supervisor0";
/// The driver's option that names a network's bridge on the host. `supervisor0` is the name of both.
pub const BRIDGE_NAME: &str = "com.docker.network.bridge.name";
/// The subnet of `supervisor0`. The address is part of other supervisors' contract with their apps.
pub const SUPERVISOR_SUBNET: &str = "10.114.104.0/25";
/// The host's address on `supervisor0`.
pub const SUPERVISOR_GATEWAY: &str = "10.114.104.1";

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            driver: "bridge".to_owned(),
            ipam: Vec::new(),
            ipam_driver: "default".to_owned(),
            ipam_options: SortedMap::new(),
            enable_ipv6: false,
            internal: false,
            options: SortedMap::new(),
            labels: SortedMap::new(),
            config_only: false,
        }
    }
}

/// How a container is attached to a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkAttachment {
    /// Aliases of the container on the network; the service's own name is one of them.
    pub aliases: SortedSet<String>,
    /// A fixed IPv4 address.
    pub ipv4: Option<String>,
    /// A fixed IPv6 address.
    pub ipv6: Option<String>,
    /// Link-local addresses.
    pub link_local: SortedSet<String>,
}

impl CanonicalForm for NetworkAttachment {
    fn write(&self, text: &mut String) {
        let Self { aliases, ipv4, ipv6, link_local } = self;
        list(text, [aliases as &dyn CanonicalForm, ipv4, ipv6, link_local], CanonicalForm::write);
    }
}
