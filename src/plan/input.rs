//! What a plan is made from: the target, the overrides and the current state, with the queries that several planning modules
//! need.

use crate::plan::compare;
use crate::plan::ports::Ports;
use crate::sorted::{SortedMap, SortedSet};
use crate::state::app::Generation;
use crate::state::config::{Mount, NetworkMode};
use crate::state::lease::{self, Lease};
use crate::state::network::{ENGINE_NETWORK, NetworkAttachment, SUPERVISOR_NETWORK};
use crate::state::window::ClosedWindow;
use crate::state::{
    App, AppId, ConfigHash, Container, ContainerPhase, Current, EngineAction, ImageRef, Network, NetworkConfig,
    NetworkConnection, NetworkId, Overrides, Service, ServiceKey, Step, Target, Volume, Waiting,
};

/// Everything a plan is made from.
#[derive(Clone, Copy)]
pub(super) struct PlanInput<'a> {
    pub(super) target: &'a Target,
    pub(super) overrides: &'a Overrides,
    pub(super) current: &'a Current,
    pub(super) hashes: &'a ConfigHashes,
    pub(super) ports: &'a Ports,
}

/// The configuration hash of each wanted service's container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigHashes(SortedMap<ServiceKey, ConfigHash>);

impl ConfigHashes {
    /// The hashes of a completed target.
    #[must_use]
    pub fn of(target: &Target) -> Self {
        let hash =
            |(app, name, it): (&App, &String, &Service)| (ServiceKey::new(app.id, name), it.config.hash(it.image.as_str()));
        Self(target.services().map(hash).collect())
    }

    /// The hash of a service of the target.
    pub(super) fn get(&self, key: &ServiceKey) -> Option<&ConfigHash> {
        self.0.get(key)
    }
}

impl<'a> PlanInput<'a> {
    /// Apps that are wanted, or of which something is left.
    pub(super) fn apps(self) -> SortedSet<AppId> {
        let current = self.current;
        let wanted = self.target.apps.keys().copied();
        let existing = current.containers.iter().map(|it| it.key.app);
        let networks = current.networks.iter().filter_map(|it| it.app);
        let volumes = current.volumes.iter().map(|it| it.app);
        let locked = current.locks.iter().filter(|(_, it)| it.has_ours()).map(|(app, _)| *app);
        wanted.chain(existing).chain(networks).chain(volumes).chain(locked).collect()
    }

    /// The apps of the target, without those that local mode keeps.
    pub(super) fn active_apps(self) -> impl Iterator<Item = &'a App> {
        self.target.apps.values().filter(move |app| !self.target.keeps(app.id))
    }

    /// The app as the target wants it.
    pub(super) fn app(self, id: AppId) -> Option<&'a App> {
        self.target.apps.get(&id)
    }

    /// The lease that holds up the app's disruptive steps, unless locks are overridden.
    pub(super) fn lease(self, id: AppId) -> Option<&'a Lease> {
        if self.overrides.force.contains(&id) { None } else { lease::last_of(&self.current.leases, id) }
    }

    /// The update window that holds up a step: of the running container that it disturbs, or of one that shares a namespace
    /// with that one. What a person requested is not held up, and neither is what mends a container that lost a namespace.
    pub(super) fn window_against(self, step: &Step) -> Option<Waiting> {
        let Step::Engine(
            EngineAction::Kill(which)
            | EngineAction::Stop(which)
            | EngineAction::Restart(which)
            | EngineAction::Retire(which, _)
            | EngineAction::Connect(which, _),
        ) = step
        else {
            return None;
        };
        let requested = &self.overrides;
        let is_requested = requested.recreate.contains(&which.id)
            || requested.purge.contains(&which.key.app)
            || requested.stopped.contains(&which.key);
        if is_requested {
            return None;
        }
        let concerned = |it: &&Container| it.id == which.id || it.shares.values().any(|owner| *owner == which.id);
        let mut disturbed =
            self.current.containers.iter().filter(concerned).filter(|it| it.phase.is_alive() && !it.is_orphaned);
        disturbed.find_map(|it| Some(Waiting::Window(Some(it.key.clone()), self.closed_window(&it.key)?.clone())))
    }

    /// The update window of a service, if it is closed and counts. In local mode none does: a person switched it on or off.
    pub(super) fn closed_window(self, key: &ServiceKey) -> Option<&'a ClosedWindow> {
        let counts = !self.overrides.outside_windows.contains(&key.app) && self.target.local.is_none();
        self.current.windows.services.get(key).filter(|_| counts)
    }

    /// The update window of a reboot, if it is closed and counts.
    pub(super) fn closed_reboot_window(self) -> Option<&'a ClosedWindow> {
        let outside = &self.overrides.outside_windows;
        let counts = (outside.is_empty() || !self.apps().is_subset(outside)) && self.target.local.is_none();
        self.current.windows.reboot.as_ref().filter(|_| counts)
    }

    pub(super) fn is_purged(self, id: AppId) -> bool {
        self.overrides.purge.contains(&id)
    }

    pub(super) fn has_image(self, image: &ImageRef) -> bool {
        self.current.has_image(image)
    }

    /// Whether a container matches its service, apart from its name and the owners of its shared namespaces.
    pub(super) fn is_as_wanted(self, container: &Container, service: &Service) -> bool {
        let hash = self.hashes.get(&container.key);
        hash.is_some_and(|hash| compare::is_as_wanted(container, service, hash, &self.current.images))
            && !(self.target.is_pushed(container.key.app) && self.is_rebuilt(container, service))
    }

    /// Whether the name of a service's image means another image than the container runs: it was built anew under that name.
    fn is_rebuilt(self, container: &Container, service: &Service) -> bool {
        let mut named = self.current.images.iter().filter(|it| it.answers_to(&service.image)).peekable();
        named.peek().is_some() && named.all(|it| it.id != container.image)
    }

    /// Whether every image of the app's release is here.
    pub(super) fn has_all_images(self, app: Option<&App>) -> bool {
        app.is_none_or(|app| app.services.values().all(|it| self.has_image(&it.image)))
    }

    pub(super) fn containers_of(self, app: AppId) -> impl Iterator<Item = &'a Container> {
        self.current.containers.iter().filter(move |it| it.key.app == app)
    }

    /// An app that left the target and still runs, if this one has run nothing yet: a device that moves to another fleet runs
    /// one after the other, and never both because of a lock. When local mode is entered or left, pushed apps and those of the
    /// owner run one after the other too, whatever has run before.
    pub(super) fn predecessor(self, app: AppId) -> Option<AppId> {
        let is_pushed = self.target.is_pushed(app);
        let makes_way = |it: &&Container| match &self.target.local {
            Some(local) if local.is_on => is_pushed && local.keeps(it.key.app),
            Some(local) => !is_pushed && local.pushed.contains(&it.key.app),
            None => false,
        };
        if let Some(other) = self.current.containers.iter().filter(|it| it.phase.is_alive()).find(makes_way) {
            return Some(other.key.app);
        }
        if self.containers_of(app).any(|it| it.phase != ContainerPhase::Created) {
            return None;
        }
        let leaving = |it: &&Container| it.phase.is_alive() && !self.target.apps.contains_key(&it.key.app);
        self.current.containers.iter().find(leaving).map(|it| it.key.app)
    }

    /// The app's networks that exist on the engine but differ from the target. A volume is never recreated for a difference:
    /// it has data.
    pub(super) fn changed_networks(self, app: &App) -> ChangedNetworks {
        let network = |(name, wanted): (&String, &NetworkConfig)| {
            let existing = self.network_of_app(app, name)?;
            (existing.config != *wanted).then(|| name.clone())
        };
        ChangedNetworks { networks: app.networks.iter().filter_map(network).collect() }
    }

    /// Whether the engine has yet to show that it has the driver which an app's network should have: the existing network has
    /// another one, and no trial network was created with it.
    pub(super) fn is_driver_untried(self, app: &App, name: &str) -> bool {
        let (Some(wanted), Some(existing)) = (app.networks.get(name), self.network_of_app(app, name)) else { return false };
        existing.config.driver != wanted.driver
            && self.trial_network(app, name).is_none_or(|trial| trial.config.driver != wanted.driver)
            && self.containers_of(app.id).next().is_some()
    }

    /// The trial network of an app's network, created to test a driver.
    pub(super) fn trial_network(self, app: &App, name: &str) -> Option<&'a Network> {
        let name = app.trial_network_name(name);
        self.current.networks.iter().find(|it| it.app == Some(app.id) && it.name == name)
    }

    /// The first network of a service whose driver is not tried yet. Nothing is killed before it is: the engine may lack the
    /// driver.
    pub(super) fn untried_driver(self, app: &App, service: &Service) -> Option<String> {
        let name = service.config.networks.keys().find(|it| self.is_driver_untried(app, it))?;
        let driver = app.networks.get(name).map_or("", |it| &it.driver);
        Some(format!("network {name}, whose driver {driver} is tried first"))
    }

    /// An app's network, or `supervisor0`. If several match, prefer one that a live container is attached to, for it cannot be
    /// removed; then one that any container is on, for an engine starts none whose network is gone; then one with the name that
    /// current supervisors use; then the oldest, as engines list them by age.
    pub(super) fn network(self, app: &App, name: &str) -> Option<&'a Network> {
        if name == SUPERVISOR_NETWORK { self.supervisor_network() } else { self.network_of_app(app, name) }
    }

    /// As `network`, without `supervisor0`.
    pub(super) fn network_of_app(self, app: &App, name: &str) -> Option<&'a Network> {
        let [current_name, older_name] = app.engine_network_names(name);
        let could_be = |it: &&Network| it.app == Some(app.id) && (it.name == current_name || it.name == older_name);
        let rank = |it: &&Network| (!self.is_attached_to(it), !self.has_any_on(it), it.name != current_name);
        self.current.networks.iter().filter(could_be).min_by_key(rank)
    }

    /// The network on which services reach the API.
    pub(super) fn supervisor_network(self) -> Option<&'a Network> {
        let all = self.current.networks.iter().filter(|it| it.name == SUPERVISOR_NETWORK);
        all.min_by_key(|it| !self.is_attached_to(it))
    }

    /// The engine's name of an app's network: that of the existing network, else the one it will be created with.
    pub(super) fn network_name(self, app: &App, name: &str) -> String {
        match self.network(app, name) {
            Some(network) => network.name.clone(),
            None if name == SUPERVISOR_NETWORK => name.to_owned(),
            None => self.new_network_name(app, name),
        }
    }

    /// The engine's name that a network of an app is created with: the one that its containers know. They cannot leave a
    /// network that is gone, but can have another of the same name instead.
    pub(super) fn new_network_name(self, app: &App, name: &str) -> String {
        let [current_name, older_name] = app.engine_network_names(name);
        let is_known = |name: &String| self.containers_of(app.id).any(|it| knows(it, name));
        if is_known(&older_name) && !is_known(&current_name) { older_name } else { current_name }
    }

    /// Whether a live container of ours is attached to a network: engines do not remove such a network.
    pub(super) fn is_attached_to(self, network: &Network) -> bool {
        self.current.containers.iter().any(|it| it.phase.is_alive() && is_on(it, network))
    }

    /// Whether a container of ours is on a network, be it alive or not.
    pub(super) fn has_any_on(self, network: &Network) -> bool {
        self.current.containers.iter().any(|it| is_on(it, network))
    }

    /// Whether there is another network of the same name, which engines then call ambiguous.
    fn has_twin(self, network: &Network) -> bool {
        self.current.networks.iter().any(|it| it.name == network.name && it.id != network.id)
    }

    pub(super) fn volume(self, app: &App, name: &str) -> Option<&'a Volume> {
        let name = Volume::engine_name(app.id, name);
        self.current.volumes.iter().find(|it| it.app == app.id && it.name == name)
    }

    /// The networks of its service that a container is not attached to: it was disconnected by hand, or the network was
    /// removed and recreated.
    pub(super) fn missing_connections(self, app: &App, service: &Service, container: &Container) -> Vec<NetworkConnection> {
        let Some(attached) = container.networks.as_ref().filter(|_| service.config.network_mode == NetworkMode::App) else {
            return Vec::new();
        };
        let lacks = |(name, attachment): (&String, &NetworkAttachment)| {
            let network = self.network(app, name)?;
            let existing = attached.get(&network.name);
            let instead_of = existing.filter(|it| !it.may_be(&network.id)).cloned();
            let (id, attachment) = (network.id.clone(), attachment.clone());
            let lacks = existing.is_none() || instead_of.is_some();
            lacks.then(|| NetworkConnection { network: network.name.clone(), id, instead_of, attachment })
        };
        let mut all: Vec<_> = service.config.networks.iter().filter_map(lacks).collect();
        // A service that names no network of the app is on the engine's default network, also beside ours.
        let is_on_engine_network = service.config.networks.keys().all(|it| it == SUPERVISOR_NETWORK);
        if is_on_engine_network && attached.keys().eq([SUPERVISOR_NETWORK]) {
            let network = ENGINE_NETWORK.to_owned();
            all.push(NetworkConnection {
                network,
                id: NetworkId::default(),
                instead_of: None,
                attachment: NetworkAttachment::default(),
            });
        }
        all
    }

    /// The network of its service that a container was on and that is gone: no engine starts it before there is another in its
    /// place.
    pub(super) fn gone_network(self, app: &App, service: &Service, container: &Container) -> Option<String> {
        let is_gone = |name: &&String| self.network(app, name).is_none() && !names_it_is_on(app, name, container).is_empty();
        service.config.networks.keys().find(is_gone).cloned()
    }

    /// Whether a container was on a network that is gone, while the app has another of another name. An engine looks for the
    /// name that the container was created with.
    pub(super) fn is_stranded(self, app: &App, service: &Service, container: &Container) -> bool {
        let exists = |name: &String| self.current.networks.iter().any(|it| it.name == *name);
        let is_gone = |name: &String| {
            self.network(app, name).is_some() && names_it_is_on(app, name, container).iter().any(|it| !exists(it))
        };
        !container.phase.is_alive() && service.config.networks.keys().any(is_gone)
    }

    /// The first network or volume of a service that is missing, or that differs from the target.
    pub(super) fn first_missing(self, app: &App, service: &Service, changed: &ChangedNetworks) -> Option<String> {
        let network = service.config.networks.keys().find(|it| changed.networks.contains(*it));
        network.map(|it| format!("network {it}")).or_else(|| self.first_absent(app, service))
    }

    /// As `first_missing`, without existing networks that are to be recreated, which needs the service's containers gone. The
    /// other resources need not wait for that, and a running container is not removed before they exist.
    pub(super) fn first_absent(self, app: &App, service: &Service) -> Option<String> {
        for name in service.config.networks.keys() {
            match self.network(app, name) {
                None => return Some(format!("network {name}")),
                Some(existing) if self.has_twin(existing) => {
                    return Some(format!("the second network {} to be removed", existing.name));
                }
                Some(_) => (),
            }
        }
        if let Some(network) = self.untried_driver(app, service) {
            return Some(network);
        }
        volumes(service).find(|it| self.volume(app, it).is_none()).map(|it| format!("volume {it}"))
    }

    pub(super) fn is_wanted_running(self, key: &ServiceKey, service: &Service) -> bool {
        service.running && !self.overrides.stopped.contains(key)
    }
}

/// The names on the engine of an app's network, or of `supervisor0`, that a container is on.
fn names_it_is_on(app: &App, name: &str, container: &Container) -> Vec<String> {
    let names = if name == SUPERVISOR_NETWORK { vec![name.to_owned()] } else { app.engine_network_names(name).to_vec() };
    names.into_iter().filter(|it| knows(container, it)).collect()
}

/// Whether a container is on a network of this name, be it there or gone.
fn knows(container: &Container, name: &String) -> bool {
    container.networks.as_ref().is_some_and(|on| on.contains_key(name))
}

fn is_on(container: &Container, network: &Network) -> bool {
    container.networks.as_ref().and_then(|on| on.get(&network.name)) == Some(&network.id)
}

/// Networks of an app, by their name in the document, that must be recreated.
#[derive(Debug, Default)]
pub(super) struct ChangedNetworks {
    pub(super) networks: SortedSet<String>,
}

impl ChangedNetworks {
    pub(super) fn affects(&self, service: &Service) -> bool {
        service.config.networks.keys().any(|it| self.networks.contains(it))
    }
}

/// Volumes a service mounts, by their name in the document.
pub(super) fn volumes(service: &Service) -> impl Iterator<Item = &String> {
    service.config.mounts.iter().filter_map(|mount| match mount {
        Mount::Volume { name, .. } => Some(name),
        Mount::Bind { .. } | Mount::Anonymous { .. } => None,
    })
}

/// Whether the app's networks are ours to manage: supervisors of 2017 created none.
pub(super) fn has_networks(app: &App) -> bool {
    app.shape != Generation::Single
}
