//! What a container made elsewhere was made from: the engine's account of it, minus what its image and the engine added.
//!
//! What cannot be told apart is left out: a MAC address that was asked for looks like one the engine chose.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bollard::models::{
    ContainerConfig as Program, ContainerInspectResponse, EndpointSettings, HealthConfig, HostConfig, ImageConfig, MountType,
    RestartPolicy, RestartPolicyNameEnum,
};

use crate::linux::engine::labels::{self, Labels};
use crate::linux::engine::link::Facts;
use crate::state::config::{Health, Mode, Mount, NetworkMode, Port};
use crate::state::network::Attachment;
use crate::state::service::Restart;
use crate::state::{ContainerConfig, ContainerId};

/// Digits of a container's id that the engine uses as a host name and as an alias.
const SHORT: usize = 12;

/// The configuration of a container in normal form.
pub(super) fn config(seen: &ContainerInspectResponse, image: &ImageConfig, facts: &Facts) -> ContainerConfig {
    let program = seen.config.clone().unwrap_or_default();
    let host = seen.host_config.clone().unwrap_or_default();
    let labels: Labels = program.labels.clone().unwrap_or_default().into_iter().collect();
    let mode = network_mode(host.network_mode.as_deref().unwrap_or_default());
    let id = seen.id.as_deref().unwrap_or_default();
    let short = id.get(..SHORT).unwrap_or(id);
    let ports = ports(&host);
    let of_app = mode == NetworkMode::App;
    // On the host's network a container is given the host's name.
    let given = if mode == NetworkMode::Host { facts.host_name.as_deref().unwrap_or(short) } else { short };
    let hostname = text(program.hostname.as_ref()).filter(|it| it != given && it != short);
    let endpoints = seen.network_settings.as_ref().and_then(|it| it.networks.clone()).unwrap_or_default();
    // Engines add names of their own making to those that were asked for.
    let added = [Some(short), program.hostname.as_deref()];
    let attached = endpoints.iter().map(|(name, it)| (labels::in_document(name, &labels).to_owned(), attachment(it, &added)));
    ContainerConfig {
        labels: owners_labels(&labels, image),
        hostname: hostname.filter(|_| matches!(mode, NetworkMode::App | NetworkMode::None | NetworkMode::Host)),
        domainname: text(program.domainname.as_ref()),
        networks: attached.filter(|_| of_app).collect(),
        expose: exposed(&program, image, &ports),
        ports,
        mounts: mounts(&host, &labels).into_iter().chain(anonymous(&program, image)).collect(),
        tmpfs: host.tmpfs.clone().unwrap_or_default().into_iter().collect(),
        network_mode: mode,
        ..rights(&host, facts, limits(&host, process(&program, image)))
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
pub(super) fn restart(policy: Option<&RestartPolicy>) -> Restart {
    let most = policy.and_then(|it| it.maximum_retry_count).and_then(|it| u32::try_from(it).ok()).unwrap_or(0);
    match policy.and_then(|it| it.name) {
        None | Some(RestartPolicyNameEnum::EMPTY | RestartPolicyNameEnum::NO) => Restart::No,
        Some(RestartPolicyNameEnum::ALWAYS) => Restart::Always,
        Some(RestartPolicyNameEnum::UNLESS_STOPPED) => Restart::UnlessStopped,
        Some(RestartPolicyNameEnum::ON_FAILURE) => Restart::OnFailure(most),
    }
}

/// What runs in it, and how it is stopped.
fn process(program: &Program, image: &ImageConfig) -> ContainerConfig {
    let inherited = env(image.env.as_ref());
    let mut env = env(program.env.as_ref());
    env.retain(|name, value| inherited.get(name) != Some(value));
    let grace = program.stop_timeout.and_then(|it| u64::try_from(it).ok());
    let plain = ContainerConfig::default();
    ContainerConfig {
        command: own(program.cmd.as_ref(), image.cmd.as_ref()),
        entrypoint: own(program.entrypoint.as_ref(), image.entrypoint.as_ref()),
        env,
        working_dir: own(program.working_dir.as_ref(), image.working_dir.as_ref()).filter(|it| !it.is_empty()),
        user: own(program.user.as_ref(), image.user.as_ref()).filter(|it| !it.is_empty()),
        tty: program.tty.unwrap_or(false),
        // Engines write their default where nobody chose one.
        stop_signal: own(program.stop_signal.as_ref(), image.stop_signal.as_ref())
            .filter(|it| !it.is_empty() && it != "SIGTERM"),
        stop_grace: grace.map_or(plain.stop_grace, Duration::from_secs),
        health: health(program.healthcheck.as_ref(), image.healthcheck.as_ref()),
        ..plain
    }
}

/// What differs from the image's, where anything does.
fn own<T: Clone + PartialEq>(ours: Option<&T>, images: Option<&T>) -> Option<T> {
    ours.filter(|_| ours != images).cloned()
}

fn health(ours: Option<&HealthConfig>, image: Option<&HealthConfig>) -> Option<Health> {
    let (ours, nothing) = (ours?, HealthConfig::default());
    let image = image.unwrap_or(&nothing);
    let span = |ours: Option<i64>, image: Option<i64>| {
        let nanos = ours.filter(|_| ours != image).and_then(|it| u64::try_from(it).ok());
        Duration::from_nanos(nanos.unwrap_or(0))
    };
    let retries = ours.retries.filter(|_| ours.retries != image.retries);
    let own = Health {
        test: own(ours.test.as_ref(), image.test.as_ref()).unwrap_or_default(),
        interval: span(ours.interval, image.interval),
        timeout: span(ours.timeout, image.timeout),
        start_period: span(ours.start_period, image.start_period),
        retries: retries.and_then(|it| u32::try_from(it).ok()).unwrap_or(0),
    };
    Some(own).filter(|it| *it != Health::default())
}

fn owners_labels(labels: &Labels, image: &ImageConfig) -> Labels {
    let inherited = image.labels.clone().unwrap_or_default();
    let mut own = labels::of_owner(labels);
    own.retain(|name, value| inherited.get(name) != Some(value));
    own
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

fn rights(host: &HostConfig, facts: &Facts, rest: ContainerConfig) -> ContainerConfig {
    let runtime = text(host.runtime.as_ref()).filter(|it| it != "runc" && Some(it) != facts.runtime.as_ref());
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

/// Security options, without the one that engines add by themselves.
fn security(host: &HostConfig) -> BTreeSet<String> {
    let on_host = |mode: Option<&String>| mode.is_some_and(|it| it == "host");
    let adds = host.privileged == Some(true) || on_host(host.pid_mode.as_ref()) || on_host(host.ipc_mode.as_ref());
    let mut all = set(host.security_opt.as_ref());
    all.retain(|it| !(adds && it == "label=disable"));
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

/// The container whose network it shares, when it shares one's.
pub(super) fn network_of(mode: Option<&str>) -> Option<ContainerId> {
    let (kind, id) = mode?.split_once(':')?;
    (kind == "container").then(|| ContainerId(id.to_owned()))
}

fn attachment(seen: &EndpointSettings, added: &[Option<&str>]) -> Attachment {
    let ipam = seen.ipam_config.clone().unwrap_or_default();
    let mut aliases = set(seen.aliases.as_ref());
    aliases.retain(|it| !added.contains(&Some(it)));
    Attachment {
        aliases,
        ipv4: text(ipam.ipv4_address.as_ref()),
        ipv6: text(ipam.ipv6_address.as_ref()),
        link_local: set(ipam.link_local_ips.as_ref()),
    }
}

fn ports(host: &HostConfig) -> BTreeSet<Port> {
    let mut all = BTreeSet::new();
    for (inside, bindings) in host.port_bindings.iter().flatten() {
        let (number, protocol) = inside.split_once('/').unwrap_or((inside, "tcp"));
        let Ok(container) = number.parse() else { continue };
        for binding in bindings.iter().flatten() {
            let host_ip = binding.host_ip.clone().unwrap_or_default();
            let host = binding.host_port.as_deref().and_then(|it| it.parse().ok()).filter(|it| *it != 0);
            all.insert(Port { container, protocol: protocol.to_owned(), host_ip, host });
        }
    }
    all
}

fn exposed(program: &Program, image: &ImageConfig, ports: &BTreeSet<Port>) -> BTreeSet<String> {
    let inherited = set(image.exposed_ports.as_ref());
    let own = program.exposed_ports.iter().flatten().filter(|it| !inherited.contains(*it)).cloned();
    own.chain(ports.iter().map(|it| format!("{}/{}", it.container, it.protocol))).collect()
}

fn mounts(host: &HostConfig, labels: &Labels) -> BTreeSet<Mount> {
    let bind = |from: &str, path: &str, access: Mode| {
        let path = path.to_owned();
        if from.starts_with('/') {
            Mount::Bind { host: from.to_owned(), path, access }
        } else {
            Mount::Volume { name: labels::in_document(from, labels).to_owned(), path, access }
        }
    };
    let binds = host.binds.iter().flatten().filter_map(|it| {
        let mut parts = it.splitn(3, ':');
        let (from, path) = (parts.next()?, parts.next()?);
        let read_only = parts.next().is_some_and(|options| options.split(',').any(|it| it == "ro"));
        Some(bind(from, path, if read_only { Mode::ReadOnly } else { Mode::Write }))
    });
    let mounts = host.mounts.iter().flatten().filter_map(|it| {
        let access = if it.read_only == Some(true) { Mode::ReadOnly } else { Mode::Write };
        let kept = matches!(it.typ, Some(MountType::BIND | MountType::VOLUME));
        kept.then_some(bind(it.source.as_deref()?, it.target.as_deref()?, access))
    });
    binds.chain(mounts).collect()
}

/// Volumes of the container alone that its image does not ask for.
fn anonymous(program: &Program, image: &ImageConfig) -> impl Iterator<Item = Mount> {
    let inherited = set(image.volumes.as_ref());
    set(program.volumes.as_ref()).into_iter().filter(move |it| !inherited.contains(it)).map(|path| Mount::Anonymous { path })
}

fn set(list: Option<&Vec<String>>) -> BTreeSet<String> {
    list.into_iter().flatten().cloned().collect()
}

fn text(it: Option<&String>) -> Option<String> {
    it.filter(|it| !it.is_empty()).cloned()
}
