//! The request that creates a container: only fields that API 1.41 knows.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::json::object::{object, texts};
use crate::linux::engine::labels::{self, Labels};
use crate::sorted::{SortedMap, SortedSet};
use crate::state::config::{HealthCheck, Mount, MountMode, NetworkMode, RestartPolicy, SERVICE_NAMESPACE};
use crate::state::network::{NetworkAttachment, SUPERVISOR_NETWORK};
use crate::state::{AppId, ContainerConfig, ContainerSpec, Volume};

/// How a container is connected to a network after it was created, as the agent's label keeps it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct LaterEndpoint {
    #[serde(skip_serializing_if = "SortedSet::is_empty")]
    aliases: SortedSet<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv4: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv6: Option<String>,
    #[serde(skip_serializing_if = "SortedSet::is_empty")]
    link_local: SortedSet<String>,
}

/// Endpoints by the names of their networks on the engine.
pub(super) type Endpoints = SortedMap<String, LaterEndpoint>;

/// Endpoints as the label of a container has them.
#[derive(Default, Serialize, Deserialize)]
struct EndpointsLabel(Endpoints);

/// The body of the request that creates a container. `base` is what its image gives, if that is known.
pub(super) fn body(spec: &ContainerSpec, base: Option<&ContainerConfig>) -> Value {
    let config = &spec.config;
    let (mode, first, later) = networks(spec);
    let env = config.env.iter().chain(&spec.env_at_creation).map(|(name, value)| format!("{name}={value}"));
    let mut body = Fields::default();
    body.set("Image", spec.image.as_str());
    body.given("Cmd", base.map_or_else(|| config.command.clone(), |base| config.command_on(base)));
    body.given("Entrypoint", config.entrypoint.clone());
    body.set("Env", env.collect::<Vec<_>>());
    body.set("Labels", texts(&all_labels(spec, base, &later)));
    body.given("WorkingDir", config.working_dir.clone());
    body.given("User", config.user.clone());
    body.some("OpenStdin", config.open_stdin);
    body.set("Tty", config.tty);
    body.given("StopSignal", config.stop_signal.clone());
    body.given("StopTimeout", i64::try_from(config.stop_grace.as_secs()).ok());
    body.given("Healthcheck", config.health.as_ref().map(health));
    body.given("Hostname", config.hostname.clone());
    body.given("Domainname", config.domainname.clone());
    body.some("ExposedPorts", keys(exposed(config)));
    body.some("Volumes", keys(config.mounts.iter().filter_map(anonymous).collect()));
    body.set("HostConfig", host_config(spec, mode));
    if let Some((name, mut endpoint)) = first {
        endpoint.given("MacAddress", config.mac_address.clone());
        body.set("NetworkingConfig", json!({"EndpointsConfig": {name: endpoint.value()}}));
    }
    body.value()
}

/// What a container has of the host.
fn host_config(spec: &ContainerSpec, mode: Option<String>) -> Value {
    let config = &spec.config;
    let mut host = Fields::default();
    host.given("NetworkMode", mode);
    host.some("Binds", config.mounts.iter().filter_map(|it| bind(spec.key.app, it)).collect::<Vec<_>>());
    host.some("PortBindings", bindings(spec));
    host.given("PidMode", config.pid.as_deref().map(|it| namespace(spec, it)));
    host.set("IpcMode", namespace(spec, &config.ipc));
    rights(config, &mut host);
    limits(config, &mut host);
    host.value()
}

/// A JSON object to which fields are added.
#[derive(Debug, Default)]
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// Sets a field.
    pub(super) fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.insert(name, value.into());
    }

    /// Sets a field that has a value.
    pub(super) fn given(&mut self, name: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.insert(name, value.into());
        }
    }

    /// Sets a field unless its value is `false`, 0 or empty.
    pub(super) fn some(&mut self, name: &str, value: impl Into<Value>) {
        self.insert_some(name, value.into());
    }

    pub(super) fn value(self) -> Value {
        Value::Object(self.0)
    }

    fn insert(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), value);
    }

    fn insert_some(&mut self, name: &str, value: Value) {
        let is_some = match &value {
            Value::Null => false,
            Value::Bool(it) => *it,
            Value::Number(it) => it.as_i64() != Some(0),
            Value::String(it) => !it.is_empty(),
            Value::Array(it) => !it.is_empty(),
            Value::Object(it) => !it.is_empty(),
        };
        if is_some {
            self.insert(name, value);
        }
    }
}

/// Names as an engine takes a set of them: an object with an empty object for each.
fn keys(names: Vec<String>) -> Value {
    object(names.into_iter().map(|name| (name, Value::Object(Map::new()))))
}

/// The networks a container is to be connected to once it exists.
pub(super) fn later(labels: &Labels) -> Endpoints {
    // A label that another program broke counts as none.
    let label = labels.get(labels::NETWORKS).and_then(|it| serde_json::from_slice::<EndpointsLabel>(it.as_bytes()).ok());
    label.unwrap_or_default().0
}

type First = Option<(String, Fields)>;

/// The network mode, the network a container is created on, and its further networks.
fn networks(spec: &ContainerSpec) -> (Option<String>, First, Endpoints) {
    let config = &spec.config;
    let mode = match &config.network_mode {
        NetworkMode::App => None,
        NetworkMode::Host => Some("host".to_owned()),
        NetworkMode::None => Some("none".to_owned()),
        NetworkMode::Service(name) => Some(of_service(spec, name)),
        NetworkMode::Container(name) => Some(format!("container:{name}")),
    };
    if mode.is_some() {
        return (mode, None, Endpoints::new());
    }
    // The first network gives the default route: it is one of the app's own, and never the one that only leads to the agent. A
    // container that names none of the app's is created on the engine's default network.
    let own = config.networks.keys().filter(|it| *it != SUPERVISOR_NETWORK);
    let first = own.min_by_key(|name| (*name != "default", (*name).clone()));
    let named = |name: &String| spec.networks.get(name).unwrap_or(name).clone();
    let later = config.networks.iter().filter(|(name, _)| Some(*name) != first);
    let later = later.map(|(name, it)| (named(name), LaterEndpoint::from(it))).collect();
    let first = first.and_then(|name| Some((named(name), LaterEndpoint::from(config.networks.get(name)?).settings())));
    (first.as_ref().map(|(name, _)| name.clone()), first, later)
}

/// The namespace of a service's container, in the engine's form.
fn of_service(spec: &ContainerSpec, name: &str) -> String {
    format!("container:{}", spec.owners.get(name).map_or(name, |it| it.0.as_str()))
}

/// The namespace that `pid` or `ipc` names, in the engine's form.
fn namespace(spec: &ContainerSpec, text: &str) -> String {
    text.strip_prefix(SERVICE_NAMESPACE).map_or_else(|| text.to_owned(), |name| of_service(spec, name))
}

impl From<&NetworkAttachment> for LaterEndpoint {
    fn from(it: &NetworkAttachment) -> Self {
        let NetworkAttachment { aliases, ipv4, ipv6, link_local } = it.clone();
        Self { aliases, ipv4, ipv6, link_local }
    }
}

impl LaterEndpoint {
    /// The engine's form.
    pub(super) fn settings(&self) -> Fields {
        let mut ipam = Fields::default();
        ipam.given("IPv4Address", self.ipv4.clone());
        ipam.given("IPv6Address", self.ipv6.clone());
        ipam.some("LinkLocalIPs", list(&self.link_local));
        let mut settings = Fields::default();
        settings.some("Aliases", list(&self.aliases));
        settings.some("IPAMConfig", ipam.value());
        settings
    }
}

fn all_labels(spec: &ContainerSpec, base: Option<&ContainerConfig>, later: &Endpoints) -> Labels {
    let mut all = spec.config.labels.clone();
    let mut give = |name: &str, value: String| all.insert(name.to_owned(), value);
    give(labels::SUPERVISED, "true".to_owned());
    give(labels::APP_ID, spec.key.app.to_string());
    give(labels::APP_UUID, spec.app_uuid.clone());
    give(labels::SERVICE_ID, spec.service_id.to_string());
    give(labels::SERVICE_NAME, spec.key.service.clone());
    give(labels::CONFIG, spec.hash.to_string());
    let outcome = base.map(|base| spec.config.effective_hash(base, spec.image.as_str()));
    // Set even if it is empty: a label that the request leaves out, the image may set.
    give(labels::OUTCOME, outcome.map(|it| it.0).unwrap_or_default());
    give(
        labels::NETWORKS,
        serde_json::to_string(&EndpointsLabel(later.clone())).expect("names and addresses are text, which JSON can hold"),
    );
    all
}

fn bind(app: AppId, mount: &Mount) -> Option<String> {
    let (from, path, access, propagation) = match mount {
        Mount::Volume { name, path, access } => (Volume::engine_name(app, name), path, access, None),
        Mount::Bind { host, path, access, propagation } => (host.clone(), path, access, propagation.name()),
        Mount::Anonymous { .. } => return None,
    };
    Some(match (access, propagation) {
        // As other supervisors write it: they compare the text.
        (MountMode::Write, None) => format!("{from}:{path}"),
        (MountMode::ReadOnly, None) => format!("{from}:{path}:ro"),
        (MountMode::Write, Some(kind)) => format!("{from}:{path}:{kind}"),
        (MountMode::ReadOnly, Some(kind)) => format!("{from}:{path}:ro,{kind}"),
    })
}

fn anonymous(mount: &Mount) -> Option<String> {
    match mount {
        Mount::Anonymous { path } => Some(path.clone()),
        Mount::Volume { .. } | Mount::Bind { .. } => None,
    }
}

fn exposed(config: &ContainerConfig) -> Vec<String> {
    let published = config.ports.iter().map(|it| format!("{}/{}", it.container, it.protocol));
    config.expose.iter().cloned().chain(published).collect::<SortedSet<_>>().into_iter().collect()
}

fn bindings(spec: &ContainerSpec) -> Value {
    let mut all = SortedMap::<_, Vec<Value>>::new();
    for port in &spec.config.ports {
        let host = spec.ports.get(port).copied().or(port.host);
        let host_port = host.map(|it| it.to_string()).unwrap_or_default();
        let binding = json!({"HostIp": port.host_ip, "HostPort": host_port});
        all.entry(format!("{}/{}", port.container, port.protocol)).or_default().push(binding);
    }
    object(all.into_iter().map(|(port, bindings)| (port, Value::Array(bindings))))
}

fn health(it: &HealthCheck) -> Value {
    let nanos = |it: Duration| i64::try_from(it.as_nanos()).unwrap_or(0);
    let mut health = Fields::default();
    health.some("Test", it.test.clone());
    health.some("Interval", nanos(it.interval));
    health.some("Timeout", nanos(it.timeout));
    health.some("StartPeriod", nanos(it.start_period));
    health.some("Retries", it.retries);
    health.value()
}

/// A container's privileges, devices and namespaces.
fn rights(config: &ContainerConfig, host: &mut Fields) {
    host.set("Init", config.init);
    host.set("RestartPolicy", restart(config.restart));
    host.set("Privileged", config.privileged);
    host.set("ReadonlyRootfs", config.read_only);
    host.some("CapAdd", list(&config.cap_add));
    host.some("CapDrop", list(&config.cap_drop));
    host.some("SecurityOpt", list(&config.security_opt));
    host.some("Devices", config.devices.iter().map(|it| device(it)).collect::<Vec<_>>());
    host.some("DeviceCgroupRules", list(&config.device_cgroup_rules));
    if config.gpus > 0 {
        host.set("DeviceRequests", json!([{"Count": config.gpus, "Capabilities": [["gpu"]]}]));
    }
    host.some("GroupAdd", list(&config.group_add));
    host.some("Sysctls", texts(&config.sysctls));
    host.some("StorageOpt", texts(&config.storage_opt));
    host.some("Tmpfs", texts(&config.tmpfs));
    host.given("CgroupParent", config.cgroup_parent.clone());
    host.given("Runtime", config.runtime.clone());
    host.given("UsernsMode", config.userns_mode.clone());
    host.given("UTSMode", config.uts.clone());
    host.some("Dns", config.dns.clone());
    host.some("DnsOptions", config.dns_opt.clone());
    host.some("DnsSearch", config.dns_search.clone());
    host.some("ExtraHosts", list(&config.extra_hosts));
}

/// A container's resource limits. A resource without a limit is left out: a kernel without its controller rejects even "none".
fn limits(config: &ContainerConfig, host: &mut Fields) {
    let ulimit = |(name, (soft, hard)): (&String, &(i64, i64))| json!({"Name": name, "Soft": soft, "Hard": hard});
    if let Some(logging) = &config.logging {
        host.set("LogConfig", json!({"Type": logging.driver, "Config": texts(&logging.options)}));
    }
    host.some("Memory", config.memory_bytes);
    host.some("MemoryReservation", config.memory_reservation_bytes);
    host.some("ShmSize", config.shm_bytes);
    host.some("CpuShares", config.cpu_shares);
    host.some("CpuQuota", config.cpu_quota);
    host.some("NanoCpus", config.nano_cpus);
    host.some("CpusetCpus", config.cpuset.as_str());
    host.some("PidsLimit", config.pids_limit);
    host.some("OomKillDisable", config.oom_kill_disable);
    host.some("OomScoreAdj", config.oom_score_adj);
    host.some("Ulimits", config.ulimits.iter().map(ulimit).collect::<Vec<_>>());
}

/// A restart policy in the engine's form.
pub(super) fn restart(policy: RestartPolicy) -> Value {
    let (name, most) = match policy {
        RestartPolicy::No => ("no", 0),
        RestartPolicy::Always => ("always", 0),
        RestartPolicy::UnlessStopped => ("unless-stopped", 0),
        RestartPolicy::OnFailure(most) => ("on-failure", most),
    };
    let mut restart = Fields::default();
    restart.set("Name", name);
    restart.some("MaximumRetryCount", most);
    restart.value()
}

fn device(text: &str) -> Value {
    let mut parts = text.splitn(3, ':');
    let host = parts.next().unwrap_or_default();
    let inside = parts.next().unwrap_or(host);
    json!({"PathOnHost": host, "PathInContainer": inside, "CgroupPermissions": parts.next().unwrap_or("rwm")})
}

fn list(set: &SortedSet<String>) -> Value {
    set.iter().map(String::as_str).collect()
}
