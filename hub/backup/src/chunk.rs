//! Chunks: the rows of one table that lie together, cut where the hash of a key says so. Rows that did not change give the
//! same chunks as the time before, whatever was put in front of them.
//!
//! ```text
//! length of the name (2) | name of the table | then for each row: length of key (4) | length of value (4) | key | value
//! ```

use xxhash_rust::xxh3::xxh3_64_with_seed;
use zeroize::Zeroizing;

use crate::{
    limits::{CHUNK_BYTES_MAX, CHUNK_BYTES_MEAN, CHUNK_BYTES_MIN, ROW_BYTES_MAX, TABLE_NAME_BYTES_MAX},
    source::Row,
};

/// Rows on their way into a chunk.
pub(crate) struct Cutter {
    table: String,
    seed: u64,
    body: Zeroizing<Vec<u8>>,
    head_bytes: usize,
    first: Vec<u8>,
    last: Vec<u8>,
    rows: u32,
}

/// Rows of one table that are sealed together.
pub(crate) struct Chunk {
    pub body: Zeroizing<Vec<u8>>,
    pub first: Vec<u8>,
    pub last: Vec<u8>,
    pub rows: u32,
}

impl Cutter {
    pub fn new(table: &str, seed: u64) -> Self {
        let mut cutter = Self {
            table: table.to_owned(),
            seed,
            body: Zeroizing::default(),
            head_bytes: 0,
            first: Vec::new(),
            last: Vec::new(),
            rows: 0,
        };
        cutter.begin();
        cutter
    }

    /// Takes a row; gives the chunk that is full with it.
    pub fn add(&mut self, key: &[u8], value: &[u8]) -> Option<Chunk> {
        if self.rows == 0 {
            self.first = key.to_vec();
        }
        self.last.clear();
        self.last.extend_from_slice(key);
        let bytes = 8 + key.len() + value.len();
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes();
        self.body.extend_from_slice(&length(key.len()));
        self.body.extend_from_slice(&length(value.len()));
        self.body.extend_from_slice(key);
        self.body.extend_from_slice(value);
        self.rows += 1;
        let is_end = self.body.len() >= CHUNK_BYTES_MIN && self.is_cut(key, bytes);
        (is_end || self.body.len() >= CHUNK_BYTES_MAX).then(|| self.take())
    }

    /// What is left at the end of the table.
    pub fn finish(mut self) -> Option<Chunk> {
        (self.rows > 0).then(|| self.take())
    }

    /// Larger rows end a chunk more often, so that chunks are of one size whatever the rows are.
    fn is_cut(&self, key: &[u8], bytes: usize) -> bool {
        let hash = xxh3_64_with_seed(key, self.seed);
        u128::from(hash) * (CHUNK_BYTES_MEAN as u128) < (bytes as u128) << 64
    }

    fn take(&mut self) -> Chunk {
        let (body, rows) = (std::mem::take(&mut self.body), std::mem::take(&mut self.rows));
        let first = std::mem::take(&mut self.first);
        let last = std::mem::take(&mut self.last);
        self.begin();
        Chunk { body, first, last, rows }
    }

    fn begin(&mut self) {
        let name = self.table.as_bytes();
        self.body = Zeroizing::new(Vec::with_capacity(CHUNK_BYTES_MIN + CHUNK_BYTES_MEAN));
        self.body.extend_from_slice(&u16::try_from(name.len()).unwrap_or(u16::MAX).to_be_bytes());
        self.body.extend_from_slice(name);
        self.head_bytes = self.body.len();
    }
}

/// The table and the rows of a chunk; nothing if it is none.
pub(crate) fn rows(body: &[u8]) -> Option<(String, Rows<'_>)> {
    let (length, rest) = body.split_first_chunk()?;
    let (name, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    if name.len() > TABLE_NAME_BYTES_MAX {
        return None;
    }
    Some((String::from_utf8(name.to_vec()).ok()?, Rows { rest }))
}

/// The rows of a chunk, in order. An item that is none says that the rest makes no sense.
pub(crate) struct Rows<'a> {
    rest: &'a [u8],
}

impl Iterator for Rows<'_> {
    type Item = Option<Row>;

    fn next(&mut self) -> Option<Option<Row>> {
        if self.rest.is_empty() {
            return None;
        }
        let row = self.row();
        if row.is_none() {
            self.rest = &[];
        }
        Some(row)
    }
}

impl Rows<'_> {
    fn row(&mut self) -> Option<Row> {
        let (key, rest) = self.rest.split_first_chunk()?;
        let (value, rest) = rest.split_first_chunk()?;
        let (key, value) = (u32::from_be_bytes(*key) as usize, u32::from_be_bytes(*value) as usize);
        if key.saturating_add(value) > ROW_BYTES_MAX {
            return None;
        }
        let (key, rest) = rest.split_at_checked(key)?;
        let (value, rest) = rest.split_at_checked(value)?;
        self.rest = rest;
        Some((key.to_vec(), value.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(rows: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Vec<Chunk> {
        let mut cutter = Cutter::new("log", 7);
        let mut chunks: Vec<Chunk> = rows.filter_map(|(key, value)| cutter.add(&key, &value)).collect();
        chunks.extend(cutter.finish());
        chunks
    }

    fn row(number: u64, bytes: usize) -> (Vec<u8>, Vec<u8>) {
        (number.to_be_bytes().to_vec(), vec![number as u8; bytes])
    }

    #[test]
    fn chunks_hold_all_rows_in_order_and_stay_within_their_bounds() {
        for bytes in [0, 100, 9_000, 300_000] {
            let chunks = cut((0..20_000_000 / (bytes as u64 + 100)).map(|number| row(number, bytes)));
            let mut expected = 0;
            for chunk in &chunks {
                assert!(chunk.body.len() < CHUNK_BYTES_MAX + bytes + 64);
                let (table, found) = rows(&chunk.body).unwrap();
                assert_eq!(table, "log");
                let found: Vec<Row> = found.map(Option::unwrap).collect();
                assert_eq!(found.len() as u32, chunk.rows);
                assert_eq!((&found[0].0, &found.last().unwrap().0), (&chunk.first, &chunk.last));
                for found in found {
                    assert_eq!(found, row(expected, bytes));
                    expected += 1;
                }
            }
            let mean = chunks.iter().map(|chunk| chunk.body.len()).sum::<usize>() / chunks.len();
            assert!(bytes == 0 || (180_000..400_000).contains(&mean), "{bytes}: {mean}");
        }
    }

    #[test]
    fn a_row_in_front_changes_the_first_chunk_and_no_other() {
        let before = cut((10..100_000).map(|number| row(number, 200)));
        let after = cut((9..100_000).map(|number| row(number, 200)));
        let same = after.iter().filter(|a| before.iter().any(|b| a.body == b.body)).count();
        assert!(before.len() > 20 && same >= before.len() - 2, "{same} of {}", before.len());
    }

    #[test]
    fn a_chunk_that_makes_no_sense_says_so_and_ends() {
        let chunk = cut((0..3).map(|number| row(number, 10))).remove(0);
        for end in 0..chunk.body.len() {
            let Some((_, rows)) = rows(&chunk.body[..end]) else { continue };
            assert!(rows.take(10).count() < 4);
        }
        let mut wild = chunk.body.to_vec();
        wild[7] = 255;
        assert!(rows(&wild).unwrap().1.last().unwrap().is_none());
    }
}
