//! Wall time, and random numbers good enough for keys.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::port;

/// The machine's clock.
#[derive(Debug, Clone)]
pub struct Clock {
    stat: PathBuf,
    boot_id: PathBuf,
}

/// The kernel's random numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Random;

impl Clock {
    /// The clock of the machine whose root is `root`.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { stat: root.join("proc/stat"), boot_id: root.join("proc/sys/kernel/random/boot_id") }
    }
}

impl port::Clock for Clock {
    fn now_secs(&self) -> i64 {
        #[expect(clippy::disallowed_methods, reason = "this is where wall time enters")]
        let now = SystemTime::now();
        // A clock set before 1970 gives negative seconds.
        let signed = |it: u64| i64::try_from(it).unwrap_or(i64::MAX);
        now.duration_since(UNIX_EPOCH).map_or_else(|before| -signed(before.duration().as_secs()), |it| signed(it.as_secs()))
    }

    /// Read anew each time: the kernel derives the boot time from the wall clock, which may be set some time after boot. 0 if
    /// the kernel gives none.
    fn booted_secs(&self) -> i64 {
        fs::read_to_string(&self.stat).ok().as_deref().and_then(btime).unwrap_or_default()
    }

    fn boot_id(&self) -> String {
        fs::read_to_string(&self.boot_id).map_or_else(|_| String::new(), |it| it.trim().to_owned())
    }
}

impl port::Random for Random {
    fn bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).expect("a kernel that runs containers has random numbers");
        bytes
    }
}

fn btime(stat: &str) -> Option<i64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::{Clock as _, Random as _};

    #[test]
    fn the_boot_is_before_now() {
        let clock = Clock::new(Path::new("/"));
        assert!(clock.booted_secs() > 0);
        assert!(clock.booted_secs() <= clock.now_secs() + 1);
        assert_eq!(clock.boot_id().len(), 36);
    }

    #[test]
    fn a_kernel_that_does_not_say_is_no_error() {
        assert_eq!(Clock::new(Path::new("/nowhere")).booted_secs(), 0);
        assert_eq!(Clock::new(Path::new("/nowhere")).boot_id(), "");
        assert_eq!(btime("cpu 1 2\nbtime 1760000000\nprocesses 3\n"), Some(1_760_000_000));
        assert_eq!(btime("btime x\n"), None);
    }

    #[test]
    fn random_bytes_do_not_repeat() {
        assert_ne!(Random.bytes(), Random.bytes());
    }
}
