//! The whole protocol against a real TPM implementation in a process of its own. Without swtpm the tests pass with a loud
//! line, except where `MUSTER_REQUIRE_SWTPM=1` says that it has to be there.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{path::Path, process::Command};

use muster_schemas::enrolment::{Begin, Event, Finish, RefusalCode};
use muster_tpm::{
    binding::{activation_proof, qualifying_data},
    csr::signing_request,
    device::{Chip, TlsKey, TpmThread},
    endorsement::{EndorsementRoots, TpmClass},
    keys::{DeviceKeys, KeyError, Slot},
    manufacture::endorse_simulated,
    manufacturer::SimulatedManufacturer,
    swtpm::{self, Swtpm},
    verifier::{self, Expected, Rejection},
    wire::{PublicKey, TpmtPublic},
};

const NOW_UNIX_S: u64 = 1_800_000_000;

#[expect(clippy::print_stderr, reason = "a skipped test has to be seen")]
fn swtpm_is_here() -> bool {
    if swtpm::available() {
        return true;
    }
    assert!(std::env::var_os("MUSTER_REQUIRE_SWTPM").is_none(), "swtpm is required and not installed");
    eprintln!("SKIPPED: swtpm is not installed, so nothing was tested against a TPM");
    false
}

fn manufacturer() -> SimulatedManufacturer {
    SimulatedManufacturer::well_known().unwrap()
}

fn roots() -> EndorsementRoots {
    EndorsementRoots::new(vec![(manufacturer().root_certificate().to_vec(), TpmClass::Simulated)]).unwrap()
}

/// A manufactured TPM with an identity key in slot A.
fn endorsed(tpm: &Swtpm) -> Chip {
    let mut chip = Chip::open(&tpm.tcti()).unwrap();
    endorse_simulated(&mut chip, &manufacturer()).unwrap();
    if chip.ldevid_public(Slot::A).unwrap().is_none() {
        chip.create_ldevid(Slot::A).unwrap();
    }
    chip
}

fn begin(chip: &mut Chip) -> Begin {
    Begin {
        ek_certificate: chip.ek_certificate().unwrap(),
        ek_chain: Vec::new(),
        ek_public: chip.ek_public().unwrap(),
        ak_public: chip.ak_public().unwrap(),
        ldevid_public: chip.ldevid_public(Slot::A).unwrap().unwrap(),
        csr: signing_request(chip, Slot::A).unwrap(),
        claim: None,
        model: "swtpm".to_owned(),
        agent_version: "0".to_owned(),
        serial_number: None,
        mac: None,
    }
}

fn counting() -> impl FnMut(&mut [u8]) {
    let mut next = 0u8;
    move |bytes: &mut [u8]| {
        for byte in bytes {
            next = next.wrapping_add(1);
            *byte = next;
        }
    }
}

fn expected() -> Expected {
    // More registers than one read answers.
    Expected { nonce: [3; 32], exporter: [4; 32], secret: [5; 32], pcr_selection: (0..=16).collect() }
}

/// Both round trips, as hub and device would have them.
fn enrol(
    chip: &mut Chip,
    roots: &EndorsementRoots,
    begin: &Begin,
    event_log: Vec<Event>,
) -> Result<verifier::Evidence, Rejection> {
    let expected = expected();
    let candidate = verifier::check_begin(begin, roots, NOW_UNIX_S)?;
    let credential = verifier::challenge(&candidate, &expected.secret, &mut counting()).unwrap();
    let secret = chip.activate(&credential.credential_blob, &credential.encrypted_secret).unwrap();
    let binding = qualifying_data(&expected.nonce, &expected.exporter, &begin.csr);
    let finish = Finish {
        session: [0; 16],
        proof: activation_proof(&secret, &expected.nonce),
        certify: chip.certify(Slot::A, &binding).unwrap(),
        quote: chip.quote(&expected.pcr_selection, &binding).unwrap(),
        pcrs: chip.pcrs(&expected.pcr_selection).unwrap(),
        event_log,
    };
    verifier::check_finish(&candidate, &expected, &finish)
}

fn measure(chip: &mut Chip) -> Vec<Event> {
    [(0, [1; 32]), (9, [2; 32]), (9, [3; 32])]
        .map(|(pcr, digest)| {
            chip.extend(pcr, &digest).unwrap();
            Event { pcr, digest, kind: "boot".to_owned(), text: String::new() }
        })
        .to_vec()
}

#[test]
fn a_chip_enrols_and_finds_its_identity_again() {
    if !swtpm_is_here() {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let mut tpm = Swtpm::start(state.path()).unwrap();
    let mut chip = endorsed(&tpm);
    let log = measure(&mut chip);
    let first = begin(&mut chip);
    let evidence = enrol(&mut chip, &roots(), &first, log.clone()).unwrap();
    assert_eq!(evidence.pcrs.len(), 17);
    assert_ne!(evidence.pcrs[&9], [0; 32]);
    let missing = enrol(&mut chip, &roots(), &first, log[..2].to_vec()).unwrap_err();
    assert_eq!(missing.code, RefusalCode::EventLogMismatch);
    assert_eq!(chip.create_ldevid(Slot::A), Err(KeyError::OccupiedSlot(Slot::A)));
    drop(chip);
    // Another client of the same TPM.
    let mut chip = Chip::open(&tpm.tcti()).unwrap();
    assert_eq!(chip.ldevid_public(Slot::A).unwrap().as_ref(), Some(&first.ldevid_public));
    drop(chip);
    // After a power cut: the same keys, and registers at zero.
    tpm.power_cycle().unwrap();
    let mut chip = endorsed(&tpm);
    let again = begin(&mut chip);
    assert_eq!(again.ldevid_public, first.ldevid_public);
    assert_eq!(again.ak_public, first.ak_public);
    assert_eq!(again.ek_public, first.ek_public);
    assert_eq!(again.ek_certificate, first.ek_certificate);
    assert_eq!(chip.pcrs(&[0, 9]).unwrap(), [[0; 32]; 2]);
    let log = measure(&mut chip);
    let rebooted = enrol(&mut chip, &roots(), &again, log).unwrap();
    assert_eq!(rebooted.reset_count, evidence.reset_count + 1);
}

#[test]
fn a_new_key_in_the_other_slot_leaves_the_first_alone() {
    if !swtpm_is_here() {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let tpm = Swtpm::start(state.path()).unwrap();
    let mut chip = endorsed(&tpm);
    let first = chip.ldevid_public(Slot::A).unwrap().unwrap();
    assert_eq!(chip.sign(Slot::B, &[1; 32]), Err(KeyError::EmptySlot(Slot::B)));
    let second = chip.create_ldevid(Slot::B).unwrap();
    assert_ne!(first, second);
    assert_eq!(chip.ldevid_public(Slot::A).unwrap(), Some(first));
    chip.evict_ldevid(Slot::A).unwrap();
    chip.evict_ldevid(Slot::A).unwrap();
    assert_eq!(chip.ldevid_public(Slot::A).unwrap(), None);
    assert_eq!(chip.ldevid_public(Slot::B).unwrap(), Some(second.clone()));
    assert_ne!(chip.create_ldevid(Slot::A).unwrap(), second);
}

#[test]
fn a_credential_for_another_chip_is_foreign_and_leaks_nothing() {
    if !swtpm_is_here() {
        return;
    }
    let states = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tpms = (Swtpm::start(states.0.path()).unwrap(), Swtpm::start(states.1.path()).unwrap());
    let (mut victim, mut thief) = (endorsed(&tpms.0), endorsed(&tpms.1));
    // Certificate and endorsement key of the victim, all other keys of the thief.
    let mut claim = begin(&mut thief);
    claim.ek_certificate = victim.ek_certificate().unwrap();
    claim.ek_public = victim.ek_public().unwrap();
    let candidate = verifier::check_begin(&claim, &roots(), NOW_UNIX_S).unwrap();
    let credential = verifier::challenge(&candidate, &[5; 32], &mut counting()).unwrap();
    // Often enough that anything not flushed would fill the TPM's three places.
    for _ in 0..8 {
        for chip in [&mut victim, &mut thief] {
            let opened = chip.activate(&credential.credential_blob, &credential.encrypted_secret);
            assert_eq!(opened, Err(KeyError::ForeignCredential));
        }
    }
    let honest = begin(&mut victim);
    let log = measure(&mut victim);
    enrol(&mut victim, &roots(), &honest, log).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tls_key_signs_with_the_chip() {
    if !swtpm_is_here() {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let tpm = Swtpm::start(state.path()).unwrap();
    let chip = endorsed(&tpm);
    let thread = TpmThread::start(move || Ok(Box::new(chip))).unwrap();
    let key = TlsKey::open(thread.clone(), Slot::A).unwrap();
    let signer =
        rustls::sign::SigningKey::choose_scheme(&key, &[rustls::SignatureScheme::ECDSA_NISTP256_SHA256]);
    let signature = signer.unwrap().sign(b"hello").unwrap();
    let algorithm = &aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1;
    aws_lc_rs::signature::UnparsedPublicKey::new(algorithm, key.sec1()).verify(b"hello", &signature).unwrap();
    assert!(rustls::sign::SigningKey::choose_scheme(&key, &[rustls::SignatureScheme::ED25519]).is_none());
    assert!(thread.acall(|keys| keys.ek_certificate()).await.unwrap().is_some());
    // The TPM is closed by its own thread before the process goes.
    drop((key, thread));
}

/// Endorsement keys and certificates as swtpm's own set-up makes them, for RSA-2048 and P-384, with their chain.
#[test]
fn the_endorsement_keys_of_swtpms_own_set_up_are_understood() {
    if !swtpm_is_here() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let state = place.path().join("state");
    std::fs::create_dir(&state).unwrap();
    if !set_up(place.path(), &state) {
        return;
    }
    let ca = place.path().join("ca");
    let root = pem_to_der(&ca.join("swtpm-localca-rootca-cert.pem"));
    let issuer = pem_to_der(&ca.join("issuercert.pem"));
    let roots = EndorsementRoots::new(vec![(root, TpmClass::Simulated)]).unwrap();
    {
        let tpm = Swtpm::start(&state).unwrap();
        let mut chip = Chip::open(&tpm.tcti()).unwrap();
        chip.create_ldevid(Slot::A).unwrap();
        let mut first = begin(&mut chip);
        assert!(matches!(
            TpmtPublic::parse(&first.ek_public).unwrap().key,
            PublicKey::Rsa { bits: 2_048, .. }
        ));
        first.ek_chain = vec![issuer.clone()];
        let log = measure(&mut chip);
        enrol(&mut chip, &roots, &first, log).unwrap();
        first.ek_chain.clear();
        let unchained = verifier::check_begin(&first, &roots, NOW_UNIX_S).unwrap_err();
        assert_eq!(unchained.code, RefusalCode::UntrustedEndorsement);
        drop(chip);
        // Without the RSA certificate the P-384 one is next.
        undefine(&tpm.tcti(), "0x01c00002");
        let mut chip = Chip::open(&tpm.tcti()).unwrap();
        let mut second = begin(&mut chip);
        assert_eq!(TpmtPublic::parse(&second.ek_public).unwrap().sec1().unwrap().len(), 97);
        second.ek_chain = vec![issuer];
        let expected = expected();
        let candidate = verifier::check_begin(&second, &roots, NOW_UNIX_S).unwrap();
        let credential = verifier::challenge(&candidate, &expected.secret, &mut counting()).unwrap();
        let secret = chip.activate(&credential.credential_blob, &credential.encrypted_secret).unwrap();
        assert_eq!(secret, expected.secret);
    }
}

/// Runs swtpm_setup with an authority of its own; false, loudly, where the tools are not installed.
#[expect(clippy::print_stderr, reason = "a skipped test has to be seen")]
fn set_up(place: &Path, state: &Path) -> bool {
    let ca = place.join("ca");
    std::fs::create_dir(&ca).unwrap();
    let ca_text = ca.display();
    let authority = format!(
        "statedir = {ca_text}\nsigningkey = {ca_text}/signkey.pem\nissuercert = {ca_text}/issuercert.pem\n\
         certserial = {ca_text}/certserial\n"
    );
    let options = "--platform-manufacturer Muster\n--platform-version 1\n--platform-model Test\n";
    let (localca, localca_options, setup) =
        (place.join("localca.conf"), place.join("localca.options"), place.join("setup.conf"));
    std::fs::write(&localca, authority).unwrap();
    std::fs::write(&localca_options, options).unwrap();
    let tools = format!(
        "create_certs_tool = swtpm_localca\ncreate_certs_tool_config = {}\ncreate_certs_tool_options = {}\n\
         active_pcr_banks = sha256\n",
        localca.display(),
        localca_options.display()
    );
    std::fs::write(&setup, tools).unwrap();
    let run = Command::new("swtpm_setup")
        .args(["--tpm2", "--createek", "--create-ek-cert", "--lock-nvram", "--overwrite", "--tpm-state"])
        .arg(state)
        .arg("--config")
        .arg(&setup)
        .output();
    match run {
        Ok(output)
            if output.status.success()
                && Command::new("tpm2_nvundefine").arg("--version").output().is_ok() =>
        {
            true
        }
        other => {
            assert!(std::env::var_os("MUSTER_REQUIRE_SWTPM").is_none(), "swtpm_setup failed: {other:?}");
            eprintln!("SKIPPED: swtpm_setup or tpm2-tools cannot be used: {other:?}");
            false
        }
    }
}

fn undefine(tcti: &str, index: &str) {
    let run = Command::new("tpm2_nvundefine")
        .args(["-C", "p", index])
        .env("TPM2TOOLS_TCTI", tcti)
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

fn pem_to_der(path: &Path) -> Vec<u8> {
    let text = std::fs::read_to_string(path).unwrap();
    let start = text.find("-----BEGIN CERTIFICATE-----").unwrap();
    let body: String =
        text[start..].lines().skip(1).take_while(|line| !line.starts_with("-----END")).collect();
    data_encoding::BASE64.decode(body.as_bytes()).unwrap()
}
