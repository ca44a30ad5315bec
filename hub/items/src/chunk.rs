//! Readings as columns: what a scan hands out, an item at a time.

use crate::ItemInfo;

/// The readings of one item, or of a part of it, by time. Every column has as many places as there are times.
#[derive(Debug)]
pub struct Chunk<'a> {
    /// Whose they are.
    pub item: &'a ItemInfo,
    /// Microseconds since 1970, ascending; each once.
    pub times_us: &'a [i64],
    /// One for each SenML name, in the order of names.
    pub columns: &'a [Column],
}

/// The values of one SenML name.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// The SenML name, resolved.
    pub name: String,
    /// The SenML unit. A name that comes with two units has two columns.
    pub unit: Option<String>,
    /// The values, one place for each time.
    pub values: Values,
}

/// Values of one kind; where nothing was measured at a time, its place is none.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Finite numbers; a place without one holds NaN.
    Numbers(Vec<f64>),
    /// Texts.
    Texts(Vec<Option<String>>),
    /// True or false.
    Bools(Vec<Option<bool>>),
    /// Bytes: SenML data values, and payloads that a device sealed for an app (`COSE_Encrypt`).
    Bytes(Vec<Option<Vec<u8>>>),
}
