//! A bus in one thread, without sockets.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use muster_actors::{Clock, Credit, SharedClock, SystemClock};
use muster_mqtt::PacketLimits;
use muster_schemas::{Kind, Message, Principal, Publisher, TenantId, audit::AuditEntry};
use tokio::{
    io::{DuplexStream, duplex},
    sync::oneshot,
};

use super::{Peer, screening, until};
use crate::{
    Access, Admitted, AuditTrail, ListenerCounters, NotAdmitted, PeerAddress, TenantCounters,
    audit::Trail,
    bus::supervise_tenant,
    connection::{self, Surroundings},
    directory::Directory,
    inspection::Insight,
    limits::{TENANT_BATCHES_MAX, TENANT_BYTES_MAX},
    outbox::{OutboxReader, outbox},
    questions::Desk,
    quota::Quotas,
    ration::Ration,
    sieve::Sieve,
    store::{RootKey, Store, StoreOptions, TenantStore},
    tenant::{OpenSession, Opened, TenantParts},
};

/// Bytes of a pipe that a peer reads as they come.
const PIPE_BYTES: usize = 64 * 1024;

pub(super) struct Site {
    pub(super) store: Store,
    pub(super) clock: Arc<BrittleClock>,
    /// The log's watch panics at every call.
    pub(super) log_watch_breaks: Arc<AtomicBool>,
    pub(super) surroundings: Arc<Surroundings>,
    /// Where questions are answered, once a story opens it.
    pub(super) desk: Desk,
    quotas: Arc<Quotas>,
    tenants: Vec<Tenant>,
}

struct Tenant {
    store: TenantStore,
    credit: Credit,
    counters: Arc<TenantCounters>,
    log_needed_from: Arc<AtomicU64>,
}

impl Site {
    /// Opens the store in `dir` and serves these tenants. Telemetry is durable.
    pub(super) fn open(dir: &Path, tenants: &[&str]) -> Self {
        Self::open_with(dir, tenants, |_| {})
    }

    /// With other quotas than usual, the same for each tenant.
    pub(super) fn open_with(dir: &Path, tenants: &[&str], change: impl FnOnce(&mut Quotas)) -> Self {
        let mut quotas = Quotas::default();
        change(&mut quotas);
        let store =
            Store::open(dir, RootKey::from_bytes([7; 32]), StoreOptions { disk_free_bytes_min: 0 }).unwrap();
        let clock = Arc::<BrittleClock>::default();
        let surroundings = Arc::new(Surroundings {
            directory: Arc::default(),
            packets: Arc::default(),
            counters: Arc::default(),
            ration: Ration::of_listeners(),
            clock: SystemClock::shared(),
        });
        let mut site = Self {
            store,
            clock,
            log_watch_breaks: Arc::default(),
            surroundings,
            desk: Desk::default(),
            quotas: Arc::new(quotas),
            tenants: Vec::new(),
        };
        for tenant in tenants {
            site.serve(&tenant.parse().unwrap());
        }
        site
    }

    pub(super) fn serve(&mut self, tenant: &TenantId) {
        let found = self.store.tenant(tenant).unwrap();
        let store = found.unwrap_or_else(|| self.store.create_tenant(tenant).unwrap());
        let credit = Credit::new("tenant", TENANT_BATCHES_MAX, TENANT_BYTES_MAX);
        let counters = Arc::<TenantCounters>::default();
        let log_needed_from = Arc::<AtomicU64>::default();
        let parts = TenantParts {
            tenant: store.clone(),
            store: self.store.clone(),
            durable: vec!["devices/+/telemetry/#".parse().unwrap()],
            quotas: self.quotas.clone(),
            log_grew: {
                let breaks = self.log_watch_breaks.clone();
                Arc::new(move |_| assert!(!breaks.load(Ordering::SeqCst), "broken by a test"))
            },
            sieves: Arc::new(|_| Box::new(KeepsBack)),
            log_needed_from: log_needed_from.clone(),
            settled: Arc::default(),
            packets: PacketLimits::default(),
            counters: counters.clone(),
            insight: Insight::new(self.clock.now(), Some(Duration::from_secs(10))),
            trail: Trail::new(self.clock.clone()),
            desk: self.desk.clone(),
            screening: Some(Arc::new(screening::Fussy)),
            clock: self.clock.clone(),
        };
        supervise_tenant(parts, credit.clone(), self.surroundings.directory.clone(), Arc::default());
        self.tenants.push(Tenant { store, credit, counters, log_needed_from });
    }

    /// From where on a tenant's durable sessions need the log.
    pub(super) fn needed_from(&self, tenant: &str) -> u64 {
        self.tenant(tenant).log_needed_from.load(Ordering::SeqCst)
    }

    /// An app, which may publish nearly everywhere and subscribe to everything of its tenant.
    pub(super) fn app(&self, tenant: &str, name: &str) -> Peer {
        self.peer(admitted(tenant, Kind::App, name, Access::app()), name)
    }

    /// A device, which keeps to its own topics.
    pub(super) fn device(&self, tenant: &str, name: &str) -> Peer {
        self.peer(admitted(tenant, Kind::Device, name, Access::device(&name.parse().unwrap())), name)
    }

    pub(super) fn peer(&self, admitted: Admitted, client_id: &str) -> Peer {
        self.peer_over(duplex(PIPE_BYTES), admitted, client_id)
    }

    /// A peer whose connection holds only so many bytes that it has not read.
    pub(super) fn narrow_peer(&self, bytes: usize, admitted: Admitted, client_id: &str) -> Peer {
        self.peer_over(duplex(bytes), admitted, client_id)
    }

    fn peer_over(
        &self,
        (ours, theirs): (DuplexStream, DuplexStream),
        admitted: Admitted,
        client_id: &str,
    ) -> Peer {
        let surroundings = self.surroundings.clone();
        let introduction = connection::introduce(ours, address(), Box::new(admitted), surroundings);
        actix_rt::spawn(connection::serve(Box::pin(introduction), ()));
        Peer::new(theirs, client_id)
    }

    /// A session without a connection. It is asked for before anything else of this site has had a turn.
    pub(super) fn opens(&self, admitted: Admitted) -> impl Future<Output = (Opened, OutboxReader)> {
        let entry = self.directory().find(&admitted.principal.tenant).unwrap();
        let (outbox, reader) = outbox();
        let (reply, opened) = oneshot::channel();
        entry.supervisor.do_send(OpenSession { admitted, peer: address(), outbox, reply });
        async move { (opened.await.unwrap().unwrap(), reader) }
    }

    /// A peer that the gate did not let in.
    pub(super) fn refused(&self, refusal: NotAdmitted, client_id: &str) -> Peer {
        let (ours, theirs) = duplex(PIPE_BYTES);
        let surroundings = self.surroundings.clone();
        actix_rt::spawn(async move { connection::refuse(ours, address(), refusal, &surroundings).await });
        Peer::new(theirs, client_id)
    }

    pub(super) fn directory(&self) -> &Directory {
        &self.surroundings.directory
    }

    pub(super) fn listener_counters(&self) -> &ListenerCounters {
        &self.surroundings.counters
    }

    pub(super) fn counters(&self, tenant: &str) -> &TenantCounters {
        &self.tenant(tenant).counters
    }

    /// What a tenant's audit trail has on disk.
    pub(super) fn audited(&self, tenant: &str) -> Vec<AuditEntry> {
        let page = self.trail(tenant).page(Some(0), 1_000).unwrap();
        assert_eq!(page.missing, []);
        page.entries.into_iter().map(|(_, entry)| entry).collect()
    }

    /// Waits until so many refusals are in a tenant's audit trail, and no more.
    pub(super) async fn has_audited(&self, tenant: &str, refusals: u64) {
        let times = || self.audited(tenant).iter().map(|entry| entry.times).sum::<u64>();
        until("it is audited", || times() >= refusals).await;
        assert_eq!(times(), refusals);
    }

    pub(super) fn trail(&self, tenant: &str) -> AuditTrail {
        AuditTrail::open(&self.store, self.keys(tenant).clone()).unwrap()
    }

    pub(super) fn credit(&self, tenant: &str) -> &Credit {
        &self.tenant(tenant).credit
    }

    pub(super) fn keys(&self, tenant: &str) -> &TenantStore {
        &self.tenant(tenant).store
    }

    fn tenant(&self, tenant: &str) -> &Tenant {
        self.tenants.iter().find(|found| found.store.tenant().as_str() == tenant).unwrap()
    }

    /// Waits until every permit of every tenant has come back.
    pub(super) async fn is_quiet(&self) {
        until("all credit has come back", || self.tenants.iter().all(|t| t.credit.in_use() == (0, 0))).await;
    }
}

pub(super) fn admitted(tenant: &str, kind: Kind, name: &str, access: Access) -> Admitted {
    let principal = Principal {
        trust_domain: "muster.test".parse().unwrap(),
        tenant: tenant.parse().unwrap(),
        kind,
        id: name.parse().unwrap(),
    };
    let expires = Some(SystemClock.now() + Duration::from_secs(7 * 86_400));
    Admitted { principal, access: Arc::new(access), expires, quarantine: None }
}

fn address() -> PeerAddress {
    SocketAddr::from(([127, 0, 0, 1], 1)).into()
}

/// A clock that panics when told to: the one thing that sessions and routers ask which a test can break.
#[derive(Default)]
pub(super) struct BrittleClock {
    /// The next session that asks for the time panics.
    pub(super) breaks_a_session: AtomicBool,
    /// Every router that asks for the time, to stamp a record, panics.
    pub(super) breaks_routers: AtomicBool,
}

impl Clock for BrittleClock {
    fn now(&self) -> Instant {
        assert!(!self.breaks_a_session.swap(false, Ordering::SeqCst), "broken by a test");
        SystemClock.now()
    }

    fn unix_ms(&self) -> u64 {
        assert!(!self.breaks_routers.load(Ordering::SeqCst), "broken by a test");
        SystemClock.unix_ms()
    }
}

const _: fn(Arc<BrittleClock>) -> SharedClock = |clock| clock;

/// Keeps what is below `hidden/` from whoever is called `reader`.
struct KeepsBack;

impl Sieve for KeepsBack {
    fn begin(&mut self, _: u64) -> bool {
        true
    }

    fn lets_through(&mut self, to: &Publisher, message: &Message) -> bool {
        to.id.as_str() != "reader" || !message.topic.as_str().starts_with("hidden/")
    }
}
