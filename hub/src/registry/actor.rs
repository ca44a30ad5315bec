//! The actor around the registry: carries out its writes, and answers once they are durable.

use std::{future::ready, sync::Arc};

use actix::{
    Actor, ActorFutureExt as _, AsyncContext as _, Context, Handler, MessageResult, ResponseFuture,
    WrapFuture as _,
};
use muster_actors::{ExitSlot, SharedClock};
use muster_broker::store::{Commit, CommitError, Sealer, Store, StoreError, Table, Unsealable, Write};
use muster_schemas::{DeviceId, TenantId, TrustDomain};
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::{
    alarm::Alarm,
    core::{Effect, Registry},
    lending::{self, Lending},
    life::Ended,
    limits::{CLOCK_LOOK_TIME, MAILBOX_MESSAGES_MAX},
    message::{
        Admit, AdmitReason, AdmitRefusal, Admitted, CreateClaim, CreateTenant, CreatedClaim, Enrol, Enrolled,
        FindOwner, ListDevices, ListTenants, OwnerRefusal, Ownership, Refusal, RegisterClient, Renewed,
        ShowDevice,
    },
    row::{Client, Device, MalformedRow, Row, State, Tenant},
    sensitive::SensitiveBoard,
};
use crate::{
    pinned::Pins,
    random::{self, Random},
    rules::Known,
};

/// The table of the registry.
const TABLE: &str = "registry";

/// Why the rows could not be loaded or written.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The store cannot be read.
    #[error("read the table of the registry")]
    Store(#[from] StoreError),
    /// Keys could not be lent, or taken back.
    #[error("lend the keys of one tenant to another, or take them back: {0}")]
    Lending(#[source] StoreError),
    /// A row was changed on the disk, or its key is lost.
    #[error("open a row of the registry")]
    Sealed(#[from] Unsealable),
    /// A row is of another version.
    #[error(transparent)]
    Row(#[from] MalformedRow),
    /// The rows could not be stored.
    #[error("write to the table of the registry")]
    Commit(#[from] CommitError),
}

/// What the actor is made of; a restart makes a new one of the same.
#[derive(Clone)]
pub struct RegistryOptions {
    /// Where the rows are.
    pub store: Store,
    /// What the time is.
    pub clock: SharedClock,
    /// Whether the clock is right although it may be behind the time that was known before.
    pub trust_clock: bool,
    /// The installation that it is the registry of.
    pub trust_domain: TrustDomain,
    /// Called when sessions have lost what they rest on, once that is durable. It sends messages and returns.
    pub ended: Arc<dyn Fn(&Ended) + Send + Sync>,
    /// Where claim codes come from: one generator for each life of the actor.
    pub random: Arc<dyn Fn() -> Random + Send + Sync>,
    /// Where the TLS listeners read which foreign certificates are pinned.
    pub pins: Pins,
    /// Where access rules are read.
    pub known: Known,
    /// Where whoever seals reads what the tenants say of their sensitive fields.
    pub sensitive: SensitiveBoard,
}

/// The rows as the store keeps them.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    store: Store,
    table: Table,
    sealer: Sealer,
}

/// The single writer of the registry.
pub struct RegistryActor {
    pub(super) store: Store,
    clock: SharedClock,
    random: Random,
    pins: Pins,
    pub(super) known: Known,
    sensitive: SensitiveBoard,
    trust_clock: bool,
    trust_domain: TrustDomain,
    ended: Arc<dyn Fn(&Ended) + Send + Sync>,
    slot: ExitSlot,
    rows: Option<Rows>,
    pub(super) core: Registry,
    /// Commits on their way.
    in_flight: usize,
    /// Who lends data keys to whom, as it was when last seen to. None if a part of it is still to be seen to.
    pub(super) lending: Option<Lending>,
    /// A commit was refused, so the rows in memory are ahead of those on the disk: nothing is changed until the
    /// commits on their way have come back and the rows are loaded anew.
    ahead: bool,
}

impl RegistryActor {
    /// An actor that loads its rows when it starts.
    pub fn new(options: &RegistryOptions, slot: ExitSlot) -> Self {
        Self {
            store: options.store.clone(),
            clock: options.clock.clone(),
            random: (options.random)(),
            pins: options.pins.clone(),
            known: options.known.clone(),
            sensitive: options.sensitive.clone(),
            trust_clock: options.trust_clock,
            trust_domain: options.trust_domain.clone(),
            ended: options.ended.clone(),
            slot,
            rows: None,
            core: Registry::default(),
            in_flight: 0,
            lending: None,
            ahead: false,
        }
    }

    /// What is known, to be read.
    pub(super) fn core(&self) -> &Registry {
        &self.core
    }

    /// The time, which never goes back.
    pub(super) fn now_s(&mut self) -> u64 {
        self.core.time(self.clock.unix_ms() / 1_000)
    }

    fn load(&mut self) -> Result<(), RegistryError> {
        let rows = Rows::open(&self.store)?;
        self.core = Registry::load(rows.load()?).of(self.trust_domain.clone());
        self.tell_pins();
        self.tell_all_rules();
        self.tell_sensitive();
        self.rows = Some(rows);
        self.ahead = false;
        self.lending = None;
        Ok(())
    }

    /// Tells the TLS listeners which foreign certificates are pinned. They let these shake hands; whether a peer may act
    /// is asked here afterwards.
    pub(super) fn tell_pins(&self) {
        self.pins.replace(self.core.pins());
    }

    /// Tells whoever seals what the tenants say of their sensitive fields.
    pub(super) fn tell_sensitive(&self) {
        self.sensitive.replace(&self.core.sensitive);
    }

    /// What the time is, Unix seconds, if the rows are loaded.
    pub(super) fn loaded_now_s(&mut self) -> Option<u64> {
        let is_loaded = self.rows.is_some();
        is_loaded.then(|| self.now_s())
    }

    /// Lets the core decide, and answers once what it changed is durable: also when it refuses and keeps why.
    pub(super) fn change<T: 'static, E: 'static>(
        &mut self,
        ctx: &mut Context<Self>,
        unavailable: fn(Refusal) -> E,
        decide: impl FnOnce(&mut Registry, u64, &mut Vec<Effect>) -> Result<T, E>,
    ) -> ResponseFuture<Result<T, E>> {
        if self.ahead {
            let refusal = Refusal::Unavailable("it recovers from a failed write; try again".to_owned());
            return Box::pin(ready(Err(unavailable(refusal))));
        }
        let mut effects = Vec::new();
        let now_s = self.now_s();
        let decided = decide(&mut self.core, now_s, &mut effects);
        if effects.is_empty() {
            return Box::pin(ready(decided));
        }
        let stored = self.commit(effects, ctx);
        Box::pin(async move {
            let outcome = stored.map_err(unavailable)?.await.unwrap_or(Err(CommitError::Closed));
            outcome.map_err(|error| unavailable(Refusal::Unavailable(error.to_string())))?;
            decided
        })
    }

    fn commit(
        &mut self,
        mut effects: Vec<Effect>,
        ctx: &mut Context<Self>,
    ) -> Result<oneshot::Receiver<Result<(), CommitError>>, Refusal> {
        let ending: Vec<_> = effects
            .extract_if(.., |effect| matches!(effect, Effect::End(_)))
            .filter_map(|effect| if let Effect::End(ended) = effect { Some(ended) } else { None })
            .collect();
        let close = self.ended.clone();
        let writes = self.writes(effects).map_err(|error| {
            // The core has made the change and it will not be stored: as after a refused commit.
            self.ahead = true;
            self.reload_when_quiet(ctx);
            Refusal::Unavailable(error.to_string())
        })?;
        let (answer, stored) = oneshot::channel();
        let (report, reported) = oneshot::channel();
        let done = Box::new(move |outcome: Result<(), CommitError>| {
            if outcome.is_ok() {
                ending.iter().for_each(|ended| close(ended));
            }
            let _ = report.send(outcome.is_ok());
            let _ = answer.send(outcome);
        });
        self.in_flight += 1;
        self.store.commit(Commit { writes, fence: None, permit: None, done });
        ctx.spawn(reported.into_actor(self).map(|outcome, actor, ctx| {
            actor.in_flight -= 1;
            actor.ahead |= !outcome.unwrap_or(false);
            actor.reload_when_quiet(ctx);
        }));
        Ok(stored)
    }

    fn writes(&self, effects: Vec<Effect>) -> Result<Vec<Write>, RegistryError> {
        let Some(rows) = &self.rows else { return Err(CommitError::Closed.into()) };
        let mut writes = Vec::with_capacity(effects.len());
        for effect in effects {
            match effect {
                // The key comes first and may stay behind without its row: creating the tenant again finds it.
                Effect::CreateTenantKey(tenant) => match self.store.create_tenant(&tenant) {
                    Ok(_) | Err(StoreError::TenantExists(_)) => {}
                    Err(error) => return Err(error.into()),
                },
                Effect::Lend(lender, borrower) => {
                    lending::lend(&self.store, &lender, &borrower).map_err(RegistryError::Lending)?
                }
                Effect::Unlend(lender, borrower) => {
                    lending::unlend(&self.store, &lender, &borrower).map_err(RegistryError::Lending)?
                }
                Effect::Tell(alarm) => told(&alarm),
                // Not for the store: taken out before.
                Effect::End(_) => {}
                Effect::Put(row) => writes.push(rows.put(&row)?),
                Effect::Delete(key) => {
                    writes.push(Write::Delete { table: rows.table.clone(), key: rows.key(&key) });
                }
            }
        }
        Ok(writes)
    }

    /// Looks at the clock, and at what has ended and need not be kept.
    fn keep_time(&mut self, ctx: &mut Context<Self>) {
        let clock_s = self.clock.unix_ms() / 1_000;
        self.note(ctx, |core, effects| {
            core.keep_time(clock_s, effects);
            let now_s = core.time(clock_s);
            core.forget_ended_revocations(now_s, effects);
        });
        self.forget_ended_grants(ctx);
        self.settle_lending();
    }

    /// Writes down what nobody waits for.
    pub(super) fn note(
        &mut self,
        ctx: &mut Context<Self>,
        change: impl FnOnce(&mut Registry, &mut Vec<Effect>),
    ) {
        let mut effects = Vec::new();
        change(&mut self.core, &mut effects);
        if !effects.is_empty()
            && !self.ahead
            && let Err(refusal) = self.commit(effects, ctx)
        {
            warn!(%refusal, "failed to write what was noted");
        }
    }

    fn reload_when_quiet(&mut self, ctx: &mut Context<Self>) {
        if !self.ahead || self.in_flight > 0 {
            return;
        }
        warn!("the store refused a change of the registry; its rows are loaded anew");
        if let Err(error) = self.load() {
            self.slot.fail(ctx, error);
        }
    }
}

impl Rows {
    pub(super) fn open(store: &Store) -> Result<Self, RegistryError> {
        Ok(Self { store: store.clone(), table: store.table(TABLE)?, sealer: store.platform() })
    }

    fn load(&self) -> Result<Vec<Row>, RegistryError> {
        let mut rows = Vec::new();
        self.each(|_, row| {
            rows.push(row);
            Ok(())
        })?;
        Ok(rows)
    }

    /// Gives every row, with its key as it stands on the disk.
    pub(super) fn each(
        &self,
        mut take: impl FnMut(Vec<u8>, Row) -> Result<(), RegistryError>,
    ) -> Result<(), RegistryError> {
        for row in self.table.prefix(b"") {
            let (key, sealed) = row?;
            let row = Row::decode(&self.sealer.open(&key, &sealed)?)?;
            take(key, row)?;
        }
        Ok(())
    }

    /// Whether there is a row of the same key.
    pub(super) fn has(&self, row: &Row) -> Result<bool, RegistryError> {
        Ok(self.table.get(&self.key(&row.key()))?.is_some())
    }

    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    /// A row's key as it stands on the disk, where no tenant's or device's name is to be read.
    fn key(&self, key: &[u8]) -> Vec<u8> {
        self.store.platform_blind(&[TABLE.as_bytes(), key]).to_vec()
    }

    pub(super) fn put(&self, row: &Row) -> Result<Write, RegistryError> {
        let key = self.key(&row.key());
        let value = self.sealer.seal(&key, &row.encode()?);
        Ok(Write::Put { table: self.table.clone(), key, value })
    }
}

/// An alarm reaches who reads the log at once; the row is for who looks later.
fn told(alarm: &Alarm) {
    let Alarm { number, tenant, device, kind, detail, times, .. } = alarm;
    let tenant = tenant.as_ref().map_or("-", TenantId::as_str);
    let device = device.as_ref().map_or("-", DeviceId::as_str);
    warn!(alarm = number, tenant, device, %kind, times, "ALARM: {detail}");
}

/// Registers clients in a store that no registry has open: the first operator, at `muster init`. Blocks.
///
/// # Errors
/// The store does not take them.
pub fn register_first(store: &Store, clients: Vec<Client>) -> Result<(), RegistryError> {
    let rows = Rows::open(store)?;
    let writes = clients.into_iter().map(|client| rows.put(&Row::Client(client)));
    let writes = writes.collect::<Result<Vec<_>, _>>()?;
    Ok(store.commit_blocking(writes)?)
}

impl Actor for RegistryActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX_MESSAGES_MAX);
        // Commits of an earlier life may still be on their way; an empty one behind them says when they have settled.
        let loaded = self.store.commit_blocking(Vec::new()).map_err(RegistryError::from);
        match loaded.and_then(|()| self.load()) {
            Ok(()) => {
                let (tenants, devices) = self.core.counts();
                info!(tenants, devices, "registry loaded");
                if self.trust_clock {
                    let clock_s = self.clock.unix_ms() / 1_000;
                    self.note(ctx, |core, effects| core.trust_clock(clock_s, effects));
                }
                self.keep_time(ctx);
                ctx.run_interval(CLOCK_LOOK_TIME, Self::keep_time);
            }
            Err(error) => self.slot.fail(ctx, error),
        }
    }
}

impl Handler<CreateTenant> for RegistryActor {
    type Result = ResponseFuture<Result<Tenant, Refusal>>;

    fn handle(&mut self, command: CreateTenant, ctx: &mut Context<Self>) -> Self::Result {
        self.change(
            ctx,
            |refusal| refusal,
            |core, now_s, effects| core.create_tenant(now_s, command, effects),
        )
    }
}

impl Handler<CreateClaim> for RegistryActor {
    type Result = ResponseFuture<Result<CreatedClaim, Refusal>>;

    fn handle(&mut self, command: CreateClaim, ctx: &mut Context<Self>) -> Self::Result {
        let bits = random::array(&mut self.random);
        self.change(
            ctx,
            |refusal| refusal,
            |core, now_s, effects| core.create_claim(now_s, command, bits, effects),
        )
    }
}

impl Handler<RegisterClient> for RegistryActor {
    type Result = ResponseFuture<Result<Client, Refusal>>;

    fn handle(&mut self, command: RegisterClient, ctx: &mut Context<Self>) -> Self::Result {
        self.change(ctx, |refusal| refusal, |core, _, effects| core.register_client(command, effects))
    }
}

impl Handler<Enrol> for RegistryActor {
    type Result = ResponseFuture<Result<Enrolled, OwnerRefusal>>;

    fn handle(&mut self, command: Enrol, ctx: &mut Context<Self>) -> Self::Result {
        self.change(ctx, OwnerRefusal::Unavailable, |core, now_s, effects| {
            core.enrol(now_s, command, effects)
        })
    }
}

impl Handler<Renewed> for RegistryActor {
    type Result = ResponseFuture<Result<Device, Refusal>>;

    fn handle(&mut self, command: Renewed, ctx: &mut Context<Self>) -> Self::Result {
        self.change(ctx, |refusal| refusal, |core, now_s, effects| core.renewed(now_s, command, effects))
    }
}

impl Handler<Admit> for RegistryActor {
    type Result = Result<Admitted, AdmitRefusal>;

    /// The answer does not wait: that the certificate before has ended is written behind, and should the write be lost,
    /// the next connection ends it again.
    fn handle(&mut self, command: Admit, ctx: &mut Context<Self>) -> Self::Result {
        if self.rows.is_none() {
            return Err(AdmitRefusal { reason: AdmitReason::Unavailable });
        }
        let now_s = self.now_s();
        let mut admitted = Err(AdmitRefusal { reason: AdmitReason::Unavailable });
        self.note(ctx, |core, effects| admitted = core.admit(now_s, command, effects));
        admitted
    }
}

impl Handler<FindOwner> for RegistryActor {
    type Result = Result<Ownership, OwnerRefusal>;

    /// The answer does not wait for the alarm of a barred chip: the chip stays barred without it.
    fn handle(&mut self, command: FindOwner, ctx: &mut Context<Self>) -> Self::Result {
        let now_s = self.now_s();
        let found = self.core.find_owner(now_s, &command);
        if let Err(OwnerRefusal::DeviceNotActive(State::Revoked | State::Retired)) = &found {
            self.note(ctx, |core, effects| core.note_barred(now_s, &command.device, effects));
        }
        found
    }
}

impl Handler<ListTenants> for RegistryActor {
    type Result = MessageResult<ListTenants>;

    fn handle(&mut self, _: ListTenants, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.core.list_tenants())
    }
}

impl Handler<ListDevices> for RegistryActor {
    type Result = Result<Vec<Device>, Refusal>;

    fn handle(&mut self, command: ListDevices, _: &mut Context<Self>) -> Self::Result {
        self.core.list_devices(&command)
    }
}

impl Handler<ShowDevice> for RegistryActor {
    type Result = Result<Device, Refusal>;

    fn handle(&mut self, command: ShowDevice, _: &mut Context<Self>) -> Self::Result {
        self.core.show_device(&command)
    }
}

#[cfg(test)]
#[path = "actor_tests.rs"]
mod tests;
