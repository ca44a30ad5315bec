//! The index: which pieces hold the rows of a backup, and which rows those are. It is cut into pieces itself, where the name
//! of what it lists says so, because most of it is the same from one backup to the next.
//!
//! What stands in clear is the list of references; what is sealed is a line for each of them:
//!
//! ```text
//! length of the name (2) | name of the table | rows (4) | length (2) | first key | length (2) | last key
//! ```

use std::fmt;

use data_encoding::HEXLOWER;

use crate::{
    limits::{INDEX_ENTRIES_MAX, INDEX_ENTRIES_MEAN, TABLE_NAME_BYTES_MAX},
    object::Reference,
};

/// A piece with rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub reference: Reference,
    pub span: Span,
}

/// Which rows a piece holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    pub table: String,
    pub rows: u32,
    pub first: Vec<u8>,
    pub last: Vec<u8>,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, rows, first, last } = self;
        let (first, last) = match table.as_str() {
            crate::source::FILES => {
                (String::from_utf8_lossy(first).into_owned(), String::from_utf8_lossy(last).into_owned())
            }
            _ => (HEXLOWER.encode(first), HEXLOWER.encode(last)),
        };
        write!(f, "{rows} rows of table {table}, from {first} to {last}")
    }
}

/// Whether a piece of the index ends after this entry, the so-manieth of it.
pub(crate) fn ends_after(entry: &Entry, entries: usize) -> bool {
    let hash = entry.reference.id.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    hash % INDEX_ENTRIES_MEAN == 0 || entries >= INDEX_ENTRIES_MAX
}

/// The sealed half of a piece.
pub(crate) fn write(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    let length = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
    for Entry { span: Span { table, rows, first, last }, .. } in entries {
        out.extend_from_slice(&length(table.as_bytes()));
        out.extend_from_slice(table.as_bytes());
        out.extend_from_slice(&rows.to_be_bytes());
        for key in [first, last] {
            out.extend_from_slice(&length(key));
            out.extend_from_slice(key);
        }
    }
    out
}

/// Puts both halves together again; nothing if they do not fit.
pub(crate) fn read(references: Vec<Reference>, mut sealed: &[u8]) -> Option<Vec<Entry>> {
    let mut entries = Vec::with_capacity(references.len());
    for reference in references {
        let table = counted(&mut sealed).filter(|name| name.len() <= TABLE_NAME_BYTES_MAX)?;
        let table = String::from_utf8(table.to_vec()).ok()?;
        let (rows, rest) = sealed.split_first_chunk()?;
        sealed = rest;
        let (first, last) = (counted(&mut sealed)?.to_vec(), counted(&mut sealed)?.to_vec());
        let span = Span { table, rows: u32::from_be_bytes(*rows), first, last };
        entries.push(Entry { reference, span });
    }
    sealed.is_empty().then_some(entries)
}

fn counted<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (found, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    *bytes = rest;
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_of_the_index_is_read_as_it_was_written_and_not_if_it_is_cut() {
        let entry = |number: u8| {
            let reference = Reference { kind: b'R', tag: [0; 16], id: [number; 32], key: [9; 16], bytes: 7 };
            let span = Span { table: "log".into(), rows: 3, first: vec![number], last: vec![number, 255] };
            Entry { reference, span }
        };
        let entries: Vec<_> = (0..5).map(entry).collect();
        let sealed = write(&entries);
        let references: Vec<_> = entries.iter().map(|entry| entry.reference.clone()).collect();
        assert_eq!(read(references.clone(), &sealed), Some(entries));
        for end in 0..sealed.len() {
            assert_eq!(read(references.clone(), &sealed[..end]), None);
        }
        assert_eq!(read(references[1..].to_vec(), &sealed), None);
    }
}
