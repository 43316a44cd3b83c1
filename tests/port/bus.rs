//! The machine's power, against a bus and a logind of our own: `dbus-daemon` and python3-dbusmock.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use boardkeeper::linux::power::Power;
use boardkeeper::port::{Power as _, PowerError};
use tokio::time::sleep;

const CONFIG: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=SOCKET</listen><auth>EXTERNAL</auth><policy context="default">
<allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/><allow user="*"/></policy></busconfig>"#;

/// A bus below a root of its own, gone with the test.
struct Bus {
    root: tempfile::TempDir,
    processes: Vec<Child>,
}

impl Bus {
    async fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("run/dbus")).unwrap();
        let mut bus = Self { root, processes: Vec::new() };
        let config = bus.root.path().join("bus.conf");
        std::fs::write(&config, CONFIG.replace("SOCKET", bus.socket().to_str().unwrap())).unwrap();
        bus.start(Command::new("dbus-daemon").arg("--nofork").arg("--config-file").arg(config));
        while !bus.socket().exists() {
            sleep(Duration::from_millis(20)).await;
        }
        bus
    }

    fn socket(&self) -> PathBuf {
        self.root.path().join("run/dbus/system_bus_socket")
    }

    fn start(&mut self, command: &mut Command) {
        command.env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}", self.socket().display()));
        self.processes.push(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    }

    async fn logind(&mut self) {
        // Debian's own Python has the module; another in the path may not.
        self.start(Command::new("/usr/bin/python3").args(["-m", "dbusmock", "--system", "--template", "logind"]));
        while !self.answers("CanReboot", "s", "ret = 'yes'") {
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// From now on a method answers so. `false`: there is no logind yet.
    fn answers(&self, method: &str, gives: &str, code: &str) -> bool {
        let takes = if method == "Reboot" { "b" } else { "" };
        let mut send = Command::new("dbus-send");
        send.arg(format!("--bus=unix:path={}", self.socket().display()))
            .args(["--print-reply", "--dest=org.freedesktop.login1", "/org/freedesktop/login1"])
            .args(["org.freedesktop.DBus.Mock.AddMethod", "string:org.freedesktop.login1.Manager"])
            .args([method, takes, gives, code].map(|it| format!("string:{it}")));
        send.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }

    async fn reboot(&self) -> Result<(), PowerError> {
        Power::new(self.root.path(), None).reboot().await
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // It may have ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

#[tokio::test]
#[ignore = "needs dbus-daemon and python3-dbusmock"]
async fn the_answer_is_the_truth() {
    let mut bus = Bus::new().await;
    assert!(bus.reboot().await.unwrap_err().0.contains("there is no logind"));
    bus.logind().await;
    assert_eq!(bus.reboot().await, Ok(()));
    for (can, said) in [("na", "cannot reboot"), ("no", "polkit"), ("inhibitor-blocked", "systemd-inhibit")] {
        assert!(bus.answers("CanReboot", "s", &format!("ret = '{can}'")));
        let error = bus.reboot().await.unwrap_err().0;
        assert!(error.contains(said), "{can}: {error}");
    }
    assert!(bus.answers("CanReboot", "s", "ret = 'challenge'"));
    for (name, said) in [
        ("org.freedesktop.login1.BlockedByInhibitorLock", "systemd-inhibit"),
        ("org.freedesktop.login1.OperationInProgress", "already"),
        ("org.freedesktop.DBus.Error.AccessDenied", "polkit"),
        ("org.example.Odd", "org.example.Odd: because"),
    ] {
        assert!(bus.answers("Reboot", "", &format!("raise dbus.exceptions.DBusException('because', name='{name}')")));
        let error = bus.reboot().await.unwrap_err().0;
        assert!(error.contains(said), "{name}: {error}");
    }
}
