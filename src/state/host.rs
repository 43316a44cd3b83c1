//! The host: what is configured there, and what it measures.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

/// What the host says of itself that changes all the time, as last read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostMetrics {
    /// How long it had been up, and when that was read.
    pub up: Option<(Duration, Instant)>,
    /// The hostnames of the machine, as its files and its kernel have them.
    pub hostnames: Vec<String>,
    /// The kernel's name of this boot.
    pub boot_id: Option<String>,
    /// The board, in words.
    pub board: Option<String>,
    /// The disk that the agent's state is on.
    pub disk: Option<Capacity>,
    /// Memory, swap left out.
    pub memory: Option<Capacity>,
    /// Of the processor, in thousandths of a degree Celsius.
    pub temperature_millicelsius: Option<i32>,
}

/// How much there is of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Bytes that can be used.
    pub free_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// Under which addresses the device is found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostAddresses {
    /// Without those of containers' networks, IPv4 first.
    pub ips: Vec<String>,
    /// MAC addresses of its network interfaces, space-separated.
    pub macs: String,
}

/// What of the host can be read and changed over the API.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostConfig {
    /// The host's name.
    pub hostname: String,
    /// The proxy its connections go through.
    pub proxy: Option<Proxy>,
}

/// A proxy.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxy {
    /// What is known of it, each once, in the order in which it came.
    pub fields: Vec<(ProxyField, String)>,
    /// Where names are looked up through it: `ADDRESS:PORT`.
    pub dns: Option<String>,
    /// Addresses that are reached without it.
    pub no_proxy: Vec<String>,
}

/// What is known of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyField {
    /// `socks4`, `socks5`, `http-connect` or `http-relay`.
    Type,
    /// Its address, or its name.
    Ip,
    /// Its port.
    Port,
    /// Who we are to it.
    Login,
    /// The password.
    Password,
}

/// What is to be changed. What is `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostPatch {
    /// The host's name; the empty one stands for the beginning of the device's uuid.
    pub hostname: Option<String>,
    /// The proxy.
    pub proxy: Option<ProxyPatch>,
}

/// What becomes of the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyPatch {
    /// There is none any more. What is reached without it stays, for the next one.
    Remove,
    /// These parts of it change.
    Merge {
        /// What is known of it.
        proxy: Proxy,
        /// Names are not looked up through it any more.
        drop_dns: bool,
        /// Whether [`Proxy::no_proxy`] counts: an empty one may be meant.
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

    /// Whether files have it between quotes.
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

    /// Sets a field. One that is there keeps its place.
    pub fn set(&mut self, field: ProxyField, value: String) {
        match self.fields.iter_mut().find(|(it, _)| *it == field) {
            Some((_, old)) => *old = value,
            None => self.fields.push((field, value)),
        }
    }

    /// What keeps it from being a proxy, each in words. None of them repeats a secret.
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

/// Without its values: they are nobody's business.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.fields.iter().map(|(field, _)| field.name())).finish()
    }
}
