//! What a hub's door demands of a peer's certificate, within the handshake: the chain to an authority that this door
//! takes, and a leaf that does not contradict itself. That it is of the kind that this door expects is compared after
//! the handshake with the same [`Expect`], where a refusal has words.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime},
    server::{
        VerifierBuilderError, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use crate::{Expect, Refused, TrustBundle, bundle::NotThePeer};

/// The verifier of a hub's doors.
#[derive(Debug)]
pub struct ClientVerifier {
    chains: Arc<dyn ClientCertVerifier>,
    trust: TrustBundle,
    expect: Expect,
}

impl ClientVerifier {
    /// For a door that expects this, with or without a certificate, and with these revocation lists. Where there are
    /// lists, there must be one of each authority that the door takes; none at all means that none is looked at.
    ///
    /// # Errors
    /// There is no authority of those roles, or a list is malformed.
    pub fn new(
        trust: &TrustBundle,
        expect: Expect,
        optional: bool,
        lists: Vec<CertificateRevocationListDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let anchors = Arc::new(trust.anchors(expect.roles));
        let mut builder = WebPkiClientVerifier::builder_with_provider(anchors, provider);
        if optional {
            builder = builder.allow_unauthenticated();
        }
        if !lists.is_empty() {
            builder = builder.with_crls(lists).only_check_end_entity_revocation();
        }
        Ok(Self { chains: builder.build()?, trust: trust.clone(), expect })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        self.chains.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.chains.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chains.verify_client_cert(end_entity, intermediates, now)?;
        match self.trust.peer(end_entity, &self.expect) {
            Ok(_) | Err(NotThePeer::Refused(Refused::Kind(_))) => Ok(verified),
            Err(why) => Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why))))),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}
