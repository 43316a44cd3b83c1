//! `boardkeeper run`: the flags of the agent itself.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::builder::{FalseyValueParser, ValueParser};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Args, Command, FromArgMatches};

use crate::cli::CommandError;
use crate::config::settings::{self, EVERY_COMMAND, Parse, RUN, Setting};
use crate::config::{Config, Mistakes, RawSettings, SettingsFile};
use crate::linux::{host, store};
use crate::state::Device;

const AFTER_HELP: &str = "\
Environment without a flag:
  DOCKER_HOST              The container engine. Default: unix:///var/run/docker.sock, then balenaEngine's socket, then podman's
  DBUS_SYSTEM_BUS_ADDRESS  The system bus, for reboots and shutdowns. Default: the one below --root
  NOTIFY_SOCKET, WATCHDOG_USEC  Set by systemd, for readiness, status and watchdog notifications
  BOARDKEEPER_REPLACES     Set by the package's unit: the installed version that does not work, in whose place this one runs
  BOARDKEEPER_API_KEY      The device's key at its first start, 16 to 128 letters, digits or underscores, not all the same. Default: a random key
  HTTPS_PROXY, ALL_PROXY, NO_PROXY  The proxy for connections to the cloud, http://[USER:PASSWORD@]HOST:PORT, and the hosts reached without it
  LED_FILE                 As --led-file
  DOCKER_CONFIG            Directory of a config.json with registry credentials, if --registry-auth is not given

Stopping the agent (SIGTERM, Ctrl-C) leaves the containers running.
A state directory that a newer version wrote is refused with exit code 1, and not changed.";

/// What must outlive a power cut is found by every command in the same way.
#[derive(Debug, Clone, Default)]
pub struct StateDirArgs(Given);

/// Flags of the agent. Each may be given as an environment variable instead; the flag wins.
#[derive(Debug, Clone, Default)]
pub struct RunArgs(Given);

/// Texts of flags, or of the variables in their place, by flag.
type Given = Vec<(&'static str, OsString)>;

impl StateDirArgs {
    /// The configuration, as far as every command needs it.
    pub fn config(self) -> Result<Config, CommandError> {
        read(self.0)
    }

    /// Where things are, whatever the provisioning file says.
    pub fn paths(&self) -> Result<Config, CommandError> {
        let raw = raw(self.0.clone())?;
        check_format(&raw)?;
        Config::read_paths(&raw, &variable).map_err(wrong)
    }
}

impl RunArgs {
    /// The complete configuration.
    pub fn config(self) -> Result<Config, CommandError> {
        read(self.0)
    }
}

/// The facts about the device, as the agent begins with them. `engines`: addresses of possible engines.
#[must_use]
pub fn device(config: &Config, engines: &[String]) -> Device {
    let provisioning = &config.provisioning;
    host::device(
        &config.root,
        host::KnownDevice {
            uuid: provisioning.uuid.clone(),
            name: provisioning.name().map(str::to_owned),
            device_type: provisioning.device_type.clone().or_else(|| config.device_type.clone()),
            api_port: config.api_port(),
            api_endpoint: provisioning.cloud().map(str::to_owned),
            boot: provisioning.path.as_deref().and_then(|it| it.parent()).map(ToOwned::to_owned),
            is_development: provisioning.is_development,
            engines: engines.to_vec(),
        },
    )
}

fn read(given: Given) -> Result<Config, CommandError> {
    let raw = raw(given)?;
    check_format(&raw)?;
    Config::read(&raw, &variable).map_err(wrong)
}

/// Refuses a state directory of a newer version, before anything in it is read. What is wrong with the settings is reported by
/// the reader of all of them.
fn check_format(raw: &RawSettings) -> Result<(), CommandError> {
    let Ok(paths) = Config::read_paths(raw, &variable) else { return Ok(()) };
    store::check_format(&paths.state_dir).map_err(|why| CommandError::Failed(why.to_string()))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[expect(clippy::needless_pass_by_value, reason = "it is the argument of `map_err`")]
fn wrong(mistakes: Mistakes) -> CommandError {
    CommandError::Wrong(mistakes.to_string())
}

fn raw(given: Given) -> Result<RawSettings, CommandError> {
    let mut raw = RawSettings { given, kept: Some(store::provisioned), ..RawSettings::default() };
    if let Some(file) = raw.text("--config") {
        raw.file = SettingsFile::read(Path::new(file)).map_err(|mistakes| wrong(Mistakes(mistakes)))?;
    }
    Ok(raw)
}

impl Args for StateDirArgs {
    fn augment_args(command: Command) -> Command {
        // The usage line of an error names these flags as alternatives.
        let place = ArgGroup::new("place").multiple(true).args(EVERY_COMMAND.iter().map(|it| it.flag));
        command.args(EVERY_COMMAND.iter().map(arg)).group(place)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl Args for RunArgs {
    fn augment_args(command: Command) -> Command {
        StateDirArgs::augment_args(command).args(RUN.iter().map(arg)).after_help(AFTER_HELP)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for StateDirArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(given(matches)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        Self::from_arg_matches(matches).map(|it| *self = it)
    }
}

impl FromArgMatches for RunArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(given(matches)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        Self::from_arg_matches(matches).map(|it| *self = it)
    }
}

/// A setting as clap knows it.
fn arg(setting: &Setting) -> Arg {
    let (parser, action) = match setting.parse {
        Parse::Path(_) | Parse::Place(_) => (ValueParser::os_string(), ArgAction::Set),
        Parse::Text(_) => (ValueParser::string(), ArgAction::Set),
        Parse::Switch(_) => (FalseyValueParser::new().into(), ArgAction::SetTrue),
        Parse::Addresses | Parse::List(_) => (ValueParser::string(), ArgAction::Append),
        Parse::SettingsFile => (ValueParser::path_buf(), ArgAction::Set),
    };
    let default = setting.default.words().map(|it| format!(". Default: {it}")).unwrap_or_default();
    Arg::new(setting.flag)
        .long(setting.flag.trim_start_matches('-'))
        .env(setting.variable)
        .value_name(setting.value_name)
        .help(format!("{}{default}", setting.help))
        .value_parser(parser)
        .action(action)
        .value_delimiter(matches!(setting.parse, Parse::Addresses | Parse::List(_)).then_some(','))
}

/// The texts of the flags that a command has, or of the variables in their place. An empty variable of a switch counts as not
/// given; one that says no wins over the settings file.
fn given(matches: &ArgMatches) -> Given {
    let mut given = Given::new();
    for setting in settings::all() {
        let Ok(Some(texts)) = matches.try_get_raw(setting.flag) else { continue };
        let text = texts.collect::<Vec<_>>().join(OsStr::new(","));
        let is_default = matches.value_source(setting.flag) == Some(ValueSource::DefaultValue);
        let is_unset = text.is_empty() && matches!(setting.parse, Parse::Switch(_));
        if !is_default && !is_unset {
            given.push((setting.flag, text));
        }
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Force;

    /// The settings with the switch's variable under this name, with these arguments and this settings file.
    fn raw(variable: &'static str, arguments: &[&str], file: &str) -> RawSettings {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("boardkeeper");
        std::fs::write(&path, file).unwrap();
        let switch = RUN.iter().find(|it| it.flag == "--override-locks").unwrap();
        let command = Command::new("run").arg(arg(switch).env(variable));
        let matches = command.try_get_matches_from(["run"].iter().chain(arguments)).unwrap();
        RawSettings { given: super::given(&matches), file: SettingsFile::read(&path).unwrap(), kept: None }
    }

    #[test]
    fn a_variable_that_says_no_wins_over_the_settings_file() {
        // No test may change the environment of the others: these are variables that cargo sets for every test.
        let (zero, empty, unset) = ("CARGO_PKG_VERSION_MAJOR", "CARGO_PKG_VERSION_PRE", "BOARDKEEPER_NOT_SET");
        assert_eq!((std::env::var(zero).as_deref(), std::env::var(empty).as_deref()), (Ok("0"), Ok("")));
        let force =
            |variable, arguments: &[&str], file| Config::read(&raw(variable, arguments, file), &|_| None).unwrap().force;
        let on = "BOARDKEEPER_OVERRIDE_LOCKS=1\n";
        assert_eq!(force(unset, &[], on), Force::Yes);
        assert_eq!(force(zero, &[], on), Force::No);
        assert_eq!(force(empty, &[], on), Force::Yes, "an empty variable counts as not given");
        assert_eq!(force(zero, &["--override-locks"], ""), Force::Yes, "the flag wins");
        assert_eq!(force(unset, &[], ""), Force::No);
    }
}
