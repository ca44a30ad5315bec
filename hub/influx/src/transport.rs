//! The way to a server, for one tenant: its own client with its own token, so that nothing of another tenant's can go with
//! it. The crate `influxdb2` makes the request; time, size and what an answer means are ours.
//!
//! What the crate leaves open, and what is done about it: it waits for ever (its builder takes our times); it sends text as
//! it is (the body goes as gzip, and the header that says so is one of the builder's); it follows redirects and proxies
//! (both are off, since they would take a tenant's points elsewhere); it does not show `Retry-After` (our own waits grow to
//! a minute); it reads what a refusal says to its end, whatever its length (for as long as a request may take).

use std::{error::Error as _, io::Write as _};

use flate2::{Compression, write::GzEncoder};
use influxdb2::{Client, ClientBuilder, RequestError};
use reqwest::{
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue},
    redirect::Policy,
    tls::Version,
};

use crate::{
    answer::{Answer, Trouble, of_status},
    limits::{CONNECT_TIME_MAX, IDLE_TIME_MAX, REQUEST_TIME_MAX},
    server::{Server, Token},
};

/// Writes into one bucket.
pub struct Transport {
    client: Client,
    bucket: String,
}

/// The client cannot be made: the system's TLS library or its certificates are not usable.
#[derive(Debug, thiserror::Error)]
#[error("prepare connections to the server: {0}")]
pub struct Unprepared(String);

impl Transport {
    /// To `bucket` on `server`, with the tenant's token.
    ///
    /// # Errors
    /// The system's TLS library is not usable.
    pub fn new(server: &Server, bucket: &str, token: &Token) -> Result<Self, Unprepared> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIME_MAX)
            .timeout(REQUEST_TIME_MAX)
            .pool_idle_timeout(IDLE_TIME_MAX)
            .pool_max_idle_per_host(1)
            .min_tls_version(Version::TLS_1_2)
            .redirect(Policy::none())
            .no_proxy()
            .https_only(server.url.scheme() == "https")
            .user_agent("muster")
            .default_headers(headers);
        for authority in &server.authorities {
            http = http.add_root_certificate(authority.clone());
        }
        let client = ClientBuilder::with_builder(http, server.url.as_str(), &server.org, token.expose());
        let client = client.build().map_err(|error| Unprepared(error.to_string()))?;
        Ok(Self { client, bucket: bucket.to_owned() })
    }

    /// Sends lines and says what became of them.
    pub async fn write(&self, lines: &str) -> Answer {
        let body = packed(lines);
        match self.client.write_line_protocol(&self.client.org, &self.bucket, body).await {
            Ok(()) => Answer::Accepted,
            Err(RequestError::Http { status, text }) => of_status(status.as_u16(), &text),
            Err(RequestError::ReqwestProcessing { source }) => Answer::Later(trouble(&source)),
            Err(error) => Answer::Later(Trouble::Failing(0, error.to_string())),
        }
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

/// Line protocol is names said again and again: the fastest compression leaves about a tenth.
fn packed(lines: &str) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::with_capacity(lines.len() / 8), Compression::fast());
    // Writing to memory does not fail.
    let _ = packed.write_all(lines.as_bytes());
    packed.finish().unwrap_or_default()
}

/// What is in the way when there is no answer. The text is the innermost cause: the outer ones repeat the address.
fn trouble(error: &reqwest::Error) -> Trouble {
    if error.is_timeout() && !error.is_connect() {
        return Trouble::Silent;
    }
    let mut why = error.to_string();
    let mut source = error.source();
    let mut certificate = false;
    while let Some(cause) = source {
        why = cause.to_string();
        certificate |= why.contains("certificate");
        source = cause.source();
    }
    if certificate { Trouble::Untrusted(why) } else { Trouble::Unreachable(why) }
}

#[cfg(test)]
#[path = "transport_tests.rs"]
mod tests;
