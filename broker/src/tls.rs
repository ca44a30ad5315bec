//! TLS in front of a protocol that the peer chooses by ALPN (RFC 7301): one port serves several.

use std::{io, net::SocketAddr, pin::Pin, sync::Arc};

use rustls::{HandshakeKind, ProtocolVersion, ServerConfig, server::Acceptor};
use tokio::net::TcpStream;
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use crate::{
    address::PeerAddress,
    listener::{Arrival, Entrance, Handshake, Place, Socket},
};

/// A peer whose TLS handshake is complete.
pub struct Accepted {
    /// The connection. TLS 1.3; the peer's chain, if it showed one, has been verified. Boxed, because it is large and is
    /// handed on several times.
    pub stream: Box<TlsStream<TcpStream>>,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// Its place among the listener's connections; dropping it gives the place back.
    pub place: Place,
    /// Its place among the listener's handshakes. A protocol with no handshake of its own drops it at once.
    pub handshake: Handshake,
}

/// One protocol behind TLS, chosen by ALPN.
pub trait Protocol: Send + Sync {
    /// The ALPN protocol id.
    fn alpn(&self) -> &[u8];

    /// The TLS configuration of the moment: read for every connection, so that a reload takes effect at once.
    fn tls(&self) -> Arc<ServerConfig>;

    /// Serves one connection to its end, on the I/O arbiter that shook hands.
    fn serve(&self, accepted: Accepted) -> Pin<Box<dyn Future<Output = ()>>>;
}

/// The way in through TLS.
pub(crate) struct Tls {
    /// In our order of preference. The first is also for peers that offer no ALPN, as most MQTT clients do not.
    pub(crate) protocols: Arc<[Arc<dyn Protocol>]>,
}

impl Entrance for Tls {
    fn receive(&self, arrival: Arrival) -> Pin<Box<dyn Future<Output = ()>>> {
        let protocols = self.protocols.clone();
        // Boxed by itself, because it is over when the protocol begins.
        let receiving = Box::pin(async move {
            let Arrival { socket, peer, place, handshake } = arrival;
            // A socket of another kind is not given to this entrance.
            let (Socket::Tcp(tcp), PeerAddress::Tcp(peer)) = (socket, peer) else { return None };
            let shaking = Box::pin(shake_hands(&protocols, tcp));
            let (protocol, stream) = handshake.step(peer.into(), "TLS handshake", shaking).await?;
            Some(protocol.serve(Accepted { stream, peer, place, handshake }))
        });
        Box::pin(async move {
            if let Some(serving) = receiving.await {
                serving.await;
            }
        })
    }
}

async fn shake_hands(
    protocols: &[Arc<dyn Protocol>],
    tcp: std::net::TcpStream,
) -> io::Result<(Arc<dyn Protocol>, Box<TlsStream<TcpStream>>)> {
    let tcp = TcpStream::from_std(tcp)?;
    tcp.set_nodelay(true)?;
    let hello = LazyConfigAcceptor::new(Acceptor::default(), tcp).await?;
    let protocol = {
        let hello = hello.client_hello();
        let offered: Vec<&[u8]> = hello.alpn().into_iter().flatten().collect();
        // In our order of preference, as rustls has it.
        let chosen = protocols.iter().find(|protocol| offered.contains(&protocol.alpn()));
        chosen.or(protocols.first()).cloned()
    };
    let protocol = protocol.ok_or(io::ErrorKind::Unsupported)?;
    let stream = hello.into_stream(protocol.tls()).await?;
    // A configuration that allows either is a mistake of ours. A resumed session would not show its certificate again,
    // and rustls resumes those of revoked and expired ones.
    let tls = stream.get_ref().1;
    let is_new =
        matches!(tls.handshake_kind(), Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest));
    if tls.protocol_version() != Some(ProtocolVersion::TLSv1_3) || !is_new {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "not a full handshake of TLS 1.3"));
    }
    Ok((protocol, Box::new(stream)))
}
