//! The manifest (draft-ietf-suit-manifest-34 §8.4): for which devices, which image, and what to do with it.

use muster_schemas::{
    cbor::{Major, Reader, Writer},
    firmware::{Digest, Sequence, Uuid},
};

use crate::{
    InvalidEnvelope, Version,
    command::{Command, read_sequence, read_version},
    envelope::{self, encode_digest, keys, read_digest, sha_256},
    limits::{COMPONENT_PART_BYTES_MAX, COMPONENT_PARTS_MAX, COMPONENTS_MAX, ENVELOPE_BYTES_MAX},
};

/// A manifest, read. Whether it is for this device says [`crate::carry_out`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its number (2).
    pub sequence: Sequence,
    /// What it is about: each a path of byte strings (3, 2).
    pub components: Vec<Vec<Vec<u8>>>,
    /// The version of what it installs (6, draft-ietf-suit-update-management).
    pub version: Option<Version>,
    /// What comes before each other sequence (3, 4).
    pub shared: Vec<Command>,
    /// Whether what is installed is what it should be (7).
    pub validate: Option<Vec<Command>>,
    /// How it is fetched before it is installed (16).
    pub fetch: Option<Vec<Command>>,
    /// How it is installed (20).
    pub install: Option<Vec<Command>>,
    /// How it is started (9).
    pub invoke: Option<Vec<Command>>,
    /// Members that were taken out and do not lie beside it: 16, 20 or 23.
    pub left_behind: Vec<i128>,
}

/// A member that may have been taken out.
enum Member<'a> {
    Here(&'a [u8]),
    Elsewhere(Digest),
}

impl Manifest {
    pub(crate) fn decode(bytes: &[u8], severed: &[(i128, &[u8])]) -> Result<Self, InvalidEnvelope> {
        let mut reader = Reader::strict(bytes);
        let (mut format, mut sequence, mut common, mut version) = (None, None, None, None);
        let (mut validate, mut invoke) = (None, None);
        let mut members: Vec<(i128, Member<'_>)> = Vec::new();
        keys(&mut reader, "the manifest", |reader, key| {
            match key {
                1 => format = Some(reader.unsigned(u64::MAX)?),
                2 => sequence = Some(Sequence(reader.unsigned(u64::MAX)?)),
                3 => common = Some(read_common(reader.bytes(ENVELOPE_BYTES_MAX)?)?),
                6 => {
                    let mut inner = Reader::strict(reader.bytes(ENVELOPE_BYTES_MAX)?);
                    version = Some(read_version(&mut inner)?);
                    inner.finish()?;
                }
                7 => validate = Some(read_sequence(reader.bytes(ENVELOPE_BYTES_MAX)?)?),
                9 => invoke = Some(read_sequence(reader.bytes(ENVELOPE_BYTES_MAX)?)?),
                key if envelope::SEVERABLE.contains(&key) => members.push((key, Member::read(reader)?)),
                number => {
                    return Err(InvalidEnvelope::Unsupported { what: "member of the manifest", number });
                }
            }
            Ok(())
        })?;
        reader.finish()?;
        match format.ok_or(InvalidEnvelope::Missing("its format (1)"))? {
            1 => {}
            other => return Err(InvalidEnvelope::Format(other)),
        }
        if let Some((key, _)) = severed.iter().find(|(key, _)| {
            !members.iter().any(|(known, member)| known == key && matches!(member, Member::Elsewhere(_)))
        }) {
            return Err(InvalidEnvelope::Unsigned(*key));
        }
        let (mut fetch, mut install, mut left_behind) = (None, None, Vec::new());
        for (key, member) in members {
            let content = match member {
                Member::Here(content) => Some(content),
                Member::Elsewhere(digest) => {
                    let beside = severed.iter().find(|(known, _)| *known == key);
                    beside.map(|(_, raw)| unwrap_member(raw, digest)).transpose()?
                }
            };
            match (key, content) {
                (_, None) => left_behind.push(key),
                (16, Some(content)) => fetch = Some(read_sequence(content)?),
                (20, Some(content)) => install = Some(read_sequence(content)?),
                // Text is for people; no device acts on it.
                _ => {}
            }
        }
        let (components, shared) = common.ok_or(InvalidEnvelope::Missing("its common part (3)"))?;
        let sequence = sequence.ok_or(InvalidEnvelope::Missing("its sequence number (2)"))?;
        Ok(Self { sequence, components, version, shared, validate, fetch, install, invoke, left_behind })
    }
}

impl<'a> Member<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, InvalidEnvelope> {
        match reader.peek()? {
            Major::Array => Ok(Self::Elsewhere(read_digest(reader)?)),
            _ => Ok(Self::Here(reader.bytes(ENVELOPE_BYTES_MAX)?)),
        }
    }
}

/// The digest of a member that was taken out is over its byte string with the head (§5.4).
fn unwrap_member(raw: &[u8], digest: Digest) -> Result<&[u8], InvalidEnvelope> {
    if sha_256(raw) != digest {
        return Err(InvalidEnvelope::Digest("a member beside the manifest"));
    }
    Ok(Reader::strict(raw).bytes(ENVELOPE_BYTES_MAX)?)
}

type Common = (Vec<Vec<Vec<u8>>>, Vec<Command>);

/// `SUIT_Common` (§8.4.5).
fn read_common(bytes: &[u8]) -> Result<Common, InvalidEnvelope> {
    let mut reader = Reader::strict(bytes);
    let (mut components, mut shared) = (Vec::new(), Vec::new());
    keys(&mut reader, "the common part", |reader, key| {
        match key {
            2 => {
                let mut items = reader.array(COMPONENTS_MAX)?;
                while reader.more(&mut items)? {
                    let mut parts = reader.array(COMPONENT_PARTS_MAX)?;
                    let mut name = Vec::new();
                    while reader.more(&mut parts)? {
                        name.push(reader.bytes(COMPONENT_PART_BYTES_MAX)?.to_vec());
                    }
                    components.push(name);
                }
            }
            4 => shared = read_sequence(reader.bytes(ENVELOPE_BYTES_MAX)?)?,
            number => return Err(InvalidEnvelope::Unsupported { what: "member of the common part", number }),
        }
        Ok(())
    })?;
    reader.finish()?;
    let twice = components
        .iter()
        .enumerate()
        .any(|(place, name)| components.iter().skip(place + 1).any(|n| n == name));
    if components.is_empty() || twice {
        return Err(InvalidEnvelope::Components);
    }
    Ok((components, shared))
}

/// A manifest for one image, to be made: whatever is the same gives the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewManifest {
    /// Its number.
    pub sequence: Sequence,
    /// Who made the devices: see [`crate::vendor_id`].
    pub vendor: Uuid,
    /// Which devices: see [`crate::class_id`].
    pub class: Uuid,
    /// SHA-256 of the image.
    pub image: Digest,
    /// How long the image is, in bytes.
    pub size: u64,
    /// Its version.
    pub version: Option<Version>,
    /// Where the image is, for who has no offer.
    pub uri: Option<String>,
    /// Whether it is started when it is installed.
    pub invoke: bool,
}

impl NewManifest {
    /// An envelope around the manifest, with its digest and no signature yet.
    pub fn envelope(&self) -> Vec<u8> {
        envelope::unsigned(&self.encode())
    }

    /// The manifest in deterministic encoding (RFC 8949 §4.2.1).
    fn encode(&self) -> Vec<u8> {
        let optional = [self.version.is_some(), self.invoke, self.uri.is_some()];
        let mut w = Writer::default();
        w.map(4 + optional.into_iter().filter(|present| *present).count());
        w.unsigned(1).unsigned(1).unsigned(2).unsigned(self.sequence.0);
        w.unsigned(3).bytes(&self.common());
        if let Some(version) = &self.version {
            let mut inner = Writer::default();
            inner.array(version.numbers().len());
            for number in version.numbers() {
                inner.integer(*number);
            }
            w.unsigned(6).bytes(&inner.into_bytes());
        }
        w.unsigned(7).bytes(&sequence(&[(3, 15)]));
        if self.invoke {
            w.unsigned(9).bytes(&sequence(&[(23, 2)]));
        }
        if let Some(uri) = &self.uri {
            let mut inner = Writer::default();
            inner.array(6).unsigned(20).map(1).unsigned(21).text(uri);
            inner.unsigned(21).unsigned(2).unsigned(3).unsigned(15);
            w.unsigned(20).bytes(&inner.into_bytes());
        }
        w.into_bytes()
    }

    fn common(&self) -> Vec<u8> {
        let mut shared = Writer::default();
        shared.array(6).unsigned(20).map(4);
        shared.unsigned(1).bytes(self.vendor.as_bytes()).unsigned(2).bytes(self.class.as_bytes());
        shared.unsigned(3).bytes(&encode_digest(self.image)).unsigned(14).unsigned(self.size);
        shared.unsigned(1).unsigned(15).unsigned(2).unsigned(15);
        let mut w = Writer::default();
        w.map(2).unsigned(2).array(1).array(1).bytes(&[0]);
        w.unsigned(4).bytes(&shared.into_bytes());
        w.into_bytes()
    }
}

fn sequence(commands: &[(u64, u64)]) -> Vec<u8> {
    let mut w = Writer::default();
    w.array(2 * commands.len());
    for (code, argument) in commands {
        w.unsigned(*code).unsigned(*argument);
    }
    w.into_bytes()
}
