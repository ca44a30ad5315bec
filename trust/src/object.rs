//! The trust object, believed: signed by whom the software authority entitled to, below the pinned root, and not older than
//! the one at hand. Whoever carried it does not matter.

use std::collections::BTreeSet;

use muster_schemas::{
    Principal,
    trust::{InvalidTrust, SignedTrust, Trust},
};
use rustls::pki_types::CertificateDer;

use crate::{
    Expect, InvalidLeaf, Leaf, Refused, Role, Serial, authority_of, is_signed_by,
    leaf::{is_trust_signer, parse, sha256},
    read_authority,
};

/// The id of the software principal that signs it.
pub const TRUST_SIGNER: &str = "trust";

/// A trust object whose signature was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustObject {
    trust: Trust,
    revoked: BTreeSet<Serial>,
    /// As it came, to be kept and passed on.
    bytes: Vec<u8>,
}

/// Why an object is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Disbelief {
    /// It cannot be read.
    #[error("it {0}")]
    Malformed(#[from] InvalidTrust),
    /// It is of another installation.
    #[error("it is of another installation, or of another root")]
    Root,
    /// Who signed it may not.
    #[error("who signed it may not: {0}")]
    Signer(&'static str),
    /// Who signed it is nobody of ours.
    #[error("who signed it may not: {0}")]
    Leaf(#[from] InvalidLeaf),
    /// Who signed it is somebody else.
    #[error("who signed it may not: it {0}")]
    Refused(#[from] Refused),
    /// The signature is not over these bytes.
    #[error("its signature is not over these bytes")]
    Signature,
    /// There is a later one already.
    #[error("it has the version {offered}, and {present} is known already")]
    RolledBack {
        /// The version at hand.
        present: u64,
        /// The version offered.
        offered: u64,
    },
}

impl TrustObject {
    /// Reads an object and verifies its signature up to one of these roots.
    ///
    /// The signer's certificate must have been valid when the object was made, not now: a device that was off for a year
    /// still obeys the object that it kept, and a forger with an old key would need a version that is higher.
    ///
    /// # Errors
    /// Why it is not to be believed.
    pub fn verify(bytes: &[u8], roots: &[CertificateDer<'_>]) -> Result<Self, Disbelief> {
        let signed = SignedTrust::decode(bytes)?;
        let trust = Trust::decode(&signed.body)?;
        let root = roots.iter().find(|root| sha256(root) == trust.root_sha256).ok_or(Disbelief::Root)?;
        if read_authority(Role::Root, root).map_err(Disbelief::Signer)?.trust_domain != trust.trust_domain {
            return Err(Disbelief::Root);
        }
        let [signer, authority] = signed.chain.as_slice() else {
            return Err(Disbelief::Signer("it does not come with its own certificate and its authority's"));
        };
        let (signer, authority) =
            (CertificateDer::from(signer.as_slice()), CertificateDer::from(authority.as_slice()));
        let issuer = authority_of(&authority).map_err(Disbelief::Signer)?;
        if !is_signed_by(&authority, root) || !is_signed_by(&signer, &authority) {
            return Err(Disbelief::Signer("its certificate does not lead to the root"));
        }
        let leaf = Leaf::read_as(&signer, issuer.role, &trust.trust_domain)?;
        Expect::TRUST_SIGNER.check(&leaf, None)?;
        if leaf.principal.tenant != Principal::operator_tenant()
            || leaf.principal.id.as_str() != TRUST_SIGNER
            || !is_trust_signer(&signer)?
        {
            return Err(Disbelief::Signer("its certificate is for other software"));
        }
        let lived = |from_s, to_s| (from_s..=to_s).contains(&trust.created_s);
        if !lived(leaf.not_before_s, leaf.not_after_s) || !lived(issuer.not_before_s, issuer.not_after_s) {
            return Err(Disbelief::Signer("its certificate was not valid when this was made"));
        }
        let certificate = parse(&signer)?;
        let key = &certificate.public_key().subject_public_key.data;
        aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1, key)
            .verify(&SignedTrust::signed_bytes(&signed.body), &signed.signature)
            .map_err(|_| Disbelief::Signature)?;
        let revoked = trust.revoked.iter().copied().map(Serial::from).collect();
        Ok(Self { trust, revoked, bytes: bytes.to_vec() })
    }

    /// Whether a certificate is revoked.
    pub fn revokes(&self, serial: Serial) -> bool {
        self.revoked.contains(&serial)
    }

    /// What it says.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// As it came: to be kept, and passed on to others.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}
