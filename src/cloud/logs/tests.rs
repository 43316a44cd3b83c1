//! The upload, with an engine and a cloud whose behaviour the tests write.

pub(super) mod device;

use futures_util::FutureExt;
use proptest::prelude::*;
use tokio::time::sleep;

use super::*;
use crate::port::CloudError;
use crate::state::{ContainerPhase, EngineTime, OutputStream, PowerAction, ShutdownOrigin, ShutdownProgress, ShutdownStatus};
use crate::testing::{BEGIN, ContainerLog, container, id, status};
use device::LogDevice;

const SECOND: Duration = Duration::from_secs(1);
const OUT: OutputStream = OutputStream::Stdout;

fn nothing() -> std::future::Ready<()> {
    std::future::ready(())
}

/// How many lines the log says were dropped.
fn suppressed(device: &LogDevice) -> u64 {
    let count = |it: &String| {
        it.strip_prefix("Warning: Suppressed ")?.strip_suffix(" message(s) due to high load")?.parse::<u64>().ok()
    };
    device.system().iter().filter_map(count).sum()
}

fn refused(status: u16) -> CloudError {
    CloudError::Refused { status, why: String::new(), retry_after: None }
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|it| it.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn lines_arrive_with_service_stream_and_time() {
    let device = LogDevice::with(&["a"]);
    device.print("a", OUT, "to stdout");
    device.print("a", OutputStream::Stderr, "to stderr");
    device.uploads(SECOND, nothing()).await;
    let lines = device.lines();
    assert_eq!(lines[0].source, LogSource::System);
    assert_eq!((lines[1].text.as_str(), lines[1].source, lines[1].at_ms), ("to stdout", LogSource::Stdout(7), BEGIN * 1000));
    assert_eq!((lines[2].text.as_str(), lines[2].source), ("to stderr", LogSource::Stderr(7)));
    assert_eq!(device.system(), ["Supervisor starting"]);
    let upload = device.publish.borrow().log_upload.clone();
    assert_eq!((upload.accepted.is_some(), upload.why, upload.dropped_lines), (true, None, 0));
}

#[tokio::test(start_paused = true)]
async fn lines_are_gathered_into_bodies_and_a_rest_sends_at_once() {
    let device = LogDevice::with(&["a"]);
    let begun = Instant::now();
    device
        .uploads(20 * SECOND, async {
            sleep(10 * SECOND).await;
            (0..120).for_each(|it| device.print("a", OUT, &it.to_string()));
            sleep(2 * SECOND).await;
            device.print("a", OUT, "120");
        })
        .await;
    assert_eq!(device.texts(), numbered(121));
    let bodies = device.cloud.bodies.borrow();
    let when: Vec<_> = bodies.iter().map(|(at, lines)| (lines.len(), at.duration_since(begun).as_millis())).collect();
    // The agent's first line; fifty lines at once, fifty more after them, and the rest a second later.
    assert_eq!(when, [(1, 110), (50, 10_010), (50, 10_020), (20, 11_020), (1, 13_010)]);
}

/// What happens to a device, in order: each for some tenths of a second.
#[derive(Debug, Clone, Copy)]
enum Episode {
    Calm,
    CloudAway,
    EngineAway,
    Refused,
    Killed,
    Restarted,
}

fn episodes() -> impl Strategy<Value = Vec<(Episode, u64)>> {
    let episode = prop_oneof![
        3 => Just(Episode::Calm),
        2 => Just(Episode::CloudAway),
        2 => Just(Episode::EngineAway),
        1 => Just(Episode::Refused),
        3 => Just(Episode::Killed),
        1 => Just(Episode::Restarted),
    ];
    prop::collection::vec((episode, 1..900_u64), 1..10)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_line_is_lost_or_doubled(episodes in episodes(), pace_ms in 5..400_u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (written, read) = runtime.block_on(lives(&episodes, pace_ms));
        for (name, count) in written {
            let prefix = format!("{name} ");
            let got: Vec<_> = read.iter().filter_map(|it| it.strip_prefix(&prefix)).map(str::to_owned).collect();
            prop_assert_eq!(got, numbered(count), "{}", name);
        }
    }
}

/// Two containers print through all episodes. How many lines each printed, and what the cloud has in the end.
async fn lives(episodes: &[(Episode, u64)], pace_ms: u64) -> ([(&'static str, usize); 2], Vec<String>) {
    let device = LogDevice::with(&["a", "b"]);
    let counts = std::cell::Cell::new([0, 0]);
    let print = async |rounds: u64| {
        for round in 0..rounds {
            let [mut a, mut b] = counts.get();
            device.print("a", OUT, &format!("a {a}"));
            a += 1;
            if round % 3 == 0 {
                // Both streams, and lines of one time.
                for stream in [OutputStream::Stderr, OUT] {
                    device.print("b", stream, &format!("b {b}"));
                    b += 1;
                }
            }
            counts.set([a, b]);
            sleep(Duration::from_millis(pace_ms)).await;
        }
    };
    let mut starts = 1;
    // The first start counts as the registration: what was written before it is not uploaded.
    device.uploads(SECOND, nothing()).await;
    for (episode, rounds) in episodes {
        let life = Duration::from_millis(rounds * pace_ms);
        match episode {
            Episode::Calm | Episode::Killed => (),
            Episode::CloudAway => device.cloud.is_away.set(true),
            Episode::EngineAway => device.engine.set_up(false),
            Episode::Refused => device.cloud.answers.borrow_mut().extend([refused(503), refused(401)]),
            Episode::Restarted => {
                starts += 1;
                let mut it = container("a");
                it.started = Some(EngineTime(starts));
                device.status.send_replace(status(vec![it, container("b")], "{}"));
            }
        }
        device.uploads(life, print(*rounds)).await;
        device.cloud.is_away.set(false);
        device.engine.set_up(true);
    }
    device.uploads(Duration::from_secs(7200), nothing()).await;
    let [a, b] = counts.get();
    ([("a", a), ("b", b)], device.texts())
}

#[tokio::test(start_paused = true)]
async fn while_the_cloud_is_away_two_bodies_are_held_and_the_rest_stays_with_the_engine() {
    let device = LogDevice::with(&["a"]);
    device.cloud.is_away.set(true);
    device
        .uploads(600 * SECOND, async {
            for it in 0..5000 {
                device.print("a", OUT, &it.to_string());
            }
            sleep(30 * SECOND).await;
            assert!(device.engine.given.get() <= 101 && device.engine.open.get() == 1, "{}", device.engine.given.get());
            assert_eq!(device.publish.borrow().log_upload.why.as_deref(), Some("no route"));
            sleep(60 * SECOND).await;
            assert_eq!(device.engine.open.get(), 0, "an engine does not keep a stream that is not read");
            device.cloud.is_away.set(false);
        })
        .await;
    assert_eq!(device.texts(), numbered(5000));
    assert_eq!(device.publish.borrow().log_upload.dropped_lines, 0);
}

#[tokio::test(start_paused = true)]
async fn a_container_that_floods_delays_another_by_a_body() {
    let device = LogDevice::with(&["a", "b"]);
    device.engine.logs.borrow_mut().get_mut(&id("a")).unwrap().floods = true;
    device.cloud.takes.set(Duration::from_millis(100));
    let printed = std::cell::Cell::new(Instant::now());
    device
        .uploads(40 * SECOND, async {
            sleep(20 * SECOND).await;
            printed.set(Instant::now());
            device.print("b", OUT, "here");
        })
        .await;
    let bodies = device.cloud.bodies.borrow();
    let (at, _) = bodies.iter().find(|(_, lines)| lines.iter().any(|it| it.text == "here")).unwrap();
    assert!(at.duration_since(printed.get()) <= Duration::from_millis(300), "{:?}", at.duration_since(printed.get()));
}

#[tokio::test(start_paused = true)]
async fn what_a_flood_drops_is_counted_and_said_and_nothing_else_is_dropped() {
    let device = LogDevice::with(&["a", "b"]);
    device.engine.logs.borrow_mut().get_mut(&id("a")).unwrap().floods = true;
    device.cloud.takes.set(Duration::from_millis(250));
    let print = async {
        for it in 0..300 {
            device.print("b", OUT, &it.to_string());
            sleep(SECOND).await;
        }
    };
    device.uploads(310 * SECOND, print).await;
    let dropped = device.publish.borrow().log_upload.dropped_lines;
    let flood: Vec<usize> = device.texts().iter().filter_map(|it| it.strip_prefix("flood ")?.parse().ok()).collect();
    assert!(flood.is_sorted_by(|a, b| a < b) && flood.len() > 20_000, "{}", flood.len());
    let last = flood.last().unwrap() + 1;
    let missing = last - flood.len();
    assert!(missing > 10_000 && dropped >= missing as u64 && dropped < missing as u64 + 100_000, "{dropped} of {missing}");
    let said = suppressed(&device);
    assert!(said > 0 && said <= dropped, "{said} of {dropped}");
    let others: Vec<_> = device.texts().into_iter().filter(|it| !it.starts_with("flood")).collect();
    assert_eq!(others, numbered(300));
}

#[tokio::test(start_paused = true)]
async fn what_an_engine_gives_late_is_no_flood() {
    let device = LogDevice::with(&["a"]);
    device
        .uploads(400 * SECOND, async {
            for index in 0..10 {
                if [4, 7].contains(&index) {
                    device.engine.set_up(index == 7);
                }
                device.print("a", OUT, &index.to_string());
                sleep(20 * SECOND).await;
            }
        })
        .await;
    assert_eq!((device.texts(), suppressed(&device)), (numbered(10), 0));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_device_is_asked_rarely() {
    let device = LogDevice::with(&["a"]);
    device.cloud.answers.borrow_mut().extend((0..1000).map(|_| refused(401)));
    device.uploads(Duration::from_secs(24 * 3600), nothing()).await;
    assert!((80..120).contains(&device.cloud.requests.get()), "{}", device.cloud.requests.get());
    assert!(device.publish.borrow().log_upload.why.as_deref().is_some_and(|it| it.contains("401")));
    // A poll without an ETag tells whether it is gone.
    assert!(device.request_refused.notified().now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_line_that_the_cloud_refuses_is_dropped_alone() {
    let device = LogDevice::with(&["a"]);
    *device.cloud.poison.borrow_mut() = Some("33".to_owned());
    (0..120).for_each(|it| device.print("a", OUT, &it.to_string()));
    device.uploads(60 * SECOND, nothing()).await;
    let mut expected = numbered(120);
    expected.remove(33);
    assert_eq!(device.texts(), expected);
    assert_eq!(device.publish.borrow().log_upload.dropped_lines, 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_printed_before_the_registration_is_not_uploaded_and_a_new_container_from_its_beginning() {
    let device = LogDevice::with(&["old"]);
    let mut old = container("old");
    old.created_secs = BEGIN - 100;
    device.status.send_replace(status(vec![old.clone()], "{}"));
    device.print("old", OUT, "history");
    device.clock.ahead_secs.set(50);
    device
        .uploads(10 * SECOND, async {
            sleep(SECOND).await;
            device.print("old", OUT, "now");
            device.engine.logs.borrow_mut().insert(id("new"), ContainerLog::default());
            device.print("new", OUT, "first");
            sleep(SECOND).await;
            device.status.send_replace(status(vec![old, container("new")], "{}"));
        })
        .await;
    assert_eq!(device.texts(), ["now", "first"]);
}

#[tokio::test(start_paused = true)]
async fn the_last_lines_of_a_container_that_has_ended_arrive_and_those_of_its_next_start() {
    let device = LogDevice::with(&["a"]);
    let set = |phase, started| {
        let mut it = container("a");
        (it.phase, it.started) = (phase, Some(EngineTime(started)));
        device.status.send_replace(status(vec![it], "{}"));
    };
    let end = |ended| {
        device.engine.logs.borrow_mut().get_mut(&id("a")).unwrap().ended = ended;
        device.engine.tell();
    };
    set(ContainerPhase::Exited(1), 1);
    device.print("a", OUT, "0");
    end(true);
    device
        .uploads(60 * SECOND, async {
            sleep(5 * SECOND).await;
            assert_eq!(device.engine.open.get(), 0);
            end(false);
            device.print("a", OUT, "1");
            set(ContainerPhase::Running, 2);
            sleep(5 * SECOND).await;
            device.print("a", OUT, "2");
        })
        .await;
    assert_eq!(device.texts(), numbered(3));
}

#[tokio::test(start_paused = true)]
async fn log_control_switches_it_off_and_levels_limit_it() {
    let device = LogDevice::with(&["a"]);
    let running = || vec![container("a")];
    device
        .uploads(60 * SECOND, async {
            device.print("a", OUT, "on");
            sleep(5 * SECOND).await;
            let began = || device.store.durable.borrow().as_ref().map(|it| it.began);
            let at_first = began();
            device.status.send_replace(status(running(), r#"{"RESIN_SUPERVISOR_LOG_CONTROL": "false"}"#));
            sleep(5 * SECOND).await;
            device.print("a", OUT, "off");
            sleep(5 * SECOND).await;
            device.status.send_replace(status(running(), "{}"));
            sleep(5 * SECOND).await;
            // No start after a power cut uploads what was printed meanwhile.
            assert!(began() > at_first, "{:?}", began());
            device.print("a", OUT, "on again");
        })
        .await;
    assert_eq!(device.texts(), ["on", "on again"]);

    for (name, level, expected) in [
        ("BALENA_LOGS_LEVEL", "none", &[][..]),
        ("RESIN_LOGS_LEVEL", "err", &["bad"]),
        ("BALENA_LOGS_LEVEL", "error", &["bad"]),
        ("BALENA_LOGS_LEVEL", "info", &["good", "bad"]),
    ] {
        let device = LogDevice::with(&["a"]);
        let mut it = container("a");
        it.env = Arc::new([(name.to_owned(), level.to_owned())].into_iter().collect());
        device.status.send_replace(status(vec![it], "{}"));
        device.print("a", OUT, "good");
        device.print("a", OutputStream::Stderr, "bad");
        device.uploads(5 * SECOND, nothing()).await;
        assert_eq!(device.texts(), expected, "{level}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_lines_before_a_reboot_are_sent_at_once_and_the_durable_copy_is_written() {
    let device = LogDevice::with(&["a"]);
    let (at, by, progress) = (Instant::now(), ShutdownOrigin::Request, ShutdownProgress::Accepted);
    device
        .uploads(10 * SECOND, async {
            for it in 0..90 {
                device.print("a", OUT, &it.to_string());
                sleep(Duration::from_millis(100)).await;
            }
            let ending = Some(PowerAction::Reboot);
            device.status.send_modify(|it| it.shutdown = ShutdownStatus::UnderWay { ending, by, since: at, progress });
            sleep(Duration::from_millis(200)).await;
            assert_eq!((device.texts().len(), device.system().pop().unwrap().as_str()), (90, "Rebooting"));
            assert_eq!(device.store.durable.borrow().clone().unwrap().containers.len(), 1);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_flash_is_written_once_an_hour() {
    let device = LogDevice::with(&["a"]);
    let print = async {
        for it in 0..24 * 360 {
            device.print("a", OUT, &it.to_string());
            sleep(10 * SECOND).await;
        }
    };
    device.uploads(SECOND, print).await;
    assert_eq!(device.texts(), numbered(24 * 360));
    assert!((24..=26).contains(&device.store.durable_writes.get()), "{}", device.store.durable_writes.get());
}

#[tokio::test(start_paused = true)]
async fn the_agents_own_lines_wait_up_to_a_hundred_and_events_that_were_missed_are_counted() {
    let device = LogDevice::with(&[]);
    device.cloud.is_away.set(true);
    device
        .uploads(2 * 3600 * SECOND, async {
            let event = || Arc::new(DeviceEvent::Begun(crate::state::Step::ReleaseLocks(crate::state::AppId(1))));
            sleep(SECOND).await;
            // The channel holds four.
            (0..10).for_each(|_| drop(device.events.send(event())));
            for _ in 0..300 {
                sleep(SECOND).await;
                device.events.send(event()).unwrap();
            }
            device.cloud.is_away.set(false);
        })
        .await;
    let said = device.system().iter().filter(|it| *it == "Releasing update locks").count();
    let dropped = device.publish.borrow().log_upload.dropped_lines;
    assert_eq!(said as u64 + dropped, 310, "{dropped}");
    assert!((140..=152).contains(&said), "{said}");
    assert_eq!(suppressed(&device), dropped);
}
