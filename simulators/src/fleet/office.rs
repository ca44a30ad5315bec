//! Whoever calls the hub's API many times: one connection, one call after another.

use std::{path::Path, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Longest wait for one answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 8 * 1_024 * 1_024;

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum OfficeError {
    /// A file of the identity cannot be used.
    #[error("failed to use the identity: {0}")]
    Identity(String),
    /// The connection failed.
    #[error("failed to call the API: {0}")]
    Connection(#[from] std::io::Error),
    /// What came is no answer.
    #[error("failed to understand the API: {0}")]
    Answer(String),
}

/// An identity on one connection to the API.
pub struct Office {
    stream: TlsStream<TcpStream>,
    host: String,
}

impl Office {
    /// Connects to the API at `host:port` with the identity in a folder.
    ///
    /// # Errors
    /// The identity cannot be used, or the hub does not answer.
    pub async fn open(identity: &Path, address: &str) -> Result<Self, OfficeError> {
        let wrong = |error: &dyn std::fmt::Display| OfficeError::Identity(error.to_string());
        let pem = |name: &str| {
            let certificates = CertificateDer::pem_file_iter(identity.join(name)).map_err(|e| wrong(&e))?;
            certificates.collect::<Result<Vec<_>, _>>().map_err(|e| wrong(&e))
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(pem("ca.pem")?);
        let key = PrivateKeyDer::from_pem_file(identity.join("key.pem")).map_err(|e| wrong(&e))?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| wrong(&e))?
            .with_root_certificates(roots)
            .with_client_auth_cert(pem("cert.pem")?, key)
            .map_err(|e| wrong(&e))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let tcp = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").map_err(|e| wrong(&e))?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        Ok(Self { stream, host: address.to_owned() })
    }

    /// Posts JSON; gives the status and what came.
    ///
    /// # Errors
    /// The connection fails, or no answer comes in time.
    pub async fn post(&mut self, path: &str, body: &Value) -> Result<(u16, Value), OfficeError> {
        self.call("POST", path, &body.to_string()).await
    }

    /// Gets JSON; gives the status and what came.
    ///
    /// # Errors
    /// The connection fails, or no answer comes in time.
    pub async fn get(&mut self, path: &str) -> Result<(u16, Value), OfficeError> {
        self.call("GET", path, "").await
    }

    async fn call(&mut self, method: &str, path: &str, body: &str) -> Result<(u16, Value), OfficeError> {
        let (host, length) = (&self.host, body.len());
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        self.stream.write_all(request.as_bytes()).await?;
        self.stream.flush().await?;
        let slow = |_| OfficeError::Answer("nothing came in time".to_owned());
        timeout(ANSWER_TIME_MAX, self.answer()).await.map_err(slow)?
    }

    async fn answer(&mut self) -> Result<(u16, Value), OfficeError> {
        let mut bytes = Vec::new();
        let head = loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if self.stream.read_buf(&mut bytes).await? == 0 || bytes.len() > ANSWER_BYTES_MAX {
                return Err(OfficeError::Answer("it hung up, or talks without end".to_owned()));
            }
        };
        let text = String::from_utf8_lossy(bytes.get(..head).unwrap_or_default()).to_ascii_lowercase();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
        while bytes.len() < head + length.min(ANSWER_BYTES_MAX) {
            if self.stream.read_buf(&mut bytes).await? == 0 {
                return Err(OfficeError::Answer("it hung up".to_owned()));
            }
        }
        let body = bytes.get(head..).unwrap_or_default();
        let status = status.ok_or_else(|| OfficeError::Answer("no status".to_owned()))?;
        Ok((status, serde_json::from_slice(body).unwrap_or(Value::Null)))
    }
}
