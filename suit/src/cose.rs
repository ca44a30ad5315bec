//! Signatures as COSE has them (RFC 9052 §4), ES256 only: `COSE_Sign1` (tag 18) with one signature and `COSE_Sign`
//! (tag 98) with several. The bytes that were signed are taken as they came and never written again before they are
//! checked.

use muster_schemas::cbor::{InvalidCbor, Major, Reader, Writer};

use crate::{
    PublicKey, SignFailure, Signature, Signer,
    limits::{HEADER_BYTES_MAX, KEY_NAME_BYTES_MAX, SIGNATURES_MAX},
};

const TAG_SIGN1: u64 = 18;
const TAG_SIGN: u64 = 98;
/// The protected header of every signature: `{1: -7}`, ES256 (RFC 9053 §2.1).
const ES256: &[u8] = &[0xa1, 0x01, 0x26];
/// The protected header of a body that has none (RFC 9052 §3).
const NONE: &[u8] = &[];
/// The label of a key's name (RFC 9052 §3.1).
const KID: i128 = 4;

/// Why bytes are no signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCose {
    /// Not the CBOR that it should be.
    #[error("{0}")]
    Cbor(#[from] InvalidCbor),
    /// Another algorithm, or a header that may change what is meant.
    #[error("has a protected header other than {{1: -7}}: only ES256 is read")]
    Header,
    /// A header that is not protected, other than the name of a key.
    #[error("has an unprotected header with the label {0}, where only a key's name (4) may be")]
    Unprotected(i128),
    /// No signature in it.
    #[error("has no signature")]
    NoSignature,
}

/// One `COSE_Sign1`, or one `COSE_Sign` with its signatures: taken apart, not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed<'a> {
    /// What is signed, when it is inside.
    pub payload: Option<&'a [u8]>,
    several: bool,
    signatures: Vec<Signature>,
}

impl<'a> Signed<'a> {
    /// Takes apart either of them.
    ///
    /// # Errors
    /// It is neither.
    pub fn decode(bytes: &'a [u8], payload_bytes_max: usize) -> Result<Self, InvalidCose> {
        let mut reader = Reader::strict(bytes);
        let several = bytes.first() != Some(&(0xc0 | TAG_SIGN1 as u8));
        reader.tag(if several { TAG_SIGN } else { TAG_SIGN1 })?;
        reader.tuple(4)?;
        let protected = reader.bytes(HEADER_BYTES_MAX)?;
        if protected != if several { NONE } else { ES256 } {
            return Err(InvalidCose::Header);
        }
        unprotected(&mut reader)?;
        let payload = if reader.peek()? == Major::Simple {
            reader.null()?;
            None
        } else {
            Some(reader.bytes(payload_bytes_max)?)
        };
        let mut signatures = Vec::new();
        if several {
            let mut items = reader.array(SIGNATURES_MAX)?;
            while reader.more(&mut items)? {
                reader.tuple(3)?;
                if reader.bytes(HEADER_BYTES_MAX)? != ES256 {
                    return Err(InvalidCose::Header);
                }
                unprotected(&mut reader)?;
                signatures.push(reader.array_of_bytes()?);
            }
        } else {
            signatures.push(reader.array_of_bytes()?);
        }
        reader.finish()?;
        if signatures.is_empty() {
            return Err(InvalidCose::NoSignature);
        }
        Ok(Self { payload, several, signatures })
    }

    /// How many signatures there are.
    pub fn signatures(&self) -> usize {
        self.signatures.len()
    }

    /// Which of the keys have signed: the payload that is inside, or the one that is not.
    pub fn signers<'k>(&self, detached: Option<&[u8]>, keys: &[&'k PublicKey]) -> Vec<&'k PublicKey> {
        // A payload inside and another outside is nothing that anybody signed.
        let ((Some(payload), None) | (None, Some(payload))) = (self.payload, detached) else {
            return Vec::new();
        };
        let message = to_be_signed(self.several, payload);
        let mut found: Vec<&'k PublicKey> = Vec::new();
        for signature in &self.signatures {
            let fits = |key: &&&PublicKey| !found.contains(*key) && key.verifies(&message, signature);
            if let Some(key) = keys.iter().find(fits) {
                found.push(key);
            }
        }
        found
    }
}

/// A `COSE_Sign1` with its payload inside.
///
/// # Errors
/// The key's keeper refused.
pub fn sign1(payload: &[u8], signer: &dyn Signer) -> Result<Vec<u8>, SignFailure> {
    let signature = signer.sign(&to_be_signed(false, payload))?;
    let mut w = Writer::new(Vec::with_capacity(payload.len() + 80));
    w.tag(TAG_SIGN1).array(4).bytes(ES256).map(0).bytes(payload).bytes(&signature);
    Ok(w.into_bytes())
}

/// A `COSE_Sign1` whose payload travels elsewhere.
///
/// # Errors
/// The key's keeper refused.
pub fn sign1_detached(payload: &[u8], signer: &dyn Signer) -> Result<Vec<u8>, SignFailure> {
    let signature = signer.sign(&to_be_signed(false, payload))?;
    let mut w = Writer::default();
    w.tag(TAG_SIGN1).array(4).bytes(ES256).map(0).null().bytes(&signature);
    Ok(w.into_bytes())
}

/// A `COSE_Sign` with its payload inside, and these signatures.
pub fn with_signatures(payload: &[u8], signatures: &[Signature]) -> Vec<u8> {
    let mut w = Writer::default();
    w.tag(TAG_SIGN).array(4).bytes(NONE).map(0).bytes(payload).array(signatures.len());
    for signature in signatures {
        w.array(3).bytes(ES256).map(0).bytes(signature);
    }
    w.into_bytes()
}

/// The signatures of a `COSE_Sign`, to add one to them.
pub(crate) fn signatures_of(signed: &Signed<'_>) -> Vec<Signature> {
    signed.signatures.clone()
}

/// What each signer of a `COSE_Sign` signs.
pub(crate) fn sign_several(payload: &[u8], signer: &dyn Signer) -> Result<Signature, SignFailure> {
    signer.sign(&to_be_signed(true, payload))
}

/// `Sig_structure` (RFC 9052 §4.4).
fn to_be_signed(several: bool, payload: &[u8]) -> Vec<u8> {
    let mut w = Writer::new(Vec::with_capacity(payload.len() + 32));
    if several {
        w.array(5).text("Signature").bytes(NONE).bytes(ES256).bytes(&[]).bytes(payload);
    } else {
        w.array(4).text("Signature1").bytes(ES256).bytes(&[]).bytes(payload);
    }
    w.into_bytes()
}

/// Nothing, or the name of a key, which is not looked at: which key it was shows when it fits.
fn unprotected(reader: &mut Reader<'_>) -> Result<(), InvalidCose> {
    let mut items = reader.map(1)?;
    while reader.more(&mut items)? {
        match reader.integer()? {
            KID => reader.bytes(KEY_NAME_BYTES_MAX)?,
            other => return Err(InvalidCose::Unprotected(other)),
        };
    }
    Ok(())
}
