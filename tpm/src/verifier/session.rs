//! A session that is open and shows how its device booted: a fresh quote by the attestation key in the registry, bound to
//! the hub's nonce and to this very connection. Which values are good is policy, and the hub's.

use muster_schemas::attest::Answer;

use super::{Evidence, Rejection, begin::check_attestation_key, finish::Statements};
use crate::{binding::session_data, wire::TpmtPublic};

/// What the hub remembers of its challenge, and what it knows of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionExpected {
    /// The challenge's nonce.
    pub nonce: [u8; 32],
    /// TLS exporter of the connection that the answer came on.
    pub exporter: [u8; 32],
    /// Registers asked for: SHA-256 bank, ascending, static ones only.
    pub pcr_selection: Vec<u8>,
}

/// Checks quote, registers and event log against the registry's attestation key `ak_public`. That the nonce is fresh and
/// was not used before is the caller's to check.
///
/// # Errors
/// The first check that fails.
pub fn check_session(
    ak_public: &TpmtPublic,
    expected: &SessionExpected,
    answer: &Answer,
) -> Result<Evidence, Rejection> {
    check_attestation_key(ak_public)?;
    Statements {
        ak_public,
        // Which identity key it is was shown at enrolment, and by the handshake of this connection.
        ldevid_name: &[],
        certify: &answer.quote,
        qualifying_data: session_data(&expected.nonce, &expected.exporter),
        pcr_selection: &expected.pcr_selection,
        quote: &answer.quote,
        pcrs: &answer.pcrs,
        event_log: &answer.event_log,
    }
    .check_boot()
}

#[cfg(test)]
mod tests {
    use muster_schemas::enrolment::{Event, RefusalCode};

    use super::*;
    use crate::{
        keys::{DeviceKeys, Slot},
        manufacturer::SimulatedManufacturer,
        soft::SimulatedSoftwareKeys,
    };

    const SELECTION: [u8; 2] = [0, 23];

    fn device(seed: u8) -> SimulatedSoftwareKeys {
        let manufacturer = SimulatedManufacturer::well_known().unwrap();
        let mut keys = SimulatedSoftwareKeys::new(&[seed; 32], &manufacturer).unwrap();
        keys.extend(0, &[1; 32]).unwrap();
        keys
    }

    fn expected() -> SessionExpected {
        SessionExpected { nonce: [3; 32], exporter: [4; 32], pcr_selection: SELECTION.to_vec() }
    }

    fn answer(keys: &mut SimulatedSoftwareKeys, expected: &SessionExpected) -> Answer {
        let event = Event { pcr: 0, digest: [1; 32], kind: "boot".to_owned(), text: String::new() };
        Answer {
            quote: keys.quote(&SELECTION, &session_data(&expected.nonce, &expected.exporter)).unwrap(),
            pcrs: keys.pcrs(&SELECTION).unwrap(),
            event_log: vec![event],
        }
    }

    fn ak_of(keys: &mut SimulatedSoftwareKeys) -> TpmtPublic {
        TpmtPublic::parse(&keys.ak_public().unwrap()).unwrap()
    }

    #[track_caller]
    fn refused(ak: &TpmtPublic, expected: &SessionExpected, answer: &Answer) -> RefusalCode {
        check_session(ak, expected, answer).unwrap_err().code
    }

    #[test]
    fn a_quote_for_this_challenge_and_this_connection_says_how_the_device_booted() {
        let mut keys = device(1);
        let answer = answer(&mut keys, &expected());
        let evidence = check_session(&ak_of(&mut keys), &expected(), &answer).unwrap();
        assert_eq!((evidence.reset_count, evidence.pcrs.len()), (1, 2));
        assert_eq!(evidence.pcrs[&23], [0; 32]);
    }

    #[test]
    fn an_answer_to_another_challenge_or_of_another_connection_is_refused() {
        let mut keys = device(1);
        let answer = answer(&mut keys, &expected());
        let ak = ak_of(&mut keys);
        let replayed = SessionExpected { nonce: [9; 32], ..expected() };
        assert_eq!(refused(&ak, &replayed, &answer), RefusalCode::WrongChannel);
        let relayed = SessionExpected { exporter: [9; 32], ..expected() };
        assert_eq!(refused(&ak, &relayed, &answer), RefusalCode::WrongChannel);
    }

    #[test]
    fn an_answer_of_another_devices_key_or_of_a_software_key_is_refused() {
        let answer = answer(&mut device(2), &expected());
        assert_eq!(refused(&ak_of(&mut device(1)), &expected(), &answer), RefusalCode::BadQuote);
        // An identity key, which signs whatever it is given, can say what no TPM said: it is no attestation key.
        let mut forger = device(1);
        let public = forger.create_ldevid(Slot::A).unwrap();
        let software = TpmtPublic::parse(&public).unwrap();
        assert_eq!(refused(&software, &expected(), &answer), RefusalCode::UnsuitableAttestationKey);
    }

    #[test]
    fn an_enrolments_quote_serves_no_session() {
        let mut keys = device(1);
        let mut answer = answer(&mut keys, &expected());
        let binding = crate::binding::qualifying_data(&[3; 32], &[4; 32], b"csr");
        answer.quote = keys.quote(&SELECTION, &binding).unwrap();
        assert_eq!(refused(&ak_of(&mut keys), &expected(), &answer), RefusalCode::WrongChannel);
        // Nor does a certification, which the same key signs.
        answer.quote = keys
            .create_ldevid(Slot::A)
            .and_then(|_| keys.certify(Slot::A, &session_data(&[3; 32], &[4; 32])))
            .unwrap();
        assert_eq!(refused(&ak_of(&mut keys), &expected(), &answer), RefusalCode::BadQuote);
    }

    #[test]
    fn altered_registers_and_logs_are_refused() {
        let mut keys = device(1);
        let ak = ak_of(&mut keys);
        let honest = answer(&mut keys, &expected());
        let mut altered = honest.clone();
        altered.pcrs[0] = [0; 32];
        assert_eq!(refused(&ak, &expected(), &altered), RefusalCode::PcrMismatch);
        let mut altered = honest.clone();
        altered.event_log[0].digest = [2; 32];
        assert_eq!(refused(&ak, &expected(), &altered), RefusalCode::EventLogMismatch);
        let fewer = SessionExpected { pcr_selection: vec![0], ..expected() };
        assert_eq!(refused(&ak, &fewer, &honest), RefusalCode::BadQuote);
    }
}
