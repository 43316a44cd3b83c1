//! All that a store does, with the power cut before and after each system call, and every state that may leave.

use std::path::Path;

use boardkeeper::port::{Record, Store as _, TargetTag};

use super::layer::{Kind, Layer, Lie, Trouble};
use super::oracle::{Allowed, DIR, FILES, KINDS, open, record};
use super::power_cut;
use super::run;

/// An operation of the store, and the state before it.
struct Operation {
    name: String,
    before: Layer,
    allowed: Allowed,
    /// What is saved, one after another; nothing: it is loaded only.
    saves: Vec<Record>,
}

/// A device that has everything.
async fn lived_in(lie: Option<Lie>) -> (Layer, Allowed) {
    let (layer, mut allowed) = (Layer::new().lying(lie), Allowed::nothing());
    let store = open(&layer);
    store.load().await.unwrap();
    for kind in 0..KINDS {
        let record = record(kind, 1);
        store.save(&record).await.unwrap();
        allowed.saved(&record);
    }
    (layer, allowed)
}

async fn operations(lie: Option<Lie>) -> Vec<Operation> {
    let mut all = Vec::new();
    let first = (0..3).map(|kind| record(kind, 1)).collect();
    all.push(Operation {
        name: "the first start".into(),
        before: Layer::new().lying(lie),
        allowed: Allowed::nothing(),
        saves: first,
    });
    for kind in 0..KINDS {
        for n in [1, 2, 3] {
            let (before, allowed) = lived_in(lie).await;
            let record = record(kind, n);
            all.push(Operation { name: format!("save {record:.40?} ({n})"), before, allowed, saves: vec![record] });
        }
    }
    let (before, allowed) = lived_in(lie).await;
    let Record::Targets(targets) = record(2, 1) else { unreachable!("the second kind") };
    let proved = Record::Proved(targets.wanted.unwrap().fingerprint());
    all.push(Operation { name: "a target is reached".into(), before, allowed, saves: vec![proved, record(2, 2)] });
    let (before, mut allowed) = lived_in(lie).await;
    let tag = |n| Record::TargetTag(TargetTag { etag: format!("\"{n}\""), fingerprint: format!("{n:064x}") });
    open(&before).save(&tag(1)).await.unwrap();
    allowed.begins(&tag(1));
    all.push(Operation { name: "an ETag is saved".into(), before, allowed, saves: vec![tag(2), record(2, 2)] });
    for name in FILES {
        let flat = br#"{"uuid": "", "device": "", "root": "", "services": [7], "wanted": 1}"#;
        let zeros = format!(
            r#"{{"uuid": 0, "device": "{0}", "root": "{0}", "wanted": 1, "services": 0, "starts": {{}}}}"#,
            "0".repeat(64)
        );
        for garbage in [&b"{"[..], b"", &[0; 600], flat, zeros.as_bytes()] {
            let (before, mut allowed) = lived_in(lie).await;
            before.spoil(&Path::new(DIR).join(name), garbage);
            allowed.spoiled(name, garbage);
            all.push(Operation { name: format!("put {name} aside"), before, allowed, saves: Vec::new() });
        }
    }
    all
}

/// Cuts the power in an operation at every moment. Says how many states that left, or the first thing that is wrong.
async fn cut_everywhere(mut it: Operation) -> Result<usize, String> {
    it.before.record();
    let store = open(&it.before);
    store.load().await.map_err(|why| why.to_string())?;
    let mut opened = vec![(it.before.tape(), it.allowed.clone())];
    for record in &it.saves {
        it.before.record();
        it.allowed.begins(record);
        store.save(record).await.map_err(|why| why.to_string())?;
        let mut tape = it.before.tape();
        let after = tape.pop().unwrap();
        opened.push((tape, it.allowed.clone()));
        it.allowed.saved(record);
        opened.push((vec![after], it.allowed.clone()));
    }
    let mut cuts = 0;
    for (tape, allowed) in opened {
        for (at, model) in tape.iter().enumerate() {
            for left in power_cut::every(model) {
                allowed.opens(&left).await.map_err(|why| format!("{}, cut before call {at}: {why}", it.name))?;
                cuts += 1;
            }
        }
    }
    Ok(cuts)
}

async fn everything(lie: Option<Lie>) -> Result<(usize, usize), String> {
    let (mut deeds, mut cuts) = (0, 0);
    for operation in operations(lie).await {
        deeds += 1;
        cuts += cut_everywhere(operation).await?;
    }
    Ok((deeds, cuts))
}

#[test]
fn a_power_cut_at_any_moment_of_any_operation_leaves_the_old_or_the_new() {
    let (deeds, cuts) = run(everything(None)).unwrap();
    eprintln!("figure: every state of {deeds} deeds: {cuts} cuts");
}

#[test]
fn a_disk_that_does_not_sync_is_found_out() {
    for lie in [Lie::Bytes, Lie::Names, Lie::Above] {
        let found = run(everything(Some(lie))).expect_err("nobody noticed that it is not synced");
        eprintln!("{lie:?} are not synced: {found:.200}");
    }
}

/// A process that was killed leaves what it did in the kernel's memory; the next one reads it, and acts on it.
#[test]
fn what_a_killed_process_left_unsynced_is_kept_once_it_was_loaded() {
    run(async {
        for kind in 0..KINDS {
            for at in 0.. {
                let (layer, mut allowed) = lived_in(None).await;
                let new = record(kind, 2);
                allowed.begins(&new);
                layer.upset(Some(Trouble { at, kind: Kind::Killed }));
                let done = open(&layer).save(&new).await.is_ok();
                layer.upset(None);
                let memory = open(&layer).load().await.unwrap();
                allowed.found(&memory);
                for left in power_cut::every(&layer.now()) {
                    allowed.opens(&left).await.unwrap_or_else(|why| panic!("kind {kind}, killed at {at}: {why}"));
                }
                if done {
                    break;
                }
            }
        }
    });
}

/// Each call fails once, or there is no room from it on; then the power is cut, or all is well again and it is saved once more.
#[test]
fn a_save_that_fails_at_any_call_loses_nothing_and_works_the_next_time() {
    run(async {
        for (kind, trouble) in (0..KINDS).flat_map(|kind| [(kind, Kind::Full), (kind, Kind::Broken)]) {
            for at in 0.. {
                let (layer, mut allowed) = lived_in(None).await;
                let (new, store) = (record(kind, 2), open(&layer));
                allowed.begins(&new);
                let before = layer.calls();
                layer.upset(Some(Trouble { at, kind: trouble }));
                let done = store.save(&new).await;
                let reached = layer.calls() - before > at;
                layer.upset(None);
                let is = || format!("kind {kind}, {trouble:?} at {at}, {done:?}");
                if done.is_ok() {
                    allowed.saved(&new);
                }
                for left in power_cut::every(&layer.now()) {
                    allowed.opens(&left).await.unwrap_or_else(|why| panic!("{}: {why}", is()));
                }
                store.save(&new).await.unwrap();
                allowed.saved(&new);
                for left in power_cut::every(&layer.now()) {
                    allowed.opens(&left).await.unwrap_or_else(|why| panic!("{}, then saved: {why}", is()));
                }
                if !reached {
                    break;
                }
            }
        }
    });
}

/// The same of the first start, where even the directory is missing, and of putting a file aside.
#[test]
fn a_load_that_fails_at_any_call_loses_nothing_and_works_the_next_time() {
    run(async {
        for (name, trouble) in FILES.into_iter().flat_map(|name| [(name, Kind::Full), (name, Kind::Broken)]) {
            for at in 0..30 {
                let (layer, mut allowed) = lived_in(None).await;
                layer.spoil(&Path::new(DIR).join(name), b"{");
                allowed.spoiled(name, b"{");
                layer.upset(Some(Trouble { at, kind: trouble }));
                let done = open(&layer).load().await;
                layer.upset(None);
                let is = format!("{name}, {trouble:?} at {at}, {:?}", done.map(|it| it.complaints));
                for left in power_cut::every(&layer.now()) {
                    allowed.opens(&left).await.unwrap_or_else(|why| panic!("{is}: {why}"));
                }
            }
        }
    });
}

#[test]
fn what_is_there_is_not_written_again() {
    run(async {
        let (layer, _) = lived_in(None).await;
        let store = open(&layer);
        store.load().await.unwrap();
        let before = layer.calls();
        for kind in 0..KINDS {
            store.save(&record(kind, 1)).await.unwrap();
            store.save(&record(kind, 1)).await.unwrap();
        }
        assert_eq!(layer.calls() - before, 0, "nothing changed, so nothing is to be done, not even a sync");
        store.save(&record(1, 2)).await.unwrap();
        assert_eq!(layer.calls() - before, 4, "made, synced, moved, and the names synced");
    });
}
