use std::collections::{BTreeMap, BTreeSet};

use muster_schemas::{Principal, api::rules::DataSet};

use super::*;
use crate::{
    registry::{
        Certificate, ClientKind, Registry,
        attributes::Describe,
        core::Effect,
        grants::{Give, PutDataSet, RemoveDataSet, TakeBack},
        limits::POLICY_VERSIONS_PER_TENANT_MAX,
        message::{CreateTenant, RegisterClient},
        people::RemoveClient,
        policies::PutPolicies,
        row::Row,
    },
    rules::{Known, NotShown},
};

const NOW_S: u64 = 1_760_000_000;
const NOW_MS: i64 = 1_760_000_000_000;
const VIEW_ALL: &str = "@id(\"all\") permit (principal, action == Action::\"view\", resource);";

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("well formed")
}

fn registry() -> Registry {
    let mut registry = Registry::default();
    for tenant in ["acme", "globex"] {
        let command = CreateTenant { tenant: id(tenant), accept_simulated_tpms: false };
        registry.create_tenant(NOW_S, command, &mut Vec::new()).expect("created");
        let certificate = Certificate::none();
        let (kind, user, replace) = (ClientKind::User, id("anna"), false);
        let command = RegisterClient { tenant: id(tenant), kind, id: user, certificate, replace };
        registry.register_client(command, &mut Vec::new()).expect("registered");
    }
    registry
}

fn texts(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|text| (*text).to_owned()).collect()
}

fn describe(name: &str, all: &[&str], groups: Option<&[&str]>) -> Describe {
    let attributes = BTreeMap::from([(name.to_owned(), texts(all))]);
    Describe { tenant: id("acme"), party: Party::User, id: id("anna"), attributes, groups: groups.map(texts) }
}

fn put(text: Option<&str>) -> PutPolicies {
    let policies = text.map(|text| (text.to_owned(), Arc::new(Policies::parse(text).expect("valid"))));
    PutPolicies { tenant: id("acme"), policies, after: None, restores: None, by: "root".to_owned() }
}

/// What those are told who ask, from these rows as they are stored.
fn known(registry: &mut Registry) -> Known {
    let known = Known::default();
    let of_all = ["acme", "globex"].map(|tenant| (id(tenant), registry.rules.of_tenant(&id(tenant))));
    known.replace_all(of_all.into(), std::iter::empty());
    known
}

/// The rows that are left of all that was written, as a registry that starts again finds them.
fn restarted(effects: &[Effect]) -> Registry {
    let mut rows: BTreeMap<Vec<u8>, Row> = BTreeMap::new();
    for effect in effects {
        match effect {
            Effect::Put(row) => {
                let stored = Row::decode(&row.encode().expect("encodes")).expect("decodes");
                rows.insert(row.key(), stored);
            }
            Effect::Delete(key) => drop(rows.remove(key)),
            _ => {}
        }
    }
    Registry::load(rows.into_values())
}

#[test]
fn what_is_said_of_somebody_is_added_to_and_goes_with_him() {
    let (mut registry, mut effects) = (registry(), Vec::new());
    registry.describe(describe("district", &["d7"], Some(&["officers"])), &mut effects).expect("said");
    let row = registry.describe(describe("site", &["north", "south"], None), &mut effects).expect("said");
    assert_eq!(row.attributes.len(), 2);
    assert_eq!(row.groups, texts(&["officers"]));
    let row = registry.describe(describe("site", &[], None), &mut effects).expect("taken away");
    assert_eq!(row.attributes.keys().collect::<Vec<_>>(), ["district"]);
    for (name, all) in [("District", &["d7"][..]), ("captured", &["x"]), ("district", &["a\nb"])] {
        let refused = registry.describe(describe(name, all, None), &mut effects);
        assert!(matches!(refused, Err(Refusal::Rules(RuleRefusal::Invalid(_)))), "{name}");
    }
    let nobody = Describe { id: id("nobody"), ..describe("district", &["d7"], None) };
    assert!(matches!(registry.describe(nobody, &mut effects), Err(Refusal::ClientUnknown { .. })));
    let device = Describe { party: Party::Device, ..describe("district", &["d7"], None) };
    assert!(matches!(registry.describe(device, &mut effects), Err(Refusal::DeviceUnknown { .. })));
    let reader = known(&mut restarted(&effects)).tenant(&id("acme")).reader(Party::User.kind(), &id("anna"));
    assert_eq!(reader.attributes.texts("district").collect::<Vec<_>>(), ["d7"]);
    let gone = RemoveClient { tenant: id("acme"), kind: ClientKind::User, id: id("anna") };
    registry.remove_client(gone, &mut effects).expect("removed");
    let reader = known(&mut registry).tenant(&id("acme")).reader(Party::User.kind(), &id("anna"));
    assert!(reader.attributes.is_empty() && reader.groups.is_empty(), "whoever has the name next is another");
    assert!(restarted(&effects).rules.described(&id("acme"), Party::User, &id("anna")).is_none());
}

#[test]
fn versions_are_counted_and_the_oldest_go() {
    let (mut registry, mut effects) = (registry(), Vec::new());
    for version in 1..=POLICY_VERSIONS_PER_TENANT_MAX as u64 + 3 {
        let row = registry.put_policies(NOW_S, put(Some(VIEW_ALL)), &mut effects).expect("put");
        assert_eq!(row.version, version);
    }
    let stale = PutPolicies { after: Some(3), ..put(None) };
    let refused = registry.put_policies(NOW_S, stale, &mut effects);
    assert!(matches!(refused, Err(Refusal::Rules(RuleRefusal::PolicyVersionPassed { after: 3, .. }))));
    for registry in [&mut restarted(&effects), &mut registry] {
        let kept: Vec<_> = registry.rules.versions_of(&id("acme")).map(|row| row.version).collect();
        assert_eq!((kept.len(), kept.first()), (POLICY_VERSIONS_PER_TENANT_MAX, Some(&4)));
        let of = registry.rules.of_tenant(&id("acme"));
        assert_eq!(of.rules.policies().expect("some").names().collect::<Vec<_>>(), ["all"]);
        assert!(registry.rules.of_tenant(&id("globex")).rules.are_open());
    }
    registry.put_policies(NOW_S, put(None), &mut effects).expect("cleared");
    assert!(registry.rules.of_tenant(&id("acme")).rules.are_open());
    assert!(restarted(&effects).rules.of_tenant(&id("acme")).rules.are_open());
}

#[test]
fn stored_policies_that_cannot_be_read_let_nobody_in() {
    let (mut registry, mut effects) = (registry(), Vec::new());
    registry.put_policies(NOW_S, put(Some(VIEW_ALL)), &mut effects).expect("put");
    let mut row = registry.rules.last_version(&id("acme")).expect("one").clone();
    row.text = Some("permit (".to_owned());
    let mut registry = Registry::load([Row::Policies(row)]);
    let of = registry.rules.of_tenant(&id("acme"));
    assert!(!of.rules.are_open() && of.rules.policies().expect("some").is_empty());
}

fn reads(registry: &mut Registry, who: &str, set: Option<&str>, now_ms: i64) -> Result<(), NotShown> {
    let principal: Principal = id(&format!("spiffe://muster.example/t/{who}"));
    known(registry).view(&principal, &id("acme"), set, now_ms).map(drop)
}

#[test]
fn a_grant_opens_one_set_to_one_tenant_until_it_ends_or_is_taken_back() {
    let (mut registry, mut effects) = (registry(), Vec::new());
    let set = DataSet { name: "climate".to_owned(), ..DataSet::default() };
    let row = DataSetRow { tenant: id("acme"), set };
    registry.put_data_set(PutDataSet(row).0, &mut effects).expect("named");
    let gina = "globex/user/gina";
    assert_eq!(reads(&mut registry, gina, None, NOW_MS), Err(NotShown::Stranger));
    let give = |to: &str, data_set: &str, expires_in_s| Give {
        tenant: id("acme"),
        to: id(to),
        data_set: data_set.to_owned(),
        expires_in_s,
        by: "root".to_owned(),
    };
    for (to, set, life) in [
        ("acme", "climate", 60),
        ("operator", "climate", 60),
        ("nowhere", "climate", 60),
        ("globex", "payroll", 60),
        ("globex", "climate", 0),
        ("globex", "climate", u64::MAX),
    ] {
        assert!(registry.give(NOW_S, give(to, set, life), &mut effects).is_err(), "{to} {set} {life}");
    }
    let grant = registry.give(NOW_S, give("globex", "climate", 60), &mut effects).expect("given");
    let mut again = restarted(&effects);
    for registry in [&mut registry, &mut again] {
        assert_eq!(reads(registry, gina, None, NOW_MS), Ok(()));
        assert_eq!(reads(registry, gina, Some("climate"), NOW_MS), Ok(()));
        let unknown = Err(NotShown::DataSetUnknown("payroll".to_owned()));
        assert_eq!(reads(registry, gina, Some("payroll"), NOW_MS), unknown);
        assert_eq!(reads(registry, gina, None, NOW_MS + 60_000), Err(NotShown::Stranger), "it has ended");
        assert_eq!(reads(registry, "globex/device/pump", None, NOW_MS), Err(NotShown::Kind));
        assert_eq!(reads(registry, "operator/user/root", None, NOW_MS), Err(NotShown::Operator));
        assert_eq!(reads(registry, "initech/user/gina", None, NOW_MS), Err(NotShown::Stranger));
    }
    let shared = RemoveDataSet { tenant: id("acme"), name: "climate".to_owned() };
    let refused = registry.remove_data_set(shared, &mut effects);
    assert!(matches!(refused, Err(Refusal::Rules(RuleRefusal::DataSetShared(_)))));
    registry
        .take_back(TakeBack { tenant: id("acme"), number: grant.number }, &mut effects)
        .expect("taken back");
    assert_eq!(reads(&mut registry, gina, None, NOW_MS), Err(NotShown::Stranger), "from the next read on");
    assert_eq!(reads(&mut restarted(&effects), gina, None, NOW_MS), Err(NotShown::Stranger));
}

#[test]
fn a_set_is_closed_to_whom_no_rule_opens_it() {
    let (mut registry, mut effects) = (registry(), Vec::new());
    let set = DataSet { name: "climate".to_owned(), ..DataSet::default() };
    registry.put_data_set(DataSetRow { tenant: id("acme"), set }, &mut effects).expect("named");
    let anna = "acme/user/anna";
    assert_eq!(reads(&mut registry, anna, Some("climate"), NOW_MS), Ok(()), "without policies");
    registry.put_policies(NOW_S, put(Some(VIEW_ALL)), &mut effects).expect("put");
    let closed = NotShown::Closed { data_set: "climate".to_owned(), rule: "no-policy-permits".to_owned() };
    assert_eq!(reads(&mut registry, anna, Some("climate"), NOW_MS), Err(closed));
    assert_eq!(
        reads(&mut registry, anna, None, NOW_MS),
        Ok(()),
        "items beside sets are ruled by `view` alone"
    );
}
