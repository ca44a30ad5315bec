//! A manufacturer of simulated TPMs, named so that nobody takes it for another: its root is called "NOT A REAL TPM".
//! It endorses soft keys and the keys of swtpm processes. For simulators, demonstrations and tests; a hub lists its
//! root in the class `simulated`, which a tenant has to accept explicitly.

use p256::ecdsa::{Signature, SigningKey, signature::Signer};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PublicKeyData, RevocationReason, RevokedCertParams, SerialNumber, SignatureAlgorithm, date_time_ymd,
};

use crate::{
    keys::KeyError,
    name::sha256,
    soft::derive_scalar,
    spki::{p256_spki_der, value},
};

/// Common name of the root.
pub const ROOT_NAME: &str = "NOT A REAL TPM";
/// The well-known manufacturer's seed. Public on purpose: anybody can endorse a simulated TPM.
const WELL_KNOWN_SEED: &[u8; 32] = b"muster: this is NOT A REAL TPM!!";

const UTF8_STRING: u8 = 0x0c;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `directoryName` in a GeneralName.
const DIRECTORY_NAME: u8 = 0xa4;
/// tcg-at-tpmManufacturer, -Model and -Version (2.23.133.2.1 to .3), with what a simulated TPM says in them.
const IDENTITY: [(u8, &str); 3] = [(1, "id:53494D55"), (2, "NOT A REAL TPM"), (3, "id:00000001")];

/// A root that endorses simulated TPMs. The same seed makes the same manufacturer, to the byte.
#[derive(Debug)]
pub struct SimulatedManufacturer {
    key: Key,
    certificate: Vec<u8>,
}

impl SimulatedManufacturer {
    /// The manufacturer with this seed.
    ///
    /// # Errors
    /// When the certificate library refuses its own input.
    pub fn new(seed: &[u8; 32]) -> Result<Self, KeyError> {
        let key = Key::new(SigningKey::from(derive_scalar(seed, "simulated manufacturer")));
        let mut parameters = root_parameters();
        parameters.serial_number = Some(serial(&key.sec1));
        let certificate = parameters.self_signed(&key).map_err(|error| invalid(&error))?.der().to_vec();
        Ok(Self { key, certificate })
    }

    /// The manufacturer that everybody knows, so that a hub and a simulator in two processes agree on it.
    ///
    /// # Errors
    /// When the certificate library refuses its own input.
    pub fn well_known() -> Result<Self, KeyError> {
        Self::new(WELL_KNOWN_SEED)
    }

    /// The root certificate in DER, for a hub's list in the class `simulated`.
    pub fn root_certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// An endorsement certificate in DER for the P-256 endorsement key with this uncompressed point.
    ///
    /// # Errors
    /// When the certificate library refuses its own input.
    pub fn endorse(&self, ek_sec1: &[u8; 65]) -> Result<Vec<u8>, KeyError> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        parameters.not_before = date_time_ymd(2020, 1, 1);
        parameters.not_after = date_time_ymd(9999, 12, 31);
        parameters.serial_number = Some(serial(ek_sec1));
        parameters.is_ca = IsCa::ExplicitNoCa;
        parameters.key_usages = vec![KeyUsagePurpose::KeyAgreement];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, 1])];
        parameters.use_authority_key_identifier_extension = true;
        let mut identity = CustomExtension::from_oid_content(&[2, 5, 29, 17], alternative_name());
        identity.set_criticality(true);
        parameters.custom_extensions = vec![identity];
        let issuer = Issuer::new(root_parameters(), &self.key);
        let certificate = parameters.signed_by(&Point(*ek_sec1), &issuer).map_err(|error| invalid(&error))?;
        Ok(certificate.der().to_vec())
    }

    /// A revocation list in DER that names the certificates of these endorsement keys.
    ///
    /// # Errors
    /// When the certificate library refuses its own input.
    pub fn revoke(&self, ek_sec1s: &[[u8; 65]]) -> Result<Vec<u8>, KeyError> {
        let revoked = |sec1: &[u8; 65]| RevokedCertParams {
            serial_number: serial(sec1),
            revocation_time: date_time_ymd(2021, 1, 1),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2021, 1, 1),
            next_update: date_time_ymd(2022, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: ek_sec1s.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let issuer = Issuer::new(root_parameters(), &self.key);
        Ok(list.signed_by(&issuer).map_err(|error| invalid(&error))?.der().to_vec())
    }
}

fn root_parameters() -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, ROOT_NAME);
    parameters.not_before = date_time_ymd(2020, 1, 1);
    parameters.not_after = date_time_ymd(9999, 12, 31);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters
}

/// The subject alternative name: one directory name with manufacturer, model and version (EK Credential Profile, 3.1.2).
fn alternative_name() -> Vec<u8> {
    let mut names = Vec::new();
    for (last_arc, text) in IDENTITY {
        let kind = value(OBJECT_IDENTIFIER, &[0x67, 0x81, 0x05, 0x02, last_arc]);
        let attribute = value(SEQUENCE, &[kind, value(UTF8_STRING, text.as_bytes())].concat());
        names.extend(value(SET, &attribute));
    }
    value(SEQUENCE, &value(DIRECTORY_NAME, &value(SEQUENCE, &names)))
}

fn serial(sec1: &[u8; 65]) -> SerialNumber {
    let mut bytes = sha256(&[&p256_spki_der(sec1)]);
    // Positive and without leading zeros (RFC 5280 §4.1.2.2).
    bytes[0] = bytes[0] & 0x3f | 0x40;
    SerialNumber::from_slice(bytes.get(..16).unwrap_or(&bytes))
}

fn invalid(error: &rcgen::Error) -> KeyError {
    KeyError::Invalid { what: "the simulated manufacturer", why: error.to_string() }
}

/// The manufacturer's own key.
#[derive(Debug)]
struct Key {
    signing: SigningKey,
    sec1: [u8; 65],
}

impl Key {
    fn new(signing: SigningKey) -> Self {
        let sec1 = crate::soft::sec1_of(signing.verifying_key());
        Self { signing, sec1 }
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.sec1
    }
    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature: Signature = self.signing.sign(message);
        Ok(signature.to_der().as_bytes().to_vec())
    }
}

/// The key that is endorsed.
struct Point([u8; 65]);

impl PublicKeyData for Point {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }
    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_manufacturer() {
        let first = SimulatedManufacturer::new(&[7; 32]).unwrap();
        let second = SimulatedManufacturer::new(&[7; 32]).unwrap();
        assert_eq!(first.root_certificate(), second.root_certificate());
        let other = SimulatedManufacturer::well_known().unwrap();
        assert_ne!(first.root_certificate(), other.root_certificate());
    }
}
