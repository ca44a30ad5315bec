//! How attributes and their texts may be named: an attribute is written `resource.district` in a policy.

use muster_items::Attributes;

use crate::limits::{
    ATTRIBUTE_NAME_BYTES_MAX, ATTRIBUTE_TEXT_BYTES_MAX, ATTRIBUTE_TEXTS_MAX, ATTRIBUTES_MAX,
    POLICY_NAME_BYTES_MAX,
};

/// What principals and items have besides attributes of the tenant's own naming, and words of the language.
const RESERVED: &[&str] = &[
    "tenant",
    "name",
    "device",
    "stream",
    "captured",
    "cell",
    "shared_with",
    "now",
    "principal",
    "action",
    "resource",
    "context",
    "true",
    "false",
    "if",
    "then",
    "else",
    "in",
    "is",
    "like",
    "has",
    "permit",
    "forbid",
    "when",
    "unless",
];

/// What is wrong with attributes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAttributes {
    /// A name cannot be written in a policy.
    #[error(
        "name an attribute {0:?}: a name is 1 to {ATTRIBUTE_NAME_BYTES_MAX} of a-z, 0-9 and _, begins with a letter, and is \
         none of the names that every item or principal has"
    )]
    Name(String),
    /// A text is empty, too long, or holds control characters.
    #[error(
        "give {name} the text {text:?}: a text has 1 to {ATTRIBUTE_TEXT_BYTES_MAX} bytes and no control characters"
    )]
    Text {
        /// Of which attribute.
        name: String,
        /// The text.
        text: String,
    },
    /// There are too many.
    #[error(
        "give more than {ATTRIBUTES_MAX} attributes, or one of them more than {ATTRIBUTE_TEXTS_MAX} texts"
    )]
    Many,
    /// A group cannot be named so.
    #[error(
        "name a group or a data set {0:?}: a name is 1 to {POLICY_NAME_BYTES_MAX} of a-z, 0-9, '-' and '_'"
    )]
    Group(String),
}

/// Whether an attribute may have this name.
pub fn is_attribute_name(name: &str) -> bool {
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= ATTRIBUTE_NAME_BYTES_MAX
        && name.chars().all(letters)
        && !RESERVED.contains(&name)
}

/// Whether a group, a data set or a policy may have this name.
///
/// # Errors
/// It may not.
pub fn check_name(name: &str) -> Result<(), InvalidAttributes> {
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if (1..=POLICY_NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(letters) {
        return Ok(());
    }
    Err(InvalidAttributes::Group(name.to_owned()))
}

/// Whether somebody or something may have these attributes.
///
/// # Errors
/// The first that it may not have.
pub fn check_attributes(attributes: &Attributes) -> Result<(), InvalidAttributes> {
    if attributes.0.len() > ATTRIBUTES_MAX {
        return Err(InvalidAttributes::Many);
    }
    for (name, texts) in &attributes.0 {
        if !is_attribute_name(name) {
            return Err(InvalidAttributes::Name(name.clone()));
        }
        if texts.len() > ATTRIBUTE_TEXTS_MAX {
            return Err(InvalidAttributes::Many);
        }
        let wrong = |text: &&String| {
            text.is_empty() || text.len() > ATTRIBUTE_TEXT_BYTES_MAX || text.chars().any(char::is_control)
        };
        if let Some(text) = texts.iter().find(wrong) {
            return Err(InvalidAttributes::Text { name: name.clone(), text: text.clone() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(name: &str, texts: &[&str]) -> Attributes {
        Attributes([(name.to_owned(), texts.iter().map(|text| (*text).to_owned()).collect())].into())
    }

    #[test]
    fn an_attribute_is_named_so_that_a_policy_can_name_it() {
        assert_eq!(check_attributes(&attributes("district", &["d7", "Straße 1 \"x\""])), Ok(()));
        for name in ["", "District", "7d", "a-b", "captured", "in", "tenant", &"a".repeat(33)] {
            assert!(check_attributes(&attributes(name, &["x"])).is_err(), "{name}");
        }
        for text in ["", "a\nb", &"a".repeat(65)] {
            assert!(check_attributes(&attributes("district", &[text])).is_err(), "{text:?}");
        }
    }

    #[test]
    fn groups_have_plain_names() {
        assert_eq!(check_name("night-shift_2"), Ok(()));
        for name in ["", "Officers", "a b", "a\"", &"a".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
