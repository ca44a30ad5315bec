//! `muster-attest`: how a device shows, on a connection that is open, that it booted what it should have: the hub's
//! challenge, the device's answer, and what came of it.
//!
//! ```text
//!   MQTT 5, method `muster-attest`           any client, on topics of this session alone
//!   device ── CONNECT, method ──────▶ hub    device ── SUBSCRIBE $muster/attest/#  ─▶ hub   (or PUBLISH …/request)
//!          ◀── AUTH 0x18, challenge ─                ◀── …/challenge ───────────────
//!          ── AUTH 0x18, answer ────▶                ── …/answer ───────────────────▶
//!          ◀── CONNACK ──────────────                ◀── …/result ──────────────────
//! ```
//!
//! Each is one CBOR map in deterministic encoding, without a length before it; the grammar is `schemas/cddl/attest.cddl`.
//! Nothing here checks a signature: that is the verifier's work.

use crate::{
    cbor::Writer,
    enrolment::{
        Attestation, Event, InvalidFrame,
        codec::{decode, presentable, write_attestation, write_events, write_pcrs},
    },
    limits::ENROLMENT_DETAIL_BYTES_MAX,
};

/// The method of MQTT 5's enhanced authentication.
pub const METHOD: &str = "muster-attest";

/// What all topics of the exchange begin with. They are a session's own: nobody else hears what is said there.
pub const TOPICS: &str = "$muster/attest/";

/// The hub's challenge.
pub const CHALLENGE_TOPIC: &str = "$muster/attest/challenge";

/// A device that wants a challenge publishes anything here.
pub const REQUEST_TOPIC: &str = "$muster/attest/request";

/// The device's answer.
pub const ANSWER_TOPIC: &str = "$muster/attest/answer";

/// What came of it.
pub const RESULT_TOPIC: &str = "$muster/attest/result";

/// The user property of a CONNACK that says that the session is in quarantine, and until when: seconds.
pub const QUARANTINE_PROPERTY: &str = "muster-quarantine-s";

// What key 0 says. Devices in the field know these numbers: they may be added to, never changed.
const CHALLENGE: u64 = 1;
const ANSWER: u64 = 2;
const ATTESTED: u64 = 3;
const REFUSED: u64 = 4;

/// What the TPM has to attest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Fresh random bytes that the quote covers.
    pub nonce: [u8; 32],
    /// Indices (0 to 23) of the PCRs to quote from the SHA-256 bank, ascending.
    pub pcr_selection: Vec<u8>,
}

/// What the TPM says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// `TPM2_Quote` of the selected PCRs.
    pub quote: Attestation,
    /// The values that were quoted, in the order of the selection.
    pub pcrs: Vec<[u8; 32]>,
    /// What was measured into them, in order.
    pub event_log: Vec<Event>,
}

/// What came of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The session has its rights.
    Attested,
    /// It has not, and why.
    Refused {
        /// What was found.
        detail: String,
    },
}

impl Challenge {
    /// As it goes on the wire.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new(Vec::new());
        w.map(3).unsigned(0).unsigned(CHALLENGE);
        w.unsigned(1).bytes(&self.nonce);
        w.unsigned(2).bytes(&self.pcr_selection);
        w.into_bytes()
    }

    /// As it came.
    ///
    /// # Errors
    /// The bytes are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidFrame> {
        decode(bytes, |frame, kind| match kind {
            CHALLENGE => Ok(Self { nonce: frame.exactly(1)?, pcr_selection: frame.pcr_selection(2)? }),
            other => Err(InvalidFrame::UnknownType(other)),
        })
    }
}

impl Answer {
    /// As it goes on the wire.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new(Vec::new());
        w.map(4).unsigned(0).unsigned(ANSWER);
        w.unsigned(1);
        write_attestation(&mut w, &self.quote);
        w.unsigned(2);
        write_pcrs(&mut w, &self.pcrs);
        w.unsigned(3);
        write_events(&mut w, &self.event_log);
        w.into_bytes()
    }

    /// As it came.
    ///
    /// # Errors
    /// The bytes are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidFrame> {
        decode(bytes, |frame, kind| match kind {
            ANSWER => {
                let (quote, pcrs) = (frame.attestation(1)?, frame.pcrs(2)?);
                Ok(Self { quote, pcrs, event_log: frame.events(3)? })
            }
            other => Err(InvalidFrame::UnknownType(other)),
        })
    }
}

impl Outcome {
    /// As it goes on the wire. The detail of a refusal is cut to its bound.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new(Vec::new());
        match self {
            Self::Attested => {
                w.map(1).unsigned(0).unsigned(ATTESTED);
            }
            Self::Refused { detail } => {
                w.map(2).unsigned(0).unsigned(REFUSED);
                w.unsigned(1).text(&presentable(detail));
            }
        }
        w.into_bytes()
    }

    /// As it came.
    ///
    /// # Errors
    /// The bytes are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidFrame> {
        decode(bytes, |frame, kind| match kind {
            ATTESTED => Ok(Self::Attested),
            REFUSED => Ok(Self::Refused { detail: frame.text(1, ENROLMENT_DETAIL_BYTES_MAX)? }),
            other => Err(InvalidFrame::UnknownType(other)),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn challenge() -> Challenge {
        Challenge { nonce: [7; 32], pcr_selection: vec![0, 7, 23] }
    }

    pub(crate) fn answer() -> Answer {
        let quote =
            Attestation { attest: b"\xffTCG attest".to_vec(), signature: vec![0x00, 0x18, 0x00, 0x0b] };
        let event = Event { pcr: 4, digest: [9; 32], kind: "kernel".into(), text: "/boot/vmlinuz".into() };
        Answer { quote, pcrs: vec![[3; 32], [4; 32]], event_log: vec![event] }
    }

    #[test]
    fn what_is_said_survives_the_wire() {
        assert_eq!(Challenge::decode(&challenge().encode()), Ok(challenge()));
        assert_eq!(Answer::decode(&answer().encode()), Ok(answer()));
        for outcome in [Outcome::Attested, Outcome::Refused { detail: "another boot".into() }] {
            assert_eq!(Outcome::decode(&outcome.encode()), Ok(outcome));
        }
    }

    #[test]
    fn nothing_is_cut_short_goes_on_or_is_taken_for_another() {
        let encoded = answer().encode();
        for length in 0..encoded.len() {
            assert!(Answer::decode(&encoded[..length]).is_err(), "{length} of {} bytes", encoded.len());
        }
        assert!(Answer::decode(&[&encoded[..], &[0]].concat()).is_err());
        assert_eq!(Answer::decode(&challenge().encode()), Err(InvalidFrame::UnknownType(CHALLENGE)));
        assert_eq!(Challenge::decode(&encoded), Err(InvalidFrame::UnknownType(ANSWER)));
        let unordered = Challenge { pcr_selection: vec![7, 0], ..challenge() };
        assert_eq!(Challenge::decode(&unordered.encode()), Err(InvalidFrame::PcrSelection));
    }

    #[test]
    fn the_detail_of_a_refusal_is_made_presentable() {
        let refused = Outcome::Refused { detail: format!("a\u{1b}[2J{}", "ü".repeat(400)) };
        let Ok(Outcome::Refused { detail }) = Outcome::decode(&refused.encode()) else { panic!("a refusal") };
        assert!(detail.starts_with("a [2J") && detail.len() <= ENROLMENT_DETAIL_BYTES_MAX);
    }
}
