//! The bytes of a line, made harmless: at most 10,000 characters of UTF-8, without control characters.

use std::borrow::Cow;

/// The longest text, in characters.
const MOST_CHARACTERS: usize = 10_000;
/// The most bytes that are kept of a line: a character has at most four.
const MOST_BYTES: usize = MOST_CHARACTERS * 4;
/// The end of a text that was cut.
const CUT: &str = "[...]";

/// A line that arrives in parts. A carriage return begins it anew, as on a terminal: of a progress bar the last state counts.
#[derive(Debug, Default)]
pub(super) struct LineText {
    bytes: Vec<u8>,
    is_cut: bool,
    /// The last byte was a carriage return, which begins the line anew if more follows.
    is_returned: bool,
}

impl LineText {
    /// Adds bytes, which have no line feed.
    pub(super) fn push(&mut self, mut part: &[u8]) {
        if part.is_empty() {
            return;
        }
        let ends_in_return = part.ends_with(b"\r");
        while let Some(rest) = part.strip_suffix(b"\r") {
            part = rest;
        }
        if !part.is_empty() {
            let begin = part.iter().rposition(|it| *it == b'\r').map(|at| at + 1);
            if self.is_returned || begin.is_some() {
                self.bytes.clear();
                self.is_cut = false;
            }
            let part = part.get(begin.unwrap_or(0)..).unwrap_or_default();
            let room = MOST_BYTES.saturating_sub(self.bytes.len());
            self.is_cut |= part.len() > room;
            self.bytes.extend_from_slice(part.get(..room).unwrap_or(part));
            self.is_returned = false;
        }
        self.is_returned |= ends_in_return;
    }

    /// Ends the line.
    pub(super) fn take(&mut self) -> String {
        let text = harmless(&self.bytes, self.is_cut);
        // A long line must not keep its memory.
        self.bytes.clear();
        self.bytes.shrink_to(1024);
        (self.is_cut, self.is_returned) = (false, false);
        text
    }
}

fn harmless(bytes: &[u8], is_cut: bool) -> String {
    let text = String::from_utf8_lossy(bytes);
    let is_harmless = |it: char| !it.is_control() || it == '\t' || it == '\u{1b}';
    let mut text =
        if text.chars().all(is_harmless) { text } else { Cow::Owned(text.chars().filter(|it| is_harmless(*it)).collect()) };
    if is_cut || text.len() > MOST_CHARACTERS && text.chars().nth(MOST_CHARACTERS).is_some() {
        let kept = text.char_indices().nth(MOST_CHARACTERS - CUT.len()).map_or(text.len(), |(at, _)| at);
        text.to_mut().truncate(kept);
        text.to_mut().push_str(CUT);
    }
    text.into_owned()
}
