//! Ten thousand identify requests; in one of ten the agent is killed while the LED blinks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use boardkeeper::board::{LedChoice, LedLocation};
use boardkeeper::led;
use boardkeeper::linux::leds::Leds;
use boardkeeper::linux::leds::simulated::SimulatedLed;
use boardkeeper::port::Leds as _;
use boardkeeper::request::LedRequest;
use boardkeeper::state::{IdentifyOutcome, LedStatus};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

use crate::kernel::{Fault, Kernel};
use crate::{dir, driver, led as a_led, state};

/// A small generator, so that a failing life can be lived again.
struct Rng(u64);

impl Rng {
    /// A number below `n`: splitmix64.
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    fn one_of<T: Clone>(&mut self, all: &[T]) -> T {
        let n = self.below(all.len() as u64);
        all[usize::try_from(n).unwrap()].clone()
    }
}

/// A LED of some kernel, as some distribution left it.
fn any_led(rng: &mut Rng) -> SimulatedLed {
    let kernels: [&[&str]; 4] = [
        &["mmc0", "netdev", "heartbeat", "timer", "pattern"],
        &["mmc0", "netdev", "heartbeat", "timer"],
        &["mmc0", "heartbeat"],
        &[],
    ];
    let triggers = rng.one_of(&kernels);
    let mut ways: Vec<SimulatedLed> = vec![a_led(triggers, "none", &[], 0), a_led(triggers, "none", &[], 77)];
    if triggers.contains(&"mmc0") {
        ways.push(a_led(triggers, "mmc0", &[], 0));
        ways.push(a_led(triggers, "heartbeat", &[("invert", "1")], 0));
    }
    if triggers.contains(&"timer") {
        ways.push(a_led(triggers, "timer", &[("delay_on", "30"), ("delay_off", "2000")], 0));
        ways.push(a_led(triggers, "netdev", &[("device_name", "eth0"), ("link", "1")], 0));
    }
    if triggers.contains(&"pattern") {
        ways.push(a_led(triggers, "pattern", &[("repeat", "-1"), ("pattern", "9 10 9 0 0 90 0 0")], 0));
    }
    rng.one_of(&ways)
}

fn only(name: &str) -> LedChoice {
    LedChoice {
        led: Some(LedLocation::Class { name: name.into(), dir: dir().with_file_name(name) }),
        described: None,
        why: "it is the only one".into(),
        passed_over: Vec::new(),
        others: Vec::new(),
        free_lines: Vec::new(),
    }
}

fn leds(kernel: &Arc<Kernel>, runtime: &std::path::Path) -> Leds {
    Leds::new(driver(kernel, runtime), Box::new(|| only("ACT")), runtime)
}

/// Runs the agent's LED for that long, while a client requests to identify the device once or twice.
async fn live(leds: &Leds, rng: &mut Rng, length: Duration) {
    let (asks, inbox) = mpsc::channel(4);
    let (publish, _panel) = watch::channel(LedStatus::default());
    let twice = rng.below(3) == 0;
    let asking = async {
        for _ in 0..=u8::from(twice) {
            let (asker, answer) = oneshot::channel();
            asks.send(LedRequest::Identify(asker)).await.unwrap();
            // A process that was killed does not answer, or has an error to report.
            if let Ok(answer) = answer.await {
                assert!(matches!(answer, IdentifyOutcome::By(_) | IdentifyOutcome::None(_)), "{answer}");
            }
            sleep(Duration::from_secs(3)).await;
        }
        std::future::pending::<()>().await;
    };
    let life = async {
        tokio::select! {
            biased;
            never = led::run(leds, inbox, publish, mpsc::channel(1).0) => match never {},
            () = asking => {}
        }
    };
    // Wherever it is, it is dropped.
    let _ = timeout(length, life).await;
}

/// What became of some lives.
#[derive(Debug, Default)]
struct Tally {
    killed: u32,
    changed: u32,
}

async fn some_lives(seed: u64, lives: u32) -> Tally {
    let runtime = tempfile::tempdir().unwrap();
    let mut rng = Rng(seed);
    let mut tally = Tally::default();
    for life in 0..lives {
        let kernel = Arc::new(Kernel::default());
        let was = any_led(&mut rng);
        kernel.plug(&dir(), was.clone());
        let first = leds(&kernel, runtime.path());
        if rng.below(10) == 0 {
            tally.killed += 1;
            if rng.below(2) == 0 {
                let fault = rng.one_of(&[Fault::KilledBefore, Fault::KilledAfter]);
                kernel.fault_at(1 + rng.below(20), fault);
            }
            let length = Duration::from_millis(rng.below(20_000));
            live(&first, &mut rng, length).await;
            kernel.kill();
        } else {
            live(&first, &mut rng, Duration::from_secs(20)).await;
            first.restore_all().await.unwrap();
        }
        drop(first);
        kernel.start_anew();
        tally.changed += u32::from(state(&kernel.led(&dir())) != state(&was));
        let next = leds(&kernel, runtime.path());
        next.restore_all().await.unwrap();
        assert_eq!(state(&kernel.led(&dir())), state(&was), "seed {seed}, life {life}");
        assert_eq!(kernel.records(), 0, "seed {seed}, life {life}");
    }
    tally
}

#[test]
fn ten_thousand_identifies_and_one_in_ten_killed() {
    // Side by side, as most of the time goes by in waiting for the kernel to close watches.
    let lived = std::thread::scope(|scope| {
        let lives = (0..40_u64).map(|seed| {
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
                runtime.block_on(some_lives(seed, 250))
            })
        });
        let lives: Vec<_> = lives.collect();
        lives.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let sum = |of: fn(&Tally) -> u32| lived.iter().map(of).sum::<u32>();
    let (killed, changed) = (sum(|it| it.killed), sum(|it| it.changed));
    // The test must have tried what it is there for.
    assert!(killed > 900 && changed > 400, "{killed} killed, {changed} of them while the LED was changed");
}

#[tokio::test(start_paused = true)]
async fn a_blink_costs_one_look_at_sysfs_and_the_next_one_looks_again() {
    let (runtime, kernel) = (tempfile::tempdir().unwrap(), Arc::new(Kernel::default()));
    for name in ["ACT", "PWR"] {
        kernel.plug(&dir().with_file_name(name), a_led(&["timer"], "none", &[], 0));
    }
    let looks = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&looks);
    // Between the two blinks another LED becomes the one that identifies the device.
    let choose = move || only(if counted.fetch_add(1, Ordering::Relaxed) < 2 { "ACT" } else { "PWR" });
    let leds = Leds::new(driver(&kernel, runtime.path()), Box::new(choose), runtime.path());
    let (asks, inbox) = mpsc::channel(4);
    let (publish, _panel) = watch::channel(LedStatus::default());
    let blinks = async {
        for (name, so_far) in [("ACT", 2), ("PWR", 3)] {
            let (asker, answer) = oneshot::channel();
            asks.send(LedRequest::Identify(asker)).await.unwrap();
            assert_eq!(answer.await.unwrap(), IdentifyOutcome::By(name.into()));
            assert_eq!(kernel.led(&dir().with_file_name(name)).trigger, "timer");
            sleep(Duration::from_secs(20)).await;
            // The agent's start costs one look, too.
            assert_eq!(looks.load(Ordering::Relaxed), so_far);
            assert_eq!(kernel.led(&dir().with_file_name(name)).trigger, "none");
        }
    };
    tokio::select! {
        biased;
        never = led::run(&leds, inbox, publish, mpsc::channel(1).0) => match never {},
        () = blinks => {}
    }
}
