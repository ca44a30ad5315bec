//! The upgrade from HTTP/1.1 (RFC 6455 §4.2): one request, one answer, and words for whoever asked for something else.

use std::io;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use bytes::BytesMut;
use data_encoding::BASE64;
use httparse::{Header, Request, Status};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::limits::{UPGRADE_BYTES_MAX, UPGRADE_HEADERS_MAX};

/// Where MQTT is, on this port.
const PATHS: [&str; 2] = ["/mqtt", "/"];
/// The subprotocol [MQTT-6.0.0-3].
const SUBPROTOCOL: &str = "mqtt";
/// What is hashed with the key, to show that the answer is of somebody who knows WebSocket (RFC 6455 §1.3).
const KEY_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// An answer that is not an upgrade.
#[derive(Debug, PartialEq, Eq)]
struct Declined {
    status: &'static str,
    words: String,
}

fn declined<T>(status: &'static str, words: impl Into<String>) -> Result<T, Declined> {
    Err(Declined { status, words: words.into() })
}

/// Takes the request and answers it. The peer may be a browser that runs a page from anywhere with its owner's
/// certificate: if it says which page, that must be of this host or among `origins`.
///
/// # Errors
/// The stream's own; `InvalidData` if the peer asked for something else, and was told.
pub(crate) async fn upgrade<S>(stream: &mut S, origins: &[String]) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut bytes = BytesMut::with_capacity(1_024);
    let answer = loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match answer(&bytes, origins) {
            Ok(None) if bytes.len() < UPGRADE_BYTES_MAX => {}
            Ok(None) => {
                break declined(
                    "431 Request Header Fields Too Large",
                    format!(
                        "a request has at most {UPGRADE_BYTES_MAX} bytes and {UPGRADE_HEADERS_MAX} headers"
                    ),
                );
            }
            Ok(Some(accept)) => break Ok(accept),
            Err(declined) => break Err(declined),
        }
    };
    match answer {
        Ok(accept) => {
            let text = format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
            );
            stream.write_all(text.as_bytes()).await?;
            stream.flush().await
        }
        Err(Declined { status, words }) => {
            let text = format!(
                "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
                 Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nConnection: close\r\n\r\n{words}\n",
                words.len() + 1
            );
            stream.write_all(text.as_bytes()).await?;
            stream.shutdown().await?;
            Err(io::Error::new(io::ErrorKind::InvalidData, words))
        }
    }
}

/// What to put into `Sec-WebSocket-Accept`, or nothing while the request is not whole.
fn answer(bytes: &[u8], origins: &[String]) -> Result<Option<String>, Declined> {
    // Whoever sends a byte at a time makes us look at the end of them only.
    if !bytes.windows(4).rev().any(|four| four == b"\r\n\r\n") {
        return Ok(None);
    }
    let mut headers = [httparse::EMPTY_HEADER; UPGRADE_HEADERS_MAX];
    let mut request = Request::new(&mut headers);
    let whole = match request.parse(bytes) {
        Ok(Status::Complete(length)) => length == bytes.len(),
        Ok(Status::Partial) => return Ok(None),
        Err(error) => return declined("400 Bad Request", format!("this is not HTTP/1.1: {error}")),
    };
    if !whole || request.method != Some("GET") || request.version != Some(1) {
        return declined(
            "400 Bad Request",
            "an upgrade is a GET of HTTP/1.1, and nothing comes before its answer",
        );
    }
    let path = request.path.unwrap_or_default();
    if !PATHS.contains(&path.split('?').next().unwrap_or_default()) {
        return declined("404 Not Found", "MQTT over WebSocket is at /mqtt and at /");
    }
    let lists = |name: &str, wanted: &str| {
        values(request.headers, name).any(|v| v.split(',').any(|t| t.trim().eq_ignore_ascii_case(wanted)))
    };
    if !lists("upgrade", "websocket") || !lists("connection", "upgrade") {
        return declined(
            "426 Upgrade Required",
            "this is MQTT over WebSocket: connect with an MQTT client that speaks it",
        );
    }
    if !lists("sec-websocket-version", "13") {
        return declined("426 Upgrade Required", "this is version 13 of WebSocket, RFC 6455");
    }
    // Tokens of this header are compared as they stand.
    if !values(request.headers, "sec-websocket-protocol")
        .any(|v| v.split(',').any(|t| t.trim() == SUBPROTOCOL))
    {
        return declined(
            "400 Bad Request",
            "say Sec-WebSocket-Protocol: mqtt, which is what is spoken here [MQTT-6.0.0-3]",
        );
    }
    if let Some(origin) = values(request.headers, "origin").next() {
        let host = values(request.headers, "host").next().unwrap_or_default();
        let is_ours = origin.split_once("://").is_some_and(|(_, at)| at.eq_ignore_ascii_case(host));
        if !is_ours && !origins.iter().any(|listed| listed.eq_ignore_ascii_case(origin)) {
            let words =
                "pages of this origin are not let in; the operator lists them in listeners.mqtt_wss.origins";
            return declined("403 Forbidden", words);
        }
    }
    let key = values(request.headers, "sec-websocket-key").next().unwrap_or_default();
    if BASE64.decode(key.as_bytes()).map(|key| key.len()) != Ok(16) {
        return declined("400 Bad Request", "Sec-WebSocket-Key is not 16 bytes in Base64");
    }
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{KEY_SUFFIX}").as_bytes());
    Ok(Some(BASE64.encode(hash.as_ref())))
}

/// The values of a header that are text, in order.
fn values<'a>(headers: &'a [Header<'_>], name: &str) -> impl Iterator<Item = &'a str> {
    let named = headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
    named.filter_map(|header| std::str::from_utf8(header.value).ok()).map(str::trim)
}

#[cfg(test)]
#[path = "upgrade_tests.rs"]
mod tests;
