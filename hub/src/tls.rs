//! TLS as the hub serves it: 1.3 only, no resumption, and trust anchored in the authority that a peer's role demands.
//!
//! No resumption, because rustls does not verify a client again when it resumes: a revoked or expired certificate would
//! come back in. No early data, because it can be replayed.

use std::sync::Arc;

use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer},
    server::{
        NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier, danger::ClientCertVerifier,
    },
    version::TLS13,
};

use muster_schemas::enrolment;

use crate::{
    authority::{Role, TrustBundle},
    pinned::OrPinned,
};

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

/// Accepts certificates that the authorities of these roles signed, and no others: not even those of the same root.
/// When `optional`, a peer without a certificate is let in too; what it may then do is the caller's matter. A peer with
/// a wrong certificate is refused in both cases.
pub fn client_verifier(
    trust: &TrustBundle,
    roles: &[Role],
    optional: bool,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let anchors = Arc::new(trust.anchors(roles));
    let builder = WebPkiClientVerifier::builder_with_provider(anchors, provider());
    let verifier = if optional { builder.allow_unauthenticated() } else { builder }.build()?;
    // Clients may also show a certificate of their own making that was pinned for them.
    Ok(if roles.contains(&Role::Client) { OrPinned::over(verifier, trust.pins()) } else { verifier })
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
