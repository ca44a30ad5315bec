//! Templates of the three keys of a device: one list for the verifier that checks them, the chip that makes them and
//! the soft keys that imitate them. Endorsement keys follow the TCG EK Credential Profile for TPM 2.0.

use crate::wire::{Attributes, Curve, Hash, KeyScheme, PublicKey, Symmetric, TpmtPublic};

/// Attributes of an attestation key: `0x50472`.
pub const AK_ATTRIBUTES: Attributes = LDEVID_ATTRIBUTES.and(Attributes::RESTRICTED);
/// Attributes of an identity key: `0x40472`. Not subject to dictionary attack protection, for an unclean power cut
/// would count as a failed try and in the end lock the device out.
pub const LDEVID_ATTRIBUTES: Attributes =
    RESIDENT.and(Attributes::USER_WITH_AUTH).and(Attributes::NO_DA).and(Attributes::SIGN);
/// Attributes of an identity key that only its policy authorizes to sign: `0x40432`.
pub const BOUND_LDEVID_ATTRIBUTES: Attributes = RESIDENT.and(Attributes::NO_DA).and(Attributes::SIGN);
/// What makes a key the TPM's own: made inside, and staying there.
pub const RESIDENT: Attributes =
    Attributes::FIXED_TPM.and(Attributes::FIXED_PARENT).and(Attributes::SENSITIVE_DATA_ORIGIN);

/// Attributes of a low-range endorsement key: `0x300b2`.
const EK_LOW: Attributes =
    RESIDENT.and(Attributes::ADMIN_WITH_POLICY).and(Attributes::RESTRICTED).and(Attributes::DECRYPT);
/// Attributes of a high-range endorsement key: `0x300f2`.
const EK_HIGH: Attributes = EK_LOW.and(Attributes::USER_WITH_AUTH);

/// PolicyA: PolicySecret with the endorsement hierarchy.
const POLICY_A_SHA256: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd,
    0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];
/// PolicyA for a high-range key.
pub const POLICY_A_SHA384: [u8; 48] = [
    0x8b, 0xbf, 0x22, 0x66, 0x53, 0x7c, 0x17, 0x1c, 0xb5, 0x6e, 0x40, 0x3c, 0x4d, 0xc1, 0xd4, 0xb6, 0x4f,
    0x43, 0x26, 0x11, 0xdc, 0x38, 0x6e, 0x6f, 0x53, 0x20, 0x50, 0xc3, 0x27, 0x8c, 0x93, 0x0e, 0x14, 0x3e,
    0x8b, 0xb1, 0x13, 0x38, 0x24, 0xcc, 0xb4, 0x31, 0x05, 0x38, 0x71, 0xc6, 0xdb, 0x53,
];
/// PolicyB: PolicyA or PolicyC.
const POLICY_B_SHA384: [u8; 48] = [
    0xb2, 0x6e, 0x7d, 0x28, 0xd1, 0x1a, 0x50, 0xbc, 0x53, 0xd8, 0x82, 0xbc, 0xf5, 0xfd, 0x3a, 0x1a, 0x07,
    0x41, 0x48, 0xbb, 0x35, 0xd3, 0xb4, 0xe4, 0xcb, 0x1c, 0x0a, 0xd9, 0xbd, 0xe4, 0x19, 0xca, 0xcb, 0x47,
    0xba, 0x09, 0x69, 0x96, 0x46, 0x15, 0x0f, 0x9f, 0xc0, 0x00, 0xf3, 0xf8, 0x0e, 0x12,
];
/// PolicyC: a policy in the TPM's storage.
pub const POLICY_C_SHA384: [u8; 48] = [
    0xd6, 0x03, 0x2c, 0xe6, 0x1f, 0x2f, 0xb3, 0xc2, 0x40, 0xeb, 0x3c, 0xf6, 0xa3, 0x32, 0x37, 0xef, 0x2b,
    0x6a, 0x16, 0xf4, 0x29, 0x3c, 0x22, 0xb4, 0x55, 0xe2, 0x61, 0xcf, 0xfd, 0x21, 0x7a, 0xd5, 0xb4, 0x94,
    0x7c, 0x2d, 0x73, 0xe6, 0x30, 0x05, 0xee, 0xd2, 0xdc, 0x2b, 0x35, 0x93, 0xd1, 0x65,
];

/// What tells our attestation key from other primaries of the same shape.
const AK_UNIQUE: &[u8] = b"muster-ak";

/// An endorsement key that we know how to use, by its template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EkTemplate {
    /// Low range, P-256.
    P256,
    /// Low range, RSA-2048.
    Rsa2048,
    /// High range, P-384.
    P384,
}

impl EkTemplate {
    /// In the order of preference: P-256 is fastest to derive, RSA most common, P-384 what swtpm's own set-up makes.
    pub const ALL: [Self; 3] = [Self::P256, Self::Rsa2048, Self::P384];

    /// The template that a key of this kind must follow, if there is one.
    pub fn of(key: &PublicKey) -> Option<Self> {
        match key {
            PublicKey::Ecc { curve: Curve::P256, .. } => Some(Self::P256),
            PublicKey::Ecc { curve: Curve::P384, .. } => Some(Self::P384),
            PublicKey::Rsa { bits: 2_048, exponent: 0 | 65_537, .. } => Some(Self::Rsa2048),
            PublicKey::Rsa { .. } => None,
        }
    }

    /// Where the TPM stores this key's certificate: an NV index.
    pub fn certificate_index(self) -> u32 {
        match self {
            Self::P256 => 0x01c0_000a,
            Self::Rsa2048 => 0x01c0_0002,
            Self::P384 => 0x01c0_0016,
        }
    }

    /// Where set-up tools persist this key, if they do.
    pub fn persistent_handle(self) -> u32 {
        match self {
            Self::P256 => 0x8101_000a,
            Self::Rsa2048 => 0x8101_0001,
            Self::P384 => 0x8101_0016,
        }
    }

    /// The template for `TPM2_CreatePrimary`.
    pub fn template(self) -> TpmtPublic {
        let (name_hash, attributes, auth_policy, symmetric) = match self {
            Self::P256 | Self::Rsa2048 => {
                (Hash::Sha256, EK_LOW, POLICY_A_SHA256.to_vec(), Symmetric::Aes128Cfb)
            }
            Self::P384 => (Hash::Sha384, EK_HIGH, POLICY_B_SHA384.to_vec(), Symmetric::Aes256Cfb),
        };
        let key = match self {
            Self::P256 => PublicKey::Ecc { curve: Curve::P256, x: vec![0; 32], y: vec![0; 32] },
            Self::Rsa2048 => PublicKey::Rsa { bits: 2_048, exponent: 0, modulus: vec![0; 256] },
            // The high range leaves the field empty; zeros would make another key.
            Self::P384 => PublicKey::Ecc { curve: Curve::P384, x: Vec::new(), y: Vec::new() },
        };
        TpmtPublic { name_hash, attributes, auth_policy, symmetric: Some(symmetric), scheme: None, key }
    }
}

/// Whether everything but the key itself is as its template says. Then the TPM uses it for nothing but credentials.
pub fn follows_ek_template(ek: &TpmtPublic) -> bool {
    EkTemplate::of(&ek.key).is_some_and(|kind| TpmtPublic { key: ek.key.clone(), ..kind.template() } == *ek)
}

/// The attestation key's template: a primary of the endorsement hierarchy, so it outlives clearing.
pub fn attestation_key() -> TpmtPublic {
    signing_key(AK_ATTRIBUTES, AK_UNIQUE.to_vec(), Vec::new())
}

/// An identity key's template: a primary of the owner hierarchy, another one for every `unique`.
pub fn identity_key(unique: [u8; 32]) -> TpmtPublic {
    signing_key(LDEVID_ATTRIBUTES, unique.to_vec(), Vec::new())
}

/// An identity key's template that only a policy authorizes to sign. To certify it takes no more than before: that is
/// administration, which the policy does not govern.
pub fn bound_identity_key(unique: [u8; 32], auth_policy: [u8; 32]) -> TpmtPublic {
    let template = signing_key(BOUND_LDEVID_ATTRIBUTES, unique.to_vec(), Vec::new());
    TpmtPublic { auth_policy: auth_policy.to_vec(), ..template }
}

/// The public area of a P-256 key that signs with ECDSA and SHA-256; `x` and `y` are its point, or what makes a
/// template unique.
pub fn signing_key(attributes: Attributes, x: Vec<u8>, y: Vec<u8>) -> TpmtPublic {
    TpmtPublic {
        name_hash: Hash::Sha256,
        attributes,
        auth_policy: Vec::new(),
        symmetric: None,
        scheme: Some(KeyScheme::Ecdsa(Hash::Sha256)),
        key: PublicKey::Ecc { curve: Curve::P256, x, y },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::digest;

    const CC_POLICY_SECRET: [u8; 4] = [0, 0, 0x01, 0x51];
    const CC_POLICY_OR: [u8; 4] = [0, 0, 0x01, 0x71];
    const RH_ENDORSEMENT: [u8; 4] = [0x40, 0, 0, 0x0b];

    #[test]
    fn the_policies_are_what_their_commands_compute() {
        for (hash, expected) in [(Hash::Sha256, &POLICY_A_SHA256[..]), (Hash::Sha384, &POLICY_A_SHA384)] {
            let zeros = vec![0; hash.digest_len()];
            let first = digest(hash, &[&zeros, &CC_POLICY_SECRET, &RH_ENDORSEMENT]);
            // The second round takes in the empty policyRef.
            assert_eq!(digest(hash, &[&first]), expected);
        }
        let either = digest(Hash::Sha384, &[&[0; 48], &CC_POLICY_OR, &POLICY_A_SHA384, &POLICY_C_SHA384]);
        assert_eq!(either, POLICY_B_SHA384);
    }

    #[test]
    fn the_attributes_are_the_profiles_numbers() {
        assert_eq!(EK_LOW.0, 0x300b2);
        assert_eq!(EK_HIGH.0, 0x300f2);
        assert_eq!(AK_ATTRIBUTES.0, 0x50472);
        assert_eq!(LDEVID_ATTRIBUTES.0, 0x40472);
        assert_eq!(BOUND_LDEVID_ATTRIBUTES.0, 0x40432);
    }

    #[test]
    fn every_template_survives_its_own_parser() {
        for kind in EkTemplate::ALL {
            let template = kind.template();
            assert_eq!(TpmtPublic::parse(&template.marshal()), Ok(template.clone()));
            assert!(follows_ek_template(&template));
        }
    }
}
