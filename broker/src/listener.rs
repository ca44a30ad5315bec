//! The TLS listener: accepts, shakes hands, and hands the stream to the protocol that the peer chose by ALPN.
//!
//! One port serves every TLS protocol of the hub. Handshakes run on the I/O arbiters, bounded in number and time, so a
//! peer that stalls half way costs one slot for a while and holds up nobody.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use actix::prelude::*;
use muster_actors::{Credit, ExitSlot, Permit};
use rustls::{HandshakeKind, ProtocolVersion, ServerConfig, server::Acceptor};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};
use tracing::{debug, info, warn};

use crate::{counters::ListenerCounters, limits::LISTEN_BACKLOG};

/// A peer whose handshake is complete.
pub struct Accepted {
    /// The connection. TLS 1.3; the peer's chain, if it showed one, has been verified.
    pub stream: TlsStream<TcpStream>,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// Its place among the listener's connections; dropping it gives the place back.
    pub place: Permit,
}

/// One protocol behind the listener, chosen by ALPN (RFC 7301).
pub trait Protocol: Send + Sync {
    /// The ALPN protocol id.
    fn alpn(&self) -> &[u8];

    /// The TLS configuration of the moment: read for every connection, so that a reload takes effect at once.
    fn tls(&self) -> Arc<ServerConfig>;

    /// Serves one connection to its end, on the I/O arbiter that shook hands.
    fn serve(&self, accepted: Accepted) -> Pin<Box<dyn Future<Output = ()>>>;
}

/// Where and what a listener serves.
#[derive(Clone)]
pub struct ListenerOptions {
    /// The bound socket; see [`bind`].
    pub socket: Arc<StdListener>,
    /// What it speaks. The first is for peers that offer no ALPN, as most MQTT clients do not.
    pub protocols: Vec<Arc<dyn Protocol>>,
    /// Where handshakes and sockets live, served in turn.
    pub arbiters: Vec<ArbiterHandle>,
    /// Most connections, handshakes included. At the bound a new one is closed at once and counted.
    pub connections_max: usize,
    /// Most TLS handshakes under way at once. At the bound nobody is accepted until one ends.
    pub handshakes_max: usize,
    /// How long one may take.
    pub handshake_time_max: Duration,
    /// What is counted.
    pub counters: Arc<ListenerCounters>,
}

/// Binds a listening socket that the runtime can take over. To be called within a runtime.
///
/// # Errors
/// Those of the operating system, such as the address being in use.
pub fn bind(address: SocketAddr) -> io::Result<StdListener> {
    let socket =
        if address.is_ipv4() { tokio::net::TcpSocket::new_v4() } else { tokio::net::TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(LISTEN_BACKLOG)?.into_std()
}

/// Owns one listening socket.
pub struct Listener {
    shared: Arc<Shared>,
    socket: Arc<StdListener>,
    arbiters: Vec<ArbiterHandle>,
    exit: ExitSlot,
}

struct Shared {
    protocols: Vec<Arc<dyn Protocol>>,
    connections: Credit,
    handshakes: Credit,
    handshake_time_max: Duration,
    counters: Arc<ListenerCounters>,
}

impl Listener {
    /// A listener that accepts as soon as it is started, and fails through `exit`.
    pub fn new(options: ListenerOptions, exit: ExitSlot) -> Self {
        let shared = Shared {
            protocols: options.protocols,
            connections: Credit::new("connections", options.connections_max, usize::MAX),
            handshakes: Credit::new("handshakes", options.handshakes_max, usize::MAX),
            handshake_time_max: options.handshake_time_max,
            counters: options.counters,
        };
        Self { shared: Arc::new(shared), socket: options.socket, arbiters: options.arbiters, exit }
    }
}

impl Actor for Listener {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let socket = self.socket.try_clone();
        let (shared, arbiters) = (self.shared.clone(), self.arbiters.clone());
        let accepting = async move { accept(socket?, &shared, &arbiters).await };
        ctx.spawn(accepting.into_actor(self).map(|result, listener, ctx| {
            if let Err(error) = result {
                listener.exit.fail(ctx, error);
            }
        }));
    }
}

async fn accept(socket: StdListener, shared: &Arc<Shared>, arbiters: &[ArbiterHandle]) -> io::Result<()> {
    let socket = TcpListener::from_std(socket)?;
    info!(address = %socket.local_addr()?, "listening");
    for arbiter in arbiters.iter().cycle() {
        let handshake = shared.handshakes.acquire(0).await;
        let (tcp, peer) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_peer(&error) => continue,
            Err(error) => {
                // Out of file descriptors or memory: others may free some. Wait for a handshake to end, or a moment.
                warn!(%error, "failed to accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        shared.counters.accepted.add(1);
        let Some(place) = shared.connections.try_acquire(0) else {
            shared.counters.refused_full.add(1);
            debug!(%peer, "connection refused, the listener is full");
            continue;
        };
        // The socket moves to the arbiter's own reactor, so that no wake-up crosses threads afterwards.
        let tcp = tcp.into_std()?;
        let shared = shared.clone();
        arbiter.spawn_fn(move || {
            actix_rt::spawn(async move {
                let _open = Open::new(shared.counters.clone());
                serve(&shared, tcp, peer, place, handshake).await;
            });
        });
    }
    Ok(())
}

/// Counts a connection as open until it is dropped, also by a panic.
struct Open(Arc<ListenerCounters>);

impl Open {
    fn new(counters: Arc<ListenerCounters>) -> Self {
        counters.open.add(1);
        Self(counters)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.sub(1);
    }
}

/// Errors of accept(2) that concern one connection, which has gone already.
fn is_of_one_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

async fn serve(
    shared: &Shared,
    tcp: std::net::TcpStream,
    peer: SocketAddr,
    place: Permit,
    handshake: Permit,
) {
    let shaken = timeout(shared.handshake_time_max, shake_hands(shared, tcp)).await;
    drop(handshake);
    match shaken {
        Ok(Ok((protocol, stream))) => protocol.serve(Accepted { stream, peer, place }).await,
        Ok(Err(error)) => {
            shared.counters.handshakes_failed.add(1);
            debug!(%peer, %error, "TLS handshake failed");
        }
        Err(_) => {
            shared.counters.handshakes_failed.add(1);
            debug!(%peer, limit = ?shared.handshake_time_max, "TLS handshake took too long");
        }
    }
}

async fn shake_hands(
    shared: &Shared,
    tcp: std::net::TcpStream,
) -> io::Result<(Arc<dyn Protocol>, TlsStream<TcpStream>)> {
    let tcp = TcpStream::from_std(tcp)?;
    tcp.set_nodelay(true)?;
    let hello = LazyConfigAcceptor::new(Acceptor::default(), tcp).await?;
    let protocol = {
        let hello = hello.client_hello();
        let offered: Vec<&[u8]> = hello.alpn().into_iter().flatten().collect();
        // In our order of preference, as rustls has it.
        let chosen = shared.protocols.iter().find(|protocol| offered.contains(&protocol.alpn()));
        chosen.or(shared.protocols.first()).cloned()
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
    Ok((protocol, stream))
}
