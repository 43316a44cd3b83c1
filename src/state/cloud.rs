//! The cloud, as far as this device knows it: its account there, and what became of the last requests.

mod account;
mod log_upload;
mod pin;
mod polling;
mod registration;
mod report;
mod tag;
mod traffic;
mod versions;
mod vpn;

pub use account::{AccountRecord, CloudAccount, ProvisionedFields, fingerprint};
pub use log_upload::{CloudLogLine, LogSource, LogUpload};
pub use pin::{Pinning, ReleasePin};
pub use polling::{PollCause, PollOutcome, Polling, TargetOrigin};
pub use registration::{RegisteredDevice, Registration, RegistrationForm};
pub use report::{AppReport, DeviceReport, RefusedPart, ReleaseReport, ReportValue, Reporting, ServiceReport};
pub use tag::DeviceTag;
pub use traffic::{ByteCount, Traffic, TrafficPurpose};
pub use versions::ReportedVersions;
pub use vpn::VpnProfile;

/// What became of the requests to the cloud. Each field has one writer, the loop that sends these requests; except the traffic,
/// which each loop counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CloudStatus {
    /// Whether the device is registered.
    pub registration: Registration,
    /// The pin of the device on the release that it was preloaded with.
    pub pin: Pinning,
    /// The requests for a target.
    pub polling: Polling,
    /// The reports of the current state.
    pub reporting: Reporting,
    /// The upload of logs.
    pub log_upload: LogUpload,
    /// Whose targets are applied.
    pub targets_from: TargetOrigin,
    /// Bytes sent and received, as of the last request that ended.
    pub traffic: Traffic,
}
