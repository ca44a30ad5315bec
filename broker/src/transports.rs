//! What MQTT travels on: TLS, WebSocket over TLS, and sockets without TLS.

use std::{io, pin::Pin, sync::Arc};

use actix::ArbiterHandle;
use arc_swap::ArcSwap;
use muster_actors::Permit;
use muster_schemas::enrolment::EXPORTER_LABEL;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::server::TlsStream;
use tracing::debug;

use crate::{
    address::PeerAddress,
    admission::{Admission, Admitted, Gate},
    connection::{self, Link, Surroundings},
    listener::{Arrival, Entrance, Socket},
    tls::{Accepted, Protocol},
    websocket::{WebSocket, upgrade},
};

/// MQTT over TLS.
pub(crate) struct Mqtt {
    gate: Arc<dyn Gate>,
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
        let asked = self.ask(&stream);
        let introduction = Box::pin(introduce(stream, peer.into(), asked, self.surroundings.clone()));
        Box::pin(connection::serve(introduction, place))
    }
}

impl Mqtt {
    pub(crate) fn new(
        gate: Arc<dyn Gate>,
        tls: Arc<ArcSwap<ServerConfig>>,
        surroundings: Arc<Surroundings>,
    ) -> Self {
        Self { gate, tls, surroundings }
    }

    fn ask(&self, stream: &TlsStream<TcpStream>) -> Asked {
        let tls = stream.get_ref().1;
        let leaf = tls.peer_certificates().and_then(<[_]>::first);
        let leaf = leaf.map(|leaf| leaf.clone().into_owned());
        // It fails only before the handshake is complete; and then whoever needs it refuses.
        let exporter = tls.export_keying_material([0; 32], EXPORTER_LABEL, None).ok();
        let (gate, presented) = (self.gate.clone(), leaf.clone());
        // Looked at before the gate is asked: what is ended from here on is seen.
        let endings = self.surroundings.directory.endings();
        let again = Box::new(move || gate.admit(presented, exporter));
        Asked { endings, admission: self.gate.admit(leaf, exporter), again }
    }
}

/// A gate that was asked to let a peer in.
struct Asked {
    /// How often sessions had been ended before.
    endings: u64,
    admission: Admission,
    /// Asks once more.
    again: Box<dyn FnOnce() -> Admission>,
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
            let asked = mqtt.ask(&stream);
            introduce(Box::new(WebSocket::new(stream)), peer, asked, mqtt.surroundings.clone()).await
        });
        Box::pin(connection::serve(introduction, place))
    }
}

async fn introduce<S>(
    stream: S,
    peer: PeerAddress,
    Asked { endings, admission, again }: Asked,
    surroundings: Arc<Surroundings>,
) -> Option<Box<Link<S>>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match admission.await {
        Ok(admitted) => {
            let link = connection::introduce(stream, peer, Box::new(admitted), surroundings.clone()).await?;
            // A session that is ended while it is being opened is not there yet to be told. Whoever ends sessions counts
            // first and tells them then, so either this one was told, or the count has changed.
            if surroundings.directory.endings() != endings
                && let Err(refusal) = again().await
            {
                link.dismiss(refusal);
            }
            Some(link)
        }
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
