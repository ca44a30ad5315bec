//! The way to a server, for one tenant: its own client with its own token, so that nothing of another tenant's can go with
//! it. A request waits no longer than it may, follows no redirect and no proxy, since they would take a tenant's points
//! elsewhere, and reads no more of an answer than is of use.

use std::{error::Error as _, io::Write as _};

use flate2::{Compression, write::GzEncoder};
use reqwest::{
    Client, Response, Url,
    header::{
        AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, InvalidHeaderValue,
        RETRY_AFTER,
    },
    redirect::Policy,
    tls::Version,
};
use zeroize::Zeroizing;

use crate::{
    answer::{Answer, Trouble, of_status},
    limits::{ANSWER_BYTES_MAX, CONNECT_TIME_MAX, IDLE_TIME_MAX, REQUEST_TIME_MAX},
    server::{Server, Token},
};

/// Where points are written, in 2.x.
const WRITE_PATH: &str = "/api/v2/write";

/// Writes into one bucket.
pub struct Transport {
    client: Client,
    url: Url,
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
        headers.insert(AUTHORIZATION, authorization(token).map_err(|error| Unprepared(error.to_string()))?);
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        let mut http = Client::builder()
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
        let client = http.build().map_err(|error| Unprepared(error.to_string()))?;
        let mut url = server.url.clone();
        url.set_path(WRITE_PATH);
        let query = [("bucket", bucket), ("org", &server.org), ("precision", "ns")];
        url.query_pairs_mut().extend_pairs(query);
        Ok(Self { client, url, bucket: bucket.to_owned() })
    }

    /// Sends lines and says what became of them.
    pub async fn write(&self, lines: &str) -> Answer {
        match self.client.post(self.url.clone()).body(packed(lines)).send().await {
            Ok(response) => answer(response).await.unwrap_or_else(|error| Answer::Later(trouble(&error))),
            Err(error) => Answer::Later(trouble(&error)),
        }
    }
}

/// Not shown by anybody who prints headers, and wiped here when it is one.
fn authorization(token: &Token) -> Result<HeaderValue, InvalidHeaderValue> {
    let text = Zeroizing::new(format!("Token {}", token.expose()));
    let mut value = HeaderValue::from_str(&text)?;
    value.set_sensitive(true);
    Ok(value)
}

/// What a response means. Of a long one the beginning is read; the connection is then closed, and not used again.
async fn answer(mut response: Response) -> Result<Answer, reqwest::Error> {
    let status = response.status().as_u16();
    let said = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut body = Vec::new();
    while body.len() < ANSWER_BYTES_MAX
        && let Some(chunk) = response.chunk().await?
    {
        let room = ANSWER_BYTES_MAX - body.len();
        body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
    }
    Ok(of_status(status, &String::from_utf8_lossy(&body)).after(said.as_deref()))
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
