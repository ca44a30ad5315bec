//! How an artifact lies in its file: a header of 8 bytes, then its chunks one after another, each sealed for its
//! place.
//!
//! ```text
//! "MUSART" | version 1 | 0        chunk 0        chunk 1                    last chunk
//! 8 bytes                         64 KiB + seal  64 KiB + seal   ...        1 B to 64 KiB, + seal
//! ```
//!
//! A place is the artifact's digest, the chunk's number, and whether it is the last. So a chunk that was moved, that
//! belongs to another artifact, or after which the file was cut, does not open.

use std::ops::Range;

use crate::{digest::Digest, limits::CHUNK_BYTES};

/// What each file begins with.
pub(crate) const HEADER: [u8; 8] = *b"MUSART\x01\x00";

/// How long the pieces of one artifact are, in memory and in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub size: u64,
    pub overhead: u64,
}

impl Layout {
    pub fn new(size: u64, overhead_bytes: usize) -> Self {
        Self { size, overhead: overhead_bytes as u64 }
    }

    pub fn chunks(self) -> u64 {
        self.size.div_ceil(CHUNK_BYTES as u64)
    }

    /// Which bytes of the artifact are in a chunk; none behind the last.
    pub fn range(self, number: u64) -> Range<u64> {
        let from = number.saturating_mul(CHUNK_BYTES as u64).min(self.size);
        from..from.saturating_add(CHUNK_BYTES as u64).min(self.size)
    }

    /// Where in the file a chunk begins.
    pub fn offset(self, number: u64) -> u64 {
        (HEADER.len() as u64).saturating_add(number.saturating_mul(CHUNK_BYTES as u64 + self.overhead))
    }

    /// How long the whole file is.
    pub fn file_bytes(self) -> u64 {
        HEADER.len() as u64 + self.size + self.chunks() * self.overhead
    }
}

/// What a chunk is sealed for.
pub(crate) fn position(digest: &Digest, number: u64, last: bool) -> [u8; 41] {
    let mut place = [0; 41];
    let parts =
        digest.0.iter().chain(&number.to_be_bytes()).copied().chain([u8::from(last)]).collect::<Vec<_>>();
    place.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_an_artifact_without_gap_and_end_with_it() {
        for size in [1, 5, CHUNK_BYTES as u64 - 1, CHUNK_BYTES as u64, CHUNK_BYTES as u64 + 1, 1_000_000] {
            let layout = Layout::new(size, 29);
            let mut at = 0;
            for number in 0..layout.chunks() {
                let range = layout.range(number);
                assert_eq!(range.start, at);
                assert!(range.end > at);
                assert_eq!(layout.offset(number), 8 + at + number * 29);
                at = range.end;
            }
            assert_eq!(at, size);
            assert_eq!(layout.file_bytes(), 8 + size + layout.chunks() * 29);
            assert!(layout.range(layout.chunks()).is_empty());
        }
    }

    #[test]
    fn every_place_is_another() {
        let digest = Digest([7; 32]);
        assert_ne!(position(&digest, 1, false), position(&digest, 1, true));
        assert_ne!(position(&digest, 1, false), position(&digest, 2, false));
        assert_ne!(position(&digest, 1, false), position(&Digest([8; 32]), 1, false));
    }
}
