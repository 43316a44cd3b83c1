//! A world that has a disk, update locks, a clock, chance and a scripted cloud; everything else in it is never called.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::LocalBoxStream;
use futures_util::{Stream, stream};
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use crate::port::{
    Clock, CursorCopy, Engine, EngineError, EngineSnapshot, HistoryStore, Host, HostError, Inhibitor, InhibitorNotice,
    JournalChange, LedError, Leds, LockError, Locks, Net, NetError, Power, PowerError, Random, Record, Store, StoreError,
    StoredState, TargetTag, Targets, ToolLock, UnitChange, World,
};
use crate::sorted::{SortedMap, SortedSet};
use crate::state::boot_config::BootFile;
use crate::state::cloud::{AccountRecord, CloudAccount, ProvisionedFields, VpnProfile};
use crate::state::history::{History, HistoryEntry};
use crate::state::host::{HostAddresses, HostConfig, HostMetrics, HostPatch, ProcessUse};
use crate::state::journal::JournalQuery;
use crate::state::{
    AppId, ContainerId, DeviceEvent, DownloadProgress, EngineAction, EngineLogLine, FlashWrites, Force, FreeLineInfo, ImageRef,
    LedInfo, LedLevel, LedRef, LockHolders, LockState, LogCursor, LogCursors, Pattern, Player, PowerAction, ServiceKey, Status,
    Target, TargetError, VpnState,
};
use crate::testing::ScriptedCloud;
use crate::testing::boot::TestBoot;

/// A world that has a disk, update locks and a scripted cloud, and the status published in it.
#[derive(Default)]
pub(crate) struct TestWorld {
    pub(crate) saved: RefCell<Vec<Record>>,
    pub(crate) is_full: Cell<bool>,
    /// What is seen of the locks. `None`: they cannot be read.
    pub(crate) locks: Option<SortedMap<AppId, LockState>>,
    pub(crate) publish: watch::Sender<Status>,
    pub(crate) events: EventChannel,
    pub(crate) history: watch::Sender<History>,
    pub(crate) cloud: ScriptedCloud,
    /// The account that is stored.
    pub(crate) account: RefCell<Option<AccountRecord>>,
    /// What was written into the provisioning file.
    pub(crate) provisioned: RefCell<Vec<ProvisionedFields>>,
    /// The provisioning file cannot be written.
    pub(crate) is_boot_read_only: Cell<bool>,
    pub(crate) now_secs: Cell<i64>,
    /// How often random bytes were drawn: the next ones are this number.
    pub(crate) drawn: Cell<u8>,
    pub(crate) boot: TestBoot,
}

/// What the reconciler announces.
pub(crate) struct EventChannel(pub(crate) broadcast::Sender<Arc<DeviceEvent>>);

impl Default for EventChannel {
    fn default() -> Self {
        Self(broadcast::Sender::new(16))
    }
}

impl Store for TestWorld {
    async fn load(&self) -> Result<StoredState, StoreError> {
        unreachable!()
    }

    async fn account(&self) -> Result<Option<AccountRecord>, StoreError> {
        Ok(self.account.borrow().clone())
    }

    async fn save(&self, record: &Record) -> Result<(), StoreError> {
        if self.is_full.get() {
            return Err(StoreError::Interrupted("no space left".to_owned()));
        }
        if let Record::Account(account) = record {
            self.account.replace(Some(account.clone()));
        }
        self.saved.borrow_mut().push(record.clone());
        Ok(())
    }

    async fn load_log_cursors(&self) -> Result<Option<LogCursors>, StoreError> {
        Ok(None)
    }

    async fn save_log_cursors(&self, _: &LogCursors, _: CursorCopy) -> Result<(), StoreError> {
        Ok(())
    }

    async fn target_tag(&self) -> Option<TargetTag> {
        None
    }

    fn flash_writes(&self) -> FlashWrites {
        FlashWrites::default()
    }
}

impl HistoryStore for TestWorld {
    async fn load_history(&self) -> Vec<HistoryEntry> {
        unreachable!()
    }

    async fn append_history(&self, _: &[Arc<HistoryEntry>]) -> Result<(), StoreError> {
        unreachable!()
    }

    async fn save_history(&self, _: &[Arc<HistoryEntry>]) -> Result<(), StoreError> {
        unreachable!()
    }
}

impl Locks for TestWorld {
    async fn observe(&self, _: &SortedMap<AppId, LockHolders>) -> Result<SortedMap<AppId, LockState>, LockError> {
        self.locks.clone().ok_or_else(|| LockError::Failed("no such directory".to_owned()))
    }
    async fn apps(&self) -> Result<SortedSet<AppId>, LockError> {
        unreachable!()
    }
    async fn take(&self, _: AppId, _: &SortedSet<String>, _: Force) -> Result<(), LockError> {
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
    async fn health_output(&self, _: &ContainerId) -> Option<String> {
        unreachable!()
    }
    async fn observe(&self) -> Result<EngineSnapshot, EngineError> {
        unreachable!()
    }
    async fn check_room(&self, _: &SortedSet<ImageRef>) -> Result<(), EngineError> {
        unreachable!()
    }
    async fn check_copies(&self, _: &SortedSet<String>) -> Result<(), EngineError> {
        unreachable!()
    }
    async fn execute(&self, _: &EngineAction, _: &dyn Fn(DownloadProgress)) -> Result<(), EngineError> {
        unreachable!()
    }
    fn events(&self) -> impl Stream<Item = ()> {
        stream::empty()
    }
    fn logs(&self, _: ContainerId, _: LogCursor) -> impl Stream<Item = Result<EngineLogLine, EngineError>> {
        stream::pending()
    }
    fn past_logs(
        &self,
        _: ContainerId,
        _: LogCursor,
        _: Option<u32>,
    ) -> impl Stream<Item = Result<EngineLogLine, EngineError>> {
        stream::empty()
    }
}

impl Targets for TestWorld {
    async fn next(&self) -> Result<Target, TargetError> {
        unreachable!()
    }
    async fn parse(&self, document: String) -> Result<Target, TargetError> {
        crate::document::parse(&document, None)
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
    async fn look(&self) -> Result<((), Vec<(String, LedLevel)>), LedError> {
        unreachable!()
    }

    async fn lines(&self, (): &()) -> Result<Vec<FreeLineInfo>, LedError> {
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
        self.now_secs.get()
    }
    fn booted_secs(&self) -> i64 {
        0
    }
    fn up(&self) -> Duration {
        Duration::ZERO
    }
    async fn zone_offsets(
        &self,
        _: Option<&str>,
        _: std::ops::Range<i64>,
    ) -> Result<Vec<crate::state::window::ZoneOffset>, String> {
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
        self.drawn.set(self.drawn.get() + 1);
        [self.drawn.get(); 32]
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
        Ok(false)
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
    fn own_use(&self) -> ProcessUse {
        ProcessUse::default()
    }
    async fn config(&self) -> Result<HostConfig, HostError> {
        unreachable!()
    }
    async fn configure(&self, _: &HostPatch) -> Result<(), HostError> {
        unreachable!()
    }
    async fn boot_file(&self) -> Result<Option<BootFile>, HostError> {
        self.boot.file()
    }
    async fn write_boot_file(&self, file: &BootFile, good: Option<&Vec<u8>>) -> Result<(), HostError> {
        self.boot.write(file, good)
    }
    async fn write_provisioning(&self, fields: &ProvisionedFields) -> Result<(), HostError> {
        if self.is_boot_read_only.get() {
            return Err(HostError("the boot partition is read-only".to_owned()));
        }
        self.provisioned.borrow_mut().push(fields.clone());
        Ok(())
    }
    async fn persist_journal(&self, _: bool) -> Result<JournalChange, HostError> {
        unreachable!()
    }
    async fn read_journal(&self, _: &JournalQuery) -> Result<LocalBoxStream<'static, Vec<u8>>, HostError> {
        unreachable!()
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
    type Cloud = ScriptedCloud;
    fn cloud(&self) -> &ScriptedCloud {
        &self.cloud
    }
}
