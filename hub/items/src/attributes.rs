//! What is known of a device, a user or an item beside its name: `district = d7`.

use std::collections::{BTreeMap, BTreeSet};

/// Names, each with one or several texts. A rule asks whether two of them have a text in common.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash, PartialOrd, Ord)]
pub struct Attributes(pub BTreeMap<String, BTreeSet<String>>);

impl Attributes {
    /// The texts of one name; none if it is not there.
    pub fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.get(name).into_iter().flatten().map(String::as_str)
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
