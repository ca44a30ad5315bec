//! TLS as the agent speaks it: 1.3 only, no resumption, a hub that must be a hub, and a certificate that can be
//! exchanged while everything runs. The key of that certificate stays in the TPM.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwapOption;
use muster_schemas::{Kind, Principal, enrolment};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    RootCertStore, SignatureScheme,
    client::{
        ResolvesClientCert, Resumption, VerifierBuilderError, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
    sign::CertifiedKey,
    version::TLS13,
};

use crate::{
    certificate::{InvalidLeaf, Leaf},
    limits::ROOT_BYTES_MAX,
};

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
    /// The library refused the root.
    #[error("use the hub's root certificate")]
    Verifier(#[from] VerifierBuilderError),
    /// The library refused the configuration.
    #[error("configure TLS")]
    Rustls(#[from] Error),
}

/// A certificate whose chain holds, of something that is no hub.
#[derive(Debug, thiserror::Error)]
pub enum NotAHub {
    /// It speaks for somebody else.
    #[error("the certificate speaks for {0}, which is no hub")]
    Principal(Principal),
    /// It names nobody.
    #[error("the certificate is no hub's: {0}")]
    Leaf(InvalidLeaf),
}

/// The one cryptographic provider of this program.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Reads the hub's root certificates.
///
/// # Errors
/// There is no file, or no certificate in it.
pub fn read_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let failed = |why: String| TlsError::Root { path: path.to_owned(), why };
    let size = fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
    if size > ROOT_BYTES_MAX {
        return Err(failed(format!("it has more than {ROOT_BYTES_MAX} bytes")));
    }
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))? {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        roots.add(certificate).map_err(|error| failed(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(failed("it has no certificate in PEM".to_owned()));
    }
    Ok(roots)
}

/// The certificate in use, if there is one. The next connection presents what is here at that moment.
#[derive(Debug, Default)]
pub struct Credentials(ArcSwapOption<CertifiedKey>);

impl Credentials {
    /// From the next connection on, this one.
    pub fn set(&self, key: CertifiedKey) {
        self.0.store(Some(Arc::new(key)));
    }
}

impl ResolvesClientCert for Credentials {
    fn resolve(&self, _root_hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }

    fn has_certs(&self) -> bool {
        self.0.load().is_some()
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
    pub fn new(roots: RootCertStore, credentials: &Arc<Credentials>) -> Result<Self, TlsError> {
        let verifier = Arc::new(HubVerifier::new(roots)?);
        let with =
            |alpn: &[u8], credentials: Option<&Arc<Credentials>>| -> Result<Arc<ClientConfig>, TlsError> {
                let builder = ClientConfig::builder_with_provider(provider())
                    .with_protocol_versions(&[&TLS13])?
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::<HubVerifier>::clone(&verifier));
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

/// Accepts a server whose chain leads to the root, that may be a server (EKU), that has the name we connect to, and
/// whose one SAN URI is a node of the hub: another certificate of the same installation is not enough.
#[derive(Debug)]
struct HubVerifier {
    inner: Arc<WebPkiServerVerifier>,
}

impl HubVerifier {
    fn new(roots: RootCertStore) -> Result<Self, VerifierBuilderError> {
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build()?;
        Ok(Self { inner })
    }
}

fn check_hub(certificate: &CertificateDer<'_>) -> Result<(), NotAHub> {
    let leaf = Leaf::read(certificate).map_err(NotAHub::Leaf)?;
    if leaf.principal.kind != Kind::Node || leaf.principal.tenant != Principal::operator_tenant() {
        return Err(NotAHub::Principal(leaf.principal));
    }
    Ok(())
}

impl ServerCertVerifier for HubVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified =
            self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        check_hub(end_entity)
            .map_err(|why| Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why)))))?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        self.inner.root_hint_subjects()
    }
}

#[cfg(test)]
mod tests;
