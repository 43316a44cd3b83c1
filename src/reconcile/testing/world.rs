//! A world that has a disk and update locks; everything else in it is never called.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use crate::port::{
    Clock, Cloud, CloudError, CursorCopy, Engine, EngineError, EngineSnapshot, Host, HostError, Inhibitor, InhibitorNotice,
    LedError, Leds, LockError, Locks, Net, NetError, Power, PowerError, Random, Record, Store, StoreError, StoredState,
    TargetAnswer, TargetTag, Targets, ToolLock, UnitChange, World,
};
use crate::reconcile::Context;
use crate::reconcile::testing::boot::TestBoot;
use crate::state::boot_config::BootFile;
use crate::state::cloud::{CloudAccount, CloudLogLine, DeviceReport, RegisteredDevice, RegistrationForm, Traffic, VpnProfile};
use crate::state::host::{HostAddresses, HostConfig, HostMetrics, HostPatch};
use crate::state::{
    AppId, ContainerId, DeviceEvent, EngineAction, EngineLogLine, Force, ImageRef, LedInfo, LedRef, LockHolders, LockState,
    LogCursor, LogCursors, Pattern, Player, PowerAction, Secret, ServiceKey, Status, Target, TargetError, VpnState,
};

/// A world that has a disk and update locks, and the status published in it.
#[derive(Default)]
pub(in crate::reconcile) struct TestWorld {
    pub(in crate::reconcile) saved: RefCell<Vec<Record>>,
    pub(in crate::reconcile) is_full: Cell<bool>,
    /// What is seen of the locks. `None`: they cannot be read.
    pub(in crate::reconcile) locks: Option<BTreeMap<AppId, LockState>>,
    pub(in crate::reconcile) publish: watch::Sender<Status>,
    pub(in crate::reconcile) events: Events,
    pub(in crate::reconcile) boot: TestBoot,
}

/// A channel of events that no test reads.
pub(in crate::reconcile) struct Events(broadcast::Sender<Arc<DeviceEvent>>);

impl Default for Events {
    fn default() -> Self {
        Self(broadcast::Sender::new(1))
    }
}

impl TestWorld {
    pub(in crate::reconcile) const fn context(&self) -> Context<'_, Self> {
        Context { world: self, publish: &self.publish, events: &self.events.0 }
    }
}

impl Store for TestWorld {
    async fn load(&self) -> Result<StoredState, StoreError> {
        unreachable!()
    }

    async fn save(&self, record: &Record) -> Result<(), StoreError> {
        if self.is_full.get() {
            return Err(StoreError::Interrupted("no space left".to_owned()));
        }
        self.saved.borrow_mut().push(record.clone());
        Ok(())
    }

    async fn load_log_cursors(&self) -> Result<Option<LogCursors>, StoreError> {
        unreachable!()
    }

    async fn save_log_cursors(&self, _: &LogCursors, _: CursorCopy) -> Result<(), StoreError> {
        unreachable!()
    }

    async fn target_tag(&self) -> Option<TargetTag> {
        unreachable!()
    }
}

impl Locks for TestWorld {
    async fn observe(&self, _: &BTreeMap<AppId, LockHolders>) -> Result<BTreeMap<AppId, LockState>, LockError> {
        self.locks.clone().ok_or_else(|| LockError::Failed("no such directory".to_owned()))
    }
    async fn apps(&self) -> Result<BTreeSet<AppId>, LockError> {
        unreachable!()
    }
    async fn take(&self, _: AppId, _: &BTreeSet<String>, _: Force) -> Result<(), LockError> {
        unreachable!()
    }
    async fn release(&self, _: AppId) -> Result<(), LockError> {
        unreachable!()
    }
    async fn prepare(&self, _: &ServiceKey) -> Result<(), LockError> {
        unreachable!()
    }
    async fn expect_hand_over(&self, _: &ServiceKey) -> Result<(), LockError> {
        unreachable!()
    }
    async fn handed_over(&self, _: &ServiceKey) -> Result<(), LockError> {
        unreachable!()
    }
    fn changes(&self) -> impl Stream<Item = ()> {
        stream::empty()
    }
}

impl Engine for TestWorld {
    async fn observe(&self) -> Result<EngineSnapshot, EngineError> {
        unreachable!()
    }
    async fn check_room(&self, _: &BTreeSet<ImageRef>) -> Result<(), EngineError> {
        unreachable!()
    }
    async fn execute(&self, _: &EngineAction, _: &dyn Fn(u8)) -> Result<(), EngineError> {
        unreachable!()
    }
    fn events(&self) -> impl Stream<Item = ()> {
        stream::empty()
    }
    fn logs(&self, _: ContainerId, _: LogCursor) -> impl Stream<Item = Result<EngineLogLine, EngineError>> {
        stream::pending()
    }
}

impl Targets for TestWorld {
    async fn next(&self) -> Result<Target, TargetError> {
        unreachable!()
    }
    fn look_again(&self) {}
}

impl Power for TestWorld {
    type Inhibition = ();
    async fn check_shutdown(&self, _: PowerAction) -> Result<(), PowerError> {
        unreachable!()
    }
    async fn inhibitors(&self) -> Result<Vec<Inhibitor>, PowerError> {
        unreachable!()
    }
    async fn host_update(&self) -> Option<String> {
        unreachable!()
    }
    async fn boot_wanted(&self) -> Option<String> {
        unreachable!()
    }
    async fn shut_down(&self, _: PowerAction) -> Result<(), PowerError> {
        unreachable!()
    }
    fn notices(&self) -> impl Stream<Item = InhibitorNotice<()>> {
        stream::empty()
    }
}

impl Leds for TestWorld {
    type Survey = ();

    async fn survey(&self) -> Result<(), LedError> {
        unreachable!()
    }
    fn find(&self, (): &(), _: &LedRef) -> Result<LedInfo, LedError> {
        unreachable!()
    }
    fn others(&self, (): &()) -> Vec<LedInfo> {
        unreachable!()
    }
    async fn show(&self, (): &(), _: &LedRef, _: &Pattern, _: Option<Duration>) -> Result<Player, LedError> {
        unreachable!()
    }
    async fn play(&self, _: &LedRef, _: &Pattern, _: Instant) -> LedError {
        unreachable!()
    }
    async fn restore(&self, _: &LedRef) -> Result<(), LedError> {
        unreachable!()
    }
    async fn restore_all(&self) -> Result<(), LedError> {
        unreachable!()
    }
    async fn bench(&self, _: ToolLock) -> ToolLock {
        unreachable!()
    }
}

impl Clock for TestWorld {
    fn now_secs(&self) -> i64 {
        unreachable!()
    }
    fn booted_secs(&self) -> i64 {
        unreachable!()
    }
    fn boot_id(&self) -> String {
        self.boot.boot_id.borrow().clone()
    }
    fn jumps(&self) -> impl Stream<Item = ()> {
        stream::pending()
    }
}

impl Random for TestWorld {
    fn bytes(&self) -> [u8; 32] {
        unreachable!()
    }
}

impl Net for TestWorld {
    async fn dial(&self, _: &str, _: u16) -> Result<(), NetError> {
        unreachable!()
    }
    fn vpn(&self) -> impl Stream<Item = VpnState> {
        stream::empty()
    }
    async fn ensure_vpn(&self, _: VpnState) -> Result<UnitChange, NetError> {
        unreachable!()
    }

    async fn takes_vpn_profile(&self) -> Result<bool, NetError> {
        unreachable!()
    }

    async fn install_vpn(&self, _: &VpnProfile, _: &CloudAccount) -> Result<UnitChange, NetError> {
        unreachable!()
    }
}

impl Host for TestWorld {
    fn addresses(&self) -> impl Stream<Item = HostAddresses> {
        stream::empty()
    }
    fn metrics(&self) -> HostMetrics {
        unreachable!()
    }
    async fn config(&self) -> Result<HostConfig, HostError> {
        unreachable!()
    }
    async fn configure(&self, _: &HostPatch) -> Result<(), HostError> {
        unreachable!()
    }
    async fn boot_file(&self) -> Result<Option<BootFile>, HostError> {
        Ok(self.boot.file())
    }
    async fn write_boot_file(&self, file: &BootFile, good: Option<&Vec<u8>>) -> Result<(), HostError> {
        self.boot.write(file, good)
    }
}

impl Cloud for TestWorld {
    async fn register(&self, _: &str, _: &Secret, _: &RegistrationForm) -> Result<RegisteredDevice, CloudError> {
        unreachable!()
    }
    async fn device_id(&self, _: &str, _: &Secret, _: &str) -> Result<Option<u64>, CloudError> {
        unreachable!()
    }
    async fn exchange_key(&self, _: &str, _: &Secret, _: u64, _: &Secret) -> Result<(), CloudError> {
        unreachable!()
    }
    async fn target(&self, _: &CloudAccount, _: Option<&str>) -> Result<TargetAnswer, CloudError> {
        unreachable!()
    }
    async fn report(&self, _: &CloudAccount, _: &DeviceReport) -> Result<(), CloudError> {
        unreachable!()
    }
    async fn upload_logs(&self, _: &CloudAccount, _: &[CloudLogLine]) -> Result<(), CloudError> {
        unreachable!()
    }
    async fn vpn_profile(&self, _: &CloudAccount) -> Result<Option<VpnProfile>, CloudError> {
        unreachable!()
    }
    fn traffic(&self) -> Traffic {
        Traffic::default()
    }
    fn clock_skew(&self) -> Option<i64> {
        None
    }
}

impl World for TestWorld {
    type Engine = Self;
    fn engine(&self) -> &Self {
        self
    }
    type Store = Self;
    fn store(&self) -> &Self {
        self
    }
    type Locks = Self;
    fn locks(&self) -> &Self {
        self
    }
    type Targets = Self;
    fn targets(&self) -> &Self {
        self
    }
    type Power = Self;
    fn power(&self) -> &Self {
        self
    }
    type Leds = Self;
    fn leds(&self) -> &Self {
        self
    }
    type Clock = Self;
    fn clock(&self) -> &Self {
        self
    }
    type Random = Self;
    fn random(&self) -> &Self {
        self
    }
    type Net = Self;
    fn net(&self) -> &Self {
        self
    }
    type Host = Self;
    fn host(&self) -> &Self {
        self
    }
    type Cloud = Self;
    fn cloud(&self) -> &Self {
        self
    }
}
