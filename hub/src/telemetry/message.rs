//! What the telemetry actor is told and asked.

use actix::Message;
use muster_items::QueryRefusal;
use muster_schemas::{TenantId, api::Retention};

/// Stores all that is open, of one tenant or of all, and is answered when it is on the disk.
#[derive(Debug, Clone)]
pub struct Settle {
    /// The tenant.
    pub tenant: Option<TenantId>,
}

impl Message for Settle {
    type Result = ();
}

/// Asks how long streams are kept.
#[derive(Debug, Clone)]
pub struct ReadRetention {
    /// The tenant.
    pub tenant: TenantId,
}

impl Message for ReadRetention {
    type Result = Result<Retention, RetentionRefusal>;
}

/// Sets how long streams are kept. What is old by the new rules goes within the hour.
#[derive(Debug, Clone)]
pub struct SetRetention {
    /// The tenant.
    pub tenant: TenantId,
    /// The rules, instead of those before.
    pub rules: Retention,
}

impl Message for SetRetention {
    type Result = Result<(), RetentionRefusal>;
}

/// Why the rules for how long streams are kept are not read or set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetentionRefusal {
    /// They are none.
    #[error(transparent)]
    Invalid(#[from] super::InvalidRetention),
    /// The tenant is not there, or its key.
    #[error(transparent)]
    Store(#[from] QueryRefusal),
}
