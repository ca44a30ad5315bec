//! Certificates that are not ours and are let in all the same: each was pinned for one app or user when that was
//! registered. A pin is the SHA-256 of the whole certificate; whoever signed it, and what it says of its owner, means
//! nothing here.

use std::{collections::BTreeMap, ops::Deref, sync::Arc};

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use muster_schemas::{DeviceId, Kind, Principal, TenantId, TrustDomain};
use muster_trust::{Expect, InvalidLeaf, Leaf, NotThePeer, TrustBundle};
use rustls::pki_types::CertificateDer;

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

    /// Whether a certificate is pinned.
    pub(crate) fn contains(&self, der: &CertificateDer<'_>) -> bool {
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

#[cfg(test)]
#[path = "pinned_tests.rs"]
mod tests;
