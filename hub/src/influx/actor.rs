//! The actor of the InfluxDB backend: looks at each tenant's log once a second, sends what is there, a request of a tenant
//! at a time and a few of all, and moves the cursor when the server has answered.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use actix::{Actor, ActorFutureExt as _, AsyncContext as _, Context, fut::wrap_future};
use muster_actors::SharedClock;
use muster_broker::{
    Bus, TenantQuotas,
    store::{Commit, CommitError, Store, Write},
};
use muster_influx::{
    answer::{Answer, Trouble},
    server::Token,
    transport::Transport,
};
use muster_schemas::TenantId;
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::{
    Influx, RulesOf,
    feed::{Deed, Feed, FeedError},
    limits::{LOOK_INTERVAL, LOOKS_PER_ROSTER, REQUESTS_MAX},
    progress::Progress,
    roster,
};
use crate::config::Config;

/// What the actor is made of; a restart makes a new one of the same.
#[derive(Clone)]
pub struct InfluxOptions {
    /// Where logs and cursors are.
    pub store: Store,
    /// Where to send.
    pub influx: Arc<Influx>,
    /// The tenants that there are.
    pub tenants: Arc<dyn Fn() -> Vec<TenantId> + Send + Sync>,
    /// How much of its log a tenant may keep.
    pub quotas: TenantQuotas,
    /// What is sensitive.
    pub rules: RulesOf,
    /// Shared with those who ask.
    pub progress: Progress,
    /// What time it is.
    pub clock: SharedClock,
}

impl InfluxOptions {
    /// Of the tenants that the bus serves; none if nothing is to be sent anywhere.
    pub fn of(
        config: &Config,
        store: &Store,
        bus: &Arc<Bus>,
        rules: RulesOf,
        progress: &Progress,
        clock: &SharedClock,
    ) -> Option<Self> {
        let served = bus.clone();
        Some(Self {
            store: store.clone(),
            influx: Arc::new(config.influx.clone()?),
            tenants: Arc::new(move || {
                served.tenant_counters().into_iter().map(|(tenant, _)| tenant).collect()
            }),
            quotas: config.quotas.clone(),
            rules,
            progress: progress.clone(),
            clock: clock.clone(),
        })
    }

    /// Has the logs of those with a token kept from now on: to be called before anybody trims one.
    pub fn keep_logs(&self) {
        for tenant in roster::read(&self.influx, &(self.tenants)()).into_keys() {
            self.progress.expect(&tenant, self.influx.bucket(&tenant));
        }
    }
}

/// Sends what devices measure.
pub struct InfluxActor {
    options: InfluxOptions,
    tenants: BTreeMap<TenantId, Tenant>,
    /// Those with something to send, in line for a request.
    line: VecDeque<(TenantId, String)>,
    under_way: usize,
    looks: u32,
}

struct Tenant {
    token: Result<Token, String>,
    /// None while it cannot be opened.
    feed: Option<Feed>,
    /// None while there is no token.
    transport: Option<Arc<Transport>>,
    /// A request or a commit is under way, or due.
    busy: bool,
    /// Gone from the roster: it ends when it is no longer busy.
    gone: bool,
}

impl InfluxActor {
    /// An actor that goes on from each tenant's cursor when it starts.
    pub fn new(options: InfluxOptions) -> Self {
        Self { options, tenants: BTreeMap::new(), line: VecDeque::new(), under_way: 0, looks: 0 }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        if self.looks == 0 {
            self.enrol();
        }
        self.looks = (self.looks + 1) % LOOKS_PER_ROSTER;
        let idle: Vec<_> =
            self.tenants.iter().filter(|(_, tenant)| !tenant.busy).map(|(id, _)| id.clone()).collect();
        for id in idle {
            self.turn(&id, ctx);
        }
    }

    /// Reads the folder of tokens anew.
    fn enrol(&mut self) {
        let roster = roster::read(&self.options.influx, &(self.options.tenants)());
        for (id, tenant) in &mut self.tenants {
            tenant.gone = !roster.contains_key(id);
        }
        self.tenants.retain(|id, tenant| {
            if tenant.gone && !tenant.busy {
                info!(tenant = %id, "its token is gone: its telemetry is sent no more");
                self.options.progress.forget(id);
                return false;
            }
            true
        });
        for (id, token) in roster {
            let is_known =
                |tenant: &Tenant| tenant.token == token && (token.is_err() || tenant.transport.is_some());
            if self.tenants.get(&id).is_some_and(is_known) {
                continue;
            }
            self.options.progress.expect(&id, self.options.influx.bucket(&id));
            let transport = match &token {
                Ok(token) => self.transport(&id, token),
                Err(why) => {
                    warn!(tenant = %id, %why, "its telemetry waits: its token cannot be used");
                    None
                }
            };
            let tenant = self.tenants.entry(id).or_insert_with(|| Tenant {
                token: Err(String::new()),
                feed: None,
                transport: None,
                busy: false,
                gone: false,
            });
            (tenant.token, tenant.transport) = (token, transport);
            if let Some(feed) = &mut tenant.feed {
                feed.hurry();
            }
        }
    }

    fn transport(&self, id: &TenantId, token: &Token) -> Option<Arc<Transport>> {
        match Transport::new(&self.options.influx.server, self.options.influx.bucket(id), token) {
            Ok(transport) => Some(Arc::new(transport)),
            Err(error) => {
                warn!(tenant = %id, %error, "its telemetry waits");
                None
            }
        }
    }

    /// Does what a tenant's feed wants next.
    fn turn(&mut self, id: &TenantId, ctx: &mut Context<Self>) {
        let (now, now_ms) = (self.options.clock.now(), self.options.clock.unix_ms());
        let Some(tenant) = self.tenants.get_mut(id) else { return };
        tenant.busy = false;
        if tenant.gone {
            return;
        }
        if tenant.feed.is_none() {
            tenant.feed = Self::open(&self.options, id);
        }
        let Some(feed) = &mut tenant.feed else { return };
        if tenant.transport.is_none() {
            // Without a token it waits like one whose server is away: what the log cannot hold is given up.
            let why = tenant.token.as_ref().err().cloned().unwrap_or_else(|| "the TLS library".to_owned());
            feed.answered(now, Answer::Stopped(Trouble::NoToken(why)));
        }
        let deed = feed.next(now, now_ms);
        tell(&self.options.progress, id, feed, now_ms);
        match deed {
            Ok(Deed::Rest) => {}
            Ok(Deed::Commit(writes)) => {
                tenant.busy = true;
                self.commit(id.clone(), writes, ctx);
            }
            Ok(Deed::Send(lines)) => {
                tenant.busy = true;
                self.line.push_back((id.clone(), lines));
                self.send(ctx);
            }
            Err(error) => {
                // From the disk again, at the next look.
                warn!(tenant = %id, %error, "failed to read what is to be sent; it is tried again");
                tenant.feed = None;
            }
        }
    }

    fn open(options: &InfluxOptions, id: &TenantId) -> Option<Feed> {
        let seed =
            id.as_str().bytes().fold(0_u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
        match Feed::open(&options.store, id, &options.quotas.of(id), options.rules.clone(), seed) {
            Ok(feed) => Some(feed),
            Err(FeedError::TenantUnknown) => None,
            Err(FeedError::Unsealed(why)) => {
                let since_ms = options.clock.unix_ms();
                options.progress.change(id, |status| {
                    status.trouble.get_or_insert((why.into(), since_ms));
                });
                None
            }
            Err(error) => {
                warn!(tenant = %id, %error, "failed to read how far its telemetry was sent; it is tried again");
                None
            }
        }
    }

    /// Begins requests for those in line, as many as there may be.
    fn send(&mut self, ctx: &mut Context<Self>) {
        while self.under_way < REQUESTS_MAX
            && let Some((id, lines)) = self.line.pop_front()
        {
            let Some(transport) = self.tenants.get(&id).and_then(|tenant| tenant.transport.clone()) else {
                if let Some(tenant) = self.tenants.get_mut(&id) {
                    tenant.busy = false;
                }
                continue;
            };
            self.under_way += 1;
            let sent = wrap_future(async move { transport.write(&lines).await });
            ctx.spawn(sent.map(move |answer, actor: &mut Self, ctx: &mut Context<Self>| {
                actor.under_way -= 1;
                actor.answered(&id, answer);
                actor.turn(&id, ctx);
                actor.send(ctx);
            }));
        }
    }

    fn answered(&mut self, id: &TenantId, answer: Answer) {
        let (now, now_ms) = (self.options.clock.now(), self.options.clock.unix_ms());
        let Some(feed) = self.tenants.get_mut(id).and_then(|tenant| tenant.feed.as_mut()) else { return };
        let trouble = match &answer {
            Answer::Later(trouble) | Answer::NotBefore(trouble, _) | Answer::Stopped(trouble) => {
                Some(trouble.clone())
            }
            _ => None,
        };
        feed.answered(now, answer);
        self.options.progress.change(id, |status| {
            status.requests += 1;
            match trouble {
                Some(trouble) => {
                    status.failed += 1;
                    if status.trouble.as_ref().is_none_or(|(known, _)| known.as_str() != trouble.as_str()) {
                        // The server's own words are the tenant's to read; here is the word for them.
                        warn!(tenant = %id, trouble = trouble.as_str(), next = trouble.next(),
                            "the server does not take telemetry; it waits in the log");
                    }
                }
                None => {
                    if status.trouble.is_some() {
                        info!(tenant = %id, "the server takes telemetry again");
                    }
                    status.stored_ms = Some(now_ms);
                }
            }
        });
    }

    fn commit(&mut self, id: TenantId, writes: Vec<Write>, ctx: &mut Context<Self>) {
        let (answer, stored) = oneshot::channel();
        let done = Box::new(move |outcome| {
            let _ = answer.send(outcome);
        });
        self.options.store.commit(Commit { writes, fence: None, permit: None, done });
        ctx.spawn(wrap_future(stored).map(move |outcome, actor: &mut Self, ctx: &mut Context<Self>| {
            let outcome = outcome.unwrap_or(Err(CommitError::Closed));
            let Some(tenant) = actor.tenants.get_mut(&id) else { return };
            let Some(feed) = &mut tenant.feed else { return tenant.busy = false };
            match outcome {
                Ok(()) => {
                    feed.committed();
                    actor.turn(&id, ctx);
                }
                Err(error) => {
                    warn!(tenant = %id, %error, "failed to store how far telemetry was sent; it is tried again");
                    feed.uncommitted();
                    // At the next look.
                    tenant.busy = false;
                }
            }
        }));
    }
}

impl Actor for InfluxActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        info!(server = self.options.influx.server.url(), "telemetry goes to InfluxDB from its cursors");
        self.look(ctx);
        ctx.run_interval(LOOK_INTERVAL, Self::look);
    }
}

/// Shows how far a feed is.
fn tell(progress: &Progress, id: &TenantId, feed: &mut Feed, now_ms: u64) {
    let news = feed.news();
    for letter in &news.letters {
        // What it says may be the tenant's own words.
        warn!(tenant = %id, lines = letter.lines, "the server will never store lines; `muster influx status` says which");
    }
    progress.change(id, |status| {
        status.cursor = feed.cursor();
        status.waiting_records = feed.backlog().records();
        status.waiting_bytes = feed.backlog().bytes();
        status.oldest_ms = feed.backlog().oldest_ms();
        status.readings += news.readings;
        status.sealed += news.sealed;
        status.damaged += news.damaged;
        status.given_up += news.given_up;
        status.letters(news.letters, now_ms);
        let before = status.trouble.take();
        status.trouble = feed.trouble().map(|trouble| {
            let since = before
                .filter(|(known, _)| known.as_str() == trouble.as_str())
                .map_or(now_ms, |(_, since)| since);
            (trouble.clone(), since)
        });
    });
}
