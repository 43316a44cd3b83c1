//! API keys, and what each authorizes.
//!
//! The device key is stored as it is, because its owner and the cloud must be given it. A service's key is not stored: it is
//! derived from a secret root, the service, its app's uuid and how often the key was renewed. So a container recreated after a
//! power cut gets the same key, and of service keys nothing but the root is on disk to be stolen. An app that takes the number
//! of a removed app has other keys. The API sees only hashes. Keys of a supervisor that the agent replaced are stored until
//! they are renewed: containers that run have them.

use std::fmt;
use std::sync::OnceLock;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::sorted::{SortedMap, SortedSet};
use crate::state::ServiceKey;

/// A text that must not be shown: `Debug` hides it, and there is no `Display`.
#[derive(Clone)]
pub struct Secret(String);

/// Every key of the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// The device's own key: 64 hex digits, or what a user set at first start.
    pub device: Secret,
    /// What service keys are derived from.
    pub root: Secret,
    /// How often a service's key was renewed. Absent: never.
    pub generations: SortedMap<ServiceKey, u32>,
    /// Keys that another supervisor gave to services, which count until they are renewed.
    pub kept: SortedMap<ServiceKey, KeptKey>,
}

/// A service's key that is not derived from the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptKey {
    /// The uuid of the service's app. Another app of the same number does not have the key.
    pub app_uuid: String,
    /// The key.
    pub key: Secret,
}

/// A service whose key the API accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The service.
    pub service: ServiceKey,
    /// The uuid of its app, without which another app of the same number would have its key.
    pub app_uuid: String,
    /// What its key authorizes.
    pub reach: KeyScope,
}

/// Who makes a request: the owner of a key, or a local client without one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Caller {
    /// The cloud, or any other holder of the device key.
    Device,
    /// A service of an app on the device.
    Service {
        /// The service.
        key: ServiceKey,
        /// What its key authorizes.
        reach: KeyScope,
    },
    /// A client without a key, on a device in local mode.
    Local,
}

/// What a service's key authorizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyScope {
    /// Its own app, and reading the device.
    App,
    /// Device-wide endpoints too: a single-container app, or one with the supervisor-api label.
    Device,
    /// Everything: the request comes from the device itself, which is in local mode.
    Everything,
}

/// An action on the whole device, which can be denied to services' keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeviceAction {
    /// Reboots it.
    Reboot,
    /// Shuts it down.
    Shutdown,
    /// Checks for a new target.
    Update,
    /// Identifies it with its LED.
    Blink,
    /// Enables and disables the connectivity check.
    TcpPing,
    /// Changes the host's name and proxy, and reads the proxy's credentials.
    HostConfig,
    /// Reads the host's journal, in which every app's output may be.
    Journal,
}

/// Valid lengths of a device key: long enough not to be guessed, short enough for every client.
pub const DEVICE_KEY: std::ops::RangeInclusive<usize> = 16..=128;

/// Whether a text is a valid device key.
#[must_use]
pub fn is_device_key(text: &str) -> bool {
    let plain = text.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_');
    plain && DEVICE_KEY.contains(&text.len()) && varies(text)
}

/// Whether a text is a valid root of service keys.
#[must_use]
pub fn is_root(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|it| it.is_ascii_hexdigit()) && varies(text)
}

/// A single repeated character is what a damaged file has, and can be guessed.
fn varies(text: &str) -> bool {
    text.bytes().any(|it| Some(it) != text.bytes().next())
}

impl DeviceAction {
    /// Every action.
    pub const ALL: [Self; 7] =
        [Self::Reboot, Self::Shutdown, Self::Update, Self::Blink, Self::TcpPing, Self::HostConfig, Self::Journal];

    /// Its name: the end of its path.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reboot => "reboot",
            Self::Shutdown => "shutdown",
            Self::Update => "update",
            Self::Blink => "blink",
            Self::TcpPing => "tcp-ping",
            Self::HostConfig => "host-config",
            Self::Journal => "journal-logs",
        }
    }
}

/// What the API needs to authenticate a caller: hashes only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    keys: Vec<([u8; 32], Caller)>,
    /// Whether callers on the device itself may omit the key.
    pub local_mode: bool,
    /// Device actions that services with device-wide keys may use.
    pub service_verbs: SortedSet<DeviceAction>,
}

/// The first key that came over a connection, and its hash. A client sends the same key with each request, and on a processor
/// without instructions for it a hash costs more than all other checks.
#[derive(Default)]
pub struct FirstKey(OnceLock<(Box<str>, [u8; 32])>);

impl Secret {
    /// Wraps a text.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// Hex digits of random bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(hex::encode(bytes))
    }

    /// Hex digits of these random bytes, for what need not be as long as a key.
    #[must_use]
    pub fn from_random(bytes: &[u8]) -> Self {
        Self(hex::encode(bytes))
    }

    /// The text, for its intended recipient.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Keys {
    /// The key of a service of the app with this uuid: 64 hex digits, unless another supervisor made it.
    #[must_use]
    pub fn of(&self, service: &ServiceKey, app_uuid: &str) -> Secret {
        if let Some(kept) = self.kept.get(service).filter(|it| it.app_uuid == app_uuid) {
            return kept.key.clone();
        }
        let generation = self.generations.get(service).copied().unwrap_or_default();
        let mut mac = Hmac::<Sha256>::new_from_slice(self.root.reveal().as_bytes()).expect("HMAC takes a key of any length");
        // With the length of the name, which may contain blanks, so that no two services make the same text.
        let ServiceKey { app, service } = service;
        mac.update(format!("{generation} {app} {} {service} {app_uuid}", service.len()).as_bytes());
        Secret(hex::encode(mac.finalize().into_bytes()))
    }

    /// Renews the key of a service; the old key is worthless from now on.
    pub fn renew(&mut self, service: &ServiceKey) {
        self.kept.remove(service);
        let generation = self.generations.entry(service.clone()).or_default();
        *generation = generation.wrapping_add(1);
    }

    /// What the API gets: the device's key and those of these services, hashed. Local mode is off, and services may do
    /// everything.
    #[must_use]
    pub fn access(&self, services: impl IntoIterator<Item = Grant>) -> Access {
        let mut keys = vec![(digest(self.device.reveal()), Caller::Device)];
        for Grant { service, app_uuid, reach } in services {
            let key = self.of(&service, &app_uuid);
            keys.push((digest(key.reveal()), Caller::Service { key: service, reach }));
        }
        Access { keys, local_mode: false, service_verbs: DeviceAction::ALL.into() }
    }
}

impl Access {
    /// Whether the keys are loaded yet.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        !self.keys.is_empty()
    }

    /// The caller to whom a key belongs. Compares with every key, in constant time.
    #[must_use]
    pub fn caller(&self, key: &str) -> Option<&Caller> {
        self.caller_with(&digest(key))
    }

    /// The same for a key that came over a connection.
    #[must_use]
    pub fn caller_over(&self, connection: &FirstKey, key: &str) -> Option<&Caller> {
        self.caller_with(&connection.digest(key))
    }

    fn caller_with(&self, wanted: &[u8; 32]) -> Option<&Caller> {
        let mut found = None;
        for (known, caller) in &self.keys {
            if is_same(known, wanted) {
                found = Some(caller);
            }
        }
        found
    }
}

impl FirstKey {
    fn digest(&self, key: &str) -> [u8; 32] {
        if !DEVICE_KEY.contains(&key.len()) {
            return digest(key);
        }
        let (first, hash) = self.0.get_or_init(|| (key.into(), digest(key)));
        // In constant time too: behind a proxy the connection may be that of several clients.
        if is_same(first.as_bytes(), key.as_bytes()) { *hash } else { digest(key) }
    }
}

impl fmt::Debug for FirstKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FirstKey(…)")
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// The only comparison of keys: it takes the same time wherever they differ. By words: a byte takes as long as eight.
fn is_same(left: &[u8], right: &[u8]) -> bool {
    let mut same = Choice::from(u8::from(left.len() == right.len()));
    for (left, right) in left.chunks(8).zip(right.chunks(8)) {
        same &= word(left).ct_eq(&word(right));
    }
    same.into()
}

/// Up to eight bytes.
fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_ne_bytes(word)
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        is_same(&digest(&self.0), &digest(&other.0))
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::AppId;

    fn keys() -> Keys {
        Keys {
            device: Secret::new("d".repeat(64)),
            root: Secret::new("r".repeat(64)),
            generations: SortedMap::new(),
            kept: SortedMap::new(),
        }
    }

    #[test]
    fn keys_are_the_same_if_all_their_bytes_are() {
        for length in 0..40 {
            let key = vec![7; length];
            assert!(is_same(&key, &key.clone()) && !is_same(&key, &vec![7; length + 1]), "{length}");
            for at in 0..length {
                let mut other = key.clone();
                other[at] ^= 1;
                assert!(!is_same(&key, &other), "{at} of {length}");
            }
        }
        assert!(!is_same(&[7], &[7, 0]) && !is_same(b"", &[0]), "a byte of 0 is one too");
    }

    #[test]
    fn a_connection_finds_the_caller_of_each_key_and_not_only_of_the_first() {
        let (keys, service) = (keys(), ServiceKey { app: AppId(1), service: "main".to_owned() });
        let of_service = keys.of(&service, "1");
        let access = keys.access([Grant { service, app_uuid: "1".to_owned(), reach: KeyScope::App }]);
        let connection = FirstKey::default();
        let wrong = "0".repeat(of_service.reveal().len());
        for key in [of_service.reveal(), keys.device.reveal(), &wrong, "short", of_service.reveal(), ""] {
            assert_eq!(access.caller_over(&connection, key), access.caller(key), "{key}");
        }
        assert!(access.caller_over(&connection, of_service.reveal()).is_some());
        assert_eq!(format!("{connection:?}"), "FirstKey(…)");
    }

    #[test]
    fn a_service_keeps_its_key_until_it_is_made_anew() {
        let mut keys = keys();
        let main = ServiceKey::new(AppId(1), "main");
        let first = keys.of(&main, "a");
        assert_eq!(first.reveal().len(), 64);
        assert_eq!(first, keys.of(&main, "a"));
        keys.renew(&main);
        assert_ne!(first, keys.of(&main, "a"));
    }

    #[test]
    fn another_app_of_the_same_number_has_other_keys() {
        let keys = keys();
        let main = ServiceKey::new(AppId(1), "main");
        assert_ne!(keys.of(&main, "a"), keys.of(&main, "b"));
        assert_ne!(keys.of(&ServiceKey::new(AppId(1), "main a"), "b"), keys.of(&main, "a b"));
    }

    #[test]
    fn a_key_opens_what_it_is_for_and_a_stranger_nothing() {
        let keys = keys();
        let main = ServiceKey::new(AppId(1), "main");
        let access = keys.access([Grant { service: main.clone(), app_uuid: "a".to_owned(), reach: KeyScope::App }]);
        assert_eq!(access.caller(&"d".repeat(64)), Some(&Caller::Device));
        let service = Caller::Service { key: main.clone(), reach: KeyScope::App };
        assert_eq!(access.caller(keys.of(&main, "a").reveal()), Some(&service));
        assert_eq!(access.caller(keys.of(&main, "b").reveal()), None);
        assert_eq!(access.caller(""), None);
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret::new("k".into())), "Secret(…)");
    }
}
