//! A structured array of `NumPy` (format of `numpy.lib.format`, version 1.0 or 2.0): `time` as `datetime64[us]`, and a
//! double for each name of numbers or bools. Rows are of one length, so that a part of the file is a part of the array.

use std::{
    io::{BufWriter, Write},
    ops::ControlFlow,
};

use muster_items::{
    StreamId,
    query::{Kind, Measure, Rows, Value},
};

use crate::{
    ExportError, Sheet, Survey, columns_of,
    labels::{TIME, plain_labels},
};

const MAGIC: &[u8] = b"\x93NUMPY";
/// The head ends at a multiple of this.
const ALIGNMENT_BYTES: usize = 64;
/// Of a time, and of a number.
const PLACE_BYTES: u64 = 8;

/// Whether an array has a place for it. Bools are 0 and 1; texts and bytes are left out.
pub fn is_number(measure: &Measure) -> bool {
    matches!(measure.kind, Kind::Number | Kind::Bool)
}

/// The length of the whole file, in bytes.
pub fn length(survey: &Survey) -> u64 {
    let measures = measures(survey);
    let row_bytes = PLACE_BYTES * (1 + measures.len() as u64);
    head(&measures, survey.rows).len() as u64 + survey.rows * row_bytes
}

fn measures(survey: &Survey) -> Vec<Measure> {
    survey.measures.iter().filter(|measure| is_number(measure)).cloned().collect()
}

fn head(measures: &[Measure], rows: u64) -> Vec<u8> {
    let mut fields = format!("('{TIME}', '<M8[us]'), ");
    for label in plain_labels(measures) {
        fields.push_str(&format!("('{label}', '<f8'), "));
    }
    let mut text = format!("{{'descr': [{fields}], 'fortran_order': False, 'shape': ({rows},), }}");
    // Magic, version, length of the text; which of the two lengths it has depends on the text.
    let (version, counted_bytes) = if text.len() + 2 * ALIGNMENT_BYTES < 65_536 { (1, 2) } else { (2, 4) };
    let before_bytes = MAGIC.len() + 2 + counted_bytes;
    while !(before_bytes + text.len() + 1).is_multiple_of(ALIGNMENT_BYTES) {
        text.push(' ');
    }
    text.push('\n');
    let mut head = [MAGIC, &[version, 0]].concat();
    let length = (text.len() as u32).to_le_bytes();
    head.extend_from_slice(length.get(..counted_bytes).unwrap_or(&length));
    head.extend_from_slice(text.as_bytes());
    head
}

/// The file while it is written.
pub struct Npy<W: Write> {
    out: BufWriter<W>,
    measures: Vec<Measure>,
    /// Rows that the head promised and that are not yet written.
    left: u64,
}

impl<W: Write> Npy<W> {
    /// Writes the head.
    pub fn new(out: W, survey: &Survey) -> Result<Self, ExportError> {
        let measures = measures(survey);
        let mut out = BufWriter::with_capacity(64 * 1024, out);
        out.write_all(&head(&measures, survey.rows))?;
        Ok(Self { out, measures, left: survey.rows })
    }
}

impl<W: Write> Sheet for Npy<W> {
    fn rows(&mut self, _: &StreamId, rows: &Rows) -> Result<ControlFlow<()>, ExportError> {
        let columns = columns_of(&self.measures, rows);
        for (place, time_us) in rows.times_us.iter().enumerate() {
            if self.left == 0 {
                return Ok(ControlFlow::Break(()));
            }
            self.left -= 1;
            self.out.write_all(&time_us.to_le_bytes())?;
            for column in &columns {
                let number = match column.and_then(|column| column.values.value_at(place)) {
                    Some(Value::Number(number)) => number,
                    Some(Value::Bool(value)) => f64::from(u8::from(value)),
                    _ => f64::NAN,
                };
                self.out.write_all(&number.to_le_bytes())?;
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn end(&mut self) -> Result<(), ExportError> {
        if self.left > 0 {
            return Err(ExportError::Changed);
        }
        Ok(self.out.flush()?)
    }
}
