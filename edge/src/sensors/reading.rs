//! A reading: one SenML pack of one stream, with the time that names it.

use bytes::Bytes;
use muster_schemas::{DeviceId, firmware::UpdateTopic, senml::Pack};

/// The stream that stands for reports of firmware: they wait for their acknowledgement as readings do.
const REPORTS: &str = "firmware/report";

/// One pack, to be published and kept until it is acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The stream: the last level of its topic.
    pub stream: &'static str,
    /// Its SenML base time, in milliseconds since 1970: unique within its stream.
    pub time_ms: u64,
    /// How many records it has.
    pub records: usize,
    /// SenML in JSON, or that sealed to the tenant's apps.
    pub payload: Bytes,
}

impl Reading {
    /// The pack of a stream at a time, filled by `fill`; none when nothing was filled in.
    pub fn of(
        device: &DeviceId,
        stream: &'static str,
        time_ms: u64,
        fill: impl FnOnce(&mut Pack),
    ) -> Option<Self> {
        // RFC 8428 §4.5.1: names are globally unique, and begin with a letter or digit.
        let mut pack = Pack::new(&format!("{device}:"), time_s(time_ms));
        fill(&mut pack);
        let payload = Bytes::from(pack.encode_json());
        (!pack.is_empty()).then(|| Self { stream, time_ms, records: pack.len(), payload })
    }

    /// A report about firmware. Its ticket stands where a reading has its time.
    #[must_use]
    pub fn of_firmware(ticket: u64, payload: Bytes) -> Self {
        Self { stream: REPORTS, time_ms: ticket, records: 1, payload }
    }

    /// Its ticket, if it is a report about firmware.
    #[must_use]
    pub fn firmware_ticket(&self) -> Option<u64> {
        (self.stream == REPORTS).then_some(self.time_ms)
    }

    /// The topic it is published to.
    #[must_use]
    pub fn topic(&self, device: &DeviceId) -> String {
        if self.firmware_ticket().is_some() {
            return UpdateTopic::Report.of(device);
        }
        format!("devices/{device}/telemetry/{}", self.stream)
    }

    /// Its SenML base time, in seconds since 1970: the very number in the payload.
    #[must_use]
    pub fn time_s(&self) -> f64 {
        time_s(self.time_ms)
    }
}

/// Milliseconds since 1970 as SenML writes them. Exact to a microsecond until the year 2242.
#[must_use]
pub fn time_s(time_ms: u64) -> f64 {
    time_ms as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_in_the_payload_is_the_time_of_the_reading() {
        let device: DeviceId = "4k7qm3xnp9rtw2abcdef".parse().unwrap();
        for time_ms in [1_790_000_000_001, 1_790_000_000_999, 1_790_000_000_005, 1_790_123_456_789] {
            let reading = Reading::of(&device, "system", time_ms, |pack| {
                pack.number("cpu-load", Some("%"), 12.5);
            });
            let reading = reading.unwrap();
            let records = Pack::parse(&reading.payload).unwrap().resolve(0.0).unwrap();
            assert_eq!(records[0].time_s.to_bits(), reading.time_s().to_bits());
            assert_eq!((records[0].time_s * 1_000.0).round() as u64, time_ms);
            assert_eq!(records[0].name, "4k7qm3xnp9rtw2abcdef:cpu-load");
            assert_eq!(reading.records, 1);
        }
    }

    #[test]
    fn a_report_of_firmware_is_told_from_a_reading() {
        let device: DeviceId = "a".parse().unwrap();
        let report = Reading::of_firmware(7, Bytes::from_static(b"report"));
        assert_eq!(
            (report.firmware_ticket(), report.topic(&device)),
            (Some(7), "devices/a/firmware/report".into())
        );
        let reading = Reading::of(&device, "system", 7, |pack| {
            pack.number("cpu-load", None, 1.0);
        });
        assert_eq!(reading.unwrap().firmware_ticket(), None);
    }

    #[test]
    fn a_pack_without_records_is_no_reading() {
        let device: DeviceId = "a".parse().unwrap();
        assert_eq!(Reading::of(&device, "system", 1, |_| ()), None);
    }
}
