//! Wall time, and random numbers good enough for keys.

use std::fs;
use std::future::pending;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::Stream;
use futures_util::stream::unfold;
use rustix::io::Errno;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tracing::warn;

use crate::linux::off_thread;
use crate::port;
use crate::state::window::ZoneOffset;

mod zone;

/// When the timer expires that is cancelled when the clock is set, in seconds since 1970: after the device's life. Kernels
/// before 5.1 on 32 bits take no more than the second one.
const NEVER_SECS: [i64; 2] = [1 << 33, i32::MAX as i64];

/// The machine's clock.
#[derive(Debug, Clone)]
pub struct Clock {
    root: PathBuf,
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
        Self { root: root.to_owned(), stat: root.join("proc/stat"), boot_id: root.join("proc/sys/kernel/random/boot_id") }
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

    fn up(&self) -> Duration {
        let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Boottime);
        // The kernel counts from 0, and has less than a second in the second part.
        Duration::new(tv_sec.try_into().unwrap_or_default(), tv_nsec.try_into().unwrap_or_default())
    }

    fn boot_id(&self) -> String {
        fs::read_to_string(&self.boot_id).map_or_else(|_| String::new(), |it| it.trim().to_owned())
    }

    async fn zone_offsets(&self, zone: Option<&str>, range: Range<i64>) -> Result<Vec<ZoneOffset>, String> {
        let (root, zone) = (self.root.clone(), zone.map(str::to_owned));
        off_thread(move || zone::offsets(&root, zone.as_deref(), range)).await?
    }

    fn jumps(&self) -> impl Stream<Item = ()> {
        let timer = cancelled_timer().inspect_err(|why| warn!(%why, "the kernel cannot say when the clock is set"));
        unfold(timer.ok(), async |timer| {
            let Some(timer) = timer else { pending().await };
            set(&timer).await;
            Some(((), Some(timer)))
        })
    }
}

/// A timer that the kernel cancels when the clock is set.
fn cancelled_timer() -> io::Result<AsyncFd<OwnedFd>> {
    let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
    let armed = |secs| {
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        let time = Itimerspec { it_interval, it_value: Timespec { tv_sec: secs, tv_nsec: 0 } };
        timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET, &time).map(drop)
    };
    let [late, earlier] = NEVER_SECS;
    armed(late).or_else(|_| armed(earlier))?;
    #[expect(deprecated, reason = "its successor is unsafe; what owns its descriptor keeps it open")]
    AsyncFd::new(timer)
}

/// Returns when the clock was set.
async fn set(timer: &AsyncFd<OwnedFd>) {
    loop {
        let Ok(mut ready) = timer.readable().await else { pending().await };
        let mut expirations = [0; 8];
        match rustix::io::read(timer, &mut expirations) {
            Err(Errno::CANCELED) => return,
            // Nothing to read any more, or the end of the kernel's time.
            Ok(_) | Err(_) => ready.clear_ready(),
        }
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
