use super::*;

const NOW_S: u64 = 1_760_000_000;

fn revocation(number: u32, not_after_s: u64) -> Revocation {
    let mut serial = [7; 16];
    serial[..4].copy_from_slice(&number.to_be_bytes());
    Revocation {
        authority: Role::Device,
        serial: Serial::from(serial),
        not_after_s,
        revoked_at_s: NOW_S,
        reason: RevocationReason::Superseded,
        invalid_since_s: None,
        principal: "spiffe://muster.example/t/acme/device/pump-7".parse().expect("well formed"),
    }
}

/// What a restart would load.
fn restarted(effects: &[Effect]) -> Registry {
    let mut rows = BTreeMap::new();
    for effect in effects {
        match effect {
            Effect::Put(row) => {
                let bytes = row.encode().expect("encodes");
                rows.insert(row.key(), Row::decode(&bytes).expect("decodes"));
            }
            Effect::Delete(key) => {
                rows.remove(key);
            }
            _ => {}
        }
    }
    Registry::load(rows.into_values())
}

#[test]
fn a_revocation_survives_a_restart_and_the_version_grows_over_it() {
    let (mut registry, mut effects) = (Registry::default(), Vec::new());
    assert!(registry.record_revocation(NOW_S, revocation(1, NOW_S + 10), &mut effects));
    assert!(registry.record_revocation(NOW_S, revocation(2, NOW_S + 20), &mut effects));
    assert_eq!(registry.revocations_version(), 2);
    let mut again = restarted(&effects);
    assert_eq!(again.revocations_version(), 2);
    assert!(again.revocations().eq(registry.revocations()));
    assert!(again.is_revoked(Role::Device, revocation(1, 0).serial));
    assert!(!again.is_revoked(Role::Client, revocation(1, 0).serial), "serials are an authority's own");
    again.forget_ended_revocations(NOW_S + 11, &mut effects);
    assert_eq!(again.revocations().count(), 1, "the first certificate has ended");
    assert_eq!(restarted(&effects).revocations_version(), 3, "a list that lost an entry is another list");
}

#[test]
fn what_is_known_of_a_revoked_certificate_only_grows() {
    let (mut registry, mut effects) = (Registry::default(), Vec::new());
    registry.record_revocation(NOW_S, revocation(1, NOW_S + 10), &mut effects);
    assert!(!registry.record_revocation(NOW_S + 1, revocation(1, NOW_S + 10), &mut effects), "told twice");
    assert_eq!(registry.revocations_version(), 1);
    let stolen = Revocation {
        reason: RevocationReason::KeyCompromise,
        invalid_since_s: Some(NOW_S - 50),
        revoked_at_s: NOW_S + 5,
        ..revocation(1, NOW_S + 10)
    };
    assert!(registry.record_revocation(NOW_S + 5, stolen.clone(), &mut effects));
    let later =
        Revocation { reason: RevocationReason::Superseded, invalid_since_s: Some(NOW_S - 1), ..stolen };
    assert!(!registry.record_revocation(NOW_S + 6, later, &mut effects));
    let row = registry.revocations().next().expect("there").clone();
    assert_eq!((row.reason, row.invalid_since_s), (RevocationReason::KeyCompromise, Some(NOW_S - 50)));
    assert_eq!(row.revoked_at_s, NOW_S, "it was revoked when it was revoked");
}

#[test]
fn a_certificate_that_has_ended_needs_no_revocation() {
    let (mut registry, mut effects) = (Registry::default(), Vec::new());
    assert!(!registry.record_revocation(NOW_S, revocation(1, NOW_S - 1), &mut effects));
    assert!(effects.is_empty());
}

#[test]
fn a_hundred_thousand_revocations_are_kept_and_forgotten_in_pieces() {
    let (mut registry, mut effects) = (Registry::default(), Vec::new());
    for number in 0..100_000 {
        effects.clear();
        registry.record_revocation(NOW_S, revocation(number, NOW_S + 10), &mut effects);
    }
    assert_eq!(registry.revocations().count(), 100_000);
    effects.clear();
    registry.forget_ended_revocations(NOW_S + 11, &mut effects);
    assert_eq!(effects.len(), FORGOTTEN_REVOCATIONS_MAX + 1, "and the version");
    assert_eq!(registry.revocations().count(), 100_000 - FORGOTTEN_REVOCATIONS_MAX);
}

#[test]
fn every_reason_has_its_name_and_number() {
    for reason in RevocationReason::ALL {
        assert_eq!(reason.as_str().parse(), Ok(reason));
        assert_eq!(serde_json::to_string(&reason).expect("encodes"), format!("\"{reason}\""));
    }
    assert_eq!("key-compromise".parse(), Ok(RevocationReason::KeyCompromise));
    assert_eq!("bored".parse::<RevocationReason>(), Err(UnknownReason));
}
