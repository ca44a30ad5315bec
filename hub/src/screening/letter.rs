//! Dead letters: what a tenant is told of a message that was refused.

use bytes::Bytes;
use data_encoding::BASE64;
use muster_schemas::{DeviceId, Message, MessageProperties, Qos, api::DeadLetter};
use muster_screen::{Fault, Outcome};

use super::limits::LETTER_PAYLOAD_BYTES_MAX;

/// What the topic of a dead letter begins with; the topic of the message follows. No client may publish below `$`.
pub(super) const DEAD: &str = "$SYS/dead/";

/// The letter about a message; none if its topic is so long that nothing fits before it.
pub(super) fn about(
    (sequence, at_ms): (u64, u64),
    device: &DeviceId,
    message: &Message,
    (outcome, (refused, taken)): (&Outcome, (usize, usize)),
    reason: String,
) -> Option<Message> {
    let payload = &message.payload;
    let letter = DeadLetter {
        sequence,
        at_ms,
        device: device.clone(),
        topic: message.topic.as_str().to_owned(),
        code: outcome.fault().map_or("", Fault::as_str).to_owned(),
        reason,
        refused: refused as u64,
        taken: taken as u64,
        payload_bytes: payload.len() as u64,
        payload: BASE64.encode(payload.get(..LETTER_PAYLOAD_BYTES_MAX).unwrap_or(payload)),
    };
    let properties = MessageProperties {
        payload_is_utf8: true,
        content_type: Some("application/json".into()),
        ..MessageProperties::default()
    };
    Some(Message {
        topic: format!("{DEAD}{}", letter.topic).parse().ok()?,
        qos: Qos::AtLeastOnce,
        retain: false,
        payload: Bytes::from(serde_json::to_vec(&letter).ok()?),
        properties: Some(Box::new(properties)),
    })
}
