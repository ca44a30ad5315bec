//! What a hub signs with its online key: an offer for one device, and what is newest of a class.

use muster_schemas::firmware::{Freshness, InvalidUpdate, Offer};

use crate::{
    InvalidCose, Role, SignFailure, Signer,
    cose::{self, Signed},
    limits::SIGNED_BYTES_MAX,
};

/// Why bytes are no statement of a hub.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidStatement {
    /// Longer than any may be.
    #[error("is longer than {SIGNED_BYTES_MAX} bytes")]
    TooLong,
    /// Not a signature.
    #[error("{0}")]
    Signature(#[from] InvalidCose),
    /// Signed, but not by a hub of the tenant.
    #[error("is signed by no hub key of the tenant's root")]
    Signer,
    /// Signed, but something else.
    #[error("{0}")]
    Content(#[from] InvalidUpdate),
}

/// An offer, signed.
///
/// # Errors
/// The key's keeper refused.
pub fn sign_offer(offer: &Offer, signer: &dyn Signer) -> Result<Vec<u8>, SignFailure> {
    cose::sign1(&offer.encode(), signer)
}

/// A freshness statement, signed.
///
/// # Errors
/// The key's keeper refused.
pub fn sign_freshness(freshness: &Freshness, signer: &dyn Signer) -> Result<Vec<u8>, SignFailure> {
    cose::sign1(&freshness.encode(), signer)
}

/// The offer in these bytes, when a hub of this role signed it.
///
/// # Errors
/// It is none, or somebody else's.
pub fn read_offer(bytes: &[u8], hubs: &Role) -> Result<Offer, InvalidStatement> {
    Ok(Offer::decode(believed(bytes, hubs)?)?)
}

/// The freshness statement in these bytes, when a hub of this role signed it.
///
/// # Errors
/// It is none, or somebody else's.
pub fn read_freshness(bytes: &[u8], hubs: &Role) -> Result<Freshness, InvalidStatement> {
    Ok(Freshness::decode(believed(bytes, hubs)?)?)
}

/// What is inside, once its signature is known to be a hub's: nothing unsigned is looked into.
fn believed<'a>(bytes: &'a [u8], hubs: &Role) -> Result<&'a [u8], InvalidStatement> {
    if bytes.len() > SIGNED_BYTES_MAX {
        return Err(InvalidStatement::TooLong);
    }
    let signed = Signed::decode(bytes, SIGNED_BYTES_MAX)?;
    if signed.signers(None, &hubs.keys()).len() < hubs.threshold.max(1) {
        return Err(InvalidStatement::Signer);
    }
    signed.payload.ok_or(InvalidStatement::Signer)
}
