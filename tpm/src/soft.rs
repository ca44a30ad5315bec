//! Soft keys that speak a TPM's formats, for load tests and for evidence that a real TPM refuses to make. They protect
//! nothing: the private keys are in memory and follow from the seed, and the certificate's root is "NOT A REAL TPM".

use muster_schemas::enrolment::Attestation;
use p256::{
    SecretKey,
    ecdsa::{Signature, SigningKey, VerifyingKey, signature::hazmat::PrehashSigner},
};

use crate::{
    credential::{Credential, open_credential},
    keys::{DeviceKeys, KeyError, Slot},
    limits::PCR_COUNT,
    manufacturer::SimulatedManufacturer,
    name::{name, sha256},
    templates::{AK_ATTRIBUTES, EkTemplate, LDEVID_ATTRIBUTES, signing_key},
    wire::{Attested, Attributes, ClockInfo, Hash, PcrBank, TpmsAttest, TpmtPublic, TpmtSignature},
};

/// A device's keys, in plain memory. Not a TPM and not to be mistaken for one.
#[derive(Debug)]
pub struct SimulatedSoftwareKeys {
    seed: [u8; 32],
    ek: SecretKey,
    ak: SigningKey,
    certificate: Vec<u8>,
    /// Which identity key is in which slot: its counter.
    slots: [Option<u32>; 2],
    /// Counter of the next identity key, so that no two are the same.
    next_counter: u32,
    registers: [[u8; 32]; PCR_COUNT],
    clock: ClockInfo,
}

impl SimulatedSoftwareKeys {
    /// A device that follows from `seed`, endorsed by `manufacturer`, freshly booted: empty slots, registers at zero.
    ///
    /// # Errors
    /// When the certificate library refuses its own input.
    pub fn new(seed: &[u8; 32], manufacturer: &SimulatedManufacturer) -> Result<Self, KeyError> {
        let ek = derive_scalar(seed, "endorsement key");
        let certificate = manufacturer.endorse(&sec1_of(SigningKey::from(&ek).verifying_key()))?;
        Ok(Self {
            seed: *seed,
            ek,
            ak: SigningKey::from(derive_scalar(seed, "attestation key")),
            certificate,
            slots: [None; 2],
            next_counter: 1,
            registers: [[0; 32]; PCR_COUNT],
            clock: ClockInfo { clock_ms: 1, reset_count: 1, restart_count: 0, safe: true },
        })
    }

    /// Puts back what `slots` gave before the program ended, for a TPM keeps its keys.
    #[must_use]
    pub fn with_slots(mut self, slots: [Option<u32>; 2]) -> Self {
        self.next_counter = slots.iter().flatten().max().map_or(1, |last| last.saturating_add(1));
        self.slots = slots;
        self
    }

    /// As after a power cycle: registers at zero, one more reset.
    pub fn reboot(&mut self) {
        self.registers = [[0; 32]; PCR_COUNT];
        self.clock.reset_count = self.clock.reset_count.saturating_add(1);
    }

    /// What is in the slots, to be kept by a program that wants the same identity keys in its next run.
    pub fn slots(&self) -> [Option<u32>; 2] {
        self.slots
    }

    /// The private attestation key: what a TPM never shows, for tests that forge.
    pub fn stolen_ak(&self) -> &SigningKey {
        &self.ak
    }

    /// The private identity key of a slot, SEC 1 in DER: what a TPM never shows, for clients that cannot sign with it.
    pub fn stolen_ldevid(&self, slot: Slot) -> Option<Vec<u8>> {
        const BEFORE: [u8; 7] = [0x30, 0x77, 0x02, 0x01, 0x01, 0x04, 0x20];
        // The curve, prime256v1, and then the point.
        const BETWEEN: [u8; 17] = [
            0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0xa1, 0x44, 0x03, 0x42,
            0x00,
        ];
        let key = self.ldevid(slot)?;
        let point = sec1_of(key.verifying_key());
        Some([&BEFORE[..], &key.to_bytes(), &BETWEEN, &point].concat())
    }

    fn ldevid(&self, slot: Slot) -> Option<SigningKey> {
        let counter = match slot {
            Slot::A => self.slots[0],
            Slot::B => self.slots[1],
        };
        Some(SigningKey::from(derive_scalar(&self.seed, &format!("identity key {}", counter?))))
    }

    fn ek(&self) -> TpmtPublic {
        let point = SigningKey::from(&self.ek);
        let key = signing_public(AK_ATTRIBUTES, point.verifying_key()).key;
        TpmtPublic { key, ..EkTemplate::P256.template() }
    }

    fn ak_bytes(&self) -> Vec<u8> {
        signing_public(AK_ATTRIBUTES, self.ak.verifying_key()).marshal()
    }

    fn statement(&mut self, qualifying_data: &[u8; 32], attested: Attested) -> Result<Attestation, KeyError> {
        self.clock.clock_ms = self.clock.clock_ms.saturating_add(1);
        let statement = TpmsAttest {
            qualified_signer: key_name(&self.ak_bytes())?,
            extra_data: qualifying_data.to_vec(),
            clock: self.clock,
            firmware_version: 1,
            attested,
        };
        sign_statement(&self.ak, &statement)
    }

    fn register(&mut self, pcr: u8) -> Result<&mut [u8; 32], KeyError> {
        let missing = KeyError::Invalid { what: "a register", why: format!("there is no register {pcr}") };
        self.registers.get_mut(usize::from(pcr)).ok_or(missing)
    }
}

impl DeviceKeys for SimulatedSoftwareKeys {
    fn class_hint(&self) -> &'static str {
        "simulated software keys"
    }

    fn ek_certificate(&mut self) -> Result<Option<Vec<u8>>, KeyError> {
        Ok(Some(self.certificate.clone()))
    }

    fn ek_public(&mut self) -> Result<Vec<u8>, KeyError> {
        Ok(self.ek().marshal())
    }

    fn ak_public(&mut self) -> Result<Vec<u8>, KeyError> {
        Ok(self.ak_bytes())
    }

    fn create_ldevid(&mut self, slot: Slot) -> Result<Vec<u8>, KeyError> {
        let place = match slot {
            Slot::A => &mut self.slots[0],
            Slot::B => &mut self.slots[1],
        };
        if place.is_some() {
            return Err(KeyError::OccupiedSlot(slot));
        }
        *place = Some(self.next_counter);
        self.next_counter = self.next_counter.saturating_add(1);
        self.ldevid_public(slot)?.ok_or(KeyError::EmptySlot(slot))
    }

    fn ldevid_public(&mut self, slot: Slot) -> Result<Option<Vec<u8>>, KeyError> {
        Ok(self.ldevid(slot).map(|key| signing_public(LDEVID_ATTRIBUTES, key.verifying_key()).marshal()))
    }

    fn evict_ldevid(&mut self, slot: Slot) -> Result<(), KeyError> {
        match slot {
            Slot::A => self.slots[0] = None,
            Slot::B => self.slots[1] = None,
        }
        Ok(())
    }

    fn sign(&mut self, slot: Slot, digest: &[u8; 32]) -> Result<Vec<u8>, KeyError> {
        let key = self.ldevid(slot).ok_or(KeyError::EmptySlot(slot))?;
        Ok(sign_digest(&key, digest)?.to_der().as_bytes().to_vec())
    }

    fn activate(&mut self, credential_blob: &[u8], encrypted_secret: &[u8]) -> Result<Vec<u8>, KeyError> {
        let credential = Credential {
            credential_blob: credential_blob.to_vec(),
            encrypted_secret: encrypted_secret.to_vec(),
        };
        let ak_name = key_name(&self.ak_bytes())?;
        let secret = open_credential(&self.ek(), &self.ek, &ak_name, &credential)
            .map_err(|_| KeyError::ForeignCredential)?;
        Ok(secret.to_vec())
    }

    fn certify(&mut self, slot: Slot, qualifying_data: &[u8; 32]) -> Result<Attestation, KeyError> {
        let public = self.ldevid_public(slot)?.ok_or(KeyError::EmptySlot(slot))?;
        let name = key_name(&public)?;
        self.statement(qualifying_data, Attested::Certify { qualified_name: name.clone(), name })
    }

    fn quote(&mut self, selection: &[u8], qualifying_data: &[u8; 32]) -> Result<Attestation, KeyError> {
        let values = self.pcrs(selection)?;
        let values: Vec<&[u8]> = values.iter().map(<[u8; 32]>::as_slice).collect();
        let bank = PcrBank { hash: Hash::Sha256.id(), registers: selection.to_vec() };
        let digest = sha256(&values).to_vec();
        self.statement(qualifying_data, Attested::Quote { selection: vec![bank], digest })
    }

    fn pcrs(&mut self, selection: &[u8]) -> Result<Vec<[u8; 32]>, KeyError> {
        selection.iter().map(|pcr| self.register(*pcr).copied()).collect()
    }

    fn extend(&mut self, pcr: u8, digest: &[u8; 32]) -> Result<(), KeyError> {
        let register = self.register(pcr)?;
        *register = sha256(&[register.as_slice(), digest]);
        Ok(())
    }
}

/// The public area of a P-256 signing key with these attributes: also of keys that no honest device would send.
pub fn signing_public(attributes: Attributes, key: &VerifyingKey) -> TpmtPublic {
    let point = sec1_of(key);
    let (x, y) = point.split_at(33);
    signing_key(attributes, x.get(1..).unwrap_or_default().to_vec(), y.to_vec())
}

/// Any statement, signed as a TPM would sign it: a real TPM signs only its own.
///
/// # Errors
/// Never in practice: a digest can be signed.
pub fn sign_statement(ak: &SigningKey, statement: &TpmsAttest) -> Result<Attestation, KeyError> {
    let attest = statement.marshal();
    let (r, s) = sign_digest(ak, &sha256(&[&attest]))?.split_bytes();
    let signature = TpmtSignature { hash: Hash::Sha256, r: r.to_vec(), s: s.to_vec() }.marshal();
    Ok(Attestation { attest, signature })
}

/// A signature over a message with ECDSA and SHA-256, in DER: for tests that approve and forge.
pub fn p256_sign(key: &SigningKey, message: &[u8]) -> Vec<u8> {
    sign_digest(key, &sha256(&[message]))
        .map(|signature| signature.to_der().as_bytes().to_vec())
        .unwrap_or_default()
}

/// A private scalar that follows from a seed and a purpose.
pub(crate) fn derive_scalar(seed: &[u8; 32], purpose: &str) -> SecretKey {
    (0u32..)
        .find_map(|attempt| {
            let candidate = sha256(&[b"muster soft key\0", seed, purpose.as_bytes(), &attempt.to_be_bytes()]);
            SecretKey::from_slice(&candidate).ok()
        })
        .unwrap_or_else(|| unreachable!("one of 2^32 hashes is below the curve's order"))
}

/// The uncompressed point of a key.
pub(crate) fn sec1_of(key: &VerifyingKey) -> [u8; 65] {
    match key.to_sec1_point(false).as_bytes().try_into() {
        Ok(point) => point,
        Err(_) => unreachable!("an uncompressed P-256 point has 65 bytes"),
    }
}

fn sign_digest(key: &SigningKey, digest: &[u8; 32]) -> Result<Signature, KeyError> {
    let failed = |error: p256::ecdsa::Error| KeyError::Invalid { what: "a soft key", why: error.to_string() };
    key.sign_prehash(digest).map_err(failed)
}

fn key_name(public: &[u8]) -> Result<Vec<u8>, KeyError> {
    name(public).map_err(|error| KeyError::Invalid { what: "a soft key", why: error.to_string() })
}
