//! The topics of an update, all below the device's own.

use std::fmt;

use crate::DeviceId;

/// What is said on a topic of a device's updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UpdateTopic {
    /// Retained, to the device: an [`Announcement`](super::Announcement), or nothing when there is none.
    Offer,
    /// From the device: a [`Get`](super::Get).
    Get,
    /// To the device: a [`Block`](super::Block) of the window that had this request number.
    Block {
        /// The number of the request.
        request: u32,
    },
    /// From the device, QoS 1: a [`Report`](super::Report).
    Report,
}

impl UpdateTopic {
    /// The topic's name.
    pub fn of(self, device: &DeviceId) -> String {
        format!("devices/{device}/firmware/{self}")
    }

    /// The device and the topic, when the name is one of these.
    pub fn parse(name: &str) -> Option<(DeviceId, Self)> {
        let (device, rest) = name.strip_prefix("devices/")?.split_once("/firmware/")?;
        let topic = match rest {
            "offer" => Self::Offer,
            "get" => Self::Get,
            "report" => Self::Report,
            other => Self::Block { request: other.strip_prefix("block/")?.parse().ok()? },
        };
        let device = device.parse().ok()?;
        (topic.of(&device) == name).then_some((device, topic))
    }
}

impl fmt::Display for UpdateTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offer => f.write_str("offer"),
            Self::Get => f.write_str("get"),
            Self::Block { request } => write!(f, "block/{request}"),
            Self::Report => f.write_str("report"),
        }
    }
}
