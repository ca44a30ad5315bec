//! Objects: what is sealed as one piece of a repository. A head of 72 bytes in clear, then perhaps a list in clear, then
//! AES-256-GCM over the rest. Head and list are the associated data.
//!
//! ```text
//!  0  8  "MUSTERBK"
//!  8  1  format, 1
//!  9  1  kind: R rows, K keys of one tenant, I piece of the index, M manifest
//! 10  6  zero
//! 16 16  id of the content key
//! 32  8  count: the nonce is four zero bytes and this; no two objects under one content key have the same
//! 40 32  id of the object
//! 72     I and M: how many references, 4 bytes, and these, 70 bytes each
//!        ciphertext, tag (16)
//! ```
//!
//! The id of a content key follows from the key, and a reference names object and key. So who signs a list of references
//! signs what is in the objects, although the names of the objects say nothing to who does not have the key.

use std::collections::BTreeMap;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac, rand,
};
use data_encoding::HEXLOWER;
use muster_seal::{OpenFailure, Opener, Padding, Recipient};
use zeroize::Zeroizing;

use crate::{
    error::{BackupError, Why},
    limits::SMALL_OBJECT_BYTES_MAX,
    place::Place,
};

const MAGIC: &[u8; 8] = b"MUSTERBK";
/// The format of everything that this program writes.
pub(crate) const FORMAT: u8 = 1;
/// Bytes of the head.
pub(crate) const HEAD_BYTES: usize = 72;
/// Bytes of the tag at its end.
pub(crate) const TAG_BYTES: usize = 16;
/// Bytes of one reference.
pub(crate) const REFERENCE_BYTES: usize = 1 + 1 + 16 + 32 + 16 + 4;

/// What an object is called by whoever looks for it: an HMAC of what is in it.
pub(crate) type ObjectId = [u8; 32];
/// Names a content key: the first half of an HMAC-SHA-256 with it, so that no other key has the same name.
pub(crate) type KeyId = [u8; 16];
/// Names a tenant to whoever sees the repository: an HMAC of its handle.
pub(crate) type Tag = [u8; 16];

/// What is in an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Rows = b'R',
    Keys = b'K',
    Index = b'I',
    Manifest = b'M',
}

/// One object that another one rests on. It stands in clear: whoever has no key can say whether all is there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reference {
    pub kind: u8,
    /// Zeros but for the keys of a tenant.
    pub tag: Tag,
    pub id: ObjectId,
    pub key: KeyId,
    /// Bytes of the whole object.
    pub bytes: u32,
}

impl Reference {
    /// The name of the object in the repository.
    pub fn name(&self) -> String {
        let (id, key) = (HEXLOWER.encode(&self.id), HEXLOWER.encode(&self.key));
        match self.kind {
            kind if kind == Kind::Keys as u8 => {
                format!("tenant-keys/{}/{id}.{key}", HEXLOWER.encode(&self.tag))
            }
            kind if kind == Kind::Index as u8 => format!("index/{id}.{key}"),
            _ => format!("chunks/{}/{id}.{key}", id.get(..2).unwrap_or_default()),
        }
    }

    /// Id and content key of the object with this name.
    pub fn named(name: &str) -> Option<(ObjectId, KeyId)> {
        let (id, key) = name.rsplit('/').next()?.split_once('.')?;
        let read = |text: &str| HEXLOWER.decode(text.as_bytes()).ok();
        Some((read(id)?.try_into().ok()?, read(key)?.try_into().ok()?))
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.kind, 0]);
        out.extend_from_slice(&self.tag);
        out.extend_from_slice(&self.id);
        out.extend_from_slice(&self.key);
        out.extend_from_slice(&self.bytes.to_be_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let ([kind, 0], rest) = bytes.split_first_chunk::<2>()? else { return None };
        let (tag, rest) = rest.split_first_chunk()?;
        let (id, rest) = rest.split_first_chunk()?;
        let (key, rest) = rest.split_first_chunk()?;
        let bytes = u32::from_be_bytes(rest.try_into().ok()?);
        Some(Self { kind: *kind, tag: *tag, id: *id, key: *key, bytes })
    }
}

/// The key that seals what one run writes. It is drawn for the run and nobody but the recipients can get it back.
pub(crate) struct ContentKey {
    pub id: KeyId,
    key: LessSafeKey,
    count: u64,
}

impl ContentKey {
    /// Draws a key; `stored` is what belongs into the repository, sealed for the recipients.
    pub fn generate(recipients: &[Recipient], repository: &str) -> Result<(Self, Vec<u8>), BackupError> {
        if recipients.is_empty() {
            return Err(BackupError::NoRecipient);
        }
        let mut key = Zeroizing::new([0; 32]);
        rand::fill(key.as_mut_slice()).map_err(|_| BackupError::Library("draw random numbers"))?;
        let id = key_id(&key);
        let stored = muster_seal::seal(key.as_slice(), &bound(repository, &id), recipients, Padding::None)
            .map_err(BackupError::Seal)?;
        Ok((Self { id, key: aes(&key)?, count: 0 }, stored))
    }

    /// The whole object.
    pub fn seal(
        &mut self,
        kind: Kind,
        id: ObjectId,
        list: Option<&[Reference]>,
        plain: &[u8],
    ) -> Result<Vec<u8>, BackupError> {
        let references = list.unwrap_or_default();
        let size = HEAD_BYTES + 4 + references.len() * REFERENCE_BYTES + plain.len() + TAG_BYTES;
        let mut object = Vec::with_capacity(size);
        object.extend_from_slice(MAGIC);
        object.extend_from_slice(&[FORMAT, kind as u8, 0, 0, 0, 0, 0, 0]);
        object.extend_from_slice(&self.id);
        object.extend_from_slice(&self.count.to_be_bytes());
        object.extend_from_slice(&id);
        if list.is_some() {
            object.extend_from_slice(&self::list(references));
        }
        let clear = object.clone();
        object.extend_from_slice(plain);
        let text = object.get_mut(clear.len()..).unwrap_or_default();
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(self.count), Aad::from(&clear), text)
            .map_err(|_| BackupError::Library("seal a piece"))?;
        object.extend_from_slice(tag.as_ref());
        self.count += 1;
        Ok(object)
    }
}

/// The content keys of a repository, as far as they were asked for, opened with a recipient's key.
pub(crate) struct ContentKeys<'a> {
    place: &'a dyn Place,
    repository: &'a str,
    opener: &'a Opener,
    open: BTreeMap<KeyId, Option<LessSafeKey>>,
}

impl<'a> ContentKeys<'a> {
    pub fn new(place: &'a dyn Place, repository: &'a str, opener: &'a Opener) -> Self {
        Self { place, repository, opener, open: BTreeMap::new() }
    }

    /// Opens an object that was read whole, which has to be the one that is referred to.
    pub fn open(
        &mut self,
        kind: Kind,
        expected: &Reference,
        object: &[u8],
    ) -> Result<Result<Zeroizing<Vec<u8>>, Why>, BackupError> {
        match Head::read(object) {
            // Under another key somebody else may have sealed it.
            Some(head) if head.key == expected.key => self.open_object(kind, &expected.id, object),
            _ => Ok(Err(Why::Changed)),
        }
    }

    /// Opens an object that nothing names but its place: a manifest, whose signature says the rest.
    pub fn open_object(
        &mut self,
        kind: Kind,
        id: &ObjectId,
        object: &[u8],
    ) -> Result<Result<Zeroizing<Vec<u8>>, Why>, BackupError> {
        let Some(head) = Head::read(object) else { return Ok(Err(Why::Changed)) };
        if head.format != FORMAT {
            let name = HEXLOWER.encode(&head.id);
            return Err(BackupError::Version { name, version: head.format.into(), known: FORMAT.into() });
        }
        if head.kind != kind as u8 || *id != head.id {
            return Ok(Err(Why::Changed));
        }
        let clear_bytes = match clear_bytes(kind, object) {
            Some(bytes) if bytes + TAG_BYTES <= object.len() => bytes,
            _ => return Ok(Err(Why::Changed)),
        };
        let Some(key) = self.key(&head.key)? else {
            return Ok(Err(Why::KeyMissing(HEXLOWER.encode(&head.key))));
        };
        let (clear, sealed) = object.split_at(clear_bytes);
        let mut text = Zeroizing::new(sealed.to_vec());
        let Ok(length) =
            key.open_in_place(nonce(head.count), Aad::from(clear), &mut text).map(|text| text.len())
        else {
            return Ok(Err(Why::Changed));
        };
        text.truncate(length);
        Ok(Ok(text))
    }

    /// A content key; none if its file is gone or was changed. Refuses a key that it was not made for.
    fn key(&mut self, id: &KeyId) -> Result<Option<&LessSafeKey>, BackupError> {
        if !self.open.contains_key(id) {
            let found = self.place.get(&key_name(id), SMALL_OBJECT_BYTES_MAX)?;
            let key = match found {
                Some(file) => self.unseal(id, &file)?,
                None => None,
            };
            self.open.insert(*id, key);
        }
        Ok(self.open.get(id).and_then(Option::as_ref))
    }

    fn unseal(&self, id: &KeyId, file: &[u8]) -> Result<Option<LessSafeKey>, BackupError> {
        let plain = match muster_seal::open(file, &bound(self.repository, id), self.opener) {
            Ok(plain) => plain,
            Err(OpenFailure::NotForThisKey { ours, others }) => {
                return Err(BackupError::WrongKey { have: ours.to_string(), made_for: others });
            }
            Err(_) => return Ok(None),
        };
        let Ok(key) = <[u8; 32]>::try_from(plain.as_slice()).map(Zeroizing::new) else { return Ok(None) };
        // AES-GCM opens some texts with more than one key; only one key has this name.
        if key_id(&key) != *id {
            return Ok(None);
        }
        Ok(Some(aes(&key)?))
    }
}

/// The name of the file of a content key.
pub(crate) fn key_name(id: &KeyId) -> String {
    format!("keys/{}.cose", HEXLOWER.encode(id))
}

/// The content key whose file has this name.
pub(crate) fn key_of_name(name: &str) -> Option<KeyId> {
    let id = name.strip_prefix("keys/")?.strip_suffix(".cose")?;
    HEXLOWER.decode(id.as_bytes()).ok()?.try_into().ok()
}

/// References as they stand in an object.
pub(crate) fn list(references: &[Reference]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + references.len() * REFERENCE_BYTES);
    out.extend_from_slice(&u32::try_from(references.len()).unwrap_or(u32::MAX).to_be_bytes());
    references.iter().for_each(|reference| reference.write(&mut out));
    out
}

/// What stands in front of an object.
pub(crate) struct Head {
    pub format: u8,
    pub kind: u8,
    pub key: KeyId,
    count: u64,
    pub id: ObjectId,
}

impl Head {
    pub fn read(object: &[u8]) -> Option<Self> {
        let rest = object.strip_prefix(MAGIC)?;
        let ([format, kind, 0, 0, 0, 0, 0, 0], rest) = rest.split_first_chunk::<8>()? else { return None };
        let (key, rest) = rest.split_first_chunk()?;
        let (count, rest) = rest.split_first_chunk()?;
        let (id, _) = rest.split_first_chunk()?;
        let count = u64::from_be_bytes(*count);
        Some(Self { format: *format, kind: *kind, key: *key, count, id: *id })
    }
}

/// The references that an object names in clear. Nothing if it is not as it should be.
pub(crate) fn references(kind: Kind, object: &[u8]) -> Option<Vec<Reference>> {
    let end = clear_bytes(kind, object)?;
    let list = object.get(HEAD_BYTES + 4..end)?;
    list.chunks_exact(REFERENCE_BYTES).map(Reference::read).collect()
}

/// Bytes in front of the ciphertext.
fn clear_bytes(kind: Kind, object: &[u8]) -> Option<usize> {
    match kind {
        Kind::Rows | Kind::Keys => Some(HEAD_BYTES),
        Kind::Index | Kind::Manifest => {
            let count = object.get(HEAD_BYTES..HEAD_BYTES + 4)?.try_into().ok().map(u32::from_be_bytes)?;
            let bytes = (count as usize).checked_mul(REFERENCE_BYTES)?.checked_add(HEAD_BYTES + 4)?;
            (bytes <= object.len()).then_some(bytes)
        }
    }
}

/// What a sealed content key is bound to.
pub(crate) fn bound(repository: &str, id: &KeyId) -> Vec<u8> {
    [b"muster/backup/key/1|".as_slice(), repository.as_bytes(), b"|", id].concat()
}

fn key_id(key: &Zeroizing<[u8; 32]>) -> KeyId {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_slice()), b"muster/backup/key-id/1");
    let mut id = [0; 16];
    id.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
    id
}

fn aes(key: &Zeroizing<[u8; 32]>) -> Result<LessSafeKey, BackupError> {
    let key = UnboundKey::new(&AES_256_GCM, key.as_slice());
    Ok(LessSafeKey::new(key.map_err(|_| BackupError::Library("AES refused a key"))?))
}

fn nonce(count: u64) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce.iter_mut().skip(NONCE_LEN - 8).zip(count.to_be_bytes()).for_each(|(out, byte)| *out = byte);
    Nonce::assume_unique_for_key(nonce)
}
