//! Flags, environment and the provisioning file become one checked configuration. All mistakes are reported at once.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::level_filters::LevelFilter;

use crate::sorted::SortedSet;
use crate::state::cloud::TargetOrigin;
use crate::state::keys::DeviceAction;
use crate::state::private_network::PrivateNetwork;
use crate::state::proxy_variables::ProxyVariables;
use crate::state::window::UpdateWindow;
use crate::state::{Force, Secret};

mod file;
mod provisioning;
pub mod settings;
mod values;

pub use file::SettingsFile;
pub use provisioning::{Provisioning, default_path};
use settings::{Parse, Setting};
pub use values::read as read_file;

/// The port that the API has answered on since 2017.
pub const PORT: u16 = 48484;

/// What was given for the settings. Not yet checked.
#[derive(Debug, Clone, Default)]
pub struct RawSettings {
    /// Texts of flags, or of the environment variables in their place, by flag.
    pub given: Vec<(&'static str, OsString)>,
    /// The settings file. Flags and the environment win.
    pub file: SettingsFile,
    /// Reads the provisioning cached in a state directory. Without a cached one the device has no identity yet.
    pub kept: Option<KeptProvisioning>,
}

/// Reads the provisioning that an earlier start cached in a state directory.
pub type KeptProvisioning = fn(&Path) -> Option<Vec<u8>>;

/// The agent's configuration. The default one is blank: no setting has been read into it.
#[derive(Debug, Clone, Default)]
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
    /// The URL of the target-state document, in place of a file. `{uuid}` in it stands for the device's uuid.
    pub target_url: Option<String>,
    /// The time between two requests to it.
    pub target_interval: Duration,
    /// The key whose signature a target must have, in base64 as minisign writes it.
    pub target_key: Option<String>,
    /// Whether signed targets are taken from removable media.
    pub target_from_media: bool,
    /// Whose targets are applied.
    pub targets_from: TargetOrigin,
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
    /// When updates may disturb services that have no window of their own. `None`: at any time.
    pub update_window: Option<UpdateWindow>,
    /// Whether an app goes back to its last good release when a new one fails, where neither its labels nor the target say.
    pub rollback: bool,
    /// The device-wide actions that services' keys permit.
    pub service_verbs: SortedSet<DeviceAction>,
    /// The networks to which the engine's API is forwarded in local mode.
    pub local_engine: Vec<PrivateNetwork>,
    /// `DOCKER_HOST`, the container engine.
    pub docker_host: Option<String>,
    /// `DBUS_SYSTEM_BUS_ADDRESS`.
    pub bus: Option<String>,
    /// `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, for connections to the cloud.
    pub proxies: ProxyVariables,
    /// `BOARDKEEPER_API_KEY`, the key of a device that has none yet.
    pub device_key: Option<Secret>,
    /// `BALENA_DEVICE_TYPE` or `RESIN_DEVICE_TYPE`, as the host's scripts set it.
    pub device_type: Option<String>,
    /// Warnings: problems that do not keep the agent from starting. Each says what to do.
    pub troubles: Vec<String>,
}

/// Where a document is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetPlace {
    /// In a file, by its absolute path.
    File(PathBuf),
    /// At a URL, not yet checked.
    Url(String),
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
    /// Checks the settings. `env` looks up variables that have no flag.
    pub fn read(raw: &RawSettings, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, Mistakes> {
        let mut mistakes = Vec::new();
        let mut config = Self { troubles: raw.file.trouble().map(str::to_owned).into_iter().collect(), ..Self::default() };
        config.set(settings::EVERY_COMMAND, raw, &mut mistakes);
        let (boot_config, state_dir) = (config.provisioning.path.take(), &config.state_dir);
        let kept = || raw.kept.and_then(|kept| kept(state_dir));
        config.provisioning =
            provisioning::read((&config.root, state_dir), boot_config, kept, &mut mistakes, &mut config.troubles);
        let port = config.provisioning.listen_port.unwrap_or(PORT);
        (config.listen, config.bridges) = listen(raw.text("--listen"), port, &mut mistakes);
        config.set(settings::RUN, raw, &mut mistakes);
        config.check_signatures(&mut mistakes);
        let env = |name: &str| env(name).or_else(|| raw.file.get(name).map(str::to_owned)).filter(|it| !it.is_empty());
        config.led_file = config.led_file.or_else(|| env("LED_FILE").map(PathBuf::from));
        if config.registry_auth.as_os_str().is_empty() {
            config.registry_auth = registry_auth(&config.state_dir, env("DOCKER_CONFIG"));
        }
        config.docker_host = checked(values::docker_host(env("DOCKER_HOST")), &mut mistakes);
        config.bus = env("DBUS_SYSTEM_BUS_ADDRESS");
        config.proxies = proxies(&env);
        config.device_key = checked(values::device_key(env("BOARDKEEPER_API_KEY")), &mut mistakes);
        config.device_type = env("BALENA_DEVICE_TYPE").or_else(|| env("RESIN_DEVICE_TYPE"));
        if mistakes.is_empty() { Ok(config) } else { Err(Mistakes(mistakes)) }
    }

    /// Where things are, and the proxies. `provisioning.path` is the one that was given: the file need not exist yet.
    pub fn read_paths(raw: &RawSettings, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, Mistakes> {
        let (mut mistakes, mut config) = (Vec::new(), Self::default());
        config.set(settings::EVERY_COMMAND, raw, &mut mistakes);
        let env = |name: &str| env(name).or_else(|| raw.file.get(name).map(str::to_owned)).filter(|it| !it.is_empty());
        config.proxies = proxies(&env);
        if mistakes.is_empty() { Ok(config) } else { Err(Mistakes(mistakes)) }
    }

    fn set(&mut self, settings: &[Setting], raw: &RawSettings, mistakes: &mut Vec<String>) {
        for setting in settings {
            if let Err(why) = self.set_one(setting, raw.text(setting.flag)) {
                mistakes.push(format!("{}: {why}", setting.flag));
            }
        }
    }

    fn set_one(&mut self, setting: &Setting, given: Option<&OsStr>) -> Result<(), String> {
        let default = OsStr::new(setting.default.text());
        match setting.parse {
            Parse::Path(set) => match values::path(given.unwrap_or(default)).or_else(|| values::path(default)) {
                Some(path) => set(self, path),
                None => Ok(()),
            },
            Parse::Place(set) => match given.and_then(values::place) {
                Some(place) => set(self, place),
                None => Ok(()),
            },
            Parse::Text(set) | Parse::List(set) => set(self, &given.unwrap_or(default).to_string_lossy()),
            Parse::Switch(set) => {
                if given.is_some_and(values::is_on) {
                    set(self);
                }
                Ok(())
            }
            Parse::Addresses | Parse::SettingsFile => Ok(()),
        }
    }

    /// Over http any machine on the way could replace a target, which decides what runs on the device; and anyone may plug in a
    /// medium.
    fn check_signatures(&self, mistakes: &mut Vec<String>) {
        let is_open = self.target_url.as_ref().is_some_and(|it| it.starts_with("http:"));
        if is_open && self.target_key.is_none() {
            mistakes.push(
                "--target: a target over http must be signed, for every machine on the way could change it; write https, or give \
                 --target-key"
                    .to_owned(),
            );
        }
        if self.target_from_media && self.target_key.is_none() {
            mistakes.push(
                "--target-from-media: a target on a medium must be signed, for anyone may plug one in; give --target-key"
                    .to_owned(),
            );
        }
    }

    /// Whether a source of targets is given, beside a cloud.
    #[must_use]
    pub const fn names_a_target(&self) -> bool {
        self.target.is_some() || self.target_url.is_some() || self.target_from_media
    }

    /// Whether targets on removable media are applied.
    #[must_use]
    pub fn applies_media(&self) -> bool {
        self.target_from_media && self.targets_from == TargetOrigin::File
    }

    /// Whether the device has a cloud.
    #[must_use]
    pub fn has_cloud(&self) -> bool {
        self.provisioning.cloud().is_some()
    }

    /// The target-state file, if its targets are applied.
    #[must_use]
    pub fn applied_file(&self) -> Option<&Path> {
        self.target.as_deref().filter(|_| self.targets_from == TargetOrigin::File)
    }

    /// The URL of the target-state document, if its targets are applied.
    #[must_use]
    pub fn applied_url(&self) -> Option<&str> {
        self.target_url.as_deref().filter(|_| self.targets_from == TargetOrigin::File)
    }

    /// The API port that containers get in their environment.
    #[must_use]
    pub fn api_port(&self) -> u16 {
        self.listen.first().map_or(PORT, SocketAddr::port)
    }
}

/// As other programs look for them: in lower case too.
fn proxies(env: &dyn Fn(&str) -> Option<String>) -> ProxyVariables {
    let either = |name: &str| env(name).or_else(|| env(&name.to_ascii_lowercase()));
    ProxyVariables {
        https: either("HTTPS_PROXY").map(Secret::new),
        all: either("ALL_PROXY").map(Secret::new),
        exceptions: either("NO_PROXY"),
    }
}

/// The value; on a mistake, a default in its place, and the mistake is recorded.
fn checked<T: Default>(value: Result<T, String>, mistakes: &mut Vec<String>) -> T {
    value.unwrap_or_else(|why| {
        mistakes.push(why);
        T::default()
    })
}

fn listen(given: Option<&OsStr>, port: u16, mistakes: &mut Vec<String>) -> (Vec<SocketAddr>, Option<u16>) {
    let mut addresses = Vec::new();
    let given = given.unwrap_or_default().to_string_lossy();
    for text in given.split(',').map(str::trim).filter(|it| !it.is_empty()) {
        match values::address(text, port) {
            Ok(address) if addresses.contains(&address) => (),
            Ok(address) => addresses.push(address),
            Err(why) => mistakes.push(format!("--listen: {why}")),
        }
    }
    if !addresses.is_empty() {
        return (addresses, None);
    }
    (vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)], Some(port))
}

/// The default: a file of the agent's own, or else docker's.
fn registry_auth(state_dir: &Path, docker_config: Option<String>) -> PathBuf {
    let own = state_dir.join("registry-auth.json");
    match docker_config {
        Some(dir) if !own.exists() => Path::new(&dir).join("config.json"),
        Some(_) | None => own,
    }
}

impl RawSettings {
    /// A setting's text: from its flag, else from the environment, else from the settings file.
    #[must_use]
    pub fn text(&self, flag: &str) -> Option<&OsStr> {
        let given = self.given.iter().find(|it| it.0 == flag).map(|it| it.1.as_os_str());
        let variable = || settings::all().find(|it| it.flag == flag).map(|it| it.variable);
        given.or_else(|| self.file.get(variable()?).map(OsStr::new))
    }
}

impl Config {
    /// The flags and variables whose changes take effect only at the agent's next start.
    #[must_use]
    pub fn wants_a_restart(&self, new: &Self) -> Vec<&'static str> {
        let flags = settings::all().filter(|it| it.differs.is_some_and(|differs| differs(self, new))).map(|it| it.flag);
        let docker_host = (self.docker_host != new.docker_host).then_some("DOCKER_HOST");
        let bus = (self.bus != new.bus).then_some("DBUS_SYSTEM_BUS_ADDRESS");
        let proxies = (self.proxies != new.proxies).then_some("HTTPS_PROXY, ALL_PROXY or NO_PROXY");
        flags.chain(docker_host).chain(bus).chain(proxies).collect()
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
