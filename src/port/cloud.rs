//! The port of the cloud.

use std::time::Duration;

use crate::sorted::SortedMap;
use crate::state::Secret;
use crate::state::cloud::{
    CloudAccount, CloudLogLine, DeviceReport, DeviceTag, RegisteredDevice, RegistrationForm, ReleasePin, Traffic, VpnProfile,
};

/// The cloud's API, as a device uses it.
///
/// # Guarantees
/// - Every call ends within a minute, whatever the other side does, and reads at most a few megabytes.
/// - A key is sent to the host that the account names, and to no other: a redirect elsewhere is [`CloudError::Foreign`].
/// - No error repeats a key.
/// - Calls for logs hold up no other call, and no other call holds up those for logs.
///
/// # Assumptions
/// - At most one call for logs, and one other call, are in flight at a time.
///
/// # Caveats
/// - After an error the cloud may have done what was asked.
pub trait Cloud {
    /// Registers a device (`POST /device/register`).
    async fn register(
        &self,
        endpoint: &str,
        provisioning_key: &Secret,
        form: &RegistrationForm,
    ) -> Result<RegisteredDevice, CloudError>;
    /// The device's number, if `key` may see the device (`GET /v7/device`).
    async fn device_id(&self, endpoint: &str, key: &Secret, uuid: &str) -> Result<Option<u64>, CloudError>;
    /// Gives a registered device another key (`POST /api-key/device/ID/device-key`).
    async fn exchange_key(
        &self,
        endpoint: &str,
        provisioning_key: &Secret,
        device_id: u64,
        new_key: &Secret,
    ) -> Result<(), CloudError>;
    /// The number of a fleet's release, by its commit (`GET /v7/release`). `None`: the fleet has no successful release of that
    /// commit, or the account's key may not see it; an unknown key is answered so, too.
    async fn release_id(&self, account: &CloudAccount, release: &ReleasePin) -> Result<Option<u64>, CloudError>;
    /// Pins the device on a release (`PATCH /v7/device(ID)`). To repeat it changes nothing.
    async fn pin(&self, account: &CloudAccount, device_id: u64, release_id: u64) -> Result<(), CloudError>;
    /// The target's document (`GET /device/v3/UUID/state`). `etag`: that of the document the device has.
    async fn target(&self, account: &CloudAccount, etag: Option<&str>) -> Result<TargetAnswer, CloudError>;
    /// Reports the current state, or what is new of it (`PATCH /device/v3/state`).
    async fn report(&self, account: &CloudAccount, report: &DeviceReport) -> Result<(), CloudError>;
    /// Uploads lines of logs, at most 50 (`POST /device/v2/UUID/log-stream`). `Ok`: the cloud has them.
    async fn upload_logs(&self, account: &CloudAccount, lines: &[CloudLogLine]) -> Result<(), CloudError>;
    /// How the cloud's VPN is reached (`GET /os/v1/config`). `None`: it has none.
    async fn vpn_profile(&self, account: &CloudAccount) -> Result<Option<VpnProfile>, CloudError>;
    /// The device's tags (`GET /v7/device_tag`).
    async fn tags(&self, account: &CloudAccount) -> Result<Vec<DeviceTag>, CloudError>;
    /// Sets these tags of the device, and leaves its others (`PATCH /device/v3/tags`). To repeat it changes nothing.
    async fn set_tags(&self, account: &CloudAccount, tags: &SortedMap<String, String>) -> Result<(), CloudError>;
    /// The bytes sent and received since the agent started.
    fn traffic(&self) -> Traffic;
    /// By how many seconds this device's clock is ahead of the cloud's; negative where it is behind. As of the cloud's last
    /// answer, to about two seconds. `None`: there was no answer yet.
    fn clock_skew(&self) -> Option<i64>;
}

/// The answer to a request for a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetAnswer {
    /// A document.
    Document {
        /// Its text.
        text: String,
        /// Its `ETag`, to be sent with the next request.
        etag: Option<String>,
    },
    /// 304. The document is the one with the `ETag` that was sent. Where none was sent, there is no such device.
    NotModified,
}

/// Why a request to the cloud was of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloudError {
    /// No answer arrived: name servers, network, TLS, or a body that does not end. Says why, and what to do.
    #[error("{0}")]
    Unreachable(String),
    /// An answer arrived, and it is not the cloud's: a captive portal's page, a redirect to another host.
    #[error("{0}")]
    Foreign(String),
    /// The cloud refused the request.
    #[error("the cloud answers {status}: {why}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said, in one line.
        why: String,
        /// How long it asks to wait before the next request (`Retry-After`).
        retry_after: Option<Duration>,
    },
}
