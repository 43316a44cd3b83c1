//! A container engine, over the Docker API: dockerd, balenaEngine, podman.
//!
//! ```text
//! connection  finding an engine, and its facts                      engine/connection.rs
//! transport   HTTP connections to it                                engine/transport.rs
//! json        a response, read one field at a time                  engine/json.rs
//! items       a list, read one item at a time                       engine/items.rs
//! errors      failures, sorted by what the caller can do            engine/errors.rs
//! labels      telling the agent's objects from others               engine/labels.rs
//! observe     the snapshot of what the engine has                   engine/observe.rs
//! described   containers, as an engine describes them               engine/described.rs
//! lists       the lists of the last snapshot that still count       engine/lists.rs
//! known       the containers of the last snapshot                   engine/known.rs
//! created     containers that need no inspection yet                engine/created.rs
//! recent      containers that are added to the last list            engine/recent.rs
//! bases       what images give to containers                        engine/bases.rs
//! bridges     host interfaces of the engine's networks              engine/bridges.rs
//! decode      the configuration of an adopted container             engine/decode.rs
//! encode      the request that creates a container                  engine/encode.rs
//! containers, resources, pull      the actions                      engine/….rs
//! load        images of an archive                                  engine/load.rs
//! snapshots   data of volumes, copied and put back                  engine/snapshots.rs
//! archive     an archive that is passed on                          engine/archive.rs
//! login       credentials for registries                            engine/login.rs
//! room        disk space for images                                 engine/room.rs
//! registry    the size of an image, before it is pulled             engine/registry.rs
//! logs        the output of containers                          engine/logs.rs
//! exec        hooks, run in containers                          engine/exec.rs
//! events      the event stream, which triggers snapshots            engine/events.rs
//! codec       decoding and encoding without an engine, for tests    engine/codec.rs
//! ```
//!
//! Engines a decade apart get the same requests: they use the API version negotiated with the engine, and only fields that API
//! 1.41 knows. A container's further networks are connected after it was created, because engines before API 1.44 take one
//! network at creation.

mod archive;
mod bases;
mod bridges;
#[doc(hidden)]
pub mod codec;
mod connection;
mod containers;
mod created;
mod decode;
mod described;
mod encode;
mod errors;
mod events;
mod exec;
mod items;
mod json;
mod known;
mod labels;
mod lists;
mod load;
mod login;
mod logs;
mod observe;
mod pull;
mod recent;
mod registry;
mod resources;
mod room;
mod snapshots;
mod transport;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::future::Future;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use futures_util::{FutureExt, Stream};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::Instant;

use crate::linux::registry_login::CloudLogin;
use crate::linux::traffic::TrafficCounter;
use crate::linux::trust::TrustStore;
use crate::port::{self, EngineError, EngineSnapshot};
use crate::sorted::{SortedMap, SortedSet};
use crate::state::{ContainerId, DownloadProgress, EngineAction, EngineLogLine, ImageRef, LogCursor};

pub use bridges::Bridge;
pub use connection::{EngineVersion, hosts};
pub(in crate::linux) use transport::EngineStream;

use lists::ListKind;

/// Timeout of a snapshot.
const OBSERVE: Duration = Duration::from_secs(30);
/// Timeout of an ordinary call.
const CALL: Duration = Duration::from_secs(60);
/// Containers that are created or started at once; others wait for their turn, and the timeout of their call begins then. More
/// of them are hardly faster (50 services: 12.6 s either way), and each costs the agent a connection, some 20 KiB.
const MOST_BROUGHT_UP: usize = 16;

/// Settings of an [`Engine`].
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// Where engines may listen, `unix:///…` or `tcp://…`, the most likely first; see [`hosts`].
    pub hosts: Vec<String>,
    /// The host's root. Free space is measured below it.
    pub root: PathBuf,
    /// A `config.json` as `docker login` writes it.
    pub logins: Option<PathBuf>,
    /// Space that pulls leave free on the disk where the engine keeps images, in bytes.
    pub floor_bytes: u64,
    /// How registries are asked for an image's size before it is pulled. `None`: they are not asked.
    pub registries: Option<RegistryAccess>,
    /// The board's architecture, for error messages.
    pub arch: String,
}

/// What the agent needs to ask registries itself.
#[derive(Debug, Clone)]
pub struct RegistryAccess {
    /// The certificates that are trusted.
    pub trust: Rc<TrustStore>,
    /// Where the bytes are counted.
    pub traffic: TrafficCounter,
}

/// A container engine, which may stop and start again at any time.
#[derive(Debug)]
pub struct Engine {
    settings: EngineSettings,
    cloud_login: CloudLogin,
    connection: RefCell<connection::ConnectionState>,
    container_cache: RefCell<known::ContainerCache>,
    lists: RefCell<lists::ListCache>,
    /// Who waits for the bridges that the next list of networks shows.
    bridges_wanted: RefCell<Option<oneshot::Sender<Vec<Bridge>>>>,
    /// Turns to create or start a container.
    turns: Semaphore,
    /// The turn to inspect an image.
    base_turn: Semaphore,
    /// An event that was held back during a snapshot is of something that the snapshot has not seen.
    news: Notify,
    /// Space that each pull in flight still needs, in bytes, so that no two pulls count on the same space.
    reserved_bytes: RefCell<SortedMap<ImageRef, u64>>,
    /// What registries said of images, and when: a cache.
    remote_images: RefCell<SortedMap<ImageRef, (Instant, Rc<registry::RemoteImage>)>>,
}

impl Engine {
    /// An engine at one of the hosts. The first call connects to it, and so does the first call after a lost connection.
    #[must_use]
    pub fn connect(settings: EngineSettings) -> Self {
        Self {
            settings,
            cloud_login: CloudLogin::default(),
            connection: RefCell::default(),
            container_cache: RefCell::default(),
            lists: RefCell::default(),
            bridges_wanted: RefCell::default(),
            turns: Semaphore::new(MOST_BROUGHT_UP),
            base_turn: Semaphore::new(1),
            news: Notify::new(),
            reserved_bytes: RefCell::default(),
            remote_images: RefCell::default(),
        }
    }

    /// The same engine, over connections of its own. What pulls of the first one have reserved does not count here.
    #[must_use]
    pub fn beside(&self) -> Self {
        Self::connect(self.settings.clone())
    }

    /// Pulls from the cloud's registry with the device's own login, where no other is set.
    #[must_use]
    pub fn with_cloud_login(self, cloud_login: CloudLogin) -> Self {
        Self { cloud_login, ..self }
    }

    /// The engine's version, or what is wrong with the connection.
    pub async fn version(&self) -> Result<EngineVersion, EngineError> {
        self.within(OBSERVE, async { Ok(self.connection().await?.version()) }).await
    }

    /// Limits a call to `most`. After a failed connection or a timeout the next call connects anew.
    ///
    /// The call's future, which may have 20 kB, moves to the heap: else the caller's would have room for it twice.
    fn within<'a, T: 'a>(
        &'a self,
        most: Duration,
        call: impl Future<Output = Result<T, EngineError>> + 'a,
    ) -> impl Future<Output = Result<T, EngineError>> + 'a {
        self.ended_within(most, call.boxed_local())
    }

    async fn ended_within<T>(
        &self,
        most: Duration,
        call: LocalBoxFuture<'_, Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        let result = match tokio::time::timeout(most, call).await {
            Ok(result) => result,
            Err(_) => Err(EngineError::Unreachable(format!("no answer within {} s", most.as_secs()))),
        };
        if matches!(result, Err(EngineError::Unreachable(_))) {
            self.forget_connection();
        }
        result
    }

    /// Each action's future is on the heap: else that of a short action would be as large as that of the longest.
    async fn execute_action(&self, action: &EngineAction, progress: &dyn Fn(DownloadProgress)) -> Result<(), EngineError> {
        match action {
            EngineAction::Pull(image) => Box::pin(self.pull(image, progress)).await,
            EngineAction::Create(spec) => self.within(CALL, self.create(spec)).await,
            EngineAction::Start(which) => self.within(CALL, self.start(which)).await,
            EngineAction::Stop(which) => Box::pin(self.stop(which)).await,
            EngineAction::Kill(which) => Box::pin(self.kill(which)).await,
            EngineAction::Restart(which) => Box::pin(self.restart(which)).await,
            EngineAction::Rename(which, name) => self.within(CALL, self.rename(which, name)).await,
            EngineAction::Retire(which, name) => self.within(CALL, self.retire(which, name)).await,
            EngineAction::Connect(which, networks) => self.within(CALL, self.reconnect(which, networks)).await,
            EngineAction::RunHook(which, run) => Box::pin(self.run_hook(which, &run.hook)).await,
            EngineAction::CreateNetwork(network) => self.within(CALL, self.create_network(network)).await,
            EngineAction::RemoveNetwork(name, id, _) => self.within(CALL, self.remove_network(name, id)).await,
            EngineAction::CreateVolume(volume) => self.within(CALL, self.create_volume(volume)).await,
            EngineAction::RemoveVolume(name, _) => self.within(CALL, self.remove_volume(name)).await,
            EngineAction::KeepData(copy) => Box::pin(self.keep_data(copy)).await,
            EngineAction::PutDataBack(copy) => Box::pin(self.put_data_back(copy)).await,
            EngineAction::RemoveImage(image) => self.within(CALL, self.remove_image(image)).await,
        }
    }
}

impl port::Engine for Engine {
    async fn observe(&self) -> Result<EngineSnapshot, EngineError> {
        self.within(OBSERVE, self.look()).await
    }

    async fn check_room(&self, images: &SortedSet<ImageRef>) -> Result<(), EngineError> {
        Box::pin(self.fit_together(images)).await
    }

    async fn check_copies(&self, volumes: &SortedSet<String>) -> Result<(), EngineError> {
        Box::pin(self.copies_fit(volumes)).await
    }

    async fn execute(&self, action: &EngineAction, progress: &dyn Fn(DownloadProgress)) -> Result<(), EngineError> {
        let brings_up = matches!(action, EngineAction::Create(_) | EngineAction::Start(_));
        // The semaphore is never closed.
        let _turn = if brings_up { self.turns.acquire().await.ok() } else { None };
        let (list, container) = (self.changing(ListKind::of(action)), self.changing_container(action));
        let executed = self.execute_action(action, progress).await;
        if executed.is_err() {
            // What it needs may be gone.
            self.lists.borrow_mut().forget_all();
        } else if let (EngineAction::Start(_), Some(container)) = (action, container) {
            container.has_started();
            list.needs_no_request();
        } else if matches!(action, EngineAction::Create(_) | EngineAction::Kill(_) | EngineAction::Rename(..)) {
            list.needs_no_request();
        }
        executed
    }

    fn events(&self) -> impl Stream<Item = ()> {
        self.watch()
    }

    fn logs(&self, container: ContainerId, from: LogCursor) -> impl Stream<Item = Result<EngineLogLine, EngineError>> {
        self.output(container, from, None)
    }

    fn past_logs(
        &self,
        container: ContainerId,
        from: LogCursor,
        tail: Option<u32>,
    ) -> impl Stream<Item = Result<EngineLogLine, EngineError>> {
        self.output(container, from, Some(tail.map_or(logs::PastLines::All, logs::PastLines::Newest)))
    }

    async fn health_output(&self, container: &ContainerId) -> Option<String> {
        let connection = self.connection().await.ok()?;
        let inspected = self.get(&connection, &format!("/containers/{container}/json")).await.ok()?;
        let last = inspected.items("/State/Health/Log").last()?;
        Some(last.text("/Output").trim().to_owned()).filter(|it| !it.is_empty())
    }
}
