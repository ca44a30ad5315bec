//! Firmware-bound identity: an identity key that its TPM lets sign only while the registers are as somebody has approved
//! who is named in the key itself. All of it is computed without a TPM, by whoever approves and by the hub that checks.
//!
//! ```text
//!   approved   = PolicyPCR(selection, digest of the registers)          one for each release
//!   signature  = authority signs SHA-256(approved ‖ class reference)     offline, once for each release
//!   authPolicy = PolicyAuthorize(authority's name, class reference)      in the key, the same for every release
//! ```
//!
//! Not for what the registers should be: that is measured where a release is made.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use muster_schemas::cbor::{InvalidCbor, Reader, Writer};

use crate::{
    limits::{CLASS_BYTES_MAX, PCR_STATIC_LAST, RELEASE_BYTES_MAX},
    name::{name, sha256},
    spki::p256_spki_der,
    templates::signing_key,
    wire::{Attributes, Hash, TpmtPublic},
};

const CC_POLICY_AUTHORIZE: [u8; 4] = [0, 0, 0x01, 0x6a];
const CC_POLICY_PCR: [u8; 4] = [0, 0, 0x01, 0x7f];
const CLASS_LABEL: &[u8] = b"muster-firmware-v1\0";

/// What an authority's key may do: it is no TPM's own, and signs.
const AUTHORITY_ATTRIBUTES: Attributes = Attributes::USER_WITH_AUTH.and(Attributes::SIGN);

// What key 0 of a file says: it may be added to, never changed.
const APPROVED: u64 = 1;
const KEYS_MAX: usize = 6;

/// Why a policy is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The registers are none, out of order, or can be reset by any program.
    #[error("use the registers {0:?}: they are to be an ascending list of 0 to {PCR_STATIC_LAST}")]
    Selection(Vec<u8>),
    /// Too long, or empty.
    #[error("use the {what}: it has 1 to {max} bytes without control characters")]
    Name {
        /// Class or release.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// The bytes are no approved policy.
    #[error("read the approved policy: it {0}")]
    Malformed(#[from] InvalidCbor),
    /// They are of another version.
    #[error("read the approved policy: it is of the type {0}, which this version does not know")]
    Type(u64),
    /// The authority did not sign it.
    #[error("take the policy of {class} {release} for approved: it is not signed by that authority")]
    Signature {
        /// The class.
        class: String,
        /// The release.
        release: String,
    },
    /// What the authority gave is no signature.
    #[error("sign the policy: the key gave no P-256 signature")]
    Unsigned,
}

/// Who approves firmware of a tenant's device class: a P-256 key that lies offline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirmwareAuthority {
    sec1: [u8; 65],
    public: TpmtPublic,
}

impl FirmwareAuthority {
    /// The authority with this key, an uncompressed point.
    pub fn new(sec1: [u8; 65]) -> Self {
        let (x, y) = sec1.split_at(33);
        let x = x.get(1..).unwrap_or_default().to_vec();
        Self { sec1, public: signing_key(AUTHORITY_ATTRIBUTES, x, y.to_vec()) }
    }

    /// The key as a TPM loads it.
    pub fn public(&self) -> &TpmtPublic {
        &self.public
    }

    /// Its point, uncompressed.
    pub fn sec1(&self) -> &[u8; 65] {
        &self.sec1
    }

    /// The SubjectPublicKeyInfo in DER.
    pub fn spki_der(&self) -> Vec<u8> {
        p256_spki_der(&self.sec1)
    }

    /// What a TPM calls the key.
    pub fn name(&self) -> Vec<u8> {
        // A public area that was made here can be read.
        name(&self.public.marshal()).unwrap_or_default()
    }

    /// The policy of identity keys of a class: whatever this authority approves for it.
    pub fn auth_policy(&self, class: &str) -> [u8; 32] {
        let inner = sha256(&[&[0; 32], &CC_POLICY_AUTHORIZE, &self.name()]);
        sha256(&[&inner, &class_reference(class)])
    }
}

/// A signature in DER (`Ecdsa-Sig-Value`) as an approval has it; none if it is no signature of P-256.
pub fn fixed_signature(der: &[u8]) -> Option<[u8; 64]> {
    let signature = p256::ecdsa::Signature::from_der(der).ok()?;
    signature.to_bytes().as_slice().try_into().ok()
}

/// The point of a P-256 key in a SubjectPublicKeyInfo, uncompressed; none if it is another key.
pub fn point_of_spki(der: &[u8]) -> Option<[u8; 65]> {
    let point = der.last_chunk::<65>()?;
    (p256_spki_der(point) == der && p256::PublicKey::from_sec1_bytes(point).is_ok()).then_some(*point)
}

/// What ties an approval to a class: the `policyRef` of PolicyAuthorize.
pub fn class_reference(class: &str) -> [u8; 32] {
    sha256(&[CLASS_LABEL, class.as_bytes()])
}

/// The policy "these registers of the SHA-256 bank have values whose SHA-256 is this".
pub fn pcr_policy(selection: &[u8], pcr_digest: &[u8; 32]) -> [u8; 32] {
    let mut bitmap = [0u8; 3];
    for pcr in selection {
        if let Some(byte) = bitmap.get_mut(usize::from(pcr / 8)) {
            *byte |= 1 << (pcr % 8);
        }
    }
    // One bank, its hash, three bytes of registers.
    let hash = Hash::Sha256.id().to_be_bytes();
    sha256(&[&[0; 32], &CC_POLICY_PCR, &[0, 0, 0, 1], &hash, &[3], &bitmap, pcr_digest])
}

/// The SHA-256 of registers' values, in ascending order.
pub fn pcr_digest(values: &[[u8; 32]]) -> [u8; 32] {
    let values: Vec<&[u8]> = values.iter().map(<[u8; 32]>::as_slice).collect();
    sha256(&values)
}

/// One release of one class, approved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovedPolicy {
    class: String,
    release: String,
    selection: Vec<u8>,
    pcr_digest: [u8; 32],
    signature: [u8; 64],
}

impl ApprovedPolicy {
    /// Approves a release, in software. `sign` gets the message and gives its ECDSA signature with SHA-256, `r ‖ s`.
    ///
    /// # Errors
    /// A name is out of bounds, the registers are none that bind, or nothing was signed.
    pub fn approve(
        class: &str,
        release: &str,
        selection: &[u8],
        pcr_digest: [u8; 32],
        sign: impl FnOnce(&[u8]) -> Option<[u8; 64]>,
    ) -> Result<Self, PolicyError> {
        let (class, release, selection) = (class.to_owned(), release.to_owned(), selection.to_vec());
        let mut policy = Self { class, release, selection, pcr_digest, signature: [0; 64] };
        policy.check()?;
        policy.signature = sign(&policy.message()).ok_or(PolicyError::Unsigned)?;
        Ok(policy)
    }

    /// The class of devices.
    pub fn class(&self) -> &str {
        &self.class
    }

    /// The release, for people.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// The registers, ascending.
    pub fn selection(&self) -> &[u8] {
        &self.selection
    }

    /// The SHA-256 of their values.
    pub fn pcr_digest(&self) -> &[u8; 32] {
        &self.pcr_digest
    }

    /// The authority's signature, `r ‖ s`.
    pub fn signature(&self) -> &[u8; 64] {
        &self.signature
    }

    /// The policy that is approved.
    pub fn approved(&self) -> [u8; 32] {
        pcr_policy(&self.selection, &self.pcr_digest)
    }

    /// What is signed: whoever signs hashes it with SHA-256, and a TPM is told that hash.
    pub fn message(&self) -> Vec<u8> {
        [self.approved(), class_reference(&self.class)].concat()
    }

    /// Whether this authority approved it.
    ///
    /// # Errors
    /// It did not.
    pub fn verify(&self, authority: &FirmwareAuthority) -> Result<(), PolicyError> {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, authority.sec1());
        let refused = |_| PolicyError::Signature { class: self.class.clone(), release: self.release.clone() };
        key.verify(&self.message(), &self.signature).map_err(refused)
    }

    /// As it is kept in a file.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new(Vec::new());
        w.map(KEYS_MAX).unsigned(0).unsigned(APPROVED);
        w.unsigned(1).text(&self.class);
        w.unsigned(2).text(&self.release);
        w.unsigned(3).bytes(&self.selection);
        w.unsigned(4).bytes(&self.pcr_digest);
        w.unsigned(5).bytes(&self.signature);
        w.into_bytes()
    }

    /// From a file. Who approved it is not looked at here.
    ///
    /// # Errors
    /// The bytes are none, or bind nothing.
    pub fn decode(bytes: &[u8]) -> Result<Self, PolicyError> {
        let mut reader = Reader::strict(bytes);
        let mut fields = reader.fields(KEYS_MAX)?;
        fields.require(&mut reader, 0)?;
        let kind = reader.unsigned(u64::MAX)?;
        if kind != APPROVED {
            return Err(PolicyError::Type(kind));
        }
        fields.require(&mut reader, 1)?;
        let class = reader.text(CLASS_BYTES_MAX)?.to_owned();
        fields.require(&mut reader, 2)?;
        let release = reader.text(RELEASE_BYTES_MAX)?.to_owned();
        fields.require(&mut reader, 3)?;
        let selection = reader.bytes(usize::from(PCR_STATIC_LAST) + 1)?.to_vec();
        fields.require(&mut reader, 4)?;
        let pcr_digest = reader.array_of_bytes()?;
        fields.require(&mut reader, 5)?;
        let signature = reader.array_of_bytes()?;
        fields.end(&mut reader)?;
        reader.finish()?;
        let policy = Self { class, release, selection, pcr_digest, signature };
        policy.check()?;
        Ok(policy)
    }

    fn check(&self) -> Result<(), PolicyError> {
        check_name("device class", &self.class, CLASS_BYTES_MAX)?;
        check_name("release", &self.release, RELEASE_BYTES_MAX)?;
        let is_ascending = self.selection.is_sorted_by(|left, right| left < right);
        let binds = self.selection.iter().all(|pcr| *pcr <= PCR_STATIC_LAST);
        if self.selection.is_empty() || !is_ascending || !binds {
            return Err(PolicyError::Selection(self.selection.clone()));
        }
        Ok(())
    }
}

fn check_name(what: &'static str, text: &str, max: usize) -> Result<(), PolicyError> {
    let is_well = (1..=max).contains(&text.len()) && !text.chars().any(char::is_control);
    if is_well { Ok(()) } else { Err(PolicyError::Name { what, max }) }
}

/// Whether an identity key is bound to what this authority approves for a class: its policy is that one, and nothing but
/// the policy authorizes its use.
pub fn is_bound(ldevid: &TpmtPublic, authority: &FirmwareAuthority, class: &str) -> bool {
    !ldevid.attributes.has_any(Attributes::USER_WITH_AUTH)
        && ldevid.auth_policy == authority.auth_policy(class)
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::{Signature, SigningKey, signature::Signer};

    use super::*;
    use crate::{
        soft::sec1_of,
        templates::{LDEVID_ATTRIBUTES, bound_identity_key},
    };

    fn signer() -> SigningKey {
        SigningKey::from_slice(&[7; 32]).unwrap()
    }

    fn authority() -> FirmwareAuthority {
        FirmwareAuthority::new(sec1_of(signer().verifying_key()))
    }

    fn approved(class: &str) -> ApprovedPolicy {
        ApprovedPolicy::approve(class, "1.4.0", &[0, 7, 9], [5; 32], |message| {
            let signature: Signature = signer().sign(message);
            signature.to_bytes().as_slice().try_into().ok()
        })
        .unwrap()
    }

    #[test]
    fn an_approval_survives_its_file_and_is_its_authoritys() {
        let policy = approved("pump-mk2");
        assert_eq!(ApprovedPolicy::decode(&policy.encode()), Ok(policy.clone()));
        policy.verify(&authority()).unwrap();
        let other =
            FirmwareAuthority::new(sec1_of(SigningKey::from_slice(&[8; 32]).unwrap().verifying_key()));
        assert!(policy.verify(&other).is_err());
        let encoded = policy.encode();
        for length in 0..encoded.len() {
            assert!(ApprovedPolicy::decode(&encoded[..length]).is_err());
        }
        assert!(ApprovedPolicy::decode(&[&encoded[..], &[0]].concat()).is_err());
    }

    #[test]
    fn an_approval_is_for_its_class_its_registers_and_their_values() {
        let policy = approved("pump-mk2");
        for changed in [
            ApprovedPolicy { class: "pump-mk3".to_owned(), ..policy.clone() },
            ApprovedPolicy { selection: vec![0, 7], ..policy.clone() },
            ApprovedPolicy { pcr_digest: [6; 32], ..policy.clone() },
        ] {
            assert!(changed.verify(&authority()).is_err(), "{changed:?}");
        }
        // The release is for people: what it is called binds nothing.
        assert!(ApprovedPolicy { release: "1.4.1".to_owned(), ..policy }.verify(&authority()).is_ok());
    }

    #[test]
    fn registers_that_any_program_resets_bind_nothing() {
        for selection in [&[][..], &[16], &[23], &[7, 0], &[7, 7], &[24]] {
            let outcome = ApprovedPolicy::approve("c", "r", selection, [0; 32], |_| Some([1; 64]));
            assert_eq!(outcome, Err(PolicyError::Selection(selection.to_vec())));
        }
        for (class, release) in [("", "r"), ("c", ""), ("a\nb", "r"), (&*"c".repeat(65), "r")] {
            let outcome = ApprovedPolicy::approve(class, release, &[0], [0; 32], |_| Some([1; 64]));
            assert!(matches!(outcome, Err(PolicyError::Name { .. })), "{class:?} {release:?}");
        }
    }

    #[test]
    fn a_key_is_bound_by_the_very_policy_and_by_nothing_else() {
        let bound = bound_identity_key([1; 32], authority().auth_policy("pump-mk2"));
        assert!(is_bound(&bound, &authority(), "pump-mk2"));
        assert!(!is_bound(&bound, &authority(), "pump-mk3"));
        let free = TpmtPublic { attributes: LDEVID_ATTRIBUTES, ..bound.clone() };
        assert!(!is_bound(&free, &authority(), "pump-mk2"), "a password would do as well");
        let none = TpmtPublic { auth_policy: Vec::new(), ..bound };
        assert!(!is_bound(&none, &authority(), "pump-mk2"));
    }
}
