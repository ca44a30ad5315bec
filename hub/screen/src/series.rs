//! Which streams and names a device has, in bounded memory: by keyed hash, so that nobody who names things can make two
//! of them meet.

use std::hash::{BuildHasher, RandomState};

/// What is known of one series.
#[derive(Debug, Clone, Copy)]
struct Known {
    hash: u64,
    /// The rule that names it, by its place; or that none does.
    rule: Option<u16>,
}

/// The series of one device: sixteen bytes for each.
#[derive(Debug, Default)]
pub struct Series {
    /// By hash.
    known: Vec<Known>,
    /// By hash.
    streams: Vec<u64>,
    /// Of which rules the remembered places are.
    rules: u64,
}

impl Series {
    /// Whether there is room for the stream, and notes it.
    pub(crate) fn has_stream(&mut self, keys: &RandomState, stream: &str, max: usize) -> bool {
        let hash = keys.hash_one(stream);
        match self.streams.binary_search(&hash) {
            Ok(_) => true,
            Err(_) if self.streams.len() >= max => false,
            Err(place) => {
                self.streams.insert(place, hash);
                true
            }
        }
    }

    /// Forgets the series, and with them which rule names which, if these are other rules than the last.
    pub(crate) fn follow(&mut self, rules: u64) {
        if self.rules != rules {
            self.rules = rules;
            self.known.clear();
        }
    }

    /// The rule that names a series that is known.
    pub(crate) fn rule(&self, hash: u64) -> Option<Option<u16>> {
        let place = self.known.binary_search_by_key(&hash, |known| known.hash).ok()?;
        self.known.get(place).map(|known| known.rule)
    }

    /// Notes a series that is not known, if there is room.
    pub(crate) fn add(&mut self, hash: u64, rule: Option<u16>, max: usize) -> bool {
        if self.known.len() >= max {
            return false;
        }
        if let Err(place) = self.known.binary_search_by_key(&hash, |known| known.hash) {
            self.known.insert(place, Known { hash, rule });
        }
        true
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}
