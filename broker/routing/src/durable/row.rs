//! Durable sessions as rows: what is written so that a session goes on after a crash. Pure bytes; whoever stores them
//! seals them and puts the tenant before the key.
//!
//! ```text
//! number 8 │ kind 1 │ packet id 2, where there is one      ──▶  CBOR, or nothing
//! ```
//!
//! | kind | row | written |
//! |---|---|---|
//! | `h` | whose it is, how long it lives, its will and subscriptions | when one of them changes |
//! | `q` | what it has yet to get, as of a sequence, and what it missed | a moment after it changed |
//! | `o` | a QoS 2 message to the client, by packet id, and whether the client has it | before PUBLISH, before PUBREL |
//! | `i` | a packet id of the client's QoS 2 message that was answered with PUBREC | with the message |
//! | `s` | the filters of the shares that a record was assigned by, by its sequence | with the record |
//! | `c` | of session 0: every queue row holds as of this sequence | now and then |

use muster_schemas::{
    Kind, Publisher, Qos, SubscriptionOptions, TopicFilter,
    cbor::{InvalidCbor, Reader, Writer},
    stored::{self, InvalidStored, StoredMessage},
};

use super::{
    SessionKey,
    queue::{Queue, Run},
    session::{Kept, Will},
};
use crate::{limits::SUBSCRIPTIONS_PER_SUBSCRIBER_MAX, subscription::Subscription};

const TEXT_BYTES_MAX: usize = 65_535;
const WILL_BYTES_MAX: usize = 1 << 24;
const RUNS_MAX: usize = 1 << 16;

/// Which row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RowKind {
    Head,
    Queue,
    Outbound(u16),
    Inbound(u16),
    Assigned(u64),
    Checkpoint,
}

/// Why a row is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRow {
    /// The key is none of ours.
    #[error("a row of a durable session has a key of {bytes} bytes that is none of ours")]
    Key {
        /// Its length.
        bytes: usize,
    },
    /// The value is not CBOR.
    #[error("a row of a durable session {0}")]
    Cbor(#[from] InvalidCbor),
    /// A will that is no stored message.
    #[error("the will of a durable session {0}")]
    Will(#[from] InvalidStored),
    /// A name, filter or number that it may not have.
    #[error("a row of a durable session has {what} that it may not have")]
    Value {
        /// What.
        what: &'static str,
    },
}

pub(crate) fn key(number: u64, kind: RowKind) -> Vec<u8> {
    let mut key = number.to_be_bytes().to_vec();
    match kind {
        RowKind::Head => key.push(b'h'),
        RowKind::Queue => key.push(b'q'),
        RowKind::Checkpoint => key.push(b'c'),
        RowKind::Outbound(id) => {
            key.push(b'o');
            key.extend_from_slice(&id.to_be_bytes());
        }
        RowKind::Inbound(id) => {
            key.push(b'i');
            key.extend_from_slice(&id.to_be_bytes());
        }
        RowKind::Assigned(sequence) => {
            key.push(b's');
            key.extend_from_slice(&sequence.to_be_bytes());
        }
    }
    key
}

pub(crate) fn split_key(key: &[u8]) -> Result<(u64, RowKind), InvalidRow> {
    let invalid = InvalidRow::Key { bytes: key.len() };
    let Some((number, rest)) = key.split_first_chunk::<8>() else { return Err(invalid) };
    let kind = match rest {
        [b'h'] => RowKind::Head,
        [b'q'] => RowKind::Queue,
        [b'c'] => RowKind::Checkpoint,
        [b'o', high, low] => RowKind::Outbound(u16::from_be_bytes([*high, *low])),
        [b'i', high, low] => RowKind::Inbound(u16::from_be_bytes([*high, *low])),
        [b's', sequence @ ..] => match sequence.try_into() {
            Ok(sequence) => RowKind::Assigned(u64::from_be_bytes(sequence)),
            Err(_) => return Err(invalid),
        },
        _ => return Err(invalid),
    };
    Ok((u64::from_be_bytes(*number), kind))
}

/// The head row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) key: SessionKey,
    pub(crate) expiry_s: u32,
    /// When it ends, if it is offline, in Unix milliseconds.
    pub(crate) ends_ms: Option<u64>,
    pub(crate) will: Option<Will>,
    pub(crate) subscriptions: Vec<Kept>,
}

impl Head {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.array(8).text(self.key.publisher.kind.as_str()).text(self.key.publisher.id.as_str());
        w.text(self.key.client_id.as_str()).unsigned(self.expiry_s.into());
        w.unsigned(self.ends_ms.unwrap_or(0));
        match &self.will {
            None => w.unsigned(0).bytes(&[]),
            Some(will) => {
                let mut message = Vec::new();
                stored::encode_parts(0, (&self.key.publisher, None), &will.message, &mut message);
                w.unsigned(will.delay_s.into()).bytes(&message)
            }
        };
        w.array(self.subscriptions.len());
        for Kept { filter, subscription: Subscription { options, id }, since, .. } in &self.subscriptions {
            let bits = options.qos as u64
                | u64::from(options.no_local) << 2
                | u64::from(options.retain_as_published) << 3
                | (options.retain_handling as u64) << 4;
            w.array(4).text(filter.as_str()).unsigned(bits);
            w.unsigned(id.map_or(0, u64::from)).unsigned(*since);
        }
        w.into_bytes()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, InvalidRow> {
        let value = |what| InvalidRow::Value { what };
        let mut r = Reader::strict(bytes);
        r.tuple(8)?;
        let kind = r.text(TEXT_BYTES_MAX)?;
        let kind =
            Kind::ALL.into_iter().find(|known| known.as_str() == kind).ok_or_else(|| value("a kind"))?;
        let id = r.text(TEXT_BYTES_MAX)?.parse().map_err(|_| value("an id"))?;
        let client_id = r.text(TEXT_BYTES_MAX)?.parse().map_err(|_| value("a client identifier"))?;
        let expiry_s = number(r.unsigned(u32::MAX.into())?);
        let ends_ms = Some(r.unsigned(u64::MAX)?).filter(|ends| *ends > 0);
        let delay_s = number(r.unsigned(u32::MAX.into())?);
        let message = r.bytes(WILL_BYTES_MAX)?;
        let will = match message {
            [] => None,
            message => {
                let stored = StoredMessage::decode(message.to_vec().into())?;
                Some(Will { message: stored.message, delay_s })
            }
        };
        let mut items = r.array(SUBSCRIPTIONS_PER_SUBSCRIBER_MAX)?;
        let mut subscriptions = Vec::new();
        while r.more(&mut items)? {
            r.tuple(4)?;
            let filter: TopicFilter = r.text(TEXT_BYTES_MAX)?.parse().map_err(|_| value("a topic filter"))?;
            let bits = r.unsigned(0x3f)?;
            let low = |bits: u64| u8::try_from(bits & 0b11).unwrap_or_default();
            let options = SubscriptionOptions {
                qos: Qos::try_from(low(bits)).map_err(|_| value("a quality of service"))?,
                no_local: bits & 0b100 != 0,
                retain_as_published: bits & 0b1000 != 0,
                retain_handling: low(bits >> 4).try_into().map_err(|_| value("a retain handling"))?,
            };
            let id = Some(number(r.unsigned(u32::MAX.into())?)).filter(|id| *id > 0);
            let since = r.unsigned(u64::MAX)?;
            subscriptions.push(Kept::new(filter, Subscription { options, id }, since));
        }
        r.finish()?;
        let key = SessionKey { publisher: Publisher { kind, id }, client_id };
        Ok(Self { key, expiry_s, ends_ms, will, subscriptions })
    }
}

/// The reader has checked the bound.
fn number(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// The queue row: what was yet to get when everything up to `as_of` had been listed, and how many messages were missed
/// until then that the client has not been told of.
pub(crate) fn encode_queue(as_of: u64, queue: &Queue, missed: u64) -> Vec<u8> {
    let mut w = Writer::default();
    w.array(4).unsigned(as_of).unsigned(queue.search_from().unwrap_or(0)).unsigned(missed);
    w.array(2 * queue.runs().len());
    let mut end = 0;
    for run in queue.runs() {
        w.unsigned(run.first - end).unsigned(run.length);
        end = run.first + run.length;
    }
    w.into_bytes()
}

pub(crate) fn decode_queue(bytes: &[u8]) -> Result<(u64, Queue, u64), InvalidRow> {
    let mut r = Reader::strict(bytes);
    r.tuple(4)?;
    let as_of = r.unsigned(u64::MAX)?;
    let search_from = Some(r.unsigned(u64::MAX)?).filter(|from| *from > 0);
    let missed = r.unsigned(u64::MAX)?;
    let mut items = r.array(2 * RUNS_MAX)?;
    let mut runs = Vec::new();
    let mut end = 0_u64;
    while r.more(&mut items)? {
        let first = end.saturating_add(r.unsigned(u64::MAX)?);
        if !r.more(&mut items)? {
            return Err(InvalidRow::Value { what: "half a run" });
        }
        let length = r.unsigned(u64::MAX)?;
        end = first.saturating_add(length);
        runs.push(Run { first, length });
    }
    r.finish()?;
    Ok((as_of, Queue::restore(runs, search_from), missed))
}

/// The filters of the shares that a record was assigned by. No filter has a NUL in it [MQTT-4.7.3-2].
pub(crate) fn encode_assigned(filters: &[TopicFilter]) -> Vec<u8> {
    let filters: Vec<&[u8]> = filters.iter().map(|filter| filter.as_str().as_bytes()).collect();
    filters.join(&0)
}

pub(crate) fn decode_assigned(bytes: &[u8]) -> Result<Vec<TopicFilter>, InvalidRow> {
    let filter = |bytes| str::from_utf8(bytes).ok()?.parse().ok();
    let filters: Option<Vec<TopicFilter>> = bytes.split(|byte| *byte == 0).map(filter).collect();
    filters.ok_or(InvalidRow::Value { what: "a topic filter" })
}

/// A QoS 2 message to the client, and whether PUBREC has come for it.
pub(crate) fn encode_outbound(sequence: u64, is_released: bool) -> Vec<u8> {
    let mut w = Writer::default();
    w.array(2).unsigned(sequence).boolean(is_released);
    w.into_bytes()
}

pub(crate) fn decode_outbound(bytes: &[u8]) -> Result<(u64, bool), InvalidRow> {
    let mut r = Reader::strict(bytes);
    r.tuple(2)?;
    let outbound = (r.unsigned(u64::MAX)?, r.boolean()?);
    r.finish()?;
    Ok(outbound)
}

pub(crate) fn encode_checkpoint(sequence: u64) -> Vec<u8> {
    sequence.to_be_bytes().to_vec()
}

pub(crate) fn decode_checkpoint(bytes: &[u8]) -> Result<u64, InvalidRow> {
    let bytes = bytes.try_into().map_err(|_| InvalidRow::Value { what: "a checkpoint" })?;
    Ok(u64::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use muster_schemas::{Message, RetainHandling};
    use proptest::prelude::*;

    use super::*;

    fn head() -> Head {
        let options = SubscriptionOptions {
            qos: Qos::ExactlyOnce,
            no_local: true,
            retain_as_published: true,
            retain_handling: RetainHandling::SendIfNew,
        };
        Head {
            key: SessionKey {
                publisher: Publisher { kind: Kind::Device, id: "pump-7".parse().expect("id") },
                client_id: "c".parse().expect("client id"),
            },
            expiry_s: u32::MAX,
            ends_ms: Some(1_234),
            will: Some(Will {
                message: Message {
                    topic: "gone".parse().expect("topic"),
                    qos: Qos::AtLeastOnce,
                    retain: true,
                    payload: "x".into(),
                    properties: None,
                },
                delay_s: 30,
            }),
            subscriptions: vec![
                Kept::new(
                    "a/+/#".parse().expect("filter"),
                    Subscription { options, id: Some(268_435_455) },
                    9,
                ),
                Kept::new("$share/g/a".parse().expect("filter"), Subscription::default(), 1),
            ],
        }
    }

    #[test]
    fn rows_come_back_as_they_were_written() {
        let bare = Head { ends_ms: None, will: None, subscriptions: Vec::new(), ..head() };
        for head in [head(), bare] {
            assert_eq!(Head::decode(&head.encode()), Ok(head));
        }
        let mut queue = Queue::default();
        [3, 4, 9].iter().for_each(|sequence| queue.push(*sequence, 2));
        queue.push(20, 2);
        assert_eq!(decode_queue(&encode_queue(20, &queue, 7)), Ok((20, queue, 7)));
        assert_eq!(decode_outbound(&encode_outbound(7, true)), Ok((7, true)));
        let shares = ["$share/g/a", "$share/h/+"].map(|filter| filter.parse().expect("filter"));
        assert_eq!(decode_assigned(&encode_assigned(&shares)), Ok(shares.to_vec()));
        assert_eq!(decode_assigned(&encode_assigned(&shares[..1])), Ok(shares[..1].to_vec()));
        for kind in [
            RowKind::Head,
            RowKind::Queue,
            RowKind::Outbound(7),
            RowKind::Inbound(65_535),
            RowKind::Assigned(9),
        ] {
            assert_eq!(split_key(&key(5, kind)), Ok((5, kind)));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_rows_never_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..80),
            place in any::<prop::sample::Index>(),
        ) {
            let _ = (Head::decode(&bytes), decode_queue(&bytes), decode_outbound(&bytes), split_key(&bytes));
            let mut known = head().encode();
            let place = place.index(known.len());
            known[place] = bytes.first().copied().unwrap_or(0);
            let _ = Head::decode(&known);
        }
    }
}
