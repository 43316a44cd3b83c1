use super::*;

fn note(action: HistoryAction, service: &str) -> HistoryNote {
    HistoryNote {
        at_ms: 0,
        action,
        object: HistoryObject::Container,
        name: format!("{service}_1"),
        app: Some(AppId(1)),
        service: Some(service.to_owned()),
        cause: Cause::from_why("it is so"),
        outcome: HistoryOutcome::Done,
        millis: Some(1),
    }
}

#[test]
fn numbers_have_no_gap_and_the_oldest_entries_go() {
    let mut history = History::default();
    assert_eq!((history.oldest(), history.newest()), (None, 0));
    for _ in 0..KEPT + 5 {
        history.add(note(HistoryAction::Start, "main"));
    }
    assert_eq!((history.oldest(), history.newest()), (Some(6), KEPT as u64 + 5));
    assert_eq!(history.after(KEPT as u64).map(|it| it.id).collect::<Vec<_>>(), [1001, 1002, 1003, 1004, 1005]);
    assert_eq!(history.after(0).count(), KEPT);
    assert_eq!(history.after(u64::MAX).count(), 0);
    let kept = History::from_kept(history.entries().map(|it| HistoryEntry::clone(it)));
    assert_eq!((kept.oldest(), kept.newest()), (history.oldest(), history.newest()));
}

#[test]
fn a_service_has_the_reason_of_its_newest_container() {
    let mut history = History::default();
    history.add(note(HistoryAction::Create, "main"));
    history.add(note(HistoryAction::Start, "main"));
    history.add(note(HistoryAction::Rename, "main"));
    history.add(note(HistoryAction::Start, "side"));
    let reason = history.reason_of(&ServiceKey::new(AppId(1), "main")).expect("there is one");
    assert_eq!((reason.id, reason.sentence()), (2, "main was started because it is so".to_owned()));
    assert_eq!(history.reason_of(&ServiceKey::new(AppId(2), "main")), None);
}

#[test]
fn a_sentence_says_what_why_and_who() {
    let change = |old: Option<&str>, new: Option<&str>| FieldChange {
        field: "env A".to_owned(),
        old: old.map(str::to_owned),
        new: new.map(str::to_owned),
    };
    let changes = vec![change(Some("1"), Some("2")), change(None, Some("2")), change(Some("1"), None)];
    let cause = Cause { why: "it differs".to_owned(), changes, asked_by: Some(Requester::new("the cloud")) };
    let mut history = History::default();
    let mut sentence = |change: &dyn Fn(&mut HistoryNote)| {
        let mut it = note(HistoryAction::Create, "main");
        change(&mut it);
        let id = history.add(it);
        history.after(id - 1).next().expect("it was added").sentence()
    };
    assert_eq!(
        sentence(&|it| it.cause = cause.clone()),
        "main was created because it differs (env A: `1` became `2`; env A: `2` is new; env A: `1` is gone); asked for by the cloud"
    );
    assert_eq!(
        sentence(&|it| it.outcome = HistoryOutcome::Failed("no room".to_owned())),
        "main could not be created: no room because it is so"
    );
    assert_eq!(sentence(&|it| it.outcome = HistoryOutcome::Cancelled), "main was not created after all because it is so");
    assert_eq!(sentence(&|it| it.action = HistoryAction::Exited), "main ended by itself: it is so");
}

#[test]
fn texts_from_outside_are_cut() {
    let mut history = History::default();
    let mut long = note(HistoryAction::Create, "main");
    long.name = "ä".repeat(10_000);
    long.outcome = HistoryOutcome::Failed("ö".repeat(10_000));
    history.add(long);
    let entry = history.entries().next().expect("it was added");
    assert_eq!(entry.name.chars().count(), TEXT_CHARS + 1);
    assert!(matches!(&entry.outcome, HistoryOutcome::Failed(why) if why.chars().count() == TEXT_CHARS + 1));
}

#[test]
fn every_word_is_another() {
    let words: crate::sorted::SortedSet<_> = HistoryAction::ALL.iter().map(|it| it.word()).collect();
    assert_eq!(words.len(), HistoryAction::ALL.len());
    let words: crate::sorted::SortedSet<_> = HistoryObject::ALL.iter().map(|it| it.word()).collect();
    assert_eq!(words.len(), HistoryObject::ALL.len());
}
