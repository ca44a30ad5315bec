//! Lines that go to a server together, and where each ends.

use std::ops::Range;

use crate::limits::{REQUEST_BYTES_MAX, REQUEST_LINES_MAX};

/// Lines, in the order in which they were measured and came in.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    lines: String,
    /// Where each line ends, its newline included.
    ends: Vec<usize>,
}

impl Batch {
    /// Lets `write` append one line; what it appends is a line only if it says so with `Ok`.
    ///
    /// # Errors
    /// What `write` said; nothing was appended.
    pub fn line<T, E>(&mut self, write: impl FnOnce(&mut String) -> Result<T, E>) -> Result<T, E> {
        let start = self.lines.len();
        let written = write(&mut self.lines);
        if written.is_err() {
            self.lines.truncate(start);
        } else if self.lines.len() > start {
            self.ends.push(self.lines.len());
        }
        written
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no line.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Whether what follows is for the next batch. One message may hold more lines than a request takes.
    pub fn is_full(&self) -> bool {
        self.len() >= REQUEST_LINES_MAX || self.lines.len() >= REQUEST_BYTES_MAX
    }

    /// The text of some lines.
    pub fn text(&self, lines: &Range<usize>) -> &str {
        let end_of = |line: usize| line.checked_sub(1).and_then(|before| self.ends.get(before)).copied();
        let (start, end) = (end_of(lines.start).unwrap_or(0), end_of(lines.end).unwrap_or(0));
        self.lines.get(start..end).unwrap_or_default()
    }

    /// The first lines of `lines` that fit one request of at most `lines_max`; at least one.
    pub fn request(&self, lines: &Range<usize>, lines_max: usize) -> Range<usize> {
        let start = lines.start.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let ends = self.ends.get(lines.clone()).unwrap_or_default();
        let fit = ends.iter().take(lines_max).take_while(|end| **end - start <= REQUEST_BYTES_MAX).count();
        lines.start..(lines.start + fit.max(1)).min(lines.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(lines: &[&str]) -> Batch {
        let mut batch = Batch::default();
        for line in lines {
            batch
                .line(|out| {
                    out.push_str(line);
                    out.push('\n');
                    Ok::<_, ()>(())
                })
                .expect("written");
        }
        batch
    }

    #[test]
    fn a_batch_knows_its_lines() {
        let mut batch = batch(&["one", "a \"text\nof two\" lines", "three"]);
        assert_eq!(batch.line(|out| (out.push_str("half"), Err::<(), _>("no")).1), Err("no"));
        assert_eq!(batch.len(), 3);
        assert_eq!(batch.text(&(0..3)), "one\na \"text\nof two\" lines\nthree\n");
        assert_eq!(batch.text(&(1..2)), "a \"text\nof two\" lines\n");
        assert_eq!(batch.text(&(3..3)), "");
    }

    #[test]
    fn a_request_holds_what_it_may_and_at_least_one_line() {
        let long = "x".repeat(REQUEST_BYTES_MAX);
        let batch = batch(&["one", "two", &long, "four"]);
        assert_eq!(batch.request(&(0..4), 5), 0..2);
        assert_eq!(batch.request(&(0..4), 1), 0..1);
        assert_eq!(batch.request(&(2..4), 5), 2..3, "one that is too long goes alone");
        assert_eq!(batch.request(&(3..4), 5), 3..4);
        assert!(batch.is_full());
    }
}
