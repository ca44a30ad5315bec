//! `COSE_Sign1` with ES256 (RFC 9052 §4.2, RFC 9053 §2.1) around an index. The keys are with whoever calls: a
//! tenant's offline key, as `muster-suit` has them, or the hub's.

use muster_schemas::cbor::{InvalidCbor, Reader, Writer};

use crate::limits::INDEX_BYTES_MAX;

/// Bytes of a signature with P-256: r and s.
pub const INDEX_SIGNATURE_BYTES: usize = 64;

/// Bytes of the name of a key.
const KEY_ID_BYTES_MAX: usize = 64;
/// The tag of COSE_Sign1, in its shortest form.
const TAG: u8 = 0xd2;
/// `{1: -7}`: ES256, and nothing else. So no header can ask for a weaker one.
const PROTECTED: [u8; 3] = [0xa1, 0x01, 0x26];
const KID: u64 = 4;
/// What a signature of an index is for: one of anything else that the same key signs does not fit (RFC 9052 §4.4,
/// external data).
const PURPOSE: &[u8] = b"muster artifact index 1";

/// Signs indexes.
pub trait IndexSigner {
    /// What the key is called, for whoever looks for the public one: at most 64 bytes.
    fn key_id(&self) -> Vec<u8>;

    /// An ES256 signature of a message: r and s of 32 bytes each. In words, why there is none.
    fn sign(&self, message: &[u8]) -> Result<[u8; INDEX_SIGNATURE_BYTES], String>;
}

/// Knows whose signature on an index counts.
pub trait IndexVerifier {
    /// Whether a key of that name may sign indexes, and did sign this message.
    fn verify(&self, key_id: &[u8], message: &[u8], signature: &[u8; INDEX_SIGNATURE_BYTES]) -> bool;
}

/// Why a signature is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsigned {
    /// Not what it should be.
    #[error("it is no COSE_Sign1 of an index: {0}")]
    Malformed(#[from] InvalidCbor),
    /// Another algorithm, or none of this form.
    #[error("it is no COSE_Sign1 with ES256")]
    Other,
    /// Nobody of whom it counts.
    #[error("its signature is of nobody who may sign it, or it was changed")]
    Signature,
}

pub(super) fn sign(payload: &[u8], signer: &dyn IndexSigner) -> Result<Vec<u8>, String> {
    let signature = signer.sign(&message(payload))?;
    let mut w = Writer::new(vec![TAG]);
    w.array(4).bytes(&PROTECTED);
    w.map(1).unsigned(KID).bytes(&signer.key_id());
    w.bytes(payload).bytes(&signature);
    Ok(w.into_bytes())
}

/// The payload, if its signature counts.
pub(super) fn open<'a>(signed: &'a [u8], verifier: &dyn IndexVerifier) -> Result<&'a [u8], Unsigned> {
    let Some((&TAG, rest)) = signed.split_first() else { return Err(Unsigned::Other) };
    let mut reader = Reader::strict(rest);
    reader.tuple(4)?;
    if reader.bytes(64)? != PROTECTED {
        return Err(Unsigned::Other);
    }
    let mut fields = reader.fields(1)?;
    fields.require(&mut reader, KID)?;
    let key_id = reader.bytes(KEY_ID_BYTES_MAX)?;
    fields.end(&mut reader)?;
    let payload = reader.bytes(INDEX_BYTES_MAX)?;
    let signature = reader.array_of_bytes::<INDEX_SIGNATURE_BYTES>()?;
    reader.finish()?;
    match verifier.verify(key_id, &message(payload), &signature) {
        true => Ok(payload),
        false => Err(Unsigned::Signature),
    }
}

/// What is signed: `Sig_structure` (RFC 9052 §4.4).
fn message(payload: &[u8]) -> Vec<u8> {
    let mut w = Writer::default();
    w.array(4).text("Signature1").bytes(&PROTECTED).bytes(PURPOSE).bytes(payload);
    w.into_bytes()
}
