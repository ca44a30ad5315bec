//! The bytes of an answer: lines between parts, and the parts, of which at most one chunk is in memory.

use bytes::Bytes;

use super::{Answer, Segment};
use crate::{
    error::ReadError,
    reader::{Blob, Pieces},
};

/// Yields the body of an answer. After an error there is nothing more, and the server breaks the connection off: what
/// it sent so far is shorter than it said, so nobody takes it for the whole.
#[derive(Debug)]
pub struct Body {
    segments: std::vec::IntoIter<Segment>,
    pieces: Pieces,
}

impl Body {
    /// Of an answer that was planned for this artifact.
    pub fn new(answer: &Answer, blob: &Blob) -> Self {
        let segments = if answer.has_body() { answer.segments() } else { Vec::new() };
        Self { segments: segments.into_iter(), pieces: blob.none() }
    }
}

impl Iterator for Body {
    type Item = Result<Bytes, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let next = match self.pieces.next() {
                Some(piece) => piece,
                None => match self.segments.next()? {
                    Segment::Lines(lines) => Ok(lines.into()),
                    Segment::Bytes(range) => match self.pieces.go_to(range) {
                        Ok(()) => continue,
                        Err(error) => Err(error),
                    },
                },
            };
            if next.is_err() {
                self.segments = Vec::new().into_iter();
            }
            return Some(next);
        }
    }
}
