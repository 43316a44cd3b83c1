//! Lives by the million: in parallel processes, resumable, with counts of the coverage marks that they hit.
//!
//! The results are kept in `target/lives/<hash of this program>`: another build of the agent has to run them all again.

#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]

mod count;
mod worker;

/// `LIVES=n` lives, from `FROM=n` on, in `JOBS=n` processes; resumes where it was interrupted.
#[test]
#[ignore = "takes minutes: `make lives`"]
fn all() {
    assert!(count::count(number("FROM", 0), number("LIVES", 20_000)), "see above");
}

/// For those processes: a line `FIRST COUNT` on stdin, a line for each life on stdout.
#[test]
#[ignore = "a process of `make lives`"]
fn some() {
    worker::serve();
}

/// A number from the environment.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().filter(|it| !it.is_empty()).map_or(default, |text| text.parse().unwrap())
}
