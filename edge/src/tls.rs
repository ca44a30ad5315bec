//! TLS as the agent speaks it: 1.3 only, no resumption, a hub that must be a hub, and a certificate that can be
//! exchanged while everything runs. The key of that certificate stays in the TPM.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwapOption;
use muster_schemas::enrolment;
use muster_trust::{HubTrust, HubVerifier};
use rustls::{
    ClientConfig, Error, SignatureScheme,
    client::{ResolvesClientCert, Resumption},
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, pem::PemObject as _},
    sign::CertifiedKey,
    version::TLS13,
};

use crate::{certificate::Leaf, limits::ROOT_BYTES_MAX};

/// The application protocol of an ordinary session (RFC 7301).
pub const MQTT_ALPN: &[u8] = b"mqtt";

/// Why no TLS can be spoken with this configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file with the hub's root is not there, or too large.
    #[error("read the hub's root certificate {path}: {why}")]
    Root {
        /// Which file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The file has a certificate that is no root.
    #[error("use the hub's root certificate: {0}")]
    NoRoot(&'static str),
    /// The library refused the configuration.
    #[error("configure TLS")]
    Rustls(#[from] Error),
}

/// The one cryptographic provider of this program.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Reads the hub's root certificates.
///
/// # Errors
/// There is no file, or no certificate in it.
pub fn read_roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |why: String| TlsError::Root { path: path.to_owned(), why };
    let size = fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
    if size > ROOT_BYTES_MAX {
        return Err(failed(format!("it has more than {ROOT_BYTES_MAX} bytes")));
    }
    let mut roots = Vec::new();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))? {
        roots.push(certificate.map_err(|error| failed(error.to_string()))?);
    }
    if roots.is_empty() {
        return Err(failed("it has no certificate in PEM".to_owned()));
    }
    Ok(roots)
}

/// The certificate in use, if there is one, and what follows from it. The next connection presents what is here at that
/// moment, and takes no hub but one that may serve the tenant in it.
#[derive(Debug, Default)]
pub struct Credentials {
    key: ArcSwapOption<CertifiedKey>,
    trust: Arc<HubTrust>,
}

impl Credentials {
    /// From the next connection on, this one.
    pub fn set(&self, key: CertifiedKey) {
        let leaf = key.cert.first().and_then(|leaf| Leaf::read(leaf).ok());
        self.trust.expect_tenant(leaf.map(|leaf| leaf.principal.tenant));
        self.key.store(Some(Arc::new(key)));
    }

    /// What a hub must be.
    pub fn trust(&self) -> &Arc<HubTrust> {
        &self.trust
    }
}

impl ResolvesClientCert for Credentials {
    fn resolve(&self, _root_hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.key.load_full()
    }

    fn has_certs(&self) -> bool {
        self.key.load().is_some()
    }
}

/// The three ways to speak to the hub.
#[derive(Debug, Clone)]
pub struct Dialects {
    /// The first enrolment: no certificate yet.
    pub enrolment: Arc<ClientConfig>,
    /// The next certificate, asked for with the current one.
    pub renewal: Arc<ClientConfig>,
    /// An ordinary session.
    pub session: Arc<ClientConfig>,
}

impl Dialects {
    /// With a hub below one of these roots.
    ///
    /// # Errors
    /// The library refuses the roots.
    pub fn new(roots: &[CertificateDer<'static>], credentials: &Arc<Credentials>) -> Result<Self, TlsError> {
        let verifier =
            || HubVerifier::new(roots, provider(), Arc::clone(credentials.trust())).map_err(TlsError::NoRoot);
        let (any, ours) = (Arc::new(verifier()?.of_any_tenant()), Arc::new(verifier()?));
        let with =
            |alpn: &[u8], credentials: Option<&Arc<Credentials>>| -> Result<Arc<ClientConfig>, TlsError> {
                let verifier = if credentials.is_some() { &ours } else { &any };
                let builder = ClientConfig::builder_with_provider(provider())
                    .with_protocol_versions(&[&TLS13])?
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::<HubVerifier>::clone(verifier));
                let mut config = match credentials {
                    Some(credentials) => {
                        builder.with_client_cert_resolver(Arc::<Credentials>::clone(credentials))
                    }
                    None => builder.with_no_client_auth(),
                };
                config.alpn_protocols = vec![alpn.to_vec()];
                // A resumed session is not verified again, by either end.
                config.resumption = Resumption::disabled();
                Ok(Arc::new(config))
            };
        Ok(Self {
            enrolment: with(enrolment::ALPN, None)?,
            renewal: with(enrolment::ALPN, Some(credentials))?,
            session: with(MQTT_ALPN, Some(credentials))?,
        })
    }
}

#[cfg(test)]
mod tests;
