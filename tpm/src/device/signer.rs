//! The identity key as rustls sees it. The private part stays in the TPM; every handshake costs one TPM signature.

use rustls::{
    Error, SignatureAlgorithm, SignatureScheme,
    pki_types::SubjectPublicKeyInfoDer,
    sign::{Signer, SigningKey},
};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::TpmThread;
use crate::{
    keys::{KeyError, Slot},
    name::sha256,
    spki::p256_spki_der,
    wire::TpmtPublic,
};

/// The identity key in one slot. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TlsKey {
    tpm: TpmThread,
    slot: Slot,
    sec1: [u8; 65],
}

impl TlsKey {
    /// The key in `slot`. Blocks while the TPM reads its public part.
    ///
    /// # Errors
    /// `EmptySlot`, or when the TPM fails.
    pub fn open(tpm: TpmThread, slot: Slot) -> Result<Self, KeyError> {
        let public = tpm.call(move |keys| keys.ldevid_public(slot))?.ok_or(KeyError::EmptySlot(slot))?;
        let invalid = |why: String| KeyError::Invalid { what: "the identity key", why };
        let sec1 = TpmtPublic::parse(&public)
            .map_err(|error| invalid(error.to_string()))?
            .p256_sec1()
            .ok_or_else(|| invalid("it is not a P-256 key".to_owned()))?;
        Ok(Self { tpm, slot, sec1 })
    }

    /// Signs a message with ECDSA and SHA-256; gives the signature in DER. rustls signs synchronously, so on a
    /// multi-thread runtime the other tasks move to another worker meanwhile; on a current-thread one they wait. Not inside
    /// a `LocalSet` on a multi-thread runtime: tokio panics there.
    ///
    /// # Errors
    /// When the TPM fails or its thread is gone.
    pub fn sign_message(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let (slot, digest) = (self.slot, sha256(&[message]));
        let sign = || self.tpm.call(move |keys| keys.sign(slot, &digest));
        match Handle::try_current() {
            Ok(runtime) if runtime.runtime_flavor() == RuntimeFlavor::MultiThread => {
                tokio::task::block_in_place(sign)
            }
            _ => sign(),
        }
    }

    /// The slot the key is in.
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// The uncompressed point, 65 bytes.
    pub fn sec1(&self) -> &[u8] {
        &self.sec1
    }

    /// The SubjectPublicKeyInfo in DER.
    pub fn spki_der(&self) -> Vec<u8> {
        p256_spki_der(&self.sec1)
    }
}

impl SigningKey for TlsKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let offered = offered.contains(&SignatureScheme::ECDSA_NISTP256_SHA256);
        offered.then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    /// Lets rustls check that key and certificate belong together.
    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(self.spki_der().into())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for TlsKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.sign_message(message).map_err(|error| Error::General(format!("failed to {error}")))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}
