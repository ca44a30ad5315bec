//! What waits to be written to a tenant's audit trail.
//!
//! Owner: the tenant. Bound: [`AUDIT_WAITING_MAX`] entries, [`AUDIT_OWN_WAITING_MAX`] of one principal, so that nobody who
//! is refused all the time crowds out what others do. When full: the same again is counted in its entry; other refusals
//! of that principal are told as one number; and what has no place at all is told as a number at the end.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use actix::{Message, Recipient};
use muster_actors::SharedClock;
use muster_mqtt::ReasonCode;
use muster_schemas::{
    ClientId, DeviceId, Kind,
    audit::{Act, Actor, AuditEntry},
    limits::AUDIT_SUBJECT_BYTES_MAX,
};

use crate::{
    address::PeerAddress,
    limits::{AUDIT_OWN_WAITING_MAX, AUDIT_WAITING_MAX},
};

/// What an entry says that stands for more of a principal's refusals than the trail takes at once.
const MORE_OF_ONE: &str = "more of this than the trail takes at once; the entries before are the first of it";
/// What an entry says that stands for refusals of many.
const MORE_OF_MANY: &str = "more refusals than the trail takes at once";

/// Something waits. Sent at most once until it is taken.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Noted;

/// Somebody who was refused something.
#[derive(Clone, Copy)]
pub(crate) struct Who<'a> {
    pub(crate) kind: Kind,
    pub(crate) id: &'a DeviceId,
    pub(crate) client: Option<&'a ClientId>,
    pub(crate) peer: Option<PeerAddress>,
}

/// The way into a tenant's audit trail. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Trail {
    line: Arc<Mutex<Line>>,
    clock: SharedClock,
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<AuditEntry>,
    left_out: Option<AuditEntry>,
    auditor: Option<Recipient<Noted>>,
    /// The auditor knows that something waits.
    is_told: bool,
}

impl Trail {
    pub(crate) fn new(clock: SharedClock) -> Self {
        Self { line: Arc::default(), clock }
    }

    /// Notes that somebody was refused something. Never waits.
    pub(crate) fn note(
        &self,
        who: Who<'_>,
        (act, subject): (Act, Option<&str>),
        code: ReasonCode,
        reason: &str,
    ) {
        let Who { kind, id, client, peer } = who;
        let peer = peer.map(|peer| peer.to_string());
        let entry = AuditEntry {
            at_ms: self.clock.unix_ms(),
            actor: Some(Actor { kind, id: id.clone(), client: client.cloned(), peer }),
            act,
            // Cut before it waits.
            subject: subject.map(|subject| {
                let end = subject.floor_char_boundary(AUDIT_SUBJECT_BYTES_MAX);
                subject.get(..end).unwrap_or_default().to_owned()
            }),
            code: code as u8,
            reason: reason.to_owned(),
            times: 1,
        };
        self.with_line(|line| {
            line.add(entry);
            line.tell();
        });
    }

    /// Who writes from now on, after what was taken by an earlier one.
    pub(super) fn written_by(&self, auditor: Recipient<Noted>) {
        self.with_line(|line| {
            line.auditor = Some(auditor);
            line.is_told = false;
            if !line.waiting.is_empty() {
                line.tell();
            }
        });
    }

    /// All that waits. Whoever takes it hears of what comes after.
    pub(super) fn take(&self) -> Vec<AuditEntry> {
        self.with_line(|line| {
            line.is_told = false;
            mem::take(&mut line.waiting).into_iter().chain(line.left_out.take()).collect()
        })
    }

    fn with_line<T>(&self, change: impl FnOnce(&mut Line) -> T) -> T {
        // A panic cannot leave more than a note too few.
        change(&mut self.line.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Line {
    fn add(&mut self, entry: AuditEntry) {
        let mut own = 0;
        for waiting in self.waiting.iter_mut().rev() {
            if waiting.repeats(&entry) {
                waiting.times += 1;
                return;
            }
            own += usize::from(waiting.actor == entry.actor);
        }
        if own < AUDIT_OWN_WAITING_MAX && self.waiting.len() < AUDIT_WAITING_MAX {
            return self.waiting.push_back(entry);
        }
        let more = AuditEntry { subject: None, reason: MORE_OF_ONE.to_owned(), ..entry };
        if let Some(told) = self.waiting.iter_mut().find(|waiting| waiting.repeats(&more)) {
            told.times += 1;
        } else if self.waiting.len() < AUDIT_WAITING_MAX {
            self.waiting.push_back(more);
        } else {
            let none = AuditEntry { actor: None, reason: MORE_OF_MANY.to_owned(), times: 0, ..more };
            self.left_out.get_or_insert(none).times += 1;
        }
    }

    fn tell(&mut self) {
        if let Some(auditor) = &self.auditor
            && !mem::replace(&mut self.is_told, true)
        {
            // At most one until it is taken.
            auditor.do_send(Noted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_actors::SystemClock;

    fn refused(trail: &Trail, device: usize, subject: usize) {
        let id = format!("pump-{device}").parse().unwrap();
        let who = Who { kind: Kind::Device, id: &id, client: None, peer: None };
        let topic = format!("t/{subject}");
        trail.note(who, (Act::Publish, Some(&topic)), ReasonCode::NotAuthorized, "no");
    }

    #[test]
    fn the_same_again_is_one_entry() {
        let trail = Trail::new(SystemClock::shared());
        for _ in 0..3 {
            refused(&trail, 1, 1);
            refused(&trail, 2, 1);
        }
        assert_eq!(trail.take().iter().map(|entry| entry.times).collect::<Vec<_>>(), [3, 3]);
        assert_eq!(trail.take(), []);
    }

    #[test]
    fn one_who_is_refused_all_the_time_leaves_room_for_others() {
        let trail = Trail::new(SystemClock::shared());
        for subject in 0..10_000 {
            refused(&trail, 1, subject);
        }
        refused(&trail, 2, 0);
        let taken = trail.take();
        assert_eq!(taken.len(), AUDIT_OWN_WAITING_MAX + 2);
        assert_eq!(taken.iter().map(|entry| entry.times).sum::<u64>(), 10_001, "nothing goes unsaid");
        assert_eq!(taken.last().unwrap().actor.as_ref().unwrap().id.as_str(), "pump-2");
    }

    #[test]
    fn the_line_is_bounded_and_says_how_much_it_left_out() {
        let trail = Trail::new(SystemClock::shared());
        for device in 0..2 * AUDIT_WAITING_MAX {
            refused(&trail, device, 0);
        }
        let taken = trail.take();
        assert_eq!(taken.len(), AUDIT_WAITING_MAX + 1);
        let AuditEntry { actor, times, .. } = taken.last().unwrap();
        assert_eq!((actor, *times), (&None, AUDIT_WAITING_MAX as u64));
    }
}
