//! Against a naive oracle: all readings in a list.

use std::{collections::BTreeMap, ops::ControlFlow, sync::Arc};

use muster_schemas::TenantId;
use proptest::prelude::*;

use super::*;
use crate::{
    Attributes, Column, History as _, ItemInfo, QueryRefusal, Selection, StreamId, Values, View,
    memory::Memory,
};

fn tenant() -> TenantId {
    "acme".parse().expect("a tenant")
}

fn stream(number: u8) -> StreamId {
    StreamId { device: format!("dev-{number}").parse().expect("an id"), stream: "climate".to_owned() }
}

fn districts(names: &[&str]) -> Arc<Attributes> {
    let texts = names.iter().map(|name| (*name).to_owned()).collect();
    Arc::new(Attributes(BTreeMap::from([("district".to_owned(), texts)])))
}

fn item(number: u8, attributes: &Arc<Attributes>, times: &[i64]) -> ItemInfo {
    ItemInfo {
        stream: stream(number),
        from_us: times.first().copied().unwrap_or_default(),
        to_us: times.last().copied().unwrap_or_default(),
        attributes: Arc::clone(attributes),
        cell: None,
        signer: None,
        hash: None,
    }
}

fn numbers(name: &str, values: Vec<f64>) -> Column {
    Column { name: name.to_owned(), unit: None, values: Values::Numbers(values) }
}

/// One reading as the oracle sees it: device, district, time, value.
type Told = (u8, u8, i64, f64);

/// What is in a group's window: device, time, value.
type Grouped = BTreeMap<(&'static str, Option<i64>), Vec<(u8, i64, f64)>>;

/// Readings of up to three devices, each in items of two districts, whose items overlap in time.
fn told() -> impl Strategy<Value = Vec<Told>> {
    let one = (0_u8..3, 0_u8..2, -5_000_i64..5_000, prop_oneof![Just(f64::NAN), -1e6..1e6_f64]);
    proptest::collection::vec(one, 0..200).prop_map(|mut told| {
        // A name of a stream has one reading at a time, in whichever item.
        told.sort_by_key(|(device, _, time, _)| (*device, *time));
        told.dedup_by_key(|(device, _, time, _)| (*device, *time));
        told
    })
}

fn memory(told: &[Told], rows_max: usize) -> Memory {
    let places = [districts(&["north"]), districts(&["south", "east"])];
    let mut items = Vec::new();
    for device in 0..3_u8 {
        let mut of_device = Vec::new();
        for district in 0..2_u8 {
            let rows: Vec<&Told> =
                told.iter().filter(|told| (told.0, told.1) == (device, district)).collect();
            for rows in rows.chunks(rows_max) {
                let times: Vec<i64> = rows.iter().map(|told| told.2).collect();
                let values = rows.iter().map(|told| told.3).collect();
                let item = item(device, &places[usize::from(district)], &times);
                of_device.push((item, times, vec![numbers("t", values)]));
            }
        }
        of_device.sort_by_key(|(item, ..)| item.from_us);
        items.extend(of_device);
    }
    Memory { tenant: tenant(), items }
}

/// Count, sum, smallest, largest, first, last, median of what the oracle found.
fn close(figures: &Figures, values: &[(i64, f64)]) {
    let Figures::Numbers(found) = figures else { panic!("numbers") };
    let count = values.len();
    assert_eq!(found.count, count as u64);
    let sum: f64 = values.iter().map(|(_, value)| value).sum();
    assert!((found.sum - sum).abs() <= 1e-6 * count as f64, "{} is not {sum}", found.sum);
    assert!((found.mean() - sum / count as f64).abs() <= 1e-6);
    assert_eq!(found.min, values.iter().map(|(_, value)| *value).fold(f64::INFINITY, f64::min));
    assert_eq!(found.max, values.iter().map(|(_, value)| *value).fold(f64::NEG_INFINITY, f64::max));
    let (first, last) = (values.iter().map(|v| v.0).min(), values.iter().map(|v| v.0).max());
    assert_eq!((Some(found.first_us), Some(found.last_us)), (first, last));
    let mut sorted: Vec<f64> = values.iter().map(|(_, value)| *value).collect();
    sorted.sort_by(f64::total_cmp);
    let median = (sorted[(count - 1) / 2] + sorted[count / 2]) / 2.0;
    if let Some(percentiles) = found.percentiles {
        assert!(percentiles.exact && (percentiles.p50 - median).abs() < 1e-6, "{percentiles:?}, {median}");
        assert!(percentiles.p50 <= percentiles.p90 && percentiles.p90 <= percentiles.p95);
        assert!(percentiles.p95 <= percentiles.p99 && percentiles.p99 <= found.max);
    }
}

fn downsampled(memory: &Memory, selection: &Selection, window_us: i64) -> Vec<(StreamId, Bucket)> {
    let mut buckets = Vec::new();
    let mut downsample = Downsample::new(window_us, true);
    let mut keep = |stream: &StreamId, bucket| {
        buckets.push((stream.clone(), bucket));
        ControlFlow::Continue(())
    };
    scan_in_order(memory, &tenant(), selection, &View::all(), &mut |stream, rows| {
        downsample.take(stream, rows, &mut keep).expect("bounded")
    })
    .expect("scanned");
    assert!(downsample.end(&mut keep).is_continue());
    buckets
}

proptest! {
    #[test]
    fn rows_come_strictly_by_time_and_all_of_them(told in told(), rows_max in 1_usize..20) {
        let memory = memory(&told, rows_max);
        let mut seen = Vec::new();
        scan_in_order(&memory, &tenant(), &Selection::default(), &View::all(), &mut |stream, rows| {
            for (place, time) in rows.times_us.iter().enumerate() {
                let value = rows.columns[0].values.value_at(place);
                seen.push((stream.clone(), *time, value.map(|value| format!("{value:?}"))));
            }
            ControlFlow::Continue(())
        }).expect("scanned");
        let expected: Vec<_> = told.iter().map(|(device, _, time, value)| {
            let value = (!value.is_nan()).then(|| format!("{:?}", Value::Number(*value)));
            (stream(*device), *time, value)
        }).collect();
        prop_assert_eq!(seen, expected);
    }

    #[test]
    fn a_window_says_what_its_readings_say_and_an_empty_one_says_nothing(
        told in told(), rows_max in 1_usize..20, window_us in 1_i64..3_000,
    ) {
        let found = downsampled(&memory(&told, rows_max), &Selection::default(), window_us);
        let mut expected: BTreeMap<(StreamId, i64), Vec<(i64, f64)>> = BTreeMap::new();
        for (device, _, time, value) in told.iter().filter(|told| !told.3.is_nan()) {
            let from = time.div_euclid(window_us) * window_us;
            expected.entry((stream(*device), from)).or_default().push((*time, *value));
        }
        let keys: Vec<_> = found.iter().map(|(stream, bucket)| (stream.clone(), bucket.from_us)).collect();
        prop_assert_eq!(keys, expected.keys().cloned().collect::<Vec<_>>());
        for ((_, bucket), values) in found.iter().zip(expected.values()) {
            close(&bucket.figures, values);
        }
    }

    #[test]
    fn a_group_says_what_its_items_say_however_the_work_is_split(
        told in told(), rows_max in 1_usize..20, window_us in prop::option::of(500_i64..20_000),
    ) {
        let memory = memory(&told, rows_max);
        let by = || vec![By::Attribute("district".to_owned())];
        let mut whole = Aggregate::new(by(), window_us, true);
        let mut parts: Vec<Aggregate> = (0..3).map(|_| Aggregate::new(by(), window_us, true)).collect();
        memory.scan(&tenant(), &Selection::default(), &View::all(), &mut |chunk| {
            whole.take(chunk).expect("bounded");
            let number = (0..3).find(|number| stream(*number) == chunk.item.stream).expect("one of three");
            parts[usize::from(number)].take(chunk).expect("bounded");
            ControlFlow::Continue(())
        }).expect("scanned");
        let mut merged = Aggregate::new(by(), window_us, true);
        parts.iter().for_each(|part| merged.merge(part).expect("bounded"));

        let mut expected: Grouped = BTreeMap::new();
        for (device, district, time, value) in told.iter().filter(|told| !told.3.is_nan()) {
            let window = window_us.map(|window| time.div_euclid(window) * window);
            let names: &[&'static str] = if *district == 0 { &["north"] } else { &["south", "east"] };
            for name in names {
                expected.entry((name, window)).or_default().push((*device, *time, *value));
            }
        }
        for found in [whole.end(), merged.end()] {
            let keys: Vec<_> = found
                .iter().map(|bucket| (bucket.group[0].as_deref().unwrap_or("-"), bucket.from_us)).collect();
            prop_assert_eq!(keys, expected.keys().copied().collect::<Vec<_>>());
            for (bucket, readings) in found.iter().zip(expected.values()) {
                let mut devices: Vec<u8> = readings.iter().map(|reading| reading.0).collect();
                devices.sort_unstable();
                devices.dedup();
                prop_assert_eq!(bucket.streams, devices.len() as u64);
                close(&bucket.figures, &readings.iter().map(|(_, time, value)| (*time, *value)).collect::<Vec<_>>());
            }
        }
    }
}

#[test]
fn windows_begin_at_whole_hours_of_utc_before_1970_too() {
    let hour = 3_600_000_000;
    assert_eq!(window_start(1, hour), 0);
    assert_eq!(window_start(-1, hour), -hour);
    assert_eq!(window_start(hour, hour), hour);
    assert_eq!(window_start(i64::MIN, hour), i64::MIN);
}

#[test]
fn of_texts_and_bools_the_count_and_the_last_are_told() {
    let times = vec![1, 2, 3];
    let texts = Values::Texts(vec![Some("on".to_owned()), Some("off".to_owned()), None]);
    let bools = Values::Bools(vec![None, Some(true), Some(false)]);
    let columns = vec![
        Column { name: "door".to_owned(), unit: None, values: bools },
        Column { name: "mode".to_owned(), unit: None, values: texts },
    ];
    let none = Arc::new(Attributes::default());
    let memory = Memory { tenant: tenant(), items: vec![(item(0, &none, &times), times, columns)] };
    let found = downsampled(&memory, &Selection::default(), 1_000);
    let said: Vec<_> = found
        .iter()
        .map(|(_, bucket)| match &bucket.figures {
            Figures::Others(others) => (bucket.measure.name.as_str(), others.count, others.last()),
            Figures::Numbers(_) => panic!("no numbers"),
        })
        .collect();
    assert_eq!(said, [("door", 2, Some(Value::Bool(false))), ("mode", 2, Some(Value::Text("off")))]);
}

#[test]
fn percentiles_of_many_values_are_within_a_percent() {
    let times: Vec<i64> = (0..100_000).collect();
    let values: Vec<f64> = times.iter().map(|time| ((time * 7_919) % 100_000) as f64 - 20_000.0).collect();
    let none = Arc::new(Attributes::default());
    let columns = vec![numbers("t", values)];
    let memory = Memory { tenant: tenant(), items: vec![(item(0, &none, &times), times, columns)] };
    let found = downsampled(&memory, &Selection::default(), 1_000_000);
    let [(_, Bucket { figures: Figures::Numbers(numbers), .. })] = &found[..] else { panic!("{found:?}") };
    let percentiles = numbers.percentiles.expect("asked for");
    assert!(!percentiles.exact);
    for (found, expected) in
        [(percentiles.p50, 30_000.0), (percentiles.p90, 70_000.0), (percentiles.p99, 79_000.0)]
    {
        assert!((found - expected).abs() <= 0.011 * f64::abs(expected), "{found} is not {expected}");
    }
}

#[test]
fn more_groups_than_are_held_are_refused_and_not_cut_short() {
    let none = Arc::new(Attributes::default());
    let times: Vec<i64> = (0..=AGGREGATE_BUCKETS_MAX as i64).collect();
    let columns = vec![numbers("t", times.iter().map(|time| *time as f64).collect())];
    let memory = Memory { tenant: tenant(), items: vec![(item(0, &none, &times), times, columns)] };
    let mut aggregate = Aggregate::new(vec![By::Device], Some(1), false);
    let mut outcome = Ok(());
    memory
        .scan(&tenant(), &Selection::default(), &View::all(), &mut |chunk| {
            outcome = aggregate.take(chunk);
            ControlFlow::Break(())
        })
        .expect("scanned");
    assert_eq!(outcome, Err(TooWide::Buckets { max: AGGREGATE_BUCKETS_MAX }));
}

#[test]
fn what_a_view_does_not_show_is_not_counted() {
    let told = [(0, 0, 1, 1.0), (0, 1, 2, 10.0), (1, 0, 3, 100.0)];
    let memory = memory(&told, 10);
    let north = |item: &ItemInfo| item.attributes.texts("district").any(|text| text == "north");
    let view = View::filtered(Arc::new(north), true);
    let mut aggregate = Aggregate::new(Vec::new(), None, false);
    memory
        .scan(&tenant(), &Selection::default(), &view, &mut |chunk| {
            aggregate.take(chunk).expect("bounded");
            ControlFlow::Continue(())
        })
        .expect("scanned");
    let [bucket] = &aggregate.end()[..] else { panic!("one bucket") };
    assert_eq!(bucket.streams, 2);
    close(&bucket.figures, &[(1, 1.0), (3, 100.0)]);
}

#[test]
fn another_tenant_is_unknown() {
    let memory = memory(&[], 10);
    let other: TenantId = "globex".parse().expect("a tenant");
    let none = Selection::default();
    let refusal = scan_in_order(&memory, &other, &none, &View::all(), &mut |_, _| ControlFlow::Continue(()));
    assert_eq!(refusal, Err(QueryRefusal::TenantUnknown));
}

/// `cargo test --release -p muster-items -- --ignored --nocapture a_million`
#[test]
#[ignore = "measures, in release"]
#[expect(clippy::print_stdout, reason = "this measures")]
fn a_million_points_are_downsampled_in_a_tenth_of_a_second() {
    let none = Arc::new(Attributes::default());
    let mut items = Vec::new();
    // A hundred streams of ten names, a reading each second, in items of 1,000 rows: 1,000,000 points.
    for device in 0..100_u8 {
        let times: Vec<i64> = (0..1_000).map(|second| second * 1_000_000).collect();
        let column = |name| numbers(&format!("n{name}"), times.iter().map(|t| *t as f64 * 0.1).collect());
        items.push((item(device, &none, &times), times.clone(), (0..10).map(column).collect()));
    }
    let memory = Memory { tenant: tenant(), items };
    for (window_s, percentiles) in [(1, false), (60, false), (600, false), (60, true)] {
        let (mut buckets, mut best) = (0, std::time::Duration::MAX);
        for _ in 0..5 {
            buckets = 0;
            let began = muster_clock();
            let mut downsample = Downsample::new(window_s * 1_000_000, percentiles);
            let mut count = |_: &StreamId, _| {
                buckets += 1;
                ControlFlow::Continue(())
            };
            scan_in_order(&memory, &tenant(), &Selection::default(), &View::all(), &mut |stream, rows| {
                downsample.take(stream, rows, &mut count).expect("bounded")
            })
            .expect("scanned");
            let _ = downsample.end(&mut count);
            best = best.min(began.elapsed());
        }
        println!(
            "1,000,000 points, windows of {window_s} s, percentiles {percentiles}: {buckets} buckets, {best:?}"
        );
        assert!(window_s < 60 || best.as_millis() < 100, "{best:?}");
    }
}

#[expect(clippy::disallowed_methods, reason = "this measures")]
fn muster_clock() -> std::time::Instant {
    std::time::Instant::now()
}
