use super::*;
use crate::registry::message::{CreateClaim, CreateTenant};
use crate::registry::ways_in::SetWaysIn;

const NOW_S: u64 = 1_760_000_000;

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("well formed")
}

fn certificate(number: u8) -> Certificate {
    Certificate { serial: Serial::from([number; 16]), spki_sha256: [number; 32], not_after_s: NOW_S + 3_600 }
}

/// The tenants acme, with EST, and globex, without; and a claim of each.
fn story() -> (Registry, String, String) {
    let (mut registry, mut effects) = (Registry::default(), Vec::new());
    let mut codes = Vec::new();
    for (number, tenant) in [(1, "acme"), (2, "globex")] {
        let create = CreateTenant { tenant: id(tenant), accept_simulated_tpms: false };
        registry.create_tenant(NOW_S, create, &mut effects).expect("created");
        let create = CreateClaim {
            tenant: id(tenant),
            model: Some("pump".to_owned()),
            expires_in_s: 3_600,
            approve: false,
        };
        let made = registry.create_claim(NOW_S, create, [number; 16], &mut effects).expect("created");
        codes.push(made.code.to_string());
    }
    let on = SetWaysIn { tenant: id("acme"), est: Some(true), legacy_passwords: None };
    registry.set_ways_in(on, &mut effects).expect("on");
    let globex = codes.pop().expect("two");
    (registry, codes.pop().expect("one"), globex)
}

fn applicant(tenant: &str, key: u8, claim: &str) -> EstApplicant {
    EstApplicant {
        tenant: id(tenant),
        model: "pump".to_owned(),
        spki_sha256: [key; 32],
        claim: claim.to_owned(),
    }
}

fn enrol(registry: &mut Registry, applicant: EstApplicant, number: u8) -> Result<Device, EstRefusal> {
    let command = EnrolEst { applicant, certificate: certificate(number) };
    registry.enrol_est(NOW_S, command, &mut Vec::new())
}

#[test]
fn a_device_without_a_tpm_is_never_taken_for_one_with() {
    let (mut registry, claim, _) = story();
    let device = enrol(&mut registry, applicant("acme", 1, &claim), 1).expect("enrolled");
    assert_eq!(device.tpm_class, TpmClass::None);
    assert_eq!((device.tpm_class.as_str(), device.agent_version.as_str()), ("none", "est"));
    let stored = Row::Device(device.clone()).encode().expect("encodes");
    assert_eq!(Row::decode(&stored).expect("decodes"), Row::Device(device));
    assert!("none".parse::<TpmClass>().is_err(), "no configuration vouches for it");
}

#[test]
fn a_claim_is_not_used_twice_at_est() {
    let (mut registry, claim, _) = story();
    let first = enrol(&mut registry, applicant("acme", 1, &claim), 1).expect("enrolled");
    assert_eq!(
        enrol(&mut registry, applicant("acme", 2, &claim), 2),
        Err(EstRefusal::Claim("another device used it"))
    );
    // The answer was lost: the same key asks again and gets its one device.
    let again = enrol(&mut registry, applicant("acme", 1, &claim), 3).expect("again");
    assert_eq!(again.id, first.id);
    assert_eq!(registry.devices.len(), 1);
}

#[test]
fn a_key_that_is_known_still_needs_a_claim() {
    let (mut registry, claim, _) = story();
    enrol(&mut registry, applicant("acme", 1, &claim), 1).expect("enrolled");
    assert!(matches!(enrol(&mut registry, applicant("acme", 1, ""), 2), Err(EstRefusal::Claim(_))));
}

#[test]
fn a_claim_of_another_tenant_model_or_time_is_refused() {
    let (mut registry, claim, of_globex) = story();
    assert_eq!(
        registry.check_est(NOW_S, &applicant("acme", 1, &of_globex)),
        Err(EstRefusal::Claim("it is unknown"))
    );
    assert_eq!(registry.check_est(NOW_S, &applicant("globex", 1, &of_globex)), Err(EstRefusal::Off));
    let late = registry.check_est(NOW_S + 3_601, &applicant("acme", 1, &claim));
    assert_eq!(late, Err(EstRefusal::Claim("it has ended")));
    let other = EstApplicant { model: "valve".to_owned(), ..applicant("acme", 1, &claim) };
    assert_eq!(registry.check_est(NOW_S, &other), Err(EstRefusal::Claim("it is for another model")));
    enrol(&mut registry, applicant("acme", 1, &claim), 1).expect("what is right is taken");
}

#[test]
fn a_device_renews_with_its_own_certificate_while_it_may() {
    let (mut registry, claim, _) = story();
    let device = enrol(&mut registry, applicant("acme", 1, &claim), 1).expect("enrolled").id;
    let renew = |presented, number| RenewEst {
        tenant: id("acme"),
        device: device.clone(),
        presented: Serial::from([presented; 16]),
        certificate: Some(certificate(number)),
    };
    registry.renew_est(renew(1, 2), &mut Vec::new()).expect("renewed");
    let row = registry.devices.get(&device).expect("known").clone();
    assert_eq!((row.certificate, row.previous), (certificate(2), Some(certificate(1))));
    assert_eq!(registry.renew_est(renew(9, 3), &mut Vec::new()), Err(EstRefusal::NotItsCertificate));
    let row = registry.devices.get_mut(&device).expect("known");
    (row.tpm_class, row.state) = (TpmClass::Hardware, State::Active);
    assert_eq!(registry.renew_est(renew(2, 3), &mut Vec::new()), Err(EstRefusal::HasTpm));
    let row = registry.devices.get_mut(&device).expect("known");
    (row.tpm_class, row.state) = (TpmClass::None, State::Retired);
    assert_eq!(registry.renew_est(renew(2, 3), &mut Vec::new()), Err(EstRefusal::NotActive(State::Retired)));
}
