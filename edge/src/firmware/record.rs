//! What the agent keeps of firmware beside the slots, as one file that is replaced at once: the root and the state go
//! together, because a root that takes a hub's key away also takes back what that hub said of time.

use muster_schemas::{
    cbor::{InvalidCbor, Reader, Writer},
    firmware::{Digest, Event, InvalidUpdate, Report, Sequence},
    limits::{UPDATE_MESSAGE_BYTES_MAX, UPDATE_ROOT_BYTES_MAX},
};
use muster_suit::{Root, State, Unfollowed};

use crate::limits::FIRMWARE_ACCEPTED_MAX;

/// Longest state and longest event, in bytes.
const PART_BYTES_MAX: usize = 1_024;
const _: () = assert!(PART_BYTES_MAX < UPDATE_MESSAGE_BYTES_MAX, "an event is a message");

/// A manifest that was accepted: what the state is raised to once its image has proven itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// The manifest.
    pub manifest: Digest,
    /// Its number.
    pub sequence: Sequence,
    /// Its image.
    pub image: Digest,
}

/// Why bytes are no record. A new one must not be begun then: it would install anything again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It is not what was written.
    #[error("{0}")]
    Cbor(#[from] InvalidCbor),
    /// The root in it is none.
    #[error("the tenant's root {0}")]
    Root(#[from] Unfollowed),
    /// The event in it is none.
    #[error("the last end {0}")]
    Event(#[from] InvalidUpdate),
}

/// The record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The tenant's root.
    pub root: Root,
    /// As it came.
    root_bytes: Vec<u8>,
    /// What was accepted and installed.
    pub state: State,
    /// What was accepted last, and waits to be installed.
    accepted: Vec<Accepted>,
    /// How the last update ended, once the hub has heard: its offer may still lie there.
    pub ended: Option<Event>,
}

impl Record {
    /// Of a device that has its first root.
    ///
    /// # Errors
    /// It is none.
    pub fn new(root: Vec<u8>) -> Result<Self, RecordError> {
        let (state, accepted, ended) = (State::default(), Vec::new(), None);
        Ok(Self { root: Root::first(&root)?, root_bytes: root, state, accepted, ended })
    }

    /// Takes the newest of these roots, which `after` was read from.
    pub fn follow(&mut self, after: Root, roots: &[Vec<u8>]) {
        let is_it = |bytes: &&Vec<u8>| Root::first(bytes).is_ok_and(|root| root == after);
        if let Some(bytes) = roots.iter().find(is_it) {
            self.state = self.state.after_following(&self.root, &after);
            (self.root, self.root_bytes) = (after, bytes.clone());
        }
    }

    /// Remembers what was accepted; the oldest goes.
    pub fn accept(&mut self, accepted: Accepted) {
        self.accepted.retain(|known| *known != accepted);
        self.accepted.push(accepted);
        if self.accepted.len() > FIRMWARE_ACCEPTED_MAX {
            self.accepted.remove(0);
        }
    }

    /// That image has proven itself. Gives whether anything changed.
    pub fn installed(&mut self, image: Digest) -> bool {
        let Some(accepted) = self.accepted.iter().find(|accepted| accepted.image == image).copied() else {
            return false;
        };
        self.state = self.state.after_installing(accepted.sequence, accepted.manifest);
        self.accepted.retain(|known| known.sequence > accepted.sequence);
        true
    }

    /// As it is kept.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.map(3 + usize::from(self.ended.is_some()));
        w.unsigned(0).bytes(&self.root_bytes).unsigned(1).bytes(&self.state.encode());
        w.unsigned(2).array(self.accepted.len());
        for accepted in &self.accepted {
            w.array(3).bytes(accepted.manifest.as_bytes()).bytes(accepted.image.as_bytes());
            w.unsigned(accepted.sequence.0);
        }
        if let Some(ended) = &self.ended {
            w.unsigned(3).bytes(&Report::Event(ended.clone()).encode());
        }
        w.into_bytes()
    }

    /// As it was kept.
    ///
    /// # Errors
    /// The bytes are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut r = Reader::strict(bytes);
        let mut fields = r.fields(4)?;
        fields.require(&mut r, 0)?;
        let root_bytes = r.bytes(UPDATE_ROOT_BYTES_MAX)?.to_vec();
        fields.require(&mut r, 1)?;
        let state = State::decode(r.bytes(PART_BYTES_MAX)?)?;
        fields.require(&mut r, 2)?;
        let mut items = r.array(FIRMWARE_ACCEPTED_MAX)?;
        let mut accepted = Vec::new();
        while r.more(&mut items)? {
            r.tuple(3)?;
            let (manifest, image) = (Digest(r.array_of_bytes()?), Digest(r.array_of_bytes()?));
            accepted.push(Accepted { manifest, image, sequence: Sequence(r.unsigned(u64::MAX)?) });
        }
        let ended = if fields.optional(&mut r, 3)? { Some(r.bytes(PART_BYTES_MAX)?) } else { None };
        let ended = match ended.map(Report::decode).transpose()? {
            Some(Report::Event(event)) => Some(event),
            Some(Report::Running(_)) | None => None,
        };
        fields.end(&mut r)?;
        r.finish()?;
        Ok(Self { root: Root::first(&root_bytes)?, root_bytes, state, accepted, ended })
    }
}
