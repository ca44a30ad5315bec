//! A tenant's own patterns: `stream/name`, with `*` for any run of characters and `?` for one.

use crate::limits::SENSITIVE_PATTERN_BYTES_MAX;

use super::Class;

/// What a pattern says of the fields that it fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// They are sensitive.
    Add(Class),
    /// They are not, whatever the built-in rules say.
    Exempt,
}

/// One line of a tenant's rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    stream: String,
    name: String,
    says: Says,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// There is no `/` in it, or nothing on one side.
    #[error(
        "read the pattern {0:?}: write stream/name, with * for any characters, as in climate/* or */battery"
    )]
    Form(String),
    /// It is too long.
    #[error("read a pattern of {0} bytes: {SENSITIVE_PATTERN_BYTES_MAX} are allowed")]
    Long(usize),
}

impl Pattern {
    /// Reads `stream/name`. All after the first `/` is the name: SenML names may have more of them.
    ///
    /// # Errors
    /// It has no such form, or is too long.
    pub fn parse(text: &str, says: Says) -> Result<Self, InvalidPattern> {
        if text.len() > SENSITIVE_PATTERN_BYTES_MAX {
            return Err(InvalidPattern::Long(text.len()));
        }
        let (stream, name) = text.split_once('/').ok_or_else(|| InvalidPattern::Form(text.to_owned()))?;
        if stream.is_empty() || name.is_empty() {
            return Err(InvalidPattern::Form(text.to_owned()));
        }
        Ok(Self { stream: stream.to_owned(), name: name.to_owned(), says })
    }

    /// What it says.
    pub fn says(&self) -> Says {
        self.says
    }

    /// Whether it fits a field. Letters count as they are, capitals too.
    pub fn matches(&self, stream: &str, name: &str) -> bool {
        glob(self.stream.as_bytes(), stream.as_bytes()) && glob(self.name.as_bytes(), name.as_bytes())
    }
}

/// Whether `text` fits `glob`. After a mismatch it goes back to the last `*` and gives it one character more, which is
/// enough, and costs at most the product of both lengths.
fn glob(glob: &[u8], text: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(read) {
        match glob.get(at) {
            Some(b'*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(wanted) if wanted == byte || *wanted == b'?' => {
                at += 1;
                read += 1;
            }
            _ => match star {
                Some((place, from)) => {
                    star = Some((place, from + 1));
                    at = place + 1;
                    read = from + 1;
                }
                None => return false,
            },
        }
    }
    glob.get(at..).is_none_or(|rest| rest.iter().all(|byte| *byte == b'*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_fits_as_in_a_shell() {
        let table = [
            ("*", "", true),
            ("*", "abc", true),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "acb", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*ab*ab", "abab", true),
            ("*ab*ab", "ab", false),
            ("", "", true),
            ("", "a", false),
            ("a**", "a", true),
            ("urn:*:load", "urn:dev:x:load", true),
        ];
        for (pattern, text, fits) in table {
            assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), fits, "{pattern} on {text}");
        }
    }

    #[test]
    fn a_pattern_is_a_stream_and_a_name() {
        for text in ["", "climate", "/x", "x/"] {
            assert!(matches!(Pattern::parse(text, Says::Exempt), Err(InvalidPattern::Form(_))), "{text}");
        }
        let long = format!("s/{}", "n".repeat(SENSITIVE_PATTERN_BYTES_MAX));
        assert!(matches!(Pattern::parse(&long, Says::Exempt), Err(InvalidPattern::Long(_))));
        let pattern = Pattern::parse("climate/a/b", Says::Exempt).expect("pattern");
        assert!(pattern.matches("climate", "a/b"));
        assert!(!pattern.matches("Climate", "a/b"));
    }
}
