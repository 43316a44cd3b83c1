//! Bodies: read up to a limit, unpacked, packed.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::{GzDecoder, GzEncoder};
use http_body_util::BodyExt;
use hyper::body::Incoming;

/// A body, as far as it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ReadBody {
    /// Its bytes, unpacked.
    pub bytes: Vec<u8>,
    /// Whether more was there than the limit.
    pub is_cut: bool,
}

/// Reads a body, of which at most `limit` bytes are kept, unpacked.
pub(super) async fn read(mut body: Incoming, is_gzip: bool, limit: usize) -> Result<ReadBody, String> {
    let mut sink = Sink::new(is_gzip, limit);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| in_words(&error))?;
        if let Some(part) = frame.data_ref() {
            sink.add(part)?;
        }
        if sink.bounded().is_cut {
            break;
        }
    }
    sink.end()
}

/// Gzip of some bytes.
pub(super) fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(bytes).and_then(|()| packed.finish()).expect("memory takes all bytes")
}

/// An error and what caused it, in one line.
pub(super) fn in_words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(it) = cause {
        let more = it.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        cause = it.source();
    }
    words
}

/// Takes a body's bytes as they arrive.
enum Sink {
    Plain(Bounded),
    Gzip(Box<GzDecoder<Bounded>>),
    /// Gzip of which no byte has arrived: an answer without a body may still name its encoding.
    GzipToCome(Bounded),
}

/// Keeps the first bytes.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
    is_cut: bool,
}

impl Sink {
    fn new(is_gzip: bool, limit: usize) -> Self {
        let bounded = Bounded::new(limit);
        if is_gzip { Self::GzipToCome(bounded) } else { Self::Plain(bounded) }
    }

    fn bounded(&self) -> &Bounded {
        match self {
            Self::Plain(bounded) | Self::GzipToCome(bounded) => bounded,
            Self::Gzip(decoder) => decoder.get_ref(),
        }
    }

    fn bounded_mut(&mut self) -> &mut Bounded {
        match self {
            Self::Plain(bounded) | Self::GzipToCome(bounded) => bounded,
            Self::Gzip(decoder) => decoder.get_mut(),
        }
    }

    fn add(&mut self, part: &[u8]) -> Result<(), String> {
        let added = match self {
            Self::Plain(bounded) => bounded.write_all(part),
            Self::Gzip(decoder) => decoder.write_all(part),
            Self::GzipToCome(bounded) => {
                *self = Self::Gzip(Box::new(GzDecoder::new(bounded.take())));
                return self.add(part);
            }
        };
        added.or_else(|why| if self.bounded().is_cut { Ok(()) } else { Err(broken(&why)) })
    }

    fn end(mut self) -> Result<ReadBody, String> {
        if let Self::Gzip(decoder) = &mut self
            && let Err(why) = decoder.try_finish()
            && !decoder.get_ref().is_cut
        {
            return Err(broken(&why));
        }
        let Bounded { bytes, is_cut, .. } = self.bounded_mut().take();
        Ok(ReadBody { bytes, is_cut })
    }
}

impl Bounded {
    const fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), limit, is_cut: false }
    }

    fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new(self.limit))
    }
}

fn broken(why: &io::Error) -> String {
    format!("the gzip of its answer is broken ({why})")
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.limit.saturating_sub(self.bytes.len());
        let taken = bytes.len().min(room);
        self.bytes.extend_from_slice(&bytes[..taken]);
        if taken < bytes.len() {
            self.is_cut = true;
            return Err(io::Error::other("it is too long"));
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpacked(packed: &[u8], limit: usize) -> Result<ReadBody, String> {
        let mut sink = Sink::new(true, limit);
        for part in packed.chunks(7) {
            sink.add(part)?;
            if sink.bounded().is_cut {
                break;
            }
        }
        sink.end()
    }

    #[test]
    fn what_was_packed_is_unpacked() {
        let text = "{\"a\": 1}".repeat(1000).into_bytes();
        let packed = pack(&text);
        assert!(packed.len() < 200, "{}", packed.len());
        assert_eq!(unpacked(&packed, 8000), Ok(ReadBody { bytes: text, is_cut: false }));
        assert_eq!(unpacked(b"", 8), Ok(ReadBody::default()));
    }

    #[test]
    fn a_bomb_is_cut() {
        let packed = pack(&vec![0; 50_000_000]);
        let cut = unpacked(&packed, 100).unwrap();
        assert!(cut.is_cut && cut.bytes.len() == 100);
    }

    #[test]
    fn half_of_a_gzip_and_none_at_all_are_no_body() {
        let packed = pack(&b"some text".repeat(100));
        for wrong in [&packed[..packed.len() - 9], &packed[..20], &packed[..3], b"{\"no\": \"gzip\"}"] {
            let why = unpacked(wrong, 1000).unwrap_err();
            assert!(why.contains("gzip"), "{why}");
        }
        let mut flipped = packed.clone();
        let at = flipped.len() - 6;
        flipped[at] ^= 1;
        assert!(unpacked(&flipped, 1000).is_err());
    }
}
