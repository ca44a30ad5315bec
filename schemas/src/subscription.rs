//! How a subscription wants its messages (MQTT 5 §3.8.3.1): the same words for codec, session and router.

use crate::Qos;

/// When retained messages are sent for a subscription (MQTT 5 §3.8.3.1, bits 4 and 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum RetainHandling {
    /// Each time it is made.
    #[default]
    Send = 0,
    /// Only when it did not exist before.
    SendIfNew = 1,
    /// Never; also what a resumed session's subscriptions are restored with.
    DoNotSend = 2,
}

impl TryFrom<u8> for RetainHandling {
    type Error = u8;
    fn try_from(bits: u8) -> Result<Self, u8> {
        match bits {
            0 => Ok(Self::Send),
            1 => Ok(Self::SendIfNew),
            2 => Ok(Self::DoNotSend),
            other => Err(other),
        }
    }
}

/// The options of a subscription (MQTT 5 §3.8.3.1). The default is what MQTT 3.1.1 means, at quality of service 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SubscriptionOptions {
    /// The highest quality of service to deliver with; never raises a message's own.
    pub qos: Qos,
    /// Whether the subscriber's own messages pass it by [MQTT-3.8.3-3].
    pub no_local: bool,
    /// Whether a live message keeps its retain flag [MQTT-3.3.1-13]; otherwise it is cleared [MQTT-3.3.1-12].
    pub retain_as_published: bool,
    /// When retained messages are sent.
    pub retain_handling: RetainHandling,
}
