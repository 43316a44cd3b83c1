//! A container engine as far as an agent can observe it: what it has, what it does, and what it refuses. No time passes here.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use boardkeeper::port::EngineError;
use boardkeeper::sorted::SortedSet;
use boardkeeper::state::config::{Mount, RestartPolicy};
use boardkeeper::state::hook::UpdateHook;
use boardkeeper::state::{
    AppId, Container, ContainerId, ContainerPhase, ContainerSpec, EngineTime, HealthStatus, Image, ImageId, ImageRef,
    NetworkConfig, NetworkId, Origin, OutputStream, ServiceKey, Volume, VolumeConfig, VolumeSnapshot,
};
use tokio::time::Instant;

use super::depends::Check;
use super::snapshots::{CopyRoom, VolumeData};

/// What the engine has.
#[derive(Debug, Default)]
pub(crate) struct EngineModel {
    /// Whether it answers.
    pub(crate) up: bool,
    /// How often it was started; a call that outlives its engine fails.
    pub(crate) epoch: u64,
    /// Every container.
    pub(crate) containers: BTreeMap<ContainerId, SimContainer>,
    /// Every image.
    pub(crate) images: BTreeMap<ImageId, Image>,
    /// Every network, and whose it is.
    pub(crate) networks: BTreeMap<String, Owned<(Option<AppId>, NetworkConfig)>>,
    /// The ids of networks, which differ from those of networks that had the same names before.
    pub(crate) network_ids: BTreeMap<String, NetworkId>,
    /// The subnets of each network.
    pub(super) subnets: BTreeMap<String, Vec<String>>,
    /// Networks that it does not remove.
    pub(crate) stuck_networks: SortedSet<String>,
    /// How often it was observed.
    pub(crate) looks: u64,
    /// What the engine's clock says.
    pub(crate) now: EngineTime,
    /// Services that cannot be started: their hardware is unplugged.
    pub(crate) unplugged: SortedSet<ServiceKey>,
    /// Every volume, and whose it is.
    pub(crate) volumes: BTreeMap<String, Owned<(AppId, VolumeConfig)>>,
    /// What volumes and snapshots have, by their names.
    pub(crate) data: BTreeMap<String, VolumeData>,
    /// Snapshots of volumes, complete or not.
    pub(crate) snapshots: BTreeMap<String, VolumeSnapshot>,
    /// Whether copies of volumes fit.
    pub(crate) copy_room: CopyRoom,
    /// Room for images, in bytes.
    pub(crate) room_bytes: u64,
    /// Services whose containers it refuses to create, and since when.
    pub(crate) refuses: BTreeMap<ServiceKey, Instant>,
    /// Observing it fails.
    pub(crate) observe_fails: bool,
    /// In which form it reports containers.
    pub(crate) dialect: Dialect,
    /// The newest API version it speaks.
    pub(crate) api: u64,
    /// The API version that the agent has negotiated.
    pub(crate) agreed: u64,
    /// How many layers of incomplete images are here.
    pub(crate) layers: BTreeMap<ImageId, u64>,
    /// How many agents died so far.
    pub(crate) agents: u64,
    pub(super) made: u64,
}

/// In which form an engine reports containers. An agent that takes another form than the normal one for a difference replaces
/// them again and again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// In the normal form.
    #[default]
    Normally,
    /// `no` is reported as `on-failure` with a count that hardly ever restarts.
    RestartOtherwise,
    /// The address of every port is spelled out.
    PortsOtherwise,
}

/// Something, and whether it carries our labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Owned<T> {
    /// It does.
    Ours(T),
    /// It does not.
    Foreign,
}

/// A container, with what the API of an engine does not show.
#[derive(Debug, Clone)]
pub(crate) struct SimContainer {
    /// What an agent observes.
    pub(crate) view: Container,
    /// Whether it carries our labels.
    pub(crate) foreign: bool,
    /// It was stopped by a request, and has not been started since.
    pub(crate) stopped: bool,
    /// Ends by itself with 0 soon after each start.
    pub(crate) brief: bool,
    /// The history of its health check, if it has one.
    pub(crate) check: Option<Check>,
    /// When it last exited with 0.
    pub(crate) completed: Option<Instant>,
    /// Time between SIGTERM and SIGKILL.
    pub(crate) grace: Duration,
    /// Times the engine started it again by itself.
    pub(crate) restarts: u32,
    /// Times an agent started it.
    pub(crate) started: u32,
    /// The agent that made it, by how many died before.
    pub(crate) made_by: u64,
    /// The agent that retired it, likewise.
    pub(crate) retired_by: Option<u64>,
    /// What it printed, in the engine's order.
    pub(crate) log: Vec<(EngineTime, OutputStream, String)>,
    pub(super) networks: BTreeMap<String, NetworkId>,
    volumes: SortedSet<String>,
}

impl SimContainer {
    /// With nothing inside.
    fn of(view: Container) -> Self {
        Self {
            view,
            foreign: false,
            stopped: false,
            brief: false,
            check: None,
            completed: None,
            grace: Duration::ZERO,
            restarts: 0,
            started: 0,
            made_by: 0,
            retired_by: None,
            log: Vec::new(),
            networks: BTreeMap::new(),
            volumes: SortedSet::new(),
        }
    }
}

pub(super) type Done = Result<(), EngineError>;

pub(super) fn refuse<T>(why: impl Into<String>) -> Result<T, EngineError> {
    Err(EngineError::Refused(why.into()))
}

impl EngineModel {
    /// An engine with room for images.
    pub(crate) fn new(room_bytes: u64) -> Self {
        Self { up: true, room_bytes, ..Self::default() }
    }

    /// What an image reference means, and its size: the same for ever. A letter at its end is another name for the same image.
    pub(crate) fn registry(reference: &ImageRef) -> Image {
        let bare = reference.as_str().trim_end_matches(|c: char| c.is_ascii_lowercase());
        let sum = bare.bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(1_000_003).wrapping_add(u64::from(byte)));
        let id = ImageId(format!("sha256:{sum:064x}"));
        Image { id, names: SortedSet::from([reference.clone()]), size_bytes: 50_000_000 + sum % 100_000_000 }
    }

    /// The image a reference leads to here.
    pub(crate) fn image(&self, reference: &ImageRef) -> Option<&Image> {
        self.images.values().find(|image| image.answers_to(reference))
    }

    /// Keeps an image that was downloaded.
    pub(crate) fn keep(&mut self, image: Image) {
        self.images.entry(image.id.clone()).or_insert_with(|| image.clone()).names.extend(image.names);
    }

    /// Room left for images, in bytes.
    pub(crate) fn free_bytes(&self) -> u64 {
        self.room_bytes.saturating_sub(self.images.values().map(|image| image.size_bytes).sum())
    }

    /// Makes a container. One with its name, key and hash will do.
    pub(crate) fn create(&mut self, spec: &ContainerSpec, now_secs: i64) -> Result<ContainerId, EngineError> {
        let made = Origin::Ours(spec.hash.clone());
        if let Some(there) = self.containers.values().find(|it| it.view.name == spec.name) {
            let same = !there.foreign && there.view.key == spec.key && there.view.made == made;
            let taken = || refuse(format!("the name {} is taken by a container that no supervisor made so", spec.name));
            return if same { Ok(there.view.id.clone()) } else { taken() };
        }
        let Some(image) = self.image(&spec.image).map(|image| image.id.clone()) else {
            return refuse(format!("no such image: {}", spec.image));
        };
        self.accepts(spec)?;
        let networks = self.networks_of(spec)?;
        let volumes = self.volumes_of(spec)?;
        let mut shares = BTreeMap::new();
        for (namespace, name) in spec.config.shares() {
            let Some(id) = spec.owners.get(name).filter(|id| self.containers.contains_key(id)) else {
                return refuse(format!("no container to share a namespace of {name} with"));
            };
            shares.insert(namespace, id.clone());
        }
        self.made += 1;
        let id = ContainerId(format!("{:064x}", self.made.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        let view = Container {
            id: id.clone(),
            name: spec.name.clone(),
            key: spec.key.clone(),
            phase: ContainerPhase::Created,
            created_secs: now_secs,
            image,
            image_ref: spec.image.clone(),
            made,
            outcome: None,
            env: spec.config.env.clone().into(),
            restart: spec.config.restart,
            error: None,
            health: None,
            started: None,
            networks: None,
            shares: shares.into_iter().collect(),
            ports: boardkeeper::sorted::SortedSet::new(),
            is_port_taken: false,
            before_update: UpdateHook::of_labels(&spec.config.labels).unwrap(),
            shares_since: None,
            is_orphaned: false,
            volumes: volumes.clone(),
            restarts: 0,
            is_out_of_memory: false,
        };
        let brief = spec.config.env.contains_key("BRIEF");
        // No process outlives SIGKILL.
        let killed = spec.config.stop_signal.as_deref() == Some("SIGKILL");
        let grace = if killed { Duration::ZERO } else { spec.config.stop_grace };
        let check = spec.config.health.as_ref().map(|_| Check::of(&spec.config));
        let new = SimContainer { brief, check, grace, made_by: self.agents, networks, volumes, ..SimContainer::of(view) };
        self.containers.insert(id.clone(), new);
        Ok(id)
    }

    /// An engine knows a network by the name in the request, and by no other.
    fn networks_of(&self, spec: &ContainerSpec) -> Result<BTreeMap<String, NetworkId>, EngineError> {
        let find = |name: &String| {
            let found = spec.networks.get(name).and_then(|it| Some((it.clone(), self.network_ids.get(it)?.clone())));
            found.map_or_else(|| refuse(format!("no such network: {name}")), Ok)
        };
        spec.config.networks.keys().map(find).collect()
    }

    fn volumes_of(&self, spec: &ContainerSpec) -> Result<SortedSet<String>, EngineError> {
        let names = spec.config.mounts.iter().filter_map(|mount| match mount {
            Mount::Volume { name, .. } => Some(format!("{}_{name}", spec.key.app)),
            Mount::Bind { .. } | Mount::Anonymous { .. } => None,
        });
        names
            .map(|name| if self.volumes.contains_key(&name) { Ok(name) } else { refuse(format!("no such volume: {name}")) })
            .collect()
    }

    /// Starts a container. One that runs is started.
    pub(crate) fn start(&mut self, id: &ContainerId) -> Done {
        let Some(it) = self.containers.get(id) else { return refuse("no such container") };
        if matches!(it.view.phase, ContainerPhase::Removing | ContainerPhase::Dead) {
            return refuse("it is being removed");
        }
        if it.view.phase == ContainerPhase::Running {
            return Ok(());
        }
        let why = self.why_not(it);
        let now = self.now;
        let it = self.at(id)?;
        it.view.error.clone_from(&why);
        if let Some(why) = why {
            return refuse(why);
        }
        it.view.phase = ContainerPhase::Running;
        it.view.started = Some(now);
        it.view.health = it.check.as_ref().map(|_| HealthStatus::Starting);
        it.stopped = false;
        self.write_volumes(id);
        Ok(())
    }

    /// Why a container cannot be started.
    fn why_not(&self, it: &SimContainer) -> Option<String> {
        let is_gone = |(name, id): &(&String, &NetworkId)| self.network_ids.get(*name) != Some(id);
        if let Some((name, id)) = it.networks.iter().find(is_gone) {
            // Whatever has its name now.
            return Some(format!("network {} ({name}) not found", id.0));
        }
        let runs = |id| self.containers.get(id).is_some_and(|it| it.view.phase.is_alive());
        if !it.view.shares.values().all(runs) {
            return Some("the container whose network it shares does not run".into());
        }
        let unplugged = self.unplugged.contains(&it.view.key);
        unplugged.then(|| "error gathering device information while adding custom device: no such file or directory".into())
    }

    /// A container's process has ended.
    pub(crate) fn exit(&mut self, id: &ContainerId, code: i32, by_hand: bool) -> Done {
        let it = self.at(id)?;
        if it.view.phase.is_alive() {
            it.view.phase = ContainerPhase::Exited(code);
            it.ended(code);
        }
        it.stopped |= by_hand;
        Ok(())
    }

    /// Removes a container that does not run. One that is gone is removed.
    pub(crate) fn remove(&mut self, id: &ContainerId) -> Done {
        match self.containers.get(id) {
            Some(it) if it.view.phase.is_alive() => refuse("cannot remove a running container"),
            Some(_) => {
                self.containers.remove(id);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Gives a container another name.
    pub(crate) fn rename(&mut self, id: &ContainerId, name: &str) -> Done {
        if self.containers.values().any(|it| it.view.name == name && it.view.id != *id) {
            return refuse(format!("the name {name} is taken"));
        }
        name.clone_into(&mut self.at(id)?.view.name);
        Ok(())
    }

    /// The engine no longer starts a container by itself.
    pub(crate) fn rest(&mut self, id: &ContainerId) -> Done {
        let by = self.agents;
        let it = self.at(id)?;
        it.view.restart = RestartPolicy::No;
        it.retired_by = Some(by);
        Ok(())
    }

    /// Makes a volume. An equal one of ours will do.
    pub(crate) fn create_volume(&mut self, volume: &Volume) -> Done {
        let new = Owned::Ours((volume.app, volume.config.clone()));
        match self.volumes.get(&volume.name) {
            Some(Owned::Foreign) => refuse(format!("volume {} is there, and no supervisor made it", volume.name)),
            Some(there) if *there != new => refuse(format!("volume {} exists", volume.name)),
            Some(_) => Ok(()),
            None => {
                self.volumes.insert(volume.name.clone(), new);
                Ok(())
            }
        }
    }

    /// Removes a volume that no container has.
    pub(crate) fn remove_volume(&mut self, name: &str) -> Done {
        if self.volumes.get(name) == Some(&Owned::Foreign) {
            return refuse(format!("no supervisor made volume {name}"));
        }
        if self.containers.values().any(|it| it.volumes.contains(name)) {
            return Err(EngineError::InUse(format!("volume {name} is in use")));
        }
        self.volumes.remove(name);
        self.snapshots.remove(name);
        self.data.remove(name);
        Ok(())
    }

    /// Takes a name from an image; without names it is gone. One that is the last name of an image in use stays.
    pub(crate) fn remove_image(&mut self, reference: &ImageRef) -> Done {
        let Some(image) = self.image(reference).cloned() else { return Ok(()) };
        let last = image.names.iter().all(|name| name == reference);
        if !last {
            self.images.entry(image.id).and_modify(|it| it.names.retain(|name| name != reference));
            return Ok(());
        }
        if self.containers.values().any(|it| it.view.image == image.id) {
            return Err(EngineError::InUse(format!("{reference} is used by a container")));
        }
        self.images.remove(&image.id);
        Ok(())
    }

    /// Whether the engine starts a container again that ended by itself.
    pub(crate) fn starts_again(it: &SimContainer, code: i32) -> bool {
        match it.view.restart {
            RestartPolicy::No => false,
            RestartPolicy::Always | RestartPolicy::UnlessStopped => !it.stopped,
            RestartPolicy::OnFailure(most) => code != 0 && !it.stopped && (most == 0 || it.restarts < most),
        }
    }

    /// The agent is gone.
    pub(crate) const fn agent_died(&mut self) {
        self.agents += 1;
    }

    /// Of how many layers an image is made.
    pub(crate) const fn layers_of(image: &Image) -> u64 {
        1 + image.size_bytes % 6
    }

    /// The engine was killed, or the board lost its power: nothing runs.
    pub(crate) fn die(&mut self) {
        self.up = false;
        self.containers.retain(|_, it| it.view.phase != ContainerPhase::Removing);
        for it in self.containers.values_mut().filter(|it| it.view.phase.is_alive()) {
            it.view.phase = ContainerPhase::Exited(255);
            it.ended(255);
        }
    }

    /// The engine is started, and starts what its restart policies say. Those it started.
    pub(crate) fn rise(&mut self) -> Vec<ContainerId> {
        self.up = true;
        self.epoch += 1;
        let lost = |it: &SimContainer| matches!(it.view.phase, ContainerPhase::Exited(255)) && !it.stopped;
        let back = |it: &&mut SimContainer| match it.view.restart {
            RestartPolicy::No => false,
            RestartPolicy::Always => matches!(it.view.phase, ContainerPhase::Exited(_)),
            RestartPolicy::UnlessStopped | RestartPolicy::OnFailure(_) => lost(it),
        };
        let mut back: Vec<_> =
            self.containers.values_mut().filter_map(|mut it| back(&mut it).then(|| it.view.id.clone())).collect();
        // A container that shares the network of another is started after it.
        back.sort_by_key(|id| !self.containers[id].view.shares.is_empty());
        back.retain(|id| self.start(id).is_ok());
        back
    }

    /// A foreign container, network and volume appear.
    pub(crate) fn create_foreign_container(&mut self, name: &str, id: String) {
        let reference = ImageRef::new(&format!("foreign/{name}:1"));
        let image = Self::registry(&reference);
        let view = Container {
            id: ContainerId(id.clone()),
            name: name.to_owned(),
            key: ServiceKey::new(AppId(0), "foreign"),
            phase: ContainerPhase::Running,
            created_secs: 0,
            image: image.id.clone(),
            image_ref: reference,
            made: Origin::Adopted(Box::default()),
            outcome: None,
            env: Arc::default(),
            restart: RestartPolicy::No,
            error: None,
            health: None,
            shares: boardkeeper::sorted::SortedMap::new(),
            started: None,
            networks: None,
            ports: boardkeeper::sorted::SortedSet::new(),
            is_port_taken: false,
            before_update: None,
            shares_since: None,
            is_orphaned: false,
            volumes: SortedSet::new(),
            restarts: 0,
            is_out_of_memory: false,
        };
        let new = SimContainer { foreign: true, ..SimContainer::of(view) };
        self.keep(image);
        self.containers.insert(ContainerId(id), new);
        self.foreign_network(&format!("{name}_net"));
        self.foreign_volume(&format!("{name}_vol"));
    }

    /// A foreign volume appears.
    pub(crate) fn foreign_volume(&mut self, name: &str) {
        self.volumes.insert(name.to_owned(), Owned::Foreign);
    }

    /// A container that is there.
    pub(crate) fn at(&mut self, id: &ContainerId) -> Result<&mut SimContainer, EngineError> {
        self.containers.get_mut(id).map_or_else(|| refuse("no such container"), Ok)
    }

    /// Our containers, alive or not.
    pub(crate) fn ours(&self) -> impl Iterator<Item = &SimContainer> {
        self.containers.values().filter(|it| !it.foreign)
    }

    /// Everything, one line each, at the end of a trace.
    pub(crate) fn inventory(&self) -> String {
        let mut text = String::new();
        for it in self.containers.values() {
            let Container { key, name, phase, image_ref, restart, .. } = &it.view;
            let whose = if it.foreign { "foreign" } else { "ours" };
            writeln!(text, "          {whose} {key} {name} {phase:?} {image_ref} restart {restart}").unwrap();
        }
        for image in self.images.values() {
            let names: Vec<_> = image.names.iter().map(ImageRef::as_str).collect();
            writeln!(text, "          image {}", names.join(" ")).unwrap();
        }
        let networks: Vec<_> = self.networks.keys().map(String::as_str).collect();
        let volumes: Vec<_> = self.volumes.keys().map(String::as_str).collect();
        writeln!(text, "          networks {}; volumes {}", networks.join(" "), volumes.join(" ")).unwrap();
        text
    }
}
