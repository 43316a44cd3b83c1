//! Compose fields of a service, in normal form.

use std::time::Duration;

use crate::sorted::{SortedMap, SortedSet};
use crate::state::ContainerConfig;
use crate::state::config::{HealthCheck, RestartPolicy, SERVICE_NAMESPACE};
use crate::state::logging::Logging;

use super::at::{Cursor, quoted, whole};
use super::fields::{ObjectFields, pairs, texts};
use super::ports::HostPort;
use super::release_names::ReleaseNames;
use super::{mounts, ports, rules, values};

/// Reads the configuration of a container, except its environment, labels and networks.
pub(super) fn read(fields: &mut ObjectFields<'_>, known: &ReleaseNames) -> ContainerConfig {
    let mut config = known.defaults();
    process(fields, known, &mut config);
    rights(fields, &mut config);
    namespaces(fields, known, &mut config);
    limits(fields, &mut config);
    network(fields, known, &mut config);
    mounts::read(fields, known, &mut config);
    config
}

fn process(fields: &mut ObjectFields<'_>, known: &ReleaseNames, config: &mut ContainerConfig) {
    // An empty command means the image's, as in engines; an empty entrypoint clears the image's. In a compose file an empty
    // command clears the image's, and so does an entrypoint.
    let is_compose_file = known.is_compose_file();
    config.command = fields.take("command").and_then(|it| argv(&it)).filter(|it| is_compose_file || !it.is_empty());
    config.entrypoint = fields.take("entrypoint").filter(|it| !it.is_null()).and_then(|it| argv(&it));
    if is_compose_file && config.entrypoint.is_some() {
        config.command.get_or_insert_default();
    }
    config.working_dir = fields.text("working_dir").map(|it| without_slash(&it));
    config.user = fields.text("user");
    config.open_stdin = fields.flag("stdin_open").unwrap_or(config.open_stdin);
    config.tty = fields.flag("tty").unwrap_or(config.tty);
    config.init = fields.flag("init").unwrap_or(config.init);
    config.stop_signal = fields.text("stop_signal").map(|it| signal(&it));
    config.stop_grace = fields.take("stop_grace_period").and_then(|it| duration(&it)).unwrap_or(config.stop_grace);
    config.health = fields.take("healthcheck").and_then(|it| health(&it));
    config.logging = fields.take("logging").map(|it| logging(&it)).filter(|it| *it != Logging::default());
    config.restart = fields.take("restart").and_then(|it| restart(&it)).unwrap_or(config.restart);
}

fn rights(fields: &mut ObjectFields<'_>, config: &mut ContainerConfig) {
    config.privileged = fields.flag("privileged").unwrap_or(config.privileged);
    config.read_only = fields.flag("read_only").unwrap_or(config.read_only);
    config.cap_add = fields.list("cap_add").iter().map(|it| capability(it)).collect();
    config.cap_drop = fields.list("cap_drop").iter().map(|it| capability(it)).collect();
    config.security_opt = fields.take("security_opt").map(|it| security(&it)).unwrap_or_default();
    config.devices = fields.take("devices").map(|it| mounts::devices(&it)).unwrap_or_default();
    config.device_cgroup_rules = fields.list("device_cgroup_rules").into_iter().collect();
    config.group_add = fields.list("group_add").into_iter().collect();
    config.ulimits = fields.take("ulimits").map(|it| ulimits(&it)).unwrap_or_default();
    config.sysctls = fields.pairs("sysctls", rules::sysctl);
    config.storage_opt = fields.pairs("storage_opt", rules::key);
}

fn namespaces(fields: &mut ObjectFields<'_>, known: &ReleaseNames, config: &mut ContainerConfig) {
    config.cgroup_parent = fields.text("cgroup_parent");
    config.runtime = fields.text("runtime");
    config.userns_mode = fields.text("userns_mode");
    config.uts = fields.text("uts");
    config.pid = fields.take("pid").and_then(|it| namespace(&it, known));
    if let Some(ipc) = fields.take("ipc").and_then(|it| namespace(&it, known)) {
        config.ipc = ipc;
    }
}

/// A namespace that the engine provides, or that of a service of the app.
fn namespace(at: &Cursor<'_>, known: &ReleaseNames) -> Option<String> {
    let text = at.scalar().filter(|it| !it.is_empty())?;
    let Some(service) = text.strip_prefix(SERVICE_NAMESPACE) else { return Some(text) };
    let service = service.trim();
    if !known.services.contains(service) {
        at.wrong(&format!("the app has no service {}", quoted(service)));
    }
    Some(format!("{SERVICE_NAMESPACE}{service}"))
}

fn limits(fields: &mut ObjectFields<'_>, config: &mut ContainerConfig) {
    let size = |field: Option<Cursor<'_>>| field.and_then(|it| mounts::size(&it));
    config.memory_bytes = size(fields.take("mem_limit")).unwrap_or(config.memory_bytes);
    config.memory_reservation_bytes = size(fields.take("mem_reservation")).unwrap_or(config.memory_reservation_bytes);
    config.shm_bytes = size(fields.take("shm_size")).unwrap_or(config.shm_bytes);
    config.cpu_shares = fields.int("cpu_shares");
    config.cpu_quota = fields.int("cpu_quota");
    config.nano_cpus = fields.take("cpus").and_then(|it| nano_cpus(&it)).unwrap_or(config.nano_cpus);
    config.cpuset = fields.text("cpuset").unwrap_or_default();
    // To engines, a negative number means no limit too.
    config.pids_limit = fields.int("pids_limit").max(0);
    config.oom_kill_disable = fields.flag("oom_kill_disable").unwrap_or(config.oom_kill_disable);
    if let Some(at) = fields.take("oom_score_adj") {
        config.oom_score_adj = at.int().unwrap_or_default();
        if !(-1000..=1000).contains(&config.oom_score_adj) {
            at.expected("a whole number from -1000 to 1000");
        }
    }
}

fn network(fields: &mut ObjectFields<'_>, known: &ReleaseNames, config: &mut ContainerConfig) {
    let host_port = if known.is_compose_file() { HostPort::Chosen } else { HostPort::Same };
    config.ports = fields.take("ports").map(|it| ports::published(&it, host_port)).unwrap_or_default();
    config.expose = fields.take("expose").map(|it| ports::exposed(&it)).unwrap_or_default();
    config.expose.extend(config.ports.iter().map(ports::exposure));
    config.dns = fields.list("dns");
    config.dns_opt = fields.list("dns_opt");
    config.dns_search = fields.list("dns_search");
    config.extra_hosts = fields.take("extra_hosts").map(|it| extra_hosts(&it)).unwrap_or_default();
    config.hostname = fields.text("hostname");
    config.domainname = fields.text("domainname");
    config.mac_address = fields.text("mac_address").map(|it| it.to_ascii_lowercase());
}

/// A command, as a list or as a line.
fn argv(at: &Cursor<'_>) -> Option<Vec<String>> {
    if !at.is_text() {
        return Some(texts(at));
    }
    let words = values::words(at.text()?);
    if words.is_none() {
        at.wrong("a quote is left open, or a backslash stands last");
    }
    words
}

fn without_slash(path: &str) -> String {
    let bare = path.trim_end_matches('/');
    if bare.is_empty() { path.to_owned() } else { bare.to_owned() }
}

fn capability(name: &str) -> String {
    let name = name.to_ascii_uppercase();
    name.strip_prefix("CAP_").map(str::to_owned).unwrap_or(name)
}

/// `TERM`, `sigterm`: `SIGTERM`. Numbers stay numbers.
fn signal(name: &str) -> String {
    let name = name.to_ascii_uppercase();
    let bare = name.starts_with("SIG") || name.bytes().all(|it| it.is_ascii_digit());
    if bare { name } else { format!("SIG{name}") }
}

pub(super) fn duration(at: &Cursor<'_>) -> Option<Duration> {
    let duration = values::duration(&at.scalar()?);
    if duration.is_none() {
        at.expected("a duration such as 1m30s, 500ms or a number of seconds");
    }
    duration
}

fn restart(at: &Cursor<'_>) -> Option<RestartPolicy> {
    let restart = values::restart(&at.scalar()?);
    if restart.is_none() {
        at.expected("no, always, unless-stopped, on-failure or on-failure:<times>");
    }
    restart
}

fn health(at: &Cursor<'_>) -> Option<HealthCheck> {
    let mut fields = ObjectFields::of(at);
    let off = fields.flag("disable").unwrap_or(false);
    let test = fields.take("test").map(|it| health_test(&it)).unwrap_or_default();
    let interval = fields.take("interval").and_then(|it| duration(&it)).unwrap_or_default();
    let timeout = fields.take("timeout").and_then(|it| duration(&it)).unwrap_or_default();
    let start_period = fields.take("start_period").and_then(|it| duration(&it)).unwrap_or_default();
    let retries = fields.id("retries");
    fields.rest();
    let health = if off || test.first().is_some_and(|it| it == "NONE") {
        HealthCheck { test: vec!["NONE".to_owned()], ..HealthCheck::default() }
    } else {
        HealthCheck { test, interval, timeout, start_period, retries }
    };
    (health != HealthCheck::default()).then_some(health)
}

fn logging(at: &Cursor<'_>) -> Logging {
    let mut fields = ObjectFields::of(at);
    let driver = fields.text("driver").unwrap_or_default();
    // The options may hold a token for a log collector.
    let options = fields.take("options").map(|it| pairs(&it.redacted(), rules::key)).unwrap_or_default();
    fields.rest();
    Logging { driver, options }
}

fn health_test(at: &Cursor<'_>) -> Vec<String> {
    if at.is_text() {
        let line = at.text().unwrap_or_default();
        return if line.is_empty() { Vec::new() } else { vec!["CMD-SHELL".to_owned(), line.to_owned()] };
    }
    let test = texts(at);
    if test.first().is_some_and(|it| !["NONE", "CMD", "CMD-SHELL"].contains(&it.as_str())) {
        at.wrong("expected a list that begins with NONE, CMD or CMD-SHELL, or a command line");
    }
    test
}

fn nano_cpus(at: &Cursor<'_>) -> Option<i64> {
    let nanos = whole((at.number()? * 1e9).round()).filter(|it| *it >= 0);
    if nanos.is_none() {
        at.expected("a number of processors such as 0.5");
    }
    nanos
}

fn security(at: &Cursor<'_>) -> SortedSet<String> {
    let mut options = SortedSet::new();
    for item in at.items() {
        let Some(option) = item.scalar() else { continue };
        // Engines add such labels by themselves, and not every host supports them.
        if option.contains("label=") { item.not_supported() } else { options.extend([option]) }
    }
    options
}

fn ulimits(at: &Cursor<'_>) -> SortedMap<String, (i64, i64)> {
    let mut limits = SortedMap::new();
    for (name, item) in at.entries() {
        let limit = if item.is_object() { soft_and_hard(&item) } else { item.int().map(|it| (it, it)) };
        limits.extend(limit.map(|it| (name.to_owned(), it)));
    }
    limits
}

fn soft_and_hard(at: &Cursor<'_>) -> Option<(i64, i64)> {
    let mut fields = ObjectFields::of(at);
    let soft = fields.take("soft").and_then(|it| it.int());
    let hard = fields.take("hard").and_then(|it| it.int());
    fields.rest();
    if soft.is_none() || hard.is_none() {
        at.wrong("expected whole numbers `soft` and `hard`");
    }
    soft.zip(hard)
}

/// `name:address`, from a list, or an object of names and addresses.
fn extra_hosts(at: &Cursor<'_>) -> SortedSet<String> {
    if at.is_list() {
        return at.items().iter().filter_map(extra_host).collect();
    }
    let mut hosts = SortedSet::new();
    for (name, addresses) in at.entries() {
        hosts.extend(texts(&addresses).iter().map(|address| format!("{name}:{}", unbracketed(address))));
    }
    hosts
}

fn extra_host(item: &Cursor<'_>) -> Option<String> {
    let text = item.text()?;
    // `=` first: an IPv6 address has colons of its own.
    let parts = text.split_once('=').or_else(|| text.split_once(':'));
    match parts {
        Some((name, address)) if !name.is_empty() && !address.is_empty() => Some(format!("{name}:{}", unbracketed(address))),
        _ => {
            item.expected("a host such as name:192.168.0.1");
            None
        }
    }
}

fn unbracketed(address: &str) -> &str {
    address.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(address)
}

/// Reads an environment, whose values may be secret.
pub(super) fn environment(at: Cursor<'_>, rule: rules::Rule) -> SortedMap<String, String> {
    pairs(&at.redacted(), rule)
}
