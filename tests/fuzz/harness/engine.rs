//! An engine's responses: as values, and as bytes on its socket.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use boardkeeper::linux::engine::{Engine, EngineSettings, codec};
use boardkeeper::plan;
use boardkeeper::port::Engine as _;
use boardkeeper::sorted::SortedMap;
use boardkeeper::state::{Current, EngineAction, ImageRef, Overrides, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Runtime;

/// Lists, details, events and lines of a pull, in one JSON object, or a registry's manifest: an empty target can be planned
/// for whatever they say.
pub fn replies(data: &[u8]) {
    let _ = codec::compressed_bytes(data);
    let engine = an_engine(Path::new("/nowhere"));
    let Some((seen, progress)) = codec::decode(data, &engine) else { return };
    assert!(progress.is_sorted_by_key(|it| it.percent) && progress.last().is_none_or(|it| it.percent < 100), "{progress:?}");
    assert!(progress.is_sorted_by_key(|it| it.bytes) && progress.is_sorted_by_key(|it| it.total_bytes), "{progress:?}");
    let current = Current {
        containers: seen.containers,
        images: seen.images,
        networks: seen.networks,
        volumes: seen.volumes,
        ..Current::default()
    };
    let steps = plan::plan(&Target::default(), &Overrides::default(), &current).steps;
    assert!(steps.iter().all(|it| !it.to_string().contains('\n')), "{steps:?}");
}

/// A container's log, after a byte that says how it is framed and cut: cut otherwise it has the same lines, and these are
/// harmless.
pub fn logs(data: &[u8]) {
    let Some((how, log)) = data.split_first() else { return };
    let has_terminal = how % 2 == 1;
    let (texts, is_log) = codec::log_lines(has_terminal, [log]);
    let cut = codec::log_lines(has_terminal, log.chunks(1 + usize::from(how / 2)));
    assert_eq!(cut, (texts.clone(), is_log));
    let is_harmless = |it: char| !it.is_control() || it == '\t' || it == '\u{1b}';
    assert!(texts.iter().all(|it| it.chars().count() <= 10_000 && it.chars().all(is_harmless)));
}

/// Labels, an environment and a name on the engine: a line each, `L name=value`, `E name=value` or `N name`; and a file of
/// credentials, in all of it.
pub fn labels(data: &[u8]) {
    let _ = codec::has_login(data, "r.example/app:1");
    let text = String::from_utf8_lossy(data);
    let (mut labels, mut env, mut names) = (SortedMap::new(), Vec::new(), Vec::new());
    for line in text.lines() {
        match line.split_at_checked(2) {
            Some(("L ", rest)) => {
                let (name, value) = rest.split_once('=').unwrap_or((rest, ""));
                labels.insert(name.to_owned(), value.to_owned());
            }
            Some(("E ", rest)) => env.push(rest.to_owned()),
            Some(("N ", rest)) => names.push(rest.to_owned()),
            Some(_) | None => {}
        }
    }
    let (service, owners) = codec::service_and_labels(&labels);
    assert!(owners.keys().all(|it| labels.contains_key(it)) && service.is_none_or(|it| !it.service.is_empty()));
    assert!(codec::env(&env).len() <= env.len());
    for name in &names {
        assert!(name.ends_with(codec::name_in_document(name, &labels)));
    }
}

/// The bytes of a whole engine, headers, chunks and all: one answer for each connection, divided by `\n----\n`; the last one
/// counts for all that follow. A look, an event and a pull end, whatever they say.
pub fn engine(data: &[u8]) {
    thread_local!(static LAB: OnceCell<Lab> = const { OnceCell::new() });
    LAB.with(|lab| {
        let lab = lab.get_or_init(Lab::new);
        lab.runtime.block_on(async {
            let _ = std::fs::remove_file(&lab.socket);
            let listener = UnixListener::bind(&lab.socket).expect("a fresh directory takes a socket");
            tokio::select! {
                biased;
                () = asked(&lab.socket) => {}
                never = answers(&listener, data) => match never {},
            }
        });
    });
}

struct Lab {
    runtime: Runtime,
    socket: PathBuf,
    _dir: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory for a socket");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { runtime, socket: dir.path().join("engine.sock"), _dir: dir }
    }
}

/// Nothing that is said is waited for long: who says half of something has hung up.
async fn asked(socket: &Path) {
    let engine = an_engine(socket);
    // By the clock: a machine may be busy with other things.
    let soon = Duration::from_secs(60);
    let _ = tokio::time::timeout(soon, engine.observe()).await.expect("an engine that hung up is not waited for");
    let mut events = std::pin::pin!(engine.events());
    // Found again or not: who is not is waited for.
    let _ = tokio::time::timeout(Duration::from_millis(5), futures_util::StreamExt::next(&mut events)).await;
    let pull = EngineAction::Pull(ImageRef::new("r.example/app:1"));
    let _ = tokio::time::timeout(soon, engine.execute(&pull, &|_| ())).await.expect("nor is a pull");
}

async fn answers(listener: &UnixListener, data: &[u8]) -> std::convert::Infallible {
    let mut parts = split(data).into_iter();
    let mut last: &[u8] = b"";
    let mut open = futures_util::stream::FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some(()) = futures_util::StreamExt::next(&mut open), if !open.is_empty() => {}
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                last = parts.next().unwrap_or(last);
                open.push(answer(stream, last));
            }
        }
    }
}

async fn answer(mut stream: UnixStream, bytes: &[u8]) {
    let mut head = [0; 4096];
    let _ = stream.read(&mut head).await;
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
}

/// The parts of an input.
pub(super) fn split(data: &[u8]) -> Vec<&[u8]> {
    const BETWEEN: &[u8] = b"\n----\n";
    let mut parts = Vec::new();
    let mut rest = data;
    while let Some(at) = rest.windows(BETWEEN.len()).position(|it| it == BETWEEN) {
        parts.push(&rest[..at]);
        rest = &rest[at + BETWEEN.len()..];
    }
    parts.push(rest);
    parts
}

fn an_engine(socket: &Path) -> Engine {
    Engine::connect(EngineSettings {
        hosts: vec![format!("unix://{}", socket.display())],
        root: PathBuf::from("/"),
        logins: None,
        floor_bytes: 0,
        registries: None,
        arch: "armv7l".to_owned(),
    })
}
