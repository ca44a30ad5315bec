//! The keys of one device, whatever holds them: a TPM chip, a simulated TPM process, or soft keys in a test.

use muster_schemas::enrolment::{Attestation, Event};

/// One of the two places for an identity key. A renewal fills the other one, and the old key goes only after the new
/// certificate has been used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// The first; persistent handle `0x81000100` in a TPM.
    A,
    /// The second; persistent handle `0x81000101` in a TPM.
    B,
}

impl Slot {
    /// The other slot.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// Why a key operation did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The TPM or its transport failed. The text is the library's.
    #[error("run {operation} on the TPM: {cause}")]
    Tpm {
        /// What was tried.
        operation: &'static str,
        /// What the library says.
        cause: String,
    },
    /// The TPM could not be reached at all.
    #[error("open the TPM {tcti:?}: {cause}; check that it exists and that this user may use it (group tss)")]
    Unavailable {
        /// How it was addressed.
        tcti: String,
        /// What the library says.
        cause: String,
    },
    /// There is no key in this slot.
    #[error("use the identity key in slot {0:?}: there is none; create it first")]
    EmptySlot(Slot),
    /// There is a key in this slot, which nothing overwrites.
    #[error("create an identity key in slot {0:?}: it holds one; evict that first")]
    OccupiedSlot(Slot),
    /// The credential was made for another TPM or attestation key.
    #[error("open the credential: it was not made for this TPM and attestation key")]
    ForeignCredential,
    /// An argument that no TPM takes.
    #[error("use {what}: {why}")]
    Invalid {
        /// The argument.
        what: &'static str,
        /// Why not.
        why: String,
    },
    /// The identity key is bound to approved firmware, and this is none: the TPM does not sign.
    #[error("sign with the identity key: it is bound to approved firmware, and {why}")]
    Unapproved {
        /// What was found.
        why: String,
    },
    /// The queue of the TPM's thread is full.
    #[error("queue a TPM operation: {0} are already waiting; try again later")]
    Busy(usize),
    /// The TPM's thread is gone.
    #[error("reach the TPM: its thread has ended")]
    Gone,
}

/// What a device's TPM does for enrolment and TLS. Calls block; run them on a thread of their own.
pub trait DeviceKeys: Send {
    /// What kind of TPM this is, for logs and for people. The hub believes only the certificate chain.
    fn class_hint(&self) -> &'static str;

    /// The endorsement certificate in DER, if the TPM holds one.
    ///
    /// # Errors
    /// When the TPM fails.
    fn ek_certificate(&mut self) -> Result<Option<Vec<u8>>, KeyError>;

    /// Certificates between that one and the manufacturer's root, in DER, leaf side first, as far as the TPM holds them.
    ///
    /// # Errors
    /// When the TPM fails.
    fn ek_chain(&mut self) -> Result<Vec<Vec<u8>>, KeyError> {
        Ok(Vec::new())
    }

    /// The endorsement key's `TPMT_PUBLIC`.
    ///
    /// # Errors
    /// When the TPM fails.
    fn ek_public(&mut self) -> Result<Vec<u8>, KeyError>;

    /// The attestation key's `TPMT_PUBLIC`. The same key always, also after the TPM was cleared.
    ///
    /// # Errors
    /// When the TPM fails.
    fn ak_public(&mut self) -> Result<Vec<u8>, KeyError>;

    /// Makes a new identity key in an empty slot; gives its `TPMT_PUBLIC`.
    ///
    /// # Errors
    /// `OccupiedSlot`, or when the TPM fails.
    fn create_ldevid(&mut self, slot: Slot) -> Result<Vec<u8>, KeyError>;

    /// The `TPMT_PUBLIC` of the identity key in a slot, if there is one.
    ///
    /// # Errors
    /// When the TPM fails.
    fn ldevid_public(&mut self, slot: Slot) -> Result<Option<Vec<u8>>, KeyError>;

    /// Removes the identity key in a slot, for ever. An empty slot is left as it is.
    ///
    /// # Errors
    /// When the TPM fails.
    fn evict_ldevid(&mut self, slot: Slot) -> Result<(), KeyError>;

    /// Signs a SHA-256 digest with the identity key in a slot; gives the ECDSA signature in DER.
    ///
    /// # Errors
    /// `EmptySlot`, or when the TPM fails.
    fn sign(&mut self, slot: Slot, digest: &[u8; 32]) -> Result<Vec<u8>, KeyError>;

    /// Opens a credential that was made for this endorsement key and attestation key.
    ///
    /// # Errors
    /// `ForeignCredential`, or when the TPM fails.
    fn activate(&mut self, credential_blob: &[u8], encrypted_secret: &[u8]) -> Result<Vec<u8>, KeyError>;

    /// Has the attestation key certify the identity key in a slot.
    ///
    /// # Errors
    /// `EmptySlot`, or when the TPM fails.
    fn certify(&mut self, slot: Slot, qualifying_data: &[u8; 32]) -> Result<Attestation, KeyError>;

    /// Has the attestation key quote these registers (SHA-256 bank, ascending).
    ///
    /// # Errors
    /// When a register does not exist or the TPM fails.
    fn quote(&mut self, selection: &[u8], qualifying_data: &[u8; 32]) -> Result<Attestation, KeyError>;

    /// Values of these registers (SHA-256 bank), in the order asked.
    ///
    /// # Errors
    /// When a register does not exist or the TPM fails.
    fn pcrs(&mut self, selection: &[u8]) -> Result<Vec<[u8; 32]>, KeyError>;

    /// Extends a register of the SHA-256 bank.
    ///
    /// # Errors
    /// When the register does not exist or may not be extended, or the TPM fails.
    fn extend(&mut self, pcr: u8, digest: &[u8; 32]) -> Result<(), KeyError>;

    /// What these registers were extended with since the last reset, as far as that is known: to be sent along with their
    /// quote. A register that nothing is known of is left out.
    ///
    /// # Errors
    /// When a register does not exist or the TPM fails.
    fn event_log(&mut self, _selection: &[u8]) -> Result<Vec<Event>, KeyError> {
        Ok(Vec::new())
    }
}
