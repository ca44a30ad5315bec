//! A reader of line protocol that goes by the rules of InfluxDB's parser (`models/points.go` of 1.x and 2.x), as strictly
//! as they can be taken: what it takes for two lines is a forgery, and what it does not understand is an error.

use std::collections::BTreeMap;

/// A point as a server understands it.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    pub measurement: String,
    pub tags: BTreeMap<String, String>,
    pub fields: BTreeMap<String, ReadValue>,
    pub time_ns: i64,
}

/// A value as a server understands it.
#[derive(Debug, Clone, PartialEq)]
pub enum ReadValue {
    Float(f64),
    Integer(i64),
    Text(String),
    Bool(bool),
}

/// Every point of a body. Comments and empty lines are passed over, as servers do.
pub fn read(body: &str) -> Result<Vec<Read>, String> {
    let mut points = Vec::new();
    for line in lines(body) {
        let line = line.trim_start_matches([' ', '\t', '\0']);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        points.push(point(line)?);
    }
    Ok(points)
}

/// Cuts at newlines. A backslash takes the next character along, whatever it is; after the first bare space, a quote that
/// follows an equals sign begins a text, and a newline in it ends nothing.
fn lines(body: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let bytes = body.as_bytes();
    let (mut start, mut at) = (0, 0);
    let (mut fields, mut quoted) = (false, false);
    let (mut equals, mut commas) = (0, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if at + 2 < bytes.len() => {
                at += 2;
                continue;
            }
            b' ' => fields = true,
            b'=' if fields && !quoted => equals += 1,
            b',' if fields && !quoted => commas += 1,
            b'"' if fields && equals > commas => quoted = !quoted,
            b'\n' if !quoted => {
                lines.push(&body[start..at]);
                start = at + 1;
                (fields, equals, commas) = (false, 0, 0);
            }
            _ => {}
        }
        at += 1;
    }
    lines.push(&body[start..]);
    lines
}

fn point(line: &str) -> Result<Read, String> {
    let (measurement, mut rest) = until(line, &[',', ' ']).ok_or_else(|| format!("no fields: {line:?}"))?;
    if measurement.is_empty() {
        return Err(format!("no measurement: {line:?}"));
    }
    let mut tags = BTreeMap::new();
    while let Some(after) = rest.strip_prefix(',') {
        let (key, after) = until(after, &['=', ',', ' ']).ok_or_else(|| format!("half a tag: {line:?}"))?;
        let after = after.strip_prefix('=').ok_or_else(|| format!("a tag without a value: {line:?}"))?;
        let (value, after) = until(after, &[',', ' ', '=']).ok_or_else(|| format!("no fields: {line:?}"))?;
        if key.is_empty() || value.is_empty() || after.starts_with('=') {
            return Err(format!("a tag that is none: {line:?}"));
        }
        if tags.insert(unescape(key, &[',', ' ', '=']), unescape(value, &[',', ' ', '='])).is_some() {
            return Err(format!("a tag twice: {line:?}"));
        }
        rest = after;
    }
    let mut rest = rest.strip_prefix(' ').ok_or_else(|| format!("no fields: {line:?}"))?;
    let mut fields = BTreeMap::new();
    loop {
        let (key, after) = until(rest, &['=', ',', ' ']).ok_or_else(|| format!("half a field: {line:?}"))?;
        let after = after.strip_prefix('=').ok_or_else(|| format!("a field without a value: {line:?}"))?;
        let (value, after) = value(after).ok_or_else(|| format!("a value that is none: {line:?}"))?;
        if key.is_empty() || fields.insert(unescape(key, &[',', ' ', '=']), value).is_some() {
            return Err(format!("a field without a key, or twice: {line:?}"));
        }
        match after.strip_prefix(',') {
            Some(after) => rest = after,
            None => {
                let time = after.strip_prefix(' ').ok_or_else(|| format!("no time: {line:?}"))?;
                let time_ns = time.parse().map_err(|_| format!("a time that is none: {line:?}"))?;
                let measurement = unescape(measurement, &[',', ' ']);
                return Ok(Read { measurement, tags, fields, time_ns });
            }
        }
    }
}

/// What is before the first of these that no backslash stands before, and from it on.
fn until<'a>(text: &'a str, ends: &[char]) -> Option<(&'a str, &'a str)> {
    let mut before = '\0';
    for (at, character) in text.char_indices() {
        if ends.contains(&character) && before != '\\' {
            return Some(text.split_at(at));
        }
        before = character;
    }
    None
}

/// A backslash is taken away where it stands before one of these, and stays anywhere else.
fn unescape(text: &str, specials: &[char]) -> String {
    let mut out = String::new();
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        match rest.peek() {
            Some(next) if character == '\\' && specials.contains(next) => {
                out.extend(rest.next());
            }
            _ => out.push(character),
        }
    }
    out
}

fn value(text: &str) -> Option<(ReadValue, &str)> {
    if let Some(mut rest) = text.strip_prefix('"') {
        let mut out = String::new();
        loop {
            let at = rest.find(['\\', '"'])?;
            out.push_str(&rest[..at]);
            if let Some(after) = rest[at..].strip_prefix('"') {
                return Some((ReadValue::Text(out), after));
            }
            let escaped = rest[at + 1..].chars().next()?;
            if !matches!(escaped, '\\' | '"') {
                out.push('\\');
            }
            out.push(escaped);
            rest = &rest[at + 1 + escaped.len_utf8()..];
        }
    }
    let (bare, rest) = text.split_at(text.find([',', ' '])?);
    let value = match bare {
        "true" => ReadValue::Bool(true),
        "false" => ReadValue::Bool(false),
        _ => match bare.strip_suffix('i') {
            Some(number) => ReadValue::Integer(number.parse().ok()?),
            None => {
                let digits = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
                ReadValue::Float(bare.parse().ok().filter(|_| bare.chars().all(digits))?)
            }
        },
    };
    Some((value, rest))
}
