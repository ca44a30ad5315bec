//! Bodies of `/api/v1/ca`: certificates that an operator has issued and revoked.

use serde::{Deserialize, Serialize};

use crate::{DeviceId, TenantId};

/// `POST /api/v1/ca/certificates`: a certificate to issue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewCertificate {
    /// app, user, service, relay, node or software. Devices enrol.
    pub kind: String,
    /// Its tenant; a node has none, and neither has an operator of the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// Its id within tenant and kind.
    pub id: DeviceId,
    /// The signing request of its key (PKCS #10), PEM.
    pub csr_pem: String,
    /// How long it lives; its kind's own time when absent, which is also the longest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validity_s: Option<u64>,
    /// A node's: the tenants that it may serve, or `*` alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tenants: Vec<String>,
    /// A node's: DNS names and addresses, for clients that are not ours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Whether it may take the place of one that the app, user or service has, which then ends at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replace: bool,
}

/// A certificate that was issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedCertificate {
    /// Its serial number, hexadecimal.
    pub serial: String,
    /// The authority that signed it.
    pub authority: String,
    /// Who it speaks for: its SAN URI.
    pub principal: String,
    /// When it was issued, Unix seconds.
    pub issued_at_s: u64,
    /// When it ends, Unix seconds.
    pub not_after_s: u64,
    /// The tenants that it entitles a hub to serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenants: Option<String>,
    /// When it was revoked, Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at_s: Option<u64>,
    /// Why it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The certificate and the authority's, PEM; only in the answer to what issued it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_pem: Option<String>,
    /// The root that the hub's own certificate leads to, PEM; only there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
}

/// `POST /api/v1/ca/certificates/{serial}/revoke`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeCertificate {
    /// Why: unspecified, key_compromise, ca_compromise, affiliation_changed, superseded, cessation_of_operation or
    /// privilege_withdrawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when the key is known or suspected to be in other hands, Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invalid_since_s: Option<u64>,
}
