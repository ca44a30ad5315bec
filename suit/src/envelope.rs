//! The envelope (draft-ietf-suit-manifest-34 §8.2): a manifest, the digest of its bytes, who signed that, and what
//! was taken out of the manifest to be left behind.
//!
//! Read in three steps, so that nothing unsigned is looked into: [`Envelope::open`] finds the parts and checks the
//! digest, [`Envelope::signers`] says who signed, [`Envelope::manifest`] reads what was signed.

use aws_lc_rs::digest::{SHA256, digest};
use muster_schemas::{
    cbor::{InvalidCbor, Major, Reader, Writer},
    firmware::Digest,
};

use crate::{
    InvalidCose, Manifest, PublicKey, SignFailure, Signer, cose,
    cose::Signed,
    limits::{ENVELOPE_BYTES_MAX, PAYLOAD_NAME_BYTES_MAX, PAYLOADS_MAX, SIGNATURES_MAX, WRAPPER_BYTES_MAX},
};

/// The tag of an envelope.
const TAG: u64 = 107;
const WRAPPER: u64 = 2;
const MANIFEST: u64 = 3;
/// SHA-256 in COSE (RFC 9054 §2.1).
const SHA_256: i128 = -16;
/// Members of a manifest that may lie beside it (§5.4): payload-fetch, install, text.
pub(crate) const SEVERABLE: [i128; 3] = [16, 20, 23];

/// Why bytes are no envelope that we read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEnvelope {
    /// Longer than any may be.
    #[error("is longer than {ENVELOPE_BYTES_MAX} bytes")]
    TooLong,
    /// Not the CBOR that it should be.
    #[error("{0}")]
    Cbor(#[from] InvalidCbor),
    /// A signature that cannot be read.
    #[error("has a signature that cannot be read: it {0}")]
    Signature(#[from] InvalidCose),
    /// Something that this version does not know. It may change what is meant, so that all of it is refused.
    #[error("has the {what} {number}, which this version does not know")]
    Unsupported {
        /// What.
        what: &'static str,
        /// Its number.
        number: i128,
    },
    /// A key twice in a map.
    #[error("has a key twice in {0}")]
    Twice(&'static str),
    /// Something that has to be there.
    #[error("lacks {0}")]
    Missing(&'static str),
    /// The digest is not that of the bytes.
    #[error("has a digest that is not that of {0}")]
    Digest(&'static str),
    /// A format that this version does not know.
    #[error("has the format {0}, and only 1 is known")]
    Format(u64),
    /// A member beside the manifest that the manifest does not name.
    #[error("has a member {0} beside the manifest that the manifest does not name")]
    Unsigned(i128),
    /// No components, or a name of one that cannot be.
    #[error("names components that it does not have, or none")]
    Components,
    /// A try-each that is none.
    #[error("has a try-each without two alternatives")]
    TryEach,
    /// Nested too deep.
    #[error("has alternatives within alternatives within alternatives")]
    TooDeep,
    /// No version.
    #[error("has a version that is none")]
    Version,
    /// A control character in an address.
    #[error("has a control character in an address")]
    Control,
    /// A name of a payload that is none.
    #[error("carries a payload whose name does not begin with '#'")]
    PayloadName,
}

/// An envelope, taken apart. Its digest is right; whose signatures it has is another question.
#[derive(Debug, Clone)]
pub struct Envelope<'a> {
    digest: Digest,
    /// `SUIT_Digest` as it came: what the signatures are over.
    signed: &'a [u8],
    blocks: Vec<&'a [u8]>,
    signatures: Vec<Signed<'a>>,
    manifest: &'a [u8],
    severed: Vec<(i128, &'a [u8])>,
    payloads: Vec<(&'a str, &'a [u8])>,
    /// All keys and values but the wrapper, as they came.
    others: Vec<&'a [u8]>,
}

impl<'a> Envelope<'a> {
    /// Finds the parts, and checks that the digest is that of the manifest.
    ///
    /// # Errors
    /// It is no envelope, or its digest is another's.
    pub fn open(bytes: &'a [u8]) -> Result<Self, InvalidEnvelope> {
        if bytes.len() > ENVELOPE_BYTES_MAX {
            return Err(InvalidEnvelope::TooLong);
        }
        let mut reader = Reader::strict(bytes);
        reader.tag(TAG)?;
        let mut items = reader.map(2 + SEVERABLE.len() + PAYLOADS_MAX)?;
        let (mut wrapper, mut manifest) = (None, None);
        let (mut severed, mut payloads, mut others) = (Vec::new(), Vec::new(), Vec::new());
        while reader.more(&mut items)? {
            let (raw, key) = reader.raw(|reader| -> Result<Key<'a>, InvalidEnvelope> {
                if reader.peek()? == Major::Text {
                    let name = reader.text(PAYLOAD_NAME_BYTES_MAX)?;
                    return Ok(Key::Payload(name, reader.bytes(ENVELOPE_BYTES_MAX)?));
                }
                let number = reader.integer()?;
                let (raw, value) = reader.raw(|reader| reader.bytes(ENVELOPE_BYTES_MAX))?;
                Ok(Key::Member(number, raw, value))
            })?;
            match key {
                Key::Payload(name, _) if !name.starts_with('#') => return Err(InvalidEnvelope::PayloadName),
                Key::Payload(name, _) if payloads.iter().any(|(known, _)| *known == name) => {
                    return Err(InvalidEnvelope::Twice("the envelope"));
                }
                Key::Payload(name, value) => payloads.push((name, value)),
                Key::Member(number, _, value) if number == i128::from(WRAPPER) => set(&mut wrapper, value)?,
                Key::Member(number, raw, value) if number == i128::from(MANIFEST) => {
                    set(&mut manifest, (raw, value))?;
                }
                Key::Member(number, raw, _) if SEVERABLE.contains(&number) => {
                    if severed.iter().any(|(known, _)| *known == number) {
                        return Err(InvalidEnvelope::Twice("the envelope"));
                    }
                    severed.push((number, raw));
                }
                Key::Member(number, ..) => {
                    return Err(InvalidEnvelope::Unsupported { what: "member of the envelope", number });
                }
            }
            if !matches!(key, Key::Member(2, ..)) {
                others.push(raw);
            }
        }
        reader.finish()?;
        let wrapper = wrapper.ok_or(InvalidEnvelope::Missing("the authentication wrapper (2)"))?;
        let (raw_manifest, manifest) = manifest.ok_or(InvalidEnvelope::Missing("the manifest (3)"))?;
        let (signed, blocks) = read_wrapper(wrapper)?;
        let expected = digest_of(signed)?;
        // The digest is over the byte string with its head, as it came (§8.3).
        if sha_256(raw_manifest) != expected {
            return Err(InvalidEnvelope::Digest("the manifest"));
        }
        let mut signatures = Vec::new();
        for block in &blocks {
            // What is signed lies outside, in the wrapper: there is no room for another payload in the block.
            signatures.push(Signed::decode(block, 0)?);
        }
        if signatures.iter().map(Signed::signatures).sum::<usize>() > SIGNATURES_MAX {
            return Err(InvalidCbor::TooMany { found: blocks.len() as u64, max: SIGNATURES_MAX }.into());
        }
        Ok(Self { digest: expected, signed, blocks, signatures, manifest, severed, payloads, others })
    }

    /// The digest of the manifest: what an offer names.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Which of the keys have signed.
    pub fn signers<'k>(&self, keys: &[&'k PublicKey]) -> Vec<&'k PublicKey> {
        let mut found: Vec<&'k PublicKey> = Vec::new();
        for signed in &self.signatures {
            for key in signed.signers(Some(self.signed), keys) {
                if !found.contains(&key) {
                    found.push(key);
                }
            }
        }
        found
    }

    /// How many signatures there are, whosever.
    pub fn signatures(&self) -> usize {
        self.signatures.iter().map(Signed::signatures).sum()
    }

    /// Payloads that it carries, by name.
    pub fn payloads(&self) -> &[(&'a str, &'a [u8])] {
        &self.payloads
    }

    /// Reads what was signed, with the members that lie beside it.
    ///
    /// # Errors
    /// It is no manifest that this version can carry out whole.
    pub fn manifest(&self) -> Result<Manifest, InvalidEnvelope> {
        Manifest::decode(self.manifest, &self.severed)
    }

    /// The envelope with one more signature.
    ///
    /// # Errors
    /// The key's keeper refused.
    pub fn signed_by(&self, signer: &dyn Signer) -> Result<Vec<u8>, SignFailure> {
        let block = cose::sign1_detached(self.signed, signer)?;
        let mut w = Writer::default();
        w.array(2 + self.blocks.len()).bytes(self.signed);
        for known in &self.blocks {
            w.bytes(known);
        }
        w.bytes(&block);
        let wrapper = w.into_bytes();
        let mut w = Writer::default();
        w.tag(TAG).map(1 + self.others.len()).unsigned(WRAPPER).bytes(&wrapper);
        let mut bytes = w.into_bytes();
        for other in &self.others {
            bytes.extend_from_slice(other);
        }
        Ok(bytes)
    }
}

enum Key<'a> {
    Payload(&'a str, &'a [u8]),
    Member(i128, &'a [u8], &'a [u8]),
}

fn set<T>(place: &mut Option<T>, value: T) -> Result<(), InvalidEnvelope> {
    if place.replace(value).is_some() {
        return Err(InvalidEnvelope::Twice("the envelope"));
    }
    Ok(())
}

/// `SUIT_Authentication` (§8.3): the digest, and blocks that authenticate it.
fn read_wrapper(bytes: &[u8]) -> Result<(&[u8], Vec<&[u8]>), InvalidEnvelope> {
    let mut reader = Reader::strict(bytes);
    let mut items = reader.array(1 + SIGNATURES_MAX)?;
    if !reader.more(&mut items)? {
        return Err(InvalidEnvelope::Missing("the digest of the manifest"));
    }
    let digest = reader.bytes(WRAPPER_BYTES_MAX)?;
    let mut blocks = Vec::new();
    while reader.more(&mut items)? {
        blocks.push(reader.bytes(WRAPPER_BYTES_MAX)?);
    }
    reader.finish()?;
    Ok((digest, blocks))
}

/// An envelope without signatures around a manifest.
pub(crate) fn unsigned(manifest: &[u8]) -> Vec<u8> {
    let mut w = Writer::default();
    w.bytes(manifest);
    let digest = encode_digest(sha_256(&w.into_bytes()));
    let mut w = Writer::default();
    w.array(1).bytes(&digest);
    let wrapper = w.into_bytes();
    let mut w = Writer::default();
    w.tag(TAG).map(2).unsigned(WRAPPER).bytes(&wrapper).unsigned(MANIFEST).bytes(manifest);
    w.into_bytes()
}

pub(crate) fn sha_256(bytes: &[u8]) -> Digest {
    let mut out = [0; 32];
    out.iter_mut().zip(digest(&SHA256, bytes).as_ref()).for_each(|(to, from)| *to = *from);
    Digest(out)
}

/// `SUIT_Digest` (§10).
pub(crate) fn encode_digest(digest: Digest) -> Vec<u8> {
    let mut w = Writer::default();
    w.array(2).integer(-16).bytes(digest.as_bytes());
    w.into_bytes()
}

/// `SUIT_Digest`, of SHA-256 only.
pub(crate) fn digest_of(bytes: &[u8]) -> Result<Digest, InvalidEnvelope> {
    let mut reader = Reader::strict(bytes);
    let digest = read_digest(&mut reader)?;
    reader.finish()?;
    Ok(digest)
}

pub(crate) fn read_digest(reader: &mut Reader<'_>) -> Result<Digest, InvalidEnvelope> {
    reader.tuple(2)?;
    match reader.integer()? {
        SHA_256 => Ok(Digest(reader.array_of_bytes()?)),
        number => Err(InvalidEnvelope::Unsupported { what: "digest algorithm", number }),
    }
}

/// Reads a map with integer keys in any order, none of them twice: who made it may order otherwise than we do.
pub(crate) fn keys<'a>(
    reader: &mut Reader<'a>,
    what: &'static str,
    mut read: impl FnMut(&mut Reader<'a>, i128) -> Result<(), InvalidEnvelope>,
) -> Result<(), InvalidEnvelope> {
    let mut items = reader.map(16)?;
    let mut seen = Vec::new();
    while reader.more(&mut items)? {
        let key = reader.integer()?;
        if seen.contains(&key) {
            return Err(InvalidEnvelope::Twice(what));
        }
        seen.push(key);
        read(reader, key)?;
    }
    Ok(())
}
