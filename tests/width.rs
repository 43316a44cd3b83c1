//! Code that easily differs where a word has 32 bits. `make arm-test` runs these, as the other tests, on such processors.

use std::fs::{self, File};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::scope;
use std::time::{Duration, UNIX_EPOCH};

use boardkeeper::document::parse;
use boardkeeper::linux::locks::Locks;
use boardkeeper::port::Locks as _;
use boardkeeper::sorted::SortedMap;
use boardkeeper::state::{AppId, LockHolders, LockState as State};

/// 20 November 2042. 32 bits of seconds end in January 2038.
const LATE: Duration = Duration::from_secs(2_300_000_000);

#[test]
fn a_file_may_be_younger_than_32_bits_of_seconds_can_say() {
    let dir = tempfile::tempdir().unwrap();
    let file = File::create(dir.path().join("late")).unwrap();
    file.set_modified(UNIX_EPOCH + LATE).unwrap();
    assert_eq!(file.metadata().unwrap().modified().unwrap(), UNIX_EPOCH + LATE);
}

#[tokio::test]
async fn a_lock_that_is_taken_after_2038_is_held_since_then() {
    let root = tempfile::tempdir().unwrap();
    let service = root.path().join("tmp/balena-supervisor/services/7/web");
    fs::create_dir_all(&service).unwrap();
    File::create(service.join("updates.lock")).unwrap().set_modified(UNIX_EPOCH + LATE).unwrap();
    let seen = Locks::new(root.path()).observe(&SortedMap::from_iter([(AppId(7), LockHolders::All)])).await.unwrap();
    let Some(State::Held(held)) = seen.get(&AppId(7)) else { unreachable!("it is held: {seen:?}") };
    assert_eq!(u64::try_from(held.since_secs).unwrap(), LATE.as_secs());
}

#[test]
fn a_service_may_be_given_more_memory_than_32_bits_can_count() {
    for (text, bytes) in [("4g", 4_i64 << 30), ("6g", 6 << 30), ("5000000000", 5_000_000_000)] {
        let document = format!(
            r#"{{"local": {{"name": "d", "apps": {{"7": {{"name": "a", "commit": "c", "releaseId": 1, "services": {{"1":
            {{"serviceName": "web", "imageId": 1, "image": "web:1", "running": true, "environment": {{}}, "labels": {{}},
            "mem_limit": "{text}"}}}}}}}}}}}}"#
        );
        let target = parse(&document, None).unwrap();
        let app = target.apps.values().next().unwrap();
        assert_eq!(app.services[&"web".to_owned()].config.memory_bytes, bytes);
    }
}

/// Where a processor has no such instruction the kernel or a lock stands in for it.
#[test]
fn an_atomic_counter_carries_into_its_upper_half() {
    const BEGIN: u64 = u32::MAX as u64 - 1000;
    let counter = AtomicU64::new(BEGIN);
    scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| (0..2000).for_each(|_| _ = counter.fetch_add(1, Ordering::Relaxed)));
        }
    });
    assert_eq!(counter.into_inner(), BEGIN + 8000);
}
