//! What a tenant demands of its devices' sessions.

use serde::{Deserialize, Serialize};

/// Whether each session of a tenant's devices has to attest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttestSessions {
    /// It has not.
    Off,
    /// It has, and is in quarantine until then.
    Required,
}

/// `POST /api/v1/tenants/{t}/attestation`, and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attestation {
    /// Of sessions.
    pub sessions: AttestSessions,
}
