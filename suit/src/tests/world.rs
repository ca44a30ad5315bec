//! A tenant with its keys, a hub, a device, and what they sign: all in order, to be put out of order one thing at a
//! time.

use muster_schemas::firmware::{
    Digest, Encoding, ExecutionId, Freshness, Nonce, Offer, Sequence, Transfer, Uuid,
};

use crate::*;

pub(super) const NOW_S: u64 = 1_790_000_000;
pub(super) const HOUR_S: u64 = 3_600;
pub(super) const IMAGE: Digest = Digest([0x11; 32]);
pub(super) const RUNNING: Digest = Digest([0x22; 32]);

pub(super) fn vendor() -> Uuid {
    vendor_id("acme.example")
}

pub(super) fn class() -> Uuid {
    class_id(vendor(), "pump-mk2")
}

pub(super) fn key() -> SoftKey {
    SoftKey::generate().expect("a key")
}

pub(super) fn publics(keys: &[SoftKey]) -> Vec<PublicKey> {
    keys.iter().map(|key| key.public().clone()).collect()
}

/// Signs with each of the keys.
pub(super) fn signed(envelope: &[u8], keys: &[&SoftKey]) -> Vec<u8> {
    keys.iter().fold(envelope.to_vec(), |bytes, key| {
        Envelope::open(&bytes).expect("an envelope").signed_by(*key).expect("signed")
    })
}

/// A root, signed with these keys.
pub(super) fn signed_root(root: &Root, keys: &[&SoftKey]) -> Vec<u8> {
    let mut draft = RootDraft::new(root.clone()).expect("a root");
    for key in keys {
        draft.sign(*key).expect("signed");
    }
    draft.encode()
}

pub(super) struct World {
    pub(super) root_keys: Vec<SoftKey>,
    pub(super) firmware_keys: Vec<SoftKey>,
    pub(super) hub: SoftKey,
    pub(super) root: Root,
    pub(super) device: Device,
    pub(super) state: State,
    pub(super) manifest: NewManifest,
    pub(super) offer: Offer,
    pub(super) freshness: Freshness,
}

impl World {
    pub(super) fn new() -> Self {
        let root_keys = vec![key(), key(), key()];
        let firmware_keys = vec![key(), key()];
        let hub = key();
        let tenant: muster_schemas::TenantId = "acme".parse().expect("a tenant");
        let device: muster_schemas::DeviceId = "pump-7".parse().expect("a device");
        let root = Root {
            tenant: tenant.clone(),
            version: 1,
            expires_s: NOW_S + 300 * 24 * HOUR_S,
            root: Role::new(publics(&root_keys), 2),
            firmware: Role::new(publics(&firmware_keys), 2),
            hub: Role::new(vec![hub.public().clone()], 1),
        };
        let manifest = NewManifest {
            sequence: Sequence(12),
            vendor: vendor(),
            class: class(),
            image: IMAGE,
            size: 3_002_368,
            version: Some("1.4.0".parse().expect("a version")),
            uri: Some("https://firmware.acme.example/1.4.0.bin".into()),
            invoke: true,
        };
        let digest = Envelope::open(&manifest.envelope()).expect("an envelope").digest();
        let facts = Facts {
            vendor: vendor(),
            class: class(),
            unit: None,
            slot: Some(1),
            version: Some("1.3.0".parse().expect("a version")),
        };
        let transfers = vec![
            Transfer {
                encoding: Encoding::Bsdiff,
                from: Some(RUNNING),
                size: 91_000,
                digest: Digest([3; 32]),
                uris: Vec::new(),
            },
            Transfer {
                encoding: Encoding::Full,
                from: None,
                size: 3_002_368,
                digest: IMAGE,
                uris: Vec::new(),
            },
        ];
        let offer = Offer {
            tenant: tenant.clone(),
            device: device.clone(),
            execution: ExecutionId::new(7).expect("a number"),
            attempt: 1,
            manifest: digest,
            sequence: Sequence(12),
            not_before_s: NOW_S - HOUR_S,
            expires_s: NOW_S + 23 * HOUR_S,
            window: None,
            nonce: None,
            consent: false,
            transfers,
        };
        let freshness = Freshness {
            tenant: tenant.clone(),
            class: class(),
            sequence: Sequence(12),
            manifest: digest,
            time_s: NOW_S - 60,
            expires_s: NOW_S + 23 * HOUR_S,
            nonce: None,
        };
        let device = Device { tenant, device, facts, image: Some(RUNNING), slot_bytes: 64 * 1_024 * 1_024 };
        let state = State {
            sequence: Sequence(11),
            manifest: Some(Digest([9; 32])),
            newest: Sequence(11),
            seen_s: NOW_S - 24 * HOUR_S,
        };
        Self { root_keys, firmware_keys, hub, root, device, state, manifest, offer, freshness }
    }

    pub(super) fn envelope(&self) -> Vec<u8> {
        signed(&self.manifest.envelope(), &self.firmware_keys.iter().collect::<Vec<_>>())
    }

    /// Makes the manifest anew; offer and statement follow.
    pub(super) fn remade(mut self, change: impl FnOnce(&mut NewManifest)) -> Self {
        change(&mut self.manifest);
        let digest = Envelope::open(&self.manifest.envelope()).expect("an envelope").digest();
        let sequence = self.manifest.sequence;
        (self.offer.manifest, self.offer.sequence) = (digest, sequence);
        (self.freshness.manifest, self.freshness.sequence) = (digest, sequence);
        self
    }

    pub(super) fn offer(&self) -> Vec<u8> {
        sign_offer(&self.offer, &self.hub).expect("signed")
    }

    pub(super) fn freshness(&self) -> Vec<u8> {
        sign_freshness(&self.freshness, &self.hub).expect("signed")
    }

    pub(super) fn asked_with(mut self, nonce: Nonce) -> Self {
        (self.offer.nonce, self.freshness.nonce) = (Some(nonce), Some(nonce));
        self
    }

    pub(super) fn judged(&self) -> Result<Accepted, Refusal> {
        self.judged_at(Clock::Time(NOW_S))
    }

    pub(super) fn judged_at(&self, clock: Clock) -> Result<Accepted, Refusal> {
        self.judged_with(&self.envelope(), &self.offer(), &self.freshness(), clock)
    }

    pub(super) fn judged_with(
        &self,
        envelope: &[u8],
        offer: &[u8],
        freshness: &[u8],
        clock: Clock,
    ) -> Result<Accepted, Refusal> {
        let parts = Parts { envelope: Some(envelope), offer: Some(offer), freshness: Some(freshness) };
        judge(&self.device, &self.state, Some(&self.root), parts, clock)
    }
}
