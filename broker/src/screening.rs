//! Screening: whether the bus takes what a peer publishes, by what is in it. The bus does not know what that is; it asks
//! before it routes, tells the peer, and publishes a letter about what was refused.

use bytes::Bytes;
use muster_mqtt::ReasonCode;
use muster_schemas::{Message, Principal};

/// Says who is screened.
pub trait Screening: Send + Sync {
    /// What looks at the messages of one session; none if nothing does.
    fn screen_of(&self, principal: &Principal) -> Option<Box<dyn Screen>>;
}

/// Looks at the messages of one session, on its thread and before each is routed: it must not wait.
pub trait Screen: Send {
    /// Judges a message. Access is asked afterwards, of what is left.
    fn screen(&mut self, message: &Message) -> Verdict;

    /// Judges what a client wants to have published when it is gone, at its CONNECT: later there is nobody to tell. It is
    /// taken whole, or its client is not.
    ///
    /// # Errors
    /// It is not taken, or not all of it.
    fn screen_will(&mut self, message: &Message) -> Result<(), Box<Unfit>>;
}

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is taken as it is.
    Fit,
    /// A part of it is taken.
    Partly(Box<Partly>),
    /// It is not taken. A peer that speaks MQTT 5 is told with the code; one of 3.1.1, which cannot be told, has its
    /// message acknowledged.
    Unfit(Box<Unfit>),
}

/// A message of which a part is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partly {
    /// The payload now.
    pub payload: Bytes,
    /// What is wrong with the rest. Its code is for the audit trail; the peer gets the words with a success.
    pub refused: Unfit,
}

/// What is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// The code that stands for it.
    pub code: ReasonCode,
    /// Why, for the peer.
    pub reason: String,
    /// What is published about it, as the peer's; its topic may begin with `$`.
    pub letter: Option<Message>,
}
