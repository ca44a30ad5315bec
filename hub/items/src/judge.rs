//! What a device's payload says, reading by reading, and what of it is refused and why, whoever its tenant is. One bad reading
//! costs no other. What a tenant takes, units among it, was asked at the door (`muster-screen`), where the device is told.

use muster_schemas::senml::{self, InvalidPack, RecordRef, ValueRef};

use crate::{Name, Scalar, limits::CLOCK_AHEAD_S_MAX};

/// What a payload begins with that a device sealed for an app: the CBOR tag of `COSE_Encrypt` (RFC 9052 §2).
const SEALED: [u8; 2] = [0xd8, 0x60];
/// The name of the one reading of such a payload.
pub const SEALED_NAME: &str = "sealed";
/// Follows the name of a sum. No SenML name can end with it.
const SUM: &str = "#sum";
const US_PER_S: f64 = 1e6;

/// One measured value, borrowed from the payload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading<'a> {
    /// When, in microseconds since 1970.
    pub time_us: i64,
    /// Its name.
    pub name: Name<'a>,
    /// Its unit.
    pub unit: Option<&'a str>,
    /// What was measured.
    pub value: Scalar<'a>,
}

/// Why one reading is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refused {
    /// The record is none (RFC 8428 §4): not finite, not named, or without a value.
    #[error("it {0}")]
    Record(InvalidPack),
    /// Its time is so far ahead that the device's clock is wrong.
    #[error("its time is {ahead_s} s ahead of the hub's clock, where {CLOCK_AHEAD_S_MAX} s are let pass")]
    Future {
        /// By how many seconds.
        ahead_s: u64,
    },
}

impl Refused {
    /// A short name, for counters, logs and the dead-letter topic.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Record(InvalidPack::NotFinite { .. }) => "not_finite",
            Self::Record(InvalidPack::Name { .. }) => "name",
            Self::Record(InvalidPack::Unit { .. }) => "unit",
            Self::Record(InvalidPack::NoValue { .. }) => "no_value",
            Self::Record(_) => "record",
            Self::Future { .. } => "future",
        }
    }
}

/// Hands out the readings of a payload with the places of their records, or why a record is refused. A record may have
/// two readings: its value, and its sum.
///
/// # Errors
/// The payload is neither SenML within its bounds nor sealed; nothing was handed out.
pub fn judge(
    payload: &[u8],
    received_s: f64,
    mut each: impl FnMut(usize, Result<Reading<'_>, Refused>),
) -> Result<(), InvalidPack> {
    if payload.starts_with(&SEALED) {
        let name = Name::from(SEALED_NAME);
        let value = Scalar::Bytes(payload);
        each(0, Ok(Reading { time_us: time_us(received_s), name, unit: None, value }));
        return Ok(());
    }
    let latest_s = received_s + CLOCK_AHEAD_S_MAX as f64;
    senml::read(payload, received_s, |place, record| {
        let record = match record {
            Ok(record) => record,
            Err(why) => return each(place, Err(Refused::Record(why))),
        };
        let RecordRef { base, name, unit, time_s, value, sum } = record;
        if time_s > latest_s {
            let ahead_s = (time_s - received_s) as u64;
            return each(place, Err(Refused::Future { ahead_s }));
        }
        let time_us = time_us(time_s);
        if let Some(value) = value {
            let value = match value {
                ValueRef::Number(number) => Scalar::Number(number),
                ValueRef::Text(text) => Scalar::Text(text),
                ValueRef::Bool(value) => Scalar::Bool(value),
                ValueRef::Data(bytes) => Scalar::Bytes(bytes),
            };
            each(place, Ok(Reading { time_us, name: Name([base, name, ""]), unit, value }));
        }
        if let Some(sum) = sum {
            let value = Scalar::Number(sum);
            each(place, Ok(Reading { time_us, name: Name([base, name, SUM]), unit, value }));
        }
    })
}

/// Microseconds since 1970 of seconds since 1970; times beyond 290,000 years are taken for the first or the last.
pub fn time_us(time_s: f64) -> i64 {
    (time_s * US_PER_S).round() as i64
}

#[cfg(test)]
mod tests {
    use muster_schemas::senml::Pack;

    use super::*;

    const NOW_S: f64 = 1.76e9;

    type Judged = (usize, Result<(i64, String), &'static str>);

    fn judged(payload: &[u8]) -> Vec<Judged> {
        let mut all = Vec::new();
        judge(payload, NOW_S, |place, reading| {
            let short = reading.map(|reading| (reading.time_us, reading.name.joined()));
            all.push((place, short.map_err(|why| why.as_str())));
        })
        .expect("is a pack");
        all
    }

    #[test]
    fn a_reading_that_is_refused_costs_no_other() {
        let mut pack = Pack::new("dev:", NOW_S);
        pack.number("a", Some("Cel"), 1.0).number("b", Some("cel\tsius"), 2.0).number("?", None, 3.0);
        for payload in [pack.encode_cbor(), pack.encode_json()] {
            let seen = judged(&payload);
            assert_eq!(
                seen,
                [(0, Ok((1_760_000_000_000_000, "dev:a".to_owned()))), (1, Err("unit")), (2, Err("name"))]
            );
        }
    }

    #[test]
    fn a_time_is_let_pass_for_a_day_ahead() {
        let json = |time: f64| format!(r#"[{{"n":"a","t":{time},"v":1}},{{"n":"b","v":2}}]"#);
        let seen = judged(json(NOW_S + 86_401.0).as_bytes());
        assert_eq!((seen[0].clone(), seen.len()), ((0, Err("future")), 2));
        assert!(judged(json(NOW_S + 86_399.0).as_bytes())[0].1.is_ok());
    }

    #[test]
    fn a_sum_is_a_reading_of_its_own() {
        let seen = judged(br#"[{"n":"a","v":1,"s":5}]"#);
        let names: Vec<_> = seen.into_iter().map(|(_, reading)| reading.expect("fits").1).collect();
        assert_eq!(names, ["a", "a#sum"]);
    }

    #[test]
    fn a_sealed_payload_is_one_reading_of_bytes() {
        let payload = [0xd8, 0x60, 1, 2, 3];
        judge(&payload, NOW_S, |_, reading| {
            let reading = reading.expect("fits");
            assert_eq!(reading.value, Scalar::Bytes(&payload));
            assert_eq!(
                (reading.name.joined().as_str(), reading.time_us),
                (SEALED_NAME, 1_760_000_000_000_000)
            );
        })
        .expect("is taken");
    }

    #[test]
    fn what_is_no_pack_is_refused_whole() {
        assert_eq!(judge(b"hello", NOW_S, |_, _| unreachable!()), Err(InvalidPack::Encoding));
        let large = vec![b' '; 2 * 1024 * 1024];
        assert_eq!(judge(&large, NOW_S, |_, _| unreachable!()), Err(InvalidPack::TooLong));
    }
}
