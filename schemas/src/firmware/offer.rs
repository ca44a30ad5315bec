//! What the hub says to a device: an offer for it alone, what is newest of its class, and what travels with them. The
//! bytes of an offer and of a freshness statement are what the hub signs; `muster-suit` puts the signature around them.

use serde::{Deserialize, Serialize};

use super::{
    Digest, ExecutionId, InvalidUpdate, Nonce, Sequence, Uuid,
    codec::{Map, decode},
    outcome::words,
};
use crate::{
    DeviceId, TenantId,
    cbor::Writer,
    limits::{
        UPDATE_ENVELOPE_BYTES_MAX, UPDATE_ROOT_BYTES_MAX, UPDATE_ROOTS_MAX, UPDATE_SIGNED_BYTES_MAX,
        UPDATE_TRANSFERS_MAX, UPDATE_URI_BYTES_MAX, UPDATE_URIS_MAX,
    },
};

// What key 0 says of what the hub signs: one is never taken for the other. May be added to, never changed.
const OFFER: u64 = 1;
const FRESHNESS: u64 = 2;

words! {
    /// How an image travels. Only the image is signed by the tenant: the hub chooses how to bring it.
    Encoding, "encoding",
    /// As it is.
    Full = 0 "full",
    /// One frame of zstd.
    Zstd = 1 "zstd",
    /// A patch of bsdiff, on the image that the device runs.
    Bsdiff = 2 "bsdiff",
    /// A frame of zstd that has the image that the device runs as its prefix.
    ZstdPatch = 3 "zstd-patch",
}

impl Encoding {
    /// Whether it needs the image that the device runs.
    pub fn is_patch(self) -> bool {
        matches!(self, Self::Bsdiff | Self::ZstdPatch)
    }
}

/// One way to get the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// How it travels.
    pub encoding: Encoding,
    /// The image that a patch is for; patches have it, and nothing else.
    pub from: Option<Digest>,
    /// How long what travels is, in bytes.
    pub size: u64,
    /// What travels: of a full image the image's own.
    pub digest: Digest,
    /// Where it is over HTTPS, the nearest first; over MQTT it is asked for by its digest. At most 4.
    pub uris: Vec<String>,
}

/// When the device may install, as Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// The first second.
    pub from_s: u64,
    /// The first second after it.
    pub to_s: u64,
}

/// Who installs what, when, and how to fetch it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Whose device.
    pub tenant: TenantId,
    /// Which.
    pub device: DeviceId,
    /// For which execution.
    pub execution: ExecutionId,
    /// Which try of it, from 1.
    pub attempt: u32,
    /// The manifest: the digest that its signatures are over.
    pub manifest: Digest,
    /// The manifest's number.
    pub sequence: Sequence,
    /// From when it holds, Unix seconds.
    pub not_before_s: u64,
    /// Until when, Unix seconds: at most 24 hours later.
    pub expires_s: u64,
    /// Within that, when to install; it may download outside. None: at once.
    pub window: Option<Window>,
    /// What the device asked with, when it asked.
    pub nonce: Option<Nonce>,
    /// Whether somebody at the device has to agree first.
    pub consent: bool,
    /// Ways to get the image, the best first. At most 8.
    pub transfers: Vec<Transfer>,
}

/// What is newest of a class: without it, whoever holds the wire could keep a device at what was good last year.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freshness {
    /// Whose class.
    pub tenant: TenantId,
    /// SUIT's class id.
    pub class: Uuid,
    /// The highest number of a manifest of that class.
    pub sequence: Sequence,
    /// That manifest.
    pub manifest: Digest,
    /// When this was said, Unix seconds, by the hub's clock.
    pub time_s: u64,
    /// Until when it holds, Unix seconds.
    pub expires_s: u64,
    /// What the device asked with, when it asked.
    pub nonce: Option<Nonce>,
}

/// What lies retained at a device's `firmware/offer`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// An [`Offer`], signed by the hub.
    pub offer: Vec<u8>,
    /// A [`Freshness`], signed by the hub.
    pub freshness: Vec<u8>,
    /// The manifest: a SUIT envelope, signed by the tenant.
    pub envelope: Vec<u8>,
    /// The tenant's roots after the one that the device said it has, in order. At most 8.
    pub roots: Vec<Vec<u8>>,
}

impl Offer {
    /// The bytes that the hub signs.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        let optional = usize::from(self.window.is_some()) + usize::from(self.nonce.is_some());
        w.map(11 + optional).unsigned(0).unsigned(OFFER);
        w.unsigned(1).text(self.tenant.as_str()).unsigned(2).text(self.device.as_str());
        w.unsigned(3).unsigned(self.execution.number().into()).unsigned(4).unsigned(self.attempt.into());
        w.unsigned(5).bytes(self.manifest.as_bytes()).unsigned(6).unsigned(self.sequence.0);
        w.unsigned(7).unsigned(self.not_before_s).unsigned(8).unsigned(self.expires_s);
        if let Some(window) = self.window {
            w.unsigned(9).array(2).unsigned(window.from_s).unsigned(window.to_s);
        }
        if let Some(nonce) = &self.nonce {
            w.unsigned(10).bytes(nonce);
        }
        w.unsigned(11).boolean(self.consent);
        w.unsigned(12).array(self.transfers.len());
        for transfer in &self.transfers {
            transfer.write(&mut w);
        }
        w.into_bytes()
    }

    /// Reads the bytes that were signed.
    ///
    /// # Errors
    /// They are no offer.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidUpdate> {
        decode(bytes, |map| {
            expect_kind(map, OFFER)?;
            let (tenant, device) = (map.id(1)?, map.id(2)?);
            let execution = ExecutionId::new(map.number(3)?)
                .ok_or(InvalidUpdate::Value { key: 3, what: "no number of an execution (1 to 2^31 - 1)" })?;
            let attempt = map.number(4)?;
            let (manifest, sequence) = (Digest(map.exactly(5)?), Sequence(map.unsigned(6)?));
            let (not_before_s, expires_s) = (map.unsigned(7)?, map.unsigned(8)?);
            let window = if map.has(9)? {
                map.reader.tuple(2)?;
                let (from_s, to_s) = (map.reader.unsigned(u64::MAX)?, map.reader.unsigned(u64::MAX)?);
                if from_s >= to_s {
                    return Err(InvalidUpdate::Value { key: 9, what: "a window that ends before it begins" });
                }
                Some(Window { from_s, to_s })
            } else {
                None
            };
            let nonce = map.exactly_if(10)?;
            map.require(11)?;
            let consent = map.reader.boolean()?;
            map.require(12)?;
            let mut items = map.reader.array(UPDATE_TRANSFERS_MAX)?;
            let mut transfers = Vec::new();
            while map.reader.more(&mut items)? {
                transfers.push(Transfer::read(map)?);
            }
            Ok(Self {
                tenant,
                device,
                execution,
                attempt,
                manifest,
                sequence,
                not_before_s,
                expires_s,
                window,
                nonce,
                consent,
                transfers,
            })
        })
    }
}

impl Transfer {
    fn write(&self, w: &mut Writer) {
        w.array(4 + usize::from(self.from.is_some())).unsigned(self.encoding.number().into());
        w.unsigned(self.size).bytes(self.digest.as_bytes()).array(self.uris.len());
        for uri in &self.uris {
            w.text(uri);
        }
        if let Some(from) = &self.from {
            w.bytes(from.as_bytes());
        }
    }

    fn read(map: &mut Map<'_>) -> Result<Self, InvalidUpdate> {
        let fields = map.reader.array(5)?.announced();
        let encoding = Encoding::from_number(map.small_value()?)
            .ok_or(InvalidUpdate::Value { key: 12, what: "an encoding that this end does not know" })?;
        // A patch says what it is for as a fifth field, and only a patch does.
        if fields != Some(4 + usize::from(encoding.is_patch())) {
            return Err(InvalidUpdate::Value { key: 12, what: "a transfer with too many or too few fields" });
        }
        let (size, digest) = (map.reader.unsigned(u64::MAX)?, Digest(map.reader.array_of_bytes()?));
        let mut items = map.reader.array(UPDATE_URIS_MAX)?;
        let mut uris = Vec::new();
        while map.reader.more(&mut items)? {
            uris.push(map.text_value(12, UPDATE_URI_BYTES_MAX)?);
        }
        let from = if encoding.is_patch() { Some(Digest(map.reader.array_of_bytes()?)) } else { None };
        Ok(Self { encoding, from, size, digest, uris })
    }
}

impl Freshness {
    /// The bytes that the hub signs.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.map(7 + usize::from(self.nonce.is_some())).unsigned(0).unsigned(FRESHNESS);
        w.unsigned(1).text(self.tenant.as_str()).unsigned(2).bytes(self.class.as_bytes());
        w.unsigned(3).unsigned(self.sequence.0).unsigned(4).bytes(self.manifest.as_bytes());
        w.unsigned(5).unsigned(self.time_s).unsigned(6).unsigned(self.expires_s);
        if let Some(nonce) = &self.nonce {
            w.unsigned(7).bytes(nonce);
        }
        w.into_bytes()
    }

    /// Reads the bytes that were signed.
    ///
    /// # Errors
    /// They are no such statement.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidUpdate> {
        decode(bytes, |map| {
            expect_kind(map, FRESHNESS)?;
            Ok(Self {
                tenant: map.id(1)?,
                class: Uuid(map.exactly(2)?),
                sequence: Sequence(map.unsigned(3)?),
                manifest: Digest(map.exactly(4)?),
                time_s: map.unsigned(5)?,
                expires_s: map.unsigned(6)?,
                nonce: map.exactly_if(7)?,
            })
        })
    }
}

impl Announcement {
    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.map(4).unsigned(0).bytes(&self.offer).unsigned(1).bytes(&self.freshness);
        w.unsigned(2).bytes(&self.envelope).unsigned(3).array(self.roots.len());
        for root in &self.roots {
            w.bytes(root);
        }
        w.into_bytes()
    }

    /// Reads a payload. What is in it was not looked at.
    ///
    /// # Errors
    /// It is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidUpdate> {
        decode(bytes, |map| {
            let offer = map.bytes(0, UPDATE_SIGNED_BYTES_MAX)?;
            let freshness = map.bytes(1, UPDATE_SIGNED_BYTES_MAX)?;
            let envelope = map.bytes(2, UPDATE_ENVELOPE_BYTES_MAX)?;
            map.require(3)?;
            let mut items = map.reader.array(UPDATE_ROOTS_MAX)?;
            let mut roots = Vec::new();
            while map.reader.more(&mut items)? {
                roots.push(map.reader.bytes(UPDATE_ROOT_BYTES_MAX)?.to_vec());
            }
            Ok(Self { offer, freshness, envelope, roots })
        })
    }
}

fn expect_kind(map: &mut Map<'_>, kind: u64) -> Result<(), InvalidUpdate> {
    match map.unsigned(0)? {
        found if found == kind => Ok(()),
        other => Err(InvalidUpdate::UnknownKind(other)),
    }
}
