//! The cloud's API over HTTPS.

use std::future::pending;
use std::path::{Path, PathBuf};

use crate::port::{Cloud, CloudError, TargetAnswer};
use crate::state::Secret;
use crate::state::cloud::{CloudAccount, CloudLogLine, DeviceReport, RegisteredDevice, RegistrationForm, Traffic, VpnProfile};

/// A client of the cloud's API.
#[derive(Debug)]
pub struct CloudClient {
    _root: PathBuf,
}

impl CloudClient {
    /// A client that trusts the certificates of the host whose root this is.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { _root: root.to_owned() }
    }
}

impl Cloud for CloudClient {
    async fn register(&self, _: &str, _: &Secret, _: &RegistrationForm) -> Result<RegisteredDevice, CloudError> {
        pending().await
    }
    async fn device_id(&self, _: &str, _: &Secret, _: &str) -> Result<Option<u64>, CloudError> {
        pending().await
    }
    async fn exchange_key(&self, _: &str, _: &Secret, _: u64, _: &Secret) -> Result<(), CloudError> {
        pending().await
    }
    async fn target(&self, _: &CloudAccount, _: Option<&str>) -> Result<TargetAnswer, CloudError> {
        pending().await
    }
    async fn report(&self, _: &CloudAccount, _: &DeviceReport) -> Result<(), CloudError> {
        pending().await
    }
    async fn upload_logs(&self, _: &CloudAccount, _: &[CloudLogLine]) -> Result<(), CloudError> {
        pending().await
    }
    async fn vpn_profile(&self, _: &CloudAccount) -> Result<Option<VpnProfile>, CloudError> {
        pending().await
    }
    fn traffic(&self) -> Traffic {
        Traffic::default()
    }
}
