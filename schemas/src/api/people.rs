//! Apps and users: how they are registered, and what is known of them.

use serde::{Deserialize, Serialize};

use crate::DeviceId;

use super::State;

/// `POST /api/v1/tenants/{t}/users`: a user to create.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// Its id within the tenant.
    pub user: DeviceId,
    /// The signing request of its key (PKCS #10), PEM. Without one the user has no certificate, and shows who it is in
    /// another way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csr_pem: Option<String>,
    /// Whether the new certificate may take the place of one that the user has, which then ends at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replace: bool,
}

/// A user, and what it needs to call the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Its id within the tenant.
    pub user: DeviceId,
    /// Its certificate, and the authority that issued it, PEM; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_pem: Option<String>,
    /// The root that the hub's own certificate leads to, PEM.
    pub ca_pem: String,
}

/// `PUT /api/v1/tenants/{t}/apps/{id}/pinned` and `/users/{id}/pinned`: registers an app or a user by a certificate that
/// it made itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedCertificate {
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// Whether it may take the place of a certificate that the client has, which then ends at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replace: bool,
}

/// An app or a user as the registry knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// `app` or `user`.
    pub kind: String,
    /// Its id within the tenant.
    pub id: DeviceId,
    /// Whether it may connect.
    pub state: State,
    /// Its certificate: `issued` by the hub, `pinned`, or `none`.
    pub certificate: String,
    /// When that certificate expires, Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_expires_at_s: Option<u64>,
    /// SHA-256 of a pinned certificate, lower-case hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The root that the hub's own certificate leads to, PEM, when it was just registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
}

/// `GET` and `PUT /api/v1/tenants/{t}/ways-in`: the ways into a tenant besides first boot with a TPM. What is absent in a
/// call stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaysIn {
    /// EST (RFC 7030).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub est: Option<bool>,
    /// User name and password over MQTT, for devices that can do nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legacy_passwords: Option<bool>,
}
