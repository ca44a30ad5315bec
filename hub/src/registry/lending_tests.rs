//! The story of a grant: its row, the keys that it lends, and what they open, whatever happens to one of the three.

use std::{ops::ControlFlow, sync::Arc};

use actix::Addr;
use muster_actors::{Child, Plan, Supervised, world};
use muster_broker::store::{RootKey, StoreOptions, Table};
use muster_items::{
    Chunk, History as _, OpenStream, Origin, QueryRefusal, Scalar, Selection, StreamId, Values, View, judge,
};
use muster_schemas::api::rules::DataSet;
use tempfile::TempDir;

use super::*;
use crate::{
    random,
    registry::{
        RegistryOptions,
        core::Effect,
        grants::{DataSetRow, Give, PutDataSet, RemoveDataSet, TakeBack},
        message::CreateTenant,
        shredded::RetireTenant,
    },
    telemetry::{
        Archive,
        core::Known,
        store::{BLOCK, LAST, TenantRows},
    },
};

const NOW_US: i64 = 1_760_000_000_000_000;

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("well formed")
}

fn open(directory: &TempDir) -> Store {
    let options = StoreOptions { disk_free_bytes_min: 0 };
    Store::open(directory.path(), RootKey::from_bytes([7; 32]), options).expect("opens")
}

fn start(store: &Store) -> Supervised<RegistryActor> {
    let options = RegistryOptions {
        store: store.clone(),
        clock: world::clock(),
        trust_clock: false,
        trust_domain: id("muster.example"),
        ended: Arc::new(|_| {}),
        random: Arc::new(random::counting),
        known: Default::default(),
        pins: Default::default(),
        sensitive: Default::default(),
    };
    Child::new("registry", Plan::NO_RESTART, move |slot| RegistryActor::new(&options, slot)).start()
}

/// Tenants, and a data set of acme.
async fn settled(registry: &Addr<RegistryActor>) {
    for tenant in ["acme", "globex", "initech"] {
        let create = CreateTenant { tenant: id(tenant), accept_simulated_tpms: false };
        registry.send(create).await.expect("alive").expect("created");
    }
    let set = DataSet { name: "climate".to_owned(), ..DataSet::default() };
    registry.send(PutDataSet(DataSetRow { tenant: id("acme"), set })).await.expect("alive").expect("put");
}

async fn give(registry: &Addr<RegistryActor>, to: &str) -> Result<u64, Refusal> {
    let (tenant, to, data_set, by) = (id("acme"), id(to), "climate".to_owned(), "root".to_owned());
    let grant = registry.send(Give { tenant, to, data_set, expires_in_s: 3_600, by }).await.expect("alive");
    grant.map(|grant| grant.number)
}

async fn take_back(registry: &Addr<RegistryActor>, number: u64) {
    let command = TakeBack { tenant: id("acme"), number };
    registry.send(command).await.expect("alive").expect("taken back");
}

/// Stores one reading of acme as a block, one a day.
fn store_reading(store: &Store, number: u64) {
    let (origin, mut open) = (Origin::default(), OpenStream::default());
    open.begin(number, 0, &origin);
    let time_us = NOW_US + i64::try_from(number).expect("small") * 86_400_000_000;
    let value = Scalar::Number(number as f64);
    open.add(&judge::Reading { time_us, name: "v".into(), unit: None, value });
    let stream = StreamId { device: id("pump-7"), stream: "climate".to_owned() };
    let keys = store.tenant(&id("acme")).expect("reads").expect("is there");
    let sealer = keys.sealer(LENT);
    let rows = TenantRows::open(store, keys, sealer, Arc::default()).expect("opens");
    let mut writes = Vec::new();
    for day in open.end() {
        writes.push(rows.block_write(BLOCK, (&stream, &origin), number, &day).expect("has a form"));
        writes.push(rows.last_write(LAST, &stream, &day).expect("has a form"));
    }
    writes.push(rows.stream_write(&stream, &Known { flushed_to: number, origin }));
    store.commit_blocking(writes).expect("stored");
}

/// What of acme a tenant opens, as the API asks for it once the rules let it.
fn opened(store: &Store, reader: &str) -> Result<Vec<f64>, QueryRefusal> {
    let archive = Archive::new(store.clone()).read_by(&id(reader));
    let mut seen = Vec::new();
    let mut visit = |chunk: &Chunk<'_>| {
        for column in chunk.columns {
            let Values::Numbers(numbers) = &column.values else { continue };
            seen.extend_from_slice(numbers);
        }
        ControlFlow::Continue(())
    };
    archive.scan(&id("acme"), &Selection::default(), &View::all(), &mut visit)?;
    let (last, _) = archive.last(&id("acme"), &Selection::default(), &View::all(), 10)?;
    assert_eq!(last.len(), 1, "the last one opens as well");
    Ok(seen)
}

fn lent(store: &Store) -> usize {
    store.lent(LENT).expect("reads").len()
}

/// Every row of telemetry, byte for byte.
fn telemetry_rows(store: &Store) -> Vec<(Vec<u8>, Vec<u8>)> {
    let table: Table = store.table("telemetry").expect("opens");
    table.prefix(b"").map(|row| row.expect("reads")).collect()
}

#[test]
fn a_guest_opens_what_is_shared_with_its_own_key_and_no_byte_is_copied() {
    let directory = TempDir::new().expect("directory");
    let store = open(&directory);
    actix::System::new().block_on(async {
        let running = start(&store);
        let registry = running.address().expect("runs");
        settled(&registry).await;
        store_reading(&store, 1);
        assert_eq!(opened(&store, "acme"), Ok(vec![1.0]));
        assert_eq!(opened(&store, "globex"), Err(QueryRefusal::NotLent), "without a grant there is no key");
        let before = telemetry_rows(&store);

        let first = give(&registry, "globex").await.expect("given");
        assert_eq!(opened(&store, "globex"), Ok(vec![1.0]));
        assert_eq!(opened(&store, "initech"), Err(QueryRefusal::NotLent), "it is lent to one");
        assert_eq!(telemetry_rows(&store), before, "not a byte of telemetry was written for it");

        // Data keys that begin later, and tenant keys that are made anew.
        store.rotate_data_keys(&id("acme")).expect("turned");
        store_reading(&store, 2);
        for tenant in ["acme", "globex"] {
            store.rotate_tenant_key(&id(tenant), 1).expect("made anew");
        }
        assert_eq!(opened(&store, "globex"), Ok(vec![1.0, 2.0]));

        // Two grants: the keys go with the last one.
        let second = give(&registry, "globex").await.expect("given");
        take_back(&registry, first).await;
        assert_eq!(opened(&store, "globex"), Ok(vec![1.0, 2.0]));
        take_back(&registry, second).await;
        assert_eq!(opened(&store, "globex"), Err(QueryRefusal::NotLent), "from the next read on");
        assert_eq!(lent(&store), 0);
        let remove = RemoveDataSet { tenant: id("acme"), name: "climate".to_owned() };
        registry.send(remove).await.expect("alive").expect("nobody has it any more");
        running.stop().await;
    });
}

#[test]
fn a_withdrawn_key_ends_reading_on_both_sides() {
    let directory = TempDir::new().expect("directory");
    let store = open(&directory);
    let own = || muster_broker::store::SecretKey::from([9; 32]);
    actix::System::new().block_on(async {
        let running = start(&store);
        let registry = running.address().expect("runs");
        settled(&registry).await;
        store_reading(&store, 1);
        give(&registry, "globex").await.expect("given");
        for (tenant, why) in
            [("acme", QueryRefusal::KeyWithdrawn), ("globex", QueryRefusal::BorrowerKeyWithdrawn)]
        {
            store.bring_key(&id(tenant), own(), true, 1).expect("brought");
            assert_eq!(opened(&store, "globex"), Ok(vec![1.0]));
            store.withdraw_key(&id(tenant)).expect("withdrawn");
            assert_eq!(opened(&store, "globex"), Err(why), "{tenant}");
            let refused = give(&registry, "globex").await.expect_err("refused");
            assert_eq!(refused, RuleRefusal::KeyWithdrawn(id(tenant)).into());
            store.bring_key(&id(tenant), own(), true, 2).expect("given back");
            assert_eq!(opened(&store, "globex"), Ok(vec![1.0]), "{tenant}");
        }
        assert_eq!(opened(&store, "acme"), Ok(vec![1.0]), "its own reading is its own");
        // Also in the middle of an answer, of which a block was opened ahead: nothing more is shown.
        store_reading(&store, 2);
        store_reading(&store, 3);
        let archive = Archive::new(store.clone()).read_by(&id("globex"));
        let mut shown = 0;
        let mut visit = |_: &Chunk<'_>| {
            shown += 1;
            store.withdraw_key(&id("globex")).expect("withdrawn");
            ControlFlow::Continue(())
        };
        let outcome = archive.scan(&id("acme"), &Selection::default(), &View::all(), &mut visit);
        assert_eq!((shown, outcome), (1, Err(QueryRefusal::BorrowerKeyWithdrawn)));
        running.stop().await;
    });
}

#[test]
fn whatever_a_crash_leaves_between_a_grant_and_its_keys_is_put_right_at_the_next_start() {
    let directory = TempDir::new().expect("directory");
    let store = open(&directory);
    let tenant = |name: &str| store.tenant(&id(name)).expect("reads").expect("is there");
    actix::System::new().block_on(async {
        let running = start(&store);
        let registry = running.address().expect("runs");
        settled(&registry).await;
        store_reading(&store, 1);
        give(&registry, "globex").await.expect("given");
        running.stop().await;
        // Stopped before the row was stored: keys without a grant. Stopped before it was removed: a grant without keys.
        tenant("acme").grant(&tenant("initech"), LENT).expect("lent");
        tenant("acme").revoke(&tenant("globex"), LENT).expect("taken back");
        assert_eq!(opened(&store, "initech"), Ok(vec![1.0]), "so it would be");
        assert_eq!(opened(&store, "globex"), Err(QueryRefusal::NotLent));

        let running = start(&store);
        let registry = running.address().expect("runs");
        give(&registry, "nowhere").await.expect_err("so it has started");
        assert_eq!(opened(&store, "initech"), Err(QueryRefusal::NotLent), "no grant, no keys");
        assert_eq!(opened(&store, "globex"), Ok(vec![1.0]), "the grant stands");
        running.stop().await;
    });
}

#[test]
fn grants_of_and_to_a_tenant_end_with_it() {
    let directory = TempDir::new().expect("directory");
    let store = open(&directory);
    actix::System::new().block_on(async {
        let running = start(&store);
        let registry = running.address().expect("runs");
        settled(&registry).await;
        store_reading(&store, 1);
        for to in ["globex", "initech"] {
            give(&registry, to).await.expect("given");
        }
        registry.send(RetireTenant(id("globex"))).await.expect("alive").expect("retired");
        store.shred_tenant(&id("globex"), 1).expect("destroyed");
        assert_eq!(opened(&store, "globex"), Err(QueryRefusal::NotLent));
        assert_eq!((opened(&store, "initech"), lent(&store)), (Ok(vec![1.0]), 1));
        registry.send(RetireTenant(id("acme"))).await.expect("alive").expect("retired");
        store.shred_tenant(&id("acme"), 1).expect("destroyed");
        assert_eq!(opened(&store, "initech"), Err(QueryRefusal::TenantUnknown));
        assert_eq!(lent(&store), 0);
        running.stop().await;
    });
}

#[test]
fn a_grant_that_ends_by_itself_ends_what_it_lends() {
    let mut registry = crate::registry::Registry::default();
    let mut effects = Vec::new();
    for tenant in ["acme", "globex"] {
        let create = CreateTenant { tenant: id(tenant), accept_simulated_tpms: false };
        registry.create_tenant(0, create, &mut effects).expect("created");
    }
    let set = DataSet { name: "climate".to_owned(), ..DataSet::default() };
    registry.put_data_set(DataSetRow { tenant: id("acme"), set }, &mut effects).expect("put");
    for expires_in_s in [60, 120] {
        let (tenant, to, data_set, by) = (id("acme"), id("globex"), "climate".to_owned(), "root".to_owned());
        registry.give(0, Give { tenant, to, data_set, expires_in_s, by }, &mut effects).expect("given");
    }
    let pair = (id("acme"), id("globex"));
    assert_eq!(registry.rules.lending(119), Lending::from([pair.clone()]));
    assert_eq!(registry.rules.lending(120), Lending::new());
    for (now_s, is_unlent) in [(60, false), (120, true)] {
        effects.clear();
        assert_eq!(registry.end_grants(|grant| grant.expires_at_s <= now_s, &mut effects).len(), 1);
        let unlend = Effect::Unlend(pair.0.clone(), pair.1.clone());
        assert_eq!(effects.contains(&unlend), is_unlent, "{now_s}: with the last one");
    }
}
