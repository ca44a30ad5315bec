//! Why a device does not get in: the last refusals of each device, at whichever stage it was refused, for the operator
//! who is asked about one of them. Not an audit trail: it is bounded, in memory, and begins anew with the process.

mod handshake;
mod ledger;
pub mod limits;
mod verdict;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use muster_actors::SharedClock;
use muster_schemas::DeviceId;

pub use ledger::{History, Proof, Refused, Stage, Told};
pub use verdict::{Standing, Verdict, verdict};

use ledger::Ledger;

/// The one ledger of a hub. Cheap to clone; its lock is taken at connects and refusals, and never for a message.
#[derive(Clone)]
pub struct Witness {
    ledger: Arc<Mutex<Ledger>>,
    clock: SharedClock,
    since_ms: u64,
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Witness")
    }
}

impl Witness {
    /// Nothing was refused yet.
    pub fn new(clock: SharedClock) -> Self {
        let since_ms = clock.unix_ms();
        Self { ledger: Arc::default(), clock, since_ms }
    }

    /// Remembers that a device was refused.
    pub fn note(&self, device: &DeviceId, proof: Proof, refused: Refused) {
        let now_ms = self.clock.unix_ms();
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.note(now_ms, device, proof, refused);
    }

    /// The device was let in: what was refused before is past.
    pub fn let_in(&self, device: &DeviceId) {
        let now_ms = self.clock.unix_ms();
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).let_in(now_ms, device);
    }

    /// What is remembered of a device.
    pub fn of(&self, device: &DeviceId) -> History {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).of(device)
    }

    /// From when on refusals are remembered, in Unix milliseconds.
    pub fn since_ms(&self) -> u64 {
        self.since_ms
    }
}
