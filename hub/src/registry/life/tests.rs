use std::collections::{BTreeMap, BTreeSet};

use muster_tpm::{endorsement::TpmClass, verifier::device_id};
use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    authority::{Leaf, Serial},
    registry::{
        AlarmKind,
        admissions::row::Registers,
        core::{Effect, Registry},
        message::{
            Admit, AdmitReason, Admitted, CreateClaim, CreateTenant, Enrol, Enrolled, FindOwner,
            OwnerRefusal, Renewed, Shown,
        },
        row::{Row, State},
    },
};

const NOW_S: u64 = 1_760_000_000;
const WEEK_S: u64 = 7 * 86_400;
const TENANTS: [&str; 2] = ["acme", "globex"];

/// A registry with two tenants, and some chips that want something of it.
struct Story {
    registry: Registry,
    effects: Vec<Effect>,
    now_s: u64,
    serials: u8,
}

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("well formed")
}

fn ek(chip: u8) -> [u8; 32] {
    [chip; 32]
}

fn name(chip: u8) -> DeviceId {
    device_id(&ek(chip))
}

impl Story {
    fn begin() -> Self {
        let registry = Registry::default().of(id("muster.example"));
        let mut story = Self { registry, effects: Vec::new(), now_s: NOW_S, serials: 0 };
        for tenant in TENANTS {
            let command = CreateTenant { tenant: id(tenant), accept_simulated_tpms: true };
            story.registry.create_tenant(NOW_S, command, &mut story.effects).expect("created");
        }
        story
    }

    fn claim(&mut self, tenant: &str) -> String {
        self.serials += 1;
        let command = CreateClaim { tenant: id(tenant), model: None, expires_in_s: 3_600, approve: false };
        let made = self.registry.create_claim(self.now_s, command, [self.serials; 16], &mut self.effects);
        made.expect("created").code.to_string()
    }

    fn chip(chip: u8, claim: Option<String>) -> FindOwner {
        let class = TpmClass::Simulated;
        FindOwner {
            ek_hash: ek(chip),
            device: name(chip),
            class: Some(class),
            model: "pump".to_owned(),
            claim,
            shown: Shown::default(),
        }
    }

    fn certificate(&mut self) -> Certificate {
        self.serials += 1;
        let not_after_s = self.now_s + WEEK_S;
        Certificate { serial: Serial::from([self.serials; 16]), spki_sha256: [self.serials; 32], not_after_s }
    }

    /// Enrols a chip that was started `boots` times, in the tenant that the registry names.
    fn enrol(&mut self, chip: u8, claim: Option<String>, boots: u32) -> Result<Enrolled, OwnerRefusal> {
        let chip = Self::chip(chip, claim);
        let tenant = self.registry.find_owner(self.now_s, &chip)?.tenant;
        let command = Enrol {
            chip,
            tenant,
            ak_public: vec![1],
            ak_name: vec![2],
            certificate: self.certificate(),
            reset_count: boots,
            clock_ms: 1_000,
            agent_version: "0.1.0".to_owned(),
            measured: Registers::default(),
            quote: QuoteFacts::default(),
        };
        self.registry.enrol(self.now_s, command, &mut self.effects)
    }

    fn enrolled(&mut self, chip: u8, tenant: &str) -> Device {
        let claim = self.claim(tenant);
        self.enrol(chip, Some(claim), 1).expect("enrolled").device
    }

    fn change(&mut self, tenant: &str, chip: u8, change: DeviceChange) -> Result<Changed, Refusal> {
        let by = ("spiffe://muster.example/t/operator/user/ada".to_owned(), true);
        let command =
            ChangeDevice { tenant: id(tenant), device: name(chip), change, by, why: "a test".to_owned() };
        self.registry.change_device(self.now_s, command, &mut self.effects)
    }

    fn admit(&mut self, device: &Device) -> Result<Admitted, AdmitReason> {
        let leaf = leaf(device);
        self.registry.admit(self.now_s, Admit(leaf), &mut self.effects).map_err(|refusal| refusal.reason)
    }

    fn precautions(&mut self, precautions: Precautions) {
        let command = ChangeTenant { tenant: id("acme"), active: None, precautions: Some(precautions) };
        self.registry.change_tenant(command, &mut self.effects).expect("changed");
    }

    fn alarms(&self) -> Vec<AlarmKind> {
        let told = |effect: &Effect| if let Effect::Tell(alarm) = effect { Some(alarm.kind) } else { None };
        self.effects.iter().filter_map(told).collect()
    }

    /// Whose sessions were closed, oldest first.
    fn ended(&self) -> Vec<Option<(Kind, DeviceId)>> {
        let ended =
            |effect: &Effect| if let Effect::End(ended) = effect { Some(ended.whom.clone()) } else { None };
        self.effects.iter().filter_map(ended).collect()
    }

    /// The registry that a restart would load from what was written.
    fn restarted(&self) -> Registry {
        let mut rows = BTreeMap::new();
        for effect in &self.effects {
            match effect {
                Effect::Put(row) => {
                    rows.insert(row.key(), Row::decode(&row.encode().expect("encodes")).expect("decodes"));
                }
                Effect::Delete(key) => {
                    rows.remove(key);
                }
                _ => {}
            }
        }
        Registry::load(rows.into_values()).of(id("muster.example"))
    }
}

fn leaf(device: &Device) -> Leaf {
    let uri = format!("spiffe://muster.example/t/{}/device/{}", device.tenant, device.id);
    Leaf {
        principal: id(&uri),
        serial: device.certificate.serial,
        spki_sha256: device.certificate.spki_sha256,
        not_before_s: NOW_S - 300,
        not_after_s: device.certificate.not_after_s,
        authority: Role::Device,
        server_names: Vec::new(),
    }
}

fn revoke() -> DeviceChange {
    DeviceChange::Revoke { reason: RevocationReason::KeyCompromise, compromised_since_s: Some(NOW_S - 60) }
}

#[test]
fn a_suspended_device_is_out_until_it_is_resumed_and_keeps_its_certificate() {
    let mut story = Story::begin();
    let device = story.enrolled(1, "acme");
    assert!(story.change("acme", 1, DeviceChange::Suspend).expect("suspended").changed);
    assert_eq!(story.ended(), [Some((Kind::Device, name(1)))]);
    assert_eq!(story.admit(&device), Err(AdmitReason::Suspended));
    assert!(!story.change("acme", 1, DeviceChange::Suspend).expect("the same").changed, "told twice");
    assert!(story.change("acme", 1, DeviceChange::Resume).expect("resumed").changed);
    story.admit(&device).expect("admitted");
    assert_eq!(story.registry.revocations().count(), 0);
}

#[test]
fn a_revoked_chip_does_not_enrol_again_and_its_certificate_stays_revoked() {
    let mut story = Story::begin();
    let device = story.enrolled(1, "acme");
    story.change("acme", 1, revoke()).expect("revoked");
    assert_eq!(story.admit(&device), Err(AdmitReason::Revoked));
    let row = story.registry.revocations().next().expect("listed").clone();
    assert_eq!((row.serial, row.invalid_since_s), (device.certificate.serial, Some(NOW_S - 60)));
    let claim = story.claim("acme");
    let refused = story.enrol(1, Some(claim), 1);
    assert_eq!(refused, Err(OwnerRefusal::DeviceNotActive(State::Revoked)), "whatever claim it shows");
    let mut again = story.restarted();
    let refused = again.admit(NOW_S, Admit(leaf(&device)), &mut Vec::new());
    assert_eq!(refused.map_err(|r| r.reason), Err(AdmitReason::Revoked), "after a restart too");

    story.change("acme", 1, DeviceChange::Resume).expect("resumed");
    assert_eq!(story.admit(&device), Err(AdmitReason::NotCurrent), "what was revoked stays so");
    let device = story.enrol(1, None, 1).expect("enrols anew, without a claim").device;
    story.admit(&device).expect("admitted");
}

#[test]
fn only_an_operator_takes_a_revocation_back() {
    let mut story = Story::begin();
    story.enrolled(1, "acme");
    story.change("acme", 1, revoke()).expect("revoked");
    let by = ("spiffe://muster.example/t/acme/user/bob".to_owned(), false);
    let (change, why) = (DeviceChange::Resume, String::new());
    let command = ChangeDevice { tenant: id("acme"), device: name(1), change, by, why };
    let refused = story.registry.change_device(NOW_S, command, &mut story.effects);
    assert!(matches!(refused, Err(Refusal::DeviceState { .. })), "{refused:?}");
}

#[test]
fn a_retired_device_never_comes_back() {
    let mut story = Story::begin();
    let device = story.enrolled(1, "acme");
    story.change("acme", 1, DeviceChange::Retire).expect("retired");
    assert_eq!(story.admit(&device), Err(AdmitReason::Retired));
    for change in [DeviceChange::Resume, DeviceChange::Suspend, DeviceChange::Release] {
        let refused = story.change("acme", 1, change.clone());
        assert!(matches!(refused, Err(Refusal::DeviceState { .. })), "{change:?}: {refused:?}");
    }
    let claim = story.claim("globex");
    assert_eq!(story.enrol(1, Some(claim), 1), Err(OwnerRefusal::DeviceNotActive(State::Retired)));
}

#[test]
fn a_released_chip_is_for_whoever_claims_it_and_never_goes_back_by_itself() {
    let mut story = Story::begin();
    let claim = story.claim("acme");
    let device = story.enrol(1, Some(claim.clone()), 1).expect("enrolled").device;
    story.change("acme", 1, DeviceChange::Release).expect("released");
    assert_eq!(story.admit(&device), Err(AdmitReason::Revoked), "the certificate names its old tenant");
    assert_eq!(story.enrol(1, None, 1), Err(OwnerRefusal::UnknownChip));
    assert_eq!(
        story.enrol(1, Some(claim), 1),
        Err(OwnerRefusal::ClaimExpired),
        "the claim that it still has"
    );
    let other = story.enrolled(1, "globex");
    assert_eq!((other.tenant, other.ek_hash), (id("globex"), ek(1)));
    let kept = story.restarted();
    assert_eq!(kept.released.values().map(|row| &row.tenant).collect::<Vec<_>>(), [&id("acme")]);
}

#[test]
fn another_chip_takes_the_place_of_a_broken_one_without_a_claim() {
    let mut story = Story::begin();
    let broken = story.enrolled(1, "acme");
    let replaced = story.change("acme", 1, DeviceChange::Replace { with: ek(2) }).expect("replaced").device;
    assert_eq!((replaced.state, replaced.life.replaced_by), (State::Retired, Some(name(2))));
    assert_eq!(story.admit(&broken), Err(AdmitReason::Retired));
    assert!(!story.change("acme", 1, DeviceChange::Replace { with: ek(2) }).expect("the same").changed);
    story.change("acme", 1, DeviceChange::Replace { with: ek(3) }).expect("it has not come yet");
    assert_eq!(story.enrol(2, None, 1), Err(OwnerRefusal::UnknownChip), "it is not waited for any longer");
    let device = story.enrol(3, None, 1).expect("enrolled").device;
    assert_eq!((device.tenant.clone(), device.life.replaces), (id("acme"), Some(name(1))));
    let refused = story.change("acme", 1, DeviceChange::Replace { with: ek(4) });
    assert_eq!(refused, Err(Refusal::Replaced { device: name(1), other: name(3) }));
    let refused = story.change("acme", 3, DeviceChange::Replace { with: ek(1) });
    assert_eq!(refused, Err(Refusal::SuccessorTaken(name(1))), "a barred chip does not come in by that door");
}

#[test]
fn a_compromise_is_dated_back_and_not_ahead() {
    let mut story = Story::begin();
    story.enrolled(1, "acme");
    let since =
        |s| DeviceChange::Revoke { reason: RevocationReason::KeyCompromise, compromised_since_s: Some(s) };
    assert_eq!(story.change("acme", 1, since(NOW_S + 1)), Err(Refusal::CompromiseAhead));
    story.change("acme", 1, since(NOW_S - 10)).expect("revoked");
    assert!(!story.change("acme", 1, since(NOW_S - 5)).expect("known").changed);
    let earlier = story.change("acme", 1, since(NOW_S - 20)).expect("revoked");
    assert_eq!((earlier.changed, earlier.device.life.compromised_since_s), (true, Some(NOW_S - 20)));
    assert_eq!(story.registry.revocations().next().expect("listed").invalid_since_s, Some(NOW_S - 20));
}

/// Attack: a copy of a TPM's state enrols beside the original, which goes on with the counters that it has.
#[test]
fn a_copied_chip_beside_the_original_raises_an_alarm_and_does_not_silently_alternate() {
    let mut story = Story::begin();
    let claim = story.claim("acme");
    story.enrol(1, Some(claim), 5).expect("the original");
    story.now_s += 600;
    story.enrol(1, None, 6).expect("the copy, which was started once more");
    assert_eq!(story.alarms(), [], "a reboot, as far as anybody can see");
    story.now_s += 600;
    story.enrol(1, None, 5).expect("the original again");
    assert_eq!(story.alarms(), [AlarmKind::Rollback]);

    story.precautions(Precautions { suspend_clones: true, approve_cleared: false });
    story.now_s += 600;
    story.enrol(1, None, 6).expect("the copy");
    story.now_s += 600;
    assert_eq!(story.enrol(1, None, 5), Err(OwnerRefusal::DeviceNotActive(State::Suspended)));
    assert_eq!(story.enrol(1, None, 6), Err(OwnerRefusal::DeviceNotActive(State::Suspended)), "both are out");
    assert_eq!(story.alarms(), [AlarmKind::Rollback, AlarmKind::Rollback]);
}

#[test]
fn a_cleared_chip_comes_back_by_itself_or_after_its_tenant_has_agreed() {
    let mut story = Story::begin();
    let claim = story.claim("acme");
    story.enrol(1, Some(claim), 5).expect("enrolled");
    story.now_s += 600;
    let back = story.enrol(1, None, 0).expect("comes back by itself");
    assert!(back.key_replaced);
    assert_eq!(story.alarms(), [AlarmKind::Cleared]);

    story.precautions(Precautions { suspend_clones: false, approve_cleared: true });
    story.now_s += 600;
    story.enrol(1, None, 3).expect("a reboot or three");
    story.now_s += 600;
    assert_eq!(story.enrol(1, None, 0), Err(OwnerRefusal::DeviceNotActive(State::Suspended)));
    story.change("acme", 1, DeviceChange::Resume).expect("agreed");
    story.now_s += 600;
    story.enrol(1, None, 0).expect("comes back");
    story.now_s += 600;
    story.enrol(1, None, 4).expect("a reboot");
    story.now_s += 600;
    let refused = story.enrol(1, None, 0);
    assert_eq!(refused, Err(OwnerRefusal::DeviceNotActive(State::Suspended)), "agreed once, for once");
}

#[test]
fn what_was_challenged_before_a_revocation_is_not_renewed_after_it() {
    let mut story = Story::begin();
    let device = story.enrolled(1, "acme");
    story.change("acme", 1, revoke()).expect("revoked");
    let command = Renewed {
        tenant: id("acme"),
        device: name(1),
        presented: device.certificate.serial,
        certificate: story.certificate(),
        reset_count: 1,
        clock_ms: 2_000,
        agent_version: String::new(),
        measured: Registers::default(),
        quote: QuoteFacts::default(),
    };
    let refused = story.registry.renewed(story.now_s, command, &mut story.effects);
    assert_eq!(refused, Err(Refusal::NotItsCertificate));
}

/// Attack: a certificate that names another device, or another device's certificate under one's own key.
#[test]
fn the_certificate_of_one_device_under_the_name_of_another_is_not_admitted() {
    let mut story = Story::begin();
    let (one, other) = (story.enrolled(1, "acme"), story.enrolled(2, "acme"));
    let named_other = Leaf { principal: leaf(&other).principal, ..leaf(&one) };
    let other_key = Leaf { spki_sha256: one.certificate.spki_sha256, ..leaf(&other) };
    for forged in [named_other, other_key] {
        let refused = story.registry.admit(NOW_S, Admit(forged), &mut story.effects);
        assert_eq!(refused.map_err(|refusal| refusal.reason), Err(AdmitReason::NotCurrent));
    }
}

#[test]
fn a_suspended_tenant_ends_all_of_its_sessions_and_nobody_elses() {
    let mut story = Story::begin();
    let (ours, theirs) = (story.enrolled(1, "acme"), story.enrolled(2, "globex"));
    let command = ChangeTenant { tenant: id("acme"), active: Some(false), precautions: None };
    let (tenant, changed) = story.registry.change_tenant(command, &mut story.effects).expect("changed");
    assert_eq!((tenant.state, changed, story.ended()), (State::Suspended, true, vec![None]));
    assert_eq!(story.admit(&ours), Err(AdmitReason::TenantSuspended));
    story.admit(&theirs).expect("admitted");
}

#[derive(Debug, Clone)]
enum Step {
    Claimed(usize, u8),
    Again(u8, u32),
    Change(usize, u8, DeviceChange),
    Wait,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let chip = 1..4u8;
    let change = prop_oneof![
        Just(DeviceChange::Suspend),
        Just(DeviceChange::Resume),
        Just(DeviceChange::Retire),
        Just(DeviceChange::Release),
        Just(DeviceChange::Revoke { reason: RevocationReason::Unspecified, compromised_since_s: None }),
        chip.clone().prop_map(|with| DeviceChange::Replace { with: ek(with) }),
    ];
    let step = prop_oneof![
        3 => (0..2usize, chip.clone()).prop_map(|(tenant, chip)| Step::Claimed(tenant, chip)),
        2 => (chip.clone(), 0..9u32).prop_map(|(chip, boots)| Step::Again(chip, boots)),
        4 => (0..2usize, chip, change).prop_map(|(tenant, chip, change)| Step::Change(tenant, chip, change)),
        1 => Just(Step::Wait),
    ];
    vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Whatever is commanded in whatever order: a row's endorsement key stays its own, who is retired stays so, what was
    /// revoked is never admitted, and a restart knows the same.
    #[test]
    fn no_order_of_commands_brings_back_what_was_taken_away(steps in steps()) {
        let mut story = Story::begin();
        let (mut retired, mut issued) = (BTreeSet::new(), Vec::<Device>::new());
        for step in steps {
            match step {
                Step::Wait => story.now_s += 86_400,
                Step::Claimed(tenant, chip) => {
                    let claim = story.claim(TENANTS[tenant]);
                    issued.extend(story.enrol(chip, Some(claim), 1).map(|enrolled| enrolled.device));
                }
                Step::Again(chip, boots) => {
                    issued.extend(story.enrol(chip, None, boots).map(|enrolled| enrolled.device));
                }
                Step::Change(tenant, chip, change) => {
                    let before = story.effects.len();
                    let told = story.change(TENANTS[tenant], chip, change.clone());
                    if told.is_err() || matches!(&told, Ok(told) if !told.changed) {
                        prop_assert_eq!(story.effects.len(), before, "what changes nothing writes nothing");
                    }
                    if told.is_ok() {
                        let written = story.effects.len();
                        let again = story.change(TENANTS[tenant], chip, change.clone());
                        if change != DeviceChange::Release {
                            prop_assert!(again.is_ok_and(|again| !again.changed), "told twice: {:?}", change);
                        }
                        prop_assert_eq!(story.effects.len(), written);
                    }
                }
            }
            for chip in 1..4u8 {
                let Some(row) = TENANTS.iter().find_map(|t| story.registry.device(&id(t), &name(chip)).ok()) else {
                    prop_assert!(!retired.contains(&chip), "a retired row stays");
                    continue;
                };
                prop_assert_eq!(row.ek_hash, ek(chip));
                prop_assert!(!retired.contains(&chip) || row.state == State::Retired);
                if row.state == State::Retired {
                    retired.insert(chip);
                }
            }
            for device in &issued {
                let revoked = story.registry.is_revoked(Role::Device, device.certificate.serial);
                let row = story.registry.device(&device.tenant, &device.id).ok();
                let current = row.is_some_and(|row| row.certificate == device.certificate && row.state == State::Active);
                let ended = device.certificate.not_after_s < story.now_s;
                let admitted = story.admit(device).is_ok();
                prop_assert_eq!(admitted, current && !revoked && !ended);
                let is_used = admitted || row_is_suspended(&story, device);
                prop_assert!(is_used || revoked || ended, "a certificate without use is on the list");
            }
        }
        let again = story.restarted();
        prop_assert_eq!(again.revocations_version(), story.registry.revocations_version());
        prop_assert!(again.revocations().eq(story.registry.revocations()));
        prop_assert_eq!(&again.successors, &story.registry.successors);
        prop_assert_eq!(&again.released, &story.registry.released);
        for tenant in TENANTS {
            for chip in 1..4u8 {
                let of = |registry: &Registry| registry.device(&id(tenant), &name(chip)).cloned();
                prop_assert_eq!(of(&again), of(&story.registry));
            }
        }
    }
}

fn row_is_suspended(story: &Story, device: &Device) -> bool {
    let row = story.registry.device(&device.tenant, &device.id);
    row.is_ok_and(|row| row.state == State::Suspended && row.certificate == device.certificate)
}
