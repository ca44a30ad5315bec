//! What the scripted hub does about firmware: lays an announcement at the offer, answers requests for blocks, and writes
//! down what is reported. It can be told to send wrong bytes, or to cut the connection in the middle.

use std::{
    io::{self, Write},
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use muster_schemas::{
    DeviceId,
    firmware::{Block, Get, Report, UpdateTopic},
};

/// Makes the announcement for a device.
pub type Announce = Arc<dyn Fn(&DeviceId) -> Vec<u8> + Send + Sync>;

/// What the hub is told, and what it saw.
#[derive(Default)]
pub struct Orders {
    /// What lies at the offer.
    pub announce: Option<Announce>,
    /// What is transferred.
    pub artifact: Vec<u8>,
    /// The byte that arrives wrong.
    pub tampered: Option<usize>,
    /// Blocks until the connection is cut, once.
    pub cut_after: Option<usize>,
    /// Where the requests began.
    pub asked: Vec<u64>,
    /// What was reported.
    pub reports: Vec<Report>,
}

/// The desk.
#[derive(Default)]
pub struct Desk {
    orders: Mutex<Orders>,
    changed: Condvar,
}

impl Desk {
    /// Changes what it does, or looks.
    pub fn with<T>(&self, look: impl FnOnce(&mut Orders) -> T) -> T {
        look(&mut self.orders.lock().unwrap())
    }

    /// Waits until the reports are so.
    pub fn wait(&self, what: &str, until: impl Fn(&[Report]) -> bool) {
        let orders = self.orders.lock().unwrap();
        let waited = self
            .changed
            .wait_timeout_while(orders, Duration::from_secs(90), |orders| !until(&orders.reports));
        let (orders, timeout) = waited.unwrap();
        assert!(!timeout.timed_out(), "no {what}; there were {:#?}", orders.reports);
    }

    /// A device subscribes: SUBACK, and what lies there.
    pub fn subscribe(&self, body: &[u8], out: &mut impl Write) -> io::Result<()> {
        let (packet, mut rest) = (&body[..2], &body[3 + usize::from(body[2])..]);
        let mut granted = Vec::new();
        let mut device = None;
        while !rest.is_empty() {
            let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
            let filter = std::str::from_utf8(&rest[2..2 + length]).unwrap();
            granted.push(rest[2 + length] & 3);
            rest = &rest[3 + length..];
            if let Some((of, UpdateTopic::Offer)) = UpdateTopic::parse(filter) {
                device = Some(of);
            }
        }
        let mut suback = vec![0x90, u8::try_from(3 + granted.len()).unwrap(), packet[0], packet[1], 0];
        suback.extend(granted);
        out.write_all(&suback)?;
        let device = device.expect("it subscribes to its offer");
        let announce = self.with(|orders| orders.announce.clone());
        match announce {
            // Retained, QoS 0.
            Some(announce) => publish(out, 0x31, &UpdateTopic::Offer.of(&device), &announce(&device)),
            None => Ok(()),
        }
    }

    /// A device says something about firmware; gives whether the connection goes on.
    pub fn said(&self, topic: &str, payload: &[u8], out: &mut impl Write) -> io::Result<bool> {
        match UpdateTopic::parse(topic).expect("a topic of updates") {
            (device, UpdateTopic::Get) => self.serve(&device, &Get::decode(payload).unwrap(), out),
            (_, UpdateTopic::Report) => {
                self.with(|orders| orders.reports.push(Report::decode(payload).unwrap()));
                self.changed.notify_all();
                Ok(true)
            }
            (_, other) => panic!("a device says {other:?}"),
        }
    }

    fn serve(&self, device: &DeviceId, get: &Get, out: &mut impl Write) -> io::Result<bool> {
        let topic = UpdateTopic::Block { request: get.request }.of(device);
        self.with(|orders| orders.asked.push(get.offset));
        for offset in get.offsets() {
            let block = self.with(|orders| {
                match &mut orders.cut_after {
                    Some(0) => {
                        orders.cut_after = None;
                        return None;
                    }
                    Some(left) => *left -= 1,
                    None => {}
                }
                let at = usize::try_from(offset).unwrap();
                let end = (at + usize::try_from(get.block_bytes).unwrap()).min(orders.artifact.len());
                let mut bytes = orders.artifact[at..end].to_vec();
                if let Some(wrong) = orders.tampered.filter(|wrong| (at..end).contains(wrong)) {
                    bytes[wrong - at] ^= 1;
                }
                Some(Block { artifact: get.artifact, offset, bytes }.encode())
            });
            let Some(block) = block else { return Ok(false) };
            publish(out, 0x30, &topic, &block)?;
        }
        Ok(true)
    }
}

fn publish(out: &mut impl Write, head: u8, topic: &str, payload: &[u8]) -> io::Result<()> {
    let mut packet = vec![head];
    let mut length = 2 + topic.len() + 1 + payload.len();
    loop {
        let byte = u8::try_from(length & 0x7f).unwrap();
        length >>= 7;
        packet.push(if length > 0 { byte | 0x80 } else { byte });
        if length == 0 {
            break;
        }
    }
    packet.extend(u16::try_from(topic.len()).unwrap().to_be_bytes());
    packet.extend(topic.as_bytes());
    packet.push(0);
    packet.extend(payload);
    out.write_all(&packet)
}
