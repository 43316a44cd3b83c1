//! Registration of the device in its cloud.

use tokio::time::Instant;

use crate::state::Secret;

/// Whether the device is registered in a cloud.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Registration {
    /// It has no cloud: no provisioning names one.
    #[default]
    NoCloud,
    /// It is to be registered.
    Pending {
        /// Why the last attempt failed, and what to do. `None`: there was none yet.
        why: Option<String>,
        /// When the next attempt begins.
        next: Option<Instant>,
    },
    /// It is registered.
    Registered {
        /// The API's address.
        endpoint: String,
        /// The device's number in the cloud, where it is known.
        device_id: Option<u64>,
    },
}

/// What a device says of itself when it is registered (`POST /device/register`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrationForm {
    /// The fleet's number, `applicationId`.
    pub fleet: u32,
    /// The number of the user who provisioned it, `userId`.
    pub user: Option<u32>,
    /// The device's uuid.
    pub uuid: String,
    /// The key that it chose for itself.
    pub key: Secret,
    /// Its type, `raspberrypi3`.
    pub device_type: String,
    /// The version of the host's system, one that the cloud parses: `12.9.0`, `balenaOS 6.4.0`.
    pub os_version: Option<String>,
    /// `prod` or `dev`.
    pub os_variant: Option<String>,
    /// The supervisor's version, at most 20 characters.
    pub supervisor_version: String,
    /// MAC addresses, space-separated.
    pub mac_address: Option<String>,
}

/// What the cloud answers to a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegisteredDevice {
    /// The device's number in the cloud.
    pub id: u64,
}
