//! Facts about the device that the agent runs on.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::sorted::SortedSet;
use crate::state::Secret;
use crate::state::board::BoardFacts;
use crate::state::cloud::ReportedVersions;
use crate::state::keys::FirstKey;
use crate::state::service::Feature;

/// The identity of the device. If it were lost, the cloud would see another device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its unique id: 32 hex digits, or what its provisioning file says.
    pub uuid: String,
}

/// Facts about the device that containers are given and the API shows.
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
    /// The host's operating system, in human-readable text.
    pub os_version: String,
    /// Its variant, `prod` or `dev`, if the host states one.
    pub os_variant: Option<String>,
    /// The port that the API listens on.
    pub api_port: u16,
    /// The agent's own version.
    pub supervisor_version: String,
    /// The versions that it reports to its cloud, and to clients that know such supervisors.
    pub reported: ReportedVersions,
    /// MAC addresses of its network interfaces, space-separated.
    pub mac_address: String,
    /// Its addresses, without those of container networks.
    pub ip_addresses: Vec<String>,
    /// The engine's socket on the host, for services that may have it.
    pub engine_socket: Option<String>,
    /// The cloud's API address.
    pub api_endpoint: Option<String>,
    /// The device's key in the cloud, once it is registered.
    pub cloud_key: Option<Secret>,
    /// Features whose files this host has.
    pub host_features: SortedSet<Feature>,
    /// The board's revision and the host's build, for services that request them.
    pub board_rev: Option<(String, String)>,
    /// The board, as detected.
    pub board: BoardFacts,
}

/// The client of a connection to the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress {
    /// The client's address.
    pub addr: IpAddr,
    /// Whether local mode applies to the client: it is on the device, on its loopback or in a container, or in the private
    /// network for which a user opened the API.
    pub local: bool,
}

/// What the server knows of the connection of a request. It is one value, because each that a request carries is allocated.
#[derive(Debug, Clone, Default)]
pub struct ServedConnection {
    /// The address of the device that the client connected to.
    pub reached: Option<IpAddr>,
    /// How many other requests from the same address are in flight.
    pub concurrent_requests: usize,
    /// How many connections are open, of all clients.
    pub open_connections: Option<usize>,
    /// The key that came over it first.
    pub first_key: Arc<FirstKey>,
    /// The end of the server, for a response that goes on for ever. A handler takes it.
    pub stop: Option<ServerStop>,
}

/// Changes, or loses its sender, when the server wants a response that goes on for ever to end.
#[derive(Debug, Clone)]
pub struct ServerStop(pub watch::Receiver<()>);

/// A response that goes on until its client leaves. The server ends it when the client closes the connection or its sending
/// side; one that is only read would never show that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndlessAnswer;

/// How long the server delays a response before it sends it. Meanwhile the connection counts as idle, so that any other may
/// take its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerDelay(pub Duration);
