//! A service of a target, and an observed container.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::sorted::{SortedMap, SortedSet};
use crate::state::config::{Namespace, Port, RestartPolicy};
use crate::state::hook::UpdateHook;
use crate::state::window::UpdateWindow;
use crate::state::{
    AdoptedContainer, AppId, ConfigHash, ContainerConfig, Dependency, HealthStatus, ImageId, ImageRef, NetworkId, Outcome,
    TrialRules,
};

/// Identifies a service of an app.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceKey {
    /// The app.
    pub app: AppId,
    /// The service's name in it.
    pub service: String,
}

/// The target state of a service.
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
    /// Services that it depends on before it is started. Not part of its container's configuration.
    pub depends_on: SortedMap<String, Dependency>,
    /// How an outdated container is replaced.
    pub strategy: Strategy,
    /// How long a hand-over waits for the new container to report that it is ready.
    pub handover_timeout: Duration,
    /// Its container is started only by the boot after the one that created it.
    pub requires_reboot: bool,
    /// When an update may disturb it, as its label says. `None`: it has no such label. Not part of its container's
    /// configuration.
    pub update_window: Option<UpdateWindow>,
    /// What proves its release good, as its labels say.
    pub trial: TrialRules,
    /// Features of the host and the agent that its labels request.
    pub features: SortedSet<Feature>,
    /// The configuration of its container.
    pub config: ContainerConfig,
}

/// How an outdated container is replaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Every image of the app is pulled before the first old container is killed.
    #[default]
    DownloadThenKill,
    /// The old container is killed, then the new image is pulled.
    KillThenDownload,
    /// The old container is killed and its image deleted, then the new image is pulled.
    DeleteThenDownload,
    /// The new container runs beside the old one until it reports that it is ready, or a timeout passes.
    HandOver,
}

impl Strategy {
    /// Whether the old container is removed before the new image is pulled.
    #[must_use]
    pub const fn makes_way_first(self) -> bool {
        match self {
            Self::KillThenDownload | Self::DeleteThenDownload => true,
            Self::DownloadThenKill | Self::HandOver => false,
        }
    }
}

/// What a label `io.balena.features.*` gives a service access to.
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
    /// The cloud's API address, and the device's key there once it is registered.
    BalenaApi,
    /// This agent's API, with a key for the service.
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

/// A container of a supervised service, as last observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// The engine's id.
    pub id: ContainerId,
    /// Its name on the engine, without the slash.
    pub name: String,
    /// The service it was created for.
    pub key: ServiceKey,
    /// Its lifecycle phase.
    pub phase: ContainerPhase,
    /// When it was created, in seconds of the wall clock.
    pub created_secs: i64,
    /// The image it was created from, by the engine's id.
    pub image: ImageId,
    /// The reference it was created with, which may no longer refer to [`Container::image`].
    pub image_ref: ImageRef,
    /// Who created it, and what its configuration is compared by.
    pub made: Origin,
    /// What a container of this agent ended up with. `None`: another supervisor or an earlier release of the agent created it,
    /// or its image is gone.
    pub outcome: Option<Outcome>,
    /// Its environment. Shared: it is the largest part, and every observation and every reader holds it.
    pub env: Arc<SortedMap<String, String>>,
    /// What the engine does when it exits.
    pub restart: RestartPolicy,
    /// When it was last started. `None`: it never was, or the engine does not say.
    pub started: Option<EngineTime>,
    /// Networks it is attached to, by their names on the engine. `None`: the engine does not say.
    pub networks: Option<SortedMap<String, NetworkId>>,
    /// Its published ports.
    pub ports: SortedSet<Port>,
    /// It could not be started because something else on the host uses one of its ports.
    pub is_port_taken: bool,
    /// The command that it has run before an update replaces it.
    pub before_update: Option<UpdateHook>,
    /// Containers whose namespaces it shares.
    pub shares: SortedMap<Namespace, ContainerId>,
    /// The latest start among those containers, of which only running ones count.
    pub shares_since: Option<EngineTime>,
    /// One of those containers no longer exists.
    pub is_orphaned: bool,
    /// The named volumes that it has, by their names on the engine.
    pub volumes: SortedSet<String>,
    /// How often the engine started it again by its restart policy, since it was last started otherwise.
    pub restarts: u32,
    /// The kernel ended a process of it that was out of memory, as the engine says of its last run.
    pub is_out_of_memory: bool,
    /// The engine's last error from starting it.
    pub error: Option<String>,
    /// The result of its health check, if it has one and was started.
    pub health: Option<HealthStatus>,
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

/// Who created a container, and what its configuration is compared by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The agent created it. The label holds the hash of what it was created from.
    Ours(ConfigHash),
    /// Another supervisor created it. Holds what it was created from, and what its image gave to it.
    Adopted(Box<AdoptedContainer>),
}

/// The parts of a container's name.
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

/// The lifecycle phase of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ContainerPhase {
    /// It was created and has never run.
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

impl ServiceKey {
    /// A key from its parts.
    #[must_use]
    pub fn new(app: AppId, service: &str) -> Self {
        let service = service.to_owned();
        Self { app, service }
    }
}

/// Parses `<service>_<image id>_<release id>_<commit>`. `None`: the name has another form.
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
    /// Whether its process is alive, or about to be restarted.
    #[must_use]
    pub const fn is_alive(self) -> bool {
        match self {
            Self::Running | Self::Restarting | Self::Paused => true,
            Self::Created | Self::Exited(_) | Self::Removing | Self::Dead => false,
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
