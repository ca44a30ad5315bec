//! A client's connection: MQTT on TLS, as it is or in the frames of a WebSocket.

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
}

pub struct Socket {
    stream: TlsStream<TcpStream>,
}

impl Socket {
    pub async fn open(
        address: SocketAddr,
        config: Arc<ClientConfig>,
        _transport: Transport,
    ) -> io::Result<Self> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let name = "localhost".try_into().expect("a name");
        Ok(Self { stream: TlsConnector::from(config).connect(name, tcp).await? })
    }

    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Appends what comes next, and returns whether the connection goes on.
    pub async fn receive(&mut self, into: &mut Vec<u8>) -> bool {
        // A connection that was reset has ended, too.
        self.stream.read_buf(into).await.unwrap_or(0) > 0
    }
}
