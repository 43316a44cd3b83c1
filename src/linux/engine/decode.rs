//! The configuration an adopted container was created with: the engine's description of it, beside what its image and the
//! engine give to any container.
//!
//! What cannot be told apart is left out: a requested MAC address looks like one the engine chose.

use std::time::Duration;

use serde_json::Value;

use crate::linux::engine::connection::EngineFacts;
use crate::linux::engine::json::EngineJson;
use crate::linux::engine::labels::{self, Labels};
use crate::sorted::{SortedMap, SortedSet};
use crate::state::config::{HealthCheck, Mount, MountMode, NetworkMode, Port, Propagation, RestartPolicy};
use crate::state::network::{ENGINE_NETWORK, NetworkAttachment};
use crate::state::{AdoptedContainer, ContainerConfig, ContainerId, Namespace};

/// Digits of a container's id that the engine uses as a host name and as an alias.
const SHORT: usize = 12;

/// An adopted container: the configuration it was created with, and what its image and its engine give. Both are given as
/// inspected.
pub(super) fn foreign(seen: &EngineJson, image: &EngineJson, facts: &EngineFacts) -> AdoptedContainer {
    let config = config(seen, facts);
    let base = base(image, facts, config.network_mode == NetworkMode::Host);
    AdoptedContainer { config, base }
}

/// What an image and an engine give to a container that asks for nothing.
pub(super) fn base(image: &EngineJson, facts: &EngineFacts, on_host: bool) -> ContainerConfig {
    ContainerConfig {
        command: image.some_texts("/Config/Cmd"),
        entrypoint: image.some_texts("/Config/Entrypoint"),
        runtime: facts.runtime.clone(),
        // On the host's network a container gets the host's name.
        hostname: facts.host_name.clone().filter(|_| on_host),
        mounts: anonymous(image).collect(),
        ..given(image)
    }
}

/// What images and containers have in common.
fn given(seen: &EngineJson) -> ContainerConfig {
    ContainerConfig {
        env: env(&seen.texts("/Config/Env")),
        labels: labels::of_owner(&seen.labels("/Config/Labels")),
        working_dir: seen.some_text("/Config/WorkingDir"),
        user: seen.some_text("/Config/User"),
        stop_signal: seen.some_text("/Config/StopSignal"),
        health: health(seen),
        expose: seen.keys("/Config/ExposedPorts").cloned().collect(),
        ..ContainerConfig::default()
    }
}

/// A container's configuration as the engine describes it, image and defaults included.
fn config(seen: &EngineJson, facts: &EngineFacts) -> ContainerConfig {
    let labels = seen.labels("/Config/Labels");
    let mode = network_mode(seen.text("/HostConfig/NetworkMode"));
    let id = seen.text("/Id");
    let short = id.get(..SHORT).unwrap_or(id);
    let of_app = mode == NetworkMode::App;
    let hostname = seen.some_text("/Config/Hostname").filter(|it| it != short);
    // Engines add aliases of their own to the requested ones.
    let added = [short, seen.text("/Config/Hostname")];
    // The engine's default network is none of the app's: a service is on it if it names none.
    let endpoints = seen.fields("/NetworkSettings/Networks").filter(|(name, _)| *name != ENGINE_NETWORK);
    let attached = endpoints.map(|(name, it)| (labels::in_document(name, &labels).to_owned(), attachment(it, &added)));
    ContainerConfig {
        hostname: hostname.filter(|_| matches!(mode, NetworkMode::App | NetworkMode::None | NetworkMode::Host)),
        domainname: seen.some_text("/Config/Domainname"),
        networks: attached.filter(|_| of_app).collect(),
        ports: ports(seen),
        mounts: mounts(seen, &labels).into_iter().chain(anonymous(seen)).collect(),
        tmpfs: tmpfs(seen),
        network_mode: mode,
        ..rights(seen, facts, limits(seen, process(seen)))
    }
}

/// A container's environment, as a map. Of two values for a name the last one counts, as it does for the program.
pub(super) fn env(list: &[String]) -> SortedMap<String, String> {
    let pair = |it: &String| {
        let (name, value) = it.split_once('=').unwrap_or((it, ""));
        (name.to_owned(), value.to_owned())
    };
    list.iter().map(pair).collect()
}

/// A container's restart policy.
pub(super) fn restart(seen: &EngineJson) -> RestartPolicy {
    match seen.text("/HostConfig/RestartPolicy/Name") {
        "always" => RestartPolicy::Always,
        "unless-stopped" => RestartPolicy::UnlessStopped,
        "on-failure" => {
            RestartPolicy::OnFailure(u32::try_from(seen.number("/HostConfig/RestartPolicy/MaximumRetryCount")).unwrap_or(0))
        }
        _ => RestartPolicy::No,
    }
}

/// The process in it, and how it is stopped.
fn process(seen: &EngineJson) -> ContainerConfig {
    let grace = seen.at("/Config/StopTimeout").and_then(Value::as_u64);
    let plain = ContainerConfig::default();
    ContainerConfig {
        // An empty list if the container has none: its creator cleared the image's.
        command: Some(seen.texts("/Config/Cmd")),
        // An empty list if the container has none: the image's was cleared.
        entrypoint: Some(seen.texts("/Config/Entrypoint")),
        open_stdin: seen.is("/Config/OpenStdin"),
        tty: seen.is("/Config/Tty"),
        stop_grace: grace.map_or(plain.stop_grace, Duration::from_secs),
        ..given(seen)
    }
}

fn health(seen: &EngineJson) -> Option<HealthCheck> {
    seen.at("/Config/Healthcheck")?;
    let number = |name: &str| seen.number(&format!("/Config/Healthcheck/{name}"));
    let span = |name: &str| Duration::from_nanos(u64::try_from(number(name)).unwrap_or(0));
    Some(HealthCheck {
        test: seen.texts("/Config/Healthcheck/Test"),
        interval: span("Interval"),
        timeout: span("Timeout"),
        start_period: span("StartPeriod"),
        retries: u32::try_from(number("Retries")).unwrap_or(0),
    })
}

fn limits(seen: &EngineJson, rest: ContainerConfig) -> ContainerConfig {
    let integer = |name: &str| seen.at(&format!("/HostConfig/{name}")).and_then(Value::as_i64);
    let number = |name: &str| integer(name).unwrap_or(0).max(0);
    let ulimit = |it: EngineJson| {
        let bound = |name: &str| it.at(name).and_then(Value::as_i64);
        Some((it.at("/Name")?.as_str()?.to_owned(), (bound("/Soft")?, bound("/Hard")?)))
    };
    ContainerConfig {
        memory_bytes: number("Memory"),
        memory_reservation_bytes: number("MemoryReservation"),
        shm_bytes: integer("ShmSize").unwrap_or(rest.shm_bytes),
        cpu_shares: number("CpuShares"),
        cpu_quota: number("CpuQuota"),
        nano_cpus: number("NanoCpus"),
        cpuset: seen.text("/HostConfig/CpusetCpus").to_owned(),
        pids_limit: number("PidsLimit"),
        oom_kill_disable: seen.is("/HostConfig/OomKillDisable"),
        oom_score_adj: integer("OomScoreAdj").unwrap_or(0),
        ulimits: seen.items("/HostConfig/Ulimits").filter_map(ulimit).collect(),
        ..rest
    }
}

fn rights(seen: &EngineJson, facts: &EngineFacts, rest: ContainerConfig) -> ContainerConfig {
    let is = |name: &str| seen.is(&format!("/HostConfig/{name}"));
    let text = |name: &str| seen.some_text(&format!("/HostConfig/{name}"));
    let list = |name: &str| seen.texts(&format!("/HostConfig/{name}"));
    let set = |name: &str| list(name).into_iter().collect::<SortedSet<_>>();
    ContainerConfig {
        init: is("Init"),
        restart: restart(seen),
        privileged: is("Privileged"),
        read_only: is("ReadonlyRootfs"),
        cap_add: capabilities(&list("CapAdd")),
        cap_drop: capabilities(&list("CapDrop")),
        security_opt: security(set("SecurityOpt")),
        devices: devices(seen),
        device_cgroup_rules: set("DeviceCgroupRules"),
        gpus: gpus(seen),
        group_add: set("GroupAdd"),
        sysctls: seen.labels("/HostConfig/Sysctls"),
        storage_opt: seen.labels("/HostConfig/StorageOpt"),
        cgroup_parent: text("CgroupParent"),
        // What an older engine does not name is its default.
        runtime: text("Runtime").or_else(|| facts.runtime.clone()),
        userns_mode: text("UsernsMode"),
        uts: text("UTSMode"),
        pid: text("PidMode"),
        ipc: text("IpcMode").unwrap_or_else(|| "private".to_owned()),
        dns: list("Dns"),
        dns_opt: list("DnsOptions"),
        dns_search: list("DnsSearch"),
        extra_hosts: set("ExtraHosts"),
        ..rest
    }
}

fn capabilities(list: &[String]) -> SortedSet<String> {
    list.iter().map(|it| it.to_uppercase()).map(|it| it.trim_start_matches("CAP_").to_owned()).collect()
}

/// Security options, without labels: engines add some by themselves, and those of a document are dropped.
fn security(mut all: SortedSet<String>) -> SortedSet<String> {
    all.retain(|it| !it.starts_with("label=") && !it.starts_with("label:"));
    all
}

fn devices(seen: &EngineJson) -> SortedSet<String> {
    let device = |it: EngineJson| {
        format!("{}:{}:{}", it.text("/PathOnHost"), it.text("/PathInContainer"), it.text("/CgroupPermissions"))
    };
    seen.items("/HostConfig/Devices").map(device).collect()
}

fn gpus(seen: &EngineJson) -> u32 {
    let is_gpu = |it: &EngineJson| it.items("/Capabilities").any(|it| it.texts("").iter().any(|it| it == "gpu"));
    let requests = seen.items("/HostConfig/DeviceRequests").filter(is_gpu);
    let count = requests.map(|it| it.number("/Count")).fold(0, i64::saturating_add);
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
pub(super) fn shares(seen: &EngineJson) -> SortedMap<Namespace, ContainerId> {
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

fn attachment(seen: &Value, added: &[&str]) -> NetworkAttachment {
    let seen = EngineJson(seen.clone());
    NetworkAttachment {
        aliases: seen.texts("/Aliases").into_iter().filter(|it| !added.contains(&it.as_str())).collect(),
        ipv4: seen.some_text("/IPAMConfig/IPv4Address"),
        ipv6: seen.some_text("/IPAMConfig/IPv6Address"),
        link_local: seen.texts("/IPAMConfig/LinkLocalIPs").into_iter().collect(),
    }
}

/// The published ports of a container, as they were requested.
pub(super) fn ports(seen: &EngineJson) -> SortedSet<Port> {
    let mut all = SortedSet::new();
    for (inside, bindings) in seen.fields("/HostConfig/PortBindings") {
        let (number, protocol) = inside.split_once('/').unwrap_or((inside, "tcp"));
        let Ok(container) = number.parse() else { continue };
        for binding in EngineJson(bindings.clone()).items("") {
            let host_ip = binding.text("/HostIp").to_owned();
            let text = binding.text("/HostPort");
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let number = |it: &str| it.parse().ok().filter(|it| *it != 0);
            let (host, last) = (number(first), number(last));
            let host_last = last.filter(|_| host.is_some_and(|first| Some(first) < last));
            all.insert(Port { container, protocol: protocol.to_owned(), host_ip, host, host_last });
        }
    }
    all
}

fn mounts(seen: &EngineJson, labels: &Labels) -> SortedSet<Mount> {
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
    let binds = seen.texts("/HostConfig/Binds");
    let binds = binds.iter().filter_map(|it| {
        let mut parts = it.splitn(3, ':');
        let (from, path) = (parts.next()?, parts.next()?);
        let options: Vec<&str> = parts.next().unwrap_or_default().split(',').collect();
        let access = if options.contains(&"ro") { MountMode::ReadOnly } else { MountMode::Write };
        let propagation = options.into_iter().find_map(Propagation::named).unwrap_or_default();
        Some(bind(from, path, access, propagation))
    });
    let mounts = seen.items("/HostConfig/Mounts").filter_map(|it| {
        let access = if it.is("/ReadOnly") { MountMode::ReadOnly } else { MountMode::Write };
        let (from, path) = (it.at("/Source")?.as_str()?, it.at("/Target")?.as_str()?);
        matches!(it.text("/Type"), "bind" | "volume").then(|| bind(from, path, access, Propagation::default()))
    });
    binds.chain(mounts).collect()
}

/// tmpfs mounts, in either of the forms in which an engine takes them.
fn tmpfs(seen: &EngineJson) -> SortedMap<String, String> {
    let mounts = seen.items("/HostConfig/Mounts").filter(|it| it.text("/Type") == "tmpfs");
    let mounts = mounts.filter_map(|it| {
        let number = |name: &str| Some(it.number(name)).filter(|it| *it > 0);
        let size = number("/TmpfsOptions/SizeBytes").map(|it| format!("size={it}"));
        let mode = number("/TmpfsOptions/Mode").map(|it| format!("mode={it:o}"));
        Some((it.some_text("/Target")?, size.into_iter().chain(mode).collect::<Vec<_>>().join(",")))
    });
    seen.labels("/HostConfig/Tmpfs").into_iter().chain(mounts).collect()
}

/// Anonymous volumes.
fn anonymous(seen: &EngineJson) -> impl Iterator<Item = Mount> {
    seen.keys("/Config/Volumes").map(|path| Mount::Anonymous { path: path.clone() })
}
