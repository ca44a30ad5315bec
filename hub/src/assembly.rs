//! The one place where the hub is wired: opens what is on disk, starts the tree of actors, hands each what it may
//! address, and takes it all down again.
//!
//! ```text
//!  main thread: listeners          arbiters, one per core: tenants, sessions, sockets
//!  registry ─ enrolment ─ telemetry, each on an arbiter of its own          committer thread
//! ```

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, thread::available_parallelism, time::Duration};

use actix::{Actor, Context};
use actix_rt::Arbiter;
use muster_actors::{Child, ExitSlot, Plan, SharedClock, SystemClock};
use muster_broker::{
    Bus, BusOptions, ReasonCode,
    limits::RECOVERY_TIME_MAX,
    store::{RootKey, Store, StoreError},
};
use muster_schemas::{Principal, TenantId, TrustDomain};
use muster_tpm::endorsement::{EndorsementRoots, InvalidRoots};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Notify,
};
use tracing::info;

use crate::{
    api::{Api, Https, Questions},
    attest::AttestingGate,
    authority::{PemFileError, Role, Signers, pem_certificates, revocation_lists},
    backup::{BackupFailure, Desk},
    causes::causes,
    config::Config,
    doors::{self, Behind, Doors},
    enroller::Enroller,
    enrolment::{self, EnrolmentActor, EnrolmentHandle, EnrolmentOptions, Policy},
    gate::RegistryGate,
    history::Readers,
    influx::{InfluxActor, InfluxOptions, Progress},
    keyring::{Keyring, KeyringError},
    limits::RELOAD_INTERVAL,
    memory,
    people::{ClientCertificate, Oidc, OidcError, Passwords, Providers, Sessions},
    pinned::{Peers, Pins},
    place::Place,
    publication::{Publication, Publisher, PublisherError, PublisherParts, TrustDesk},
    random,
    registry::{
        AttestSessions, Ended, RegistryActor, State, actor::RegistryOptions, message::ListTenants,
        odd::TellOdd, sensitive::SensitiveBoard,
    },
    root_key::{Opened, RootKeyError, RootSource},
    rules::{self, Known},
    screening::{Screens, watch},
    telemetry::{self, Announcements, Archive, RulesOf, Settle, TelemetryActor, TelemetryOptions},
    tls::{TlsConfigs, TlsError},
    witness::Witness,
};

/// Why a hub did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The keys could not be opened.
    #[error("open the hub's keys: {0}")]
    Keyring(#[from] KeyringError),
    /// There is no root key, or no other one.
    #[error("open the store with its root key: {0}")]
    RootKey(#[from] RootKeyError),
    /// The store could not be opened.
    #[error("open the store: {0}")]
    Store(#[from] StoreError),
    /// A file of TPM roots could not be read.
    #[error("read the TPM roots in {}: {source}", file.display())]
    TpmRootFile {
        /// The file.
        file: PathBuf,
        /// Why.
        source: PemFileError,
    },
    /// The TPM roots are not usable.
    #[error("use the TPM roots: {0}")]
    TpmRoots(#[from] InvalidRoots),
    /// The TLS configuration could not be made.
    #[error("configure TLS: {0}")]
    Tls(#[from] TlsError),
    /// An authority that a hub cannot do without is not there.
    #[error(
        "sign with the {0} authority: it is not there; restore the directory `authorities` from a backup"
    )]
    Authority(Role),
    /// What is revoked could not be published for the first time.
    #[error("publish what is revoked: {0}")]
    Publisher(#[from] PublisherError),
    /// An address could not be bound.
    #[error("listen on {address}: {why}; stop what uses it, or set another with listeners.{key}.{setting}")]
    Bind {
        /// The address or path.
        address: String,
        /// The configuration's section.
        key: &'static str,
        /// What in it names the address.
        setting: &'static str,
        /// Why. It is within the text, and so not told again as the cause.
        why: std::io::Error,
    },
    /// A listener leads to a tenant that is not there.
    #[error(
        "serve tenant {tenant}, which listeners.{key} names: there is no such tenant; take that section out, start the \
         hub, run `muster tenant create {tenant}`, put it back and start the hub again"
    )]
    NoTenant {
        /// The configuration's section.
        key: &'static str,
        /// The tenant.
        tenant: TenantId,
    },
    /// A listener without TLS leads to a tenant whose sessions have to attest.
    #[error(
        "let anybody in without TLS to tenant {tenant}, which listeners.{key} names: its sessions have to attest, and there \
         is nothing to bind that to; take that section out, start the hub, and put it back only after `muster tenant attest \
         --tenant {tenant} off`"
    )]
    Unattested {
        /// The configuration's section.
        key: &'static str,
        /// The tenant.
        tenant: TenantId,
    },
    /// The operating system refused something else.
    #[error("set up the process: {0}")]
    System(#[from] std::io::Error),
    /// The key that backups are signed with could not be derived.
    #[error("derive the key that signs backups: {0}")]
    Backup(#[from] BackupFailure),
    /// The issuers of bearer tokens are not usable.
    #[error("trust the issuers of bearer tokens: {0}")]
    Oidc(#[from] OidcError),
    /// An actor that everything rests on did not start.
    #[error("start the {0}; the log above says why")]
    Actor(&'static str),
}

/// Runs the hub until it is told to stop (SIGTERM, SIGINT). With `trust_clock`, a clock that is behind the time that the hub
/// knew before is taken for right.
///
/// # Errors
/// What kept it from starting.
pub fn serve(config: Config, trust_clock: bool) -> Result<(), ServeError> {
    let clock: SharedClock = SystemClock::shared();
    let keyring = Keyring::open(&config, clock.unix_ms() / 1_000)?;
    memory::keep();
    let opened = RootSource::new(&config).open()?;
    let store = opened.store.clone();
    let outcome = actix_rt::System::new().block_on(run(&config, keyring, opened, (clock, trust_clock)));
    // Last: what was acknowledged is on disk already, what was not is answered as closed.
    store.close();
    outcome
}

async fn run(
    config: &Config,
    keyring: Keyring,
    opened: Opened,
    (clock, trust_clock): (SharedClock, bool),
) -> Result<(), ServeError> {
    let Opened { store, next: next_root } = opened;
    let store = &store;
    let signers = Signers::new(&keyring.authorities);
    let signer = |role| signers.of(role).cloned().ok_or(ServeError::Authority(role));
    let (device, client) = (signer(Role::Device)?, signer(Role::Client)?);
    let (pins, known) = (Pins::default(), Known::default());
    let trust = Arc::new(Peers::new(keyring.trust.clone(), pins.clone()));
    let witness = Witness::new(clock.clone());
    let tls = TlsConfigs::new(&trust, &witness, &keyring.server, &[])?;
    let doors = Doors::bind(config)?;

    let screens = Screens::new(config.telemetry_bounds.clone(), clock.clone());
    let telemetry = Place::new();
    let announcements = Announcements::default();
    let bus = Arc::new(Bus::start(BusOptions {
        store: store.clone(),
        durable: vec![telemetry::durable_filter()],
        log_grew: announcements.bell(telemetry.clone()),
        sieves: rules::sieves(known.clone()),
        arbiters: available_parallelism().map_or(1, Into::into),
        quotas: config.quotas.clone(),
        connections_max: config.limits.connections_max,
        packet_bytes_max: config.limits.packet_bytes_max,
        screening: Some(Arc::new(screens.clone())),
        sys_interval: (config.bus.sys_interval_s > 0).then(|| Duration::from_secs(config.bus.sys_interval_s)),
        clock: clock.clone(),
    }));
    tell_denials(&known, &bus);
    let sensitive = SensitiveBoard::default();
    let registry = {
        let options = RegistryOptions {
            store: store.clone(),
            clock: clock.clone(),
            trust_clock,
            trust_domain: trust.trust_domain().clone(),
            ended: closer(&bus, trust.trust_domain().clone()),
            random: Arc::new(random::system),
            pins,
            known: known.clone(),
            sensitive: sensitive.clone(),
        };
        let registry = Place::new();
        start(&Arbiter::new(), &registry, "registry", Plan::PARK, move |exit| {
            RegistryActor::new(&options, exit)
        });
        registry
    };
    put_keys_in_place(config, &registry, store, next_root, clock.unix_ms() / 1_000).await?;
    let tenants = serve_tenants(&registry, store, (&bus, &screens)).await?;
    watch_rates(&screens, &registry, &clock);
    for (key, tenant) in config.listeners.tenants() {
        match tenants.get(tenant) {
            None => return Err(ServeError::NoTenant { key, tenant: tenant.clone() }),
            Some(AttestSessions::Required) => {
                return Err(ServeError::Unattested { key, tenant: tenant.clone() });
            }
            Some(AttestSessions::Off) => {}
        }
    }
    let influx = Progress::default();
    let rules_of: RulesOf = Arc::new(move |tenant| sensitive.rules(tenant));
    let archive = Archive::with_rules(store.clone(), rules_of.clone());
    if let Some(options) = InfluxOptions::of(config, store, &bus, rules_of, &influx, &clock) {
        // Before anybody trims a log.
        options.keep_logs();
        let factory = move |_| InfluxActor::new(options.clone());
        start(&Arbiter::new(), &Place::new(), "influx", Plan::PARK, factory);
    }
    let harvested = telemetry::Counters::default();
    {
        let served = bus.clone();
        let options = TelemetryOptions {
            store: store.clone(),
            tenants: Arc::new(move || {
                served.tenant_counters().into_iter().map(|(tenant, _)| tenant).collect()
            }),
            needed_from: {
                let (bus, influx) = (bus.clone(), influx.clone());
                Arc::new(move |tenant| bus.log_needed_from(tenant).min(influx.needed_from(tenant)))
            },
            bounds: config.telemetry_bounds.clone(),
            archive: archive.clone(),
            attributes: rules::attributes(known.clone()),
            today: {
                let clock = clock.clone();
                Arc::new(move || i64::try_from(clock.unix_ms() / 86_400_000).unwrap_or(i64::MAX))
            },
            announcements,
            counters: harvested.clone(),
        };
        let factory = move |_| TelemetryActor::new(options.clone());
        start(&Arbiter::new(), &telemetry, "telemetry", Plan::PARK, factory);
    }

    let device = Arc::new(device);
    let enrolments = enrolment::Counters::default();
    let enrolment = {
        let policy = Policy {
            roots: Arc::new(tpm_roots(config)?),
            authority: device.clone(),
            certificate_life_s: config.certificates.device_validity_s,
            mqtt_endpoint: String::new(),
        };
        let (registry, sessions) = (registry.clone(), bus.clone());
        let options = EnrolmentOptions {
            policy,
            registry: Arc::new(move || registry.address().map(Into::into)),
            clock: clock.clone(),
            random: Arc::new(random::system),
            counters: enrolments.clone(),
            witness: witness.clone(),
            revoked: Arc::new(move |device| {
                let reason = "another certificate took the place of this session's; connect with it";
                sessions.close_sessions(device, ReasonCode::NotAuthorized, reason);
            }),
        };
        let enrolment = Place::new();
        start(&Arbiter::new(), &enrolment, "enrolment", Plan::PARK, move |_| {
            EnrolmentActor::new(options.clone())
        });
        enrolment
    };
    let publication = Publication::default();
    let backups = Desk::new(config.clone(), store.clone())?;
    let mut publisher = Publisher::new(PublisherParts {
        config: config.clone(),
        trust: trust.clone(),
        witness: witness.clone(),
        keyring,
        signers: signers.clone(),
        tls: tls.clone(),
        publication: publication.clone(),
        registry: registry.clone(),
        clock: clock.clone(),
    });
    publisher.first().await?;
    let reread = Arc::new(Notify::new());
    actix_rt::spawn(publisher.run(Arc::clone(&reread)));
    let gate = RegistryGate::new(registry.clone(), trust.clone(), clock.clone(), witness.clone());
    let gate = AttestingGate::new(gate, registry.clone());
    let enroller = {
        let enrolment = enrolment.clone();
        let desk =
            EnrolmentHandle::new(move || enrolment.address().map(|a| a.recipient()), enrolments.clone());
        Enroller::new(desk, trust.clone(), tls.enrolment.clone())
    };
    let oidc = Arc::new(Oidc::new(trust.trust_domain().clone(), config.oidc.clone())?);
    let sessions = Sessions::new().ok_or_else(|| std::io::Error::other("the random generator failed"))?;
    let sessions = Arc::new(sessions);
    let passwords = Passwords::new(registry.clone(), trust.trust_domain().clone(), clock.clone());
    let passwords = Arc::new(passwords);
    let desk = TrustDesk::new(publication.clone(), tls.enrolment.clone());
    let storing = telemetry.clone();
    let api = Arc::new(Api {
        registry,
        telemetry,
        archive,
        readers: Readers::default(),
        bus: bus.clone(),
        store: store.clone(),
        root_source: RootSource::new(config),
        client_authority: Arc::new(client),
        device_authority: device,
        device_life_s: config.certificates.device_validity_s,
        providers: Providers::new(vec![Arc::new(ClientCertificate), sessions.clone(), oidc.clone()]),
        sessions,
        relying_party: config.webauthn.clone(),
        trust,
        publication,
        signers,
        enrolment: enrolments,
        harvested,
        influx_server: config.influx.as_ref().map(|influx| influx.server.clone()),
        influx,
        screens,
        witness,
        known,
        plain_tenants: config.listeners.tenants().map(|(_, tenant)| tenant.clone()).collect(),
        backups,
        clock,
    });
    bus.answer_questions(Arc::new(Questions::new(api.clone())));
    let (gate, wss) = (Arc::new(gate), config.listeners.mqtt_wss.as_ref());
    let origins = wss.map(|wss| wss.origins.clone()).unwrap_or_default();
    let behind = Behind {
        mqtt_tls: vec![
            bus.mqtt_with_passwords(gate.clone(), passwords, tls.mqtt),
            Arc::new(enroller),
            Arc::new(desk),
        ],
        mqtt_wss: vec![bus.mqtt_over_websocket(gate, tls.wss, origins)],
        https: vec![Arc::new(Https::new(api, tls.https))],
    };
    for tenant in bus.recovered(RECOVERY_TIME_MAX).await {
        tracing::warn!(%tenant, "the tenant still recovers; its clients wait, and nobody else");
    }
    let listening = doors.open(config, &bus, behind);

    until_told_to_stop(&reread, &oidc, store).await?;
    info!("shutting down");
    for listener in listening {
        listener.stop().await;
    }
    doors::close(config);
    bus.close_all().await;
    if let Some(storing) = storing.address() {
        // Only so that the next start has less of the logs to read again.
        let settle = Settle { tenant: None };
        let _ = actix_rt::time::timeout(telemetry::limits::SETTLE_TIME_MAX, storing.send(settle)).await;
    }
    Ok(())
}

/// Tells tenants' audit trails what rules kept from whom.
fn tell_denials(known: &Known, bus: &Arc<Bus>) {
    // The bus asks the rules as well, and neither keeps the other alive.
    let bus = Arc::downgrade(bus);
    known.tell_denials(Box::new(move |tenant, who, topic, reason| {
        if let Some(bus) = bus.upgrade() {
            bus.note_kept_back(tenant, who, topic, reason);
        }
    }));
}

/// Closes the sessions that have lost what they rest on.
fn closer(bus: &Arc<Bus>, trust_domain: TrustDomain) -> Arc<dyn Fn(&Ended) + Send + Sync> {
    let bus = bus.clone();
    Arc::new(move |Ended { tenant, whom, reason }| match whom {
        Some((kind, id)) => {
            let (trust_domain, tenant) = (trust_domain.clone(), tenant.clone());
            let principal = Principal { trust_domain, tenant, kind: *kind, id: id.clone() };
            bus.close_sessions(&principal, ReasonCode::NotAuthorized, reason);
        }
        None => {
            bus.bar_tenant(tenant, true);
            bus.close_tenant(tenant, ReasonCode::NotAuthorized, reason);
        }
    })
}

/// Starts a supervised actor on an arbiter, and keeps its place told.
fn start<A>(
    arbiter: &Arbiter,
    place: &Place<A>,
    name: &'static str,
    plan: Plan,
    factory: impl FnMut(ExitSlot) -> A + Send + 'static,
) where
    A: Actor<Context = Context<A>>,
{
    let place = place.clone();
    arbiter.spawn_fn(move || {
        let child = Child::new(name, plan, factory)
            .on_started(move |address| place.take(address))
            .on_exit(move |report| tracing::error!(name, exit = %report.exit, "an actor ended"));
        let supervised = child.start();
        // It lives as long as its arbiter.
        actix_rt::spawn(async move {
            let _supervised = supervised;
            std::future::pending::<()>().await;
        });
    });
}

/// Puts the root key in place that is to follow the one that opened the store, and asks for the own keys of those tenants
/// that let the hub ask.
async fn put_keys_in_place(
    config: &Config,
    registry: &Place<RegistryActor>,
    store: &Store,
    next_root: Option<RootKey>,
    now_s: u64,
) -> Result<(), ServeError> {
    let registry = registry.started().await.ok_or(ServeError::Actor("registry"))?;
    let tenants = registry.send(ListTenants).await.map_err(|_| ServeError::Actor("registry"))?;
    if let Some(next) = next_root {
        let names: Vec<_> = tenants.iter().map(|tenant| tenant.id.clone()).collect();
        let status = RootSource::new(config).settle(store, &next, &names, now_s)?;
        tracing::warn!(
            generation = status.generation,
            "the storage root key was replaced by what a program gives"
        );
    }
    for (tenant, command) in &config.key_commands.own_keys {
        let is_missing = store.tenant(tenant)?.is_some_and(|keys| keys.is_withdrawn());
        if !is_missing {
            continue;
        }
        let brought = match command.run() {
            Ok(key) => store.bring_key(tenant, key, false, now_s).map_err(|error| causes(&error)),
            Err(error) => Err(causes(&error)),
        };
        if let Err(why) = brought {
            let next = "give it with `muster key bring`";
            tracing::error!(%tenant, why, next, "the tenant is not served: its own key was not to be had");
        }
    }
    Ok(())
}

/// Lets the bus serve every tenant that the registry has, and says which, and what each demands of its sessions.
async fn serve_tenants(
    registry: &Place<RegistryActor>,
    store: &Store,
    (bus, screens): (&Bus, &Screens),
) -> Result<BTreeMap<TenantId, AttestSessions>, ServeError> {
    let registry = registry.started().await.ok_or(ServeError::Actor("registry"))?;
    let tenants = registry.send(ListTenants).await.map_err(|_| ServeError::Actor("registry"))?;
    for tenant in &tenants {
        if tenant.state == State::Retired {
            continue;
        }
        if let Err(error) = screens.set(&tenant.id, tenant.schema()) {
            tracing::error!(tenant = %tenant.id, %error, "the telemetry schema is not one of this version; none holds");
        }
        let keys = store.tenant(&tenant.id)?;
        let served = keys.map(|keys| bus.add_tenant(keys));
        if !matches!(served, Some(Ok(()))) {
            tracing::error!(tenant = %tenant.id, "the tenant is not served: its keys are missing, or the hub is full");
        }
        bus.bar_tenant(&tenant.id, tenant.state != State::Active);
    }
    Ok(tenants.into_iter().map(|tenant| (tenant.id, tenant.attest_sessions)).collect())
}

/// Watches how much devices say, beside everything else, and lets the registry make alarms of what is odd.
fn watch_rates(screens: &Screens, registry: &Place<RegistryActor>, clock: &SharedClock) {
    let registry = registry.clone();
    actix_rt::spawn(watch(screens.clone(), clock.clone(), move |odd| {
        // One message in ten seconds; a registry that is full or away misses it, and the next silence is told again.
        if let Some(registry) = registry.address()
            && registry.try_send(TellOdd(odd)).is_err()
        {
            tracing::warn!("the registry was not told of odd devices");
        }
    }));
}

/// Waits for SIGTERM or SIGINT. On SIGHUP, and once a day by itself, keys and certificates are read anew: another
/// generation of an authority is taken into use, and the hub's own certificate is issued anew when it is in the last third
/// of its life; and the keys of issuers are read anew.
async fn until_told_to_stop(reread: &Notify, oidc: &Oidc, store: &Store) -> Result<(), ServeError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut daily = tokio::time::interval(RELOAD_INTERVAL);
    daily.tick().await;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => {}
            _ = daily.tick() => store.rotate_all_data_keys(),
        }
        if let Err(error) = oidc.reload() {
            tracing::error!(%error, "failed to read the keys of issuers anew; the old ones stay");
        }
        reread.notify_one();
    }
}

fn tpm_roots(config: &Config) -> Result<EndorsementRoots, ServeError> {
    let mut roots = Vec::new();
    for root in &config.tpm_roots {
        let certificates = pem_certificates(&root.file)
            .map_err(|source| ServeError::TpmRootFile { file: root.file.clone(), source })?;
        roots.extend(certificates.into_iter().map(|der| (der.as_ref().to_vec(), root.class)));
    }
    let mut lists = Vec::new();
    for file in &config.tpm_crls {
        let read = revocation_lists(file);
        lists.extend(read.map_err(|source| ServeError::TpmRootFile { file: file.clone(), source })?);
    }
    Ok(EndorsementRoots::new(roots)?.with_revocation_lists(lists)?)
}
