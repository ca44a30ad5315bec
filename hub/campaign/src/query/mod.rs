//! Which devices a campaign, or a wave of it, is for: `district = d7 and version < 1.2.0 and not tag:lab`.
//!
//! ```text
//! query = and ("or" and)*          and   = not ("and" not)*
//! not   = "not" not | "(" query ")" | term
//! term  = "all" | "tag:" value | name op value | name "in" "(" value ("," value)* ")"
//! op    = "=" | "!=" | "<" | "<=" | ">" | ">="
//! ```
//!
//! A name is `id`, `class`, `model`, `version` (of the firmware), or an attribute; `attribute:version` is an attribute of
//! that name. A value is a word, or anything in double quotes. An attribute may have several texts: `=` asks whether one of
//! them is the value, and `!=` whether none is. `<` and its like compare versions, and are false where one is none.

mod parse;

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use serde::{Deserialize, Serialize};

pub use parse::InvalidQuery;

use crate::version::compare;

/// The attribute whose texts are a device's tags.
pub const TAGS: &str = "tag";

/// What is known of a device when it is asked whether it is meant.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its class: what it needs images of.
    pub class: &'a str,
    /// Its model.
    pub model: &'a str,
    /// The version of the firmware that it said it runs; empty if it said nothing.
    pub version: &'a str,
    /// What its tenant says of it; its tags are the texts of `tag`.
    pub attributes: &'a BTreeMap<String, BTreeSet<String>>,
}

/// A query in its normal form: two texts that mean the same tree are one query, and have one hash in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Query(pub(crate) Node);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    All,
    Any(Vec<Node>),
    Every(Vec<Node>),
    Not(Box<Node>),
    Compare(Name, Op, String),
    OneOf(Name, Vec<String>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Name {
    Id,
    Class,
    Model,
    Version,
    Attribute(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Is,
    IsNot,
    Below,
    AtMost,
    Above,
    AtLeast,
}

impl Query {
    /// Every device.
    pub fn all() -> Self {
        Self(Node::All)
    }

    /// Whether that device is meant.
    pub fn matches(&self, candidate: &Candidate<'_>) -> bool {
        self.0.matches(candidate)
    }
}

impl Node {
    fn matches(&self, candidate: &Candidate<'_>) -> bool {
        match self {
            Self::All => true,
            Self::Any(nodes) => nodes.iter().any(|node| node.matches(candidate)),
            Self::Every(nodes) => nodes.iter().all(|node| node.matches(candidate)),
            Self::Not(node) => !node.matches(candidate),
            Self::Compare(name, Op::IsNot, value) => !name.any(candidate, |text| text == value),
            Self::Compare(name, op, value) => name.any(candidate, |text| op.holds(text, value)),
            Self::OneOf(name, values) => name.any(candidate, |text| values.iter().any(|value| value == text)),
        }
    }
}

impl Name {
    fn any(&self, candidate: &Candidate<'_>, holds: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Id => holds(candidate.id),
            Self::Class => holds(candidate.class),
            Self::Model => holds(candidate.model),
            Self::Version => holds(candidate.version),
            Self::Attribute(name) => {
                candidate.attributes.get(name).is_some_and(|texts| texts.iter().any(|text| holds(text)))
            }
        }
    }
}

impl Op {
    fn holds(self, text: &str, value: &str) -> bool {
        let ordered = |wanted: &[Ordering]| compare(text, value).is_some_and(|found| wanted.contains(&found));
        match self {
            Self::Is => text == value,
            Self::IsNot => text != value,
            Self::Below => ordered(&[Ordering::Less]),
            Self::AtMost => ordered(&[Ordering::Less, Ordering::Equal]),
            Self::Above => ordered(&[Ordering::Greater]),
            Self::AtLeast => ordered(&[Ordering::Greater, Ordering::Equal]),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Is => "=",
            Self::IsNot => "!=",
            Self::Below => "<",
            Self::AtMost => "<=",
            Self::Above => ">",
            Self::AtLeast => ">=",
        }
    }
}

impl FromStr for Query {
    type Err = InvalidQuery;
    fn from_str(text: &str) -> Result<Self, InvalidQuery> {
        parse::parse(text).map(Self)
    }
}

impl TryFrom<String> for Query {
    type Error = InvalidQuery;
    fn try_from(text: String) -> Result<Self, InvalidQuery> {
        text.parse()
    }
}

impl From<Query> for String {
    fn from(query: Query) -> Self {
        query.to_string()
    }
}

/// The text of the normal form, which is read as the same query.
impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |f: &mut fmt::Formatter<'_>, nodes: &[Self], word: &str, brackets: fn(&Self) -> bool| {
            for (place, node) in nodes.iter().enumerate() {
                let before = if place == 0 { "" } else { word };
                match brackets(node) {
                    true => write!(f, "{before}({node})")?,
                    false => write!(f, "{before}{node}")?,
                }
            }
            Ok(())
        };
        match self {
            Self::All => f.write_str("all"),
            Self::Any(nodes) => joined(f, nodes, " or ", |node| matches!(node, Self::Any(_))),
            Self::Every(nodes) => joined(f, nodes, " and ", |n| matches!(n, Self::Any(_) | Self::Every(_))),
            Self::Not(node) if matches!(**node, Self::Any(_) | Self::Every(_)) => write!(f, "not ({node})"),
            Self::Not(node) => write!(f, "not {node}"),
            Self::Compare(Name::Attribute(name), Op::Is, value) if name == TAGS => {
                write!(f, "tag:{}", parse::quoted(value))
            }
            Self::Compare(name, op, value) => write!(f, "{name} {} {}", op.as_str(), parse::quoted(value)),
            Self::OneOf(name, values) => {
                let values: Vec<_> = values.iter().map(|value| parse::quoted(value)).collect();
                write!(f, "{name} in ({})", values.join(", "))
            }
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id => f.write_str("id"),
            Self::Class => f.write_str("class"),
            Self::Model => f.write_str("model"),
            Self::Version => f.write_str("version"),
            Self::Attribute(name) if parse::is_plain(name) => f.write_str(name),
            Self::Attribute(name) => write!(f, "attribute:{}", parse::quoted(name)),
        }
    }
}

#[cfg(test)]
mod tests;
