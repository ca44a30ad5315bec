//! Which fields are sensitive: where somebody is, who somebody is, which thing it is, and what opens a door.
//!
//! Built-in rules look at the last segment of a SenML name (`gps-lat`, never `latency`), at the unit (RFC 8428 §12.1),
//! and at the shape of texts. A tenant's patterns stand above them: `add` beats `exempt`, and `exempt` beats what is
//! built in, whatever order they were written in. The rules err towards sealing; an exemption is one line.

mod names;
mod pattern;
mod shapes;

use std::collections::BTreeSet;

use crate::{Column, Values};

pub use pattern::{InvalidPattern, Pattern, Says};

/// What makes a field sensitive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Where a thing or a person is.
    Location,
    /// Which thing it is: serial numbers, addresses of interfaces, subscriber and vehicle numbers.
    Id,
    /// What opens a door: passwords, tokens, keys.
    Credential,
    /// Who somebody is, or how to reach them.
    Person,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Location, Self::Id, Self::Credential, Self::Person];

    /// The word for it in the API and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Location => "location",
            Self::Id => "id",
            Self::Credential => "credential",
            Self::Person => "person",
        }
    }

    /// The class that the word stands for.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == word)
    }
}

/// What the name of a field settles. It is the same for all readings of a column: ask once and keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Sensitive, whatever its value is.
    Sensitive(Class),
    /// Not sensitive, whatever its value is: the tenant said so.
    Exempt,
    /// The name says nothing: texts are judged by their shape, and nothing else is sensitive.
    ByValue,
}

/// The rules of one tenant: the built-in ones, and its own patterns above them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    patterns: Vec<Pattern>,
    off: BTreeSet<Class>,
}

impl Rules {
    /// The built-in rules below these patterns. The default has none.
    pub fn new(patterns: Vec<Pattern>) -> Self {
        Self { patterns, off: BTreeSet::new() }
    }

    /// The same, without the built-in rules of these classes.
    #[must_use]
    pub fn without(self, off: BTreeSet<Class>) -> Self {
        Self { off, ..self }
    }

    /// Why a field is sensitive; none if it is not. `text` is its value where that is a text.
    pub fn class_of(
        &self,
        stream: &str,
        name: &str,
        unit: Option<&str>,
        text: Option<&str>,
    ) -> Option<Class> {
        match self.verdict(stream, name, unit) {
            Verdict::Sensitive(class) => Some(class),
            Verdict::Exempt => None,
            Verdict::ByValue => text.and_then(Self::class_of_text).filter(|class| self.is_on(*class)),
        }
    }

    /// What stream, name and unit settle, for all readings of that column.
    pub fn verdict(&self, stream: &str, name: &str, unit: Option<&str>) -> Verdict {
        let mut exempt = false;
        for pattern in &self.patterns {
            match (pattern.says(), pattern.matches(stream, name)) {
                (_, false) => {}
                (Says::Add(class), true) => return Verdict::Sensitive(class),
                (Says::Exempt, true) => exempt = true,
            }
        }
        if exempt {
            return Verdict::Exempt;
        }
        match names::class_of(name, unit).filter(|class| self.is_on(*class)) {
            Some(class) => Verdict::Sensitive(class),
            None => Verdict::ByValue,
        }
    }

    fn is_on(&self, class: Class) -> bool {
        !self.off.contains(&class)
    }

    /// What the shape of a text says, where the name said nothing. It knows of no class that is off: whoever asks here
    /// seals rather too much.
    pub fn class_of_text(text: &str) -> Option<Class> {
        shapes::class_of(text)
    }

    /// Why a column is sensitive: by its name, or because one of its texts has the shape.
    pub fn class_of_column(&self, stream: &str, column: &Column) -> Option<Class> {
        match self.verdict(stream, &column.name, column.unit.as_deref()) {
            Verdict::Sensitive(class) => Some(class),
            Verdict::Exempt => None,
            Verdict::ByValue => match &column.values {
                Values::Texts(texts) => {
                    let classes = texts.iter().flatten().filter_map(|text| Self::class_of_text(text));
                    classes.into_iter().find(|class| self.is_on(*class))
                }
                Values::Numbers(_) | Values::Bools(_) | Values::Bytes(_) => None,
            },
        }
    }
}

#[cfg(test)]
mod tests;
