//! An engine, a cloud, a store and a clock whose behaviour a test writes.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::{Instant, sleep};

use crate::cloud::jitter::Jitter;
use crate::cloud::logs::{LogLinks, LogPorts, upload};
use crate::cloud::pace::Pace;
use crate::document;
use crate::port::{Clock, Cloud, CloudError, CursorCopy, Engine, EngineError, EngineSnapshot, Record, Store, StoreError};
use crate::port::{StoredState, TargetAnswer, TargetTag};
use crate::state::cloud::{
    AccountRecord, CloudAccount, CloudLogLine, CloudStatus, DeviceReport, LogSource, RegisteredDevice, RegistrationForm,
    ReleasePin, Traffic, VpnProfile,
};
use crate::state::config::RestartPolicy;
use crate::state::{
    AppId, ConfigHash, Container, ContainerId, ContainerPhase, Current, DeviceEvent, EngineAction, EngineLogLine, EngineState,
    EngineTime, ImageId, ImageRef, LogCursor, LogCursors, Origin, OutputStream, Secret, ServiceKey, Status,
};

/// When the tests begin, in seconds of the wall clock.
pub(crate) const BEGIN: i64 = 1_795_000_000;

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

/// The wall clock goes with tokio's.
pub(crate) struct WallClock {
    begun: Instant,
    pub(crate) ahead_secs: Cell<i64>,
}

#[derive(Default)]
pub(crate) struct ScriptedEngine {
    pub(crate) logs: RefCell<BTreeMap<ContainerId, ContainerLog>>,
    pub(crate) is_up: Cell<bool>,
    epoch: Cell<u64>,
    changed: watch::Sender<u64>,
    pub(crate) open: Rc<Cell<usize>>,
    pub(crate) given: Cell<u64>,
}

#[derive(Default)]
pub(crate) struct ContainerLog {
    pub(crate) lines: Vec<(EngineTime, OutputStream, String)>,
    pub(crate) ended: bool,
    /// Prints this without end, by the clock.
    pub(crate) floods: bool,
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

pub(crate) fn id(name: &str) -> ContainerId {
    ContainerId(name.to_owned())
}

/// A container of the service `main`, which is number 7.
pub(crate) fn container(name: &str) -> Container {
    Container {
        id: id(name),
        name: format!("main_1_2_{name}"),
        key: ServiceKey::new(AppId(1), "main"),
        phase: ContainerPhase::Running,
        created_secs: BEGIN + 1,
        image: ImageId("sha256:abc".to_owned()),
        image_ref: ImageRef::new("r/main:1"),
        made: Origin::Ours(ConfigHash(String::new())),
        outcome: None,
        env: Arc::default(),
        restart: RestartPolicy::No,
        started: Some(EngineTime(1)),
        networks: None,
        ports: BTreeSet::new(),
        is_port_taken: false,
        shares: BTreeMap::new(),
        shares_since: None,
        is_orphaned: false,
        error: None,
        health: None,
    }
}

/// A device with these containers of the service `main`, with that configuration.
pub(crate) fn status(containers: Vec<Container>, config: &str) -> Status {
    let text = format!(
        r#"{{"local": {{"config": {config}, "apps": {{"1": {{"commit": "c", "services": {{
            "7": {{"serviceName": "main", "image": "r/main:1"}}}}}}}}}}}}"#
    );
    let target = document::parse(&text, None).unwrap();
    Status {
        target: Some(Arc::new(target)),
        current: Arc::new(Current { containers, ..Current::default() }),
        engine: EngineState::Up,
        observed_at: Some(Instant::now()),
        ..Status::default()
    }
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

impl WallClock {
    fn elapsed_nanos(&self) -> i64 {
        i64::try_from(self.begun.elapsed().as_nanos()).unwrap()
    }
}

impl Clock for WallClock {
    fn now_secs(&self) -> i64 {
        BEGIN + self.ahead_secs.get() + self.elapsed_nanos() / 1_000_000_000
    }
    fn booted_secs(&self) -> i64 {
        unreachable!()
    }
    fn jumps(&self) -> impl Stream<Item = ()> {
        stream::pending()
    }
    fn boot_id(&self) -> String {
        unreachable!()
    }
}

impl ScriptedEngine {
    pub(crate) fn tell(&self) {
        self.changed.send_modify(|it| *it += 1);
    }

    /// The engine dies, or comes back.
    pub(crate) fn set_up(&self, is_up: bool) {
        self.is_up.set(is_up);
        self.epoch.set(self.epoch.get() + 1);
        self.tell();
    }

    fn line(&self, container: &ContainerId, index: usize) -> Option<(EngineTime, OutputStream, String)> {
        let logs = self.logs.borrow();
        let log = logs.get(container)?;
        if log.floods {
            // A thousand lines a second.
            let at = EngineTime(BEGIN * 1_000_000_000 + i64::try_from(index).unwrap() * 1_000_000);
            return Some((at, OutputStream::Stdout, format!("flood {index}")));
        }
        log.lines.get(index).cloned()
    }
}

/// One more stream is open, until this is dropped.
struct Open(Rc<Cell<usize>>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Engine for ScriptedEngine {
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
        stream::pending()
    }

    fn logs(&self, container: ContainerId, from: LogCursor) -> impl Stream<Item = Result<EngineLogLine, EngineError>> {
        self.open.set(self.open.get() + 1);
        let (open, epoch) = (Open(Rc::clone(&self.open)), self.epoch.get());
        let (skipped, changed) = ([from.stdout.lines, from.stderr.lines], self.changed.subscribe());
        stream::unfold((0, from, skipped, changed, open), move |(mut index, mut cursor, mut skipped, mut changed, open)| {
            let container = container.clone();
            async move {
                loop {
                    if !self.is_up.get() || epoch != self.epoch.get() {
                        let error = EngineError::Unreachable("connection reset".to_owned());
                        return (index != usize::MAX).then_some((Err(error), (usize::MAX, cursor, skipped, changed, open)));
                    }
                    if let Some((at, stream, text)) = self.line(&container, index) {
                        let now = EngineTime(flood_nanos());
                        if self.logs.borrow()[&container].floods && at > now {
                            sleep(Duration::from_millis(1)).await;
                            continue;
                        }
                        index += 1;
                        let (of, skip) = (cursor.of(stream), &mut skipped[usize::from(stream == OutputStream::Stderr)]);
                        if at < of.at || at == of.at && *skip > 0 {
                            *skip -= u32::from(at == of.at);
                            continue;
                        }
                        cursor.advance(stream, at);
                        self.given.set(self.given.get() + 1);
                        let line = EngineLogLine { text, at, stream, next: cursor, after_gap: false };
                        return Some((Ok(line), (index, cursor, skipped, changed, open)));
                    }
                    if self.logs.borrow().get(&container).is_none_or(|it| it.ended) {
                        return None;
                    }
                    let _ = pin!(changed.changed()).await;
                }
            }
        })
    }
}

/// The tests' time begins with the runtime; a flood's lines are aligned to its first reader.
fn flood_nanos() -> i64 {
    thread_local!(static BEGUN: Cell<Option<Instant>> = const { Cell::new(None) });
    let begun = BEGUN.get().unwrap_or_else(Instant::now);
    BEGUN.set(Some(begun));
    BEGIN * 1_000_000_000 + i64::try_from(begun.elapsed().as_nanos()).unwrap()
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
}
