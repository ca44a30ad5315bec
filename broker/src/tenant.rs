//! The tenant supervisor: the unit of restart. It starts its tenant's router and sessions on one arbiter, sees how each
//! of them ends, and parks the tenant when its router keeps failing. Neighbours never notice.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    sync::{Arc, atomic::AtomicU64},
};

use actix::prelude::*;
use muster_actors::{Child, ChildReport, Exit, Plan, SharedClock, Supervised, Verdict};
use muster_mqtt::{PacketLimits, ReasonCode, SessionLimits, SessionOptions};
use muster_routing::SubscriberId;
use muster_schemas::{ClientId, DeviceId, Kind, Principal, Publisher, TopicFilter};
use tokio::sync::{oneshot, watch};
use tracing::{error, info, warn};

use crate::{
    address::PeerAddress,
    admission::{Admitted, NotAdmitted},
    counters::TenantCounters,
    inspection::{AskRouter, Insight, SeenMember},
    limits::{OUTBOX_DELIVERIES_BYTES_MAX, PACES_KEPT_MAX, TENANT_RESTARTS},
    outbox::Outbox,
    pace::{Pace, Throttle},
    quota::Quotas,
    router::{FromSession, LogWatch, Membership, Router, RouterParts},
    session::{Arrived, ClientIdClaimed, CloseSession, Inbound, Session, SessionParts},
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
    pub(crate) session: Recipient<Inbound>,
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

/// Closes the sessions of one principal, or of all.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct CloseMatching {
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
    /// From where on durable sessions need the log. 0 until the router knows.
    pub(crate) log_needed_from: Arc<AtomicU64>,
    /// Whether the router has recovered, or failed, for the first time.
    pub(crate) settled: Arc<watch::Sender<bool>>,
    pub(crate) packets: PacketLimits,
    pub(crate) counters: Arc<TenantCounters>,
    pub(crate) insight: Insight,
    pub(crate) clock: SharedClock,
}

/// Whose client identifier it is. Scoped by principal, so no one can take over another's session by its name.
type ClientKey = (Kind, DeviceId, ClientId);

struct Member {
    /// Dropping it ends the session, should it still run.
    _supervised: Supervised<Session>,
    closer: Recipient<CloseSession>,
    claimed: Recipient<ClientIdClaimed>,
    principal: Principal,
    client: Option<ClientKey>,
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
    inputs: Recipient<FromSession>,
    members: Recipient<Membership>,
    asks: Recipient<AskRouter>,
}

impl From<Addr<Router>> for RouterAddress {
    fn from(router: Addr<Router>) -> Self {
        let (inputs, members) = (router.clone().recipient(), router.clone().recipient());
        Self { inputs, members, asks: router.recipient() }
    }
}

pub(crate) struct TenantSupervisor {
    parts: TenantParts,
    router: Option<RouterAddress>,
    supervised: Option<Supervised<Router>>,
    parked: bool,
    members: BTreeMap<SubscriberId, Member>,
    clients: HashMap<ClientKey, Claimants>,
    principals: HashMap<PrincipalKey, Present>,
    pace: Pace,
    next_subscriber: u64,
}

impl TenantSupervisor {
    pub(crate) fn new(parts: TenantParts) -> Self {
        Self {
            pace: Pace::new(&parts.quotas.tenant),
            principals: HashMap::new(),
            parts,
            router: None,
            supervised: None,
            parked: false,
            members: BTreeMap::new(),
            clients: HashMap::new(),
            next_subscriber: 0,
        }
    }

    fn open(
        &mut self,
        ctx: &mut Context<Self>,
        admitted: Admitted,
        peer: PeerAddress,
        outbox: Outbox,
    ) -> Result<Opened, NotAdmitted> {
        let Some(router) = self.router.clone() else { return Err(self.unavailable()) };
        self.check_connections(&admitted.principal, peer)?;
        let subscriber = SubscriberId(self.next_subscriber);
        self.next_subscriber += 1;
        let publisher = Publisher { kind: admitted.principal.kind, id: admitted.principal.id.clone() };
        let quota = self.parts.quotas.of(admitted.principal.kind);
        let limits = SessionLimits {
            outgoing_bytes_max: OUTBOX_DELIVERIES_BYTES_MAX,
            queued_messages_max: quota.queue_messages_max,
            queued_bytes_max: quota.queue_bytes_max,
            ..SessionLimits::default()
        };
        let parts = SessionParts {
            subscriber,
            principal: admitted.principal.clone(),
            peer,
            certificate_expires: admitted.expires,
            outbox,
            router: router.inputs,
            tenant: ctx.address().recipient(),
            counters: self.parts.counters.clone(),
            traces: self.parts.insight.traces.clone(),
            options: SessionOptions::new(limits, &self.parts.packets),
            clock: self.parts.clock.clone(),
        };
        let tenant = ctx.address().recipient::<SessionEnded>();
        let mut parts = Some(parts);
        let once = move |_| match parts.take() {
            Some(parts) => Session::new(parts),
            None => unreachable!("the plan has no restart, so the factory is called once"),
        };
        let supervised = Child::new("session", Plan::NO_RESTART, once)
            .on_exit(move |report| tenant.do_send(SessionEnded { subscriber, exit: report.exit }))
            .start();
        let Some(session) = supervised.address() else { return Err(self.unavailable()) };
        let outlet = session.clone().recipient();
        router.members.do_send(Membership::Join { subscriber, publisher, access: admitted.access, outlet });
        let throttle = self.comes(&admitted.principal, peer);
        let opened = Opened { session: session.clone().recipient(), throttle };
        let (closer, claimed) = (session.clone().recipient(), session.recipient());
        let principal = admitted.principal;
        self.members
            .insert(subscriber, Member { _supervised: supervised, closer, claimed, principal, client: None });
        Ok(opened)
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
        info!(%tenant, %kind, %id, %peer, why = reason, "connection refused");
        Err(NotAdmitted { code: ReasonCode::QuotaExceeded, reason })
    }

    /// A principal has one connection more.
    fn comes(&mut self, principal: &Principal, peer: PeerAddress) -> Throttle {
        let quota = &self.parts.quotas.of(principal.kind).quota;
        let present = self.principals.entry((principal.kind, principal.id.clone()));
        let present = present.or_insert_with(|| Present { connections: 0, pace: Pace::new(quota) });
        present.connections += 1;
        let paces = [present.pace.clone(), self.pace.clone()];
        Throttle::new(paces, self.parts.counters.clone(), principal.clone(), peer)
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
        let key = (member.principal.kind, member.principal.id.clone(), client_id);
        member.client = Some(key.clone());
        match self.clients.entry(key) {
            Entry::Vacant(free) => {
                let (_, _, client_id) = free.key().clone();
                free.insert(Claimants { holder: subscriber, next: None });
                member.claimed.do_send(ClientIdClaimed(Ok(client_id)));
            }
            Entry::Occupied(mut taken) => {
                let claimants = taken.get_mut();
                let overtaken = claimants.next.replace(subscriber);
                for previous in [Some(claimants.holder), overtaken].into_iter().flatten() {
                    let reason = "another connection of yours took over this client identifier".to_owned();
                    if let Some(member) = self.members.get(&previous) {
                        member.closer.do_send(CloseSession { code: ReasonCode::SessionTakenOver, reason });
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
            member.claimed.do_send(ClientIdClaimed(Ok(client_id)));
        }
    }

    fn close(&self, principal: Option<&Principal>, closing: &CloseSession) {
        for member in self.members.values() {
            if principal.is_none_or(|wanted| *wanted == member.principal) {
                member.closer.do_send(closing.clone());
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
            principal: &member.principal,
            client: member.client.as_ref().map(|(_, _, client)| client),
            closer: &member.closer,
            session: member._supervised.address(),
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
                log_needed_from: parts.log_needed_from.clone(),
                settled: parts.settled.clone(),
                counters: parts.counters.clone(),
                insight: parts.insight.clone(),
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
        self.router = router.address().map(Into::into);
        self.supervised = Some(router);
    }
}

impl Handler<OpenSession> for TenantSupervisor {
    type Result = ();

    fn handle(
        &mut self,
        OpenSession { admitted, peer, outbox, reply }: OpenSession,
        ctx: &mut Context<Self>,
    ) {
        // If the connection has gone meanwhile, the answer is dropped, and that ends the session.
        let _ = reply.send(self.open(ctx, admitted, peer, outbox));
    }
}

impl Handler<ClaimClientId> for TenantSupervisor {
    type Result = ();

    fn handle(&mut self, ClaimClientId { subscriber, client_id }: ClaimClientId, _: &mut Context<Self>) {
        if let Err(refusal) = self.claim(subscriber, client_id)
            && let Some(member) = self.members.get(&subscriber)
        {
            member.claimed.do_send(ClientIdClaimed(Err(refusal)));
        }
    }
}

impl Handler<CloseMatching> for TenantSupervisor {
    type Result = ();

    fn handle(&mut self, CloseMatching { principal, closing }: CloseMatching, _: &mut Context<Self>) {
        self.close(principal.as_ref(), &closing);
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
        self.goes(&member.principal);
        if let Some(router) = &self.router {
            router.members.do_send(Membership::Leave { subscriber });
        }
        if let Some(key) = member.client {
            self.give_up(key, subscriber);
        }
    }
}

impl Handler<RouterStarted> for TenantSupervisor {
    type Result = ();

    fn handle(&mut self, RouterStarted(router): RouterStarted, _: &mut Context<Self>) {
        self.router = Some(router.into());
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
        self.close(None, &CloseSession { code, reason: self.unavailable().reason });
        self.parts.settled.send_replace(true);
    }
}
