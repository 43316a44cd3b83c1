//! The store on a real ext4 that is shut down while it saves, as by a power cut, and recovers from its journal.
//!
//! The kernel's own shutdown of a file system does it: what ext4 had not sent to its device is lost, and the next mount finds
//! the journal as it was. What the device was sent is there, in order; `cut` removes that too, in memory. Device-mapper
//! targets and network block devices would do it on a real device; see docs/testing.md for where they are missing.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use boardkeeper::linux::store::{Disk, Store, StoreFiles};
use boardkeeper::port::Store as _;
use boardkeeper::state::Target;

use super::oracle::{Allowed, FILES, KINDS, record};
use super::rng::Rng;
use super::run;

/// Cuts in a plain run: some twenty seconds.
const CUTS: u64 = 100;

fn shell(line: &str) {
    let done = Command::new("sh").args(["-ec", line]).output().unwrap();
    assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
}

/// The same disk, but nothing is ever synced.
#[derive(Debug, Clone, Copy)]
struct Unsynced;

impl StoreFiles for Unsynced {
    fn is_dir(&self, path: &Path) -> bool {
        Disk.is_dir(path)
    }
    fn make_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        Disk.make_dir(path, mode)
    }
    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        Disk.names(dir)
    }
    fn read(&self, path: &Path, most_bytes: u64) -> io::Result<Vec<u8>> {
        Disk.read(path, most_bytes)
    }
    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        Disk.write_new(path, bytes)
    }
    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<u64> {
        Disk.append(path, bytes)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        Disk.remove(path)
    }
    fn sync(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn is_writable_by_others(&self, dir: &Path) -> bool {
        Disk.is_writable_by_others(dir)
    }
}

/// A life on that disk, from one cut to the next.
struct Life<F> {
    files: F,
    dir: PathBuf,
    allowed: Allowed,
    made: usize,
}

impl<F: StoreFiles + Copy> Life<F> {
    /// Loads, and saves one record after another until the disk is gone.
    async fn until_cut(&mut self, begun: &mpsc::Sender<()>) -> Result<(), String> {
        let parse = |document: &str| Ok(Target { document: document.to_owned(), ..Target::default() });
        let store = Store::over(self.files, &self.dir, Box::new(parse));
        let loaded = store.load().await.map_err(|why| why.to_string());
        begun.send(()).unwrap();
        let memory = loaded?;
        self.allowed.judge(&memory)?;
        if !memory.complaints.is_empty() {
            return Err(memory.complaints.join("; "));
        }
        self.allowed.found(&memory);
        loop {
            self.made += 1;
            let record = record(self.made % KINDS, self.made);
            self.allowed.begins(&record);
            if store.save(&record).await.is_err() {
                return Ok(());
            }
            self.allowed.saved(&record);
        }
    }
}

/// Cuts the power so many times, and says how many saves were begun; or what was wrong after which cut.
fn cut<F: StoreFiles + Copy>(name: &str, files: F, cuts: u64) -> Result<usize, String> {
    let lab = PathBuf::from(std::env::var_os("BOARDKEEPER_LAB").unwrap());
    let (image, mount) = (lab.join(format!("{name}.img")), lab.join(name));
    let (image, mount) = (image.display(), mount.display());
    shell(&format!("mkdir -p {mount}; truncate -s 16M {image}; mkfs.ext4 -q {image}; mount -o loop {image} {mount}"));
    let dir = PathBuf::from(format!("{mount}/var/boardkeeper"));
    let (mut life, mut rng) = (Life { files, dir, allowed: Allowed::nothing(), made: 0 }, Rng::new(1));
    for cut in 0..cuts {
        let wait = Duration::from_micros(u64::try_from(rng.below(60_000)).unwrap());
        let flush = if rng.below(2) == 0 { "-f" } else { "" };
        let (begun, ready) = mpsc::channel();
        let lived = std::thread::scope(|scope| {
            let saver = scope.spawn(|| run(life.until_cut(&begun)));
            ready.recv().unwrap();
            std::thread::sleep(wait);
            shell(&format!("xfs_io -x -c 'shutdown {flush}' {mount}"));
            saver.join().unwrap()
        });
        shell(&format!("umount {mount}; mount -o loop {image} {mount}"));
        lived.map_err(|why| format!("cut {cut}: {why}"))?;
        let names = std::fs::read_dir(&life.dir).into_iter().flatten().count();
        assert!(names <= FILES.len() + 1, "cut {cut}: something was left behind");
    }
    shell(&format!("umount {mount}; e2fsck -fn {image}"));
    Ok(life.made)
}

#[test]
#[ignore = "mounts a file system: make cuts"]
fn a_real_ext4_that_is_cut_off_keeps_what_was_acknowledged() {
    let cuts = std::env::var("EXT4_CUTS").map_or(CUTS, |text| text.parse().unwrap());
    let began = tokio::time::Instant::now();
    let made = cut("ext4", Disk, cuts).unwrap();
    eprintln!("figure: {cuts} cuts of a real ext4 while {made} saves were made, {:.0} s", began.elapsed().as_secs_f64());
    assert!(made > usize::try_from(cuts).unwrap(), "it was hardly ever saving");
}

#[test]
#[ignore = "mounts a file system: make cuts"]
fn a_real_ext4_that_is_not_synced_is_found_out() {
    let found = cut("unsynced", Unsynced, CUTS).expect_err("nobody noticed that nothing is synced");
    eprintln!("not synced: {found:.200}");
}
