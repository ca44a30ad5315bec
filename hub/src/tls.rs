//! TLS as the hub serves it: 1.3 only, no resumption, and trust anchored in the authority that a peer's role demands.
//!
//! No resumption, because rustls does not verify a client again when it resumes: a revoked or expired certificate would
//! come back in. No early data, because it can be replayed.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer},
    server::{NoServerSessionStorage, VerifierBuilderError, danger::ClientCertVerifier},
    version::TLS13,
};

use muster_schemas::{enrolment, trust};
use muster_trust::Expect;

use crate::{peer_verifier::PeerVerifier, pinned::Peers, publication::List, witness::Witness};

/// Protocols of the MQTT listener. A client that offers none speaks MQTT: most clients do not know its name.
pub const MQTT_ALPN: [&[u8]; 3] = [b"mqtt", enrolment::ALPN, trust::ALPN];
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

impl Clone for ServerIdentity {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

/// The one cryptographic provider of this program.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
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

/// The configuration of a door, which changes while it is open: for handshakes that begin from then on.
pub type SharedTls = Arc<ArcSwap<ServerConfig>>;

/// The configurations of the listeners with TLS. Those of MQTT let peers without a certificate in: a device that enrols has
/// none yet, and whoever else has none is told by the gate behind it. The API demands one at each call that needs one.
#[derive(Clone)]
pub struct TlsConfigs {
    /// MQTT.
    pub mqtt: SharedTls,
    /// Enrolment, on the same port.
    pub enrolment: SharedTls,
    /// MQTT over WebSocket.
    pub wss: SharedTls,
    /// The HTTPS API.
    pub https: SharedTls,
}

impl TlsConfigs {
    /// With this certificate of the hub's own, and what is revoked. Slow with long lists.
    ///
    /// # Errors
    /// The library refuses.
    pub fn new(
        trust: &Arc<Peers>,
        witness: &Witness,
        server: &ServerIdentity,
        lists: &[List],
    ) -> Result<Self, TlsError> {
        let config = |expect: &Expect, alpn: &[&[u8]]| -> Result<SharedTls, TlsError> {
            let lists = lists.iter().filter(|list| expect.roles.contains(&list.role));
            let lists = lists.map(|list| list.der.to_vec().into()).collect();
            let verifier = PeerVerifier::new(trust, expect, true, lists)?.witnessed_by(witness.clone());
            let verifier = Arc::new(verifier);
            Ok(Arc::new(ArcSwap::from_pointee(server_tls_config(server, verifier, alpn)?)))
        };
        Ok(Self {
            mqtt: config(&Expect::MQTT, &MQTT_ALPN)?,
            enrolment: config(&Expect::ENROLMENT, &MQTT_ALPN)?,
            wss: config(&Expect::MQTT, &HTTPS_ALPN)?,
            https: config(&Expect::API, &HTTPS_ALPN)?,
        })
    }

    /// From the next handshake on, what `other` says. Nothing is resumed, so nothing of the old ones survives.
    pub fn replace(&self, other: &Self) {
        self.mqtt.store(other.mqtt.load_full());
        self.enrolment.store(other.enrolment.load_full());
        self.wss.store(other.wss.load_full());
        self.https.store(other.https.load_full());
    }
}

#[cfg(test)]
mod tests;
