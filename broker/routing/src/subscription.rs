//! Who subscribes, and how (MQTT 5 §3.8.3.1).

use muster_schemas::SubscriptionOptions;

/// A live session of the tenant, as the broker names it; never reused while in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriberId(pub u64);

/// A subscription as the index keeps it: everything but who and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Subscription {
    /// Its options.
    pub options: SubscriptionOptions,
    /// The Subscription Identifier, if the subscriber gave one (MQTT 5 §3.8.2.1.2).
    pub id: Option<u32>,
}
