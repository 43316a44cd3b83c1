//! A container engine, over the Docker API: dockerd, balenaEngine, podman.
//!
//! ```text
//! link      finding an engine, and what is known of it        engine/link.rs
//! wire      the connections to it                              engine/wire.rs
//! errors    what the caller can do about a failure             engine/errors.rs
//! labels    how things of ours are told from others            engine/labels.rs
//! said      an answer, read one field at a time                engine/said.rs
//! observe   what the engine has                                engine/observe.rs
//! bridges   the host's interfaces of its networks              engine/bridges.rs
//! normal    what a container made elsewhere was made from      engine/normal.rs
//! body      what the engine is told about a container          engine/body.rs
//! containers, resources, pull      the deeds                   engine/….rs
//! registry  what an image weighs, before it is pulled          engine/registry.rs
//! events    being woken                                        engine/events.rs
//! heard     the same without an engine, for tests               engine/heard.rs
//! scripted  an engine of a test's own words                    engine/scripted.rs
//! ```
//!
//! Two engines a decade apart are spoken to alike: requests carry no API version and only fields that API 1.41 knows. A container's
//! further networks are connected after it was created, because engines before API 1.44 take one network at creation.

mod bridges;
mod connection;
mod containers;
mod decode;
mod encode;
mod errors;
mod events;
#[doc(hidden)]
pub mod heard;
mod json;
mod labels;
mod login;
mod observe;
mod pull;
mod registry;
mod resources;
#[cfg(test)]
mod scripted;
mod transport;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use futures_util::Stream;
use tokio::time::Instant;

use crate::plan::EngineAction;
use crate::port::{self, EngineError, EngineSnapshot};
use crate::state::ImageRef;

pub use bridges::Bridge;
pub use connection::{EngineVersion, hosts};

/// The most a look at everything may take.
const OBSERVE: Duration = Duration::from_secs(30);
/// The most an ordinary call may take.
const CALL: Duration = Duration::from_secs(60);

/// What an [`Engine`] must be told.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// Where engines may be, `unix:///…` or `tcp://…`, the most likely first; see [`hosts`].
    pub hosts: Vec<String>,
    /// The host's root: free space is measured below it.
    pub root: PathBuf,
    /// A `config.json` as `docker login` writes it.
    pub logins: Option<PathBuf>,
    /// Room that pulls leave free where the engine keeps images, in bytes.
    pub floor_bytes: u64,
    /// Whether registries are asked how large an image is before it is pulled.
    pub asks_registries: bool,
    /// The board's architecture, for people.
    pub arch: String,
}

impl EngineSettings {
    /// Room that pulls leave free unless told otherwise, in bytes: enough for logs, and for the engine to delete an image.
    pub const FLOOR_BYTES: u64 = 64 * 1024 * 1024;
}

/// A container engine that may come and go.
#[derive(Debug)]
pub struct Engine {
    settings: EngineSettings,
    link: RefCell<connection::ConnectionState>,
    seen: RefCell<observe::ContainerCache>,
    /// Room that each pull still needs, in bytes, so that two do not count on the same.
    claims: RefCell<BTreeMap<ImageRef, u64>>,
    /// What registries told of images, and when.
    told: RefCell<BTreeMap<ImageRef, (Instant, Rc<registry::RemoteImage>)>>,
}

impl Engine {
    /// An engine at one of the hosts. It is looked for when it is first asked something, and again whenever it was lost.
    #[must_use]
    pub fn connect(settings: EngineSettings) -> Self {
        Self {
            settings,
            link: RefCell::default(),
            seen: RefCell::default(),
            claims: RefCell::default(),
            told: RefCell::default(),
        }
    }

    /// What the engine is. Says what is wrong with the connection otherwise.
    pub async fn version(&self) -> Result<EngineVersion, EngineError> {
        self.within(OBSERVE, async { Ok(self.link().await?.version()) }).await
    }

    /// Ends a call that takes too long. An engine that did not answer is looked for anew by the next call.
    async fn within<T>(&self, most: Duration, call: impl Future<Output = Result<T, EngineError>>) -> Result<T, EngineError> {
        let result = match tokio::time::timeout(most, call).await {
            Ok(result) => result,
            Err(_) => Err(EngineError::Unreachable(format!("no answer within {} s", most.as_secs()))),
        };
        if matches!(result, Err(EngineError::Unreachable(_))) {
            self.forget_link();
        }
        result
    }

    async fn act(&self, deed: &EngineAction, progress: &dyn Fn(u8)) -> Result<(), EngineError> {
        match deed {
            EngineAction::Pull(image) => self.pull(image, progress).await,
            EngineAction::Create(spec) => Box::pin(self.within(CALL, self.create(spec))).await,
            EngineAction::Start(which) => self.within(CALL, self.start(which)).await,
            EngineAction::Stop(which) => self.stop(which).await,
            EngineAction::Kill(which) => self.kill(which).await,
            EngineAction::Restart(which) => self.restart(which).await,
            EngineAction::Rename(which, name) => self.within(CALL, self.rename(which, name)).await,
            EngineAction::Retire(which, name) => self.within(CALL, self.retire(which, name)).await,
            EngineAction::Connect(which, networks) => self.within(CALL, self.reconnect(which, networks)).await,
            EngineAction::CreateNetwork(network) => self.within(CALL, self.create_network(network)).await,
            EngineAction::RemoveNetwork(name, id, _) => self.within(CALL, self.remove_network(name, id)).await,
            EngineAction::CreateVolume(volume) => self.within(CALL, self.create_volume(volume)).await,
            EngineAction::RemoveVolume(name, _) => self.within(CALL, self.remove_volume(name)).await,
            EngineAction::RemoveImage(image) => self.within(CALL, self.remove_image(image)).await,
        }
    }
}

impl port::Engine for Engine {
    async fn observe(&self) -> Result<EngineSnapshot, EngineError> {
        Box::pin(self.within(OBSERVE, self.look())).await
    }

    async fn fit(&self, images: &BTreeSet<ImageRef>) -> Result<(), EngineError> {
        Box::pin(self.fit_together(images)).await
    }

    async fn take(&self, deed: &EngineAction, progress: &dyn Fn(u8)) -> Result<(), EngineError> {
        // Boxed: it holds everything an engine may be told.
        Box::pin(self.act(deed, progress)).await
    }

    fn events(&self) -> impl Stream<Item = ()> {
        self.watch()
    }
}
