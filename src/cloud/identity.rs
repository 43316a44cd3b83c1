//! The account: which one the device has or begins, from its provisioning and from what is stored.
//!
//! Pure. The account is stored before the first request, so that every later attempt registers the same device.

use std::time::Duration;

use crate::state::Secret;
use crate::state::cloud::{AccountRecord, fingerprint};

/// What the device's provisioning says of its cloud.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CloudProvisioning {
    /// The API's address, without a slash at its end.
    pub endpoint: String,
    /// The address for logs, where it is another.
    pub logs_endpoint: Option<String>,
    /// The host of the cloud's registry, with its port if it has another than 443.
    pub registry_endpoint: Option<String>,
    /// The fleet's number.
    pub fleet: Option<u32>,
    /// The number of the user who provisioned the device.
    pub user: Option<u32>,
    /// The provisioning key, until the device is registered.
    pub provisioning_key: Option<Secret>,
    /// The device's uuid, if the provisioning decides it.
    pub uuid: Option<String>,
    /// The device's key, if the provisioning decides it.
    pub device_key: Option<Secret>,
    /// The device's number in the cloud, where it is known.
    pub device_id: Option<u64>,
    /// When the device was registered, in milliseconds since 1970.
    pub registered_at_ms: Option<i64>,
    /// How long after a failed registration the next one begins. `None`: 30 s.
    pub registration_retry: Option<Duration>,
    /// How often a target is requested, unless the target itself says so. `None`: 15 minutes.
    pub poll_interval: Option<Duration>,
    /// The host is a development variant.
    pub is_development: bool,
}

/// What becomes of the account.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AccountDecision {
    /// The stored one stays.
    Keep(AccountRecord),
    /// A new one begins, and has to be stored first.
    Begin(AccountRecord),
    /// The provisioning does not suffice for one. Says what it lacks.
    Lacking(&'static str),
}

/// Decides on the account. `uuid`: that of the device so far; `new_key`: a random key.
///
/// The key in the provisioning wins over the stored one: a person or the cloud's tools put it there. Another cloud, uuid or
/// provisioning key begins a new account; one that is gone from the provisioning, as it is after registration, does not.
pub(super) fn decide(
    wanted: &CloudProvisioning,
    stored: Option<AccountRecord>,
    uuid: &str,
    new_key: impl FnOnce() -> Secret,
) -> AccountDecision {
    let is_same =
        |it: &AccountRecord| it.endpoint == wanted.endpoint && wanted.uuid.as_ref().is_none_or(|uuid| *uuid == it.uuid);
    let stored = stored.filter(is_same);
    let provisioned_by = wanted.provisioning_key.as_ref().map(fingerprint);
    let new = |uuid: String, key| AccountRecord {
        endpoint: wanted.endpoint.clone(),
        uuid,
        key,
        provisioned_by: provisioned_by.clone(),
        device_id: None,
        registered_at_ms: None,
    };
    let new_uuid = || wanted.uuid.clone().unwrap_or_else(|| uuid.to_owned());
    if let Some(key) = &wanted.device_key {
        // Without a provisioning key it can only be the key of a registered device.
        let is_registered = wanted.registered_at_ms.is_some() || wanted.provisioning_key.is_none();
        let stored = stored.filter(|it| it.key == *key);
        return match stored {
            Some(stored) if stored.is_registered() || !is_registered => AccountDecision::Keep(stored),
            stored => AccountDecision::Begin(AccountRecord {
                device_id: wanted.device_id,
                registered_at_ms: is_registered.then(|| wanted.registered_at_ms.unwrap_or_default()),
                ..new(stored.map_or_else(new_uuid, |it| it.uuid), key.clone())
            }),
        };
    }
    match stored {
        Some(stored) if provisioned_by.is_none() || stored.provisioned_by == provisioned_by => AccountDecision::Keep(stored),
        _ if provisioned_by.is_none() => {
            AccountDecision::Lacking("config.json has neither apiKey nor deviceApiKey; download it from the cloud again")
        }
        _ if wanted.fleet.is_none() => {
            AccountDecision::Lacking("config.json has no applicationId, the fleet's number; download it from the cloud again")
        }
        _ => AccountDecision::Begin(new(new_uuid(), new_key())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "c0ffee00c0ffee00c0ffee00c0ffee00";
    const OTHER: &str = "0badcafe0badcafe0badcafe0badcafe";

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    fn wanted() -> CloudProvisioning {
        CloudProvisioning {
            endpoint: "https://api.example.com".to_owned(),
            fleet: Some(1),
            provisioning_key: Some(secret("fleet")),
            ..CloudProvisioning::default()
        }
    }

    fn stored(registered_at_ms: Option<i64>) -> AccountRecord {
        AccountRecord {
            endpoint: "https://api.example.com".to_owned(),
            uuid: UUID.to_owned(),
            key: secret("own"),
            provisioned_by: Some(fingerprint(&secret("fleet"))),
            device_id: None,
            registered_at_ms,
        }
    }

    /// What it decides, in words: the uuid, the key, and whether it is registered.
    fn decided(wanted: &CloudProvisioning, stored: Option<AccountRecord>) -> String {
        let words = |it: &AccountRecord| format!("{} {} {}", &it.uuid[..8], it.key.reveal(), it.is_registered());
        match decide(wanted, stored, UUID, || secret("random")) {
            AccountDecision::Keep(it) => format!("keep {}", words(&it)),
            AccountDecision::Begin(it) => format!("begin {}", words(&it)),
            AccountDecision::Lacking(what) => format!("lacking {what}"),
        }
    }

    #[test]
    fn a_new_device_begins_an_account_of_its_own_uuid_or_that_of_its_provisioning() {
        assert_eq!(decided(&wanted(), None), "begin c0ffee00 random false");
        let named = CloudProvisioning { uuid: Some(OTHER.to_owned()), ..wanted() };
        assert_eq!(decided(&named, None), "begin 0badcafe random false");
        let made_by_tools = CloudProvisioning { device_key: Some(secret("given")), ..named };
        assert_eq!(decided(&made_by_tools, None), "begin 0badcafe given false");
    }

    #[test]
    fn what_is_stored_goes_on_whether_the_provisioning_key_is_gone_or_not() {
        for is_registered in [None, Some(1)] {
            let expected = format!("keep c0ffee00 own {}", is_registered.is_some());
            assert_eq!(decided(&wanted(), Some(stored(is_registered))), expected);
            let without = CloudProvisioning { provisioning_key: None, ..wanted() };
            assert_eq!(decided(&without, Some(stored(is_registered))), expected);
        }
    }

    #[test]
    fn a_device_that_the_clouds_tools_registered_is_registered() {
        let given = CloudProvisioning {
            provisioning_key: None,
            uuid: Some(OTHER.to_owned()),
            device_key: Some(secret("given")),
            device_id: Some(57),
            ..wanted()
        };
        assert_eq!(decided(&given, None), "begin 0badcafe given true");
        assert_eq!(decided(&given, Some(stored(Some(1)))), "begin 0badcafe given true");
        let AccountDecision::Begin(account) = decide(&given, None, UUID, || unreachable!()) else { unreachable!() };
        assert_eq!(account.device_id, Some(57));
        assert_eq!(decided(&given, Some(account)), "keep 0badcafe given true");
    }

    #[test]
    fn another_cloud_uuid_or_fleet_begins_a_new_account_and_a_given_key_wins() {
        let before = || Some(stored(Some(1)));
        let elsewhere = CloudProvisioning { endpoint: "https://other.example.com".to_owned(), ..wanted() };
        assert_eq!(decided(&elsewhere, before()), "begin c0ffee00 random false");
        let another = CloudProvisioning { uuid: Some(OTHER.to_owned()), ..wanted() };
        assert_eq!(decided(&another, before()), "begin 0badcafe random false");
        let fleet = CloudProvisioning { provisioning_key: Some(secret("another fleet")), ..wanted() };
        assert_eq!(decided(&fleet, before()), "begin c0ffee00 random false");
        let given = CloudProvisioning { device_key: Some(secret("given")), registered_at_ms: Some(2), ..wanted() };
        assert_eq!(decided(&given, before()), "begin c0ffee00 given true");
        // The config.json as the device itself writes it.
        let written = CloudProvisioning {
            provisioning_key: None,
            uuid: Some(UUID.to_owned()),
            device_key: Some(secret("own")),
            registered_at_ms: Some(1),
            ..wanted()
        };
        assert_eq!(decided(&written, before()), "keep c0ffee00 own true");
        // The power was cut after the registration was written to config.json, and before it was stored.
        assert_eq!(decided(&written, Some(stored(None))), "begin c0ffee00 own true");
    }

    #[test]
    fn what_is_lacking_is_named() {
        let keyless = CloudProvisioning { provisioning_key: None, ..wanted() };
        assert!(decided(&keyless, None).contains("neither apiKey nor deviceApiKey"));
        let fleetless = CloudProvisioning { fleet: None, ..wanted() };
        assert!(decided(&fleetless, None).contains("applicationId"));
        // The account of another cloud does not help.
        let elsewhere = CloudProvisioning { endpoint: "https://other.example.com".to_owned(), ..keyless };
        assert!(decided(&elsewhere, Some(stored(Some(1)))).contains("neither apiKey nor deviceApiKey"));
    }
}
