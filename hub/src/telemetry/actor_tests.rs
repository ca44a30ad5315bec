use std::{sync::atomic::AtomicBool, time::Duration};

use actix::Addr;
use muster_actors::{Child, Plan, Supervised};
use muster_broker::store::{RootKey, StoreOptions, TenantStore};
use muster_schemas::{Kind, Message as BusMessage, Publisher, Qos, senml::Pack};
use tempfile::TempDir;

use super::*;
use crate::{
    place::Place,
    telemetry::{
        StreamId,
        limits::LAST_READINGS_MAX,
        reading::{Reading, Value},
    },
};

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

fn last(tenant: &str) -> Last {
    Last { tenant: id(tenant), device: None, stream: None }
}

fn range(tenant: &str, limit: usize, cursor: Option<String>) -> Range {
    Range {
        tenant: id(tenant),
        device: "pump-7".parse().expect("id"),
        stream: "climate".to_owned(),
        from_ms: 0,
        to_ms: i64::MAX,
        limit,
        cursor,
    }
}

fn numbers<'a>(readings: impl IntoIterator<Item = &'a Reading>) -> Vec<f64> {
    let number = |reading: &Reading| match reading.value {
        Value::Number(number) => number,
        _ => panic!("not a number: {reading:?}"),
    };
    readings.into_iter().map(number).collect()
}

/// Asks until the last reading is this one: what was read may not be stored yet.
async fn last_is(telemetry: &Addr<TelemetryActor>, tenant: &str, value: f64) -> LastReadings {
    loop {
        let last = telemetry.send(last(tenant)).await.expect("alive").expect("answered");
        if numbers(last.readings.iter().map(|(_, reading)| reading)).contains(&value) {
            return last;
        }
    }
}

#[test]
fn what_is_on_the_log_is_stored_at_the_start_and_answers_questions() {
    let hub = Hub::new();
    let payloads: Vec<_> = (0..5).map(|n| pack(NOW_S + f64::from(n), f64::from(n))).collect();
    hub.publish("acme", "pump-7", &payloads);
    hub.publish("globex", "pump-7", &[pack(NOW_S, 100.0)]);
    actix::System::new().block_on(async {
        let running = hub.start();
        let telemetry = running.address().expect("runs");
        let last = last_is(&telemetry, "acme", 4.0).await;
        let stream = StreamId { device: "pump-7".parse().expect("id"), stream: "climate".to_owned() };
        assert_eq!(last.readings.len(), 1);
        assert_eq!(last.readings[0].0, stream);
        assert!(!last.truncated && LAST_READINGS_MAX > 1);
        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let page = telemetry.send(range("acme", 2, cursor)).await.expect("alive").expect("answered");
            assert!(page.readings.len() <= 2);
            seen.extend(numbers(&page.readings));
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, [0.0, 1.0, 2.0, 3.0, 4.0]);
        let between =
            Range { from_ms: 1_760_000_001_000, to_ms: 1_760_000_003_000, ..range("acme", 10, None) };
        let page = telemetry.send(between).await.expect("alive").expect("answered");
        assert_eq!(numbers(&page.readings), [1.0, 2.0], "the end is not part of it");
        last_is(&telemetry, "globex", 100.0).await;
        let theirs = telemetry.send(range("globex", 10, None)).await.expect("alive").expect("answered");
        assert_eq!(numbers(&theirs.readings), [100.0], "and nothing of acme");
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
        last_is(&telemetry, "acme", 9.0).await;
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
        let running = hub.start();
        let telemetry = running.address().expect("runs");
        last_is(&telemetry, "acme", 2.0).await;
        let page = telemetry.send(range("acme", 10, None)).await.expect("alive").expect("answered");
        assert_eq!(numbers(&page.readings), [1.0, 2.0]);
        assert_eq!(hub.counters.counted().rejected[&"not_senml"], 1);
    });
}

#[test]
fn what_was_read_is_not_read_again_after_a_restart_and_the_last_stays_the_newest() {
    let hub = Hub::new();
    hub.publish("acme", "pump-7", &[pack(NOW_S + 10.0, 1.0)]);
    actix::System::new().block_on(async {
        let running = hub.start();
        last_is(&running.address().expect("runs"), "acme", 1.0).await;
        running.stop().await;
        assert_eq!(hub.counters.counted().messages, 1);
        hub.publish("acme", "pump-7", &[pack(NOW_S, 2.0)]);
        let running = hub.start();
        let telemetry = running.address().expect("runs");
        // The first one is in no block yet, and read again.
        hub.has_read(3).await;
        telemetry.send(Settle { tenant: None }).await.expect("alive");
        let newest = telemetry.send(last("acme")).await.expect("alive").expect("answered");
        let of_newest = numbers(newest.readings.iter().map(|(_, reading)| reading));
        assert_eq!(of_newest, [1.0], "an older one came later");
        assert_eq!(hub.counters.counted().messages, 3);
        running.stop().await;
        let running = hub.start();
        let telemetry = running.address().expect("runs");
        telemetry.send(Settle { tenant: None }).await.expect("alive");
        assert_eq!(telemetry.send(last("acme")).await.expect("alive").expect("answered"), newest);
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
        last_is(&telemetry, "acme", 1.0).await;
        assert!(!announced.load(Ordering::Relaxed));

        // An announcement is lost with the actor that it was for: the next life takes it back.
        announced.store(true, Ordering::Relaxed);
        drop(telemetry);
        running.stop().await;
        let running = hub.start();
        last_is(&running.address().expect("runs"), "acme", 1.0).await;
        assert!(!announced.load(Ordering::Relaxed));
        announced.store(true, Ordering::Relaxed);
        bell(ring());
        assert!(!announced.load(Ordering::Relaxed), "the place still names the earlier life");
    });
}

#[test]
fn questions_out_of_bounds_are_refused_with_their_reason() {
    let hub = Hub::new();
    actix::System::new().block_on(async {
        let running = hub.start();
        let telemetry = running.address().expect("runs");
        let ask = async |query: Range| telemetry.send(query).await.expect("alive").expect_err("refused");
        assert_eq!(ask(range("initech", 1, None)).await, QueryRefusal::TenantUnknown);
        assert_eq!(ask(range("acme", 0, None)).await, QueryRefusal::Limit(0));
        assert_eq!(ask(range("acme", 1_001, None)).await, QueryRefusal::Limit(1_001));
        let backwards = Range { from_ms: 2, to_ms: 1, ..range("acme", 1, None) };
        assert_eq!(ask(backwards).await, QueryRefusal::Order);
        for cursor in ["", "00", "zz", &"0".repeat(34)] {
            assert_eq!(
                ask(range("acme", 1, Some(cursor.to_owned()))).await,
                QueryRefusal::Cursor,
                "{cursor}"
            );
        }
        let refused = telemetry.send(last("initech")).await.expect("alive");
        assert_eq!(refused, Err(QueryRefusal::TenantUnknown));
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
        assert_eq!(telemetry.send(last("acme")).await.expect("alive").expect("answered").readings.len(), 1);
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
        let running = hub.start();
        last_is(&running.address().expect("runs"), "acme", 2_499.0).await;
    });
    // Most of them are in a block, and the others open.
    let archive = hub.archive;
    let from_us = Some(1_760_000_001_000_000);
    let selection = Selection { from_us, ..Selection::default() };
    assert_eq!(archive.streams(&id("acme"), &selection).expect("reads").len(), 1);
    let mut times = Vec::new();
    let mut visit = |chunk: &muster_items::Chunk<'_>| {
        times.extend_from_slice(chunk.times_us);
        assert_eq!(chunk.columns[0].unit.as_deref(), Some("/"));
        std::ops::ControlFlow::Continue(())
    };
    archive.scan(&id("acme"), &selection, &View::all(), &mut visit).expect("reads");
    assert_eq!(times.len(), 2_499);
    assert!(times.is_sorted());
    let (last, more) = archive.last(&id("acme"), &selection, &View::all(), 10).expect("reads");
    assert_eq!((last.len(), more), (1, false));
    assert_eq!(last[0].column.values, muster_items::Values::Numbers(vec![2_499.0]));
    let nobody = View::filtered(Arc::new(|_| false), true);
    assert_eq!(archive.last(&id("acme"), &selection, &nobody, 10).expect("reads").0.len(), 0);
    assert!(archive.last(&id("initech"), &selection, &nobody, 10).is_err());
}

#[path = "fault_tests.rs"]
mod faults;
