//! The settings, one row each. Command line, help texts, environment and settings file are read by these rows.

use std::path::PathBuf;

use super::{Config, TargetPlace, values};
use crate::state::Force;
use crate::state::cloud::TargetOrigin;

/// A setting: a flag, a variable in the environment and the settings file, and how its text becomes a part of [`Config`].
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The flag, such as `--root`.
    pub flag: &'static str,
    /// The environment variable, and the name in the settings file.
    pub variable: &'static str,
    /// The placeholder of the value in help texts.
    pub value_name: &'static str,
    /// The help text, without the default.
    pub help: &'static str,
    /// What counts when the setting is not given.
    pub default: DefaultValue,
    /// How its text is parsed.
    pub parse: Parse,
    /// Compares two configurations, if a change takes effect only at the agent's next start.
    pub differs: Option<fn(&Config, &Config) -> bool>,
}

/// What counts when a setting is not given.
#[derive(Debug, Clone, Copy)]
pub enum DefaultValue {
    /// Nothing, or off.
    None,
    /// A text, parsed like a given one.
    Text(&'static str),
    /// Depends on other settings or on the host. In words.
    Derived(&'static str),
}

/// How a setting's text is parsed. A mistake comes without the flag's name.
#[derive(Debug, Clone, Copy)]
pub enum Parse {
    /// A path, made absolute. It need not be UTF-8. An empty one counts as not given.
    Path(fn(&mut Config, PathBuf) -> Result<(), String>),
    /// A URL, which has `://` in it, or a path as above.
    Place(fn(&mut Config, TargetPlace) -> Result<(), String>),
    /// Text; the default, or an empty one, when it is not given.
    Text(fn(&mut Config, &str) -> Result<(), String>),
    /// As `Text`, of a flag that may be repeated: the values with commas between.
    List(fn(&mut Config, &str) -> Result<(), String>),
    /// A flag without a value. Called if it is on.
    Switch(fn(&mut Config)),
    /// `--listen`: addresses with commas between, parsed after the provisioning file, which may have another default port.
    Addresses,
    /// `--config`: the path of the settings file, which is read before all others are parsed.
    SettingsFile,
}

/// The settings that every command needs to find an agent.
pub const EVERY_COMMAND: &[Setting] = &[
    Setting {
        flag: "--root",
        variable: "BOARDKEEPER_ROOT",
        value_name: "DIR",
        help: "The host's root: /sys, /proc, /etc, /run, /tmp and /dev are reached through it",
        default: DefaultValue::Text("/"),
        parse: Parse::Path(|config, path| {
            config.root = path;
            values::is_directory(&config.root)
        }),
        differs: Some(|old, new| old.root != new.root),
    },
    Setting {
        flag: "--state-dir",
        variable: "BOARDKEEPER_STATE_DIR",
        value_name: "DIR",
        help: "Directory of what must survive a power cut",
        default: DefaultValue::Text("/var/lib/boardkeeper"),
        parse: Parse::Path(|config, path| {
            config.state_dir = path;
            Ok(())
        }),
        differs: Some(|old, new| old.state_dir != new.state_dir),
    },
    Setting {
        flag: "--listen",
        variable: "BOARDKEEPER_LISTEN",
        value_name: "ADDRESS[:PORT]",
        help: "The API's addresses; repeat it for more. 0.0.0.0 only when given",
        default: DefaultValue::Derived("127.0.0.1:48484, the VPN, and the engine's bridges except those of internal networks"),
        parse: Parse::Addresses,
        differs: Some(|old, new| (&old.listen, old.bridges) != (&new.listen, new.bridges)),
    },
    Setting {
        flag: "--config",
        variable: "BOARDKEEPER_CONFIG",
        value_name: "FILE",
        help: "A file of NAME=value lines with the names of the variables below, read again at SIGHUP. \
               Flags and the environment win",
        default: DefaultValue::None,
        parse: Parse::SettingsFile,
        differs: None,
    },
    Setting {
        flag: "--boot-config",
        variable: "BOARDKEEPER_BOOT_CONFIG",
        value_name: "FILE",
        help: "The device's provisioning file",
        default: DefaultValue::Derived("`<root>/mnt/boot/config.json`, or else `<state-dir>/config.json`, if it exists"),
        parse: Parse::Path(|config, path| {
            config.provisioning.path = Some(path);
            Ok(())
        }),
        differs: Some(|old, new| old.provisioning.wants_a_restart(&new.provisioning)),
    },
];

/// The settings of the agent itself.
pub const RUN: &[Setting] = &[
    Setting {
        flag: "--runtime-dir",
        variable: "BOARDKEEPER_RUNTIME_DIR",
        value_name: "DIR",
        help: "Directory of what need not survive a boot",
        default: DefaultValue::Text("/run/boardkeeper"),
        parse: Parse::Path(|config, path| {
            config.runtime_dir = path;
            Ok(())
        }),
        differs: Some(|old, new| old.runtime_dir != new.runtime_dir),
    },
    Setting {
        flag: "--target",
        variable: "BOARDKEEPER_TARGET",
        value_name: "FILE|URL",
        help: "The target-state file, a compose file, or a folder with a compose file; the agent watches it for changes, and it \
               need not exist yet. Or a target's https:// URL, where {uuid} stands for the device's uuid",
        default: DefaultValue::None,
        parse: Parse::Place(|config, place| {
            match place {
                TargetPlace::File(path) => config.target = Some(path),
                TargetPlace::Url(url) => config.target_url = Some(values::target_url(&url)?),
            }
            Ok(())
        }),
        differs: None,
    },
    Setting {
        flag: "--target-interval",
        variable: "BOARDKEEPER_TARGET_INTERVAL",
        value_name: "TIME",
        help: "The time between two requests for a target at a URL, such as 90s, 15m or 2h",
        // As often as a cloud is asked.
        default: DefaultValue::Text("15m"),
        parse: Parse::Text(|config, text| values::interval(text).map(|it| config.target_interval = it)),
        differs: None,
    },
    Setting {
        flag: "--target-key",
        variable: "BOARDKEEPER_TARGET_KEY",
        value_name: "KEY|FILE",
        help: "The public key of minisign whose signature, beside the target as `.minisig`, a target must have: its line of \
               base64, or a .pub file",
        default: DefaultValue::None,
        parse: Parse::Text(|config, text| values::target_key(text).map(|it| config.target_key = it)),
        differs: None,
    },
    Setting {
        flag: "--target-from-media",
        variable: "BOARDKEEPER_TARGET_FROM_MEDIA",
        value_name: "",
        help: "Take signed targets, and images, from USB sticks that are plugged in; needs `--target-key`",
        default: DefaultValue::None,
        parse: Parse::Switch(|config| config.target_from_media = true),
        differs: None,
    },
    Setting {
        flag: "--target-from",
        variable: "BOARDKEEPER_TARGET_FROM",
        value_name: "SOURCE",
        help: "Whose targets are applied: `cloud` or `file`, which is what `--target` names and what media bring. With `file` \
               the cloud is polled all the same, which shows it that the device is online",
        default: DefaultValue::Derived("`file` if `--target` or `--target-from-media` is given, else `cloud`"),
        parse: Parse::Text(|config, text| {
            let default = if config.names_a_target() { TargetOrigin::File } else { TargetOrigin::Cloud };
            values::target_origin(text).map(|it| config.targets_from = it.unwrap_or(default))
        }),
        differs: Some(|old, new| old.has_cloud() && old.targets_from != new.targets_from),
    },
    Setting {
        flag: "--board",
        variable: "BOARDKEEPER_BOARD",
        value_name: "BOARD",
        help: "The board: a slug such as raspberrypi3, `auto` or `simulated`",
        default: DefaultValue::Text("auto"),
        parse: Parse::Text(|config, text| values::board(text).map(|it| config.board = it)),
        differs: Some(|old, new| old.board != new.board),
    },
    Setting {
        flag: "--led-file",
        variable: "BOARDKEEPER_LED_FILE",
        value_name: "PATH",
        help: "The LED that identifies the board, by path",
        default: DefaultValue::Derived("the board's own"),
        parse: Parse::Path(|config, path| {
            config.led_file = Some(path);
            Ok(())
        }),
        differs: Some(|old, new| old.led_file != new.led_file),
    },
    Setting {
        flag: "--log",
        variable: "BOARDKEEPER_LOG",
        value_name: "LEVEL",
        help: "What is logged: off, error, warn, info, debug or trace, or `module=level`, with commas between",
        default: DefaultValue::Text("info"),
        parse: Parse::Text(|config, text| values::log(text).map(|it| config.log = it)),
        differs: None,
    },
    Setting {
        flag: "--registry-auth",
        variable: "BOARDKEEPER_REGISTRY_AUTH",
        value_name: "FILE",
        help: "Registry credentials: a config.json as `docker login` writes it",
        default: DefaultValue::Derived("`<state-dir>/registry-auth.json`"),
        parse: Parse::Path(|config, path| {
            config.registry_auth = path;
            values::is_login_file(&config.registry_auth)
        }),
        differs: Some(|old, new| old.registry_auth != new.registry_auth),
    },
    Setting {
        flag: "--disk-floor",
        variable: "BOARDKEEPER_DISK_FLOOR",
        value_name: "SIZE",
        help: "Space that pulls leave free on the engine's disk, such as 64M or 1G",
        // Enough for logs, and for the engine to delete an image.
        default: DefaultValue::Text("64M"),
        parse: Parse::Text(|config, text| values::size(text).map(|it| config.disk_floor_bytes = it)),
        differs: Some(|old, new| old.disk_floor_bytes != new.disk_floor_bytes),
    },
    Setting {
        flag: "--ask-registries",
        variable: "BOARDKEEPER_ASK_REGISTRIES",
        value_name: "YES|NO",
        help: "Whether the agent asks the registry for an image's size before it pulls, so that it begins none that cannot fit: \
               yes or no",
        default: DefaultValue::Text("yes"),
        parse: Parse::Text(|config, text| values::yes_or_no(text).map(|it| config.asks_registries = it)),
        differs: Some(|old, new| old.asks_registries != new.asks_registries),
    },
    Setting {
        flag: "--override-locks",
        variable: "BOARDKEEPER_OVERRIDE_LOCKS",
        value_name: "",
        help: "Update although services hold update locks, always",
        default: DefaultValue::None,
        parse: Parse::Switch(|config| config.force = Force::Yes),
        differs: Some(|old, new| old.force != new.force),
    },
    Setting {
        flag: "--update-window",
        variable: "BOARDKEEPER_UPDATE_WINDOW",
        value_name: "WINDOW",
        help: "When updates may disturb running services that have no window of their own, such as \
               `Mon-Fri 02:00-04:00 Europe/Berlin` or `reboot`; several with `;` between",
        default: DefaultValue::Derived("at any time"),
        parse: Parse::Text(|config, text| values::update_window(text).map(|it| config.update_window = it)),
        differs: Some(|old, new| old.update_window != new.update_window),
    },
    Setting {
        flag: "--rollback",
        variable: "BOARDKEEPER_ROLLBACK",
        value_name: "ON",
        help: "`on`: an app whose new release fails goes back to its last good one, where neither its labels nor the target's \
               SUPERVISOR_ROLLBACK say otherwise",
        default: DefaultValue::Derived("off"),
        parse: Parse::Text(|config, text| values::on_or_off(text).map(|it| config.rollback = it)),
        differs: Some(|old, new| old.rollback != new.rollback),
    },
    Setting {
        flag: "--service-verbs",
        variable: "BOARDKEEPER_SERVICE_VERBS",
        value_name: "VERBS",
        help: "What service keys may do to the whole device: some of reboot, shutdown, update, blink, \
               tcp-ping, host-config, journal-logs, with commas between, or `none`",
        default: DefaultValue::Derived("all"),
        parse: Parse::Text(|config, text| values::service_verbs(text).map(|it| config.service_verbs = it)),
        differs: Some(|old, new| old.service_verbs != new.service_verbs),
    },
    Setting {
        flag: "--local-engine",
        variable: "BOARDKEEPER_LOCAL_ENGINE",
        value_name: "NETWORK",
        help: "While local mode is on, forward port 2375 to the engine for this private network, such as 192.168.1.0/24, so \
               that `balena push` reaches it; repeat it for more. Every computer there is then root on this board",
        default: DefaultValue::None,
        parse: Parse::List(|config, text| values::private_networks(text).map(|it| config.local_engine = it)),
        differs: Some(|old, new| old.local_engine != new.local_engine),
    },
];

impl DefaultValue {
    /// As help texts say it.
    #[must_use]
    pub const fn words(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Text(words) | Self::Derived(words) => Some(words),
        }
    }

    /// The text to parse. Empty: there is none.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Text(text) => text,
            Self::None | Self::Derived(_) => "",
        }
    }
}

/// All settings, in the order of the help text.
pub fn all() -> impl Iterator<Item = &'static Setting> {
    EVERY_COMMAND.iter().chain(RUN)
}
