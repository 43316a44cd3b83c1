//! The kernel's counters of a process.

use std::fs;
use std::time::Duration;

/// Memory of a process, in KiB.
pub(crate) struct Memory {
    /// Resident set size, shared pages included.
    pub(crate) rss: u64,
    /// Proportional set size: shared pages are divided among the processes that share them.
    pub(crate) pss: u64,
    /// The peak resident set size.
    pub(crate) peak: u64,
}

pub(crate) fn memory(pid: u32) -> Memory {
    let rollup = read(&format!("/proc/{pid}/smaps_rollup"));
    let status = read(&format!("/proc/{pid}/status"));
    Memory { rss: field(&rollup, "Rss:"), pss: field(&rollup, "Pss:"), peak: field(&status, "VmHWM:") }
}

/// The number of voluntary context switches of its threads, which is how often they were woken.
pub(crate) fn wake_ups(pid: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    threads.map(|it| field(&read(it.path().join("status").to_str().unwrap()), "voluntary_ctxt_switches:")).sum()
}

/// Waits until it has slept for as long as this, with all of its threads, however busy the machine is.
pub(crate) fn rests_for(pid: u32, pause: Duration) {
    let is_asleep = || {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
        threads
            .map(|it| read(it.path().join("stat").to_str().unwrap()))
            .all(|it| it.rsplit_once(") ").unwrap().1.starts_with('S'))
    };
    loop {
        let before = wake_ups(pid);
        std::thread::sleep(pause);
        if is_asleep() && wake_ups(pid) == before {
            return;
        }
    }
}

/// Bytes it has sent to block devices.
pub(crate) fn written(pid: u32) -> u64 {
    field(&read(&format!("/proc/{pid}/io")), "write_bytes:")
}

/// The time that processors spent on it. The kernel counts in hundredths of a second.
pub(crate) fn processor_time(pid: u32) -> Duration {
    let stat = read(&format!("/proc/{pid}/stat"));
    let after_name = stat.rsplit_once(')').unwrap().1;
    let ticks = |n: usize| after_name.split_whitespace().nth(n).unwrap().parse::<u64>().unwrap();
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

/// The kernel's release.
pub(crate) fn kernel() -> String {
    read("/proc/sys/kernel/osrelease").trim().to_owned()
}

/// The averages of how many threads wanted a processor in the last minute, five and fifteen.
pub(crate) fn load() -> String {
    read("/proc/loadavg").split_whitespace().take(3).collect::<Vec<_>>().join(", ")
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap()
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find(|it| it.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
