//! A data item as bytes: what is known of it, its times, and its columns, each of which is read without the others.
//!
//! ```text
//! version 1 │ SHA-256 of all that follows │ device, stream │ from, length, rows │ attributes │ cell │ signer
//! │ times: length │ columns, each: name, unit, kind, values, length │ the times │ the columns
//! ```
//!
//! Lengths and whole numbers are of variable length; a name gives what it shares with the name before as a number. The
//! columns give the schema of the item. It knows no key: whoever stores a block seals it, and its seal is what vouches for
//! it. Nothing here trusts a length, so that bytes that are damaged all the same are refused and no more.

mod values;
mod whole;
mod wire;

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use aws_lc_rs::digest;

use crate::{
    Attributes, Column, Fingerprint, ItemInfo, Rows, StreamId, Values,
    limits::{BLOCK_COLUMNS_MAX, BLOCK_ROWS_MAX},
};
use wire::{Rest, put_bytes, put_number, put_signed};

/// The layout that is written; the first byte of a block.
const VERSION: u8 = 1;
const HASH_BYTES: usize = 32;

/// The bytes are no block: they were changed, or another version wrote them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("read a block of telemetry: its bytes are damaged")]
pub struct Damaged;

/// The readings have no form as a block: none, too many rows or columns, or columns that are not as long as the times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "write a block of telemetry: it takes 1 to {BLOCK_ROWS_MAX} rows of at most {BLOCK_COLUMNS_MAX} columns"
)]
pub struct Misshapen;

/// What a column of a block is, without its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heading {
    /// The SenML name, resolved.
    pub name: String,
    /// The SenML unit.
    pub unit: Option<String>,
    /// How many values it has.
    pub values: usize,
    kind: u8,
    place: Range<usize>,
}

/// A block whose head was read. Its columns are read when they are asked for.
#[derive(Debug, Clone)]
pub struct Block {
    bytes: Vec<u8>,
    item: ItemInfo,
    rows: usize,
    times: Range<usize>,
    columns: Vec<Heading>,
}

/// The block of an item. What `item` says of times and hash is not looked at: they are those of the rows.
///
/// # Errors
/// There are no rows, or more than a block takes.
pub fn encode(item: &ItemInfo, rows: &Rows) -> Result<Vec<u8>, Misshapen> {
    let (Some(first), Some(last)) = (rows.times_us.first(), rows.times_us.last()) else {
        return Err(Misshapen);
    };
    let count = rows.times_us.len();
    if count > BLOCK_ROWS_MAX
        || rows.columns.len() > BLOCK_COLUMNS_MAX
        || rows.columns.iter().any(|column| column.values.len() != count)
    {
        return Err(Misshapen);
    }
    let mut out = vec![VERSION];
    out.extend_from_slice(&[0; HASH_BYTES]);
    put_bytes(&mut out, item.stream.device.as_str().as_bytes());
    put_bytes(&mut out, item.stream.stream.as_bytes());
    put_signed(&mut out, *first);
    put_number(&mut out, last.wrapping_sub(*first).cast_unsigned());
    put_number(&mut out, count as u64);
    put_attributes(&mut out, &item.attributes);
    put_bytes(&mut out, item.cell.as_deref().unwrap_or_default().as_bytes());
    put_bytes(&mut out, item.signer.as_ref().map_or(&[], <[u8; HASH_BYTES]>::as_slice));
    let mut sections = Vec::new();
    put_times(&mut sections, &rows.times_us);
    put_number(&mut out, sections.len() as u64);
    put_number(&mut out, rows.columns.len() as u64);
    let mut before = "";
    for column in &rows.columns {
        let begins = sections.len();
        let values = values::put(&mut sections, &column.values);
        let shared = before.bytes().zip(column.name.bytes()).take_while(|(one, other)| one == other).count();
        let shared = (0..=shared).rev().find(|length| column.name.is_char_boundary(*length)).unwrap_or(0);
        put_number(&mut out, shared as u64);
        put_bytes(&mut out, column.name.as_bytes().get(shared..).unwrap_or_default());
        match &column.unit {
            None => put_number(&mut out, 0),
            Some(unit) => {
                put_number(&mut out, unit.len() as u64 + 1);
                out.extend_from_slice(unit.as_bytes());
            }
        }
        out.push(column.values.kind());
        put_number(&mut out, values as u64);
        put_number(&mut out, (sections.len() - begins) as u64);
        before = &column.name;
    }
    out.extend_from_slice(&sections);
    let hash = hash(out.get(1 + HASH_BYTES..).unwrap_or_default());
    out.iter_mut().skip(1).zip(hash).for_each(|(to, from)| *to = from);
    Ok(out)
}

impl Block {
    /// Reads the head.
    ///
    /// # Errors
    /// The bytes are no block.
    pub fn open(bytes: Vec<u8>) -> Result<Self, Damaged> {
        let mut rest = Rest(&bytes);
        if rest.byte()? != VERSION {
            return Err(Damaged);
        }
        let hash: Fingerprint = rest.fixed()?;
        let device = rest.text()?.parse().map_err(|_| Damaged)?;
        let stream = StreamId { device, stream: rest.text()?.to_owned() };
        let from_us = rest.signed()?;
        let to_us = from_us.checked_add_unsigned(rest.number()?).ok_or(Damaged)?;
        let rows = rest.count(BLOCK_ROWS_MAX)?;
        let attributes = Arc::new(read_attributes(&mut rest)?);
        let cell = Some(rest.text()?.to_owned()).filter(|cell| !cell.is_empty());
        let signer = match rest.bytes()? {
            [] => None,
            signer => Some(signer.try_into().map_err(|_| Damaged)?),
        };
        let times_bytes = rest.count(bytes.len())?;
        let mut columns: Vec<Heading> = Vec::new();
        let mut end = times_bytes;
        for _ in 0..rest.count(BLOCK_COLUMNS_MAX)? {
            let before = columns.last().map_or("", |column| column.name.as_str());
            let shared = rest.count(before.len())?;
            let name = [before.get(..shared).ok_or(Damaged)?, rest.text()?].concat();
            let unit = match rest.count(bytes.len())? {
                0 => None,
                longer => Some(str::from_utf8(rest.take(longer - 1)?).map_err(|_| Damaged)?.to_owned()),
            };
            let kind = rest.byte()?;
            let values = rest.count(rows)?;
            let begin = end;
            end = begin.checked_add(rest.count(bytes.len())?).ok_or(Damaged)?;
            columns.push(Heading { name, unit, values, kind, place: begin..end });
        }
        // Until here, places are told from the end of the head.
        if rest.0.len() != end || rows == 0 {
            return Err(Damaged);
        }
        let head = bytes.len() - end;
        for column in &mut columns {
            column.place = column.place.start + head..column.place.end + head;
        }
        let item = ItemInfo { stream, from_us, to_us, attributes, cell, signer, hash: Some(hash) };
        Ok(Self { times: head..head + times_bytes, bytes, item, rows, columns })
    }

    /// What is known of the item.
    pub fn item(&self) -> &ItemInfo {
        &self.item
    }

    /// How many rows there are; never none.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// What columns there are, by name.
    pub fn headings(&self) -> &[Heading] {
        &self.columns
    }

    /// The times in microseconds since 1970, ascending.
    ///
    /// # Errors
    /// The bytes are damaged.
    pub fn times_us(&self) -> Result<Vec<i64>, Damaged> {
        let times = read_times(self.bytes.get(self.times.clone()).ok_or(Damaged)?, self.rows)?;
        let bounds = (times.first().copied(), times.last().copied());
        if bounds != (Some(self.item.from_us), Some(self.item.to_us))
            || !times.is_sorted_by(|one, next| one < next)
        {
            return Err(Damaged);
        }
        Ok(times)
    }

    /// One column: nothing else of the block is read.
    ///
    /// # Errors
    /// The bytes are damaged.
    pub fn column(&self, heading: &Heading) -> Result<Column, Damaged> {
        let bytes = self.bytes.get(heading.place.clone()).ok_or(Damaged)?;
        let values = values::read(bytes, heading.kind, self.rows, heading.values)?;
        Ok(Column { name: heading.name.clone(), unit: heading.unit.clone(), values })
    }

    /// Times, and the columns that are wanted.
    ///
    /// # Errors
    /// The bytes are damaged.
    pub fn read(&self, wanted: impl Fn(&Heading) -> bool) -> Result<Rows, Damaged> {
        let wanted = self.columns.iter().filter(|heading| wanted(heading));
        let columns: Vec<Column> = wanted.map(|heading| self.column(heading)).collect::<Result<_, _>>()?;
        if columns.is_empty() {
            return Ok(Rows::default());
        }
        Ok(Rows { times_us: self.times_us()?, columns })
    }

    /// Whether the block is the one that was written: compares the hash.
    pub fn is_whole(&self) -> bool {
        self.item.hash == Some(hash(self.bytes.get(1 + HASH_BYTES..).unwrap_or_default()))
    }
}

fn hash(bytes: &[u8]) -> Fingerprint {
    let mut hash = [0; HASH_BYTES];
    let digest = digest::digest(&digest::SHA256, bytes);
    hash.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    hash
}

/// Times are told in the coarsest of microseconds, milliseconds and seconds that tells them all.
fn put_times(out: &mut Vec<u8>, times_us: &[i64]) {
    let unit =
        [1_000_000, 1_000].into_iter().find(|unit| times_us.iter().all(|time| time % unit == 0)).unwrap_or(1);
    put_number(out, unit.cast_unsigned());
    if unit == 1 {
        whole::put(out, times_us);
    } else {
        whole::put(out, &times_us.iter().map(|time| time / unit).collect::<Vec<_>>());
    }
}

fn read_times(bytes: &[u8], count: usize) -> Result<Vec<i64>, Damaged> {
    let mut rest = Rest(bytes);
    let unit = match rest.number()? {
        unit @ (1 | 1_000 | 1_000_000) => unit.cast_signed(),
        _ => return Err(Damaged),
    };
    let mut times = whole::read(rest.0, count)?;
    for time in &mut times {
        *time = time.checked_mul(unit).ok_or(Damaged)?;
    }
    Ok(times)
}

fn put_attributes(out: &mut Vec<u8>, Attributes(attributes): &Attributes) {
    put_number(out, attributes.len() as u64);
    for (name, texts) in attributes {
        put_bytes(out, name.as_bytes());
        put_number(out, texts.len() as u64);
        texts.iter().for_each(|text| put_bytes(out, text.as_bytes()));
    }
}

fn read_attributes(rest: &mut Rest<'_>) -> Result<Attributes, Damaged> {
    let mut attributes = Attributes::default();
    for _ in 0..rest.count(rest.0.len())? {
        let name = rest.text()?.to_owned();
        let mut texts = BTreeSet::new();
        for _ in 0..rest.count(rest.0.len())? {
            texts.insert(rest.text()?.to_owned());
        }
        attributes.0.insert(name, texts);
    }
    Ok(attributes)
}

/// What an item is known by beside its times, for rows that say so of a stream: attributes and cell.
#[must_use]
pub fn encode_place(attributes: &Attributes, cell: Option<&str>) -> Vec<u8> {
    let mut out = Vec::new();
    put_attributes(&mut out, attributes);
    put_bytes(&mut out, cell.unwrap_or_default().as_bytes());
    out
}

/// The opposite of [`encode_place`].
///
/// # Errors
/// The bytes are damaged.
pub fn decode_place(bytes: &[u8]) -> Result<(Attributes, Option<String>), Damaged> {
    let mut rest = Rest(bytes);
    let attributes = read_attributes(&mut rest)?;
    let cell = Some(rest.text()?.to_owned()).filter(|cell| !cell.is_empty());
    rest.end()?;
    Ok((attributes, cell))
}

impl Heading {
    /// The column without its values, to be asked about.
    #[must_use]
    pub fn is_text(&self) -> bool {
        self.kind == Values::Texts(Vec::new()).kind()
    }
}

#[cfg(test)]
mod tests;
