//! The hub's HTTPS API for a program that makes many calls: one connection that stays, one call at a time on it.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

use rustls::{ClientConfig, pki_types::ServerName};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    BenchError,
    limits::{ANSWER_BYTES_MAX, ANSWER_TIME_MAX},
};
use crate::{
    hub::Hub,
    load::dial::{TlsFiles, client},
};

/// Where the API is, and who calls it.
#[derive(Debug, Clone)]
pub struct Access {
    address: SocketAddr,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// A connection to the API.
pub struct Api {
    stream: TlsStream<TcpStream>,
    heard: Vec<u8>,
}

impl Access {
    /// As the operator of this hub.
    ///
    /// # Errors
    /// The operator's files are not there, or the hub has said nowhere where it listens.
    pub fn operator(hub: &Hub) -> Result<Self, BenchError> {
        Self::of(hub, &hub.operator())
    }

    /// As whose identity is in this folder.
    ///
    /// # Errors
    /// Its files are not there, or the hub has said nowhere where it listens.
    pub fn of(hub: &Hub, folder: &Path) -> Result<Self, BenchError> {
        let files = TlsFiles {
            roots: folder.join("ca.pem"),
            identity: Some((folder.join("cert.pem"), folder.join("key.pem"))),
            server_name: "localhost".to_owned(),
        };
        let (config, name) = client(&files)?;
        let api = hub.api();
        let port = api.rsplit(':').next().and_then(|port| port.parse().ok());
        let port: u16 = port.ok_or_else(|| BenchError::Odd(format!("the API is at {api:?}")))?;
        Ok(Self { address: (Ipv4Addr::LOCALHOST, port).into(), config, name })
    }

    /// Connects.
    ///
    /// # Errors
    /// The hub does not let it in.
    pub async fn connect(&self) -> Result<Api, BenchError> {
        let connecting = async {
            let tcp = TcpStream::connect(self.address).await?;
            tcp.set_nodelay(true)?;
            TlsConnector::from(Arc::clone(&self.config)).connect(self.name.clone(), tcp).await
        };
        let stream = timeout(ANSWER_TIME_MAX, connecting).await;
        let stream = stream.map_err(|_| BenchError::Silent("TLS handshake"))??;
        Ok(Api { stream, heard: Vec::new() })
    }
}

impl Api {
    /// Posts JSON, and gives the JSON of the answer.
    ///
    /// # Errors
    /// The answer is no success, or did not come.
    pub async fn post(&mut self, path: &str, body: &Value) -> Result<Value, BenchError> {
        let body = body.to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.ask(&format!("POST {path}"), &request).await
    }

    /// Gets JSON.
    ///
    /// # Errors
    /// The answer is no success, or did not come.
    pub async fn get(&mut self, path: &str) -> Result<Value, BenchError> {
        self.ask(&format!("GET {path}"), &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await
    }

    async fn ask(&mut self, what: &str, request: &str) -> Result<Value, BenchError> {
        let answered = timeout(ANSWER_TIME_MAX, self.exchange(request)).await;
        let (status, body) = answered.map_err(|_| BenchError::Silent("answer of the API"))??;
        if !(200..300).contains(&status) {
            let said = String::from_utf8_lossy(&body).into_owned();
            return Err(BenchError::Odd(format!("{what} was answered with {status}: {said}")));
        }
        Ok(serde_json::from_slice(&body).map_err(io::Error::other)?)
    }

    async fn exchange(&mut self, request: &str) -> io::Result<(u16, Vec<u8>)> {
        self.stream.write_all(request.as_bytes()).await?;
        self.stream.flush().await?;
        self.heard.clear();
        loop {
            if let Some((status, body)) = answer(&self.heard)? {
                return Ok((status, body.to_vec()));
            }
            if self.heard.len() > ANSWER_BYTES_MAX {
                return Err(io::Error::other("the API's answer is too long"));
            }
            if self.stream.read_buf(&mut self.heard).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// The status and the body of an answer; `None` while its end has not come.
fn answer(bytes: &[u8]) -> io::Result<Option<(u16, &[u8])>> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(head_bytes) = bytes.windows(END.len()).position(|window| window == END) else { return Ok(None) };
    let (head, rest) = bytes.split_at(head_bytes);
    let head = str::from_utf8(head).map_err(io::Error::other)?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let status = status.ok_or_else(|| io::Error::other("the API speaks no HTTP"))?;
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|(_, length)| length.trim().parse::<usize>().ok());
    let length = length.ok_or_else(|| io::Error::other("the API's answer says no length"))?;
    Ok(rest.get(END.len()..).and_then(|rest| rest.get(..length)).map(|body| (status, body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_body_is() {
        let whole = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nx: y\r\n\r\n{}";
        assert_eq!(answer(whole).unwrap(), Some((201, &b"{}"[..])));
        for length in 0..whole.len() {
            assert_eq!(answer(&whole[..length]).unwrap(), None, "{length} bytes");
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        assert!(answer(b"hello\r\n\r\n").is_err());
        assert!(answer(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
