use muster_actors::Clock as _;

use super::*;
use crate::{
    authority::Role,
    enrolment::{
        limits::SESSION_TTL,
        test_device::{NOW_S, TestDevice, WEEK_S, installation},
    },
    registry::{State, message::Title},
};
use muster_tpm::endorsement::TpmClass;

const HERE: [u8; 32] = [1; 32];
const ELSEWHERE: [u8; 32] = [2; 32];

struct Story {
    core: Enrolment,
    now: Now,
    source: IpAddr,
}

impl Story {
    fn begin() -> Self {
        let now = Now { instant: muster_actors::SystemClock.now(), unix_s: NOW_S };
        let core = Enrolment::new(installation().0, random::counting(), now.instant);
        Self { core, now, source: "192.0.2.1".parse().expect("address") }
    }

    fn claimant(&mut self, device: &mut TestDevice) -> Result<Claimant, Refusal> {
        self.core.begin(self.now, self.source, device.begin())
    }

    fn challenge(&mut self, device: &mut TestDevice) -> Challenge {
        let claimant = self.claimant(device).expect("sound");
        let owner = Ownership {
            tenant: "acme".parse().expect("id"),
            enrolled_before: false,
            title: Title::Claimed,
            class: TpmClass::Simulated,
            registers: vec![7, 9],
        };
        let frame = self.core.challenge(self.now, &HERE, claimant, owner).expect("challenged");
        let HubFrame::Challenge(challenge) = frame else { panic!("not challenged: {frame:?}") };
        challenge
    }

    fn pass(&mut self, time: Duration) {
        self.now.instant += time;
        self.now.unix_s += time.as_secs();
    }
}

fn code<T: std::fmt::Debug>(refused: Result<T, Refusal>) -> RefusalCode {
    refused.expect_err("refused").rejection.code
}

fn issued(reply: HubFrame) -> Issued {
    let HubFrame::Issued(issued) = reply else { panic!("not issued: {reply:?}") };
    issued
}

#[test]
fn a_proved_chip_gets_a_certificate_for_the_key_that_its_tpm_certified() {
    let mut story = Story::begin();
    let mut device = TestDevice::new(1);
    let challenge = story.challenge(&mut device);
    let finish = device.finish(&challenge, &HERE);
    let grant = story.core.finish(story.now, &HERE, &finish).expect("granted");
    let Grant { write, reply } = grant;
    let issued = issued(reply);
    assert_eq!(issued.device, write.chip.device);
    assert_eq!(issued.tenant.as_str(), "acme");
    assert_eq!(issued.hub_time_s, NOW_S);
    assert_eq!(write.certificate.not_after_s, NOW_S + WEEK_S);
    assert_eq!(write.reset_count, 1);
    assert_eq!(write.ak_public, device.begin().ak_public);
    let (half, tenth) = (WEEK_S / 2, WEEK_S / 20);
    assert!((half - tenth..=half + tenth).contains(&issued.renew_after_s), "{}", issued.renew_after_s);
    assert_eq!(story.core.pending(), 0);
}

#[test]
fn every_challenge_is_another() {
    let mut story = Story::begin();
    let mut device = TestDevice::new(1);
    let (first, second) = (story.challenge(&mut device), story.challenge(&mut device));
    assert_ne!(first.session, second.session);
    assert_ne!(first.nonce, second.nonce);
    assert_ne!(first.credential_blob, second.credential_blob);
}

#[test]
fn an_answer_counts_once_in_time_and_on_its_own_connection() {
    let mut story = Story::begin();
    let mut device = TestDevice::new(1);
    let challenge = story.challenge(&mut device);
    let finish = device.finish(&challenge, &HERE);
    assert_eq!(code(story.core.finish(story.now, &ELSEWHERE, &finish)), RefusalCode::WrongChannel);
    assert!(story.core.finish(story.now, &HERE, &finish).is_ok());
    assert_eq!(code(story.core.finish(story.now, &HERE, &finish)), RefusalCode::SessionUnknown);
    let challenge = story.challenge(&mut device);
    let finish = device.finish(&challenge, &HERE);
    story.pass(SESSION_TTL);
    assert_eq!(code(story.core.finish(story.now, &HERE, &finish)), RefusalCode::SessionExpired);
}

#[test]
fn a_wrong_answer_uses_up_its_challenge() {
    let mut story = Story::begin();
    let mut device = TestDevice::new(1);
    let challenge = story.challenge(&mut device);
    let good = device.finish(&challenge, &HERE);
    let wrong = Finish { proof: [0; 32], ..good.clone() };
    let refused = story.core.finish(story.now, &HERE, &wrong).expect_err("refused");
    assert_eq!(refused.rejection.code, RefusalCode::WrongProof);
    assert!(refused.ek_hash.is_some(), "the log can say which chip");
    assert_eq!(code(story.core.finish(story.now, &HERE, &good)), RefusalCode::SessionUnknown);
}

#[test]
fn evidence_bound_to_another_connection_is_refused() {
    // Something in the middle relays the challenge, and the device attests its own connection to it.
    let mut story = Story::begin();
    let mut device = TestDevice::new(1);
    let challenge = story.challenge(&mut device);
    let finish = device.finish(&challenge, &ELSEWHERE);
    assert_eq!(code(story.core.finish(story.now, &HERE, &finish)), RefusalCode::WrongChannel);
}

#[test]
fn a_flood_from_one_source_leaves_room_for_others() {
    let mut story = Story::begin();
    let nonsense = Begin { ek_public: vec![0], ..TestDevice::new(1).begin() };
    let mut codes = Vec::new();
    for _ in 0..=SOURCE_BEGINS_BURST {
        codes.push(code(story.core.begin(story.now, story.source, nonsense.clone())));
    }
    assert_eq!(codes.pop(), Some(RefusalCode::RateLimited));
    assert!(codes.iter().all(|code| *code == RefusalCode::Malformed));
    story.source = "192.0.2.2".parse().expect("address");
    assert!(story.claimant(&mut TestDevice::new(1)).is_ok());
}

#[test]
fn challenges_that_nobody_answers_stay_bounded_and_make_room() {
    let mut story = Story::begin();
    story.core.sessions = Sessions::new(2);
    let mut device = TestDevice::new(1);
    story.challenge(&mut device);
    story.challenge(&mut device);
    assert_eq!(code(story.claimant(&mut device)), RefusalCode::RateLimited);
    story.pass(SESSION_TTL);
    assert!(story.claimant(&mut device).is_ok());
}

#[test]
fn a_renewal_needs_the_attestation_key_of_the_registry() {
    let mut story = Story::begin();
    let mut device = TestDevice::new(1);
    let challenge = story.challenge(&mut device);
    let finish = device.finish(&challenge, &HERE);
    let Grant { write, reply } = story.core.finish(story.now, &HERE, &finish).expect("granted");
    let row = Device {
        id: write.chip.device.clone(),
        tenant: write.tenant.clone(),
        ek_hash: write.chip.ek_hash,
        ak_public: write.ak_public.clone(),
        ak_name: write.ak_name.clone(),
        certificate: write.certificate.clone(),
        previous: None,
        state: State::Active,
        tpm_class: write.chip.class.expect("a class"),
        model: write.chip.model.clone(),
        reset_count: 1,
        clock_ms: 1,
        enrolled_at_s: NOW_S,
        agent_version: String::new(),
        life: crate::registry::life::Life::default(),
    };
    let leaf = Leaf {
        principal: format!("spiffe://muster.example/t/acme/device/{}", row.id).parse().expect("uri"),
        serial: write.certificate.serial,
        spki_sha256: write.certificate.spki_sha256,
        not_before_s: NOW_S,
        not_after_s: NOW_S + WEEK_S,
        authority: Role::Device,
        server_names: Vec::new(),
    };
    assert_eq!(issued(reply).device, row.id);
    let mut renew = |device: &mut TestDevice| {
        let frame = story.core.renew_begin(story.now, &HERE, &leaf, &row, vec![7, 9], device.renew_begin());
        let HubFrame::RenewChallenge(challenge) = frame.expect("challenged") else {
            panic!("not challenged")
        };
        story.core.renew_finish(story.now, &HERE, &device.renew_finish(&challenge, &HERE))
    };
    device.turn_slot();
    let renewed = renew(&mut device).expect("renewed").write;
    assert_eq!(renewed.presented, leaf.serial);
    assert_ne!(renewed.certificate.serial, leaf.serial);
    assert_ne!(renewed.certificate.spki_sha256, leaf.spki_sha256, "it is for the new key");
    let mut thief = TestDevice::new(2);
    assert_eq!(code(renew(&mut thief)), RefusalCode::BadCertify);
}

#[test]
fn renewals_are_spread_over_a_tenth_to_either_side_of_half_life() {
    assert_eq!(renew_after_s(WEEK_S, [0; 8]), WEEK_S / 2 - WEEK_S / 20);
    let last = (WEEK_S / 10).to_be_bytes();
    assert_eq!(renew_after_s(WEEK_S, last), WEEK_S / 2 + WEEK_S / 20);
    assert_eq!(renew_after_s(0, [0xff; 8]), 0);
    for random in 0..200_u64 {
        let after_s = renew_after_s(60, random.to_be_bytes());
        assert!((27..=33).contains(&after_s), "{after_s}");
    }
}
