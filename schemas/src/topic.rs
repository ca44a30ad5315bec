//! Topic names and topic filters (MQTT 5 §4.7), checked once and cheap to clone.

use std::{fmt, str::FromStr};

use bytestring::ByteString;

use crate::limits::{TOPIC_BYTES_MAX, TOPIC_LEVELS_MAX};

/// Why a text is not a topic name or filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTopic {
    /// At least one character is required [MQTT-4.7.3-1].
    #[error("is empty")]
    Empty,
    /// Longer than our bound.
    #[error("is longer than {TOPIC_BYTES_MAX} bytes")]
    TooLong,
    /// More levels than our bound.
    #[error("has more than {TOPIC_LEVELS_MAX} levels")]
    TooDeep,
    /// U+0000 is not allowed [MQTT-4.7.3-2].
    #[error("has a null character")]
    Null,
    /// A wildcard in a topic name [MQTT-3.3.2-2].
    #[error("has a wildcard, which only a filter may have")]
    Wildcard,
    /// `#` or `+` shares its level, or `#` is not last [MQTT-4.7.1-1], [MQTT-4.7.1-2].
    #[error("has a wildcard that does not fill its level, or '#' before the last level")]
    MisplacedWildcard,
}

fn check(text: &str) -> Result<(), InvalidTopic> {
    if text.is_empty() {
        return Err(InvalidTopic::Empty);
    }
    if text.len() > TOPIC_BYTES_MAX {
        return Err(InvalidTopic::TooLong);
    }
    let mut separators = 0;
    for byte in text.bytes() {
        match byte {
            0 => return Err(InvalidTopic::Null),
            b'/' => separators += 1,
            _ => {}
        }
    }
    if separators >= TOPIC_LEVELS_MAX {
        return Err(InvalidTopic::TooDeep);
    }
    Ok(())
}

/// A topic name: where a message is published. No wildcards, 1 to 4,096 bytes, at most 64 levels.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(ByteString);

/// A topic filter: what a subscription asks for. `+` stands for one level, a last `#` for all that follow.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter(ByteString);

impl TopicName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The levels, first to last.
    pub fn levels(&self) -> std::str::Split<'_, char> {
        self.0.split('/')
    }

    /// Whether wildcards at the first level must pass it by [MQTT-4.7.2-1].
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with('$')
    }
}

impl TopicFilter {
    /// The filter as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The levels, first to last.
    pub fn levels(&self) -> std::str::Split<'_, char> {
        self.0.split('/')
    }

    /// Whether it has a wildcard at all.
    pub fn has_wildcard(&self) -> bool {
        self.levels().any(|level| level == "+" || level == "#")
    }

    /// Whether `topic` is one that this filter asks for (MQTT 5 §4.7).
    pub fn matches(&self, topic: &TopicName) -> bool {
        if topic.is_reserved() && (self.0.starts_with('+') || self.0.starts_with('#')) {
            return false;
        }
        let mut levels = topic.levels();
        for wanted in self.levels() {
            match (wanted, levels.next()) {
                ("#", _) => return true,
                ("+", Some(_)) => {}
                (wanted, Some(level)) if wanted == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }

    /// Whether every topic that `other` asks for is one that this filter asks for too.
    pub fn covers(&self, other: &TopicFilter) -> bool {
        let reserved = other.0.starts_with('$');
        if reserved && (self.0.starts_with('+') || self.0.starts_with('#')) {
            return false;
        }
        let mut theirs = other.levels();
        for ours in self.levels() {
            match (ours, theirs.next()) {
                ("#", _) => return true,
                (_, Some("#")) | (_, None) => return false,
                ("+", Some(_)) => {}
                (ours, Some(level)) if ours == level => {}
                _ => return false,
            }
        }
        theirs.next().is_none()
    }
}

impl TryFrom<ByteString> for TopicName {
    type Error = InvalidTopic;
    fn try_from(text: ByteString) -> Result<Self, InvalidTopic> {
        check(&text)?;
        if text.bytes().any(|b| b == b'+' || b == b'#') {
            return Err(InvalidTopic::Wildcard);
        }
        Ok(Self(text))
    }
}

impl TryFrom<ByteString> for TopicFilter {
    type Error = InvalidTopic;
    fn try_from(text: ByteString) -> Result<Self, InvalidTopic> {
        check(&text)?;
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            let wildcard = level.bytes().any(|b| b == b'+' || b == b'#');
            if wildcard && (level.len() > 1 || (level == "#" && levels.peek().is_some())) {
                return Err(InvalidTopic::MisplacedWildcard);
            }
        }
        Ok(Self(text))
    }
}

macro_rules! text_traits {
    ($name:ident) => {
        impl FromStr for $name {
            type Err = InvalidTopic;
            fn from_str(text: &str) -> Result<Self, InvalidTopic> {
                ByteString::from(text).try_into()
            }
        }

        impl From<$name> for ByteString {
            fn from(topic: $name) -> ByteString {
                topic.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

text_traits!(TopicName);
text_traits!(TopicFilter);

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> TopicName {
        text.parse().expect("topic name")
    }

    fn filter(text: &str) -> TopicFilter {
        text.parse().expect("topic filter")
    }

    #[test]
    fn the_examples_of_the_standard_match_as_it_says() {
        // MQTT 5 §4.7.1.2, §4.7.1.3, §4.7.2.
        for (f, t, expected) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/broker", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/", true),
            ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
        ] {
            assert_eq!(filter(f).matches(&name(t)), expected, "{f} against {t}");
        }
    }

    #[test]
    fn misplaced_wildcards_are_refused() {
        for text in ["sport/tennis#", "sport/tennis/#/ranking", "sport+", "a/+b"] {
            assert_eq!(text.parse::<TopicFilter>(), Err(InvalidTopic::MisplacedWildcard), "{text}");
        }
        assert_eq!("a/+".parse::<TopicName>(), Err(InvalidTopic::Wildcard));
        assert_eq!("a\0".parse::<TopicName>(), Err(InvalidTopic::Null));
        assert_eq!("/".repeat(64).parse::<TopicName>(), Err(InvalidTopic::TooDeep));
    }

    #[test]
    fn a_filter_covers_what_can_only_match_within_it() {
        for (outer, inner, expected) in [
            ("devices/a/#", "devices/a/telemetry/+", true),
            ("devices/a/#", "devices/a", true),
            ("devices/a/#", "devices/#", false),
            ("devices/a/#", "devices/+/telemetry", false),
            ("devices/+/telemetry", "devices/a/telemetry", true),
            ("devices/+", "devices/#", false),
            ("#", "$SYS/#", false),
            ("#", "#", true),
            ("a/+", "a/+", true),
        ] {
            assert_eq!(filter(outer).covers(&filter(inner)), expected, "{outer} covers {inner}");
        }
    }
}
