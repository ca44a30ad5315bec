//! What a device says of its updates. Events carry execution, attempt and a number of their own, so that saying one
//! twice changes nothing.

use super::{
    Digest, ExecutionId, FailureCode, InvalidUpdate, Nonce, Outcome, Sequence, Stage,
    codec::{Map, decode},
};
use crate::{
    cbor::Writer,
    limits::{UPDATE_DETAIL_BYTES_MAX, UPDATE_VERSION_BYTES_MAX},
};

// What key 0 of each report says. Devices in the field know these numbers: they may be added to, never changed.
const REACHED: u64 = 1;
const ENDED: u64 = 2;
const RUNNING: u64 = 3;

/// A report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// Something happened in an execution.
    Event(Event),
    /// What the device runs: after each boot, and when it asks for an offer.
    Running(Running),
}

/// Something that happened in an execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Which.
    pub execution: ExecutionId,
    /// Which try of it.
    pub attempt: u32,
    /// Grows with each event of that attempt; the hub takes none twice and none that is older than one it has.
    pub number: u32,
    /// What happened.
    pub what: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// A stage was reached, or goes on.
    Reached {
        /// Which.
        stage: Stage,
        /// How many bytes are here, while they arrive.
        bytes: Option<u64>,
    },
    /// It is over.
    Ended {
        /// How.
        outcome: Outcome,
        /// Why, for people: at most 512 bytes, no control characters.
        detail: String,
    },
}

/// What a device runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// What the image calls itself. At most 64 bytes.
    pub version: String,
    /// The image, when the device knows it.
    pub image: Option<Digest>,
    /// The highest number of a manifest that it installed.
    pub sequence: Sequence,
    /// The version of the tenant's root that it trusts; 0 when it has none.
    pub root: u64,
    /// What an answer has to echo: of devices without a clock.
    pub nonce: Option<Nonce>,
}

impl Report {
    /// The payload. What is too long is cut, and what a terminal would obey is left out.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        match self {
            Self::Event(event) => event.write(&mut w),
            Self::Running(running) => running.write(&mut w),
        }
        w.into_bytes()
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// It is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidUpdate> {
        decode(bytes, |map| match map.unsigned(0)? {
            kind @ (REACHED | ENDED) => Event::read(map, kind).map(Self::Event),
            RUNNING => Running::read(map).map(Self::Running),
            other => Err(InvalidUpdate::UnknownKind(other)),
        })
    }
}

impl Event {
    fn write(&self, w: &mut Writer) {
        let head = |w: &mut Writer, pairs: usize, kind: u64| {
            w.map(pairs).unsigned(0).unsigned(kind).unsigned(1).unsigned(self.execution.number().into());
            w.unsigned(2).unsigned(self.attempt.into()).unsigned(3).unsigned(self.number.into());
        };
        match &self.what {
            EventKind::Reached { stage, bytes } => {
                head(w, 5 + usize::from(bytes.is_some()), REACHED);
                w.unsigned(4).unsigned(stage.number().into());
                if let Some(bytes) = bytes {
                    w.unsigned(5).unsigned(*bytes);
                }
            }
            EventKind::Ended { outcome, detail } => {
                head(w, 6 + usize::from(outcome.code().is_some()), ENDED);
                w.unsigned(4).unsigned(outcome.number().into());
                if let Some(code) = outcome.code() {
                    w.unsigned(5).unsigned(code.number().into());
                }
                w.unsigned(6).text(&presentable(detail, UPDATE_DETAIL_BYTES_MAX));
            }
        }
    }

    fn read(map: &mut Map<'_>, kind: u64) -> Result<Self, InvalidUpdate> {
        let execution = ExecutionId::new(map.number(1)?)
            .ok_or(InvalidUpdate::Value { key: 1, what: "no number of an execution (1 to 2^31 - 1)" })?;
        let (attempt, number) = (map.number(2)?, map.number(3)?);
        let what = if kind == REACHED {
            let stage = Stage::from_number(map.small(4)?)
                .ok_or(InvalidUpdate::Value { key: 4, what: "a stage that this end does not know" })?;
            let bytes = if map.has(5)? { Some(map.reader.unsigned(u64::MAX)?) } else { None };
            EventKind::Reached { stage, bytes }
        } else {
            let outcome = map.small(4)?;
            let code = if map.has(5)? { Some(map.small_value()?) } else { None };
            // A newer device may know more reasons than this end does.
            let code = code.map(|code| FailureCode::from_number(code).unwrap_or(FailureCode::Other).number());
            let outcome = Outcome::from_numbers(outcome, code)
                .ok_or(InvalidUpdate::Value { key: 4, what: "an outcome that this end does not know" })?;
            EventKind::Ended { outcome, detail: map.text(6, UPDATE_DETAIL_BYTES_MAX)? }
        };
        Ok(Self { execution, attempt, number, what })
    }
}

impl Running {
    fn write(&self, w: &mut Writer) {
        let optional = usize::from(self.image.is_some()) + usize::from(self.nonce.is_some());
        w.map(4 + optional).unsigned(0).unsigned(RUNNING);
        w.unsigned(1).text(&presentable(&self.version, UPDATE_VERSION_BYTES_MAX));
        if let Some(image) = &self.image {
            w.unsigned(2).bytes(image.as_bytes());
        }
        w.unsigned(3).unsigned(self.sequence.0).unsigned(4).unsigned(self.root);
        if let Some(nonce) = &self.nonce {
            w.unsigned(5).bytes(nonce);
        }
    }

    fn read(map: &mut Map<'_>) -> Result<Self, InvalidUpdate> {
        Ok(Self {
            version: map.text(1, UPDATE_VERSION_BYTES_MAX)?,
            image: map.exactly_if(2)?.map(Digest),
            sequence: Sequence(map.unsigned(3)?),
            root: map.unsigned(4)?,
            nonce: map.exactly_if(5)?,
        })
    }
}

/// Text without control characters, cut to its bound.
fn presentable(text: &str, bytes_max: usize) -> String {
    let mut out = String::new();
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if out.len() + c.len_utf8() > bytes_max {
            break;
        }
        out.push(c);
    }
    out
}
