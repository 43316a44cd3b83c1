use std::cell::RefCell;

use super::*;
use crate::state::history::{Cause, HistoryAction, HistoryNote, HistoryObject, HistoryOutcome};
use crate::state::{PowerAction, ShutdownOrigin, ShutdownProgress, ShutdownStatus};

/// A disk that remembers the numbers of what it was given.
#[derive(Debug, Default)]
struct Numbers {
    appended: RefCell<Vec<u64>>,
    saved: RefCell<Vec<Vec<u64>>>,
}

impl HistoryStore for Numbers {
    async fn load_history(&self) -> Vec<HistoryEntry> {
        unreachable!()
    }
    async fn append_history(&self, entries: &[Arc<HistoryEntry>]) -> Result<(), StoreError> {
        self.appended.borrow_mut().extend(entries.iter().map(|it| it.id));
        Ok(())
    }
    async fn save_history(&self, entries: &[Arc<HistoryEntry>]) -> Result<(), StoreError> {
        self.saved.borrow_mut().push(entries.iter().map(|it| it.id).collect());
        Ok(())
    }
}

fn add(history: &watch::Sender<History>, count: usize) {
    history.send_modify(|it| {
        for _ in 0..count {
            it.add(HistoryNote {
                at_ms: 0,
                action: HistoryAction::Pull,
                object: HistoryObject::Image,
                name: String::new(),
                app: None,
                service: None,
                cause: Cause::default(),
                outcome: HistoryOutcome::Done,
                millis: None,
            });
        }
    });
}

#[tokio::test(start_paused = true)]
async fn entries_are_appended_at_once_and_saved_before_the_machine_goes_down() {
    let (publish, status) = watch::channel(Status::default());
    let (record, history) = watch::channel(History::default());
    let store = Numbers::default();
    let steps = async {
        record.send_replace(History::from_kept([]));
        let settle = || tokio::time::sleep(Duration::from_secs(1));
        settle().await;
        add(&record, 150);
        settle().await;
        assert_eq!(*store.appended.borrow(), (1..=150).collect::<Vec<u64>>());
        assert_eq!(store.saved.borrow().len(), 0);
        tokio::time::sleep(DURABLE_EVERY).await;
        assert_eq!(*store.saved.borrow(), [(51..=150).collect::<Vec<u64>>()]);
        // Nothing new: nothing is written.
        tokio::time::sleep(DURABLE_EVERY * 3).await;
        assert_eq!(store.saved.borrow().len(), 1);
        let ending = Some(PowerAction::Reboot);
        let (by, since, progress) = (ShutdownOrigin::Request, Instant::now(), ShutdownProgress::Asked);
        publish.send_modify(|it| it.shutdown = ShutdownStatus::UnderWay { ending, by, since, progress });
        add(&record, 1);
        settle().await;
        assert_eq!(store.saved.borrow().last().unwrap().last(), Some(&151));
        assert_eq!(store.saved.borrow().len(), 2);
    };
    tokio::select! {
        never = run(&store, status, history) => match never {},
        () = steps => (),
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_loaded_is_kept_already_and_the_entries_of_the_start_are_not() {
    let (_publish, status) = watch::channel(Status::default());
    for is_early in [true, false] {
        let (record, history) = watch::channel(History::default());
        let store = Numbers::default();
        let started = || {
            record.send_replace(history_of(3));
        };
        if is_early {
            started();
        }
        let steps = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if !is_early {
                started();
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        };
        tokio::select! {
            never = run(&store, status.clone(), history) => match never {},
            () = steps => (),
        }
        assert_eq!(*store.appended.borrow(), [4], "{is_early}");
    }
}

/// A history with so many entries that were loaded, and one of this start.
fn history_of(loaded: usize) -> History {
    let (record, before) = watch::channel(History::default());
    add(&record, loaded);
    let kept: Vec<_> = before.borrow().entries().map(|it| HistoryEntry::clone(it)).collect();
    let (record, now) = watch::channel(History::from_kept(kept));
    add(&record, 1);
    now.borrow().clone()
}
