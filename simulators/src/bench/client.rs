//! A minimal MQTT 5 client for load: it encodes into one buffer, writes that at once, and hands out what comes.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use muster_mqtt::{
    Connect, ConnectProperties, DecodeError, Decoder, Disconnect, Outgoing, Packet, PacketId, Publish,
    ReasonCode, Version, encode,
};
use muster_schemas::{Message, Qos};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::limits::ANSWER_TIME_MAX;

/// Why a client could not do what was measured.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The hub sent what is no MQTT.
    #[error("the hub sent what is no MQTT: {0}")]
    Decode(#[from] DecodeError),
    /// The hub refused.
    #[error("the hub refused {what}: {code}{}", .reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default())]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// Its code.
        code: ReasonCode,
        /// Its words.
        reason: Option<String>,
    },
    /// The hub sent a packet that has no place here.
    #[error("the hub sent {found} where {wanted} was due")]
    Unexpected {
        /// What came.
        found: String,
        /// What should have come.
        wanted: &'static str,
    },
    /// Nothing came in time.
    #[error("the hub gave no {wanted} within {limit_s} s", wanted = .0, limit_s = ANSWER_TIME_MAX.as_secs())]
    Silent(&'static str),
}

impl ClientError {
    /// What came instead of what was due; a DISCONNECT is told with its reason.
    pub fn unexpected(found: &Packet, wanted: &'static str) -> Self {
        match found {
            Packet::Disconnect(last) => Self::Refused {
                what: "to go on",
                code: last.code,
                reason: last.reason.as_ref().map(ToString::to_string),
            },
            other => Self::Unexpected { found: other.packet_type().to_string(), wanted },
        }
    }
}

/// Connects with TLS, by a loopback address of one's own if that is wanted.
pub async fn connect_tls(
    address: SocketAddr,
    source: Option<Ipv4Addr>,
    config: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, ClientError> {
    let connecting = async {
        let socket = TcpSocket::new_v4()?;
        if let Some(source) = source {
            socket.bind((source, 0).into())?;
        }
        let tcp = socket.connect(address).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        TlsConnector::from(config).connect(name, tcp).await
    };
    let connected =
        timeout(ANSWER_TIME_MAX, connecting).await.map_err(|_| ClientError::Silent("TLS handshake"))?;
    Ok(connected?)
}

/// A session.
pub struct Client {
    stream: TlsStream<TcpStream>,
    decoder: Decoder,
    outgoing: Outgoing,
}

impl Client {
    /// Opens a session on a connection.
    pub async fn open(stream: TlsStream<TcpStream>, client_id: &str) -> Result<Self, ClientError> {
        let mut client =
            Self { stream, decoder: Decoder::client(Version::V5), outgoing: Outgoing::default() };
        let client_id = client_id.parse().map_err(io::Error::other)?;
        client.say(&Packet::Connect(Box::new(Connect {
            version: Version::V5,
            clean_start: true,
            keep_alive_s: 0,
            client_id: Some(client_id),
            username: None,
            password: None,
            will: None,
            properties: ConnectProperties::default(),
        })));
        match client.answer("CONNACK").await? {
            Packet::ConnAck(connack) if connack.code == ReasonCode::Success => Ok(client),
            Packet::ConnAck(connack) => Err(ClientError::Refused {
                what: "the session",
                code: connack.code,
                reason: connack.properties.reason.map(|reason| reason.to_string()),
            }),
            other => Err(ClientError::unexpected(&other, "CONNACK")),
        }
    }

    /// Puts a message into the buffer.
    pub fn publish(&mut self, message: Message, packet_id: Option<PacketId>) {
        debug_assert_eq!(packet_id.is_some(), message.qos != Qos::AtMostOnce);
        let (dup, topic_alias, subscription_ids) = (false, None, Default::default());
        self.say(&Packet::Publish(Publish { dup, packet_id, topic_alias, subscription_ids, message }));
    }

    /// Sends the buffer.
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        for chunk in self.outgoing.take_chunks() {
            self.stream.write_all(&chunk).await?;
        }
        Ok(self.stream.flush().await?)
    }

    /// Waits until something has come.
    pub async fn hear(&mut self) -> Result<(), ClientError> {
        match self.stream.read_buf(self.decoder.buffer()).await? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            _ => Ok(()),
        }
    }

    /// The next packet of what has come.
    pub fn heard(&mut self) -> Result<Option<Packet>, ClientError> {
        Ok(self.decoder.next()?)
    }

    /// Says good-bye and closes.
    pub async fn close(mut self) -> Result<(), ClientError> {
        self.say(&Packet::Disconnect(Disconnect::new(ReasonCode::Success)));
        self.flush().await?;
        Ok(self.stream.shutdown().await?)
    }

    fn say(&mut self, packet: &Packet) {
        encode(packet, Version::V5, &mut self.outgoing);
    }

    async fn answer(&mut self, wanted: &'static str) -> Result<Packet, ClientError> {
        self.flush().await?;
        let answering = async {
            loop {
                if let Some(packet) = self.heard()? {
                    return Ok(packet);
                }
                self.hear().await?;
            }
        };
        timeout(ANSWER_TIME_MAX, answering).await.map_err(|_| ClientError::Silent(wanted))?
    }
}
