//! The first provider: the client certificate of the connection, issued by the hub or pinned.

use super::{Evidence, Proof, Provider, Unproved};

/// Proves who holds the key of a client certificate.
#[derive(Debug, Clone, Copy)]
pub struct ClientCertificate;

impl Provider for ClientCertificate {
    fn prove(&self, _: u64, evidence: &Evidence<'_>) -> Option<Result<Proof, Unproved>> {
        evidence.leaf.map(|leaf| Ok(Proof::Certificate(leaf.clone())))
    }
}
