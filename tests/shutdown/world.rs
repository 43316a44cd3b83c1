//! A device in memory: an engine that works, locks, and the simulator's power.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use boardkeeper::document;
use boardkeeper::port::{self, CursorCopy, EngineError, EngineSnapshot, LockError, Record, StoreError, StoredState, TargetTag};
use boardkeeper::reconcile::ReconcilerSettings;
use boardkeeper::sorted::{SortedMap, SortedSet};
use boardkeeper::state::cloud::AccountRecord;
use boardkeeper::state::history::HistoryEntry;
use boardkeeper::state::keys::DeviceAction;
use boardkeeper::state::{
    AppId, Container, ContainerId, ContainerPhase, ContainerSpec, Device, DownloadProgress, EngineAction, EngineLogLine,
    FlashWrites, Force, HeldLock, Image, ImageId, ImageRef, Keys, LockHolders, LockState, LogCursor, LogCursors, Origin,
    Pattern, Secret, ServiceKey, Target, TargetError,
};
use futures_util::{Stream, stream};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

#[path = "../sim/world/power.rs"]
pub(crate) mod power;

/// How long a creation takes.
pub(crate) const CREATION: Duration = Duration::from_secs(2);
/// How long a pull takes.
pub(crate) const PULL: Duration = Duration::from_secs(600);

/// The device.
pub(crate) struct World {
    pub(crate) power: power::Power,
    pub(crate) seen: RefCell<EngineSnapshot>,
    pub(crate) locks: RefCell<SortedMap<AppId, LockState>>,
    pub(crate) memory: RefCell<StoredState>,
    /// The actions that the engine got, and when.
    pub(crate) begun: RefCell<Vec<(Instant, String)>>,
    /// The actions that it completed.
    pub(crate) done: RefCell<Vec<String>>,
    pub(crate) boot: Cell<u32>,
    pub(crate) clock_secs: Cell<i64>,
    pub(crate) unlocked: Notify,
    /// How long an observation of the engine takes.
    pub(crate) look: Cell<Duration>,
    /// Whether the engine does not answer.
    pub(crate) down: Cell<bool>,
    /// Whether there is no room to save anything.
    pub(crate) full: Cell<bool>,
    /// Whether the cloud is reached.
    pub(crate) online: Cell<bool>,
    /// The last pattern sent to the LED. `None`: it is restored.
    pub(crate) shown: RefCell<Option<Pattern>>,
    /// Records that were saved.
    pub(crate) saves: Cell<u32>,
    target: RefCell<Option<Target>>,
    told: Notify,
}

impl World {
    pub(crate) fn new() -> Self {
        let keys =
            Keys { device: key(), root: Secret::new("r".repeat(64)), generations: SortedMap::new(), kept: SortedMap::new() };
        Self {
            power: power::Power::new(),
            seen: RefCell::default(),
            locks: RefCell::default(),
            memory: RefCell::new(StoredState { keys: Some(keys), ..StoredState::default() }),
            begun: RefCell::default(),
            done: RefCell::default(),
            boot: Cell::new(1),
            clock_secs: Cell::new(2_000),
            unlocked: Notify::new(),
            look: Cell::new(Duration::ZERO),
            down: Cell::new(false),
            online: Cell::new(false),
            shown: RefCell::default(),
            saves: Cell::new(0),
            full: Cell::new(false),
            target: RefCell::default(),
            told: Notify::new(),
        }
    }

    /// A new target: services of app 1, each `name image [label]`.
    pub(crate) fn wants(&self, services: &[(&str, &str, &str)]) {
        let service = |(nth, (name, image, label)): (usize, &(&str, &str, &str))| {
            let labels = if label.is_empty() { String::new() } else { format!("\"{label}\": \"1\"") };
            format!(
                r#""{nth}": {{"imageId": {nth}, "serviceName": "{name}", "image": "{image}", "running": true,
                "environment": {{}}, "labels": {{{labels}}}, "network_mode": "host"}}"#
            )
        };
        let services: Vec<_> = services.iter().enumerate().map(|(nth, it)| service((nth + 1, it))).collect();
        let document = format!(
            r#"{{"local": {{"name": "d", "config": {{}}, "apps": {{"1": {{"name": "app", "commit": "abc", "releaseId": 1,
            "services": {{{}}}, "networks": {{}}, "volumes": {{}}}}}}}}, "dependent": {{"apps": {{}}, "devices": {{}}}}}}"#,
            services.join(",")
        );
        self.set_target(&document);
    }

    /// A new target.
    pub(crate) fn set_target(&self, document: &str) {
        *self.target.borrow_mut() = Some(document::parse(document, None).unwrap());
        self.told.notify_one();
    }

    /// What is on the disk of the target.
    pub(crate) fn kept(&self) -> String {
        self.memory.borrow().targets.wanted.as_ref().map_or_else(String::new, |it| it.document.clone())
    }

    pub(crate) fn holds_lock(&self, service: &str) {
        let path = format!("/tmp/balena-supervisor/services/1/{service}/updates.lock");
        let held = HeldLock { service: service.to_owned(), path, since_secs: 1_700_000_000 };
        self.locks.borrow_mut().insert(AppId(1), LockState::Held(held));
    }

    pub(crate) fn gives_lock_back(&self) {
        self.locks.borrow_mut().clear();
        self.unlocked.notify_one();
    }

    /// The machine starts again, an hour on by its own clock, whatever that says.
    pub(crate) fn boots(&self, clock_secs: i64) {
        self.boot.set(self.boot.get() + 1);
        self.clock_secs.set(clock_secs);
        self.locks.borrow_mut().clear();
        self.power.with(|it| {
            it.announced = false;
            it.accepted.clear();
        });
    }

    pub(crate) fn began(&self) -> Vec<String> {
        self.begun.borrow().iter().map(|(_, it)| it.clone()).collect()
    }

    fn create(&self, spec: &ContainerSpec) {
        let mut seen = self.seen.borrow_mut();
        let id = ContainerId(format!("{}-{}", spec.key.service, seen.containers.len() + self.begun.borrow().len()));
        seen.containers.push(Container {
            id,
            name: spec.name.clone(),
            key: spec.key.clone(),
            phase: ContainerPhase::Created,
            created_secs: self.clock_secs.get(),
            image: image_id(&spec.image),
            image_ref: spec.image.clone(),
            made: Origin::Ours(spec.hash.clone()),
            outcome: None,
            env: spec.config.env.clone().into(),
            restart: spec.config.restart,
            shares: SortedMap::new(),
            ports: boardkeeper::sorted::SortedSet::new(),
            is_port_taken: false,
            before_update: None,
            shares_since: None,
            is_orphaned: false,
            volumes: boardkeeper::sorted::SortedSet::new(),
            restarts: 0,
            is_out_of_memory: false,
            started: None,
            networks: None,
            error: None,
            health: None,
        });
    }
}

pub(crate) fn key() -> Secret {
    Secret::new("d".repeat(64))
}

pub(crate) fn settings() -> ReconcilerSettings {
    ReconcilerSettings {
        observe_every: Duration::from_secs(180),
        device: Device::default(),
        uuid: None,
        device_key: None,
        force: Force::No,
        update_window: None,
        rollback: false,
        service_verbs: DeviceAction::ALL.into(),
    }
}

fn image_id(image: &ImageRef) -> ImageId {
    ImageId(format!("sha256:{image}"))
}

impl port::World for World {
    type Engine = Self;
    type Store = Self;
    type Locks = Self;
    type Targets = Self;
    type Power = power::Power;
    type Clock = Self;
    type Random = Self;
    type Leds = Self;
    type Net = Self;
    type Host = Self;
    type Cloud = Self;

    fn engine(&self) -> &Self {
        self
    }
    fn store(&self) -> &Self {
        self
    }
    fn locks(&self) -> &Self {
        self
    }
    fn targets(&self) -> &Self {
        self
    }
    fn power(&self) -> &power::Power {
        &self.power
    }
    fn clock(&self) -> &Self {
        self
    }
    fn random(&self) -> &Self {
        self
    }
    fn leds(&self) -> &Self {
        self
    }
    fn net(&self) -> &Self {
        self
    }
    fn host(&self) -> &Self {
        self
    }
    fn cloud(&self) -> &Self {
        self
    }
}

impl port::Engine for World {
    async fn health_output(&self, _: &ContainerId) -> Option<String> {
        None
    }
    async fn observe(&self) -> Result<EngineSnapshot, EngineError> {
        sleep(self.look.get()).await;
        if self.down.get() {
            return Err(EngineError::Unreachable("it is down".to_owned()));
        }
        Ok(self.seen.borrow().clone())
    }

    async fn check_room(&self, _: &SortedSet<ImageRef>) -> Result<(), EngineError> {
        Ok(())
    }

    async fn check_copies(&self, _: &SortedSet<String>) -> Result<(), EngineError> {
        unreachable!()
    }
    async fn execute(&self, action: &EngineAction, _: &dyn Fn(DownloadProgress)) -> Result<(), EngineError> {
        self.begun.borrow_mut().push((Instant::now(), action.to_string()));
        match action {
            EngineAction::Pull(image) => {
                sleep(PULL).await;
                let names = SortedSet::from([image.clone()]);
                self.seen.borrow_mut().images.push(Image { id: image_id(image), names, size_bytes: 1 });
            }
            EngineAction::Create(spec) => {
                sleep(CREATION).await;
                self.create(spec);
            }
            EngineAction::Start(which) | EngineAction::Stop(which) | EngineAction::Restart(which) => {
                let phase =
                    if matches!(action, EngineAction::Stop(_)) { ContainerPhase::Exited(0) } else { ContainerPhase::Running };
                let mut seen = self.seen.borrow_mut();
                seen.containers.iter_mut().filter(|it| it.id == which.id).for_each(|it| it.phase = phase);
            }
            EngineAction::Kill(which) => self.seen.borrow_mut().containers.retain(|it| it.id != which.id),
            EngineAction::Rename(which, name) => {
                let mut seen = self.seen.borrow_mut();
                seen.containers.iter_mut().filter(|it| it.id == which.id).for_each(|it| it.name.clone_from(name));
            }
            EngineAction::RemoveImage(image) => self.seen.borrow_mut().images.retain(|it| !it.answers_to(image)),
            EngineAction::CreateNetwork(network) => self.seen.borrow_mut().networks.push(network.clone()),
            EngineAction::RemoveNetwork(name, ..) => self.seen.borrow_mut().networks.retain(|it| it.name != *name),
            other => panic!("no test has this done: {other}"),
        }
        self.done.borrow_mut().push(action.to_string());
        Ok(())
    }

    fn events(&self) -> impl Stream<Item = ()> {
        stream::pending()
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

impl port::Store for World {
    async fn load(&self) -> Result<StoredState, StoreError> {
        Ok(self.memory.borrow().clone())
    }

    async fn account(&self) -> Result<Option<AccountRecord>, StoreError> {
        Ok(self.memory.borrow().account.clone())
    }

    async fn save(&self, record: &Record) -> Result<(), StoreError> {
        if self.full.get() {
            return Err(StoreError::Interrupted("there is no room".to_owned()));
        }
        self.saves.set(self.saves.get() + 1);
        let mut memory = self.memory.borrow_mut();
        match record.clone() {
            Record::Identity(it) => memory.identity = Some(it),
            Record::Account(it) => memory.account = Some(it),
            Record::Pin(it) => memory.pin = it,
            Record::Keys(it) => memory.keys = Some(it),
            Record::Targets(it) => memory.targets = *it,
            Record::Stopped(it) => memory.stopped = it,
            Record::Awaiting(it) => memory.awaiting = it,
            Record::Leases(it) => memory.leases = it,
            Record::BootWindow(it) => memory.boot_window = it,
            Record::Trial(it) => memory.trial = it,
            Record::BootConfig(it) => memory.boot_config = *it,
            Record::LocalMode(it) => memory.local_mode = *it,
            Record::TargetTrial(it) => memory.target_trial = *it,
            Record::FailedReleases(it) => memory.failed_releases = it,
            Record::KeptData(it) => memory.kept_data = it,
            Record::Proved(_) => {
                let targets = &mut memory.targets;
                targets.last_good.clone_from(&targets.wanted);
            }
            Record::TargetTag(_) => (),
        }
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

impl port::HistoryStore for World {
    async fn load_history(&self) -> Vec<HistoryEntry> {
        Vec::new()
    }

    async fn append_history(&self, _: &[Arc<HistoryEntry>]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn save_history(&self, _: &[Arc<HistoryEntry>]) -> Result<(), StoreError> {
        Ok(())
    }
}

impl port::Locks for World {
    async fn observe(&self, _: &SortedMap<AppId, LockHolders>) -> Result<SortedMap<AppId, LockState>, LockError> {
        Ok(self.locks.borrow().clone())
    }

    async fn apps(&self) -> Result<SortedSet<AppId>, LockError> {
        Ok(self.locks.borrow().keys().copied().collect())
    }

    async fn take(&self, app: AppId, services: &SortedSet<String>, force: Force) -> Result<(), LockError> {
        let mut locks = self.locks.borrow_mut();
        match locks.get(&app) {
            Some(LockState::Held(held) | LockState::Both(held)) if force == Force::No => Err(LockError::Held(held.clone())),
            Some(LockState::Held(_) | LockState::Both(_) | LockState::Ours(_)) | None => {
                locks.insert(app, LockState::Ours(services.clone()));
                Ok(())
            }
        }
    }

    async fn release(&self, app: AppId) -> Result<(), LockError> {
        self.locks.borrow_mut().retain(|it, locks| *it != app || matches!(locks, LockState::Held(_)));
        Ok(())
    }

    async fn prepare(&self, _: &ServiceKey) -> Result<(), LockError> {
        Ok(())
    }

    async fn expect_hand_over(&self, _: &ServiceKey) -> Result<(), LockError> {
        Ok(())
    }

    async fn handed_over(&self, _: &ServiceKey) -> Result<(), LockError> {
        pending().await
    }

    fn changes(&self) -> impl Stream<Item = ()> {
        stream::unfold((), |()| async {
            self.unlocked.notified().await;
            Some(((), ()))
        })
    }
}

impl port::Targets for World {
    async fn next(&self) -> Result<Target, TargetError> {
        loop {
            if let Some(target) = self.target.borrow_mut().take() {
                return Ok(target);
            }
            self.told.notified().await;
        }
    }

    async fn parse(&self, document: String) -> Result<Target, TargetError> {
        boardkeeper::document::parse(&document, None)
    }

    fn look_again(&self) {}
}

impl port::Clock for World {
    fn now_secs(&self) -> i64 {
        self.clock_secs.get()
    }

    fn booted_secs(&self) -> i64 {
        self.clock_secs.get() - 100
    }

    fn up(&self) -> Duration {
        Duration::from_secs(100)
    }

    async fn zone_offsets(
        &self,
        _: Option<&str>,
        range: std::ops::Range<i64>,
    ) -> Result<Vec<boardkeeper::state::window::ZoneOffset>, String> {
        Ok(vec![boardkeeper::state::window::ZoneOffset { begins: range.start, ends: range.end, offset: 0 }])
    }

    fn boot_id(&self) -> String {
        format!("boot-{}", self.boot.get())
    }

    fn jumps(&self) -> impl Stream<Item = ()> {
        stream::pending()
    }
}

impl port::Random for World {
    fn bytes(&self) -> [u8; 32] {
        [7; 32]
    }
}
