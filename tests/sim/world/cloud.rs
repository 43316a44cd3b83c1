//! The cloud: none answers.

use std::future::pending;

use boardkeeper::port::{self, CloudError, TargetAnswer};
use boardkeeper::state::Secret;
use boardkeeper::state::cloud::{
    CloudAccount, CloudLogLine, DeviceReport, RegisteredDevice, RegistrationForm, Traffic, VpnProfile,
};

use super::Sim;

impl port::Cloud for Sim {
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
    fn clock_skew(&self) -> Option<i64> {
        None
    }
}
