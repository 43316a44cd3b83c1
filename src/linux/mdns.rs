//! mDNS while local mode is on: `balena device detect` finds the board by it.
//!
//! The service is `_ssh._tcp` with the subtype `_resin-device`, as balenaOS publishes it. The agent has no mDNS responder of
//! its own: port 5353 is avahi's wherever avahi runs, and two responders on one machine disturb each other. So avahi publishes
//! it, over D-Bus; it takes the service back when the agent's connection to the bus ends, however the agent ends.
//!
//! avahi may be started, restarted and ended at any time. The bus reports each change of the owner of avahi's name, and the
//! service is published anew.

mod group;

use std::convert::Infallible;
use std::future::pending;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::backoff::Backoff;
use crate::linux::local_mode::{self, LocalMode};
use crate::linux::{off_thread, read_small_text};
use crate::state::Status;

use group::{AvahiLink, PublishError};

/// Where avahi reads services that the host publishes, below the host's root.
const HOST_SERVICES: &str = "etc/avahi/services";
/// The subtype that clients look for.
const SUBTYPE: &str = "_resin-device._sub._ssh._tcp";
/// The first and the longest backoff between two attempts to reach the bus, or avahi after an error.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Publishes the board while local mode is on.
#[derive(Debug)]
pub struct Mdns {
    root: PathBuf,
    bus: String,
}

impl Mdns {
    /// By the avahi on the bus at this address; `None`: the bus below `root`.
    #[must_use]
    pub fn new(root: &Path, bus: Option<&str>) -> Self {
        let own = || format!("unix:path={}", root.join("run/dbus/system_bus_socket").display());
        Self { root: root.to_owned(), bus: bus.map_or_else(own, str::to_owned) }
    }

    /// Publishes whenever local mode is on. Must be called within a runtime.
    pub async fn run(self, mut status: watch::Receiver<Status>) -> Infallible {
        loop {
            local_mode::wait_for(&mut status, LocalMode::On).await;
            let mut link = None;
            tokio::select! {
                biased;
                () = local_mode::wait_for(&mut status, LocalMode::Off) => (),
                never = self.publish(&mut link) => match never {},
            }
            if let Some(link) = link {
                link.free().await;
                info!("local mode has ended: the board is not published over mDNS any more");
            }
        }
    }

    /// Publishes for as long as it is polled. The link to avahi is left in `published`.
    async fn publish(&self, published: &mut Option<AvahiLink>) -> Infallible {
        if self.is_published_by_host().await {
            debug!("the host publishes {SUBTYPE} itself");
            return pending().await;
        }
        let mut pauses = Backoff::new(BACKOFF.0, BACKOFF.1);
        let mut complained = None;
        loop {
            // The bus drops what an earlier connection published.
            *published = None;
            let why = match AvahiLink::open(&self.bus).await {
                Ok(link) => {
                    let link = published.insert(link);
                    match link.publish(&mut complained).await {
                        Ok(never) => match never {},
                        Err(PublishError::Restarted) => continue,
                        Err(PublishError::Failed(why)) => why,
                    }
                }
                Err(why) => why,
            };
            complain(&mut complained, &format!("`balena device detect` does not find this board: {why}"));
            sleep(pauses.fail()).await;
        }
    }

    /// Whether the host has a file by which avahi publishes the subtype. An unreadable file counts as another service's.
    async fn is_published_by_host(&self) -> bool {
        let dir = self.root.join(HOST_SERVICES);
        let look = move || {
            let files = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|it| it.path());
            let services = files.filter(|it| it.extension().is_some_and(|it| it == "service"));
            services.filter_map(|it| read_small_text(&it).ok()).any(|it| it.contains(SUBTYPE))
        };
        off_thread(look).await.unwrap_or_default()
    }
}

/// Logs a failure once, until another one takes its place.
fn complain(complained: &mut Option<String>, why: &str) {
    if complained.as_deref() != Some(why) {
        warn!("{why}");
        *complained = Some(why.to_owned());
    }
}
