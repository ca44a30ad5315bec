//! What a server's answer means for what was sent, and in plain words for who has to do something about it.
//!
//! | status | meaning |
//! |---|---|
//! | 204 | stored |
//! | 400, 422 with `partial write` | the others are stored, some never will be |
//! | 400, 422 | a line among them never will be; which one is looked for |
//! | 413 | too much at once |
//! | 401, 403; 404; other 3xx and 4xx | not this tenant, until somebody has changed something |
//! | 408, 425, 429, 5xx; no answer | later; not before `Retry-After`, if it says so |
//!
//! Any other 2xx did not come from a server that stored something: a gateway's login page, for example.

use std::{fmt, time::Duration};

use crate::limits::SAID_CHARS_MAX;

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// All lines are stored.
    Accepted,
    /// So many lines will never be stored, for this reason; the others are. None where the server did not say how many.
    Partial(Option<usize>, String),
    /// The server says that something in it is wrong, and stored nothing, or does not say what.
    Refused(String),
    /// More than the server takes at once.
    TooLarge,
    /// Nothing is known to be stored; the same again will do.
    Later(Trouble),
    /// The same, and the server says how long it is to be left alone.
    NotBefore(Trouble, Duration),
    /// Nothing is stored, and will not be before somebody has changed something.
    Stopped(Trouble),
}

/// What is in the way. Its text says what, why and what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// There is no connection.
    Unreachable(String),
    /// The certificate is not one that is trusted, or is of another name.
    Untrusted(String),
    /// No answer came in time.
    Silent,
    /// It has too much to do, or says that it fails.
    Failing(u16, String),
    /// It does not take the token.
    Token(u16),
    /// It has no such bucket or organisation.
    Bucket,
    /// What answers is no InfluxDB 2.
    Stranger(u16),
    /// The token cannot be read.
    NoToken(String),
    /// The tenant's key is withdrawn, so nothing can be sealed, and nothing leaves unsealed.
    KeyAway,
    /// The hub's own store does not give or keep a key, so nothing can be sealed, and nothing leaves unsealed.
    Store(String),
}

impl Trouble {
    /// A word for it, for metrics and logs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Untrusted(_) => "untrusted",
            Self::Silent => "silent",
            Self::Failing(..) => "failing",
            Self::Token(_) => "token",
            Self::Bucket => "bucket",
            Self::Stranger(_) => "stranger",
            Self::NoToken(_) => "no_token",
            Self::KeyAway => "key_away",
            Self::Store(_) => "store",
        }
    }

    /// What to do about it.
    pub fn next(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => {
                "start it, or correct influx.url; what came in meanwhile is sent by itself then"
            }
            Self::Untrusted(_) => {
                "name the authority that issued its certificate in influx.ca_file, or correct influx.url"
            }
            Self::Silent => "look why it hangs; it is tried again by itself",
            Self::Failing(..) => "look into its log; it is tried again by itself",
            Self::Token(_) => {
                "put a token that may write to this tenant's bucket into the tenant's file in influx.tokens"
            }
            Self::Bucket => {
                "create the bucket in the organisation influx.org, or set influx.tenants.<tenant>.bucket"
            }
            Self::Stranger(_) => "correct influx.url: it is the address alone, without a path",
            Self::NoToken(_) => "put the tenant's token there, readable by the hub alone (mode 0600)",
            Self::KeyAway => "give the key back; what came in meanwhile is sent by itself then",
            Self::Store(_) => "look into the hub's log and at its disk; it is tried again by itself",
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "the server cannot be reached: {why}"),
            Self::Untrusted(why) => write!(f, "the server's certificate is not trusted: {why}"),
            Self::Silent => f.write_str("the server does not answer in time"),
            Self::Failing(status, said) if said.is_empty() => write!(f, "the server fails: status {status}"),
            Self::Failing(status, said) => write!(f, "the server fails: status {status}, {said}"),
            Self::Token(status) => write!(f, "the server does not take the tenant's token: status {status}"),
            Self::Bucket => f.write_str("the server has no such bucket or organisation: status 404"),
            Self::Stranger(status) => write!(f, "what answers there is no InfluxDB 2: status {status}"),
            Self::NoToken(why) => write!(f, "the tenant's token cannot be read: {why}"),
            Self::KeyAway => f.write_str("the tenant's key is withdrawn: sensitive fields cannot be sealed"),
            Self::Store(why) => write!(f, "the hub cannot seal sensitive fields now: {why}"),
        }
    }
}

impl Answer {
    /// The same with what `Retry-After` says (RFC 9110 §10.2.3), in seconds: InfluxDB says no dates, and of them our own
    /// waits are kept.
    #[must_use]
    pub fn after(self, said: Option<&str>) -> Self {
        let after = said.and_then(|said| said.trim().parse().ok()).map(Duration::from_secs);
        match (self, after) {
            (Self::Later(trouble), Some(after)) => Self::NotBefore(trouble, after),
            (answer, _) => answer,
        }
    }
}

/// What a status other than 204 means, with what the server said.
pub fn of_status(status: u16, body: &str) -> Answer {
    let said = said(body);
    match status {
        204 => Answer::Accepted,
        400 | 422 if said.contains("partial write") => Answer::Partial(dropped(&said), said),
        400 | 422 => Answer::Refused(said),
        413 => Answer::TooLarge,
        401 | 403 => Answer::Stopped(Trouble::Token(status)),
        404 if said.is_empty() || !body.trim_start().starts_with('{') => {
            Answer::Stopped(Trouble::Stranger(404))
        }
        404 => Answer::Stopped(Trouble::Bucket),
        408 | 425 | 429 | 500..=599 => Answer::Later(Trouble::Failing(status, said)),
        _ => Answer::Stopped(Trouble::Stranger(status)),
    }
}

/// How many lines a partial write left out: `... dropped=3 ...`, in all versions.
fn dropped(said: &str) -> Option<usize> {
    let (_, number) = said.rsplit_once("dropped=")?;
    let digits = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    number.get(..digits)?.parse().ok()
}

/// The sentence in an answer: `message` of 2.x, `error` of 1.x, or the text itself; cut, and without what does not print.
fn said(body: &str) -> String {
    let object: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let sentence = object.as_ref().and_then(|object| object.get("message").or_else(|| object.get("error")));
    let text = sentence.and_then(|text| text.as_str()).unwrap_or(body).trim();
    let printed = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    printed.take(SAID_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_one_meaning() {
        let conflict = concat!(
            r#"field type conflict: input field \"x\" on measurement \"m\" is type float, "#,
            "already exists as type string"
        );
        let partial_2 = format!(
            r#"{{"code":"unprocessable entity","message":"{} partial write: {conflict} dropped=3"}}"#,
            "failure writing points to database:"
        );
        let partial_2 = partial_2.as_str();
        let partial_1 = concat!(
            r#"{"error":"partial write: max-values-per-tag limit exceeded (1/1): "#,
            r#"measurement=\"m\" tag=\"t\" value=\"v\" dropped=1"}"#
        );
        let refused = r#"{"code":"invalid","message":"unable to parse 'm x': missing fields"}"#;
        let found = |status, body: &str| match of_status(status, body) {
            Answer::Accepted => "accepted".to_owned(),
            Answer::Partial(count, said) => format!("partial {count:?} {}", said.contains("dropped")),
            Answer::Refused(said) => format!("refused {said}"),
            Answer::TooLarge => "too large".to_owned(),
            Answer::Later(trouble) | Answer::NotBefore(trouble, _) => format!("later {}", trouble.as_str()),
            Answer::Stopped(trouble) => format!("stopped {}", trouble.as_str()),
        };
        for (status, body, wanted) in [
            (204, "", "accepted"),
            (422, partial_2, "partial Some(3) true"),
            (400, partial_1, "partial Some(1) true"),
            (400, "partial write: out of space", "partial None false"),
            (400, refused, "refused unable to parse 'm x': missing fields"),
            (413, "", "too large"),
            (401, r#"{"code":"unauthorized","message":"unauthorized access"}"#, "stopped token"),
            (403, "", "stopped token"),
            (404, r#"{"code":"not found","message":"bucket \"b\" not found"}"#, "stopped bucket"),
            (404, "404 page not found", "stopped stranger"),
            (405, "", "stopped stranger"),
            (302, "", "stopped stranger"),
            (200, "<html>log in</html>", "stopped stranger"),
            (429, "", "later failing"),
            (500, r#"{"code":"internal error","message":"timeout"}"#, "later failing"),
            (503, "", "later failing"),
        ] {
            assert_eq!(found(status, body), wanted, "{status} {body}");
        }
    }

    #[test]
    fn only_what_may_be_sent_again_waits_for_as_long_as_the_server_says() {
        let busy = Trouble::Failing(503, String::new());
        let later = Answer::Later(busy.clone());
        assert_eq!(later.clone().after(Some(" 7 ")), Answer::NotBefore(busy, Duration::from_secs(7)));
        for said in [None, Some(""), Some("-1"), Some("1.5"), Some("Fri, 31 Dec 1999 23:59:59 GMT")] {
            assert_eq!(later.clone().after(said), later, "{said:?}");
        }
        assert_eq!(Answer::TooLarge.after(Some("7")), Answer::TooLarge);
    }

    #[test]
    fn what_a_server_says_is_cut_and_printable() {
        let Answer::Refused(said) = of_status(400, &format!("\u{1b}[31m{}", "x".repeat(10_000))) else {
            panic!("refused");
        };
        assert_eq!(said.chars().count(), SAID_CHARS_MAX);
        assert!(said.chars().all(|c| !c.is_control()));
    }

    #[test]
    fn every_trouble_says_what_and_what_next() {
        for trouble in [
            Trouble::Unreachable("refused".to_owned()),
            Trouble::Untrusted("unknown".to_owned()),
            Trouble::Silent,
            Trouble::Failing(503, String::new()),
            Trouble::Failing(503, "busy".to_owned()),
            Trouble::Token(401),
            Trouble::Bucket,
            Trouble::Stranger(200),
            Trouble::NoToken("no such file".to_owned()),
            Trouble::KeyAway,
            Trouble::Store("no space".to_owned()),
        ] {
            assert!(
                !trouble.to_string().is_empty() && !trouble.next().is_empty() && !trouble.as_str().is_empty()
            );
        }
    }
}
