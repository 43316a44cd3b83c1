//! Signed target documents: when each was created, and what the device's disk knows of those it has accepted. Whether one is
//! taken is decided by the rule that the device's own sources use.

use std::collections::BTreeMap;

use boardkeeper::port::StoredTargets;
use boardkeeper::state::{SignedDocument, SignedOrder, Target, TargetError};

use super::{Model, Sim};

/// The signed documents of a life.
#[derive(Debug, Default)]
pub(crate) struct SignedDocuments {
    /// When each was created, by its text.
    created: BTreeMap<String, i64>,
    /// The newest one that was accepted, as the disk has it.
    pub(crate) accepted: Option<SignedDocument>,
    /// How many were refused.
    pub(crate) refused: u32,
}

impl SignedDocuments {
    /// A document was signed at this time.
    pub(crate) fn sign(&mut self, target: &Target, created: i64) {
        self.created.insert(target.document.clone(), created);
    }

    fn version(&self, target: &Target) -> SignedDocument {
        let created_secs = self.created.get(&target.document).copied().unwrap_or_default();
        SignedDocument { created_secs, fingerprint: target.fingerprint() }
    }

    /// Whether a record of targets takes the device back: it has a document that is new to the device, and older than one that
    /// it has accepted. After crashes in a row the device may fall back to its last good target.
    fn goes_back(&self, kept: &StoredTargets, saved: &StoredTargets) -> bool {
        let is_taken = saved.wanted != kept.wanted && saved.wanted != kept.last_good;
        let accepted = self.accepted.as_ref().map(|it| it.created_secs);
        is_taken && saved.wanted.as_ref().is_some_and(|it| Some(self.version(it).created_secs) < accepted)
    }
}

impl Model {
    /// The agent saves its targets.
    pub(super) fn check_signed(&mut self, saved: &StoredTargets) {
        let kept = &self.disk.kept.targets;
        if self.targets.signed.as_ref().is_some_and(|it| it.goes_back(kept, saved)) {
            self.violation("a signed target that is older than an accepted one is taken");
        }
    }
}

impl Sim {
    /// Accepts a document that was read, if it is signed and not outdated: first on the disk, then it is handed on.
    pub(super) async fn accept_signed(&self, target: Target) -> Result<Target, TargetError> {
        let signed = self.with(|model| model.targets.signed.as_ref().map(|it| (it.version(&target), it.accepted.clone())));
        let Some((version, accepted)) = signed else { return Ok(target) };
        match version.after(accepted.as_ref()) {
            Ok(SignedOrder::Same) => return Ok(target),
            Ok(SignedOrder::Newer) => (),
            Err(why) => {
                self.with(|model| {
                    model.note(&why);
                    model.targets.signed.as_mut().expect("documents are signed").refused += 1;
                });
                return Err(TargetError(why.to_string()));
            }
        }
        self.pass(1, 60).await;
        self.with(|model| {
            model.note(format_args!("accepted {} of {}", target.document, version.created_secs));
            model.targets.signed.as_mut().expect("documents are signed").accepted = Some(version);
        });
        self.pass(1, 20).await;
        Ok(target)
    }
}
