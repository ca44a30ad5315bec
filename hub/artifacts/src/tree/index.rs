//! What is in a tree: one CBOR map in deterministic encoding (RFC 8949 §4.2.1), so that one index has one form.
//!
//! ```text
//! index    = { 0: 1, 1: made (Unix seconds), 2: number, 3: [* artifact], }
//! artifact = { 0: sha256, 1: size, ? 2: sha1, ? 3: md5, 4: name, 5: version, 6: class, 7: kind, ? 8: transfer,
//!              ? 9: { * text => text }, ? 10: [* bytes], 11: stored (Unix seconds) }
//! kind     = 0 image / 1 bundle / 2 configuration / 3 transfer
//! transfer = [image: sha256, encoding: 0..3, ? from: sha256]
//! ```

use std::collections::BTreeMap;

use muster_schemas::{
    cbor::{InvalidCbor, Reader, Writer},
    firmware::Encoding,
};

use super::sign::{self, IndexVerifier, Unsigned};
use crate::{
    artifact::{Artifact, ExternalUrl, InvalidArtifact, Kind, Location},
    digest::{Digest, Md5, Sha1},
    limits::{
        ARTIFACTS_MAX, ATTRIBUTE_BYTES_MAX, ATTRIBUTES_MAX, NAME_BYTES_MAX, SIGNATURE_BYTES_MAX,
        SIGNATURES_MAX, VERSION_BYTES_MAX,
    },
};

const FORMAT: u64 = 1;

/// Why bytes are no index.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIndex {
    /// The signature.
    #[error(transparent)]
    Unsigned(#[from] Unsigned),
    /// Not the CBOR that it should be.
    #[error("the index {0}")]
    Malformed(#[from] InvalidCbor),
    /// A format of a later version.
    #[error("the index has the format {0}; this program knows {FORMAT}")]
    Format(u64),
    /// A name, version or kind that is none.
    #[error("the index: {0}")]
    Artifact(#[from] InvalidArtifact),
    /// Artifacts that are not in the order of their digests, attributes not in that of their names, or one twice.
    #[error("the index does not list its artifacts or attributes in their order")]
    Order,
    /// A kind, or an encoding, of which this program knows nothing.
    #[error("the index has the {what} {number}, which this program does not know")]
    Unknown {
        /// What.
        what: &'static str,
        /// Which.
        number: u64,
    },
    /// Longer than anything that belongs there.
    #[error("the index is longer than {} bytes", crate::limits::INDEX_BYTES_MAX)]
    TooLong,
}

/// What is in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// When it was made, in seconds since 1970.
    pub made_s: u64,
    /// Grows with each index of a tree: whoever has seen one takes none that is lower.
    pub number: u64,
    /// The artifacts, by ascending digest.
    pub entries: Vec<Entry>,
}

/// An artifact of a tree: what [`Artifact`] says, without where it is, since that is where the tree is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry(Artifact);

impl Entry {
    /// Of an artifact, wherever it is.
    pub fn new(artifact: &Artifact) -> Self {
        Self(Artifact { location: Location::External { urls: Vec::new() }, ..artifact.clone() })
    }

    /// What is said of it; its location says nothing.
    pub fn described(&self) -> &Artifact {
        &self.0
    }

    /// As an artifact that lies at these addresses: how a tree that somebody else serves is registered with a hub.
    pub fn at(&self, urls: Vec<ExternalUrl>) -> Artifact {
        Artifact { location: Location::External { urls }, ..self.0.clone() }
    }
}

impl Index {
    /// With its entries in their order, each once.
    pub fn new(made_s: u64, number: u64, entries: impl IntoIterator<Item = Entry>) -> Self {
        let by_digest: BTreeMap<Digest, Entry> =
            entries.into_iter().map(|entry| (entry.0.digest, entry)).collect();
        Self { made_s, number, entries: by_digest.into_values().collect() }
    }

    /// The bytes that are signed.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.map(4)
            .unsigned(0)
            .unsigned(FORMAT)
            .unsigned(1)
            .unsigned(self.made_s)
            .unsigned(2)
            .unsigned(self.number);
        w.unsigned(3).array(self.entries.len());
        for Entry(artifact) in &self.entries {
            write(&mut w, artifact);
        }
        w.into_bytes()
    }

    /// Reads what [`Index::encode`] wrote, and nothing else.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidIndex> {
        let mut reader = Reader::strict(bytes);
        let r = &mut reader;
        let mut fields = r.fields(4)?;
        fields.require(r, 0)?;
        match r.unsigned(u64::MAX)? {
            FORMAT => {}
            other => return Err(InvalidIndex::Format(other)),
        }
        fields.require(r, 1)?;
        let made_s = r.unsigned(u64::MAX)?;
        fields.require(r, 2)?;
        let number = r.unsigned(u64::MAX)?;
        fields.require(r, 3)?;
        let mut items = r.array(ARTIFACTS_MAX)?;
        let mut entries: Vec<Entry> = Vec::new();
        while r.more(&mut items)? {
            let entry = read(r)?;
            if entries.last().is_some_and(|last| last.0.digest >= entry.0.digest) {
                return Err(InvalidIndex::Order);
            }
            entries.push(entry);
        }
        fields.end(r)?;
        reader.finish()?;
        Ok(Self { made_s, number, entries })
    }

    /// Reads a signed index.
    pub fn open(signed: &[u8], verifier: &dyn IndexVerifier) -> Result<Self, InvalidIndex> {
        if signed.len() > crate::limits::INDEX_BYTES_MAX {
            return Err(InvalidIndex::TooLong);
        }
        Self::decode(sign::open(signed, verifier)?)
    }

    /// The entry of a digest.
    pub fn entry(&self, digest: &Digest) -> Option<&Entry> {
        let found = self.entries.binary_search_by_key(digest, |entry| entry.0.digest).ok()?;
        self.entries.get(found)
    }
}

fn write(w: &mut Writer, artifact: &Artifact) {
    let Artifact {
        digest,
        size,
        sha1,
        md5,
        name,
        version,
        class,
        kind,
        attributes,
        signatures,
        stored_s,
        ..
    } = artifact;
    let (number, transfer) = match kind {
        Kind::Image => (0, None),
        Kind::Bundle => (1, None),
        Kind::Configuration => (2, None),
        Kind::Transfer { image, encoding, from } => (3, Some((image, encoding, from))),
    };
    let some =
        [sha1.is_some(), md5.is_some(), transfer.is_some(), !attributes.is_empty(), !signatures.is_empty()];
    w.map(7 + some.into_iter().filter(|there| *there).count());
    w.unsigned(0).bytes(&digest.0).unsigned(1).unsigned(*size);
    if let Some(sha1) = sha1 {
        w.unsigned(2).bytes(&sha1.0);
    }
    if let Some(md5) = md5 {
        w.unsigned(3).bytes(&md5.0);
    }
    w.unsigned(4).text(name.as_str()).unsigned(5).text(version.as_str()).unsigned(6).text(class.as_str());
    w.unsigned(7).unsigned(number);
    if let Some((image, encoding, from)) = transfer {
        w.unsigned(8)
            .array(2 + usize::from(from.is_some()))
            .bytes(&image.0)
            .unsigned(encoding.number().into());
        if let Some(from) = from {
            w.bytes(&from.0);
        }
    }
    if !attributes.is_empty() {
        // Deterministic encoding orders texts by their length first.
        let mut pairs: Vec<_> = attributes.iter().collect();
        pairs.sort_by_key(|(key, _)| (key.len(), *key));
        w.unsigned(9).map(pairs.len());
        pairs.into_iter().for_each(|(key, value)| {
            w.text(key).text(value);
        });
    }
    if !signatures.is_empty() {
        w.unsigned(10).array(signatures.len());
        signatures.iter().for_each(|signature| {
            w.bytes(signature);
        });
    }
    w.unsigned(11).unsigned(*stored_s);
}

fn read(r: &mut Reader<'_>) -> Result<Entry, InvalidIndex> {
    let mut fields = r.fields(12)?;
    fields.require(r, 0)?;
    let digest = Digest(r.array_of_bytes()?);
    fields.require(r, 1)?;
    let size = r.unsigned(u64::MAX)?;
    let sha1 = if fields.optional(r, 2)? { Some(Sha1(r.array_of_bytes()?)) } else { None };
    let md5 = if fields.optional(r, 3)? { Some(Md5(r.array_of_bytes()?)) } else { None };
    fields.require(r, 4)?;
    let name = r.text(NAME_BYTES_MAX)?.parse()?;
    fields.require(r, 5)?;
    let version = r.text(VERSION_BYTES_MAX)?.parse()?;
    fields.require(r, 6)?;
    let class = r.text(NAME_BYTES_MAX)?.parse()?;
    fields.require(r, 7)?;
    let kind = match r.unsigned(u64::MAX)? {
        0 => Kind::Image,
        1 => Kind::Bundle,
        2 => Kind::Configuration,
        3 => {
            fields.require(r, 8)?;
            transfer(r)?
        }
        number => return Err(InvalidIndex::Unknown { what: "kind", number }),
    };
    let mut attributes = BTreeMap::new();
    if fields.optional(r, 9)? {
        let (mut items, mut last) = (r.map(ATTRIBUTES_MAX)?, None);
        while r.more(&mut items)? {
            let key = r.text(ATTRIBUTE_BYTES_MAX)?;
            if last.is_some_and(|last: &str| (last.len(), last) >= (key.len(), key)) {
                return Err(InvalidIndex::Order);
            }
            last = Some(key);
            attributes.insert(key.to_owned(), r.text(ATTRIBUTE_BYTES_MAX)?.to_owned());
        }
    }
    let mut signatures = Vec::new();
    if fields.optional(r, 10)? {
        let mut items = r.array(SIGNATURES_MAX)?;
        while r.more(&mut items)? {
            signatures.push(r.bytes(SIGNATURE_BYTES_MAX)?.to_vec());
        }
    }
    fields.require(r, 11)?;
    let stored_s = r.unsigned(u64::MAX)?;
    fields.end(r)?;
    let location = Location::External { urls: Vec::new() };
    let artifact = Artifact {
        digest,
        size,
        sha1,
        md5,
        name,
        version,
        class,
        kind,
        attributes,
        signatures,
        stored_s,
        location,
    };
    Ok(Entry(artifact))
}

fn transfer(r: &mut Reader<'_>) -> Result<Kind, InvalidIndex> {
    let mut items = r.array(3)?;
    let count = items.announced().unwrap_or_default();
    if count < 2 {
        return Err(InvalidCbor::WrongSize { found: count as u64, expected: 3 }.into());
    }
    r.more(&mut items)?;
    let image = Digest(r.array_of_bytes()?);
    r.more(&mut items)?;
    let number = r.unsigned(u64::MAX)?;
    let encoding = u8::try_from(number).ok().and_then(Encoding::from_number);
    let encoding = encoding.ok_or(InvalidIndex::Unknown { what: "encoding", number })?;
    let from = if r.more(&mut items)? { Some(Digest(r.array_of_bytes()?)) } else { None };
    match encoding.is_patch() == from.is_some() {
        true => Ok(Kind::Transfer { image, encoding, from }),
        false => Err(InvalidArtifact::From.into()),
    }
}
