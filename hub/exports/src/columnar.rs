//! Arrow and Parquet: rows are gathered to batches of a bounded size.

use std::{collections::HashMap, io::Write, ops::ControlFlow, sync::Arc};

use arrow_array::{
    ArrayRef, RecordBatch,
    builder::{BinaryBuilder, BooleanBuilder, Float64Builder, StringBuilder, TimestampMicrosecondBuilder},
};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema, TimeUnit};
use muster_items::{
    StreamId,
    query::{Kind, Measure, Rows, Value},
};
use parquet::{
    arrow::ArrowWriter,
    basic::Compression,
    errors::ParquetError,
    file::properties::{EnabledStatistics, WriterProperties},
};

use crate::{
    ExportError, Layout, Sheet, Survey, columns_of,
    labels::{TIME, labels},
    limits::{BATCH_CELLS_MAX, BATCH_TEXT_BYTES_MAX, COLUMN_CHUNKS_MAX, ROW_GROUP_BYTES_MAX},
    text::LONG_HEAD,
};

/// Where the unit stands in a column's metadata.
const UNIT: &str = "unit";

/// The table as it will be: its schema, and a batch of it that grows.
pub struct Table {
    schema: Arc<Schema>,
    layout: Layout,
    measures: Vec<Measure>,
    times: TimestampMicrosecondBuilder,
    columns: Vec<Growing>,
    rows: usize,
    text_bytes: usize,
}

/// A column of the batch.
enum Growing {
    Numbers(Float64Builder),
    Texts(StringBuilder),
    Bools(BooleanBuilder),
    Bytes(BinaryBuilder),
}

impl Table {
    pub fn new(layout: Layout, survey: &Survey) -> Self {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let mut fields = vec![Field::new(TIME, time, false)];
        let mut kinds = Vec::new();
        match layout {
            Layout::Wide => {
                for (measure, label) in survey.measures.iter().zip(labels(&survey.measures)) {
                    let unit = measure.unit.iter().map(|unit| (UNIT.to_owned(), unit.clone()));
                    let unit: HashMap<String, String> = unit.collect();
                    fields.push(Field::new(label, data_type(measure.kind), true).with_metadata(unit));
                    kinds.push(measure.kind);
                }
            }
            Layout::Long => {
                let of = [
                    Kind::Text,
                    Kind::Text,
                    Kind::Text,
                    Kind::Text,
                    Kind::Number,
                    Kind::Text,
                    Kind::Bool,
                    Kind::Bytes,
                ];
                // Device, stream and name are always there.
                for (place, (name, kind)) in LONG_HEAD.into_iter().skip(1).zip(of).enumerate() {
                    fields.push(Field::new(name, data_type(kind), place >= 3));
                    kinds.push(kind);
                }
            }
        }
        Self {
            schema: Arc::new(Schema::new(fields)),
            layout,
            measures: survey.measures.clone(),
            times: TimestampMicrosecondBuilder::new().with_timezone("UTC"),
            columns: kinds.into_iter().map(Growing::new).collect(),
            rows: 0,
            text_bytes: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.rows.saturating_mul(self.columns.len() + 1) >= BATCH_CELLS_MAX
            || self.text_bytes >= BATCH_TEXT_BYTES_MAX
    }

    fn put(&mut self, place: usize, value: Option<Value<'_>>) {
        self.text_bytes += match value {
            Some(Value::Text(text)) => text.len(),
            Some(Value::Bytes(bytes)) => bytes.len(),
            _ => 0,
        };
        if let Some(column) = self.columns.get_mut(place) {
            column.put(value);
        }
    }

    /// The batch, and an empty one in its place.
    fn take(&mut self) -> Result<RecordBatch, ArrowError> {
        let mut arrays: Vec<ArrayRef> = vec![Arc::new(self.times.finish())];
        arrays.extend(self.columns.iter_mut().map(Growing::finish));
        (self.rows, self.text_bytes) = (0, 0);
        RecordBatch::try_new(Arc::clone(&self.schema), arrays)
    }
}

impl Growing {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Number => Self::Numbers(Float64Builder::new()),
            Kind::Text => Self::Texts(StringBuilder::new()),
            Kind::Bool => Self::Bools(BooleanBuilder::new()),
            Kind::Bytes => Self::Bytes(BinaryBuilder::new()),
        }
    }

    /// Nothing, where the value is of another kind.
    fn put(&mut self, value: Option<Value<'_>>) {
        match (self, value) {
            (Self::Numbers(column), Some(Value::Number(number))) => column.append_value(number),
            (Self::Texts(column), Some(Value::Text(text))) => column.append_value(text),
            (Self::Bools(column), Some(Value::Bool(value))) => column.append_value(value),
            (Self::Bytes(column), Some(Value::Bytes(bytes))) => column.append_value(bytes),
            (Self::Numbers(column), _) => column.append_null(),
            (Self::Texts(column), _) => column.append_null(),
            (Self::Bools(column), _) => column.append_null(),
            (Self::Bytes(column), _) => column.append_null(),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Numbers(column) => Arc::new(column.finish()),
            Self::Texts(column) => Arc::new(column.finish()),
            Self::Bools(column) => Arc::new(column.finish()),
            Self::Bytes(column) => Arc::new(column.finish()),
        }
    }
}

fn data_type(kind: Kind) -> DataType {
    match kind {
        Kind::Number => DataType::Float64,
        Kind::Text => DataType::Utf8,
        Kind::Bool => DataType::Boolean,
        Kind::Bytes => DataType::Binary,
    }
}

/// What takes batches.
pub trait Batches {
    fn batch(&mut self, batch: &RecordBatch) -> Result<(), ExportError>;
    fn end(&mut self) -> Result<(), ExportError>;
}

/// Batches of a file.
pub struct Columnar<B> {
    table: Table,
    file: B,
}

impl<B: Batches> Columnar<B> {
    pub fn new(table: Table, file: B) -> Self {
        Self { table, file }
    }

    fn flush_if(&mut self, due: bool) -> Result<(), ExportError> {
        if due && self.table.rows > 0 {
            let batch = self.table.take().map_err(wrong)?;
            self.file.batch(&batch)?;
        }
        Ok(())
    }
}

impl<B: Batches> Sheet for Columnar<B> {
    fn rows(&mut self, stream: &StreamId, rows: &Rows) -> Result<ControlFlow<()>, ExportError> {
        let columns = columns_of(&self.table.measures, rows);
        for (place, time_us) in rows.times_us.iter().enumerate() {
            match self.table.layout {
                Layout::Wide => {
                    self.table.times.append_value(*time_us);
                    for (number, column) in columns.iter().enumerate() {
                        self.table.put(number, column.and_then(|column| column.values.value_at(place)));
                    }
                    self.table.rows += 1;
                }
                Layout::Long => {
                    for column in &rows.columns {
                        let Some(value) = column.values.value_at(place) else { continue };
                        self.table.times.append_value(*time_us);
                        let texts = [
                            Some(stream.device.as_str()),
                            Some(&stream.stream),
                            Some(&column.name),
                            column.unit.as_deref(),
                        ];
                        for (number, text) in texts.into_iter().enumerate() {
                            self.table.put(number, text.map(Value::Text));
                        }
                        for number in 4..8 {
                            self.table.put(number, Some(value));
                        }
                        self.table.rows += 1;
                    }
                }
            }
            self.flush_if(self.table.is_full())?;
        }
        Ok(ControlFlow::Continue(()))
    }

    fn end(&mut self) -> Result<(), ExportError> {
        self.flush_if(true)?;
        self.file.end()
    }
}

/// Arrow's streaming format: nothing is held but the batch.
pub struct ArrowFile<W: Write>(StreamWriter<W>);

impl<W: Write> ArrowFile<W> {
    pub fn new(out: W, table: &Table) -> Result<Self, ExportError> {
        Ok(Self(StreamWriter::try_new(out, &table.schema).map_err(wrong)?))
    }
}

impl<W: Write> Batches for ArrowFile<W> {
    fn batch(&mut self, batch: &RecordBatch) -> Result<(), ExportError> {
        self.0.write(batch).map_err(wrong)
    }

    fn end(&mut self) -> Result<(), ExportError> {
        self.0.finish().map_err(wrong)?;
        self.0.flush().map_err(wrong)
    }
}

/// Parquet: a row group is held, and what the foot tells of those before.
pub struct ParquetFile<W: Write + Send> {
    writer: ArrowWriter<W>,
    columns: usize,
}

impl<W: Write + Send> ParquetFile<W> {
    pub fn new(out: W, table: &Table) -> Result<Self, ExportError> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_offset_index_disabled(true)
            .set_max_row_group_row_count(None)
            .set_max_row_group_bytes(Some(ROW_GROUP_BYTES_MAX))
            .build();
        let columns = table.columns.len() + 1;
        let writer =
            ArrowWriter::try_new(out, Arc::clone(&table.schema), Some(properties)).map_err(broken)?;
        Ok(Self { writer, columns })
    }
}

impl<W: Write + Send> Batches for ParquetFile<W> {
    fn batch(&mut self, batch: &RecordBatch) -> Result<(), ExportError> {
        self.writer.write(batch).map_err(broken)?;
        // The estimate of the library does not count what its encoders have reserved.
        if self.writer.memory_size() >= 2 * ROW_GROUP_BYTES_MAX {
            self.writer.flush().map_err(broken)?;
        }
        let groups = self.writer.flushed_row_groups().len();
        if groups.saturating_mul(self.columns) > COLUMN_CHUNKS_MAX {
            return Err(ExportError::FootTooLong);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), ExportError> {
        self.writer.finish().map_err(broken)?;
        Ok(self.writer.sync()?)
    }
}

fn wrong(error: ArrowError) -> ExportError {
    match error {
        ArrowError::IoError(_, error) => error.into(),
        error => ExportError::Encode(error.to_string()),
    }
}

fn broken(error: ParquetError) -> ExportError {
    match error {
        ParquetError::External(source) => match source.downcast::<std::io::Error>() {
            Ok(error) => (*error).into(),
            Err(source) => ExportError::Encode(source.to_string()),
        },
        error => ExportError::Encode(error.to_string()),
    }
}
