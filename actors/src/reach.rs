//! How to reach an actor from many places.

use std::sync::Arc;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Message, Recipient};

/// As actix's `Recipient`, for actors of which there are thousands: clones, also for messages of other types, share one
/// address, where each clone of actix's takes memory in three pieces.
pub struct Reach<M>(Arc<dyn Mailbox<M>>);

impl<M> Reach<M> {
    /// Sends a message. As with actix's `do_send`, the bound of the mailbox is not asked, and a message to an actor that has
    /// ended is dropped.
    pub fn do_send(&self, message: M) {
        self.0.take(message);
    }
}

impl<M> Clone for Reach<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<A, M> From<Arc<Addr<A>>> for Reach<M>
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message<Result = ()> + Send + 'static,
{
    fn from(address: Arc<Addr<A>>) -> Self {
        Self(address)
    }
}

impl<M: Message<Result = ()> + Send + 'static> From<Recipient<M>> for Reach<M> {
    fn from(recipient: Recipient<M>) -> Self {
        Self(Arc::new(recipient))
    }
}

trait Mailbox<M>: Send + Sync {
    fn take(&self, message: M);
}

impl<A, M> Mailbox<M> for Addr<A>
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message<Result = ()> + Send + 'static,
{
    #[expect(
        clippy::disallowed_methods,
        reason = "as a Recipient's: what is sent carries a permit or is a report"
    )]
    fn take(&self, message: M) {
        self.do_send(message);
    }
}

impl<M: Message<Result = ()> + Send + 'static> Mailbox<M> for Recipient<M> {
    fn take(&self, message: M) {
        self.do_send(message);
    }
}
