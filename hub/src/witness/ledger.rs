//! What was refused to which device: bounded in devices and in refusals of each. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use muster_schemas::DeviceId;

use super::limits::{DEVICES_MAX, REFUSAL_TEXT_BYTES_MAX, REFUSALS_MAX};

/// How far a device came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The TLS handshake: its certificate was not taken.
    Handshake,
    /// It asked for a certificate.
    Enrolment,
    /// Its certificate was taken, and the registry looked up.
    Admission,
    /// It was in: the bus refused or ended its session.
    Session,
}

impl Stage {
    /// As people and programs read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Enrolment => "enrolment",
            Self::Admission => "admission",
            Self::Session => "session",
        }
    }
}

/// What shows that it was this device which was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proof {
    /// It proved to hold the key of a certificate of ours.
    Certificate,
    /// It, or somebody, gave this name; nothing was proved.
    Name,
}

/// One refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// How far it came.
    pub stage: Stage,
    /// The reason's short name.
    pub code: String,
    /// The reason in words.
    pub reason: String,
    /// What to do next.
    pub next: String,
    /// From where it came, if that is known at this stage.
    pub peer: Option<String>,
}

/// A refusal as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// What was refused, and why.
    pub refused: Refused,
    /// What shows that it was this device.
    pub proof: Proof,
    /// When for the first time, in Unix milliseconds.
    pub first_ms: u64,
    /// When for the last time, in Unix milliseconds.
    pub last_ms: u64,
    /// How often, one after the other.
    pub times: u64,
}

/// What is remembered of one device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// Its last refusals, newest first.
    pub told: Vec<Told>,
    /// When it was last let in, in Unix milliseconds, if it was refused before.
    pub let_in_ms: Option<u64>,
}

/// The refusals of all devices.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    certified: Shelf,
    named: Shelf,
}

impl Ledger {
    /// Remembers a refusal. When there are too many devices, the one that was refused longest ago is forgotten.
    pub(super) fn note(&mut self, now_ms: u64, device: &DeviceId, proof: Proof, mut refused: Refused) {
        for text in [&mut refused.code, &mut refused.reason, &mut refused.next] {
            cut(text);
        }
        if let Some(peer) = &mut refused.peer {
            cut(peer);
        }
        let shelf = match proof {
            Proof::Certificate => &mut self.certified,
            Proof::Name => &mut self.named,
        };
        shelf.note(now_ms, device, proof, refused);
    }

    /// Remembers of a device that was refused before that it was let in.
    pub(super) fn let_in(&mut self, now_ms: u64, device: &DeviceId) {
        for shelf in [&mut self.certified, &mut self.named] {
            if let Some(story) = shelf.stories.get_mut(device) {
                story.let_in_ms = Some(now_ms);
            }
        }
    }

    /// What is remembered of a device.
    pub(super) fn of(&self, device: &DeviceId) -> History {
        let mut history = History::default();
        for story in [&self.certified, &self.named].into_iter().filter_map(|shelf| shelf.stories.get(device))
        {
            history.told.extend(story.told.iter().cloned());
            history.let_in_ms = history.let_in_ms.max(story.let_in_ms);
        }
        history.told.sort_by_key(|told| std::cmp::Reverse(told.last_ms));
        history
    }
}

/// Devices of one kind of proof.
#[derive(Debug, Default)]
struct Shelf {
    stories: BTreeMap<DeviceId, Story>,
    /// The same devices, by when they were last refused.
    by_turn: BTreeSet<(u64, DeviceId)>,
    /// Counts refusals.
    turn: u64,
}

#[derive(Debug, Default)]
struct Story {
    told: VecDeque<Told>,
    let_in_ms: Option<u64>,
    turn: u64,
}

impl Shelf {
    fn note(&mut self, now_ms: u64, device: &DeviceId, proof: Proof, refused: Refused) {
        self.turn += 1;
        if !self.stories.contains_key(device)
            && self.stories.len() >= DEVICES_MAX
            && let Some((_, oldest)) = self.by_turn.pop_first()
        {
            self.stories.remove(&oldest);
        }
        let story = self.stories.entry(device.clone()).or_default();
        self.by_turn.remove(&(story.turn, device.clone()));
        story.turn = self.turn;
        self.by_turn.insert((story.turn, device.clone()));
        match story.told.back_mut().filter(|last| is_same(&last.refused, &refused)) {
            Some(last) => {
                (last.refused, last.last_ms) = (refused, now_ms);
                last.times += 1;
            }
            None => {
                if story.told.len() >= REFUSALS_MAX {
                    story.told.pop_front();
                }
                story.told.push_back(Told { refused, proof, first_ms: now_ms, last_ms: now_ms, times: 1 });
            }
        }
    }
}

/// Whether two refusals tell the same: a peer has another port each time, and a reason other numbers.
fn is_same(one: &Refused, other: &Refused) -> bool {
    one.stage == other.stage && one.code == other.code
}

fn cut(text: &mut String) {
    if text.len() > REFUSAL_TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(REFUSAL_TEXT_BYTES_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: &str) -> Refused {
        Refused {
            stage: Stage::Enrolment,
            code: code.to_owned(),
            reason: "because".to_owned(),
            next: "wait".to_owned(),
            peer: None,
        }
    }

    fn id(number: usize) -> DeviceId {
        format!("d{number}").parse().expect("id")
    }

    #[test]
    fn a_refusal_that_repeats_is_one_with_a_count() {
        let mut ledger = Ledger::default();
        for now_ms in 1..=3 {
            ledger.note(now_ms, &id(1), Proof::Name, refused("claim_used"));
        }
        ledger.note(4, &id(1), Proof::Name, refused("claim_expired"));
        let told = ledger.of(&id(1)).told;
        let shown: Vec<_> =
            told.iter().map(|t| (t.refused.code.as_str(), t.first_ms, t.last_ms, t.times)).collect();
        assert_eq!(shown, [("claim_expired", 4, 4, 1), ("claim_used", 1, 3, 3)]);
        assert!(ledger.of(&id(2)).told.is_empty());
    }

    #[test]
    fn only_the_last_refusals_of_a_device_are_kept() {
        let mut ledger = Ledger::default();
        for number in 0..REFUSALS_MAX + 3 {
            ledger.note(number as u64, &id(1), Proof::Name, refused(&number.to_string()));
        }
        let told = ledger.of(&id(1)).told;
        assert_eq!(told.len(), REFUSALS_MAX);
        assert_eq!(told[0].refused.code, (REFUSALS_MAX + 2).to_string());
    }

    #[test]
    fn strangers_push_out_strangers_and_never_a_device_with_a_certificate() {
        let mut ledger = Ledger::default();
        ledger.note(1, &id(0), Proof::Certificate, refused("suspended"));
        for number in 0..=DEVICES_MAX {
            ledger.note(2, &id(number), Proof::Name, refused("unknown_chip"));
        }
        assert_eq!(ledger.named.stories.len(), DEVICES_MAX);
        assert_eq!(ledger.named.by_turn.len(), DEVICES_MAX);
        let told = ledger.of(&id(0)).told;
        assert_eq!(told.len(), 1, "the oldest stranger of the same name is forgotten");
        assert_eq!(told[0].refused.code, "suspended");
    }

    #[test]
    fn a_device_that_is_let_in_leaves_its_refusals_behind() {
        let mut ledger = Ledger::default();
        ledger.let_in(1, &id(1));
        assert_eq!(
            ledger.of(&id(1)),
            History::default(),
            "nothing is kept of a device that never was refused"
        );
        ledger.note(2, &id(1), Proof::Name, refused("claim_used"));
        ledger.let_in(3, &id(1));
        assert_eq!(ledger.of(&id(1)).let_in_ms, Some(3));
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let mut ledger = Ledger::default();
        let long = Refused { reason: "é".repeat(REFUSAL_TEXT_BYTES_MAX), ..refused("x") };
        ledger.note(1, &id(1), Proof::Name, long);
        assert_eq!(ledger.of(&id(1)).told[0].refused.reason.len(), REFUSAL_TEXT_BYTES_MAX);
    }
}
