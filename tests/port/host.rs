//! The contract of the host's journal, and of what the agent's process uses.

use boardkeeper::port::Host;
use boardkeeper::state::journal::JournalQuery;
use futures_util::StreamExt;

/// What the process uses is known, and its processor time only grows.
pub(crate) fn what_the_process_uses_is_known(host: &impl Host) {
    let before = host.own_use();
    assert!(before.resident_bytes.unwrap() > 100_000, "{before:?}");
    let after = host.own_use();
    assert!(after.cpu.unwrap() >= before.cpu.unwrap(), "{before:?} {after:?}");
}

/// A journal that is not followed ends; one that is followed goes on, and is left by dropping it.
pub(crate) async fn a_journal_is_read_to_its_end_or_followed(host: &impl Host) {
    let query = JournalQuery { count: Some(1), ..JournalQuery::default() };
    let read: Vec<Vec<u8>> = host.read_journal(&query).await.unwrap().collect().await;
    assert!(read.iter().all(|it| !it.is_empty()), "no part is empty");
    let mut followed = host.read_journal(&JournalQuery { follow: true, ..query }).await.unwrap();
    // Parts that are there already come at once; then the stream rests, unless more is written.
    for _ in 0..3 {
        if let Ok(part) = tokio::time::timeout(std::time::Duration::from_secs(2), followed.next()).await {
            assert!(part.is_some(), "a journal that is followed does not end");
        }
    }
}
