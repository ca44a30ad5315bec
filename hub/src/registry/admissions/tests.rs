use muster_schemas::DeviceId;
use muster_tpm::{endorsement::TpmClass, verifier::device_id};

use super::{
    claims::{RevokeClaim, claim_id},
    holding::Decide,
    listing::{List, ListOutcome, Unlist},
    measuring::{Accept, RemoveAccepted, Source},
    policy::SetPolicy,
    row::{
        Accepted, ChipName, Decision, HeldReason, Identity, Listed, Mac, MeasurementMode, Registers, Verdict,
    },
};
use crate::{
    authority::Serial,
    registry::{
        alarm::{AlarmKind, ListAlarms},
        core::{Effect, Registry},
        life::{ChangeDevice, DeviceChange, QuoteFacts},
        limits::{HELD_KEPT_S, HELD_PER_TENANT_MAX},
        message::{
            CreateClaim, CreateTenant, Enrol, Enrolled, FindOwner, OwnerRefusal, Refusal, Renewed, Shown,
            Title,
        },
        row::{AcceptedClasses, Certificate, ClaimCode, Device, Row, State},
    },
};

const NOW_S: u64 = 1_760_000_000;
const ISSUER: [u8; 32] = [0xca; 32];

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("well formed")
}

/// A registry with the tenants acme and globex, and everything it wrote so far.
struct Story {
    registry: Registry,
    effects: Vec<Effect>,
    now_s: u64,
    claims: u8,
}

/// A chip of a vendor, in a pump.
fn chip(number: u16) -> FindOwner {
    let mut ek_hash = [7; 32];
    ek_hash[..2].copy_from_slice(&number.to_be_bytes());
    FindOwner {
        ek_hash,
        device: device_id(&ek_hash),
        class: Some(TpmClass::Hardware),
        model: "pump".to_owned(),
        claim: None,
        shown: Shown {
            certificate: Some(ChipName::certificate(ISSUER, &number.to_be_bytes())),
            ..Shown::default()
        },
    }
}

fn claiming(number: u16, code: &ClaimCode) -> FindOwner {
    FindOwner { claim: Some(code.to_string()), ..chip(number) }
}

fn numbered(chip: FindOwner, serial_number: &str) -> FindOwner {
    let shown = Shown { serial_number: Some(serial_number.to_owned()), ..chip.shown };
    FindOwner { shown, ..chip }
}

fn by_key(tenant: &str, number: u16) -> Listed {
    Listed {
        chip: ChipName::EkHash(chip(number).ek_hash),
        tenant: id(tenant),
        class: None,
        model: None,
        name: None,
        serial_number: None,
        mac: None,
        listed_at_s: NOW_S,
    }
}

fn by_certificate(tenant: &str, number: u16) -> Listed {
    Listed { chip: ChipName::certificate(ISSUER, &number.to_be_bytes()), ..by_key(tenant, number) }
}

fn registers(values: &[(u8, u8)]) -> Registers {
    Registers(values.iter().map(|(index, value)| (*index, [*value; 32])).collect())
}

impl Story {
    fn begin() -> Self {
        let mut story = Self { registry: Registry::default(), effects: Vec::new(), now_s: NOW_S, claims: 0 };
        for tenant in ["acme", "globex"] {
            let command = CreateTenant { tenant: id(tenant), accept_simulated_tpms: false };
            story.registry.create_tenant(NOW_S, command, &mut story.effects).expect("created");
        }
        story
    }

    fn claim(&mut self, tenant: &str, approve: bool) -> ClaimCode {
        self.claims += 1;
        let command = CreateClaim { tenant: id(tenant), model: None, expires_in_s: 3_600, approve };
        let made = self.registry.create_claim(self.now_s, command, [self.claims; 16], &mut self.effects);
        made.expect("created").code
    }

    fn list(&mut self, rows: Vec<Listed>) -> Vec<ListOutcome> {
        let tenant = rows[0].tenant.clone();
        let command = List { tenant, rows, dry_run: false };
        self.registry.list(command, &mut self.effects).expect("listed")
    }

    fn policy(&mut self, set: impl FnOnce(&mut SetPolicy)) {
        let mut command = SetPolicy {
            tenant: id("acme"),
            classes: None,
            approve_claims: None,
            measurements: None,
            registers: None,
        };
        set(&mut command);
        self.registry.set_policy(command, &mut self.effects).expect("set");
    }

    fn owner(&self, chip: &FindOwner) -> Result<(String, Title), OwnerRefusal> {
        let found = self.registry.find_owner(self.now_s, chip)?;
        Ok((found.tenant.to_string(), found.title))
    }

    fn enrol(&mut self, chip: FindOwner) -> Result<Enrolled, OwnerRefusal> {
        self.enrol_measured(chip, registers(&[(23, 1)]))
    }

    fn enrol_measured(&mut self, chip: FindOwner, measured: Registers) -> Result<Enrolled, OwnerRefusal> {
        let tenant = self.registry.find_owner(self.now_s, &chip)?.tenant;
        let number = chip.ek_hash[1];
        let certificate = Certificate {
            serial: Serial::from([number; 16]),
            spki_sha256: [number; 32],
            not_after_s: u64::MAX,
        };
        let command = Enrol {
            chip,
            tenant,
            ak_public: vec![1],
            ak_name: vec![2],
            certificate,
            reset_count: 1,
            clock_ms: 1,
            agent_version: "0.1.0".to_owned(),
            quote: QuoteFacts::default(),
            measured,
        };
        self.registry.enrol(self.now_s, command, &mut self.effects)
    }

    fn renew(&mut self, number: u16, measured: Registers) -> Result<Device, Refusal> {
        let low = number.to_be_bytes()[1];
        let command = Renewed {
            tenant: id("acme"),
            device: chip(number).device,
            presented: Serial::from([low; 16]),
            certificate: Certificate {
                serial: Serial::from([low; 16]),
                spki_sha256: [low; 32],
                not_after_s: u64::MAX,
            },
            reset_count: 1,
            clock_ms: 2,
            agent_version: "0.1.0".to_owned(),
            quote: QuoteFacts::default(),
            measured,
        };
        self.registry.renewed(self.now_s, command, &mut self.effects)
    }

    fn decide(&mut self, number: u16, approve: bool) -> Result<Decision, Refusal> {
        let command = Decide { tenant: id("acme"), device: chip(number).device, approve };
        self.registry.decide(&command, &mut self.effects).map(|held| held.decision)
    }

    fn accept_of(&mut self, number: u16, label: &str) -> Result<Accepted, Refusal> {
        let source = Source::Device(chip(number).device, None);
        let command = Accept { tenant: id("acme"), label: label.to_owned(), source };
        self.registry.accept(self.now_s, command, &mut self.effects)
    }

    fn held(&self) -> Vec<(String, HeldReason, Decision)> {
        let held = self.registry.list_held(&id("acme")).expect("known");
        held.into_iter().map(|held| (held.device.to_string(), held.reason, held.decision)).collect()
    }

    fn change(&mut self, number: u16, change: DeviceChange) {
        let by = ("spiffe://muster.example/t/operator/user/ada".to_owned(), true);
        let (tenant, device) = (id("acme"), chip(number).device);
        let command = ChangeDevice { tenant, device, change, by, why: "a test".to_owned() };
        self.registry.change_device(self.now_s, command, &mut self.effects).expect("changed");
    }

    fn alarms(&self) -> Vec<(AlarmKind, DeviceId)> {
        let alarms = self.registry.alarms(&ListAlarms { of: Some(id("acme")), ..ListAlarms::default() });
        alarms.into_iter().map(|alarm| (alarm.kind, alarm.device.expect("of a device"))).collect()
    }

    /// Goes on with what a restart loads.
    fn restart(&mut self) {
        let mut rows = std::collections::BTreeMap::new();
        for effect in &self.effects {
            match effect {
                Effect::Put(row) => {
                    rows.insert(row.key(), row.clone());
                }
                Effect::Delete(key) => {
                    rows.remove(key);
                }
                _ => {}
            }
        }
        let stored = rows.values().map(|row| Row::decode(&row.encode().expect("encodes")).expect("decodes"));
        self.registry = Registry::load(stored);
    }
}

#[test]
fn a_listed_chip_enrols_without_a_claim_and_anothers_does_not() {
    let mut story = Story::begin();
    story.list(vec![by_key("acme", 1), by_certificate("acme", 2)]);
    story.restart();
    assert_eq!(story.owner(&chip(1)), Ok(("acme".to_owned(), Title::Listed)));
    assert_eq!(story.owner(&chip(2)), Ok(("acme".to_owned(), Title::Listed)));
    assert_eq!(story.owner(&chip(3)), Err(OwnerRefusal::UnknownChip));
    // The same number under another authority's key is another chip.
    let mut foreign = chip(2);
    foreign.ek_hash = [9; 32];
    foreign.shown.certificate = Some(ChipName::certificate([0xcb; 32], &2u16.to_be_bytes()));
    assert_eq!(story.owner(&foreign), Err(OwnerRefusal::UnknownChip));
    assert!(story.enrol(chip(2)).is_ok());
}

#[test]
fn a_chip_is_on_the_list_of_one_tenant_and_the_other_does_not_learn_whose() {
    let mut story = Story::begin();
    assert_eq!(story.list(vec![by_key("acme", 1)]), [ListOutcome::Accepted]);
    assert_eq!(story.list(vec![by_key("acme", 1)]), [ListOutcome::Duplicate]);
    let named = Listed { name: Some(id("north")), ..by_key("acme", 1) };
    assert_eq!(story.list(vec![named]), [ListOutcome::Updated]);
    assert_eq!(story.list(vec![by_key("globex", 1)]), [ListOutcome::Taken]);
    // Nor one that is enrolled elsewhere.
    let code = story.claim("acme", false);
    story.enrol(claiming(2, &code)).expect("enrolled");
    assert_eq!(story.list(vec![by_key("globex", 2)]), [ListOutcome::Taken]);
    assert_eq!(story.owner(&chip(1)).expect("owned").0, "acme");
    // Nobody takes a chip off another's list.
    let foreign = Unlist { tenant: id("globex"), chip: by_key("acme", 1).chip };
    assert!(story.registry.unlist(&foreign, &mut story.effects).is_err());
    let own = Unlist { tenant: id("acme"), ..foreign };
    story.registry.unlist(&own, &mut story.effects).expect("removed");
    story.restart();
    assert_eq!(story.owner(&chip(1)), Err(OwnerRefusal::UnknownChip));
}

#[test]
fn a_claim_in_the_hand_outweighs_another_tenants_list() {
    let mut story = Story::begin();
    story.list(vec![by_certificate("globex", 1)]);
    let code = story.claim("acme", false);
    assert_eq!(story.owner(&claiming(1, &code)), Ok(("acme".to_owned(), Title::Claimed)));
    assert_eq!(story.owner(&chip(1)).expect("owned").0, "globex");
    // A claim that was used up long ago does not keep a listed chip out.
    story.enrol(claiming(2, &code)).expect("enrolled");
    assert_eq!(story.owner(&claiming(1, &code)).expect("owned").0, "globex");
}

#[test]
fn of_two_lists_that_name_one_chip_differently_the_first_holds() {
    let mut story = Story::begin();
    story.list(vec![by_certificate("acme", 1)]);
    story.list(vec![Listed { listed_at_s: NOW_S + 1, ..by_key("globex", 1) }]);
    assert_eq!(story.owner(&chip(1)).expect("owned").0, "acme");
}

#[test]
fn a_listed_chip_in_another_model_or_class_is_refused() {
    let mut story = Story::begin();
    story.list(vec![Listed { model: Some("valve".to_owned()), ..by_key("acme", 1) }]);
    assert_eq!(story.owner(&chip(1)), Err(OwnerRefusal::ListedModelMismatch));
    story.list(vec![by_key("acme", 2)]);
    let simulated = FindOwner { class: Some(TpmClass::Simulated), ..chip(2) };
    assert_eq!(story.owner(&simulated), Err(OwnerRefusal::ClassNotAllowed(TpmClass::Simulated)));
    let hardware = AcceptedClasses { hardware: false, ..AcceptedClasses::REAL };
    story.policy(|policy| policy.classes = Some(hardware));
    assert_eq!(story.owner(&chip(2)), Err(OwnerRefusal::ClassNotAllowed(TpmClass::Hardware)));
}

#[test]
fn a_chip_without_a_certificate_enrols_only_if_its_key_is_listed_with_a_class() {
    let bare = |number| FindOwner { class: None, shown: Shown::default(), ..chip(number) };
    let mut story = Story::begin();
    let code = story.claim("acme", false);
    // A claim says who wants it, and nobody says what it is.
    let claiming = FindOwner { claim: Some(code.to_string()), ..bare(1) };
    assert_eq!(story.owner(&claiming), Err(OwnerRefusal::NotEndorsed));
    story.list(vec![by_key("acme", 1)]);
    assert_eq!(story.owner(&bare(1)), Err(OwnerRefusal::NotEndorsed));
    story.list(vec![Listed { class: Some(TpmClass::Firmware), ..by_key("acme", 1) }]);
    let enrolled = story.enrol(bare(1)).expect("enrolled");
    assert_eq!(enrolled.device.tpm_class, TpmClass::Firmware);
    // A class does not make a simulated chip of one that has a certificate.
    let outcome = story.list(vec![Listed { class: Some(TpmClass::Hardware), ..by_certificate("acme", 2) }]);
    assert!(matches!(outcome.as_slice(), [ListOutcome::Malformed(_)]), "{outcome:?}");
}

#[test]
fn a_claim_that_is_to_be_approved_holds_its_device_over_restarts_until_a_person_decides() {
    let mut story = Story::begin();
    let code = story.claim("acme", true);
    let device = chip(1).device.to_string();
    assert_eq!(story.enrol(claiming(1, &code)), Err(OwnerRefusal::Held(HeldReason::Claim)));
    story.restart();
    assert_eq!(story.enrol(claiming(1, &code)), Err(OwnerRefusal::Held(HeldReason::Claim)));
    assert_eq!(story.held(), [(device, HeldReason::Claim, Decision::Waiting)]);
    // The claim is used up by it: nobody else waits with the same.
    assert_eq!(story.owner(&claiming(2, &code)), Err(OwnerRefusal::ClaimUsed));
    assert_eq!(story.decide(1, true), Ok(Decision::Approved));
    // The claim may have ended while a person thought about it.
    story.now_s += 4_000;
    story.restart();
    story.enrol(claiming(1, &code)).expect("enrolled");
    assert_eq!(story.held(), []);
    story.restart();
    assert_eq!(story.held(), []);
}

#[test]
fn a_denied_device_is_refused_until_somebody_thinks_better_of_it() {
    let mut story = Story::begin();
    story.policy(|policy| policy.approve_claims = Some(true));
    let code = story.claim("acme", false);
    assert!(story.enrol(claiming(1, &code)).is_err());
    assert_eq!(story.decide(1, false), Ok(Decision::Denied));
    story.restart();
    assert_eq!(story.owner(&claiming(1, &code)), Err(OwnerRefusal::Denied));
    assert_eq!(story.decide(1, true), Ok(Decision::Approved));
    assert!(story.enrol(claiming(1, &code)).is_ok());
    assert!(matches!(story.decide(1, true), Err(Refusal::NotHeld { .. })));
}

#[test]
fn a_second_chip_that_claims_a_known_serial_number_is_held_and_the_first_goes_on() {
    let mut story = Story::begin();
    story.list(vec![by_key("acme", 1), by_key("acme", 2)]);
    story.enrol(numbered(chip(1), "PMP-17")).expect("enrolled");
    let held = story.enrol(numbered(chip(2), "PMP-17"));
    let Err(OwnerRefusal::Held(HeldReason::Identity { holder, claims })) = held else { panic!("{held:?}") };
    assert_eq!(holder, Some(chip(1).device));
    assert!(claims.contains("PMP-17"), "{claims}");
    assert_eq!(story.alarms(), [(AlarmKind::IdentityHeld, chip(2).device)]);
    // The first is what it was, also when it enrols again.
    story.restart();
    story.enrol(numbered(chip(1), "PMP-17")).expect("enrolled again");
    assert!(story.enrol(numbered(chip(2), "PMP-17")).is_err());
    // The same number in another tenant is nobody's business.
    let code = story.claim("globex", false);
    story.enrol(numbered(claiming(3, &code), "PMP-17")).expect("enrolled");
    // A person decides that the second is now that device.
    assert_eq!(story.decide(2, true), Ok(Decision::Approved));
    story.enrol(numbered(chip(2), "PMP-17")).expect("enrolled");
    let (first, second) = (chip(1).device, chip(2).device);
    assert_eq!(story.registry.admissions.profile(&first).expect("known").serial_number, None);
    assert!(story.registry.admissions.profile(&second).expect("known").serial_number.is_some());
    assert!(story.enrol(numbered(chip(1), "PMP-17")).is_err(), "and the first is the second now");
}

#[test]
fn an_approval_of_one_serial_number_is_none_of_the_next() {
    let mut story = Story::begin();
    story.list(vec![by_key("acme", 1), by_key("acme", 2), by_key("acme", 3)]);
    story.enrol(numbered(chip(1), "PMP-17")).expect("enrolled");
    story.enrol(numbered(chip(2), "PMP-18")).expect("enrolled");
    assert!(story.enrol(numbered(chip(3), "PMP-17")).is_err());
    story.decide(3, true).expect("approved");
    assert!(story.enrol(numbered(chip(3), "PMP-18")).is_err());
    assert!(story.held().iter().all(|(_, _, decision)| *decision == Decision::Waiting), "{:?}", story.held());
    // Nor is one of a claim: whoever was approved as one device does not enrol as the next.
    let code = story.claim("acme", true);
    assert!(story.enrol(numbered(claiming(4, &code), "PMP-40")).is_err());
    story.decide(4, true).expect("approved");
    assert!(story.enrol(numbered(claiming(4, &code), "PMP-41")).is_err());
    story.decide(4, true).expect("approved");
    assert!(story.enrol(numbered(claiming(4, &code), "PMP-41")).is_ok());
}

#[test]
fn a_chip_that_is_listed_for_one_device_and_says_it_is_another_is_held() {
    let mut story = Story::begin();
    let mac = Mac([2, 0, 0, 0, 0, 1]);
    let bound = Listed { serial_number: Some("PMP-17".to_owned()), mac: Some(mac), ..by_key("acme", 1) };
    story.list(vec![bound, by_key("acme", 2)]);
    assert!(matches!(story.enrol(numbered(chip(1), "PMP-99")), Err(OwnerRefusal::Held(_))));
    // Another chip takes no identity that is bound, even before its owner has come.
    let thief = story.enrol(numbered(chip(2), "PMP-17"));
    let Err(OwnerRefusal::Held(HeldReason::Identity { holder, .. })) = thief else { panic!("{thief:?}") };
    assert_eq!(holder, Some(chip(1).device));
    story.enrol(numbered(chip(1), "PMP-17")).expect("what it is listed as");
    let profile = story.registry.admissions.profile(&chip(1).device).expect("known");
    assert_eq!((profile.serial_number.as_deref(), profile.mac), (Some("PMP-17"), Some(mac)));
}

#[test]
fn a_name_is_given_to_one_chip_of_a_tenant() {
    let mut story = Story::begin();
    let north = |tenant, number| Listed { name: Some(id("north")), ..by_key(tenant, number) };
    assert_eq!(story.list(vec![north("acme", 1)]), [ListOutcome::Accepted]);
    assert_eq!(story.list(vec![north("acme", 2)]), [ListOutcome::Conflict(Identity::Name(id("north")))]);
    assert_eq!(story.list(vec![north("globex", 2)]), [ListOutcome::Accepted]);
    story.enrol(chip(1)).expect("enrolled");
    let profile = story.registry.admissions.profile(&chip(1).device).expect("known");
    assert_eq!(profile.name, Some(id("north")));
}

#[test]
fn a_retired_device_keeps_no_identity_from_its_successor() {
    let mut story = Story::begin();
    story.list(vec![by_key("acme", 1), by_key("acme", 2)]);
    story.enrol(numbered(chip(1), "PMP-17")).expect("enrolled");
    story.registry.devices.get_mut(&chip(1).device).expect("known").state = State::Retired;
    story.enrol(numbered(chip(2), "PMP-17")).expect("enrolled");
}

#[test]
fn a_released_chip_is_off_the_list_too_and_does_not_come_back_by_itself() {
    let mut story = Story::begin();
    let bound = Listed { serial_number: Some("PMP-17".to_owned()), ..by_certificate("acme", 1) };
    story.list(vec![bound, by_key("acme", 2)]);
    story.enrol(chip(1)).expect("enrolled");
    story.change(1, DeviceChange::Release);
    story.restart();
    assert_eq!(story.owner(&chip(1)), Err(OwnerRefusal::UnknownChip));
    // What it was belongs to nobody.
    story.enrol(numbered(chip(2), "PMP-17")).expect("enrolled");
    let code = story.claim("globex", false);
    assert_eq!(story.owner(&claiming(1, &code)).expect("owned").0, "globex");
}

#[test]
fn a_device_that_comes_in_the_place_of_another_gets_its_name_and_number() {
    let mut story = Story::begin();
    story.list(vec![Listed { name: Some(id("north")), ..by_key("acme", 1) }]);
    story.enrol(numbered(chip(1), "PMP-17")).expect("enrolled");
    story.change(1, DeviceChange::Replace { with: chip(2).ek_hash });
    story.enrol(numbered(chip(2), "PMP-17")).expect("enrolled in its place");
    story.restart();
    let profile = |number| story.registry.admissions.profile(&chip(number).device).expect("known");
    assert_eq!((profile(1).name.clone(), profile(2).name.clone()), (None, Some(id("north"))));
    assert_eq!(profile(2).serial_number.as_deref(), Some("PMP-17"));
}

#[test]
fn measurements_are_judged_by_the_tenants_policy() {
    let mut story = Story::begin();
    story.list(vec![by_key("acme", 1), by_key("acme", 2)]);
    let (known, other) = (registers(&[(7, 1), (9, 1)]), registers(&[(7, 1), (9, 2)]));
    story.policy(|policy| policy.registers = Some(vec![7, 9]));
    let off = story.enrol_measured(chip(1), known.clone()).expect("enrolled");
    assert_eq!(off.verdict, Verdict::Unjudged);
    story.policy(|policy| policy.measurements = Some(MeasurementMode::Monitor));
    let monitored = story.enrol_measured(chip(1), known.clone()).expect("enrolled");
    assert_eq!(monitored.verdict, Verdict::Unknown);
    assert_eq!(story.alarms(), [(AlarmKind::UnknownMeasurements, chip(1).device)]);
    story.accept_of(1, "release 5").expect("accepted");
    let accepted = story.enrol_measured(chip(1), known.clone()).expect("enrolled");
    assert_eq!(accepted.verdict, Verdict::Accepted("release 5".to_owned()));
    story.policy(|policy| policy.measurements = Some(MeasurementMode::Enforce));
    story.restart();
    assert!(story.enrol_measured(chip(2), known.clone()).is_ok());
    let refused = story.enrol_measured(chip(1), other.clone());
    assert_eq!(refused, Err(OwnerRefusal::UnacceptedMeasurements(vec![7, 9])));
    // A renewal is an attestation too, and what it measured is kept.
    assert!(story.renew(1, known.clone()).is_ok());
    assert_eq!(story.renew(1, other), Err(Refusal::UnacceptedMeasurements(chip(1).device)));
    story.accept_of(1, "release 6").expect("what it measured last");
    assert!(story.renew(1, registers(&[(7, 1), (9, 2)])).is_ok());
    let remove = RemoveAccepted { tenant: id("acme"), label: "release 5".to_owned() };
    story.registry.remove_accepted(remove, &mut story.effects).expect("removed");
    story.restart();
    assert!(story.renew(1, known).is_err());
}

#[test]
fn a_device_that_is_refused_for_its_measurements_waits_in_sight_and_enrols_once_they_are_accepted() {
    let mut story = Story::begin();
    story.policy(|policy| policy.measurements = Some(MeasurementMode::Enforce));
    let code = story.claim("acme", false);
    assert!(matches!(story.enrol(claiming(1, &code)), Err(OwnerRefusal::UnacceptedMeasurements(_))));
    story.restart();
    assert_eq!(story.held().len(), 1);
    // To approve the device is no answer to the question.
    assert!(matches!(story.decide(1, true), Err(Refusal::MeasurementsHold(_))));
    story.accept_of(1, "first").expect("accepted");
    story.enrol(claiming(1, &code)).expect("enrolled");
    assert_eq!(story.held(), []);
}

#[test]
fn accepted_measurements_do_not_count_in_part() {
    let mut story = Story::begin();
    story.list(vec![by_key("acme", 1)]);
    story.policy(|policy| {
        policy.registers = Some(vec![0, 7, 9]);
        policy.measurements = Some(MeasurementMode::Enforce);
    });
    let accept = |story: &mut Story, label: &str, values| {
        let source = Source::Values(registers(values));
        let command = Accept { tenant: id("acme"), label: label.to_owned(), source };
        story.registry.accept(NOW_S, command, &mut story.effects).expect("accepted");
    };
    accept(&mut story, "firmware", &[(0, 1), (7, 1)]);
    accept(&mut story, "software", &[(9, 3)]);
    accept(&mut story, "other board", &[(0, 2), (7, 2), (9, 4)]);
    let mut verdict = |values| story.enrol_measured(chip(1), registers(values)).map(|done| done.verdict);
    assert_eq!(verdict(&[(0, 1), (7, 1), (9, 3)]), Ok(Verdict::Accepted("firmware, software".to_owned())));
    assert!(verdict(&[(0, 1), (7, 1), (9, 4)]).is_err(), "the other board's software on this firmware");
    assert!(verdict(&[(0, 1), (7, 2), (9, 3)]).is_err());
    assert!(verdict(&[(0, 1), (7, 1)]).is_err(), "a register that was not quoted");
}

#[test]
fn a_label_names_one_tenants_measurements() {
    let mut story = Story::begin();
    story.list(vec![by_key("acme", 1)]);
    story.enrol(chip(1)).expect("enrolled");
    let source = Source::Device(chip(1).device, None);
    let foreign = Accept { tenant: id("globex"), label: "x".to_owned(), source: source.clone() };
    let refused = story.registry.accept(NOW_S, foreign, &mut story.effects);
    assert!(matches!(refused, Err(Refusal::DeviceUnknown { .. })), "{refused:?}");
    for label in ["", "a\nb", &"x".repeat(65)] {
        let wrong = Accept { tenant: id("acme"), label: label.to_owned(), source: source.clone() };
        assert_eq!(story.registry.accept(NOW_S, wrong, &mut story.effects), Err(Refusal::Label));
    }
}

#[test]
fn only_registers_that_begin_at_zero_are_named() {
    let mut story = Story::begin();
    for wrong in [vec![], vec![7, 0], vec![7, 7], vec![17], vec![24]] {
        let command = SetPolicy {
            tenant: id("acme"),
            classes: None,
            approve_claims: None,
            measurements: None,
            registers: Some(wrong),
        };
        assert_eq!(story.registry.set_policy(command, &mut story.effects), Err(Refusal::Registers));
    }
}

#[test]
fn held_devices_are_bounded_and_make_room_when_they_did_not_come_for_long() {
    let mut story = Story::begin();
    story.policy(|policy| policy.measurements = Some(MeasurementMode::Enforce));
    let rows = (0..=HELD_PER_TENANT_MAX).map(|n| by_key("acme", u16::try_from(n).expect("small"))).collect();
    story.list(rows);
    for number in 0..HELD_PER_TENANT_MAX {
        assert!(story.enrol(chip(u16::try_from(number).expect("small"))).is_err());
    }
    let last = u16::try_from(HELD_PER_TENANT_MAX).expect("small");
    assert!(matches!(story.enrol(chip(last)), Err(OwnerRefusal::Unavailable(Refusal::Full(_)))));
    story.now_s += HELD_KEPT_S + 1;
    assert!(matches!(story.enrol(chip(last)), Err(OwnerRefusal::UnacceptedMeasurements(_))));
    assert_eq!(story.held().len(), 1);
}

#[test]
fn a_revoked_claim_is_worth_nothing_and_other_tenants_claims_are_out_of_sight() {
    let mut story = Story::begin();
    let (code, foreign) = (story.claim("acme", false), story.claim("globex", false));
    let claims = story.registry.list_claims(&id("acme")).expect("known");
    assert_eq!(claims.len(), 1);
    let globex = story.registry.list_claims(&id("globex")).expect("known");
    let revoke = RevokeClaim { tenant: id("acme"), id: claim_id(&globex[0]) };
    assert!(story.registry.revoke_claim(&revoke, &mut story.effects).is_err());
    let revoke = RevokeClaim { id: claim_id(&claims[0]), ..revoke };
    story.registry.revoke_claim(&revoke, &mut story.effects).expect("revoked");
    story.restart();
    assert_eq!(story.owner(&claiming(1, &code)), Err(OwnerRefusal::ClaimUnknown));
    assert!(story.owner(&claiming(1, &foreign)).is_ok());
}
