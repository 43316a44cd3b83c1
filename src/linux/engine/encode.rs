//! The request that creates a container: only fields that API 1.41 knows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, DeviceMapping, DeviceRequest, EndpointIpamConfig, EndpointSettings, HealthConfig, HostConfig,
    HostConfigLogConfig, NetworkingConfig, PortBinding, ResourcesUlimits, RestartPolicy as EngineRestartPolicy,
    RestartPolicyNameEnum,
};
use serde::{Deserialize, Serialize};

use crate::linux::engine::labels::{self, Labels};
use crate::state::config::{HealthCheck, Mount, MountMode, NetworkMode, RestartPolicy, SERVICE_NAMESPACE};
use crate::state::network::{NetworkAttachment, SUPERVISOR_NETWORK};
use crate::state::{AppId, ContainerConfig, ContainerSpec, Volume};

/// How a container is connected to a network after it was created, as the agent's label keeps it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct LaterEndpoint {
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    aliases: BTreeSet<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv4: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv6: Option<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    link_local: BTreeSet<String>,
}

/// Endpoints by the names of their networks on the engine.
pub(super) type Endpoints = BTreeMap<String, LaterEndpoint>;

/// The body of the request that creates a container. `base` is what its image gives, if that is known.
pub(super) fn body(spec: &ContainerSpec, base: Option<&ContainerConfig>) -> ContainerCreateBody {
    let config = &spec.config;
    let (mode, first, later) = networks(spec);
    ContainerCreateBody {
        image: Some(spec.image.as_str().to_owned()),
        cmd: base.map_or_else(|| config.command.clone(), |base| config.command_on(base)),
        entrypoint: config.entrypoint.clone(),
        env: Some(config.env.iter().chain(&spec.env_at_creation).map(|(name, value)| format!("{name}={value}")).collect()),
        labels: Some(all_labels(spec, base, &later).into_iter().collect()),
        working_dir: config.working_dir.clone(),
        user: config.user.clone(),
        open_stdin: config.open_stdin.then_some(true),
        tty: Some(config.tty),
        stop_signal: config.stop_signal.clone(),
        stop_timeout: i64::try_from(config.stop_grace.as_secs()).ok(),
        healthcheck: config.health.as_ref().map(health),
        hostname: config.hostname.clone(),
        domainname: config.domainname.clone(),
        exposed_ports: some(exposed(config)),
        volumes: some(config.mounts.iter().filter_map(anonymous).collect()),
        host_config: Some(HostConfig {
            network_mode: mode,
            binds: some(config.mounts.iter().filter_map(|it| bind(spec.key.app, it)).collect()),
            port_bindings: Some(bindings(spec)).filter(|it| !it.is_empty()).map(|it| it.into_iter().collect()),
            pid_mode: config.pid.as_deref().map(|it| namespace(spec, it)),
            ipc_mode: Some(namespace(spec, &config.ipc)),
            ..limits(config, rights(config))
        }),
        networking_config: first.map(|(name, endpoint)| {
            let endpoint = EndpointSettings { mac_address: config.mac_address.clone(), ..endpoint };
            NetworkingConfig { endpoints_config: Some([(name, endpoint)].into_iter().collect()) }
        }),
        ..ContainerCreateBody::default()
    }
}

/// The networks a container is to be connected to once it exists.
pub(super) fn later(labels: &Labels) -> Endpoints {
    // A label that another program broke counts as none.
    labels.get(labels::NETWORKS).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

type First = Option<(String, EndpointSettings)>;

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
    pub(super) fn settings(&self) -> EndpointSettings {
        let fixed = self.ipv4.is_some() || self.ipv6.is_some() || !self.link_local.is_empty();
        EndpointSettings {
            aliases: some(self.aliases.iter().cloned().collect()),
            ipam_config: fixed.then(|| EndpointIpamConfig {
                ipv4_address: self.ipv4.clone(),
                ipv6_address: self.ipv6.clone(),
                link_local_ips: some(self.link_local.iter().cloned().collect()),
            }),
            ..EndpointSettings::default()
        }
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
    give(labels::NETWORKS, serde_json::to_string(later).expect("names and addresses are text, which JSON can hold"));
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
    config.expose.iter().cloned().chain(published).collect::<BTreeSet<_>>().into_iter().collect()
}

fn bindings(spec: &ContainerSpec) -> BTreeMap<String, Option<Vec<PortBinding>>> {
    let mut all = BTreeMap::<_, Option<Vec<PortBinding>>>::new();
    for port in &spec.config.ports {
        let host = spec.ports.get(port).copied().or(port.host);
        let host_port = host.map(|it| it.to_string()).unwrap_or_default();
        let binding = PortBinding { host_ip: Some(port.host_ip.clone()), host_port: Some(host_port) };
        all.entry(format!("{}/{}", port.container, port.protocol)).or_default().get_or_insert_default().push(binding);
    }
    all
}

fn health(it: &HealthCheck) -> HealthConfig {
    let nanos = |it: Duration| i64::try_from(it.as_nanos()).ok().filter(|it| *it > 0);
    HealthConfig {
        test: some(it.test.clone()),
        interval: nanos(it.interval),
        timeout: nanos(it.timeout),
        start_period: nanos(it.start_period),
        retries: number(i64::from(it.retries)),
        start_interval: None,
    }
}

/// A container's privileges, devices and namespaces.
fn rights(config: &ContainerConfig) -> HostConfig {
    HostConfig {
        init: Some(config.init),
        restart_policy: Some(restart(config.restart)),
        privileged: Some(config.privileged),
        readonly_rootfs: Some(config.read_only),
        cap_add: set(&config.cap_add),
        cap_drop: set(&config.cap_drop),
        security_opt: set(&config.security_opt),
        devices: some(config.devices.iter().map(|it| device(it)).collect()),
        device_cgroup_rules: set(&config.device_cgroup_rules),
        device_requests: (config.gpus > 0).then(|| vec![gpus(config.gpus)]),
        group_add: set(&config.group_add),
        sysctls: map(&config.sysctls),
        storage_opt: map(&config.storage_opt),
        tmpfs: map(&config.tmpfs),
        cgroup_parent: config.cgroup_parent.clone(),
        runtime: config.runtime.clone(),
        userns_mode: config.userns_mode.clone(),
        uts_mode: config.uts.clone(),
        dns: some(config.dns.clone()),
        dns_options: some(config.dns_opt.clone()),
        dns_search: some(config.dns_search.clone()),
        extra_hosts: set(&config.extra_hosts),
        ..HostConfig::default()
    }
}

/// A container's resource limits. A resource without a limit is left out: a kernel without its controller rejects even "none".
fn limits(config: &ContainerConfig, rest: HostConfig) -> HostConfig {
    let ulimit = |(name, (soft, hard)): (&String, &(i64, i64))| ResourcesUlimits {
        name: Some(name.clone()),
        soft: Some(*soft),
        hard: Some(*hard),
    };
    HostConfig {
        log_config: config.logging.as_ref().map(|it| HostConfigLogConfig {
            typ: Some(it.driver.clone()),
            config: Some(it.options.clone().into_iter().collect()),
        }),
        memory: number(config.memory_bytes),
        memory_reservation: number(config.memory_reservation_bytes),
        shm_size: number(config.shm_bytes),
        cpu_shares: number(config.cpu_shares),
        cpu_quota: number(config.cpu_quota),
        nano_cpus: number(config.nano_cpus),
        cpuset_cpus: Some(config.cpuset.clone()).filter(|it| !it.is_empty()),
        pids_limit: number(config.pids_limit),
        oom_kill_disable: config.oom_kill_disable.then_some(true),
        oom_score_adj: number(config.oom_score_adj),
        ulimits: some(config.ulimits.iter().map(ulimit).collect()),
        ..rest
    }
}

/// A restart policy in the engine's form.
pub(super) fn restart(policy: RestartPolicy) -> EngineRestartPolicy {
    let (name, most) = match policy {
        RestartPolicy::No => (RestartPolicyNameEnum::NO, None),
        RestartPolicy::Always => (RestartPolicyNameEnum::ALWAYS, None),
        RestartPolicy::UnlessStopped => (RestartPolicyNameEnum::UNLESS_STOPPED, None),
        RestartPolicy::OnFailure(most) => (RestartPolicyNameEnum::ON_FAILURE, number(i64::from(most))),
    };
    EngineRestartPolicy { name: Some(name), maximum_retry_count: most }
}

fn device(text: &str) -> DeviceMapping {
    let mut parts = text.splitn(3, ':').map(str::to_owned);
    let host = parts.next();
    let inside = parts.next().or_else(|| host.clone());
    DeviceMapping { path_on_host: host, path_in_container: inside, cgroup_permissions: parts.next().or(Some("rwm".to_owned())) }
}

fn gpus(count: u32) -> DeviceRequest {
    DeviceRequest { count: Some(count.into()), capabilities: Some(vec![vec!["gpu".to_owned()]]), ..DeviceRequest::default() }
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|it| !it.is_empty())
}

fn set(set: &BTreeSet<String>) -> Option<Vec<String>> {
    some(set.iter().cloned().collect())
}

fn map<M: FromIterator<(String, String)>>(map: &BTreeMap<String, String>) -> Option<M> {
    (!map.is_empty()).then(|| map.clone().into_iter().collect())
}

fn number(it: i64) -> Option<i64> {
    Some(it).filter(|it| *it != 0)
}
