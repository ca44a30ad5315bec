//! Who is given which of the messages that it subscribed to. An access list speaks of topics, once; a sieve is asked for
//! each delivery, and may say otherwise from one message to the next.
//!
//! The bus knows no rules. What a sieve keeps back is not told to its subscriber: to a session that outlives its connection
//! it counts as delivered, so that nothing waits behind it.

use std::sync::Arc;

use muster_schemas::{Message, Publisher, TenantId};

/// One tenant's sieve, asked by its router and by nobody else. It may remember what it said; it must not wait.
pub trait Sieve: Send {
    /// Before the first delivery of a turn of the router. False if everybody is given everything: then nothing is asked.
    fn begin(&mut self, now_ms: u64) -> bool;

    /// Whether a message may be given to an app or a service. Devices subscribe to what is their own, and are not asked
    /// about.
    fn lets_through(&mut self, to: &Publisher, message: &Message) -> bool;
}

/// Makes the sieve of a tenant, at each start of its router.
pub type Sieves = Arc<dyn Fn(&TenantId) -> Box<dyn Sieve> + Send + Sync>;

/// Everybody is given what it subscribed to.
pub fn open() -> Sieves {
    Arc::new(|_| Box::new(Open))
}

struct Open;

impl Sieve for Open {
    fn begin(&mut self, _: u64) -> bool {
        false
    }

    fn lets_through(&mut self, _: &Publisher, _: &Message) -> bool {
        true
    }
}
