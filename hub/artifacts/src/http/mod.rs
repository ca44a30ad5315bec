//! What HTTP makes of an artifact (RFC 9110): a pure plan from headers to status, headers and parts, and the body
//! that follows it. The server has nothing to decide: it sends [`Answer::status`], [`Answer::headers`], and what
//! [`Body`] yields.

mod body;
mod condition;
mod range;

#[cfg(test)]
mod tests;

use std::ops::Range;

pub use body::Body;
pub use range::{Asked, asked};

use condition::Verdict;

use crate::digest::Digest;

/// How an artifact is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// With its bytes.
    Get,
    /// Without. A range means nothing then (RFC 9110 §14.2).
    Head,
}

/// What a request says about an artifact: its headers as they came. Where one came twice, the server joins them with
/// commas, as RFC 9110 §5.3 allows.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// GET or HEAD.
    pub method: Method,
    /// `Range`.
    pub range: Option<&'a [u8]>,
    /// `If-Range`.
    pub if_range: Option<&'a [u8]>,
    /// `If-Match`.
    pub if_match: Option<&'a [u8]>,
    /// `If-None-Match`.
    pub if_none_match: Option<&'a [u8]>,
    /// `If-Modified-Since`.
    pub if_modified_since: Option<&'a [u8]>,
    /// `If-Unmodified-Since`.
    pub if_unmodified_since: Option<&'a [u8]>,
}

impl Request<'_> {
    /// Without any header.
    pub const fn new(method: Method) -> Self {
        Self {
            method,
            range: None,
            if_range: None,
            if_match: None,
            if_none_match: None,
            if_modified_since: None,
            if_unmodified_since: None,
        }
    }
}

/// What a plan has to know of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity {
    /// What it is found by, and its tag.
    pub digest: Digest,
    /// Its bytes: at least one.
    pub size: u64,
    /// When it was stored, in seconds since 1970.
    pub stored_s: u64,
    /// What it is to be called where it is saved; characters that a header must not have become `_`.
    pub filename: Option<String>,
}

impl Entity {
    /// The strong tag, in its quotes.
    pub fn tag(&self) -> String {
        format!("\"{}\"", self.digest)
    }
}

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    kind: Kind,
    method: Method,
    entity: Entity,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Whole,
    Part(Range<u64>),
    Parts(Vec<Range<u64>>),
    NotModified,
    Failed,
    Nothing,
}

/// Plans the answer to a request. The order of questions is that of RFC 9110 §13.2.2.
pub fn plan(request: &Request<'_>, entity: Entity) -> Answer {
    let kind = match condition::judge(request, &entity) {
        Verdict::Failed => Kind::Failed,
        Verdict::NotModified => Kind::NotModified,
        Verdict::Holds if request.method == Method::Head => Kind::Whole,
        Verdict::Holds if request.range.is_some() && !condition::range_holds(request, &entity) => Kind::Whole,
        Verdict::Holds => match asked(request.range, entity.size) {
            Asked::Whole => Kind::Whole,
            Asked::Nothing => Kind::Nothing,
            Asked::Parts(parts) => match parts.as_slice() {
                // One part is sent as it is, also if several were asked for (RFC 9110 §15.3.7.2).
                [one] => Kind::Part(one.clone()),
                _ => Kind::Parts(parts),
            },
        },
    };
    Answer { kind, method: request.method, entity }
}

impl Answer {
    /// 200, 206, 304, 412 or 416.
    pub fn status(&self) -> u16 {
        match self.kind {
            Kind::Whole => 200,
            Kind::Part(_) | Kind::Parts(_) => 206,
            Kind::NotModified => 304,
            Kind::Failed => 412,
            Kind::Nothing => 416,
        }
    }

    /// The headers, `Content-Length` among them where there is one.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![("ETag", self.entity.tag()), ("Accept-Ranges", "bytes".to_owned())];
        match &self.kind {
            Kind::Whole => headers.push(("Content-Type", OCTETS.to_owned())),
            Kind::Part(range) => {
                headers.push(("Content-Type", OCTETS.to_owned()));
                headers.push(("Content-Range", content_range(range, self.entity.size)));
            }
            Kind::Parts(_) => {
                headers.push(("Content-Type", format!("multipart/byteranges; boundary={}", self.boundary())));
            }
            Kind::Nothing => headers.push(("Content-Range", format!("bytes */{}", self.entity.size))),
            Kind::NotModified | Kind::Failed => {}
        }
        if matches!(self.kind, Kind::Whole | Kind::Part(_) | Kind::Parts(_)) {
            headers.push(("X-Content-Type-Options", "nosniff".to_owned()));
            if let Some(name) = &self.entity.filename {
                headers.push(("Content-Disposition", format!("attachment;filename=\"{}\"", harmless(name))));
            }
        }
        if !matches!(self.kind, Kind::Failed | Kind::Nothing) {
            headers.push(("Last-Modified", condition::date(self.entity.stored_s)));
        }
        // 304 says nothing of a length: it would be that of the artifact (RFC 9110 §8.6).
        if self.kind != Kind::NotModified {
            headers.push(("Content-Length", self.content_length().to_string()));
        }
        headers
    }

    /// What `Content-Length` says; of a HEAD that is what GET would send.
    pub fn content_length(&self) -> u64 {
        let segments = self.segments();
        segments
            .iter()
            .map(|segment| match segment {
                Segment::Lines(lines) => lines.len() as u64,
                Segment::Bytes(range) => range.end - range.start,
            })
            .sum()
    }

    /// Whether there is a body to send.
    pub fn has_body(&self) -> bool {
        self.method == Method::Get && matches!(self.kind, Kind::Whole | Kind::Part(_) | Kind::Parts(_))
    }

    /// What the body is made of, in order.
    pub(crate) fn segments(&self) -> Vec<Segment> {
        let size = self.entity.size;
        match &self.kind {
            Kind::Whole => vec![Segment::Bytes(0..size)],
            Kind::Part(range) => vec![Segment::Bytes(range.clone())],
            Kind::Parts(parts) => {
                let boundary = self.boundary();
                let mut segments = Vec::with_capacity(parts.len() * 2 + 1);
                for range in parts {
                    let range_line = content_range(range, size);
                    segments.push(Segment::Lines(format!(
                        "\r\n--{boundary}\r\nContent-Type: {OCTETS}\r\nContent-Range: {range_line}\r\n\r\n"
                    )));
                    segments.push(Segment::Bytes(range.clone()));
                }
                segments.push(Segment::Lines(format!("\r\n--{boundary}--\r\n")));
                segments
            }
            Kind::NotModified | Kind::Failed | Kind::Nothing => Vec::new(),
        }
    }

    /// What stands between parts: the first half of the artifact's own digest. Nobody can make an artifact in which
    /// its own digest stands, so no part has a line that looks like an end of it.
    fn boundary(&self) -> String {
        self.entity.digest.to_string().chars().take(32).collect()
    }
}

const OCTETS: &str = "application/octet-stream";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    Lines(String),
    Bytes(Range<u64>),
}

/// The end of a range is excluded here and included there.
fn content_range(range: &Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1))
}

fn harmless(name: &str) -> String {
    let fits = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '/' | ';' | '%');
    name.chars().map(|c| if fits(c) { c } else { '_' }).take(128).collect()
}
