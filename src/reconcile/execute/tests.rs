use tokio::time::advance;

use super::*;

#[tokio::test(start_paused = true)]
async fn the_progress_of_a_pull_is_published_at_most_twice_a_second() {
    let (publish, published, image) = (watch::Sender::new(Status::default()), Cell::new(None), ImageRef::new("app:1"));
    let mut reader = publish.subscribe();
    let mut tell = |bytes: u64, percent| {
        let now = DownloadProgress { percent, bytes: Some(bytes), total_bytes: Some(4000) };
        publish_progress(&publish, &published, &image, now);
        let changed = reader.has_changed().expect("the sender is there");
        let shown = reader.borrow_and_update().progress[&image].bytes;
        changed.then_some(shown).flatten()
    };
    let mut shown = Vec::new();
    for part in 0..40 {
        shown.extend(tell(part * 100, 1));
        advance(Duration::from_millis(100)).await;
    }
    assert_eq!(shown, [0, 500, 1000, 1500, 2000, 2500, 3000, 3500]);
    // The end is not held back.
    assert_eq!(tell(4000, 100), Some(4000));
    assert_eq!(tell(4000, 100), None);
}
