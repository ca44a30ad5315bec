//! Hardware keys: the bodies of `/api/v1/webauthn`. Bytes are base64url without padding, as browsers' own JSON has them.

use serde::{Deserialize, Serialize};

use crate::{DeviceId, TenantId};

/// What a browser is to ask an authenticator for, in either ceremony.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// What is to be signed. Good for one answer, within two minutes.
    pub challenge: String,
    /// The name that keys are made for.
    pub rp_id: String,
    /// Whom a new key is for; absent at a login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The only algorithm that is accepted: -7, ECDSA on P-256 with SHA-256.
    pub algorithm: i32,
    /// The keys that will do at a login, and those that are there already at a registration.
    pub credential_ids: Vec<String>,
}

/// `POST /register/finish`: the key that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// What its owner calls it.
    pub name: String,
    /// The challenge that it answers.
    pub challenge: String,
    /// `response.clientDataJSON`.
    pub client_data_json: String,
    /// `response.attestationObject`.
    pub attestation_object: String,
}

/// `POST /login/begin`: who wants to log in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginBegin {
    /// The tenant; `operator` for an operator.
    pub tenant: TenantId,
    /// The user.
    pub user: DeviceId,
}

/// `POST /login/finish`: what the key signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginFinish {
    /// The tenant.
    pub tenant: TenantId,
    /// The user.
    pub user: DeviceId,
    /// Which key.
    pub credential_id: String,
    /// The challenge that it answers.
    pub challenge: String,
    /// `response.clientDataJSON`.
    pub client_data_json: String,
    /// `response.authenticatorData`.
    pub authenticator_data: String,
    /// `response.signature`.
    pub signature: String,
}

/// A session.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// To be sent as `Authorization: Bearer`. A secret.
    pub token: String,
    /// When it ends, Unix seconds.
    pub expires_at_s: u64,
}

/// A hardware key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// What the authenticator knows it by.
    pub credential_id: String,
    /// What its owner calls it.
    pub name: String,
    /// How often it has signed, as it says.
    pub counter: u32,
    /// When it was registered, Unix seconds.
    pub created_at_s: u64,
}
