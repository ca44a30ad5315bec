//! Telemetry as others read it: pages of JSON, and files: CSV, NDJSON, Arrow, Parquet and npy. Written as the readings come,
//! so that a file of any length takes the memory of a batch. What is worked out of readings is in `muster_items::query`.
//!
//! ```text
//!  History::scan ──▶ survey: columns, rows, damage ──▶ Plan
//!  History::scan ──▶ rows, windows, groups ──▶ a page of JSON and a cursor, or lines
//!  History::scan ──▶ rows in order ──▶ batch ──▶ CSV, NDJSON, Arrow, Parquet, npy ──▶ any `io::Write`
//! ```
//!
//! What cannot be written is refused before the first byte: the survey reads the selection once before it is written.
//! NDJSON needs none and is written at once.

mod columnar;
mod cursor;
mod labels;
pub mod limits;
mod npy;
pub mod pages;
mod shown;
mod survey;
mod text;

use std::{collections::BTreeMap, fmt, io, io::Write, ops::ControlFlow, str::FromStr};

use muster_items::{
    Column, History, QueryRefusal, Selection, StreamId, View,
    query::{Kind, Measure, Rows, scan_in_order},
};
use muster_schemas::TenantId;

pub use survey::Survey;

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// RFC 4180, with a head.
    Csv,
    /// A JSON object for each reading, as the API shows it.
    Ndjson,
    /// Arrow's streaming format: batches, to be read one after another.
    Arrow,
    /// Parquet, compressed with Snappy.
    Parquet,
    /// A structured array of `NumPy`: times and numbers.
    Npy,
}

impl Format {
    /// All there are.
    pub const ALL: [Self; 5] = [Self::Csv, Self::Ndjson, Self::Arrow, Self::Parquet, Self::Npy];

    /// Its name, and the end of its files' names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
            Self::Arrow => "arrow",
            Self::Parquet => "parquet",
            Self::Npy => "npy",
        }
    }

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Ndjson => "application/x-ndjson",
            Self::Arrow => "application/vnd.apache.arrow.stream",
            Self::Parquet => "application/vnd.apache.parquet",
            Self::Npy => "application/octet-stream",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Format {
    type Err = NoFormat;

    fn from_str(text: &str) -> Result<Self, NoFormat> {
        Self::ALL.into_iter().find(|format| format.as_str() == text).ok_or(NoFormat)
    }
}

/// No kind of file that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is none of csv, ndjson, arrow, parquet and npy")]
pub struct NoFormat;

/// How readings lie in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// A row for each time and a column for each name: of one stream.
    Wide,
    /// A row for each reading: of any.
    Long,
}

/// Why there is no file, or only a part of it.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The history cannot be read.
    #[error(transparent)]
    History(#[from] QueryRefusal),
    /// There are more names than a file has columns for.
    #[error("put {found} names side by side: a file has at most {max} columns", max = limits::COLUMNS_MAX)]
    Columns {
        /// How many names there are.
        found: usize,
    },
    /// Several streams do not go into one array.
    #[error("put several streams into one array: name a device and a stream")]
    OneStream,
    /// There is no number to put into an array.
    #[error("make an array of no numbers: the selection has none")]
    NoNumbers,
    /// The foot of the file would need too much memory.
    #[error("write a Parquet file of that length: take a shorter time, fewer names, or the format arrow")]
    FootTooLong,
    /// What was selected became less while it was written.
    #[error("write what was there at the beginning: it was removed meanwhile; ask again")]
    Changed,
    /// Whoever reads the file does not read on, or it cannot be written.
    #[error("write the file: {0}")]
    Io(#[from] io::Error),
    /// A library refused what it was given.
    #[error("encode the file: {0}")]
    Encode(String),
}

/// What is to be exported. `Copy`, as it only borrows.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// Where readings are.
    pub history: &'a dyn History,
    /// Whose.
    pub tenant: &'a TenantId,
    /// Which.
    pub selection: &'a Selection,
    /// Whom they are for.
    pub view: &'a View,
}

/// A file that can be written.
#[derive(Debug, Clone)]
pub struct Plan {
    format: Format,
    layout: Layout,
    survey: Survey,
}

impl Plan {
    /// Looks at what there is, and whether it can be written.
    ///
    /// # Errors
    /// It cannot be written, or not read.
    pub fn new(question: Question<'_>, format: Format, layout: Layout) -> Result<Self, ExportError> {
        let survey = match format {
            Format::Ndjson => Survey::default(),
            _ => Survey::take(question, layout)?,
        };
        if format == Format::Npy {
            if layout == Layout::Long {
                return Err(ExportError::OneStream);
            }
            if !survey.measures.iter().any(npy::is_number) {
                return Err(ExportError::NoNumbers);
            }
        }
        Ok(Self { format, layout, survey })
    }

    /// What was found; nothing for NDJSON, which is not looked at before.
    pub fn survey(&self) -> &Survey {
        &self.survey
    }

    /// How many bytes the file has, where that is known before it is written.
    pub fn length(&self) -> Option<u64> {
        (self.format == Format::Npy).then(|| npy::length(&self.survey))
    }

    /// What tells this file from another: of the question, and of what was found. Not of the values.
    pub fn tag(&self, question: Question<'_>) -> String {
        let Question { tenant, selection, .. } = question;
        cursor::Of::question(&format!("{self:?} {tenant} {selection:?}")).to_string()
    }

    /// Writes the file, to its end. Readings that came in since the survey may be in it or not.
    ///
    /// # Errors
    /// A part of it may have been written. Of NDJSON, all that could be read was written.
    pub fn write<W: Write + Send>(&self, question: Question<'_>, out: W) -> Result<(), ExportError> {
        match (self.format, self.layout) {
            (Format::Ndjson, _) => self.rows(question, &mut text::Ndjson::new(out)),
            (Format::Csv, Layout::Wide) => self.rows(question, &mut text::WideCsv::new(out, &self.survey)?),
            (Format::Csv, Layout::Long) => self.rows(question, &mut text::LongCsv::new(out)?),
            (Format::Npy, _) => self.rows(question, &mut npy::Npy::new(out, &self.survey)?),
            (Format::Arrow, layout) => {
                let table = columnar::Table::new(layout, &self.survey);
                let file = columnar::ArrowFile::new(out, &table)?;
                self.rows(question, &mut columnar::Columnar::new(table, file))
            }
            (Format::Parquet, layout) => {
                let table = columnar::Table::new(layout, &self.survey);
                let file = columnar::ParquetFile::new(out, &table)?;
                self.rows(question, &mut columnar::Columnar::new(table, file))
            }
        }
    }

    fn rows(&self, question: Question<'_>, file: &mut dyn Sheet) -> Result<(), ExportError> {
        let mut failed = None;
        let Question { history, tenant, selection, view } = question;
        let outcome = scan_in_order(history, tenant, selection, view, &mut |stream, rows| match file
            .rows(stream, rows)
        {
            Ok(flow) => flow,
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        match outcome {
            // It was told before the first byte.
            Err(QueryRefusal::Damaged(_)) if self.survey.damage.is_some() => {}
            Err(refusal @ QueryRefusal::Damaged(_)) if self.format == Format::Ndjson => {
                file.end()?;
                return Err(refusal.into());
            }
            Err(refusal) => return Err(refusal.into()),
            Ok(()) => {}
        }
        file.end()
    }
}

/// A file while it is written.
trait Sheet {
    /// Takes rows; says whether there may be more.
    fn rows(&mut self, stream: &StreamId, rows: &Rows) -> Result<ControlFlow<()>, ExportError>;

    /// Writes what is left.
    fn end(&mut self) -> Result<(), ExportError>;
}

/// For each measure, its column among these rows.
fn columns_of<'a>(measures: &[Measure], rows: &'a Rows) -> Vec<Option<&'a Column>> {
    let mut by_measure = BTreeMap::new();
    for column in &rows.columns {
        by_measure.insert((column.name.as_str(), column.unit.as_deref(), Kind::of(&column.values)), column);
    }
    let found = measures.iter().map(|measure| {
        by_measure.get(&(measure.name.as_str(), measure.unit.as_deref(), measure.kind)).copied()
    });
    found.collect()
}

#[cfg(test)]
mod tests;
