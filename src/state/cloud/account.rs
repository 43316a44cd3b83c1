//! The device's account in its cloud.

use sha2::{Digest, Sha256};

use crate::state::Secret;

/// What the device needs to be served as itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudAccount {
    /// The API's address, `https://api.balena-cloud.com`, without a slash at its end.
    pub endpoint: String,
    /// The address for logs, where it is another.
    pub logs_endpoint: Option<String>,
    /// The device's uuid.
    pub uuid: String,
    /// The device's key in the cloud, `deviceApiKey` of its config.json.
    pub key: Secret,
}

/// The account, as it is stored. Stored before the first request, it makes every later attempt register the same device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRecord {
    /// The API's address, without a slash at its end.
    pub endpoint: String,
    /// The device's uuid in this cloud.
    pub uuid: String,
    /// The device's key in this cloud.
    pub key: Secret,
    /// The [`fingerprint`] of the provisioning key that the account was made for.
    pub provisioned_by: Option<String>,
    /// The device's number in the cloud, where it is known.
    pub device_id: Option<u64>,
    /// When it was registered, in milliseconds since 1970. `None`: it is not, as far as the device knows.
    pub registered_at_ms: Option<i64>,
}

impl AccountRecord {
    /// Whether the device is registered.
    #[must_use]
    pub const fn is_registered(&self) -> bool {
        self.registered_at_ms.is_some()
    }

    /// What requests need of it.
    #[must_use]
    pub fn account(&self, logs_endpoint: Option<String>) -> CloudAccount {
        CloudAccount { endpoint: self.endpoint.clone(), logs_endpoint, uuid: self.uuid.clone(), key: self.key.clone() }
    }
}

/// By which a provisioning key is known again, without storing the key: it registers devices in a whole fleet.
#[must_use]
pub fn fingerprint(provisioning_key: &Secret) -> String {
    hex::encode(Sha256::digest(provisioning_key.reveal()))
}

/// What the provisioning file is given once the device is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvisionedFields {
    /// `uuid`.
    pub uuid: String,
    /// `deviceApiKey`.
    pub key: Secret,
    /// `deviceId`, where it is known.
    pub device_id: Option<u64>,
    /// `registered_at`, in milliseconds since 1970.
    pub registered_at_ms: i64,
}
