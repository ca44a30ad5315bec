//! Certificates that are not ours and are let in all the same: each was pinned for one app or user when that was
//! registered. A pin is the SHA-256 of the whole certificate; whoever signed it, and what it says of its owner, means
//! nothing here.

use std::{collections::BTreeMap, ops::Deref, sync::Arc};

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use muster_schemas::{DeviceId, Kind, Principal, TenantId, TrustDomain};
use muster_trust::{Expect, InvalidLeaf, Leaf, NotThePeer, TrustBundle};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};

/// For whom certificates are pinned, by their fingerprints.
pub type PinnedFor = BTreeMap<[u8; 32], (TenantId, Kind, DeviceId)>;

/// The pins of the moment: written by the registry, read by every handshake. All clones show the same.
#[derive(Debug, Clone, Default)]
pub struct Pins(Arc<ArcSwap<PinnedFor>>);

impl Pins {
    /// Puts others in their place.
    pub fn replace(&self, pinned: PinnedFor) {
        self.0.store(Arc::new(pinned));
    }

    /// For whom a certificate is pinned, and its fingerprint.
    pub fn principal(
        &self,
        der: &CertificateDer<'_>,
        trust_domain: &TrustDomain,
    ) -> Option<(Principal, [u8; 32])> {
        let fingerprint = fingerprint(der);
        let (tenant, kind, id) = self.0.load().get(&fingerprint)?.clone();
        Some((Principal { trust_domain: trust_domain.clone(), tenant, kind, id }, fingerprint))
    }

    fn contains(&self, der: &CertificateDer<'_>) -> bool {
        let pinned = self.0.load();
        !pinned.is_empty() && pinned.contains_key(&fingerprint(der))
    }
}

/// Reads whose a peer's certificate is: that of an authority of ours speaks for itself, and another for whom it is pinned.
#[derive(Debug, Clone)]
pub struct Peers {
    trust: TrustBundle,
    pins: Pins,
}

impl Peers {
    /// By these authorities and these pins.
    pub fn new(trust: TrustBundle, pins: Pins) -> Self {
        Self { trust, pins }
    }

    /// What is pinned.
    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    /// Reads a peer's certificate after the handshake, and compares it with what this end expects.
    ///
    /// # Errors
    /// It is nobody's, or not what is expected here.
    pub fn peer(&self, der: &CertificateDer<'_>, expect: &Expect) -> Result<Leaf, NotThePeer> {
        match self.trust.peer(der, expect) {
            Err(NotThePeer::Leaf(InvalidLeaf::UnknownIssuer)) => {
                let (principal, fingerprint) =
                    self.pins.principal(der, self.trust.trust_domain()).ok_or(InvalidLeaf::UnknownIssuer)?;
                let leaf = Leaf::read_pinned(der, fingerprint, principal)?;
                expect.check(&leaf, None)?;
                Ok(leaf)
            }
            read => read,
        }
    }
}

impl Deref for Peers {
    type Target = TrustBundle;
    fn deref(&self) -> &TrustBundle {
        &self.trust
    }
}

/// SHA-256 of a certificate, DER.
pub fn fingerprint(der: &CertificateDer<'_>) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, der).as_ref());
    hash
}

/// Lets in who has a certificate of our authorities, and else who has one that is pinned and within its life. That the
/// peer holds the key is checked in both cases, by the signature over the handshake.
#[derive(Debug)]
pub struct OrPinned {
    ours: Arc<dyn ClientCertVerifier>,
    pins: Pins,
}

impl OrPinned {
    /// What `ours` accepts, and what is pinned.
    pub fn over(ours: Arc<dyn ClientCertVerifier>, pins: &Pins) -> Arc<dyn ClientCertVerifier> {
        Arc::new(Self { ours, pins: pins.clone() })
    }
}

impl ClientCertVerifier for OrPinned {
    fn offer_client_auth(&self) -> bool {
        self.ours.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.ours.client_auth_mandatory()
    }

    /// None: a client that is told our authorities would not think of offering a certificate of its own making.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let refused = match self.ours.verify_client_cert(end_entity, intermediates, now) {
            Ok(verified) => return Ok(verified),
            Err(refused) => refused,
        };
        if !self.pins.contains(end_entity) {
            return Err(refused);
        }
        let (from_s, to_s) = Leaf::life_s(end_entity).map_err(|_| CertificateError::BadEncoding)?;
        match now.as_secs() {
            now_s if now_s < from_s => Err(CertificateError::NotValidYet.into()),
            now_s if now_s > to_s => Err(CertificateError::Expired.into()),
            _ => Ok(ClientCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.ours.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.ours.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.ours.supported_verify_schemes()
    }
}

#[cfg(test)]
#[path = "pinned_tests.rs"]
mod tests;
