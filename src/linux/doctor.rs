//! Checks all that the agent needs of its host, without changing anything.

mod cloud;

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use serde_json::Value;

use crate::board::{BoardHints, LedLocation, choose_led};
use crate::linux::board::{detect, read_leds};
use crate::linux::clock::Clock;
use crate::linux::engine::{Engine, EngineSettings};
use crate::linux::net::port_owner;
use crate::linux::systemd::Systemd;
use crate::linux::{read_small, without_mark};
use crate::port::Clock as _;
use crate::state::proxy_variables::ProxyVariables;

/// 2026-01-01, the year this was written: a clock before that has not been set.
const NOT_BEFORE_SECS: i64 = 1_767_225_600;

/// What to check: the configuration, as far as it is about the host.
#[derive(Debug, Clone)]
pub struct Checks {
    /// The host's root.
    pub root: PathBuf,
    /// Directories the agent writes to.
    pub writes: Vec<PathBuf>,
    /// Addresses the API listens on.
    pub listen: Vec<SocketAddr>,
    /// Addresses of possible engines.
    pub engines: Vec<String>,
    /// The system bus's address, if it is not the host's own.
    pub bus: Option<String>,
    /// The file of registry credentials.
    pub registry_auth: PathBuf,
    /// The file of API keys.
    pub keys: PathBuf,
    /// The address of the cloud's API.
    pub cloud: Option<String>,
    /// The certificates that are trusted beside the host's, base64 of PEM.
    pub root_ca: Option<String>,
    /// The proxies on the way to the cloud.
    pub proxies: ProxyVariables,
    /// Hints about the board. `None`: LEDs are simulated.
    pub board: Option<BoardHints>,
    /// A LED chosen by its path.
    pub led_file: Option<String>,
    /// Problems of the configuration that do not keep the agent from starting.
    pub troubles: Vec<String>,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was checked.
    pub what: &'static str,
    /// The result.
    pub verdict: CheckResult,
    /// The result in words; if something is wrong, also what to do.
    pub words: String,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckResult {
    /// As it should be.
    Fine,
    /// Absent, and not needed.
    Skipped,
    /// The user has to do something.
    Wrong,
}

/// Runs all checks, in the order in which the user would fix the problems.
pub async fn run_checks(checks: &Checks) -> Vec<Finding> {
    let mut findings: Vec<_> = checks.troubles.iter().map(|it| wrong("configuration", it)).collect();
    findings.extend(checks.writes.iter().map(|it| directory(it)));
    findings.push(keys(&checks.keys));
    findings.push(clock(&checks.root));
    findings.push(engine(checks).await);
    findings.extend(bus(checks).await);
    findings.push(led(checks));
    findings.push(registry_auth(&checks.registry_auth));
    findings.extend(checks.listen.iter().map(|it| port(&checks.root, *it)));
    findings.push(cloud::check(checks).await);
    findings
}

fn fine(what: &'static str, words: impl Into<String>) -> Finding {
    Finding { what, verdict: CheckResult::Fine, words: words.into() }
}

fn skipped(what: &'static str, words: impl Into<String>) -> Finding {
    Finding { what, verdict: CheckResult::Skipped, words: words.into() }
}

fn wrong(what: &'static str, words: impl Into<String>) -> Finding {
    Finding { what, verdict: CheckResult::Wrong, words: words.into() }
}

fn directory(path: &Path) -> Finding {
    let shown = path.display();
    let there = path.ancestors().find(|it| it.exists()).unwrap_or(Path::new("/"));
    match access(there, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) if there == path && path.is_dir() && is_writable_by_others(path) => {
            wrong("directory", format!("other users can write to {shown}: `chmod go-w {shown}`"))
        }
        Ok(()) if there == path && path.is_dir() => fine("directory", format!("{shown} can be written")),
        Ok(()) if there.is_dir() => fine("directory", format!("the agent creates {shown} when it starts")),
        Ok(()) => wrong("directory", format!("`{}` is not a directory; move it away, or name another", there.display())),
        Err(why) => wrong(
            "directory",
            format!(
                "{shown} cannot be written ({why} at `{}`); run this as the agent's user, or as root, or choose another",
                there.display()
            ),
        ),
    }
}

/// Whether other users may write to a directory.
fn is_writable_by_others(path: &Path) -> bool {
    mode(path) & 0o022 != 0
}

fn keys(path: &Path) -> Finding {
    let shown = path.display();
    match fs::metadata(path).map(|it| it.permissions().mode()) {
        Ok(mode) if mode & 0o077 != 0 => {
            wrong("keys", format!("other users can read {shown}: `chmod 600 {shown}`, and replace the keys"))
        }
        Ok(_) => fine("keys", format!("only its owner can read {shown}")),
        Err(why) if why.kind() == io::ErrorKind::NotFound => {
            skipped("keys", "there are none yet; the agent makes them when it starts")
        }
        Err(why) => wrong("keys", format!("{shown} cannot be checked ({why}); run this as the agent's user, or as root")),
    }
}

/// The permission bits. A file that does not exist counts as without any.
fn mode(path: &Path) -> u32 {
    fs::metadata(path).map_or(0, |it| it.permissions().mode())
}

fn clock(root: &Path) -> Finding {
    let clock = Clock::new(root);
    if clock.now_secs() < NOT_BEFORE_SECS {
        return wrong("clock", "it shows a time before 2026, so no certificate is valid yet; set it, or start a time service");
    }
    if clock.booted_secs() == 0 {
        return wrong(
            "clock",
            format!("`{}` does not say when the host was started; check --root", root.join("proc/stat").display()),
        );
    }
    fine("clock", "the clock is set")
}

async fn engine(checks: &Checks) -> Finding {
    let settings = EngineSettings {
        hosts: checks.engines.clone(),
        root: checks.root.clone(),
        logins: None,
        floor_bytes: 0,
        registries: None,
        arch: String::new(),
    };
    match Engine::connect(settings).version().await {
        Ok(it) if it.host.strip_prefix("unix://").is_some_and(|socket| mode(Path::new(socket)) & 0o002 != 0) => wrong(
            "engine",
            format!("every user of this host can use {}, and become root through it: `chmod o-w` its socket", it.host),
        ),
        Ok(it) => fine("engine", format!("{} answers at {}, API {}", it.engine, it.host, it.api)),
        Err(why) => {
            wrong("engine", format!("{why}; start the engine, let the agent's user use its socket, or set DOCKER_HOST"))
        }
    }
}

/// Checks the bus, then what is on it: without a bus the rest is left out, because it would fail for the same reason.
async fn bus(checks: &Checks) -> Vec<Finding> {
    let systemd = Systemd::new(&checks.root, checks.bus.as_deref());
    let polkit = match systemd.has("org.freedesktop.PolicyKit1").await {
        Ok(polkit) => polkit,
        Err(why) => {
            return vec![wrong("bus", format!("{why}; start dbus, or set DBUS_SYSTEM_BUS_ADDRESS; a reboot needs it"))];
        }
    };
    let mut findings = vec![fine("bus", "the system bus answers")];
    for (what, method) in [("reboot", "CanReboot"), ("shutdown", "CanPowerOff")] {
        findings.push(match systemd.logind_can(method).await.as_deref() {
            Ok("yes") => fine(what, "logind permits it"),
            Ok("na") => wrong(what, "logind says that this machine cannot; a container, for example, cannot"),
            Ok(no) => {
                wrong(what, format!("logind would refuse (`{no}`); install packaging/boardkeeper.polkit, or run as root"))
            }
            Err(why) => wrong(what, format!("{why}; start systemd-logind, which the agent needs for it")),
        });
    }
    findings.push(if polkit {
        fine("polkit", "it is available")
    } else if rustix::process::geteuid().is_root() {
        skipped("polkit", "it is not available, and root does not need it")
    } else {
        wrong("polkit", "it is not available, so only root may reboot; install polkitd, or run as root")
    });
    findings
}

fn led(checks: &Checks) -> Finding {
    let Some(hints) = &checks.board else { return skipped("led", "LEDs are simulated") };
    let detected = detect(&checks.root, hints);
    let choice = choose_led(&detected, checks.led_file.as_deref(), &read_leds(&checks.root));
    match &choice.led {
        Some(LedLocation::Class { name, dir }) => match access(dir.join("brightness"), Access::WRITE_OK) {
            Ok(()) => fine("led", format!("{name} on {detected}: {}", choice.why)),
            Err(why) => {
                wrong("led", format!("{name} cannot be written ({why}); install packaging/boardkeeper.udev, or run as root"))
            }
        },
        Some(LedLocation::Line { device, offset, .. }) => {
            fine("led", format!("line {offset} of {device} on {detected}: {}", choice.why))
        }
        None => skipped("led", format!("{}; name one with --led-file", choice.why)),
    }
}

/// The parser's error is left out: it would repeat a secret.
fn registry_auth(path: &Path) -> Finding {
    let shown = path.display();
    match read_small(path) {
        Ok(text) if serde_json::from_slice::<Value>(without_mark(&text)).is_ok_and(|it| it.is_object()) => {
            fine("registry-auth", format!("{shown} can be read"))
        }
        Ok(_) => wrong("registry-auth", format!("`{shown}` is not a JSON object; write it again with `docker login`")),
        Err(why) if why.kind() == io::ErrorKind::NotFound => {
            skipped("registry-auth", format!("there is no {shown}; public images need none"))
        }
        Err(why) => wrong("registry-auth", format!("`{shown}` cannot be read ({why}); let the agent's user read it")),
    }
}

fn port(root: &Path, at: SocketAddr) -> Finding {
    match TcpListener::bind(at) {
        Ok(_) => fine("port", format!("{at} is free")),
        Err(why) if why.kind() == io::ErrorKind::AddrInUse => match port_owner::by(&root.join("proc"), at.port()) {
            Some(who) if who.starts_with("`boardkeeper`") => fine("port", format!("{who} already listens on {at}")),
            Some(who) => wrong("port", format!("{who} uses {at}; stop it, or choose another port with --listen")),
            None => wrong(
                "port",
                format!("another program uses {at}; run this as root to see which, or choose another port with --listen"),
            ),
        },
        Err(why) => wrong("port", format!("{at}: {why}; choose another address with --listen")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::CheckResult::{Fine, Skipped, Wrong};
    use super::*;

    fn checks(root: &Path) -> Checks {
        Checks {
            root: root.to_owned(),
            writes: vec![root.join("state")],
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            engines: vec![format!("unix://{}", root.join("docker.sock").display())],
            bus: None,
            registry_auth: root.join("auth.json"),
            keys: root.join("state/keys.json"),
            cloud: None,
            root_ca: None,
            proxies: ProxyVariables::default(),
            board: Some(BoardHints::default()),
            led_file: None,
            troubles: Vec::new(),
        }
    }

    async fn hints(checks: &Checks) -> Vec<(&'static str, CheckResult)> {
        run_checks(checks).await.into_iter().map(|it| (it.what, it.verdict)).collect()
    }

    #[tokio::test]
    async fn a_bare_host_is_told_what_is_missing() {
        let root = tempfile::tempdir().unwrap();
        let expected = [
            ("directory", Fine),
            ("keys", Skipped),
            ("clock", Wrong),
            ("engine", Wrong),
            ("bus", Wrong),
            ("led", Skipped),
            ("registry-auth", Skipped),
            ("port", Fine),
            ("cloud", Skipped),
        ];
        assert_eq!(hints(&checks(root.path())).await, expected);
        for finding in run_checks(&checks(root.path())).await.into_iter().filter(|it| it.verdict == Wrong) {
            assert!(finding.words.contains(';') && !finding.words.contains('\n'), "what to do? {finding:?}");
        }
    }

    #[tokio::test]
    async fn what_is_open_to_others_is_told() {
        let root = tempfile::tempdir().unwrap();
        let checks = checks(root.path());
        fs::create_dir(root.path().join("state")).unwrap();
        fs::write(&checks.keys, "{}").unwrap();
        let socket = root.path().join("docker.sock");
        let _engine = an_engine_at(&socket);
        for (open, shut, what) in [(0o777, 0o700, &checks.writes[0]), (0o640, 0o600, &checks.keys), (0o666, 0o660, &socket)] {
            for (mode, verdict) in [(open, Wrong), (shut, Fine)] {
                fs::set_permissions(what, fs::Permissions::from_mode(mode)).unwrap();
                let findings = run_checks(&checks).await;
                let hints = |it: &&Finding| it.words.contains(&*what.to_string_lossy());
                let finding = findings.iter().find(hints).unwrap();
                assert_eq!(finding.verdict, verdict, "{mode:o} {finding:?}");
                assert!(verdict == Fine || finding.words.contains("`chmod"), "{finding:?}");
            }
        }
    }

    /// Just enough of an engine to answer a version request.
    #[expect(clippy::disallowed_methods, reason = "an engine is no part of the agent")]
    fn an_engine_at(socket: &Path) -> tokio::task::JoinHandle<()> {
        let listener = tokio::net::UnixListener::bind(socket).unwrap();
        let version = r#"{"Version": "20", "ApiVersion": "1.41", "MinAPIVersion": "1.12"}"#;
        let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{version}", version.len());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                // The request is a head of some hundred bytes, which arrive at once.
                assert!(stream.read(&mut [0; 2048]).await.unwrap() > 0);
                stream.write_all(response.as_bytes()).await.unwrap();
            }
        })
    }

    #[tokio::test]
    async fn what_is_there_is_looked_at() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path();
        fs::create_dir_all(path.join("proc")).unwrap();
        fs::write(path.join("proc/stat"), "btime 1760000000\n").unwrap();
        fs::write(path.join("auth.json"), "{\"auths\": \"sesame").unwrap();
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = other.local_addr().unwrap();
        let checks = Checks { listen: vec![at], board: None, writes: vec![path.join("auth.json/below")], ..checks(path) };
        let findings = run_checks(&checks).await;
        let of = |what: &str| findings.iter().find(|it| it.what == what).unwrap();
        assert_eq!(of("clock").verdict, CheckResult::Fine);
        assert_eq!((of("led").verdict, of("directory").verdict), (CheckResult::Skipped, CheckResult::Wrong));
        assert_eq!(of("port").verdict, CheckResult::Wrong);
        assert_eq!(of("registry-auth").verdict, CheckResult::Wrong);
        assert!(!of("registry-auth").words.contains("sesame"));
    }
}
