//! The machine's power: systemd-logind over D-Bus.
//!
//! Each request uses a new connection: requests are weeks apart, and a bus that restarted in between is no trouble. Shutdown
//! announcements arrive over a permanent connection, see `power/watch.rs`.

mod errors;
pub(super) mod reboot_required;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::sync::Notify;
use tokio::time::timeout;
use zbus::connection::Builder;
use zbus::{Connection, Error, Message};

use crate::linux::off_thread;
use crate::port::{self, Inhibitor, InhibitorMode, InhibitorNotice, PowerError};
use crate::state::PowerAction;

use errors::{failed, refused};
use reboot_required::Breadcrumb;
use watch::ShutdownWatcher;

pub use watch::InhibitorLock;

/// Timeout of a request to the bus or to logind. D-Bus itself waits 25 s; the requester wants a response within five, and so
/// does the reconciler, which is quiesced meanwhile.
const CALL_TIMEOUT: Duration = Duration::from_secs(4);

const LOGIND: &str = "org.freedesktop.login1";
const LOGIND_PATH: &str = "/org/freedesktop/login1";
const MANAGER: &str = "org.freedesktop.login1.Manager";

/// Files on the state partition that exist while an update of the host's system has yet to be confirmed or rolled back.
const BREADCRUMBS: [&str; 2] = ["mnt/state/rollback-health-breadcrumb", "mnt/state/rollback-altboot-breadcrumb"];

/// logind, behind the host's system bus.
#[derive(Debug, Clone)]
pub struct Power {
    root: PathBuf,
    bus: String,
    breadcrumb: Breadcrumb,
    /// logind answered a request, so the watcher need not wait out its backoff.
    answered: Arc<Notify>,
}

impl Power {
    /// The power of the machine whose system bus has this address; `None`: the bus below `root`.
    #[must_use]
    pub fn new(root: &Path, bus: Option<&str>) -> Self {
        let own = || format!("unix:path={}", root.join("run/dbus/system_bus_socket").display());
        Self {
            root: root.to_owned(),
            bus: bus.map_or_else(own, str::to_owned),
            breadcrumb: Breadcrumb::new(root),
            answered: Arc::default(),
        }
    }

    async fn connect(&self) -> Result<Connection, PowerError> {
        let bus = &self.bus;
        let connected = async { Builder::address(bus.as_str()).build().await };
        let why = match timeout(CALL_TIMEOUT, connected).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        Err(PowerError::NoBus { address: bus.clone(), why })
    }

    /// The socket of the bus, if it is not there.
    fn missing_socket(&self) -> Option<PathBuf> {
        let path = self.bus.strip_prefix("unix:path=").filter(|it| !it.contains([',', ';', '%']))?;
        Some(PathBuf::from(path)).filter(|it| !it.exists())
    }

    /// Sends logind a request. [`CALL_TIMEOUT`] covers the connection and the response.
    async fn ask<T>(&self, request: &str, ask: impl AsyncFnOnce(Connection) -> Result<T, Error>) -> Result<T, PowerError> {
        let asked = async {
            let connection = self.connect().await?;
            let answer = ask(connection).await.map_err(|error| failed(request, &error))?;
            self.answered.notify_one();
            Ok(answer)
        };
        let silent = || {
            let secs = CALL_TIMEOUT.as_secs();
            let why = format!("logind did not answer for {secs} s; see `systemctl status systemd-logind`");
            PowerError::Unreachable { request: request.to_owned(), why }
        };
        timeout(CALL_TIMEOUT, asked).await.unwrap_or_else(|_| Err(silent()))
    }
}

impl port::Power for Power {
    type Inhibition = InhibitorLock;

    async fn check_shutdown(&self, ending: PowerAction) -> Result<(), PowerError> {
        let method = match ending {
            PowerAction::Reboot => "CanReboot",
            PowerAction::PowerOff => "CanPowerOff",
        };
        let can: String = self.ask(&cannot(ending), async |it| call(&it, method, &()).await?.body().deserialize()).await?;
        if can == "yes" { Ok(()) } else { Err(refused(ending, &can)) }
    }

    async fn inhibitors(&self) -> Result<Vec<Inhibitor>, PowerError> {
        type Row = (String, String, String, String, u32, u32);
        let list = async |it: Connection| call(&it, "ListInhibitors", &()).await?.body().deserialize::<Vec<Row>>();
        let rows = self.ask("cannot see who holds up a shutdown", list).await?;
        let ours = |pid: u32| pid == std::process::id();
        let of_shutdown = rows.into_iter().filter(|(what, .., pid)| what.split(':').any(|it| it == "shutdown") && !ours(*pid));
        let inhibitor = |(_, who, why, mode, uid, pid): Row| {
            // `block-weak` binds only the user whose session it is.
            let mode = if mode == "block" { InhibitorMode::Block } else { InhibitorMode::Delay };
            Inhibitor { who, why, mode, uid, pid }
        };
        Ok(of_shutdown.map(inhibitor).collect())
    }

    async fn host_update(&self) -> Option<String> {
        let files: Vec<_> = BREADCRUMBS.iter().map(|it| self.root.join(it)).collect();
        let found = off_thread(move || files.into_iter().find(|it| it.symlink_metadata().is_ok()));
        // If the disk cannot be read, no update is assumed.
        found.await.ok().flatten().map(|it| it.display().to_string())
    }

    async fn boot_wanted(&self) -> Option<String> {
        let breadcrumb = self.breadcrumb.clone();
        // If the disk cannot be read, no reboot is assumed.
        off_thread(move || breadcrumb.look()).await.ok().flatten()
    }

    async fn shut_down(&self, ending: PowerAction) -> Result<(), PowerError> {
        let method = match ending {
            PowerAction::Reboot => "Reboot",
            PowerAction::PowerOff => "PowerOff",
        };
        // No user is at the console to be asked for a password.
        let interactive = false;
        self.ask(&cannot(ending), async |it| call(&it, method, &interactive).await.map(drop)).await
    }

    fn notices(&self) -> impl Stream<Item = InhibitorNotice<InhibitorLock>> {
        stream::unfold(ShutdownWatcher::new(self), async |mut watch| Some((watch.next().await, watch)))
    }
}

fn cannot(ending: PowerAction) -> String {
    format!("no {ending}")
}

/// Calls a method of logind's manager.
async fn call<B>(connection: &Connection, method: &str, body: &B) -> Result<Message, Error>
where
    B: serde::Serialize + zbus::wire::DynamicType + Sync,
{
    connection.call_method(Some(LOGIND), LOGIND_PATH, Some(MANAGER), method, body).await
}

#[cfg(test)]
mod tests;
