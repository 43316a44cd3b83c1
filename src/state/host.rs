//! The host: its configuration and its metrics.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

/// Metrics of the host that change all the time, as last read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostMetrics {
    /// Uptime, and when it was read.
    pub up: Option<(Duration, Instant)>,
    /// The hostnames of the machine, as its files and its kernel have them.
    pub hostnames: Vec<String>,
    /// The kernel's id of this boot.
    pub boot_id: Option<String>,
    /// The board, in human-readable text.
    pub board: Option<String>,
    /// The disk that the agent's state is on.
    pub disk: Option<Capacity>,
    /// Memory, without swap.
    pub memory: Option<Capacity>,
    /// Temperature of the processor, in thousandths of a degree Celsius.
    pub temperature_millicelsius: Option<i32>,
    /// Use of all processors since the metrics were read before, in per cent.
    pub cpu_percent: Option<u8>,
    /// The serial number of the processor, where the board has one.
    pub cpu_serial: Option<String>,
    /// Whether the supply voltage was too low at a reading since the agent started. `None`: the board does not measure it.
    pub undervolted: Option<bool>,
    /// The disk that the container engine's data is on.
    pub storage: Option<Capacity>,
    /// The block device of that disk, `/dev/mmcblk0p2`.
    pub storage_device: Option<String>,
}

/// What the agent's own process uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessUse {
    /// Memory that is resident, in bytes. `None`: the kernel does not say.
    pub resident_bytes: Option<u64>,
    /// Processor time of all its threads since it started.
    pub cpu: Option<Duration>,
}

/// Capacity of a disk or of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Bytes that can be used.
    pub free_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// The device's addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostAddresses {
    /// IP addresses without those of container networks, IPv4 first.
    pub ips: Vec<String>,
    /// MAC addresses of its network interfaces, space-separated.
    pub macs: String,
}

/// Host configuration that can be read and changed over the API.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostConfig {
    /// The hostname.
    pub hostname: String,
    /// The proxy for the host's connections.
    pub proxy: Option<Proxy>,
}

/// A proxy.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxy {
    /// The fields that are set, each once, in the order in which they came.
    pub fields: Vec<(ProxyField, String)>,
    /// The name server that is reached through the proxy: `ADDRESS:PORT`.
    pub dns: Option<String>,
    /// Addresses that bypass the proxy.
    pub no_proxy: Vec<String>,
}

/// A field of a proxy's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyField {
    /// `socks4`, `socks5`, `http-connect` or `http-relay`.
    Type,
    /// Its address or name.
    Ip,
    /// Its port.
    Port,
    /// The user name.
    Login,
    /// The password.
    Password,
}

/// A change to the host configuration. A field that is `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostPatch {
    /// The hostname; the empty one stands for the beginning of the device's uuid.
    pub hostname: Option<String>,
    /// The change to the proxy.
    pub proxy: Option<ProxyPatch>,
}

/// A change to the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyPatch {
    /// Removes the proxy. [`Proxy::no_proxy`] stays, for the next proxy.
    Remove,
    /// Changes parts of the proxy.
    Merge {
        /// The fields to change.
        proxy: Proxy,
        /// Whether to stop resolving names through the proxy.
        drop_dns: bool,
        /// Whether [`Proxy::no_proxy`] replaces the old one: an empty one may be intended.
        set_no_proxy: bool,
    },
}

impl ProxyField {
    /// Every field.
    pub const ALL: [Self; 5] = [Self::Type, Self::Ip, Self::Port, Self::Login, Self::Password];

    /// Its name, in requests and in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Ip => "ip",
            Self::Port => "port",
            Self::Login => "login",
            Self::Password => "password",
        }
    }

    /// Whether files have its value between quotes.
    #[must_use]
    pub const fn is_quoted(self) -> bool {
        matches!(self, Self::Login | Self::Password)
    }
}

impl Proxy {
    /// A field's value.
    #[must_use]
    pub fn field(&self, field: ProxyField) -> Option<&str> {
        self.fields.iter().find(|(it, _)| *it == field).map(|(_, value)| value.as_str())
    }

    /// Sets a field. A field that is already set keeps its place.
    pub fn set(&mut self, field: ProxyField, value: String) {
        match self.fields.iter_mut().find(|(it, _)| *it == field) {
            Some((_, old)) => *old = value,
            None => self.fields.push((field, value)),
        }
    }

    /// What makes the proxy invalid, each in human-readable text. No message repeats a secret.
    #[must_use]
    pub fn problems(&self) -> Vec<&'static str> {
        let mut problems = Vec::new();
        let types = ["socks4", "socks5", "http-connect", "http-relay"];
        if !self.field(ProxyField::Type).is_some_and(|it| types.contains(&it)) {
            problems.push("type must be socks4, socks5, http-connect or http-relay");
        }
        if self.field(ProxyField::Ip).is_none_or(str::is_empty) {
            problems.push("ip must be an address or a name");
        }
        if self.field(ProxyField::Port).is_none_or(|it| it.parse::<u16>().is_err()) {
            problems.push("port must be a number up to 65535");
        }
        problems
    }
}

/// Shows the names of the fields only: the values are private.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.fields.iter().map(|(field, _)| field.name())).finish()
    }
}
