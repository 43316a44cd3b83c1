//! What the engine has. Four calls side by side; a container is asked for details only when it is new or changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bollard::models::{ContainerInspectResponse, ImageInspect};
use futures_util::{StreamExt, TryStreamExt, stream, try_join};
use tracing::{debug, warn};

use crate::linux::engine::errors::{found, sort};
use crate::linux::engine::labels::{self, Labels};
use crate::linux::engine::link::Link;
use crate::linux::engine::lists::{self, Intermediate, ListedContainer, ListedImage};
use crate::linux::engine::{Engine, normal};
use crate::port::{EngineError, Seen};
use crate::state::service::Restart;
use crate::state::{ConfigHash, Container, ContainerId, Image, ImageId, ImageRef, Made, Phase, ServiceKey};

/// Containers that are asked for details at once. Each is a connection, and a process has 1024 descriptors.
const AT_ONCE: usize = 16;

/// What was last seen of containers.
#[derive(Debug, Default)]
pub(super) struct Cache {
    /// And in what state that was.
    known: BTreeMap<ContainerId, (String, Container)>,
    /// What was last said of those that the engine cannot tell of.
    untold: BTreeMap<ContainerId, String>,
}

impl Cache {
    /// Asks for details of every container at the next look.
    pub(super) fn forget_all(&mut self) {
        self.known.clear();
    }

    /// Asks for details at the next look.
    pub(super) fn forget(&mut self, id: &ContainerId) {
        self.known.remove(id);
    }

    /// Whether this was said of the container when it was last asked about.
    fn hears(&mut self, id: &ContainerId, why: &str) -> bool {
        self.untold.insert(id.clone(), why.to_owned()).is_some_and(|it| it == why)
    }
}

impl Engine {
    pub(super) async fn look(&self) -> Result<Seen, EngineError> {
        let link = self.link().await?;
        let containers = async {
            let list = lists::containers(&link).await.map_err(|error| sort("list containers", &error))?;
            self.containers(&link, list).await
        };
        let images = async {
            let list = lists::images(&link, Intermediate::LeftOut).await.map_err(|error| sort("list images", &error))?;
            Ok(list.into_iter().map(image).collect())
        };
        let networks = async {
            let list = lists::networks(&link).await.map_err(|error| sort("list networks", &error))?;
            Ok(super::resources::networks(list))
        };
        let volumes = async {
            let list = lists::volumes(&link).await.map_err(|error| sort("list volumes", &error))?;
            Ok(super::resources::volumes(list))
        };
        let (containers, images, networks, volumes) = try_join!(containers, images, networks, volumes)?;
        Ok(Seen { containers, images, networks, volumes })
    }

    /// An image, where it is here.
    pub(super) async fn image(&self, link: &Link, name: &str) -> Result<Option<ImageInspect>, EngineError> {
        found(&format!("look at image {name}"), link.docker.inspect_image(name).await)
    }

    async fn containers(&self, link: &Link, list: Vec<ListedContainer>) -> Result<Vec<Container>, EngineError> {
        let ours: Vec<_> = list.into_iter().filter_map(Listed::new).collect();
        // What is not listed any more, or not so any more, is forgotten.
        let listed: BTreeMap<_, _> = ours.iter().map(|it| (&it.id, &it.state)).collect();
        self.seen.borrow_mut().known.retain(|id, (state, _)| listed.get(id) == Some(&&*state));
        let new: Vec<_> = ours.into_iter().filter(|it| !self.seen.borrow().known.contains_key(&it.id)).collect();
        let looked = stream::iter(new.into_iter().map(|it| self.details_or_less(link, it))).buffer_unordered(AT_ONCE);
        let looked: Vec<_> = looked.try_collect().await?;
        let mut seen = self.seen.borrow_mut();
        let mut untold = Vec::new();
        for (state, container) in looked.into_iter().flatten() {
            match state {
                Some(state) => drop(seen.known.insert(container.id.clone(), (state, container))),
                None => untold.push(container),
            }
        }
        seen.untold.retain(|id, _| untold.iter().any(|it| it.id == *id));
        let mut all: Vec<_> = seen.known.values().map(|(_, container)| container.clone()).chain(untold).collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(all)
    }

    /// A container in detail, and in what state that is; or, where the engine answers and cannot tell of it, as the list has it: one
    /// container is no reason to leave all the others alone. `None` when it went away in the meantime.
    async fn details_or_less(&self, link: &Link, listed: Listed) -> Result<Option<(Option<String>, Container)>, EngineError> {
        match self.details(link, &listed).await {
            Ok(seen) => Ok(seen.map(|it| (Some(listed.state), it))),
            Err(lost @ EngineError::Unreachable(_)) => Err(lost),
            Err(EngineError::Refused(why) | EngineError::InUse(why) | EngineError::Full(why)) => {
                if !self.seen.borrow_mut().hears(&listed.id, &why) {
                    warn!(service = %listed.key, why, "the engine cannot tell of a container; it goes by what the list says");
                }
                Ok(Some((None, untold(listed, why))))
            }
        }
    }

    /// A container in detail; `None` when it went away in the meantime.
    async fn details(&self, link: &Link, listed: &Listed) -> Result<Option<Container>, EngineError> {
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
        Ok(Some(container(listed, &seen, made)))
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
    word: String,
    image: ImageId,
    image_ref: ImageRef,
    network_of: Option<ContainerId>,
}

impl Listed {
    pub(super) fn new(summary: ListedContainer) -> Option<Self> {
        let labels = summary.labels.unwrap_or_default();
        if !labels::supervised(&labels) {
            return None;
        }
        let name = summary.names.unwrap_or_default().first()?.trim_start_matches('/').to_owned();
        let Some(key) = labels::service(&labels).filter(|_| labels::is_name(&name)) else {
            debug!(container = ?name, "its labels name no service; it is left alone");
            return None;
        };
        let word = summary.state.unwrap_or_default();
        // `Exited (1) 5 minutes ago`: the code matters, the time would change every minute.
        let status = summary.status.unwrap_or_default();
        let code = if word == "exited" { status.split(')').next().unwrap_or_default() } else { "" };
        let state = format!("{word} {name} {code}");
        let mode = summary.host_config.and_then(|it| it.network_mode);
        Some(Self {
            id: ContainerId(summary.id?),
            key,
            name,
            created_secs: summary.created.unwrap_or(0),
            labels,
            state,
            word,
            image: ImageId(summary.image_id.unwrap_or_default()),
            image_ref: ImageRef::new(summary.image.as_deref().unwrap_or_default()),
            network_of: normal::network_of(mode.as_deref()),
        })
    }
}

pub(super) fn container(listed: &Listed, seen: &ContainerInspectResponse, made: Made) -> Container {
    let config = seen.config.clone().unwrap_or_default();
    let host = seen.host_config.clone().unwrap_or_default();
    let state = seen.state.clone().unwrap_or_default();
    Container {
        phase: phase(&state),
        id: listed.id.clone(),
        name: listed.name.clone(),
        key: listed.key.clone(),
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

/// A container of which only the list tells. One that runs goes on while its label says that it was made from what is wanted: nothing
/// else may stop it without its locks. Any other is dead, which is removed and made anew.
fn untold(listed: Listed, why: String) -> Container {
    let made = listed.labels.get(labels::CONFIG).map(|hash| Made::Here(ConfigHash(hash.clone())));
    Container {
        phase: match listed.word.as_str() {
            "running" | "stopping" => Phase::Running,
            "paused" => Phase::Paused,
            "restarting" => Phase::Restarting,
            "" | "created" | "exited" | "dead" => Phase::Dead,
            // In a state that only the engine knows, it is left to the engine: nothing is done until it has another.
            _ => Phase::Removing,
        },
        id: listed.id,
        name: listed.name,
        key: listed.key,
        created_secs: listed.created_secs,
        image: listed.image,
        image_ref: listed.image_ref,
        made: made.unwrap_or_else(|| Made::Elsewhere(Box::default())),
        env: Arc::default(),
        restart: Restart::default(),
        network_of: listed.network_of,
        error: Some(why),
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

pub(super) fn image(summary: ListedImage) -> Image {
    let names = summary.repo_tags.iter().chain(&summary.repo_digests).flatten().filter(|it| !it.contains("<none>"));
    let names: BTreeSet<_> = names.map(|it| ImageRef::new(it)).collect();
    Image { id: ImageId(summary.id), names, size_bytes: u64::try_from(summary.size).unwrap_or(0) }
}
