//! Signed target documents: when one was created, and whether a device may take it after those it has accepted.
//!
//! A signature says who made a document, and not that it is the latest: an old document with its old signature verifies for
//! ever. So each signature carries when its document was created, and a device never takes one that is older than the newest it
//! has accepted under the same key.

use crate::state::utc::{days_since_1970, utc};

/// The latest time that is read: the end of the year 9999, in seconds since 1970.
const LATEST_SECS: i64 = 253_402_300_799;

/// What a device remembers of a signed document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedDocument {
    /// When its signature says that it was created, in seconds since 1970.
    pub created_secs: i64,
    /// The SHA-256 of its bytes, in hexadecimal digits.
    pub fingerprint: String,
}

/// How a document that may be taken relates to the last one accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignedOrder {
    /// It is newer, or the first.
    Newer,
    /// It is the same.
    Same,
}

/// Why a signed document is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutdatedDocument {
    /// It is older than the accepted one.
    #[error(
        "it was created at {}, and one created at {} was accepted before: no older one is taken; to go back on purpose, sign the \
         old content again, with a newer time", utc(*.offered_secs), utc(*.accepted_secs)
    )]
    Older {
        /// When it was created, in seconds since 1970.
        offered_secs: i64,
        /// When the accepted one was created, in seconds since 1970.
        accepted_secs: i64,
    },
    /// It is as old as the accepted one, and another.
    #[error(
        "it was created at {}, as the accepted one was, and has another content: of two documents of one time the first one \
         counts; sign it again, with a newer time", utc(*.created_secs)
    )]
    Ambiguous {
        /// When both were created, in seconds since 1970.
        created_secs: i64,
    },
}

impl SignedDocument {
    /// Whether it may be taken after `accepted`, the newest document that was accepted under the same key.
    pub fn after(&self, accepted: Option<&Self>) -> Result<SignedOrder, OutdatedDocument> {
        let Some(accepted) = accepted else { return Ok(SignedOrder::Newer) };
        if self.created_secs < accepted.created_secs {
            return Err(OutdatedDocument::Older { offered_secs: self.created_secs, accepted_secs: accepted.created_secs });
        }
        if self.created_secs > accepted.created_secs {
            return Ok(SignedOrder::Newer);
        }
        if self.fingerprint == accepted.fingerprint {
            return Ok(SignedOrder::Same);
        }
        Err(OutdatedDocument::Ambiguous { created_secs: self.created_secs })
    }
}

/// When a signature's trusted comment says that its document was created, in seconds since 1970: `created:` with a time such
/// as `2026-11-28T12:00:00Z` or a number of seconds since 1970, or else `timestamp:` with such a number, which `minisign -S`
/// writes by itself.
pub fn created_secs(trusted_comment: &str) -> Result<i64, String> {
    let field = |name: &str| trusted_comment.split_whitespace().find_map(|it| it.strip_prefix(name));
    let Some(text) = field("created:").or_else(|| field("timestamp:")) else {
        return Err(
            "its trusted comment has neither `created:` nor `timestamp:`; sign it with `minisign -S`, whose own comment \
                    has the time, or with -t 'created:2026-11-28T12:00:00Z'"
                .to_owned(),
        );
    };
    time(text).ok_or_else(|| {
        format!("`{}` in its trusted comment is no time; write one like 2026-11-28T12:00:00Z", text.escape_debug())
    })
}

fn time(text: &str) -> Option<i64> {
    if text.bytes().all(|it| it.is_ascii_digit()) {
        return text.parse().ok().filter(|it| *it <= LATEST_SECS);
    }
    let number = |at: std::ops::Range<usize>| text.get(at)?.parse::<i64>().ok();
    let days = days_since_1970(number(0..4)?, number(5..7)?, number(8..10)?);
    let secs = days * 86_400 + number(11..13)? * 3600 + number(14..16)? * 60 + number(17..19)?;
    // Written again, only a time that is in the calendar is what was read.
    (utc(secs) == text && secs >= 0).then_some(secs)
}

#[cfg(test)]
mod tests;
