//! `boardkeeper join` and `boardkeeper leave`: a device becomes one of a cloud, and none.

use std::fmt::Write;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::run::StateDirArgs;
use crate::cli::{CommandError, print};
use crate::config::{self, Config, Provisioning};
use crate::linux::{provision, store};

/// The longest `config.json` that is read from standard input, in bytes.
const STDIN_BYTES: u64 = 1024 * 1024;

/// Where the new provisioning is, and where it goes.
#[derive(Debug, Clone, Default, Args)]
#[command(
    after_help = "The keys in the file are never printed. Nothing is sent: the agent registers the device when it reads the file, at \
`systemctl reload boardkeeper` or its next start."
)]
pub struct JoinArgs {
    /// The config.json that the cloud made for the device: a file, an https URL, or - for standard input
    #[arg(value_name = "CONFIG.JSON")]
    source: String,

    /// Join although the device is registered in a cloud: its account there is not used any more
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    place: StateDirArgs,
}

/// Which device leaves.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "The containers run on. The device stays listed in the cloud until it is deleted there.")]
pub struct LeaveArgs {
    #[command(flatten)]
    place: StateDirArgs,
}

impl JoinArgs {
    /// Checks the provisioning, and stores it.
    pub fn join(self) -> Result<(), CommandError> {
        let config = self.place.paths()?;
        let text = self.text(&config)?;
        let shown = if self.source == "-" { "standard input" } else { &self.source };
        let new = checked(&text, shown).map_err(|mistakes| CommandError::Wrong(mistakes.join("\n")))?;
        let path = path(&config);
        if let Some(registered) = registered(&config, &path)?.filter(|_| !self.force) {
            return Err(CommandError::Failed(format!(
                "{registered}; `boardkeeper leave` first, or --force, and delete the device in that cloud"
            )));
        }
        provision::join(&path, &text, &config.state_dir).map_err(CommandError::Failed)?;
        print(&joined(&new, &path))
    }

    fn text(&self, config: &Config) -> Result<Vec<u8>, CommandError> {
        let wrong = |why: &dyn std::fmt::Display| {
            CommandError::Wrong(format!("cannot read `{}`: {why}; name the device's config.json", self.source))
        };
        if self.source == "-" {
            let mut text = Vec::new();
            io::stdin().take(STDIN_BYTES + 1).read_to_end(&mut text).map_err(|why| wrong(&why))?;
            return if text.len() as u64 > STDIN_BYTES { Err(wrong(&"it is longer than 1024 kB")) } else { Ok(text) };
        }
        if self.source.starts_with("http://") {
            return Err(wrong(&"it has keys in it, which http would show to everyone on the way; use https"));
        }
        if !self.source.starts_with("https://") {
            return config::read_file(Path::new(&self.source)).map_err(|why| wrong(&why));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|why| CommandError::Failed(format!("cannot begin: {why}")))?;
        let text = runtime.block_on(provision::download(&self.source, &config.root, &config.proxies));
        // A name lookup may still hang on its thread; the process does not wait for it.
        runtime.shutdown_background();
        text.map_err(|why| CommandError::Failed(format!("cannot download the config.json: {why}")))
    }
}

impl LeaveArgs {
    /// Removes the device's account, and says what stays.
    pub fn leave(self) -> Result<(), CommandError> {
        let config = self.place.paths()?;
        let path = path(&config);
        let before = registered(&config, &path)?;
        provision::leave(&path, &config.state_dir).map_err(CommandError::Failed)?;
        let was = before.unwrap_or_else(|| "the device was registered in no cloud".to_owned());
        print(&format!(
            "{was}; its account, the cloud's fields of `{}` and the VPN's files are removed\n\
             the containers run on; the device stays listed in the cloud until it is deleted there\n\
             `systemctl reload boardkeeper` tells a running agent\n",
            path.display()
        ))
    }
}

/// Where the provisioning file is, or will be: on a boot partition, or else in the state directory.
fn path(config: &Config) -> PathBuf {
    if let Some(given) = &config.provisioning.path {
        return given.clone();
    }
    let found = config::default_path(&config.root, &config.state_dir);
    if found.parent().is_some_and(Path::is_dir) { found } else { config.state_dir.join("config.json") }
}

/// Says that the device is registered, if it is.
fn registered(config: &Config, path: &Path) -> Result<Option<String>, CommandError> {
    let stored = store::account(&config.state_dir).map_err(|why| CommandError::Failed(why.to_string()))?;
    if let Some(account) = stored.filter(|it| it.registered_at_ms.is_some()) {
        return Ok(Some(format!("the device is registered at {} as {}", account.endpoint, account.uuid)));
    }
    match config::read_file(path) {
        Ok(text) => {
            let (old, _) = Provisioning::parse(&text, "");
            let is_registered = old.device_key.is_some() && (old.registered_at_ms.is_some() || old.provisioning_key.is_none());
            let at = old.api_endpoint.filter(|_| is_registered);
            Ok(at.map(|it| format!("`{}` is that of a device registered at {it}", path.display())))
        }
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(why) => {
            Err(CommandError::Failed(format!("cannot read `{}`: {why}; run it as root or as the agent's user", path.display())))
        }
    }
}

/// The provisioning in a text, if a device can join a cloud with it; else what is wrong with it.
fn checked(text: &[u8], shown: &str) -> Result<Provisioning, Vec<String>> {
    let (new, mut mistakes) = Provisioning::parse(text, shown);
    if new == Provisioning::default() && !mistakes.is_empty() {
        return Err(mistakes);
    }
    let mut lacks = |is_lacking: bool, name: &str, why: &str| {
        if is_lacking && !mistakes.iter().any(|it| it.contains(&format!(": {name} must be"))) {
            mistakes.push(format!("`{shown}`: {name} is missing: {why}; download the file from the cloud again"));
        }
    };
    lacks(new.api_endpoint.is_none(), "apiEndpoint", "the address of the cloud's API");
    let is_keyless = new.provisioning_key.is_none() && new.device_key.is_none();
    lacks(is_keyless, "apiKey", "the key that registers the device, or deviceApiKey if it is registered");
    lacks(new.fleet.is_none() && new.device_key.is_none(), "applicationId", "the number of the fleet that the device joins");
    if new.is_offline {
        mistakes.push(format!("`{shown}`: with supervisorOfflineMode the device has no cloud; leave that field out"));
    }
    if mistakes.is_empty() { Ok(new) } else { Err(mistakes) }
}

/// What is stored, and what happens next.
fn joined(new: &Provisioning, path: &Path) -> String {
    let mut text = format!("stored in `{}`: ", path.display());
    // Writing to a string cannot fail.
    let _ = match new.fleet {
        Some(fleet) => write!(text, "fleet {fleet} at "),
        None => write!(text, "a registered device at "),
    };
    text += new.api_endpoint.as_deref().unwrap_or_default();
    if let Some(name) = new.name() {
        let _ = write!(text, ", as \"{}\"", name.escape_debug());
    }
    text + "\nnothing was sent yet: the agent registers the device at `systemctl reload boardkeeper`, or at its next start\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> Vec<String> {
        checked(text.as_bytes(), "config.json").unwrap_err()
    }

    #[test]
    fn all_mistakes_are_named_at_once_and_no_key() {
        let mistakes =
            wrong(r#"{"apiEndpoint": "nowhere", "apiKey": "se same", "applicationId": "x", "supervisorOfflineMode": true}"#);
        let named = ["apiEndpoint must be", "applicationId must be", "apiKey must be", "supervisorOfflineMode"];
        assert!(named.iter().all(|name| mistakes.iter().any(|it| it.contains(name))), "{mistakes:?}");
        assert_eq!(mistakes.len(), 4, "{mistakes:?}");
        assert!(!mistakes.concat().contains("se same"));
        assert_eq!(wrong(r#"{"deviceType": "raspberrypi3"}"#).len(), 3);
        for text in ["", "[]", "{\"apiKey\": sesame}"] {
            let mistakes = wrong(text);
            assert!(mistakes.len() == 1 && !mistakes[0].contains("sesame"), "{mistakes:?}");
        }
    }

    #[test]
    fn a_provisioning_key_wants_a_fleet_and_a_devices_own_key_does_not() {
        let file =
            |key: &str| format!(r#"{{"apiEndpoint": "https://api.example.com/", "{key}": "k", "hostname": "a\u001bb"}}"#);
        assert!(wrong(&file("apiKey"))[0].contains("applicationId is missing"));
        let new = checked(file("deviceApiKey").as_bytes(), "config.json").unwrap();
        let text = joined(&new, Path::new("/c.json"));
        assert!(text.contains("a registered device at https://api.example.com, as \"a\\u{1b}b\"\n"), "{text}");
    }
}
