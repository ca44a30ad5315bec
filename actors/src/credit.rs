//! Credit: permission to have one more thing in flight, bounded in count and in bytes.
//!
//! A permit travels on the message it was given for and comes back when it is dropped: handled, refused and lost in a
//! crash all return it. Credit is for what may wait (downstream); reports and acknowledgements (upstream) need none.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::clock::{Clock, SystemClock};

/// A pool of permits. Clones are the same pool.
///
/// It is fair: whoever asks first is served first, so a large request is not starved by small ones, and `try_acquire`
/// does not overtake those who wait. A request for more bytes than the whole pool is admitted alone, when nothing
/// else is in flight, so that it cannot wait for ever.
#[derive(Clone)]
pub struct Credit {
    pool: Arc<Pool>,
}

impl Credit {
    /// A pool of `count_max` permits (0 counts as 1) that carry `bytes_max` bytes together. The name is for metrics.
    #[must_use]
    pub fn new(name: &'static str, count_max: usize, bytes_max: usize) -> Self {
        let count_max = count_max.max(1);
        let (state, waits, waited_ns) = Default::default();
        Self { pool: Arc::new(Pool { name, count_max, bytes_max, state, waits, waited_ns }) }
    }

    /// A permit for one thing of `bytes` bytes, once there is room. Dropping the future leaves the queue.
    ///
    /// The queue of those who wait has no bound of its own: each is a task that waits here with one message, so it is
    /// bounded by the number of tasks.
    pub async fn acquire(&self, bytes: usize) -> Permit {
        let (ticket, granted) = {
            let mut state = self.pool.lock();
            if state.queue.is_empty() && self.pool.has_room(&state, bytes) {
                return self.pool.take(&mut state, bytes);
            }
            state.enqueue(bytes)
        };
        let mut waiting = Waiting { pool: &self.pool, ticket, since: SystemClock.now(), granted };
        match (&mut waiting.granted).await {
            Ok(permit) => permit,
            Err(_) => unreachable!("the pool drops a waiter only to grant it, or when the waiter has left"),
        }
    }

    /// A permit for one thing of `bytes` bytes, if there is room now and nobody waits.
    #[must_use]
    pub fn try_acquire(&self, bytes: usize) -> Option<Permit> {
        let mut state = self.pool.lock();
        let room = state.queue.is_empty() && self.pool.has_room(&state, bytes);
        room.then(|| self.pool.take(&mut state, bytes))
    }

    /// The name of the pool.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.pool.name
    }

    /// How many permits are out, and for how many bytes. Bytes exceed the pool's bound only while one over-sized
    /// request is in flight.
    #[must_use]
    pub fn in_use(&self) -> (usize, usize) {
        let state = self.pool.lock();
        (state.count, state.bytes)
    }

    /// How many requests wait now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.pool.lock().queue.len()
    }

    /// How many requests have waited, from the beginning: granted or given up.
    #[must_use]
    pub fn waits(&self) -> u64 {
        self.pool.waits.load(Ordering::Relaxed)
    }

    /// How long those of [`Credit::waits`] have waited, together.
    #[must_use]
    pub fn waited(&self) -> Duration {
        Duration::from_nanos(self.pool.waited_ns.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for Credit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, bytes) = self.in_use();
        f.debug_struct("Credit")
            .field("name", &self.name())
            .field("count", &count)
            .field("bytes", &bytes)
            .finish()
    }
}

/// Permission for one or more things in flight. Dropping it, also by a panic, gives it back.
#[must_use = "a permit that is dropped is given back"]
pub struct Permit {
    pool: Arc<Pool>,
    count: usize,
    bytes: usize,
}

impl Permit {
    /// Takes over `other`, for a batch that is given back as a whole.
    ///
    /// # Panics
    /// When the two come from different pools.
    pub fn merge(&mut self, mut other: Self) {
        assert!(
            Arc::ptr_eq(&self.pool, &other.pool),
            "merged permits of {} and {}",
            self.pool.name,
            other.pool.name
        );
        self.count += std::mem::take(&mut other.count);
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// How many things it stands for.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// How many bytes it stands for.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // A permit that was merged into another is empty.
        if self.count > 0 {
            let mut state = self.pool.lock();
            state.count -= self.count;
            state.bytes -= self.bytes;
            self.pool.admit(state);
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit({}: {} things, {} bytes)", self.pool.name, self.count, self.bytes)
    }
}

struct Pool {
    name: &'static str,
    count_max: usize,
    bytes_max: usize,
    /// Held for a few instructions; nothing of a caller runs under it.
    state: Mutex<State>,
    waits: AtomicU64,
    waited_ns: AtomicU64,
}

#[derive(Default)]
struct State {
    count: usize,
    bytes: usize,
    /// In the order of their tickets.
    queue: VecDeque<Waiter>,
    next_ticket: u64,
}

struct Waiter {
    ticket: u64,
    bytes: usize,
    grant: oneshot::Sender<Permit>,
}

impl State {
    fn enqueue(&mut self, bytes: usize) -> (u64, oneshot::Receiver<Permit>) {
        let (grant, granted) = oneshot::channel();
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.queue.push_back(Waiter { ticket, bytes, grant });
        (ticket, granted)
    }
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_room(&self, state: &State, bytes: usize) -> bool {
        state.count == 0
            || (state.count < self.count_max && state.bytes.saturating_add(bytes) <= self.bytes_max)
    }

    fn take(self: &Arc<Self>, state: &mut State, bytes: usize) -> Permit {
        state.count += 1;
        state.bytes += bytes;
        Permit { pool: Arc::clone(self), count: 1, bytes }
    }

    /// Grants what those in front of the queue ask for, as far as there is room. Wakes them without the lock.
    fn admit(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let mut admitted = Vec::new();
        while state.queue.front().is_some_and(|first| self.has_room(&state, first.bytes)) {
            let Some(first) = state.queue.pop_front() else { break };
            admitted.push((first.grant, self.take(&mut state, first.bytes)));
        }
        drop(state);
        for (grant, permit) in admitted {
            // Whoever gave up on another thread just now gives the permit back by not taking it.
            drop(grant.send(permit));
        }
    }
}

/// A place in the queue, left when dropped.
struct Waiting<'a> {
    pool: &'a Arc<Pool>,
    ticket: u64,
    since: Instant,
    granted: oneshot::Receiver<Permit>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let waited = SystemClock.now().duration_since(self.since);
        self.pool.waits.fetch_add(1, Ordering::Relaxed);
        self.pool
            .waited_ns
            .fetch_add(u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let mut state = self.pool.lock();
        if let Ok(place) = state.queue.binary_search_by_key(&self.ticket, |waiter| waiter.ticket) {
            let left = state.queue.remove(place);
            // A large request that leaves may make room for the smaller ones behind it.
            self.pool.admit(state);
            drop(left);
        }
    }
}

#[cfg(test)]
mod tests;
