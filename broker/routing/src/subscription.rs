//! Who subscribes, and how (MQTT 5 §3.8.3.1).

use muster_schemas::{Qos, SubscriptionOptions};

use crate::limits::{SUBSCRIPTION_BYTES, SUBSCRIPTION_LEVELS};

/// A connected session of the tenant, as the broker names it; below 2^62 and never reused while in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriberId(pub u64);

/// The bit of a subscriber that is a durable session, whoever has it at the moment.
const DURABLE: u64 = 1 << 63;
/// The bit of a subscriber that stands for those who share a filter.
const GROUP: u64 = 1 << 62;

impl SubscriberId {
    /// The subscriber that stands for a durable session. They come after all others.
    pub(crate) fn durable(number: u64) -> Self {
        Self(number | DURABLE)
    }

    /// The subscriber that stands for all who share a filter. They come after connections and before durable sessions.
    pub(crate) fn group(number: u64) -> Self {
        Self(number | GROUP)
    }

    pub(crate) fn is_connection(self) -> bool {
        self.0 & (DURABLE | GROUP) == 0
    }

    /// The opposite of [`Self::group`].
    pub(crate) fn group_number(self) -> u64 {
        self.0 & !GROUP
    }

    pub(crate) fn is_durable(self) -> bool {
        self.0 & DURABLE != 0
    }

    /// The opposite of [`Self::durable`].
    pub(crate) fn durable_number(self) -> u64 {
        self.0 & !DURABLE
    }
}

/// For how many subscriptions one with this filter counts: for as many as it takes room and time. A filter of the usual
/// size is one.
pub(crate) fn weight(filter: &str) -> usize {
    let levels = 1 + filter.bytes().filter(|byte| *byte == b'/').count();
    levels.div_ceil(SUBSCRIPTION_LEVELS).max(filter.len().div_ceil(SUBSCRIPTION_BYTES))
}

/// A subscription as the index keeps it: everything but who and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Subscription {
    /// Its options.
    pub options: SubscriptionOptions,
    /// The Subscription Identifier, if the subscriber gave one (MQTT 5 §3.8.2.1.2).
    pub id: Option<u32>,
}

impl Subscription {
    /// What stands in the index for a group: its members' own options count when one is chosen.
    pub(crate) fn of_group() -> Self {
        Self { options: SubscriptionOptions { qos: Qos::ExactlyOnce, ..Default::default() }, id: None }
    }
}
