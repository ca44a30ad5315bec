//! Why an item may be shown or not.

use super::month::{NOW_MS, item, reader, rules};
use crate::{NO_POLICY, OUTSIDE, Shortfall, Tally};
use std::sync::{Arc, Mutex};

const DAY_MS: i64 = 86_400_000;

#[test]
fn whoever_falls_short_is_told_of_what_and_until_when() {
    let rules = rules(include_str!("../../examples/officers.cedar"));
    let officer = reader("acme", "anna", &["officers"], &[("district", "d7")]);
    let told = rules.explain(&officer, &item(29 * DAY_MS, &[("district", "d7")]), NOW_MS);
    assert!(!told.decision.allowed);
    let age = "context.now.durationSince(resource.captured) > duration(\"30d\")";
    let [Shortfall { policy, is_for_others: false, unmet }] = told.short.as_slice() else {
        panic!("{:?}", told.short)
    };
    assert_eq!((policy.as_str(), unmet.len()), ("officers-after-a-month", 1));
    let plain = |text: &str| text.replace(['(', ')', ' '], "");
    assert_eq!(plain(&unmet[0]), plain(age));
    assert_eq!(told.permitted_from_ms, Some(NOW_MS + DAY_MS + 1));

    let told = rules.explain(&officer, &item(31 * DAY_MS, &[("district", "d8")]), NOW_MS);
    assert!(told.short[0].unmet[0].contains("containsAny"), "{:?}", told.short);
    assert_eq!(told.permitted_from_ms, None, "no age makes it his district");

    let clerk = reader("acme", "carl", &["clerks"], &[("district", "d7")]);
    let told = rules.explain(&clerk, &item(31 * DAY_MS, &[("district", "d7")]), NOW_MS);
    assert!(told.short[0].is_for_others);
}

#[test]
fn what_decided_is_named() {
    let text = r#"
        @id("all") permit (principal, action == Action::"view", resource);
        @id("not-at-night") forbid (principal, action == Action::"view", resource)
        when { resource.stream == "night" };
        permit (principal, action == Action::"view", resource) when { resource.cell like "u0*" };
    "#;
    let rules = rules(text);
    let anna = reader("acme", "anna", &[], &[]);
    assert_eq!(rules.may_view(&anna, &item(0, &[]), NOW_MS).rule(), "all");
    let mut night = item(0, &[]);
    night.stream.stream = "night".to_owned();
    assert_eq!(rules.may_view(&anna, &night, NOW_MS).rule(), "not-at-night");
    assert!(rules.explain(&anna, &night, NOW_MS).short.is_empty(), "it was forbidden, not left out");
    let guest = reader("globex", "anna", &[], &[]);
    let by = rules.may_view(&guest, &item(0, &[]), NOW_MS).by;
    assert!(by.contains("grant") && by.contains("all"), "as far as a grant goes: {by:?}");
    let mallory = crate::Reader { kind: muster_schemas::Kind::Device, ..anna };
    assert_eq!(rules.may_view(&mallory, &item(0, &[]), NOW_MS).rule(), NO_POLICY);
}

#[test]
fn what_was_kept_back_is_told_once_the_question_is_answered() {
    let rules = rules("@id(\"none\") forbid (principal, action == Action::\"view\", resource);");
    let said = Arc::new(Mutex::new(Vec::new()));
    let note = said.clone();
    let told = move |tally: &Tally| {
        note.lock().unwrap().push((tally.shown(), tally.hidden(), tally.first_hidden().unwrap().rule));
    };
    let anna = reader("acme", "anna", &[], &[]);
    let view = rules.view(&anna, NOW_MS, None, Arc::new(Tally::told(told.clone())));
    assert!(!view.shows(&item(0, &[])) && !view.shows(&item(1, &[])));
    assert_eq!(said.lock().unwrap().len(), 0, "the question is not answered yet");
    drop(view);
    let guest = reader("globex", "anna", &[], &[]);
    let view = rules.view(&guest, NOW_MS, None, Arc::new(Tally::told(told)));
    assert!(!view.shows(&item(0, &[])));
    drop(view);
    assert_eq!(*said.lock().unwrap(), [(0, 2, "none".to_owned()), (0, 1, OUTSIDE.to_owned())]);
}
