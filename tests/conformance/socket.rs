//! A client's connection: MQTT on TLS, as it is or in the frames of a WebSocket (RFC 6455).

use std::{io, net::SocketAddr, sync::Arc};

use rustls::ClientConfig;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// What carries the packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Tls,
    WebSocket,
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    Text = 0x81,
    Binary = 0x82,
}

pub struct Socket {
    stream: TlsStream<TcpStream>,
    /// Bytes of frames that are not complete; none where there are no frames.
    frames: Option<Vec<u8>>,
}

impl Socket {
    pub async fn open(
        address: SocketAddr,
        config: Arc<ClientConfig>,
        transport: Transport,
    ) -> io::Result<Self> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let name = "localhost".try_into().expect("a name");
        let stream = TlsConnector::from(config).connect(name, tcp).await?;
        let mut socket = Self { stream, frames: None };
        if transport == Transport::WebSocket {
            let answer = socket.upgrade("Sec-WebSocket-Protocol: mqtt\r\n").await?;
            let (head, rest) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
            let head = head.to_ascii_lowercase();
            let is_upgraded = head.starts_with("http/1.1 101 ")
                && head.lines().any(|line| line == "sec-websocket-protocol: mqtt");
            if !is_upgraded || !rest.is_empty() {
                return Err(io::Error::other(format!("no upgrade: {answer}")));
            }
            socket.frames = Some(Vec::new());
        }
        Ok(socket)
    }

    /// Asks for a WebSocket with these headers, and returns the answer.
    pub async fn upgrade(&mut self, headers: &str) -> io::Result<String> {
        let request = format!(
            "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        self.stream.write_all(request.as_bytes()).await?;
        self.stream.flush().await?;
        let mut answer = Vec::new();
        while !answer.windows(4).any(|four| four == b"\r\n\r\n") {
            if self.stream.read_buf(&mut answer).await? == 0 {
                break;
            }
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// Sends bytes. In frames they are cut in the middle, wherever that is [MQTT-6.0.0-2].
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.frames.is_some() && !bytes.is_empty() {
            let (one, two) = bytes.split_at(bytes.len() / 2);
            self.send_frame(Frame::Binary, one).await?;
            return self.send_frame(Frame::Binary, two).await;
        }
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    pub async fn send_frame(&mut self, frame: Frame, payload: &[u8]) -> io::Result<()> {
        let mask = [7, 77, 0, 177];
        let mut bytes = vec![frame as u8];
        match u8::try_from(payload.len()) {
            Ok(length @ ..=125) => bytes.push(0x80 | length),
            _ => {
                let length = u16::try_from(payload.len()).expect("no vector sends that much at once");
                bytes.push(0x80 | 126);
                bytes.extend(length.to_be_bytes());
            }
        }
        bytes.extend(mask);
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.stream.write_all(&bytes).await?;
        self.stream.flush().await
    }

    /// Appends what comes next, and returns whether the connection goes on.
    pub async fn receive(&mut self, into: &mut Vec<u8>) -> bool {
        let Some(frames) = &mut self.frames else {
            // A connection that was reset has ended, too.
            return self.stream.read_buf(into).await.unwrap_or(0) > 0;
        };
        if self.stream.read_buf(frames).await.unwrap_or(0) == 0 {
            return false;
        }
        while let Some((opcode, payload, length)) = frame(frames) {
            match opcode {
                0x80 | 0x82 | 0x02 | 0x00 => into.extend(payload),
                // Whoever says goodbye closes; that is still to come.
                0x88..=0x8a => {}
                other => panic!("a frame of kind {other:#x}"),
            }
            frames.drain(..length);
        }
        true
    }
}

/// The first byte, the payload and the length of the first frame, if it is complete.
fn frame(bytes: &[u8]) -> Option<(u8, Vec<u8>, usize)> {
    let (&[first, second], rest) = bytes.split_first_chunk::<2>()?;
    let (length, rest) = match second {
        126 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (u16::from_be_bytes(*length).into(), rest)
        }
        127 => {
            let (length, rest) = rest.split_first_chunk::<8>()?;
            (usize::try_from(u64::from_be_bytes(*length)).ok()?, rest)
        }
        length => {
            assert!(length < 126, "a server does not mask");
            (usize::from(length), rest)
        }
    };
    let payload = rest.get(..length)?.to_vec();
    Some((first, payload, bytes.len() - rest.len() + length))
}
