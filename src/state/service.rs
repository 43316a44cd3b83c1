//! A service as wanted, and a container as seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::state::config::Port;
use crate::state::{
    AdoptedContainer, AppId, ConfigHash, ContainerConfig, Dependency, HealthStatus, ImageId, ImageRef, NetworkId, Outcome,
};

/// Which service of which app.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceKey {
    /// The app.
    pub app: AppId,
    /// The service's name in it.
    pub service: String,
}

/// What the owner wants of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its number in the cloud; 0 where the document has none.
    pub id: u32,
    /// The image it runs.
    pub image: ImageRef,
    /// The image's number in the cloud; 0 where the document has none.
    pub image_id: u32,
    /// Whether it should run. `false`: its container exists and is stopped.
    pub running: bool,
    /// Services that it depends on before it is started. No part of its container's configuration.
    pub depends_on: BTreeMap<String, Dependency>,
    /// How an old container gives way to a new one.
    pub strategy: Strategy,
    /// How long a hand-over waits for the new container's word.
    pub handover_timeout: Duration,
    /// It is started only by the boot after the one that created it.
    pub requires_reboot: bool,
    /// Parts of the machine and the agent that its labels ask for.
    pub features: BTreeSet<Feature>,
    /// Everything an engine is told about its container.
    pub config: ContainerConfig,
}

/// How an old container gives way to a new one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Every image of the app is here before the first old container is killed.
    #[default]
    DownloadThenKill,
    /// The old one is killed, then the new image is pulled.
    KillThenDownload,
    /// The old one is killed and its image deleted, then the new image is pulled.
    DeleteThenDownload,
    /// The new one runs beside the old until it says so, or a time has passed.
    HandOver,
}

impl Strategy {
    /// Whether the old container is gone before the image of the new one is here.
    #[must_use]
    pub const fn makes_way_first(self) -> bool {
        match self {
            Self::KillThenDownload | Self::DeleteThenDownload => true,
            Self::DownloadThenKill | Self::HandOver => false,
        }
    }
}

/// What a label `io.balena.features.*` opens to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// The host's journal, read-only.
    JournalLogs,
    /// The host's system bus.
    Dbus,
    /// The host's kernel modules.
    KernelModules,
    /// The host's firmware.
    Firmware,
    /// The engine's socket.
    BalenaSocket,
    /// The cloud's API address. Its key is not ours to give.
    BalenaApi,
    /// This agent's API and a key of its own.
    SupervisorApi,
    /// The host's `/sys`.
    Sysfs,
    /// The host's `/proc`.
    Procfs,
    /// A GPU, through the engine's device requests.
    Gpu,
    /// The board's revision, in the environment.
    BoardRev,
    /// The volume `extra-firmware`.
    ExtraFirmware,
}

/// The engine's id of a container: 64 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContainerId(pub String);

/// A container of a supervised service, as last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// The engine's id.
    pub id: ContainerId,
    /// Its name on the engine, without the slash.
    pub name: String,
    /// The service it was made for.
    pub key: ServiceKey,
    /// How far along its life it is.
    pub phase: ContainerPhase,
    /// When it was created, in seconds of the wall clock.
    pub created_secs: i64,
    /// The image it was made from, as the engine knows it.
    pub image: ImageId,
    /// The reference its maker gave: not always one that still leads to [`Container::image`].
    pub image_ref: ImageRef,
    /// What its configuration is compared by.
    pub made: Origin,
    /// What a container of ours ended up with. `None`: it is another supervisor's, an earlier release of ours made it, or its image is
    /// gone.
    pub outcome: Option<Outcome>,
    /// Its environment. Shared: it is the largest part, and every look and every reader has one.
    pub env: Arc<BTreeMap<String, String>>,
    /// What the engine does when it exits.
    pub restart: RestartPolicy,
    /// When it was last started. `None`: it never was, or the engine does not tell.
    pub started: Option<EngineTime>,
    /// Networks it is attached to, by their names on the engine. `None`: the engine does not tell.
    pub networks: Option<BTreeMap<String, NetworkId>>,
    /// Ports of the host that lead to it.
    pub ports: BTreeSet<Port>,
    /// It could not be started because something else on the host has one of them.
    pub is_port_taken: bool,
    /// Containers whose namespaces it shares.
    pub shares: BTreeMap<Namespace, ContainerId>,
    /// When the last of those that run was started.
    pub shares_since: Option<EngineTime>,
    /// One of them no longer exists.
    pub is_orphaned: bool,
    /// What the engine last said went wrong when starting it.
    pub error: Option<String>,
    /// What its health check says, where it has one and was started.
    pub health: Option<HealthStatus>,
}

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

/// An instant of the engine's wall clock, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EngineTime(pub i64);

impl EngineTime {
    /// Seconds since 1970.
    #[must_use]
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }
}

/// What a container's configuration is compared by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// We made it, and the label we gave it says from what.
    Ours(ConfigHash),
    /// Another supervisor made it. This is what it was made from, and what its image gave to it.
    Adopted(Box<AdoptedContainer>),
}

/// What the name of a container says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameParts {
    /// The service.
    pub service: String,
    /// The image's number in the cloud.
    pub image_id: u32,
    /// The release's number in the cloud.
    pub release_id: u32,
    /// The release's commit.
    pub commit: String,
}

/// How far along its life a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ContainerPhase {
    /// It exists and has never run.
    Created,
    /// It runs.
    Running,
    /// It exited, and the engine is about to start it again.
    Restarting,
    /// It is frozen.
    Paused,
    /// It ran, and exited with this code.
    Exited(i32),
    /// The engine is removing it.
    Removing,
    /// The engine could not remove it.
    Dead,
}

/// What the engine does when a container exits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum RestartPolicy {
    /// Nothing.
    No,
    /// Starts it again, unless it was stopped by hand; then at the engine's next start.
    #[default]
    Always,
    /// Starts it again, unless it was stopped by hand.
    UnlessStopped,
    /// Starts it again when its code was not 0, at most so many times (0: for ever).
    OnFailure(u32),
}

/// Labels that a supervisor gives to containers, networks and volumes. The agent adds those of `io.boardkeeper.`.
const GIVEN: [&str; 6] = ["private.ipam.config", "supervised", "app-id", "app-uuid", "service-id", "service-name"];

/// Whether a label, in the spelling of either generation, is a supervisor's to give. An owner's value for it does not count.
#[must_use]
pub fn is_given_label(name: &str) -> bool {
    let rest = name.strip_prefix("io.balena.").or_else(|| name.strip_prefix("io.resin."));
    name.starts_with("io.boardkeeper.") || rest.is_some_and(|it| GIVEN.contains(&it))
}

impl ServiceKey {
    /// A key from its parts.
    #[must_use]
    pub fn new(app: AppId, service: &str) -> Self {
        let service = service.to_owned();
        Self { app, service }
    }
}

/// Reads `<service>_<image id>_<release id>_<commit>`. `None`: nobody who names containers so gave this name.
#[must_use]
pub fn parse_name(name: &str) -> Option<NameParts> {
    // From the end, because only a service's name may have underscores of its own.
    let mut parts = name.rsplitn(4, '_');
    let commit = parts.next().filter(|it| !it.is_empty() && it.bytes().all(|b| b.is_ascii_alphanumeric()))?;
    let mut number = || parts.next().filter(|it| it.bytes().all(|b| b.is_ascii_digit()))?.parse().ok();
    let (release_id, image_id) = (number()?, number()?);
    let service = parts.next().filter(|it| !it.is_empty())?;
    Some(NameParts { service: service.to_owned(), image_id, release_id, commit: commit.to_owned() })
}

impl ContainerPhase {
    /// Whether its process is alive, or about to be.
    #[must_use]
    pub const fn is_alive(self) -> bool {
        match self {
            Self::Running | Self::Restarting | Self::Paused => true,
            Self::Created | Self::Exited(_) | Self::Removing | Self::Dead => false,
        }
    }
}

impl RestartPolicy {
    /// Whether an exited container with this policy was stopped by somebody: the engine would have started it again.
    #[must_use]
    pub const fn restarts_always(self) -> bool {
        match self {
            Self::Always | Self::UnlessStopped => true,
            Self::No | Self::OnFailure(_) => false,
        }
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.app, self.service)
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_service_image_release_and_commit() {
        let named = parse_name("my_web_app_12_34_414e65cd").expect("it has the form");
        let expected = NameParts { service: "my_web_app".into(), image_id: 12, release_id: 34, commit: "414e65cd".into() };
        assert_eq!(named, expected);
    }

    #[test]
    fn other_names_say_nothing() {
        for name in ["", "main", "main_1_2", "main_1_2_", "_1_2_abc", "main_+1_2_abc", "main_1_x_abc", "main_1_99999999999_abc"]
        {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }
}
