//! The last readings and pages of a range, reading by reading, as the first version of the API answers.

use std::ops::ControlFlow;

use data_encoding::HEXLOWER;
use muster_items::{Chunk, Column, History as _, Scalar, Selection, View};

use super::{
    archive::Archive,
    limits::LAST_READINGS_MAX,
    message::{Last, LastReadings, Page, QueryRefusal, Range},
    reading::{Reading, Value},
};

const US_PER_MS: i64 = 1_000;
const US_PER_S: f64 = 1e6;

/// The last reading of every name.
pub(super) fn last(archive: &Archive, query: &Last) -> Result<LastReadings, QueryRefusal> {
    let Last { tenant, device, stream } = query;
    let selection = Selection { device: device.clone(), stream: stream.clone(), ..Selection::default() };
    let (last, truncated) = archive.last(tenant, &selection, &View::all(), LAST_READINGS_MAX)?;
    let readings =
        last.into_iter().filter_map(|last| Some((last.stream, reading(&last.column, 0, last.time_us)?)));
    Ok(LastReadings { readings: readings.collect(), truncated })
}

/// One page of a range that was checked. The cursor is the time of the last reading and how many there were of that time.
pub(super) fn range(archive: &Archive, query: &Range) -> Result<Page, QueryRefusal> {
    let mut from_us = query.from_ms.saturating_mul(US_PER_MS);
    let mut seen = 0;
    if let Some(cursor) = &query.cursor {
        let bytes = HEXLOWER.decode(cursor.as_bytes()).map_err(|_| QueryRefusal::Cursor)?;
        let bytes: [u8; 16] = bytes.try_into().map_err(|_| QueryRefusal::Cursor)?;
        let ([time, count], []) = bytes.as_chunks::<8>() else { return Err(QueryRefusal::Cursor) };
        from_us = from_us.max(i64::from_be_bytes(*time));
        seen = usize::try_from(u64::from_be_bytes(*count)).map_err(|_| QueryRefusal::Cursor)?;
    }
    let to_us = query.to_ms.saturating_mul(US_PER_MS);
    if from_us > to_us {
        return Err(QueryRefusal::Cursor);
    }
    let selection = Selection {
        device: Some(query.device.clone()),
        stream: Some(query.stream.clone()),
        from_us: Some(from_us),
        to_us: Some(to_us),
        names: Vec::new(),
    };
    let mut page = Page::default();
    // Time of the last reading of the page, and how many of that time were shown, on the pages before too.
    let mut end = (from_us, seen);
    let mut is_more = false;
    let mut visit = |chunk: &Chunk<'_>| {
        for (place, time_us) in chunk.times_us.iter().enumerate() {
            for column in chunk.columns {
                let Some(reading) = reading(column, place, *time_us) else { continue };
                if *time_us == from_us && seen > 0 {
                    seen -= 1;
                    continue;
                }
                if page.readings.len() == query.limit {
                    is_more = true;
                    return ControlFlow::Break(());
                }
                end = if end.0 == *time_us { (*time_us, end.1 + 1) } else { (*time_us, 1) };
                page.readings.push(reading);
            }
        }
        ControlFlow::Continue(())
    };
    match archive.scan(&query.tenant, &selection, &View::all(), &mut visit) {
        // What could be read is shown: the other way of asking tells what is lost.
        Ok(()) | Err(muster_items::QueryRefusal::Damaged(_)) => {}
        Err(error) => return Err(error.into()),
    }
    if is_more {
        let cursor = [end.0.to_be_bytes(), (end.1 as u64).to_be_bytes()].concat();
        page.next_cursor = Some(HEXLOWER.encode(&cursor));
    }
    Ok(page)
}

fn reading(column: &Column, place: usize, time_us: i64) -> Option<Reading> {
    let value = match column.values.scalar(place)? {
        Scalar::Number(number) => Value::Number(number),
        Scalar::Text(text) => Value::Text(text.to_owned()),
        Scalar::Bool(value) => Value::Bool(value),
        // As SenML writes them in JSON.
        Scalar::Bytes(bytes) => Value::Text(data_encoding::BASE64URL_NOPAD.encode(bytes)),
    };
    let time_s = time_us as f64 / US_PER_S;
    Some(Reading { name: column.name.clone(), unit: column.unit.clone(), time_s, value })
}

impl From<muster_items::QueryRefusal> for QueryRefusal {
    fn from(refusal: muster_items::QueryRefusal) -> Self {
        match refusal {
            muster_items::QueryRefusal::TenantUnknown => Self::TenantUnknown,
            muster_items::QueryRefusal::Order => Self::Order,
            muster_items::QueryRefusal::Cursor => Self::Cursor,
            other => Self::Unavailable(other.to_string()),
        }
    }
}
