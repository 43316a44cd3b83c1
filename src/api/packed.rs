//! Texts of the repository that the binary holds packed. The compiler packs them, so that a build script is not needed.
//!
//! A packed text is a sequence of pieces. A first byte below 128 is followed by as many bytes of the text, and one more. Any
//! other is 128 and the length of a repetition, less [`SHORTEST`]; the two bytes after it, the lower one first, say how far
//! back the repeated bytes are.

/// The shortest repetition that is shorter packed.
const SHORTEST: usize = 4;
/// The longest one that a piece can say.
const LONGEST: usize = SHORTEST + 127;
/// How far back a repetition may be.
const FURTHEST: usize = 0xffff;
/// How many bytes of the text a piece has at most.
const MOST: usize = 128;
/// How many earlier places are compared. More of them make a text hardly smaller, and the compiler slower.
const COMPARED: usize = 6;
/// How many places are remembered by their hash.
const HEADS: usize = 1 << 11;

/// A text, packed, and the length of that.
pub(super) const fn pack<const N: usize>(text: &[u8; N]) -> ([u8; N], usize) {
    let (mut packed, mut length) = ([0; N], 0);
    // Where four bytes were last, by their hash; and before that. 0: nowhere, any other: one more than the place.
    let (mut last, mut before) = ([0; HEADS], [0; N]);
    let (mut at, mut kept) = (0, 0);
    while at < N {
        let (back, repeated) = longest(text, at, last[hash(text, at)], &before);
        let end = if repeated == 0 { at + 1 } else { at + repeated };
        if repeated > 0 || at + 1 == N || at + 1 - kept == MOST {
            let literals_end = if repeated > 0 { at } else { at + 1 };
            if kept < literals_end {
                packed[length] = (literals_end - kept - 1).to_le_bytes()[0];
                length += 1;
            }
            while kept < literals_end {
                packed[length] = text[kept];
                length += 1;
                kept += 1;
            }
        }
        if repeated > 0 {
            packed[length] = 0x80 | (repeated - SHORTEST).to_le_bytes()[0];
            [packed[length + 1], packed[length + 2], ..] = back.to_le_bytes();
            length += 3;
            kept = end;
        }
        while at < end {
            let hash = hash(text, at);
            before[at] = last[hash];
            last[hash] = at + 1;
            at += 1;
        }
    }
    (packed, length)
}

/// How far back the longest repetition at a place is, and how long it is. 0: there is none.
const fn longest<const N: usize>(text: &[u8; N], at: usize, last: usize, before: &[usize; N]) -> (usize, usize) {
    let (mut found, mut next, mut compared) = ((0, 0), last, 0);
    while next > 0 && at + 1 - next <= FURTHEST && compared < COMPARED {
        let (from, mut same) = (next - 1, 0);
        while same < LONGEST && at + same < N && text[from + same] == text[at + same] {
            same += 1;
        }
        if same >= SHORTEST && same > found.1 {
            found = (at - from, same);
        }
        next = before[from];
        compared += 1;
    }
    found
}

const fn hash<const N: usize>(text: &[u8; N], at: usize) -> usize {
    if at + SHORTEST > N {
        return 0;
    }
    let four = u32::from_le_bytes([text[at], text[at + 1], text[at + 2], text[at + 3]]);
    let [_, _, low, high] = four.wrapping_mul(0x9e37_79b1).to_le_bytes();
    u16::from_le_bytes([low, high]) as usize % HEADS
}

/// The first bytes of some.
pub(super) const fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let (mut kept, mut at) = ([0; N], 0);
    while at < N {
        kept[at] = bytes[at];
        at += 1;
    }
    kept
}

/// A text that [`pack`] has packed.
pub(super) fn unpack(mut packed: &[u8]) -> Vec<u8> {
    let mut text: Vec<u8> = Vec::new();
    while let [kind, rest @ ..] = packed {
        let count = usize::from(kind & 0x7f);
        packed = match rest {
            [low, high, rest @ ..] if kind & 0x80 != 0 => {
                let from = text.len().saturating_sub(usize::from(u16::from_le_bytes([*low, *high])));
                // It may go on in what it repeats.
                for at in from..from + count + SHORTEST {
                    text.push(text[at]);
                }
                rest
            }
            rest => {
                let (literals, rest) = rest.split_at(rest.len().min(count + 1));
                text.extend_from_slice(literals);
                rest
            }
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_the_same_again<const N: usize>(text: &[u8; N]) -> usize {
        let (packed, length) = pack(text);
        assert_eq!(unpack(&packed[..length]), text, "{:?}", String::from_utf8_lossy(text));
        length
    }

    #[test]
    fn a_text_is_the_same_once_it_is_unpacked() {
        assert_eq!(is_the_same_again(b""), 0);
        // All different: one byte more for each 128, for which blanks at the end make room.
        let mut different = [b' '; 400];
        for (at, byte) in (0..=255).enumerate() {
            different[at] = byte;
        }
        assert!(is_the_same_again(&different) < 270);
        for at in [1, 127, 128, 129, 255, 256] {
            different.rotate_left(at);
            is_the_same_again(&different);
        }
        assert_eq!(is_the_same_again(b"abcdabcdabcdabcd        "), 13);
        assert_eq!(is_the_same_again(&[b'x'; 1000]), 2 + 3 * 8);
    }

    /// Blanks, with a word at the beginning and once more so far from it.
    #[expect(clippy::large_stack_arrays, reason = "the compiler calls it")]
    const fn repeated(distance: usize) -> [u8; 70_000] {
        let (word, mut text, mut at) = (b"far away", [b' '; 70_000], 0);
        while at < word.len() {
            text[at] = word[at];
            text[distance + at] = word[at];
            at += 1;
        }
        text
    }

    #[test]
    fn a_repetition_is_found_as_far_back_as_two_bytes_can_say() {
        static NEAR: [u8; 70_000] = repeated(FURTHEST);
        static FAR: [u8; 70_000] = repeated(FURTHEST + 1);
        // A thread of a test has less of a stack than this takes.
        static PACKED_NEAR: ([u8; 70_000], usize) = pack(&NEAR);
        static PACKED_FAR: ([u8; 70_000], usize) = pack(&FAR);
        for (text, (packed, length)) in [(&NEAR, &PACKED_NEAR), (&FAR, &PACKED_FAR)] {
            assert_eq!(unpack(&packed[..*length]), text);
        }
        assert!(PACKED_NEAR.1 < PACKED_FAR.1);
    }
}
