//! What becomes of a tenant's messages: readings, or a refusal with its reason. Knows no log, no key and no clock.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::BASE64URL_NOPAD;
use muster_schemas::{
    DeviceId, Kind,
    senml::{self, InvalidPack, Pack, Record},
    stored::StoredMessage,
};

use super::{
    limits::{CLOCK_AHEAD_S_MAX, STEP_READINGS_BYTES_MAX, STREAMS_PER_DEVICE_MAX},
    reading::{Reading, StreamId, Value},
};

/// Why a message on a telemetry topic is kept out.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Unfit {
    /// Published by somebody else than the device that the topic names.
    #[error("it was published by the {kind} {id} and not by that device")]
    Publisher {
        /// What published it.
        kind: Kind,
        /// Which one.
        id: DeviceId,
    },
    /// The topic does not end with the name of one stream.
    #[error("its topic does not end with the name of a stream")]
    Stream,
    /// The device has as many streams as it may.
    #[error("the device has {STREAMS_PER_DEVICE_MAX} streams already")]
    TooManyStreams,
    /// The payload is not SenML.
    #[error("its payload {0}")]
    Pack(#[from] InvalidPack),
}

impl Unfit {
    /// A short name, for counters and logs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Publisher { .. } => "publisher",
            Self::Stream => "stream",
            Self::TooManyStreams => "too_many_streams",
            Self::Pack(_) => "not_senml",
        }
    }
}

/// A message that was kept out.
#[derive(Debug, Clone, PartialEq)]
pub struct Rejected {
    /// The device that the topic names, as it stands there.
    pub device: String,
    /// Why.
    pub why: Unfit,
}

/// What one step takes from the log.
#[derive(Debug, Default)]
pub struct Harvest {
    /// The readings, in the order of the log.
    pub readings: Vec<(StreamId, Reading)>,
    /// Which of them, by place, is the last of its stream and name.
    pub lasts: BTreeMap<(StreamId, String), usize>,
    /// Streams that were not known before.
    pub new_streams: Vec<StreamId>,
    /// What was kept out.
    pub rejected: Vec<Rejected>,
    /// Messages that were looked at, whatever their topic.
    pub messages: usize,
    bytes: usize,
}

impl Harvest {
    /// Whether the step has taken enough: what follows waits for the next one.
    pub fn is_full(&self) -> bool {
        self.bytes >= STEP_READINGS_BYTES_MAX
    }

    fn add(&mut self, stream: &StreamId, reading: Reading, received_s: f64) {
        let place = self.readings.len();
        // A clock far ahead would name the last reading for years to come.
        #[expect(clippy::cast_precision_loss, reason = "a day in seconds is exact")]
        let ahead = reading.time_s > received_s + CLOCK_AHEAD_S_MAX as f64;
        if !ahead {
            let key = (stream.clone(), reading.name.clone());
            let last = self.lasts.entry(key).or_insert(place);
            let newest = self.readings.get(*last).map_or(i64::MIN, |(_, newest)| newest.time_us());
            if reading.time_us() >= newest {
                *last = place;
            }
        }
        self.bytes += reading.stored_bytes();
        self.readings.push((stream.clone(), reading));
    }
}

/// The streams of a tenant's devices: what is known of them before the next message.
#[derive(Debug, Default)]
pub struct Streams(BTreeMap<DeviceId, BTreeSet<String>>);

impl Streams {
    /// The streams that the catalogue holds.
    pub fn load(streams: impl IntoIterator<Item = StreamId>) -> Self {
        let mut loaded = Self::default();
        for StreamId { device, stream } in streams {
            loaded.0.entry(device).or_default().insert(stream);
        }
        loaded
    }

    /// The streams of one device or of all, of one name or of any, in order.
    pub fn matching(
        &self,
        device: Option<&DeviceId>,
        stream: Option<&str>,
    ) -> impl Iterator<Item = StreamId> {
        let devices = self.0.iter().filter(move |(id, _)| device.is_none_or(|wanted| wanted == *id));
        devices.flat_map(move |(id, streams)| {
            let wanted = streams.iter().filter(move |name| stream.is_none_or(|wanted| wanted == *name));
            wanted.map(|name| StreamId { device: id.clone(), stream: name.clone() })
        })
    }

    /// Takes one message of the log into the harvest.
    pub fn take(&mut self, stored: &StoredMessage, harvest: &mut Harvest) {
        if stored.is_copy() {
            return;
        }
        harvest.messages += 1;
        let message = &stored.message;
        let mut levels = message.topic.as_str().splitn(4, '/');
        let (Some("devices"), Some(device), Some("telemetry"), Some(stream)) =
            (levels.next(), levels.next(), levels.next(), levels.next())
        else {
            return;
        };
        if message.retain && message.payload.is_empty() {
            // It clears the topic's retained message and says nothing else.
            return;
        }
        if let Err(why) = self.take_pack(stored, device, stream, harvest) {
            harvest.rejected.push(Rejected { device: device.to_owned(), why });
        }
    }

    fn take_pack(
        &mut self,
        stored: &StoredMessage,
        device: &str,
        stream: &str,
        harvest: &mut Harvest,
    ) -> Result<(), Unfit> {
        let publisher = &stored.publisher;
        if publisher.kind != Kind::Device || publisher.id.as_str() != device {
            return Err(Unfit::Publisher { kind: publisher.kind, id: publisher.id.clone() });
        }
        if stream.contains('/') || !StreamId::is_stream(stream) {
            return Err(Unfit::Stream);
        }
        // Milliseconds of this millennium are far below 2^53.
        #[expect(clippy::cast_precision_loss, reason = "see above")]
        let received_s = stored.received_ms as f64 / 1_000.0;
        let records = Pack::parse(&stored.message.payload)?.resolve(received_s)?;
        let id = StreamId { device: publisher.id.clone(), stream: stream.to_owned() };
        self.know(&id, harvest)?;
        for record in records {
            for reading in readings(record) {
                harvest.add(&id, reading, received_s);
            }
        }
        Ok(())
    }

    fn know(&mut self, id: &StreamId, harvest: &mut Harvest) -> Result<(), Unfit> {
        let streams = self.0.entry(id.device.clone()).or_default();
        if streams.contains(&id.stream) {
            return Ok(());
        }
        if streams.len() >= STREAMS_PER_DEVICE_MAX {
            return Err(Unfit::TooManyStreams);
        }
        streams.insert(id.stream.clone());
        harvest.new_streams.push(id.clone());
        Ok(())
    }
}

/// The readings of a record: its value, and its sum under the record's name and `#sum`, which no SenML name can end
/// with. Bytes become text as SenML writes them in JSON.
fn readings(record: Record) -> impl Iterator<Item = Reading> {
    let Record { name, unit, time_s, value, sum } = record;
    let value = value.map(|value| match value {
        senml::Value::Number(number) => Value::Number(number),
        senml::Value::Text(text) => Value::Text(text),
        senml::Value::Bool(value) => Value::Bool(value),
        senml::Value::Data(bytes) => Value::Text(BASE64URL_NOPAD.encode(&bytes)),
    });
    let sum = sum.map(|sum| Reading {
        name: format!("{name}#sum"),
        unit: unit.clone(),
        time_s,
        value: Value::Number(sum),
    });
    value.map(|value| Reading { name, unit, time_s, value }).into_iter().chain(sum)
}

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;
