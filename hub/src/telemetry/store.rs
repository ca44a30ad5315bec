//! A tenant's telemetry in the store. All tenants share a table; a tenant's rows begin with its handle, then:
//!
//! | row | key | sealed value |
//! |---|---|---|
//! | cursor | `p` | the first record of the log that is not stored |
//! | stream | `c`, stream | device and name, up to which record of the log it is stored, its origin |
//! | block | `b`, stream, first time, last time, number | an item, without what is sensitive |
//! | sensitive block | `s`, as above | the sensitive columns of the item, which others never open |
//! | last values | `k`, stream; `j`, stream | the newest value of each name; of each sensitive name |
//! | count | `n`, stream, day | how many blocks of that day there are, so that a missing one is missed |
//! | rules | `o` | how long streams are kept |
//! | coarse | `d`, stream | the first day that is not in the coarse yet |
//! | reading | `r`, `l` | readings of a hub of yesterday; turned into blocks at the first start |
//!
//! `stream` is blind: it tells nothing without the tenant's key. Times are in the clear, in microseconds, so that ranges can
//! be read; no block reaches over midnight. A row is sealed for its key, so it opens nowhere else. The rows of a stream are
//! written in the commit that moves its place in the log: after a crash, what is not in a block is still in the log.

use std::sync::Arc;

use muster_broker::store::{Sealer, Store, StoreError, Table, TenantStore, Unsealable, Write};
use muster_items::{
    Origin, Rows, StreamId,
    block::{self, Block, Damaged, Misshapen},
    day, day_begins_us,
    sensitive::Rules,
};

use super::{core::Known, reading::MalformedRow};

/// The table of all tenants' telemetry.
const TABLE: &str = "telemetry";
pub(super) const CURSOR: u8 = b'p';
pub(super) const STREAM: u8 = b'c';
pub(crate) const BLOCK: u8 = b'b';
pub(super) const SENSITIVE: u8 = b's';
pub(crate) const LAST: u8 = b'k';
pub(super) const LAST_SENSITIVE: u8 = b'j';
pub(super) const COUNT: u8 = b'n';
/// The layout of a stream's row that is written.
const STREAM_VERSION: u8 = 2;

/// Why telemetry could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ReadingsError {
    /// The store cannot be read.
    #[error("read the table of telemetry: {0}")]
    Store(#[from] StoreError),
    /// A row was changed on the disk, or its key is lost.
    #[error("open a row of the table of telemetry: {0}")]
    Sealed(#[from] Unsealable),
    /// A row is of another version.
    #[error(transparent)]
    Row(#[from] MalformedRow),
    /// A block is of another version.
    #[error(transparent)]
    Block(#[from] Damaged),
    /// An item has no form.
    #[error(transparent)]
    Item(#[from] Misshapen),
}

impl ReadingsError {
    /// Whether nothing is damaged, and a key was taken away that it opens with.
    pub(super) fn is_keyless(&self) -> bool {
        use Unsealable::{BorrowerWithdrawn, Revoked, Withdrawn};
        matches!(self, Self::Sealed(Withdrawn | BorrowerWithdrawn | Revoked))
    }
}

/// The telemetry of one tenant on the disk.
#[derive(Debug, Clone)]
pub struct TenantRows {
    pub(super) tenant: TenantStore,
    pub(super) table: Table,
    pub(super) sealer: Sealer,
    pub(super) rules: Arc<Rules>,
}

/// A block as it lies on the disk: what its key tells.
#[derive(Debug, Clone)]
pub struct Stored {
    key: Vec<u8>,
    sealed: Vec<u8>,
    /// Its first time.
    pub from_us: i64,
    /// Its last time.
    pub to_us: i64,
    /// What came in later has a higher one.
    pub number: u64,
}

impl Stored {
    fn of((key, sealed): (Vec<u8>, Vec<u8>), prefix_bytes: usize) -> Result<Self, MalformedRow> {
        let mut numbers = key.get(prefix_bytes..).unwrap_or_default().as_chunks::<8>().0.iter();
        let mut number = || numbers.next().map(|bytes| u64::from_be_bytes(*bytes)).ok_or(MalformedRow);
        let time = |number: u64| number.cast_signed() ^ i64::MIN;
        let (from_us, to_us, number) = (time(number()?), time(number()?), number()?);
        Ok(Self { key, sealed, from_us, to_us, number })
    }

    /// Its key.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// How many bytes its value has.
    pub fn bytes(&self) -> usize {
        self.sealed.len()
    }
}

impl TenantRows {
    /// The telemetry of `tenant` in `store`, sealed and opened with `sealer`: its own, or one that it lends to whoever
    /// reads. `rules` tell what is sensitive.
    ///
    /// # Errors
    /// The table cannot be opened.
    pub fn open(
        store: &Store,
        tenant: TenantStore,
        sealer: Sealer,
        rules: Arc<Rules>,
    ) -> Result<Self, ReadingsError> {
        Ok(Self { table: store.table(TABLE)?, sealer, tenant, rules })
    }

    /// Whether the tenant has withdrawn its key: nothing is found and nothing can be sealed.
    pub fn is_withdrawn(&self) -> bool {
        self.tenant.is_withdrawn()
    }

    /// The first record of the log that is not stored; the first when none was read yet.
    ///
    /// # Errors
    /// The row cannot be read.
    pub fn cursor(&self) -> Result<u64, ReadingsError> {
        let Some(bytes) = self.row(&self.key(CURSOR, &[]))? else { return Ok(1) };
        Ok(u64::from_be_bytes(bytes.try_into().map_err(|_| MalformedRow)?))
    }

    /// What to write for the cursor.
    pub fn cursor_write(&self, cursor: u64) -> Write {
        self.put(self.key(CURSOR, &[]), &cursor.to_be_bytes())
    }

    /// All streams of the catalogue.
    ///
    /// # Errors
    /// A row cannot be read.
    pub fn streams(&self) -> Result<Vec<(StreamId, Known)>, ReadingsError> {
        let rows = self.table.prefix(&self.key(STREAM, &[]));
        rows.map(|row| {
            let (key, sealed) = row?;
            Ok(decode_stream(&self.sealer.open(&key, &sealed)?)?)
        })
        .collect()
    }

    /// Whether the catalogue has a stream.
    ///
    /// # Errors
    /// The row cannot be read.
    pub fn has(&self, stream: &StreamId) -> Result<bool, ReadingsError> {
        Ok(self.table.get(&self.stream_key(STREAM, stream))?.is_some())
    }

    /// What to write for a stream of the catalogue.
    pub fn stream_write(&self, stream: &StreamId, known: &Known) -> Write {
        self.put(self.stream_key(STREAM, stream), &encode_stream(stream, known))
    }

    /// The blocks of one kind and stream that may have something from one time up to but without another, by their
    /// first time. They may begin before and end after it.
    pub fn blocks(
        &self,
        kind: u8,
        stream: &StreamId,
        from_us: Option<i64>,
        to_us: Option<i64>,
    ) -> impl DoubleEndedIterator<Item = Result<Stored, ReadingsError>> + use<> {
        let prefix = self.stream_key(kind, stream);
        let prefix_bytes = prefix.len();
        let at = |time_us: i64| [&prefix[..], &time_key(time_us)].concat();
        let first = at(from_us.map_or(i64::MIN, |from| day_begins_us(day(from))));
        // No block begins at the last of all times.
        let end = at(to_us.unwrap_or(i64::MAX));
        let rows = self.table.range(&first, Some(&end));
        rows.map(move |row| Ok(Stored::of(row?, prefix_bytes)?)).filter(move |stored| {
            stored.as_ref().map_or(true, |stored| from_us.is_none_or(|from| stored.to_us >= from))
        })
    }

    /// Opens a block.
    ///
    /// # Errors
    /// It was changed on the disk, or its key is lost.
    pub fn block(&self, stored: &Stored) -> Result<Block, ReadingsError> {
        Ok(Block::open(self.sealer.open(&stored.key, &stored.sealed)?)?)
    }

    /// What to write for a block, and its key.
    ///
    /// # Errors
    /// The rows have no form as a block.
    pub fn block_write(
        &self,
        kind: u8,
        (stream, origin): (&StreamId, &Origin),
        number: u64,
        rows: &Rows,
    ) -> Result<Write, ReadingsError> {
        let (Some(from_us), Some(to_us)) = (rows.times_us.first(), rows.times_us.last()) else {
            return Err(Misshapen.into());
        };
        let bytes = block::encode(&origin.item(stream, *from_us, *to_us), rows)?;
        let mut key = self.stream_key(kind, stream);
        key.extend_from_slice(&time_key(*from_us));
        key.extend_from_slice(&time_key(*to_us));
        key.extend_from_slice(&number.to_be_bytes());
        Ok(self.put(key, &bytes))
    }

    /// The newest value of each name of a stream, sensitive ones or the others; none if there is none or it is damaged:
    /// the blocks have them all.
    ///
    /// # Errors
    /// The store cannot be read, or a key was taken away.
    pub fn last(&self, kind: u8, stream: &StreamId) -> Result<Option<Rows>, ReadingsError> {
        let block = match self.row(&self.stream_key(kind, stream)) {
            Ok(None) => None,
            Ok(Some(bytes)) => Block::open(bytes).ok(),
            Err(error) if error.is_keyless() => return Err(error),
            Err(ReadingsError::Sealed(_)) => None,
            Err(error) => return Err(error),
        };
        Ok(block.and_then(|block| block.read(|_| true).ok()))
    }

    /// What to write for the newest values.
    ///
    /// # Errors
    /// They have no form as a block.
    pub fn last_write(&self, kind: u8, stream: &StreamId, newest: &Rows) -> Result<Write, ReadingsError> {
        let bytes = block::encode(&Origin::default().item(stream, 0, 0), newest)?;
        Ok(self.put(self.stream_key(kind, stream), &bytes))
    }

    /// How many blocks of a day there are, and how many sensitive ones.
    ///
    /// # Errors
    /// The row cannot be read.
    pub fn count(&self, stream: &StreamId, day: i64) -> Result<[u32; 2], ReadingsError> {
        match self.row(&self.count_key(stream, day))? {
            None => Ok([0; 2]),
            Some(bytes) => Ok(decode_count(&bytes)?),
        }
    }

    /// The counts of days, from that of one time up to that of another.
    ///
    /// # Errors
    /// A row cannot be read.
    pub fn counts(
        &self,
        stream: &StreamId,
        (from, to): (i64, i64),
    ) -> impl Iterator<Item = Result<(i64, [u32; 2]), ReadingsError>> + use<> {
        let end = self.count_key(stream, to.saturating_add(1));
        let rows = self.table.range(&self.count_key(stream, from), Some(&end));
        let sealer = self.sealer.clone();
        rows.map(move |row| {
            let (key, sealed) = row?;
            let day = key.last_chunk::<8>().ok_or(MalformedRow)?;
            let day = u64::from_be_bytes(*day).cast_signed() ^ i64::MIN;
            Ok((day, decode_count(&sealer.open(&key, &sealed)?)?))
        })
    }

    /// What to write for the count of a day.
    pub fn count_write(&self, stream: &StreamId, day: i64, [open, sensitive]: [u32; 2]) -> Write {
        let bytes = [open.to_be_bytes(), sensitive.to_be_bytes()].concat();
        self.put(self.count_key(stream, day), &bytes)
    }

    /// Removes a row.
    pub fn delete(&self, key: &[u8]) -> Write {
        Write::Delete { table: self.table.clone(), key: key.to_vec() }
    }

    pub(super) fn put(&self, key: Vec<u8>, plaintext: &[u8]) -> Write {
        let value = self.sealer.seal(&key, plaintext);
        Write::Put { table: self.table.clone(), key, value }
    }

    pub(super) fn key(&self, kind: u8, parts: &[&[u8]]) -> Vec<u8> {
        let mut key = self.tenant.handle().to_vec();
        key.push(kind);
        parts.iter().for_each(|part| key.extend_from_slice(part));
        key
    }

    pub(super) fn stream_key(&self, kind: u8, stream: &StreamId) -> Vec<u8> {
        let StreamId { device, stream } = stream;
        let blind = self.tenant.blind(&[b"telemetry stream", device.as_str().as_bytes(), stream.as_bytes()]);
        self.key(kind, &[&blind])
    }

    pub(super) fn count_key(&self, stream: &StreamId, day: i64) -> Vec<u8> {
        [&self.stream_key(COUNT, stream)[..], &time_key(day)].concat()
    }

    pub(super) fn row(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadingsError> {
        match self.table.get(key)? {
            None => Ok(None),
            Some(sealed) => Ok(Some(self.sealer.open(key, &sealed)?)),
        }
    }
}

/// Times as bytes that sort as they do, those before 1970 too.
pub(super) fn time_key(time_us: i64) -> [u8; 8] {
    (time_us ^ i64::MIN).to_be_bytes()
}

fn decode_count(bytes: &[u8]) -> Result<[u32; 2], MalformedRow> {
    match bytes.as_chunks::<4>() {
        ([open, sensitive], []) => Ok([u32::from_be_bytes(*open), u32::from_be_bytes(*sensitive)]),
        _ => Err(MalformedRow),
    }
}

fn encode_stream(stream: &StreamId, Known { flushed_to, origin }: &Known) -> Vec<u8> {
    let mut bytes = vec![STREAM_VERSION];
    for text in [stream.device.as_str(), &stream.stream] {
        bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes.extend_from_slice(&flushed_to.to_be_bytes());
    bytes.extend_from_slice(&block::encode_place(&origin.attributes, origin.cell.as_deref()));
    bytes
}

/// A row of this version, or of that before, which told device and name alone.
fn decode_stream(bytes: &[u8]) -> Result<(StreamId, Known), MalformedRow> {
    let (version, mut rest) = bytes.split_first().ok_or(MalformedRow)?;
    let mut text = || {
        let (length, after) = rest.split_first_chunk::<4>().ok_or(MalformedRow)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| MalformedRow)?;
        let (text, after) = after.split_at_checked(length).ok_or(MalformedRow)?;
        rest = after;
        str::from_utf8(text).map_err(|_| MalformedRow)
    };
    let device = text()?.parse().map_err(|_| MalformedRow)?;
    let stream = StreamId { device, stream: text()?.to_owned() };
    let mut known = Known { flushed_to: 0, origin: Origin::default() };
    match (version, rest) {
        (1, []) => {}
        (&STREAM_VERSION, rest) => {
            let (flushed_to, place) = rest.split_first_chunk().ok_or(MalformedRow)?;
            known.flushed_to = u64::from_be_bytes(*flushed_to);
            let (attributes, cell) = block::decode_place(place).map_err(|_| MalformedRow)?;
            known.origin = Origin { attributes: Arc::new(attributes), cell, signer: None };
        }
        _ => return Err(MalformedRow),
    }
    Ok((stream, known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_comes_back_also_from_a_row_of_yesterday() {
        let stream = StreamId { device: "pump-7".parse().expect("id"), stream: "climate".to_owned() };
        let origin = Origin { cell: Some("u33dc".to_owned()), ..Origin::default() };
        let known = Known { flushed_to: 70, origin };
        let bytes = encode_stream(&stream, &known);
        assert_eq!(decode_stream(&bytes), Ok((stream.clone(), known)));
        for length in 0..bytes.len() {
            assert_eq!(decode_stream(&bytes[..length]), Err(MalformedRow), "cut to {length} bytes");
        }
        let yesterday = b"\x01\x00\x00\x00\x06pump-7\x00\x00\x00\x07climate";
        let unknown = Known { flushed_to: 0, origin: Origin::default() };
        assert_eq!(decode_stream(yesterday), Ok((stream, unknown)));
    }
}
