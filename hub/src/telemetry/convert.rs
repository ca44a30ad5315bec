//! A store of yesterday, with a row for each reading, becomes blocks when its tenant is opened.

use muster_broker::store::Write;
use muster_items::{OpenStream, Origin, Scalar, StreamId, judge};

use super::{
    core::{Ended, Known},
    flush::Flush,
    limits::CONVERTED_ROWS_MAX,
    reading::{Reading, Value},
    store::{ReadingsError, TenantRows},
};

const OLD_READING: u8 = b'r';
const OLD_LAST: u8 = b'l';

/// The next writes that turn old readings into blocks; none when all are. To be committed before it is asked again.
///
/// # Errors
/// The store cannot be read.
pub(super) fn convert(
    rows: &TenantRows,
    streams: &[(StreamId, Known)],
) -> Result<Option<Vec<Write>>, ReadingsError> {
    for (stream, known) in streams {
        let mut open = OpenStream::default();
        let mut deletes = Vec::new();
        for row in rows.table.prefix(&rows.stream_key(OLD_READING, stream)).take(CONVERTED_ROWS_MAX) {
            let (key, sealed) = row?;
            deletes.push(rows.delete(&key));
            // One that does not open is lost, here as before.
            let Some(reading) =
                rows.sealer.open(&key, &sealed).ok().and_then(|bytes| Reading::decode(&bytes).ok())
            else {
                continue;
            };
            let value = match &reading.value {
                Value::Number(number) => Scalar::Number(*number),
                Value::Text(text) => Scalar::Text(text),
                Value::Bool(value) => Scalar::Bool(*value),
            };
            let time_us = judge::time_us(reading.time_s);
            let (name, unit) = (reading.name.as_str().into(), reading.unit.as_deref());
            open.begin(known.flushed_to, 0, &Origin::default());
            open.add(&judge::Reading { time_us, name, unit, value });
        }
        if deletes.is_empty() {
            continue;
        }
        let mut flush = Flush::new(rows);
        let days = open.end();
        if !days.is_empty() {
            let origin = Origin::default();
            flush.add(&Ended {
                stream: stream.clone(),
                next: known.origin.clone(),
                origin,
                first_sequence: known.flushed_to,
                last_sequence: known.flushed_to,
                days: days.into(),
            })?;
        }
        let mut writes = flush.into_writes()?;
        writes.append(&mut deletes);
        return Ok(Some(writes));
    }
    let left = rows.table.prefix(&rows.key(OLD_LAST, &[])).take(CONVERTED_ROWS_MAX);
    let left = left.map(|row| row.map(|(key, _)| rows.delete(&key))).collect::<Result<Vec<_>, _>>()?;
    Ok((!left.is_empty()).then_some(left))
}
