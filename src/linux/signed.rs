//! Documents that count only when they are signed, in the format of `minisign`: Ed25519, over the hash of the exact bytes
//! (`ED`) or over the bytes themselves (`Ed`). The signature is in a file beside the document, of its name and `.minisig`.
//!
//! A signature that does not match may be that of the document before: two files cannot be replaced at once. So a source looks
//! again a few times before it reports that.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use minisign_verify::{Error, PublicKey, Signature};
use sha2::{Digest, Sha256};

use crate::document;
use crate::linux::off_thread;
use crate::linux::store::AcceptedDocuments;
use crate::state::signed_document::created_secs;
use crate::state::{SignedDocument, SignedOrder, Target};

/// What the name of a signature's file ends with, after the name of the signed one.
pub(in crate::linux) const SUFFIX: &str = ".minisig";
/// Size limit of a signature's file, in bytes. Its comments are free text, of one line each.
pub(in crate::linux) const SIGNATURE_BYTES: u64 = 64 * 1024;
/// How often a document and its signature are read until they match.
pub(in crate::linux) const TRIES: usize = 4;
/// The time between two of these.
pub(in crate::linux) const PAUSE: Duration = Duration::from_secs(2);

/// The key that signs this device's targets, and what was accepted under it. Its clones share the record.
#[derive(Debug, Clone)]
pub struct TargetVerifier {
    key: Arc<PublicKey>,
    /// The key in base64, under which the record is kept.
    name: Arc<str>,
    accepted: Arc<AcceptedDocuments>,
}

/// A document as it was read, with its signature if one is wanted.
#[derive(Debug)]
pub(in crate::linux) struct ReadDocument {
    pub(in crate::linux) bytes: Vec<u8>,
    /// The signature's file. `None`: targets need no signature.
    pub(in crate::linux) signature: Option<Vec<u8>>,
}

/// A target whose signature is right, or need not be there.
#[derive(Debug)]
pub(in crate::linux) struct VerifiedTarget {
    pub(in crate::linux) target: Target,
    /// `None`: targets need no signature.
    pub(in crate::linux) version: Option<SignedDocument>,
}

/// Why there is no target.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::linux) enum UnverifiedTarget {
    /// The signature does not match, which may pass.
    Mismatch(String),
    /// The document is refused.
    Refused(String),
}

impl TargetVerifier {
    /// A verifier of a key in base64, with the record in a state directory.
    pub fn new(key: &str, state_dir: &Path) -> Result<Self, String> {
        let public = PublicKey::from_base64(key).map_err(|why| format!("the key that signs targets cannot be used: {why}"))?;
        Ok(Self { key: Arc::new(public), name: key.into(), accepted: Arc::new(AcceptedDocuments::new(state_dir)) })
    }

    /// The key, for content that is verified in parts: an archive.
    pub(in crate::linux) fn key(&self) -> &PublicKey {
        &self.key
    }

    fn version(&self, bytes: &[u8], signature: &[u8]) -> Result<SignedDocument, UnverifiedTarget> {
        let signature = decoded(signature).map_err(UnverifiedTarget::Mismatch)?;
        self.key.verify(bytes, &signature, true).map_err(|why| UnverifiedTarget::Mismatch(in_words(&why)))?;
        let created_secs = created_secs(signature.trusted_comment()).map_err(UnverifiedTarget::Refused)?;
        Ok(SignedDocument { created_secs, fingerprint: hex::encode(Sha256::digest(bytes)) })
    }

    /// Whether a document may be taken after those that were accepted. Changes nothing.
    pub(in crate::linux) async fn check(&self, version: &SignedDocument) -> Result<SignedOrder, String> {
        let (this, version) = (self.clone(), version.clone());
        off_thread(move || this.accepted.check(&this.name, &version)).await?
    }

    /// Accepts a document, unless it is outdated. Once it returns, no older one is taken, whatever happens to the power.
    pub(in crate::linux) async fn accept(&self, version: &SignedDocument) -> Result<SignedOrder, String> {
        let (this, version) = (self.clone(), version.clone());
        off_thread(move || this.accepted.accept(&this.name, &version)).await?
    }
}

impl ReadDocument {
    /// Verifies and parses a document. It is not yet accepted. `uuid` selects this device's part of a v3 document.
    pub(in crate::linux) async fn verified(
        self,
        verifier: Option<&TargetVerifier>,
        uuid: Option<&str>,
    ) -> Result<VerifiedTarget, UnverifiedTarget> {
        let (verifier, uuid) = (verifier.cloned(), uuid.map(str::to_owned));
        // The largest document takes an old processor seconds, and API requests must not wait for it.
        off_thread(move || self.verified_now(verifier.as_ref(), uuid.as_deref()))
            .await
            .unwrap_or_else(|why| Err(UnverifiedTarget::Refused(why)))
    }

    fn verified_now(self, verifier: Option<&TargetVerifier>, uuid: Option<&str>) -> Result<VerifiedTarget, UnverifiedTarget> {
        let version = match (verifier, &self.signature) {
            (Some(verifier), Some(signature)) => Some(verifier.version(&self.bytes, signature)?),
            (Some(_), None) => {
                return Err(UnverifiedTarget::Mismatch("it has no signature; sign it with `minisign -S`".to_owned()));
            }
            (None, _) => None,
        };
        let text = String::from_utf8(self.bytes).map_err(|error| {
            UnverifiedTarget::Refused(format!("it is not UTF-8 text from byte {} on", error.utf8_error().valid_up_to()))
        })?;
        let target = document::parse(&text, uuid).map_err(|error| UnverifiedTarget::Refused(error.0))?;
        Ok(VerifiedTarget { target, version })
    }
}

impl VerifiedTarget {
    /// Accepts the target for good, if it is signed. The error says why it is refused.
    pub(in crate::linux) async fn accepted(self, verifier: Option<&TargetVerifier>) -> Result<Target, String> {
        if let (Some(verifier), Some(version)) = (verifier, &self.version) {
            verifier.accept(version).await?;
        }
        Ok(self.target)
    }
}

/// The signature in a file.
pub(in crate::linux) fn decoded(text: &[u8]) -> Result<Signature, String> {
    let text = str::from_utf8(text).map_err(|_| malformed())?;
    Signature::decode(text).map_err(|_| malformed())
}

/// Why a signature does not match, and what to do.
pub(in crate::linux) fn in_words(error: &Error) -> String {
    let why = match error {
        Error::UnexpectedKeyId => {
            "its signature is by another key than --target-key; sign it with the right one, or correct the setting"
        }
        Error::InvalidSignature => {
            "its signature does not match it, so it was changed after it was signed, or the signature is that of another \
             version; sign it anew, and put both in place"
        }
        Error::UnsupportedLegacyMode => {
            "its signature is of the old form, which a large file cannot have; sign it with `minisign -S -H`"
        }
        _ => return malformed(),
    };
    why.to_owned()
}

fn malformed() -> String {
    "its signature is none that minisign wrote; sign it with `minisign -S`".to_owned()
}

#[cfg(test)]
mod tests;
