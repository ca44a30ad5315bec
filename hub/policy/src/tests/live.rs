//! What is published now.

use super::month::{NOW_MS, item, reader, rules};

#[test]
fn what_is_published_now_is_too_young_for_a_rule_by_age() {
    let rules = rules(include_str!("../../examples/officers.cedar"));
    let officer = reader("acme", "anna", &["officers"], &[("district", "d7")]);
    // Even if its readings say that they are old.
    let old = item(31 * 86_400_000, &[("district", "d7")]);
    let live = rules.live(&officer, &old, NOW_MS);
    assert_eq!((live.allowed, live.until_ms), (false, Some(i64::MAX)));
    assert_eq!(live.rule, crate::NO_POLICY);
}

#[test]
fn a_rule_by_attribute_lets_live_messages_through() {
    let rules = rules(
        "@id(\"own\") permit (principal, action == Action::\"view\", resource)
         when { principal.district.containsAny(resource.district) };",
    );
    let app = reader("acme", "board", &[], &[("district", "d7")]);
    assert!(rules.live(&app, &item(0, &[("district", "d7")]), NOW_MS).allowed);
    assert!(!rules.live(&app, &item(0, &[("district", "d8")]), NOW_MS).allowed);
    assert_eq!(rules.live(&app, &item(0, &[("district", "d7")]), NOW_MS).rule, "own");
}

#[test]
fn who_is_ruled_by_place_gets_nothing_live_for_a_place_is_not_known_yet() {
    let rules = rules(
        "permit (principal, action == Action::\"view\", resource);
         forbid (principal, action == Action::\"view\", resource) when { resource.cell like \"u09*\" };",
    );
    let app = reader("acme", "board", &[], &[]);
    assert!(rules.may_view(&app, &item(0, &[]), NOW_MS).allowed);
    assert!(!rules.live(&app, &item(0, &[]), NOW_MS).allowed);
}
