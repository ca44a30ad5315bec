//! Who approves firmware of a tenant's device classes.

use serde::{Deserialize, Serialize};

/// `POST /api/v1/tenants/{t}/firmware/authorities`: an authority to add; `…/authorities/remove`: one to take away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewFirmwareAuthority {
    /// The class of devices: the model that they enrol as.
    pub class: String,
    /// The public key, P-256, PEM.
    pub key_pem: String,
}

/// An authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirmwareAuthority {
    /// The class of devices.
    pub class: String,
    /// The public key, an uncompressed point in lower-case hex.
    pub key: String,
    /// SHA-256 of class and key, lower-case hex.
    pub fingerprint: String,
    /// When it was added, Unix seconds.
    pub added_at_s: u64,
}

/// `POST /api/v1/tenants/{t}/firmware/approvals`, and its answer: what a device of its class is given in quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirmwareApproval {
    /// The file that `muster firmware approve` wrote, in lower-case hex.
    pub approval: String,
}
