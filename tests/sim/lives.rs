//! Lives by the million: in parallel processes, resumable, with counts of what they met.
//!
//! ```text
//! lives                LIVES=n lives, from FROM=n on, in JOBS=n processes; resumes where it was interrupted
//! lives one            the life of SEED=n, with its trace
//! lives some           for the processes: a line `FIRST COUNT` on stdin, a line for each life on stdout
//! ```
//!
//! The results are kept in `target/lives/<hash of this program>`: another build of the agent has to run them all again.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a tool for developers; what it prints is what it is for")]

#[path = "lives/count.rs"]
mod count;
#[path = "life.rs"]
mod life;
#[path = "people.rs"]
mod people;
#[path = "lives/some.rs"]
mod some;
#[path = "world.rs"]
#[expect(dead_code, reason = "named lives use more of it")]
mod world;

use life::live;
use world::Telling;

fn main() {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let well = match words.first().map(String::as_str) {
        Some("some") => some::serve(),
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
    let story = live(seed, Telling::Everything);
    println!("{}\n{:?}", story.trace, story.wrong);
    story.wrong.is_none()
}

/// A number from the environment.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().filter(|it| !it.is_empty()).map_or(default, |text| text.parse().unwrap())
}
