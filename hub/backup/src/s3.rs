//! Backups in an object store that speaks the S3 protocol: `s3://bucket/prefix?endpoint=https://host&region=…`. Requests are
//! signed by rusty-s3 (signature version 4) and carried by ureq; objects are at most 64 MiB, so no upload has parts.

use std::{fs, path::PathBuf, time::Duration};

use rusty_s3::{
    Bucket, Credentials, S3Action as _, UrlStyle,
    actions::{ListObjectsV2, ListObjectsV2Response},
};
use ureq::{
    Agent,
    http::{Response, StatusCode},
    tls::{PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem},
};

use crate::{
    error::PlaceError,
    limits::{
        OBJECT_BYTES_MAX, S3_CONNECT_S_MAX, S3_LIST_BYTES_MAX, S3_PAUSE_MS, S3_REQUEST_S_MAX, S3_TRIES_MAX,
        SMALL_OBJECT_BYTES_MAX,
    },
    place::Place,
};

const SCHEME: &str = "s3://";
const ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
/// How long a signed address is good for.
const SIGNED_FOR: Duration = Duration::from_secs(15 * 60);

/// A bucket, or what is below a prefix in it.
pub struct S3 {
    bucket: Bucket,
    credentials: Credentials,
    prefix: String,
    agent: Agent,
    shown: String,
}

impl S3 {
    /// Whether an address is one of an object store.
    pub fn is_address(address: &str) -> bool {
        address.starts_with(SCHEME)
    }

    /// Takes `s3://bucket/prefix?endpoint=https://host:port&region=name&ca=file`, the key id and the secret key. The
    /// region is `us-east-1` if none is named, the roots for TLS are the system's. Nothing is asked of the store yet.
    ///
    /// # Errors
    /// The address is none, or the roots cannot be read.
    pub fn new(address: &str, key: &str, secret: &str) -> Result<Self, PlaceError> {
        let wrong = |why| PlaceError::Address { address: address.to_owned(), why };
        let rest = address.strip_prefix(SCHEME).ok_or_else(|| wrong("it does not begin with s3://"))?;
        let (path, query) =
            rest.split_once('?').ok_or_else(|| wrong("it has no ?endpoint=https://<host> at its end"))?;
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        let (mut endpoint, mut region, mut roots) = (None, "us-east-1", PathBuf::from(ROOTS));
        for part in query.split('&') {
            match part.split_once('=') {
                Some(("endpoint", value)) => endpoint = Some(value),
                Some(("region", value)) => region = value,
                Some(("ca", value)) => roots = PathBuf::from(value),
                _ => return Err(wrong("it asks for something besides endpoint, region and ca")),
            }
        }
        let endpoint = endpoint.ok_or_else(|| wrong("it names no endpoint"))?;
        let is_tls = endpoint.starts_with("https://");
        let endpoint = endpoint.parse().map_err(|_| wrong("its endpoint is no URL"))?;
        let bucket = Bucket::new(endpoint, UrlStyle::Path, bucket.to_owned(), region.to_owned())
            .map_err(|_| wrong("its endpoint or its bucket cannot be used"))?;
        let mut prefix = prefix.trim_matches('/').to_owned();
        if !prefix.is_empty() {
            prefix.push('/');
        }
        let provider = rustls::crypto::aws_lc_rs::default_provider().into();
        let mut tls =
            TlsConfig::builder().provider(TlsProvider::Rustls).unversioned_rustls_crypto_provider(provider);
        if is_tls {
            let io = |source| PlaceError::Io { what: "read the roots in", path: roots.clone(), source };
            let pem = fs::read(&roots).map_err(io)?;
            let found: Vec<_> = parse_pem(&pem)
                .filter_map(|item| match item {
                    Ok(PemItem::Certificate(certificate)) => Some(certificate),
                    _ => None,
                })
                .collect();
            tls = tls.root_certs(RootCerts::new_with_certs(&found));
        }
        let config = Agent::config_builder()
            .tls_config(tls.build())
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_connect(Some(Duration::from_secs(S3_CONNECT_S_MAX)))
            .timeout_global(Some(Duration::from_secs(S3_REQUEST_S_MAX)))
            .build();
        Ok(Self {
            bucket,
            credentials: Credentials::new(key, secret),
            prefix,
            agent: Agent::new_with_config(config),
            shown: address.to_owned(),
        })
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Sends a request until it is answered in a way that is not "try again". Gives status and body.
    fn ask(
        &self,
        what: &'static str,
        name: &str,
        bytes_max: usize,
        mut send: impl FnMut(&Agent) -> Result<Response<ureq::Body>, ureq::Error>,
    ) -> Result<(StatusCode, Vec<u8>), PlaceError> {
        let mut why = String::new();
        for tries in 0..S3_TRIES_MAX {
            if tries > 0 {
                pause(S3_PAUSE_MS << tries);
            }
            match send(&self.agent) {
                Ok(mut response) => {
                    let status = response.status();
                    let is_fault = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
                    let read = response.body_mut().with_config().limit(bytes_max as u64 + 1).read_to_vec();
                    match read {
                        Ok(body) if !is_fault => return Ok((status, body)),
                        Ok(body) => why = refusal(status, &body),
                        Err(ureq::Error::BodyExceedsLimit(_)) if !is_fault => {
                            return Err(PlaceError::TooLarge { name: name.to_owned(), bytes_max });
                        }
                        Err(error) => why = error.to_string(),
                    }
                }
                Err(error) => why = error.to_string(),
            }
        }
        Err(self.failed(what, name, format!("{why}; tried {S3_TRIES_MAX} times")))
    }

    fn failed(&self, what: &'static str, name: &str, why: String) -> PlaceError {
        PlaceError::Store { what, name: name.to_owned(), store: self.shown.clone(), why }
    }
}

impl Place for S3 {
    fn put(&self, name: &str, object: &[u8]) -> Result<(), PlaceError> {
        let whole = self.name(name);
        let url = self.bucket.put_object(Some(&self.credentials), &whole).sign(SIGNED_FOR);
        let (status, body) = self.ask("write", name, SMALL_OBJECT_BYTES_MAX, |agent| {
            agent.put(url.as_str()).content_type("application/octet-stream").send(object)
        })?;
        match status.is_success() {
            true => Ok(()),
            false => Err(self.failed("write", name, refusal(status, &body))),
        }
    }

    fn settle(&self) -> Result<(), PlaceError> {
        // What such a store has answered, it keeps.
        Ok(())
    }

    fn get(&self, name: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, PlaceError> {
        let whole = self.name(name);
        let url = self.bucket.get_object(Some(&self.credentials), &whole).sign(SIGNED_FOR);
        let bytes_max = bytes_max.min(OBJECT_BYTES_MAX);
        let (status, body) = self.ask("read", name, bytes_max, |agent| agent.get(url.as_str()).call())?;
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => Ok(Some(body)),
            status => Err(self.failed("read", name, refusal(status, &body))),
        }
    }

    fn list(&self, prefix: &str, found: &mut dyn FnMut(&str, u64)) -> Result<(), PlaceError> {
        let whole = self.name(prefix);
        let mut token: Option<String> = None;
        loop {
            let mut list = self.bucket.list_objects_v2(Some(&self.credentials));
            list.with_prefix(&whole);
            if let Some(token) = &token {
                list.with_continuation_token(token);
            }
            let url = list.sign(SIGNED_FOR);
            let (status, body) =
                self.ask("list", prefix, S3_LIST_BYTES_MAX, |agent| agent.get(url.as_str()).call())?;
            if !status.is_success() {
                return Err(self.failed("list", prefix, refusal(status, &body)));
            }
            let text = String::from_utf8_lossy(&body);
            let page: ListObjectsV2Response = ListObjectsV2::parse_response(&text)
                .map_err(|error| self.failed("list", prefix, error.to_string()))?;
            for object in &page.contents {
                if let (Some(name), Some(bytes)) = (object.key.strip_prefix(&self.prefix), object.size) {
                    found(name, bytes);
                }
            }
            match page.next_continuation_token {
                // A store that gives the same page again would have us ask for ever.
                Some(next) if token.as_ref() != Some(&next) => token = Some(next),
                _ => return Ok(()),
            }
        }
    }

    fn remove(&self, name: &str) -> Result<(), PlaceError> {
        let whole = self.name(name);
        let url = self.bucket.delete_object(Some(&self.credentials), &whole).sign(SIGNED_FOR);
        let (status, body) =
            self.ask("remove", name, SMALL_OBJECT_BYTES_MAX, |agent| agent.delete(url.as_str()).call())?;
        match status.is_success() || status == StatusCode::NOT_FOUND {
            true => Ok(()),
            false => Err(self.failed("remove", name, refusal(status, &body))),
        }
    }

    fn shown(&self) -> String {
        self.shown.clone()
    }
}

/// What a store says when it refuses: the code within its XML, if there is one.
fn refusal(status: StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    match code {
        Some((code, _)) if code.len() < 100 => format!("the store answered {status}, {code}"),
        _ => format!("the store answered {status}"),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a thread of its own that waits for a store which asked for it"
)]
fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_bucket_prefix_and_endpoint_or_what_is_wrong_with_it() {
        let open = |address: &str| S3::new(address, "key", "secret");
        let place = open("s3://b/hubs/one/?endpoint=http://127.0.0.1:9000&region=eu").unwrap();
        assert_eq!((place.bucket.name(), place.bucket.region()), ("b", "eu"));
        assert_eq!(place.name("backups/x"), "hubs/one/backups/x");
        assert_eq!(open("s3://b?endpoint=http://h").unwrap().name("x"), "x");
        for address in ["/b", "s3://b", "s3://b?region=eu", "s3://b?endpoint=h&x=1", "s3://b?endpoint=://"] {
            assert!(matches!(open(address), Err(PlaceError::Address { .. })), "{address}");
        }
    }
}
