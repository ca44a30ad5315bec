//! What is said of a text that is no good.

use crate::{Fault, Policies, limits::POLICY_TEXT_BYTES_MAX};

fn faults(text: &str) -> Vec<Fault> {
    Policies::parse(text).expect_err("it is no good")
}

#[test]
fn a_fault_says_where_and_what_and_what_next() {
    let text =
        "@id(\"a\")\npermit (principal, action == Action::\"view\", resource)\nwhen { resource.colour == };";
    let [fault] = faults(text).try_into().unwrap_or_else(|all| panic!("{all:?}"));
    assert_eq!(fault.line, 3, "{fault}");
    assert!(!fault.what.is_empty() && !fault.next.is_empty(), "{fault}");

    let text =
        "@id(\"a\")\npermit (principal, action == Action::\"view\", resource)\nwhen { resource.stream > 7 };";
    let all = faults(text);
    assert_eq!((all[0].policy.as_deref(), all[0].line), (Some("a"), 3), "{all:?}");
    let told = all[0].to_string();
    assert!(told.contains("line 3, column ") && told.contains("policy \"a\""), "{told}");
}

#[test]
fn what_no_item_has_is_told_when_it_is_written() {
    for (text, about) in [
        ("permit (principal, action == Action::\"fly\", resource);", "fly"),
        ("permit (principal == Robot::\"r\", action == Action::\"view\", resource);", "Robot"),
        (
            "permit (principal, action == Action::\"view\", resource) when { resource.Colour == \"x\" };",
            "Colour",
        ),
        (
            "permit (principal, action == Action::\"view\", resource) when { resource.district == \"d7\" };",
            "",
        ),
        ("permit (principal, action, resource) when { resource.captured < context.now };", ""),
        ("permit (principal == ?principal, action, resource);", "slot"),
        ("@id(\"tenant-wall\") permit (principal, action == Action::\"view\", resource);", "name"),
        ("@id(\"A b\") permit (principal, action == Action::\"view\", resource);", "name"),
        (
            "@id(\"a\") permit (principal, action == Action::\"view\", resource);\n\
             @id(\"a\") permit (principal, action == Action::\"view\", resource);",
            "twice",
        ),
    ] {
        let told = faults(text).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(told.contains(about), "{text}: {told}");
    }
}

#[test]
fn a_text_is_bounded_before_it_is_parsed() {
    assert!(faults(&" ".repeat(POLICY_TEXT_BYTES_MAX + 1))[0].what.contains("bytes"));
    let policy = |condition: &str| {
        format!("permit (principal, action == Action::\"view\", resource) when {{ {condition} }};")
    };
    for condition in ["(".repeat(10_000), "!".repeat(10_000), "-".repeat(10_000), "true && ".repeat(3_000)] {
        assert!(Policies::parse(&policy(&condition)).is_err());
    }
    let many = "permit (principal, action == Action::\"view\", resource);".repeat(101);
    assert!(faults(&many)[0].what.contains("101 policies"));
    let longest = policy(&format!("true{}", " && true".repeat(crate::limits::POLICY_OPERATORS_MAX)));
    assert!(Policies::parse(&longest).is_ok(), "the bound itself is allowed");
}

#[test]
fn a_text_without_policies_lets_nobody_in() {
    let none = Policies::parse("// nothing yet\n").unwrap();
    assert!(none.is_empty() && none.names().next().is_none());
}
