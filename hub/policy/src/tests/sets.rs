//! Data sets: a rule on the set and a rule on each item; and what another tenant is granted.

use std::sync::Arc;

use muster_items::Attributes;

use super::month::{NOW_MS, attributes, item, reader, rules};
use crate::{Action, DataSet, Tally};

fn set(streams: &[&str]) -> DataSet {
    let streams = streams.iter().map(|name| (*name).to_owned()).collect();
    DataSet { name: "cameras".to_owned(), streams, ..DataSet::default() }
}

#[test]
fn a_set_is_opened_by_one_rule_and_each_item_by_another() {
    let rules = rules(
        "@id(\"open\") permit (principal in Group::\"officers\", action == Action::\"open\",
             resource == DataSet::\"cameras\");
         @id(\"see\") permit (principal, action == Action::\"view\", resource)
             when { resource.district.contains(\"d7\") };",
    );
    let officer = reader("acme", "anna", &["officers"], &[]);
    let clerk = reader("acme", "carl", &[], &[]);
    assert_eq!(rules.may_open(&officer, "cameras", NOW_MS).rule(), "open");
    assert!(!rules.may_open(&officer, "payroll", NOW_MS).allowed);
    assert!(!rules.may_open(&clerk, "cameras", NOW_MS).allowed, "items alone do not open a set");
    let view = rules.view(&officer, NOW_MS, Some(vec![set(&["climate"])]), Arc::new(Tally::default()));
    assert!(view.shows(&item(0, &[("district", "d7")])));
    assert!(!view.shows(&item(0, &[("district", "d8")])), "the set alone does not show an item");
    let view = rules.view(&officer, NOW_MS, Some(vec![set(&["gate"])]), Arc::new(Tally::default()));
    assert!(!view.shows(&item(0, &[("district", "d7")])), "an item beside the set");
}

#[test]
fn an_item_is_in_a_set_if_all_that_limits_it_agrees() {
    let here = item(0, &[("district", "d7")]);
    assert!(DataSet::default().has(&here));
    let district = |text: &str| DataSet {
        attributes: Attributes::clone(&attributes(&[("district", text), ("district", "x")])),
        ..DataSet::default()
    };
    assert!(district("d7").has(&here) && !district("d8").has(&here));
    let device = |id: &str| DataSet { devices: [id.parse().unwrap()].into(), ..DataSet::default() };
    assert!(device("pump-7").has(&here) && !device("pump-8").has(&here));
    let from = |ms: i64| DataSet { from_ms: Some(ms), ..DataSet::default() };
    assert!(from(NOW_MS - 1).has(&here) && !from(NOW_MS).has(&here), "it began a millisecond before");
    let to = |ms: i64| DataSet { to_ms: Some(ms), ..DataSet::default() };
    assert!(to(NOW_MS + 1).has(&here) && !to(NOW_MS).has(&here));
}

#[test]
fn a_guest_is_shown_what_was_granted_unless_a_rule_forbids_it() {
    let text = "@id(\"not-young\") forbid (principal, action == Action::\"view\", resource)
                when { context.now.durationSince(resource.captured) < duration(\"1h\") };";
    let rules = rules(text);
    let guest = reader("globex", "gina", &["officers"], &[]);
    let view = |sets| rules.view(&guest, NOW_MS, sets, Arc::new(Tally::default()));
    let granted = view(Some(vec![set(&["climate"])]));
    assert!(granted.shows(&item(3_600_000, &[])) && !granted.shows(&item(3_599_999, &[])));
    assert!(!granted.sensitive);
    assert!(!view(None).shows(&item(3_600_000, &[])), "without a grant");
    assert!(!view(Some(Vec::new())).shows(&item(3_600_000, &[])), "a grant of nothing");
    assert!(!rules.may(&guest, Action::Administer, NOW_MS).allowed);
    assert!(!rules.may(&guest, Action::Reveal, NOW_MS).allowed);
}

#[test]
fn no_policy_of_a_tenant_opens_the_wall() {
    let rules = rules(
        "permit (principal, action in [Action::\"view\", Action::\"open\"], resource);
                       permit (principal, action in [Action::\"reveal\", Action::\"administer\"], resource);",
    );
    let guest = reader("globex", "gina", &[], &[]);
    for action in [Action::Reveal, Action::Administer] {
        assert!(!rules.may(&guest, action, NOW_MS).allowed, "{action:?}");
        assert!(rules.may(&reader("acme", "anna", &[], &[]), action, NOW_MS).allowed, "{action:?}");
    }
    // Same name, other tenant: not the member that a policy speaks of.
    let rules = super::month::rules(
        "permit (principal == User::\"gina\", action == Action::\"administer\", resource);",
    );
    assert!(rules.may(&reader("acme", "gina", &[], &[]), Action::Administer, NOW_MS).allowed);
    assert!(!rules.may(&guest, Action::Administer, NOW_MS).allowed);
}
