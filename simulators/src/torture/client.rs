//! A client's life: it connects, does its part until the connection breaks or it goes by itself, and comes back.

use std::{
    net::SocketAddr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use muster_mqtt::{Connect, ConnectProperties, Disconnect, Packet, ReasonCode, Version};

use super::{
    chance::Chance,
    ledger::{Event, Ledger},
    limits::{ABSENCE_TIME_MAX, CONNACK_TIME_MAX, READ_TIME, RECONNECT_TIME},
    link::{Link, LinkError},
    publisher::Publisher,
    subscriber::Subscriber,
};
use crate::process::now;

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Publishers publish.
    Load,
    /// What is on its way comes to its end.
    Settle,
    /// Clients go.
    Over,
}

/// What all clients share.
pub struct Field {
    ledger: Mutex<Ledger>,
    phase: Mutex<Phase>,
    hub: Mutex<Option<SocketAddr>>,
    /// Times that the hub was started.
    pub starts: AtomicU32,
    /// Clients that have something unfinished.
    busy: Mutex<Vec<bool>>,
}

/// What a client is for.
pub enum Part {
    /// It publishes.
    Publish(Publisher),
    /// It subscribes.
    Subscribe(Subscriber),
}

/// One client.
pub struct Client {
    /// Its place in the field.
    pub place: usize,
    /// Its identifier.
    pub name: String,
    /// Which MQTT it speaks.
    pub version: Version,
    /// What it is for.
    pub part: Part,
    /// Messages that it takes at once.
    pub receive_maximum: u16,
    /// Stays away until the hub was started that often.
    pub comes_at: u32,
    /// Goes by itself now and then.
    pub wanders: bool,
    /// Its own chance.
    pub chance: Chance,
    /// Whether a session is kept for it that it knows of.
    pub has_session: bool,
}

impl Field {
    /// A field for that many clients, with nothing in its ledger.
    pub fn new(clients: usize) -> Self {
        Self {
            ledger: Mutex::default(),
            phase: Mutex::new(Phase::Load),
            hub: Mutex::new(None),
            starts: AtomicU32::new(0),
            busy: Mutex::new(vec![true; clients]),
        }
    }

    /// The ledger.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        locked(&self.ledger)
    }

    /// What is being done.
    pub fn phase(&self) -> Phase {
        *locked(&self.phase)
    }

    /// Goes on to another phase.
    pub fn enter(&self, phase: Phase) {
        *locked(&self.phase) = phase;
    }

    /// Where the hub is, or that it is gone.
    pub fn set_hub(&self, address: Option<SocketAddr>) {
        *locked(&self.hub) = address;
        self.starts.fetch_add(u32::from(address.is_some()), Ordering::Relaxed);
    }

    /// Whether the hub is there, as far as is known.
    pub fn is_up(&self) -> bool {
        locked(&self.hub).is_some()
    }

    /// Tells whether the client of this place has something unfinished.
    pub fn tell(&self, place: usize, is_busy: bool) {
        if let Some(busy) = locked(&self.busy).get_mut(place) {
            *busy = is_busy;
        }
    }

    /// Whether no client has anything unfinished, and every subscriber has what it should get.
    pub fn is_settled(&self) -> bool {
        !locked(&self.busy).contains(&true) && self.ledger().is_complete()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits, where there is nothing to wait for but time.
pub fn wait(time: Duration) {
    let until = now() + time;
    while let Some(rest) = until.checked_duration_since(now()).filter(|rest| !rest.is_zero()) {
        thread::park_timeout(rest);
    }
}

/// How a connection came to its end without a failure.
enum Left {
    /// The client wants to come back.
    ForAWhile,
    /// All is over.
    ForGood,
}

impl Client {
    /// Lives until all is over; gives itself back for the judge.
    pub fn run(mut self, field: &Field) -> Self {
        while field.phase() != Phase::Over {
            let address = *locked(&field.hub);
            let is_early =
                field.starts.load(Ordering::Relaxed) < self.comes_at && field.phase() == Phase::Load;
            let Some(address) = address.filter(|_| !is_early) else {
                wait(RECONNECT_TIME);
                continue;
            };
            match self.connection(address, field) {
                Ok(Left::ForGood) => break,
                Ok(Left::ForAWhile) => wait(self.chance.time(Duration::ZERO, ABSENCE_TIME_MAX)),
                Err(LinkError::Io(_)) => wait(RECONNECT_TIME),
                Err(LinkError::Decode(error)) => {
                    field.ledger().violated(format!("{} got what is no MQTT: {error}", self.name));
                }
            }
        }
        self
    }

    /// What is not over, for the report.
    pub fn unfinished(&self) -> Vec<u32> {
        match &self.part {
            Part::Publish(publisher) => publisher.unfinished(),
            Part::Subscribe(subscriber) => subscriber.unfinished(),
        }
    }

    fn is_persistent(&self) -> bool {
        match &self.part {
            Part::Publish(publisher) => publisher.is_persistent(),
            Part::Subscribe(_) => true,
        }
    }

    fn connection(&mut self, address: SocketAddr, field: &Field) -> Result<Left, LinkError> {
        let mut link = Link::open(address, self.version)?;
        link.put(&self.connect());
        link.flush()?;
        let Some(connack) = link.next(CONNACK_TIME_MAX)? else {
            field.ledger().violated(format!("{} got no CONNACK", self.name));
            return Ok(Left::ForAWhile);
        };
        let session_present = match connack {
            Packet::ConnAck(connack) if connack.code == ReasonCode::Success => connack.session_present,
            // Right after its start the hub may not have the tenant up yet, and says so.
            Packet::ConnAck(connack)
                if matches!(connack.code, ReasonCode::ServerBusy | ReasonCode::ServerUnavailable) =>
            {
                field.ledger().numbers.turned_away += 1;
                return Ok(Left::ForAWhile);
            }
            other => {
                field.ledger().violated(format!("{} was refused: {other:?}", self.name));
                return Ok(Left::ForAWhile);
            }
        };
        // The hub may have begun one and gone down before it could say so.
        let is_wrong = match self.is_persistent() {
            true => self.has_session && !session_present,
            false => session_present,
        };
        if is_wrong {
            field.ledger().violated(format!("{}: session present is {session_present}", self.name));
        }
        self.has_session = true;
        field.ledger().note(Event::Connected(self.name.clone(), session_present));
        let mut out = Vec::new();
        match &mut self.part {
            Part::Publish(publisher) => publisher.connected(session_present, &mut field.ledger(), &mut out),
            Part::Subscribe(subscriber) => subscriber.connected(session_present, &mut out),
        }
        let mut packets_left = self.wanders.then(|| self.chance.below(400));
        loop {
            let phase = field.phase();
            if let (Part::Publish(publisher), Phase::Load) = (&mut self.part, phase) {
                publisher.go_on(&mut field.ledger(), &mut out);
            }
            self.tell(field);
            out.drain(..).for_each(|packet| link.put(&packet));
            link.flush()?;
            if phase == Phase::Over {
                self.leave(&mut link)?;
                return Ok(Left::ForGood);
            }
            if phase == Phase::Load && packets_left == Some(0) {
                if self.chance.once_in(2) {
                    self.leave(&mut link)?;
                }
                return Ok(Left::ForAWhile);
            }
            let mut next = link.next(READ_TIME)?;
            let mut ledger = field.ledger();
            while let Some(packet) = next {
                packets_left = packets_left.map(|left| left.saturating_sub(1));
                match (&mut self.part, packet) {
                    (_, Packet::Disconnect(last)) => {
                        let why = last.reason.unwrap_or_default();
                        ledger.violated(format!("{} was sent away: {} {why}", self.name, last.code));
                        return Ok(Left::ForAWhile);
                    }
                    (Part::Publish(publisher), packet) => publisher.receive(packet, &mut ledger, &mut out),
                    (Part::Subscribe(subscriber), packet) => {
                        subscriber.receive(packet, &mut ledger, &mut out);
                    }
                }
                // Acknowledgements go in small groups, so that a kill meets some that have gone and some that have not.
                next = if out.len() < 16 { link.next_here()? } else { None };
            }
        }
    }

    fn connect(&self) -> Packet {
        let is_persistent = self.is_persistent();
        let mut properties = ConnectProperties::default();
        if self.version == Version::V5 {
            properties.session_expiry_s = is_persistent.then_some(3_600);
            properties.receive_maximum = self.receive_maximum.try_into().ok();
        }
        Packet::Connect(Box::new(Connect {
            version: self.version,
            clean_start: !is_persistent,
            keep_alive_s: 0,
            client_id: self.name.parse().ok(),
            username: None,
            password: None,
            will: None,
            properties,
        }))
    }

    fn leave(&self, link: &mut Link) -> Result<(), LinkError> {
        link.put(&Packet::Disconnect(Disconnect::new(ReasonCode::Success)));
        link.flush()
    }

    fn tell(&self, field: &Field) {
        let is_done = match &self.part {
            Part::Publish(publisher) => publisher.is_done(),
            Part::Subscribe(subscriber) => subscriber.is_done(),
        };
        field.tell(self.place, !is_done);
    }
}
