//! A bus behind real sockets and real TLS, on threads of its own.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use muster_actors::{Supervised, SystemClock};
use muster_mqtt::ReasonCode;
use muster_schemas::Kind;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    version::TLS13,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{PATIENCE, Peer, site::admitted};
use crate::{
    Accepted, Access, Admission, Bus, BusOptions, Gate, Listener, ListenerCounters, NotAdmitted, Protocol,
    bind,
    store::{RootKey, Store, StoreOptions},
};

/// A root, and what it has signed.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(super) fn root(&self) -> CertificateDer<'static> {
        self.0.as_ref().der().clone()
    }

    pub(super) fn sign(
        &self,
        usage: ExtendedKeyUsagePurpose,
    ) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    pub(super) fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root()).unwrap();
        Arc::new(roots)
    }

    pub(super) fn server(&self, versions: &[&'static SupportedProtocolVersion]) -> ServerConfig {
        let (chain, key) = self.sign(ExtendedKeyUsagePurpose::ServerAuth);
        let provider = Arc::new(default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots(), provider.clone());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap())
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = vec![b"mqtt".to_vec(), b"echo/1".to_vec()];
        config
    }

    /// As the hub has it.
    pub(super) fn strict_server(&self) -> ServerConfig {
        let mut config = self.server(&[&TLS13]);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config
    }

    pub(super) fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        alpn: &[&str],
    ) -> ClientConfig {
        let (chain, key) = self.sign(ExtendedKeyUsagePurpose::ClientAuth);
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(self.roots())
            .with_client_auth_cert(chain, key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }
}

/// Lets in whoever shows a certificate, as an app, unless told to panic.
#[derive(Default)]
pub(super) struct Guard {
    pub(super) panics: AtomicBool,
}

impl Gate for Guard {
    fn admit(&self, leaf: Option<CertificateDer<'static>>, _: Option<[u8; 32]>) -> Admission {
        assert!(!self.panics.load(Ordering::SeqCst), "broken by a test");
        Box::pin(async move {
            let reason = "no certificate".to_owned();
            leaf.map(|_| admitted("acme", Kind::App, "dashboard", Access::app()))
                .ok_or(NotAdmitted { code: ReasonCode::NotAuthorized, reason })
        })
    }
}

/// Another protocol on the same port.
pub(super) struct Echo(pub(super) Arc<ArcSwap<ServerConfig>>);

impl Protocol for Echo {
    fn alpn(&self) -> &[u8] {
        b"echo/1"
    }

    fn tls(&self) -> Arc<ServerConfig> {
        self.0.load_full()
    }

    fn serve(&self, Accepted { mut stream, place, .. }: Accepted) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move {
            let mut buffer = [0; 4];
            stream.read_exact(&mut buffer).await.unwrap();
            stream.write_all(&buffer).await.unwrap();
            stream.shutdown().await.unwrap();
            drop(place);
        })
    }
}

pub(super) struct House {
    pub(super) authority: Authority,
    pub(super) bus: Bus,
    pub(super) gate: Arc<Guard>,
    pub(super) address: SocketAddr,
    pub(super) listener: Supervised<Listener>,
}

pub(super) fn bus_options(store: Store, connections_max: usize) -> BusOptions {
    BusOptions {
        quotas: Default::default(),
        store,
        durable: vec!["devices/+/telemetry/#".parse().unwrap()],
        log_grew: Arc::new(|_| ()),
        sieves: crate::sieve::open(),
        arbiters: 2,
        connections_max,
        packet_bytes_max: 256 * 1024,
        sys_interval: None,
        screening: None,
        clock: SystemClock::shared(),
    }
}

impl House {
    /// A bus with one tenant and a listener on two arbiters.
    pub(super) fn open(
        dir: &Path,
        configure: impl FnOnce(&Authority) -> ServerConfig,
        connections_max: usize,
    ) -> Self {
        let store =
            Store::open(dir, RootKey::from_bytes([7; 32]), StoreOptions { disk_free_bytes_min: 0 }).unwrap();
        let tenant = store.create_tenant(&"acme".parse().unwrap()).unwrap();
        let bus = Bus::start(bus_options(store, connections_max));
        bus.add_tenant(tenant.clone()).unwrap();
        bus.add_tenant(tenant).unwrap();
        assert_eq!(bus.tenant_counters().len(), 1);
        let authority = Authority::new();
        let tls = Arc::new(ArcSwap::from_pointee(configure(&authority)));
        let gate = Arc::<Guard>::default();
        let socket = bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = socket.local_addr().unwrap();
        let protocols: Vec<Arc<dyn Protocol>> =
            vec![bus.mqtt(gate.clone(), tls.clone()), Arc::new(Echo(tls))];
        let listener = bus.listen(socket, protocols);
        Self { authority, bus, gate, address, listener }
    }

    pub(super) fn strict(dir: &Path) -> Self {
        Self::open(dir, Authority::strict_server, 1_000)
    }

    pub(super) async fn shake_hands(&self, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
        shake_hands(self.address, config).await
    }

    /// A client that offers no ALPN, as most.
    pub(super) async fn app(&self, client_id: &str) -> Peer<TlsStream<TcpStream>> {
        let stream = self.shake_hands(self.authority.client(&[&TLS13], &[])).await.unwrap();
        Peer::new(stream, client_id)
    }

    pub(super) fn counters(&self) -> &ListenerCounters {
        self.bus.listener_counters()
    }
}

pub(super) async fn shake_hands(
    address: SocketAddr,
    config: ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    let connector = TlsConnector::from(Arc::new(config));
    tokio::time::timeout(PATIENCE, connector.connect("localhost".try_into().unwrap(), tcp))
        .await
        .expect("in time")
}

/// Whether the connection is of no use: closed, or closed as soon as something is said.
pub(super) async fn is_turned_away(stream: std::io::Result<TlsStream<TcpStream>>) -> bool {
    let Ok(mut stream) = stream else { return true };
    let _ = stream.write_all(b"ping").await;
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut [0; 16])).await.expect("in time");
    !matches!(read, Ok(1..))
}
