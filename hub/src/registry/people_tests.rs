use super::*;
use crate::registry::State;
use crate::{
    authority::{Leaf, Role, Serial},
    registry::message::{Admit, CreateTenant, RegisterClient},
};

const NOW_S: u64 = 1_760_000_000;

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("well formed")
}

fn certificate(number: u8) -> Certificate {
    Certificate { serial: Serial::from([number; 16]), spki_sha256: [number; 32], not_after_s: NOW_S + 3_600 }
}

fn leaf(tenant: &str, kind: &str, name: &str, number: u8) -> Leaf {
    Leaf {
        principal: id(&format!("spiffe://muster.example/t/{tenant}/{kind}/{name}")),
        serial: Serial::from([number; 16]),
        spki_sha256: [number; 32],
        not_before_s: NOW_S - 300,
        not_after_s: NOW_S + 3_600,
        authority: Role::Client,
        server_names: Vec::new(),
    }
}

fn registry() -> Registry {
    let mut registry = Registry::default();
    for tenant in ["acme", "globex"] {
        let command = CreateTenant { tenant: id(tenant), accept_simulated_tpms: false };
        registry.create_tenant(NOW_S, command, &mut Vec::new()).expect("created");
    }
    registry
}

fn pin(tenant: &str, name: &str, number: u8, replace: bool) -> PinClient {
    PinClient {
        tenant: id(tenant),
        kind: ClientKind::User,
        id: id(name),
        certificate: certificate(number),
        fingerprint: [number; 32],
        replace,
    }
}

#[test]
fn a_pinned_certificate_speaks_for_the_one_it_is_registered_for() {
    let (mut registry, mut effects) = (registry(), Vec::new());
    registry.pin_client(pin("acme", "ann", 1, false), &mut effects).expect("pinned");
    let principal = (id::<TenantId>("acme"), Kind::User, id::<DeviceId>("ann"));
    assert_eq!(registry.pins(), [([1; 32], principal)].into());
    let admitted = registry.admit(NOW_S, Admit(leaf("acme", "user", "ann", 1)), &mut effects);
    assert_eq!(admitted.expect("admitted").principal, id("spiffe://muster.example/t/acme/user/ann"));
    // The same certificate cannot be given to a second, in this tenant or another.
    for (tenant, name) in [("acme", "bob"), ("globex", "ann")] {
        let refused = registry.pin_client(pin(tenant, name, 1, false), &mut effects);
        assert_eq!(refused, Err(Refusal::PinTaken));
    }
    assert!(matches!(
        registry.pin_client(pin("acme", "ann", 2, false), &mut effects),
        Err(Refusal::ClientExists { .. })
    ));
    registry.pin_client(pin("acme", "ann", 2, true), &mut effects).expect("replaced");
    assert!(!registry.pins().contains_key(&[1; 32]));
    let refused = registry.admit(NOW_S, Admit(leaf("acme", "user", "ann", 1)), &mut effects);
    assert_eq!(refused.expect_err("ended").reason, AdmitReason::NotCurrent);
}

#[test]
fn who_is_removed_is_admitted_no_more_by_certificate_or_by_name() {
    let (mut registry, mut effects) = (registry(), Vec::new());
    registry.pin_client(pin("acme", "ann", 1, false), &mut effects).expect("pinned");
    let ann: Principal = id("spiffe://muster.example/t/acme/user/ann");
    assert!(registry.admit_named(&ann).is_ok());
    effects.clear();
    let remove = RemoveClient { tenant: id("acme"), kind: ClientKind::User, id: id("ann") };
    registry.remove_client(remove.clone(), &mut effects).expect("removed");
    assert!(matches!(&effects[..], [Effect::Delete(key)] if key == b"p/acme/user/ann"));
    assert!(registry.pins().is_empty());
    assert_eq!(registry.admit_named(&ann).expect_err("gone").reason, AdmitReason::Unknown);
    let refused = registry.admit(NOW_S, Admit(leaf("acme", "user", "ann", 1)), &mut effects);
    assert_eq!(refused.expect_err("gone").reason, AdmitReason::Unknown);
    assert!(matches!(registry.remove_client(remove, &mut effects), Err(Refusal::ClientUnknown { .. })));
}

#[test]
fn who_has_no_certificate_is_admitted_by_name_alone() {
    let (mut registry, mut effects) = (registry(), Vec::new());
    let command = RegisterClient {
        tenant: id("acme"),
        kind: ClientKind::User,
        id: id("ann"),
        certificate: Certificate::none(),
        replace: false,
    };
    registry.register_client(command, &mut effects).expect("registered");
    assert!(registry.admit_named(&id("spiffe://muster.example/t/acme/user/ann")).is_ok());
    let forged =
        Leaf { serial: Serial::from([0; 16]), spki_sha256: [0; 32], ..leaf("acme", "user", "ann", 0) };
    let ended = Leaf { not_after_s: 0, ..forged };
    assert!(registry.admit(NOW_S, Admit(ended), &mut effects).is_err());
    for other in ["t/globex/user/ann", "t/acme/app/ann", "t/acme/device/ann"] {
        assert!(registry.admit_named(&id(&format!("spiffe://muster.example/{other}"))).is_err(), "{other}");
    }
    registry.clients.values_mut().for_each(|client| client.state = State::Suspended);
    let refused = registry.admit_named(&id("spiffe://muster.example/t/acme/user/ann"));
    assert_eq!(refused.expect_err("suspended").reason, AdmitReason::Suspended);
}
