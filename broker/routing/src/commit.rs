//! Sequences, and what hangs on their being on disk: answers to publishers, and the way back for retained messages.

use std::collections::VecDeque;

use muster_schemas::TopicName;

use crate::{
    refusal::Refusal,
    retained::{Previous, Retained, size},
    subscription::SubscriberId,
};

/// Whom to answer. It is void when the session has left or joined again since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) to: SubscriberId,
    pub(crate) ticket: u16,
    /// Which joining of the session asked.
    pub(crate) membership: u64,
}

#[derive(Debug)]
struct Waiting {
    sequence: u64,
    answer: Answer,
    matched: bool,
}

/// What a retained change replaced, until it is on disk.
#[derive(Debug)]
struct Undo {
    sequence: u64,
    topic: TopicName,
    previous: Previous,
}

/// The sequences given out and not yet on disk. Both queues are in the order of sequences, and bounded by their number.
#[derive(Debug)]
pub(crate) struct Commits {
    /// The next to be given out.
    next: u64,
    /// The first that is not on disk; `next` when all are.
    uncommitted: u64,
    /// At most one per publish with a ticket: a session's receive maximum bounds them.
    waiting: VecDeque<Waiting>,
    undo: VecDeque<Undo>,
    undo_bytes: usize,
    records_max: usize,
    undo_bytes_max: usize,
}

impl Commits {
    pub(crate) fn new(next: u64, records_max: usize, undo_bytes_max: usize) -> Self {
        let (waiting, undo) = (VecDeque::new(), VecDeque::new());
        Self { next, uncommitted: next, waiting, undo, undo_bytes: 0, records_max, undo_bytes_max }
    }

    /// Whether another sequence may be given out.
    pub(crate) fn check_room(&self) -> Result<(), Refusal> {
        if self.next - self.uncommitted >= self.records_max as u64 {
            return Err(Refusal::LogBehind { max: self.records_max });
        }
        if self.undo_bytes >= self.undo_bytes_max {
            return Err(Refusal::LogBehind { max: self.undo_bytes_max });
        }
        Ok(())
    }

    /// Gives out a sequence.
    pub(crate) fn assign(&mut self) -> u64 {
        let sequence = self.next;
        self.next += 1;
        sequence
    }

    /// Answers when `sequence`, the last given out, is on disk.
    pub(crate) fn wait(&mut self, sequence: u64, answer: Answer, matched: bool) {
        self.waiting.push_back(Waiting { sequence, answer, matched });
    }

    /// Keeps what the retained change of `sequence`, the last given out, replaced.
    pub(crate) fn keep_previous(&mut self, sequence: u64, topic: TopicName, previous: Previous) {
        self.undo_bytes += previous.as_ref().map_or(0, |kept| size(&kept.message));
        self.undo.push_back(Undo { sequence, topic, previous });
    }

    /// Everything up to `up_to` is on disk. Calls `answer` for whoever waited for it, in order.
    pub(crate) fn committed(&mut self, up_to: u64, mut answer: impl FnMut(Answer, bool)) {
        self.uncommitted = self.uncommitted.max(up_to.saturating_add(1)).min(self.next);
        let on_disk = |sequence: u64| sequence < self.uncommitted;
        while let Some(undo) = self.undo.pop_front_if(|undo| on_disk(undo.sequence)) {
            self.undo_bytes -= undo.previous.as_ref().map_or(0, |kept| size(&kept.message));
        }
        while let Some(waiting) = self.waiting.pop_front_if(|waiting| on_disk(waiting.sequence)) {
            answer(waiting.answer, waiting.matched);
        }
        give_back(&mut self.waiting);
        give_back(&mut self.undo);
    }

    /// Nothing from `from` on is on disk. Undoes the retained changes and calls `refuse` for whoever waited, in order.
    pub(crate) fn failed(&mut self, from: u64, retained: &mut Retained, mut refuse: impl FnMut(Answer)) {
        self.next = from.clamp(self.uncommitted, self.next);
        while let Some(undo) = self.undo.pop_back_if(|undo| undo.sequence >= self.next) {
            self.undo_bytes -= undo.previous.as_ref().map_or(0, |kept| size(&kept.message));
            retained.undo(&undo.topic, undo.previous);
        }
        let kept = self.waiting.partition_point(|waiting| waiting.sequence < self.next);
        for waiting in self.waiting.drain(kept..) {
            refuse(waiting.answer);
        }
    }

    /// The last sequence given out, unless it is on disk.
    pub(crate) fn last_uncommitted(&self) -> Option<u64> {
        (self.uncommitted < self.next).then(|| self.next - 1)
    }

    /// The next sequence to be given out.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.next
    }
}

/// Gives back the memory of a queue that is empty now.
fn give_back<T>(queue: &mut VecDeque<T>) {
    const KEPT: usize = 1_024;
    if queue.is_empty() && queue.capacity() > KEPT {
        queue.shrink_to(KEPT);
    }
}
