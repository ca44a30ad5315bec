//! What a door of the hub verifies of a peer's certificate within the handshake: that it leads to an authority that this
//! door takes and is on no list, or else that it is pinned and within its life. Whom it refuses, it tells the witness.
//! That the peer holds the key is checked in all cases, by the signature over the handshake.

use muster_trust::{ClientVerifier, Expect, Leaf, Role};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime},
    server::{
        VerifierBuilderError,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use crate::{pinned::Peers, tls::provider, witness::Witness};

/// The verifier of a door.
#[derive(Debug)]
pub struct PeerVerifier {
    ours: ClientVerifier,
    trust: Peers,
    /// Clients may also show a certificate of their own making that was pinned for them.
    takes_pins: bool,
    witness: Option<Witness>,
}

impl PeerVerifier {
    /// For a door that expects this. When `optional`, a peer without a certificate is let in too; what it may then do is
    /// the caller's matter. The lists are of all authorities that the door takes, or there are none.
    ///
    /// # Errors
    /// There is no authority of those roles, or a list is malformed.
    pub fn new(
        trust: &Peers,
        expect: &Expect,
        optional: bool,
        lists: Vec<CertificateRevocationListDer<'static>>,
    ) -> Result<Self, VerifierBuilderError> {
        let ours = ClientVerifier::new(trust, expect.clone(), optional, lists, provider())?;
        let takes_pins = expect.roles.contains(&Role::Client);
        Ok(Self { ours, trust: trust.clone(), takes_pins, witness: None })
    }

    /// The same, and a witness hears whom it refuses.
    #[must_use]
    pub fn witnessed_by(self, witness: Witness) -> Self {
        Self { witness: Some(witness), ..self }
    }

    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let refused = match self.ours.verify_client_cert(end_entity, intermediates, now) {
            Ok(verified) => return Ok(verified),
            Err(refused) => refused,
        };
        if !self.takes_pins || !self.trust.pins().contains(end_entity) {
            return Err(refused);
        }
        let (from_s, to_s) = Leaf::life_s(end_entity).map_err(|_| CertificateError::BadEncoding)?;
        match now.as_secs() {
            now_s if now_s < from_s => Err(CertificateError::NotValidYet.into()),
            now_s if now_s > to_s => Err(CertificateError::Expired.into()),
            _ => Ok(ClientCertVerified::assertion()),
        }
    }

    /// The certificate was not taken, so what it says is somebody's word.
    fn tell(&self, certificate: &CertificateDer<'_>, error: &Error) {
        if let (Some(witness), Ok(leaf)) = (&self.witness, self.trust.leaf(certificate)) {
            witness.refused_in_handshake(&leaf.principal, error);
        }
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn offer_client_auth(&self) -> bool {
        self.ours.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.ours.client_auth_mandatory()
    }

    /// None where pins are taken: a client that is told our authorities would not think of offering a certificate of its own
    /// making.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        if self.takes_pins { &[] } else { self.ours.root_hint_subjects() }
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(end_entity, intermediates, now).inspect_err(|error| self.tell(end_entity, error))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.ours.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verified = self.ours.verify_tls13_signature(message, certificate, signed);
        verified.inspect_err(|error| self.tell(certificate, error))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.ours.supported_verify_schemes()
    }
}
