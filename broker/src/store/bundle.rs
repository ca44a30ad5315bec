//! A bundle: records of a log that were appended together and are one row. They are sealed as one, and so they are there
//! together, or named together as damaged.
//!
//! The key of the row is the handle of the tenant and the number of the last record, so that whoever looks for a record
//! finds its bundle as the first that does not end before it. The value is `how many, 4 bytes | seal`; what is
//! sealed is each record behind its length, 4 bytes. The seal is bound to both numbers.

use bytes::{Buf as _, Bytes};

use super::{
    error::Unsealable,
    limits::{BUNDLE_BYTES_MAX, BUNDLE_RECORDS_MAX},
    sealing::Sealer,
};

const COUNT_BYTES: usize = 4;
const LENGTH_BYTES: usize = 4;

/// Records on their way to a log. It takes any number; whoever fills it asks whether it is full.
#[derive(Debug, Default)]
pub struct Bundle {
    plaintext: Vec<u8>,
    count: u32,
}

impl Bundle {
    /// Adds a record: what `write` appends. Says how many bytes that is.
    pub fn add(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        let head = self.plaintext.len();
        self.plaintext.extend_from_slice(&[0; LENGTH_BYTES]);
        write(&mut self.plaintext);
        let bytes = self.plaintext.len().saturating_sub(head + LENGTH_BYTES);
        // A record is a message, and those are far smaller than what this can tell.
        let length = u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes();
        if let Some(head) = self.plaintext.get_mut(head..head + LENGTH_BYTES) {
            head.copy_from_slice(&length);
        }
        self.count += 1;
        bytes
    }

    /// How many records it holds.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether the next record belongs into another one.
    pub fn is_full(&self) -> bool {
        self.count >= BUNDLE_RECORDS_MAX || self.plaintext.len() >= BUNDLE_BYTES_MAX
    }

    /// The value of its row, if `last` is the number of its last record.
    pub(super) fn seal(&self, last: u64, sealer: &Sealer) -> Vec<u8> {
        let count = self.count.to_be_bytes();
        sealer.seal_behind(&count, &position(last, count), &self.plaintext)
    }
}

/// The numbers of the first and the last record of a row, as it says without being opened. None if it is too short.
pub(super) fn first_of(value: &[u8], last: u64) -> Option<u64> {
    let count = u32::from_be_bytes(*value.first_chunk::<COUNT_BYTES>()?);
    (last + 1).checked_sub(count.into())
}

/// Opens the row whose last record is `last`. Its records share one buffer.
pub(super) fn open(value: &[u8], last: u64, sealer: &Sealer) -> Result<Records, Unsealable> {
    let truncated = || Unsealable::Truncated(value.len());
    let (count, sealed) = value.split_first_chunk::<COUNT_BYTES>().ok_or_else(truncated)?;
    let rest = sealer.open(&position(last, *count), sealed)?.into();
    let first = first_of(value, last).ok_or(Unsealable::Forged)?;
    Ok(Records { next: first, end: last + 1, rest })
}

/// What the seal is bound to.
fn position(last: u64, count: [u8; COUNT_BYTES]) -> [u8; 8 + COUNT_BYTES] {
    let mut position = [0; 8 + COUNT_BYTES];
    position.iter_mut().zip(last.to_be_bytes().into_iter().chain(count)).for_each(|(to, from)| *to = from);
    position
}

/// The records of an opened row with their numbers, in order.
#[derive(Debug, Clone)]
pub(super) struct Records {
    next: u64,
    end: u64,
    rest: Bytes,
}

impl Records {
    /// Whether a record is among those that come.
    pub fn holds(&self, sequence: u64) -> bool {
        (self.next..self.end).contains(&sequence)
    }

    /// The number of the record that comes next.
    pub fn next_sequence(&self) -> u64 {
        self.next
    }
}

impl Iterator for Records {
    type Item = (u64, Bytes);

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.end {
            return None;
        }
        let sequence = self.next;
        self.next += 1;
        // The seal holds, so the lengths are those that were written.
        let length = self.rest.try_get_u32().unwrap_or_default() as usize;
        Some((sequence, self.rest.split_to(length.min(self.rest.len()))))
    }
}
