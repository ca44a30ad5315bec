//! Values and figures as the API shows them.

use data_encoding::BASE64URL_NOPAD;
use muster_items::{
    LastReading, StreamId,
    query::{Bucket, Figures, GroupBucket, Kind, Measure, Value},
};
use muster_schemas::api::{self, Reading, ReadingValue};

pub fn value(value: Value<'_>) -> ReadingValue {
    match value {
        Value::Number(number) => ReadingValue::Number(number),
        Value::Text(text) => ReadingValue::Text(text.to_owned()),
        Value::Bool(value) => ReadingValue::Bool(value),
        Value::Bytes(bytes) => ReadingValue::Text(BASE64URL_NOPAD.encode(bytes)),
    }
}

/// Unix seconds with fraction, from which the microseconds come back when they are rounded.
pub fn seconds(time_us: i64) -> f64 {
    time_us as f64 / 1e6
}

pub fn reading(stream: &StreamId, time_us: i64, name: &str, unit: Option<&str>, of: Value<'_>) -> Reading {
    Reading {
        device: stream.device.clone(),
        stream: stream.stream.clone(),
        name: name.to_owned(),
        unit: unit.map(str::to_owned),
        time_s: seconds(time_us),
        value: value(of),
    }
}

pub fn last(last: &LastReading) -> Option<Reading> {
    let LastReading { stream, time_us, column } = last;
    let value = column.values.value_at(0)?;
    Some(reading(stream, *time_us, &column.name, column.unit.as_deref(), value))
}

pub fn bucket(stream: &StreamId, bucket: Bucket) -> api::history::Bucket {
    let Bucket { from_us, measure: Measure { name, unit, .. }, figures } = bucket;
    api::history::Bucket {
        device: stream.device.clone(),
        stream: stream.stream.clone(),
        name,
        unit,
        from_s: seconds(from_us),
        figures: self::figures(&figures),
    }
}

pub fn group(by: &[String], group: GroupBucket) -> api::history::Group {
    let GroupBucket { group, from_us, measure: Measure { name, unit, .. }, streams, figures } = group;
    api::history::Group {
        group: by.iter().cloned().zip(group).collect(),
        name,
        unit,
        from_s: from_us.map(seconds),
        streams,
        figures: self::figures(&figures),
    }
}

fn figures(figures: &Figures) -> api::history::Figures {
    match figures {
        Figures::Numbers(numbers) => {
            let percentiles = numbers.percentiles;
            api::history::Figures {
                count: numbers.count,
                min: Some(numbers.min),
                max: Some(numbers.max),
                mean: Some(numbers.mean()),
                sum: Some(numbers.sum),
                first: Some(numbers.first),
                last: ReadingValue::Number(numbers.last),
                last_s: seconds(numbers.last_us),
                p50: percentiles.map(|of| of.p50),
                p90: percentiles.map(|of| of.p90),
                p95: percentiles.map(|of| of.p95),
                p99: percentiles.map(|of| of.p99),
                approximate: percentiles.is_some_and(|of| !of.exact),
            }
        }
        Figures::Others(others) => api::history::Figures {
            count: others.count,
            min: None,
            max: None,
            mean: None,
            sum: None,
            first: None,
            last: others.last().map_or_else(|| ReadingValue::Text(String::new()), value),
            last_s: seconds(others.last_us),
            p50: None,
            p90: None,
            p95: None,
            p99: None,
            approximate: false,
        },
    }
}

/// A measure as a cursor has it; in the order of measures.
pub fn measure_key(measure: &Measure) -> (String, Option<String>, u8) {
    let kind = match measure.kind {
        Kind::Number => 0,
        Kind::Text => 1,
        Kind::Bool => 2,
        Kind::Bytes => 3,
    };
    (measure.name.clone(), measure.unit.clone(), kind)
}
