//! CSV and NDJSON: a line at a time.

use std::{
    io::{BufWriter, Write},
    ops::ControlFlow,
};

use data_encoding::BASE64URL_NOPAD;
use jiff::Timestamp;
use muster_items::{
    StreamId,
    query::{Measure, Rows, Value},
};

use crate::{
    ExportError, Sheet, Survey, columns_of,
    labels::{TIME, labels},
    shown,
};

/// The head of a long table, in every format.
pub const LONG_HEAD: [&str; 9] =
    [TIME, "device", "stream", "name", "unit", "number", "text", "bool", "bytes"];

/// RFC 3339 in UTC with microseconds, always six digits; a number of microseconds beyond the year 9999.
fn instant(time_us: i64) -> String {
    match Timestamp::from_microsecond(time_us) {
        Ok(time) => format!("{time:.6}"),
        Err(_) => time_us.to_string(),
    }
}

/// A value as a field. Nothing and an empty text are the same field.
fn field(value: Option<Value<'_>>) -> String {
    match value {
        None => String::new(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Text(text)) => text.to_owned(),
        Some(Value::Bool(value)) => value.to_string(),
        Some(Value::Bytes(bytes)) => BASE64URL_NOPAD.encode(bytes),
    }
}

/// A row for each time.
pub struct WideCsv<W: Write> {
    csv: csv::Writer<W>,
    measures: Vec<Measure>,
}

impl<W: Write> WideCsv<W> {
    /// Writes the head.
    pub fn new(out: W, survey: &Survey) -> Result<Self, ExportError> {
        let mut csv = csv::Writer::from_writer(out);
        let labels = labels(&survey.measures);
        csv.write_record([TIME].into_iter().chain(labels.iter().map(String::as_str))).map_err(wrong)?;
        Ok(Self { csv, measures: survey.measures.clone() })
    }
}

impl<W: Write> Sheet for WideCsv<W> {
    fn rows(&mut self, _: &StreamId, rows: &Rows) -> Result<ControlFlow<()>, ExportError> {
        let columns = columns_of(&self.measures, rows);
        for (place, time_us) in rows.times_us.iter().enumerate() {
            self.csv.write_field(instant(*time_us)).map_err(wrong)?;
            for column in &columns {
                let value = column.and_then(|column| column.values.value_at(place));
                self.csv.write_field(field(value)).map_err(wrong)?;
            }
            self.csv.write_record(None::<&[u8]>).map_err(wrong)?;
        }
        Ok(ControlFlow::Continue(()))
    }

    fn end(&mut self) -> Result<(), ExportError> {
        Ok(self.csv.flush()?)
    }
}

/// A row for each reading.
pub struct LongCsv<W: Write>(csv::Writer<W>);

impl<W: Write> LongCsv<W> {
    /// Writes the head.
    pub fn new(out: W) -> Result<Self, ExportError> {
        let mut csv = csv::Writer::from_writer(out);
        csv.write_record(LONG_HEAD).map_err(wrong)?;
        Ok(Self(csv))
    }
}

impl<W: Write> Sheet for LongCsv<W> {
    fn rows(&mut self, stream: &StreamId, rows: &Rows) -> Result<ControlFlow<()>, ExportError> {
        for (place, time_us) in rows.times_us.iter().enumerate() {
            for column in &rows.columns {
                let Some(value) = column.values.value_at(place) else { continue };
                let (time, field) = (instant(*time_us), field(Some(value)));
                let unit = column.unit.as_deref().unwrap_or_default();
                let mut record =
                    [&time, stream.device.as_str(), &stream.stream, &column.name, unit, "", "", "", ""];
                let [.., number, text, truth, bytes] = &mut record;
                *match value {
                    Value::Number(_) => number,
                    Value::Text(_) => text,
                    Value::Bool(_) => truth,
                    Value::Bytes(_) => bytes,
                } = &field;
                self.0.write_record(record).map_err(wrong)?;
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn end(&mut self) -> Result<(), ExportError> {
        Ok(self.0.flush()?)
    }
}

/// A line for each reading.
pub struct Ndjson<W: Write>(BufWriter<W>);

impl<W: Write> Ndjson<W> {
    pub fn new(out: W) -> Self {
        Self(BufWriter::with_capacity(64 * 1024, out))
    }
}

impl<W: Write> Sheet for Ndjson<W> {
    fn rows(&mut self, stream: &StreamId, rows: &Rows) -> Result<ControlFlow<()>, ExportError> {
        for (place, time_us) in rows.times_us.iter().enumerate() {
            for column in &rows.columns {
                let Some(value) = column.values.value_at(place) else { continue };
                let reading = shown::reading(stream, *time_us, &column.name, column.unit.as_deref(), value);
                serde_json::to_writer(&mut self.0, &reading).map_err(std::io::Error::from)?;
                self.0.write_all(b"\n")?;
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn end(&mut self) -> Result<(), ExportError> {
        Ok(self.0.flush()?)
    }
}

fn wrong(error: csv::Error) -> ExportError {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error.into(),
        kind => ExportError::Encode(format!("{kind:?}")),
    }
}
