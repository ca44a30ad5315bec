//! What waits for the thread that writes. Each kind has its own place and its own bound, so that a hub that sends
//! more than was asked for fills nothing and displaces nothing but blocks, which are asked for again.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use muster_schemas::{TenantId, limits::UPDATE_MESSAGE_BYTES_MAX};
use muster_slots::updater::Sign;

use super::Input;
use crate::limits::{FIRMWARE_BLOCK_BYTES, FIRMWARE_BLOCKS_MAX, FIRMWARE_NEWS_MAX};

/// What a block has beside its bytes, at most: digest, offset and heads.
const BLOCK_HEAD_BYTES_MAX: usize = 64;

#[derive(Debug, Default)]
struct Waiting {
    /// How many sessions there were: an uplink that was restarted counts its own from the beginning.
    sessions: u64,
    /// The session there is.
    session: Option<(u64, Option<TenantId>)>,
    /// The session that the thread knows of.
    known: Option<u64>,
    /// The last one counts.
    offer: Option<Bytes>,
    blocks: VecDeque<Bytes>,
    heard: VecDeque<u64>,
    signs: VecDeque<Sign>,
    is_over: bool,
}

/// What waits.
#[derive(Debug, Default)]
pub struct Inbox {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
}

impl Inbox {
    /// A session is open. One at a time is.
    pub fn connected(&self, tenant: Option<TenantId>) {
        self.change(|waiting| {
            waiting.blocks.clear();
            waiting.sessions += 1;
            waiting.session = Some((waiting.sessions, tenant));
        });
    }

    /// It is over.
    pub fn disconnected(&self) {
        self.change(|waiting| {
            waiting.blocks.clear();
            waiting.session = None;
        });
    }

    /// Something lies at the offer. What is longer than any announcement is none.
    pub fn offer(&self, payload: Bytes) {
        if payload.len() <= UPDATE_MESSAGE_BYTES_MAX {
            self.change(|waiting| waiting.offer = Some(payload));
        }
    }

    /// A block came. Longer ones were not asked for.
    pub fn block(&self, payload: Bytes) {
        if payload.len() <= FIRMWARE_BLOCK_BYTES as usize + BLOCK_HEAD_BYTES_MAX {
            self.change(|waiting| {
                if waiting.session.is_some() && waiting.blocks.len() < FIRMWARE_BLOCKS_MAX {
                    waiting.blocks.push_back(payload);
                }
            });
        }
    }

    /// The hub has what was said with that number.
    pub fn heard(&self, ticket: u64) {
        self.change(|waiting| push(&mut waiting.heard, ticket));
    }

    /// Something about the health of the image that runs.
    pub fn sign(&self, sign: Sign) {
        self.change(|waiting| push(&mut waiting.signs, sign));
    }

    /// The program ends.
    pub fn end(&self) {
        self.change(|waiting| waiting.is_over = true);
    }

    /// What is next, or a tick when this time is over. None when the program ends.
    pub fn next(&self, within: Option<Duration>) -> Option<Input> {
        let mut waiting = self.lock();
        loop {
            if waiting.is_over {
                return None;
            }
            if let Some(input) = waiting.take() {
                return Some(input);
            }
            match within {
                None => waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                Some(within) => {
                    let (guard, timeout) =
                        self.arrived.wait_timeout(waiting, within).unwrap_or_else(PoisonError::into_inner);
                    waiting = guard;
                    if timeout.timed_out() && !waiting.is_over {
                        return Some(waiting.take().unwrap_or(Input::Tick));
                    }
                }
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut Waiting)) {
        change(&mut self.lock());
        self.arrived.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // What is in it is whole between any two statements.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn take(&mut self) -> Option<Input> {
        let session = self.session.as_ref().map(|(number, _)| *number);
        if self.known.is_some() && self.known != session {
            // One that opened meanwhile is told next.
            self.known = None;
            return Some(Input::Disconnected);
        }
        if let Some(ticket) = self.heard.pop_front() {
            return Some(Input::Heard(ticket));
        }
        if let Some(sign) = self.signs.pop_front() {
            return Some(Input::Sign(sign));
        }
        if let Some((number, tenant)) = self.session.as_ref().filter(|_| self.known.is_none()) {
            self.known = Some(*number);
            return Some(Input::Connected(tenant.clone()));
        }
        if let Some(offer) = self.offer.take() {
            return Some(Input::Offer(offer.to_vec()));
        }
        self.blocks.pop_front().map(|block| Input::Block(block.to_vec()))
    }
}

/// The oldest goes.
fn push<T>(queue: &mut VecDeque<T>, new: T) {
    if queue.len() >= FIRMWARE_NEWS_MAX {
        queue.pop_front();
    }
    queue.push_back(new);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(inbox: &Inbox) -> Vec<Input> {
        std::iter::from_fn(|| inbox.next(Some(Duration::ZERO)).filter(|input| *input != Input::Tick))
            .collect()
    }

    #[test]
    fn a_flood_of_blocks_displaces_nothing_and_is_bounded() {
        let inbox = Inbox::default();
        inbox.connected(None);
        inbox.offer(Bytes::from_static(b"offer"));
        for _ in 0..1_000 {
            inbox.block(Bytes::from_static(b"block"));
            inbox.block(Bytes::from(vec![0; 64 * 1_024]));
        }
        inbox.heard(7);
        let inputs = all(&inbox);
        assert_eq!(inputs[..3], [Input::Heard(7), Input::Connected(None), Input::Offer(b"offer".to_vec())]);
        assert_eq!(inputs.len(), 3 + FIRMWARE_BLOCKS_MAX);
    }

    #[test]
    fn a_session_that_is_replaced_while_the_thread_writes_ends_first() {
        let inbox = Inbox::default();
        inbox.connected(None);
        assert_eq!(all(&inbox), [Input::Connected(None)]);
        inbox.block(Bytes::from_static(b"of the first"));
        inbox.disconnected();
        inbox.connected(None);
        inbox.disconnected();
        inbox.connected(None);
        assert_eq!(all(&inbox), [Input::Disconnected, Input::Connected(None)]);
    }

    #[test]
    fn the_last_offer_counts_and_the_oldest_news_go() {
        let inbox = Inbox::default();
        inbox.offer(Bytes::from_static(b"1"));
        inbox.offer(Bytes::new());
        assert_eq!(all(&inbox), [Input::Offer(Vec::new())]);
        for ticket in 0..=FIRMWARE_NEWS_MAX as u64 {
            inbox.heard(ticket);
        }
        let heard = all(&inbox);
        assert_eq!((heard.len(), heard.first()), (FIRMWARE_NEWS_MAX, Some(&Input::Heard(1))));
        inbox.end();
        assert_eq!(inbox.next(None), None);
    }
}
