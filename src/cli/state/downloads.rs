//! Pulls of images: how far each is, how fast, and how long it takes.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use crate::sorted::SortedMap;

/// The rate is the mean over so long: a registry sends in bursts.
const WINDOW: Duration = Duration::from_secs(10);
/// Marks of a progress bar.
const MARKS: u64 = 24;

/// A pull, as the agent reports it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Download {
    image: String,
    percent: u8,
    bytes: Option<u64>,
    total_bytes: Option<u64>,
}

/// How many bytes of each image were here at which time.
#[derive(Debug, Default)]
pub(super) struct Rates(SortedMap<String, VecDeque<(Instant, u64)>>);

impl Download {
    /// How far it is, in a line.
    pub(super) fn line(&self) -> String {
        let bytes = match (self.bytes, self.total_bytes) {
            (Some(bytes), Some(total)) => format!(" ({} of {})", size(bytes), size(total)),
            (Some(bytes), None) => format!(" ({})", size(bytes)),
            (None, _) => String::new(),
        };
        format!("{} {} %{bytes}", self.image, self.percent)
    }

    /// A progress bar, the bytes, the rate and the time left, as far as each is known.
    pub(super) fn bar(&self, bytes_per_second: Option<u64>) -> String {
        let full = u64::from(self.percent.min(100)) * MARKS / 100;
        let bar: String = (0..MARKS).map(|it| if it < full { '#' } else { '.' }).collect();
        let mut parts = vec![format!("[{bar}] {:>3} %", self.percent)];
        match (self.bytes, self.total_bytes) {
            (Some(bytes), Some(total)) if bytes >= total => parts.push(format!("{}, unpacking", size(total))),
            (Some(bytes), Some(total)) => {
                parts.push(format!("{} of {}", size(bytes), size(total)));
                let rate = bytes_per_second.unwrap_or(0);
                parts.push(format!("{}/s", size(rate)));
                parts.extend((total - bytes).checked_div(rate).map(|secs| format!("{} left", time(secs))));
            }
            (Some(bytes), None) => {
                parts.push(size(bytes));
                parts.push(format!("{}/s", size(bytes_per_second.unwrap_or(0))));
            }
            (None, _) => {}
        }
        format!("{}  {}", parts.join("  "), self.image)
    }
}

impl Rates {
    /// Notes how far the pulls are, and forgets those that have ended.
    pub(super) fn note(&mut self, downloads: &[Download], now: Instant) {
        self.0.retain(|image, _| downloads.iter().any(|it| it.image == *image));
        for it in downloads {
            let seen = self.0.entry(it.image.clone()).or_default();
            seen.extend(it.bytes.map(|bytes| (now, bytes)));
            // One note that is older than the window stays, so that the notes span it.
            while seen.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
                seen.pop_front();
            }
        }
    }

    /// Bytes per second over the last time. `None`: it is not known yet.
    pub(super) fn of(&self, download: &Download) -> Option<u64> {
        let seen = self.0.get(&download.image)?;
        let ((begun, first), (now, last)) = (seen.front()?, seen.back()?);
        let millis = u64::try_from(now.duration_since(*begun).as_millis()).ok()?;
        last.saturating_sub(*first).saturating_mul(1000).checked_div(millis)
    }
}

/// Bytes with a unit that keeps the number short.
fn size(bytes: u64) -> String {
    let units = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1000, "kB")];
    let large = units.into_iter().find(|(unit, _)| bytes >= *unit);
    large.map_or_else(|| format!("{bytes} B"), |(unit, name)| format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit))
}

/// A time that is about to pass.
fn time(secs: u64) -> String {
    match secs {
        0..120 => format!("{secs} s"),
        120..7200 => format!("{} min", secs / 60),
        _ => format!("{} h", secs / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn download(percent: u8, bytes: Option<u64>, total_bytes: Option<u64>) -> Download {
        Download { image: "busybox:latest".to_owned(), percent, bytes, total_bytes }
    }

    #[test]
    fn what_is_known_of_a_pull_is_shown() {
        let bar = |full: usize| format!("[{}{}]", "#".repeat(full), ".".repeat(24 - full));
        for (it, rate, expected) in [
            (download(0, None, None), None, format!("{}   0 %  busybox:latest", bar(0))),
            (download(3, Some(1500), None), Some(100), format!("{}   3 %  1.5 kB  100 B/s  busybox:latest", bar(0))),
            (
                download(50, Some(12_345_678), Some(50_000_000)),
                Some(1_000_000),
                format!("{}  50 %  12.3 MB of 50.0 MB  1.0 MB/s  37 s left  busybox:latest", bar(12)),
            ),
            (download(50, Some(1), Some(9)), None, format!("{}  50 %  1 B of 9 B  0 B/s  busybox:latest", bar(12))),
            (
                download(99, Some(3_000_000_000), Some(3_000_000_000)),
                Some(1),
                format!("{}  99 %  3.0 GB, unpacking  busybox:latest", bar(23)),
            ),
            (download(255, None, None), None, format!("{} 255 %  busybox:latest", bar(24))),
        ] {
            assert_eq!(it.bar(rate), expected);
        }
        assert_eq!(download(40, Some(900), Some(1000)).line(), "busybox:latest 40 % (900 B of 1.0 kB)");
        assert_eq!([119, 120, 7199, 7200].map(time), ["119 s", "2 min", "119 min", "2 h"]);
    }

    #[test]
    fn the_rate_is_that_of_the_last_ten_seconds() {
        let (mut rates, begun) = (Rates::default(), Instant::now());
        let at = |secs: u64| begun + Duration::from_secs(secs);
        let it = |bytes| download(1, Some(bytes), None);
        rates.note(&[it(0)], at(0));
        assert_eq!(rates.of(&it(0)), None);
        for secs in 1..=10 {
            rates.note(&[it(secs * 1000)], at(secs));
        }
        assert_eq!(rates.of(&it(0)), Some(1000));
        for secs in 11..=30 {
            rates.note(&[it(10_000)], at(secs));
        }
        assert_eq!(rates.of(&it(0)), Some(0), "it stands still");
        rates.note(&[], at(31));
        assert_eq!(rates.of(&it(0)), None, "it has ended");
    }
}
