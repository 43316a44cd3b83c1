//! A tar archive that is passed on: whether it is whole, and a digest to compare it by.
//!
//! An engine that fails while it sends an archive ends the response as if it were complete, with an error message in the
//! archive's place. So the end is looked for: two empty blocks (POSIX.1-2017, pax, "ustar Interchange Format").

use sha2::{Digest, Sha256};

const BLOCK: usize = 512;

/// An archive as it passes by.
#[derive(Debug)]
pub(super) struct PassingArchive {
    hasher: Sha256,
    bytes: u64,
    /// The part of a header that has arrived.
    header: Vec<u8>,
    /// Bytes of an entry's content that are still to come, its padding included.
    content_bytes: u64,
    empty_blocks: u32,
    wrong: bool,
}

/// An archive that passed by whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PassedArchive {
    digest: [u8; 32],
    pub(super) bytes: u64,
}

impl PassingArchive {
    pub(super) fn new() -> Self {
        Self {
            hasher: Sha256::new(),
            bytes: 0,
            header: Vec::with_capacity(BLOCK),
            content_bytes: 0,
            empty_blocks: 0,
            wrong: false,
        }
    }

    /// How many bytes have passed.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// More of it passes.
    pub(super) fn pass(&mut self, part: &[u8]) {
        self.hasher.update(part);
        self.bytes = self.bytes.saturating_add(length(part));
        let mut rest = part;
        while !rest.is_empty() && !self.wrong {
            let skipped = self.content_bytes.min(length(rest));
            rest = rest.get(usize::try_from(skipped).unwrap_or(rest.len())..).unwrap_or_default();
            self.content_bytes -= skipped;
            let (head, after) = rest.split_at(rest.len().min(BLOCK - self.header.len()));
            self.header.extend_from_slice(head);
            rest = after;
            if self.header.len() == BLOCK {
                self.on_header();
                self.header.clear();
            }
        }
    }

    fn on_header(&mut self) {
        if self.header.iter().all(|it| *it == 0) {
            self.empty_blocks += 1;
            return;
        }
        // What follows the end is no entry.
        match content_bytes(&self.header).filter(|_| self.empty_blocks == 0 && is_checked(&self.header)) {
            Some(bytes) => self.content_bytes = bytes.next_multiple_of(512),
            None => self.wrong = true,
        }
    }

    /// The archive ends here. `None`: it is not whole.
    pub(super) fn end(self) -> Option<PassedArchive> {
        let is_whole = !self.wrong && self.content_bytes == 0 && self.header.is_empty() && self.empty_blocks >= 2;
        is_whole.then(|| PassedArchive { digest: self.hasher.finalize().into(), bytes: self.bytes })
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// The size of an entry's content, from its header: octal digits, or a number of which the first bit is set.
fn content_bytes(header: &[u8]) -> Option<u64> {
    let field = header.get(124..136)?;
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        let number =
            rest.iter().try_fold(u64::from(first & 0x7f), |sum, byte| sum.checked_mul(256)?.checked_add((*byte).into()));
        return number.filter(|it| *it < u64::MAX - 512);
    }
    octal(field)
}

/// Whether the header's checksum is right: the sum of its bytes, with spaces in the checksum's own place.
fn is_checked(header: &[u8]) -> bool {
    let sum: u64 =
        header.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) }).sum();
    header.get(148..156).and_then(octal) == Some(sum)
}

fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    if text.is_empty() { Some(0) } else { u64::from_str_radix(text, 8).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, content: &[u8]) -> Vec<u8> {
        let mut header = [0_u8; BLOCK];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[148..156].copy_from_slice(b"        ");
        let sum: u32 = header.iter().map(|it| u32::from(*it)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        let mut all = header.to_vec();
        all.extend_from_slice(content);
        all.resize(all.len().next_multiple_of(BLOCK), 0);
        all
    }

    fn passed(bytes: &[u8], part: usize) -> Option<PassedArchive> {
        let mut archive = PassingArchive::new();
        bytes.chunks(part).for_each(|it| archive.pass(it));
        archive.end()
    }

    #[test]
    fn an_archive_is_whole_however_it_is_cut_and_not_if_anything_lacks_at_its_end() {
        let mut whole = [entry("a", b"content"), entry("empty", b""), entry("b", &[7; 1300])].concat();
        let entries = whole.len();
        whole.resize(entries + 2 * BLOCK, 0);
        let once = passed(&whole, whole.len()).unwrap();
        assert_eq!(once.bytes, u64::try_from(whole.len()).unwrap());
        for part in [1, 7, 511, 512, 513, 4096] {
            assert_eq!(passed(&whole, part), Some(once.clone()), "{part}");
        }
        for end in (0..entries + 2 * BLOCK).step_by(13) {
            assert_eq!(passed(&whole[..end], 100), None, "{end}");
        }
        let broken = [&whole[..entries], b"{\"message\":\"input/output error\"}\n"].concat();
        assert_eq!(passed(&broken, 100), None);
        let mut padded = whole.clone();
        padded.resize(whole.len() + 8 * BLOCK, 0);
        assert!(passed(&padded, 100).is_some_and(|it| it != once));
    }

    #[test]
    fn a_header_whose_sum_is_wrong_or_whose_size_is_none_is_no_header() {
        let mut flipped = [entry("a", b"content"), vec![0; 2 * BLOCK]].concat();
        flipped[0] = b'b';
        assert_eq!(passed(&flipped, 100), None);
        let mut header = [0; BLOCK];
        header[124..136].fill(0xff);
        assert_eq!(content_bytes(&header), None);
        header[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(content_bytes(&header), Some(257));
    }
}
