//! The normal form in which a wanted container and an existing one are compared: what the container ends up with once its
//! image's values and the engine's defaults are filled in.
//!
//! [`ContainerConfig::effective`] is applied to both sides. So for every field, setting the default or the image's own value is
//! the same as leaving the field out.

use std::sync::Arc;
use std::time::Duration;

use crate::sorted::SortedMap;
use crate::state::config::HealthCheck;
use crate::state::{ConfigHash, ContainerConfig};

/// A container that another supervisor created, as the engine reports it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AdoptedContainer {
    /// What it was created from; the image's values are already included.
    pub config: ContainerConfig,
    /// What its image and its engine give to a container that sets nothing else.
    pub base: ContainerConfig,
}

/// What a container of this agent ended up with when it was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The hash of its effective configuration, from its label.
    pub hash: ConfigHash,
    /// What its image and its engine give to a container that sets nothing else.
    pub base: Arc<ContainerConfig>,
}

impl From<ContainerConfig> for AdoptedContainer {
    /// A container of an image that sets nothing.
    fn from(config: ContainerConfig) -> Self {
        Self { config, base: ContainerConfig::default() }
    }
}

/// The engine's default interval and timeout of health checks.
const HEALTH_SPAN: Duration = Duration::from_secs(30);
/// The engine's default number of failures that make a container unhealthy.
const HEALTH_RETRIES: u32 = 3;
/// The kernel's CPU shares for containers that set none.
const CPU_SHARES: i64 = 1024;

impl ContainerConfig {
    /// This configuration on an image and an engine whose values are `base`, with every default filled in. Idempotent.
    #[must_use]
    pub fn effective(&self, base: &Self) -> Self {
        let non_empty = |it: &Option<String>| it.clone().filter(|it| !it.is_empty());
        let or_base = |ours: &Option<String>, base: &Option<String>| non_empty(ours).or_else(|| non_empty(base));
        let ports = self.ports.iter().map(|it| format!("{}/{}", it.container, it.protocol));
        let user = or_base(&self.user, &base.user).filter(|it| it != "root");
        Self {
            command: Some(self.command_on(base).unwrap_or_default()),
            entrypoint: Some(self.entrypoint.clone().or_else(|| base.entrypoint.clone()).map(entrypoint).unwrap_or_default()),
            env: merged(&base.env, &self.env),
            labels: merged(&base.labels, &self.labels),
            working_dir: Some(directory(&or_base(&self.working_dir, &base.working_dir).unwrap_or_default())),
            user: Some(user.unwrap_or_else(|| "0".to_owned())),
            stop_signal: Some(signal(&or_base(&self.stop_signal, &base.stop_signal).unwrap_or_default())),
            stop_grace: Duration::from_secs(self.stop_grace.as_secs()),
            health: Some(health(self.health.as_ref(), base.health.as_ref())),
            cgroup_parent: non_empty(&self.cgroup_parent),
            runtime: or_base(&self.runtime, &base.runtime).or_else(|| Some("runc".to_owned())),
            userns_mode: non_empty(&self.userns_mode),
            uts: non_empty(&self.uts),
            pid: non_empty(&self.pid),
            ipc: if self.ipc.is_empty() { "private".to_owned() } else { self.ipc.clone() },
            cpu_shares: if self.cpu_shares == CPU_SHARES { 0 } else { self.cpu_shares.max(0) },
            cpu_quota: self.cpu_quota.max(0),
            pids_limit: self.pids_limit.max(0),
            expose: self.expose.iter().cloned().chain(ports).chain(base.expose.iter().cloned()).collect(),
            hostname: or_base(&self.hostname, &base.hostname),
            domainname: or_base(&self.domainname, &base.domainname),
            mounts: self.mounts.iter().chain(&base.mounts).cloned().collect(),
            ..self.clone()
        }
    }

    /// The command of a container of this configuration. The image's command also counts when the service sets an entrypoint of
    /// its own, as in balena supervisors; an engine by itself drops it then. An empty command is none.
    #[must_use]
    pub fn command_on(&self, base: &Self) -> Option<Vec<String>> {
        self.command.clone().or_else(|| base.command.clone())
    }

    /// The hash of the effective configuration of a container of this image, where `base` is what the image gives.
    #[must_use]
    pub fn effective_hash(&self, base: &Self, image: &str) -> ConfigHash {
        self.effective(base).hash(image)
    }
}

fn merged(base: &SortedMap<String, String>, ours: &SortedMap<String, String>) -> SortedMap<String, String> {
    let both = base.iter().chain(ours);
    both.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// A single empty word is an engine's other notation for no entrypoint.
fn entrypoint(words: Vec<String>) -> Vec<String> {
    if words.iter().all(String::is_empty) { Vec::new() } else { words }
}

fn directory(path: &str) -> String {
    let bare = path.trim_end_matches('/');
    if bare.is_empty() { "/".to_owned() } else { bare.to_owned() }
}

/// The name of a signal: engines keep the spelling they were given, and accept a number as well.
fn signal(text: &str) -> String {
    let text = text.to_ascii_uppercase();
    let bare = text.strip_prefix("SIG").unwrap_or(&text);
    let name = match bare {
        "" | "15" => "TERM",
        "1" => "HUP",
        "2" => "INT",
        "3" => "QUIT",
        "6" => "ABRT",
        "9" => "KILL",
        "10" => "USR1",
        "12" => "USR2",
        "28" => "WINCH",
        other => other,
    };
    format!("SIG{name}")
}

fn health(ours: Option<&HealthCheck>, base: Option<&HealthCheck>) -> HealthCheck {
    let (ours, base) = (ours.cloned().unwrap_or_default(), base.cloned().unwrap_or_default());
    let test = if ours.test.is_empty() { base.test } else { ours.test };
    if test.first().is_none_or(|it| it == "NONE") {
        return HealthCheck { test: vec!["NONE".to_owned()], ..HealthCheck::default() };
    }
    let span = |ours: Duration, base: Duration, plain| [ours, base].into_iter().find(|it| !it.is_zero()).unwrap_or(plain);
    HealthCheck {
        test,
        interval: span(ours.interval, base.interval, HEALTH_SPAN),
        timeout: span(ours.timeout, base.timeout, HEALTH_SPAN),
        start_period: span(ours.start_period, base.start_period, Duration::ZERO),
        retries: [ours.retries, base.retries].into_iter().find(|it| *it > 0).unwrap_or(HEALTH_RETRIES),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::state::config::Mount;

    #[expect(clippy::unnecessary_wraps, reason = "as the fields have it")]
    fn words(words: &[&str]) -> Option<Vec<String>> {
        Some(words.iter().map(|it| (*it).to_owned()).collect())
    }

    fn pairs(name: &str, value: &str) -> SortedMap<String, String> {
        SortedMap::from_iter([(name.to_owned(), value.to_owned())])
    }

    #[expect(clippy::unnecessary_wraps, reason = "as the fields have it")]
    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    /// An image that sets everything that an image can set.
    pub(crate) fn image() -> ContainerConfig {
        ContainerConfig {
            command: words(&["sleep", "5"]),
            entrypoint: words(&["/bin/busybox"]),
            env: pairs("OF", "image"),
            labels: pairs("of", "image"),
            working_dir: text("/srv"),
            user: text("7"),
            stop_signal: text("SIGQUIT"),
            health: Some(HealthCheck {
                test: words(&["CMD", "true"]).unwrap(),
                interval: Duration::from_secs(9),
                ..HealthCheck::default()
            }),
            expose: ["81/tcp".to_owned()].into(),
            mounts: [Mount::Anonymous { path: "/var".to_owned() }].into(),
            runtime: text("runc"),
            hostname: text("board"),
            ..ContainerConfig::default()
        }
    }

    /// Every way to set an image's own value, or a default, by field.
    pub(crate) fn redundant_settings(base: &ContainerConfig) -> Vec<ContainerConfig> {
        let plain = ContainerConfig::default;
        let health = base.health.clone();
        let mut all = vec![
            ContainerConfig { command: base.command.clone(), ..plain() },
            ContainerConfig { entrypoint: base.entrypoint.clone(), ..plain() },
            ContainerConfig { env: base.env.clone(), ..plain() },
            ContainerConfig { labels: base.labels.clone(), ..plain() },
            ContainerConfig { working_dir: base.working_dir.clone(), ..plain() },
            ContainerConfig { working_dir: base.working_dir.clone().or(text("")).map(|it| it + "/"), ..plain() },
            ContainerConfig { user: base.user.clone().or(text("root")), ..plain() },
            ContainerConfig { user: text(""), ..plain() },
            ContainerConfig { stop_signal: base.stop_signal.clone().or(text("SIGTERM")), ..plain() },
            ContainerConfig { stop_signal: Some(if base.stop_signal.is_some() { "3" } else { "15" }.to_owned()), ..plain() },
            ContainerConfig { health: health.clone(), ..plain() },
            ContainerConfig {
                health: health.or(Some(HealthCheck { test: words(&["NONE"]).unwrap(), ..HealthCheck::default() })),
                ..plain()
            },
            ContainerConfig {
                health: Some(HealthCheck { timeout: HEALTH_SPAN, retries: HEALTH_RETRIES, ..HealthCheck::default() }),
                ..plain()
            },
            ContainerConfig { expose: base.expose.clone(), ..plain() },
            ContainerConfig { mounts: base.mounts.clone(), ..plain() },
            ContainerConfig { runtime: text("runc"), ..plain() },
            ContainerConfig { hostname: base.hostname.clone(), ..plain() },
            ContainerConfig { cpu_shares: CPU_SHARES, ..plain() },
            ContainerConfig { cpu_quota: -1, ..plain() },
            ContainerConfig { pids_limit: -1, ..plain() },
        ];
        let empty = || text("");
        all.extend([
            ContainerConfig { pid: empty(), uts: empty(), ..plain() },
            ContainerConfig { userns_mode: empty(), cgroup_parent: empty(), domainname: empty(), runtime: empty(), ..plain() },
        ]);
        all
    }

    #[test]
    fn saying_the_default_or_the_images_own_value_is_the_same_as_not_saying_it() {
        for base in [ContainerConfig::default(), image()] {
            let nothing = ContainerConfig::default().effective(&base);
            assert_eq!(nothing, nothing.effective(&base), "it is idempotent");
            // All of an image's values at once, as an engine reports a container.
            assert_eq!(base.effective(&base), nothing);
            for said in redundant_settings(&base) {
                let fields = said.fields();
                let said = said.effective(&base);
                assert_eq!(said.differences(&nothing), [""; 0], "{fields:?}");
                assert_eq!(said, said.effective(&base), "{fields:?}");
            }
        }
    }

    #[test]
    fn another_value_than_the_images_is_another_container() {
        let base = image();
        let nothing = ContainerConfig::default().effective(&base);
        let plain = ContainerConfig::default;
        for (other, field) in [
            (ContainerConfig { command: words(&["sleep", "6"]), ..plain() }, "command"),
            (ContainerConfig { command: words(&[]), ..plain() }, "command"),
            (ContainerConfig { entrypoint: words(&[]), ..plain() }, "entrypoint"),
            (ContainerConfig { entrypoint: words(&[""]), ..plain() }, "entrypoint"),
            (ContainerConfig { env: pairs("OF", "owner"), ..plain() }, "env"),
            (ContainerConfig { labels: pairs("of", "owner"), ..plain() }, "labels"),
            (ContainerConfig { working_dir: text("/"), ..plain() }, "working_dir"),
            (ContainerConfig { user: text("root"), ..plain() }, "user"),
            (ContainerConfig { stop_signal: text("SIGTERM"), ..plain() }, "stop_signal"),
            (ContainerConfig { health: Some(HealthCheck { retries: 4, ..HealthCheck::default() }), ..plain() }, "health"),
            (ContainerConfig { tty: false, ..plain() }, "tty"),
        ] {
            assert_eq!(other.effective(&base).differences(&nothing), [field]);
        }
    }
}
