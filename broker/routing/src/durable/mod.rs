//! Sessions that outlive their connection: a cursor into the tenant's log each, what is in flight, and their
//! subscriptions. Not for sockets or packets: what is connected is a member of the router, and takes a session up.
//!
//! ```text
//!   Attach ──▶ ┌─────────┐  Deliver, Released   ──▶ the connection that has it
//!   Complete ─▶│ Session │
//!   committed ▶│ (queue, │  StoreRow            ──▶ this turn's commit
//!              │ flights)│  Read ──▶ log ──▶ Records
//!   Detach ──▶ └─────────┘
//! ```
//!
//! What a session gets has been committed first, so a crash takes back nothing that it saw. What has to be known after a
//! crash is on disk before the packet that rests on it leaves: see [`row`].

mod assigned;
mod batch;
mod checkpoint;
mod feed;
mod queue;
mod records;
mod restore;
mod row;
mod session;
mod sessions;
mod tail;

pub(crate) use batch::Then;
pub use restore::RestoreError;
pub use row::InvalidRow;
pub use session::Will;
pub(crate) use session::{Kept, OFF_LOG, Session};
pub(crate) use sessions::Sessions;

use std::sync::Arc;

use muster_schemas::{ClientId, Message, Publisher, stored::COPY};

/// Whose durable session it is: a principal and one of its client identifiers. Nobody takes up another's by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey {
    /// Whose.
    pub publisher: Publisher,
    /// Which of its clients.
    pub client_id: ClientId,
}

/// What a connection gets when it has taken up a session, or begun one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attached {
    /// Whether an earlier session goes on.
    pub session_present: bool,
    /// Seconds that it outlives the connection; 0 is none.
    pub expiry_s: u32,
    /// Packet ids of its deliveries that are not over.
    pub in_flight: Vec<u16>,
    /// Packet ids of the client's QoS 2 messages that are not over.
    pub received: Vec<u16>,
    /// Messages that the log no longer had when the session wanted them.
    pub missed: u64,
}

/// A record of the log, as a session needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place.
    pub sequence: u64,
    /// When it came in, in Unix milliseconds.
    pub received_ms: u64,
    /// Who published it.
    pub publisher: Publisher,
    /// The durable session that it came from, if that has subscriptions with No Local; or
    /// [`COPY`](muster_schemas::stored::COPY).
    pub session: Option<u64>,
    /// What was published.
    pub message: Arc<Message>,
}

impl Record {
    /// Whether it is there for those alone to whom it was assigned.
    pub(crate) fn is_copy(&self) -> bool {
        self.session == Some(COPY)
    }

    /// When it loses its meaning, in Unix milliseconds (MQTT 5 §3.3.2.3.3).
    pub(crate) fn expires_ms(&self) -> Option<u64> {
        crate::effect::expires_ms(&self.message, self.received_ms)
    }
}

/// What a session wants of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// These sequences, ascending.
    These(Vec<u64>),
    /// Whatever there is from a sequence on, up to a bound that the shell sets.
    From(u64),
}
