//! Versions as makers of firmware write them: numbers with points, perhaps a word after a hyphen.

use std::cmp::Ordering;

/// Compares two versions: `1.2.0 < 1.10`, `2.0.0-rc.1 < 2.0.0`. What follows a `+` does not count (as in Semantic
/// Versioning 2.0.0 §10). None if one of them does not begin with a number: nothing is known of which is newer.
pub fn compare(left: &str, right: &str) -> Option<Ordering> {
    let ((left, left_word), (right, right_word)) = (cut(left)?, cut(right)?);
    Some(numbers(left, right).then_with(|| match (left_word, right_word) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(left), Some(right)) => words(left, right),
    }))
}

/// The numbers, and the word after the hyphen.
fn cut(version: &str) -> Option<(&str, Option<&str>)> {
    let version = version.strip_prefix('v').unwrap_or(version);
    let version = version.split_once('+').map_or(version, |(version, _)| version);
    let (numbers, word) = version.split_once('-').map_or((version, None), |(n, word)| (n, Some(word)));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    numbers.split('.').all(digits).then_some((numbers, word))
}

fn number(left: &str, right: &str) -> Ordering {
    let (left, right) = (left.trim_start_matches('0'), right.trim_start_matches('0'));
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

/// A number that is not there is 0: `1.2` is `1.2.0`.
fn numbers(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.split('.'), right.split('.'));
    loop {
        let ordering = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (left, right) => number(left.unwrap_or("0"), right.unwrap_or("0")),
        };
        if ordering != Ordering::Equal {
            return ordering;
        }
    }
}

/// Semantic Versioning 2.0.0 §11: numbers below words, fewer parts below more.
fn words(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.split('.'), right.split('.'));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    loop {
        let ordering = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(left), Some(right)) => match (is_number(left), is_number(right)) {
                (true, true) => number(left, right),
                (true, false) => Ordering::Less,
                (false, true) => Ordering::Greater,
                (false, false) => left.cmp(right),
            },
        };
        if ordering != Ordering::Equal {
            return ordering;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_people_read_them() {
        let ascending = [
            "0.9",
            "1.0.0-1",
            "1.0.0-rc.1",
            "1.0.0-rc.2",
            "1.0.0-rc.10",
            "1.0",
            "1.2.0",
            "1.2.1+x",
            "v1.10.0",
            "2",
        ];
        for (i, left) in ascending.iter().enumerate() {
            for (j, right) in ascending.iter().enumerate() {
                assert_eq!(compare(left, right), Some(i.cmp(&j)), "{left} and {right}");
            }
        }
    }

    #[test]
    fn what_does_not_begin_with_a_number_is_neither_newer_nor_older() {
        for none in ["", "bookworm", "1..2", "-1", "1.x", "."] {
            assert_eq!(compare(none, "1.0"), None, "{none}");
        }
    }

    #[test]
    fn numbers_have_no_largest() {
        let large = "1.99999999999999999999999999999999";
        assert_eq!(compare(large, "1.100000000000000000000000000000000"), Some(Ordering::Less));
        assert_eq!(compare("1.007", "1.7"), Some(Ordering::Equal));
    }
}
