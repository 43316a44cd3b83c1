//! The kernel's own LED class and GPIO, and the real agent and tool on them: `make kernel`.
//!
//! They run as root on a machine of their own, which `tests/lab/kernel.sh` boots: its LEDs report each change of their
//! brightness, and so do its lines. QEMU derives the machine's time from the instructions it has run, and skips idle time: so
//! it does not matter how busy the host is, and a quarter of a minute takes a second.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fall over")]
#![expect(clippy::disallowed_methods, reason = "no simulation is here: the machine's own time is measured")]
#![expect(clippy::print_stdout, reason = "what it costs is to be read")]

mod agent;
mod bring_up;
mod cost;
mod gpio;
mod identify;
mod lines;
mod uleds;

use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a LED is lit and dark that shows which device it is.
const BLINK: (Duration, Duration) = (millis(200), millis(200));

/// Waits until it is so.
fn until(what: &str, patience: Duration, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < patience, "after {patience:?} it is not so: {what}");
        sleep(Duration::from_millis(5));
    }
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Which kernel this is, by what it lacks: see `tests/lab/kernel.sh`.
fn flavour() -> String {
    std::env::var("FLAVOUR").expect("tests/lab/kernel.sh says which kernel it is")
}
