//! What is written when items end: their blocks, joined with short ones before them, and what tells of them.

use std::collections::BTreeMap;

use muster_broker::store::Write;
use muster_items::{Origin, Rows, StreamId, block::Block, day, day_begins_us};

use super::{
    core::{Ended, Known},
    limits::{JOINED_BLOCKS_MAX, JOINED_ROWS_MAX, JOINED_TIMES_MAX, SHORT_BLOCK_BYTES_MAX},
    store::{BLOCK, LAST, LAST_SENSITIVE, ReadingsError, SENSITIVE, Stored, TenantRows},
};

/// The writes of one commit. What it says of a stream twice is said once, and later writes know of earlier ones.
#[derive(Debug)]
pub struct Flush<'a> {
    rows: &'a TenantRows,
    writes: Vec<Write>,
    counts: BTreeMap<(StreamId, i64), [u32; 2]>,
    last: BTreeMap<(StreamId, u8), Rows>,
    streams: BTreeMap<StreamId, Known>,
}

impl<'a> Flush<'a> {
    /// A commit without anything.
    pub fn new(rows: &'a TenantRows) -> Self {
        let (counts, last, streams) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { rows, writes: Vec::new(), counts, last, streams }
    }

    /// Stores what ended. No other than the one who flushes writes blocks, so what is joined stays as it is read.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn add(&mut self, ended: &Ended) -> Result<(), ReadingsError> {
        let Ended { stream, origin, next, last_sequence, days, .. } = ended;
        // Blocks of the same commit are not on the disk yet, and are left as they are.
        let may_join = !self.streams.contains_key(stream);
        for rows in days.iter() {
            let rules = &self.rows.rules;
            let is_sensitive = |column: &_| rules.class_of_column(&stream.stream, column).is_some();
            let (sensitive, open) = rows.clone().split(is_sensitive);
            for (kind, last, rows) in [(BLOCK, LAST, open), (SENSITIVE, LAST_SENSITIVE, sensitive)] {
                if rows.is_empty() {
                    continue;
                }
                self.keep_last(stream, last, &rows)?;
                self.put(kind, (stream, origin), *last_sequence, rows, may_join)?;
            }
        }
        let known = Known { flushed_to: *last_sequence, origin: next.clone() };
        self.streams.insert(stream.clone(), known);
        Ok(())
    }

    /// All writes, without the cursor.
    ///
    /// # Errors
    /// Never where rows were read before.
    pub fn into_writes(mut self) -> Result<Vec<Write>, ReadingsError> {
        for ((stream, day), count) in &self.counts {
            self.writes.push(self.rows.count_write(stream, *day, *count));
        }
        for ((stream, kind), newest) in &self.last {
            self.writes.push(self.rows.last_write(*kind, stream, newest)?);
        }
        for (stream, known) in &self.streams {
            self.writes.push(self.rows.stream_write(stream, known));
        }
        Ok(self.writes)
    }

    fn put(
        &mut self,
        kind: u8,
        (stream, origin): (&StreamId, &Origin),
        number: u64,
        mut rows: Rows,
        may_join: bool,
    ) -> Result<(), ReadingsError> {
        let at = day(rows.times_us.first().copied().unwrap_or_default());
        let mut joined = 0;
        if may_join {
            let mut short = self.short_blocks(kind, (stream, origin), at, rows.times_us.len())?;
            joined = short.len();
            // What came later stands.
            short.sort_by_key(|(stored, _)| stored.number);
            let parts = short.iter().map(|(_, rows)| rows).chain([&rows]);
            if joined > 0 {
                rows = Rows::merged(parts.map(|rows| (&rows.times_us[..], &rows.columns[..])));
            }
            self.writes.extend(short.iter().map(|(stored, _)| self.rows.delete(stored.key())));
        }
        self.writes.push(self.rows.block_write(kind, (stream, origin), number, &rows)?);
        let stored = match self.counts.get(&(stream.clone(), at)) {
            Some(count) => *count,
            None => self.rows.count(stream, at)?,
        };
        let mut count = stored;
        if let Some(blocks) = count.get_mut(usize::from(kind == SENSITIVE)) {
            *blocks = (*blocks + 1).saturating_sub(u32::try_from(joined).unwrap_or(u32::MAX));
        }
        self.counts.insert((stream.clone(), at), count);
        Ok(())
    }

    /// The short blocks at the end of a day that are worth joining with so many rows.
    fn short_blocks(
        &self,
        kind: u8,
        (stream, origin): (&StreamId, &Origin),
        at: i64,
        mut count: usize,
    ) -> Result<Vec<(Stored, Rows)>, ReadingsError> {
        let mut found = Vec::new();
        let (from_us, to_us) = (day_begins_us(at), day_begins_us(at + 1));
        for stored in self.rows.blocks(kind, stream, Some(from_us), Some(to_us)).rev().take(JOINED_BLOCKS_MAX)
        {
            let stored = stored?;
            if stored.bytes() > SHORT_BLOCK_BYTES_MAX {
                break;
            }
            // A damaged one stays where it is, to be told of when it is asked for.
            let Ok(block) = self.rows.block(&stored) else { break };
            let is_alike = is_of(&block, origin);
            if !is_alike || block.rows() > JOINED_TIMES_MAX * count || block.rows() + count > JOINED_ROWS_MAX
            {
                break;
            }
            let Ok(rows) = block.read(|_| true) else { break };
            count += rows.times_us.len();
            found.push((stored, rows));
        }
        Ok(found)
    }

    fn keep_last(&mut self, stream: &StreamId, kind: u8, rows: &Rows) -> Result<(), ReadingsError> {
        let key = (stream.clone(), kind);
        let before = match self.last.remove(&key) {
            Some(last) => Some(last),
            None => self.rows.last(kind, stream)?,
        };
        let newest = rows.newest();
        let newest = match before {
            None => newest,
            Some(before) => {
                let parts = [&before, &newest].map(|rows| (&rows.times_us[..], &rows.columns[..]));
                Rows::merged(parts).newest()
            }
        };
        self.last.insert(key, newest);
        Ok(())
    }
}

/// Whether a block and what comes now are of one item.
fn is_of(block: &Block, origin: &Origin) -> bool {
    let item = block.item();
    item.attributes == origin.attributes && item.cell == origin.cell && item.signer == origin.signer
}
