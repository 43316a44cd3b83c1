//! What the engine has. Four calls side by side; a container is asked for details only when it is new or changed.

use std::collections::{BTreeMap, BTreeSet};

use bollard::models::{ContainerInspectResponse, ContainerSummary, ContainerSummaryStateEnum, ImageInspect, ImageSummary};
use bollard::query_parameters::{ListContainersOptions, ListImagesOptions, ListNetworksOptions, ListVolumesOptions};
use futures_util::{StreamExt, TryStreamExt, stream, try_join};
use tracing::debug;

use crate::linux::engine::errors::{found, sort};
use crate::linux::engine::labels::{self, Labels};
use crate::linux::engine::link::Link;
use crate::linux::engine::{Engine, normal};
use crate::port::{EngineError, Seen};
use crate::state::{ConfigHash, Container, ContainerId, Image, ImageId, ImageRef, Made, Phase, ServiceKey};

/// Containers that are asked for details at once. Each is a connection, and a process has 1024 descriptors.
const AT_ONCE: usize = 16;

/// What was last seen of containers, and in what state that was.
#[derive(Debug, Default)]
pub(super) struct Cache(BTreeMap<ContainerId, (String, Container)>);

impl Cache {
    /// Asks for details at the next look.
    pub(super) fn forget(&mut self, id: &ContainerId) {
        self.0.remove(id);
    }
}

impl Engine {
    pub(super) async fn look(&self) -> Result<Seen, EngineError> {
        let link = self.link().await?;
        let docker = &link.docker;
        let containers = async {
            let options = ListContainersOptions { all: true, ..ListContainersOptions::default() };
            let list = docker.list_containers(Some(options)).await.map_err(|error| sort("list containers", &error))?;
            self.containers(&link, list).await
        };
        let images = async {
            let options = ListImagesOptions { digests: true, ..ListImagesOptions::default() };
            let list = docker.list_images(Some(options)).await.map_err(|error| sort("list images", &error))?;
            Ok(list.into_iter().map(image).collect())
        };
        let networks = async {
            let list = docker.list_networks(None::<ListNetworksOptions>).await;
            Ok(super::resources::networks(list.map_err(|error| sort("list networks", &error))?))
        };
        let volumes = async {
            let list = docker.list_volumes(None::<ListVolumesOptions>).await;
            let list = list.map_err(|error| sort("list volumes", &error))?;
            Ok(super::resources::volumes(list.volumes.unwrap_or_default()))
        };
        let (containers, images, networks, volumes) = try_join!(containers, images, networks, volumes)?;
        Ok(Seen { containers, images, networks, volumes })
    }

    /// An image, where it is here.
    pub(super) async fn image(&self, link: &Link, name: &str) -> Result<Option<ImageInspect>, EngineError> {
        found(&format!("look at image {name}"), link.docker.inspect_image(name).await)
    }

    async fn containers(&self, link: &Link, list: Vec<ContainerSummary>) -> Result<Vec<Container>, EngineError> {
        let ours: Vec<_> = list.into_iter().filter_map(Listed::new).collect();
        // What is not listed any more, or not so any more, is forgotten.
        let listed: BTreeMap<_, _> = ours.iter().map(|it| (&it.id, &it.state)).collect();
        self.seen.borrow_mut().0.retain(|id, (state, _)| listed.get(id) == Some(&&*state));
        let new: Vec<_> = ours.into_iter().filter(|it| !self.seen.borrow().0.contains_key(&it.id)).collect();
        let looked = stream::iter(new.into_iter().map(|it| self.details(link, it))).buffer_unordered(AT_ONCE);
        let looked: Vec<_> = looked.try_collect().await?;
        let mut seen = self.seen.borrow_mut();
        seen.0.extend(looked.into_iter().flatten().map(|(state, it)| (it.id.clone(), (state, it))));
        Ok(seen.0.values().map(|(_, container)| container.clone()).collect())
    }

    /// A container in detail; `None` when it went away in the meantime.
    async fn details(&self, link: &Link, listed: Listed) -> Result<Option<(String, Container)>, EngineError> {
        let what = format!("look at container {}", listed.name);
        let Some(seen) = found(&what, link.docker.inspect_container(&listed.id.0, None).await)? else { return Ok(None) };
        let made = if let Some(hash) = listed.labels.get(labels::CONFIG) {
            Made::Here(ConfigHash(hash.clone()))
        } else {
            // Of an image that is gone nothing can be taken away.
            let image = self.image(link, seen.image.as_deref().unwrap_or_default()).await?;
            let defaults = image.and_then(|it| it.config).unwrap_or_default();
            Made::Elsewhere(Box::new(normal::config(&seen, &defaults, &link.facts)))
        };
        let state = listed.state.clone();
        Ok(Some((state, container(listed, &seen, made))))
    }
}

/// A container of ours in a list.
pub(super) struct Listed {
    id: ContainerId,
    key: ServiceKey,
    name: String,
    created_secs: i64,
    pub labels: Labels,
    /// Changes whenever something worth looking at does.
    state: String,
}

impl Listed {
    pub(super) fn new(summary: ContainerSummary) -> Option<Self> {
        let labels: Labels = summary.labels.unwrap_or_default().into_iter().collect();
        if !labels::supervised(&labels) {
            return None;
        }
        let name = summary.names.unwrap_or_default().first()?.trim_start_matches('/').to_owned();
        let Some(key) = labels::service(&labels).filter(|_| labels::is_name(&name)) else {
            debug!(container = ?name, "its labels name no service; it is left alone");
            return None;
        };
        let word = summary.state.unwrap_or(ContainerSummaryStateEnum::EMPTY);
        // `Exited (1) 5 minutes ago`: the code matters, the time would change every minute.
        let status = summary.status.unwrap_or_default();
        let code = if word == ContainerSummaryStateEnum::EXITED { status.split(')').next().unwrap_or_default() } else { "" };
        let state = format!("{word} {name} {code}");
        Some(Self { id: ContainerId(summary.id?), key, name, created_secs: summary.created.unwrap_or(0), labels, state })
    }
}

pub(super) fn container(listed: Listed, seen: &ContainerInspectResponse, made: Made) -> Container {
    let config = seen.config.clone().unwrap_or_default();
    let host = seen.host_config.clone().unwrap_or_default();
    let state = seen.state.clone().unwrap_or_default();
    Container {
        phase: phase(&state),
        id: listed.id,
        name: listed.name,
        key: listed.key,
        created_secs: listed.created_secs,
        image: ImageId(seen.image.clone().unwrap_or_default()),
        image_ref: ImageRef::new(config.image.as_deref().unwrap_or_default()),
        made,
        env: normal::env(config.env.as_ref()).into(),
        restart: normal::restart(host.restart_policy.as_ref()),
        network_of: normal::network_of(host.network_mode.as_deref()),
        error: state.error.filter(|it| !it.is_empty()),
    }
}

fn phase(state: &bollard::models::ContainerState) -> Phase {
    use bollard::models::ContainerStateStatusEnum as Word;
    let code = state.exit_code.and_then(|it| i32::try_from(it).ok()).unwrap_or(0);
    match state.status {
        Some(Word::CREATED) => Phase::Created,
        // podman says of a container being stopped that it is; until then it runs.
        Some(Word::RUNNING | Word::STOPPING) => Phase::Running,
        Some(Word::PAUSED) => Phase::Paused,
        Some(Word::RESTARTING) => Phase::Restarting,
        Some(Word::REMOVING) => Phase::Removing,
        Some(Word::DEAD) => Phase::Dead,
        None | Some(Word::EMPTY) if state.running == Some(true) => Phase::Running,
        None | Some(Word::EXITED | Word::EMPTY) => Phase::Exited(code),
    }
}

pub(super) fn image(summary: ImageSummary) -> Image {
    let names = summary.repo_tags.iter().chain(&summary.repo_digests).filter(|it| !it.contains("<none>"));
    let names: BTreeSet<_> = names.map(|it| ImageRef::new(it)).collect();
    Image { id: ImageId(summary.id), names, size_bytes: u64::try_from(summary.size).unwrap_or(0) }
}
