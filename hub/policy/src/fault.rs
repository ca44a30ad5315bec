//! What is wrong with a text of policies: where, what, and what next.

use std::fmt;

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The policy, as its `@id` names it or by its number; none if the text could not be told apart into policies.
    pub policy: Option<String>,
    /// Line of the text, from 1 on; 0 if it is the whole text.
    pub line: usize,
    /// Column in characters, from 1 on.
    pub column: usize,
    /// What is wrong.
    pub what: String,
    /// What can be done about it.
    pub next: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}, column {}: ", self.line, self.column)?;
        }
        if let Some(policy) = &self.policy {
            write!(f, "policy {policy:?}: ")?;
        }
        write!(f, "{}", self.what)?;
        if self.next.is_empty() { Ok(()) } else { write!(f, "; {}", self.next) }
    }
}

impl Fault {
    /// A fault of the whole text.
    pub(crate) fn whole(what: impl Into<String>, next: &str) -> Self {
        Self { policy: None, line: 0, column: 0, what: what.into(), next: next.to_owned() }
    }

    /// The fault at this byte of `text`.
    pub(crate) fn at(mut self, text: &str, offset: Option<usize>) -> Self {
        let Some(before) = offset.and_then(|offset| text.get(..offset.min(text.len()))) else { return self };
        self.line = before.matches('\n').count() + 1;
        self.column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        self
    }
}
