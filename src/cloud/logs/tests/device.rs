//! A cloud, a store and a device whose behaviour a test writes.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, broadcast, watch};
use tokio::time::{Instant, sleep};

use crate::cloud::jitter::Jitter;
use crate::cloud::logs::{LogLinks, LogPorts, upload};
use crate::cloud::pace::Pace;
use crate::port::{Cloud, CloudError, CursorCopy, Record, Store, StoreError};
use crate::port::{StoredState, TargetAnswer, TargetTag};
use crate::state::cloud::{
    AccountRecord, CloudAccount, CloudLogLine, CloudStatus, DeviceReport, LogSource, RegisteredDevice, RegistrationForm,
    ReleasePin, Traffic, VpnProfile,
};
use crate::state::{DeviceEvent, EngineTime, FlashWrites, LogCursors, OutputStream, Secret, Status};
use crate::testing::{BEGIN, ContainerLog, ScriptedEngine, WallClock, container, id, status};

/// A device: its engine with what containers print, its store and its clock; and the cloud.
pub(crate) struct LogDevice {
    pub(crate) engine: ScriptedEngine,
    pub(crate) cloud: ScriptedUploads,
    pub(crate) store: Memory,
    pub(crate) clock: WallClock,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) events: broadcast::Sender<Arc<DeviceEvent>>,
    pub(crate) publish: watch::Sender<CloudStatus>,
    pub(crate) request_refused: Notify,
}

pub(crate) struct ScriptedUploads {
    pub(crate) bodies: RefCell<Vec<(Instant, Vec<CloudLogLine>)>>,
    /// Answers, the next one first; then every body is accepted.
    pub(crate) answers: RefCell<VecDeque<CloudError>>,
    pub(crate) is_away: Cell<bool>,
    pub(crate) takes: Cell<Duration>,
    /// A body with this text is refused.
    pub(crate) poison: RefCell<Option<String>>,
    pub(crate) requests: Cell<u32>,
}

#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) boot: RefCell<Option<LogCursors>>,
    pub(crate) durable: RefCell<Option<LogCursors>>,
    pub(crate) durable_writes: Cell<u32>,
}

impl LogDevice {
    /// A device on which these containers run.
    pub(crate) fn with(names: &[&str]) -> Self {
        let engine = ScriptedEngine::default();
        engine.is_up.set(true);
        engine.logs.replace(names.iter().map(|it| (id(it), ContainerLog::default())).collect());
        Self {
            engine,
            cloud: ScriptedUploads {
                bodies: RefCell::default(),
                answers: RefCell::default(),
                is_away: Cell::new(false),
                takes: Cell::new(Duration::from_millis(10)),
                poison: RefCell::default(),
                requests: Cell::new(0),
            },
            store: Memory::default(),
            clock: WallClock { begun: Instant::now(), ahead_secs: Cell::new(0) },
            status: watch::Sender::new(status(names.iter().map(|it| container(it)).collect(), "{}")),
            events: broadcast::Sender::new(4),
            publish: watch::Sender::new(CloudStatus::default()),
            request_refused: Notify::new(),
        }
    }

    /// An agent uploads for so long, while something else happens; then it is killed.
    pub(crate) async fn uploads(&self, life: Duration, meanwhile: impl Future<Output = ()>) {
        let account = CloudAccount {
            endpoint: "https://api.example".to_owned(),
            logs_endpoint: None,
            uuid: "u".to_owned(),
            key: Secret::new("k".to_owned()),
        };
        let pace = Pace::new(Jitter::new([7; 32]), Duration::from_secs(900));
        let ports = LogPorts { engine: &self.engine, cloud: &self.cloud, store: &self.store, clock: &self.clock };
        let links = LogLinks { account: &account, pace: &pace, request_refused: &self.request_refused, publish: &self.publish };
        let alive = async {
            tokio::join!(meanwhile, sleep(life));
        };
        tokio::select! {
            biased;
            never = upload(&ports, &links, self.status.subscribe(), self.events.subscribe()) => match never {},
            () = alive => (),
        }
    }

    /// A container prints a line now.
    pub(crate) fn print(&self, name: &str, stream: OutputStream, text: &str) {
        let at = EngineTime((BEGIN + self.clock.ahead_secs.get()) * 1_000_000_000 + self.clock.elapsed_nanos());
        self.engine.logs.borrow_mut().get_mut(&id(name)).unwrap().lines.push((at, stream, text.to_owned()));
        self.engine.tell();
    }

    /// The texts that the cloud has, without the agent's own.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.lines().into_iter().filter(|it| it.source != LogSource::System).map(|it| it.text).collect()
    }

    /// The agent's own lines that the cloud has.
    pub(crate) fn system(&self) -> Vec<String> {
        self.lines().into_iter().filter(|it| it.source == LogSource::System).map(|it| it.text).collect()
    }

    pub(crate) fn lines(&self) -> Vec<CloudLogLine> {
        self.cloud.bodies.borrow().iter().flat_map(|(_, it)| it.clone()).collect()
    }
}

impl Cloud for ScriptedUploads {
    async fn register(&self, _: &str, _: &Secret, _: &RegistrationForm) -> Result<RegisteredDevice, CloudError> {
        unreachable!()
    }
    async fn device_id(&self, _: &str, _: &Secret, _: &str) -> Result<Option<u64>, CloudError> {
        unreachable!()
    }
    async fn exchange_key(&self, _: &str, _: &Secret, _: u64, _: &Secret) -> Result<(), CloudError> {
        unreachable!()
    }
    async fn release_id(&self, _: &CloudAccount, _: &ReleasePin) -> Result<Option<u64>, CloudError> {
        unreachable!()
    }
    async fn pin(&self, _: &CloudAccount, _: u64, _: u64) -> Result<(), CloudError> {
        unreachable!()
    }
    async fn target(&self, _: &CloudAccount, _: Option<&str>) -> Result<TargetAnswer, CloudError> {
        unreachable!()
    }
    async fn report(&self, _: &CloudAccount, _: &DeviceReport) -> Result<(), CloudError> {
        unreachable!()
    }
    async fn upload_logs(&self, _: &CloudAccount, lines: &[CloudLogLine]) -> Result<(), CloudError> {
        self.requests.set(self.requests.get() + 1);
        assert!((1..=50).contains(&lines.len()), "{}", lines.len());
        sleep(self.takes.get()).await;
        if self.is_away.get() {
            return Err(CloudError::Unreachable("no route".to_owned()));
        }
        if let Some(error) = self.answers.borrow_mut().pop_front() {
            return Err(error);
        }
        if self.poison.borrow().as_ref().is_some_and(|text| lines.iter().any(|it| it.text == *text)) {
            return Err(CloudError::Refused { status: 400, why: "Could not parse row".to_owned(), retry_after: None });
        }
        self.bodies.borrow_mut().push((Instant::now(), lines.to_vec()));
        Ok(())
    }
    async fn tags(&self, _: &CloudAccount) -> Result<Vec<crate::state::cloud::DeviceTag>, CloudError> {
        unreachable!()
    }
    async fn set_tags(&self, _: &CloudAccount, _: &crate::sorted::SortedMap<String, String>) -> Result<(), CloudError> {
        unreachable!()
    }
    async fn vpn_profile(&self, _: &CloudAccount) -> Result<Option<VpnProfile>, CloudError> {
        unreachable!()
    }
    fn clock_skew(&self) -> Option<i64> {
        None
    }
    fn traffic(&self) -> Traffic {
        Traffic::default()
    }
}

impl Store for Memory {
    async fn account(&self) -> Result<Option<AccountRecord>, StoreError> {
        unreachable!()
    }
    async fn load(&self) -> Result<StoredState, StoreError> {
        unreachable!()
    }
    async fn save(&self, _: &Record) -> Result<(), StoreError> {
        unreachable!()
    }
    async fn target_tag(&self) -> Option<TargetTag> {
        unreachable!()
    }
    async fn load_log_cursors(&self) -> Result<Option<LogCursors>, StoreError> {
        let (boot, durable) = (self.boot.borrow().clone(), self.durable.borrow().clone());
        Ok(boot.into_iter().chain(durable).max_by_key(|it| it.saves))
    }
    async fn save_log_cursors(&self, cursors: &LogCursors, copy: CursorCopy) -> Result<(), StoreError> {
        match copy {
            CursorCopy::Boot => *self.boot.borrow_mut() = Some(cursors.clone()),
            CursorCopy::Durable => {
                *self.durable.borrow_mut() = Some(cursors.clone());
                self.durable_writes.set(self.durable_writes.get() + 1);
            }
        }
        Ok(())
    }

    fn flash_writes(&self) -> FlashWrites {
        FlashWrites::default()
    }
}
