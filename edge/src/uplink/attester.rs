//! What this device shows when a session of its tenant has to attest: a quote over the hub's nonce and this very
//! connection, which only our end of it can export.

use muster_schemas::{
    attest::{Answer, Challenge},
    enrolment::{EXPORTER_LABEL, InvalidFrame},
};
use muster_tpm::{
    binding::session_data,
    device::TpmThread,
    keys::{DeviceKeys, KeyError},
};
use rustls::ClientConnection;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// The hub's challenge cannot be read.
    #[error("understand the hub's challenge: it {0}")]
    Challenge(#[from] InvalidFrame),
    /// The TPM.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Answers challenges on one connection.
#[derive(Debug, Clone)]
pub struct Attester {
    tpm: TpmThread,
    exporter: [u8; 32],
}

impl Attester {
    /// For the connection whose handshake is complete.
    ///
    /// # Errors
    /// TLS gives no exporter.
    pub fn of(tpm: TpmThread, tls: &ClientConnection) -> Result<Self, rustls::Error> {
        let exporter = tls.export_keying_material([0; 32], EXPORTER_LABEL, None)?;
        Ok(Self { tpm, exporter })
    }

    /// The answer to a challenge.
    ///
    /// # Errors
    /// It is none, or the TPM fails.
    pub async fn answer(&self, challenge: &[u8]) -> Result<Vec<u8>, AttestError> {
        let challenge = Challenge::decode(challenge)?;
        let exporter = self.exporter;
        let answer = self.tpm.acall(move |keys| answer(keys, &challenge, &exporter)).await?;
        Ok(answer.encode())
    }
}

fn answer(keys: &mut dyn DeviceKeys, challenge: &Challenge, exporter: &[u8; 32]) -> Result<Answer, KeyError> {
    let Challenge { nonce, pcr_selection } = challenge;
    Ok(Answer {
        quote: keys.quote(pcr_selection, &session_data(nonce, exporter))?,
        pcrs: keys.pcrs(pcr_selection)?,
        event_log: keys.event_log(pcr_selection)?,
    })
}

#[cfg(test)]
mod tests {
    use muster_tpm::{
        manufacturer::SimulatedManufacturer,
        soft::SimulatedSoftwareKeys,
        verifier::{SessionExpected, check_session},
        wire::TpmtPublic,
    };

    use super::*;

    #[test]
    fn an_answer_is_what_the_verifier_wants() {
        let manufacturer = SimulatedManufacturer::well_known().expect("a manufacturer");
        let mut keys = SimulatedSoftwareKeys::new(&[7; 32], &manufacturer).expect("soft keys");
        let challenge = Challenge { nonce: [3; 32], pcr_selection: vec![23] };
        let answer = answer(&mut keys, &challenge, &[4; 32]).expect("an answer");
        let ak = TpmtPublic::parse(&keys.ak_public().expect("a key")).expect("a public area");
        let Challenge { nonce, pcr_selection } = challenge;
        let expected = SessionExpected { nonce, exporter: [4; 32], pcr_selection };
        assert!(check_session(&ak, &expected, &answer).is_ok());
    }
}
