//! A client's connection to the hub: packets out, packets in, with a bound on each wait.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use muster_mqtt::{DecodeError, Decoder, Outgoing, Packet, Version, encode};

use rustls::{ClientConfig, ClientConnection, Stream, pki_types::ServerName};

use super::limits::CONNACK_TIME_MAX;
use crate::bench::fleet::HUB_NAME;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The socket.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// What came is no MQTT.
    #[error("the hub sent what is no MQTT: {0}")]
    Decode(#[from] DecodeError),
}

/// An open connection.
pub struct Link {
    socket: TcpStream,
    tls: Option<ClientConnection>,
    version: Version,
    decoder: Decoder,
    outgoing: Outgoing,
    read: Vec<u8>,
}

impl Link {
    /// Connects; no packet has gone yet.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn open(address: SocketAddr, version: Version) -> Result<Self, LinkError> {
        Self::over(address, version, None)
    }

    /// Connects with TLS, as whoever made this configuration.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn open_tls(
        address: SocketAddr,
        version: Version,
        config: Arc<ClientConfig>,
    ) -> Result<Self, LinkError> {
        let name = ServerName::try_from(HUB_NAME).map_err(io::Error::other)?;
        let tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
        Self::over(address, version, Some(tls))
    }

    fn over(address: SocketAddr, version: Version, tls: Option<ClientConnection>) -> Result<Self, LinkError> {
        let socket = TcpStream::connect_timeout(&address, CONNACK_TIME_MAX)?;
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(CONNACK_TIME_MAX))?;
        let (decoder, outgoing) = (Decoder::client(version), Outgoing::default());
        Ok(Self { socket, tls, version, decoder, outgoing, read: vec![0; 64 * 1_024] })
    }

    /// Puts a packet where the next flush takes it from.
    pub fn put(&mut self, packet: &Packet) {
        encode(packet, self.version, &mut self.outgoing);
    }

    /// Sends what was put.
    ///
    /// # Errors
    /// The connection failed.
    pub fn flush(&mut self) -> Result<(), LinkError> {
        for chunk in self.outgoing.take_chunks() {
            match &mut self.tls {
                Some(tls) => Stream::new(tls, &mut self.socket).write_all(&chunk)?,
                None => self.socket.write_all(&chunk)?,
            }
        }
        Ok(())
    }

    /// The next packet, or none if none comes within `limit`.
    ///
    /// # Errors
    /// The connection failed or what came is no MQTT.
    pub fn next(&mut self, limit: Duration) -> Result<Option<Packet>, LinkError> {
        if let Some(packet) = self.decoder.next()? {
            return Ok(Some(packet));
        }
        self.socket.set_read_timeout(Some(limit))?;
        let read = match &mut self.tls {
            Some(tls) => Stream::new(tls, &mut self.socket).read(&mut self.read),
            None => self.socket.read(&mut self.read),
        };
        match read {
            Ok(0) => return Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
            Ok(count) => self.decoder.buffer().extend_from_slice(self.read.get(..count).unwrap_or_default()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.decoder.next()?)
    }

    /// The next packet that has come already.
    ///
    /// # Errors
    /// What came is no MQTT.
    pub fn next_here(&mut self) -> Result<Option<Packet>, LinkError> {
        Ok(self.decoder.next()?)
    }
}
