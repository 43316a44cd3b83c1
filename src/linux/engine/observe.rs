//! The snapshot of what the engine has. Up to four lists are requested concurrently, and a container is inspected only if it is
//! new or changed.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream, try_join};
use tracing::warn;

use crate::linux::engine::connection::{EngineConnection, moment};
use crate::linux::engine::described::{ListedContainer, container, phase, undescribed};
use crate::linux::engine::errors::{found, sort};
use crate::linux::engine::json::EngineJson;
use crate::linux::engine::known::{ContainerCache, KnownContainer, ListedState};
use crate::linux::engine::labels;
use crate::linux::engine::lists::ListKind;
use crate::linux::engine::{Engine, decode, encode, resources, snapshots, transport};
use crate::port::{EngineError, EngineSnapshot};
use crate::sorted::{SortedMap, SortedSet, sort_by};
use crate::state::{
    ConfigHash, Container, ContainerConfig, ContainerId, ContainerPhase, EngineTime, ImageId, Origin, Outcome, ServiceKey,
};

/// How many containers are inspected concurrently. Each takes a connection, and a process has 1024 file descriptors.
pub(super) const AT_ONCE: usize = 16;

impl Engine {
    pub(super) async fn look(&self) -> Result<EngineSnapshot, EngineError> {
        let connection = self.connection().await?;
        let _held_back = self.hold_events_back();
        let containers = async {
            let created = self.container_cache.borrow().created();
            let ours = self.list(&connection, "list containers", "/containers/json?all=true", |it| ListedContainer::new(&it));
            self.containers(&connection, ours.await?, &created).await
        };
        let containers = async {
            self.correct_containers(&connection).await?;
            self.listed(|it| &mut it.containers, containers).await
        };
        let images = self.list(&connection, "list images", "/images/json?digests=true", |it| resources::image(&it));
        let images = self.listed(|it| &mut it.images, images);
        let networks = self.listed(|it| &mut it.networks, self.networks(&connection));
        let volumes = async {
            let ours =
                self.list(&connection, "list volumes", "/volumes", |it| Some(it).filter(resources::is_our_volume)).await?;
            Ok((resources::volumes(ours.iter()), snapshots::snapshots(ours.iter())))
        };
        let volumes = self.listed(|it| &mut it.volumes, volumes);
        let (containers, images, networks, (volumes, snapshots)) = try_join!(containers, images, networks, volumes)?;
        if self.container_cache.borrow().has_undescribed() {
            self.lists.borrow_mut().forget(ListKind::Containers);
        }
        Ok(EngineSnapshot { containers, images, networks, volumes, snapshots })
    }

    /// Requests a list, and returns what `keep` makes of its items. Of the others, none stays in memory: an engine may have a
    /// thousand foreign containers. `what` completes "cannot …".
    pub(super) async fn list<T>(
        &self,
        connection: &EngineConnection,
        what: &str,
        path: &str,
        keep: impl Fn(EngineJson) -> Option<T>,
    ) -> Result<Vec<T>, EngineError> {
        let mut kept = Vec::new();
        let path = format!("{}{path}", connection.version_path());
        let listed = transport::items(connection.facts.host(), &path, &mut |it| kept.extend(keep(EngineJson(it)))).await;
        listed.map(|()| kept).map_err(|error| sort(what, &error))
    }

    /// Inspects a container; `None` if there is none.
    pub(super) async fn details_of(
        &self,
        connection: &EngineConnection,
        id: &str,
        what: &str,
    ) -> Result<Option<EngineJson>, EngineError> {
        let is_id = !id.is_empty() && id.bytes().all(|it| it.is_ascii_alphanumeric() || b"_.-".contains(&it));
        if !is_id {
            return Err(sort(what, &transport::not_understood("it is no id of a container")));
        }
        found(what, self.get(connection, &format!("/containers/{id}/json")).await)
    }

    /// Inspects an image; `None` if it is not present.
    pub(super) async fn image(&self, connection: &EngineConnection, name: &str) -> Result<Option<EngineJson>, EngineError> {
        found(&format!("look at image {name}"), self.get(connection, &format!("/images/{name}/json")).await)
    }

    /// Adds the outcome of each container that was inspected.
    async fn log_outcomes(&self, connection: &EngineConnection, looked: &mut [Looked]) -> Result<(), EngineError> {
        for it in looked {
            let Some((hash, on_host)) = it.outcome.take() else { continue };
            if let Some(base) = self.base_of_id(connection, it.container.image.clone(), on_host).await? {
                it.container.outcome = Some(Outcome { hash, base });
            }
        }
        Ok(())
    }

    /// Every container, from their list. `new` were created before it was requested, and not seen yet.
    async fn containers(
        &self,
        connection: &EngineConnection,
        ours: Vec<ListedContainer>,
        new: &SortedSet<ContainerId>,
    ) -> Result<Vec<Container>, EngineError> {
        let (mut just_created, mut others) = (Vec::new(), Vec::new());
        {
            let mut cache = self.container_cache.borrow_mut();
            let listed = ours.iter().map(|it| (&it.id, ListedState { name: &it.name, state: &it.state }));
            cache.follow_list(&listed.collect());
            cache.begin_inspections(ours.iter().map(|it| &it.id));
            for listed in ours {
                if cache.known.contains_key(&listed.id) {
                    continue;
                }
                // Its creation has not ended, which has the engine observed again.
                if cache.is_creating(&listed.name) {
                    continue;
                }
                match cache.take_created(&listed.id).and_then(|noted| created(&listed, noted)) {
                    Some(seen) => just_created.push(seen),
                    None => others.push(listed),
                }
            }
            cache.forget_created(new);
        }
        let looked = stream::iter(others.into_iter().map(|it| self.details_or_less(connection, it))).buffer_unordered(AT_ONCE);
        let looked: Vec<Option<Looked>> = looked.try_collect().await?;
        let mut looked: Vec<_> = looked.into_iter().flatten().chain(just_created).collect();
        self.log_outcomes(connection, &mut looked).await?;
        let mut all = self.remember(looked);
        self.log_owners(connection, &mut all).await?;
        sort_by(&mut all, |a, b| a.id.cmp(&b.id));
        Ok(all)
    }

    /// Keeps containers that the agent has just created, as they are listed. Returns those that need no inspection and that
    /// nothing has changed meanwhile.
    pub(super) async fn keep_created(
        &self,
        connection: &EngineConnection,
        listed: Vec<ListedContainer>,
        new: &SortedSet<ContainerId>,
    ) -> Result<Vec<Container>, EngineError> {
        let mut looked: Vec<_> = {
            let mut cache = self.container_cache.borrow_mut();
            cache.begin_inspections(new.iter());
            let looked = |it: ListedContainer| cache.take_created(&it.id).and_then(|noted| created(&it, noted));
            let looked = listed.into_iter().filter_map(looked).collect();
            cache.forget_created(new);
            looked
        };
        self.log_outcomes(connection, &mut looked).await?;
        let mut cache = self.container_cache.borrow_mut();
        let keep = |mut it: Looked| {
            let state = it.state.take()?;
            let known = it.known(state);
            let container = known.container.clone();
            cache.keep(known).is_none().then_some(container)
        };
        Ok(looked.into_iter().filter_map(keep).collect())
    }

    /// Caches what was inspected. Returns every container there is now.
    fn remember(&self, looked: Vec<Looked>) -> Vec<Container> {
        let mut seen = self.container_cache.borrow_mut();
        let mut others = Vec::new();
        seen.undescribed.retain(|id, _| looked.iter().any(|it| it.state.is_none() && it.container.id == *id));
        for mut it in looked {
            match it.state.take() {
                Some(state) => others.extend(seen.keep(it.known(state))),
                None => others.push(it.container),
            }
        }
        let ContainerCache { known, bases, .. } = &mut *seen;
        let lists = self.lists.borrow();
        let is_there = |image: &ImageId| lists.images.known().into_iter().flatten().any(|it| it.id == *image);
        bases.retain(|(image, _), _| known.values().any(|it| it.container.image == *image) || is_there(image));
        known.values().map(|it| it.container.clone()).chain(others).collect()
    }

    /// For each container that shares namespaces: since when their owners run, and whether they exist. The owners may be
    /// foreign.
    async fn log_owners(&self, connection: &EngineConnection, all: &mut [Container]) -> Result<(), EngineError> {
        let since = |it: &Container| it.started.filter(|_| it.phase == ContainerPhase::Running);
        let ours = all.iter().map(|it| (it.id.0.clone(), NamespaceOwner::Exists(since(it))));
        let mut owners: SortedMap<String, NamespaceOwner> = ours.collect();
        let mut others = SortedSet::new();
        for container in all.iter_mut() {
            let shared: SortedSet<_> = container.shares.values().map(|it| it.0.clone()).collect();
            for owner in shared {
                let state = if let Some(state) = owners.get(&owner) {
                    *state
                } else {
                    others.insert(owner.clone());
                    let state = self.owner(connection, &owner, &container.key).await?;
                    *owners.entry(owner).or_insert(state)
                };
                match state {
                    NamespaceOwner::Gone => container.is_orphaned = true,
                    NamespaceOwner::Exists(since) => container.shares_since = container.shares_since.max(since),
                }
            }
            if container.phase != ContainerPhase::Running || container.is_orphaned {
                container.shares_since = None;
            }
        }
        self.container_cache.borrow_mut().owners = others;
        Ok(())
    }

    /// The container whose namespace one of the agent's containers shares.
    async fn owner(
        &self,
        connection: &EngineConnection,
        owner: &str,
        sharer: &ServiceKey,
    ) -> Result<NamespaceOwner, EngineError> {
        let what = format!("look at the container whose namespace {sharer} shares");
        let details = match self.details_of(connection, owner, &what).await {
            Err(lost @ EngineError::Unreachable(_)) => return Err(lost),
            Ok(None) => return Ok(NamespaceOwner::Gone),
            details => details.ok().flatten().unwrap_or_default(),
        };
        let runs = phase(&details) == Some(ContainerPhase::Running);
        Ok(NamespaceOwner::Exists(moment(details.text("/State/StartedAt")).filter(|_| runs)))
    }

    /// Inspects a container. If the engine responds but cannot describe it, the listed fields must do: one broken container is
    /// no reason to leave all the others alone. `None` if it was removed meanwhile.
    async fn details_or_less(
        &self,
        connection: &EngineConnection,
        listed: ListedContainer,
    ) -> Result<Option<Looked>, EngineError> {
        match self.details(connection, &listed).await {
            Ok(seen) => Ok(seen),
            Err(lost @ EngineError::Unreachable(_)) => Err(lost),
            Err(EngineError::Refused(why) | EngineError::Missing(why) | EngineError::InUse(why) | EngineError::Full(why)) => {
                if !self.container_cache.borrow_mut().set_error(&listed.id, &why) {
                    warn!(service = %listed.key, why, "the engine cannot inspect a container; its list entry is used");
                }
                let container = undescribed(&listed, Some(why));
                let stop_grace = ContainerConfig::default().stop_grace;
                Ok(Some(Looked { state: None, container, outcome: None, has_later_networks: true, stop_grace }))
            }
        }
    }

    /// Inspects a container; `None` if it was removed meanwhile.
    async fn details(&self, connection: &EngineConnection, listed: &ListedContainer) -> Result<Option<Looked>, EngineError> {
        let what = format!("look at container {}", listed.name);
        let Some(seen) = self.details_of(connection, &listed.id.0, &what).await? else { return Ok(None) };
        let made = if let Some(hash) = listed.labels.get(labels::CONFIG) {
            Origin::Ours(ConfigHash(hash.clone()))
        } else {
            // If the image is gone, nothing can be subtracted.
            let image = self.image(connection, seen.text("/Image")).await?.unwrap_or_default();
            Origin::Adopted(Box::new(decode::foreign(&seen, &image, &connection.facts)))
        };
        let described = container(listed, &seen, made);
        described
            .map(|it| Some(Looked::new(listed, &seen, it)))
            .ok_or_else(|| sort(&what, &transport::not_understood(&format!("its state is {:?}", seen.text("/State/Status")))))
    }
}

/// The outcome according to the container's label, and whether the container is on the host's network.
type Label = Option<(ConfigHash, bool)>;

/// A container whose namespace another one shares.
#[derive(Debug, Clone, Copy)]
enum NamespaceOwner {
    /// The engine has no such container.
    Gone,
    /// Since when it runs. `None`: it does not run.
    Exists(Option<EngineTime>),
}

/// A container that was just inspected.
struct Looked {
    /// Its listed state, if the engine could inspect it.
    state: Option<String>,
    container: Container,
    outcome: Label,
    /// Its label names further networks.
    has_later_networks: bool,
    stop_grace: Duration,
}

impl Looked {
    fn new(listed: &ListedContainer, seen: &EngineJson, container: Container) -> Self {
        let outcome = listed.labels.get(labels::OUTCOME).filter(|it| !it.is_empty());
        Self {
            state: Some(listed.state.clone()),
            container,
            outcome: outcome.map(|it| (ConfigHash(it.clone()), seen.text("/HostConfig/NetworkMode") == "host")),
            has_later_networks: !encode::later(&listed.labels).is_empty(),
            stop_grace: decode::grace(seen),
        }
    }

    /// It was inspected, in this listed state.
    fn known(self, state: String) -> KnownContainer {
        let Self { container, has_later_networks, stop_grace, .. } = self;
        KnownContainer { state, has_later_networks, stop_grace, container }
    }
}

/// A container that the agent created and that was not started since, as an inspection would describe it. `None`: it must be
/// inspected.
fn created(listed: &ListedContainer, mut seen: EngineJson) -> Option<Looked> {
    let hash = listed.labels.get(labels::CONFIG)?;
    seen.0.as_object_mut()?.append(&mut listed.of_created.clone()?);
    let container = container(listed, &seen, Origin::Ours(ConfigHash(hash.clone())))?;
    Some(Looked::new(listed, &seen, container))
}
