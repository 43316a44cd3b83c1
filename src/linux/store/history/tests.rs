use std::path::Path;

use super::super::Store;
use super::*;
use crate::state::TargetError;
use crate::state::history::{Cause, History, HistoryNote, KEPT_OVER_BOOTS};

fn open(dir: &Path) -> Store {
    let parse = Box::new(|_: &str| Err(TargetError("none".to_owned())));
    Store::new(&dir.join("state"), parse).with_runtime_directory(&dir.join("run"))
}

/// Every kind of entry.
fn entries(count: usize) -> Vec<Arc<HistoryEntry>> {
    let mut history = History::default();
    for at in 0..count {
        let change = FieldChange { field: "env A".to_owned(), old: None, new: Some("1".to_owned()) };
        let outcomes =
            [HistoryOutcome::Done, HistoryOutcome::Failed("no".to_owned()), HistoryOutcome::Cancelled, HistoryOutcome::Seen];
        history.add(HistoryNote {
            at_ms: 1_795_443_722_000,
            action: HistoryAction::ALL[at % HistoryAction::ALL.len()],
            object: HistoryObject::ALL[at % HistoryObject::ALL.len()],
            name: format!("n{at}"),
            app: (at % 2 == 0).then_some(AppId(7)),
            service: (at % 3 == 0).then(|| "main".to_owned()),
            cause: Cause { why: "so".to_owned(), changes: vec![change], asked_by: Some(Requester::new("the cloud")) },
            outcome: outcomes[at % outcomes.len()].clone(),
            millis: (at % 2 == 1).then_some(5),
        });
    }
    history.entries().cloned().collect()
}

fn plain(entries: &[Arc<HistoryEntry>]) -> Vec<HistoryEntry> {
    entries.iter().map(|it| HistoryEntry::clone(it)).collect()
}

#[tokio::test]
async fn every_entry_comes_back_until_the_next_boot_and_the_newest_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let all = entries(300);
    assert_eq!(open(dir.path()).load_history().await, []);
    let store = open(dir.path());
    store.append_history(&all[..200]).await.unwrap();
    store.append_history(&all[200..]).await.unwrap();
    assert_eq!(open(dir.path()).load_history().await, plain(&all));
    store.save_history(&all[300 - KEPT_OVER_BOOTS..]).await.unwrap();
    assert_eq!(open(dir.path()).load_history().await, plain(&all));
    std::fs::remove_dir_all(dir.path().join("run")).unwrap();
    assert_eq!(open(dir.path()).load_history().await, plain(&all[200..]));
}

#[tokio::test]
async fn a_damaged_line_or_file_loses_nothing_but_itself_and_what_is_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let all = entries(10);
    let store = open(dir.path());
    store.append_history(&all).await.unwrap();
    let path = dir.path().join("run").join(HISTORY);
    let text = std::fs::read_to_string(&path).unwrap();
    // Torn at its end.
    std::fs::write(&path, &text[..text.len() - 20]).unwrap();
    assert_eq!(open(dir.path()).load_history().await, plain(&all[..9]));
    // Damaged in its middle: numbers must have no gap.
    std::fs::write(&path, text.replace("\"n4\"", "n4\"")).unwrap();
    assert_eq!(open(dir.path()).load_history().await, plain(&all[5..]));
    // A later release knows other actions.
    std::fs::write(&path, text.replace("\"stop\"", "\"levitate\"")).unwrap();
    assert_eq!(open(dir.path()).load_history().await, plain(&all[4..]));
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert_eq!(open(dir.path()).load_history().await, []);
}

#[tokio::test]
async fn the_file_does_not_grow_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    // So many that the file is written anew more than once.
    let mut all: Vec<Arc<HistoryEntry>> = Vec::new();
    for round in 0..30 {
        let next = entries(KEPT).into_iter().map(|it| {
            let mut entry = HistoryEntry::clone(&it);
            entry.id += round * KEPT as u64;
            Arc::new(entry)
        });
        all = next.collect();
        store.append_history(&all).await.unwrap();
    }
    let bytes = std::fs::metadata(dir.path().join("run").join(HISTORY)).unwrap().len();
    assert!(bytes <= RECORD_BYTES / 2, "{bytes} bytes");
    assert_eq!(store.load_history().await, plain(&all));
}
