//! Certificates: a root, and below it one authority for each role, so that a certificate of one kind can never pass for
//! another. Not for deciding who deserves a certificate: that is enrolment's and the API's matter.
//!
//! ```text
//!            root (20 years; its key is opened only to make an authority)
//!       _______|__________________________________________
//!    server      device      relay         client          software       (5 years each)
//!      |            |          |             |                 |
//!  hub's own     devices   gateways   apps, users, services   releases    (each: one SAN URI, the principal)
//! ```

mod certs_only;
mod profile;
mod public_key;

use std::sync::Arc;

use arc_swap::ArcSwap;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SanType,
    SerialNumber,
};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivatePkcs8KeyDer, ServerName};
use zeroize::Zeroizing;

use muster_schemas::{Kind, Principal, TrustDomain};

use crate::limits::{AUTHORITY_VALIDITY_S, NAME_TEXT_BYTES_MAX, ROOT_VALIDITY_S, SERIAL_BYTES};

pub use certs_only::certs_only;
pub use muster_trust::{InvalidLeaf, Leaf, Role, Serial, Tenants, TrustBundle, is_signed_by, own_principal};
pub use profile::PROFILES;
pub use public_key::{InvalidPublicKey, PemFileError, PublicKey, pem_certificates, revocation_lists};

/// Why an authority could not be made, loaded, or would not sign.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The role does not sign principals of that kind.
    #[error("sign a {kind}: the {role} authority does not sign that kind")]
    WrongKind {
        /// Which authority was asked.
        role: Role,
        /// For what.
        kind: Kind,
    },
    /// The principal belongs to another installation.
    #[error("sign for the trust domain {asked}: this authority is of {ours}")]
    WrongTrustDomain {
        /// The authority's own.
        ours: TrustDomain,
        /// The principal's.
        asked: TrustDomain,
    },
    /// The authority's own life is over, or the clock is far off.
    #[error(
        "sign with the {role} authority: it is valid from {not_before_s} to {not_after_s} (Unix seconds), not now"
    )]
    NotValidNow {
        /// Which authority.
        role: Role,
        /// The start of its life, Unix seconds.
        not_before_s: u64,
        /// The end of its life, Unix seconds.
        not_after_s: u64,
    },
    /// A certificate must live at least a second and end before the year 10000.
    #[error("sign for the asked validity: it is zero or ends after the year 9999")]
    Validity,
    /// A name for the server that is neither a DNS name nor an address.
    #[error("sign for the server name {0:?}: it is neither a DNS name nor an address")]
    ServerName(String),
    /// The stored certificate is not one of an authority of this installation.
    #[error("load the {role} authority: {why}")]
    Stored {
        /// Which authority.
        role: Role,
        /// What is wrong with it.
        why: &'static str,
    },
    /// What was signed did not read back; a broken invariant of ours.
    #[error("read back what was signed")]
    ReadBack(#[from] InvalidLeaf),
    /// The certificate library refused.
    #[error("make a certificate")]
    Library(#[from] rcgen::Error),
    /// The random generator of the system failed.
    #[error("draw a serial number: the random generator failed")]
    Random,
}

/// What stands in a leaf beside its principal.
#[derive(Debug, Clone, Copy, Default)]
struct Served<'a> {
    /// The names of a hub.
    names: &'a [ServerName<'static>],
    /// The tenants that a hub may serve.
    tenants: Option<&'a Tenants>,
    /// Whether it signs the trust object.
    signs_trust: bool,
}

/// A certificate as signed, and what it says.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate, DER.
    pub certificate: CertificateDer<'static>,
    /// What it says, read back from it.
    pub leaf: Leaf,
}

/// An authority that can sign: its certificate and its private key. Clones sign with the same key, also after it was
/// [replaced](Authority::replace).
#[derive(Debug, Clone)]
pub struct Authority {
    role: Role,
    trust_domain: TrustDomain,
    signer: Arc<ArcSwap<Signer>>,
}

/// One generation of an authority.
#[derive(Debug)]
struct Signer {
    generation: u32,
    certificate: CertificateDer<'static>,
    not_before_s: u64,
    not_after_s: u64,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes the root of an installation: a new P-256 key and a certificate that it signs itself.
    pub fn new_root(trust_domain: &TrustDomain, now_s: u64) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let params =
            authority_params(Role::Root, 1, trust_domain, now_s, now_s.saturating_add(ROOT_VALIDITY_S))?;
        let certificate = params.self_signed(&key)?.der().clone();
        Self::load(Role::Root, certificate, key)
    }

    /// Makes an authority below this root: a new P-256 key and a certificate that the root signs.
    pub fn new_intermediate(&self, role: Role, now_s: u64) -> Result<Self, AuthorityError> {
        self.new_generation(role, 1, now_s)
    }

    /// Makes an authority of a role that has had `generation - 1` before: a new key, and a name that tells it from them.
    pub fn new_generation(&self, role: Role, generation: u32, now_s: u64) -> Result<Self, AuthorityError> {
        if self.role != Role::Root || role == Role::Root {
            return Err(AuthorityError::Stored {
                role,
                why: "only a root signs authorities, and not another root",
            });
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let root = self.signer.load();
        let not_after_s = now_s.saturating_add(AUTHORITY_VALIDITY_S).min(root.not_after_s);
        let params = authority_params(role, generation, &self.trust_domain, now_s, not_after_s)?;
        let certificate = params.signed_by(&key, &root.issuer)?.der().clone();
        Self::load(role, certificate, key)
    }

    /// An authority from its stored certificate and private key (PKCS #8).
    pub fn from_stored(
        role: Role,
        certificate: CertificateDer<'static>,
        pkcs8: &[u8],
    ) -> Result<Self, AuthorityError> {
        let key = KeyPair::try_from(&PrivatePkcs8KeyDer::from(pkcs8))?;
        Self::load(role, certificate, key)
    }

    /// From now on signs with the key of `other`, an authority of the same role and installation: for all clones.
    pub fn replace(&self, other: &Self) -> Result<(), AuthorityError> {
        if self.role != other.role || self.trust_domain != other.trust_domain {
            return Err(AuthorityError::Stored { role: other.role, why: "it is another authority" });
        }
        self.signer.store(other.signer.load_full());
        Ok(())
    }

    /// Signs a principal of any kind that this authority issues, other than a hub. `validity_s` is cut at the
    /// authority's own end.
    pub fn issue_principal(
        &self,
        key: &PublicKey,
        principal: &Principal,
        now_s: u64,
        validity_s: u64,
    ) -> Result<Issued, AuthorityError> {
        self.expect_role(Role::of(principal.kind), principal)?;
        self.issue(key, principal, Served::default(), now_s, validity_s)
    }

    /// Signs what may sign the trust object: a software certificate of the operator's with a usage of its own.
    pub fn issue_trust_signer(
        &self,
        key: &PublicKey,
        principal: &Principal,
        now_s: u64,
        validity_s: u64,
    ) -> Result<Issued, AuthorityError> {
        self.expect_role(Role::Software, principal)?;
        let served = Served { signs_trust: true, ..Served::default() };
        self.issue(key, principal, served, now_s, validity_s)
    }

    /// Signs a revocation list.
    pub fn sign_list(
        &self,
        list: &CertificateRevocationListParams,
    ) -> Result<CertificateRevocationListDer<'static>, AuthorityError> {
        Ok(list.signed_by(&self.signer.load().issuer)?.der().clone())
    }

    /// Signs a device that proved its TPM. `validity_s` is cut at the authority's own end.
    pub fn issue_device(
        &self,
        key: &PublicKey,
        principal: &Principal,
        now_s: u64,
        validity_s: u64,
    ) -> Result<Issued, AuthorityError> {
        self.expect_role(Role::Device, principal)?;
        self.issue(key, principal, Served::default(), now_s, validity_s)
    }

    /// Signs an app or a user. `validity_s` is cut at the authority's own end.
    pub fn issue_client(
        &self,
        key: &PublicKey,
        principal: &Principal,
        now_s: u64,
        validity_s: u64,
    ) -> Result<Issued, AuthorityError> {
        self.expect_role(Role::Client, principal)?;
        self.issue(key, principal, Served::default(), now_s, validity_s)
    }

    /// Signs a hub, reachable under these names and entitled to serve these tenants. `validity_s` is cut at the
    /// authority's own end.
    pub fn issue_server(
        &self,
        key: &PublicKey,
        principal: &Principal,
        (names, tenants): (&[ServerName<'static>], &Tenants),
        now_s: u64,
        validity_s: u64,
    ) -> Result<Issued, AuthorityError> {
        self.expect_role(Role::Server, principal)?;
        let served = Served { names, tenants: Some(tenants), signs_trust: false };
        self.issue(key, principal, served, now_s, validity_s)
    }

    /// What it is for.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Its certificate, DER.
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.signer.load().certificate.clone()
    }

    /// Which of its role it is, from 1.
    pub fn generation(&self) -> u32 {
        self.signer.load().generation
    }

    /// The installation it belongs to.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// When it ends, Unix seconds.
    pub fn not_after_s(&self) -> u64 {
        self.signer.load().not_after_s
    }

    /// Its private key, PKCS #8, to be sealed at once.
    pub fn private_key_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.signer.load().issuer.key().serialize_der())
    }

    fn load(role: Role, certificate: CertificateDer<'static>, key: KeyPair) -> Result<Self, AuthorityError> {
        let wrong = |why| AuthorityError::Stored { role, why };
        let parsed = muster_trust::read_authority(role, &certificate).map_err(wrong)?;
        if key.subject_public_key_info() != parsed.spki {
            return Err(wrong("its certificate belongs to another private key"));
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = authority_name(role, parsed.generation, &parsed.trust_domain);
        params.key_identifier_method = KeyIdMethod::Sha256;
        let signer = Signer {
            generation: parsed.generation,
            certificate,
            not_before_s: parsed.not_before_s,
            not_after_s: parsed.not_after_s,
            issuer: Issuer::new(params, key),
        };
        let signer = Arc::new(ArcSwap::from_pointee(signer));
        Ok(Self { role, trust_domain: parsed.trust_domain, signer })
    }

    fn expect_role(&self, role: Role, principal: &Principal) -> Result<(), AuthorityError> {
        if self.role != role || !role.issues(principal.kind) {
            return Err(AuthorityError::WrongKind { role: self.role, kind: principal.kind });
        }
        if principal.trust_domain != self.trust_domain {
            return Err(AuthorityError::WrongTrustDomain {
                ours: self.trust_domain.clone(),
                asked: principal.trust_domain.clone(),
            });
        }
        Ok(())
    }

    fn issue(
        &self,
        key: &PublicKey,
        principal: &Principal,
        served: Served<'_>,
        now_s: u64,
        validity_s: u64,
    ) -> Result<Issued, AuthorityError> {
        let signer = self.signer.load();
        let Signer { not_before_s, not_after_s, .. } = **signer;
        if now_s < not_before_s || now_s >= not_after_s {
            return Err(AuthorityError::NotValidNow { role: self.role, not_before_s, not_after_s });
        }
        if validity_s == 0 {
            return Err(AuthorityError::Validity);
        }
        let not_after_s = now_s.saturating_add(validity_s).min(not_after_s);
        let params = profile::leaf_params(principal, served, now_s, not_after_s)?;
        let certificate = params.signed_by(key, &signer.issuer)?.der().clone();
        let leaf = Leaf::read_as(&certificate, self.role, &self.trust_domain)?;
        Ok(Issued { certificate, leaf })
    }
}

fn authority_params(
    role: Role,
    generation: u32,
    trust_domain: &TrustDomain,
    now_s: u64,
    not_after_s: u64,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = authority_name(role, generation, trust_domain);
    profile::set_validity(&mut params, now_s, not_after_s)?;
    params.serial_number = Some(serial_number()?);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(u8::from(role == Role::Root)));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.extended_key_usages = profile::authority_usages(role);
    params.use_authority_key_identifier_extension = role != Role::Root;
    // The trust domain without a path: what SPIFFE asks of a signing certificate (X509-SVID §3.2).
    params.subject_alt_names = vec![SanType::URI(profile::ascii(&format!("spiffe://{trust_domain}"))?)];
    Ok(params)
}

/// O is the trust domain, for humans; CN tells the authorities apart, and chains are built on the whole name.
fn authority_name(role: Role, generation: u32, trust_domain: &TrustDomain) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    let organization = trust_domain.as_str();
    name.push(DnType::OrganizationName, organization.get(..NAME_TEXT_BYTES_MAX).unwrap_or(organization));
    let common_name = match (role, generation) {
        (Role::Root, _) => format!("muster {role}"),
        (_, 1) => format!("muster {role} authority"),
        (_, later) => format!("muster {role} authority {later}"),
    };
    name.push(DnType::CommonName, common_name);
    name
}

/// 16 random bytes, positive and of full length: 126 bits of chance.
fn serial_number() -> Result<SerialNumber, AuthorityError> {
    let mut serial = [0; SERIAL_BYTES];
    aws_lc_rs::rand::fill(&mut serial).map_err(|_| AuthorityError::Random)?;
    if let Some(first) = serial.first_mut() {
        *first = (*first & 0x3f) | 0x40;
    }
    Ok(SerialNumber::from_slice(&serial))
}

#[cfg(test)]
mod tests;
