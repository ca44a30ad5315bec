//! What an audit trail's entry says: who wanted what, when, and why it was refused. Its number is not in it: that is where
//! it lies, and what its seal is bound to. The shape is in `cddl/audit.cddl`.

use crate::{
    ClientId, DeviceId, InvalidId, Kind,
    cbor::{InvalidCbor, Reader, Writer},
    limits::{AUDIT_PEER_BYTES_MAX, AUDIT_REASON_BYTES_MAX, AUDIT_SUBJECT_BYTES_MAX},
};

const AT_MS: u64 = 1;
const KIND: u64 = 2;
const ID: u64 = 3;
const CLIENT: u64 = 4;
const PEER: u64 = 5;
const ACT: u64 = 6;
const SUBJECT: u64 = 7;
const CODE: u64 = 8;
const REASON: u64 = 9;
const TIMES: u64 = 10;
const FIELDS: usize = 10;

/// What was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Act {
    /// To connect. The subject is the topic of a will, if it was for that.
    Connect,
    /// To publish. The subject is the topic.
    Publish,
    /// To subscribe. The subject is the filter.
    Subscribe,
    /// To go on: the hub ended a session. There is no subject.
    Session,
    /// To be shown telemetry. The subject is the topic that it came on, of the first item that was kept back.
    View,
}

impl Act {
    /// All of them; the place is what is written, so they may be added to and never moved.
    pub const ALL: [Self; 5] = [Self::Connect, Self::Publish, Self::Subscribe, Self::Session, Self::View];

    /// As people and programs read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Session => "session",
            Self::View => "view",
        }
    }

    fn number(self) -> u64 {
        match self {
            Self::Connect => 0,
            Self::Publish => 1,
            Self::Subscribe => 2,
            Self::Session => 3,
            Self::View => 4,
        }
    }
}

/// Who is meant by an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// What it is.
    pub kind: Kind,
    /// Its id within the tenant.
    pub id: DeviceId,
    /// Its MQTT client identifier, once it has one.
    pub client: Option<ClientId>,
    /// Where it came from, up to 128 bytes of text, if it was there.
    pub peer: Option<String>,
}

/// One entry of a tenant's audit trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// When, in Unix milliseconds. Of several, the first.
    pub at_ms: u64,
    /// Who. None for what was left out of the trail, because too much came at once.
    pub actor: Option<Actor>,
    /// What was wanted.
    pub act: Act,
    /// Of what, up to 256 bytes of text; a longer one is cut.
    pub subject: Option<String>,
    /// The reason code of MQTT 5 (§2.4) that the peer got.
    pub code: u8,
    /// Why, up to 512 bytes of text.
    pub reason: String,
    /// How often, one after the other; 1 or more.
    pub times: u64,
}

/// Why bytes are not an entry. They were sealed by us, so this is a defect or another version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAudit {
    /// Not the CBOR that an entry is.
    #[error(transparent)]
    Cbor(#[from] InvalidCbor),
    /// A kind or an act that this version does not know.
    #[error("has the number {found} for its {what}, which this version does not know")]
    Unknown {
        /// Of what.
        what: &'static str,
        /// The number.
        found: u64,
    },
    /// An id that is none.
    #[error("has an id that {0}")]
    Id(#[from] InvalidId),
}

impl AuditEntry {
    /// The entry as bytes. Texts beyond their bounds are cut.
    pub fn encode(&self) -> Vec<u8> {
        let Self { at_ms, actor, act, subject, code, reason, times } = self;
        let client = actor.as_ref().and_then(|actor| actor.client.as_ref());
        let pairs = 5
            + if actor.is_some() { 2 } else { 0 }
            + usize::from(actor.as_ref().is_some_and(|actor| actor.peer.is_some()))
            + usize::from(client.is_some())
            + usize::from(subject.is_some());
        let mut writer = Writer::default();
        writer.map(pairs);
        writer.unsigned(AT_MS).unsigned(*at_ms);
        if let Some(Actor { kind, id, peer, .. }) = actor {
            writer.unsigned(KIND).text(kind.as_str());
            writer.unsigned(ID).text(id.as_str());
            if let Some(client) = client {
                writer.unsigned(CLIENT).text(client.as_str());
            }
            if let Some(peer) = peer {
                writer.unsigned(PEER).text(cut(peer, AUDIT_PEER_BYTES_MAX));
            }
        }
        writer.unsigned(ACT).unsigned(act.number());
        if let Some(subject) = subject {
            writer.unsigned(SUBJECT).text(cut(subject, AUDIT_SUBJECT_BYTES_MAX));
        }
        writer.unsigned(CODE).unsigned(u64::from(*code));
        writer.unsigned(REASON).text(cut(reason, AUDIT_REASON_BYTES_MAX));
        writer.unsigned(TIMES).unsigned(*times);
        writer.into_bytes()
    }

    /// Reads an entry.
    ///
    /// # Errors
    /// The bytes are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidAudit> {
        let mut reader = Reader::strict(bytes);
        let mut fields = reader.fields(FIELDS)?;
        fields.require(&mut reader, AT_MS)?;
        let at_ms = reader.unsigned(u64::MAX)?;
        let actor = match fields.optional(&mut reader, KIND)? {
            false => None,
            true => {
                let kind = reader.text(AUDIT_PEER_BYTES_MAX)?;
                let kind = Kind::ALL.into_iter().find(|known| known.as_str() == kind);
                let kind = kind.ok_or(InvalidAudit::Unknown { what: "kind", found: KIND })?;
                fields.require(&mut reader, ID)?;
                let id = reader.text(AUDIT_REASON_BYTES_MAX)?.parse()?;
                let client = match fields.optional(&mut reader, CLIENT)? {
                    true => Some(reader.text(usize::from(u16::MAX))?.parse()?),
                    false => None,
                };
                let peer = match fields.optional(&mut reader, PEER)? {
                    true => Some(reader.text(AUDIT_PEER_BYTES_MAX)?.to_owned()),
                    false => None,
                };
                Some(Actor { kind, id, client, peer })
            }
        };
        fields.require(&mut reader, ACT)?;
        let found = reader.unsigned(u64::MAX)?;
        let act = Act::ALL.into_iter().find(|act| act.number() == found);
        let act = act.ok_or(InvalidAudit::Unknown { what: "act", found })?;
        let subject = match fields.optional(&mut reader, SUBJECT)? {
            true => Some(reader.text(AUDIT_SUBJECT_BYTES_MAX)?.to_owned()),
            false => None,
        };
        fields.require(&mut reader, CODE)?;
        #[expect(clippy::cast_possible_truncation, reason = "bounded by the reader")]
        let code = reader.unsigned(u64::from(u8::MAX))? as u8;
        fields.require(&mut reader, REASON)?;
        let reason = reader.text(AUDIT_REASON_BYTES_MAX)?.to_owned();
        fields.require(&mut reader, TIMES)?;
        let times = reader.unsigned(u64::MAX)?;
        fields.end(&mut reader)?;
        reader.finish()?;
        Ok(Self { at_ms, actor, act, subject, code, reason, times })
    }

    /// Whether `other` says the same at another time.
    pub fn repeats(&self, other: &Self) -> bool {
        let same = (self.act, self.code) == (other.act, other.code);
        same && self.actor == other.actor && self.subject == other.subject && self.reason == other.reason
    }
}

/// The first `max` bytes, or fewer where a character would be cut in two.
fn cut(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> AuditEntry {
        AuditEntry {
            at_ms: 1_790_000_000_123,
            actor: Some(Actor {
                kind: Kind::Device,
                id: "4k7qm3xnp9rtw2abcdef".parse().expect("an id"),
                client: Some("pump-7".parse().expect("a client identifier")),
                peer: Some("192.0.2.7:49152".to_owned()),
            }),
            act: Act::Publish,
            subject: Some("devices/other/events/x".to_owned()),
            code: 0x87,
            reason: "not allowed by the rule \"device\"".to_owned(),
            times: 3,
        }
    }

    #[test]
    fn an_entry_reads_as_it_was_written() {
        for act in Act::ALL {
            let entry = AuditEntry { act, ..entry() };
            assert_eq!(AuditEntry::decode(&entry.encode()), Ok(entry));
        }
        let bare = AuditEntry { actor: None, subject: None, ..entry() };
        assert_eq!(AuditEntry::decode(&bare.encode()), Ok(bare));
    }

    #[test]
    fn no_beginning_of_an_entry_is_one() {
        let bytes = entry().encode();
        for length in 0..bytes.len() {
            assert!(AuditEntry::decode(&bytes[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_long_subject_is_cut_where_a_character_ends() {
        let long = AuditEntry { subject: Some("ä".repeat(AUDIT_SUBJECT_BYTES_MAX)), ..entry() };
        let read = AuditEntry::decode(&long.encode()).expect("an entry");
        assert_eq!(read.subject, Some("ä".repeat(AUDIT_SUBJECT_BYTES_MAX / 2)));
    }

    #[test]
    fn the_same_again_is_a_repetition_and_anything_else_is_not() {
        assert!(entry().repeats(&AuditEntry { at_ms: 0, times: 9, ..entry() }));
        assert!(!entry().repeats(&AuditEntry { subject: None, ..entry() }));
        assert!(!entry().repeats(&AuditEntry { act: Act::Subscribe, ..entry() }));
        assert!(!entry().repeats(&AuditEntry { actor: None, ..entry() }));
    }
}
