//! The assembly of the bus: arbiters, tenants placed on them, and listeners in front.

use std::{
    net::TcpListener,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use actix::prelude::*;
use actix_rt::Arbiter;
use arc_swap::ArcSwap;
use muster_actors::{Child, Credit, Plan, SharedClock, Supervised};
use muster_mqtt::{PacketLimits, ReasonCode};
use muster_schemas::{DeviceId, Kind, Principal, TenantId, TopicFilter, audit::Act};
use rustls::ServerConfig;
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};
use tracing::debug;

use crate::{
    admission::{Admitted, Gate, PasswordGate},
    audit::{Trail, Who},
    connection::Surroundings,
    counters::{ListenerCounters, TenantCounters},
    directory::{Directory, Entry},
    inspection::{Insight, Inspector, NotInspected},
    limits::{
        HANDSHAKE_TIME_MAX, HANDSHAKES_MAX, HOME_CONNECTIONS_MAX, SHUTDOWN_POLL_TIME, SHUTDOWN_TIME_MAX,
        TENANT_BATCHES_MAX, TENANT_BYTES_MAX, TENANT_RESTARTS, TENANTS_MAX, WITHDRAWAL_TIME,
    },
    listener::{Bound, Entrance, Listener, ListenerOptions},
    questions::{Answers, Desk},
    quota::TenantQuotas,
    ration::Ration,
    router::LogWatch,
    screening::Screening,
    session::CloseSession,
    sieve::Sieves,
    store::{Store, TenantStore},
    tenant::{CloseMatching, TenantParts, TenantSupervisor},
    tls::{Protocol, Tls},
    transports::{Mqtt, MqttOverWebSocket, Plain},
};

/// What a bus is made of.
pub struct BusOptions {
    /// Where tenant logs and retained messages live.
    pub store: Store,
    /// Filters whose messages something durable wants: they are on the log before they are acknowledged.
    pub durable: Vec<TopicFilter>,
    /// Called when a tenant's log grew, on the committer's thread: it sends a message and returns.
    pub log_grew: LogWatch,
    /// Who is given which message.
    pub sieves: Sieves,
    /// Threads that carry tenants and sockets: at least 1, at best one per core.
    pub arbiters: usize,
    /// What each tenant, and each principal within it, may have and do.
    pub quotas: TenantQuotas,
    /// Most connections of each listener.
    pub connections_max: usize,
    /// Largest MQTT packet, in bytes.
    pub packet_bytes_max: usize,
    /// How often each tenant is told its numbers on `$SYS/...`, while somebody there subscribes to them; none is never.
    pub sys_interval: Option<Duration>,
    /// What is asked about the content of messages before they are routed, if anything is.
    pub screening: Option<Arc<dyn Screening>>,
    /// The clock of everything below.
    pub clock: SharedClock,
}

/// Why a tenant could not be added.
#[derive(Debug, thiserror::Error)]
pub enum AddTenantError {
    /// The hub serves as many as it may.
    #[error("the hub serves its most of {TENANTS_MAX} tenants; add another hub")]
    Full,
}

/// What is known of a tenant from outside.
struct Served {
    tenant: TenantId,
    counters: Arc<TenantCounters>,
    log_needed_from: Arc<AtomicU64>,
    settled: watch::Receiver<bool>,
    /// Ends its supervisor.
    stop: Arc<Notify>,
    trail: Trail,
}

/// A running bus. Its arbiters end with the process.
pub struct Bus {
    store: Store,
    durable: Vec<TopicFilter>,
    log_grew: LogWatch,
    sieves: Sieves,
    quotas: TenantQuotas,
    connections_max: usize,
    packets: PacketLimits,
    clock: SharedClock,
    arbiters: Vec<Arbiter>,
    directory: Arc<Directory>,
    placed: AtomicUsize,
    tenants: Mutex<Vec<Served>>,
    listener_counters: Arc<ListenerCounters>,
    ration: Arc<Ration>,
    sys_interval: Option<Duration>,
    screening: Option<Arc<dyn Screening>>,
    started: Instant,
    desk: Desk,
}

impl Bus {
    /// Starts the arbiters. No tenant is served and nothing listens yet.
    pub fn start(options: BusOptions) -> Self {
        let (sys_interval, started) = (options.sys_interval, options.clock.now());
        Self {
            sys_interval,
            started,
            desk: Desk::default(),
            store: options.store,
            durable: options.durable,
            log_grew: options.log_grew,
            sieves: options.sieves,
            quotas: options.quotas,
            connections_max: options.connections_max,
            packets: PacketLimits { packet_bytes_max: options.packet_bytes_max, ..PacketLimits::default() },
            screening: options.screening,
            clock: options.clock,
            arbiters: (0..options.arbiters.max(1)).map(|_| Arbiter::new()).collect(),
            directory: Arc::default(),
            placed: AtomicUsize::new(0),
            tenants: Mutex::default(),
            listener_counters: Arc::default(),
            ration: Ration::of_listeners(),
        }
    }

    /// Serves a tenant from now on. Its supervisor, router and sessions share one arbiter for as long as the hub runs.
    /// Adding one that is served already changes nothing.
    ///
    /// # Errors
    /// The hub serves [`TENANTS_MAX`] tenants already.
    pub fn add_tenant(&self, tenant: TenantStore) -> Result<(), AddTenantError> {
        let counters = Arc::<TenantCounters>::default();
        let log_needed_from = Arc::<AtomicU64>::default();
        let settled = Arc::<watch::Sender<bool>>::default();
        let stop = Arc::<Notify>::default();
        let trail = Trail::new(self.clock.clone());
        if tenant.is_withdrawn() {
            // A router could not begin. It does when the tenant is added after it gave its key back.
            self.withdraw_tenant(tenant.tenant());
            return Ok(());
        }
        self.directory.restore(tenant.tenant());
        {
            let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
            if tenants.len() >= TENANTS_MAX {
                return Err(AddTenantError::Full);
            }
            // A second router on the same log would only be in the way of the first.
            if !self.directory.expect(tenant.tenant()) {
                return Ok(());
            }
            tenants.push(Served {
                tenant: tenant.tenant().clone(),
                counters: counters.clone(),
                log_needed_from: log_needed_from.clone(),
                settled: settled.subscribe(),
                stop: Arc::clone(&stop),
                trail: trail.clone(),
            });
        }
        let place = self.placed.fetch_add(1, Ordering::Relaxed);
        let Some(arbiter) = self.arbiters.iter().cycle().nth(place % self.arbiters.len().max(1)) else {
            return Err(AddTenantError::Full);
        };
        let parts = TenantParts {
            quotas: self.quotas.of(tenant.tenant()),
            tenant,
            store: self.store.clone(),
            durable: self.durable.clone(),
            log_grew: self.log_grew.clone(),
            sieves: self.sieves.clone(),
            log_needed_from,
            settled,
            packets: self.packets.clone(),
            counters,
            insight: Insight::new(self.started, self.sys_interval),
            trail,
            desk: self.desk.clone(),
            screening: self.screening.clone(),
            clock: self.clock.clone(),
        };
        let directory = self.directory.clone();
        let credit = Credit::new("tenant", TENANT_BATCHES_MAX, TENANT_BYTES_MAX);
        arbiter.spawn_fn(move || supervise_tenant(parts, credit, directory, stop));
        Ok(())
    }

    /// Notes in the audit trail of a tenant that somebody was not shown telemetry of it. Never waits; does nothing for a
    /// tenant that is not served.
    pub fn note_kept_back(
        &self,
        tenant: &TenantId,
        (kind, id): (Kind, &DeviceId),
        topic: Option<&str>,
        reason: &str,
    ) {
        let tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(served) = tenants.iter().find(|served| served.tenant == *tenant) {
            let who = Who { kind, id, client: None, peer: None };
            served.trail.note(who, (Act::View, topic), ReasonCode::NotAuthorized, reason);
        }
    }

    /// Has questions answered that clients ask on topics of their own sessions; until then, and without it, they are refused
    /// as any other `$` topic. To be called once.
    pub fn answer_questions(&self, answers: Arc<dyn Answers>) {
        self.desk.open(answers);
    }

    /// Serves a tenant no more, because it has withdrawn its key: its sessions are closed, its actors end, and what they
    /// knew goes with them. [`Bus::add_tenant`] serves it again.
    pub fn withdraw_tenant(&self, tenant: &TenantId) {
        let reason = "your tenant has withdrawn its key: nothing is read or stored until it gives the key back; keep what \
                      you have and try again later"
            .to_owned();
        self.directory.withdraw(tenant, CloseSession { code: ReasonCode::ServerUnavailable, reason });
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        tenants.retain(|served| {
            if served.tenant == *tenant {
                served.stop.notify_one();
            }
            served.tenant != *tenant
        });
    }

    /// Waits until the router of every tenant has recovered or failed to, but no longer than this. Returns the tenants
    /// whose routers have done neither: a CONNECT of their clients waits with them, and is refused if it has waited for as
    /// long as a CONNACK may take.
    pub async fn recovered(&self, within: Duration) -> Vec<TenantId> {
        let mut waiting: Vec<_> = {
            let tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
            tenants.iter().map(|served| (served.tenant.clone(), served.settled.clone())).collect()
        };
        let all = async {
            for (_, settled) in &mut waiting {
                // An error says that its supervisor is no more, and with it all that could be waited for.
                let _ = settled.wait_for(|settled| *settled).await;
            }
        };
        // Who is late is looked up below.
        let _ = timeout(within, all).await;
        let late = waiting.into_iter().filter(|(_, settled)| !*settled.borrow());
        late.map(|(tenant, _)| tenant).collect()
    }

    /// Puts a listener in front, on the current arbiter. Dropping it stops accepting; open connections go on.
    pub fn listen(&self, socket: TcpListener, protocols: Vec<Arc<dyn Protocol>>) -> Supervised<Listener> {
        self.open(Bound::Tcp(socket), Arc::new(Tls { protocols: protocols.into() }))
    }

    /// Starts a listener without TLS: everybody who reaches it is admitted as this one principal. Who may reach it is for
    /// whoever runs the hub to see to.
    pub fn listen_plain(&self, socket: Bound, admitted: Admitted) -> Supervised<Listener> {
        self.open(socket, Arc::new(Plain::new(admitted, self.surroundings())))
    }

    fn open(&self, socket: Bound, entrance: Arc<dyn Entrance>) -> Supervised<Listener> {
        let options = ListenerOptions {
            socket: Arc::new(socket),
            entrance,
            arbiters: self.arbiters.iter().map(Arbiter::handle).collect(),
            connections_max: self.connections_max,
            handshakes_max: HANDSHAKES_MAX,
            handshake_time_max: HANDSHAKE_TIME_MAX,
            counters: self.listener_counters.clone(),
        };
        Child::new("listener", Plan::PARK, move |exit| Listener::new(options.clone(), exit)).start()
    }

    /// MQTT behind a gate, for [`Bus::listen`].
    pub fn mqtt(&self, gate: Arc<dyn Gate>, tls: Arc<ArcSwap<ServerConfig>>) -> Arc<dyn Protocol> {
        Arc::new(Mqtt::new(gate, tls, self.surroundings()))
    }

    /// MQTT behind a gate for those with a certificate, and another for those without, for [`Bus::listen`].
    pub fn mqtt_with_passwords(
        &self,
        gate: Arc<dyn Gate>,
        passwords: Arc<dyn PasswordGate>,
        tls: Arc<ArcSwap<ServerConfig>>,
    ) -> Arc<dyn Protocol> {
        Arc::new(Mqtt::new(gate, tls, self.surroundings()).with_passwords(passwords))
    }

    /// MQTT over WebSocket behind a gate, for [`Bus::listen`]. A browser is let in if its page is of this host or of one of
    /// `origins`.
    pub fn mqtt_over_websocket(
        &self,
        gate: Arc<dyn Gate>,
        tls: Arc<ArcSwap<ServerConfig>>,
        origins: Vec<String>,
    ) -> Arc<dyn Protocol> {
        Arc::new(MqttOverWebSocket::new(Mqtt::new(gate, tls, self.surroundings()), origins))
    }

    fn surroundings(&self) -> Arc<Surroundings> {
        Arc::new(Surroundings {
            directory: self.directory.clone(),
            packets: self.packets.clone().into(),
            counters: self.listener_counters.clone(),
            ration: self.ration.clone(),
            clock: self.clock.clone(),
        })
    }

    /// Closes the sessions of one principal, such as one whose certificate was revoked.
    pub fn close_sessions(&self, principal: &Principal, code: ReasonCode, reason: &str) {
        let closing = CloseSession { code, reason: reason.to_owned() };
        let message = CloseMatching { kind: None, principal: Some(principal.clone()), closing };
        self.directory.close(&principal.tenant, message);
    }

    /// Closes the sessions of all of a tenant's principals of one kind.
    pub fn close_kind(&self, tenant: &TenantId, kind: Kind, code: ReasonCode, reason: &str) {
        let closing = CloseSession { code, reason: reason.to_owned() };
        self.directory.close(tenant, CloseMatching { kind: Some(kind), principal: None, closing });
    }

    /// Lets nobody of a tenant in, whichever way they come, or lets them in again.
    pub fn bar_tenant(&self, tenant: &TenantId, is_barred: bool) {
        self.directory.bar(tenant, is_barred);
    }

    /// Closes every session of a tenant, such as one that was suspended.
    pub fn close_tenant(&self, tenant: &TenantId, code: ReasonCode, reason: &str) {
        let closing = CloseSession { code, reason: reason.to_owned() };
        self.directory.close(tenant, CloseMatching { kind: None, principal: None, closing });
    }

    /// Looks into a tenant.
    ///
    /// # Errors
    /// It is not served, or is about to start.
    pub fn inspector(&self, tenant: &TenantId) -> Result<Inspector, NotInspected> {
        let found = self.directory.entry(tenant);
        found.map(|entry| entry.inspector.clone()).ok_or(NotInspected::NotRunning)
    }

    /// What the listeners counted.
    pub fn listener_counters(&self) -> &ListenerCounters {
        &self.listener_counters
    }

    /// What each tenant counted, in the order they were added.
    pub fn tenant_counters(&self) -> Vec<(TenantId, Arc<TenantCounters>)> {
        let tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        tenants.iter().map(|served| (served.tenant.clone(), served.counters.clone())).collect()
    }

    /// The first record of a tenant's log that its durable sessions need; `u64::MAX` if they need none. Whoever trims the
    /// log leaves it and all after it.
    pub fn log_needed_from(&self, tenant: &TenantId) -> u64 {
        let tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let found = tenants.iter().find(|served| served.tenant == *tenant);
        found.map_or(0, |served| served.log_needed_from.load(Ordering::Acquire))
    }

    /// Tells every session that the hub shuts down, and waits until they have ended or [`SHUTDOWN_TIME_MAX`] is over.
    /// Listeners are stopped before.
    pub async fn close_all(&self) {
        let reason = "the hub is shutting down; connect again in a moment".to_owned();
        self.directory.close_all(&CloseSession { code: ReasonCode::ServerShuttingDown, reason });
        let ended = async {
            while self.listener_counters.open.value() > 0 {
                tokio::time::sleep(SHUTDOWN_POLL_TIME).await;
            }
        };
        if timeout(SHUTDOWN_TIME_MAX, ended).await.is_err() {
            debug!(
                open = self.listener_counters.open.value(),
                "connections were still open when the hub ended"
            );
        }
    }
}

/// Keeps one tenant's supervisor running on the current arbiter until it is to stop.
pub(crate) fn supervise_tenant(
    parts: TenantParts,
    credit: Credit,
    directory: Arc<Directory>,
    stop: Arc<Notify>,
) {
    let tenant = parts.tenant.tenant().clone();
    let traces = parts.insight.traces.clone();
    let places = Credit::new("connections at home", HOME_CONNECTIONS_MAX, usize::MAX);
    let home = Arbiter::try_current().map(|arbiter| (arbiter, places));
    let supervisor = Child::new("tenant", TENANT_RESTARTS, move |_| TenantSupervisor::new(parts.clone()))
        .on_started(move |supervisor: Addr<TenantSupervisor>| {
            let entry = Entry {
                supervisor: supervisor.clone().recipient(),
                closer: supervisor.clone().recipient(),
                inspector: Inspector::new(supervisor.recipient(), traces.clone()),
                credit: credit.clone(),
                home: home.clone(),
            };
            directory.announce(tenant.clone(), entry);
        })
        .on_exit(|report| tracing::error!(exit = %report.exit, "a tenant supervisor ended"));
    let supervised = supervisor.start();
    actix_rt::spawn(async move {
        let _supervised = supervised;
        stop.notified().await;
        // Its sessions tell their peers why.
        tokio::time::sleep(WITHDRAWAL_TIME).await;
    });
}
