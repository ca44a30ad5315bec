use proptest::prelude::*;

use super::*;

fn attributes(pairs: &[(&str, &[&str])]) -> BTreeMap<String, BTreeSet<String>> {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    pairs.iter().map(|(name, texts)| ((*name).to_owned(), owned(texts))).collect()
}

fn asked(query: &str, version: &str, pairs: &[(&str, &[&str])]) -> bool {
    let attributes = attributes(pairs);
    let candidate = Candidate { id: "cam-1", class: "camera", model: "c2", version, attributes: &attributes };
    query.parse::<Query>().expect(query).matches(&candidate)
}

#[test]
fn a_query_means_what_it_says() {
    let query = "district = d7 and version < 1.2.0 and not tag:lab";
    assert!(asked(query, "1.1.9", &[("district", &["d7"])]));
    assert!(!asked(query, "1.2.0", &[("district", &["d7"])]), "not below");
    assert!(!asked(query, "1.1.9", &[("district", &["d8"])]), "another district");
    assert!(!asked(query, "1.1.9", &[("district", &["d7"]), ("tag", &["lab", "x"])]), "one of its tags");
    assert!(!asked(query, "", &[("district", &["d7"])]), "a version that nobody knows is not below");
}

#[test]
fn and_binds_closer_than_or_and_not_closest() {
    assert!(asked("id = cam-1 or id = cam-2 and class = door", "1", &[]));
    assert!(!asked("(id = cam-1 or id = cam-2) and class = door", "1", &[]));
    assert!(asked("not class = door and id = cam-1", "1", &[]));
    assert!(!asked("not (class = camera and id = cam-1)", "1", &[]));
}

#[test]
fn every_sign_compares() {
    for (query, holds) in [
        ("version = 1.10.0", true),
        ("version != 1.10.0", false),
        ("version < 1.10.0", false),
        ("version <= 1.10.0", true),
        ("version > 1.9", true),
        ("version >= 2", false),
        ("model in (c1, c2)", true),
        ("model in (c1)", false),
        ("all", true),
        ("site != x", true),
        ("attribute:version = x", false),
    ] {
        assert_eq!(asked(query, "1.10.0", &[]), holds, "{query}");
    }
    assert!(asked("site != y", "", &[("site", &["x"])]) && !asked("site != x", "", &[("site", &["x", "y"])]));
    assert!(asked("site = \"Hall \\\"4\\\"\"", "", &[("site", &["Hall \"4\""])]));
}

#[test]
fn an_error_says_where_and_what() {
    for (query, message) in [
        ("", "has the end at character 1, where a name, `not` or `(` should be"),
        ("district d7", "has `d7` at character 10, where `=`, `!=`, `<`, `<=`, `>`, `>=` or `in` should be"),
        (
            "district =",
            "has the end at character 11, where a value (in quotes if it is `and`, `or` or the like) should be",
        ),
        ("(id = a", "has the end at character 8, where `)`, `and` or `or` should be"),
        ("id = a b", "has `b` at character 8, where `and`, `or` or the end should be"),
        ("id = \"a", "has a quote at character 6 that does not end"),
        ("id ! a", "has `!` at character 4, where `!=` or `not` should be"),
        ("id = a; b", "has ';' at character 7, where a name, a value or a sign should be"),
        ("id in (a b)", "has `b` at character 10, where `,` or `)` should be"),
    ] {
        assert_eq!(query.parse::<Query>().expect_err(query).to_string(), message, "{query}");
    }
}

#[test]
fn a_query_is_bounded_in_length_terms_and_depth() {
    let terms = |n: usize| vec!["a=b"; n].join(" or ");
    assert!(terms(64).parse::<Query>().is_ok());
    assert!(matches!(terms(65).parse::<Query>(), Err(InvalidQuery::TooMany { .. })));
    let values = format!("a in ({})", vec!["b"; 65].join(","));
    assert!(matches!(values.parse::<Query>(), Err(InvalidQuery::TooMany { .. })));
    let deep = |n: usize| format!("{}a=b{}", "(".repeat(n), ")".repeat(n));
    assert!(deep(16).parse::<Query>().is_ok());
    assert!(matches!(deep(17).parse::<Query>(), Err(InvalidQuery::TooDeep { .. })));
    assert!(matches!("not ".repeat(500).parse::<Query>(), Err(InvalidQuery::TooDeep { .. })));
    assert_eq!("a".repeat(3_000).parse::<Query>(), Err(InvalidQuery::TooLong));
}

#[test]
fn the_same_meaning_in_other_words_is_the_same_query() {
    let query = |text: &str| text.parse::<Query>().expect(text);
    assert_eq!(query("((a=b)and(c=d))  and e=f"), query("a = b and c = d and e = \"f\""));
    assert_eq!(query("a in (c, b, c)").to_string(), "a in (b, c)");
}

fn node() -> impl Strategy<Value = Node> {
    let text = prop_oneof![
        "[a-z0-9.-]{1,6}",
        Just("and".to_owned()),
        Just("a \"b\\ü".to_owned()),
        Just(String::new())
    ];
    let name = prop_oneof![
        Just(Name::Id),
        Just(Name::Version),
        Just(Name::Class),
        Just(Name::Model),
        text.clone().prop_map(Name::Attribute),
    ];
    let op = prop_oneof![Just(Op::Is), Just(Op::IsNot), Just(Op::Below), Just(Op::AtMost), Just(Op::Above)];
    let leaf = prop_oneof![
        Just(Node::All),
        (name.clone(), op, text.clone()).prop_map(|(name, op, text)| Node::Compare(name, op, text)),
        (name, proptest::collection::btree_set(text, 1..3))
            .prop_map(|(name, values)| Node::OneOf(name, values.into_iter().collect())),
    ];
    let flat = |nodes: Vec<Node>, any: bool| {
        let same = |node: &Node| matches!((node, any), (Node::Any(_), true) | (Node::Every(_), false));
        let kept: Vec<_> = nodes.into_iter().filter(|node| !same(node)).collect();
        match (kept.len(), any) {
            (0, _) => Node::All,
            (1, _) => kept.into_iter().next().expect("one"),
            (_, true) => Node::Any(kept),
            (_, false) => Node::Every(kept),
        }
    };
    leaf.prop_recursive(3, 12, 3, move |inner| {
        prop_oneof![
            (proptest::collection::vec(inner.clone(), 2..4), any::<bool>())
                .prop_map(move |(n, any)| flat(n, any)),
            inner.prop_map(|node| Node::Not(Box::new(node))),
        ]
    })
}

proptest! {
    #[test]
    fn a_query_is_read_as_it_is_written(node in node()) {
        let text = Query(node.clone()).to_string();
        prop_assert_eq!(text.parse::<Query>(), Ok(Query(node)), "{}", text);
    }

    #[test]
    fn no_text_is_too_much_for_the_reader(text in "[a-z\"\\\\()=!<>:, ü]{0,60}") {
        let _ = text.parse::<Query>();
    }
}
