//! Single fields, sealed as text: for what is kept elsewhere in clear and has a few fields that must not be.
//!
//! `v1.<key id>.<base64url>`: the key id is that of the data key, 16 hexadecimal digits, and the rest is a sealed record.
//! Tenant, stream and name are associated data: a field that is moved to another place does not open. Unlike a record of
//! the store it may leave before any commit, so its key is on disk before the first text is given out.

use super::{
    error::{StoreError, Unsealable},
    keys,
    sealing::{Purpose, Sealer, epoch_of},
    tenant::TenantStore,
};

const VERSION: &str = "v1.";
const KEY_ID_CHARS: usize = 16;

/// Seals and opens the fields of one stream of one tenant.
#[derive(Debug, Clone)]
pub struct FieldSealer {
    tenant: TenantStore,
    sealer: Sealer,
    stream: String,
}

/// Why a sealed field does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnsealableField {
    /// Not `v1.<key id>.<base64url>`.
    #[error("open a field: the text is not one that was sealed")]
    NotSealed,
    /// The key, the place or the text is another one.
    #[error(transparent)]
    Record(#[from] Unsealable),
}

impl FieldSealer {
    pub(super) fn new(tenant: TenantStore, stream: &str) -> Self {
        let sealer = tenant.sealer(Purpose::Field);
        Self { tenant, sealer, stream: stream.to_owned() }
    }

    /// Seals the value of a field. Waits for the disk once in each life of a data key.
    ///
    /// # Errors
    /// The tenant's key is withdrawn, or the data key could not be stored: nothing may leave then.
    pub fn seal(&self, name: &str, value: &[u8]) -> Result<String, StoreError> {
        let record = self.sealer.seal(&self.position(name), value);
        let withdrawn = || StoreError::Withdrawn { tenant: self.tenant.tenant().to_string() };
        if super::sealing::is_void(&record) {
            return Err(withdrawn());
        }
        let epoch = epoch_of(&record).ok_or_else(withdrawn)?;
        let keys = self.tenant.keys.keys(Purpose::Field);
        keys.make_durable(epoch, &self.tenant.keys_table(), &self.tenant.orders)?;
        let fingerprint = keys.epoch(epoch).map(|epoch| keys::key_id(epoch.fingerprint.as_slice()));
        let key_id = fingerprint.map_err(|_| withdrawn())?;
        Ok(format!("{VERSION}{key_id}.{}", data_encoding::BASE64URL_NOPAD.encode(&record)))
    }

    /// Opens what [`FieldSealer::seal`] gave for this name.
    ///
    /// # Errors
    /// It is no such text, belongs to another tenant, stream or name, or the key is withdrawn or gone.
    pub fn open(&self, name: &str, text: &str) -> Result<Vec<u8>, UnsealableField> {
        let rest = text.strip_prefix(VERSION).ok_or(UnsealableField::NotSealed)?;
        let (key_id, record) = rest.split_once('.').ok_or(UnsealableField::NotSealed)?;
        let is_id = key_id.len() == KEY_ID_CHARS && key_id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let record = data_encoding::BASE64URL_NOPAD.decode(record.as_bytes()).ok().filter(|_| is_id);
        Ok(self.sealer.open(&self.position(name), &record.ok_or(UnsealableField::NotSealed)?)?)
    }

    /// Whether a text looks like a sealed field.
    pub fn is_sealed(text: &str) -> bool {
        text.strip_prefix(VERSION).and_then(|rest| rest.as_bytes().get(KEY_ID_CHARS)) == Some(&b'.')
    }

    /// Each part with its length before it, so that no two places read the same.
    fn position(&self, name: &str) -> Vec<u8> {
        let mut position = b"field".to_vec();
        for part in [self.stream.as_str(), name] {
            position.extend_from_slice(&(part.len() as u64).to_be_bytes());
            position.extend_from_slice(part.as_bytes());
        }
        position
    }
}
