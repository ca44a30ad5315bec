//! What a device keeps of what it accepted and installed, so that nothing older comes after it.

use muster_schemas::{
    cbor::{InvalidCbor, Reader, Writer},
    firmware::{Digest, Sequence},
};

use crate::{Accepted, PublicKey, Root};

/// What a device keeps beside its slots, and raises when an image has proven itself; the number also in its TPM, if
/// it has one. Beside it the tenant's root is kept as it came: [`crate::Root::first`] reads it again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// The highest number of a manifest that was installed.
    pub sequence: Sequence,
    /// The manifest that was.
    pub manifest: Option<Digest>,
    /// The highest number that a hub said was newest.
    pub newest: Sequence,
    /// The latest time that a hub signed: a clock that is behind it is wrong.
    pub seen_s: u64,
}

impl State {
    /// What is kept as soon as an offer was accepted: what is older than it is refused from then on.
    pub fn after_accepting(&self, accepted: &Accepted) -> Self {
        Self {
            seen_s: self.seen_s.max(accepted.seen_s),
            newest: self.newest.max(accepted.newest),
            ..self.clone()
        }
    }

    /// What is kept once the new image has proven itself.
    pub fn after_installing(&self, sequence: Sequence, manifest: Digest) -> Self {
        let (sequence, newest) = (self.sequence.max(sequence), self.newest.max(sequence));
        Self { sequence, newest, manifest: Some(manifest), ..self.clone() }
    }

    /// What is kept when a root follows on another. Where a hub's key was taken away, what hubs said of time and of
    /// the newest number counts no more: a thief may have put both far ahead (TUF §5.3.11, fast-forward). What was
    /// installed counts on, since the tenant signed it.
    pub fn after_following(&self, before: &Root, after: &Root) -> Self {
        let stays = |key: &PublicKey| after.hub.keys.contains(key);
        match before.hub.keys.iter().all(stays) {
            true => self.clone(),
            false => Self { newest: self.sequence, seen_s: 0, ..self.clone() },
        }
    }

    /// As it is kept: whoever keeps it sees to it that it is whole.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.map(3 + usize::from(self.manifest.is_some())).unsigned(0).unsigned(self.sequence.0);
        if let Some(manifest) = &self.manifest {
            w.unsigned(1).bytes(manifest.as_bytes());
        }
        w.unsigned(2).unsigned(self.newest.0).unsigned(3).unsigned(self.seen_s);
        w.into_bytes()
    }

    /// As it was kept. A device that cannot read its state must not begin a new one: it would install anything again.
    ///
    /// # Errors
    /// The bytes are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidCbor> {
        let mut r = Reader::strict(bytes);
        let mut fields = r.fields(4)?;
        fields.require(&mut r, 0)?;
        let sequence = Sequence(r.unsigned(u64::MAX)?);
        let manifest = if fields.optional(&mut r, 1)? { Some(Digest(r.array_of_bytes()?)) } else { None };
        fields.require(&mut r, 2)?;
        let newest = Sequence(r.unsigned(u64::MAX)?);
        fields.require(&mut r, 3)?;
        let seen_s = r.unsigned(u64::MAX)?;
        fields.end(&mut r)?;
        r.finish()?;
        Ok(Self { sequence, manifest, newest, seen_s })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_kept_whole_or_not_at_all() {
        let bare = State::default();
        let state = State {
            sequence: Sequence(12),
            manifest: Some(Digest([7; 32])),
            newest: Sequence(13),
            seen_s: 9,
        };
        for state in [bare, state] {
            let bytes = state.encode();
            assert_eq!(State::decode(&bytes), Ok(state));
            for length in 0..bytes.len() {
                assert!(State::decode(&bytes[..length]).is_err());
            }
            assert!(State::decode(&[&bytes[..], &[0]].concat()).is_err());
        }
    }

    #[test]
    fn what_is_kept_never_falls() {
        let state = State { sequence: Sequence(12), manifest: None, newest: Sequence(13), seen_s: 9 };
        let after = state.after_installing(Sequence(11), Digest([7; 32]));
        assert_eq!((after.sequence, after.newest, after.seen_s), (Sequence(12), Sequence(13), 9));
        let after = state.after_installing(Sequence(14), Digest([7; 32]));
        assert_eq!((after.sequence, after.newest), (Sequence(14), Sequence(14)));
    }
}
