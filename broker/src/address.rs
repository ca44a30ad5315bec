//! Where a peer comes from, for logs. Not for decisions: an address proves nothing.

use std::{fmt, net::SocketAddr};

use muster_schemas::Principal;

/// Where a peer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerAddress {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A process on this machine, as the kernel names it. The user is 65534 if the kernel does not say.
    Unix {
        /// The user it ran as when it connected.
        user: u32,
        /// Its process, if the kernel says.
        process: Option<i32>,
    },
}

impl PeerAddress {
    /// Which machine it is, or which user of this one, whatever port or process it comes from.
    pub(crate) fn host(self) -> impl fmt::Display {
        fmt::from_fn(move |f| match self {
            Self::Tcp(address) => write!(f, "{}", address.ip()),
            Self::Unix { user, .. } => write!(f, "unix:user={user}"),
        })
    }
}

/// Who is at the other end of a connection, and where. Its session, its reader and its tenant share one.
#[derive(Debug)]
pub(crate) struct Caller {
    /// Who.
    pub(crate) principal: Principal,
    /// Where.
    pub(crate) peer: PeerAddress,
}

impl From<SocketAddr> for PeerAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix { user, process: Some(process) } => write!(f, "unix:user={user},process={process}"),
            Self::Unix { user, process: None } => write!(f, "unix:user={user}"),
        }
    }
}
