//! Frames to bytes and back.

mod read;
mod write;

use super::{DeviceFrame, HubFrame, Pending, RefusalCode, Refused};
use crate::{
    InvalidId,
    cbor::InvalidCbor,
    limits::{ENROLMENT_DETAIL_BYTES_MAX, ENROLMENT_FRAME_BYTES_MAX},
};
pub(crate) use read::decode;
use read::{
    read_begin, read_challenge, read_finish, read_issued, read_quarantined, read_recover, read_renew_begin,
    read_renew_challenge, read_renew_finish,
};
use write::{
    framed, write_begin, write_challenge, write_finish, write_issued, write_quarantined, write_recover,
    write_renew_begin, write_renew_challenge, write_renew_finish,
};
pub(crate) use write::{presentable, write_attestation, write_events, write_pcrs};

// What key 0 of each frame says. Devices in the field know these numbers: they may be added to, never changed.
const BEGIN: u64 = 1;
const FINISH: u64 = 2;
const RENEW_BEGIN: u64 = 3;
const RENEW_FINISH: u64 = 4;
const CHALLENGE: u64 = 16;
const RENEW_CHALLENGE: u64 = 17;
const ISSUED: u64 = 18;
const PENDING: u64 = 19;
const REFUSED: u64 = 20;
const RECOVER: u64 = 5;
const QUARANTINED: u64 = 21;

/// Why bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFrame {
    /// Longer than any frame may be.
    #[error("is longer than {ENROLMENT_FRAME_BYTES_MAX} bytes")]
    TooLong,
    /// Not the CBOR that the frame's type calls for.
    #[error("{cause}{}", after(*.key))]
    Cbor {
        /// The last key that was read, when there was one: the fault is in its value or in what follows.
        key: Option<u64>,
        /// What is wrong.
        cause: InvalidCbor,
    },
    /// A type that this end does not know, or that the other side never sends.
    #[error("has the type {0}, which this end does not expect")]
    UnknownType(u64),
    /// A refusal whose reason this end does not know.
    #[error("refuses with the unknown reason {0}")]
    UnknownRefusal(u64),
    /// PCR indices that repeat, are out of order or above 23.
    #[error("selects PCRs that are not ascending indices from 0 to 23")]
    PcrSelection,
    /// A control character in text that people read.
    #[error("has a control character in the text of key {key}")]
    Control {
        /// The key.
        key: u64,
    },
    /// A name that is no id.
    #[error("has an id that {0}")]
    Id(InvalidId),
}

fn after(key: Option<u64>) -> String {
    key.map(|key| format!(" (key {key})")).unwrap_or_default()
}

impl From<InvalidCbor> for InvalidFrame {
    fn from(cause: InvalidCbor) -> Self {
        Self::Cbor { key: None, cause }
    }
}

impl DeviceFrame {
    /// The frame as it goes on the wire: length prefix, then the map. A field over its bound is written as it is, and
    /// the hub refuses it.
    pub fn encode(&self) -> Vec<u8> {
        framed(|w| match self {
            Self::Begin(begin) => write_begin(w, begin),
            Self::Finish(finish) => write_finish(w, finish),
            Self::RenewBegin(begin) => write_renew_begin(w, begin),
            Self::RenewFinish(finish) => write_renew_finish(w, finish),
            Self::Recover(recover) => write_recover(w, recover),
        })
    }

    /// Reads the bytes after the length prefix.
    pub fn decode(body: &[u8]) -> Result<Self, InvalidFrame> {
        decode(body, |frame, kind| match kind {
            BEGIN => read_begin(frame).map(Self::Begin),
            FINISH => read_finish(frame).map(Self::Finish),
            RENEW_BEGIN => read_renew_begin(frame).map(Self::RenewBegin),
            RENEW_FINISH => read_renew_finish(frame).map(Self::RenewFinish),
            RECOVER => read_recover(frame).map(Self::Recover),
            other => Err(InvalidFrame::UnknownType(other)),
        })
    }
}

impl HubFrame {
    /// The frame as it goes on the wire: length prefix, then the map. The detail of a refusal is cut to its bound.
    pub fn encode(&self) -> Vec<u8> {
        framed(|w| match self {
            Self::Challenge(challenge) => write_challenge(w, challenge),
            Self::RenewChallenge(challenge) => write_renew_challenge(w, challenge),
            Self::Issued(issued) => write_issued(w, issued),
            Self::Pending(pending) => {
                w.map(2).unsigned(0).unsigned(PENDING);
                w.unsigned(1).unsigned(pending.retry_after_s.into());
            }
            Self::Quarantined(quarantined) => write_quarantined(w, quarantined),
            Self::Refused(refused) => {
                w.map(3).unsigned(0).unsigned(REFUSED);
                w.unsigned(1).unsigned(refused.code.number().into());
                w.unsigned(2).text(&presentable(&refused.detail));
            }
        })
    }

    /// Reads the bytes after the length prefix.
    pub fn decode(body: &[u8]) -> Result<Self, InvalidFrame> {
        decode(body, |frame, kind| match kind {
            CHALLENGE => read_challenge(frame).map(Self::Challenge),
            RENEW_CHALLENGE => read_renew_challenge(frame).map(Self::RenewChallenge),
            ISSUED => read_issued(frame).map(Self::Issued),
            PENDING => {
                let retry_after_s = u32::try_from(frame.unsigned(1, u32::MAX.into())?).unwrap_or(u32::MAX);
                Ok(Self::Pending(Pending { retry_after_s }))
            }
            QUARANTINED => read_quarantined(frame).map(Self::Quarantined),
            REFUSED => {
                let number = frame.unsigned(1, u16::MAX.into())?;
                let code = RefusalCode::from_number(number).ok_or(InvalidFrame::UnknownRefusal(number))?;
                Ok(Self::Refused(Refused { code, detail: frame.text(2, ENROLMENT_DETAIL_BYTES_MAX)? }))
            }
            other => Err(InvalidFrame::UnknownType(other)),
        })
    }
}

#[cfg(test)]
mod tests;
