//! Signs as `minisign` does, with keys that are made of a number: for tests of signed targets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blake2::{Blake2b512, Digest};
use ring::signature::{Ed25519KeyPair, KeyPair};

/// What is signed: the content's hash, as `minisign` does since 2019, or the content itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// `ED`.
    Prehashed,
    /// `Ed`.
    Legacy,
}

/// A key pair.
pub(crate) struct Signer {
    pair: Ed25519KeyPair,
    id: [u8; 8],
}

impl Signer {
    /// The key pair of this number.
    pub(crate) fn new(number: u8) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[number; 32]).expect("any 32 bytes are a seed");
        Self { pair, id: [number; 8] }
    }

    /// The public key, as one line of base64.
    pub(crate) fn public(&self) -> String {
        STANDARD.encode([b"Ed", self.id.as_slice(), self.pair.public_key().as_ref()].concat())
    }

    /// The text of a `.minisig` file of some content, with this trusted comment.
    pub(crate) fn sign(&self, content: &[u8], comment: &str) -> String {
        self.sign_as(Algorithm::Prehashed, content, comment)
    }

    /// The same with an algorithm.
    pub(crate) fn sign_as(&self, algorithm: Algorithm, content: &[u8], comment: &str) -> String {
        let (name, signature) = match algorithm {
            Algorithm::Prehashed => (b"ED", self.pair.sign(&Blake2b512::digest(content))),
            Algorithm::Legacy => (b"Ed", self.pair.sign(content)),
        };
        let global = self.pair.sign(&[signature.as_ref(), comment.as_bytes()].concat());
        let signed = STANDARD.encode([name.as_slice(), &self.id, signature.as_ref()].concat());
        let global = STANDARD.encode(global);
        format!("untrusted comment: signed by a test\n{signed}\ntrusted comment: {comment}\n{global}\n")
    }
}
