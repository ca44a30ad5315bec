//! Versions as SUIT has them (draft-ietf-suit-update-management-16 §4.4): integers, compared one after the other,
//! where -1 is a release candidate, -2 a beta and -3 an alpha.

use std::{cmp::Ordering, fmt, str::FromStr};

use crate::limits::VERSION_NUMBERS_MAX;

const PRE_RELEASES: [(i64, &str); 3] = [(-1, "rc"), (-2, "beta"), (-3, "alpha")];

/// A version: 1 to 8 integers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Version(Vec<i64>);

/// Why a text is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "is no version: write numbers with dots between, as in 1.4.0, and after a hyphen alpha, beta or rc, as in 1.4.0-rc.2"
)]
pub struct InvalidVersion;

/// How a version has to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Above.
    Greater,
    /// Above, or the same as far as it goes.
    GreaterOrEqual,
    /// The same as far as it goes.
    Equal,
    /// Below, or the same as far as it goes.
    LesserOrEqual,
    /// Below.
    Lesser,
}

impl Comparison {
    /// As it travels.
    pub fn from_number(number: u64) -> Option<Self> {
        let all = [Self::Greater, Self::GreaterOrEqual, Self::Equal, Self::LesserOrEqual, Self::Lesser];
        all.into_iter().zip(1..).find_map(|(comparison, n)| (n == number).then_some(comparison))
    }
}

impl Version {
    /// None when there are none or too many.
    pub fn new(numbers: Vec<i64>) -> Option<Self> {
        (1..=VERSION_NUMBERS_MAX).contains(&numbers.len()).then_some(Self(numbers))
    }

    /// Its integers.
    pub fn numbers(&self) -> &[i64] {
        &self.0
    }

    /// Whether this version, which a component has, compares so with what a manifest names. Only as many integers are
    /// compared as the manifest names (§4.4); where this version has fewer, zeros follow.
    pub fn matches(&self, comparison: Comparison, named: &Self) -> bool {
        let ours = self.0.iter().copied().chain(std::iter::repeat(0));
        let order = ours.zip(&named.0).map(|(ours, named)| ours.cmp(named)).find(|order| order.is_ne());
        match order.unwrap_or(Ordering::Equal) {
            Ordering::Greater => matches!(comparison, Comparison::Greater | Comparison::GreaterOrEqual),
            Ordering::Less => matches!(comparison, Comparison::Lesser | Comparison::LesserOrEqual),
            Ordering::Equal => matches!(
                comparison,
                Comparison::GreaterOrEqual | Comparison::Equal | Comparison::LesserOrEqual
            ),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, number) in self.0.iter().enumerate() {
            match PRE_RELEASES.iter().find(|(negative, _)| negative == number) {
                Some((_, word)) => write!(f, "-{word}")?,
                None if place == 0 => write!(f, "{number}")?,
                None => write!(f, ".{number}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for Version {
    type Err = InvalidVersion;
    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            text.parse::<i64>().ok().filter(|_| digits).ok_or(InvalidVersion)
        };
        let (release, pre_release) = match text.split_once('-') {
            Some((release, pre_release)) => (release, Some(pre_release)),
            None => (text, None),
        };
        let mut numbers = release.split('.').map(number).collect::<Result<Vec<_>, _>>()?;
        if let Some(pre_release) = pre_release {
            let mut parts = pre_release.split('.');
            let word = parts.next().unwrap_or_default();
            let (negative, _) =
                PRE_RELEASES.iter().find(|(_, known)| *known == word).ok_or(InvalidVersion)?;
            numbers.push(*negative);
            for part in parts {
                numbers.push(number(part)?);
            }
        }
        Self::new(numbers).ok_or(InvalidVersion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_read_as_the_draft_writes_them() {
        for (text, numbers) in [
            ("1.2.3", &[1, 2, 3][..]),
            ("1.2-rc.3", &[1, 2, -1, 3]),
            ("1.2-beta", &[1, 2, -2]),
            ("1.2.3-alpha.4", &[1, 2, 3, -3, 4]),
            ("2025.12.6", &[2025, 12, 6]),
        ] {
            let version: Version = text.parse().expect(text);
            assert_eq!(version.numbers(), numbers);
            assert_eq!(version.to_string(), text);
        }
        for text in
            ["", "1.", "1..2", "v1", "1.2-dev", "-1", "1.2.3.4.5.6.7.8.9", "1.+2", "9223372036854775808"]
        {
            assert_eq!(text.parse::<Version>(), Err(InvalidVersion), "{text:?}");
        }
    }

    #[test]
    fn versions_compare_as_far_as_the_manifest_names_them() {
        let is = |ours: &str, comparison, named: &str| {
            ours.parse::<Version>().expect(ours).matches(comparison, &named.parse().expect(named))
        };
        assert!(is("1.9.7", Comparison::Equal, "1"));
        assert!(is("1.0.4", Comparison::GreaterOrEqual, "1.0") && is("1.0.4", Comparison::Lesser, "1.10"));
        assert!(is("2.0-rc.1", Comparison::Lesser, "2.0.0") && is("2.0-rc.1", Comparison::Greater, "1.99"));
        assert!(is("1", Comparison::Equal, "1.0") && !is("1", Comparison::Greater, "1.0"));
        assert!(is("1.1", Comparison::LesserOrEqual, "1.1") && !is("1.2", Comparison::LesserOrEqual, "1.1"));
        assert_eq!(Comparison::from_number(0), None);
        assert_eq!(Comparison::from_number(6), None);
    }
}
