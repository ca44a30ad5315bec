//! JSON or CBOR, as the client wishes: the same types either way.

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    limits::{BODY_BYTES_MAX, HEADER_BYTES_MAX},
    problem::Problem,
};

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// What hawkBit answers to those who do not say.
    HalJson,
    /// JSON.
    Json,
    /// CBOR (RFC 8949).
    Cbor,
}

impl Format {
    const ALL: [Self; 3] = [Self::HalJson, Self::Json, Self::Cbor];

    /// What `Content-Type` says.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::HalJson => "application/hal+json",
            Self::Json => "application/json",
            Self::Cbor => "application/cbor",
        }
    }

    /// The form that a client likes best (RFC 9110 §12.5.1): the highest weight, and of equals the one that it names
    /// first. A client that does not say gets HAL.
    pub fn of_accept(accept: Option<&[u8]>) -> Result<Self, Problem> {
        let accept = accept.filter(|header| header.len() <= HEADER_BYTES_MAX).unwrap_or(b"*/*");
        let accept = str::from_utf8(accept).map_err(|_| Problem::NotAcceptable)?;
        if accept.trim().is_empty() {
            return Ok(Self::HalJson);
        }
        let mut best: Option<(u16, Self)> = None;
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            let weight = weight.map_or(Some(1_000), thousandths).unwrap_or(0);
            let meant = Self::ALL.into_iter().find(|format| {
                name == format.media_type() || matches!(name.as_str(), "*/*" | "application/*")
            });
            if let Some(format) = meant.filter(|_| weight > 0)
                && best.is_none_or(|(most, _)| weight > most)
            {
                best = Some((weight, format));
            }
        }
        best.map(|(_, format)| format).ok_or(Problem::NotAcceptable)
    }

    /// The form of a body. swupdate and RAUC's client say JSON; who says nothing means it.
    pub fn of_content(content_type: Option<&[u8]>) -> Result<Self, Problem> {
        let Some(content_type) = content_type else { return Ok(Self::Json) };
        let name = content_type.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        let found =
            Self::ALL.into_iter().find(|format| name.eq_ignore_ascii_case(format.media_type().as_bytes()));
        found.ok_or(Problem::MediaType)
    }

    /// Writes a document.
    pub fn write<T: Serialize>(self, document: &T) -> Vec<u8> {
        // Our documents have texts for keys and no float in them: neither form can refuse one.
        match self {
            Self::HalJson | Self::Json => serde_json::to_vec(document).unwrap_or_default(),
            Self::Cbor => cbor4ii::serde::to_vec(Vec::new(), document).unwrap_or_default(),
        }
    }

    /// Reads a body. Both readers bound the depth; fields that the type does not name are skipped.
    pub fn read<T: DeserializeOwned>(self, body: &[u8]) -> Result<T, Problem> {
        if body.len() > BODY_BYTES_MAX {
            return Err(Problem::TooLarge);
        }
        match self {
            Self::HalJson | Self::Json => {
                serde_json::from_slice(body).map_err(|error| Problem::Body(error.to_string()))
            }
            Self::Cbor => cbor4ii::serde::from_slice(body).map_err(|error| Problem::Body(error.to_string())),
        }
    }
}

/// A weight (RFC 9110 §12.4.2) in thousandths.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if part.len() > 3 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole = match whole {
        "0" => 0,
        "1" => 1_000,
        _ => return None,
    };
    let part = format!("{part:0<3}").parse::<u16>().ok()?;
    Some(whole + part).filter(|&weight| weight <= 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_the_form_that_it_likes_best() {
        let table: [(Option<&str>, Option<Format>); 12] = [
            (None, Some(Format::HalJson)),
            (Some(""), Some(Format::HalJson)),
            (Some("*/*"), Some(Format::HalJson)),
            (Some("application/json"), Some(Format::Json)),
            (Some("application/cbor"), Some(Format::Cbor)),
            (Some("application/hal+json, application/json"), Some(Format::HalJson)),
            (Some("application/json;q=0.5, application/cbor"), Some(Format::Cbor)),
            (Some("text/html, */*;q=0.1"), Some(Format::HalJson)),
            (Some("APPLICATION/JSON; charset=utf-8"), Some(Format::Json)),
            (Some("application/cbor;q=0"), None),
            (Some("application/cbor;q=7"), None),
            (Some("text/html"), None),
        ];
        for (accept, expected) in table {
            assert_eq!(Format::of_accept(accept.map(str::as_bytes)).ok(), expected, "{accept:?}");
        }
    }

    #[test]
    fn a_body_in_another_form_is_refused() {
        assert_eq!(Format::of_content(Some(b"application/json;charset=UTF-8")), Ok(Format::Json));
        assert_eq!(Format::of_content(Some(b"Application/CBOR")), Ok(Format::Cbor));
        assert_eq!(Format::of_content(None), Ok(Format::Json));
        assert_eq!(Format::of_content(Some(b"text/xml")), Err(Problem::MediaType));
    }
}
