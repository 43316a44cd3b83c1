//! The ETag of the cloud's target. Without it the cloud sends the target once more, so its file is neither synced nor reported.

use serde::{Deserialize, Serialize};

use super::{DRAFT, RECORD_BYTES, SharedStore, StoreFiles, failed, parsed, wire};
use crate::port::{StoreError, TargetTag};

/// Its file, in the state directory.
pub(super) const TARGET_TAG: &str = "target-tag.json";

#[derive(Serialize, Deserialize)]
struct TargetTagFile {
    etag: String,
    /// The SHA-256 of the target's document.
    document: String,
}

impl TargetTagFile {
    fn into_state(self) -> TargetTag {
        TargetTag { etag: self.etag, fingerprint: self.document }
    }
}

/// The content of its file.
pub(super) fn encode(tag: &TargetTag) -> Vec<u8> {
    wire::json(&TargetTagFile { etag: tag.etag.clone(), document: tag.fingerprint.clone() })
}

impl<F: StoreFiles> SharedStore<F> {
    /// Writes the ETag's file in place of the old one. After a power cut the file may be torn, which its reader notices.
    pub(super) fn keep_target_tag(&self, bytes: &[u8]) -> Result<(), StoreError> {
        let _turn = self.known();
        let draft = format!(".{TARGET_TAG}{DRAFT}");
        let written = self.files.prepare().and_then(|()| self.past_a_directory(&draft, || self.files.write(&draft, bytes)));
        let named = written.and_then(|()| self.past_a_directory(TARGET_TAG, || self.files.rename(&draft, TARGET_TAG)));
        named.map_err(|why| failed(&self.files, "keep", TARGET_TAG, &why))
    }

    pub(super) fn target_tag(&self) -> Option<TargetTag> {
        let bytes = self.files.read(TARGET_TAG, RECORD_BYTES).ok()?;
        parsed::<TargetTagFile>(TARGET_TAG, &bytes).ok().map(TargetTagFile::into_state)
    }
}
