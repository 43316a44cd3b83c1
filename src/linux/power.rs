//! The machine's power: systemd-logind over D-Bus.
//!
//! Asked each time over a new connection: it happens once in weeks, and a bus that was restarted in between is no trouble.

use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;
use zbus::connection::Builder;
use zbus::{Connection, Error, Message};

use crate::port::{self, PowerError};

/// A bus or a logind that says nothing for so long is given up: D-Bus itself waits 25 s.
const PATIENCE: Duration = Duration::from_secs(25);

/// logind, behind the host's system bus.
#[derive(Debug, Clone)]
pub struct Power {
    bus: String,
}

impl Power {
    /// The power of the machine whose system bus has this address; `None`: the one below `root`.
    #[must_use]
    pub fn new(root: &Path, bus: Option<&str>) -> Self {
        let own = || format!("unix:path={}", root.join("run/dbus/system_bus_socket").display());
        Self { bus: bus.map_or_else(own, str::to_owned) }
    }

    async fn connect(&self) -> Result<Connection, PowerError> {
        let connected = async { Builder::address(self.bus.as_str()).build().await };
        let why = match timeout(PATIENCE, connected).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        let bus = &self.bus;
        Err(PowerError(format!("cannot reach the system bus at `{bus}`: {why}; start dbus, or set DBUS_SYSTEM_BUS_ADDRESS")))
    }
}

impl port::Power for Power {
    async fn reboot(&self) -> Result<(), PowerError> {
        let connection = self.connect().await?;
        let asked = async {
            let reply = call(&connection, "CanReboot", &()).await?;
            let can: String = reply.body().deserialize()?;
            if !may(&can) {
                return Ok(Err(refused(&can)));
            }
            // Nobody is at the console to be asked for a password.
            let interactive = false;
            call(&connection, "Reboot", &interactive).await?;
            Ok(Ok(()))
        };
        match timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => Err(told(&error)),
            Err(_) => Err(PowerError(format!(
                "logind did not answer for {} s; see `systemctl status systemd-logind`",
                PATIENCE.as_secs()
            ))),
        }
    }
}

/// Calls a method of logind's.
async fn call<B>(connection: &Connection, method: &str, body: &B) -> Result<Message, Error>
where
    B: serde::Serialize + zbus::wire::DynamicType + Sync,
{
    let (name, path) = ("org.freedesktop.login1", "/org/freedesktop/login1");
    connection.call_method(Some(name), path, Some("org.freedesktop.login1.Manager"), method, body).await
}

/// Whether to go on and ask. `challenge` means that a person would be asked for a password; root is not.
fn may(can: &str) -> bool {
    matches!(can, "yes" | "challenge")
}

fn refused(can: &str) -> PowerError {
    PowerError(match can {
        "na" => "logind says that this machine cannot reboot".to_owned(),
        "inhibited" | "inhibitor-blocked" | "challenge-inhibitor-blocked" => {
            "logind says that somebody holds up a reboot; see who with `systemd-inhibit --list`".to_owned()
        }
        _ => format!(
            "logind refuses a reboot (`{can}`); run the agent as root, or allow org.freedesktop.login1.reboot in polkit"
        ),
    })
}

/// What an error of the bus means.
fn told(error: &Error) -> PowerError {
    let text = error.to_string();
    let has = |name: &str| text.contains(name);
    PowerError(if has("ServiceUnknown") || has("NameHasNoOwner") {
        "there is no logind on the system bus; this agent reboots through systemd-logind only".to_owned()
    } else if has("BlockedByInhibitorLock") {
        "logind refuses a reboot because somebody holds it up; see who with `systemd-inhibit --list`".to_owned()
    } else if has("OperationInProgress") {
        "logind is already shutting the machine down".to_owned()
    } else if has("InteractiveAuthorizationRequired") || has("AccessDenied") {
        format!("logind refuses a reboot: {text}; run the agent as root, or allow org.freedesktop.login1.reboot in polkit")
    } else {
        format!("logind failed to reboot: {text}; see `journalctl -u systemd-logind`")
    })
}

#[cfg(test)]
mod tests;
