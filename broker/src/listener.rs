//! The listener: accepts, bounds, and hands each socket to what stands behind its port.
//!
//! Handshakes run on the I/O arbiters, bounded in number and time, so a peer that stalls half way costs one slot for a
//! while and holds up nobody.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener as StdTcpListener, TcpStream as StdTcpStream},
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream},
    },
    path::Path,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use actix::prelude::*;
use muster_actors::{Clock as _, Credit, ExitSlot, Permit, SystemClock};
use tokio::{
    net::{TcpListener, UnixListener},
    time::{Instant, timeout_at},
};
use tracing::{debug, info, warn};

use crate::{address::PeerAddress, counters::ListenerCounters, limits::LISTEN_BACKLOG};

/// A listening socket, non-blocking.
#[derive(Debug)]
pub enum Bound {
    /// See [`bind`].
    Tcp(StdTcpListener),
    /// A socket in the file system, for processes on this machine.
    Unix(StdUnixListener),
}

/// A connection as it was accepted. It belongs to no reactor yet: the arbiter that serves it takes it into its own, so
/// that no wake-up crosses threads afterwards.
#[derive(Debug)]
pub enum Socket {
    /// Over the network.
    Tcp(StdTcpStream),
    /// From a process on this machine.
    Unix(StdUnixStream),
}

/// Somebody at the door.
pub struct Arrival {
    /// The connection.
    pub socket: Socket,
    /// Where it comes from.
    pub peer: PeerAddress,
    /// Its place among the listener's connections; dropping it gives the place back.
    pub place: Place,
    /// Its place among the listener's handshakes, to be given back once the peer has shown who it is.
    pub handshake: Handshake,
}

/// What stands behind a port.
pub trait Entrance: Send + Sync {
    /// Serves one connection to its end, on the I/O arbiter that has it from now on.
    fn receive(&self, arrival: Arrival) -> Pin<Box<dyn Future<Output = ()>>>;

    /// Where the next connection is best served, and its place there; anywhere, if that is all the same.
    fn home(&self) -> Option<(ArbiterHandle, Permit)> {
        None
    }
}

/// A place among the handshakes of a listener, for a time that all steps of one handshake share. Dropping it gives the
/// place back.
pub struct Handshake {
    _permit: Permit,
    until: Instant,
    counters: Arc<ListenerCounters>,
}

impl Handshake {
    /// Takes one step. If it fails or the time is over, that is counted and logged, and there is nothing.
    pub async fn step<T>(
        &self,
        peer: PeerAddress,
        what: &'static str,
        step: impl Future<Output = io::Result<T>>,
    ) -> Option<T> {
        let error = match timeout_at(self.until, step).await {
            Ok(Ok(done)) => return Some(done),
            Ok(Err(error)) => error,
            Err(too_late) => too_late.into(),
        };
        self.counters.handshakes_failed.add(1);
        debug!(%peer, %error, "{what} failed");
        None
    }
}

/// Where and what a listener serves.
#[derive(Clone)]
pub struct ListenerOptions {
    /// The bound socket.
    pub socket: Arc<Bound>,
    /// What it serves.
    pub entrance: Arc<dyn Entrance>,
    /// Where handshakes and sockets live, served in turn.
    pub arbiters: Vec<ArbiterHandle>,
    /// Most connections, handshakes included. At the bound a new one is closed at once and counted.
    pub connections_max: usize,
    /// Most handshakes under way at once. At the bound nobody is accepted until one ends.
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
pub fn bind(address: SocketAddr) -> io::Result<StdTcpListener> {
    let socket =
        if address.is_ipv4() { tokio::net::TcpSocket::new_v4() } else { tokio::net::TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(LISTEN_BACKLOG)?.into_std()
}

/// Binds a socket in the file system, whose mode says who may connect. The file of a hub that is no more is replaced; one
/// that somebody listens on is not. To be called within a runtime.
///
/// # Errors
/// Those of the operating system; `AlreadyExists` if something else than a socket is there.
pub fn bind_unix(path: &Path, mode: u32) -> io::Result<StdUnixListener> {
    if let Ok(found) = path.symlink_metadata() {
        if !found.file_type().is_socket() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "something else than a socket is there",
            ));
        }
        match StdUnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)?,
            Err(error) => return Err(error),
            Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
        }
    }
    let socket = tokio::net::UnixSocket::new_stream()?;
    socket.bind(path)?;
    // Before anybody can connect: that needs the call after it.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    socket.listen(LISTEN_BACKLOG)?.into_std()
}

/// Owns one listening socket.
pub struct Listener {
    shared: Arc<Shared>,
    socket: Arc<Bound>,
    arbiters: Vec<ArbiterHandle>,
    exit: ExitSlot,
}

struct Shared {
    entrance: Arc<dyn Entrance>,
    connections: Credit,
    handshakes: Credit,
    handshake_time_max: Duration,
    counters: Arc<ListenerCounters>,
}

impl Listener {
    /// A listener that accepts as soon as it is started, and fails through `exit`.
    pub fn new(options: ListenerOptions, exit: ExitSlot) -> Self {
        let shared = Shared {
            entrance: options.entrance,
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
        let (socket, shared, arbiters) = (self.socket.clone(), self.shared.clone(), self.arbiters.clone());
        let accepting = async move { accept(Listening::on(&socket)?, &shared, &arbiters).await };
        ctx.spawn(accepting.into_actor(self).map(|result, listener, ctx| {
            if let Err(error) = result {
                listener.exit.fail(ctx, error);
            }
        }));
    }
}

/// A listening socket in this thread's reactor.
enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listening {
    fn on(bound: &Bound) -> io::Result<Self> {
        Ok(match bound {
            Bound::Tcp(socket) => {
                let socket = TcpListener::from_std(socket.try_clone()?)?;
                info!(address = %socket.local_addr()?, "listening");
                Self::Tcp(socket)
            }
            Bound::Unix(socket) => {
                let socket = UnixListener::from_std(socket.try_clone()?)?;
                info!(path = ?socket.local_addr()?.as_pathname(), "listening");
                Self::Unix(socket)
            }
        })
    }

    async fn accept(&self) -> io::Result<(Socket, PeerAddress)> {
        match self {
            Self::Tcp(socket) => {
                let (tcp, peer) = socket.accept().await?;
                Ok((Socket::Tcp(tcp.into_std()?), peer.into()))
            }
            Self::Unix(socket) => {
                let (unix, _) = socket.accept().await?;
                let told = unix.peer_cred().ok();
                let (user, process) =
                    (told.map_or(65_534, |told| told.uid()), told.and_then(|told| told.pid()));
                Ok((Socket::Unix(unix.into_std()?), PeerAddress::Unix { user, process }))
            }
        }
    }
}

async fn accept(socket: Listening, shared: &Arc<Shared>, arbiters: &[ArbiterHandle]) -> io::Result<()> {
    for arbiter in arbiters.iter().cycle() {
        let handshake = shared.handshakes.acquire(0).await;
        let (socket, peer) = match socket.accept().await {
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
        let until = Instant::from_std(SystemClock.now() + shared.handshake_time_max);
        let handshake = Handshake { _permit: handshake, until, counters: shared.counters.clone() };
        let (entrance, open) = (shared.entrance.clone(), Open::new(shared.counters.clone()));
        let (arbiter, at_home) = match entrance.home() {
            Some((home, place)) => (home, Some(place)),
            None => (arbiter.clone(), None),
        };
        let place = Place { _place: place, _at_home: at_home, _open: open };
        arbiter.spawn_fn(move || {
            drop(actix_rt::spawn(entrance.receive(Arrival { socket, peer, place, handshake })))
        });
    }
    Ok(())
}

/// The place of a connection: among those of its listener, and of its arbiter if they are counted. Dropping it gives the
/// place back.
pub struct Place {
    _place: Permit,
    _at_home: Option<Permit>,
    _open: Open,
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
