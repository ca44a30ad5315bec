//! The tenant supervisor: the unit of restart. It starts its tenant's router and sessions on one arbiter, sees how each
//! of them ends, and parks the tenant when its router keeps failing. Neighbours never notice.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use actix::prelude::*;
use muster_actors::{Child, ChildReport, Exit, Plan, SharedClock, Supervised, Verdict};
use muster_mqtt::{Admission, Admit, PacketLimits, ReasonCode, SessionLimits, SessionOptions};
use muster_routing::SubscriberId;
use muster_schemas::{ClientId, DeviceId, Kind, Principal, Publisher, TopicFilter};
use tokio::sync::oneshot;
use tracing::{error, warn};

use crate::{
    address::PeerAddress,
    admission::{Admitted, NotAdmitted},
    counters::TenantCounters,
    limits::{OUTBOX_DELIVERIES_BYTES_MAX, TENANT_RESTARTS},
    outbox::Outbox,
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
    pub(crate) admit: Admit,
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
    pub(crate) log_grew: LogWatch,
    pub(crate) packets: PacketLimits,
    pub(crate) counters: Arc<TenantCounters>,
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

/// How to reach the router. Joinings, leavings, takeovers and closes carry no permit: there are a few per connection.
#[derive(Clone)]
struct RouterAddress {
    inputs: Recipient<FromSession>,
    members: Recipient<Membership>,
}

impl From<Addr<Router>> for RouterAddress {
    fn from(router: Addr<Router>) -> Self {
        Self { inputs: router.clone().recipient(), members: router.recipient() }
    }
}

pub(crate) struct TenantSupervisor {
    parts: TenantParts,
    router: Option<RouterAddress>,
    supervised: Option<Supervised<Router>>,
    parked: bool,
    members: BTreeMap<SubscriberId, Member>,
    clients: HashMap<ClientKey, SubscriberId>,
    next_subscriber: u64,
}

impl TenantSupervisor {
    pub(crate) fn new(parts: TenantParts) -> Self {
        Self {
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
        let subscriber = SubscriberId(self.next_subscriber);
        self.next_subscriber += 1;
        let publisher = Publisher { kind: admitted.principal.kind, id: admitted.principal.id.clone() };
        let limits =
            SessionLimits { outgoing_bytes_max: OUTBOX_DELIVERIES_BYTES_MAX, ..SessionLimits::default() };
        let parts = SessionParts {
            subscriber,
            principal: admitted.principal.clone(),
            peer,
            certificate_expires: admitted.expires,
            outbox,
            router: router.inputs,
            tenant: ctx.address().recipient(),
            counters: self.parts.counters.clone(),
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
        let opened = Opened { session: session.clone().recipient() };
        let (closer, claimed) = (session.clone().recipient(), session.recipient());
        let principal = admitted.principal;
        self.members
            .insert(subscriber, Member { _supervised: supervised, closer, claimed, principal, client: None });
        Ok(opened)
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

    fn claim(&mut self, subscriber: SubscriberId, admit: Admit) -> Result<Admission, NotAdmitted> {
        let assigned_client_id = admit.client_id.is_none();
        let client_id = match admit.client_id {
            Some(id) => id,
            None => assigned(subscriber)?,
        };
        let Some(member) = self.members.get_mut(&subscriber) else { return Err(self.unavailable()) };
        let key = (member.principal.kind, member.principal.id.clone(), client_id.clone());
        member.client = Some(key.clone());
        if let Some(previous) = self.clients.insert(key, subscriber)
            && let Some(member) = self.members.get(&previous)
        {
            let reason = "another connection of yours took over this client identifier".to_owned();
            member.closer.do_send(CloseSession { code: ReasonCode::SessionTakenOver, reason });
        }
        Ok(Admission { assigned_client_id, ..Admission::new(client_id) })
    }

    fn close(&self, principal: Option<&Principal>, closing: &CloseSession) {
        for member in self.members.values() {
            if principal.is_none_or(|wanted| *wanted == member.principal) {
                member.closer.do_send(closing.clone());
            }
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
                log_grew: parts.log_grew.clone(),
                counters: parts.counters.clone(),
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

    fn handle(&mut self, ClaimClientId { subscriber, admit }: ClaimClientId, _: &mut Context<Self>) {
        let outcome = self.claim(subscriber, admit);
        if let Some(member) = self.members.get(&subscriber) {
            member.claimed.do_send(ClientIdClaimed(outcome));
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
        if let Some(key) = member.client
            && self.clients.get(&key) == Some(&subscriber)
        {
            self.clients.remove(&key);
        }
        if let Some(router) = &self.router {
            router.members.do_send(Membership::Leave { subscriber });
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
    }
}
