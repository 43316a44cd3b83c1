//! The engine's API on port 2375 for the private networks that `--local-engine` names, while local mode is on.
//!
//! `balena push` and `balena device detect` speak to the engine itself. Each connection is joined to a connection to the
//! engine's socket, and bytes are copied in both directions until both have ended; so builds, `exec` and `attach` stream. All
//! connections are closed when local mode ends, and when the agent stops.
//!
//! The engine asks for no key, so a peer that reaches it can become root on the board. What keeps others out:
//!
//! - The listeners are on addresses in the named networks only, each bound to its interface where the kernel allows that, and
//!   never on a container network's interface (`engine_forward/listeners.rs`).
//! - A peer's own address must be in a named network. It must be no address of the board, whose programs have the engine's
//!   socket and the rights of its file, and in no container network.
//! - A web browser in a named network is refused (`engine_forward/head.rs`).

mod connection;
mod head;
mod listeners;

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::interfaces::AddressChanges;
use super::networks::EngineNetworks;
use super::{changed, is_theirs};
use crate::linux::engine::Engine;
use crate::linux::local_mode::{self, LocalMode};
use crate::state::Status;
use crate::state::local_engine::{ENGINE_PORT, LocalEngine};
use crate::state::private_network::PrivateNetwork;

use listeners::ForwardListeners;

/// Connections at a time. Each takes two buffers of [`connection::BUFFER_BYTES`]; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 64;
/// The wait between two tries to listen on an address that is in use or not usable yet.
const RETRY: Duration = Duration::from_secs(5);

/// The forward of an engine's API.
#[derive(Debug)]
pub struct EngineForward<'a> {
    /// The engine.
    pub engine: &'a Engine,
    /// The host's root, where the owner of a port that is in use is looked up.
    pub root: &'a Path,
    /// The networks that were named. Empty: nothing is ever forwarded.
    pub networks: &'a [PrivateNetwork],
    /// The interfaces of the engine's networks.
    pub containers: watch::Receiver<EngineNetworks>,
    /// Whether local mode is on, and the device's names.
    pub status: watch::Receiver<Status>,
    /// Where the result is published.
    pub publish: watch::Sender<LocalEngine>,
}

impl EngineForward<'_> {
    /// Forwards on port 2375 whenever local mode is on. Must be called within a runtime.
    pub async fn run(self) -> Infallible {
        self.run_at(ENGINE_PORT).await
    }

    async fn run_at(mut self, port: u16) -> Infallible {
        let closed = LocalEngine { networks: self.networks.to_vec(), ..LocalEngine::default() };
        self.publish.send_replace(closed.clone());
        if self.networks.is_empty() {
            return pending().await;
        }
        loop {
            local_mode::wait_for(&mut self.status, LocalMode::On).await;
            let mut status = self.status.clone();
            tokio::select! {
                biased;
                () = local_mode::wait_for(&mut status, LocalMode::Off) => (),
                never = self.serve(port) => match never {},
            }
            if self.publish.send_replace(closed.clone()).is_open() {
                warn!("local mode has ended: port {port} is closed, and the engine is not forwarded any more");
            }
        }
    }

    /// Listens and forwards. Everything is closed when the future is dropped.
    async fn serve(&self, port: u16) -> Infallible {
        let mut listeners = ForwardListeners::new(self.root, self.networks, port);
        let changes = AddressChanges::new().inspect_err(|why| warn!(%why, "changes of addresses are not followed")).ok();
        let mut containers = self.containers.clone();
        let mut connections = FuturesUnordered::new();
        loop {
            listeners.follow(&containers.borrow_and_update());
            self.publish.send_if_modified(|it| {
                let now = LocalEngine { networks: self.networks.to_vec(), ..listeners.state() };
                std::mem::replace(it, now.clone()) != now
            });
            loop {
                let retries = listeners.lack_any();
                let has_room = connections.len() < CONNECTIONS;
                tokio::select! {
                    biased;
                    () = changed(changes.as_ref(), &mut containers) => break,
                    () = sleep(RETRY), if retries => break,
                    Some(()) = connections.next(), if !connections.is_empty() => (),
                    accepted = poll_fn(|context| listeners.poll_accept(context)), if has_room => match accepted {
                        Ok((stream, from)) => match listeners.admit(from, &self.containers.borrow()) {
                            Ok(()) => connections.push(connection::forward(stream, from, self.engine, &self.status)),
                            Err(why) => debug!(%from, "a connection to the engine was closed: {why}"),
                        },
                        Err(error) if is_theirs(&error) => debug!(%error, "a connection was gone before it was accepted"),
                        Err(error) => {
                            warn!(%error, "no connection to the engine can be accepted now");
                            sleep(Duration::from_secs(1)).await;
                        }
                    },
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
