//! The certificates of an installation's authorities, without their keys: what trust is built from.

use rustls::{RootCertStore, pki_types::CertificateDer};

use muster_schemas::TrustDomain;

use crate::pinned::Pins;

use super::{
    InvalidLeaf, Leaf, Role,
    leaf::{parse, uris, validity},
};

/// The root and its authorities. Cheap to clone a few times; not meant for every message.
#[derive(Debug, Clone)]
pub struct TrustBundle {
    trust_domain: TrustDomain,
    root: CertificateDer<'static>,
    authorities: Vec<Trusted>,
    pins: Pins,
}

#[derive(Debug, Clone)]
struct Trusted {
    role: Role,
    certificate: CertificateDer<'static>,
    /// The subject, DER: what chains are built on.
    subject: Vec<u8>,
}

/// What the certificate of an authority says.
pub(super) struct AuthorityCertificate {
    pub(super) trust_domain: TrustDomain,
    pub(super) spki: Vec<u8>,
    pub(super) not_before_s: u64,
    pub(super) not_after_s: u64,
}

impl TrustBundle {
    /// Puts together a root and the authorities that it signed. An error says which one is wrong, and why.
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
            if !super::is_signed_by(&certificate, &root) {
                return Err((role, "the root did not sign it"));
            }
            let subject = parse(&certificate).map_err(|_| (role, "it is not a certificate"))?;
            let subject = subject.subject().as_raw().to_vec();
            trusted.push(Trusted { role, certificate, subject });
        }
        Ok(Self { trust_domain, root, authorities: trusted, pins: Pins::default() })
    }

    /// The same, and certificates of others that were pinned.
    #[must_use]
    pub fn with_pins(self, pins: Pins) -> Self {
        Self { pins, ..self }
    }

    /// The certificates of others that were pinned.
    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    /// Whether one of the authorities is named as the issuer.
    pub fn is_issuer_of(&self, der: &CertificateDer<'_>) -> Result<bool, InvalidLeaf> {
        let certificate = parse(der)?;
        let issuer = certificate.issuer().as_raw();
        Ok(self.authorities.iter().any(|authority| authority.subject == issuer))
    }

    /// Reads a peer's certificate after its chain was verified: which authority signed it, and what it says.
    pub fn leaf(&self, der: &CertificateDer<'_>) -> Result<Leaf, InvalidLeaf> {
        let certificate = parse(der)?;
        let issuer = certificate.issuer().as_raw();
        let Some(authority) = self.authorities.iter().find(|a| a.subject == issuer) else {
            let (principal, fingerprint) =
                self.pins.principal(der, &self.trust_domain).ok_or(InvalidLeaf::UnknownIssuer)?;
            return Leaf::read_pinned(der, fingerprint, principal);
        };
        Leaf::read_as(der, authority.role, &self.trust_domain)
    }

    /// The trust anchors for peers of these roles: the authorities themselves, not the root, so that a certificate of
    /// another authority has no path.
    pub fn anchors(&self, roles: &[Role]) -> RootCertStore {
        let mut store = RootCertStore::empty();
        let wanted = self.authorities.iter().filter(|a| roles.contains(&a.role));
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

    /// The certificate of an authority.
    pub fn authority(&self, role: Role) -> Option<&CertificateDer<'static>> {
        match role {
            Role::Root => Some(&self.root),
            role => self.authorities.iter().find(|a| a.role == role).map(|a| &a.certificate),
        }
    }
}

/// Reads the certificate of an authority of ours.
pub(super) fn read_authority(
    role: Role,
    certificate: &CertificateDer<'_>,
) -> Result<AuthorityCertificate, &'static str> {
    let parsed = parse(certificate).map_err(|_| "it is not a certificate")?;
    if !parsed.is_ca() {
        return Err("its certificate is not one of an authority");
    }
    let name = format!("muster {role}");
    let common_name = parsed.subject().iter_common_name().next().and_then(|cn| cn.as_str().ok());
    if !common_name.is_some_and(|cn| cn == name || cn == format!("{name} authority")) {
        return Err("its certificate is one of another authority");
    }
    let uris = uris(&parsed).map_err(|_| "its names are malformed")?;
    let [uri] = uris.as_slice() else { return Err("its certificate does not name one trust domain") };
    let trust_domain = uri.strip_prefix("spiffe://").ok_or("its name is not a trust domain")?;
    let (not_before_s, not_after_s) = validity(&parsed).map_err(|_| "its validity lies before 1970")?;
    Ok(AuthorityCertificate {
        trust_domain: trust_domain.parse().map_err(|_| "its name is not a trust domain")?,
        spki: parsed.public_key().raw.to_vec(),
        not_before_s,
        not_after_s,
    })
}
