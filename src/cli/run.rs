//! `boardkeeper run`: the flags of the agent itself.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::CommandError;
use crate::config::{Config, Mistakes, RawSettings, SettingsFile};
use crate::linux::store;

/// What must outlive a power cut is found by every command in the same way.
#[derive(Debug, Clone, Default, Args)]
pub struct StateDirArgs {
    /// The host's root: /sys, /proc, /etc, /run, /tmp and /dev are reached through it. Default: /
    #[arg(long, env = "BOARDKEEPER_ROOT", value_name = "DIR")]
    root: Option<OsString>,

    /// Where state is kept that must outlive a power cut. Default: /var/lib/boardkeeper
    #[arg(long, env = "BOARDKEEPER_STATE_DIR", value_name = "DIR")]
    state_dir: Option<OsString>,

    /// Where the API answers; repeat it for more addresses. 0.0.0.0 only when asked for.
    /// Default: 127.0.0.1:48484, the VPN, and the engine's bridges but those of internal networks
    #[arg(long, env = "BOARDKEEPER_LISTEN", value_name = "ADDRESS[:PORT]", value_delimiter = ',')]
    listen: Vec<String>,

    /// A file of NAME=value lines with the names of the variables below, read again at SIGHUP. Flags and the environment win
    #[arg(long, env = "BOARDKEEPER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// The device's provisioning file. Default: `<root>/mnt/boot/config.json`, when it is there
    #[arg(long, env = "BOARDKEEPER_BOOT_CONFIG", value_name = "FILE")]
    boot_config: Option<OsString>,
}

/// Flags of the agent. Each may be given as an environment variable instead; the flag wins.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "\
Environment without a flag:
  DOCKER_HOST              The container engine. Default: unix:///var/run/docker.sock, then balenaEngine's socket, then podman's
  DBUS_SYSTEM_BUS_ADDRESS  The system bus, for reboots and shutdowns. Default: the one below --root
  NOTIFY_SOCKET, WATCHDOG_USEC  Set by systemd: it is told when the agent is ready, what it does, and that it gets on
  BOARDKEEPER_API_KEY      The device's key at its first start, 16 to 128 letters, digits or underscores, not all the same. Default: one is made
  LED_FILE                 As --led-file
  DOCKER_CONFIG            Directory of a config.json with registries' passwords, where --registry-auth is not given

Stopping the agent (SIGTERM, Ctrl-C) leaves the containers running.")]
pub struct RunArgs {
    #[command(flatten)]
    place: StateDirArgs,

    /// Where is kept what need not outlive a boot. Default: /run/boardkeeper
    #[arg(long, env = "BOARDKEEPER_RUNTIME_DIR", value_name = "DIR")]
    runtime_dir: Option<OsString>,

    /// A target-state file to keep the device at. It is watched for changes, and need not be there yet
    #[arg(long, env = "BOARDKEEPER_TARGET", value_name = "FILE")]
    target: Option<OsString>,

    /// The board: a slug such as raspberrypi3, `auto` or `simulated`. Default: auto
    #[arg(long, env = "BOARDKEEPER_BOARD", value_name = "BOARD")]
    board: Option<String>,

    /// The LED that identifies the board, by path. Default: the board's own
    #[arg(long, env = "BOARDKEEPER_LED_FILE", value_name = "PATH")]
    led_file: Option<OsString>,

    /// What is logged: off, error, warn, info, debug or trace, or `module=level`, with commas between. Default: info
    #[arg(long, env = "BOARDKEEPER_LOG", value_name = "LEVEL")]
    log: Option<String>,

    /// Registries' passwords: a config.json as `docker login` writes it. Default: `<state-dir>/registry-auth.json`
    #[arg(long, env = "BOARDKEEPER_REGISTRY_AUTH", value_name = "FILE")]
    registry_auth: Option<OsString>,

    /// Room that pulls leave free on the engine's disk, such as 64M or 1G. Default: 64M
    #[arg(long, env = "BOARDKEEPER_DISK_FLOOR", value_name = "SIZE")]
    disk_floor: Option<String>,

    /// Whether a registry is asked how large an image is before it is pulled, so that one that cannot fit is not begun: yes or no.
    /// Default: yes
    #[arg(long, env = "BOARDKEEPER_ASK_REGISTRIES", value_name = "YES|NO")]
    ask_registries: Option<String>,

    /// Update although services hold update locks, always
    #[arg(long, env = "BOARDKEEPER_OVERRIDE_LOCKS", value_parser = clap::builder::FalseyValueParser::new())]
    override_locks: bool,

    /// What the keys of services may be used for that concerns the whole device: some of reboot, shutdown, update, blink,
    /// tcp-ping, host-config, with commas between, or `none`. Default: all
    #[arg(long, env = "BOARDKEEPER_SERVICE_VERBS", value_name = "VERBS")]
    service_verbs: Option<String>,
}

impl StateDirArgs {
    fn given(self) -> RawSettings {
        let Self { root, state_dir, listen, boot_config, config: _ } = self;
        RawSettings { root, state_dir, listen, boot_config, kept: Some(store::provisioned), ..RawSettings::default() }
    }

    /// The configuration, as far as every command needs it.
    pub fn config(self) -> Result<Config, CommandError> {
        let file = self.config.clone();
        read(self.given(), file.as_deref())
    }
}

impl RunArgs {
    /// The complete configuration.
    pub fn config(self) -> Result<Config, CommandError> {
        let file = self.place.config.clone();
        let given = RawSettings {
            runtime_dir: self.runtime_dir,
            target: self.target,
            board: self.board,
            led_file: self.led_file,
            log: self.log,
            registry_auth: self.registry_auth,
            disk_floor: self.disk_floor,
            ask_registries: self.ask_registries,
            override_locks: self.override_locks,
            service_verbs: self.service_verbs,
            ..self.place.given()
        };
        read(given, file.as_deref())
    }
}

fn read(mut given: RawSettings, file: Option<&Path>) -> Result<Config, CommandError> {
    let wrong = |mistakes: Mistakes| CommandError::Wrong(mistakes.to_string());
    let file = file.map(SettingsFile::read).transpose().map_err(|mistakes| wrong(Mistakes(mistakes)))?.unwrap_or_default();
    given.fill(&file);
    let env = |name: &str| std::env::var(name).ok().or_else(|| file.get(name).map(str::to_owned));
    Config::read(given, &env).map_err(wrong)
}
