//! What the agent knows of the device it runs on.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use crate::state::board::BoardFacts;
use crate::state::service::Feature;

/// Who the device is. Lost, it would be another device to its cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its unique id: 32 hex digits, or what its provisioning file says.
    pub uuid: String,
}

/// Facts about the device that containers are told, and the API shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Device {
    /// Its unique id.
    pub uuid: String,
    /// Its name when the agent started.
    pub name: String,
    /// The cloud's name of its type, `raspberrypi3`.
    pub device_type: String,
    /// The cloud's name of its architecture, `armv7hf`.
    pub arch: String,
    /// The host's operating system, for people.
    pub os_version: String,
    /// Its variant, `prod` or `dev`, where the host says.
    pub os_variant: Option<String>,
    /// The port the API answers on.
    pub api_port: u16,
    /// The agent's own version.
    pub supervisor_version: String,
    /// MAC addresses of its network interfaces, space-separated.
    pub mac_address: String,
    /// Its addresses, without those of containers' networks.
    pub ip_addresses: Vec<String>,
    /// The engine's socket on the host, for services that may have it.
    pub engine_socket: Option<String>,
    /// The cloud's API address.
    pub api_endpoint: Option<String>,
    /// Features whose files this host has.
    pub host_features: BTreeSet<Feature>,
    /// The board's revision and the host's build, for services that ask.
    pub board_rev: Option<(String, String)>,
    /// What board it is.
    pub board: BoardFacts,
}

/// Who is at the other end of a connection to the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress {
    /// Their address.
    pub addr: IpAddr,
    /// Whether local mode is for them: they are on the device, on its loopback or in a container, or in the private network
    /// that a person opened the API for.
    pub local: bool,
}

/// The address of the device that a connection to the API was made to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalAddress(pub IpAddr);

/// How long the server holds an answer back before it sends it. Meanwhile the connection counts as idle, so that it gives its place
/// to any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerDelay(pub Duration);

/// How many requests of the same address are under way beside this one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConcurrentRequests(pub usize);
