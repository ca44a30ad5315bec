//! Looking into a running tenant: who is connected, what is subscribed and retained, and what goes over the wire.
//!
//! Whoever looks holds up nobody: sessions and router answer between two of their turns, each answer is bounded, and a
//! trace that is not taken fast enough loses packets, which it counts. Who may look is the caller's matter.

mod sys;
mod trace;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use actix::prelude::*;
use muster_actors::Supervised;
use muster_mqtt::{ReasonCode, Version};
use muster_routing::{Retained, Router as RouterCore};
use muster_schemas::{ClientId, DeviceId, Kind, Principal, TopicFilter, TopicName};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{
    address::PeerAddress,
    limits::{INSPECTION_TIME_MAX, LOOKS_MAX, SEEN_FILTERS_MAX, SEEN_MAX},
    session::{CloseSession, Session},
    tenant::TenantSupervisor,
};
pub(crate) use sys::Sys;
pub(crate) use trace::Traces;
pub use trace::{Direction, TraceTarget, Traced, TracedPacket, Tracing};

/// What the parts of a tenant need so that it can be looked into.
#[derive(Clone)]
pub(crate) struct Insight {
    pub(crate) traces: Traces,
    /// When the bus started.
    pub(crate) since: Instant,
    /// How often the tenant's numbers are said on `$SYS/...`; none is never.
    pub(crate) sys_interval: Option<Duration>,
}

impl Insight {
    pub(crate) fn new(since: Instant, sys_interval: Option<Duration>) -> Self {
        Self { traces: Traces::default(), since, sys_interval }
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotInspected {
    /// The tenant is not served, is about to start, or is parked.
    #[error("the tenant is not running here")]
    NotRunning,
    /// It did not answer in time.
    #[error("the tenant did not answer within {} s", INSPECTION_TIME_MAX.as_secs())]
    Busy,
    /// There are as many traces of this tenant as there may be.
    #[error("there are {0} traces of this tenant already")]
    TooManyTraces(usize),
}

/// A connected client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSeen {
    /// The number of its session: later ones have higher numbers.
    pub session: u64,
    /// What it is.
    pub kind: Kind,
    /// Its id.
    pub id: DeviceId,
    /// Its MQTT client identifier.
    pub client: ClientId,
    /// Which MQTT it speaks.
    pub version: Version,
    /// Where it connected from.
    pub peer: PeerAddress,
    /// When it connected, Unix milliseconds.
    pub connected_at_ms: u64,
    /// How many subscriptions it has.
    pub subscriptions: usize,
    /// Messages that it owes an acknowledgement for.
    pub in_flight: usize,
    /// Messages that wait for room among those.
    pub queued: usize,
    /// Bytes that wait for its socket.
    pub bytes_waiting: usize,
    /// Messages it published.
    pub messages_in: u64,
    /// Messages it was sent.
    pub messages_out: u64,
    /// Messages it missed.
    pub dropped: u64,
}

/// A topic with a retained message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSeen {
    /// Which.
    pub topic: TopicName,
    /// Length of the payload, in bytes.
    pub bytes: usize,
}

/// A filter that somebody subscribes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterSeen {
    /// Which.
    pub filter: String,
    /// By how many.
    pub subscribers: u64,
}

/// What is subscribed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filters {
    /// In byte order.
    pub filters: Vec<FilterSeen>,
    /// Whether there are more than one answer holds.
    pub truncated: bool,
}

/// Whose sessions are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    /// The sessions with this client identifier; of two principals there may be two.
    Client(ClientId),
    /// All sessions of one principal of the tenant.
    Principal(Kind, DeviceId),
}

/// Looks into a tenant.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) enum Inspect {
    /// Has its sessions tell about themselves. The channel has room for all that are asked.
    Sessions { after: Option<u64>, limit: usize, seen: mpsc::Sender<Described>, subscriptions: AskRouter },
    /// Counts sessions.
    Count { whom: Whom, counted: oneshot::Sender<usize> },
    /// Closes sessions, and tells how many.
    Close { whom: Whom, closing: CloseSession, closed: oneshot::Sender<usize> },
    /// Looks at its router.
    Router(AskRouter),
}

/// Looks at a router between two of its turns, and must be short.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct AskRouter(pub(crate) Box<dyn FnOnce(&RouterCore) + Send>);

/// Has a session tell about itself.
#[derive(Message)]
#[rtype(result = "()")]
struct Describe(mpsc::Sender<Described>);

/// What a session tells about itself: all but what only the router knows. None when it is not admitted yet.
type Described = (u64, Option<Box<ClientSeen>>);

/// A session as its supervisor sees it.
pub(crate) struct SeenMember<'a> {
    pub(crate) principal: &'a Principal,
    pub(crate) client: Option<&'a ClientId>,
    pub(crate) session: &'a Supervised<Session>,
}

impl Whom {
    fn is(&self, principal: &Principal, client: Option<&ClientId>) -> bool {
        match self {
            Self::Client(wanted) => client == Some(wanted),
            Self::Principal(kind, id) => principal.kind == *kind && principal.id == *id,
        }
    }
}

/// Looks into one tenant. Cheap to clone.
#[derive(Clone)]
pub struct Inspector {
    asks: Recipient<Inspect>,
    traces: Traces,
}

impl Inspector {
    pub(crate) fn new(asks: Recipient<Inspect>, traces: Traces) -> Self {
        Self { asks, traces }
    }

    /// The connected clients of a tenant, by session, from behind one on; at most [`SEEN_MAX`]. The last of the numbers
    /// looked at comes along: while there is one, there may be more behind it.
    ///
    /// # Errors
    /// The tenant does not answer.
    pub async fn clients(
        &self,
        after: Option<u64>,
        limit: usize,
    ) -> Result<(Vec<ClientSeen>, Option<u64>), NotInspected> {
        let limit = limit.clamp(1, SEEN_MAX);
        let (seen, mut described) = mpsc::channel(limit);
        let (told, counted) = oneshot::channel();
        let count = AskRouter(Box::new(move |core| {
            let index = core.index();
            let counts = index.subscribers().into_iter().map(|who| (who.0, index.subscriptions_of(who)));
            let _ = told.send(counts.collect::<BTreeMap<_, _>>());
        }));
        self.look(Inspect::Sessions { after, limit, seen, subscriptions: count });
        let gathering = async {
            let mut clients = Vec::new();
            let mut last = None;
            while let Some((session, client)) = described.recv().await {
                last = last.max(Some(session));
                clients.extend(client.map(|client| *client));
            }
            (clients, last, counted.await.unwrap_or_default())
        };
        let (mut clients, last, subscriptions) =
            timeout(INSPECTION_TIME_MAX, gathering).await.map_err(|_| NotInspected::Busy)?;
        clients.sort_by_key(|client| client.session);
        for client in &mut clients {
            client.subscriptions = subscriptions.get(&client.session).copied().unwrap_or(0);
        }
        Ok((clients, last))
    }

    /// How many sessions somebody has.
    ///
    /// # Errors
    /// The tenant does not answer.
    pub async fn sessions(&self, whom: Whom) -> Result<usize, NotInspected> {
        let (told, counted) = oneshot::channel();
        self.look(Inspect::Count { whom, counted: told });
        answer(counted).await
    }

    /// Closes sessions of a tenant with DISCONNECT 0x98 and these words, and says how many there were.
    ///
    /// # Errors
    /// The tenant does not answer.
    pub async fn kick(&self, whom: Whom, reason: String) -> Result<usize, NotInspected> {
        let (closed, counted) = oneshot::channel();
        let closing = CloseSession { code: ReasonCode::AdministrativeAction, reason };
        self.look(Inspect::Close { whom, closing, closed });
        answer(counted).await
    }

    /// The topics of a tenant that hold a retained message, from behind one on; at most [`SEEN_MAX`].
    ///
    /// # Errors
    /// The tenant does not answer.
    pub async fn retained_topics(
        &self,
        filter: &TopicFilter,
        after: Option<&TopicName>,
        limit: usize,
    ) -> Result<Vec<TopicSeen>, NotInspected> {
        let limit = limit.clamp(1, SEEN_MAX);
        let mut cursor = Retained::matching(filter);
        if let Some(topic) = after {
            cursor = cursor.after(topic);
        }
        let mut topics = Vec::new();
        loop {
            let most = LOOKS_MAX.min(limit - topics.len());
            // The router gets the cursor and gives it back, so that each of its turns is short.
            let (page, moved, ended) = self
                .ask(move |core| {
                    let (mut page, mut looks) = (Vec::new(), most);
                    let ended = cursor.read(core.retained(), &mut looks, |kept| {
                        let message = &kept.message;
                        page.push(TopicSeen { topic: message.topic.clone(), bytes: message.payload.len() });
                    });
                    (page, cursor, ended)
                })
                .await?;
            topics.extend(page);
            if ended || topics.len() >= limit {
                return Ok(topics);
            }
            cursor = moved;
        }
    }

    /// What the connected clients of a tenant subscribe to, as far as `within` covers it; at most [`SEEN_FILTERS_MAX`]
    /// filters.
    ///
    /// # Errors
    /// The tenant does not answer.
    pub async fn filters(&self, within: Option<TopicFilter>) -> Result<Filters, NotInspected> {
        let mut left = self.ask(|core| core.index().subscribers()).await?.into_iter().peekable();
        let mut found = BTreeMap::new();
        let mut truncated = false;
        while left.peek().is_some() {
            let (page, rest) = self
                .ask(move |core| {
                    let mut page: Vec<String> = Vec::new();
                    while page.len() < LOOKS_MAX
                        && let Some(subscriber) = left.next()
                    {
                        page.extend(core.index().filters_of(subscriber).map(str::to_owned));
                    }
                    (page, left)
                })
                .await?;
            left = rest;
            for filter in page {
                let is_wanted = within.as_ref().is_none_or(|within| is_within(within, &filter));
                if !is_wanted {
                } else if let Some(subscribers) = found.get_mut(&filter) {
                    *subscribers += 1;
                } else if found.len() < SEEN_FILTERS_MAX {
                    found.insert(filter, 1);
                } else {
                    truncated = true;
                }
            }
        }
        let filters = found.into_iter().map(|(filter, subscribers)| FilterSeen { filter, subscribers });
        Ok(Filters { filters: filters.collect(), truncated })
    }

    /// Listens in on a tenant until the answer is dropped.
    ///
    /// # Errors
    /// It is listened in on by as many as may.
    pub fn trace(&self, target: TraceTarget, with_payload: bool) -> Result<Tracing, NotInspected> {
        self.traces.start(target, with_payload)
    }

    async fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&RouterCore) -> T + Send + 'static,
    ) -> Result<T, NotInspected> {
        let (told, answered) = oneshot::channel();
        let ask = AskRouter(Box::new(move |core| drop(told.send(ask(core)))));
        self.look(Inspect::Router(ask));
        answer(answered).await
    }

    fn look(&self, inspect: Inspect) {
        // Each looks once and waits for the answer, and listeners bound how many of them there are.
        self.asks.do_send(inspect);
    }
}

async fn answer<T>(answer: oneshot::Receiver<T>) -> Result<T, NotInspected> {
    match timeout(INSPECTION_TIME_MAX, answer).await {
        Ok(answer) => answer.map_err(|_| NotInspected::NotRunning),
        Err(_) => Err(NotInspected::Busy),
    }
}

/// Whether a subscription is about topics of `within` only.
fn is_within(within: &TopicFilter, filter: &str) -> bool {
    filter.parse::<TopicFilter>().is_ok_and(|filter| filter == *within || within.covers(&filter))
}

impl Handler<Inspect> for TenantSupervisor {
    type Result = ();

    fn handle(&mut self, inspect: Inspect, _: &mut Context<Self>) {
        match inspect {
            Inspect::Sessions { after, limit, seen, subscriptions } => {
                for member in self.seen_members(after).take(limit) {
                    member.session.tell(Describe(seen.clone()));
                }
                self.ask_router(subscriptions);
            }
            Inspect::Count { whom, counted } => {
                let theirs =
                    self.seen_members(None).filter(|m| m.client.is_some() && whom.is(m.principal, m.client));
                let _ = counted.send(theirs.count());
            }
            Inspect::Close { whom, closing, closed } => {
                let mut count = 0;
                for member in self.seen_members(None) {
                    if whom.is(member.principal, member.client) {
                        member.session.tell(closing.clone());
                        count += 1;
                    }
                }
                let _ = closed.send(count);
            }
            Inspect::Router(ask) => self.ask_router(ask),
        }
    }
}

impl Handler<Describe> for Session {
    type Result = ();

    fn handle(&mut self, Describe(seen): Describe, _: &mut Context<Self>) {
        let (parts, core) = (self.parts(), self.core());
        let session = parts.subscriber.0;
        let ago = parts.home.clock.now().saturating_duration_since(self.opened());
        let ago_ms = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
        let client = self.client().map(|client| {
            let (queued, in_flight) = core.backlog();
            let statistics = core.statistics();
            Box::new(ClientSeen {
                session,
                kind: parts.caller.principal.kind,
                id: parts.caller.principal.id.clone(),
                client: client.clone(),
                version: core.version(),
                peer: parts.caller.peer,
                connected_at_ms: parts.home.clock.unix_ms().saturating_sub(ago_ms),
                subscriptions: 0,
                in_flight,
                queued,
                bytes_waiting: parts.outbox.pending(),
                messages_in: statistics.publishes_received,
                messages_out: statistics.deliveries_sent,
                dropped: statistics.dropped_congested + statistics.dropped_too_large,
            })
        });
        // There is room for everyone who was asked.
        let _ = seen.try_send((session, client));
    }
}
