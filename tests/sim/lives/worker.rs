//! A worker process: it reads jobs line by line, and writes the result of each life as a line.

use std::io::{BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::life::live;
use crate::world::Trace;
use crate::world::marks::Tally;

/// A life that takes longer than this is one that stands still: most take milliseconds.
const STANDSTILL: Duration = Duration::from_secs(60);

/// Lives begun so far.
static BEGUN: AtomicU64 = AtomicU64::new(0);

/// What a life's line says.
pub(super) const WELL: &str = "well";
/// What a line begins with whose life did not go well.
pub(crate) const BAD: &str = "bad ";
/// How the line with the counts of the coverage marks begins.
pub(crate) const MARKS: &str = "met ";

/// Serves until nothing more is asked.
pub(crate) fn serve() {
    std::thread::spawn(watch);
    // The parent process reads lines; a backtrace would be noise.
    std::panic::set_hook(Box::new(|_| ()));
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let (first, count) = line.split_once(' ').unwrap();
        let (first, count): (u64, u64) = (first.parse().unwrap(), count.parse().unwrap());
        let mut tally = Tally::default();
        for seed in first..first + count {
            BEGUN.fetch_add(1, Ordering::Relaxed);
            let said = match catch_unwind(AssertUnwindSafe(|| live(seed, Trace::Off))) {
                Ok(outcome) => {
                    tally.add(&outcome.tally);
                    outcome.violation.map_or(WELL.to_owned(), |why| format!("{BAD}{}", why.replace('\n', " ")))
                }
                Err(_) => format!("{BAD}the agent fell over"),
            };
            writeln!(out, "{said}").unwrap();
            out.flush().unwrap();
        }
        writeln!(out, "{MARKS}{}", tally.line()).unwrap();
        out.flush().unwrap();
    }
}

/// Ends the process when a life stands still: the parent process counts that life as bad.
fn watch() {
    let mut before = 0;
    loop {
        std::thread::sleep(STANDSTILL);
        let now = BEGUN.load(Ordering::Relaxed);
        if now == before && now > 0 {
            std::process::exit(3);
        }
        before = now;
    }
}
