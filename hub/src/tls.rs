//! TLS as the hub serves it: 1.3 only, no resumption, and trust anchored in the authority that a peer's role demands.
//!
//! No resumption, because rustls does not verify a client again when it resumes: a revoked or expired certificate would
//! come back in. No early data, because it can be replayed.

use std::sync::Arc;

use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer},
    server::{NoServerSessionStorage, VerifierBuilderError, danger::ClientCertVerifier},
    version::TLS13,
};

use muster_schemas::enrolment;
use muster_trust::{ClientVerifier, Expect, TrustBundle};

/// Protocols of the MQTT listener. A client that offers none speaks MQTT: most clients do not know its name.
pub const MQTT_ALPN: [&[u8]; 2] = [b"mqtt", enrolment::ALPN];
/// Protocols of the HTTPS listener.
pub const HTTPS_ALPN: [&[u8]; 1] = [b"http/1.1"];

/// Why a TLS configuration could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// None of the authorities that the peers' roles demand is there.
    #[error("make a verifier of client certificates")]
    Verifier(#[from] VerifierBuilderError),
    /// The hub's certificate and key do not belong together, or the library refused them.
    #[error("use the hub's own certificate")]
    Rustls(#[from] rustls::Error),
}

/// The hub's own certificate with the server authority's after it, and its private key.
#[derive(Debug)]
pub struct ServerIdentity {
    /// Leaf first, then the server authority; not the root, which peers have.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key of the leaf.
    pub key: PrivateKeyDer<'static>,
}

/// The one cryptographic provider of this program.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Accepts certificates that are what this end expects: of an authority that it takes, and of no other of the same root.
/// When `optional`, a peer without a certificate is let in too; what it may then do is the caller's matter. A peer with
/// a wrong certificate is refused in both cases. The lists are of all those authorities, or there are none.
pub fn client_verifier(
    trust: &TrustBundle,
    expect: &Expect,
    optional: bool,
    lists: Vec<CertificateRevocationListDer<'static>>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    Ok(Arc::new(ClientVerifier::new(trust, expect.clone(), optional, lists, provider())?))
}

/// The configuration of a listener.
pub fn server_tls_config(
    identity: &ServerIdentity,
    verifier: Arc<dyn ClientCertVerifier>,
    alpn: &[&[u8]],
) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain.clone(), identity.key.clone_key())?;
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

#[cfg(test)]
mod tests;
