use std::ops::Range;

use super::*;

const BOOT: PollStart = PollStart { just_booted: true, has_target: true, is_instant: true };
const QUARTER_HOUR: Duration = Duration::from_secs(900);

fn jitter(seed: u64) -> Jitter {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
    Jitter::new(bytes)
}

/// The seconds after the start at which a device polls, up to an end.
async fn polls(start: PollStart, interval: Duration, seed: u64, end: Duration) -> Vec<u64> {
    let (begun, jitter) = (Instant::now(), jitter(seed));
    let mut schedule = PollSchedule::new(start, interval, &jitter);
    let mut polls = Vec::new();
    while schedule.due() - begun < end {
        polls.push((schedule.due() - begun).as_secs());
        tokio::time::sleep_until(schedule.due()).await;
        schedule.sent(PollCause::Interval, &jitter);
    }
    polls
}

/// The waits that follow the first ones, of many devices, in parts of the interval.
async fn regular_waits(interval: Duration) -> Vec<f64> {
    let mut waits = Vec::new();
    for seed in 0..200 {
        let times = polls(BOOT, interval, seed, interval * 10).await;
        let part = |pair: &[u64]| Duration::from_secs(pair[1] - pair[0]).as_secs_f64() / interval.as_secs_f64();
        waits.extend(times[1..].windows(2).map(part));
    }
    waits
}

#[tokio::test(start_paused = true)]
async fn the_cloud_counts_no_device_as_offline() {
    for interval in [Duration::from_secs(60), QUARTER_HOUR, MOST] {
        let waits = regular_waits(interval).await;
        assert!(waits.iter().all(|it| (0.98..1.27).contains(it)), "{interval:?}");
        assert!(waits.iter().any(|it| *it < 1.03) && waits.iter().any(|it| *it > 1.2), "{interval:?}: no chance in it");
    }
}

/// The most polls in any ten seconds of a time, and the mean.
fn peak(polls: &[u64], time: Range<u64>) -> (usize, usize) {
    let mut tens = vec![0_usize; usize::try_from((time.end - time.start) / 10).unwrap()];
    for at in polls.iter().filter(|it| time.contains(it)) {
        tens[usize::try_from((at - time.start) / 10).unwrap()] += 1;
    }
    (tens.iter().copied().max().unwrap(), tens.iter().sum::<usize>() / tens.len())
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_devices_after_a_power_cut_are_no_spike() {
    let mut all = Vec::new();
    for seed in 0..10_000 {
        all.extend(polls(BOOT, QUARTER_HOUR, seed, QUARTER_HOUR * 8).await);
    }
    let (first, mean) = peak(&all, 0..30);
    assert!(first < mean * 2, "{first} polls in ten of the first seconds, {mean} in the mean");
    let (later, mean) = peak(&all, 30..7200);
    assert!((80..120).contains(&mean), "{mean}");
    assert!(later < mean * 2, "{later} polls in ten seconds, {mean} in the mean");
    eprintln!(
        "\nfigure: {:<40} {} a second at first, later {} at most, {} in the mean",
        "polls of 10,000 devices after a power cut",
        first / 10,
        later / 10,
        mean / 10
    );
}

#[tokio::test(start_paused = true)]
async fn the_first_poll_waits_only_where_a_target_is_there() {
    let first = |start, seed| {
        let (begun, jitter) = (Instant::now(), jitter(seed));
        PollSchedule::new(start, QUARTER_HOUR, &jitter).due() - begun
    };
    let most = |start| (0..100).map(|seed| first(start, seed)).max().unwrap();
    assert_eq!(most(PollStart { has_target: false, is_instant: false, ..BOOT }), Duration::ZERO);
    assert_eq!(most(PollStart { just_booted: false, ..BOOT }), Duration::ZERO);
    assert!((20..30).contains(&most(BOOT).as_secs()));
    assert!((800..900).contains(&most(PollStart { just_booted: false, is_instant: false, ..BOOT }).as_secs()));
}

#[tokio::test(start_paused = true)]
async fn a_changed_interval_counts_at_once_both_ways() {
    let jitter = jitter(1);
    let mut schedule = PollSchedule::new(PollStart { has_target: false, ..BOOT }, QUARTER_HOUR, &jitter);
    schedule.sent(PollCause::Interval, &jitter);
    schedule.sent(PollCause::Interval, &jitter);
    let polled = Instant::now();
    tokio::time::advance(Duration::from_secs(60)).await;
    schedule.set_interval(LEAST, &jitter);
    assert!(schedule.due() <= polled + LEAST * 5 / 4, "it is overdue");
    schedule.set_interval(MOST, &jitter);
    assert!(schedule.due() >= polled + MOST);
}

#[test]
fn the_target_s_interval_wins_and_stays_within_limits() {
    let given = Some(Duration::from_secs(600));
    assert_eq!(interval(None, None), DEFAULT);
    assert_eq!(interval(None, given).as_secs(), 600);
    assert_eq!(interval(Some(" 120000 "), given).as_secs(), 120);
    assert_eq!(interval(Some("soon"), given).as_secs(), 600);
    assert_eq!(interval(Some("5"), given), LEAST);
    assert_eq!(interval(Some("-1"), None), DEFAULT);
    assert_eq!(interval(Some("99999999999999"), given), MOST);
    assert_eq!(interval(None, Some(Duration::ZERO)), LEAST);
}
