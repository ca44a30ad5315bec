//! Quotas: what one tenant, and one principal within it, may have and do. Where each is kept stands beside it; at each
//! of them the peer is told which it was, it is logged with tenant and client, and it is counted.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use muster_routing::{Limits, PrincipalLimits};
use muster_schemas::{Kind, TenantId};

use crate::{
    bucket::Rate,
    limits::{
        DEVICE_BYTES, DEVICE_CONNECTIONS_MAX, DEVICE_DURABLE_SESSIONS_MAX, DEVICE_LOG_BYTES_MAX,
        DEVICE_MESSAGES, DEVICE_QUEUE_BYTES_MAX, DEVICE_QUEUE_MESSAGES_MAX, DEVICE_RETAINED_BYTES_MAX,
        DEVICE_RETAINED_MESSAGES_MAX, DEVICE_SUBSCRIPTIONS_MAX, DEVICE_WILL_BYTES_MAX, LOG_AGE_MAX,
        LOG_BYTES_MAX, QUEUE_BYTES_MAX, QUEUE_MESSAGES_MAX, TENANT_BYTES, TENANT_CONNECTIONS_MAX,
        TENANT_MESSAGES,
    },
};

/// What a tenant, or one of its principals, may have and do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// Connections at a time. At the bound one more is refused.
    pub connections_max: usize,
    /// Packets that ask for work: each PUBLISH, each filter of a SUBSCRIBE or UNSUBSCRIBE, and all that is no
    /// acknowledgement. At the bound its readers wait.
    pub messages: Rate,
    /// Bytes of all packets. At the bound its readers wait.
    pub bytes: Rate,
    /// Subscriptions of all its sessions. At the bound a new filter is refused.
    pub subscriptions_max: usize,
    /// Topics that hold a retained message of its. At the bound a publish that would retain on another is refused.
    pub retained_messages_max: usize,
    /// Bytes of these. At the bound a publish that would retain more is refused.
    pub retained_bytes_max: usize,
    /// Sessions that outlive their connection. At the bound a CONNECT that begins one is refused.
    pub durable_sessions_max: usize,
    /// Bytes of the wills that its clients have left. At the bound a CONNECT with a will is refused.
    pub will_bytes_max: usize,
}

/// What one principal may have and do, within what its tenant may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrincipalQuota {
    /// All its connections and sessions together.
    pub quota: Quota,
    /// Messages that wait in memory for one of its connections. At the bound that connection is closed.
    pub queue_messages_max: usize,
    /// Bytes of topic and payload of these. At the bound that connection is closed.
    pub queue_bytes_max: usize,
    /// Bytes of its messages on the log that durable sessions have yet to get. At the bound a publish that one of them
    /// wants is refused, until they have got some.
    pub log_bytes_max: u64,
}

/// The quotas of one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quotas {
    /// Of the tenant as a whole.
    pub tenant: Quota,
    /// Of each device and relay.
    pub device: PrincipalQuota,
    /// Of each app, user and service.
    pub app: PrincipalQuota,
    /// Bytes of its log that durable sessions may keep from being trimmed. Beyond it the oldest go, and the sessions
    /// that had yet to get them are told how many they missed.
    pub log_bytes_max: u64,
    /// How long they may keep a record. What is older goes in the same way.
    pub log_age_max: Duration,
}

impl Default for Quotas {
    fn default() -> Self {
        let limits = Limits::default();
        let tenant = Quota {
            connections_max: TENANT_CONNECTIONS_MAX,
            messages: TENANT_MESSAGES,
            bytes: TENANT_BYTES,
            subscriptions_max: limits.subscriptions_max,
            retained_messages_max: limits.retained_messages_max,
            retained_bytes_max: limits.retained_bytes_max,
            durable_sessions_max: limits.durable_sessions_max,
            will_bytes_max: limits.will_bytes_max,
        };
        let app = PrincipalQuota {
            quota: tenant.clone(),
            queue_messages_max: QUEUE_MESSAGES_MAX,
            queue_bytes_max: QUEUE_BYTES_MAX,
            log_bytes_max: LOG_BYTES_MAX,
        };
        let device = PrincipalQuota {
            quota: Quota {
                connections_max: DEVICE_CONNECTIONS_MAX,
                messages: DEVICE_MESSAGES,
                bytes: DEVICE_BYTES,
                subscriptions_max: DEVICE_SUBSCRIPTIONS_MAX,
                retained_messages_max: DEVICE_RETAINED_MESSAGES_MAX,
                retained_bytes_max: DEVICE_RETAINED_BYTES_MAX,
                durable_sessions_max: DEVICE_DURABLE_SESSIONS_MAX,
                will_bytes_max: DEVICE_WILL_BYTES_MAX,
            },
            queue_messages_max: DEVICE_QUEUE_MESSAGES_MAX,
            queue_bytes_max: DEVICE_QUEUE_BYTES_MAX,
            log_bytes_max: DEVICE_LOG_BYTES_MAX,
        };
        Self { tenant, device, app, log_bytes_max: LOG_BYTES_MAX, log_age_max: LOG_AGE_MAX }
    }
}

impl Quotas {
    /// Those of one principal of this kind.
    pub fn of(&self, kind: Kind) -> &PrincipalQuota {
        if is_device(kind) { &self.device } else { &self.app }
    }

    /// The bounds of a router.
    pub(crate) fn limits(&self) -> Limits {
        let Quota {
            subscriptions_max,
            retained_messages_max,
            retained_bytes_max,
            durable_sessions_max,
            will_bytes_max,
            ..
        } = self.tenant;
        Limits {
            subscriptions_max,
            retained_messages_max,
            retained_bytes_max,
            durable_sessions_max,
            will_bytes_max,
            device: principal_limits(&self.device),
            app: principal_limits(&self.app),
            ..Limits::default()
        }
    }
}

fn principal_limits(principal: &PrincipalQuota) -> PrincipalLimits {
    let Quota {
        subscriptions_max,
        retained_messages_max,
        retained_bytes_max,
        durable_sessions_max,
        will_bytes_max,
        ..
    } = principal.quota;
    let log_bytes_max = principal.log_bytes_max;
    PrincipalLimits {
        subscriptions_max,
        retained_messages_max,
        retained_bytes_max,
        durable_sessions_max,
        will_bytes_max,
        log_bytes_max,
    }
}

/// Whether it is a thing in the field, of which there are many, and not somebody who looks after them.
fn is_device(kind: Kind) -> bool {
    muster_routing::is_device(kind)
}

/// The quotas of every tenant: the same for all but those that have their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantQuotas {
    /// Of every tenant that has none of its own.
    pub usual: Arc<Quotas>,
    /// Of those that have.
    pub tenants: BTreeMap<TenantId, Arc<Quotas>>,
}

impl TenantQuotas {
    /// Those of one tenant.
    pub fn of(&self, tenant: &TenantId) -> Arc<Quotas> {
        self.tenants.get(tenant).unwrap_or(&self.usual).clone()
    }
}
