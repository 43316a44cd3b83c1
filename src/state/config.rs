//! Everything that an engine needs to create a container, in one normal form.
//!
//! Two configurations that an engine would run alike are equal here: sets are sets, quantities have one unit, and a field that
//! is left out has its [`Default`]. So neither the order of an environment nor the spelling of a port recreates a container.
//!
//! A container that the agent creates carries a hash of this form in a label, so that it is compared without asking the engine
//! what became of each field. The hash covers the fields that differ from their default, so that a field added later changes no
//! hash.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::state::canonical_form::CanonicalForm;
use crate::state::logging::Logging;
use crate::state::network::NetworkAttachment;
use crate::state::service::{Namespace, RestartPolicy};

pub use crate::state::ports::Port;

/// The configuration of a container, except its name, its image and the agent's own labels.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "they are the engine's own switches, independent of each other")]
pub struct ContainerConfig {
    /// Arguments. `None`: the image's.
    pub command: Option<Vec<String>>,
    /// Program. `None`: the image's.
    pub entrypoint: Option<Vec<String>>,
    /// Environment, on top of the image's.
    pub env: BTreeMap<String, String>,
    /// The owner's labels; the agent's are added when the container is created.
    pub labels: BTreeMap<String, String>,
    /// Working directory. `None`: the image's.
    pub working_dir: Option<String>,
    /// User, and group. `None`: the image's.
    pub user: Option<String>,
    /// Whether it has a terminal.
    pub tty: bool,
    /// Whether the engine runs its own init before the program.
    pub init: bool,
    /// Signal that stops it. `None`: the image's, else SIGTERM.
    pub stop_signal: Option<String>,
    /// Time between that signal and SIGKILL.
    pub stop_grace: Duration,
    /// Its health check. `None`: the image's.
    pub health: Option<HealthCheck>,
    /// What the engine does when it exits.
    pub restart: RestartPolicy,
    /// Where the engine logs its output. `None`: the engine's default.
    pub logging: Option<Logging>,

    /// Full access to the host.
    pub privileged: bool,
    /// Whether its root file system cannot be written.
    pub read_only: bool,
    /// Capabilities added, without `CAP_`.
    pub cap_add: BTreeSet<String>,
    /// Capabilities dropped, without `CAP_`.
    pub cap_drop: BTreeSet<String>,
    /// Security options.
    pub security_opt: BTreeSet<String>,
    /// Devices, `host:container:permissions`.
    pub devices: BTreeSet<String>,
    /// Rules of the device cgroup.
    pub device_cgroup_rules: BTreeSet<String>,
    /// GPUs asked for, through the engine's device requests. 0: none.
    pub gpus: u32,
    /// Supplementary groups.
    pub group_add: BTreeSet<String>,
    /// Resource limits by name: soft and hard.
    pub ulimits: BTreeMap<String, (i64, i64)>,
    /// Kernel parameters of its namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// Options of the storage driver.
    pub storage_opt: BTreeMap<String, String>,
    /// Parent cgroup.
    pub cgroup_parent: Option<String>,
    /// The engine's runtime.
    pub runtime: Option<String>,
    /// User namespace.
    pub userns_mode: Option<String>,
    /// UTS namespace.
    pub uts: Option<String>,
    /// Process namespace: `host`, `container:<id>` or `service:<name>`.
    pub pid: Option<String>,
    /// IPC namespace: `private`, `shareable`, `host`, `none`, `container:<id>` or `service:<name>`.
    pub ipc: String,

    /// Memory limit, in bytes. 0: no limit.
    pub memory_bytes: i64,
    /// Memory reserved for it, in bytes. 0: none.
    pub memory_reservation_bytes: i64,
    /// Size of `/dev/shm`, in bytes.
    pub shm_bytes: i64,
    /// Relative CPU shares. 0: the engine's default.
    pub cpu_shares: i64,
    /// Microseconds of processor time in each period. 0: no limit.
    pub cpu_quota: i64,
    /// Billionths of a processor. 0: no limit.
    pub nano_cpus: i64,
    /// Processors it may run on. Empty: all.
    pub cpuset: String,
    /// Limit of processes. 0: no limit.
    pub pids_limit: i64,
    /// Whether the kernel's out-of-memory killer leaves it alone.
    pub oom_kill_disable: bool,
    /// Adjustment of its score for that killer, -1000 to 1000; a higher score is killed first.
    pub oom_score_adj: i64,

    /// Where its network comes from.
    pub network_mode: NetworkMode,
    /// Networks of the app it is attached to, by their name in the document.
    pub networks: BTreeMap<String, NetworkAttachment>,
    /// Published ports.
    pub ports: BTreeSet<Port>,
    /// Exposed ports, `80/tcp`; published ones included.
    pub expose: BTreeSet<String>,
    /// Name servers, in order.
    pub dns: Vec<String>,
    /// Options of the resolver, in order.
    pub dns_opt: Vec<String>,
    /// Search domains, in order.
    pub dns_search: Vec<String>,
    /// Lines for `/etc/hosts`, `name:address`.
    pub extra_hosts: BTreeSet<String>,
    /// Host name. `None`: the engine's choice.
    pub hostname: Option<String>,
    /// Domain name.
    pub domainname: Option<String>,
    /// MAC address.
    pub mac_address: Option<String>,

    /// What is mounted in it.
    pub mounts: BTreeSet<Mount>,
    /// tmpfs mounts: path and options.
    pub tmpfs: BTreeMap<String, String>,
}

/// How a container's health is checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HealthCheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", "…"]`. Empty: the image's.
    pub test: Vec<String>,
    /// Time between two checks. Zero: the image's, else the engine's default.
    pub interval: Duration,
    /// Time that a check may take. Zero: the image's, else the engine's default.
    pub timeout: Duration,
    /// Time in which failures do not count. Zero: the image's, else the engine's default.
    pub start_period: Duration,
    /// Failures that make it unhealthy. 0: the image's, else the engine's default.
    pub retries: u32,
}

/// Where a container's network comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum NetworkMode {
    /// The networks of its app.
    #[default]
    App,
    /// The host.
    Host,
    /// No network.
    None,
    /// Another service of its app. The engine sees only that service's container.
    Service(String),
    /// A container, by id or name.
    Container(String),
}

/// Something mounted in a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mount {
    /// A volume of the app, by its name in the document.
    Volume {
        /// The volume's name in the document.
        name: String,
        /// Where it is in the container.
        path: String,
        /// Whether it can be written.
        access: MountMode,
    },
    /// A volume of this container alone, removed with it.
    Anonymous {
        /// Where it is in the container.
        path: String,
    },
    /// A path of the host. Only the agent creates these; a document's are dropped with a warning.
    Bind {
        /// The path on the host.
        host: String,
        /// Where it is in the container.
        path: String,
        /// Whether it can be written.
        access: MountMode,
    },
}

impl Mount {
    /// Where it is in the container.
    #[must_use]
    pub fn path(&self) -> &str {
        let (Self::Volume { path, .. } | Self::Bind { path, .. } | Self::Anonymous { path }) = self;
        path
    }
}

/// Whether a mount can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MountMode {
    /// Read-write.
    Write,
    /// Read-only.
    ReadOnly,
}

/// Prefix of `pid` and `ipc` when they name a service of the app. The engine sees only that service's container.
pub const SERVICE_NAMESPACE: &str = "service:";

/// A hash of a [`ContainerConfig`] and its image: 64 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigHash(pub String);

impl ContainerConfig {
    /// Services of the app whose namespaces it shares.
    pub fn shares(&self) -> impl Iterator<Item = (Namespace, &str)> {
        let network = match &self.network_mode {
            NetworkMode::Service(name) => Some(name.as_str()),
            NetworkMode::App | NetworkMode::Host | NetworkMode::None | NetworkMode::Container(_) => None,
        };
        let pid = self.pid.as_deref().and_then(|it| it.strip_prefix(SERVICE_NAMESPACE));
        let ipc = self.ipc.strip_prefix(SERVICE_NAMESPACE);
        let all = [(Namespace::Network, network), (Namespace::Pid, pid), (Namespace::Ipc, ipc)];
        all.into_iter().filter_map(|(namespace, name)| Some((namespace, name?)))
    }

    /// The fields that differ from their default, by name, each in one unambiguous line of text.
    #[must_use]
    pub fn fields(&self) -> BTreeMap<&'static str, String> {
        static PLAIN: LazyLock<ContainerConfig> = LazyLock::new(ContainerConfig::default);
        let plain = &*PLAIN;
        let mut fields = BTreeMap::new();
        macro_rules! list {
            ($($field:ident),+ $(,)?) => {{
                // A field that is not listed does not compile.
                let Self { $($field),+ } = self;
                $(if *$field != plain.$field {
                    fields.insert(stringify!($field), $field.canonical_text());
                })+
            }};
        }
        list!(
            command,
            entrypoint,
            env,
            labels,
            working_dir,
            user,
            tty,
            init,
            stop_signal,
            stop_grace,
            health,
            restart,
            logging,
            privileged,
            read_only,
            cap_add,
            cap_drop,
            security_opt,
            devices,
            device_cgroup_rules,
            gpus,
            group_add,
            ulimits,
            sysctls,
            storage_opt,
            cgroup_parent,
            runtime,
            userns_mode,
            uts,
            pid,
            ipc,
            memory_bytes,
            memory_reservation_bytes,
            shm_bytes,
            cpu_shares,
            cpu_quota,
            nano_cpus,
            cpuset,
            pids_limit,
            oom_kill_disable,
            oom_score_adj,
            network_mode,
            networks,
            ports,
            expose,
            dns,
            dns_opt,
            dns_search,
            extra_hosts,
            hostname,
            domainname,
            mac_address,
            mounts,
            tmpfs,
        );
        fields
    }

    /// The hash that a container created from this configuration and image carries.
    #[must_use]
    pub fn hash(&self, image: &str) -> ConfigHash {
        let mut hasher = Sha256::new();
        hasher.update(image.canonical_text());
        for (name, value) in self.fields() {
            for part in ["\n", name, "=", &value] {
                hasher.update(part);
            }
        }
        ConfigHash(hex(&hasher.finalize()))
    }

    /// The names of the fields in which two configurations differ.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        if self == other {
            return Vec::new();
        }
        let (ours, theirs) = (self.fields(), other.fields());
        let names: BTreeSet<_> = ours.keys().chain(theirs.keys()).copied().collect();
        names.into_iter().filter(|name| ours.get(name) != theirs.get(name)).collect()
    }
}

impl Default for ContainerConfig {
    /// The configuration of a service whose document sets nothing.
    fn default() -> Self {
        Self {
            command: None,
            entrypoint: None,
            env: BTreeMap::new(),
            labels: BTreeMap::new(),
            working_dir: None,
            user: None,
            tty: true,
            init: false,
            stop_signal: None,
            stop_grace: Duration::from_secs(10),
            health: None,
            logging: None,
            restart: RestartPolicy::Always,
            privileged: false,
            read_only: false,
            cap_add: BTreeSet::new(),
            cap_drop: BTreeSet::new(),
            security_opt: BTreeSet::new(),
            devices: BTreeSet::new(),
            device_cgroup_rules: BTreeSet::new(),
            gpus: 0,
            group_add: BTreeSet::new(),
            ulimits: BTreeMap::new(),
            sysctls: BTreeMap::new(),
            storage_opt: BTreeMap::new(),
            cgroup_parent: None,
            runtime: None,
            userns_mode: None,
            uts: None,
            pid: None,
            ipc: "shareable".to_owned(),
            memory_bytes: 0,
            memory_reservation_bytes: 0,
            shm_bytes: 64 * 1024 * 1024,
            cpu_shares: 0,
            cpu_quota: 0,
            nano_cpus: 0,
            cpuset: String::new(),
            pids_limit: 0,
            oom_kill_disable: false,
            oom_score_adj: 0,
            network_mode: NetworkMode::App,
            networks: BTreeMap::new(),
            ports: BTreeSet::new(),
            expose: BTreeSet::new(),
            dns: Vec::new(),
            dns_opt: Vec::new(),
            dns_search: Vec::new(),
            extra_hosts: BTreeSet::new(),
            hostname: None,
            domainname: None,
            mac_address: None,
            mounts: BTreeSet::new(),
            tmpfs: BTreeMap::new(),
        }
    }
}

/// Bytes as lower-case hex digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No => f.write_str("no"),
            Self::Always => f.write_str("always"),
            Self::UnlessStopped => f.write_str("unless-stopped"),
            Self::OnFailure(0) => f.write_str("on-failure"),
            Self::OnFailure(most) => write!(f, "on-failure:{most}"),
        }
    }
}

impl fmt::Display for NetworkMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App => f.write_str("app"),
            Self::Host => f.write_str("host"),
            Self::None => f.write_str("none"),
            Self::Service(name) => write!(f, "service:{name}"),
            Self::Container(id) => write!(f, "container:{id}"),
        }
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, from, path, access) = match self {
            Self::Volume { name, path, access } => ("volume", name.as_str(), path, access),
            Self::Bind { host, path, access } => ("bind", host.as_str(), path, access),
            Self::Anonymous { path } => ("anonymous", "", path, &MountMode::Write),
        };
        let access = match access {
            MountMode::Write => "rw",
            MountMode::ReadOnly => "ro",
        };
        write!(f, "{kind} {} {} {access}", from.canonical_text(), path.canonical_text())
    }
}

impl fmt::Display for ConfigHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_left_out_so_that_new_fields_change_no_hash() {
        assert!(ContainerConfig::default().fields().is_empty());
        assert_eq!(
            ContainerConfig::default().hash("app:1").0,
            "98830bb25e053407dbbffcb076729b404c74d83b5c6ea9a08c44acf0c354b6cc",
        );
    }

    #[test]
    fn one_value_cannot_imitate_two() {
        let one = vec!["a,1:b".to_owned()];
        let two = vec!["a".to_owned(), "b".to_owned()];
        assert_ne!(one.canonical_text(), two.canonical_text());
    }

    #[test]
    fn differences_are_named() {
        let one = ContainerConfig::default();
        let mut other = one.clone();
        other.privileged = true;
        other.env.insert("A".into(), "1".into());
        assert_eq!(one.differences(&other), ["env", "privileged"]);
        assert_ne!(one.hash("x"), other.hash("x"));
        assert_ne!(one.hash("x"), one.hash("y"));
    }
}
