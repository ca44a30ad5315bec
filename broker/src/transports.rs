//! What MQTT travels on: TLS, WebSocket over TLS, and sockets without TLS.

use std::{io, pin::Pin, sync::Arc};

use actix::ArbiterHandle;
use arc_swap::ArcSwap;
use muster_actors::Permit;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::server::TlsStream;
use tracing::debug;

use crate::{
    address::PeerAddress,
    admission::{Admission, Admitted, Gate, PasswordGate},
    connection::{self, Link, Surroundings},
    listener::{Arrival, Entrance, Socket},
    named::named,
    tls::{Accepted, Protocol},
    websocket::{WebSocket, upgrade},
};

/// MQTT over TLS.
pub(crate) struct Mqtt {
    gate: Arc<dyn Gate>,
    /// Who judges peers without a certificate, if anybody does.
    passwords: Option<Arc<dyn PasswordGate>>,
    tls: Arc<ArcSwap<ServerConfig>>,
    surroundings: Arc<Surroundings>,
}

impl Protocol for Mqtt {
    fn alpn(&self) -> &[u8] {
        b"mqtt"
    }

    fn tls(&self) -> Arc<ServerConfig> {
        self.tls.load_full()
    }

    fn serve(&self, accepted: Accepted) -> Pin<Box<dyn Future<Output = ()>>> {
        let Accepted { stream, peer, place, handshake } = accepted;
        drop(handshake);
        let admission = self.admission(&stream);
        if let Some(passwords) = &self.passwords
            && stream.get_ref().1.peer_certificates().is_none()
        {
            let (passwords, surroundings) = (passwords.clone(), self.surroundings.clone());
            let introduction = Box::pin(async move {
                let (stream, named) = named(stream).await;
                // Who says no name is told what whoever shows no certificate is told.
                let admission = named.map_or(admission, |named| passwords.admit(peer, named));
                introduce(stream, peer.into(), admission, surroundings).await
            });
            return Box::pin(connection::serve(introduction, place));
        }
        let introduction = Box::pin(introduce(stream, peer.into(), admission, self.surroundings.clone()));
        Box::pin(connection::serve(introduction, place))
    }
}

impl Mqtt {
    pub(crate) fn new(
        gate: Arc<dyn Gate>,
        tls: Arc<ArcSwap<ServerConfig>>,
        surroundings: Arc<Surroundings>,
    ) -> Self {
        Self { gate, passwords: None, tls, surroundings }
    }

    /// The same, and whoever has no certificate is judged by its user name and password.
    pub(crate) fn with_passwords(self, passwords: Arc<dyn PasswordGate>) -> Self {
        Self { passwords: Some(passwords), ..self }
    }

    fn admission(&self, stream: &TlsStream<TcpStream>) -> Admission {
        let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        self.gate.admit(leaf.map(|leaf| leaf.clone().into_owned()))
    }
}

/// MQTT over WebSocket over TLS.
pub(crate) struct MqttOverWebSocket {
    mqtt: Arc<Mqtt>,
    origins: Arc<[String]>,
}

impl MqttOverWebSocket {
    pub(crate) fn new(mqtt: Mqtt, origins: Vec<String>) -> Self {
        Self { mqtt: Arc::new(mqtt), origins: origins.into() }
    }
}

impl Protocol for MqttOverWebSocket {
    fn alpn(&self) -> &[u8] {
        b"http/1.1"
    }

    fn tls(&self) -> Arc<ServerConfig> {
        self.mqtt.tls()
    }

    fn serve(&self, accepted: Accepted) -> Pin<Box<dyn Future<Output = ()>>> {
        let Accepted { mut stream, peer, place, handshake } = accepted;
        let (mqtt, origins) = (self.mqtt.clone(), self.origins.clone());
        let introduction = Box::pin(async move {
            let peer = peer.into();
            let upgrading = Box::pin(upgrade(&mut stream, &origins));
            handshake.step(peer, "upgrade to WebSocket", upgrading).await?;
            drop(handshake);
            // Asked now and not before: the upgrade took the peer's time.
            let admission = mqtt.admission(&stream);
            introduce(Box::new(WebSocket::new(stream)), peer, admission, mqtt.surroundings.clone()).await
        });
        Box::pin(connection::serve(introduction, place))
    }
}

async fn introduce<S>(
    stream: S,
    peer: PeerAddress,
    admission: Admission,
    surroundings: Arc<Surroundings>,
) -> Option<Box<Link<S>>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match admission.await {
        Ok(admitted) => connection::introduce(stream, peer, Box::new(admitted), surroundings).await,
        Err(refusal) => {
            connection::refuse(stream, peer, refusal, &surroundings).await;
            None
        }
    }
}

/// MQTT without TLS: the way in itself says who comes.
pub(crate) struct Plain {
    admitted: Admitted,
    surroundings: Arc<Surroundings>,
}

impl Plain {
    pub(crate) fn new(admitted: Admitted, surroundings: Arc<Surroundings>) -> Self {
        Self { admitted, surroundings }
    }
}

impl Entrance for Plain {
    fn home(&self) -> Option<(ArbiterHandle, Permit)> {
        self.surroundings.directory.home(&self.admitted.principal.tenant)
    }

    fn receive(&self, arrival: Arrival) -> Pin<Box<dyn Future<Output = ()>>> {
        let (admitted, surroundings) = (Box::new(self.admitted.clone()), self.surroundings.clone());
        let Arrival { socket, peer, place, handshake } = arrival;
        drop(handshake);
        match socket {
            Socket::Tcp(tcp) => {
                let introduction = Box::pin(async move {
                    let tcp = || -> io::Result<TcpStream> {
                        let tcp = TcpStream::from_std(tcp)?;
                        tcp.set_nodelay(true)?;
                        Ok(tcp)
                    };
                    connection::introduce(opened(tcp(), peer)?, peer, admitted, surroundings).await
                });
                Box::pin(connection::serve(introduction, place))
            }
            Socket::Unix(unix) => {
                let introduction = Box::pin(async move {
                    let unix = opened(UnixStream::from_std(unix), peer)?;
                    connection::introduce(unix, peer, admitted, surroundings).await
                });
                Box::pin(connection::serve(introduction, place))
            }
        }
    }
}

/// The socket, if it was still there to be taken over.
fn opened<S>(stream: io::Result<S>, peer: PeerAddress) -> Option<S> {
    stream.inspect_err(|error| debug!(%peer, %error, "connection lost")).ok()
}
