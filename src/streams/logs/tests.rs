use std::sync::Arc;

use futures_util::FutureExt;
use tokio::time::sleep;

use super::*;
use crate::state::{Container, ContainerPhase, ContainerRef, Current, EngineAction, OutputStream, ServiceKey, Step};
use crate::testing::{BEGIN, ContainerLog, ScriptedEngine, WallClock, container, id, status};

const OUT: OutputStream = OutputStream::Stdout;
const SECOND: Duration = Duration::from_secs(1);

/// A device on which `main` of app 1 and `other` of app 2 run.
struct Scene {
    engine: ScriptedEngine,
    clock: WallClock,
    status: watch::Sender<Status>,
    events: broadcast::Sender<Arc<DeviceEvent>>,
}

fn of_app_2() -> Container {
    Container { key: ServiceKey::new(AppId(2), "other"), ..container("b") }
}

impl Scene {
    fn new() -> Self {
        let engine = ScriptedEngine::default();
        engine.is_up.set(true);
        engine.logs.replace(["a", "b"].into_iter().map(|it| (id(it), ContainerLog::default())).collect());
        let containers = [container("a"), of_app_2()].map(|it| Container { created_secs: BEGIN - 100, ..it });
        let status = watch::Sender::new(status(containers.into(), "{}"));
        Self {
            engine,
            clock: WallClock { begun: Instant::now(), ahead_secs: 0.into() },
            status,
            events: broadcast::Sender::new(4),
        }
    }

    fn streams(&self) -> LogStreams<'_, ScriptedEngine, WallClock> {
        LogStreams::new(&self.engine, &self.clock, self.status.subscribe(), self.events.subscribe())
    }

    fn print(&self, name: &str, stream: OutputStream, text: &str) {
        let at = EngineTime(BEGIN * 1_000_000_000 + self.clock.elapsed_nanos());
        self.engine.logs.borrow_mut().get_mut(&id(name)).unwrap().lines.push((at, stream, text.to_owned()));
        self.engine.tell();
    }
}

type Client = mpsc::Receiver<Arc<LiveLogLine>>;

fn join<E: Engine, K: Clock>(streams: &mut LogStreams<'_, E, K>, apps: Option<u32>) -> Result<Client, StreamRefusal> {
    let (reply, answer) = oneshot::channel();
    streams.subscribe(LogQuery { apps: apps.map(|it| [AppId(it)].into()), follow: true, ..LogQuery::default() }, reply);
    answer.now_or_never().unwrap().unwrap()
}

/// What was written before, too.
const PAST: LogQuery = LogQuery { apps: None, service: None, past: Some(LogPast { since: None, tail: None }), follow: true };

fn ask<E: Engine, K: Clock>(streams: &mut LogStreams<'_, E, K>, query: LogQuery) -> Client {
    let (reply, answer) = oneshot::channel();
    streams.subscribe(query, reply);
    answer.now_or_never().unwrap().unwrap().unwrap()
}

/// Whether the stream has ended.
fn has_ended(client: &mut Client) -> bool {
    matches!(client.try_recv(), Err(mpsc::error::TryRecvError::Disconnected))
}

/// Serves for so long.
async fn serve<E: Engine, K: Clock>(streams: &mut LogStreams<'_, E, K>, long: Duration) {
    let serves = async {
        loop {
            streams.step().await;
        }
    };
    tokio::select! { biased; never = serves => never, () = sleep(long) => () }
}

/// What a client got, in words.
fn got(client: &mut Client) -> Vec<String> {
    let mut all = Vec::new();
    while let Ok(line) = client.try_recv() {
        let from = line.from.as_ref().map_or("agent".to_owned(), |(name, stream)| format!("{name} {stream:?}"));
        all.push(format!("{from}: {}", line.text));
    }
    all
}

#[tokio::test(start_paused = true)]
async fn clients_get_what_is_written_from_now_on_of_the_apps_that_they_may_see() {
    let scene = Scene::new();
    scene.print("a", OUT, "before");
    sleep(2 * SECOND).await;
    let mut streams = scene.streams();
    let (mut all, mut one) = (join(&mut streams, None).unwrap(), join(&mut streams, Some(1)).unwrap());
    scene.print("a", OutputStream::Stderr, "of main");
    scene.print("b", OUT, "of other");
    serve(&mut streams, SECOND).await;
    assert_eq!(got(&mut one), ["main Stderr: of main"]);
    let mut both = got(&mut all);
    both.sort();
    assert_eq!(both, ["main Stderr: of main", "other Stdout: of other"]);
    assert_eq!(scene.engine.open.get(), 2, "clients share the readers");
    // A container that is created later is read from its beginning.
    scene.engine.logs.borrow_mut().insert(id("new"), ContainerLog::default());
    scene.print("new", OUT, "first words");
    scene.status.send_modify(|it| it.current = Arc::new(Current { containers: vec![container("new")], ..Current::default() }));
    serve(&mut streams, SECOND).await;
    assert_eq!(got(&mut one), ["main Stdout: first words"]);
}

#[tokio::test(start_paused = true)]
async fn without_clients_nothing_is_read() {
    let scene = Scene::new();
    let mut streams = scene.streams();
    assert!(streams.step().now_or_never().is_none());
    assert_eq!(scene.engine.open.get(), 0);
    let (first, second) = (join(&mut streams, None).unwrap(), join(&mut streams, None).unwrap());
    serve(&mut streams, SECOND).await;
    drop(first);
    serve(&mut streams, SECOND).await;
    assert_eq!((scene.engine.open.get(), streams.clients.len()), (2, 1));
    drop(second);
    serve(&mut streams, SECOND).await;
    assert_eq!((scene.engine.open.get(), streams.clients.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_loses_lines_and_holds_up_no_other() {
    let scene = Scene::new();
    let mut streams = scene.streams();
    let (mut slow, mut fast) = (join(&mut streams, None).unwrap(), join(&mut streams, None).unwrap());
    let lines = QUEUE * 3;
    let mut read = 0;
    for index in 0..lines {
        scene.print("a", OUT, &format!("line {index}"));
        if index % 10 == 9 {
            serve(&mut streams, Duration::from_millis(1)).await;
            read += got(&mut fast).len();
        }
    }
    serve(&mut streams, SECOND).await;
    assert_eq!(read + got(&mut fast).len(), lines);
    let held = got(&mut slow);
    assert_eq!(held.len(), QUEUE);
    // The number is sent once the client reads again, without another line.
    serve(&mut streams, SECOND).await;
    assert_eq!(got(&mut slow), [format!("agent: Warning: Suppressed {} message(s) due to high load", lines - QUEUE)]);
    serve(&mut streams, SECOND).await;
    assert_eq!(got(&mut slow), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn the_agents_lines_go_to_those_who_may_see_their_app() {
    let scene = Scene::new();
    scene.status.send_modify(|it| it.rejected = Some("of before".to_owned()));
    let mut streams = scene.streams();
    let mut clients = [None, Some(1), Some(2)].map(|it| join(&mut streams, it).unwrap());
    let main = container("a");
    let step = Step::Engine(EngineAction::Start(ContainerRef { key: main.key.clone(), id: main.id.clone() }));
    scene.events.send(Arc::new(DeviceEvent::Begun(step))).unwrap();
    serve(&mut streams, SECOND).await;
    scene.status.send_modify(|it| {
        it.rejected = Some("of now".to_owned());
        let ended = Container { phase: ContainerPhase::Exited(1), ..of_app_2() };
        it.current = Arc::new(Current { containers: vec![container("a"), ended], ..Current::default() });
    });
    serve(&mut streams, SECOND).await;
    let starts = "agent: Starting service 'main sha256:abc'".to_owned();
    let (exits, rejected) =
        ("agent: Service exited 'other sha256:abc'".to_owned(), "agent: Could not move to new release: of now");
    let [device, one, two] = clients.each_mut().map(got);
    assert_eq!(device, [starts.clone(), exits.clone(), rejected.to_owned()]);
    assert_eq!((one, two), (vec![starts], vec![exits]));
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_comes_back_is_read_on() {
    let scene = Scene::new();
    let mut streams = scene.streams();
    let mut client = join(&mut streams, None).unwrap();
    scene.print("a", OUT, "before");
    serve(&mut streams, SECOND).await;
    scene.engine.set_up(false);
    serve(&mut streams, SECOND).await;
    scene.print("a", OUT, "meanwhile");
    scene.engine.set_up(true);
    serve(&mut streams, 60 * SECOND).await;
    assert_eq!(got(&mut client), ["main Stdout: before", "main Stdout: meanwhile"]);
}

#[tokio::test(start_paused = true)]
async fn one_client_more_than_there_is_room_for_is_refused() {
    let scene = Scene::new();
    let mut streams = scene.streams();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| join(&mut streams, None).unwrap()).collect();
    assert_eq!(join(&mut streams, None).unwrap_err(), StreamRefusal::TooMany(CLIENTS));
    clients.pop();
    serve(&mut streams, SECOND).await;
    assert!(join(&mut streams, None).is_ok());
}

/// Lines of both containers, a second apart.
async fn print_four(scene: &Scene) {
    for (name, stream, text) in [("a", OUT, "1"), ("b", OUT, "2"), ("a", OutputStream::Stderr, "3"), ("b", OUT, "4")] {
        sleep(SECOND).await;
        scene.print(name, stream, text);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_written_before_comes_in_the_order_of_time_and_ends() {
    let scene = Scene::new();
    print_four(&scene).await;
    let mut streams = scene.streams();
    let past = |since, tail| LogQuery { past: Some(LogPast { since, tail }), follow: false, ..PAST };
    let of_app_1 = LogQuery { apps: Some([AppId(1)].into()), ..past(None, None) };
    let at = |secs: i64| Some(LogSince::At(EngineTime((BEGIN + secs) * 1_000_000_000)));
    for (query, expected) in [
        (past(None, None), &["main Stdout: 1", "other Stdout: 2", "main Stderr: 3", "other Stdout: 4"][..]),
        (past(None, Some(1)), &["main Stderr: 3", "other Stdout: 4"]),
        (past(Some(LogSince::Ago(SECOND * 3 / 2)), None), &["main Stderr: 3", "other Stdout: 4"]),
        (past(at(4), None), &["other Stdout: 4"]),
        (past(at(1_000_000), None), &[]),
        (of_app_1, &["main Stdout: 1", "main Stderr: 3"]),
        (LogQuery { service: Some("other".to_owned()), ..past(None, None) }, &["other Stdout: 2", "other Stdout: 4"]),
        (LogQuery { past: None, ..past(None, None) }, &[]),
    ] {
        let mut client = ask(&mut streams, query.clone());
        serve(&mut streams, Duration::from_millis(1)).await;
        assert_eq!(got(&mut client), expected, "{query:?}");
        assert!(has_ended(&mut client), "{query:?}");
    }
    assert_eq!((scene.engine.open.get(), streams.readers), (0, 0), "what is written from now on is not read");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_follows_gets_each_line_once() {
    let scene = Scene::new();
    print_four(&scene).await;
    let mut streams = scene.streams();
    let query = LogQuery { service: Some("main".to_owned()), ..PAST };
    let mut first = ask(&mut streams, query.clone());
    scene.print("a", OUT, "5");
    serve(&mut streams, SECOND).await;
    // The second client comes to readers that are there.
    let mut second = ask(&mut streams, query);
    scene.print("a", OUT, "6");
    serve(&mut streams, SECOND).await;
    scene.print("a", OUT, "7");
    serve(&mut streams, SECOND).await;
    let expected = ["Stdout: 1", "Stderr: 3", "Stdout: 5", "Stdout: 6", "Stdout: 7"].map(|it| format!("main {it}"));
    assert_eq!((got(&mut first), got(&mut second)), (expected.to_vec(), expected.to_vec()));
    assert!(!has_ended(&mut first) && !has_ended(&mut second));
}

#[tokio::test(start_paused = true)]
async fn more_than_waits_for_a_client_is_read_in_another_pass() {
    let scene = Scene::new();
    let mut streams = scene.streams();
    let lines = QUEUE * 3;
    for index in 0..lines {
        scene.print("a", OUT, &format!("old {index}"));
    }
    sleep(2 * SECOND).await;
    // It reads what was written before slowly, and much is written meanwhile.
    let mut client = ask(&mut streams, PAST);
    serve(&mut streams, SECOND).await;
    for index in 0..lines {
        scene.print("a", OUT, &format!("new {index}"));
        if index % 10 == 9 {
            serve(&mut streams, Duration::from_millis(1)).await;
        }
    }
    let mut all = Vec::new();
    while all.len() < 2 * lines {
        let before = all.len();
        all.extend(got(&mut client));
        assert!(all.len() > before, "it ends after {} lines", all.len());
        serve(&mut streams, SECOND).await;
    }
    let expected = ["old", "new"].into_iter().flat_map(|word| (0..lines).map(move |it| format!("main Stdout: {word} {it}")));
    assert_eq!(all, expected.collect::<Vec<_>>());
    assert_eq!(got(&mut client), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_does_not_answer_is_said_and_followed_later() {
    let scene = Scene::new();
    scene.print("a", OUT, "before");
    scene.engine.set_up(false);
    let mut streams = scene.streams();
    let mut client = ask(&mut streams, LogQuery { apps: Some([AppId(1)].into()), ..PAST });
    serve(&mut streams, SECOND).await;
    let why = "the container engine does not answer: connection refused";
    assert_eq!(got(&mut client), [format!("agent: Warning: The log of service 'main' is cut off: {why}")]);
    scene.print("a", OUT, "after");
    scene.engine.set_up(true);
    serve(&mut streams, 60 * SECOND).await;
    assert_eq!(got(&mut client).last().map(String::as_str), Some("main Stdout: after"));
}

#[tokio::test(start_paused = true)]
async fn readers_of_what_was_written_before_count_as_clients_until_they_leave() {
    let scene = Scene::new();
    for index in 0..QUEUE * 2 {
        scene.print("a", OUT, &format!("line {index}"));
    }
    let mut streams = scene.streams();
    let query = LogQuery { follow: false, ..PAST };
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| ask(&mut streams, query.clone())).collect();
    serve(&mut streams, SECOND).await;
    assert_eq!(join(&mut streams, None).unwrap_err(), StreamRefusal::TooMany(CLIENTS));
    clients.pop();
    serve(&mut streams, SECOND).await;
    assert!(join(&mut streams, None).is_ok());
}
