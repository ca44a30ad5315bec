use super::*;
use crate::{
    authority::{Leaf, Role, Serial},
    registry::{
        admissions::row::Registers,
        life::QuoteFacts,
        message::{Admit, AdmitReason, AdmitRefusal, Admitted, Shown},
        row::Certificate,
    },
};
use muster_tpm::endorsement::TpmClass;

const NOW_S: u64 = 1_760_000_000;
const WEEK_S: u64 = 7 * 86_400;

/// A registry with the tenant acme, and everything it wrote so far.
struct Story {
    registry: Registry,
    effects: Vec<Effect>,
    claims: u8,
}

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("well formed")
}

fn serial(number: u8) -> Serial {
    Serial::from([number; 16])
}

fn certificate(number: u8) -> Certificate {
    Certificate { serial: serial(number), spki_sha256: [number; 32], not_after_s: NOW_S + WEEK_S }
}

fn chip(name: &str, claim: Option<&ClaimCode>) -> FindOwner {
    let first = name.as_bytes()[0];
    FindOwner {
        ek_hash: [first; 32],
        device: id(name),
        class: Some(TpmClass::Hardware),
        model: "pump".to_owned(),
        claim: claim.map(ClaimCode::to_string),
        shown: Shown::default(),
    }
}

fn leaf(tenant: &str, kind: &str, name: &str, number: u8) -> Leaf {
    Leaf {
        principal: id(&format!("spiffe://muster.example/t/{tenant}/{kind}/{name}")),
        serial: serial(number),
        spki_sha256: [number; 32],
        not_before_s: NOW_S - 300,
        not_after_s: NOW_S + WEEK_S,
        authority: if kind == "device" { Role::Device } else { Role::Client },
        server_names: Vec::new(),
    }
}

fn why(refused: Result<Admitted, AdmitRefusal>) -> AdmitReason {
    refused.expect_err("not admitted").reason
}

impl Story {
    fn begin() -> Self {
        let mut story = Self { registry: Registry::default(), effects: Vec::new(), claims: 0 };
        story.tenant("acme");
        story
    }

    fn tenant(&mut self, name: &str) -> Tenant {
        let command = CreateTenant { tenant: id(name), accept_simulated_tpms: false };
        self.registry.create_tenant(NOW_S, command, &mut self.effects).expect("created")
    }

    fn claim(&mut self, tenant: &str, model: Option<&str>) -> ClaimCode {
        self.claims += 1;
        let command = CreateClaim {
            tenant: id(tenant),
            model: model.map(str::to_owned),
            expires_in_s: 3_600,
            approve: false,
        };
        let created = self.registry.create_claim(NOW_S, command, [self.claims; 16], &mut self.effects);
        created.expect("created").code
    }

    fn enrol(&mut self, chip: FindOwner, tenant: &str, number: u8) -> Result<Enrolled, OwnerRefusal> {
        let command = Enrol {
            chip,
            tenant: id(tenant),
            ak_public: vec![1],
            ak_name: vec![2],
            certificate: certificate(number),
            reset_count: 3,
            clock_ms: 4,
            agent_version: "0.1.0".to_owned(),
            quote: QuoteFacts::default(),
            measured: Registers::default(),
        };
        self.registry.enrol(NOW_S, command, &mut self.effects)
    }

    fn renew(&mut self, device: &str, presented: u8, number: u8) -> Result<Device, Refusal> {
        let command = Renewed {
            tenant: id("acme"),
            device: id(device),
            presented: serial(presented),
            certificate: certificate(number),
            reset_count: 5,
            clock_ms: 6,
            agent_version: "0.2.0".to_owned(),
            quote: QuoteFacts::default(),
            measured: Registers::default(),
        };
        self.registry.renewed(NOW_S, command, &mut self.effects)
    }

    fn admit(&mut self, facts: Leaf) -> Result<Admitted, AdmitRefusal> {
        self.registry.admit(NOW_S, Admit(facts), &mut self.effects)
    }

    /// Changes a row as an operator will be able to.
    fn change(&mut self, device: &str, change: impl FnOnce(&mut Device)) {
        let mut row = self.registry.devices.get(&id::<DeviceId>(device)).expect("known").clone();
        change(&mut row);
        self.registry.insert(Row::Device(row));
    }

    fn suspend(&mut self, tenant: &str) {
        self.registry.tenants.get_mut(&id::<TenantId>(tenant)).expect("known").state = State::Suspended;
    }

    /// The registry that a restart would load from what was written.
    fn restarted(&self) -> Registry {
        let mut rows = BTreeMap::new();
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
        Registry::load(rows.into_values())
    }
}

#[test]
fn a_tenant_is_created_once_with_its_key() {
    let mut story = Story::begin();
    assert_eq!(story.effects[0], Effect::CreateTenantKey(id("acme")));
    let again = CreateTenant { tenant: id("acme"), accept_simulated_tpms: true };
    let refused = story.registry.create_tenant(NOW_S, again, &mut story.effects);
    assert_eq!(refused, Err(Refusal::TenantExists(id("acme"))));
    assert_eq!(story.effects.len(), 2, "a refusal writes nothing");
}

#[test]
fn the_name_of_the_hub_itself_is_no_tenant() {
    let command = CreateTenant { tenant: id("operator"), accept_simulated_tpms: false };
    let refused = Registry::default().create_tenant(NOW_S, command, &mut Vec::new());
    assert_eq!(refused, Err(Refusal::TenantReserved(id("operator"))));
}

#[test]
fn a_chip_with_a_claim_enrols_and_is_admitted() {
    let mut story = Story::begin();
    let code = story.claim("acme", None);
    let enrolled = story.enrol(chip("aa", Some(&code)), "acme", 1).expect("enrolled");
    assert_eq!(enrolled.revoked, None);
    let admitted = story.admit(leaf("acme", "device", "aa", 1)).expect("admitted");
    assert_eq!(admitted.tenant, id("acme"));
}

#[test]
fn the_claim_and_the_device_are_written_together() {
    let mut story = Story::begin();
    let code = story.claim("acme", None);
    story.effects.clear();
    story.enrol(chip("aa", Some(&code)), "acme", 1).expect("enrolled");
    let [Effect::Put(Row::Profile(_)), Effect::Put(Row::Claim(claim)), Effect::Put(Row::Device(device))] =
        &story.effects[..]
    else {
        panic!("wrote {:?}", story.effects);
    };
    assert_eq!(claim.used_by.as_ref(), Some(&device.id));
}

#[test]
fn the_code_of_a_claim_is_not_stored() {
    let mut story = Story::begin();
    let code = story.claim("acme", None);
    let text = code.to_string().replace('-', "");
    for effect in &story.effects {
        if let Effect::Put(row) = effect {
            let stored = String::from_utf8(row.encode().expect("encodes")).expect("json");
            assert!(!stored.contains(&text) && !stored.contains("01010101010101"));
        }
    }
}

#[test]
fn a_used_claim_serves_the_same_chip_again_and_no_other() {
    let mut story = Story::begin();
    let code = story.claim("acme", None);
    story.enrol(chip("aa", Some(&code)), "acme", 1).expect("enrolled");
    // The reply was lost: the device asks again with the same claim.
    let again = story.enrol(chip("aa", Some(&code)), "acme", 2).expect("enrolled again");
    assert_eq!(again.revoked, Some(serial(1)));
    assert_eq!(story.enrol(chip("bb", Some(&code)), "acme", 3), Err(OwnerRefusal::ClaimUsed));
    assert_eq!(why(story.admit(leaf("acme", "device", "aa", 1))), AdmitReason::NotCurrent);
    assert!(story.admit(leaf("acme", "device", "aa", 2)).is_ok());
}

#[test]
fn of_two_chips_that_were_challenged_with_one_claim_one_enrols() {
    let mut story = Story::begin();
    let code = story.claim("acme", None);
    for name in ["aa", "bb"] {
        assert!(story.registry.find_owner(NOW_S, &chip(name, Some(&code))).is_ok());
    }
    assert!(story.enrol(chip("aa", Some(&code)), "acme", 1).is_ok());
    assert_eq!(story.enrol(chip("bb", Some(&code)), "acme", 2), Err(OwnerRefusal::ClaimUsed));
}

#[test]
fn every_reason_to_refuse_a_claim_has_its_name() {
    let mut story = Story::begin();
    let code = story.claim("acme", Some("pump"));
    let find = |story: &Story, now_s, chip: FindOwner| story.registry.find_owner(now_s, &chip);
    assert_eq!(find(&story, NOW_S, chip("aa", None)), Err(OwnerRefusal::UnknownChip));
    let other = ClaimCode::new([0xee; 16]);
    assert_eq!(find(&story, NOW_S, chip("aa", Some(&other))), Err(OwnerRefusal::ClaimUnknown));
    let mistyped = FindOwner { claim: Some("hello".to_owned()), ..chip("aa", None) };
    assert_eq!(find(&story, NOW_S, mistyped), Err(OwnerRefusal::ClaimUnknown));
    let late = NOW_S + 3_601;
    assert_eq!(find(&story, late, chip("aa", Some(&code))), Err(OwnerRefusal::ClaimExpired));
    let valve = FindOwner { model: "valve".to_owned(), ..chip("aa", Some(&code)) };
    assert_eq!(find(&story, NOW_S, valve), Err(OwnerRefusal::ClaimModelMismatch));
    let simulated = FindOwner { class: Some(TpmClass::Simulated), ..chip("aa", Some(&code)) };
    let refused = Err(OwnerRefusal::ClassNotAllowed(TpmClass::Simulated));
    assert_eq!(find(&story, NOW_S, simulated), refused);
    story.suspend("acme");
    assert_eq!(find(&story, NOW_S, chip("aa", Some(&code))), Err(OwnerRefusal::TenantSuspended));
}

#[test]
fn a_known_chip_needs_no_claim_and_a_claim_does_not_move_it() {
    let mut story = Story::begin();
    story.tenant("globex");
    let code = story.claim("acme", None);
    story.enrol(chip("aa", Some(&code)), "acme", 1).expect("enrolled");
    let theirs = story.claim("globex", None);
    let owner = story.registry.find_owner(NOW_S, &chip("aa", Some(&theirs))).expect("owned");
    assert_eq!((owner.tenant, owner.title), (id("acme"), Title::Enrolled));
    assert_eq!(story.enrol(chip("aa", Some(&theirs)), "globex", 2), Err(OwnerRefusal::OwnerChanged));
    assert!(story.enrol(chip("bb", Some(&theirs)), "globex", 3).is_ok(), "the claim was not used up");
}

#[test]
fn another_chip_never_takes_over_a_device_row() {
    let mut story = Story::begin();
    let code = story.claim("acme", None);
    story.enrol(chip("aa", Some(&code)), "acme", 1).expect("enrolled");
    let fresh = story.claim("acme", None);
    let impostor = FindOwner { ek_hash: [0xff; 32], ..chip("aa", Some(&fresh)) };
    assert_eq!(story.enrol(impostor, "acme", 2), Err(OwnerRefusal::UnknownChip));
}

#[test]
fn a_retired_or_suspended_chip_does_not_enrol() {
    let mut story = Story::begin();
    let code = story.claim("acme", None);
    story.enrol(chip("aa", Some(&code)), "acme", 1).expect("enrolled");
    for state in [State::Suspended, State::Retired] {
        story.change("aa", |row| row.state = state);
        let fresh = story.claim("acme", None);
        let refused = story.registry.find_owner(NOW_S, &chip("aa", Some(&fresh)));
        assert_eq!(refused, Err(OwnerRefusal::DeviceNotActive(state)));
        assert!(story.admit(leaf("acme", "device", "aa", 1)).is_err());
    }
}

#[test]
fn a_cleared_chip_shows_in_its_enrolment() {
    let mut story = Story::begin();
    let code = story.claim("acme", None);
    assert!(!story.enrol(chip("aa", Some(&code)), "acme", 1).expect("enrolled").key_replaced);
    assert!(story.enrol(chip("aa", None), "acme", 2).expect("enrolled").key_replaced);
}

#[test]
fn the_old_certificate_is_good_until_the_renewed_one_has_connected() {
    let mut story = Story::begin();
    let code = story.claim("acme", None);
    story.enrol(chip("aa", Some(&code)), "acme", 1).expect("enrolled");
    let renewed = story.renew("aa", 1, 2).expect("renewed");
    assert_eq!((renewed.reset_count, renewed.agent_version.as_str()), (5, "0.2.0"));
    assert!(story.admit(leaf("acme", "device", "aa", 1)).is_ok());
    story.effects.clear();
    assert!(story.admit(leaf("acme", "device", "aa", 2)).is_ok());
    assert_eq!(story.effects.len(), 1, "that the old one ended is written");
    assert_eq!(why(story.admit(leaf("acme", "device", "aa", 1))), AdmitReason::NotCurrent);
    assert!(story.admit(leaf("acme", "device", "aa", 2)).is_ok());
    assert_eq!(story.effects.len(), 1, "and written once");
}

#[test]
fn a_renewal_whose_reply_was_lost_is_asked_for_again_with_the_old_certificate() {
    let mut story = Story::begin();
    let code = story.claim("acme", None);
    story.enrol(chip("aa", Some(&code)), "acme", 1).expect("enrolled");
    story.renew("aa", 1, 2).expect("renewed");
    story.renew("aa", 1, 3).expect("renewed again");
    assert_eq!(why(story.admit(leaf("acme", "device", "aa", 2))), AdmitReason::NotCurrent);
    assert!(story.admit(leaf("acme", "device", "aa", 1)).is_ok());
    assert!(story.admit(leaf("acme", "device", "aa", 3)).is_ok());
    assert_eq!(story.renew("aa", 1, 4), Err(Refusal::NotItsCertificate));
}

#[test]
fn every_reason_not_to_admit_has_its_name() {
    let mut story = Story::begin();
    story.tenant("globex");
    let code = story.claim("acme", None);
    story.enrol(chip("aa", Some(&code)), "acme", 1).expect("enrolled");
    assert_eq!(why(story.admit(leaf("nobody", "device", "aa", 1))), AdmitReason::TenantUnknown);
    assert_eq!(why(story.admit(leaf("globex", "device", "aa", 1))), AdmitReason::Unknown);
    assert_eq!(why(story.admit(leaf("acme", "device", "bb", 1))), AdmitReason::Unknown);
    assert_eq!(why(story.admit(leaf("acme", "app", "aa", 1))), AdmitReason::Unknown);
    assert_eq!(why(story.admit(leaf("acme", "relay", "aa", 1))), AdmitReason::Kind);
    assert_eq!(why(story.admit(leaf("acme", "device", "aa", 9))), AdmitReason::NotCurrent);
    let other_key = Leaf { spki_sha256: [9; 32], ..leaf("acme", "device", "aa", 1) };
    assert_eq!(why(story.admit(other_key)), AdmitReason::NotCurrent);
    let ended = Leaf { not_after_s: NOW_S - 1, ..leaf("acme", "device", "aa", 1) };
    assert_eq!(why(story.admit(ended)), AdmitReason::Expired);
    story.change("aa", |row| row.state = State::Retired);
    assert_eq!(why(story.admit(leaf("acme", "device", "aa", 1))), AdmitReason::Retired);
    story.suspend("acme");
    assert_eq!(why(story.admit(leaf("acme", "device", "aa", 1))), AdmitReason::TenantSuspended);
}

#[test]
fn an_app_is_registered_once_unless_it_is_replaced_on_purpose() {
    let mut story = Story::begin();
    let register = |story: &mut Story, tenant: &str, kind, number, replace| {
        let certificate = certificate(number);
        let command = RegisterClient { tenant: id(tenant), kind, id: id("viewer"), certificate, replace };
        story.registry.register_client(command, &mut story.effects)
    };
    assert!(register(&mut story, "acme", ClientKind::App, 1, false).is_ok());
    assert!(story.admit(leaf("acme", "app", "viewer", 1)).is_ok());
    let refused = register(&mut story, "acme", ClientKind::App, 2, false);
    assert!(matches!(refused, Err(Refusal::ClientExists { .. })));
    assert!(register(&mut story, "acme", ClientKind::App, 2, true).is_ok());
    assert_eq!(why(story.admit(leaf("acme", "app", "viewer", 1))), AdmitReason::NotCurrent);
    assert!(register(&mut story, "operator", ClientKind::User, 3, false).is_ok());
    let operator = story.admit(leaf("operator", "user", "viewer", 3)).expect("admitted");
    assert!(operator.principal.is_operator());
    let refused = register(&mut story, "operator", ClientKind::App, 4, false);
    assert_eq!(refused, Err(Refusal::TenantReserved(id("operator"))));
    let refused = register(&mut story, "globex", ClientKind::App, 4, false);
    assert_eq!(refused, Err(Refusal::TenantUnknown(id("globex"))));
}

#[test]
fn a_tenant_sees_its_own_devices_page_by_page() {
    let mut story = Story::begin();
    story.tenant("globex");
    for (number, (tenant, name)) in
        [("acme", "aa"), ("globex", "bb"), ("acme", "cc"), ("acme", "dd")].into_iter().enumerate()
    {
        let code = story.claim(tenant, None);
        let number = u8::try_from(number).expect("few") + 1;
        story.enrol(chip(name, Some(&code)), tenant, number).expect("enrolled");
    }
    let page = |after: Option<&str>| {
        let command = ListDevices { tenant: id("acme"), after: after.map(id), limit: 2 };
        let devices = story.registry.list_devices(&command).expect("known");
        devices.iter().map(|device| device.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(page(None), ["aa", "cc"]);
    assert_eq!(page(Some("cc")), ["dd"]);
    assert_eq!(page(Some("dd")), [""; 0]);
    let theirs = ShowDevice { tenant: id("acme"), device: id("bb") };
    assert!(story.registry.show_device(&theirs).is_err(), "not even that it exists");
}

#[test]
fn claims_make_room_long_after_they_ended() {
    let mut story = Story::begin();
    let code = story.claim("acme", None);
    story.effects.clear();
    let command =
        CreateClaim { tenant: id("acme"), model: None, expires_in_s: CLAIM_LIFE_S_MIN, approve: false };
    let later_s = NOW_S + 3_600 + CLAIM_KEPT_S + 1;
    story.registry.create_claim(later_s, command, [0xcc; 16], &mut story.effects).expect("created");
    assert!(matches!(story.effects[..], [Effect::Delete(_), Effect::Put(Row::Claim(_))]));
    let refused = story.registry.find_owner(later_s, &chip("aa", Some(&code)));
    assert_eq!(refused, Err(OwnerRefusal::ClaimUnknown));
}

#[test]
fn a_claim_lives_between_its_bounds() {
    let mut story = Story::begin();
    for expires_in_s in [0, CLAIM_LIFE_S_MIN - 1, CLAIM_LIFE_S_MAX + 1, u64::MAX] {
        let command = CreateClaim { tenant: id("acme"), model: None, expires_in_s, approve: false };
        let refused = story.registry.create_claim(NOW_S, command, [1; 16], &mut story.effects);
        assert_eq!(refused, Err(Refusal::ClaimLife(expires_in_s)));
    }
}

#[test]
fn what_was_written_is_what_a_restart_knows() {
    let mut story = Story::begin();
    let code = story.claim("acme", None);
    story.enrol(chip("aa", Some(&code)), "acme", 1).expect("enrolled");
    story.renew("aa", 1, 2).expect("renewed");
    story.admit(leaf("acme", "device", "aa", 2)).expect("admitted");
    let restarted = story.restarted();
    assert_eq!(restarted.tenants, story.registry.tenants);
    assert_eq!(restarted.devices, story.registry.devices);
    assert_eq!(restarted.fleets, story.registry.fleets);
    assert_eq!(restarted.claims, story.registry.claims);
}
