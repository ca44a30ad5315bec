//! Measures decisions: each item asked for anew, and a view that remembers. Prints rates for one thread.
//!
//! `cargo run --release -p muster-policy --example decide`

#![expect(clippy::expect_used, clippy::print_stdout, clippy::disallowed_methods, reason = "it measures")]

use std::{collections::BTreeSet, hint::black_box, sync::Arc, time::Instant};

use muster_items::{Attributes, ItemInfo, StreamId};
use muster_policy::{Policies, Reader, Rules, Tally};
use muster_schemas::Kind;

const NOW_MS: i64 = 1_795_389_166_000;

fn attributes(district: &str) -> Arc<Attributes> {
    Arc::new(Attributes([("district".to_owned(), BTreeSet::from([district.to_owned()]))].into()))
}

fn items() -> Vec<ItemInfo> {
    let districts: Vec<_> = (0..20).map(|number| attributes(&format!("d{number}"))).collect();
    let item = |number: usize| {
        let to_us = (NOW_MS - i64::try_from(number % 60).expect("small") * 86_400_000) * 1_000;
        let device = format!("camera-{}", number % 1_000).parse().expect("an id");
        ItemInfo {
            stream: StreamId { device, stream: "gate".to_owned() },
            from_us: to_us,
            to_us,
            attributes: districts.get(number % districts.len()).cloned().unwrap_or_default(),
            cell: None,
            signer: None,
            hash: None,
        }
    };
    (0..100_000).map(item).collect()
}

fn rate(what: &str, count: usize, mut once: impl FnMut() -> usize) {
    let mut best = f64::MAX;
    let mut shown = 0;
    for _ in 0..5 {
        let begun = Instant::now();
        shown = once();
        best = best.min(begun.elapsed().as_secs_f64());
    }
    let per_second = count as f64 / best;
    println!("{what:<58} {per_second:>14.0}/s  {shown} of {count} shown");
}

fn main() {
    let officers = include_str!("officers.cedar");
    let mut seven = officers.to_owned();
    for number in 0..5 {
        seven += &format!(
            "@id(\"site-{number}\") permit (principal, action == Action::\"view\", resource) \
             when {{ principal.site.containsAny(resource.site) && resource.stream == \"s{number}\" }};\n"
        );
    }
    let mut many = officers.to_owned();
    for number in 0..98 {
        many += &format!(
            "@id(\"user-{number}\") permit (principal == User::\"u{number}\", action == Action::\"view\", resource);\n"
        );
    }
    let reader = Reader {
        tenant: "acme".parse().expect("an id"),
        kind: Kind::User,
        id: "anna".parse().expect("an id"),
        attributes: attributes("d7"),
        groups: Arc::new(BTreeSet::from(["officers".to_owned()])),
    };
    let items = items();
    let few = items.get(..5_000).unwrap_or_default();
    for (name, text) in
        [("officers", officers), ("7 policies", &seven), ("100 policies, 98 of others", &many)]
    {
        let policies = Policies::parse(text).expect("valid");
        let rules = Rules::new("acme".parse().expect("an id"), Some(Arc::new(policies)));
        rate(&format!("{name}: whole question for each item"), few.len(), || {
            few.iter().filter(|item| rules.may_view(black_box(&reader), item, NOW_MS).allowed).count()
        });
        rate(&format!("{name}: one question, each item decided"), few.len(), || {
            let uncached = rules.uncached(&reader, NOW_MS);
            few.iter().filter(|item| uncached(black_box(item))).count()
        });
        rate(&format!("{name}: a view that remembers, all looks known"), items.len(), || {
            let view = rules.view(black_box(&reader), NOW_MS, None, Arc::new(Tally::default()));
            items.iter().filter(|item| view.shows(black_box(item))).count()
        });
    }
}
