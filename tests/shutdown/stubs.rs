//! The parts most of these tests are not about: a LED that works, a cloud, a host that does not change.

use std::future::pending;
use std::time::Duration;

use boardkeeper::port::{self, CloudError, HostError, JournalChange, LedError, NetError, TargetAnswer, ToolLock, UnitChange};
use boardkeeper::state::boot_config::BootFile;
use boardkeeper::state::cloud::{
    CloudAccount, CloudLogLine, DeviceReport, ProvisionedFields, RegisteredDevice, RegistrationForm, ReleasePin, Traffic,
    VpnProfile,
};
use boardkeeper::state::host::{HostAddresses, HostConfig, HostMetrics, HostPatch, ProcessUse, Proxy, ProxyField};
use boardkeeper::state::journal::JournalQuery;
use boardkeeper::state::{FreeLineInfo, LedInfo, LedLevel, LedRef, Pattern, Player, Secret, VpnState};
use futures_util::stream::{self, LocalBoxStream, Stream, StreamExt};
use tokio::time::Instant;

use super::world::World;

impl port::Leds for World {
    type Survey = ();

    async fn survey(&self) -> Result<(), LedError> {
        Ok(())
    }

    fn find(&self, (): &(), which: &LedRef) -> Result<LedInfo, LedError> {
        let name = if let LedRef::Line(name) = which { name } else { "ACT" };
        Ok(LedInfo { name: name.to_owned(), why: "it is the only one".to_owned() })
    }

    fn others(&self, (): &()) -> Vec<LedInfo> {
        Vec::new()
    }

    async fn look(&self) -> Result<((), Vec<(String, LedLevel)>), LedError> {
        Ok(((), Vec::new()))
    }

    async fn lines(&self, (): &()) -> Result<Vec<FreeLineInfo>, LedError> {
        Ok(Vec::new())
    }

    async fn show(&self, (): &(), _: &LedRef, pattern: &Pattern, _: Option<Duration>) -> Result<Player, LedError> {
        *self.shown.borrow_mut() = Some(pattern.clone());
        Ok(Player::Kernel)
    }

    async fn play(&self, _: &LedRef, _: &Pattern, _: Instant) -> LedError {
        pending().await
    }

    async fn restore(&self, _: &LedRef) -> Result<(), LedError> {
        *self.shown.borrow_mut() = None;
        Ok(())
    }

    async fn restore_all(&self) -> Result<(), LedError> {
        *self.shown.borrow_mut() = None;
        Ok(())
    }

    async fn bench(&self, now: ToolLock) -> ToolLock {
        match now {
            ToolLock::Free => pending().await,
            ToolLock::Taken => ToolLock::Free,
        }
    }
}

impl port::Net for World {
    async fn dial(&self, host: &str, port: u16) -> Result<(), NetError> {
        if self.online.get() {
            return Ok(());
        }
        Err(NetError::Service(format!("there is no {host} port {port}")))
    }

    fn vpn(&self) -> impl Stream<Item = VpnState> {
        stream::iter([VpnState::Down]).chain(stream::pending())
    }

    async fn ensure_vpn(&self, _: VpnState) -> Result<UnitChange, NetError> {
        Ok(UnitChange::Already)
    }

    async fn takes_vpn_profile(&self) -> Result<bool, NetError> {
        Ok(false)
    }

    async fn install_vpn(&self, _: &VpnProfile, _: &CloudAccount) -> Result<UnitChange, NetError> {
        Ok(UnitChange::Already)
    }
}

impl port::Host for World {
    fn addresses(&self) -> impl Stream<Item = HostAddresses> {
        stream::pending()
    }

    fn metrics(&self) -> HostMetrics {
        HostMetrics::default()
    }

    fn own_use(&self) -> ProcessUse {
        ProcessUse::default()
    }
    async fn config(&self) -> Result<HostConfig, HostError> {
        let fields = [(ProxyField::Login, "ali"), (ProxyField::Password, "sesame")].map(|(it, value)| (it, value.to_owned()));
        Ok(HostConfig { hostname: "d".to_owned(), proxy: Some(Proxy { fields: fields.into(), ..Proxy::default() }) })
    }

    async fn configure(&self, _: &HostPatch) -> Result<(), HostError> {
        Ok(())
    }

    async fn boot_file(&self) -> Result<Option<BootFile>, HostError> {
        Ok(None)
    }

    async fn write_boot_file(&self, _: &BootFile, _: Option<&Vec<u8>>) -> Result<(), HostError> {
        unreachable!("there is none")
    }

    async fn write_provisioning(&self, _: &ProvisionedFields) -> Result<(), HostError> {
        Ok(())
    }

    async fn read_journal(&self, _: &JournalQuery) -> Result<LocalBoxStream<'static, Vec<u8>>, HostError> {
        Ok(stream::empty().boxed_local())
    }

    async fn persist_journal(&self, _: bool) -> Result<JournalChange, HostError> {
        Ok(JournalChange::Already)
    }
}

impl port::Cloud for World {
    async fn register(&self, _: &str, _: &Secret, _: &RegistrationForm) -> Result<RegisteredDevice, CloudError> {
        pending().await
    }
    async fn device_id(&self, _: &str, _: &Secret, _: &str) -> Result<Option<u64>, CloudError> {
        pending().await
    }
    async fn exchange_key(&self, _: &str, _: &Secret, _: u64, _: &Secret) -> Result<(), CloudError> {
        pending().await
    }
    async fn release_id(&self, _: &CloudAccount, _: &ReleasePin) -> Result<Option<u64>, CloudError> {
        unreachable!()
    }
    async fn pin(&self, _: &CloudAccount, _: u64, _: u64) -> Result<(), CloudError> {
        unreachable!()
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
    async fn tags(&self, _: &CloudAccount) -> Result<Vec<boardkeeper::state::cloud::DeviceTag>, CloudError> {
        pending().await
    }
    async fn set_tags(&self, _: &CloudAccount, _: &boardkeeper::sorted::SortedMap<String, String>) -> Result<(), CloudError> {
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
