//! The hub's HTTPS API as the command line calls it: mutual TLS with the identity's certificate, JSON both ways.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write},
    ops::ControlFlow,
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use ureq::{
    Agent, Body,
    http::Response,
    tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig, TlsProvider},
};

use muster_schemas::api::ErrorBody;

use super::{Complaint, Exit, identity::Identity};
use crate::{
    limits::{
        API_ANSWER_BYTES_MAX, API_ANSWER_S_MAX, API_CONNECT_S_MAX, API_EXPORT_S_MAX, API_PATIENCE_S_MAX,
        TRACE_LINE_BYTES_MAX,
    },
    tls,
};

/// What is damaged and not in a file.
const DAMAGED_HEADER: &str = "muster-damaged";

/// A hub to call.
pub(super) struct Hub {
    agent: Agent,
    api: String,
}

/// Who ended an answer that has no end of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The hub: ask again.
    Hub,
    /// Whoever took the lines.
    Caller,
    /// The time is over.
    Time,
}

impl Hub {
    pub(super) fn new(identity: &Identity) -> Result<Self, Complaint> {
        let key = PrivateKey::from_pem(&identity.key_pem).map_err(|error| {
            Complaint::new(
                Exit::Usage,
                "use the identity",
                error.to_string(),
                "name another: --identity <dir>",
            )
        })?;
        let certificates = |chain: &[rustls::pki_types::CertificateDer<'static>]| {
            chain.iter().map(|der| Certificate::from_der(der).to_owned()).collect::<Vec<_>>()
        };
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(tls::provider())
            .client_cert(Some(ClientCert::new_with_certs(&certificates(&identity.chain), key)))
            .root_certs(RootCerts::new_with_certs(&certificates(&identity.roots)))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .https_only(true)
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_connect(Some(Duration::from_secs(API_CONNECT_S_MAX)))
            .timeout_global(Some(Duration::from_secs(API_ANSWER_S_MAX)))
            .build();
        Ok(Self { agent: Agent::new_with_config(config), api: identity.api.clone() })
    }

    /// `what` reads after "cannot".
    pub(super) fn get<T: DeserializeOwned>(
        &self,
        what: &str,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<T, Complaint> {
        let mut request = self.agent.get(format!("{}{path}", self.api));
        for (name, value) in query {
            request = request.query(name, value);
        }
        self.answer(what, request.call())
    }

    /// `what` reads after "cannot".
    pub(super) fn post<T: DeserializeOwned>(
        &self,
        what: &str,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Complaint> {
        self.answer(what, self.agent.post(format!("{}{path}", self.api)).send_json(body))
    }

    /// As [`Hub::post`], of what takes its time. `what` reads after "cannot".
    pub(super) fn post_patiently<T: DeserializeOwned>(
        &self,
        what: &str,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Complaint> {
        let request = self.agent.post(format!("{}{path}", self.api));
        let time = Some(Duration::from_secs(API_PATIENCE_S_MAX));
        self.answer(what, request.config().timeout_global(time).build().send_json(body))
    }

    /// `what` reads after "cannot".
    pub(super) fn put<T: DeserializeOwned>(
        &self,
        what: &str,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Complaint> {
        self.answer(what, self.agent.put(format!("{}{path}", self.api)).send_json(body))
    }

    /// `what` reads after "cannot".
    pub(super) fn delete<T: DeserializeOwned>(&self, what: &str, path: &str) -> Result<T, Complaint> {
        self.answer(what, self.agent.delete(format!("{}{path}", self.api)).call())
    }

    /// The lines of an answer that has no end of its own, empty ones left out. `what` reads after "cannot". It ends when
    /// the hub ends it, and after `time`, if there is one.
    pub(super) fn lines(
        &self,
        what: &str,
        path: &str,
        query: &[(&str, String)],
        time: Option<Duration>,
        mut line: impl FnMut(&[u8]) -> Result<ControlFlow<()>, Complaint>,
    ) -> Result<Ended, Complaint> {
        let mut request = self.agent.get(format!("{}{path}", self.api));
        for (name, value) in query {
            request = request.query(name, value);
        }
        let wait = Duration::from_secs(API_ANSWER_S_MAX);
        let request = request.config().timeout_global(time).timeout_recv_response(Some(wait)).build();
        let response = match request.call() {
            Ok(response) if response.status().is_success() => response,
            Err(ureq::Error::Timeout(ureq::Timeout::Global)) => return Ok(Ended::Time),
            refused => return self.answer::<()>(what, refused).map(|()| Ended::Hub),
        };
        let mut reader = BufReader::new(response.into_body().into_reader());
        let mut text = Vec::new();
        loop {
            text.clear();
            match (&mut reader).take(TRACE_LINE_BYTES_MAX).read_until(b'\n', &mut text) {
                Ok(0) => return Ok(Ended::Hub),
                Ok(_) if text == b"\n" => {}
                Ok(_) => {
                    if line(&text)?.is_break() {
                        return Ok(Ended::Caller);
                    }
                }
                Err(error) => match ureq::Error::from(error) {
                    ureq::Error::Timeout(_) => return Ok(Ended::Time),
                    error => return Err(self.unreachable(what, &error)),
                },
            }
        }
    }

    /// Writes an answer of any length, and says what of it the hub told to be damaged. `what` reads after "cannot".
    pub(super) fn download(
        &self,
        what: &str,
        path: &str,
        query: &[(&str, String)],
        out: &mut dyn Write,
    ) -> Result<Option<String>, Complaint> {
        let mut request = self.agent.get(format!("{}{path}", self.api));
        for (name, value) in query {
            request = request.query(name, value);
        }
        let wait = Duration::from_secs(API_EXPORT_S_MAX);
        let request = request.config().timeout_global(None).timeout_recv_response(Some(wait)).build();
        let response = match request.call() {
            Ok(response) if response.status().is_success() => response,
            refused => return self.answer::<()>(what, refused).map(|()| None),
        };
        let damaged = response.headers().get(DAMAGED_HEADER).and_then(|value| value.to_str().ok());
        let damaged = damaged.map(str::to_owned);
        let mut reader = response.into_body().into_reader();
        let mut piece = vec![0; 64 * 1024];
        loop {
            let length = match reader.read(&mut piece) {
                Ok(0) => return Ok(damaged),
                Ok(length) => length,
                Err(error) => {
                    let why = format!("the hub broke the file off: {error}");
                    let next = "try again; the hub's log says why";
                    return Err(Complaint::new(Exit::Failure, what, why, next));
                }
            };
            out.write_all(piece.get(..length).unwrap_or_default())?;
        }
    }

    /// Where this hub's API answers.
    pub(super) fn api(&self) -> &str {
        &self.api
    }

    fn answer<T: DeserializeOwned>(
        &self,
        what: &str,
        response: Result<Response<Body>, ureq::Error>,
    ) -> Result<T, Complaint> {
        let mut response = response.map_err(|error| self.unreachable(what, &error))?;
        let status = response.status();
        let body = response
            .body_mut()
            .with_config()
            .limit(API_ANSWER_BYTES_MAX)
            .read_to_vec()
            .map_err(|error| self.unreachable(what, &error))?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| {
                let why = format!("the answer of {} is not understood: {error}", self.api);
                Complaint::new(Exit::Failure, what, why, "use a muster of the same version as the hub")
            });
        }
        let exit = if status.is_client_error() { Exit::Refused } else { Exit::Failure };
        Err(match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(ErrorBody { error }) => Complaint {
                exit,
                code: error.code,
                what: what.to_owned(),
                why: format!("{}: {}", error.what, error.why),
                next: error.next,
            },
            Err(_) => {
                let why = format!("{} answered {status} without saying why", self.api);
                Complaint::new(exit, what, why, "make sure that --hub names a muster hub; see the hub's log")
            }
        })
    }

    /// The hub did not answer, is not the hub, or turned the certificate away during the handshake.
    fn unreachable(&self, what: &str, error: &ureq::Error) -> Complaint {
        let api = &self.api;
        match tls_error(error) {
            Some(rustls::Error::AlertReceived(alert)) => Complaint::new(
                Exit::Refused,
                what,
                format!("the hub at {api} refused your certificate ({alert:?})"),
                "use a current certificate of this hub: --identity <dir>",
            ),
            Some(error) => Complaint::new(
                Exit::Unreachable,
                what,
                format!("what answers at {api} does not prove to be your hub: {error}"),
                "make sure that --hub is right, and that ca.pem of the identity is this hub's root",
            ),
            None => Complaint::new(
                Exit::Unreachable,
                what,
                format!("the hub at {api} does not answer: {error}"),
                "start it with `muster serve`, or name another: --hub <url>",
            ),
        }
    }
}

/// The TLS error within an error of the HTTP library, which hides some in an I/O error.
fn tls_error(error: &ureq::Error) -> Option<&rustls::Error> {
    match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}
