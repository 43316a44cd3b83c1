//! A D-Bus daemon of a test's own.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

const CONFIG: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=SOCKET</listen><auth>EXTERNAL</auth><policy context="default">
<allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/><allow user="*"/></policy></busconfig>"#;

/// The daemon of a host's system bus, for as long as this lives.
pub(crate) struct Daemon(Child);

impl Daemon {
    /// One that listens where the agent looks for it below this root.
    pub(crate) fn start(root: &Path) -> Self {
        fs::create_dir_all(root.join("run/dbus")).unwrap();
        let (config, socket) = (root.join("bus.conf"), root.join("run/dbus/system_bus_socket"));
        fs::write(&config, CONFIG.replace("SOCKET", socket.to_str().unwrap())).unwrap();
        let mut daemon = Command::new("dbus-daemon");
        daemon.arg("--nofork").arg("--config-file").arg(config).stdout(Stdio::null()).stderr(Stdio::null());
        let daemon = daemon.spawn().unwrap();
        // It is there before a client connects.
        while UnixStream::connect(&socket).is_err() {
            sleep(Duration::from_millis(10));
        }
        Self(daemon)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where the bus of a host with this root is.
pub(crate) fn address(root: &Path) -> String {
    format!("unix:path={}", root.join("run/dbus/system_bus_socket").display())
}
