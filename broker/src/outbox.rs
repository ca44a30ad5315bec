//! Bytes on their way from a session to its socket, possibly on another thread.
//!
//! Owner: the connection. Bound: the session adds no deliveries above [`OUTBOX_DELIVERIES_BYTES_MAX`], and the reader
//! stops reading from a peer that leaves [`OUTBOX_PAUSE_BYTES`] unread, so acknowledgements cannot pile up either.
//!
//! [`OUTBOX_DELIVERIES_BYTES_MAX`]: crate::limits::OUTBOX_DELIVERIES_BYTES_MAX

use std::{
    cell::Cell,
    future::poll_fn,
    io, mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Instant,
};

use bytes::Bytes;
use muster_actors::SharedClock;
use muster_mqtt::Outgoing;

use crate::limits::OUTBOX_PAUSE_BYTES;

/// Makes the two ends.
pub(crate) fn outbox() -> (Outbox, OutboxReader) {
    let shared = Arc::new(Shared::default());
    (Outbox(shared.clone()), OutboxReader { shared, waits_for_room: Cell::new(false) })
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Bytes pushed and not yet written. Raised before the bytes can be taken, so it never falls below nothing.
    pending: AtomicUsize,
    /// The session wants to hear when fewer bytes than this are pending; 0 if it does not.
    tell_below: AtomicUsize,
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
    /// The writer waits for chunks.
    is_awaited: bool,
    /// The connection, once it has waited for something. It is one task, so there is one waker for all that it waits for.
    connection: Option<Waker>,
    /// Whether the peer is read, and until when it was not.
    pause: Pause,
}

impl Queue {
    /// Sees to it that the connection's task is polled when what it waits for is there.
    fn remember(&mut self, cx: &Context<'_>) {
        if !self.connection.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.connection = Some(cx.waker().clone());
        }
    }
}

impl Shared {
    fn with_queue<T>(&self, change: impl FnOnce(&mut Queue) -> T) -> T {
        // A panic cannot leave the queue half changed: every critical section is a few assignments or an append.
        change(&mut self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn wake(connection: Option<Waker>) {
    if let Some(connection) = connection {
        connection.wake();
    }
}

/// The session's end. Dropping it closes the outbox, so a session that panics closes its socket.
pub(crate) struct Outbox(Arc<Shared>);

impl Outbox {
    /// Takes over all that is in `outgoing`, in order.
    pub(crate) fn push(&self, outgoing: &mut Outgoing) {
        let added = outgoing.len();
        let connection = self.0.with_queue(|queue| {
            self.0.pending.fetch_add(added, Ordering::SeqCst);
            outgoing.drain_into(&mut queue.chunks);
            mem::take(&mut queue.is_awaited).then(|| queue.connection.clone()).flatten()
        });
        wake(connection);
    }

    /// Until when the peer was not read, by our own choice; `now` if it is not read now.
    pub(crate) fn not_read_until(&self, now: Instant) -> Option<Instant> {
        match self.0.with_queue(|queue| queue.pause) {
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
        wake(self.0.with_queue(|queue| {
            queue.closed = true;
            queue.connection.take()
        }));
    }
}

/// The connection's end.
pub(crate) struct OutboxReader {
    shared: Arc<Shared>,
    /// The reader waits until the peer has taken more. Writer and reader are one task.
    waits_for_room: Cell<bool>,
}

impl OutboxReader {
    /// The next bytes to write, or none once the session has closed and all is taken.
    pub(crate) async fn next(&self) -> Option<Vec<Bytes>> {
        poll_fn(|cx| {
            self.shared.with_queue(|queue| {
                if !queue.chunks.is_empty() {
                    return Poll::Ready(Some(mem::take(&mut queue.chunks)));
                }
                if queue.closed {
                    return Poll::Ready(None);
                }
                queue.remember(cx);
                queue.is_awaited = true;
                Poll::Pending
            })
        })
        .await
    }

    /// Reports bytes as written. Says whether the session wants to hear of it.
    pub(crate) fn written(&self, bytes: usize) -> bool {
        let shared = &*self.shared;
        let left = shared.pending.fetch_sub(bytes, Ordering::SeqCst) - bytes;
        if self.waits_for_room.take() {
            wake(shared.with_queue(|queue| queue.connection.clone()));
        }
        shared.tell_below.load(Ordering::SeqCst) > left && shared.tell_below.swap(0, Ordering::SeqCst) > 0
    }

    /// Waits until the peer has taken enough of what it was sent.
    ///
    /// # Errors
    /// The session has closed.
    pub(crate) async fn room(&self) -> io::Result<()> {
        poll_fn(|cx| {
            self.shared.with_queue(|queue| {
                if queue.closed {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
                }
                if self.has_room() {
                    return Poll::Ready(Ok(()));
                }
                queue.remember(cx);
                self.waits_for_room.set(true);
                Poll::Pending
            })
        })
        .await
    }

    /// Whether the session is still there.
    ///
    /// # Errors
    /// The session has closed.
    pub(crate) fn check_open(&self) -> io::Result<()> {
        let closed = self.shared.with_queue(|queue| queue.closed);
        if closed { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }

    /// Whether the peer has taken enough of what it was sent.
    pub(crate) fn has_room(&self) -> bool {
        self.shared.pending.load(Ordering::SeqCst) < OUTBOX_PAUSE_BYTES
    }

    /// The reader waits for something before it reads on, until it drops this: the session may know that the peer is not
    /// read meanwhile.
    pub(crate) fn pause<'a>(&'a self, clock: &'a SharedClock) -> Paused<'a> {
        self.shared.with_queue(|queue| queue.pause = Pause::Now);
        Paused { outbox: self, clock }
    }

    /// Waits until the session has closed. What it said before may still be there.
    pub(crate) async fn closed(&self) {
        poll_fn(|cx| {
            self.shared.with_queue(|queue| {
                if queue.closed {
                    return Poll::Ready(());
                }
                queue.remember(cx);
                Poll::Pending
            })
        })
        .await
    }
}

/// The peer is not read as long as this is held.
pub(crate) struct Paused<'a> {
    outbox: &'a OutboxReader,
    clock: &'a SharedClock,
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        let until = Pause::Until(self.clock.now());
        self.outbox.shared.with_queue(|queue| queue.pause = until);
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
