//! An engine whose containers print what a test writes, with the clock that stamps the lines.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::document;
use crate::port::{Clock, Engine, EngineError, EngineSnapshot};
use crate::sorted::{SortedMap, SortedSet};
use crate::state::config::RestartPolicy;
use crate::state::{
    AppId, ConfigHash, Container, ContainerId, ContainerPhase, Current, DownloadProgress, EngineAction, EngineLogLine,
    EngineState, EngineTime, ImageId, ImageRef, LogCursor, Origin, OutputStream, ServiceKey, Status,
};

/// When the tests begin, in seconds of the wall clock.
pub(crate) const BEGIN: i64 = 1_795_000_000;

/// The wall clock goes with tokio's.
pub(crate) struct WallClock {
    pub(crate) begun: Instant,
    pub(crate) ahead_secs: Cell<i64>,
}

#[derive(Default)]
pub(crate) struct ScriptedEngine {
    pub(crate) logs: RefCell<SortedMap<ContainerId, ContainerLog>>,
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
        ports: SortedSet::new(),
        is_port_taken: false,
        before_update: None,
        shares: SortedMap::new(),
        shares_since: None,
        is_orphaned: false,
        volumes: crate::sorted::SortedSet::new(),
        restarts: 0,
        is_out_of_memory: false,
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
    let target = document::parse(&text, None).expect("it is a document");
    Status {
        target: Some(Arc::new(target)),
        current: Arc::new(Current { containers, ..Current::default() }),
        engine: EngineState::Up,
        observed_at: Some(Instant::now()),
        ..Status::default()
    }
}

impl WallClock {
    pub(crate) fn elapsed_nanos(&self) -> i64 {
        i64::try_from(self.begun.elapsed().as_nanos()).expect("a test is short")
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
    fn up(&self) -> Duration {
        unreachable!()
    }
    async fn zone_offsets(
        &self,
        _: Option<&str>,
        _: std::ops::Range<i64>,
    ) -> Result<Vec<crate::state::window::ZoneOffset>, String> {
        unreachable!()
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
            let at = EngineTime(BEGIN * 1_000_000_000 + i64::try_from(index).expect("a test has few lines") * 1_000_000);
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

    fn past_logs(
        &self,
        container: ContainerId,
        from: LogCursor,
        tail: Option<u32>,
    ) -> impl Stream<Item = Result<EngineLogLine, EngineError>> {
        let (mut cursor, mut skipped) = (from, [from.stdout.lines, from.stderr.lines]);
        let mut items = Vec::new();
        if !self.is_up.get() {
            items.push(Err(EngineError::Unreachable("connection refused".to_owned())));
        }
        let lines = self.logs.borrow().get(&container).map(|it| it.lines.clone()).unwrap_or_default();
        for (at, stream, text) in lines.into_iter().filter(|_| self.is_up.get()) {
            let (of, skip) = (cursor.of(stream), &mut skipped[usize::from(stream == OutputStream::Stderr)]);
            if at < of.at || at == of.at && *skip > 0 {
                *skip -= u32::from(at == of.at);
                continue;
            }
            cursor.advance(stream, at);
            items.push(Ok(EngineLogLine { text, at, stream, next: cursor, after_gap: false }));
        }
        let most = tail.map_or(usize::MAX, |it| usize::try_from(it).expect("a test wants few lines"));
        items.drain(..items.len().saturating_sub(most));
        stream::iter(items)
    }
}

/// The tests' time begins with the runtime; a flood's lines are aligned to its first reader.
fn flood_nanos() -> i64 {
    thread_local!(static BEGUN: Cell<Option<Instant>> = const { Cell::new(None) });
    let begun = BEGUN.get().unwrap_or_else(Instant::now);
    BEGUN.set(Some(begun));
    BEGIN * 1_000_000_000 + i64::try_from(begun.elapsed().as_nanos()).expect("a test is short")
}
