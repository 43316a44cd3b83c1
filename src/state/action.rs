//! The actions of the container engine.

use std::fmt;
use std::sync::Arc;

use crate::sorted::SortedMap;
use crate::state::config::Port;
use crate::state::hook::HookRun;
use crate::state::network::NetworkAttachment;
use crate::state::{
    AppId, ConfigHash, ContainerConfig, ContainerId, ImageRef, Network, NetworkId, ServiceKey, Volume, VolumeCopy,
};

/// One action of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineAction {
    /// Pull an image.
    Pull(ImageRef),
    /// Create a container. Its image, networks and volumes exist. Shared: the plan, the step in flight, the history and those
    /// who follow it each have one.
    Create(Arc<ContainerSpec>),
    /// Start a container that does not run, or unpause one.
    Start(ContainerRef),
    /// Stop a container, and keep it.
    Stop(ContainerRef),
    /// Stop a container, and remove it.
    Kill(ContainerRef),
    /// Stop a container and start it again.
    Restart(ContainerRef),
    /// Rename a container: only its release changed, or the container that it replaces is gone.
    Rename(ContainerRef, String),
    /// Rename the old container of a hand-over, and disable its restart policy.
    Retire(ContainerRef, String),
    /// Run the hook of a container before an update. Rejected: it failed, or did not end in time.
    RunHook(ContainerRef, Box<HookRun>),
    /// Attach a container to networks that it lost, or that were recreated under the same name.
    Connect(ContainerRef, Vec<NetworkConnection>),
    /// Create a network.
    CreateNetwork(Network),
    /// Remove a network no container is attached to.
    RemoveNetwork(String, NetworkId, Option<AppId>),
    /// Create a volume.
    CreateVolume(Volume),
    /// Remove a volume, or a snapshot, that no container uses.
    RemoveVolume(String, AppId),
    /// Copy a volume, which nothing uses, into a new snapshot of it. An earlier one is removed.
    KeepData(Box<VolumeCopy>),
    /// Create a volume anew from its snapshot. No container has it.
    PutDataBack(Box<VolumeCopy>),
    /// Delete an image no container uses.
    RemoveImage(ImageRef),
}

/// A container, by its service and its id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContainerRef {
    /// The service.
    pub key: ServiceKey,
    /// The engine's id.
    pub id: ContainerId,
}

/// A network that a container is to be attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkConnection {
    /// The network's name on the engine.
    pub network: String,
    /// The engine's id of the network. Empty: the network is found by its name.
    pub id: NetworkId,
    /// Another network of that name, to which the container is still attached.
    pub instead_of: Option<NetworkId>,
    /// How it is attached.
    pub attachment: NetworkAttachment,
}

/// A container to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSpec {
    /// The service.
    pub key: ServiceKey,
    /// The app's unique name.
    pub app_uuid: String,
    /// The engine's names of the networks that the configuration names: those of the existing networks.
    pub networks: SortedMap<String, String>,
    /// The service's number.
    pub service_id: u32,
    /// The container's name: `<service>_<image id>_<release id>_<commit>`, prefixed with `new_` while the container that it
    /// replaces has that name. Creating it twice is rejected by the engine itself.
    pub name: String,
    /// The image.
    pub image: ImageRef,
    /// The host port chosen for each port that leaves a choice.
    pub ports: SortedMap<Port, u16>,
    /// The containers of the services whose namespaces it shares.
    pub owners: SortedMap<String, ContainerId>,
    /// Variables set at creation only; a later change of their values makes no difference.
    pub env_at_creation: SortedMap<String, String>,
    /// The rest of the configuration.
    pub config: ContainerConfig,
    /// The configuration hash that its label will carry.
    pub hash: ConfigHash,
}

impl fmt::Display for EngineAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pull(image) => write!(f, "pull {image}"),
            Self::Create(spec) => write!(f, "create {} from {}", spec.key, spec.image),
            Self::Start(which) => write!(f, "start {}", which.key),
            Self::Stop(which) => write!(f, "stop {}", which.key),
            Self::Kill(which) => write!(f, "kill {}", which.key),
            Self::Restart(which) => write!(f, "restart {}", which.key),
            Self::Rename(which, name) => write!(f, "rename {} to {name}", which.key),
            Self::Retire(which, name) => write!(f, "retire {} as {name}", which.key),
            Self::RunHook(which, _) => write!(f, "run the hook of {}", which.key),
            Self::CreateNetwork(network) => write!(f, "create network {}", network.name),
            Self::RemoveNetwork(name, ..) => write!(f, "remove network {name}"),
            Self::Connect(which, networks) => {
                write!(f, "connect {} to", which.key)?;
                networks.iter().try_for_each(|it| write!(f, " {}", it.network))
            }
            Self::CreateVolume(volume) => write!(f, "create volume {}", volume.name),
            Self::RemoveVolume(name, _) => write!(f, "remove volume {name}"),
            Self::KeepData(copy) => write!(f, "copy the data of volume {}", copy.volume.name),
            Self::PutDataBack(copy) => write!(f, "put the data of volume {} back", copy.volume.name),
            Self::RemoveImage(image) => write!(f, "remove image {image}"),
        }
    }
}
