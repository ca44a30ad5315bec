//! One life of a bus, from the opening of its store to the crash that ends it, and its clients meanwhile.

use std::{
    cell::{Cell, RefCell},
    io,
    net::SocketAddr,
    path::Path,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use muster_actors::{Clock, Credit, SharedClock, SystemClock, world::START_UNIX_MS};
use muster_mqtt::{Decoder, Outgoing, Packet, PacketLimits, Version, encode};
use muster_schemas::Kind;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    sync::Notify,
    time::{sleep, timeout},
};

use super::{
    cable::Cable,
    chance::Chance,
    client::{Client, Held},
    ledger::Ledger,
};
use crate::{
    Access, TenantCounters,
    audit::Trail,
    bus::supervise_tenant,
    connection::{self, Surroundings},
    inspection::Insight,
    limits::{TENANT_BATCHES_MAX, TENANT_BYTES_MAX},
    questions::Desk,
    quota::Quotas,
    ration::Ration,
    store::{RootKey, Store, StoreOptions, TenantStore},
    tenant::TenantParts,
    tests::site::admitted,
};

pub(super) const TENANTS: [&str; 2] = ["acme", "bravo"];
const PIPE_BYTES: usize = 64 * 1024;
/// Disturbances are over after this much of a life, if no crash ended it.
const STORY_MS: u64 = 6_000;
/// What goes on for longer than this when nothing disturbs it does not end.
const QUIET_MS_MAX: u64 = 60_000;

/// What outlives a crash: the clients and what was written down of them.
#[derive(Clone)]
pub(super) struct Cast {
    pub(super) clients: Vec<Rc<RefCell<Client>>>,
    pub(super) ledger: Rc<RefCell<Ledger>>,
    /// Milliseconds of all lives before this one.
    pub(super) before_ms: Rc<Cell<u64>>,
}

/// How a life goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fate {
    /// The group of commits after which it crashes, before anybody hears that it is stored.
    pub(super) crash_after: Option<u64>,
    /// Clients that come and go, connections that break, disks that fill up.
    pub(super) is_disturbed: bool,
}

struct Tenant {
    store: TenantStore,
    credit: Credit,
    counters: Arc<TenantCounters>,
    log_needed_from: Arc<AtomicU64>,
}

pub(super) struct Life {
    cast: Cast,
    store: Store,
    surroundings: Arc<Surroundings>,
    tenants: Vec<Tenant>,
    is_calm: Cell<bool>,
    end: Notify,
    clock: SharedClock,
}

/// The clock of a life: it goes on where the last one stopped.
struct LifeClock {
    began: Instant,
    before_ms: u64,
}

impl Clock for LifeClock {
    fn now(&self) -> Instant {
        SystemClock.now()
    }

    fn unix_ms(&self) -> u64 {
        let since = self.now().duration_since(self.began).as_millis();
        START_UNIX_MS + self.before_ms + u64::try_from(since).unwrap()
    }
}

/// Lives until the crash, or until everything is quiet.
pub(super) async fn live(dir: &Path, cast: Cast, fate: Fate, mut chance: Chance) {
    let life = Rc::new(Life::open(dir, cast));
    life.note("bus", "opens");
    actix_rt::spawn(turn_the_disk(life.clone(), fate, chance.fork()));
    actix_rt::spawn(trim(life.clone()));
    for at in 0..life.cast.clients.len() {
        actix_rt::spawn(play(life.clone(), at, chance.fork()));
    }
    if !fate.is_disturbed {
        life.calm();
    }
    tokio::select! {
        biased;
        () = life.end.notified() => {
            life.note("bus", "crashes");
            life.with_ledger(Ledger::excuse_what_is_at_risk);
        }
        () = sleep(Duration::from_millis(STORY_MS)) => {
            life.calm();
            life.becomes_quiet().await;
            life.call();
            life.becomes_quiet().await;
            life.judge();
            audit(&life, chance).await;
        }
    }
    life.cast.before_ms.set(life.now_ms() + 1);
}

impl Life {
    fn open(dir: &Path, cast: Cast) -> Self {
        let options = StoreOptions { disk_free_bytes_min: 0 };
        let store = Store::open_stepped(dir, RootKey::from_bytes([7; 32]), options).unwrap();
        let began = SystemClock.now();
        let clock: SharedClock = Arc::new(LifeClock { began, before_ms: cast.before_ms.get() });
        let surroundings = Arc::new(Surroundings {
            directory: Arc::default(),
            packets: Arc::default(),
            counters: Arc::default(),
            ration: Ration::of_listeners(),
            clock: clock.clone(),
        });
        let tenants = TENANTS.map(|name| {
            let name = name.parse().unwrap();
            let found = store.tenant(&name).unwrap();
            let tenant = found.unwrap_or_else(|| store.create_tenant(&name).unwrap());
            let credit = Credit::new("tenant", TENANT_BATCHES_MAX, TENANT_BYTES_MAX);
            let counters = Arc::<TenantCounters>::default();
            let log_needed_from = Arc::<AtomicU64>::default();
            let parts = TenantParts {
                tenant: tenant.clone(),
                store: store.clone(),
                durable: Vec::new(),
                log_grew: Arc::new(|_| ()),
                sieves: crate::sieve::open(),
                log_needed_from: log_needed_from.clone(),
                settled: Arc::default(),
                packets: PacketLimits::default(),
                quotas: Arc::new(Quotas::default()),
                counters: counters.clone(),
                insight: Insight::new(clock.now(), None),
                trail: Trail::new(clock.clone()),
                desk: Desk::default(),
                screening: None,
                clock: clock.clone(),
            };
            supervise_tenant(parts, credit.clone(), surroundings.directory.clone(), Arc::default());
            Tenant { store: tenant, credit, counters, log_needed_from }
        });
        let tenants = tenants.into();
        Self { cast, store, surroundings, tenants, is_calm: Cell::default(), end: Notify::new(), clock }
    }

    fn now_ms(&self) -> u64 {
        self.clock.unix_ms() - START_UNIX_MS
    }

    fn note(&self, who: &str, what: &str) {
        self.with_ledger(|ledger| ledger.note(who, what));
    }

    fn with_ledger<T>(&self, with: impl FnOnce(&mut Ledger) -> T) -> T {
        let mut ledger = self.cast.ledger.borrow_mut();
        ledger.now_ms = self.now_ms();
        with(&mut ledger)
    }

    /// From here on nothing is disturbed any more.
    fn calm(&self) {
        self.is_calm.set(true);
        self.note("bus", "is left alone");
    }

    fn held(&self, by_all: bool, but: usize) -> Held {
        let others = self.cast.clients.iter().filter_map(|client| {
            let client = client.try_borrow().ok()?;
            let is_asked = (by_all || client.is_durable) && client.number != but;
            is_asked.then(|| (client.number, client.tenant.clone(), client.held()))
        });
        Held(others.collect())
    }

    /// Waits until everybody is in and nothing is under way.
    async fn becomes_quiet(&self) {
        let (mut before, mut still) = (0, 0);
        for _ in 0..QUIET_MS_MAX / 250 {
            sleep(Duration::from_millis(250)).await;
            let is_quiet = |client: &Client| client.is_in && client.sending.is_empty();
            let all = self.cast.clients.iter().all(|client| is_quiet(&client.borrow()));
            let heard = self.cast.ledger.borrow().trace.len();
            still = if all && heard == before { still + 1 } else { 0 };
            before = heard;
            // Longer than it takes to write down what was acknowledged, and longer than a will waits.
            if still > 20 {
                return;
            }
        }
        self.with_ledger(|ledger| ledger.fault("it never gets quiet".to_owned()));
    }

    /// Somebody of each tenant publishes to everybody: whoever is there gets it.
    fn call(&self) {
        for tenant in TENANTS {
            let mut callers = self.cast.clients.iter().filter(|client| client.borrow().tenant == tenant);
            if let Some(caller) = callers.next_back() {
                let who = caller.borrow().number;
                let mut held = self.held(true, who);
                let mut caller = caller.borrow_mut();
                held.0.push((who, caller.tenant.clone(), caller.held()));
                self.with_ledger(|ledger| caller.call(&held, ledger));
            }
        }
    }

    fn judge(&self) {
        self.with_ledger(|ledger| {
            ledger.judge();
            for (tenant, name) in self.tenants.iter().zip(TENANTS) {
                if tenant.credit.in_use() != (0, 0) {
                    ledger.fault(format!("{name} holds credit {:?}", tenant.credit.in_use()));
                }
                let of_it = |client: &&Rc<RefCell<Client>>| client.borrow().tenant == name;
                let clients = self.cast.clients.iter().filter(of_it).count();
                let sessions = tenant.counters.sessions.value();
                if sessions != clients as u64 {
                    ledger.fault(format!("{name} has {sessions} sessions for {clients} clients"));
                }
                if tenant.counters.sessions_panicked.value() + tenant.counters.router_restarts.value() > 0 {
                    ledger.fault(format!("{name} had a panic"));
                }
            }
        });
    }
}

/// The disk: it takes its time, is full for a while, and with it everything may end.
async fn turn_the_disk(life: Rc<Life>, fate: Fate, mut chance: Chance) {
    let (mut groups, mut full_until_ms) = (0, None);
    loop {
        sleep(Duration::from_millis(1 + chance.below(25))).await;
        let now_ms = life.now_ms();
        match full_until_ms {
            None if !life.is_calm.get() && chance.happens(10) => {
                life.note("disk", "is full");
                life.store.set_disk_free_bytes_min(u64::MAX);
                life.with_ledger(|ledger| {
                    ledger.is_disk_failing = true;
                    ledger.excuse_what_is_at_risk();
                });
                full_until_ms = Some((now_ms + 1 + chance.below(500), false));
            }
            Some((until_ms, false)) if now_ms >= until_ms || life.is_calm.get() => {
                life.note("disk", "has room");
                life.store.set_disk_free_bytes_min(0);
                // What was refused is still being told.
                full_until_ms = Some((now_ms + 1_000, true));
            }
            Some((until_ms, true)) if now_ms >= until_ms => {
                life.with_ledger(|ledger| ledger.is_disk_failing = false);
                full_until_ms = None;
            }
            _ => {}
        }
        for tenant in &life.tenants {
            let (batches, bytes) = tenant.credit.in_use();
            if batches > TENANT_BATCHES_MAX || bytes > TENANT_BYTES_MAX {
                life.with_ledger(|ledger| ledger.fault(format!("{batches} batches of {bytes} bytes")));
            }
        }
        if life.store.step() {
            groups += 1;
            if fate.crash_after == Some(groups) {
                life.end.notify_one();
                // Nobody has another turn before the end.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Removes what durable sessions no longer need.
async fn trim(life: Rc<Life>) {
    loop {
        sleep(Duration::from_millis(1_700)).await;
        for tenant in &life.tenants {
            let below = tenant.log_needed_from.load(Ordering::Acquire);
            if let Ok(log) = tenant.store.log()
                && let Ok(writes) = log.trim(below)
                && !writes.is_empty()
            {
                let (permit, done) = (None, Box::new(|_| ()));
                life.store.commit(crate::store::Commit { writes, fence: None, permit, done });
            }
        }
    }
}

/// A client's end of a connection.
struct Line {
    stream: DuplexStream,
    decoder: Decoder,
    version: Version,
}

impl Line {
    /// Sends packets, or a part of their bytes. False if the connection is of no use any more.
    async fn send(&mut self, packets: &[Packet], share: Option<u64>) -> bool {
        let mut outgoing = Outgoing::default();
        packets.iter().for_each(|packet| encode(packet, self.version, &mut outgoing));
        let bytes = outgoing.take_chunks().concat();
        let end = share.map_or(bytes.len(), |share| bytes.len() * usize::try_from(share).unwrap() / 100);
        let sending = timeout(Duration::from_secs(5), self.stream.write_all(&bytes[..end]));
        matches!(sending.await, Ok(Ok(()))) && share.is_none()
    }

    async fn read(&mut self, wait: Duration) -> Option<io::Result<usize>> {
        let mut bytes = [0; 256];
        let read = timeout(wait, self.stream.read(&mut bytes)).await.ok()?;
        Some(read.inspect(|length| self.decoder.buffer().extend_from_slice(&bytes[..*length])))
    }
}

/// Plays a client until the life ends.
async fn play(life: Rc<Life>, at: usize, mut chance: Chance) {
    let client = life.cast.clients[at].clone();
    let (number, name) = {
        let mut client = client.borrow_mut();
        life.with_ledger(|ledger| client.is_alone(ledger));
        (client.number, client.name.clone())
    };
    let mut line: Option<Line> = None;
    // An earlier connection that nobody listens to any more, and that still stands.
    let mut overtaken: Option<Line> = None;
    loop {
        let is_calm = life.is_calm.get();
        if life.cast.ledger.borrow().is_disk_failing {
            life.with_ledger(|ledger| client.borrow().is_late(ledger));
        }
        let wait = Duration::from_millis(if is_calm { 200 } else { 1 + chance.below(80) });
        let Some(open) = &mut line else {
            sleep(wait).await;
            let connect = life.with_ledger(|ledger| client.borrow_mut().connect(&mut chance, ledger));
            line = Some(life.open_line(&client.borrow(), &mut chance));
            life.note(&name, "connects");
            if let Some(line) = &mut line {
                line.send(&[connect], None).await;
            }
            continue;
        };
        let share = (!is_calm && chance.happens(15)).then(|| chance.below(100));
        let keeps = match open.read(wait).await {
            Some(Ok(1..)) if share.is_some() => false,
            Some(Ok(1..)) => {
                let mut answers = Vec::new();
                let mut keeps = true;
                while let Some(packet) = open.decoder.next().unwrap() {
                    if matches!(packet, Packet::ConnAck(_)) {
                        drop(overtaken.take());
                    }
                    match life.with_ledger(|ledger| client.borrow_mut().hear(packet, ledger)) {
                        Some(packets) => answers.extend(packets),
                        None => keeps = false,
                    }
                }
                open.send(&answers, None).await && keeps
            }
            Some(_) => false,
            None if !client.borrow().is_in => true,
            None if is_calm => {
                let due = std::mem::take(&mut client.borrow_mut().due);
                open.send(&due, None).await
            }
            None => match life.act(&client, number, &mut chance) {
                Act::Send(packets) => open.send(&packets, share).await,
                Act::Overtake => {
                    drop(std::mem::replace(&mut overtaken, line.take()));
                    false
                }
                Act::Leave(packets) => {
                    open.send(&packets, None).await;
                    false
                }
            },
        };
        if !keeps {
            life.note(&name, "is alone");
            life.with_ledger(|ledger| client.borrow_mut().is_alone(ledger));
            line = None;
        }
    }
}

/// Sees what is retained at the end.
async fn audit(life: &Rc<Life>, mut chance: Chance) {
    for (at, tenant) in TENANTS.into_iter().enumerate() {
        let number = life.cast.clients.len() + at;
        let mut auditor = Client::auditor(number, tenant);
        let connect = life.with_ledger(|ledger| auditor.connect(&mut Chance::new(0), ledger));
        let mut line = life.open_line(&auditor, &mut chance);
        line.send(&[connect, auditor.audit()], None).await;
        while let Some(Ok(1..)) = line.read(Duration::from_secs(2)).await {
            while let Some(packet) = line.decoder.next().unwrap() {
                life.with_ledger(|ledger| auditor.hear(packet, ledger));
            }
        }
        let clients = life.cast.clients.iter().map(|client| client.borrow());
        let of_it: Vec<_> = clients.filter(|client| client.tenant == tenant).map(|c| c.number).collect();
        life.with_ledger(|ledger| ledger.judge_retained(&of_it, number));
    }
}

enum Act {
    Send(Vec<Packet>),
    /// Connects anew while this connection still stands.
    Overtake,
    /// The last packets on this connection.
    Leave(Vec<Packet>),
}

impl Life {
    fn open_line(self: &Rc<Self>, client: &Client, chance: &mut Chance) -> Line {
        let (ours, theirs) = duplex(PIPE_BYTES);
        let cable = Cable::new(ours, chance.fork());
        let (surroundings, peer) = (self.surroundings.clone(), SocketAddr::from(([127, 0, 0, 1], 1)).into());
        let admitted = Box::new(admitted(&client.tenant, Kind::App, &client.name, Access::app()));
        let introduction = connection::introduce(cable, peer, admitted, surroundings);
        actix_rt::spawn(connection::serve(Box::pin(introduction), ()));
        Line { stream: theirs, decoder: Decoder::client(client.version), version: client.version }
    }

    /// What a client does when it has nothing to hear.
    fn act(&self, client: &RefCell<Client>, number: usize, chance: &mut Chance) -> Act {
        let mut held = self.held(false, number);
        let mut client = client.borrow_mut();
        if client.is_durable {
            held.0.push((number, client.tenant.clone(), client.held()));
        }
        self.with_ledger(|ledger| match chance.below(100) {
            0..60 => Act::Send(client.publish(&held, chance, ledger).into_iter().collect()),
            60..80 => Act::Send(vec![client.subscribe(chance, ledger)]),
            80..84 => Act::Send(vec![client.unsubscribe(chance, ledger)]),
            84..87 => Act::Leave(vec![client.disconnect()]),
            87..90 => Act::Leave(Vec::new()),
            91..93 => Act::Overtake,
            90 => {
                client.begin_anew(ledger);
                Act::Leave(Vec::new())
            }
            _ => Act::Send(Vec::new()),
        })
    }
}
