//! A broker on loopback: a real store, real actors, real TLS; every vector has a tenant of its own.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use muster_actors::{Clock, Supervised, SystemClock};
use muster_broker::{
    Access, Admission, Admitted, Bus, BusOptions, Gate, Listener, NotAdmitted, ReasonCode, bind,
    store::{RootKey, Store, StoreOptions},
};
use muster_schemas::{Kind, Principal, TenantId};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    version::TLS13,
};

use crate::socket::Transport;

/// The broker and what may come in.
pub struct Hub {
    store: Store,
    bus: Bus,
    doors: Arc<Doors>,
    authority: Authority,
    pub tls: SocketAddr,
    pub websocket: SocketAddr,
    _listeners: [Supervised<Listener>; 2],
}

impl Hub {
    /// To be called within a runtime.
    pub fn open(dir: &Path) -> Self {
        let options = StoreOptions { disk_free_bytes_min: 0 };
        let store = Store::open(dir, RootKey::from_bytes([7; 32]), options).expect("a store");
        let bus = Bus::start(BusOptions {
            quotas: Default::default(),
            store: store.clone(),
            durable: vec!["durable/#".parse().expect("a filter")],
            log_grew: Arc::new(|_| ()),
            sieves: muster_broker::sieve::open(),
            arbiters: 2,
            connections_max: 10_000,
            packet_bytes_max: 256 * 1024,
            sys_interval: None,
            screening: None,
            clock: SystemClock::shared(),
        });
        let (authority, doors) = (Authority::new(), Arc::<Doors>::default());
        let config = Arc::new(ArcSwap::from_pointee(authority.server()));
        let listen = |protocol| {
            let socket = bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
            let address = socket.local_addr().expect("an address");
            (address, bus.listen(socket, vec![protocol]))
        };
        let (tls, over_tls) = listen(bus.mqtt(doors.clone(), config.clone()));
        let (websocket, over_websocket) = listen(bus.mqtt_over_websocket(doors.clone(), config, Vec::new()));
        Self { store, bus, doors, authority, tls, websocket, _listeners: [over_tls, over_websocket] }
    }

    pub fn address(&self, transport: Transport) -> SocketAddr {
        match transport {
            Transport::Tls => self.tls,
            Transport::WebSocket => self.websocket,
        }
    }

    /// A new tenant.
    pub fn tenant(&self, name: &str) -> TenantId {
        let tenant: TenantId = name.parse().expect("a tenant id");
        self.bus.add_tenant(self.store.create_tenant(&tenant).expect("a tenant")).expect("room for a tenant");
        tenant
    }

    /// What a client of this tenant shows at the door: `app`, `device` and its id, or `stranger`, whom nobody knows.
    pub fn client(&self, tenant: &TenantId, who: &str) -> Arc<ClientConfig> {
        if who == "stranger" {
            return self.authority.client().1;
        }
        let (kind, id, access) = match who.split_once(' ') {
            None => (Kind::App, who, Access::app()),
            Some((_, id)) => (Kind::Device, id, Access::device(&id.parse().expect("a device id"))),
        };
        let principal = Principal {
            trust_domain: "muster.test".parse().expect("a domain"),
            tenant: tenant.clone(),
            kind,
            id: id.parse().expect("an id"),
        };
        let expires = SystemClock.now() + Duration::from_secs(86_400);
        let (leaf, config) = self.authority.client();
        let (access, expires) = (Arc::new(access), Some(expires));
        self.doors.open(leaf, Admitted { principal, access, expires, quarantine: None });
        config
    }
}

/// Lets in whose certificate it knows.
#[derive(Default)]
struct Doors(Mutex<BTreeMap<Vec<u8>, Admitted>>);

impl Doors {
    fn open(&self, leaf: CertificateDer<'static>, admitted: Admitted) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(leaf.to_vec(), admitted);
    }
}

impl Gate for Doors {
    fn admit(&self, leaf: Option<CertificateDer<'static>>, _: Option<[u8; 32]>) -> Admission {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let admitted = leaf.and_then(|leaf| known.get(&*leaf).cloned());
        let reason = "not known here".to_owned();
        Box::pin(async move { admitted.ok_or(NotAdmitted { code: ReasonCode::NotAuthorized, reason }) })
    }
}

/// A root, and one key for everything it signs.
struct Authority {
    root: CertifiedIssuer<'static, KeyPair>,
    key: KeyPair,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a root");
        Self { root, key: KeyPair::generate().expect("a key") }
    }

    fn sign(&self, usage: ExtendedKeyUsagePurpose) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
        params.extended_key_usages = vec![usage];
        let certificate = params.signed_by(&self.key, &self.root).expect("a certificate");
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).expect("a key");
        (certificate.der().clone(), key)
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.as_ref().der().clone()).expect("a root");
        Arc::new(roots)
    }

    fn server(&self) -> ServerConfig {
        let (certificate, key) = self.sign(ExtendedKeyUsagePurpose::ServerAuth);
        let provider = Arc::new(default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots(), provider.clone());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .expect("a version")
            .with_client_cert_verifier(verifier.build().expect("a verifier"))
            .with_single_cert(vec![certificate], key)
            .expect("a certificate");
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config
    }

    fn client(&self) -> (CertificateDer<'static>, Arc<ClientConfig>) {
        let (certificate, key) = self.sign(ExtendedKeyUsagePurpose::ClientAuth);
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13])
            .expect("a version")
            .with_root_certificates(self.roots())
            .with_client_auth_cert(vec![certificate.clone()], key)
            .expect("a certificate");
        (certificate, Arc::new(config))
    }
}
