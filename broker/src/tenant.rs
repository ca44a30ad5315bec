//! The tenant supervisor: the unit of restart. It starts its tenant's router and sessions on one arbiter, sees how each
//! of them ends, and parks the tenant when its router keeps failing. Neighbours never notice.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    sync::{Arc, atomic::AtomicU64},
};

use actix::prelude::*;
use muster_actors::{Child, ChildReport, Exit, Plan, Reach, SharedClock, Supervised, Verdict};
use muster_mqtt::{PacketLimits, ReasonCode, SessionLimits, SessionOptions};
use muster_routing::SubscriberId;
use muster_schemas::{ClientId, DeviceId, Kind, Principal, Publisher, TopicFilter, attest, audit::Act};
use tokio::sync::{oneshot, watch};
use tracing::{error, info, warn};

use crate::{
    address::{Caller, PeerAddress},
    admission::{Admitted, NotAdmitted},
    audit::{Auditor, AuditorParts, Trail, Who},
    counters::TenantCounters,
    inspection::{AskRouter, Insight, SeenMember},
    limits::{OUTBOX_DELIVERIES_BYTES_MAX, PACES_KEPT_MAX, TENANT_RESTARTS},
    outbox::Outbox,
    pace::{Pace, Throttle},
    questions::Desk,
    quota::Quotas,
    ration::Ration,
    router::{LogWatch, Membership, Router, RouterParts},
    screening::Screening,
    session::{Arrived, ClientIdClaimed, CloseSession, Home, Inbound, Session, SessionParts},
    sieve::Sieves,
    store::{Store, TenantStore},
};

/// Opens a session for an admitted peer.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct OpenSession {
    pub(crate) admitted: Admitted,
    pub(crate) peer: PeerAddress,
    pub(crate) outbox: Outbox,
    pub(crate) reply: oneshot::Sender<Result<Opened, NotAdmitted>>,
}

/// An open session, as its connection sees it. Dropping it tells the session that the connection is gone, however that
/// came about.
pub(crate) struct Opened {
    pub(crate) session: Reach<Inbound>,
    /// Keeps its reader to the pace of its principal and its tenant.
    pub(crate) throttle: Throttle,
}

impl Drop for Opened {
    fn drop(&mut self) {
        // A report: there is one of it per connection.
        self.session.do_send(Inbound { arrived: Arrived::Closed(None), permit: None });
    }
}

/// A session's CONNECT asks for its client identifier.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ClaimClientId {
    pub(crate) subscriber: SubscriberId,
    /// None asks for one.
    pub(crate) client_id: Option<ClientId>,
}

/// Closes the sessions of one principal, or of all of one kind, or of all.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct CloseMatching {
    pub(crate) kind: Option<Kind>,
    pub(crate) principal: Option<Principal>,
    pub(crate) closing: CloseSession,
}

/// A session is no more.
#[derive(Message)]
#[rtype(result = "()")]
struct SessionEnded {
    subscriber: SubscriberId,
    exit: Exit,
}

/// A router runs, for the first time or again.
#[derive(Message)]
#[rtype(result = "()")]
struct RouterStarted(Addr<Router>);

/// What a tenant is made of.
#[derive(Clone)]
pub(crate) struct TenantParts {
    pub(crate) tenant: TenantStore,
    pub(crate) store: Store,
    pub(crate) durable: Vec<TopicFilter>,
    pub(crate) quotas: Arc<Quotas>,
    pub(crate) log_grew: LogWatch,
    pub(crate) sieves: Sieves,
    /// From where on durable sessions need the log. 0 until the router knows.
    pub(crate) log_needed_from: Arc<AtomicU64>,
    /// Whether the router has recovered, or failed, for the first time.
    pub(crate) settled: Arc<watch::Sender<bool>>,
    pub(crate) packets: PacketLimits,
    pub(crate) counters: Arc<TenantCounters>,
    pub(crate) insight: Insight,
    pub(crate) trail: Trail,
    pub(crate) desk: Desk,
    pub(crate) screening: Option<Arc<dyn Screening>>,
    pub(crate) clock: SharedClock,
}

/// Whose client identifier it is. Scoped by principal, so no one can take over another's session by its name.
type ClientKey = (Kind, DeviceId, ClientId);

struct Member {
    /// Dropping it ends the session, should it still run.
    session: Supervised<Session>,
    caller: Arc<Caller>,
    client: Option<ClientId>,
}

impl Member {
    /// The client identifier it asked for, as its tenant knows it.
    fn key(&self) -> Option<ClientKey> {
        let Principal { kind, id, .. } = &self.caller.principal;
        self.client.as_ref().map(|client| (*kind, id.clone(), client.clone()))
    }
}

/// A principal, as its tenant knows it.
type PrincipalKey = (Kind, DeviceId);

/// A principal's connections, and the pace of all of them together. It is remembered until it is even, or whoever is
/// throttled would only have to connect again.
struct Present {
    connections: usize,
    pace: Pace,
}

/// The connections that want one client identifier: who has it, and the last who came since. Only when the first has
/// ended does the router hear of the next, so that a session is put down before it is taken up again.
struct Claimants {
    holder: SubscriberId,
    next: Option<SubscriberId>,
}

/// How to reach the router. Joinings, leavings, takeovers and closes carry no permit: there are a few per connection.
#[derive(Clone)]
struct RouterAddress {
    /// What its sessions share.
    home: Arc<Home>,
    members: Reach<Membership>,
    asks: Reach<AskRouter>,
    /// Where their ends are told.
    ended: Reach<SessionEnded>,
}

pub(crate) struct TenantSupervisor {
    parts: TenantParts,
    router: Option<RouterAddress>,
    supervised: Option<Supervised<Router>>,
    auditor: Option<Supervised<Auditor>>,
    parked: bool,
    members: BTreeMap<SubscriberId, Member>,
    clients: HashMap<ClientKey, Claimants>,
    principals: HashMap<PrincipalKey, Present>,
    pace: Pace,
    ration: Arc<Ration>,
    /// What sessions offer their clients, for each kind of principal, and for those that have to attest.
    options: BTreeMap<(Kind, bool), Arc<SessionOptions>>,
    /// The name of all sessions.
    session: Arc<str>,
    next_subscriber: u64,
}

impl TenantSupervisor {
    pub(crate) fn new(parts: TenantParts) -> Self {
        Self {
            pace: Pace::new(&parts.quotas.tenant),
            ration: Ration::of(parts.tenant.tenant()),
            principals: HashMap::new(),
            parts,
            router: None,
            supervised: None,
            auditor: None,
            parked: false,
            members: BTreeMap::new(),
            clients: HashMap::new(),
            options: BTreeMap::new(),
            session: Arc::from("session"),
            next_subscriber: 0,
        }
    }

    fn open(&mut self, admitted: Admitted, peer: PeerAddress, outbox: Outbox) -> Result<Opened, NotAdmitted> {
        let Some(router) = self.router.clone() else { return Err(self.unavailable()) };
        self.check_connections(&admitted.principal, peer)?;
        let subscriber = SubscriberId(self.next_subscriber);
        self.next_subscriber += 1;
        let Admitted { principal, access, expires, quarantine } = admitted;
        let publisher = Publisher { kind: principal.kind, id: principal.id.clone() };
        let caller = Arc::new(Caller { principal, peer });
        let parts = SessionParts {
            subscriber,
            caller: caller.clone(),
            certificate_expires: expires,
            outbox,
            home: router.home,
        };
        let options = self.options(publisher.kind, quarantine.is_some());
        let confined = quarantine.as_ref().map(|quarantine| quarantine.access.clone());
        let tenant = router.ended;
        // Boxed, because the factory keeps the room for it as long as the session lives.
        let mut parts = Some(Box::new((parts, options, quarantine)));
        let once = move |_| match parts.take() {
            Some(parts) => {
                let (parts, options, quarantine) = *parts;
                Session::new(parts, options, quarantine)
            }
            None => unreachable!("the plan has no restart, so the factory is called once"),
        };
        let supervised = Child::new(self.session.clone(), Plan::NO_RESTART, once)
            .on_exit(move |report| tenant.do_send(SessionEnded { subscriber, exit: report.exit }))
            .start();
        let (Some(outlet), Some(session)) = (supervised.reach(), supervised.reach()) else {
            return Err(self.unavailable());
        };
        let throttle = self.comes(&caller);
        let pace = throttle.own();
        let quarantine = confined;
        router.members.do_send(Membership::Join { subscriber, publisher, access, quarantine, outlet, pace });
        self.members.insert(subscriber, Member { session: supervised, caller, client: None });
        Ok(Opened { session, throttle })
    }

    fn reach(&self, ctx: &Context<Self>, router: Addr<Router>) -> RouterAddress {
        let (router, own) = (Arc::new(router), Arc::new(ctx.address()));
        let home = Home {
            router: router.clone().into(),
            tenant: own.clone().into(),
            counters: self.parts.counters.clone(),
            ration: self.ration.clone(),
            trail: self.parts.trail.clone(),
            traces: self.parts.insight.traces.clone(),
            desk: self.parts.desk.clone(),
            screening: self.parts.screening.clone(),
            clock: self.parts.clock.clone(),
        };
        let (members, asks) = (router.clone().into(), router.into());
        RouterAddress { home: Arc::new(home), members, asks, ended: own.into() }
    }

    /// What a session of such a principal offers its client.
    fn options(&mut self, kind: Kind, attests: bool) -> Arc<SessionOptions> {
        let (quota, packets) = (self.parts.quotas.of(kind), &self.parts.packets);
        let options = self.options.entry((kind, attests)).or_insert_with(|| {
            let limits = SessionLimits {
                outgoing_bytes_max: OUTBOX_DELIVERIES_BYTES_MAX,
                queued_messages_max: quota.queue_messages_max,
                queued_bytes_max: quota.queue_bytes_max,
                ..SessionLimits::default()
            };
            let mut options = SessionOptions::new(limits, packets);
            if attests {
                options.authentication_methods = Arc::new([attest::METHOD.into()]);
            }
            Arc::new(options)
        });
        options.clone()
    }

    /// Whether the tenant and the principal may have one more connection.
    fn check_connections(&self, principal: &Principal, peer: PeerAddress) -> Result<(), NotAdmitted> {
        let Principal { tenant, kind, id, .. } = principal;
        let Quotas { tenant: whole, .. } = &*self.parts.quotas;
        let own_max = self.parts.quotas.of(*kind).quota.connections_max;
        let own = self.principals.get(&(*kind, id.clone())).map_or(0, |present| present.connections);
        let reason = if own >= own_max {
            format!("the {kind} {id} has reached its quota of {own_max} connections; close one first")
        } else if self.members.len() >= whole.connections_max {
            let max = whole.connections_max;
            format!("the tenant has reached its quota of {max} connections; close one first, or ask for more")
        } else {
            return Ok(());
        };
        self.parts.counters.quota_connections.add(1);
        let code = ReasonCode::QuotaExceeded;
        let who = Who { kind: *kind, id, client: None, peer: Some(peer) };
        self.parts.trail.note(who, (Act::Connect, None), code, &reason);
        if self.ration.allows(principal, "connection", code) {
            info!(%tenant, %kind, %id, %peer, why = reason, "connection refused");
        }
        Err(NotAdmitted { code, reason })
    }

    /// A principal has one connection more.
    fn comes(&mut self, caller: &Arc<Caller>) -> Throttle {
        let principal = &caller.principal;
        let quota = &self.parts.quotas.of(principal.kind).quota;
        let present = self.principals.entry((principal.kind, principal.id.clone()));
        let present = present.or_insert_with(|| Present { connections: 0, pace: Pace::new(quota) });
        present.connections += 1;
        let paces = [present.pace.clone(), self.pace.clone()];
        Throttle::new(paces, self.parts.counters.clone(), caller.clone())
    }

    /// A principal has one connection less.
    fn goes(&mut self, principal: &Principal) {
        let key = (principal.kind, principal.id.clone());
        let Some(present) = self.principals.get_mut(&key) else { return };
        present.connections = present.connections.saturating_sub(1);
        if present.connections > 0 {
            return;
        }
        let now = self.parts.clock.now();
        if present.pace.is_even(now) {
            self.principals.remove(&key);
        } else if self.principals.len() > self.members.len() + PACES_KEPT_MAX {
            self.principals.retain(|_, present| present.connections > 0 || !present.pace.is_even(now));
            if self.principals.len() > self.members.len() + PACES_KEPT_MAX {
                self.principals.retain(|_, present| present.connections > 0);
            }
        }
    }

    /// Starts who writes the audit trail. A tenant whose trail cannot be written is served all the same, and loudly: the
    /// hub's log has what the trail lacks.
    fn audited(&self) -> Supervised<Auditor> {
        let TenantParts { tenant, store, trail, clock, .. } = self.parts.clone();
        let name = tenant.tenant().clone();
        let parts = AuditorParts { tenant, store, trail, clock };
        Child::new("auditor", TENANT_RESTARTS, move |exit| Auditor::new(parts.clone(), exit))
            .on_exit(move |report| error!(tenant = %name, exit = %report.exit, "the auditor ended"))
            .start()
    }

    fn unavailable(&self) -> NotAdmitted {
        let tenant = self.parts.tenant.tenant();
        if !self.parked {
            return NotAdmitted::restarting(tenant);
        }
        NotAdmitted {
            code: ReasonCode::ServerUnavailable,
            reason: format!(
                "tenant {tenant} is parked after repeated failures; its operator sees the cause in the hub's log"
            ),
        }
    }

    /// Gives a client identifier to whoever asks last [MQTT-3.1.4-3]. It hears so when nobody else has it any more.
    fn claim(&mut self, subscriber: SubscriberId, client_id: Option<ClientId>) -> Result<(), NotAdmitted> {
        let client_id = client_id.map_or_else(|| assigned(subscriber), Ok)?;
        let Some(member) = self.members.get_mut(&subscriber) else { return Err(self.unavailable()) };
        let Principal { kind, id, .. } = &member.caller.principal;
        let key = (*kind, id.clone(), client_id.clone());
        member.client = Some(client_id.clone());
        match self.clients.entry(key) {
            Entry::Vacant(free) => {
                free.insert(Claimants { holder: subscriber, next: None });
                member.session.tell(ClientIdClaimed(Ok(client_id)));
            }
            Entry::Occupied(mut taken) => {
                let claimants = taken.get_mut();
                let overtaken = claimants.next.replace(subscriber);
                for previous in [Some(claimants.holder), overtaken].into_iter().flatten() {
                    let reason = "another connection of yours took over this client identifier".to_owned();
                    if let Some(member) = self.members.get(&previous) {
                        member.session.tell(CloseSession { code: ReasonCode::SessionTakenOver, reason });
                    }
                }
            }
        }
        Ok(())
    }

    /// A session has ended and left the router: its client identifier goes to who waits for it.
    fn give_up(&mut self, key: ClientKey, subscriber: SubscriberId) {
        let Entry::Occupied(mut taken) = self.clients.entry(key) else { return };
        let claimants = taken.get_mut();
        if claimants.next == Some(subscriber) {
            claimants.next = None;
        }
        if claimants.holder != subscriber {
            return;
        }
        let Some(next) = claimants.next.take() else {
            taken.remove();
            return;
        };
        claimants.holder = next;
        let (_, _, client_id) = taken.key().clone();
        if let Some(member) = self.members.get(&next) {
            member.session.tell(ClientIdClaimed(Ok(client_id)));
        }
    }

    fn close(&self, principal: Option<&Principal>, kind: Option<Kind>, closing: &CloseSession) {
        for member in self.members.values() {
            let found = &member.caller.principal;
            if principal.is_none_or(|wanted| wanted == found)
                && kind.is_none_or(|wanted| wanted == found.kind)
            {
                member.session.tell(closing.clone());
            }
        }
    }
}

/// What an inspection looks at.
impl TenantSupervisor {
    /// The sessions from behind one on, oldest first.
    pub(crate) fn seen_members(&self, after: Option<u64>) -> impl Iterator<Item = SeenMember<'_>> {
        let from = after.map_or(0, |after| after.saturating_add(1));
        self.members.range(SubscriberId(from)..).map(|(_, member)| SeenMember {
            principal: &member.caller.principal,
            client: member.client.as_ref(),
            session: &member.session,
        })
    }

    /// Asks the router, if it runs.
    pub(crate) fn ask_router(&self, ask: AskRouter) {
        if let Some(router) = &self.router {
            router.asks.do_send(ask);
        }
    }
}

/// A client identifier for a client that named none [MQTT-3.1.3-6]. Unique among the tenant's sessions.
fn assigned(subscriber: SubscriberId) -> Result<ClientId, NotAdmitted> {
    format!("auto-{:x}", subscriber.0).parse().map_err(|error| NotAdmitted {
        code: ReasonCode::ClientIdentifierNotValid,
        reason: format!("failed to assign a client identifier: it {error}"),
    })
}

impl Actor for TenantSupervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let parts = self.parts.clone();
        let factory = move |exit| {
            Router::new(RouterParts {
                tenant: parts.tenant.clone(),
                store: parts.store.clone(),
                durable: parts.durable.clone(),
                quotas: parts.quotas.clone(),
                log_grew: parts.log_grew.clone(),
                sieve: (parts.sieves)(parts.tenant.tenant()),
                log_needed_from: parts.log_needed_from.clone(),
                settled: parts.settled.clone(),
                counters: parts.counters.clone(),
                insight: parts.insight.clone(),
                trail: parts.trail.clone(),
                clock: parts.clock.clone(),
                exit,
            })
        };
        let (changed, ended) = (ctx.address().recipient(), ctx.address().recipient());
        let router = Child::new("router", TENANT_RESTARTS, factory)
            .on_started(move |router| changed.do_send(RouterStarted(router)))
            .report_to(ended);
        let router = router.start();
        // Its own announcement stands in the mailbox behind the first peers.
        self.router = router.address().map(|router| self.reach(ctx, router));
        self.supervised = Some(router);
        self.auditor = Some(self.audited());
    }
}

impl Handler<OpenSession> for TenantSupervisor {
    type Result = ();

    fn handle(&mut self, OpenSession { admitted, peer, outbox, reply }: OpenSession, _: &mut Context<Self>) {
        // If the connection has gone meanwhile, the answer is dropped, and that ends the session.
        let _ = reply.send(self.open(admitted, peer, outbox));
    }
}

impl Handler<ClaimClientId> for TenantSupervisor {
    type Result = ();

    fn handle(&mut self, ClaimClientId { subscriber, client_id }: ClaimClientId, _: &mut Context<Self>) {
        if let Err(refusal) = self.claim(subscriber, client_id)
            && let Some(member) = self.members.get(&subscriber)
        {
            member.session.tell(ClientIdClaimed(Err(refusal)));
        }
    }
}

impl Handler<CloseMatching> for TenantSupervisor {
    type Result = ();

    fn handle(&mut self, message: CloseMatching, _: &mut Context<Self>) {
        let CloseMatching { kind, principal, closing } = message;
        self.close(principal.as_ref(), kind, &closing);
    }
}

impl Handler<SessionEnded> for TenantSupervisor {
    type Result = ();

    fn handle(&mut self, SessionEnded { subscriber, exit }: SessionEnded, _: &mut Context<Self>) {
        if let Exit::Panicked(cause) = exit {
            self.parts.counters.sessions_panicked.add(1);
            error!(tenant = %self.parts.tenant.tenant(), cause, "a session panicked; its connection is closed");
        }
        let Some(member) = self.members.remove(&subscriber) else { return };
        self.goes(&member.caller.principal);
        if let Some(router) = &self.router {
            router.members.do_send(Membership::Leave { subscriber });
        }
        if let Some(key) = member.key() {
            self.give_up(key, subscriber);
        }
    }
}

impl Handler<RouterStarted> for TenantSupervisor {
    type Result = ();

    fn handle(&mut self, RouterStarted(router): RouterStarted, ctx: &mut Context<Self>) {
        self.router = Some(self.reach(ctx, router));
    }
}

/// The router ended: it starts again, or the tenant is given up.
impl Handler<ChildReport> for TenantSupervisor {
    type Result = ();

    fn handle(&mut self, ChildReport { exit, verdict, .. }: ChildReport, _: &mut Context<Self>) {
        self.router = None;
        self.parked = !matches!(verdict, Verdict::Restart { .. });
        let tenant = self.parts.tenant.tenant();
        if self.parked {
            self.parts.counters.parked.add(1);
            error!(%tenant, %exit, "the router keeps failing; the tenant is parked until the hub restarts");
        } else {
            self.parts.counters.router_restarts.add(1);
            warn!(%tenant, %exit, "the router failed; its sessions reconnect");
        }
        // Their subscriptions went with the router: every one of them starts again.
        // A DISCONNECT has no code for an unavailable server.
        let code = if self.parked { ReasonCode::AdministrativeAction } else { ReasonCode::ServerBusy };
        self.close(None, None, &CloseSession { code, reason: self.unavailable().reason });
        self.parts.settled.send_replace(true);
    }
}
