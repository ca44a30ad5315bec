//! A message on a telemetry topic, judged reading by reading.

use muster_schemas::senml::{self, Encoding, Pack, Record};
use muster_seal::{Sealed, is_sealed};

use crate::{Bounds, Class, Fault, Refused, Rules, Series, limits::TOLD_REFUSALS_MAX};

/// Times below this are relative to the receipt (RFC 8428 §4.5.3).
const RELATIVE_TIME_S_MAX: f64 = 268_435_456.0;

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It is taken as it is.
    Fit,
    /// Some readings are taken, and these are the payload now.
    Partly {
        /// The pack without the others, in the encoding it came in.
        payload: Vec<u8>,
        /// How many are taken.
        taken: usize,
        /// The first of those that are not.
        refused: Vec<Refused>,
        /// How many are not.
        count: usize,
    },
    /// Nothing of it is taken.
    Unfit {
        /// Why, if it is about the message and not about each of its readings.
        fault: Option<Fault>,
        /// The first of its readings.
        refused: Vec<Refused>,
        /// How many readings it has.
        count: usize,
    },
}

impl Outcome {
    /// What the device is told, if anything was refused.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Fit => None,
            Self::Partly { taken, refused, count, .. } => {
                Some(format!("{count} of {} readings refused: {}", count + taken, listed(refused, *count)))
            }
            Self::Unfit { fault: Some(fault), .. } => Some(format!("refused: {fault}")),
            Self::Unfit { fault: None, refused, count } => {
                Some(format!("all {count} readings refused: {}", listed(refused, *count)))
            }
        }
    }

    /// The first reason.
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Fit => None,
            Self::Partly { refused, .. } => refused.first().map(|refused| &refused.fault),
            Self::Unfit { fault, refused, .. } => {
                fault.as_ref().or(refused.first().map(|refused| &refused.fault))
            }
        }
    }

    /// Whether what is wrong is its form, or that there is too much of it. Form outweighs: sending it again is no use.
    pub fn class(&self) -> Option<Class> {
        match self {
            Self::Fit => None,
            Self::Partly { refused, .. } | Self::Unfit { fault: None, refused, .. } => {
                refused.iter().map(|refused| refused.fault.class()).min()
            }
            Self::Unfit { fault: Some(fault), .. } => Some(fault.class()),
        }
    }

    /// How many readings are refused, and taken; nothing is known of the readings of a message that is none.
    pub fn counts(&self) -> (usize, usize) {
        match self {
            Self::Fit => (0, 0),
            Self::Partly { taken, count, .. } => (*count, *taken),
            Self::Unfit { count, .. } => (*count, 0),
        }
    }
}

fn listed(refused: &[Refused], count: usize) -> String {
    let told: Vec<_> = refused.iter().map(Refused::to_string).collect();
    let more = count.saturating_sub(told.len());
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!("{}{more}", told.join("; "))
}

/// What is kept while a pack is read.
struct Reading<'a> {
    rules: &'a Rules,
    stream: &'a str,
    received_s: f64,
    /// How many more series the tenant may have.
    room: u64,
    bounds: Bounds,
    taken: usize,
    refused: Vec<Refused>,
    /// The places of those that are refused, ascending.
    places: Vec<usize>,
}

/// Judges a payload that was published on a stream of a device and received at `received_s`. `(held, bounds)`: how many
/// series the tenant's devices have, and how many there may be. Nothing is allocated for what is fit and was seen before,
/// if it is CBOR.
pub fn screen(
    rules: &Rules,
    series: &mut Series,
    stream: &str,
    payload: &[u8],
    received_s: f64,
    (held, bounds): (u64, Bounds),
) -> Outcome {
    series.follow(rules.number);
    let unfit = |fault: Fault| Outcome::Unfit { fault: Some(fault), refused: Vec::new(), count: 0 };
    if !series.has_stream(&rules.keys, stream, bounds.device_streams_max) {
        return unfit(Fault::Streams { max: bounds.device_streams_max });
    }
    if is_sealed(payload) {
        return Sealed::decode(payload).map_or_else(|error| unfit(error.into()), |_| Outcome::Fit);
    }
    let room = bounds.series_max.saturating_sub(held);
    let (taken, refused, places) = (0, Vec::new(), Vec::new());
    let mut reading = Reading { rules, stream, received_s, room, bounds, taken, refused, places };
    let outcome = senml::read(payload, received_s, |place, record| match record {
        Ok(record) => match reading.judge(series, &record) {
            Ok(()) => reading.taken += 1,
            Err(fault) => reading.refuse(place, Some([record.base, record.name].concat()), fault),
        },
        Err(error) => reading.refuse(place, None, error.into()),
    });
    match outcome {
        Err(_) if rules.carries_other() => Outcome::Fit,
        Err(error) => unfit(error.into()),
        Ok(()) if reading.places.is_empty() => Outcome::Fit,
        Ok(()) => reading.end(payload),
    }
}

impl Reading<'_> {
    fn judge(&mut self, series: &mut Series, record: &senml::RecordRef<'_>) -> Result<(), Fault> {
        let hash = self.rules.hash(self.stream, record);
        if let Some(rule) = series.rule(hash) {
            return self.rules.judge(rule, record, self.received_s);
        }
        let rule = self.rules.find(self.stream, record);
        self.rules.judge(rule, record, self.received_s)?;
        // Only what is taken has a series.
        if self.room == 0 {
            return Err(Fault::TenantSeries { max: self.bounds.series_max });
        }
        if !series.add(hash, rule, self.bounds.device_series_max) {
            return Err(Fault::Series { max: self.bounds.device_series_max });
        }
        self.room -= 1;
        Ok(())
    }

    fn refuse(&mut self, record: usize, name: Option<String>, fault: Fault) {
        self.places.push(record);
        if self.refused.len() < TOLD_REFUSALS_MAX {
            self.refused.push(Refused { record, name, fault });
        }
    }

    /// Takes the others out, in the encoding that they came in.
    fn end(self, payload: &[u8]) -> Outcome {
        let (refused, count, taken) = (self.refused, self.places.len(), self.taken);
        if taken == 0 {
            return Outcome::Unfit { fault: None, refused, count };
        }
        let mut kept = Vec::with_capacity(taken);
        // It was read a moment ago.
        let _ = senml::read(payload, self.received_s, |place, record| {
            if let (Ok(record), Err(_)) = (record, self.places.binary_search(&place)) {
                let mut record = Record::from(record);
                if record.time_s < RELATIVE_TIME_S_MAX {
                    // Before 1978, which a record can only say relative to its receipt (RFC 8428 §4.5.3).
                    record.time_s -= self.received_s;
                }
                kept.push(record);
            }
        });
        let pack = Pack::of(kept);
        let payload = match Encoding::of(payload) {
            Some(Encoding::Cbor) => pack.encode_cbor(),
            _ => pack.encode_json(),
        };
        Outcome::Partly { payload, taken, refused, count }
    }
}

#[cfg(test)]
#[path = "screen_tests.rs"]
mod tests;
