//! The record of the target on trial, and of the one that was kept. Targets are kept as documents, and parsed again.

use serde::{Deserialize, Serialize};

use super::ParseTarget;
use crate::state::Target;
use crate::state::target_trial::{KeptTarget, TargetTrialRecord, TrialTime, TriedTarget};

#[derive(Serialize, Deserialize)]
pub(super) struct TargetTrialFile {
    #[serde(deserialize_with = "Option::deserialize")]
    tried: Option<TriedFields>,
    #[serde(deserialize_with = "Option::deserialize")]
    kept: Option<KeptFields>,
}

#[derive(Serialize, Deserialize)]
struct TriedFields {
    document: String,
    /// The fingerprint of the sources' target.
    over: String,
    boot_id: String,
    noted_up_secs: i64,
    left_secs: i64,
    length_secs: i64,
}

#[derive(Serialize, Deserialize)]
struct KeptFields {
    document: String,
    over: String,
}

impl TargetTrialFile {
    pub(super) fn of(record: &TargetTrialRecord) -> Self {
        let tried = record.tried.as_ref().map(|it| TriedFields {
            document: it.target.document.clone(),
            over: it.over.clone(),
            boot_id: it.time.boot_id.clone(),
            noted_up_secs: it.time.noted_up_secs,
            left_secs: it.time.left_secs,
            length_secs: it.time.length_secs,
        });
        let kept = record.kept.as_ref().map(|it| KeptFields { document: it.target.document.clone(), over: it.over.clone() });
        Self { tried, kept }
    }

    /// The record, and why a target in it cannot be parsed. The device then runs the target beneath.
    pub(super) fn into_state(self, parse: &ParseTarget) -> (TargetTrialRecord, Option<String>) {
        let mut wrong = None;
        let mut read = |document: &str| -> Option<Target> { parse(document).map_err(|why| wrong = Some(why.to_string())).ok() };
        let tried = self.tried.and_then(|it| {
            let TriedFields { document, over, boot_id, noted_up_secs, left_secs, length_secs } = it;
            let time = TrialTime { boot_id, noted_up_secs, left_secs, length_secs };
            Some(TriedTarget { target: read(&document)?, time, over })
        });
        let kept = self.kept.and_then(|it| Some(KeptTarget { target: read(&it.document)?, over: it.over }));
        (TargetTrialRecord { tried, kept }, wrong)
    }
}
