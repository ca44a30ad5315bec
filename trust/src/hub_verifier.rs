//! What a device demands of its hub, at each handshake: a chain to the pinned root, the server authority, a node of the
//! operator's, the capability for the device's own tenant. Not its name: DNS and addresses are whoever's who controls
//! the network, so a hub may move, and a public certificate for its name is worth nothing.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwapOption;
use muster_schemas::{TenantId, TrustDomain};
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

use crate::{Expect, InvalidLeaf, Leaf, Refused, Role, Tenants, authority_of, is_signed_by, read_authority};

/// Why a certificate whose chain leads to the root is not that of this device's hub.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAHub {
    /// The authority that signed it was not sent along, or is none of ours.
    #[error("the certificate is no hub's: none of the authorities sent with it signed it")]
    Issuer,
    /// It cannot be read, or contradicts itself.
    #[error("the certificate is no hub's: {0}")]
    Leaf(#[from] InvalidLeaf),
    /// It is somebody else's, or of a hub of others.
    #[error("the certificate {0}")]
    Refused(#[from] Refused),
}

/// What a device knows that changes while it runs. Shared by all its connections.
#[derive(Debug, Default)]
pub struct HubTrust {
    /// The device's own tenant; none before its first enrolment.
    tenant: ArcSwapOption<TenantId>,
}

impl HubTrust {
    /// From the next handshake on, a hub must be entitled to this tenant.
    pub fn expect_tenant(&self, tenant: Option<TenantId>) {
        self.tenant.store(tenant.map(Arc::new));
    }

    /// The tenant that a hub must be entitled to.
    pub fn tenant(&self) -> Option<TenantId> {
        self.tenant.load().as_deref().cloned()
    }
}

/// One pinned root.
#[derive(Debug)]
struct Root {
    trust_domain: TrustDomain,
    anchors: RootCertStore,
}

/// Whether the hub with this verified certificate may serve a tenant: what a device asks when it has just learnt whose it
/// is.
///
/// # Errors
/// It may not, or the certificate cannot be read.
pub fn entitled(certificate: &CertificateDer<'_>, tenant: &TenantId) -> Result<(), NotAHub> {
    match Tenants::of_certificate(certificate)? {
        Some(tenants) if tenants.cover(tenant) => Ok(()),
        Some(theirs) => Err(Refused::Tenant { ours: tenant.clone(), theirs }.into()),
        None => Err(Refused::NoTenants.into()),
    }
}

/// The verifier of hubs.
pub struct HubVerifier {
    roots: Vec<Root>,
    provider: Arc<CryptoProvider>,
    trust: Arc<HubTrust>,
    /// A device that has no tenant yet, or may get another one, takes the hub of any.
    any_tenant: bool,
}

impl fmt::Debug for HubVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubVerifier").field("roots", &self.roots).field("trust", &self.trust).finish()
    }
}

impl HubVerifier {
    /// Below these roots.
    ///
    /// # Errors
    /// One of them is no root of an installation.
    pub fn new(
        roots: &[CertificateDer<'static>],
        provider: Arc<CryptoProvider>,
        trust: Arc<HubTrust>,
    ) -> Result<Self, &'static str> {
        let mut pinned = Vec::new();
        for root in roots {
            let trust_domain = read_authority(Role::Root, root)?.trust_domain;
            let mut anchors = RootCertStore::empty();
            anchors.add(root.clone()).map_err(|_| "it cannot anchor trust")?;
            pinned.push(Root { trust_domain, anchors });
        }
        Ok(Self { roots: pinned, provider, trust, any_tenant: false })
    }

    /// The same for a first enrolment, which any hub below the root may serve: only it can tell whose the device is.
    pub fn of_any_tenant(mut self) -> Self {
        self.any_tenant = true;
        self
    }

    /// The root that the chain leads to.
    fn anchored(
        &self,
        parsed: &ParsedCertificate<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<&Root, Error> {
        let mut last = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let algorithms = self.provider.signature_verification_algorithms.all;
        for root in &self.roots {
            let (anchors, chain) = (&root.anchors, intermediates);
            match verify_server_cert_signed_by_trust_anchor(parsed, anchors, chain, now, algorithms) {
                Ok(()) => return Ok(root),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn check(
        &self,
        root: &Root,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Result<(), NotAHub> {
        let issuer = intermediates.iter().find(|above| is_signed_by(end_entity, above));
        let issuer = issuer.and_then(|above| authority_of(above).ok()).ok_or(NotAHub::Issuer)?;
        let leaf = Leaf::read_as(end_entity, issuer.role, &root.trust_domain)?;
        let serves = Tenants::of_certificate(end_entity)?;
        let tenant = if self.any_tenant { None } else { self.trust.tenant() };
        Ok(Expect::hub(tenant).check(&leaf, serves.as_ref())?)
    }
}

impl ServerCertVerifier for HubVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let root = self.anchored(&parsed, intermediates, now)?;
        self.check(root, end_entity, intermediates)
            .map_err(|why| Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why)))))?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
