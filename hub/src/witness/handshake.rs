//! Refusals within the TLS handshake, in words.

use muster_schemas::{Kind, Principal};
use rustls::{CertificateError, Error};

use super::{Proof, Refused, Stage, Witness};

impl Witness {
    /// Remembers that a certificate was not taken that speaks for this principal: somebody showed it, and proved nothing.
    pub fn refused_in_handshake(&self, principal: &Principal, error: &Error) {
        if principal.kind != Kind::Device {
            return;
        }
        let (code, reason, next) = told(error);
        let refused = Refused {
            stage: Stage::Handshake,
            code: code.to_owned(),
            reason: reason.to_owned(),
            next: next.to_owned(),
            peer: None,
        };
        self.note(&principal.id, Proof::Name, refused);
    }
}

/// The reason's name, the reason, and what to do next.
fn told(error: &Error) -> (&'static str, &'static str, &'static str) {
    match error {
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => (
            "certificate_expired",
            "its certificate has ended",
            "let it enrol again, which muster-edge does by itself; if it does not, look at its log and at its clock",
        ),
        Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => (
            "certificate_not_yet_valid",
            "its certificate begins in the future: the hub's clock is behind",
            "set the hub's clock right",
        ),
        Error::InvalidCertificate(CertificateError::Revoked) => (
            "certificate_revoked",
            "its certificate was revoked",
            "look at `muster device show`; if the revocation was a mistake, replace or claim the device anew",
        ),
        Error::InvalidCertificate(CertificateError::BadSignature) => (
            "bad_signature",
            "it does not hold the key of its certificate, or the certificate was changed",
            "do not trust this device before you know the reason",
        ),
        _ => (
            "certificate_refused",
            "its certificate is of none of the authorities that this port takes",
            "let it enrol again; a device that was enrolled at another hub keeps that hub's certificate",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use muster_actors::SystemClock;
    use muster_schemas::TrustDomain;
    use muster_trust::Expect;
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
    use rustls::{pki_types::UnixTime, server::danger::ClientCertVerifier as _};

    use super::*;
    use crate::{
        authority::{Authority, PublicKey, Role, TrustBundle},
        limits::DAY_S,
        peer_verifier::PeerVerifier,
        pinned::{Peers, Pins},
    };

    const NOW_S: u64 = 1_769_904_000;

    #[test]
    fn a_device_with_an_ended_certificate_is_remembered_with_what_to_do() {
        let domain: TrustDomain = "muster.test".parse().expect("domain");
        let root = Authority::new_root(&domain, NOW_S).expect("root");
        let device = root.new_intermediate(Role::Device, NOW_S).expect("authority");
        let trust =
            TrustBundle::new(root.certificate().clone(), [(Role::Device, device.certificate().clone())]);
        let trust = Peers::new(trust.expect("bundle"), Pins::default());
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("key");
        let key = PublicKey::from_spki(&key.subject_public_key_info()).expect("key");
        let principal: Principal = "spiffe://muster.test/t/acme/device/pump-7".parse().expect("principal");
        let issued = device.issue_device(&key, &principal, NOW_S, DAY_S).expect("issued");

        let witness = Witness::new(SystemClock::shared());
        let verifier = PeerVerifier::new(&trust, &Expect::ENROLMENT, true, Vec::new()).expect("verifier");
        let verifier = verifier.witnessed_by(witness.clone());
        let at = |now_s| UnixTime::since_unix_epoch(Duration::from_secs(now_s));
        verifier.verify_client_cert(&issued.certificate, &[], at(NOW_S + 60)).expect("accepted in its life");
        assert!(witness.of(&principal.id).told.is_empty());

        verifier.verify_client_cert(&issued.certificate, &[], at(NOW_S + 2 * DAY_S)).expect_err("ended");
        let told = &witness.of(&principal.id).told[0];
        assert_eq!(
            (told.refused.stage, told.refused.code.as_str()),
            (Stage::Handshake, "certificate_expired")
        );
        assert_eq!(told.proof, Proof::Name, "who shows a certificate that is not taken has proved nothing");
    }
}
