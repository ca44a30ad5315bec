//! `TPMT_PUBLIC` (Part 2, 12.2.4): the public area of a key, whose hash is the key's name.

use super::{Hash, MalformedStructure, Reader, Writer};
use crate::limits::{COORDINATE_BYTES_MAX, DIGEST_BYTES_MAX, PUBLIC_BYTES_MAX, RSA_MODULUS_BYTES_MAX};

const ALG_RSA: u16 = 0x0001;
const ALG_AES: u16 = 0x0006;
const ALG_NULL: u16 = 0x0010;
const ALG_RSASSA: u16 = 0x0014;
const ALG_RSAPSS: u16 = 0x0016;
const ALG_ECDSA: u16 = 0x0018;
const ALG_ECC: u16 = 0x0023;
const ALG_CFB: u16 = 0x0043;
const CURVE_P256: u16 = 0x0003;
const CURVE_P384: u16 = 0x0004;

/// The public area of an RSA or elliptic-curve key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmtPublic {
    /// The hash that names the key.
    pub name_hash: Hash,
    /// What the TPM lets the key do.
    pub attributes: Attributes,
    /// Digest of the policy that authorizes its use; empty when there is none.
    pub auth_policy: Vec<u8>,
    /// How a storage or endorsement key protects its children; none for a signing key.
    pub symmetric: Option<Symmetric>,
    /// The scheme the key is fixed to; none leaves it to each command.
    pub scheme: Option<KeyScheme>,
    /// The key itself.
    pub key: PublicKey,
}

/// `TPMA_OBJECT` (Part 2, 8.3), as the bits that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes(pub u32);

impl Attributes {
    /// The key cannot leave this TPM.
    pub const FIXED_TPM: Self = Self(1 << 1);
    /// The key is gone after a TPM reset.
    pub const ST_CLEAR: Self = Self(1 << 2);
    /// The key cannot move below another parent.
    pub const FIXED_PARENT: Self = Self(1 << 4);
    /// The TPM made the private part itself.
    pub const SENSITIVE_DATA_ORIGIN: Self = Self(1 << 5);
    /// Use is authorized by the auth value.
    pub const USER_WITH_AUTH: Self = Self(1 << 6);
    /// Administration is authorized by the policy only.
    pub const ADMIN_WITH_POLICY: Self = Self(1 << 7);
    /// Not subject to dictionary attack protection.
    pub const NO_DA: Self = Self(1 << 10);
    /// Duplication needs an inner wrapper: the key is meant to be duplicated.
    pub const ENCRYPTED_DUPLICATION: Self = Self(1 << 11);
    /// Signs, or decrypts, only structures that the TPM itself made.
    pub const RESTRICTED: Self = Self(1 << 16);
    /// May decrypt.
    pub const DECRYPT: Self = Self(1 << 17);
    /// May sign.
    pub const SIGN: Self = Self(1 << 18);
    /// May sign X.509 content that the TPM did not make.
    pub const X509_SIGN: Self = Self(1 << 19);

    /// Both sets together.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every bit of `wanted` is set.
    pub const fn has(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }

    /// Whether any bit of `unwanted` is set.
    pub const fn has_any(self, unwanted: Self) -> bool {
        self.0 & unwanted.0 != 0
    }
}

/// AES in CFB mode with this key length, in bits: the only protection we know endorsement keys to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symmetric {
    /// AES-128-CFB.
    Aes128Cfb,
    /// AES-256-CFB.
    Aes256Cfb,
}

impl Symmetric {
    /// Key length, in bits.
    pub fn key_bits(self) -> u16 {
        match self {
            Self::Aes128Cfb => 128,
            Self::Aes256Cfb => 256,
        }
    }
}

/// A signing scheme (`TPMT_RSA_SCHEME`, `TPMT_ECC_SCHEME`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyScheme {
    /// ECDSA over this hash.
    Ecdsa(Hash),
    /// RSASSA PKCS#1 v1.5 over this hash.
    Rsassa(Hash),
    /// RSASSA-PSS over this hash.
    Rsapss(Hash),
}

/// A curve that we compute on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
}

impl Curve {
    /// Length of a coordinate, in bytes.
    pub fn coordinate_len(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }
}

/// The key within a public area.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// RSA.
    Rsa {
        /// Length of the modulus, in bits.
        bits: u16,
        /// Public exponent as written; 0 means 65,537.
        exponent: u32,
        /// Big-endian modulus.
        modulus: Vec<u8>,
    },
    /// A point on a curve.
    Ecc {
        /// The curve.
        curve: Curve,
        /// Big-endian x, as written (a TPM may leave out leading zeros).
        x: Vec<u8>,
        /// Big-endian y, as written.
        y: Vec<u8>,
    },
}

impl TpmtPublic {
    /// Parses a whole public area.
    ///
    /// # Errors
    /// `MalformedStructure`, also for algorithms without use here and for trailing bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, MalformedStructure> {
        let mut reader = Reader::new(bytes, "public area", PUBLIC_BYTES_MAX)?;
        let algorithm = reader.u16()?;
        let name_hash = Hash::from_id(reader.u16()?)?;
        let attributes = Attributes(reader.u32()?);
        let auth_policy = reader.sized("policy", DIGEST_BYTES_MAX)?.to_vec();
        let symmetric = read_symmetric(&mut reader)?;
        let scheme = read_scheme(&mut reader)?;
        let key = match algorithm {
            ALG_RSA => {
                let bits = reader.u16()?;
                let exponent = reader.u32()?;
                let modulus = reader.sized("modulus", RSA_MODULUS_BYTES_MAX)?.to_vec();
                PublicKey::Rsa { bits, exponent, modulus }
            }
            ALG_ECC => read_point(&mut reader)?,
            other => {
                let value = u32::from(other);
                return Err(MalformedStructure::Unsupported { field: "key algorithm", value });
            }
        };
        reader.finish()?;
        Ok(Self { name_hash, attributes, auth_policy, symmetric, scheme, key })
    }

    /// The structure's bytes; `parse` gives the same value back. For soft keys and for storing what was parsed.
    pub fn marshal(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        let algorithm = match self.key {
            PublicKey::Rsa { .. } => ALG_RSA,
            PublicKey::Ecc { .. } => ALG_ECC,
        };
        writer.u16(algorithm).u16(self.name_hash.id()).u32(self.attributes.0).sized(&self.auth_policy);
        match self.symmetric {
            None => writer.u16(ALG_NULL),
            Some(symmetric) => writer.u16(ALG_AES).u16(symmetric.key_bits()).u16(ALG_CFB),
        };
        match self.scheme {
            None => writer.u16(ALG_NULL),
            Some(KeyScheme::Ecdsa(hash)) => writer.u16(ALG_ECDSA).u16(hash.id()),
            Some(KeyScheme::Rsassa(hash)) => writer.u16(ALG_RSASSA).u16(hash.id()),
            Some(KeyScheme::Rsapss(hash)) => writer.u16(ALG_RSAPSS).u16(hash.id()),
        };
        match &self.key {
            PublicKey::Rsa { bits, exponent, modulus } => writer.u16(*bits).u32(*exponent).sized(modulus),
            PublicKey::Ecc { curve, x, y } => {
                let id = match curve {
                    Curve::P256 => CURVE_P256,
                    Curve::P384 => CURVE_P384,
                };
                writer.u16(id).u16(ALG_NULL).sized(x).sized(y)
            }
        };
        writer.take()
    }

    /// The uncompressed SEC 1 point, coordinates padded to the curve's length; none for an RSA key.
    pub fn sec1(&self) -> Option<Vec<u8>> {
        let PublicKey::Ecc { curve, x, y } = &self.key else { return None };
        let len = curve.coordinate_len();
        let mut point = vec![4];
        point.extend(padded(x, len)?);
        point.extend(padded(y, len)?);
        Some(point)
    }

    /// The uncompressed SEC 1 point of a P-256 key; none for any other.
    pub fn p256_sec1(&self) -> Option<[u8; 65]> {
        self.sec1()?.try_into().ok()
    }
}

/// `value` with zeros before it up to `len` bytes; none when it is longer.
pub(crate) fn padded(value: &[u8], len: usize) -> Option<Vec<u8>> {
    let zeros = len.checked_sub(value.len())?;
    let mut bytes = vec![0; zeros];
    bytes.extend_from_slice(value);
    Some(bytes)
}

fn read_symmetric(reader: &mut Reader<'_>) -> Result<Option<Symmetric>, MalformedStructure> {
    match reader.u16()? {
        ALG_NULL => Ok(None),
        ALG_AES => {
            let bits = reader.u16()?;
            let mode = reader.u16()?;
            if mode != ALG_CFB {
                return Err(MalformedStructure::Unsupported { field: "cipher mode", value: u32::from(mode) });
            }
            match bits {
                128 => Ok(Some(Symmetric::Aes128Cfb)),
                256 => Ok(Some(Symmetric::Aes256Cfb)),
                other => {
                    Err(MalformedStructure::Unsupported { field: "AES key length", value: u32::from(other) })
                }
            }
        }
        other => Err(MalformedStructure::Unsupported { field: "cipher", value: u32::from(other) }),
    }
}

fn read_scheme(reader: &mut Reader<'_>) -> Result<Option<KeyScheme>, MalformedStructure> {
    let scheme = match reader.u16()? {
        ALG_NULL => return Ok(None),
        ALG_ECDSA => KeyScheme::Ecdsa,
        ALG_RSASSA => KeyScheme::Rsassa,
        ALG_RSAPSS => KeyScheme::Rsapss,
        other => {
            return Err(MalformedStructure::Unsupported { field: "key scheme", value: u32::from(other) });
        }
    };
    Ok(Some(scheme(Hash::from_id(reader.u16()?)?)))
}

fn read_point(reader: &mut Reader<'_>) -> Result<PublicKey, MalformedStructure> {
    let curve = match reader.u16()? {
        CURVE_P256 => Curve::P256,
        CURVE_P384 => Curve::P384,
        other => return Err(MalformedStructure::Unsupported { field: "curve", value: u32::from(other) }),
    };
    let derivation = reader.u16()?;
    if derivation != ALG_NULL {
        let value = u32::from(derivation);
        return Err(MalformedStructure::Unsupported { field: "key derivation scheme", value });
    }
    let x = reader.sized("x coordinate", COORDINATE_BYTES_MAX)?.to_vec();
    let y = reader.sized("y coordinate", COORDINATE_BYTES_MAX)?.to_vec();
    if x.len() > curve.coordinate_len() || y.len() > curve.coordinate_len() {
        return Err(MalformedStructure::Wrong { field: "coordinate length" });
    }
    Ok(PublicKey::Ecc { curve, x, y })
}
