use muster_actors::{Child, Plan, Supervised, world};
use muster_broker::store::{RootKey, StoreOptions};
use tempfile::TempDir;

use super::*;
use crate::{
    authority::{Leaf, Role, Serial},
    registry::{
        admissions::row::Registers,
        message::{AdmitReason, Shown},
        row::{Certificate, ClaimCode, ClientKind, State},
    },
};
use muster_tpm::endorsement::TpmClass;

fn open(directory: &TempDir) -> Store {
    let options = StoreOptions { disk_free_bytes_min: 0 };
    Store::open(directory.path(), RootKey::from_bytes([7; 32]), options).expect("opens")
}

fn start(store: &Store) -> Supervised<RegistryActor> {
    let options = RegistryOptions {
        store: store.clone(),
        clock: world::clock(),
        trust_clock: false,
        trust_domain: "muster.example".parse().expect("domain"),
        ended: Arc::new(|_| {}),
        random: Arc::new(random::counting),
        known: Default::default(),
        pins: Pins::default(),
        sensitive: Default::default(),
    };
    Child::new("registry", Plan::NO_RESTART, move |slot| RegistryActor::new(&options, slot)).start()
}

fn certificate(number: u8) -> Certificate {
    Certificate { serial: Serial::from([number; 16]), spki_sha256: [number; 32], not_after_s: u64::MAX }
}

fn leaf(uri: &str, number: u8) -> Leaf {
    Leaf {
        principal: uri.parse().expect("uri"),
        serial: Serial::from([number; 16]),
        spki_sha256: [number; 32],
        not_before_s: 0,
        not_after_s: u64::MAX,
        authority: Role::Device,
        server_names: Vec::new(),
    }
}

fn enrol(code: &ClaimCode) -> Enrol {
    Enrol {
        chip: FindOwner {
            ek_hash: [1; 32],
            device: "pump-7".parse().expect("id"),
            class: Some(TpmClass::Simulated),
            model: "pump".to_owned(),
            claim: Some(code.to_string()),
            shown: Shown::default(),
        },
        tenant: "acme".parse().expect("id"),
        ak_public: vec![1],
        ak_name: vec![2],
        certificate: certificate(5),
        reset_count: 1,
        clock_ms: 2,
        agent_version: "0.1.0".to_owned(),
        quote: crate::registry::life::QuoteFacts::default(),
        measured: Registers::default(),
    }
}

fn create_tenant() -> CreateTenant {
    CreateTenant { tenant: "acme".parse().expect("id"), accept_simulated_tpms: true }
}

#[test]
fn what_was_answered_is_known_after_a_restart() {
    let directory = TempDir::new().expect("directory");
    let code = actix::System::new().block_on(async {
        let store = open(&directory);
        let registry = start(&store);
        let address = registry.address().expect("runs");
        address.send(create_tenant()).await.expect("alive").expect("created");
        let create = CreateClaim {
            tenant: "acme".parse().expect("id"),
            model: None,
            expires_in_s: 3_600,
            approve: false,
        };
        let created = address.send(create).await.expect("alive").expect("created");
        address.send(enrol(&created.code)).await.expect("alive").expect("enrolled");
        registry.stop().await;
        created.code
    });
    actix::System::new().block_on(async {
        let store = open(&directory);
        let registry = start(&store);
        let address = registry.address().expect("runs");
        let device = leaf("spiffe://muster.example/t/acme/device/pump-7", 5);
        address.send(Admit(device)).await.expect("alive").expect("admitted");
        let other = leaf("spiffe://muster.example/t/acme/device/pump-7", 6);
        let refused = address.send(Admit(other)).await.expect("alive").expect_err("refused");
        assert_eq!(refused.reason, AdmitReason::NotCurrent);
        let mut thief = enrol(&code);
        (thief.chip.ek_hash, thief.chip.device) = ([2; 32], "pump-8".parse().expect("id"));
        let refused = address.send(thief).await.expect("alive").expect_err("refused");
        assert_eq!(refused, OwnerRefusal::ClaimUsed);
        assert!(store.tenant(&"acme".parse().expect("id")).expect("reads").is_some(), "it has its key");
    });
}

#[test]
fn rows_on_the_disk_tell_nothing_and_do_not_open_elsewhere() {
    let directory = TempDir::new().expect("directory");
    actix::System::new().block_on(async {
        let store = open(&directory);
        let registry = start(&store);
        let address = registry.address().expect("runs");
        address.send(create_tenant()).await.expect("alive").expect("created");
        let rows = Rows::open(&store).expect("opens");
        let (key, sealed) = rows.table.first(b"").expect("reads").expect("a row");
        for bytes in [&key, &sealed] {
            assert!(!bytes.windows(4).any(|bytes| bytes == b"acme"));
        }
        assert!(rows.sealer.open(b"t/globex", &sealed).is_err());
        assert!(rows.sealer.open(&key, &sealed).is_ok());
    });
}

#[test]
fn the_first_operator_is_registered_before_the_registry_runs() {
    let directory = TempDir::new().expect("directory");
    actix::System::new().block_on(async {
        let store = open(&directory);
        let operator = Client {
            tenant: muster_schemas::Principal::operator_tenant(),
            kind: ClientKind::User,
            id: "root".parse().expect("id"),
            certificate: certificate(9),
            pinned: None,
            state: State::Active,
        };
        register_first(&store, vec![operator]).expect("registered");
        let registry = start(&store);
        let address = registry.address().expect("runs");
        let operator = leaf("spiffe://muster.example/t/operator/user/root", 9);
        assert!(address.send(Admit(operator)).await.expect("alive").is_ok());
    });
}

#[test]
fn a_change_that_the_disk_refused_has_not_happened() {
    let directory = TempDir::new().expect("directory");
    actix::System::new().block_on(async {
        let store = open(&directory);
        let registry = start(&store);
        let address = registry.address().expect("runs");
        address.send(create_tenant()).await.expect("alive").expect("created");
        let create = || CreateClaim {
            tenant: "acme".parse().expect("id"),
            model: None,
            expires_in_s: 3_600,
            approve: false,
        };
        store.set_disk_free_bytes_min(u64::MAX);
        let refused = address.send(create()).await.expect("alive").expect_err("refused");
        assert!(matches!(refused, Refusal::Unavailable(_)), "{refused}");
        store.set_disk_free_bytes_min(0);
        // The rows are loaded anew as soon as the refusal has come back; until then the registry says so.
        let code = loop {
            match address.send(create()).await.expect("alive") {
                Ok(created) => break created.code,
                Err(refusal) => assert!(matches!(refusal, Refusal::Unavailable(_)), "{refusal}"),
            }
        };
        let lost = ClaimCode::new([1; 16]);
        let chip = |code: &ClaimCode| enrol(code).chip;
        let found = address.send(chip(&lost)).await.expect("alive");
        assert_eq!(found, Err(OwnerRefusal::ClaimUnknown));
        assert!(address.send(chip(&code)).await.expect("alive").is_ok());
    });
}

#[test]
fn a_damaged_row_stops_the_registry_instead_of_being_skipped() {
    let directory = TempDir::new().expect("directory");
    actix::System::new().block_on(async {
        let store = open(&directory);
        let registry = start(&store);
        registry.address().expect("runs").send(create_tenant()).await.expect("alive").expect("created");
        registry.stop().await;
        let rows = Rows::open(&store).expect("opens");
        let (key, mut value) = rows.table.first(b"").expect("reads").expect("a row");
        *value.last_mut().expect("not empty") ^= 1;
        let write = Write::Put { table: rows.table.clone(), key, value };
        store.commit_blocking(vec![write]).expect("stored");
        let registry = start(&store);
        assert_eq!(registry.ended().await, muster_actors::Phase::Done);
    });
}

/// A clock that somebody may set.
struct SetClock(std::sync::atomic::AtomicU64);

impl muster_actors::Clock for SetClock {
    fn now(&self) -> std::time::Instant {
        world::clock().now()
    }

    fn unix_ms(&self) -> u64 {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }
}

/// Attack: the hub's clock is set back, and a certificate that has ended is shown again; over a restart too.
#[test]
fn what_has_ended_stays_ended_when_the_clock_is_set_back() {
    let directory = TempDir::new().expect("directory");
    actix::System::new().block_on(async move {
        let store = open(&directory);
        let clock = Arc::new(SetClock(std::sync::atomic::AtomicU64::new(1_760_000_000_000)));
        let begin = |trust_clock| {
            let options = RegistryOptions {
                store: store.clone(),
                clock: clock.clone(),
                trust_clock,
                trust_domain: "muster.example".parse().expect("domain"),
                ended: Arc::new(|_| {}),
                known: Default::default(),
                pins: Pins::default(),
                sensitive: Default::default(),
                random: Arc::new(random::counting),
            };
            Child::new("registry", Plan::NO_RESTART, move |slot| RegistryActor::new(&options, slot)).start()
        };
        let set = |unix_s: u64| clock.0.store(unix_s * 1_000, std::sync::atomic::Ordering::SeqCst);
        let registry = begin(false);
        let address = registry.address().expect("runs");
        let acme: TenantId = "acme".parse().expect("id");
        let create = CreateTenant { tenant: acme.clone(), accept_simulated_tpms: true };
        address.send(create).await.expect("alive").expect("created");
        let certificate = Certificate { not_after_s: 1_760_000_100, ..certificate(5) };
        let (kind, id) = (ClientKind::App, "board".parse().expect("id"));
        let register = RegisterClient { tenant: acme, kind, id, certificate, replace: false };
        address.send(register).await.expect("alive").expect("registered");
        let shown = Leaf {
            not_after_s: 1_760_000_100,
            authority: Role::Client,
            ..leaf("spiffe://muster.example/t/acme/app/board", 5)
        };
        let admitted = address.send(Admit(shown.clone())).await.expect("alive").expect("admitted");
        assert_eq!(admitted.left_s, 100);
        set(1_760_000_200);
        let refused = address.send(Admit(shown.clone())).await.expect("alive");
        assert_eq!(refused.map_err(|r| r.reason), Err(AdmitReason::Expired));
        set(1_760_000_000);
        let refused = address.send(Admit(shown.clone())).await.expect("alive");
        assert_eq!(refused.map_err(|r| r.reason), Err(AdmitReason::Expired), "the clock was set back");

        // What time it was is written down with the next look at the clock, which a start takes.
        set(1_760_000_300);
        drop(registry);
        let registry = begin(false);
        let address = registry.address().expect("runs");
        address.send(ListTenants).await.expect("it has started");
        set(1_760_000_000);
        let again = address.send(Admit(shown.clone())).await.expect("alive");
        assert_eq!(again.map_err(|r| r.reason), Err(AdmitReason::Expired));
        drop(registry);
        let registry = begin(false);
        let address = registry.address().expect("runs");
        let again = address.send(Admit(shown.clone())).await.expect("alive");
        assert_eq!(again.map_err(|r| r.reason), Err(AdmitReason::Expired), "after a restart");
        let alarms = address.send(crate::registry::alarm::ListAlarms::default()).await.expect("alive");
        assert_eq!(alarms.first().map(|a| a.kind), Some(crate::registry::AlarmKind::ClockSetBack));
        drop(registry);
        let registry = begin(true);
        let again = registry.address().expect("runs").send(Admit(shown)).await.expect("alive");
        again.expect("an operator said that the clock is right now");
    });
}
