//! A logind for an agent that is tested as a program: `cargo run --example fake_logind DIR`.
//!
//! It has a bus of its own below DIR, accepts every reboot and shutdown, announces it, and calls it off four seconds later, so
//! that the machine stays up. Each request that it accepts is a line of its output.

#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a tool for developers")]

mod bus;
#[expect(dead_code, reason = "tests use more of it")]
#[path = "power/fake.rs"]
mod fake;

use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

/// What becomes of a request; here the first.
#[expect(dead_code, reason = "tests use more of it")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answers {
    Yes,
    Refused,
    Blocked,
    Hanging,
    Vanishing,
    Gone,
}

/// How long a shutdown is under way.
const UNTIL_CALLED_OFF: Duration = Duration::from_secs(4);

fn main() {
    let root = PathBuf::from(std::env::args_os().nth(1).expect("the directory for its bus is the argument"));
    let _daemon = bus::Daemon::start(&root);
    let logind = fake::Logind::begin(&root);
    println!("{}", bus::address(&root));
    let mut seen = 0;
    loop {
        let accepted = logind.script.lock().unwrap().accepted.clone();
        if accepted.len() > seen {
            println!("{}", accepted[seen..].join("\n"));
            seen = accepted.len();
            logind.announce(true);
            sleep(UNTIL_CALLED_OFF);
            logind.announce(false);
        }
        sleep(Duration::from_millis(20));
    }
}
