//! Conditions of a request (RFC 9110 §13): on the tag of an artifact, or on when it was stored.

use std::time::{Duration, UNIX_EPOCH};

use super::{Entity, Request};
use crate::limits::{HEADER_BYTES_MAX, TAGS_MAX};

/// What the conditions of a request come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Go on.
    Holds,
    /// The client has it already.
    NotModified,
    /// The client meant something else.
    Failed,
}

/// The order is that of RFC 9110 §13.2.2. A date is looked at only if there is no tag of the same kind.
pub(super) fn judge(request: &Request<'_>, entity: &Entity) -> Verdict {
    match (request.if_match, request.if_unmodified_since) {
        (Some(tags), _) if !matches(tags, entity, Comparison::Strong) => return Verdict::Failed,
        (None, Some(date)) if seconds(date).is_some_and(|date| entity.stored_s > date) => {
            return Verdict::Failed;
        }
        _ => {}
    }
    match (request.if_none_match, request.if_modified_since) {
        (Some(tags), _) if matches(tags, entity, Comparison::Weak) => Verdict::NotModified,
        (None, Some(date)) if seconds(date).is_some_and(|date| entity.stored_s <= date) => {
            Verdict::NotModified
        }
        _ => Verdict::Holds,
    }
}

/// Whether `If-Range` lets a range through (RFC 9110 §13.1.5): a strong tag that is the same, or exactly the date.
/// Where it does not, or is neither, the whole artifact is sent.
pub(super) fn range_holds(request: &Request<'_>, entity: &Entity) -> bool {
    let Some(header) = request.if_range else { return true };
    let header = header.trim_ascii();
    match header.starts_with(b"\"") || header.starts_with(b"W/") {
        true => header == entity.tag().as_bytes(),
        false => seconds(header) == Some(entity.stored_s),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    /// Weak tags match nothing (RFC 9110 §8.8.3.2).
    Strong,
    /// `W/` makes no difference.
    Weak,
}

/// Whether a list of tags has that of the artifact, or is `*`. What is no list of tags matches nothing.
fn matches(header: &[u8], entity: &Entity, comparison: Comparison) -> bool {
    let header = header.trim_ascii();
    if header == b"*" {
        return true;
    }
    if header.len() > HEADER_BYTES_MAX {
        return false;
    }
    // Our own tag has no comma, so a tag of others that has one falls into pieces that do not match.
    header.split(|&byte| byte == b',').take(TAGS_MAX).any(|tag| {
        let tag = tag.trim_ascii();
        let strong = match comparison {
            Comparison::Strong => tag,
            Comparison::Weak => tag.strip_prefix(b"W/").unwrap_or(tag),
        };
        strong == entity.tag().as_bytes()
    })
}

/// Seconds since 1970 of a date in any of the three forms of RFC 9110 §5.6.7.
fn seconds(date: &[u8]) -> Option<u64> {
    let text = str::from_utf8(date.get(..date.len().min(64))?).ok()?;
    let date = httpdate::parse_http_date(text.trim()).ok()?;
    date.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// A date as it is written into headers (RFC 9110 §5.6.7); years beyond 9999 are cut.
pub(super) fn date(seconds: u64) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds.min(253_402_300_799)))
}
