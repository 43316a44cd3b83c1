//! Flags, environment and the provisioning file become one checked configuration. All mistakes are reported at once.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use tracing::level_filters::LevelFilter;

use crate::state::keys::DeviceAction;
use crate::state::{Force, Secret};

mod file;
mod provisioning;
mod values;

pub use file::SettingsFile;
pub use provisioning::Provisioning;

/// The port that the API has answered on since 2017.
pub const PORT: u16 = 48484;
/// The default state directory.
pub const STATE_DIR: &str = "/var/lib/boardkeeper";
/// The default directory for state that need not outlive a boot.
pub const RUNTIME_DIR: &str = "/run/boardkeeper";
/// Default of the disk space that pulls leave free: enough for logs, and for the engine to delete an image.
pub const DISK_FLOOR: &str = "64M";

/// The flags, and the environment variables of the same names, as given. Not yet checked.
#[derive(Debug, Clone, Default)]
pub struct RawSettings {
    /// `--root`.
    pub root: Option<OsString>,
    /// `--state-dir`.
    pub state_dir: Option<OsString>,
    /// `--runtime-dir`.
    pub runtime_dir: Option<OsString>,
    /// `--listen`, each.
    pub listen: Vec<String>,
    /// `--target`.
    pub target: Option<OsString>,
    /// `--boot-config`.
    pub boot_config: Option<OsString>,
    /// `--board`.
    pub board: Option<String>,
    /// `--led-file`.
    pub led_file: Option<OsString>,
    /// `--log`.
    pub log: Option<String>,
    /// `--registry-auth`.
    pub registry_auth: Option<OsString>,
    /// `--disk-floor`.
    pub disk_floor: Option<String>,
    /// `--ask-registries`.
    pub ask_registries: Option<String>,
    /// `--override-locks`.
    pub override_locks: bool,
    /// `--service-verbs`.
    pub service_verbs: Option<String>,
    /// Reads the provisioning cached in a state directory. Without a cached one the device has no identity yet.
    pub kept: Option<KeptProvisioning>,
    /// Warnings: problems that do not keep the agent from starting.
    pub troubles: Vec<String>,
}

/// Reads the provisioning that an earlier start cached in a state directory.
pub type KeptProvisioning = fn(&Path) -> Option<Vec<u8>>;

/// The agent's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The host's root.
    pub root: PathBuf,
    /// Directory for state that must outlive a power cut.
    pub state_dir: PathBuf,
    /// Directory for state that must not outlive a power cut.
    pub runtime_dir: PathBuf,
    /// Addresses on which the API listens, the most likely to be reached first. Never empty.
    pub listen: Vec<SocketAddr>,
    /// The port on the engine's bridges and the VPN. `None`: addresses were given, and the API listens on those only.
    pub bridges: Option<u16>,
    /// The target-state file to keep the device at.
    pub target: Option<PathBuf>,
    /// What the provisioning file says.
    pub provisioning: Provisioning,
    /// How the board is determined.
    pub board: BoardChoice,
    /// A LED by path.
    pub led_file: Option<PathBuf>,
    /// The log levels.
    pub log: LogFilter,
    /// The registries' credentials: a `config.json` as `docker login` writes it. The file need not exist.
    pub registry_auth: PathBuf,
    /// Disk space that pulls leave free, in bytes.
    pub disk_floor_bytes: u64,
    /// Whether registries are asked for an image's size before it is pulled.
    pub asks_registries: bool,
    /// Whether update locks are always overridden.
    pub force: Force,
    /// The device-wide actions that services' keys permit.
    pub service_verbs: BTreeSet<DeviceAction>,
    /// `DOCKER_HOST`, the container engine.
    pub docker_host: Option<String>,
    /// `DBUS_SYSTEM_BUS_ADDRESS`.
    pub bus: Option<String>,
    /// `BOARDKEEPER_API_KEY`, the key of a device that has none yet.
    pub device_key: Option<Secret>,
    /// `BALENA_DEVICE_TYPE` or `RESIN_DEVICE_TYPE`, as the host's scripts set it.
    pub device_type: Option<String>,
    /// Warnings: problems that do not keep the agent from starting. Each says what to do.
    pub troubles: Vec<String>,
}

/// How the board is determined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum BoardChoice {
    /// From what the hardware says of itself.
    #[default]
    Auto,
    /// No board: LEDs are simulated.
    Simulated,
    /// By its slug.
    Slug(String),
}

/// The log levels: a default, and others for modules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter {
    /// The default level.
    pub all: LevelFilter,
    /// Levels of modules, including their submodules.
    pub modules: Vec<(String, LevelFilter)>,
}

/// All mistakes in a configuration, one per line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(pub Vec<String>);

impl Config {
    /// Checks the settings. `env` looks up values that come from the environment only.
    pub fn read(given: RawSettings, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, Mistakes> {
        let mut mistakes = Vec::new();
        let root = directory("--root", given.root, "/", &mut mistakes);
        let state_dir = values::path(given.state_dir).unwrap_or_else(|| PathBuf::from(STATE_DIR));
        let mut troubles = given.troubles;
        let kept = || given.kept.and_then(|kept| kept(&state_dir));
        let boot_config = values::path(given.boot_config);
        let provisioning = provisioning::read(&root, boot_config, kept, &mut mistakes, &mut troubles);
        let port = provisioning.listen_port.unwrap_or(PORT);
        let env = |name: &str| env(name).filter(|it| !it.is_empty());
        let (listen, bridges) = listen(&given.listen, port, &mut mistakes);
        let config = Self {
            runtime_dir: values::path(given.runtime_dir).unwrap_or_else(|| PathBuf::from(RUNTIME_DIR)),
            listen,
            bridges,
            target: values::path(given.target),
            provisioning,
            board: checked(values::board(given.board.as_deref()), &mut mistakes),
            led_file: values::path(given.led_file).or_else(|| env("LED_FILE").map(PathBuf::from)),
            log: checked(values::log(given.log.as_deref()), &mut mistakes),
            registry_auth: registry_auth(given.registry_auth, &state_dir, &env, &mut mistakes),
            disk_floor_bytes: checked(
                values::size("--disk-floor", given.disk_floor.as_deref().unwrap_or(DISK_FLOOR)),
                &mut mistakes,
            ),
            asks_registries: checked(
                values::yes_or_no("--ask-registries", given.ask_registries.as_deref(), true),
                &mut mistakes,
            ),
            force: if given.override_locks { Force::Yes } else { Force::No },
            service_verbs: checked(values::service_verbs(given.service_verbs.as_deref()), &mut mistakes),
            docker_host: checked(values::docker_host(env("DOCKER_HOST")), &mut mistakes),
            bus: env("DBUS_SYSTEM_BUS_ADDRESS"),
            device_key: checked(values::device_key(env("BOARDKEEPER_API_KEY")), &mut mistakes),
            device_type: env("BALENA_DEVICE_TYPE").or_else(|| env("RESIN_DEVICE_TYPE")),
            root,
            state_dir,
            troubles,
        };
        if mistakes.is_empty() { Ok(config) } else { Err(Mistakes(mistakes)) }
    }

    /// The API port that containers get in their environment.
    #[must_use]
    pub fn api_port(&self) -> u16 {
        self.listen.first().map_or(PORT, SocketAddr::port)
    }
}

/// The value; on a mistake, a default in its place, and the mistake is recorded.
fn checked<T: Default>(value: Result<T, String>, mistakes: &mut Vec<String>) -> T {
    value.unwrap_or_else(|why| {
        mistakes.push(why);
        T::default()
    })
}

fn directory(flag: &str, given: Option<OsString>, default: &str, mistakes: &mut Vec<String>) -> PathBuf {
    let path = values::path(given).unwrap_or_else(|| PathBuf::from(default));
    if !path.is_dir() {
        mistakes.push(format!("{flag}: `{}` is not a directory; name one that exists", path.display()));
    }
    path
}

fn listen(given: &[String], port: u16, mistakes: &mut Vec<String>) -> (Vec<SocketAddr>, Option<u16>) {
    let mut addresses = Vec::new();
    for text in given.iter().filter(|it| !it.trim().is_empty()) {
        match values::address(text.trim(), port) {
            Ok(address) if addresses.contains(&address) => (),
            Ok(address) => addresses.push(address),
            Err(why) => mistakes.push(why),
        }
    }
    if !addresses.is_empty() {
        return (addresses, None);
    }
    (vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)], Some(port))
}

fn registry_auth(
    given: Option<OsString>,
    state_dir: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    mistakes: &mut Vec<String>,
) -> PathBuf {
    if let Some(path) = values::path(given) {
        if !path.is_file() {
            mistakes.push(format!("--registry-auth: `{}` is not a file; make it with `docker login`", path.display()));
        }
        return path;
    }
    let own = state_dir.join("registry-auth.json");
    let dockers = env("DOCKER_CONFIG").map(|dir| Path::new(&dir).join("config.json"));
    match dockers {
        Some(dockers) if !own.exists() => dockers,
        Some(_) | None => own,
    }
}

impl RawSettings {
    /// Takes from a configuration file the settings that came neither as a flag nor as a variable.
    pub fn fill(&mut self, file: &SettingsFile) {
        self.troubles.extend(file.trouble().map(str::to_owned));
        let path = |name: &str| file.get(name).map(OsString::from);
        let text = |name: &str| file.get(name).map(str::to_owned);
        self.root = self.root.take().or_else(|| path("BOARDKEEPER_ROOT"));
        self.state_dir = self.state_dir.take().or_else(|| path("BOARDKEEPER_STATE_DIR"));
        self.runtime_dir = self.runtime_dir.take().or_else(|| path("BOARDKEEPER_RUNTIME_DIR"));
        self.target = self.target.take().or_else(|| path("BOARDKEEPER_TARGET"));
        self.boot_config = self.boot_config.take().or_else(|| path("BOARDKEEPER_BOOT_CONFIG"));
        self.board = self.board.take().or_else(|| text("BOARDKEEPER_BOARD"));
        self.led_file = self.led_file.take().or_else(|| path("BOARDKEEPER_LED_FILE"));
        self.log = self.log.take().or_else(|| text("BOARDKEEPER_LOG"));
        self.registry_auth = self.registry_auth.take().or_else(|| path("BOARDKEEPER_REGISTRY_AUTH"));
        self.disk_floor = self.disk_floor.take().or_else(|| text("BOARDKEEPER_DISK_FLOOR"));
        self.ask_registries = self.ask_registries.take().or_else(|| text("BOARDKEEPER_ASK_REGISTRIES"));
        self.service_verbs = self.service_verbs.take().or_else(|| text("BOARDKEEPER_SERVICE_VERBS"));
        if self.listen.is_empty() {
            self.listen =
                file.get("BOARDKEEPER_LISTEN").map(|it| it.split(',').map(str::to_owned).collect()).unwrap_or_default();
        }
        let off = ["0", "false", "off", "no", "n", "f"];
        self.override_locks |=
            file.get("BOARDKEEPER_OVERRIDE_LOCKS").is_some_and(|it| !off.contains(&it.to_lowercase().as_str()));
    }
}

impl Config {
    /// The flags whose changes take effect only at the agent's next start.
    #[must_use]
    pub fn wants_a_restart(&self, new: &Self) -> Vec<&'static str> {
        let differences = [
            ("--root", self.root != new.root),
            ("--state-dir", self.state_dir != new.state_dir),
            ("--runtime-dir", self.runtime_dir != new.runtime_dir),
            ("--listen", (&self.listen, self.bridges) != (&new.listen, new.bridges)),
            ("--boot-config", self.provisioning != new.provisioning),
            ("--board", self.board != new.board),
            ("--led-file", self.led_file != new.led_file),
            ("--registry-auth", self.registry_auth != new.registry_auth),
            ("--disk-floor", self.disk_floor_bytes != new.disk_floor_bytes),
            ("--ask-registries", self.asks_registries != new.asks_registries),
            ("--override-locks", self.force != new.force),
            ("--service-verbs", self.service_verbs != new.service_verbs),
            ("DOCKER_HOST", self.docker_host != new.docker_host),
            ("DBUS_SYSTEM_BUS_ADDRESS", self.bus != new.bus),
        ];
        differences.into_iter().filter(|(_, differs)| *differs).map(|(flag, _)| flag).collect()
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Mistakes {}

impl Default for LogFilter {
    fn default() -> Self {
        Self { all: LevelFilter::INFO, modules: Vec::new() }
    }
}

#[cfg(test)]
mod tests;
