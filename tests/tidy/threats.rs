//! `docs/threat-model.md` names, for each threat and each property, the tests that attack it: the tests are there.

use std::{collections::BTreeSet, fs};

use crate::{files, root};

/// What every threat is looked at for.
const PROPERTIES: [&str; 5] =
    ["authentication", "authorization", "integrity", "non-repudiation", "confidentiality"];
/// What a cell says that has no test: the threat does not touch that property, or nothing holds it. A sentence follows.
const WITHOUT_TEST: [&str; 2] = ["n/a:", "open:"];

/// The names of all functions that are tests.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in files(&[".rs"]) {
        let text = fs::read_to_string(&path).expect("readable");
        let mut lines = text.lines().map(str::trim);
        while let Some(line) = lines.next() {
            if !line.starts_with("#[test]") && !line.starts_with("#[tokio::test") {
                continue;
            }
            // Attributes may stand between.
            if let Some(function) = lines.find(|line| line.contains("fn ")) {
                let name = function.split("fn ").nth(1).unwrap_or_default();
                names.insert(name.split(['(', '<']).next().unwrap_or_default().to_owned());
            }
        }
    }
    names
}

/// The rows of the page's tables: the cells between the bars.
fn rows(page: &str) -> Vec<Vec<&str>> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    rows.map(|row| row.split(" | ").map(str::trim).collect()).collect()
}

#[test]
fn every_cell_of_the_threat_model_names_a_test_that_there_is() {
    let page = fs::read_to_string(root().join("docs/threat-model.md")).expect("readable");
    let (tests, mut wrong, mut threats) = (tests(), Vec::new(), 0);
    for cells in rows(&page) {
        let [threat, cells @ ..] = cells.as_slice() else { continue };
        if cells.len() != PROPERTIES.len() || cells == PROPERTIES || threat.starts_with("---") {
            continue;
        }
        threats += 1;
        for (property, cell) in PROPERTIES.iter().zip(cells) {
            let named: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
            if named.is_empty() && !WITHOUT_TEST.iter().any(|word| cell.starts_with(word)) {
                wrong.push(format!("{threat}, {property}: neither a test nor a reason"));
            }
            let missing = named.iter().filter(|name| !tests.contains(**name));
            wrong.extend(missing.map(|name| format!("{threat}, {property}: there is no test `{name}`")));
        }
    }
    assert!(threats >= 10, "the page has {threats} threats; was its table changed?");
    assert!(wrong.is_empty(), "docs/threat-model.md:\n{}", wrong.join("\n"));
}
