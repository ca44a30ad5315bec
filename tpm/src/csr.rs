//! The signing request of a device: a PKCS#10 (RFC 2986) that carries a key and the proof of holding it, and no wishes.
//! The hub uses nothing else of it, so the subject is empty and there are no attributes.

use crate::{
    keys::{DeviceKeys, KeyError, Slot},
    name::sha256,
    spki::{p256_spki_der, value},
    wire::TpmtPublic,
};

/// ecdsa-with-SHA256 (RFC 5758 §3.2).
const ECDSA_SHA256: &[u8] = &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const VERSION_1: &[u8] = &[0x02, 0x01, 0x00];
const EMPTY_SUBJECT: &[u8] = &[0x30, 0x00];
const NO_ATTRIBUTES: &[u8] = &[0xa0, 0x00];
const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;

/// A signing request for the identity key in `slot`, in DER, signed by it.
///
/// # Errors
/// When the slot is empty or the TPM fails.
pub fn signing_request(keys: &mut dyn DeviceKeys, slot: Slot) -> Result<Vec<u8>, KeyError> {
    let public = keys.ldevid_public(slot)?.ok_or(KeyError::EmptySlot(slot))?;
    let invalid = |why: String| KeyError::Invalid { what: "the identity key", why };
    let point = TpmtPublic::parse(&public)
        .map_err(|error| invalid(error.to_string()))?
        .p256_sec1()
        .ok_or_else(|| invalid("it is not a P-256 key".to_owned()))?;
    let info = [VERSION_1, EMPTY_SUBJECT, &p256_spki_der(&point), NO_ATTRIBUTES].concat();
    let info = value(SEQUENCE, &info);
    let signature = keys.sign(slot, &sha256(&[&info]))?;
    let bits = value(BIT_STRING, &[&[0u8], signature.as_slice()].concat());
    Ok(value(SEQUENCE, &[&info, ECDSA_SHA256, &bits].concat()))
}
