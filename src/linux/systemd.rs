//! systemd, over D-Bus.
//!
//! Asked each time over a new connection: it happens seldom, and a bus that was restarted in between is no trouble.

use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;
use zbus::connection::Builder;
use zbus::wire::{OwnedObjectPath, OwnedVariant};
use zbus::{Connection, Error};

/// D-Bus itself waits as long.
const PATIENCE: Duration = Duration::from_secs(25);
const SYSTEMD: &str = "org.freedesktop.systemd1";

/// systemd, behind a system bus.
#[derive(Debug, Clone)]
pub(in crate::linux) struct Systemd {
    bus: String,
}

/// A unit, as far as we look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::linux) struct UnitState {
    /// `ActiveState`.
    pub(in crate::linux) active: String,
    /// `PartOf`.
    pub(in crate::linux) part_of: Vec<String>,
}

/// What a unit is to do.
///
/// There is no `Start`. Since systemd 257 polkit is asked the same question, verb `start` and the unit's name, by `StartUnit` and by
/// `StartTransientUnit`. A polkit rule that allowed the first would let its user run any command as root by the second. `Restart`
/// starts a unit that is stopped, and no transient unit is made by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::linux) enum UnitAction {
    /// End.
    Stop,
    /// End where it runs, and run.
    Restart,
}

impl Systemd {
    /// The systemd of the machine whose system bus has this address; `None`: the one below `root`.
    pub(in crate::linux) fn new(root: &Path, bus: Option<&str>) -> Self {
        let own = || format!("unix:path={}", root.join("run/dbus/system_bus_socket").display());
        Self { bus: bus.map_or_else(own, str::to_owned) }
    }

    /// A unit. `None`: the host has none of that name.
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

    /// Has a unit do something. What is under way for it already is not replaced: mode `fail`.
    pub(in crate::linux) async fn tell(&self, name: &str, deed: UnitAction) -> Result<(), String> {
        let method = match deed {
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

    /// Whether the bus answers, and how logind would answer a caller like us: `yes`, `challenge`, `no` or `na`.
    pub(in crate::linux) async fn logind_can(&self, method: &str) -> Result<String, String> {
        self.within(async {
            let (name, path) = (Some("org.freedesktop.login1"), "/org/freedesktop/login1");
            let bus = self.connect().await?;
            let reply = bus.call_method(name, path, Some("org.freedesktop.login1.Manager"), method, &()).await?;
            reply.body().deserialize()
        })
        .await
    }

    /// Whether somebody on the bus has, or would be started for, a name.
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
        match timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(format!("{error} (systemd on the bus at `{}`)", self.bus)),
            Err(_) => Err(format!("systemd on the bus at `{}` did not answer for {} s", self.bus, PATIENCE.as_secs())),
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
