//! Whole exchanges between this core and the verifier, as a hub runs it, without a hub or a connection.

use muster_schemas::enrolment::{RefusalCode, RenewChallenge};
use muster_tpm::{
    endorsement::{EndorsementRoots, TpmClass},
    manufacturer::SimulatedManufacturer,
    soft::SimulatedSoftwareKeys,
    verifier::{
        Candidate, Expected, Rejection, RenewExpected, challenge, check_begin, check_finish,
        check_renew_begin, check_renew_finish,
    },
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
    PublicKeyData, SanType, SignatureAlgorithm,
};

use super::*;

/// 2026-02-01.
const NOW_S: u64 = 1_769_904_000;
const EXPORTER: [u8; 32] = [5; 32];
const NONCE: [u8; 32] = [6; 32];
const SECRET: [u8; 32] = [7; 32];
const SELECTION: [u8; 3] = [0, 7, 9];

struct Point([u8; 65]);

impl PublicKeyData for Point {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }
    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// A certificate for a point, in DER, of an authority that is made on the spot.
fn certificate(sec1: [u8; 65], uri: &str) -> Vec<u8> {
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "device authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("key");
    let mut leaf = CertificateParams::default();
    leaf.subject_alt_names = vec![SanType::URI(uri.try_into().expect("uri"))];
    leaf.signed_by(&Point(sec1), &Issuer::new(authority, key)).expect("certificate").der().to_vec()
}

fn issued(sec1: [u8; 65], device: &DeviceId) -> Issued {
    Issued {
        certificate: certificate(sec1, &format!("spiffe://muster.example/t/acme/device/{device}")),
        chain: vec![b"device authority".to_vec()],
        device: device.clone(),
        tenant: "acme".parse().expect("id"),
        mqtt_endpoint: String::new(),
        renew_after_s: 3_600,
        hub_time_s: NOW_S,
    }
}

fn device() -> (SimulatedSoftwareKeys, EndorsementRoots) {
    let manufacturer = SimulatedManufacturer::well_known().expect("manufacturer");
    let roots = vec![(manufacturer.root_certificate().to_vec(), TpmClass::Simulated)];
    let keys = SimulatedSoftwareKeys::new(&[9; 32], &manufacturer).expect("keys");
    (keys, EndorsementRoots::new(roots).expect("roots"))
}

fn first() -> Request {
    Request::First {
        slot: Slot::A,
        claim: Some("K7QM-3XNP".into()),
        model: "board".into(),
        introduction: Introduction::default(),
    }
}

/// The hub's side of the first two frames.
fn challenged(frame: &DeviceFrame, roots: &EndorsementRoots) -> (Candidate, HubFrame) {
    let DeviceFrame::Begin(begin) = frame else { panic!("{frame:?} is no Begin") };
    assert_eq!(begin.claim.as_deref(), Some("K7QM-3XNP"));
    let candidate = check_begin(begin, roots, NOW_S).expect("accepted");
    let mut count = 0;
    let mut random = |bytes: &mut [u8]| {
        for byte in bytes {
            count += 1;
            *byte = count;
        }
    };
    let credential = challenge(&candidate, &SECRET, &mut random).expect("credential");
    let frame = HubFrame::Challenge(Challenge {
        session: [1; 16],
        nonce: NONCE,
        credential_blob: credential.credential_blob,
        encrypted_secret: credential.encrypted_secret,
        pcr_selection: SELECTION.to_vec(),
    });
    (candidate, frame)
}

fn finished(candidate: &Candidate, step: &Step, exporter: [u8; 32]) -> Result<(), Rejection> {
    let Step::Send(DeviceFrame::Finish(finish)) = step else { panic!("{step:?} is no Finish") };
    assert_eq!(finish.session, [1; 16]);
    let expected = Expected { nonce: NONCE, exporter, secret: SECRET, pcr_selection: SELECTION.to_vec() };
    check_finish(candidate, &expected, finish).map(drop)
}

#[test]
fn a_device_enrols_with_a_hub_that_checks_everything() {
    let (mut keys, roots) = device();
    let (mut exchange, begin) = Exchange::begin(&mut keys, &first(), EXPORTER).expect("begin");
    let (candidate, challenge) = challenged(&begin, &roots);
    let step = exchange.answer(&mut keys, challenge).expect("finish");
    finished(&candidate, &step, EXPORTER).expect("the evidence holds");
    let id = own_id(&mut keys).expect("id");
    let step =
        exchange.answer(&mut keys, HubFrame::Issued(issued(candidate.ldevid_sec1, &id))).expect("granted");
    let Step::End(Outcome::Issued(grant)) = step else { panic!("{step:?} is no certificate") };
    assert_eq!(
        (grant.slot, grant.device, grant.tenant.as_str(), grant.chain.len()),
        (Slot::A, id, "acme", 2)
    );
}

#[test]
fn evidence_of_one_connection_is_worth_nothing_on_another() {
    let (mut keys, roots) = device();
    let (mut exchange, begin) = Exchange::begin(&mut keys, &first(), EXPORTER).expect("begin");
    let (candidate, challenge) = challenged(&begin, &roots);
    let step = exchange.answer(&mut keys, challenge).expect("finish");
    let rejection = finished(&candidate, &step, [0; 32]).expect_err("another connection");
    assert_eq!(rejection.code, RefusalCode::WrongChannel);
}

#[test]
fn a_second_attempt_uses_the_key_of_the_first() {
    let (mut keys, _) = device();
    Exchange::begin(&mut keys, &first(), EXPORTER).expect("begin");
    let made = keys.ldevid_public(Slot::A).expect("read");
    Exchange::begin(&mut keys, &first(), EXPORTER).expect("begin again");
    assert_eq!(keys.ldevid_public(Slot::A).expect("read"), made);
}

#[test]
fn a_renewal_certifies_a_new_key_in_the_other_slot() {
    let (mut keys, _) = device();
    keys.create_ldevid(Slot::A).expect("the current key");
    let current = point_in(&mut keys, Slot::A).expect("read");
    let (mut exchange, begin) =
        Exchange::begin(&mut keys, &Request::Next { slot: Slot::B }, EXPORTER).expect("begin");
    let DeviceFrame::RenewBegin(begin) = begin else { panic!("{begin:?} is no RenewBegin") };
    let candidate = check_renew_begin(&begin).expect("accepted");
    assert_ne!(Some(candidate.ldevid_sec1), current);
    let challenge = RenewChallenge { session: [1; 16], nonce: NONCE, pcr_selection: SELECTION.to_vec() };
    let step = exchange.answer(&mut keys, HubFrame::RenewChallenge(challenge)).expect("finish");
    let Step::Send(DeviceFrame::RenewFinish(finish)) = step else { panic!("{step:?} is no RenewFinish") };
    let ak_public = TpmtPublic::parse(&keys.ak_public().expect("key")).expect("parsed");
    let expected = RenewExpected { nonce: NONCE, exporter: EXPORTER, pcr_selection: SELECTION.to_vec() };
    check_renew_finish(&candidate, &ak_public, &expected, &finish).expect("the evidence holds");
    let id = own_id(&mut keys).expect("id");
    let step =
        exchange.answer(&mut keys, HubFrame::Issued(issued(candidate.ldevid_sec1, &id))).expect("granted");
    assert!(matches!(step, Step::End(Outcome::Issued(grant)) if grant.slot == Slot::B));
}

#[test]
fn a_certificate_that_is_not_ours_is_not_taken() {
    let (mut keys, roots) = device();
    let id = own_id(&mut keys).expect("id");
    let (mut exchange, begin) = Exchange::begin(&mut keys, &first(), EXPORTER).expect("begin");
    let (candidate, challenge) = challenged(&begin, &roots);
    exchange.answer(&mut keys, challenge).expect("finish");
    let right = candidate.ldevid_sec1;
    keys.create_ldevid(Slot::B).expect("another key");
    let wrong = point_in(&mut keys, Slot::B).expect("read").expect("there");
    let other_tenant = Issued { tenant: "globex".parse().expect("id"), ..issued(right, &id) };
    let other_kind = Issued {
        certificate: certificate(right, &format!("spiffe://muster.example/t/acme/app/{id}")),
        ..issued(right, &id)
    };
    for (issued, why) in [
        (issued(wrong, &id), "another key"),
        (issued(right, &"pump-7".parse().expect("id")), "another device"),
        (other_kind, "another kind"),
        (other_tenant, "another tenant"),
    ] {
        let answer = exchange.answer(&mut keys, HubFrame::Issued(issued));
        assert!(matches!(answer, Err(ExchangeError::Foreign(_))), "{why}: {answer:?}");
    }
}

#[test]
fn a_hub_that_skips_a_step_is_not_followed() {
    let (mut keys, roots) = device();
    let id = own_id(&mut keys).expect("id");
    let (mut exchange, begin) = Exchange::begin(&mut keys, &first(), EXPORTER).expect("begin");
    let (candidate, challenge) = challenged(&begin, &roots);
    let early = exchange.answer(&mut keys, HubFrame::Issued(issued(candidate.ldevid_sec1, &id)));
    assert!(matches!(early, Err(ExchangeError::Unexpected { .. })), "{early:?}");
    exchange.answer(&mut keys, challenge.clone()).expect("finish");
    let again = exchange.answer(&mut keys, challenge);
    assert!(matches!(again, Err(ExchangeError::Unexpected { .. })), "one quote for one challenge: {again:?}");
}
