use std::{ops::ControlFlow, sync::atomic::AtomicBool, time::Duration};

use muster_actors::{Child, Plan, Supervised};
use muster_broker::store::{RootKey, StoreOptions, TenantStore};
use muster_items::{Chunk, History as _, LastReading, Selection, Values, View};
use muster_schemas::{Kind, Message as BusMessage, Publisher, Qos, senml::Pack};
use tempfile::TempDir;

use super::*;
use crate::{place::Place, telemetry::StreamId};

const NOW_S: f64 = 1.76e9;

struct Hub {
    store: Store,
    counters: Counters,
    needed_from: Arc<std::sync::atomic::AtomicU64>,
    announcements: Announcements,
    archive: Archive,
    _directory: Arc<TempDir>,
}

fn id(text: &str) -> TenantId {
    text.parse().expect("id")
}

impl Hub {
    fn new() -> Self {
        let directory = Arc::new(TempDir::new().expect("directory"));
        let options = StoreOptions { disk_free_bytes_min: 0 };
        let store = Store::open(directory.path(), RootKey::from_bytes([7; 32]), options).expect("opens");
        for tenant in ["acme", "globex"] {
            store.create_tenant(&id(tenant)).expect("created");
        }
        Self {
            archive: Archive::new(store.clone()),
            store,
            counters: Counters::default(),
            needed_from: Arc::new(u64::MAX.into()),
            announcements: Announcements::default(),
            _directory: directory,
        }
    }

    fn tenant(&self, tenant: &str) -> TenantStore {
        self.store.tenant(&id(tenant)).expect("reads").expect("exists")
    }

    /// Appends messages as the tenant's router does.
    fn publish(&self, tenant: &str, device: &str, payloads: &[Vec<u8>]) {
        let mut log = self.tenant(tenant).log().expect("opens");
        let mut writes = Vec::new();
        for payload in payloads {
            let message = BusMessage {
                topic: format!("devices/{device}/telemetry/climate").parse().expect("topic"),
                qos: Qos::AtLeastOnce,
                retain: false,
                payload: payload.clone().into(),
                properties: None,
            };
            let publisher = Publisher { kind: Kind::Device, id: device.parse().expect("id") };
            let mut record = Vec::new();
            StoredMessage { received_ms: 1_760_000_000_000, publisher, session: None, message }
                .encode(&mut record);
            writes.push(log.append(log.next_sequence(), &record));
        }
        self.store.commit_blocking(writes).expect("stored");
    }

    fn start(&self) -> Supervised<TelemetryActor> {
        let needed = self.needed_from.clone();
        let options = TelemetryOptions {
            store: self.store.clone(),
            tenants: Arc::new(|| vec![id("acme"), id("globex")]),
            needed_from: Arc::new(move |_| needed.load(Ordering::Relaxed)),
            bounds: Arc::default(),
            archive: self.archive.clone(),
            attributes: Arc::new(|_, _| Arc::default()),
            today: Arc::new(|| 20_370),
            announcements: self.announcements.clone(),
            counters: self.counters.clone(),
        };
        let plan = Plan { delay_first: Duration::ZERO, ..Plan::PARK };
        Child::new("telemetry", plan, move |_| TelemetryActor::new(options.clone())).start()
    }

    /// Waits, without sleeping, until so many messages were read.
    async fn has_read(&self, messages: u64) {
        while self.counters.counted().messages < messages {
            tokio::task::yield_now().await;
        }
    }
}

fn pack(time_s: f64, value: f64) -> Vec<u8> {
    let mut pack = Pack::new("", time_s);
    pack.number("load", Some("/"), value);
    pack.encode_cbor()
}

/// What is stored of a tenant's one stream, by time.
fn numbers(hub: &Hub, tenant: &str, from_us: Option<i64>, to_us: Option<i64>) -> Vec<f64> {
    let mut seen = Vec::new();
    let selection = Selection { from_us, to_us, ..Selection::default() };
    let mut visit = |chunk: &Chunk<'_>| {
        for column in chunk.columns {
            let Values::Numbers(numbers) = &column.values else { panic!("not numbers: {column:?}") };
            seen.extend(numbers);
        }
        ControlFlow::Continue(())
    };
    hub.archive.scan(&id(tenant), &selection, &View::all(), &mut visit).expect("read");
    seen
}

fn all(hub: &Hub, tenant: &str) -> Vec<f64> {
    numbers(hub, tenant, None, None)
}

/// The last reading of every name.
fn last(hub: &Hub, tenant: &str) -> Vec<LastReading> {
    let (last, is_more) =
        hub.archive.last(&id(tenant), &Selection::default(), &View::all(), 10).expect("read");
    assert!(!is_more);
    last
}

/// Asks until the last reading is this one: what was read may not be stored yet.
async fn last_is(hub: &Hub, tenant: &str, value: f64) -> Vec<LastReading> {
    loop {
        let last = last(hub, tenant);
        if last.iter().any(|last| last.column.values == Values::Numbers(vec![value])) {
            return last;
        }
        tokio::task::yield_now().await;
    }
}

#[test]
fn what_is_on_the_log_is_stored_at_the_start_and_answers_questions() {
    let hub = Hub::new();
    let payloads: Vec<_> = (0..5).map(|n| pack(NOW_S + f64::from(n), f64::from(n))).collect();
    hub.publish("acme", "pump-7", &payloads);
    hub.publish("globex", "pump-7", &[pack(NOW_S, 100.0)]);
    actix::System::new().block_on(async {
        let _running = hub.start();
        let last = last_is(&hub, "acme", 4.0).await;
        let stream = StreamId { device: "pump-7".parse().expect("id"), stream: "climate".to_owned() };
        assert_eq!(last.len(), 1);
        assert_eq!(last[0].stream, stream);
        assert_eq!(all(&hub, "acme"), [0.0, 1.0, 2.0, 3.0, 4.0]);
        let between = numbers(&hub, "acme", Some(1_760_000_001_000_000), Some(1_760_000_003_000_000));
        assert_eq!(between, [1.0, 2.0], "the end is not part of it");
        last_is(&hub, "globex", 100.0).await;
        assert_eq!(all(&hub, "globex"), [100.0], "and nothing of acme");
    });
}

#[test]
fn a_log_that_was_read_is_trimmed_as_far_as_nobody_else_needs_it() {
    let hub = Hub::new();
    let payloads: Vec<_> = (0..10).map(|n| pack(NOW_S + f64::from(n), f64::from(n))).collect();
    hub.publish("acme", "pump-7", &payloads);
    hub.needed_from.store(4, Ordering::Relaxed);
    actix::System::new().block_on(async {
        let running = hub.start();
        let telemetry = running.address().expect("runs");
        last_is(&hub, "acme", 9.0).await;
        let log = hub.tenant("acme").log().expect("opens");
        assert_eq!(log.first().expect("reads"), Some(1), "what is in no block is in the log");
        telemetry.send(Settle { tenant: Some(id("acme")) }).await.expect("alive");
        assert_eq!(log.first().expect("reads"), Some(4));
        assert_eq!(hub.archive.rows(&id("acme")).expect("opens").cursor().expect("reads"), 11);
        // Nothing new has come, but less is needed.
        hub.needed_from.store(8, Ordering::Relaxed);
        telemetry.clone().recipient().do_send(LogGrew { tenant: id("acme"), announced: Arc::default() });
        while log.first().expect("reads") != Some(8) {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_message_that_is_delivered_again_is_one_reading() {
    let hub = Hub::new();
    let twice = [pack(NOW_S, 1.0), pack(NOW_S, 1.0), pack(NOW_S + 1.0, 2.0), b"no SenML".to_vec()];
    hub.publish("acme", "pump-7", &twice);
    actix::System::new().block_on(async {
        let _running = hub.start();
        last_is(&hub, "acme", 2.0).await;
        assert_eq!(all(&hub, "acme"), [1.0, 2.0]);
        assert_eq!(hub.counters.counted().rejected[&"not_senml"], 1);
    });
}

#[test]
fn what_was_read_is_not_read_again_after_a_restart_and_the_last_stays_the_newest() {
    let hub = Hub::new();
    hub.publish("acme", "pump-7", &[pack(NOW_S + 10.0, 1.0)]);
    actix::System::new().block_on(async {
        let running = hub.start();
        last_is(&hub, "acme", 1.0).await;
        running.stop().await;
        assert_eq!(hub.counters.counted().messages, 1);
        hub.publish("acme", "pump-7", &[pack(NOW_S, 2.0)]);
        let running = hub.start();
        let telemetry = running.address().expect("runs");
        // The first one is in no block yet, and read again.
        hub.has_read(3).await;
        telemetry.send(Settle { tenant: None }).await.expect("alive");
        let newest = last(&hub, "acme");
        let of_newest: Vec<_> = newest.iter().map(|last| last.column.values.clone()).collect();
        assert_eq!(of_newest, [Values::Numbers(vec![1.0])], "an older one came later");
        assert_eq!(hub.counters.counted().messages, 3);
        running.stop().await;
        let running = hub.start();
        let telemetry = running.address().expect("runs");
        telemetry.send(Settle { tenant: None }).await.expect("alive");
        assert_eq!(last(&hub, "acme"), newest);
        assert_eq!(hub.counters.counted().messages, 3, "what is stored is not read again");
    });
}

#[test]
fn the_bell_rings_the_actor_of_the_moment() {
    let hub = Hub::new();
    actix::System::new().block_on(async {
        let place = Place::new();
        let bell = hub.announcements.bell(place.clone());
        let announced = Arc::new(AtomicBool::new(true));
        let ring = || LogGrew { tenant: id("acme"), announced: announced.clone() };
        bell(ring());
        assert!(!announced.load(Ordering::Relaxed), "nobody heard it, so it may be rung again");

        let running = hub.start();
        let telemetry = running.address().expect("runs");
        place.take(telemetry.clone());
        hub.publish("acme", "pump-7", &[pack(NOW_S, 1.0)]);
        announced.store(true, Ordering::Relaxed);
        bell(ring());
        last_is(&hub, "acme", 1.0).await;
        assert!(!announced.load(Ordering::Relaxed));

        // An announcement is lost with the actor that it was for: the next life takes it back.
        announced.store(true, Ordering::Relaxed);
        drop(telemetry);
        running.stop().await;
        let running = hub.start();
        running.address().expect("runs").send(Settle { tenant: None }).await.expect("alive");
        assert!(!announced.load(Ordering::Relaxed));
        announced.store(true, Ordering::Relaxed);
        bell(ring());
        assert!(!announced.load(Ordering::Relaxed), "the place still names the earlier life");
    });
}

#[test]
fn a_canary_is_not_found_on_the_disk() {
    let hub = Hub::new();
    let mut pack = Pack::new("", NOW_S);
    pack.text("note", "canary-in-the-coal-mine");
    hub.publish("acme", "pump-7", &[pack.encode_json()]);
    actix::System::new().block_on(async {
        let running = hub.start();
        let telemetry = running.address().expect("runs");
        hub.has_read(1).await;
        telemetry.send(Settle { tenant: None }).await.expect("alive");
        assert_eq!(last(&hub, "acme").len(), 1);
    });
    let mut directories = vec![hub._directory.path().to_owned()];
    let mut files = 0;
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("reads") {
            let path = entry.expect("reads").path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            files += 1;
            // Journals are laid out ahead, as zeros.
            let bytes = std::fs::read(&path).expect("reads");
            let bytes: Vec<u8> =
                bytes.chunks(4_096).filter(|chunk| *chunk != &[0; 4_096][..]).flatten().copied().collect();
            for canary in [&b"canary"[..], b"pump-7", b"climate"] {
                assert!(!bytes.windows(canary.len()).any(|window| window == canary), "{}", path.display());
            }
        }
    }
    assert!(files > 0);
}

#[test]
fn the_archive_shows_what_was_stored_by_stream_and_time() {
    use muster_items::{History as _, Selection, View};

    let hub = Hub::new();
    let payloads: Vec<_> = (0..2_500).map(|n| pack(NOW_S + f64::from(n), f64::from(n))).collect();
    hub.publish("acme", "pump-7", &payloads);
    actix::System::new().block_on(async {
        let _running = hub.start();
        last_is(&hub, "acme", 2_499.0).await;
    });
    // Most of them are in a block, and the others open.
    let archive = hub.archive;
    let from_us = Some(1_760_000_001_000_000);
    let selection = Selection { from_us, ..Selection::default() };
    assert_eq!(archive.streams(&id("acme"), &selection).expect("reads").len(), 1);
    let mut times = Vec::new();
    let mut visit = |chunk: &Chunk<'_>| {
        times.extend_from_slice(chunk.times_us);
        assert_eq!(chunk.columns[0].unit.as_deref(), Some("/"));
        ControlFlow::Continue(())
    };
    archive.scan(&id("acme"), &selection, &View::all(), &mut visit).expect("reads");
    assert_eq!(times.len(), 2_499);
    assert!(times.is_sorted());
    let (last, more) = archive.last(&id("acme"), &selection, &View::all(), 10).expect("reads");
    assert_eq!((last.len(), more), (1, false));
    assert_eq!(last[0].column.values, Values::Numbers(vec![2_499.0]));
    let nobody = View::filtered(Arc::new(|_| false), true);
    assert_eq!(archive.last(&id("acme"), &selection, &nobody, 10).expect("reads").0.len(), 0);
    assert!(archive.last(&id("initech"), &selection, &nobody, 10).is_err());
}

#[path = "fault_tests.rs"]
mod faults;
