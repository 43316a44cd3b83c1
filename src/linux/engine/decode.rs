//! The configuration an adopted container was created with: the engine's description of it, beside what its image and the
//! engine give to any container.
//!
//! What cannot be told apart is left out: a requested MAC address looks like one the engine chose.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bollard::models::{
    ContainerConfig as Program, ContainerInspectResponse, EndpointSettings, HealthConfig, HostConfig, ImageConfig, MountType,
    RestartPolicy as EngineRestartPolicy, RestartPolicyNameEnum,
};

use crate::linux::engine::connection::EngineFacts;
use crate::linux::engine::json::EngineJson;
use crate::linux::engine::labels::{self, Labels};
use crate::state::config::{HealthCheck, Mount, MountMode, NetworkMode, Port, Propagation, RestartPolicy};
use crate::state::network::{ENGINE_NETWORK, NetworkAttachment};
use crate::state::{AdoptedContainer, ContainerConfig, ContainerId, Namespace};

/// Digits of a container's id that the engine uses as a host name and as an alias.
const SHORT: usize = 12;

/// An adopted container: the configuration it was created with, and what its image and its engine give.
pub(super) fn foreign(seen: &ContainerInspectResponse, image: &ImageConfig, facts: &EngineFacts) -> AdoptedContainer {
    let config = config(seen, facts);
    let base = base(image, facts, config.network_mode == NetworkMode::Host);
    AdoptedContainer { config, base }
}

/// What an image and an engine give to a container that asks for nothing.
pub(super) fn base(image: &ImageConfig, facts: &EngineFacts, on_host: bool) -> ContainerConfig {
    let labels: Labels = image.labels.clone().unwrap_or_default().into_iter().collect();
    ContainerConfig {
        command: image.cmd.clone(),
        entrypoint: image.entrypoint.clone(),
        env: env(image.env.as_ref()),
        labels: labels::of_owner(&labels),
        working_dir: text(image.working_dir.as_ref()),
        user: text(image.user.as_ref()),
        stop_signal: text(image.stop_signal.as_ref()),
        health: image.healthcheck.as_ref().map(health),
        expose: set(image.exposed_ports.as_ref()),
        mounts: anonymous(image.volumes.as_ref()).collect(),
        runtime: facts.runtime.clone(),
        // On the host's network a container gets the host's name.
        hostname: facts.host_name.clone().filter(|_| on_host),
        ..ContainerConfig::default()
    }
}

/// A container's configuration as the engine describes it, image and defaults included.
fn config(seen: &ContainerInspectResponse, facts: &EngineFacts) -> ContainerConfig {
    let program = seen.config.clone().unwrap_or_default();
    let host = seen.host_config.clone().unwrap_or_default();
    let labels: Labels = program.labels.clone().unwrap_or_default().into_iter().collect();
    let mode = network_mode(host.network_mode.as_deref().unwrap_or_default());
    let id = seen.id.as_deref().unwrap_or_default();
    let short = id.get(..SHORT).unwrap_or(id);
    let of_app = mode == NetworkMode::App;
    let hostname = text(program.hostname.as_ref()).filter(|it| it != short);
    let endpoints = seen.network_settings.as_ref().and_then(|it| it.networks.clone()).unwrap_or_default();
    // Engines add aliases of their own to the requested ones.
    let added = [Some(short), program.hostname.as_deref()];
    // The engine's default network is none of the app's: a service is on it if it names none.
    let endpoints = endpoints.iter().filter(|(name, _)| *name != ENGINE_NETWORK);
    let attached = endpoints.map(|(name, it)| (labels::in_document(name, &labels).to_owned(), attachment(it, &added)));
    ContainerConfig {
        labels: labels::of_owner(&labels),
        hostname: hostname.filter(|_| matches!(mode, NetworkMode::App | NetworkMode::None | NetworkMode::Host)),
        domainname: text(program.domainname.as_ref()),
        networks: attached.filter(|_| of_app).collect(),
        expose: set(program.exposed_ports.as_ref()),
        ports: ports(&host),
        mounts: mounts(&host, &labels).into_iter().chain(anonymous(program.volumes.as_ref())).collect(),
        tmpfs: tmpfs(&host),
        network_mode: mode,
        ..rights(&host, facts, limits(&host, process(&program)))
    }
}

/// A container's environment, as a map. Of two values for a name the last one counts, as it does for the program.
pub(super) fn env(list: Option<&Vec<String>>) -> BTreeMap<String, String> {
    let pair = |it: &String| {
        let (name, value) = it.split_once('=').unwrap_or((it, ""));
        (name.to_owned(), value.to_owned())
    };
    list.into_iter().flatten().map(pair).collect()
}

/// A restart policy.
pub(super) fn restart(policy: Option<&EngineRestartPolicy>) -> RestartPolicy {
    let most = policy.and_then(|it| it.maximum_retry_count).and_then(|it| u32::try_from(it).ok()).unwrap_or(0);
    match policy.and_then(|it| it.name) {
        None | Some(RestartPolicyNameEnum::EMPTY | RestartPolicyNameEnum::NO) => RestartPolicy::No,
        Some(RestartPolicyNameEnum::ALWAYS) => RestartPolicy::Always,
        Some(RestartPolicyNameEnum::UNLESS_STOPPED) => RestartPolicy::UnlessStopped,
        Some(RestartPolicyNameEnum::ON_FAILURE) => RestartPolicy::OnFailure(most),
    }
}

/// The process in it, and how it is stopped.
fn process(program: &Program) -> ContainerConfig {
    let grace = program.stop_timeout.and_then(|it| u64::try_from(it).ok());
    let plain = ContainerConfig::default();
    ContainerConfig {
        // An empty list if the container has none: its creator cleared the image's.
        command: Some(program.cmd.clone().unwrap_or_default()),
        // An empty list if the container has none: the image's was cleared.
        entrypoint: Some(program.entrypoint.clone().unwrap_or_default()),
        env: env(program.env.as_ref()),
        working_dir: text(program.working_dir.as_ref()),
        user: text(program.user.as_ref()),
        open_stdin: program.open_stdin.unwrap_or(false),
        tty: program.tty.unwrap_or(false),
        stop_signal: text(program.stop_signal.as_ref()),
        stop_grace: grace.map_or(plain.stop_grace, Duration::from_secs),
        health: program.healthcheck.as_ref().map(health),
        ..plain
    }
}

fn health(seen: &HealthConfig) -> HealthCheck {
    let span = |it: Option<i64>| Duration::from_nanos(it.and_then(|it| u64::try_from(it).ok()).unwrap_or(0));
    HealthCheck {
        test: seen.test.clone().unwrap_or_default(),
        interval: span(seen.interval),
        timeout: span(seen.timeout),
        start_period: span(seen.start_period),
        retries: seen.retries.and_then(|it| u32::try_from(it).ok()).unwrap_or(0),
    }
}

fn limits(host: &HostConfig, rest: ContainerConfig) -> ContainerConfig {
    let number = |it: Option<i64>| it.unwrap_or(0).max(0);
    let ulimits = host.ulimits.iter().flatten();
    ContainerConfig {
        memory_bytes: number(host.memory),
        memory_reservation_bytes: number(host.memory_reservation),
        shm_bytes: host.shm_size.unwrap_or(rest.shm_bytes),
        cpu_shares: number(host.cpu_shares),
        cpu_quota: number(host.cpu_quota),
        nano_cpus: number(host.nano_cpus),
        cpuset: host.cpuset_cpus.clone().unwrap_or_default(),
        pids_limit: number(host.pids_limit),
        oom_kill_disable: host.oom_kill_disable.unwrap_or(false),
        oom_score_adj: host.oom_score_adj.unwrap_or(0),
        ulimits: ulimits.filter_map(|it| Some((it.name.clone()?, (it.soft?, it.hard?)))).collect(),
        ..rest
    }
}

fn rights(host: &HostConfig, facts: &EngineFacts, rest: ContainerConfig) -> ContainerConfig {
    // What an older engine does not name is its default.
    let runtime = text(host.runtime.as_ref()).or_else(|| facts.runtime.clone());
    ContainerConfig {
        init: host.init.unwrap_or(false),
        restart: restart(host.restart_policy.as_ref()),
        privileged: host.privileged.unwrap_or(false),
        read_only: host.readonly_rootfs.unwrap_or(false),
        cap_add: capabilities(host.cap_add.as_ref()),
        cap_drop: capabilities(host.cap_drop.as_ref()),
        security_opt: security(host),
        devices: devices(host),
        device_cgroup_rules: set(host.device_cgroup_rules.as_ref()),
        gpus: gpus(host),
        group_add: set(host.group_add.as_ref()),
        sysctls: host.sysctls.clone().unwrap_or_default().into_iter().collect(),
        storage_opt: host.storage_opt.clone().unwrap_or_default().into_iter().collect(),
        cgroup_parent: text(host.cgroup_parent.as_ref()),
        runtime,
        userns_mode: text(host.userns_mode.as_ref()),
        uts: text(host.uts_mode.as_ref()),
        pid: text(host.pid_mode.as_ref()),
        ipc: text(host.ipc_mode.as_ref()).unwrap_or_else(|| "private".to_owned()),
        dns: host.dns.clone().unwrap_or_default(),
        dns_opt: host.dns_options.clone().unwrap_or_default(),
        dns_search: host.dns_search.clone().unwrap_or_default(),
        extra_hosts: set(host.extra_hosts.as_ref()),
        ..rest
    }
}

fn capabilities(list: Option<&Vec<String>>) -> BTreeSet<String> {
    list.into_iter().flatten().map(|it| it.to_uppercase()).map(|it| it.trim_start_matches("CAP_").to_owned()).collect()
}

/// Security options, without labels: engines add some by themselves, and those of a document are dropped.
fn security(host: &HostConfig) -> BTreeSet<String> {
    let mut all = set(host.security_opt.as_ref());
    all.retain(|it| !it.starts_with("label=") && !it.starts_with("label:"));
    all
}

fn devices(host: &HostConfig) -> BTreeSet<String> {
    let part = |it: &Option<String>| it.clone().unwrap_or_default();
    let all = host.devices.iter().flatten();
    all.map(|it| format!("{}:{}:{}", part(&it.path_on_host), part(&it.path_in_container), part(&it.cgroup_permissions)))
        .collect()
}

fn gpus(host: &HostConfig) -> u32 {
    let is_gpu = |it: &&bollard::models::DeviceRequest| it.capabilities.iter().flatten().flatten().any(|it| it == "gpu");
    let counts = host.device_requests.iter().flatten().filter(is_gpu).filter_map(|it| it.count);
    let count = counts.fold(0, i64::saturating_add);
    u32::try_from(count).unwrap_or(0)
}

fn network_mode(mode: &str) -> NetworkMode {
    match (mode, mode.split_once(':')) {
        ("host", _) => NetworkMode::Host,
        ("none", _) => NetworkMode::None,
        (_, Some(("container", id))) => NetworkMode::Container(id.to_owned()),
        _ => NetworkMode::App,
    }
}

/// The containers whose namespaces a container shares. A list entry names only the one of its network.
pub(super) fn shares(seen: &EngineJson) -> BTreeMap<Namespace, ContainerId> {
    let modes = [(Namespace::Network, "NetworkMode"), (Namespace::Pid, "PidMode"), (Namespace::Ipc, "IpcMode")];
    let owner = |(namespace, mode)| {
        let id = seen.text(&format!("/HostConfig/{mode}")).strip_prefix("container:")?;
        Some((namespace, ContainerId(id.to_owned())))
    };
    modes.into_iter().filter_map(owner).collect()
}

/// The grace period of a container, between its stop signal and SIGKILL.
pub(super) fn grace(seen: &EngineJson) -> Duration {
    let grace = seen.at("/Config/StopTimeout").and_then(serde_json::Value::as_u64);
    // A grace period is limited to one year.
    grace.map_or(ContainerConfig::default().stop_grace, |it| Duration::from_secs(it.min(365 * 24 * 3600)))
}

fn attachment(seen: &EndpointSettings, added: &[Option<&str>]) -> NetworkAttachment {
    let ipam = seen.ipam_config.clone().unwrap_or_default();
    let mut aliases = set(seen.aliases.as_ref());
    aliases.retain(|it| !added.contains(&Some(it)));
    NetworkAttachment {
        aliases,
        ipv4: text(ipam.ipv4_address.as_ref()),
        ipv6: text(ipam.ipv6_address.as_ref()),
        link_local: set(ipam.link_local_ips.as_ref()),
    }
}

/// The published ports of a container, as they were requested.
pub(super) fn ports(host: &HostConfig) -> BTreeSet<Port> {
    let mut all = BTreeSet::new();
    for (inside, bindings) in host.port_bindings.iter().flatten() {
        let (number, protocol) = inside.split_once('/').unwrap_or((inside, "tcp"));
        let Ok(container) = number.parse() else { continue };
        for binding in bindings.iter().flatten() {
            let host_ip = binding.host_ip.clone().unwrap_or_default();
            let text = binding.host_port.as_deref().unwrap_or_default();
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let number = |it: &str| it.parse().ok().filter(|it| *it != 0);
            let (host, last) = (number(first), number(last));
            let host_last = last.filter(|_| host.is_some_and(|first| Some(first) < last));
            all.insert(Port { container, protocol: protocol.to_owned(), host_ip, host, host_last });
        }
    }
    all
}

fn mounts(host: &HostConfig, labels: &Labels) -> BTreeSet<Mount> {
    let bind = |from: &str, path: &str, access: MountMode, propagation: Propagation| {
        let path = path.to_owned();
        if from.starts_with('/') {
            Mount::Bind { host: from.to_owned(), path, access, propagation }
        } else {
            match labels::in_document(from, labels) {
                // A volume of no app, such as `extra-firmware`.
                name if name == from => Mount::Bind { host: from.to_owned(), path, access, propagation },
                name => Mount::Volume { name: name.to_owned(), path, access },
            }
        }
    };
    let binds = host.binds.iter().flatten().filter_map(|it| {
        let mut parts = it.splitn(3, ':');
        let (from, path) = (parts.next()?, parts.next()?);
        let options: Vec<&str> = parts.next().unwrap_or_default().split(',').collect();
        let access = if options.contains(&"ro") { MountMode::ReadOnly } else { MountMode::Write };
        let propagation = options.into_iter().find_map(Propagation::named).unwrap_or_default();
        Some(bind(from, path, access, propagation))
    });
    let mounts = host.mounts.iter().flatten().filter_map(|it| {
        let access = if it.read_only == Some(true) { MountMode::ReadOnly } else { MountMode::Write };
        let kept = matches!(it.typ, Some(MountType::BIND | MountType::VOLUME));
        kept.then_some(bind(it.source.as_deref()?, it.target.as_deref()?, access, Propagation::default()))
    });
    binds.chain(mounts).collect()
}

/// tmpfs mounts, in either of the forms in which an engine takes them.
fn tmpfs(host: &HostConfig) -> BTreeMap<String, String> {
    let mounts = host.mounts.iter().flatten().filter(|it| it.typ == Some(MountType::TMPFS));
    let mounts = mounts.filter_map(|it| {
        let options = it.tmpfs_options.clone().unwrap_or_default();
        let size = options.size_bytes.filter(|it| *it > 0).map(|it| format!("size={it}"));
        let mode = options.mode.filter(|it| *it > 0).map(|it| format!("mode={it:o}"));
        Some((it.target.clone()?, size.into_iter().chain(mode).collect::<Vec<_>>().join(",")))
    });
    host.tmpfs.clone().unwrap_or_default().into_iter().chain(mounts).collect()
}

/// Anonymous volumes.
fn anonymous(paths: Option<&Vec<String>>) -> impl Iterator<Item = Mount> {
    set(paths).into_iter().map(|path| Mount::Anonymous { path })
}

fn set(list: Option<&Vec<String>>) -> BTreeSet<String> {
    list.into_iter().flatten().cloned().collect()
}

fn text(it: Option<&String>) -> Option<String> {
    it.filter(|it| !it.is_empty()).cloned()
}
