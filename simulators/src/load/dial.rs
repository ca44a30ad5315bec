//! Where the broker is and how a connection to it is opened.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt},
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    client::Resumption,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};

use super::link::Link;

/// Files of a TLS client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Root certificates to trust.
    pub roots: PathBuf,
    /// The client's certificate chain and key, for mutual TLS.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name that the broker's certificate must carry.
    pub server_name: String,
}

/// Opens connections to one broker.
pub struct Dial {
    address: SocketAddr,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    sources: u16,
    opened: u16,
}

impl Dial {
    /// To `address`, with TLS if there are files for it. From so many loopback addresses in turn; with 1, from where the
    /// system likes.
    ///
    /// # Errors
    /// A file is missing or holds something else.
    pub fn new(address: SocketAddr, tls: Option<&TlsFiles>, sources: u16) -> io::Result<Self> {
        let tls = tls.map(client).transpose()?;
        Ok(Self { address, tls, sources, opened: 0 })
    }

    /// To `address` with TLS, as whoever made this configuration.
    pub fn with(address: SocketAddr, config: Arc<ClientConfig>, name: ServerName<'static>) -> Self {
        Self { address, tls: Some((config, name)), sources: 1, opened: 0 }
    }

    /// Whether connections are encrypted.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Begins to connect. The link may be written to at once.
    ///
    /// # Errors
    /// There are no more sockets.
    pub fn begin(&mut self) -> io::Result<Link> {
        let family = if self.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        if self.sources > 1 && self.address.ip().is_loopback() && self.address.is_ipv4() {
            self.opened = (self.opened + 1) % self.sources;
            let [high, low] = (self.opened + 2).to_be_bytes();
            bind(&socket, &SocketAddrV4::new(Ipv4Addr::new(127, 0, high, low), 0))?;
        }
        match connect(&socket, &self.address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let tls = self.tls.as_ref().map(|(config, name)| {
            ClientConnection::new(Arc::clone(config), name.clone()).map_err(io::Error::other)
        });
        Ok(Link::new(TcpStream::from(socket), tls.transpose()?))
    }
}

/// What these files make of a client, and whom it expects. Every handshake is a full one: a resumed session would cost the
/// broker next to nothing.
///
/// # Errors
/// A file is missing or holds something else.
pub fn client(files: &TlsFiles) -> io::Result<(Arc<ClientConfig>, ServerName<'static>)> {
    let mut roots = RootCertStore::empty();
    for root in chain(&files.roots)? {
        roots.add(root).map_err(io::Error::other)?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots);
    let mut config = match &files.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| named(key, error))?;
            builder.with_client_auth_cert(chain(certificate)?, key).map_err(io::Error::other)?
        }
    };
    config.resumption = Resumption::disabled();
    let name = ServerName::try_from(files.server_name.clone()).map_err(io::Error::other)?;
    Ok((Arc::new(config), name))
}

fn chain(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| named(path, error))?;
    certificates.collect::<Result<_, _>>().map_err(|error| named(path, error))
}

fn named(path: &Path, error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {error}", path.display()))
}
