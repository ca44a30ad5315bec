//! Sensors: devices that publish SenML by mutual TLS while the hub is killed, and the judge of the history that is left.
//! What was acknowledged is there once, with its value; what was never sent is not.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use muster_mqtt::{Connect, ConnectProperties, Disconnect, Packet, PacketId, Publish, ReasonCode, Version};
use muster_schemas::{
    DeviceId, Message, Qos, TopicName,
    senml::{Pack, Record, Value as Measured},
};
use muster_tpm::manufacturer::SimulatedManufacturer;
use rustls::ClientConfig;
use serde_json::Value;
use tokio::runtime::Builder;

use super::{
    TENANT, TortureError,
    chance::Chance,
    client::{Field, Phase, wait},
    ledger::Ledger,
    limits::{
        ABSENCE_TIME_MAX, CONNACK_TIME_MAX, PACK_ROWS, READ_TIME, RECONNECT_TIME, SENSOR_PACKS_PER_LIFE,
        SENSOR_WINDOW,
    },
    link::{Link, LinkError},
};
use crate::{
    bench::fleet::{Newcomer, Target, enrol_all},
    hub::Hub,
};

const STREAM: &str = "shaken";
/// Between two rows, in seconds.
const INTERVAL_S: f64 = 0.1;
/// When the first row was measured: ten minutes before a midnight, Unix seconds.
const BEGIN_S: f64 = 1_760_054_400.0 - 600.0;

/// A device, with what it keeps over connections.
pub struct Sensor {
    /// Its place in the field.
    pub place: usize,
    id: DeviceId,
    address: SocketAddr,
    config: Arc<ClientConfig>,
    topic: TopicName,
    /// Packs that are on their way, oldest first.
    flights: VecDeque<(PacketId, u64)>,
    next: u64,
    last_id: u16,
    /// Of each pack, whether the hub has taken it over.
    acknowledged: Vec<bool>,
    chance: Chance,
}

/// What all sensors said, and who may read it.
pub struct Sensors {
    /// The identity of an app of the tenant.
    reader: PathBuf,
}

impl Sensors {
    /// Enrols sensors with a running hub, the first at `place` of the field, and registers who reads what they said.
    ///
    /// # Errors
    /// The hub refuses.
    pub fn enrol(
        count: usize,
        place: usize,
        seed: u64,
        hub: &Hub,
        folder: &Path,
        manufacturer: &SimulatedManufacturer,
    ) -> Result<(Self, Vec<Sensor>), TortureError> {
        let reader = folder.join("reader");
        let shown = reader.display().to_string();
        hub.operate(&["app", "create", "--tenant", TENANT, "reader", "--out", &shown])?;
        let newcomers = (0..u32::try_from(count).unwrap_or(u32::MAX)).map(|number| {
            let claim = hub.operate(&["claim", "create", "--tenant", TENANT])?;
            let code = claim.get("code").and_then(Value::as_str).unwrap_or_default().to_owned();
            Ok(Newcomer::new(number, code, manufacturer)?)
        });
        let newcomers = newcomers.collect::<Result<Vec<_>, TortureError>>()?;
        let target = Target::new(hub.mqtt(), &hub.root())?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let enrolled = runtime.block_on(enrol_all(&target, newcomers))?;
        let sensors = enrolled.into_iter().enumerate().map(|(number, enrolled)| {
            let device = enrolled.ready(&target)?;
            let topic = format!("devices/{}/telemetry/{STREAM}", device.id);
            Ok(Sensor {
                place: place + number,
                address: target.address,
                config: device.session_config(),
                topic: topic.parse().map_err(|_| TortureError::Address(topic))?,
                id: device.id,
                flights: VecDeque::new(),
                next: 0,
                last_id: 0,
                acknowledged: Vec::new(),
                chance: Chance::new(seed, 300 + number as u64),
            })
        });
        Ok((Self { reader }, sensors.collect::<Result<_, TortureError>>()?))
    }

    /// Reads all that is kept of a sensor, and tells the ledger what must not be. Gives how many readings are there that
    /// were acknowledged.
    ///
    /// # Errors
    /// The hub does not answer.
    pub fn judge(&self, sensor: &Sensor, hub: &Hub, ledger: &mut Ledger) -> Result<u64, TortureError> {
        let Sensor { id, acknowledged, .. } = sensor;
        let of = ["--device", id.as_str(), "--stream", STREAM, "--from", "2025-10-01T00:00:00Z"];
        let asked: Vec<&str> = ["telemetry", "export", "--format", "csv"].into_iter().chain(of).collect();
        let text = hub.print(&self.reader, &asked)?;
        let (kept, wrong) = compare(acknowledged, &text);
        wrong.into_iter().for_each(|what| ledger.violated(format!("the history of {id} {what}")));
        Ok(kept)
    }
}

/// How many readings of a history were acknowledged, and what of it must not be. `history` is CSV with count and wave in the
/// last columns.
fn compare(acknowledged: &[bool], history: &str) -> (u64, Vec<String>) {
    let was_taken = |row: usize| acknowledged.get((row / PACK_ROWS as usize) ^ 1).is_some_and(|taken| *taken);
    let mut found = vec![0_u8; (acknowledged.len() + 1) * PACK_ROWS as usize];
    let (mut last, mut kept, mut wrong) = (None, 0, Vec::new());
    for line in history.lines().skip(1) {
        let mut numbers = line.rsplit(',').map(|field| field.parse::<f64>().ok());
        let (Some(Some(wave)), Some(Some(count))) = (numbers.next(), numbers.next()) else {
            wrong.push(format!("has a row {line:?}"));
            continue;
        };
        let row = count as u64;
        match found.get_mut(row as usize) {
            Some(times) if wave == wave_of(row) => *times = times.saturating_add(1),
            _ => wrong.push(format!("has {line:?}, which was never said")),
        }
        if let Some(last) = last.replace(row).filter(|last| *last >= row) {
            wrong.push(format!("has row {row} after {last}"));
        }
    }
    for (row, times) in found.iter().enumerate().filter(|(row, _)| was_taken(*row)) {
        match times {
            1 => kept += 2,
            _ => wrong.push(format!("has row {row} {times} times, which was acknowledged")),
        }
    }
    (kept, wrong)
}

/// What the sensor measured in a row: all its digits count.
fn wave_of(row: u64) -> f64 {
    (Chance::new(row, 7).draw() >> 11) as f64 / (1_u64 << 53) as f64
}

impl Sensor {
    /// Lives until all is over.
    pub fn run(mut self, field: &Field) -> Self {
        while field.phase() != Phase::Over {
            if !field.is_up() {
                wait(RECONNECT_TIME);
                continue;
            }
            match self.connection(field) {
                Ok(true) => break,
                Ok(false) => wait(self.chance.time(Duration::ZERO, ABSENCE_TIME_MAX)),
                Err(LinkError::Io(_)) => wait(RECONNECT_TIME),
                Err(LinkError::Decode(error)) => {
                    field.ledger().violated(format!("{} got what is no MQTT: {error}", self.id));
                }
            }
        }
        self
    }

    /// Packs that never came to their end.
    pub fn unfinished(&self) -> usize {
        self.flights.len()
    }

    /// Its id.
    pub fn id(&self) -> &DeviceId {
        &self.id
    }

    /// One connection; true if all is over.
    fn connection(&mut self, field: &Field) -> Result<bool, LinkError> {
        let mut link = Link::open_tls(self.address, Version::V5, Arc::clone(&self.config))?;
        link.put(&self.connect());
        link.flush()?;
        let Some(connack) = link.next(CONNACK_TIME_MAX)? else { return Ok(false) };
        match connack {
            Packet::ConnAck(connack) if connack.code == ReasonCode::Success => {}
            Packet::ConnAck(connack)
                if matches!(connack.code, ReasonCode::ServerBusy | ReasonCode::ServerUnavailable) =>
            {
                field.ledger().numbers.turned_away += 1;
                return Ok(false);
            }
            other => {
                field.ledger().violated(format!("{} was refused: {other:?}", self.id));
                return Ok(false);
            }
        }
        // Nothing is kept of it at the hub: what was not acknowledged is said again.
        for place in 0..self.flights.len() {
            let id = self.free_id();
            if let Some(flight) = self.flights.get_mut(place) {
                flight.0 = id;
                let flight = *flight;
                link.put(&self.publish(flight));
            }
        }
        let mut left = SENSOR_PACKS_PER_LIFE;
        loop {
            let phase = field.phase();
            while phase == Phase::Load && left > 0 && self.flights.len() < SENSOR_WINDOW {
                let flight = (self.free_id(), self.next);
                (self.next, left) = (self.next + 1, left - 1);
                self.acknowledged.push(false);
                self.flights.push_back(flight);
                link.put(&self.publish(flight));
            }
            link.flush()?;
            field.tell(self.place, !self.flights.is_empty());
            if phase == Phase::Over {
                link.put(&Packet::Disconnect(Disconnect::new(ReasonCode::Success)));
                link.flush()?;
                return Ok(true);
            }
            let mut next = link.next(READ_TIME)?;
            while let Some(packet) = next {
                if let Packet::PubAck(ack) = packet {
                    self.answered(ack.packet_id, ack.code, field);
                } else {
                    field.ledger().violated(format!("{} got {packet:?}", self.id));
                    return Ok(false);
                }
                next = link.next_here()?;
            }
        }
    }

    fn answered(&mut self, id: PacketId, code: ReasonCode, field: &Field) {
        let mut ledger = field.ledger();
        ledger.progress += 1;
        let Some(place) = self.flights.iter().position(|flight| flight.0 == id) else {
            return ledger.violated(format!("{} got a PUBACK for {id}, which is not on its way", self.id));
        };
        let Some((_, pack)) = self.flights.remove(place) else { return };
        if code.is_failure() {
            ledger.numbers.refused += 1;
        } else if let Some(taken) = self.acknowledged.get_mut(pack as usize) {
            *taken = true;
            ledger.numbers.packs += 1;
        }
    }

    fn publish(&self, (id, pack): (PacketId, u64)) -> Packet {
        // Neighbours change places, and rows come backwards, so that readings are late and out of order.
        let first = (pack ^ 1) * PACK_ROWS;
        let records = (first..first + PACK_ROWS).rev().flat_map(|row| {
            [("count", row as f64), ("wave", wave_of(row))].map(|(name, number)| Record {
                name: format!("urn:dev:{}:{name}", self.id),
                time_s: BEGIN_S + row as f64 * INTERVAL_S,
                unit: None,
                value: Some(Measured::Number(number)),
                sum: None,
            })
        });
        let payload = Pack::of(records);
        Packet::Publish(Publish {
            dup: false,
            packet_id: Some(id),
            topic_alias: None,
            subscription_ids: Default::default(),
            message: Arc::new(Message {
                topic: self.topic.clone(),
                qos: Qos::AtLeastOnce,
                retain: false,
                payload: payload.encode_cbor().into(),
                properties: None,
            }),
        })
    }

    fn free_id(&mut self) -> PacketId {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if let Some(id) = PacketId::new(self.last_id)
                && !self.flights.iter().any(|flight| flight.0 == id)
            {
                return id;
            }
        }
    }

    fn connect(&self) -> Packet {
        Packet::Connect(Box::new(Connect {
            version: Version::V5,
            clean_start: true,
            keep_alive_s: 0,
            client_id: self.id.as_str().parse().ok(),
            username: None,
            password: None,
            will: None,
            properties: ConnectProperties::default(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(rows: impl IntoIterator<Item = u64>) -> String {
        let rows = rows.into_iter().map(|row| format!("2026-01-01T00:00:00Z,{row},{}\n", wave_of(row)));
        format!("time,count,wave\n{}", rows.collect::<String>())
    }

    #[test]
    fn a_history_is_well_that_has_each_acknowledged_row_once() {
        // The first pack says the second rows, and the other way round.
        let whole = history(0..2 * PACK_ROWS);
        assert_eq!(compare(&[true, true], &whole), (4 * PACK_ROWS, Vec::new()));
        assert_eq!(compare(&[true, false], &whole), (2 * PACK_ROWS, Vec::new()));
        assert_eq!(compare(&[true], &history(PACK_ROWS..2 * PACK_ROWS)).1, Vec::<String>::new());
    }

    #[test]
    fn what_is_lost_doubled_foreign_or_out_of_order_is_found() {
        let rows = |change: fn(u64) -> Vec<u64>| history((0..2 * PACK_ROWS).flat_map(change));
        let lost = rows(|row| if row == 5 { vec![] } else { vec![row] });
        let doubled = rows(|row| if row == 5 { vec![row, row] } else { vec![row] });
        let swapped = rows(|row| {
            vec![if row == 5 {
                6
            } else if row == 6 {
                5
            } else {
                row
            }]
        });
        let foreign = rows(|row| vec![row]).replace(&wave_of(5).to_string(), "0.5");
        let more = history(0..9 * PACK_ROWS);
        for wrong in [lost, doubled, swapped, foreign, more, "time,count,wave\nx\n".to_owned()] {
            assert!(!compare(&[true, true], &wrong).1.is_empty(), "{wrong}");
        }
    }
}
