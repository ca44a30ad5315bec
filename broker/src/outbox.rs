//! Bytes on their way from a session to its socket, possibly on another thread.
//!
//! Owner: the connection. Bound: the session adds no deliveries above [`OUTBOX_DELIVERIES_BYTES_MAX`], and the reader
//! stops reading from a peer that leaves [`OUTBOX_PAUSE_BYTES`] unread, so acknowledgements cannot pile up either.
//!
//! [`OUTBOX_DELIVERIES_BYTES_MAX`]: crate::limits::OUTBOX_DELIVERIES_BYTES_MAX

use std::{
    io, mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use muster_actors::SharedClock;
use muster_mqtt::Outgoing;
use tokio::sync::Notify;

use crate::limits::OUTBOX_PAUSE_BYTES;

/// Makes the two ends.
pub(crate) fn outbox() -> (Outbox, OutboxReader) {
    let shared = Arc::new(Shared::default());
    (Outbox(shared.clone()), OutboxReader(shared))
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Bytes pushed and not yet written. Raised before the bytes can be taken, so it never falls below nothing.
    pending: AtomicUsize,
    /// The session wants to hear when fewer bytes than this are pending; 0 if it does not.
    tell_below: AtomicUsize,
    /// Something was pushed, or the outbox was closed.
    filled: Notify,
    /// The socket took bytes, or the outbox was closed.
    drained: Notify,
    /// The outbox was closed.
    ended: Notify,
    /// Whether the peer is read, and until when it was not.
    pause: Mutex<Pause>,
}

/// The peer is not read while its batches, its pace or its own reading make us wait. Its silence is ours then.
#[derive(Debug, Clone, Copy, Default)]
enum Pause {
    #[default]
    Never,
    Now,
    Until(Instant),
}

#[derive(Default)]
struct Queue {
    chunks: Vec<Bytes>,
    closed: bool,
}

impl Shared {
    fn with_queue<T>(&self, change: impl FnOnce(&mut Queue) -> T) -> T {
        // A panic cannot leave the queue half changed: every critical section is a single assignment or append.
        change(&mut self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn pause(&self, pause: Pause) {
        *self.pause.lock().unwrap_or_else(PoisonError::into_inner) = pause;
    }

    fn is_closed(&self) -> bool {
        self.with_queue(|queue| queue.closed)
    }
}

/// The session's end. Dropping it closes the outbox, so a session that panics closes its socket.
pub(crate) struct Outbox(Arc<Shared>);

impl Outbox {
    /// Takes over all that is in `outgoing`, in order.
    pub(crate) fn push(&self, outgoing: &mut Outgoing) {
        let added = outgoing.len();
        self.0.with_queue(|queue| {
            self.0.pending.fetch_add(added, Ordering::SeqCst);
            outgoing.drain_into(&mut queue.chunks);
        });
        self.0.filled.notify_one();
    }

    /// Until when the peer was not read, by our own choice; `now` if it is not read now.
    pub(crate) fn not_read_until(&self, now: Instant) -> Option<Instant> {
        match *self.0.pause.lock().unwrap_or_else(PoisonError::into_inner) {
            Pause::Never => None,
            Pause::Now => Some(now),
            Pause::Until(at) => Some(at),
        }
    }

    /// Bytes pushed and not yet written to the socket.
    pub(crate) fn pending(&self) -> usize {
        self.0.pending.load(Ordering::SeqCst)
    }

    /// Asks to be told, once, when `bytes` or fewer are pending. Says false if that is so already: then nobody will
    /// tell.
    pub(crate) fn ask(&self, bytes: usize) -> bool {
        self.0.tell_below.store(bytes + 1, Ordering::SeqCst);
        // The writer looks at `tell_below` after it has lowered `pending`: one of the two sees the other.
        self.pending() > bytes || self.0.tell_below.swap(0, Ordering::SeqCst) == 0
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.0.with_queue(|queue| queue.closed = true);
        self.0.filled.notify_one();
        self.0.drained.notify_one();
        self.0.ended.notify_one();
    }
}

/// The connection's end.
pub(crate) struct OutboxReader(Arc<Shared>);

impl OutboxReader {
    /// The next bytes to write, or none once the session has closed and all is taken.
    pub(crate) async fn next(&self) -> Option<Vec<Bytes>> {
        loop {
            let (chunks, closed) = self.0.with_queue(|queue| (mem::take(&mut queue.chunks), queue.closed));
            if !chunks.is_empty() {
                return Some(chunks);
            }
            if closed {
                return None;
            }
            self.0.filled.notified().await;
        }
    }

    /// Reports bytes as written. Says whether the session wants to hear of it.
    pub(crate) fn written(&self, bytes: usize) -> bool {
        let left = self.0.pending.fetch_sub(bytes, Ordering::SeqCst) - bytes;
        self.0.drained.notify_one();
        self.0.tell_below.load(Ordering::SeqCst) > left && self.0.tell_below.swap(0, Ordering::SeqCst) > 0
    }

    /// Waits until the peer has taken enough of what it was sent.
    ///
    /// # Errors
    /// The session has closed.
    pub(crate) async fn room(&self) -> io::Result<()> {
        loop {
            if self.0.is_closed() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            if self.has_room() {
                return Ok(());
            }
            self.0.drained.notified().await;
        }
    }

    /// Whether the peer has taken enough of what it was sent.
    pub(crate) fn has_room(&self) -> bool {
        self.0.pending.load(Ordering::SeqCst) < OUTBOX_PAUSE_BYTES
    }

    /// The reader waits for something before it reads on, until it drops this: the session may know that the peer is not
    /// read meanwhile.
    pub(crate) fn pause<'a>(&'a self, clock: &'a SharedClock) -> Paused<'a> {
        self.0.pause(Pause::Now);
        Paused { outbox: self, clock }
    }

    /// Waits until the session has closed. What it said before may still be there.
    pub(crate) async fn closed(&self) {
        while !self.0.is_closed() {
            self.0.ended.notified().await;
        }
    }
}

/// The peer is not read as long as this is held.
pub(crate) struct Paused<'a> {
    outbox: &'a OutboxReader,
    clock: &'a SharedClock,
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.outbox.0.pause(Pause::Until(self.clock.now()));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    fn push(outbox: &Outbox, bytes: usize) {
        let mut outgoing = Outgoing::default();
        outgoing.push(&vec![0; bytes]);
        outbox.push(&mut outgoing);
    }

    #[tokio::test]
    async fn what_was_pushed_before_the_close_is_still_taken() {
        let (outbox, reader) = outbox();
        push(&outbox, 3);
        drop(outbox);
        reader.closed().await;
        assert_eq!(reader.next().await, Some(vec![Bytes::from_static(&[0; 3])]));
        assert_eq!(reader.next().await, None);
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_not_read() {
        let (outbox, reader) = outbox();
        push(&outbox, OUTBOX_PAUSE_BYTES);
        let mut room = Box::pin(reader.room());
        assert!(poll(&mut room).is_pending());
        assert!(!reader.written(1));
        assert!(matches!(poll(&mut room), Poll::Ready(Ok(()))));
    }

    #[tokio::test]
    async fn a_close_wakes_the_reader_that_waits_for_room() {
        let (outbox, reader) = outbox();
        push(&outbox, OUTBOX_PAUSE_BYTES);
        let mut room = Box::pin(reader.room());
        assert!(poll(&mut room).is_pending());
        drop(outbox);
        assert!(matches!(poll(&mut room), Poll::Ready(Err(_))));
    }

    #[tokio::test]
    async fn a_session_that_asks_is_told_once_at_its_mark_or_learns_that_it_is_there() {
        let (outbox, reader) = outbox();
        assert!(!outbox.ask(0));
        push(&outbox, 10);
        assert!(!outbox.ask(10));
        assert!(outbox.ask(5));
        assert!(!reader.written(4));
        assert!(reader.written(1));
        assert!(!reader.written(5));
        assert_eq!(outbox.pending(), 0);
    }

    fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
        Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
    }
}
