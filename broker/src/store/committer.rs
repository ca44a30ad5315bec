//! The committer: one thread that owns the fsync. It takes what has arrived, writes it as one batch across tables and
//! tenants, waits for one fdatasync, and answers everybody; what arrives meanwhile is the next group. No timer.
//!
//! When its queue is full: refuse as busy; the senders' credit sees to it that this does not happen.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError},
    },
    time::{Duration, Instant},
};

use fjall::{Database, Keyspace, OwnedWriteBatch, PersistMode};

use super::{
    bundle,
    error::CommitError,
    keys::Handle,
    limits::{COMMIT_BYTES_MAX, COMMITS_WAITING_MAX, GROUP_BYTES_MAX, GROUP_COMMITS_MAX},
    locked,
    log::{self, MARK_HIGH, MARK_LOW},
    ring::PendingKeys,
    sealing,
    table::{Role, Write},
    witness::Witness,
};

/// Called once with the outcome, on the committer's thread: it sends a message and returns, and never waits.
pub type Done = Box<dyn FnOnce(Result<(), CommitError>) + Send>;

/// Writes that are stored together or not at all.
pub struct Commit {
    /// In order; of two writes of one row the later one stands. No writes at all is a barrier.
    pub writes: Vec<Write>,
    /// What it shares with the commits that it rests on: once one of them is refused, so are all that follow.
    pub fence: Option<Fence>,
    /// The credit that it holds, returned after the answer.
    pub permit: Option<Box<dyn Send>>,
    /// Called exactly once: also when the store closes first, and when the committer dies.
    pub done: Done,
}

/// Held by commits of which a later one makes sense only if the earlier ones were stored. The first that is refused
/// breaks it, and whoever goes on does so behind a new one.
#[derive(Debug, Clone, Default)]
pub struct Fence(Arc<AtomicBool>);

impl Fence {
    fn is_broken(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn break_down(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// What the committer has done since the store was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Batches written: one fdatasync each.
    pub batches: u64,
    /// Commits stored.
    pub commits: u64,
    /// Commits refused, for whatever reason.
    pub refused: u64,
    /// Bytes of keys and values stored.
    pub bytes: u64,
    /// Time spent writing and syncing.
    pub write_time: Duration,
}

/// What the committer shares with the handles of the store.
pub(super) struct Shared {
    pub db: Database,
    pub keys: Keyspace,
    pub marks: Keyspace,
    pub directory: std::path::PathBuf,
    pub pending: Arc<PendingKeys>,
    pub disk_free_bytes_min: AtomicU64,
    pub failed: OnceLock<Arc<str>>,
    pub closing: AtomicBool,
    pub stats: Mutex<Stats>,
    /// Lets a test break the disk.
    #[cfg(test)]
    pub break_disk: AtomicBool,
}

impl Shared {
    /// Bytes that an ordinary user may still write.
    pub fn disk_free(&self) -> std::io::Result<u64> {
        let disk = rustix::fs::statvfs(&self.directory)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

/// What goes through the channel.
pub(super) enum Order {
    Commit(Vec<Write>, Answer),
    Close,
}

/// The way to the committer.
#[derive(Clone)]
pub(super) struct Orders {
    channel: SyncSender<Order>,
    /// In a simulated world there is no thread: whoever tells the story says when the disk works.
    #[cfg(test)]
    pub stepped: Option<Arc<Mutex<Committer>>>,
}

impl Orders {
    pub fn new(channel: SyncSender<Order>) -> Self {
        Self {
            channel,
            #[cfg(test)]
            stepped: None,
        }
    }

    /// Sees to it that what was sent is answered, for who is about to wait for it.
    pub fn hurry(&self) {
        #[cfg(test)]
        if let Some(committer) = &self.stepped {
            while locked(committer).step() {}
        }
    }

    /// Wakes the committer if it sleeps.
    pub fn close(&self) {
        drop(self.channel.try_send(Order::Close));
    }
}

/// Sends a commit to the committer, or answers it at once.
pub(super) fn send(orders: &Orders, commit: Commit) {
    let Commit { writes, fence, permit, done } = commit;
    let order = Order::Commit(writes, Answer { done: Some(done), permit, fence });
    // When the receiver is gone, the order is dropped and answers that the store is closed.
    if let Err(TrySendError::Full(Order::Commit(_, answer))) = orders.channel.try_send(order) {
        answer.give(Err(CommitError::Busy { waiting_max: COMMITS_WAITING_MAX }));
    }
}

/// The duty to answer. Dropped without an answer, it says that the store is closed.
pub(super) struct Answer {
    done: Option<Done>,
    permit: Option<Box<dyn Send>>,
    fence: Option<Fence>,
}

impl Answer {
    fn is_behind_broken_fence(&self) -> bool {
        self.fence.as_ref().is_some_and(Fence::is_broken)
    }

    fn break_fence(&self) {
        if let Some(fence) = &self.fence {
            fence.break_down();
        }
    }

    fn give(mut self, outcome: Result<(), CommitError>) {
        self.settle(outcome);
    }

    fn settle(&mut self, outcome: Result<(), CommitError>) {
        if outcome.is_err() && self.done.is_some() {
            self.break_fence();
        }
        if let Some(done) = self.done.take()
            && catch_unwind(AssertUnwindSafe(|| done(outcome))).is_err()
        {
            tracing::error!("the receiver of a commit's outcome panicked; the committer goes on");
        }
        self.permit = None;
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.settle(Err(CommitError::Closed));
    }
}

/// The state of the thread.
pub(super) struct Committer {
    pub shared: Arc<Shared>,
    pub orders: Receiver<Order>,
    /// The last batch on disk.
    pub number: u64,
    pub witness: Witness,
    /// The last record of each log that was appended to.
    pub tails: BTreeMap<Handle, u64>,
}

/// The row of the marks table that counts the batches.
pub(super) const MARK_NUMBER: &[u8] = b"n";

impl Committer {
    /// Works until the store is closed, and then finishes what was sent before.
    pub fn run(mut self) {
        while let Ok(first) = self.orders.recv() {
            let group = self.gather(first);
            self.settle(group);
            if self.shared.closing.load(Ordering::Acquire) {
                while let Ok(next) = self.orders.try_recv() {
                    let group = self.gather(next);
                    self.settle(group);
                }
                break;
            }
        }
        if let Err(error) = self.witness.sync() {
            tracing::warn!(%error, "failed to sync the witness of acknowledged commits");
        }
    }

    /// Stores what has arrived, as one group. Whether there was anything.
    #[cfg(test)]
    pub fn step(&mut self) -> bool {
        let first = self.orders.try_recv();
        let is_work = first.is_ok();
        if let Ok(first) = first {
            let group = self.gather(first);
            self.settle(group);
        }
        is_work
    }

    fn gather(&self, first: Order) -> Vec<(Vec<Write>, Answer)> {
        let mut group = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(order) = next {
            match order {
                Order::Commit(writes, answer) => {
                    bytes += writes.iter().map(Write::bytes).sum::<usize>();
                    group.push((writes, answer));
                }
                Order::Close => break,
            }
            let full = group.len() >= GROUP_COMMITS_MAX || bytes >= GROUP_BYTES_MAX;
            next = if full { None } else { self.orders.try_recv().ok() };
        }
        group
    }

    /// Stores a group, and answers in the order in which it came.
    fn settle(&mut self, group: Vec<(Vec<Write>, Answer)>) {
        let mut batch = Batch::default();
        let mut answers = Vec::with_capacity(group.len());
        let free = self.shared.disk_free();
        for (writes, answer) in group {
            let verdict = match (self.shared.failed.get(), &free) {
                _ if answer.is_behind_broken_fence() => Err(CommitError::Superseded),
                (Some(why), _) => Err(CommitError::Failed(Arc::clone(why))),
                (None, Err(error)) => Err(self.fail(&format!("read the free space: {error}"))),
                (None, Ok(free)) => self.admit(&mut batch, writes, *free),
            };
            if verdict.is_err() {
                // At once, for the next of this group may rest on it.
                answer.break_fence();
            }
            answers.push((verdict, answer));
        }
        // A failure while the group was admitted fails those admitted before it as well: nothing of it is written.
        let written = match self.shared.failed.get() {
            Some(why) => Err(CommitError::Failed(Arc::clone(why))),
            None => self.write(batch),
        };
        for (verdict, _) in &mut answers {
            if verdict.is_ok() {
                *verdict = written.clone();
            }
        }
        let stored = answers.iter().filter(|(verdict, _)| verdict.is_ok()).count() as u64;
        {
            let mut stats = locked(&self.shared.stats);
            stats.commits += stored;
            stats.refused += answers.len() as u64 - stored;
        }
        for (verdict, answer) in answers {
            answer.give(verdict);
        }
    }

    /// Takes a commit into the batch, or says why not; then nothing of it is in the batch.
    fn admit(&self, batch: &mut Batch, writes: Vec<Write>, free: u64) -> Result<(), CommitError> {
        let bytes = writes.iter().map(Write::bytes).sum::<usize>();
        if bytes > COMMIT_BYTES_MAX {
            return Err(CommitError::TooLarge { bytes, max: COMMIT_BYTES_MAX });
        }
        writes.iter().try_for_each(Write::check)?;
        if writes.iter().any(|write| matches!(write, Write::Put { value, .. } if sealing::is_void(value))) {
            return Err(CommitError::Withdrawn);
        }
        self.leave_space(batch, &writes, bytes, free)?;
        let mut tails = BTreeMap::new();
        let mut lows = BTreeMap::new();
        for write in &writes {
            match write {
                Write::Put { table, key, value } if table.role == Role::Log => {
                    let Some((handle, last)) = log::split_key(key) else { continue };
                    let Some(found) = bundle::first_of(value, last) else { continue };
                    let tail = match tails.get(&handle).or_else(|| batch.tails.get(&handle)) {
                        Some(tail) => *tail,
                        None => self.tail(&handle)?,
                    };
                    if found != tail + 1 {
                        return Err(CommitError::OutOfOrder { expected: tail + 1, found });
                    }
                    tails.insert(handle, last);
                }
                Write::Delete { table, key } if table.role == Role::Log => {
                    let Some((handle, found)) = log::split_key(key) else { continue };
                    let low = match lows.get(&handle).or_else(|| batch.lows.get(&handle)) {
                        Some(low) => *low,
                        None => self.mark(MARK_LOW, &handle)?,
                    };
                    lows.insert(handle, low.max(found + 1));
                }
                Write::Put { .. } | Write::Delete { .. } => {}
            }
        }
        batch.tails.append(&mut tails);
        batch.lows.append(&mut lows);
        batch.bytes += bytes;
        batch.writes.extend(writes);
        Ok(())
    }

    /// A commit that only deletes may go down to half of what must stay free: that is how space comes back.
    fn leave_space(
        &self,
        batch: &Batch,
        writes: &[Write],
        bytes: usize,
        free: u64,
    ) -> Result<(), CommitError> {
        if writes.is_empty() {
            return Ok(());
        }
        let min = self.shared.disk_free_bytes_min.load(Ordering::Relaxed);
        let only_deletes = writes.iter().all(|write| matches!(write, Write::Delete { .. }));
        let floor = if only_deletes { min / 2 } else { min };
        let after = free.saturating_sub((batch.bytes + bytes) as u64);
        if after < floor { Err(CommitError::DiskFull { free, min }) } else { Ok(()) }
    }

    /// The last record of a log that is on disk; 0 if it has none.
    fn tail(&self, handle: &Handle) -> Result<u64, CommitError> {
        match self.tails.get(handle) {
            Some(tail) => Ok(*tail),
            None => self.mark(MARK_HIGH, handle),
        }
    }

    fn mark(&self, kind: u8, handle: &Handle) -> Result<u64, CommitError> {
        let mark = self.shared.marks.get(log::mark_key(kind, handle));
        let mark = mark.map_err(|error| self.fail(&format!("read a mark: {error}")))?;
        log::number(mark.as_deref()).map_err(|error| self.fail(&error.to_string()))
    }

    /// Writes and syncs the batch, with the keys that wait and the marks.
    fn write(&mut self, batch: Batch) -> Result<(), CommitError> {
        if batch.writes.is_empty() {
            return Ok(());
        }
        let pending = locked(&self.shared.pending).clone();
        let rows = batch.writes.len() + pending.len() + batch.tails.len() + batch.lows.len() + 1;
        let mut rows = OwnedWriteBatch::with_capacity(self.shared.db.clone(), rows)
            .durability(Some(PersistMode::SyncData));
        let waiting = pending.len();
        for (key, value) in pending {
            rows.insert(&self.shared.keys, key, value);
        }
        for write in batch.writes {
            match write {
                Write::Put { table, key, value } => rows.insert(&table.keyspace, key, value),
                Write::Delete { table, key } => rows.remove(&table.keyspace, key),
            }
        }
        for (kind, marks) in [(MARK_HIGH, &batch.tails), (MARK_LOW, &batch.lows)] {
            for (handle, sequence) in marks {
                rows.insert(&self.shared.marks, log::mark_key(kind, handle), sequence.to_be_bytes());
            }
        }
        let number = self.number + 1;
        rows.insert(&self.shared.marks, MARK_NUMBER, number.to_be_bytes());

        let began = stopwatch();
        let outcome = catch_unwind(AssertUnwindSafe(|| self.commit(rows)));
        let took = stopwatch().duration_since(began);
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(self.fail(&error.to_string())),
            Err(_) => return Err(self.fail("the engine panicked")),
        }
        self.number = number;
        self.tails.extend(batch.tails);
        locked(&self.shared.pending).drain(..waiting);
        if let Err(error) = self.witness.claim(number) {
            // What it claims stays true; it only knows less. What was written is stored and is acknowledged.
            tracing::error!(%error, "failed to write the witness of acknowledged commits");
        }
        let mut stats = locked(&self.shared.stats);
        stats.batches += 1;
        stats.bytes += batch.bytes as u64;
        stats.write_time += took;
        Ok(())
    }

    fn commit(&self, rows: OwnedWriteBatch) -> fjall::Result<()> {
        #[cfg(test)]
        if self.shared.break_disk.load(Ordering::Relaxed) {
            return Err(fjall::Error::Io(std::io::Error::other("broken by a test")));
        }
        rows.commit()
    }

    /// From here on every commit fails.
    fn fail(&self, why: &str) -> CommitError {
        let why = self.shared.failed.get_or_init(|| {
            tracing::error!(why, "the store failed; nothing more is acknowledged until the process restarts");
            Arc::from(why)
        });
        CommitError::Failed(Arc::clone(why))
    }
}

/// What one fdatasync will make durable.
#[derive(Default)]
struct Batch {
    writes: Vec<Write>,
    bytes: usize,
    /// The last record of each log appended to.
    tails: BTreeMap<Handle, u64>,
    /// The first record that each trimmed log keeps.
    lows: BTreeMap<Handle, u64>,
}

#[expect(
    clippy::disallowed_methods,
    reason = "measures the disk for the statistics; nothing is decided by it"
)]
fn stopwatch() -> Instant {
    Instant::now()
}
