//! Everything that an engine needs to create a container, in one normal form.
//!
//! Two configurations that an engine would run alike are equal here: sets are sets, quantities have one unit, and a field that
//! is left out has its [`Default`]. So neither the order of an environment nor the spelling of a port recreates a container.
//!
//! A container that the agent creates carries a hash of this form in a label, so that it is compared without asking the engine
//! what became of each field. The hash covers the fields that differ from their default, so that a field added later changes no
//! hash.

use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::sorted::{SortedMap, SortedSet};
use crate::state::canonical_form::{CanonicalForm, canonical_by_display, list};
use crate::state::logging::Logging;
use crate::state::network::NetworkAttachment;
use crate::state::{AppId, Volume};

pub use crate::state::ports::Port;

/// Declares a configuration from one list of fields, each with its value in a service whose document sets nothing.
macro_rules! configuration {
    ($(#[$about:meta])* $vis:vis struct $name:ident { $($(#[$doc:meta])* pub $field:ident: $type:ty = $default:expr,)+ }) => {
        $(#[$about])*
        $vis struct $name { $($(#[$doc])* pub $field: $type,)+ }

        impl Default for $name {
            /// The configuration of a service whose document sets nothing.
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        impl $name {
            /// The fields that differ from their default, by name, each in one unambiguous line of text.
            #[must_use]
            pub fn fields(&self) -> SortedMap<&'static str, String> {
                static DEFAULT: LazyLock<$name> = LazyLock::new($name::default);
                let default = &*DEFAULT;
                let mut fields = SortedMap::new();
                $(if self.$field != default.$field {
                    fields.insert(stringify!($field), self.$field.canonical_text());
                })+
                fields
            }

            /// The fields in which another configuration differs, with both values for people. Nothing is masked.
            #[must_use]
            pub fn shown_differences(&self, other: &Self) -> Vec<(&'static str, [String; 2])> {
                let mut changes = Vec::new();
                $(if self.$field != other.$field {
                    changes.push((stringify!($field), [self.$field.readable(), other.$field.readable()]));
                })+
                changes
            }
        }
    };
}

configuration! {
    /// The configuration of a container, except its name, its image and the agent's own labels.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ContainerConfig {
        /// Arguments. `None`: the image's.
        pub command: Option<Vec<String>> = None,
        /// Program. `None`: the image's.
        pub entrypoint: Option<Vec<String>> = None,
        /// Environment, on top of the image's.
        pub env: SortedMap<String, String> = SortedMap::new(),
        /// The owner's labels; the agent's are added when the container is created.
        pub labels: SortedMap<String, String> = SortedMap::new(),
        /// Working directory. `None`: the image's.
        pub working_dir: Option<String> = None,
        /// User, and group. `None`: the image's.
        pub user: Option<String> = None,
        /// Whether its standard input is open.
        pub open_stdin: bool = false,
        /// Whether it has a terminal.
        pub tty: bool = true,
        /// Whether the engine runs its own init before the program.
        pub init: bool = false,
        /// Signal that stops it. `None`: the image's, else SIGTERM.
        pub stop_signal: Option<String> = None,
        /// Time between that signal and SIGKILL.
        pub stop_grace: Duration = Duration::from_secs(10),
        /// Its health check. `None`: the image's.
        pub health: Option<HealthCheck> = None,
        /// What the engine does when it exits.
        pub restart: RestartPolicy = RestartPolicy::Always,
        /// Where the engine logs its output. `None`: the engine's default.
        pub logging: Option<Logging> = None,

        /// Full access to the host.
        pub privileged: bool = false,
        /// Whether its root file system cannot be written.
        pub read_only: bool = false,
        /// Capabilities added, without `CAP_`.
        pub cap_add: SortedSet<String> = SortedSet::new(),
        /// Capabilities dropped, without `CAP_`.
        pub cap_drop: SortedSet<String> = SortedSet::new(),
        /// Security options.
        pub security_opt: SortedSet<String> = SortedSet::new(),
        /// Devices, `host:container:permissions`.
        pub devices: SortedSet<String> = SortedSet::new(),
        /// Rules of the device cgroup.
        pub device_cgroup_rules: SortedSet<String> = SortedSet::new(),
        /// GPUs asked for, through the engine's device requests. 0: none.
        pub gpus: u32 = 0,
        /// Supplementary groups.
        pub group_add: SortedSet<String> = SortedSet::new(),
        /// Resource limits by name: soft and hard.
        pub ulimits: SortedMap<String, (i64, i64)> = SortedMap::new(),
        /// Kernel parameters of its namespaces.
        pub sysctls: SortedMap<String, String> = SortedMap::new(),
        /// Options of the storage driver.
        pub storage_opt: SortedMap<String, String> = SortedMap::new(),
        /// Parent cgroup.
        pub cgroup_parent: Option<String> = None,
        /// The engine's runtime.
        pub runtime: Option<String> = None,
        /// User namespace.
        pub userns_mode: Option<String> = None,
        /// UTS namespace.
        pub uts: Option<String> = None,
        /// Process namespace: `host`, `container:<id>` or `service:<name>`.
        pub pid: Option<String> = None,
        /// IPC namespace: `private`, `shareable`, `host`, `none`, `container:<id>` or `service:<name>`.
        pub ipc: String = "shareable".to_owned(),

        /// Memory limit, in bytes. 0: no limit.
        pub memory_bytes: i64 = 0,
        /// Memory reserved for it, in bytes. 0: none.
        pub memory_reservation_bytes: i64 = 0,
        /// Size of `/dev/shm`, in bytes.
        pub shm_bytes: i64 = 64 * 1024 * 1024,
        /// Relative CPU shares. 0: the engine's default.
        pub cpu_shares: i64 = 0,
        /// Microseconds of processor time in each period. 0: no limit.
        pub cpu_quota: i64 = 0,
        /// Billionths of a processor. 0: no limit.
        pub nano_cpus: i64 = 0,
        /// Processors it may run on. Empty: all.
        pub cpuset: String = String::new(),
        /// Limit of processes. 0: no limit.
        pub pids_limit: i64 = 0,
        /// Whether the kernel's out-of-memory killer leaves it alone.
        pub oom_kill_disable: bool = false,
        /// Adjustment of its score for that killer, -1000 to 1000; a higher score is killed first.
        pub oom_score_adj: i64 = 0,

        /// Where its network comes from.
        pub network_mode: NetworkMode = NetworkMode::App,
        /// Networks of the app it is attached to, by their name in the document.
        pub networks: SortedMap<String, NetworkAttachment> = SortedMap::new(),
        /// Published ports.
        pub ports: SortedSet<Port> = SortedSet::new(),
        /// Exposed ports, `80/tcp`; published ones included.
        pub expose: SortedSet<String> = SortedSet::new(),
        /// Name servers, in order.
        pub dns: Vec<String> = Vec::new(),
        /// Options of the resolver, in order.
        pub dns_opt: Vec<String> = Vec::new(),
        /// Search domains, in order.
        pub dns_search: Vec<String> = Vec::new(),
        /// Lines for `/etc/hosts`, `name:address`.
        pub extra_hosts: SortedSet<String> = SortedSet::new(),
        /// Host name. `None`: the engine's choice.
        pub hostname: Option<String> = None,
        /// Domain name.
        pub domainname: Option<String> = None,
        /// MAC address.
        pub mac_address: Option<String> = None,

        /// What is mounted in it.
        pub mounts: SortedSet<Mount> = SortedSet::new(),
        /// tmpfs mounts: path and options.
        pub tmpfs: SortedMap<String, String> = SortedMap::new(),
    }
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

impl CanonicalForm for HealthCheck {
    fn write(&self, text: &mut String) {
        let Self { test, interval, timeout, start_period, retries } = self;
        list(text, [test as &dyn CanonicalForm, interval, timeout, start_period, retries], CanonicalForm::write);
    }
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

canonical_by_display!(NetworkMode);

/// A namespace that a container can share with another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Namespace {
    /// Its interfaces and addresses.
    Network,
    /// Its processes.
    Pid,
    /// Its shared memory, semaphores and message queues.
    Ipc,
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
    /// A path of the host. Only the agent and compose files of the device's owner create these; those of other documents are
    /// dropped with a warning.
    Bind {
        /// The path on the host. A text without a slash: the engine's name of a volume that others made.
        host: String,
        /// Where it is in the container.
        path: String,
        /// Whether it can be written.
        access: MountMode,
        /// Whether what is mounted below it later is seen on the other side.
        propagation: Propagation,
    },
}

/// Whether what is mounted below a bind mount later, on the host or in the container, is seen on the other side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Propagation {
    /// On neither: the engine's default (`rprivate`).
    #[default]
    None,
    /// The engine's name of another kind.
    Kind(&'static str),
}

impl Propagation {
    /// A kind by its name in compose files and in the engine's API.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let kinds = ["private", "shared", "rshared", "slave", "rslave"];
        if name == "rprivate" { Some(Self::None) } else { kinds.into_iter().find(|it| *it == name).map(Self::Kind) }
    }

    /// The engine's name, unless it is the default.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Kind(name) => Some(name),
        }
    }
}

impl Mount {
    /// Where it is in the container.
    #[must_use]
    pub fn path(&self) -> &str {
        let (Self::Volume { path, .. } | Self::Bind { path, .. } | Self::Anonymous { path }) = self;
        path
    }

    /// The name on the engine of the app's volume that it mounts.
    #[must_use]
    pub fn engine_volume(&self, app: AppId) -> Option<String> {
        match self {
            Self::Volume { name, .. } => Some(Volume::engine_name(app, name)),
            Self::Bind { .. } | Self::Anonymous { .. } => None,
        }
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

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, from, path, access) = match self {
            Self::Volume { name, path, access } => ("volume", name.as_str(), path, access),
            Self::Bind { host, path, access, .. } => ("bind", host.as_str(), path, access),
            Self::Anonymous { path } => ("anonymous", "", path, &MountMode::Write),
        };
        let access = match access {
            MountMode::Write => "rw",
            MountMode::ReadOnly => "ro",
        };
        write!(f, "{kind} {} {} {access}", from.canonical_text(), path.canonical_text())?;
        match self {
            Self::Bind { propagation: Propagation::Kind(name), .. } => write!(f, " {name}"),
            Self::Bind { .. } | Self::Volume { .. } | Self::Anonymous { .. } => Ok(()),
        }
    }
}

canonical_by_display!(Mount);

/// What the engine does when a container exits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum RestartPolicy {
    /// The engine does nothing.
    No,
    /// The engine restarts it, unless it was stopped by hand; then at the engine's next start.
    #[default]
    Always,
    /// The engine restarts it, unless it was stopped by hand.
    UnlessStopped,
    /// The engine restarts it when its exit code was not 0, at most so many times (0: without limit).
    OnFailure(u32),
}

impl RestartPolicy {
    /// Whether the engine restarts a container after every exit. If so, an exited one was stopped on request.
    #[must_use]
    pub const fn restarts_always(self) -> bool {
        match self {
            Self::Always | Self::UnlessStopped => true,
            Self::No | Self::OnFailure(_) => false,
        }
    }
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

canonical_by_display!(RestartPolicy);

/// Prefix of `pid` and `ipc` when they name a service of the app. The engine sees only that service's container.
pub const SERVICE_NAMESPACE: &str = "service:";

/// A hash of a [`ContainerConfig`] and its image: 64 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigHash(pub String);

impl fmt::Display for ConfigHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

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
        ConfigHash(hex::encode(hasher.finalize()))
    }

    /// The names of the fields in which two configurations differ, in the order of their declaration.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        self.shown_differences(other).into_iter().map(|it| it.0).collect()
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
