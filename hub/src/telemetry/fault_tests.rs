//! What becomes of telemetry when something is lost, refused or withdrawn, and who may be shown what.

use std::collections::BTreeSet;

use muster_items::{
    Attributes, OpenStream, Origin, QueryRefusal as Refusal, judge,
    sensitive::{Class, Pattern, Rules, Says},
};

use super::*;
use crate::telemetry::{
    ReadRetention, RetentionRefusal, SetRetention,
    core::{Ended, Known},
    flush::Flush,
    reading::{Reading, Value},
    store::{BLOCK, SENSITIVE, TenantRows},
};

const NOW_US: i64 = 1_760_000_000_000_000;

fn climate() -> StreamId {
    StreamId { device: "pump-7".parse().expect("id"), stream: "climate".to_owned() }
}

/// Times and numbers of a selection, and how it ended.
fn scan(archive: &Archive, selection: &Selection, view: &View) -> (Vec<(i64, f64)>, Result<(), Refusal>) {
    let mut seen = Vec::new();
    let mut visit = |chunk: &Chunk<'_>| {
        for column in chunk.columns {
            let Values::Numbers(numbers) = &column.values else { continue };
            seen.extend(chunk.times_us.iter().copied().zip(numbers.iter().copied()));
        }
        ControlFlow::Continue(())
    };
    let outcome = archive.scan(&id("acme"), selection, view, &mut visit);
    (seen, outcome)
}

fn all(archive: &Archive) -> Vec<(i64, f64)> {
    let (seen, outcome) = scan(archive, &Selection::default(), &View::all());
    assert_eq!(outcome, Ok(()));
    seen
}

fn packs(range: std::ops::Range<i32>) -> Vec<Vec<u8>> {
    range.map(|n| pack(NOW_S + f64::from(n), f64::from(n))).collect()
}

fn expected(range: std::ops::Range<i32>) -> Vec<(i64, f64)> {
    range.map(|n| (NOW_US + i64::from(n) * 1_000_000, f64::from(n))).collect()
}

/// Stores readings as an item that ended.
fn store_item(hub: &Hub, rows: &TenantRows, number: u64, origin: &Origin, readings: &[(i64, &str, f64)]) {
    let mut open = OpenStream::default();
    open.begin(number, 0, origin);
    for (time, name, value) in readings {
        let value = muster_items::Scalar::Number(*value);
        let time_us = NOW_US + time * 1_000_000;
        open.add(&judge::Reading { time_us, name: (*name).into(), unit: None, value });
    }
    let mut flush = Flush::new(rows);
    let ended = Ended {
        stream: climate(),
        origin: origin.clone(),
        next: origin.clone(),
        first_sequence: number,
        last_sequence: number,
        days: open.end().into(),
    };
    flush.add(&ended).expect("is read");
    hub.store.commit_blocking(flush.into_writes().expect("has a form")).expect("stored");
}

fn in_district(district: &str) -> Origin {
    let texts = BTreeSet::from([district.to_owned()]);
    let attributes = Arc::new(Attributes([("district".to_owned(), texts)].into()));
    Origin { attributes, ..Origin::default() }
}

fn keys(rows: &TenantRows, kind: u8) -> Vec<Vec<u8>> {
    let blocks = rows.blocks(kind, &climate(), None, None);
    blocks.map(|stored| stored.expect("reads").key().to_vec()).collect()
}

#[test]
fn every_reading_is_there_once_wherever_the_actor_is_stopped() {
    let hub = Hub::new();
    hub.publish("acme", "pump-7", &packs(0..5_000));
    actix::System::new().block_on(async {
        // It is stopped after more and more steps, with whatever is on the way to the disk then.
        for lives in 0..12 {
            let running = hub.start();
            for _ in 0..lives * 40 {
                tokio::task::yield_now().await;
            }
            running.stop().await;
        }
        hub.publish("acme", "pump-7", &packs(4_990..5_100));
        let running = hub.start();
        let telemetry = running.address().expect("runs");
        telemetry.send(Settle { tenant: None }).await.expect("alive");
        assert_eq!(all(&hub.archive), expected(0..5_100));
    });
    let rows = hub.archive.rows(&id("acme")).expect("opens");
    let stored: usize = rows
        .blocks(BLOCK, &climate(), None, None)
        .map(|stored| rows.block(&stored.expect("reads")).expect("opens").rows())
        .sum();
    // Not only shown once, but stored once: what came twice was sent twice.
    assert!((5_100..=5_110).contains(&stored), "{stored}");
}

#[test]
fn late_readings_are_kept_and_gaps_stay() {
    let hub = Hub::new();
    let day = 86_400;
    let of = |second: i32| pack(NOW_S + f64::from(second), f64::from(second));
    hub.publish("acme", "pump-7", &[of(0), of(-3 * day), of(50), of(20), of(-day)]);
    actix::System::new().block_on(async {
        let running = hub.start();
        let telemetry = running.address().expect("runs");
        telemetry.send(Settle { tenant: None }).await.expect("alive");
        hub.publish("acme", "pump-7", &[of(10), of(-3 * day + 1)]);
        telemetry.clone().recipient().do_send(LogGrew { tenant: id("acme"), announced: Arc::default() });
        telemetry.send(Settle { tenant: None }).await.expect("alive");
        let seconds: Vec<_> = all(&hub.archive).into_iter().map(|(_, value)| value as i32).collect();
        assert_eq!(seconds, [-3 * day, -3 * day + 1, -day, 0, 10, 20, 50]);
    });
}

#[test]
fn a_damaged_block_is_told_with_its_times_and_the_rest_is_shown() {
    let hub = Hub::new();
    let rows = hub.archive.rows(&id("acme")).expect("opens");
    for (number, day) in [(1, -1), (2, 0), (3, 1)] {
        store_item(&hub, &rows, number, &Origin::default(), &[(day * 86_400, "a", day as f64)]);
    }
    let keys = keys(&rows, BLOCK);
    let mut sealed = rows.table.get(&keys[1]).expect("reads").expect("is there");
    let last = sealed.len() - 1;
    sealed[last] ^= 1;
    let write = Write::Put { table: rows.table, key: keys[1].clone(), value: sealed };
    hub.store.commit_blocking(vec![write]).expect("stored");
    let (seen, outcome) = scan(&hub.archive, &Selection::default(), &View::all());
    assert_eq!(seen.into_iter().map(|(_, value)| value).collect::<Vec<_>>(), [-1.0, 1.0]);
    let Err(Refusal::Damaged(lost)) = outcome else { panic!("{outcome:?}") };
    assert!(
        lost.contains(&format!("climate of device pump-7 is lost from {NOW_US} to {NOW_US} us")),
        "{lost}"
    );
    // Where it is not asked for, nobody hears of it.
    let before = Selection { to_us: Some(NOW_US - 1), ..Selection::default() };
    assert_eq!(scan(&hub.archive, &before, &View::all()).1, Ok(()));
}

#[test]
fn a_missing_block_is_missed() {
    let hub = Hub::new();
    let rows = hub.archive.rows(&id("acme")).expect("opens");
    for (number, day) in [(1, -1), (2, 0), (3, 1)] {
        store_item(&hub, &rows, number, &Origin::default(), &[(day * 86_400, "a", day as f64)]);
    }
    let gone = rows.delete(&keys(&rows, BLOCK)[1]);
    hub.store.commit_blocking(vec![gone]).expect("stored");
    let (seen, outcome) = scan(&hub.archive, &Selection::default(), &View::all());
    assert_eq!(seen.len(), 2);
    let Err(Refusal::Damaged(lost)) = outcome else { panic!("{outcome:?}") };
    assert!(
        lost.contains("1 of 1 items of stream climate of device pump-7 are missing on day 20370"),
        "{lost}"
    );
}

#[test]
fn a_block_of_another_place_does_not_open() {
    let hub = Hub::new();
    let rows = hub.archive.rows(&id("acme")).expect("opens");
    store_item(&hub, &rows, 1, &Origin::default(), &[(0, "a", 1.0)]);
    let key = &keys(&rows, BLOCK)[0];
    let sealed = rows.table.get(key).expect("reads").expect("is there");
    let theirs = hub.archive.rows(&id("globex")).expect("opens");
    let mut moved = theirs.stream_key(BLOCK, &climate());
    moved.extend_from_slice(&key[moved.len()..]);
    let known = Known { flushed_to: 0, origin: Origin::default() };
    let put = Write::Put { table: rows.table, key: moved, value: sealed };
    hub.store.commit_blocking(vec![put, theirs.stream_write(&climate(), &known)]).expect("stored");
    let mut shown = 0;
    let outcome = hub.archive.scan(&id("globex"), &Selection::default(), &View::all(), &mut |_| {
        shown += 1;
        ControlFlow::Continue(())
    });
    assert_eq!(shown, 0);
    assert!(matches!(outcome, Err(Refusal::Damaged(_))), "{outcome:?}");
}

#[test]
fn an_item_of_another_district_is_neither_shown_nor_counted() {
    let hub = Hub::new();
    let rows = hub.archive.rows(&id("acme")).expect("opens");
    store_item(&hub, &rows, 1, &in_district("d7"), &[(0, "a", 1.0), (1, "a", 2.0)]);
    store_item(&hub, &rows, 2, &in_district("d8"), &[(2, "a", 3.0), (2, "b", 4.0)]);
    let of = |district: &'static str| {
        let shows = move |item: &muster_items::ItemInfo| item.attributes.texts("district").eq([district]);
        View::filtered(Arc::new(shows), true)
    };
    assert_eq!(keys(&rows, BLOCK).len(), 2, "items of two districts are not joined");
    let seen = |district| scan(&hub.archive, &Selection::default(), &of(district)).0;
    assert_eq!(
        seen("d7"),
        expected(1..3).into_iter().map(|(time, value)| (time - 1_000_000, value)).collect::<Vec<_>>()
    );
    assert_eq!(seen("d9"), []);
    let last = |district| {
        let (last, _) =
            hub.archive.last(&id("acme"), &Selection::default(), &of(district), 10).expect("reads");
        last.into_iter().map(|last| (last.column.name, last.time_us - NOW_US)).collect::<Vec<_>>()
    };
    assert_eq!(last("d7"), [("a".to_owned(), 1_000_000)]);
    assert_eq!(last("d8"), [("a".to_owned(), 2_000_000), ("b".to_owned(), 2_000_000)]);
    assert_eq!(last("d9"), []);
}

#[test]
fn short_items_of_a_day_are_joined_and_those_of_another_are_not() {
    let hub = Hub::new();
    let rows = hub.archive.rows(&id("acme")).expect("opens");
    for n in 0..64 {
        store_item(
            &hub,
            &rows,
            n + 1,
            &Origin::default(),
            &[(n as i64, "a", n as f64), (n as i64 - 86_400, "a", 0.5)],
        );
    }
    assert!(keys(&rows, BLOCK).len() < 16, "{}", keys(&rows, BLOCK).len());
    let seen = all(&hub.archive);
    assert_eq!(seen.len(), 128);
    assert_eq!(seen[64..], expected(0..64));
}

#[test]
fn sensitive_columns_lie_apart_and_are_not_opened_for_others() {
    let hub = Hub::new();
    let pattern = Pattern::parse("climate/secret-*", Says::Add(Class::Location));
    let rules = Arc::new(Rules::new(vec![pattern.expect("is one")]));
    let archive = Archive::with_rules(hub.store.clone(), Arc::new(move |_| rules.clone()));
    let rows = archive.rows(&id("acme")).expect("opens");
    store_item(
        &hub,
        &rows,
        1,
        &Origin::default(),
        &[(0, "load", 1.0), (0, "secret-lat", 48.0), (1, "load", 2.0)],
    );
    assert_eq!((keys(&rows, BLOCK).len(), keys(&rows, SENSITIVE).len()), (1, 1));
    let plain = View::filtered(Arc::new(|_| true), false);
    let names = |view: &View| {
        let (last, _) = archive.last(&id("acme"), &Selection::default(), view, 10).expect("reads");
        last.into_iter().map(|last| last.column.name).collect::<Vec<_>>()
    };
    assert_eq!(names(&plain), ["load"]);
    assert_eq!(names(&View::all()), ["load", "secret-lat"]);
    assert_eq!(scan(&archive, &Selection::default(), &plain).0.len(), 2);
    // Whoever may not see it does not even notice that it is damaged: nothing of it was opened.
    let broken = keys(&rows, SENSITIVE).remove(0);
    let write = Write::Put { table: rows.table, key: broken, value: vec![1; 80] };
    hub.store.commit_blocking(vec![write]).expect("stored");
    assert_eq!(scan(&archive, &Selection::default(), &plain).1, Ok(()));
    assert!(scan(&archive, &Selection::default(), &View::all()).1.is_err());
}

#[test]
fn open_columns_that_are_sensitive_are_left_out_too() {
    let hub = Hub::new();
    let mut pack = Pack::new("", NOW_S);
    pack.number("load", Some("/"), 1.0).number("gps-lat", Some("lat"), 48.0);
    hub.publish("acme", "pump-7", &[pack.encode_cbor()]);
    actix::System::new().block_on(async {
        let _running = hub.start();
        last_is(&hub, "acme", 48.0).await;
        let plain = View::filtered(Arc::new(|_| true), false);
        assert_eq!(scan(&hub.archive, &Selection::default(), &plain).0, [(NOW_US, 1.0)]);
    });
}

#[test]
fn readings_of_a_hub_of_yesterday_become_blocks() {
    let hub = Hub::new();
    let rows = hub.archive.rows(&id("acme")).expect("opens");
    let stream = b"\x01\x00\x00\x00\x06pump-7\x00\x00\x00\x07climate";
    let mut writes = vec![rows.put(rows.stream_key(b'c', &climate()), stream), rows.cursor_write(11)];
    for n in 0..100 {
        let reading = Reading {
            name: "load".to_owned(),
            unit: Some("/".to_owned()),
            time_s: NOW_S + f64::from(n),
            value: Value::Number(f64::from(n)),
        };
        let mut key = rows.stream_key(b'r', &climate());
        key.extend_from_slice(&crate::telemetry::store::time_key(NOW_US + i64::from(n) * 1_000_000));
        key.extend_from_slice(&[7; 8]);
        writes.push(rows.put(key, &reading.encode()));
        let mut key = rows.stream_key(b'l', &climate());
        key.extend_from_slice(&[7; 8]);
        writes.push(rows.put(key, &reading.encode()));
    }
    hub.store.commit_blocking(writes).expect("stored");
    actix::System::new().block_on(async {
        let _running = hub.start();
        last_is(&hub, "acme", 99.0).await;
        assert_eq!(all(&hub.archive), expected(0..100));
        for kind in [b'r', b'l'] {
            assert!(rows.table.first(&rows.key(kind, &[])).expect("reads").is_none());
        }
        assert_eq!(keys(&rows, BLOCK).len(), 1);
    });
}

#[test]
fn while_the_disk_is_full_questions_are_answered_and_nothing_is_lost() {
    let hub = Hub::new();
    hub.publish("acme", "pump-7", &packs(0..3_000));
    hub.store.set_disk_free_bytes_min(u64::MAX);
    actix::System::new().block_on(async {
        let running = hub.start();
        let telemetry = running.address().expect("runs");
        while hub.counters.counted().failed == 0 {
            tokio::task::yield_now().await;
        }
        // What ended could not be stored, and is shown all the same.
        let seen = all(&hub.archive);
        assert!(!seen.is_empty() && seen == expected(0..seen.len() as i32), "{}", seen.len());
        hub.store.set_disk_free_bytes_min(0);
        telemetry.send(Settle { tenant: None }).await.expect("alive");
        assert_eq!(all(&hub.archive), expected(0..3_000));
        assert!(!keys(&hub.archive.rows(&id("acme")).expect("opens"), BLOCK).is_empty());
    });
}

#[test]
fn what_is_old_is_thinned_out_and_then_forgotten() {
    use muster_schemas::api::{KeepStreams, Retention};

    let hub = Hub::new();
    let rows = hub.archive.rows(&id("acme")).expect("opens");
    // Today is the day of second 0.
    for (number, day) in [(1, -100), (2, -40), (3, -1), (4, 0)] {
        let of = |second: i64| (day * 86_400 + second, "a", second as f64);
        store_item(&hub, &rows, number, &Origin::default(), &[of(0), of(10), of(20), of(30)]);
    }
    let rule = KeepStreams {
        streams: "cli*".to_owned(),
        full_days: Some(30),
        every_s: Some(3_600),
        coarse_days: Some(90),
    };
    actix::System::new().block_on(async {
        let running = hub.start();
        let telemetry = running.address().expect("runs");
        let bad = Retention { rules: vec![KeepStreams { full_days: Some(0), ..rule.clone() }] };
        let set = |rules| SetRetention { tenant: id("acme"), rules };
        assert!(matches!(telemetry.send(set(bad)).await.expect("alive"), Err(RetentionRefusal::Invalid(_))));
        let rules = Retention { rules: vec![rule] };
        assert_eq!(telemetry.send(set(rules.clone())).await.expect("alive"), Ok(()));
        telemetry.send(Settle { tenant: None }).await.expect("alive");
        let read = telemetry.send(ReadRetention { tenant: id("acme") }).await.expect("alive");
        assert_eq!(read, Ok(rules));
    });
    let mut named = BTreeMap::new();
    let mut visit = |chunk: &Chunk<'_>| {
        for column in chunk.columns {
            let day = (chunk.times_us[0] - NOW_US).div_euclid(86_400_000_000);
            named.insert((day, column.name.clone()), column.values.clone());
        }
        ControlFlow::Continue(())
    };
    let outcome = hub.archive.scan(&id("acme"), &Selection::default(), &View::all(), &mut visit);
    assert_eq!(outcome, Ok(()), "what was forgotten is not missed");
    let full = Values::Numbers(vec![0.0, 10.0, 20.0, 30.0]);
    let of = |day: i64, name: &str| named.get(&(day, name.to_owned()));
    assert_eq!((of(0, "a"), of(-1, "a")), (Some(&full), Some(&full)));
    // An hour begins before the day of NOW in the story.
    let coarse: Vec<_> = named.keys().filter(|(day, _)| *day < -1).map(|(_, name)| name.as_str()).collect();
    assert_eq!(coarse, ["a", "a#count", "a#max", "a#min"]);
    assert!(named.values().any(|values| *values == Values::Numbers(vec![15.0])));
}

#[test]
fn a_sealed_payload_is_kept_as_it_is() {
    let hub = Hub::new();
    let payload = [0xd8, 0x60, 0x84, 1, 2, 3];
    hub.publish("acme", "pump-7", &[payload.to_vec()]);
    actix::System::new().block_on(async {
        let running = hub.start();
        hub.has_read(1).await;
        running.address().expect("runs").send(Settle { tenant: None }).await.expect("alive");
        let (last, _) =
            hub.archive.last(&id("acme"), &Selection::default(), &View::all(), 10).expect("reads");
        assert_eq!((last[0].column.name.as_str(), last[0].time_us), ("sealed", NOW_US));
        assert_eq!(last[0].column.values, Values::Bytes(vec![Some(payload.to_vec())]));
    });
}

#[test]
fn a_tenant_that_withdraws_its_key_loses_nothing_and_is_read_on_when_it_gives_it_back() {
    let hub = Hub::new();
    let own = || muster_broker::store::SecretKey::from([9; 32]);
    hub.store.bring_key(&id("acme"), own(), false, 1).expect("brought");
    let payloads = |range: std::ops::Range<i32>| -> Vec<_> {
        range.map(|n| pack(NOW_S + f64::from(n), f64::from(n))).collect()
    };
    hub.publish("acme", "pump-7", &payloads(0..3));
    actix::System::new().block_on(async {
        let running = hub.start();
        let telemetry = running.address().expect("runs");
        last_is(&hub, "acme", 2.0).await;
        telemetry.send(Settle { tenant: None }).await.expect("alive");
        hub.publish("acme", "pump-7", &payloads(3..5));
        telemetry.send(LogGrew { tenant: id("acme"), announced: Arc::default() }).await.expect("alive");
        last_is(&hub, "acme", 4.0).await;

        hub.store.withdraw_key(&id("acme")).expect("withdrawn");
        telemetry.send(Settle { tenant: None }).await.expect("alive");
        let asked = hub.archive.last(&id("acme"), &Selection::default(), &View::all(), 10);
        assert_eq!(asked.expect_err("refused"), Refusal::KeyWithdrawn);
        assert!(hub.archive.live().tenant(&id("acme")).is_none(), "nothing of it is in memory");

        hub.store.bring_key(&id("acme"), own(), false, 2).expect("given back");
        telemetry.send(LogGrew { tenant: id("acme"), announced: Arc::default() }).await.expect("alive");
        last_is(&hub, "acme", 4.0).await;
        telemetry.send(Settle { tenant: None }).await.expect("alive");
        assert_eq!(all(&hub.archive), expected(0..5));
    });
}
