//! Distributes lives to processes, keeps their results, and prints the progress.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::number;
use crate::some::{BAD, MET};
use crate::world::met::Tally;

/// Lives handed out at once: lost, and lived again, when it is interrupted.
const SHARE: u64 = 250;
/// How often it is said how far it is.
const SAID_EVERY: Duration = Duration::from_secs(10);
/// So many lives meet everything there is; with fewer, what was not met says nothing.
const ENOUGH_TO_MEET_ALL: u64 = 2000;

/// What is known of all lives so far.
struct Book {
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
    let shares: VecDeque<_> = (from..from + lives).step_by(usize::try_from(SHARE).unwrap()).collect();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let jobs = number("JOBS", u64::try_from(cores).unwrap());
    let book = Book::open();
    let todo: VecDeque<_> = shares.iter().copied().filter(|it| !book.done.contains(it)).collect();
    let resumed = shares.len() - todo.len();
    println!("{lives} lives from {from} on, in {jobs} processes; {} are known from before", resumed as u64 * SHARE);
    println!("kept in {}", book.dir.display());
    let (book, todo) = (Mutex::new(book), Mutex::new(todo));
    let work = || {
        let mut worker = Worker::start();
        loop {
            let next = locked(&todo).pop_front();
            let Some(first) = next else { break };
            let share = live_share(&mut worker, first, SHARE.min(from + lives - first));
            let left = locked(&todo).len() as u64 * SHARE;
            locked(&book).enter(first, share, left);
        }
    };
    std::thread::scope(|scope| (0..jobs).for_each(|_| drop(scope.spawn(work))));
    let book = book.into_inner().unwrap_or_else(PoisonError::into_inner);
    book.sum_up(from..from + lives)
}

/// Nobody leaves a lock poisoned on purpose, and what is behind it is still good.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What became of some lives.
#[derive(Default)]
struct Share {
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
        let mut child = Command::new(program).arg("some").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (asks, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, asks, answers }
    }
}

/// Has some lives lived. A process that dies of one is followed by another, for the rest.
fn live_share(worker: &mut Worker, first: u64, count: u64) -> Share {
    let mut share = Share { count, ..Share::default() };
    let mut seed = first;
    while seed < first + count {
        // One that is dead is noticed below.
        let _ = writeln!(worker.asks, "{seed} {}", first + count - seed);
        loop {
            let mut line = String::new();
            let read = worker.answers.read_line(&mut line).unwrap_or(0);
            if read == 0 {
                let died = worker.child.wait().map_or_else(|it| it.to_string(), |it| it.to_string());
                share.bad.insert(seed, format!("its process died, or stood still: {died}"));
                *worker = Worker::start();
                seed += 1;
                break;
            }
            let line = line.trim_end();
            if let Some(met) = line.strip_prefix(MET) {
                share.tally.add(&Tally::parse(met).unwrap());
                break;
            }
            if let Some(why) = line.strip_prefix(BAD) {
                share.bad.insert(seed, why.to_owned());
            }
            seed += 1;
        }
    }
    share
}

impl Book {
    /// What was lived by this very program before.
    fn open() -> Self {
        let program = fs::read(std::env::current_exe().unwrap()).unwrap();
        let hash = Sha256::digest(program).iter().take(6).fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/lives").join(hash);
        fs::create_dir_all(&dir).unwrap();
        let now = Instant::now();
        let mut book =
            Self { dir, done: BTreeSet::new(), tally: Tally::default(), bad: BTreeMap::new(), lived: 0, began: now, said: now };
        for line in read_lines(&book.dir.join("done")) {
            // A line that was cut off is of lives that are lived again.
            let Some((first, met)) = line.split_once(' ') else { continue };
            if let (Ok(first), Some(tally)) = (first.parse(), Tally::parse(met)) {
                book.done.insert(first);
                book.tally.add(&tally);
            }
        }
        for line in read_lines(&book.dir.join("failing")) {
            if let Some((Ok(seed), why)) = line.split_once(' ').map(|(seed, why)| (seed.parse(), why)) {
                book.bad.insert(seed, why.to_owned());
            }
        }
        book
    }

    /// Notes what became of a share, and says now and then how far it is.
    fn enter(&mut self, first: u64, share: Share, left: u64) {
        let mut failing = append(&self.dir.join("failing"));
        for (seed, why) in share.bad {
            println!("SEED={seed}: {why}");
            writeln!(failing, "{seed} {why}").unwrap();
            self.bad.insert(seed, why);
        }
        // A share that is not whole is lived again by whoever wants more.
        if share.count == SHARE {
            writeln!(append(&self.dir.join("done")), "{first} {}", share.tally.line()).unwrap();
        }
        self.tally.add(&share.tally);
        self.lived += share.count;
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
