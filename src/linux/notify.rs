//! The service manager: systemd's notification socket, or another manager that speaks its protocol.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;
use std::{io, process};

use tracing::{debug, warn};

use crate::port::{Notification, ServiceManager};

/// The socket in `NOTIFY_SOCKET`, if there is one.
#[derive(Debug, Default)]
pub struct NotifySocket {
    socket: Option<(UnixDatagram, SocketAddr)>,
    patience: Option<Duration>,
}

impl NotifySocket {
    /// The socket named in the environment, whose variables `var` reads.
    #[must_use]
    pub fn new(var: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let Some(name) = var("NOTIFY_SOCKET").filter(|it| !it.is_empty()) else { return Self::default() };
        match open(name.as_bytes()) {
            Ok(socket) => Self { socket: Some(socket), patience: patience(var) },
            Err(error) => {
                warn!(%error, socket = %name.display(), "the service manager cannot be notified; check NOTIFY_SOCKET");
                Self::default()
            }
        }
    }
}

impl ServiceManager for NotifySocket {
    fn notify(&self, word: &Notification) {
        let Some((socket, address)) = &self.socket else { return };
        let state = match word {
            Notification::Ready => "READY=1".to_owned(),
            // A newline would begin another assignment.
            Notification::Status(what) => format!("STATUS={}", what.replace(char::is_control, " ")),
            Notification::Watchdog => "WATCHDOG=1".to_owned(),
            Notification::Stopping => "STOPPING=1".to_owned(),
        };
        if let Err(error) = socket.send_to_addr(state.as_bytes(), address) {
            // Only logged at debug level: what matters is sent again.
            debug!(%error, state, "the service manager does not listen");
        }
    }

    fn watchdog_timeout(&self) -> Option<Duration> {
        self.patience
    }
}

fn open(name: &[u8]) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
        path => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))?,
    };
    let socket = UnixDatagram::unbound()?;
    // A busy service manager must not block the agent.
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// The watchdog timeout of the service manager. `None`: it has none, or not for this process.
fn patience(var: &dyn Fn(&str) -> Option<OsString>) -> Option<Duration> {
    let number = |name| var(name)?.to_str()?.parse::<u64>().ok();
    if var("WATCHDOG_PID").is_some() && number("WATCHDOG_PID") != Some(u64::from(process::id())) {
        return None;
    }
    number("WATCHDOG_USEC").filter(|it| *it > 0).map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 200];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    fn speaks(name: &str, socket: &UnixDatagram) {
        let notify = NotifySocket::new(&|it| (it == "NOTIFY_SOCKET").then(|| name.into()));
        for (word, said) in [
            (Notification::Ready, "READY=1"),
            (Notification::Status("pull a\nREADY=0".into()), "STATUS=pull a READY=0"),
            (Notification::Watchdog, "WATCHDOG=1"),
            (Notification::Stopping, "STOPPING=1"),
        ] {
            notify.notify(&word);
            assert_eq!(received(socket), said);
        }
        assert_eq!(notify.watchdog_timeout(), None);
    }

    #[test]
    fn sockets_with_a_path_and_without_are_spoken_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        speaks(path.to_str().unwrap(), &UnixDatagram::bind(&path).unwrap());
        let name = format!("boardkeeper-test-{}", process::id());
        let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        speaks(&format!("@{name}"), &UnixDatagram::bind_addr(&address).unwrap());
    }

    #[test]
    fn nobody_to_tell_is_no_error() {
        for name in [None, Some(""), Some("/nowhere/notify"), Some("@nobody"), Some("/with\0zero")] {
            let notify = NotifySocket::new(&|it| (it == "NOTIFY_SOCKET").then(|| name.map(Into::into)).flatten());
            notify.notify(&Notification::Ready);
        }
    }

    #[test]
    fn a_watchdog_of_ours_is_heeded() {
        let ours = process::id().to_string();
        for (usec, pid, heeded) in [
            ("60000000", Some(ours.as_str()), Some(60)),
            ("60000000", None, Some(60)),
            ("60000000", Some("1"), None),
            ("60000000", Some("x"), None),
            ("0", None, None),
            ("x", None, None),
        ] {
            let var = |it: &str| match it {
                "NOTIFY_SOCKET" => Some("/nowhere".into()),
                "WATCHDOG_USEC" => Some(usec.into()),
                "WATCHDOG_PID" => pid.map(Into::into),
                _ => None,
            };
            assert_eq!(NotifySocket::new(&var).watchdog_timeout(), heeded.map(Duration::from_secs), "{usec} {pid:?}");
        }
    }
}
