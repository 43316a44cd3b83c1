//! The device's provisioning file, `config.json`, as the cloud's tools write it onto the boot partition.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::values;

/// The fields that the agent uses; others are ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provisioning {
    /// The file's path. `None`: there is no file.
    pub path: Option<PathBuf>,
    /// `uuid`: the device's unique id.
    pub uuid: Option<String>,
    /// `deviceType`: the cloud's name of the board.
    pub device_type: Option<String>,
    /// `initialDeviceName`, else `hostname`: the device's display name.
    pub name: Option<String>,
    /// `apiEndpointOverride`, else `apiEndpoint`: the cloud's API address.
    pub api_endpoint: Option<String>,
    /// `listenPort`: the port of the supervisor API.
    pub listen_port: Option<u16>,
    /// `appUpdatePollInterval`, in milliseconds: the time between two requests for a target.
    pub poll_interval: Option<Duration>,
}

/// Reads the given file, or else the one at its standard path if it exists.
///
/// A device that has an identity starts although the file cannot be read any more: `kept` returns the cached contents, and the
/// problem goes to `troubles` as a warning. On a device without an identity it is a mistake: the device would take another
/// identity than its cloud has for it.
pub(super) fn read(
    root: &Path,
    given: Option<PathBuf>,
    kept: impl FnOnce() -> Option<Vec<u8>>,
    mistakes: &mut Vec<String>,
    troubles: &mut Vec<String>,
) -> Provisioning {
    let must = given.is_some();
    let path = given.unwrap_or_else(|| root.join("mnt/boot/config.json"));
    let shown = path.display().to_string();
    let is_missing = |why: &io::Error| why.kind() == io::ErrorKind::NotFound && !must;
    let (wrong, path) = match values::read(&path) {
        Ok(text) => match Provisioning::parse(&text, &shown) {
            (provisioning, wrong) if wrong.is_empty() => return Provisioning { path: Some(path), ..provisioning },
            (_, wrong) => (wrong, Some(path)),
        },
        Err(why) if is_missing(&why) => (Vec::new(), None),
        Err(why) => {
            let wrong = format!("--boot-config: cannot read `{shown}`: {why}; name the device's config.json, or leave it out");
            (vec![wrong], Some(path))
        }
    };
    let Some(kept) = kept() else {
        mistakes.extend(wrong);
        return Provisioning { path, ..Provisioning::default() };
    };
    let (kept, _) = Provisioning::parse(&kept, "what was kept");
    if path.is_none() && kept != Provisioning::default() {
        troubles.push(format!(
            "`{shown}` is gone; write the device's config.json there again; until then its last good contents apply"
        ));
    }
    troubles.extend(wrong.into_iter().map(|it| format!("{it}; until then its last good contents apply")));
    Provisioning { path, ..kept }
}

impl Provisioning {
    /// A file with the same fields to cache, without the secrets in the device's own file.
    #[must_use]
    pub fn to_keep(&self) -> Vec<u8> {
        let Self { path: _, uuid, device_type, name, api_endpoint, listen_port, poll_interval } = self;
        let fields = json!({
            "uuid": uuid,
            "deviceType": device_type,
            "initialDeviceName": name,
            "apiEndpoint": api_endpoint,
            "listenPort": listen_port,
            "appUpdatePollInterval": poll_interval.map(|it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX)),
        });
        format!("{fields:#}\n").into_bytes()
    }

    /// Parses a file's bytes; returns the mistakes too. `shown`: the file's name in messages.
    #[must_use]
    pub fn parse(text: &[u8], shown: &str) -> (Self, Vec<String>) {
        let map = match serde_json::from_slice(values::without_mark(text)) {
            Ok(Value::Object(map)) => map,
            Ok(_) => {
                let wrong = format!("`{shown}` is not a JSON object; write the device's config.json there again");
                return (Self::default(), vec![wrong]);
            }
            Err(why) => {
                let wrong = format!("`{shown}` is not JSON: {why}; write the device's config.json there again");
                return (Self::default(), vec![wrong]);
            }
        };
        let mut mistakes = Vec::new();
        let mut fields = ProvisioningFields { map, shown: shown.to_owned(), mistakes: &mut mistakes };
        let provisioning = Self {
            uuid: fields.text("uuid").and_then(|it| fields.uuid(it)),
            device_type: fields.text("deviceType"),
            name: fields.text("initialDeviceName").or(fields.text("hostname")),
            api_endpoint: fields.text("apiEndpointOverride").or(fields.text("apiEndpoint")),
            listen_port: fields.port("listenPort"),
            poll_interval: fields.milliseconds("appUpdatePollInterval"),
            path: None,
        };
        (provisioning, mistakes)
    }
}

struct ProvisioningFields<'a> {
    map: Map<String, Value>,
    shown: String,
    mistakes: &'a mut Vec<String>,
}

impl ProvisioningFields<'_> {
    /// A string; an empty one counts as missing.
    fn text(&mut self, name: &str) -> Option<String> {
        match self.map.get(name)? {
            Value::String(text) if text.is_empty() => None,
            Value::String(text) => Some(text.clone()),
            Value::Null => None,
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => self.wrong(name, "a text"),
        }
    }

    /// A port, as a number or as a string of digits.
    fn port(&mut self, name: &str) -> Option<u16> {
        let port = match self.map.get(name)? {
            Value::Null => return None,
            Value::Number(number) => number.as_u64().and_then(|it| u16::try_from(it).ok()),
            Value::String(text) => text.trim().parse().ok(),
            Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        port.filter(|it| *it != 0).or_else(|| self.wrong(name, "a port, 1 to 65535"))
    }

    /// Milliseconds, as a number or as a string of digits. Anything else counts as missing: it is no reason not to start.
    fn milliseconds(&self, name: &str) -> Option<Duration> {
        let count = match self.map.get(name)? {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.trim().parse().ok(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        count.filter(|it| *it > 0).map(Duration::from_millis)
    }

    /// 32 hex digits, or 62 on devices of 2017.
    fn uuid(&mut self, uuid: String) -> Option<String> {
        let right = (32..=64).contains(&uuid.len()) && uuid.bytes().all(|it| it.is_ascii_hexdigit());
        if right { Some(uuid) } else { self.wrong("uuid", "32 to 64 hex digits; leave it out to have one made") }
    }

    fn wrong<T>(&mut self, name: &str, expected: &str) -> Option<T> {
        self.mistakes.push(format!("`{}`: {name} must be {expected}", self.shown));
        None
    }
}
