//! What a plan looks at: the target, the demands and the machine, with the questions everybody asks of them.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::spec;
use crate::state::app::Shape;
use crate::state::config::Mount;
use crate::state::network::SUPERVISOR_NETWORK;
use crate::state::{
    App, AppId, ConfigHash, Container, Current, Demands, ImageRef, Network, NetworkConfig, Service, ServiceKey, Target, Volume,
};

/// Everything a plan is made from.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) target: &'a Target,
    pub(super) demands: &'a Demands,
    pub(super) current: &'a Current,
    pub(super) hashes: &'a Hashes,
}

/// What a container of each wanted service is made from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hashes(BTreeMap<ServiceKey, ConfigHash>);

impl Hashes {
    /// Those of a completed target.
    #[must_use]
    pub fn of(target: &Target) -> Self {
        let hash =
            |(app, name, it): (&App, &String, &Service)| (ServiceKey::new(app.id, name), it.config.hash(it.image.as_str()));
        Self(target.services().map(hash).collect())
    }

    /// That of a service of the target.
    pub(super) fn get(&self, key: &ServiceKey) -> Option<&ConfigHash> {
        self.0.get(key)
    }
}

impl<'a> Scene<'a> {
    /// Apps that are wanted, or of which something is left.
    pub(super) fn apps(self) -> BTreeSet<AppId> {
        let current = self.current;
        let wanted = self.target.apps.keys().copied();
        let left = current.containers.iter().map(|it| it.key.app);
        let networks = current.networks.iter().filter_map(|it| it.app);
        let volumes = current.volumes.iter().map(|it| it.app);
        let locked = current.locks.iter().filter(|(_, it)| it.has_ours()).map(|(app, _)| *app);
        wanted.chain(left).chain(networks).chain(volumes).chain(locked).collect()
    }

    /// What is wanted of an app. Nothing while it is being purged.
    pub(super) fn app(self, id: AppId) -> Option<&'a App> {
        self.target.apps.get(&id)
    }

    pub(super) fn is_purged(self, id: AppId) -> bool {
        self.demands.purge.contains(&id)
    }

    pub(super) fn has_image(self, image: &ImageRef) -> bool {
        self.current.has_image(image)
    }

    /// Whether a container is what its service wants, but for its name and its network namespace's owner.
    pub(super) fn is_as_wanted(self, container: &Container, service: &Service) -> bool {
        let hash = self.hashes.get(&container.key);
        hash.is_some_and(|hash| spec::is_as_wanted(container, service, hash, &self.current.images))
    }

    /// Whether every image of the app's release is here.
    pub(super) fn has_all_images(self, app: Option<&App>) -> bool {
        app.is_none_or(|app| app.services.values().all(|it| self.has_image(&it.image)))
    }

    pub(super) fn containers_of(self, app: AppId) -> impl Iterator<Item = &'a Container> {
        self.current.containers.iter().filter(move |it| it.key.app == app)
    }

    /// The app's networks that are on the engine, but not as they should be. A volume is never made anew for that: it has data.
    pub(super) fn changed(self, app: &App) -> Changed {
        let network = |(name, wanted): (&String, &NetworkConfig)| {
            let seen = self.network(app, name)?;
            (seen.config != *wanted).then(|| name.clone())
        };
        Changed { networks: app.networks.iter().filter_map(network).collect() }
    }

    pub(super) fn network(self, app: &App, name: &str) -> Option<&'a Network> {
        let names = [format!("{}_{name}", app.uuid), format!("{}_{name}", app.id)];
        self.current.networks.iter().find(|it| it.app == Some(app.id) && names.contains(&it.name))
    }

    pub(super) fn volume(self, app: &App, name: &str) -> Option<&'a Volume> {
        let name = format!("{}_{name}", app.id);
        self.current.volumes.iter().find(|it| it.app == app.id && it.name == name)
    }

    /// The first network or volume of a service that is not there as it should be.
    pub(super) fn missing(self, app: &App, service: &Service, changed: &Changed) -> Option<String> {
        let network = service.config.networks.keys().find(|name| {
            if *name == SUPERVISOR_NETWORK {
                return !self.current.networks.iter().any(|it| it.name == SUPERVISOR_NETWORK);
            }
            self.network(app, name).is_none() || changed.networks.contains(*name)
        });
        let volume = volumes(service).find(|name| self.volume(app, name).is_none());
        network.map(|it| format!("network {it}")).or_else(|| volume.map(|it| format!("volume {it}")))
    }

    pub(super) fn is_wanted_running(self, key: &ServiceKey, service: &Service) -> bool {
        service.running && !self.demands.stopped.contains(key)
    }
}

/// Networks of an app, by their name in the document, that must be made anew.
#[derive(Debug, Default)]
pub(super) struct Changed {
    pub(super) networks: BTreeSet<String>,
}

impl Changed {
    pub(super) fn concerns(&self, service: &Service) -> bool {
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

/// Whether the app's networks are ours to keep: supervisors of 2017 made none.
pub(super) fn has_networks(app: &App) -> bool {
    app.shape == Shape::Services
}
