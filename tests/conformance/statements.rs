//! The numbered statements of a standard, and what is said of those without evidence.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    str::FromStr,
};

use muster_mqtt::Version;
use serde::Deserialize;

use crate::root;

/// A statement's number, as in `[MQTT-3.1.2-4]`. Ordered as the standard is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number {
    sections: Vec<u16>,
    statement: u16,
}

impl FromStr for Number {
    type Err = ();

    /// Takes `3.1.2-4`, and `3-8.3-4`, which is how MQTT 3.1.1 writes one of them.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (sections, statement) = text.rsplit_once('-').ok_or(())?;
        let sections = sections.split(['.', '-']).map(|part| part.parse().map_err(|_| ()));
        let sections = sections.collect::<Result<Vec<u16>, ()>>()?;
        let statement = statement.parse().map_err(|_| ())?;
        if sections.len() < 2 { Err(()) } else { Ok(Self { sections, statement }) }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sections: Vec<_> = self.sections.iter().map(u16::to_string).collect();
        write!(f, "{}-{}", sections.join("."), self.statement)
    }
}

/// Whom a statement binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Binds {
    Server,
    Client,
    Both,
}

impl Binds {
    pub fn a_server(self) -> bool {
        self != Self::Client
    }
}

pub struct Statement {
    pub binds: Binds,
    pub summary: String,
}

/// One standard.
pub struct Standard {
    pub version: Version,
    pub title: &'static str,
    pub statements: BTreeMap<Number, Statement>,
    /// What we choose not to do, or cannot show, each with its reason.
    pub exceptions: BTreeMap<Number, String>,
    /// What nothing covers yet. The list may only become shorter.
    pub waiting: BTreeSet<Number>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exceptions {
    exceptions: BTreeMap<String, String>,
    waiting: Vec<String>,
}

/// How a version is written in file names and tables.
pub fn name(version: Version) -> &'static str {
    match version {
        Version::V311 => "311",
        Version::V5 => "5",
    }
}

/// Both standards, the older one first.
pub fn standards() -> [Standard; 2] {
    [standard(Version::V311, "MQTT 3.1.1"), standard(Version::V5, "MQTT 5.0")]
}

fn standard(version: Version, title: &'static str) -> Standard {
    let number = |text: &str| text.parse().unwrap_or_else(|()| panic!("{text:?} is no number"));
    let statements: BTreeMap<String, (Binds, String)> = read(&format!("statements-{}.toml", name(version)));
    let said: BTreeMap<String, Exceptions> = read("exceptions.toml");
    let said = said.into_iter().find(|(key, _)| key == name(version)).expect("a table for each version").1;
    Standard {
        version,
        title,
        statements: statements
            .into_iter()
            .map(|(key, (binds, summary))| (number(&key), Statement { binds, summary }))
            .collect(),
        exceptions: said.exceptions.into_iter().map(|(key, reason)| (number(&key), reason)).collect(),
        waiting: said.waiting.iter().map(|key| number(key)).collect(),
    }
}

pub fn read<T: for<'de> Deserialize<'de>>(file: &str) -> T {
    let path = root().join("tests/conformance").join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
    toml::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn the_lists_are_complete() {
    // As many as the appendix B of each standard has.
    let count = standards().map(|standard| standard.statements.len());
    assert_eq!(count, [141, 251]);
}

#[test]
fn numbers_are_ordered_as_the_standard_is() {
    let number = |text: &str| text.parse::<Number>().expect("a number");
    assert!(number("3.8.3-4") < number("3.10.1-1"));
    assert!(number("3.1.2-9") < number("3.1.2-10"));
    assert_eq!(number("3-8.3-4"), number("3.8.3-4"));
    assert!("3.2.2.3.13".parse::<Number>().is_err(), "a section is no statement");
}
