//! Distributes lives to processes, keeps their results, and prints the progress.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::number;
use super::worker::{BAD, MARKS, WELL};
use crate::world::marks::Tally;

/// Lives handed out at once: lost, and lived again, when it is interrupted.
const BATCH: u64 = 250;
/// How often it is said how far it is.
const SAID_EVERY: Duration = Duration::from_secs(10);
/// That many lives hit every coverage mark; with fewer, one that is missing says nothing. 3,000 missed 2 of 180.
const ENOUGH_TO_MEET_ALL: u64 = 12_000;

/// What is known of all lives so far.
struct Progress {
    dir: PathBuf,
    done: BTreeSet<u64>,
    tally: Tally,
    bad: BTreeMap<u64, String>,
    /// Lives lived by this run of the program.
    lived: u64,
    began: Instant,
    said: Instant,
}

/// Lives them all; whether they went well.
pub(crate) fn count(from: u64, lives: u64) -> bool {
    let shares: VecDeque<_> = (from..from + lives).step_by(usize::try_from(BATCH).unwrap()).collect();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let jobs = number("JOBS", u64::try_from(cores).unwrap());
    let progress = Progress::open();
    let todo: VecDeque<_> = shares.iter().copied().filter(|it| !progress.done.contains(it)).collect();
    let resumed = shares.len() - todo.len();
    println!("{lives} lives from {from} on, in {jobs} processes; {} are known from before", resumed as u64 * BATCH);
    println!("kept in {}", progress.dir.display());
    let (progress, todo) = (Mutex::new(progress), Mutex::new(todo));
    let work = || {
        let mut worker = Worker::start();
        loop {
            let next = locked(&todo).pop_front();
            let Some(first) = next else { break };
            let batch = live_batch(&mut worker, first, BATCH.min(from + lives - first));
            let left = locked(&todo).len() as u64 * BATCH;
            locked(&progress).enter(first, batch, left);
        }
        worker.end();
    };
    std::thread::scope(|scope| (0..jobs).for_each(|_| drop(scope.spawn(work))));
    let progress = progress.into_inner().unwrap_or_else(PoisonError::into_inner);
    progress.sum_up(from..from + lives)
}

/// Takes a lock even if it is poisoned: the data behind it stays valid.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What became of some lives.
#[derive(Default)]
struct Batch {
    tally: Tally,
    bad: BTreeMap<u64, String>,
    count: u64,
}

/// A process that lives some.
struct Worker {
    child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    fn start() -> Self {
        let program = std::env::current_exe().unwrap();
        let some = ["--ignored", "--exact", "lives::some", "--nocapture", "--quiet"];
        let mut child = Command::new(program).args(some).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (asks, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, asks, answers }
    }

    /// Has it end, and reads what the test runner says then.
    fn end(self) {
        let Self { mut child, asks, mut answers } = self;
        drop(asks);
        // What became of its lives is known already.
        let _ = io::copy(&mut answers, &mut io::sink());
        let _ = child.wait();
    }
}

/// Has some lives lived. A process that dies of one is followed by another, for the rest.
fn live_batch(worker: &mut Worker, first: u64, count: u64) -> Batch {
    let mut batch = Batch { count, ..Batch::default() };
    let mut seed = first;
    while seed < first + count {
        // One that is dead is noticed below.
        let _ = writeln!(worker.asks, "{seed} {}", first + count - seed);
        loop {
            let mut line = String::new();
            let read = worker.answers.read_line(&mut line).unwrap_or(0);
            if read == 0 {
                let died = worker.child.wait().map_or_else(|it| it.to_string(), |it| it.to_string());
                batch.bad.insert(seed, format!("its process died, or stood still: {died}"));
                *worker = Worker::start();
                seed += 1;
                break;
            }
            let line = line.trim_end();
            if let Some(mark) = line.strip_prefix(MARKS) {
                batch.tally.add(&Tally::parse(mark).unwrap());
                break;
            }
            if let Some(why) = line.strip_prefix(BAD) {
                batch.bad.insert(seed, why.to_owned());
            } else if line != WELL {
                continue; // The test runner's own.
            }
            seed += 1;
        }
    }
    batch
}

impl Progress {
    /// What was lived by this very program before.
    fn open() -> Self {
        let program = fs::read(std::env::current_exe().unwrap()).unwrap();
        let hash = Sha256::digest(program).iter().take(6).fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/lives").join(hash);
        fs::create_dir_all(&dir).unwrap();
        let dir = dir.canonicalize().unwrap();
        let now = Instant::now();
        let mut progress =
            Self { dir, done: BTreeSet::new(), tally: Tally::default(), bad: BTreeMap::new(), lived: 0, began: now, said: now };
        for line in read_lines(&progress.dir.join("done")) {
            // A line that was cut off is of lives that are lived again.
            let Some((first, mark)) = line.split_once(' ') else { continue };
            if let (Ok(first), Some(tally)) = (first.parse(), Tally::parse(mark)) {
                progress.done.insert(first);
                progress.tally.add(&tally);
            }
        }
        for line in read_lines(&progress.dir.join("failing")) {
            if let Some((Ok(seed), why)) = line.split_once(' ').map(|(seed, why)| (seed.parse(), why)) {
                progress.bad.insert(seed, why.to_owned());
            }
        }
        progress
    }

    /// Notes what became of a share, and says now and then how far it is.
    fn enter(&mut self, first: u64, batch: Batch, left: u64) {
        let mut failing = append(&self.dir.join("failing"));
        for (seed, why) in batch.bad {
            println!("SEED={seed}: {why}");
            writeln!(failing, "{seed} {why}").unwrap();
            self.bad.insert(seed, why);
        }
        // An incomplete batch is not kept: a run of more lives repeats it.
        if batch.count == BATCH {
            writeln!(append(&self.dir.join("done")), "{first} {}", batch.tally.line()).unwrap();
        }
        self.tally.add(&batch.tally);
        self.lived += batch.count;
        if self.said.elapsed() > SAID_EVERY {
            self.said = Instant::now();
            let minutes = u128::from(left) * self.began.elapsed().as_millis() / u128::from(self.lived) / 60_000;
            let (lived, rate, bad) = (self.lived, self.rate(), self.bad.len());
            println!("{lived} lives, {rate} a second, about {minutes} minutes left, {bad} bad");
        }
    }

    /// Lives a second.
    fn rate(&self) -> u128 {
        u128::from(self.lived) * 1000 / self.began.elapsed().as_millis().max(1)
    }

    /// What is to be said in the end.
    fn sum_up(&self, seeds: Range<u64>) -> bool {
        let lives = seeds.end - seeds.start;
        print!("{}", self.tally.table());
        println!("{} lives in {} s, {} a second", self.lived, self.began.elapsed().as_secs(), self.rate());
        let bad: Vec<_> = self.bad.range(seeds).collect();
        for (seed, why) in &bad {
            println!("SEED={seed}: {why}");
        }
        let missing = if lives < ENOUGH_TO_MEET_ALL { Vec::new() } else { self.tally.missing() };
        for words in &missing {
            println!("never met: {words}");
        }
        let (bad_ones, unmet, all) = (bad.len(), missing.len(), self.tally.kinds());
        println!("figure: {lives} lives, {bad_ones} bad; {unmet} of {all} kinds of fault and recovery never met");
        bad.is_empty() && missing.is_empty()
    }
}

fn read_lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).map_or_else(|_| Vec::new(), |text| text.lines().map(ToOwned::to_owned).collect())
}

fn append(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).unwrap()
}
