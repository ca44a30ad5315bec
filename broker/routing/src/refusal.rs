//! Why the router did not do what it was asked; each reason is its own variant, and its text says which bound or rule.

use bytestring::ByteString;
use muster_schemas::Kind;

/// Why a publish or a subscription was refused. The text reads after "failed to publish" or "failed to subscribe".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The peer's access list does not allow it.
    #[error("not allowed by the rule {rule:?}")]
    NotAuthorized {
        /// The rule that forbids it, or the name of the list when no rule of it allows it.
        rule: ByteString,
    },
    /// The session has yet to show what its tenant demands.
    #[error("quarantined: attest first")]
    Quarantined,
    /// Topics that begin with `$` are the hub's own.
    #[error("topics that begin with '$' are reserved for the hub")]
    TopicReserved,
    /// A filter that begins with `$share/` and is no shared subscription (MQTT 5 §4.8.2).
    #[error("a shared subscription is $share/<name>/<filter>; what was asked for {0}")]
    ShareInvalid(muster_schemas::InvalidTopic),
    /// The subscriber has as many subscriptions as it may.
    #[error("the subscriber has reached its quota of {max} subscriptions; unsubscribe from one first")]
    SubscriptionQuota {
        /// The bound, a count.
        max: usize,
    },
    /// All subscribers of the tenant together have as many subscriptions as they may.
    #[error("the tenant has reached its quota of {max} subscriptions")]
    TenantSubscriptionQuota {
        /// The bound, a count.
        max: usize,
    },
    /// All sessions of the principal together have as many subscriptions as they may.
    #[error(
        "the {who} has reached its quota of {max} subscriptions over its sessions; unsubscribe from one first"
    )]
    PrincipalSubscriptionQuota {
        /// What it is.
        who: Kind,
        /// The bound, a count.
        max: usize,
    },
    /// The principal has as many sessions that outlive their connections as it may.
    #[error("the {who} has reached its quota of {max} sessions that outlive their connection; end one first")]
    PrincipalSessionQuota {
        /// What it is.
        who: Kind,
        /// The bound, a count.
        max: usize,
    },
    /// So many filters, with `+` where others spell a level out, may match the topic that nobody can say who wants it.
    #[error(
        "more than {max} levels of subscriptions may match this topic; whoever subscribes with many '+' has to use fewer"
    )]
    SearchTooWide {
        /// The bound, a count of nodes of the tree of subscriptions.
        max: usize,
    },
    /// As many topics as may hold a retained message of the principal do.
    #[error("the {who} has reached its quota of {max} retained messages; clear one first")]
    PrincipalRetainedQuota {
        /// What it is.
        who: Kind,
        /// The bound, a count.
        max: usize,
    },
    /// The retained messages of the principal hold as many bytes as they may.
    #[error("the {who} has reached its quota of {max} bytes of retained messages; clear one first")]
    PrincipalRetainedBytesQuota {
        /// What it is.
        who: Kind,
        /// The bound, in bytes.
        max: usize,
    },
    /// As many bytes of the principal's messages as may do wait on the log for durable sessions.
    #[error(
        "the {who} has reached its quota of {max} bytes on the log that sessions have yet to get; try again when they \
         have"
    )]
    PrincipalLogBytesQuota {
        /// What it is.
        who: Kind,
        /// The bound, in bytes.
        max: u64,
    },
    /// As many topics as may hold a retained message do.
    #[error("the tenant has reached its quota of {max} retained messages; clear one first")]
    RetainedQuota {
        /// The bound, a count.
        max: usize,
    },
    /// The retained messages hold as many bytes as they may.
    #[error("the tenant has reached its quota of {max} bytes of retained messages; clear one first")]
    RetainedBytesQuota {
        /// The bound, in bytes.
        max: usize,
    },
    /// Too much waits behind an unfinished fan-out.
    #[error("the router is behind and has {max} waiting already; try again later")]
    RouterBehind {
        /// The bound that was reached: a count of inputs, or bytes.
        max: usize,
    },
    /// Too much was given to the log that is not yet on disk.
    #[error("the log is behind and has {max} waiting already; try again later")]
    LogBehind {
        /// The bound that was reached: a count of records, or bytes.
        max: usize,
    },
    /// As many sessions that outlive their connections as there may be.
    #[error(
        "the tenant has reached its quota of {max} sessions that outlive their connection; end another first"
    )]
    SessionQuota {
        /// The bound, a count.
        max: usize,
    },
    /// The wills of the principal's clients hold as many bytes as they may.
    #[error("the {who} has reached its quota of {max} bytes of wills; leave a smaller one, or end a session")]
    PrincipalWillBytesQuota {
        /// What it is.
        who: Kind,
        /// The bound, in bytes.
        max: usize,
    },
    /// The wills of the tenant's clients hold as many bytes as they may.
    #[error(
        "the tenant has reached its quota of {max} bytes of wills; leave a smaller one, or end a session"
    )]
    WillBytesQuota {
        /// The bound, in bytes.
        max: usize,
    },
    /// There is no room for the record.
    #[error("the disk is full")]
    DiskFull,
    /// The record could not be sealed, and nothing is stored in clear instead.
    #[error("the tenant has withdrawn its key; nothing is stored until it gives the key back")]
    KeyWithdrawn,
    /// The record could not be written for another reason.
    #[error("the message could not be stored")]
    StorageFailed,
}
