//! The sentence: officers may view an item once it is older than a month if they are assigned to the district where it was
//! captured.

use std::sync::Arc;

use muster_items::{Attributes, ItemInfo, StreamId};
use muster_schemas::Kind;

use crate::{DataSet, Policies, Reader, Rules, Tally};

const DAY_MS: i64 = 86_400_000;
pub(super) const NOW_MS: i64 = 1_795_389_166_000;

pub(super) fn rules(text: &str) -> Rules {
    let policies = Policies::parse(text).unwrap_or_else(|faults| panic!("{faults:#?}"));
    Rules::new("acme".parse().unwrap(), Some(Arc::new(policies)))
}

pub(super) fn attributes(pairs: &[(&str, &str)]) -> Arc<Attributes> {
    let mut all = Attributes::default();
    for (name, text) in pairs {
        all.0.entry((*name).to_owned()).or_default().insert((*text).to_owned());
    }
    Arc::new(all)
}

pub(super) fn reader(tenant: &str, id: &str, groups: &[&str], pairs: &[(&str, &str)]) -> Reader {
    Reader {
        tenant: tenant.parse().unwrap(),
        kind: Kind::User,
        id: id.parse().unwrap(),
        attributes: attributes(pairs),
        groups: Arc::new(groups.iter().map(|group| (*group).to_owned()).collect()),
    }
}

pub(super) fn item(age_ms: i64, pairs: &[(&str, &str)]) -> ItemInfo {
    let to_us = (NOW_MS - age_ms) * 1_000;
    ItemInfo {
        stream: StreamId { device: "pump-7".parse().unwrap(), stream: "climate".to_owned() },
        from_us: to_us - 1_000,
        to_us,
        attributes: attributes(pairs),
        cell: None,
        signer: None,
        hash: None,
    }
}

fn sees(rules: &Rules, reader: &Reader, item: &ItemInfo) -> bool {
    let decided = rules.may_view(reader, item, NOW_MS).allowed;
    let view = rules.view(reader, NOW_MS, None, Arc::new(Tally::default()));
    assert_eq!(view.shows(item), decided, "the view and the decision differ");
    assert_eq!(view.shows(item), decided, "and again, remembered");
    decided
}

#[test]
fn officers_see_an_item_of_their_district_once_it_is_older_than_a_month() {
    let rules = rules(include_str!("../../examples/officers.cedar"));
    let officer = reader("acme", "anna", &["officers"], &[("district", "d7")]);
    let here = [("district", "d7")];
    assert!(!sees(&rules, &officer, &item(29 * DAY_MS, &here)), "29 days");
    assert!(!sees(&rules, &officer, &item(30 * DAY_MS, &here)), "30 days are not more than 30 days");
    assert!(sees(&rules, &officer, &item(30 * DAY_MS + 1, &here)), "a millisecond more");
    assert!(sees(&rules, &officer, &item(31 * DAY_MS, &here)), "31 days");
    assert!(!sees(&rules, &officer, &item(31 * DAY_MS, &[("district", "d8")])), "another district");
    assert!(!sees(&rules, &officer, &item(31 * DAY_MS, &[])), "an item of nowhere");
    let reassigned = reader("acme", "anna", &["officers"], &[("district", "d8")]);
    assert!(!sees(&rules, &reassigned, &item(31 * DAY_MS, &here)), "reassigned");
    let both = reader("acme", "anna", &["officers"], &[("district", "d7"), ("district", "d8")]);
    assert!(sees(&rules, &both, &item(31 * DAY_MS, &here)), "assigned to two");
    let clerk = reader("acme", "anna", &["clerks"], &[("district", "d7")]);
    assert!(!sees(&rules, &clerk, &item(31 * DAY_MS, &here)), "no officer");
}

#[test]
fn a_fraction_of_a_millisecond_does_not_make_an_item_older() {
    let rules = rules(include_str!("../../examples/officers.cedar"));
    let officer = reader("acme", "anna", &["officers"], &[("district", "d7")]);
    let mut young = item(30 * DAY_MS, &[("district", "d7")]);
    young.to_us -= 999;
    assert!(!sees(&rules, &officer, &young));
    young.to_us -= 1;
    assert!(sees(&rules, &officer, &young));
}

#[test]
fn without_policies_members_read_everything_and_guests_nothing() {
    let rules = Rules::new("acme".parse().unwrap(), None);
    assert!(rules.view(&reader("acme", "anna", &[], &[]), NOW_MS, None, Arc::default()).is_all());
    let guest = reader("globex", "anna", &["officers"], &[("district", "d7")]);
    assert!(!rules.view(&guest, NOW_MS, None, Arc::default()).shows(&item(0, &[])));
    let set =
        DataSet { name: "climate".to_owned(), streams: ["climate".to_owned()].into(), ..DataSet::default() };
    let view = rules.view(&guest, NOW_MS, Some(vec![set]), Arc::default());
    assert!(view.shows(&item(0, &[])) && !view.sensitive, "what was granted");
}
