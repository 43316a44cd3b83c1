//! systemd, over D-Bus.
//!
//! Each request uses a new connection: they are rare, and a bus that restarted in between is no trouble.

use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;
use zbus::connection::Builder;
use zbus::wire::{OwnedObjectPath, OwnedVariant};
use zbus::{Connection, Error};

/// Timeout of a request. D-Bus's own is the same.
const CALL_TIMEOUT: Duration = Duration::from_secs(25);
const SYSTEMD: &str = "org.freedesktop.systemd1";

/// systemd, behind a system bus.
#[derive(Debug, Clone)]
pub(in crate::linux) struct Systemd {
    bus: String,
}

/// The properties of a unit that the agent reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::linux) struct UnitState {
    /// `ActiveState`.
    pub(in crate::linux) active: String,
    /// `PartOf`.
    pub(in crate::linux) part_of: Vec<String>,
}

/// What to do with a unit.
///
/// There is no `Start`. Since systemd 257 `StartUnit` and `StartTransientUnit` ask polkit the same question: verb `start` and
/// the unit's name. A polkit rule that allowed the first would let its user run any command as root by the second. `Restart`
/// starts a unit that is stopped, and creates no transient unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::linux) enum UnitAction {
    /// Stop it.
    Stop,
    /// Stop it if it is active, and start it.
    Restart,
}

impl Systemd {
    /// The systemd of the machine whose system bus has this address; `None`: the bus below `root`.
    pub(in crate::linux) fn new(root: &Path, bus: Option<&str>) -> Self {
        let own = || format!("unix:path={}", root.join("run/dbus/system_bus_socket").display());
        Self { bus: bus.map_or_else(own, str::to_owned) }
    }

    /// A unit's state. `None`: the host has no unit of that name.
    pub(in crate::linux) async fn unit(&self, name: &str) -> Result<Option<UnitState>, String> {
        self.within(async {
            let bus = self.connect().await?;
            let manager = Some("org.freedesktop.systemd1.Manager");
            let reply = bus.call_method(Some(SYSTEMD), "/org/freedesktop/systemd1", manager, "LoadUnit", &name).await?;
            let path: OwnedObjectPath = reply.body().deserialize()?;
            if property::<String>(&bus, &path, "LoadState").await? == "not-found" {
                return Ok(None);
            }
            let active = property(&bus, &path, "ActiveState").await?;
            Ok(Some(UnitState { active, part_of: property(&bus, &path, "PartOf").await? }))
        })
        .await
    }

    /// Queues a job for a unit. Mode `fail`: a conflicting job that is already queued is not replaced.
    pub(in crate::linux) async fn control(&self, name: &str, action: UnitAction) -> Result<(), String> {
        let method = match action {
            UnitAction::Stop => "StopUnit",
            UnitAction::Restart => "RestartUnit",
        };
        self.within(async {
            let bus = self.connect().await?;
            let manager = Some("org.freedesktop.systemd1.Manager");
            bus.call_method(Some(SYSTEMD), "/org/freedesktop/systemd1", manager, method, &(name, "fail")).await?;
            Ok(())
        })
        .await
        .map_err(|why| format!("{method} {name}: {why}"))
    }

    /// logind's response to a caller with the agent's rights: `yes`, `challenge`, `no` or `na`. Fails if the bus does not
    /// answer.
    pub(in crate::linux) async fn logind_can(&self, method: &str) -> Result<String, String> {
        self.within(async {
            let (name, path) = (Some("org.freedesktop.login1"), "/org/freedesktop/login1");
            let bus = self.connect().await?;
            let reply = bus.call_method(name, path, Some("org.freedesktop.login1.Manager"), method, &()).await?;
            reply.body().deserialize()
        })
        .await
    }

    /// Whether a name on the bus has an owner, or a service that the bus can activate.
    pub(in crate::linux) async fn has(&self, name: &str) -> Result<bool, String> {
        self.within(async {
            let bus = self.connect().await?;
            let (daemon, path) = ("org.freedesktop.DBus", "/org/freedesktop/DBus");
            for method in ["ListNames", "ListActivatableNames"] {
                let reply = bus.call_method(Some(daemon), path, Some(daemon), method, &()).await?;
                let names: Vec<String> = reply.body().deserialize()?;
                if names.iter().any(|it| it == name) {
                    return Ok(true);
                }
            }
            Ok(false)
        })
        .await
    }

    async fn connect(&self) -> Result<Connection, Error> {
        Builder::address(self.bus.as_str()).build().await
    }

    async fn within<T>(&self, asked: impl Future<Output = Result<T, Error>>) -> Result<T, String> {
        match timeout(CALL_TIMEOUT, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(format!("{error} (systemd on the bus at `{}`)", self.bus)),
            Err(_) => Err(format!("systemd on the bus at `{}` did not answer for {} s", self.bus, CALL_TIMEOUT.as_secs())),
        }
    }
}

async fn property<T>(bus: &Connection, path: &OwnedObjectPath, name: &str) -> Result<T, Error>
where
    T: TryFrom<OwnedVariant>,
{
    let properties = Some("org.freedesktop.DBus.Properties");
    let body = ("org.freedesktop.systemd1.Unit", name);
    let reply = bus.call_method(Some(SYSTEMD), path, properties, "Get", &body).await?;
    let value: OwnedVariant = reply.body().deserialize()?;
    T::try_from(value).map_err(|_| Error::Failure(format!("{name} has another type than it should")))
}
