//! Attacks on the exchange as a whole, by devices whose TPM is genuine and by peers who only make work.

use std::net::Ipv4Addr;

use muster_actors::Clock as _;
use muster_tpm::{endorsement::TpmClass, keys::DeviceKeys as _};

use super::*;
use crate::{
    enrolment::test_device::{NOW_S, TestDevice, installation},
    registry::{State, message::Title},
};

const HERE: [u8; 32] = [1; 32];
const HALF_FINISHED: u32 = 10_000;

struct Story {
    core: Enrolment,
    now: Now,
}

impl Story {
    fn begin() -> Self {
        let now = Now { instant: muster_actors::SystemClock.now(), unix_s: NOW_S };
        Self { core: Enrolment::new(installation().0, random::system(), now.instant), now }
    }

    fn challenge(&mut self, begin: Begin, source: u32) -> Result<Challenge, Refusal> {
        let source = IpAddr::V4(Ipv4Addr::from(source));
        let claimant = self.core.begin(self.now, source, begin)?;
        let owner = Ownership {
            tenant: "acme".parse().expect("id"),
            enrolled_before: false,
            title: Title::Claimed,
            class: TpmClass::Simulated,
            registers: vec![7, 9],
        };
        match self.core.challenge(self.now, &HERE, claimant, owner)? {
            HubFrame::Challenge(challenge) => Ok(challenge),
            other => panic!("not challenged: {other:?}"),
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now.instant += time;
        self.now.unix_s = NOW_S + 1;
    }
}

fn code<T: std::fmt::Debug>(refused: Result<T, Refusal>) -> RefusalCode {
    refused.expect_err("refused").rejection.code
}

#[test]
fn ten_thousand_half_finished_enrolments_stay_bounded_and_others_are_served() {
    let mut story = Story::begin();
    let begin = TestDevice::new(1).begin();
    // One chip with a good claim, from ten thousand addresses, as fast as the hub lets anybody begin.
    let mut refused = 0;
    for source in 0..HALF_FINISHED {
        story.pass(Duration::from_millis(5));
        match story.challenge(begin.clone(), source) {
            Ok(_) => {}
            Err(refusal) => {
                assert_eq!(refusal.rejection.code, RefusalCode::RateLimited);
                refused += 1;
            }
        }
        assert!(story.core.pending() <= SESSIONS_MAX);
    }
    assert_eq!(story.core.pending(), SESSIONS_MAX);
    assert_eq!(refused, HALF_FINISHED as usize - SESSIONS_MAX);

    // A device that is enrolled renews all the while.
    let mut device = TestDevice::new(2);
    let ak_public = device.begin().ak_public;
    let leaf = Leaf {
        principal: "spiffe://muster.example/t/acme/device/aaaaaaaaaaaaaaaaaaaa".parse().expect("uri"),
        serial: Serial::from([1; 16]),
        spki_sha256: [1; 32],
        not_before_s: 0,
        not_after_s: u64::MAX,
        authority: authority::Role::Device,
        server_names: Vec::new(),
    };
    let row = Device {
        id: leaf.principal.id.clone(),
        tenant: leaf.principal.tenant.clone(),
        ek_hash: [2; 32],
        ak_public,
        ak_name: Vec::new(),
        certificate: Certificate::of(&leaf),
        previous: None,
        state: State::Active,
        tpm_class: TpmClass::Simulated,
        model: String::new(),
        reset_count: 1,
        clock_ms: 1,
        enrolled_at_s: NOW_S,
        agent_version: String::new(),
        life: Default::default(),
    };
    let renewal = story.core.renew_begin(story.now, &HERE, &leaf, &row, vec![7, 9], device.renew_begin());
    let Ok(HubFrame::RenewChallenge(challenge)) = renewal else { panic!("not challenged: {renewal:?}") };
    let finish = device.renew_finish(&challenge, &HERE);
    assert!(story.core.renew_finish(story.now, &HERE, &finish).is_ok());

    // And a new device enrols as soon as the first of them has had its minute.
    story.pass(Duration::from_secs(60));
    let mut honest = TestDevice::new(3);
    let challenge = story.challenge(honest.begin(), u32::MAX).expect("there is room");
    let finish = honest.finish(&challenge, &HERE);
    assert!(story.core.finish(story.now, &HERE, &finish).is_ok());
}

#[test]
fn a_quote_of_an_earlier_boot_is_refused() {
    let mut story = Story::begin();
    let mut device = TestDevice::new(1);
    let challenge = story.challenge(device.begin(), 1).expect("challenged");
    let before = device.finish(&challenge, &HERE);
    // The machine starts anew with other software, whose registers would tell. It shows what was quoted before.
    device.keys.reboot();
    device.keys.extend(9, &[0xbd; 32]).expect("extended");
    let challenge = story.challenge(device.begin(), 1).expect("challenged");
    let now = device.finish(&challenge, &HERE);
    let stale = Finish { quote: before.quote, pcrs: before.pcrs, event_log: before.event_log, ..now };
    assert_eq!(code(story.core.finish(story.now, &HERE, &stale)), RefusalCode::WrongChannel);
    // Nor do the old values go with the new quote.
    let challenge = story.challenge(device.begin(), 1).expect("challenged");
    let now = device.finish(&challenge, &HERE);
    let mixed = Finish { pcrs: stale.pcrs, ..now };
    assert_eq!(code(story.core.finish(story.now, &HERE, &mixed)), RefusalCode::PcrMismatch);
}

#[test]
fn a_challenge_of_a_renewal_is_not_answered_by_an_enrolment() {
    let mut story = Story::begin();
    let mut device = TestDevice::new(1);
    let challenge = story.challenge(device.begin(), 1).expect("challenged");
    let finish = device.finish(&challenge, &HERE);
    let renewal = RenewFinish {
        session: finish.session,
        certify: finish.certify.clone(),
        quote: finish.quote.clone(),
        pcrs: finish.pcrs.clone(),
        event_log: finish.event_log.clone(),
    };
    assert_eq!(code(story.core.renew_finish(story.now, &HERE, &renewal)), RefusalCode::SessionUnknown);
    assert!(story.core.finish(story.now, &HERE, &finish).is_ok(), "and it is not used up by that");
}
