//! What becomes of a tenant's messages: rows of open streams, or a refusal with its reason. Knows no log, no key and no
//! clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use muster_items::{
    Attributes, OpenStream, Origin, Rows, Scalar, StreamId, cell,
    judge::{Reading, Refused, judge},
};
use muster_schemas::{DeviceId, Kind, senml::InvalidPack, stored::StoredMessage};

use super::limits::{CELLS_MAX, OPEN_BYTES_MAX, STREAM_BYTES_MAX};

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
    #[error("the device has {max} streams already, which is its quota")]
    TooManyStreams {
        /// The bound.
        max: usize,
    },
    /// The payload is not SenML.
    #[error("its payload {0}")]
    Pack(#[from] InvalidPack),
    /// A record of the payload is refused; its other readings are kept.
    #[error("of its record number {record}, from 0, a reading is refused: {why}")]
    Reading {
        /// Its place in the pack, from 0.
        record: usize,
        /// Why.
        why: Refused,
    },
}

impl Unfit {
    /// A short name, for counters and logs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Publisher { .. } => "publisher",
            Self::Stream => "stream",
            Self::TooManyStreams { .. } => "too_many_streams",
            Self::Pack(_) => "not_senml",
            Self::Reading { why, .. } => why.as_str(),
        }
    }
}

/// A message, or a reading of it, that was kept out.
#[derive(Debug, Clone, PartialEq)]
pub struct Rejected {
    /// The device that the topic names, as it stands there.
    pub device: String,
    /// Why.
    pub why: Unfit,
}

/// The items of a stream that ended together: what they hold is on its way to the disk.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Whose they are.
    pub stream: StreamId,
    /// What their readings have in common.
    pub origin: Origin,
    /// The origin of what comes after them.
    pub next: Origin,
    /// The first message of the log that is in them.
    pub first_sequence: u64,
    /// The last message of the log that is in them.
    pub last_sequence: u64,
    /// Their rows, a day each.
    pub days: Arc<[Rows]>,
}

impl Ended {
    /// About how many bytes of memory its rows take.
    pub fn bytes(&self) -> usize {
        let values = |rows: &Rows| rows.columns.iter().map(|column| column.values.bytes()).sum::<usize>();
        self.days.iter().map(|rows| rows.times_us.len() * 8 + values(rows)).sum()
    }
}

/// What one step takes from the log.
#[derive(Debug, Default)]
pub struct Harvest {
    /// Items that ended.
    pub ended: Vec<Ended>,
    /// What was kept out.
    pub rejected: Vec<Rejected>,
    /// Messages that were looked at, whatever their topic.
    pub messages: usize,
    /// Readings that were kept.
    pub readings: usize,
    /// Bytes of rows that ended.
    pub bytes: usize,
}

/// What the disk knows of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// Up to this message of the log its readings are stored.
    pub flushed_to: u64,
    /// The origin of what comes after it, until something else is heard.
    pub origin: Origin,
}

/// What is known of a device at this instant.
pub type OriginOf<'a> = &'a dyn Fn(&DeviceId) -> Arc<Attributes>;

/// The streams of a tenant's devices, and what of them is not stored yet.
#[derive(Debug, Default)]
pub struct Filling {
    /// The streams that there are, stored or not.
    known: BTreeMap<DeviceId, BTreeSet<String>>,
    /// Those that have something that is not stored.
    open: BTreeMap<StreamId, OpenStream>,
    /// What was on its way to the disk and not known to be there when it was looked at last.
    pub flushing: Vec<Ended>,
    /// The last place that a device told of. The oldest name makes room.
    cells: BTreeMap<DeviceId, String>,
    /// What is to be passed over, and how it was, while the log is read again after a start.
    again: BTreeMap<StreamId, Known>,
    /// The last message that may have been taken in before the start.
    again_to: u64,
    /// Most streams of a device; a message on one more is kept out.
    streams_max: usize,
    /// About how many bytes the open streams take.
    bytes: usize,
}

impl Filling {
    /// The streams of the catalogue, of which the log is read again up to `again_to`. A device may have `streams_max`.
    pub fn load(
        streams: impl IntoIterator<Item = (StreamId, Known)>,
        again_to: u64,
        streams_max: usize,
    ) -> Self {
        let mut loaded = Self { again_to, streams_max, ..Self::default() };
        for (stream, known) in streams {
            if let Some(cell) = &known.origin.cell {
                loaded.cells.insert(stream.device.clone(), cell.clone());
            }
            loaded.known.entry(stream.device.clone()).or_default().insert(stream.stream.clone());
            loaded.again.insert(stream, known);
        }
        loaded
    }

    /// The streams of one device or of all, of one name or of any, in order.
    pub fn matching(
        &self,
        device: Option<&DeviceId>,
        stream: Option<&str>,
    ) -> impl Iterator<Item = StreamId> {
        let devices = self.known.iter().filter(move |(id, _)| device.is_none_or(|wanted| wanted == *id));
        devices.flat_map(move |(id, streams)| {
            let wanted = streams.iter().filter(move |name| stream.is_none_or(|wanted| wanted == *name));
            wanted.map(|name| StreamId { device: id.clone(), stream: name.clone() })
        })
    }

    /// Whether there is such a stream, stored or not.
    pub fn knows(&self, stream: &StreamId) -> bool {
        self.known.get(&stream.device).is_some_and(|streams| streams.contains(&stream.stream))
    }

    /// What a stream has that is not stored.
    pub fn open(&self, stream: &StreamId) -> Option<&OpenStream> {
        self.open.get(stream)
    }

    /// How many streams have something that is not stored.
    pub fn open_streams(&self) -> usize {
        self.open.len()
    }

    /// About how many bytes of memory the open streams take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The first message of the log that is not stored, of those before `position`.
    pub fn needs_from(&self, position: u64) -> u64 {
        let needed = self.open.values().filter_map(OpenStream::needs_from);
        needed.min().map_or(position, |first| first.min(position))
    }

    /// Takes one message of the log in. `moment` is of the caller's own clock.
    pub fn take(
        &mut self,
        sequence: u64,
        stored: &StoredMessage,
        moment: u64,
        origin_of: OriginOf<'_>,
        harvest: &mut Harvest,
    ) {
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
        if let Err(why) = self.take_pack(sequence, stored, (device, stream), moment, origin_of, harvest) {
            harvest.rejected.push(Rejected { device: device.to_owned(), why });
        }
    }

    fn take_pack(
        &mut self,
        sequence: u64,
        stored: &StoredMessage,
        (device, stream): (&str, &str),
        moment: u64,
        origin_of: OriginOf<'_>,
        harvest: &mut Harvest,
    ) -> Result<(), Unfit> {
        let publisher = &stored.publisher;
        if publisher.kind != Kind::Device || publisher.id.as_str() != device {
            return Err(Unfit::Publisher { kind: publisher.kind, id: publisher.id.clone() });
        }
        if stream.contains('/') || stream.is_empty() || stream.len() > STREAM_BYTES_MAX {
            return Err(Unfit::Stream);
        }
        let id = StreamId { device: publisher.id.clone(), stream: stream.to_owned() };
        let mut before = None;
        if sequence > self.again_to {
            self.again.clear();
        } else if let Some(known) = self.again.get(&id) {
            if sequence <= known.flushed_to {
                return Ok(());
            }
            before = Some(known.origin.attributes.clone());
        }
        self.is_allowed(&id)?;
        let attributes = before.unwrap_or_else(|| origin_of(&id.device));
        let origin = Origin { attributes, cell: self.cells.get(&id.device).cloned(), signer: None };
        let open = self.open.entry(id.clone()).or_default();
        let bytes = open.bytes();
        if open.ends_before(&origin) {
            harvest.end(&id, open, origin.clone());
        }
        let is_new = open.is_empty();
        let (mut kept, mut place) = (0, (None, None));
        let received_s = stored.received_ms as f64 / 1_000.0;
        let judged = judge(&stored.message.payload, received_s, |record, reading| match reading {
            Ok(reading) => {
                if kept == 0 {
                    open.begin(sequence, moment, &origin);
                }
                kept += 1;
                look_for_place(&reading, &mut place);
                open.add(&reading);
            }
            Err(why) => {
                let why = Unfit::Reading { record, why };
                harvest.rejected.push(Rejected { device: device.to_owned(), why });
            }
        });
        harvest.readings += kept;
        if let (Some(latitude), Some(longitude)) = place
            && let Some(cell) = cell(latitude, longitude)
            && origin.cell.as_ref() != Some(&cell)
        {
            if is_new {
                // Otherwise this message is the last of the old place.
                open.set_cell(Some(cell.clone()));
            }
            if self.cells.len() >= CELLS_MAX {
                self.cells.pop_first();
            }
            self.cells.insert(id.device.clone(), cell);
        }
        if open.is_full() {
            let next = Origin { cell: self.cells.get(&id.device).cloned(), ..open.origin().clone() };
            harvest.end(&id, open, next);
        }
        self.bytes = (self.bytes + open.bytes()).saturating_sub(bytes);
        if open.is_empty() {
            self.open.remove(&id);
        }
        if kept > 0 {
            self.known.entry(id.device).or_default().insert(id.stream);
        }
        Ok(judged?)
    }

    /// Ends the streams that `which` names, by their state.
    pub fn end(&mut self, which: impl Fn(&OpenStream) -> bool, harvest: &mut Harvest) {
        let ended: Vec<StreamId> =
            self.open.iter().filter(|(_, open)| which(open)).map(|(id, _)| id.clone()).collect();
        self.end_these(ended, harvest);
    }

    /// Ends the largest streams if all together take more memory than they may, until they take three quarters of it.
    pub fn make_room(&mut self, others_bytes: usize, harvest: &mut Harvest) {
        if self.bytes + others_bytes <= OPEN_BYTES_MAX {
            return;
        }
        let mut by_bytes: Vec<(usize, &StreamId)> =
            self.open.iter().map(|(id, open)| (open.bytes(), id)).collect();
        by_bytes.sort_unstable_by(|one, other| other.cmp(one));
        let mut excess = (self.bytes + others_bytes).saturating_sub(OPEN_BYTES_MAX / 4 * 3);
        let mut ended = Vec::new();
        for (bytes, id) in by_bytes {
            if excess == 0 {
                break;
            }
            excess = excess.saturating_sub(bytes);
            ended.push(id.clone());
        }
        self.end_these(ended, harvest);
    }

    fn end_these(&mut self, ended: Vec<StreamId>, harvest: &mut Harvest) {
        for id in ended {
            if let Some(mut open) = self.open.remove(&id) {
                self.bytes = self.bytes.saturating_sub(open.bytes());
                let next = Origin { cell: self.cells.get(&id.device).cloned(), ..open.origin().clone() };
                harvest.end(&id, &mut open, next);
            }
        }
    }

    fn is_allowed(&self, id: &StreamId) -> Result<(), Unfit> {
        match self.known.get(&id.device) {
            Some(streams) if !streams.contains(&id.stream) && streams.len() >= self.streams_max => {
                Err(Unfit::TooManyStreams { max: self.streams_max })
            }
            _ => Ok(()),
        }
    }
}

impl Harvest {
    fn end(&mut self, stream: &StreamId, open: &mut OpenStream, next: Origin) {
        let (origin, last_sequence) = (open.origin().clone(), open.last_sequence());
        let first_sequence = open.needs_from().unwrap_or(last_sequence);
        self.bytes += open.bytes();
        let days: Arc<[Rows]> = open.end().into();
        if !days.is_empty() {
            self.ended.push(Ended {
                stream: stream.clone(),
                origin,
                next,
                first_sequence,
                last_sequence,
                days,
            });
        }
    }
}

/// Where a device says it is: numbers with the units for it (RFC 8428 §12.1).
fn look_for_place(reading: &Reading<'_>, place: &mut (Option<f64>, Option<f64>)) {
    match (reading.unit, reading.value) {
        (Some("lat"), Scalar::Number(latitude)) => place.0 = Some(latitude),
        (Some("lon"), Scalar::Number(longitude)) => place.1 = Some(longitude),
        _ => {}
    }
}

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;
