//! A tenant's keys, the root key above them, and what a tenant says of its sensitive fields.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::TenantId;

/// Who made a tenant's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyOrigin {
    /// The hub.
    Hub,
    /// The tenant brought its own, and the hub keeps it, wrapped.
    Tenant,
    /// The tenant brought its own, and the hub forgets it when it stops.
    TenantNotKept,
}

/// `GET /api/v1/tenants/{t}/keys`, and the answer of every command on them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// Whose keys.
    pub tenant: TenantId,
    /// Names the tenant key without showing it: 16 hexadecimal digits. Empty while it is withdrawn.
    pub key_id: String,
    /// How often it was made anew: from 1 on.
    pub generation: u32,
    /// When this generation was made, Unix seconds.
    pub made_at_s: u64,
    /// Who made it.
    pub origin: KeyOrigin,
    /// Whether the tenant has withdrawn its own key.
    pub withdrawn: bool,
    /// The newest data key of each purpose; 0 if there is none yet.
    pub data_keys: BTreeMap<String, u32>,
    /// How many data keys the tenant key wraps.
    pub data_keys_stored: usize,
}

/// Which key is to be made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RotatedKey {
    /// The tenant key: all data keys are wrapped with another one. Nothing is sealed anew.
    Tenant,
    /// The data keys: what comes is sealed with others. What was stays as it is.
    Data,
}

/// `POST /api/v1/tenants/{t}/keys/rotate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateKey {
    /// Which.
    pub key: RotatedKey,
}

/// `POST /api/v1/tenants/{t}/keys/bring`: a tenant's own key, or the one that it has withdrawn.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BringKey {
    /// 64 hexadecimal digits, or base64 of 32 bytes.
    pub key: String,
    /// Whether the hub keeps it, wrapped by its root key, so that it survives a restart.
    #[serde(default)]
    pub keep: bool,
}

impl std::fmt::Debug for BringKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BringKey {{ key: .., keep: {} }}", self.keep)
    }
}

/// `GET /api/v1/keys/root`, and the answer of `POST /api/v1/keys/root/rotate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootKeyStatus {
    /// How often it was replaced, and one.
    pub generation: u32,
    /// When it was put in place, Unix seconds; 0 if it is the first.
    pub made_at_s: u64,
}

/// `POST /api/v1/tenants/{t}/shred`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shred {
    /// The tenant's id once more: there is no way back.
    pub confirm: TenantId,
}

/// A key that was destroyed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestroyedKey {
    /// `tenant`, `own` for one that the tenant brought, `grant`, or the purpose of a data key.
    pub kind: String,
    /// Which data key of its purpose; 0 for others.
    pub epoch: u32,
    /// Names it without showing it: 16 hexadecimal digits.
    pub key_id: String,
}

/// What a hub says of a tenant that it has shredded. Its text is what is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShredReport {
    /// `muster/shredded/1`: so that the signature is good for nothing else.
    pub kind: String,
    /// The hub's trust domain.
    pub trust_domain: String,
    /// Whose keys were destroyed.
    pub tenant: TenantId,
    /// When, Unix seconds.
    pub destroyed_at_s: u64,
    /// When this was written, Unix seconds.
    pub reported_at_s: u64,
    /// Every key that was destroyed.
    pub destroyed: Vec<DestroyedKey>,
    /// Files that were searched for them from beginning to end.
    pub files_searched: usize,
    /// Their bytes.
    pub bytes_searched: u64,
    /// Files that were removed because they held one.
    pub files_removed: Vec<String>,
    /// Files in which one is still to be found: none, or it has to be done again.
    pub still_found_in: Vec<String>,
    /// The tenant's sealed rows that were removed.
    pub rows_removed: u64,
    /// Rows about the tenant that were removed from the registry this time: people, apps, claims, rules, names.
    #[serde(default)]
    pub registry_rows_removed: u64,
    /// Whether a sealed record opened before; null if the key was withdrawn, or all this was done earlier.
    pub sample_opened_before: Option<bool>,
    /// Whether it opens now.
    pub sample_opens: bool,
    /// Whether nothing of the keys is left.
    pub proved: bool,
}

/// The answer of `POST /api/v1/tenants/{t}/shred`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedShredReport {
    /// A [`ShredReport`], to the byte as it was signed.
    pub report: String,
    /// ECDSA on P-256 with SHA-256 over it, DER, base64.
    pub signature: String,
    /// The signer's certificate and those above it, PEM.
    pub chain: String,
}

/// `GET` and `PUT /api/v1/tenants/{t}/sensitive`: what a tenant says of its sensitive fields.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SensitiveFields {
    /// Classes whose built-in rules are off: `location`, `id`, `credential`, `person`.
    #[serde(default)]
    pub off: Vec<String>,
    /// Its own patterns, which stand above those that are built in.
    #[serde(default)]
    pub patterns: Vec<SensitivePattern>,
}

/// One pattern.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SensitivePattern {
    /// `stream/name`, with `*` for any characters and `?` for one.
    pub fields: String,
    /// The class that they are of; null if they are not sensitive.
    #[serde(default)]
    pub class: Option<String>,
}
