//! The nouns: what is wanted, what is, and what we say about it.
//!
//! None of these types is serializable. A target-state document, what the engine answers and what the API answers are types of
//! their own (`linux::target`, `linux::engine`, `api::v1`), so that a field can be renamed here without asking anybody.
//!
//! [`Target`] is what the owner's document says, [`Overrides`] what people asked for on top of it, [`Current`] what was last
//! seen of the machine, [`Status`] what the reconciler tells everybody else.

pub mod app;
pub mod board;
mod canonical_form;
pub mod config;
pub mod connectivity;
pub mod dependency;
pub mod device;
pub mod effective;
pub mod host;
pub mod image;
pub mod keys;
pub mod led;
pub mod logging;
pub mod network;
pub mod pattern;
pub mod ports;
pub mod service;
pub mod shutdown;
pub mod status;
pub mod volume;

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

pub use app::{App, AppId};
pub use board::BoardFacts;
pub use config::{ConfigHash, ContainerConfig};
pub use connectivity::{Connectivity, ConnectivityCheck, VpnState};
pub use dependency::{Condition, Dependency, HealthStatus};
pub use device::{ClientAddress, Device, Identity};
pub use effective::{AdoptedContainer, Outcome};
pub use image::{Image, ImageId, ImageRef};
pub use keys::{Access, Caller, Keys, Secret};
pub use led::{
    HeldPattern, IdentifyOutcome, LedActivity, LedInfo, LedOwner, LedPurpose, LedRef, LedRefusal, LedStatus, Player,
};
pub use network::{Network, NetworkConfig, NetworkId};
pub use pattern::{LedLevel, Pattern, PatternError};
pub use service::{
    Container, ContainerId, ContainerPhase, EngineTime, NameParts, Namespace, Origin, Service, ServiceKey, is_given_label,
    parse_name,
};
pub use shutdown::{PowerAction, ShutdownOrigin, ShutdownProgress, ShutdownStatus};
pub use status::{Activity, EngineState, Status, Trouble};
pub use volume::{Volume, VolumeConfig};

/// What the owner wants of the device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// The device's name, when the document gives one.
    pub name: Option<String>,
    /// Device-wide settings, by name without the `RESIN_` or `BALENA_` prefix.
    pub config: BTreeMap<String, String>,
    /// Apps that should be on the device, and no others.
    pub apps: BTreeMap<AppId, App>,
    /// The document this was read from, so that it can be kept and read again after a power cut.
    pub document: String,
    /// Parts of the document that are not supported, each named by its path. Said once, when the target is accepted.
    pub warnings: Vec<String>,
}

impl Target {
    /// Every service of every app, with its app and its name.
    pub fn services(&self) -> impl Iterator<Item = (&App, &String, &Service)> {
        self.apps.values().flat_map(|app| app.services.iter().map(move |(name, service)| (app, name, service)))
    }

    /// Tells its document from every other.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        config::hex(&Sha256::digest(self.document.as_bytes()))
    }
}

/// A target that was never reached, and how often the agent was started with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartCount {
    /// The target's fingerprint.
    pub document: String,
    /// Starts whose lives were short and did not end in good order, the present one included.
    pub starts: u32,
}

impl StartCount {
    /// So many lives may end before a target is refused: more than power cuts by chance, few enough to be through in a minute.
    pub const MAX_STARTS: u32 = 5;

    /// Whether the target is refused.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.starts > Self::MAX_STARTS
    }
}

/// What people asked for on top of the target. Kept in memory but for [`Overrides::stopped`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Services a person stopped. They stay so until started, or until the agent or the board restarts.
    pub stopped: BTreeSet<ServiceKey>,
    /// Exited containers that should run although their restart policy would leave them as they are.
    pub start: BTreeSet<ContainerId>,
    /// Containers to be made anew, although they are as wanted.
    pub recreate: BTreeSet<ContainerId>,
    /// Apps whose containers and volumes are to go before they come back.
    pub purge: BTreeSet<AppId>,
    /// Apps whose update locks are overridden until they have settled.
    pub force: BTreeSet<AppId>,
}

/// What the machine has, as last seen. Only what carries our labels, but for images.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Current {
    /// Containers of supervised services, in no order.
    pub containers: Vec<Container>,
    /// Every image of the engine.
    pub images: Vec<Image>,
    /// Images that were pulled for a target of ours, and may be deleted when nobody wants them.
    pub ours: BTreeSet<ImageRef>,
    /// Supervised networks.
    pub networks: Vec<Network>,
    /// Supervised volumes.
    pub volumes: Vec<Volume>,
    /// Update locks, by app. An app without an entry has none.
    pub locks: BTreeMap<AppId, LockState>,
    /// When the machine was started, in seconds of the wall clock the engine uses too.
    pub booted_secs: i64,
    /// What that clock says now.
    pub now_secs: i64,
    /// Containers that were seen to wait for a boot, and whether that boot has been. Of others, the clock tells.
    pub awaiting: BTreeMap<ContainerId, BootState>,
    /// The file by which the host's configuration asks for a boot that has not been.
    pub boot_wanted: Option<String>,
    /// Something that is wanted was found not to fit.
    pub lacks_room: bool,
    /// Services whose image, container or start failed several times in a row, and is tried again later.
    pub failing: BTreeSet<ServiceKey>,
}

impl Current {
    /// Whether an image is here.
    #[must_use]
    pub fn has_image(&self, image: &ImageRef) -> bool {
        self.images.iter().any(|it| it.answers_to(image))
    }
}

/// Whether the boot that a container waits for has been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootState {
    /// The machine still runs as when the container was seen first.
    NotYet,
    /// It was started again since.
    Done,
}

/// Who holds the update locks of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockState {
    /// We hold those of these services.
    Ours(BTreeSet<String>),
    /// A service holds at least one, and none is ours.
    Held(HeldLock),
    /// A service holds at least one, and some of ours are beside it: leftovers of a supervisor that was killed.
    Both(HeldLock),
}

/// Which services of an app can hold a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockHolders {
    /// Every one that has a directory: which containers there are is not known.
    All,
    /// Those that the target names or that have a container. A lock file that another one left behind holds up nothing.
    Only(BTreeSet<String>),
}

impl LockState {
    /// The lock of a service, where one holds any.
    #[must_use]
    pub const fn held(&self) -> Option<&HeldLock> {
        match self {
            Self::Held(held) | Self::Both(held) => Some(held),
            Self::Ours(_) => None,
        }
    }

    /// Whether there are locks of ours to be given back.
    #[must_use]
    pub const fn has_ours(&self) -> bool {
        match self {
            Self::Ours(_) | Self::Both(_) => true,
            Self::Held(_) => false,
        }
    }

    /// What is left once ours are given back.
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

    /// A service that has a container.
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
        Self::Only(BTreeSet::new())
    }
}

/// What happens to update locks that somebody else holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Force {
    /// They are respected.
    #[default]
    No,
    /// They are taken away.
    Yes,
}

/// An update lock that is not ours.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeldLock {
    /// The service whose lock it is.
    pub service: String,
    /// The file, as the host sees it.
    pub path: String,
    /// When the file was made, in seconds of the wall clock.
    pub since_secs: i64,
}
