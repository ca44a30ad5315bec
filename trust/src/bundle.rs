//! The certificates of an installation's authorities, without their keys: what trust is built from.

use std::sync::Arc;

use arc_swap::ArcSwap;
use muster_schemas::TrustDomain;
use rustls::{RootCertStore, pki_types::CertificateDer};
use x509_parser::prelude::X509Certificate;

use crate::{
    Expect, InvalidLeaf, Leaf, Refused, Role, Tenants,
    leaf::{parse, uris, validity},
    limits::GENERATIONS_MAX,
};

/// The root and its authorities. All clones show the same, also after the authorities were [replaced].
///
/// [replaced]: TrustBundle::replace
#[derive(Debug, Clone)]
pub struct TrustBundle {
    trust_domain: TrustDomain,
    root: CertificateDer<'static>,
    /// By role, and within a role the newest last.
    authorities: Arc<ArcSwap<Vec<Trusted>>>,
}

#[derive(Debug, Clone)]
struct Trusted {
    role: Role,
    generation: u32,
    certificate: CertificateDer<'static>,
    /// The subject, DER: what chains are built on.
    subject: Vec<u8>,
    not_after_s: u64,
}

/// What the certificate of an authority says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityCertificate {
    /// What it is for.
    pub role: Role,
    /// Which of its role, from 1: authorities that follow each other have different names.
    pub generation: u32,
    /// The installation.
    pub trust_domain: TrustDomain,
    /// Its public key, a SubjectPublicKeyInfo in DER.
    pub spki: Vec<u8>,
    /// The start of its life, Unix seconds.
    pub not_before_s: u64,
    /// The end of its life, Unix seconds.
    pub not_after_s: u64,
}

impl TrustBundle {
    /// Puts together a root and the authorities that it signed, in any order and several of a role.
    ///
    /// # Errors
    /// Which one is wrong, and why.
    pub fn new(
        root: CertificateDer<'static>,
        authorities: impl IntoIterator<Item = (Role, CertificateDer<'static>)>,
    ) -> Result<Self, (Role, &'static str)> {
        let trust_domain = read_authority(Role::Root, &root).map_err(|why| (Role::Root, why))?.trust_domain;
        let mut trusted = Vec::new();
        for (role, certificate) in authorities {
            let read = read_authority(role, &certificate).map_err(|why| (role, why))?;
            if read.trust_domain != trust_domain {
                return Err((role, "its trust domain is not the root's"));
            }
            if !is_signed_by(&certificate, &root) {
                return Err((role, "the root did not sign it"));
            }
            let subject = parse(&certificate).map_err(|_| (role, "it is not a certificate"))?;
            let subject = subject.subject().as_raw().to_vec();
            let AuthorityCertificate { generation, not_after_s, .. } = read;
            trusted.push(Trusted { role, generation, certificate, subject, not_after_s });
        }
        trusted.sort_by_key(|authority| (authority.role, authority.generation));
        Ok(Self { trust_domain, root, authorities: Arc::new(ArcSwap::from_pointee(trusted)) })
    }

    /// From now on the authorities of `other`, which has the same root: for all clones.
    ///
    /// # Errors
    /// The other root is another.
    pub fn replace(&self, other: &Self) -> Result<(), &'static str> {
        if self.root != other.root {
            return Err("the root is another; a new root is a new installation");
        }
        self.authorities.store(other.authorities.load_full());
        Ok(())
    }

    /// Reads a peer's certificate after its chain was verified: which authority signed it, and what it says.
    ///
    /// # Errors
    /// It is no leaf of ours.
    pub fn leaf(&self, der: &CertificateDer<'_>) -> Result<Leaf, InvalidLeaf> {
        let role = self.issuer(&parse(der)?).map(|(role, _)| role).ok_or(InvalidLeaf::UnknownIssuer)?;
        Leaf::read_as(der, role, &self.trust_domain)
    }

    /// Reads a peer's certificate after its chain was verified, and compares it with what this end expects.
    ///
    /// # Errors
    /// It is no leaf of ours, or not what is expected here.
    pub fn peer(&self, der: &CertificateDer<'_>, expect: &Expect) -> Result<Leaf, NotThePeer> {
        let leaf = self.leaf(der)?;
        expect.check(&leaf, Tenants::of_certificate(der)?.as_ref())?;
        Ok(leaf)
    }

    /// Whether one of the authorities is named as the issuer.
    ///
    /// # Errors
    /// It is no certificate.
    pub fn is_issuer_of(&self, der: &CertificateDer<'_>) -> Result<bool, InvalidLeaf> {
        Ok(self.issuer(&parse(der)?).is_some())
    }

    /// The authority whose signature is on a certificate.
    pub fn signer(&self, der: &CertificateDer<'_>) -> Option<(Role, CertificateDer<'static>)> {
        self.issuer(&parse(der).ok()?).filter(|(_, authority)| is_signed_by(der, authority))
    }

    /// The trust anchors for peers of these roles: the authorities themselves, not the root, so that a certificate of
    /// another authority has no path.
    pub fn anchors(&self, roles: &[Role]) -> RootCertStore {
        let mut store = RootCertStore::empty();
        let authorities = self.authorities.load();
        let wanted = authorities.iter().filter(|a| roles.contains(&a.role));
        store.add_parsable_certificates(wanted.map(|a| a.certificate.clone()));
        store
    }

    /// The installation.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The root's certificate: what devices and apps pin.
    pub fn root(&self) -> &CertificateDer<'static> {
        &self.root
    }

    /// The certificate of an authority: the newest of its role.
    pub fn authority(&self, role: Role) -> Option<CertificateDer<'static>> {
        match role {
            Role::Root => Some(self.root.clone()),
            role => {
                self.authorities.load().iter().rev().find(|a| a.role == role).map(|a| a.certificate.clone())
            }
        }
    }

    /// Every authority below the root with its role, generation and end of life, the older ones first.
    pub fn authorities(&self) -> Vec<(Role, u32, CertificateDer<'static>, u64)> {
        let authorities = self.authorities.load();
        authorities.iter().map(|a| (a.role, a.generation, a.certificate.clone(), a.not_after_s)).collect()
    }

    fn issuer(&self, certificate: &X509Certificate<'_>) -> Option<(Role, CertificateDer<'static>)> {
        let issuer = certificate.issuer().as_raw();
        let authorities = self.authorities.load();
        authorities.iter().find(|a| a.subject == issuer).map(|a| (a.role, a.certificate.clone()))
    }
}

/// Why a verified certificate is not that of the peer that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotThePeer {
    /// It cannot be read, or contradicts itself.
    #[error(transparent)]
    Leaf(#[from] InvalidLeaf),
    /// It is somebody else's.
    #[error("it {0}")]
    Refused(#[from] Refused),
}

/// Reads the certificate of an authority of ours, which must have this role.
///
/// # Errors
/// What is wrong with it.
pub fn read_authority(
    role: Role,
    certificate: &CertificateDer<'_>,
) -> Result<AuthorityCertificate, &'static str> {
    let read = authority_of(certificate)?;
    if read.role == role { Ok(read) } else { Err("its certificate is one of another authority") }
}

/// Reads the certificate of an authority of ours. Its common name says which it is: the root signed that name, and it
/// signs nothing but authorities.
///
/// # Errors
/// What is wrong with it.
pub fn authority_of(certificate: &CertificateDer<'_>) -> Result<AuthorityCertificate, &'static str> {
    let parsed = parse(certificate).map_err(|_| "it is not a certificate")?;
    if !parsed.is_ca() {
        return Err("its certificate is not one of an authority");
    }
    let common_name = parsed.subject().iter_common_name().next().and_then(|cn| cn.as_str().ok());
    let (role, generation) =
        common_name.and_then(role_named).ok_or("its certificate is one of another authority")?;
    let uris = uris(&parsed).map_err(|_| "its names are malformed")?;
    let [uri] = uris.as_slice() else { return Err("its certificate does not name one trust domain") };
    let trust_domain = uri.strip_prefix("spiffe://").ok_or("its name is not a trust domain")?;
    let (not_before_s, not_after_s) = validity(&parsed).map_err(|_| "its validity lies before 1970")?;
    Ok(AuthorityCertificate {
        role,
        generation,
        trust_domain: trust_domain.parse().map_err(|_| "its name is not a trust domain")?,
        spki: parsed.public_key().raw.to_vec(),
        not_before_s,
        not_after_s,
    })
}

/// `muster root`, `muster device authority`, `muster device authority 2`.
fn role_named(common_name: &str) -> Option<(Role, u32)> {
    let mut words = common_name.strip_prefix("muster ")?.split(' ');
    let role: Role = words.next()?.parse().ok()?;
    let generation = match (role, words.next(), words.next()) {
        (Role::Root, None, None) => 1,
        (Role::Root, ..) => return None,
        (_, Some("authority"), None) => 1,
        (_, Some("authority"), Some(number)) => number.parse().ok().filter(|n| *n > 1)?,
        _ => return None,
    };
    (words.next().is_none() && generation <= GENERATIONS_MAX).then_some((role, generation))
}

/// Checks a certificate's signature against the authority that it names as its issuer. For what is read from our own
/// disk; a peer's chain is rustls' matter.
pub fn is_signed_by(certificate: &CertificateDer<'_>, issuer: &CertificateDer<'_>) -> bool {
    let (Ok(certificate), Ok(issuer)) = (parse(certificate), parse(issuer)) else { return false };
    let algorithm = &aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1;
    let key = &issuer.public_key().subject_public_key.data;
    certificate.issuer().as_raw() == issuer.subject().as_raw()
        && aws_lc_rs::signature::UnparsedPublicKey::new(algorithm, key)
            .verify(certificate.tbs_certificate.as_ref(), &certificate.signature_value.data)
            .is_ok()
}
