//! The device's provisioning file, `config.json`, as the cloud's tools write it onto the boot partition.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::values;
use crate::state::Secret;

/// A smaller `registered_at` is in seconds: as milliseconds it would be before 1973.
const SECONDS_BELOW: u64 = 100_000_000_000;

/// The fields that the agent uses; others are ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provisioning {
    /// The file's path. `None`: there is no file.
    pub path: Option<PathBuf>,
    /// `uuid`: the device's unique id.
    pub uuid: Option<String>,
    /// `deviceType`: the cloud's name of the board.
    pub device_type: Option<String>,
    /// `initialDeviceName`: the device's first name in the cloud.
    pub initial_name: Option<String>,
    /// `hostname`: the host's name.
    pub hostname: Option<String>,
    /// `apiEndpointOverride`, else `apiEndpoint`: the cloud's API address, without a slash at its end.
    pub api_endpoint: Option<String>,
    /// `logsEndpoint`: the address for logs, without a slash at its end.
    pub logs_endpoint: Option<String>,
    /// `registryEndpoint`: the host of the cloud's registry, with its port if it has another than 443.
    pub registry_endpoint: Option<String>,
    /// `vpnEndpoint`: the host of the cloud's VPN.
    pub vpn_endpoint: Option<String>,
    /// `vpnPort`: its port.
    pub vpn_port: Option<u16>,
    /// `applicationId`: the fleet's number.
    pub fleet: Option<u32>,
    /// `userId`: the number of the user who made the file.
    pub user: Option<u32>,
    /// `apiKey`: the provisioning key, which registers devices in the fleet.
    pub provisioning_key: Option<Secret>,
    /// `deviceApiKey`: the device's key in the cloud.
    pub device_key: Option<Secret>,
    /// `deviceId`: the device's number in the cloud.
    pub device_id: Option<u64>,
    /// `registered_at`, in milliseconds since 1970, whatever the file has it in.
    pub registered_at_ms: Option<i64>,
    /// `appUpdatePollInterval`: how often a target is requested.
    pub poll_interval: Option<Duration>,
    /// `bootstrapRetryDelay`: how long after a failed registration the next one begins.
    pub registration_retry: Option<Duration>,
    /// `balenaRootCA`: certificates to trust, PEM in base64.
    pub root_ca: Option<String>,
    /// `developmentMode`: the host is a development variant.
    pub is_development: bool,
    /// `persistentLogging`: the host's log survives a boot.
    pub persistent_logging: bool,
    /// `supervisorOfflineMode`: the device has no cloud, whatever the other fields say.
    pub is_offline: bool,
    /// `listenPort`: the port of the supervisor API.
    pub listen_port: Option<u16>,
}

/// The provisioning file's path if none is given: on the boot partition, or in the state directory, where `boardkeeper join`
/// puts it on a host without such a partition.
#[must_use]
pub fn default_path(root: &Path, state_dir: &Path) -> PathBuf {
    let joined = state_dir.join("config.json");
    let boot = root.join("mnt/boot/config.json");
    if joined.exists() && !boot.exists() { joined } else { boot }
}

/// Reads the given file, or else the one at its standard path if it exists.
///
/// A device that has an identity starts although the file cannot be read any more: `kept` returns the cached contents, and the
/// problem goes to `troubles` as a warning. On a device without an identity it is a mistake: the device would take another
/// identity than its cloud has for it.
pub(super) fn read(
    (root, state_dir): (&Path, &Path),
    given: Option<PathBuf>,
    kept: impl FnOnce() -> Option<Vec<u8>>,
    mistakes: &mut Vec<String>,
    troubles: &mut Vec<String>,
) -> Provisioning {
    let must = given.is_some();
    let path = given.unwrap_or_else(|| default_path(root, state_dir));
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
    /// A file with the same fields, for a start at which this one cannot be read. It has the keys, so it is for its owner only.
    #[must_use]
    pub fn to_keep(&self) -> Vec<u8> {
        let millis = |it: Option<Duration>| it.map(|it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX));
        let fields = json!({
            "uuid": self.uuid,
            "deviceType": self.device_type,
            "initialDeviceName": self.initial_name,
            "hostname": self.hostname,
            "apiEndpoint": self.api_endpoint,
            "logsEndpoint": self.logs_endpoint,
            "registryEndpoint": self.registry_endpoint,
            "vpnEndpoint": self.vpn_endpoint,
            "vpnPort": self.vpn_port,
            "applicationId": self.fleet,
            "userId": self.user,
            "apiKey": self.provisioning_key.as_ref().map(Secret::reveal),
            "deviceApiKey": self.device_key.as_ref().map(Secret::reveal),
            "deviceId": self.device_id,
            "registered_at": self.registered_at_ms,
            "appUpdatePollInterval": millis(self.poll_interval),
            "bootstrapRetryDelay": millis(self.registration_retry),
            "balenaRootCA": self.root_ca,
            "developmentMode": self.is_development,
            "persistentLogging": self.persistent_logging,
            "supervisorOfflineMode": self.is_offline,
            "listenPort": self.listen_port,
        });
        format!("{fields:#}\n").into_bytes()
    }

    /// The cloud's API address, if the device has a cloud.
    #[must_use]
    pub fn cloud(&self) -> Option<&str> {
        self.api_endpoint.as_deref().filter(|_| !self.is_offline)
    }

    /// The device's display name.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.initial_name.as_deref().or(self.hostname.as_deref())
    }

    /// Whether another file has effects that the running agent does not show.
    #[must_use]
    pub(super) fn wants_a_restart(&self, new: &Self) -> bool {
        let fixed = |it: &Self| {
            let names = (it.path.clone(), it.device_type.clone(), it.name().map(str::to_owned));
            (names, it.listen_port, it.is_development)
        };
        fixed(self) != fixed(new)
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
            initial_name: fields.text("initialDeviceName"),
            hostname: fields.text("hostname"),
            api_endpoint: fields.address("apiEndpointOverride").or(fields.address("apiEndpoint")),
            logs_endpoint: fields.address("logsEndpoint"),
            registry_endpoint: fields.text("registryEndpoint"),
            vpn_endpoint: fields.text("vpnEndpoint"),
            vpn_port: fields.port("vpnPort"),
            fleet: fields.number("applicationId", "the fleet's number"),
            user: fields.number("userId", "the user's number"),
            provisioning_key: fields.key("apiKey"),
            device_key: fields.key("deviceApiKey"),
            device_id: fields.number("deviceId", "the device's number"),
            registered_at_ms: fields.time("registered_at"),
            poll_interval: fields.millis("appUpdatePollInterval"),
            registration_retry: fields.millis("bootstrapRetryDelay"),
            root_ca: fields.text("balenaRootCA"),
            is_development: fields.switch("developmentMode"),
            persistent_logging: fields.switch("persistentLogging"),
            is_offline: fields.switch("supervisorOfflineMode"),
            listen_port: fields.port("listenPort"),
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

    /// A whole number, or a string of digits.
    fn number<T: TryFrom<u64>>(&mut self, name: &str, what: &str) -> Option<T> {
        let number = match self.map.get(name)? {
            Value::Null => return None,
            Value::String(text) if text.is_empty() => return None,
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.trim().parse().ok(),
            Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        number.and_then(|it| T::try_from(it).ok()).or_else(|| self.wrong(name, &format!("{what}, a whole number")))
    }

    /// Milliseconds, as a number or as a string of digits. Anything else counts as missing: it is no reason not to start.
    fn millis(&self, name: &str) -> Option<Duration> {
        let count = match self.map.get(name)? {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.trim().parse().ok(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        count.filter(|it| *it > 0).map(Duration::from_millis)
    }

    /// The cloud's tools write seconds, and supervisors milliseconds.
    fn time(&mut self, name: &str) -> Option<i64> {
        let number: u64 = self.number(name, "a time in seconds or milliseconds since 1970")?;
        let millis = if number < SECONDS_BELOW { number.saturating_mul(1000) } else { number };
        i64::try_from(millis).ok()
    }

    /// `true`, or one of the words that tools write for it.
    fn switch(&mut self, name: &str) -> bool {
        match self.map.get(name) {
            None | Some(Value::Null) => false,
            Some(Value::Bool(is_on)) => *is_on,
            Some(Value::Number(number)) => number.as_u64() != Some(0),
            Some(Value::String(text)) => values::is_on(OsStr::new(text)),
            Some(Value::Array(_) | Value::Object(_)) => self.wrong(name, "true or false").unwrap_or_default(),
        }
    }

    /// A URL with a host and without a query, as far as a request needs it.
    fn address(&mut self, name: &str) -> Option<String> {
        let text = self.text(name)?;
        let address = text.trim().trim_end_matches('/');
        let rest = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"));
        let host = rest.map(|it| it.split_once('/').map_or(it, |(host, _)| host));
        let is_right = |it: &str| !it.is_empty() && !it.contains(['@', '?', '#']) && it.bytes().all(|it| it.is_ascii_graphic());
        if host.is_some_and(is_right) && address.bytes().all(|it| it.is_ascii_graphic()) {
            return Some(address.to_owned());
        }
        self.wrong(name, "a URL such as `https://api.balena-cloud.com`")
    }

    /// A key, which is never repeated. It goes into a header.
    fn key(&mut self, name: &str) -> Option<Secret> {
        let key = self.text(name)?;
        if key.bytes().all(|it| it.is_ascii_graphic()) {
            return Some(Secret::new(key));
        }
        self.wrong(name, "a key: printable ASCII without blanks")
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
