//! Views leave policies out that do not concern whoever asks, and decide once for items that look alike. Neither may ever
//! change an answer: here each is compared with all policies, asked for each item.

use std::sync::Arc;

use proptest::prelude::*;

use super::month::{NOW_MS, attributes, item, reader, rules};
use crate::{
    Action,
    asking::{Asking, captured_ms},
};

const CONDITIONS: &[&str] = &[
    "true",
    "principal.district.containsAny(resource.district)",
    "context.now.durationSince(resource.captured) > duration(\"2d\")",
    "context.now.durationSince(resource.captured).toDays() >= 2",
    "resource.captured.offset(duration(\"3d\")) <= context.now",
    "resource.captured < datetime(\"2026-11-21\")",
    "resource.captured.toTime() < duration(\"12h\")",
    "context.now.toDate() > resource.captured.toDate()",
    "resource.stream == \"gate\"",
    "resource.cell like \"u0*\"",
    "resource.device == Device::\"pump-7\"",
    "resource in Device::\"pump-8\"",
    "principal.name == \"anna\"",
    "principal has district && principal in Group::\"clerks\"",
    "resource.site.contains(\"north\") || resource.district.isEmpty()",
    "resource.district == principal.district",
];

const SCOPES: &[&str] = &[
    "principal",
    "principal in Group::\"officers\"",
    "principal == User::\"anna\"",
    "principal == User::\"globex/anna\"",
    "principal is User",
    "principal is App",
    "principal is User in Group::\"clerks\"",
];

prop_compose! {
    fn policy()(
        permits in prop::bool::weighted(0.7),
        scope in prop::sample::select(SCOPES),
        condition in prop::sample::select(CONDITIONS),
        when in any::<bool>(),
    ) -> String {
        let effect = if permits { "permit" } else { "forbid" };
        let when = if when { "when" } else { "unless" };
        format!("{effect} ({scope}, action == Action::\"view\", resource) {when} {{ {condition} }};\n")
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_view_says_what_all_policies_say_of_each_item(
        policies in prop::collection::vec(policy(), 0..5),
        guest in prop::bool::weighted(0.1),
        groups in prop::sample::subsequence(vec!["officers", "clerks"], 0..=2),
        own in prop::sample::subsequence(vec!["d7", "d8"], 0..=2),
        items in prop::collection::vec(
            (0_i64..5 * 24, -1_i64..=1, 0_usize..4, 0_usize..2, 0_usize..2, 0_usize..2), 1..24),
    ) {
        let rules = rules(&policies.concat());
        let pairs: Vec<_> = own.iter().map(|text| ("district", *text)).collect();
        let reader = reader(if guest { "globex" } else { "acme" }, "anna", &groups, &pairs);
        let tally = Arc::default();
        let view = rules.view(&reader, NOW_MS, guest.then(|| vec![crate::DataSet::default()]), tally);
        let set = rules.policies().expect("some");
        let home = rules.home();
        let all = Asking::to(set.all(), set.attributes(), home, &reader, Action::View, NOW_MS).expect("asks");
        for (age_h, off_ms, place, stream, device, cell) in items {
            let mut item = item(age_h * 3_600_000 + off_ms, &[]);
            item.attributes = attributes(match place {
                0 => &[],
                1 => &[("district", "d7")],
                2 => &[("district", "d8"), ("site", "north")],
                _ => &[("district", "d7"), ("district", "d8")],
            });
            if stream == 1 { item.stream.stream = "gate".to_owned(); }
            if device == 1 { item.stream.device = "pump-8".parse().expect("id"); }
            if cell == 1 { item.cell = Some("u09tv".to_owned()); }
            let expected = all.item(&item, captured_ms(&item)).allowed;
            prop_assert_eq!(view.shows(&item), expected, "{:?}", item);
            prop_assert_eq!(rules.may_view(&reader, &item, NOW_MS).allowed, expected, "{:?}", item);
        }
    }
}
