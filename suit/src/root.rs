//! The tenant's root: which keys sign its firmware, which keys its hubs sign offers with, and how many of them it
//! takes. The rules are those of TUF's root (specification §5.3): versions follow one another without a gap, each
//! signed by enough keys of the one before and enough of its own; which in between has expired does not matter, the
//! last one counts.

use muster_schemas::{
    TenantId,
    cbor::{InvalidCbor, Reader, Writer},
    limits::ID_BYTES_MAX,
};

use crate::{
    InvalidCose, InvalidKey, PublicKey, SignFailure, Signer, cose,
    cose::Signed,
    limits::{KEYS_MAX, ROOT_BYTES_MAX, SIGNATURES_MAX},
};

/// What key 0 says: the other kinds are an offer (1) and a freshness statement (2).
const ROOT: u64 = 3;

/// Keys, and how many of them it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Its keys, each once.
    pub keys: Vec<PublicKey>,
    /// How many have to sign.
    pub threshold: usize,
}

/// What a root says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Whose.
    pub tenant: TenantId,
    /// From 1, without a gap.
    pub version: u64,
    /// When there has to be another, Unix seconds.
    pub expires_s: u64,
    /// Who signs the next root.
    pub root: Role,
    /// Who signs manifests.
    pub firmware: Role,
    /// Who signs offers and freshness statements: each hub key by itself.
    pub hub: Role,
}

/// Why bytes are no root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRoot {
    /// Longer than any may be.
    #[error("is longer than {ROOT_BYTES_MAX} bytes")]
    TooLong,
    /// Not the CBOR that it should be.
    #[error("{0}")]
    Cbor(#[from] InvalidCbor),
    /// Signatures that cannot be read.
    #[error("has signatures that cannot be read: it {0}")]
    Signature(#[from] InvalidCose),
    /// Something else that somebody signed.
    #[error("is of the kind {0}, and a root is of the kind 3")]
    Kind(u64),
    /// No name of a tenant.
    #[error("names no tenant")]
    Tenant,
    /// A key that is none.
    #[error("has a key that {0}")]
    Key(#[from] InvalidKey),
    /// A key twice.
    #[error("has a key twice")]
    Twice,
    /// A version below 1.
    #[error("has the version 0, and the first is 1")]
    Version,
    /// No keys, or a number of them that there are not.
    #[error("wants {threshold} of {keys} keys for {role}")]
    Threshold {
        /// Of which role.
        role: &'static str,
        /// How many are wanted.
        threshold: usize,
        /// How many there are.
        keys: usize,
    },
    /// A hub's key that signs by itself is all that an offer has.
    #[error("wants several keys of hubs for one offer, and each hub signs by itself")]
    HubThreshold,
    /// A key that lies on a hub must not make firmware.
    #[error("gives a hub's key another role too, so that a stolen hub could make firmware")]
    HubKeyElsewhere,
    /// A key of no role.
    #[error("has keys that have no role, or roles with keys that it does not have")]
    Unused,
}

/// Why a root is not followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfollowed {
    /// It cannot be read.
    #[error("{0}")]
    Invalid(#[from] InvalidRoot),
    /// Another tenant's.
    #[error("is the root of the tenant {0}")]
    Tenant(TenantId),
    /// Not the next version.
    #[error("has the version {found}, and {next} is next")]
    Version {
        /// Its version.
        found: u64,
        /// The version that comes next.
        next: u64,
    },
    /// Too few of its own keys.
    #[error("is signed by {found} of its own root keys, and takes {threshold}")]
    Own {
        /// How many have signed.
        found: usize,
        /// How many it takes.
        threshold: usize,
    },
    /// Too few keys of the root before.
    #[error("is signed by {found} root keys of the version before, which takes {threshold}")]
    Before {
        /// How many have signed.
        found: usize,
        /// How many it takes.
        threshold: usize,
    },
}

impl Role {
    /// A role, its keys in the order in which they are written.
    pub fn new(mut keys: Vec<PublicKey>, threshold: usize) -> Self {
        keys.sort();
        Self { keys, threshold }
    }

    /// Its keys, as they are asked for.
    pub fn keys(&self) -> Vec<&PublicKey> {
        self.keys.iter().collect()
    }

    fn check(&self, role: &'static str) -> Result<(), InvalidRoot> {
        if self.threshold == 0 || self.threshold > self.keys.len() {
            return Err(InvalidRoot::Threshold { role, threshold: self.threshold, keys: self.keys.len() });
        }
        Ok(())
    }
}

impl Root {
    /// Whether it can be a root at all.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), InvalidRoot> {
        if self.version == 0 {
            return Err(InvalidRoot::Version);
        }
        self.root.check("the root")?;
        self.firmware.check("firmware")?;
        self.hub.check("hubs")?;
        if self.hub.threshold != 1 {
            return Err(InvalidRoot::HubThreshold);
        }
        if self.hub.keys.iter().any(|key| self.root.keys.contains(key) || self.firmware.keys.contains(key)) {
            return Err(InvalidRoot::HubKeyElsewhere);
        }
        if self.keys().len() > KEYS_MAX {
            return Err(InvalidCbor::TooMany { found: self.keys().len() as u64, max: KEYS_MAX }.into());
        }
        Ok(())
    }

    /// All keys, each once, in order.
    pub fn keys(&self) -> Vec<&PublicKey> {
        let mut keys: Vec<_> =
            [&self.root, &self.firmware, &self.hub].into_iter().flat_map(|role| &role.keys).collect();
        keys.sort();
        keys.dedup();
        keys
    }

    /// The bytes that are signed.
    fn encode(&self) -> Vec<u8> {
        let keys = self.keys();
        let mut w = Writer::default();
        w.map(8).unsigned(0).unsigned(ROOT).unsigned(1).text(self.tenant.as_str());
        w.unsigned(2).unsigned(self.version).unsigned(3).unsigned(self.expires_s);
        w.unsigned(4).array(keys.len());
        for key in &keys {
            w.bytes(key.as_point());
        }
        for (label, role) in [(5, &self.root), (6, &self.firmware), (7, &self.hub)] {
            let mut places: Vec<_> =
                role.keys.iter().filter_map(|key| keys.iter().position(|known| *known == key)).collect();
            places.sort_unstable();
            w.unsigned(label).array(2).unsigned(role.threshold as u64).array(places.len());
            for place in places {
                w.unsigned(place as u64);
            }
        }
        w.into_bytes()
    }

    fn decode(bytes: &[u8]) -> Result<Self, InvalidRoot> {
        let mut r = Reader::strict(bytes);
        let mut fields = r.fields(8)?;
        fields.require(&mut r, 0)?;
        match r.unsigned(u64::MAX)? {
            ROOT => {}
            other => return Err(InvalidRoot::Kind(other)),
        }
        fields.require(&mut r, 1)?;
        let tenant = r.text(ID_BYTES_MAX)?.parse().map_err(|_| InvalidRoot::Tenant)?;
        fields.require(&mut r, 2)?;
        let version = r.unsigned(u64::MAX)?;
        fields.require(&mut r, 3)?;
        let expires_s = r.unsigned(u64::MAX)?;
        fields.require(&mut r, 4)?;
        let mut items = r.array(KEYS_MAX)?;
        let mut keys: Vec<PublicKey> = Vec::new();
        while r.more(&mut items)? {
            let key = PublicKey::from_point(r.bytes(65)?)?;
            // In order, so that one root has one form.
            if keys.last().is_some_and(|last| *last >= key) {
                return Err(InvalidRoot::Twice);
            }
            keys.push(key);
        }
        let mut role = |label: u64| -> Result<Role, InvalidRoot> {
            fields.require(&mut r, label)?;
            r.tuple(2)?;
            let threshold = usize::try_from(r.unsigned(KEYS_MAX as u64)?).unwrap_or(usize::MAX);
            let mut items = r.array(KEYS_MAX)?;
            let mut chosen: Vec<PublicKey> = Vec::new();
            while r.more(&mut items)? {
                let place = usize::try_from(r.unsigned(KEYS_MAX as u64)?).unwrap_or(usize::MAX);
                let key = keys.get(place).ok_or(InvalidRoot::Unused)?;
                if chosen.last().is_some_and(|last| last >= key) {
                    return Err(InvalidRoot::Twice);
                }
                chosen.push(key.clone());
            }
            Ok(Role { keys: chosen, threshold })
        };
        let (root, firmware, hub) = (role(5)?, role(6)?, role(7)?);
        fields.end(&mut r)?;
        r.finish()?;
        let read = Self { tenant, version, expires_s, root, firmware, hub };
        read.check()?;
        if read.keys().len() != keys.len() {
            return Err(InvalidRoot::Unused);
        }
        Ok(read)
    }

    /// The root that a device begins with: what its owner gave it, signed by enough of its own keys.
    ///
    /// # Errors
    /// It is none, or signed by too few.
    pub fn first(bytes: &[u8]) -> Result<Self, Unfollowed> {
        let (root, signed) = read(bytes)?;
        root.signed_by_its_own(&signed)?;
        Ok(root)
    }

    /// The root after this one.
    ///
    /// # Errors
    /// It is not the next one, of another tenant, or signed by too few of either.
    pub fn next(&self, bytes: &[u8]) -> Result<Self, Unfollowed> {
        let (root, signed) = read(bytes)?;
        if root.tenant != self.tenant {
            return Err(Unfollowed::Tenant(root.tenant));
        }
        // Nothing follows on the last number there is.
        let next = self.version.saturating_add(1);
        if root.version != next || next == self.version {
            return Err(Unfollowed::Version { found: root.version, next });
        }
        let before = signed.signers(None, &self.root.keys()).len();
        if before < self.root.threshold {
            return Err(Unfollowed::Before { found: before, threshold: self.root.threshold });
        }
        root.signed_by_its_own(&signed)?;
        Ok(root)
    }

    fn signed_by_its_own(&self, signed: &Signed<'_>) -> Result<(), Unfollowed> {
        let (found, threshold) = (signed.signers(None, &self.root.keys()).len(), self.root.threshold);
        if found < threshold {
            return Err(Unfollowed::Own { found, threshold });
        }
        Ok(())
    }
}

fn read(bytes: &[u8]) -> Result<(Root, Signed<'_>), InvalidRoot> {
    if bytes.len() > ROOT_BYTES_MAX {
        return Err(InvalidRoot::TooLong);
    }
    let signed = Signed::decode(bytes, ROOT_BYTES_MAX)?;
    let payload = signed.payload.ok_or(InvalidRoot::Cbor(InvalidCbor::Truncated))?;
    let root = Root::decode(payload)?;
    Ok((root, signed))
}

/// A root that is being signed: a file that goes from one keeper of a key to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootDraft {
    root: Root,
    payload: Vec<u8>,
    signatures: Vec<crate::Signature>,
}

impl RootDraft {
    /// A draft that nobody has signed.
    ///
    /// # Errors
    /// It cannot be a root.
    pub fn new(root: Root) -> Result<Self, InvalidRoot> {
        root.check()?;
        let payload = root.encode();
        Ok(Self { root: Root::decode(&payload)?, payload, signatures: Vec::new() })
    }

    /// Reads a draft. Whose its signatures are was not looked at, and it may have none.
    ///
    /// # Errors
    /// It is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidRoot> {
        if bytes.len() > ROOT_BYTES_MAX {
            return Err(InvalidRoot::TooLong);
        }
        // Without a signature it is no COSE_Sign yet, and lies in the file as it will be signed.
        if bytes.first().is_some_and(|first| first >> 5 == 5) {
            let root = Root::decode(bytes)?;
            return Ok(Self { root, payload: bytes.to_vec(), signatures: Vec::new() });
        }
        let (root, signed) = read(bytes)?;
        let payload = signed.payload.unwrap_or_default().to_vec();
        Ok(Self { root, payload, signatures: cose::signatures_of(&signed) })
    }

    /// What it says.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Which of the keys have signed.
    pub fn signers<'k>(&self, keys: &[&'k PublicKey]) -> Vec<&'k PublicKey> {
        let bytes = self.encode();
        Signed::decode(&bytes, ROOT_BYTES_MAX).map(|signed| signed.signers(None, keys)).unwrap_or_default()
    }

    /// Adds a signature. A key that has signed before is left as it is.
    ///
    /// # Errors
    /// The key's keeper refused, or there are too many.
    pub fn sign(&mut self, signer: &dyn Signer) -> Result<(), SignFailure> {
        if !self.signers(&[signer.public()]).is_empty() {
            return Ok(());
        }
        if self.signatures.len() >= SIGNATURES_MAX {
            let why = format!("there are {SIGNATURES_MAX} signatures already");
            return Err(SignFailure { key: signer.public().id(), why });
        }
        self.signatures.push(cose::sign_several(&self.payload, signer)?);
        Ok(())
    }

    /// The file.
    pub fn encode(&self) -> Vec<u8> {
        if self.signatures.is_empty() {
            return self.payload.clone();
        }
        cose::with_signatures(&self.payload, &self.signatures)
    }
}
