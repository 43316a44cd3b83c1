//! Lives by the million: in parallel processes, resumable, with counts of the coverage marks that they hit.
//!
//! ```text
//! lives                LIVES=n lives, from FROM=n on, in JOBS=n processes; resumes where it was interrupted
//! lives one            the life of SEED=n, with its trace
//! lives some           for the processes: a line `FIRST COUNT` on stdin, a line for each life on stdout
//! ```
//!
//! The results are kept in `target/lives/<hash of this program>`: another build of the agent has to run them all again.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a tool for developers; what it prints is what it is for")]

#[path = "clients.rs"]
mod clients;
#[path = "lives/count.rs"]
mod count;
#[path = "life.rs"]
mod life;
#[path = "random_calls.rs"]
mod random_calls;
#[path = "views.rs"]
mod views;
#[path = "lives/worker.rs"]
mod worker;
#[path = "world.rs"]
#[expect(dead_code, reason = "named lives use more of it")]
mod world;

use life::live;
use world::Trace;

fn main() {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let well = match words.first().map(String::as_str) {
        Some("some") => worker::serve(),
        Some("one") => one(number("SEED", 0)),
        Some(other) => {
            println!("`{other}` is not known: `one`, `some` or nothing");
            false
        }
        None => count::count(number("FROM", 0), number("LIVES", 20_000)),
    };
    std::process::exit(i32::from(!well));
}

/// Tells a life.
fn one(seed: u64) -> bool {
    let outcome = live(seed, Trace::On);
    println!("{}\n{:?}", outcome.trace, outcome.violation);
    outcome.violation.is_none()
}

/// A number from the environment.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().filter(|it| !it.is_empty()).map_or(default, |text| text.parse().unwrap())
}
