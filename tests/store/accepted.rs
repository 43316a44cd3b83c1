//! The record of signed documents, with the power cut before and after each system call of an acceptance.

use std::path::Path;

use boardkeeper::linux::store::AcceptedDocuments;
use boardkeeper::state::SignedDocument;

use super::layer::{Kind, Layer, Lie, Trouble};
use super::oracle::DIR;
use super::power_cut;

fn document(created_secs: i64) -> SignedDocument {
    SignedDocument { created_secs, fingerprint: format!("{created_secs:064}") }
}

fn over(layer: &Layer) -> AcceptedDocuments<Layer> {
    AcceptedDocuments::over(layer.clone(), Path::new(DIR))
}

/// Whether a document of this time would be taken.
fn takes(layer: &Layer, created_secs: i64) -> bool {
    over(layer).check("key", &document(created_secs)).is_ok()
}

/// Accepts 5, then 7, and cuts the power at every moment of the second. The number of states that left, or what is wrong.
fn cut_everywhere(lie: Option<Lie>) -> Result<usize, String> {
    let layer = Layer::new().lying(lie);
    over(&layer).accept("key", &document(5)).unwrap();
    layer.record();
    over(&layer).accept("key", &document(7)).unwrap();
    let tape = layer.tape();
    let mut states = 0;
    for (moment, model) in tape.iter().enumerate() {
        let is_done = moment + 1 == tape.len();
        for left in power_cut::every(model) {
            states += 1;
            if takes(&left, 4) {
                return Err(format!("before call {moment}: the record is lost"));
            }
            if is_done && takes(&left, 6) {
                return Err("the record that was acknowledged is lost".to_owned());
            }
            if !takes(&left, 7) {
                return Err(format!("before call {moment}: what was accepted is refused"));
            }
        }
    }
    Ok(states)
}

#[test]
fn a_power_cut_at_any_moment_of_an_acceptance_leaves_the_old_or_the_new_record() {
    let states = cut_everywhere(None).unwrap();
    assert!(states > 10, "{states}");
}

#[test]
fn a_disk_that_does_not_sync_the_record_is_found_out() {
    for lie in [Lie::Bytes, Lie::Names] {
        cut_everywhere(Some(lie)).unwrap_err();
    }
}

#[test]
fn an_acceptance_that_fails_at_any_call_is_none_and_works_the_next_time() {
    for kind in [Kind::Full, Kind::Broken] {
        for at in 0.. {
            let layer = Layer::new();
            over(&layer).accept("key", &document(5)).unwrap();
            layer.upset(Some(Trouble { at, kind }));
            let failed = over(&layer).accept("key", &document(7)).is_err();
            layer.upset(None);
            assert!(!takes(&layer, 4), "{kind:?} at {at}");
            over(&layer).accept("key", &document(7)).unwrap();
            assert!(!takes(&layer, 6), "{kind:?} at {at}");
            if !failed {
                assert!(at > 3, "{kind:?}: {at} calls");
                break;
            }
        }
    }
}
