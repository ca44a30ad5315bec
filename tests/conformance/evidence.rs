//! What covers a statement: a vector whose name carries its tag, or a test whose comment or body does.
//!
//! In Rust a tag `[MQTT-x.y.z-n]` means MQTT 5, and `[MQTT311-x.y.z-n]` means 3.1.1. A tag outside of a test says where
//! the code has it from, and covers nothing.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use muster_mqtt::Version;

use crate::{
    root,
    statements::{Number, standards},
    vectors,
};

/// What covers each statement, in the order found.
pub type Covered = BTreeMap<(Version, Number), Vec<String>>;

#[derive(Default)]
pub struct Evidence {
    pub covered: Covered,
    /// By vectors that are not yet true.
    pub pending: Covered,
    /// Tags that are no number of their standard, with where they stand.
    pub unknown: Vec<String>,
}

pub fn evidence() -> Evidence {
    let mut evidence = Evidence::default();
    for file in vectors::files() {
        for vector in &file.vectors {
            let shown = format!("`{}`: {}", file.shown, without_tags(&vector.name));
            let into = if vector.pending { &mut evidence.pending } else { &mut evidence.covered };
            for (_, number) in tags(&vector.name) {
                into.entry((file.version, number)).or_default().push(shown.clone());
            }
        }
    }
    for path in sources() {
        let text = fs::read_to_string(&path).expect("readable");
        let shown = path.strip_prefix(root()).expect("below the root").display().to_string();
        for test in tests(&text) {
            for (version, number) in tags(&test.text) {
                let covered = evidence.covered.entry((version, number)).or_default();
                let line = format!("`{shown}`: {}", test.name.replace('_', " "));
                if !covered.contains(&line) {
                    covered.push(line);
                }
            }
        }
    }
    for standard in standards() {
        for found in [&evidence.covered, &evidence.pending] {
            for ((version, number), places) in found {
                if *version == standard.version && !standard.statements.contains_key(number) {
                    evidence.unknown.push(format!("{} {number}: {places:?}", standard.title));
                }
            }
        }
    }
    evidence
}

/// The tags in a text, with the version that they would mean in Rust.
fn tags(text: &str) -> Vec<(Version, Number)> {
    let mut found = Vec::new();
    for (start, version) in [("[MQTT-", Version::V5), ("[MQTT311-", Version::V311)] {
        for part in text.split(start).skip(1) {
            let number = part.split(']').next().and_then(|number| number.parse().ok());
            found.extend(number.map(|number| (version, number)));
        }
    }
    found
}

fn without_tags(name: &str) -> String {
    let kept = name.split('[').enumerate().map(|(index, part)| match part.split_once(']') {
        Some((tag, rest)) if index > 0 && tag.starts_with("MQTT") => rest.trim(),
        _ => part,
    });
    kept.collect::<String>().trim().to_owned()
}

struct Test {
    name: String,
    /// Its comment and its body.
    text: String,
}

/// The tests of a file, as rustfmt writes them: attributes at one indentation, and a brace at the same to end it.
fn tests(text: &str) -> Vec<Test> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        if !matches!(line.trim(), "#[test]" | "#[actix_rt::test]" | "#[tokio::test]") {
            continue;
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        let comment = lines[..at].iter().rev().take_while(|line| {
            let line = line.trim_start();
            line.starts_with("///") || line.starts_with("#[")
        });
        let end = format!("{indent}}}");
        let body = lines[at..].iter().position(|line| *line == end).map_or(lines.len(), |length| at + length);
        let name = lines[at..body].iter().find_map(|line| line.trim_start().split("fn ").nth(1));
        let name = name.and_then(|name| name.split('(').next()).unwrap_or_default().to_owned();
        let mut told: Vec<&str> = comment.copied().collect();
        told.extend(&lines[at..body]);
        found.push(Test { name, text: told.join("\n") });
    }
    found
}

/// Every Rust file of the project, in a fixed order; the one you read left out, whose tags are only examples.
fn sources() -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        let mut entries: Vec<_> =
            fs::read_dir(folder).expect("readable").map(|entry| entry.expect("an entry").path()).collect();
        entries.sort();
        for path in entries {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" {
                    walk(&path, found);
                }
            } else if name.ends_with(".rs") && !path.ends_with(file!()) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root(), &mut found);
    found
}

#[test]
fn tags_are_found_in_the_comments_and_bodies_of_tests_only() {
    let text = "// [MQTT-1.1.1-1]\nfn code() {}\n\n/// Why [MQTT-2.2.2-2].\n#[test]\nfn it_holds() {\n    \
                // [MQTT311-3.3.3-3] and [MQTT-4.1.2.3]\n}\n// [MQTT-5.5.5-5]\n";
    let tests = tests(text);
    assert_eq!(tests.len(), 1);
    assert_eq!(tests[0].name, "it_holds");
    let number = |text: &str| text.parse::<Number>().expect("a number");
    let expected = [(Version::V5, number("2.2.2-2")), (Version::V311, number("3.3.3-3"))];
    assert_eq!(tags(&tests[0].text), expected);
    assert_eq!(without_tags("a [MQTT-1.1.1-1] [MQTT-2.2.2-2]"), "a");
}

#[test]
fn every_tag_is_a_statement_of_its_standard() {
    let unknown = evidence().unknown;
    assert!(unknown.is_empty(), "no statements:\n{}", unknown.join("\n"));
}
