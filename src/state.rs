//! The data types: the target, the last observation, and the status that the agent publishes.
//!
//! None of these types is serializable. Target-state documents, the engine's responses and the API's responses have types of
//! their own (`document`, `linux::engine`, `api::route`), so that renaming a field here changes no wire format.
//!
//! [`Target`] is what the owner's document says, [`Overrides`] what users requested on top of it, [`Current`] the last
//! observation of the machine, [`Status`] what the reconciler publishes to the rest of the agent.

pub mod action;
pub mod app;
pub mod app_id;
pub mod app_status;
pub mod board;
pub mod boot_config;
mod canonical_form;
pub mod cloud;
pub mod config;
pub mod connectivity;
pub mod contract;
pub mod dependency;
pub mod device;
pub mod download;
pub mod effective;
pub mod engine_log;
pub mod event;
pub mod field_changes;
pub mod flash;
pub mod history;
pub mod hook;
pub mod host;
pub mod image;
pub mod journal;
pub mod keys;
pub mod labels;
pub mod lease;
pub mod led;
pub mod length;
pub mod live_log;
pub mod local_engine;
pub mod local_mode;
pub mod logging;
pub mod metrics;
pub mod network;
pub mod own_names;
pub mod page_link;
pub mod pattern;
pub mod ports;
pub mod private_network;
pub mod proxy_variables;
pub mod release;
pub mod service;
pub mod shutdown;
pub mod signed_document;
pub mod snapshot;
pub mod status;
pub mod step;
pub mod supervisor_mounts;
pub mod switch;
pub mod target_trial;
pub mod utc;
pub mod variable;
pub mod volume;
pub mod waiting;
pub mod window;

use sha2::{Digest, Sha256};

use crate::sorted::{SortedMap, SortedSet};
use crate::state::cloud::ReleasePin;
use crate::state::hook::HookOutcome;
use crate::state::lease::Leases;
use crate::state::local_mode::LocalApps;

pub use action::{ContainerRef, ContainerSpec, EngineAction, NetworkConnection};
pub use app::App;
pub use app_id::AppId;
pub use board::{BoardFacts, BoardLed, BoardOutline, BoardPart};
pub use config::{ConfigHash, ContainerConfig, Namespace};
pub use connectivity::{Connectivity, ConnectivityCheck, VpnState};
pub use dependency::{Condition, Dependency, HealthStatus};
pub use device::{ClientAddress, Device, Identity};
pub use download::DownloadProgress;
pub use effective::{AdoptedContainer, Outcome};
pub use engine_log::{EngineLogLine, LogCursor, LogCursors, OutputStream, StreamCursor};
pub use event::DeviceEvent;
pub use flash::{FlashCount, FlashPurpose, FlashWrites};
pub use image::{Image, ImageId, ImageRef};
pub use keys::{Access, Caller, Keys, Secret};
pub use labels::is_supervisor_label;
pub use led::{
    EndedHold, FreeLineInfo, HeldPattern, HoldEnd, HoldSubject, IdentifyOutcome, LedActivity, LedInfo, LedOwner, LedPurpose,
    LedRef, LedRefusal, LedStatus, LineDirection, LineHolder, Player,
};
pub use network::{Network, NetworkConfig, NetworkId};
pub use pattern::{LedLevel, Pattern, PatternError};
pub use release::{FailedRelease, FailedService, ReleaseTrial, TrialRules};
pub use service::{Container, ContainerId, ContainerPhase, EngineTime, NameParts, Origin, Service, ServiceKey, parse_name};
pub use shutdown::{PowerAction, ShutdownOrigin, ShutdownProgress, ShutdownStatus};
pub use signed_document::{OutdatedDocument, SignedDocument, SignedOrder};
pub use snapshot::{DataDemand, DataPlan, DataState, KeptData, VolumeCopy, VolumeSnapshot};
pub use status::{Activity, EngineState, Status, StepFault, Trouble};
pub use step::{Step, StepKind, Subject};
pub use volume::{Volume, VolumeConfig};
pub use waiting::{ClosedWindows, Difference, Never, Unmet, Waiting};

/// The owner's target state for the device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// The device's name, when the document gives one.
    pub name: Option<String>,
    /// Device-wide settings, by name without the `RESIN_` or `BALENA_` prefix.
    pub config: SortedMap<String, String>,
    /// The apps that should be on the device, and no others.
    pub apps: SortedMap<AppId, App>,
    /// The release that the document asks to pin the device on (`pinDevice`). Only a preloaded target's is obeyed.
    pub pin: Option<ReleasePin>,
    /// Local mode, while it is on, and until everything of it is removed. `None` in the owner's own target.
    pub local: Option<LocalApps>,
    /// The document this was parsed from. It is persisted, and parsed again after a power cut.
    pub document: String,
    /// Unsupported parts of the document, each with its path. Logged once, when the target is accepted.
    pub warnings: Vec<String>,
}

impl Target {
    /// Every service of every app, with its app and its name.
    pub fn services(&self) -> impl Iterator<Item = (&App, &String, &Service)> {
        self.apps.values().flat_map(|app| app.services.iter().map(move |(name, service)| (app, name, service)))
    }

    /// A service, if the target has it.
    #[must_use]
    pub fn service(&self, key: &ServiceKey) -> Option<&Service> {
        self.apps.get(&key.app)?.services.get(&key.service)
    }

    /// Whether local mode keeps an app: it is stopped, and nothing of it is removed, replaced or pulled.
    #[must_use]
    pub fn keeps(&self, app: AppId) -> bool {
        self.local.as_ref().is_some_and(|it| it.keeps(app))
    }

    /// Whether an app was pushed in local mode.
    #[must_use]
    pub fn is_pushed(&self, app: AppId) -> bool {
        self.local.as_ref().is_some_and(|it| it.pushed.contains(&app))
    }

    /// Identifies the document: its SHA-256 in hex.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        hex::encode(Sha256::digest(self.document.as_bytes()))
    }
}

/// Why a document is rejected: where it is, the path in it, and what was expected there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TargetError(pub String);

/// A target that was never reached, and how often the agent was started with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartCount {
    /// The target's fingerprint.
    pub document: String,
    /// Starts after which the agent ran only briefly and did not end cleanly, the present start included.
    pub starts: u32,
}

impl StartCount {
    /// After more starts than this, a target is refused: more than power cuts by chance, few enough to be through in a minute.
    pub const MAX_STARTS: u32 = 5;

    /// Whether the target is refused.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.starts > Self::MAX_STARTS
    }
}

/// What users requested on top of the target. Kept in memory only, except [`Overrides::stopped`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Services that a user stopped. They stay stopped until started, or until the agent or the board restarts.
    pub stopped: SortedSet<ServiceKey>,
    /// Exited containers to start although their restart policy would leave them exited.
    pub start: SortedSet<ContainerId>,
    /// Containers to recreate although they match the target.
    pub recreate: SortedSet<ContainerId>,
    /// Apps whose containers and volumes are removed before they are created again.
    pub purge: SortedSet<AppId>,
    /// Volumes to remove, by their names on the engine, unless the target names them.
    pub unused_volumes: SortedSet<String>,
    /// Apps whose update locks are overridden until the app has settled.
    pub force: SortedSet<AppId>,
    /// Apps that are updated outside their update windows too, until they have settled.
    pub outside_windows: SortedSet<AppId>,
    /// Apps that go back to what ran before: no hook holds that up.
    pub without_hooks: SortedSet<AppId>,
}

/// The last observation of the machine. Only objects that carry supervisor labels, except images.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Current {
    /// Containers of supervised services, in no order.
    pub containers: Vec<Container>,
    /// Every image of the engine.
    pub images: Vec<Image>,
    /// Images that were pulled for a target of this device. They may be garbage-collected once nothing needs them.
    pub removable_images: SortedSet<ImageRef>,
    /// Supervised networks.
    pub networks: Vec<Network>,
    /// Supervised volumes.
    pub volumes: Vec<Volume>,
    /// Snapshots of volumes, complete or not.
    pub snapshots: Vec<VolumeSnapshot>,
    /// What is to be done with the data of volumes, by app.
    pub data: SortedMap<AppId, DataPlan>,
    /// Update locks, by app. An app without an entry has none.
    pub locks: SortedMap<AppId, LockState>,
    /// Leases, which count as update locks that services hold.
    pub leases: Leases,
    /// Update windows that are closed.
    pub windows: ClosedWindows,
    /// When the machine booted, in seconds of the wall clock that the engine uses too.
    pub booted_secs: i64,
    /// The present time on the same clock, in seconds.
    pub now_secs: i64,
    /// Containers that were observed waiting for a reboot, and whether it has happened. For other containers, the clock
    /// decides.
    pub boot_waits: SortedMap<ContainerId, BootState>,
    /// The file by which the host's configuration requests a reboot that has not happened yet.
    pub reboot_request_file: Option<String>,
    /// Something that the target needs was found not to fit on the disk.
    pub out_of_space: bool,
    /// Services whose image, container or start failed several times in a row, and is retried later.
    pub failing: SortedSet<ServiceKey>,
    /// Containers of pushed apps that another program stopped a moment ago. That program is about to start them again.
    pub stopped_lately: SortedSet<ContainerId>,
    /// What became of the hooks before updates: by the container, and the configuration that the update leads to.
    pub hooks: SortedMap<(ContainerId, ConfigHash), HookOutcome>,
}

impl Current {
    /// Whether the engine has an image.
    #[must_use]
    pub fn has_image(&self, image: &ImageRef) -> bool {
        self.images.iter().any(|it| it.answers_to(image))
    }
}

/// Whether the reboot that a container waits for has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootState {
    /// The machine is still in the boot in which the container was first observed waiting.
    NotYet,
    /// The machine has booted again since.
    Done,
}

/// Who holds the update locks of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockState {
    /// The agent holds the locks of these services.
    Ours(SortedSet<String>),
    /// A service holds at least one lock, and the agent holds none.
    Held(HeldLock),
    /// A service holds at least one lock, and the agent holds some too: leftovers of a supervisor that was killed.
    Both(HeldLock),
}

/// Which services of an app can hold an update lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockHolders {
    /// Every service that has a lock directory: it is not known which containers exist.
    All,
    /// Services that the target names or that have a container. A lock file that any other service left behind blocks nothing.
    Only(SortedSet<String>),
}

impl LockState {
    /// The lock that a service holds, if any.
    #[must_use]
    pub const fn held(&self) -> Option<&HeldLock> {
        match self {
            Self::Held(held) | Self::Both(held) => Some(held),
            Self::Ours(_) => None,
        }
    }

    /// Whether the agent holds locks that it has to release.
    #[must_use]
    pub const fn has_ours(&self) -> bool {
        match self {
            Self::Ours(_) | Self::Both(_) => true,
            Self::Held(_) => false,
        }
    }

    /// What is left once the agent's locks are released.
    #[must_use]
    pub fn without_ours(self) -> Option<Self> {
        match self {
            Self::Held(held) | Self::Both(held) => Some(Self::Held(held)),
            Self::Ours(_) => None,
        }
    }
}

impl LockHolders {
    /// Whether a lock of this service counts.
    #[must_use]
    pub fn may_hold(&self, service: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(services) => services.contains(service),
        }
    }

    /// Adds a service that has a container.
    pub fn add(&mut self, service: &str) {
        match self {
            Self::All => (),
            Self::Only(services) => {
                services.insert(service.to_owned());
            }
        }
    }
}

impl Default for LockHolders {
    fn default() -> Self {
        Self::Only(SortedSet::new())
    }
}

/// What happens to update locks that services hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Force {
    /// They are respected.
    #[default]
    No,
    /// They are overridden.
    Yes,
}

/// An update lock that the agent does not hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeldLock {
    /// The service whose lock it is.
    pub service: String,
    /// The path of the lock file, on the host.
    pub path: String,
    /// When the lock file was created, in seconds of the wall clock.
    pub since_secs: i64,
}
