//! Pages against the whole, and cursors that are none.

use std::sync::Arc;

use muster_items::{Attributes, Column, ItemInfo, Values, View, memory::Memory};
use muster_schemas::{TenantId, api::ReadingValue};
use proptest::prelude::*;

use super::*;

const SECOND_US: i64 = 1_000_000;

fn tenant() -> TenantId {
    "acme".parse().expect("a tenant")
}

/// Streams of two devices, of two names with holes, in items of ten rows.
fn memory(rows: i64) -> Memory {
    let mut items = Vec::new();
    for (device, stream) in [("dev-1", "climate"), ("dev-1", "power"), ("dev-2", "climate")] {
        for from in (0..rows).step_by(10) {
            let times: Vec<i64> = (from..rows.min(from + 10)).map(|row| row * SECOND_US).collect();
            let numbers = |every: i64| {
                let of = times.iter().map(|time| time / SECOND_US);
                Values::Numbers(of.map(|row| if row % every == 0 { row as f64 } else { f64::NAN }).collect())
            };
            let columns = [("a", 1), ("b", 3)].map(|(name, every)| Column {
                name: name.to_owned(),
                unit: None,
                values: numbers(every),
            });
            let stream = StreamId { device: device.parse().expect("an id"), stream: stream.to_owned() };
            let item = ItemInfo {
                stream,
                from_us: times[0],
                to_us: times[times.len() - 1],
                attributes: Arc::new(Attributes::default()),
                cell: None,
                signer: None,
                hash: None,
            };
            items.push((item, times, columns.to_vec()));
        }
    }
    Memory { tenant: tenant(), items }
}

fn size(entries: usize) -> PageSize {
    PageSize::new(entries, PAGE_BYTES_MAX).expect("a size")
}

/// Asks page by page until there is no cursor.
fn paged<T>(mut page: impl FnMut(Option<&str>) -> (Vec<T>, Option<String>)) -> Vec<T> {
    let (mut all, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let (entries, next) = page(cursor.as_deref());
        all.extend(entries);
        match next {
            Some(next) => cursor = Some(next),
            None => return all,
        }
    }
}

proptest! {
    #[test]
    fn pages_put_together_are_the_whole(rows in 0_i64..60, entries in 1_usize..50, window_s in 1_u64..40) {
        let (memory, tenant, view) = (memory(rows), tenant(), View::all());
        let selection = Selection { from_us: Some(2 * SECOND_US), ..Selection::default() };
        let question = Question { history: &memory, tenant: &tenant, selection: &selection, view: &view };
        let whole = range(question, size(10_000), None).expect("a page");
        prop_assert_eq!(whole.next_cursor, None);
        let parts = paged(|cursor| {
            let page = range(question, size(entries), cursor).expect("a page");
            assert!(page.readings.len() <= entries);
            (page.readings, page.next_cursor)
        });
        prop_assert_eq!(parts, whole.readings);

        let windows = Windows::new(window_s * 1_000, true).expect("windows");
        let whole = downsample(question, windows, size(10_000), None).expect("a page");
        let parts = paged(|cursor| {
            let page = downsample(question, windows, size(entries), cursor).expect("a page");
            (page.buckets, page.next_cursor)
        });
        prop_assert_eq!(&parts, &whole.buckets);
        let mut lines = Vec::new();
        downsample_lines(question, windows, &mut lines).expect("lines");
        let lines: Vec<muster_schemas::api::history::Bucket> =
            lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
                .map(|line| serde_json::from_slice(line).expect("a bucket")).collect();
        prop_assert_eq!(lines, parts);

        let grouping = Grouping::new(vec!["device".to_owned(), "district".to_owned()], Some(windows), false);
        let whole = aggregate(question, &grouping, size(10_000), None).expect("a page");
        let parts = paged(|cursor| {
            let page = aggregate(question, &grouping, size(entries), cursor).expect("a page");
            (page.groups, page.next_cursor)
        });
        prop_assert_eq!(parts, whole.groups);
    }

    #[test]
    fn a_cursor_that_is_none_is_refused(cursor in "[A-Za-z0-9_=-]{0,80}") {
        let (memory, tenant, view) = (memory(3), tenant(), View::all());
        let selection = Selection::default();
        let question = Question { history: &memory, tenant: &tenant, selection: &selection, view: &view };
        prop_assert_eq!(range(question, size(1), Some(&cursor)), Err(QueryRefusal::Cursor));
    }
}

#[test]
fn a_cursor_is_good_for_its_own_question_only() {
    let (memory, tenant, view) = (memory(3), tenant(), View::all());
    let (all, power) =
        (Selection::default(), Selection { stream: Some("power".to_owned()), ..Selection::default() });
    let question = |selection| Question { history: &memory, tenant: &tenant, selection, view: &view };
    let page = range(question(&all), size(1), None).expect("a page");
    let cursor = page.next_cursor.expect("there is more");
    assert!(range(question(&all), size(1), Some(&cursor)).is_ok());
    assert_eq!(range(question(&power), size(1), Some(&cursor)), Err(QueryRefusal::Cursor));
    let windows = Windows::new(1_000, false).expect("windows");
    let refused = downsample(question(&all), windows, size(1), Some(&cursor));
    assert_eq!(refused, Err(QueryRefusal::Cursor));
    let long = "A".repeat(crate::limits::CURSOR_BYTES_MAX + 1);
    assert_eq!(range(question(&all), size(1), Some(&long)), Err(QueryRefusal::Cursor));
}

#[test]
fn a_page_is_bounded_in_entries_and_in_bytes() {
    assert_eq!(
        PageSize::new(PAGE_ENTRIES_MAX + 1, 1),
        Err(QueryRefusal::Limit { asked: PAGE_ENTRIES_MAX + 1, max: PAGE_ENTRIES_MAX })
    );
    assert!(PageSize::new(0, 1).is_err());
    let (memory, tenant, view, selection) = (memory(60), tenant(), View::all(), Selection::default());
    let question = Question { history: &memory, tenant: &tenant, selection: &selection, view: &view };
    let page = range(question, PageSize::new(10_000, 500).expect("a size"), None).expect("a page");
    assert!((2..10).contains(&page.readings.len()), "{}", page.readings.len());
    assert!(page.next_cursor.is_some());
}

#[test]
fn the_last_readings_are_those_of_each_name() {
    let (memory, tenant, view, selection) = (memory(5), tenant(), View::all(), Selection::default());
    let question = Question { history: &memory, tenant: &tenant, selection: &selection, view: &view };
    let page = last(question, size(100)).expect("a page");
    let said: Vec<_> = page.readings.iter().map(|r| (r.device.as_str(), r.name.as_str(), r.time_s)).collect();
    assert_eq!(said[..2], [("dev-1", "a", 4.0), ("dev-1", "b", 3.0)]);
    assert_eq!((page.readings.len(), page.truncated), (6, false));
    assert_eq!(page.readings[0].value, ReadingValue::Number(4.0));
    assert!(last(question, size(2)).expect("a page").truncated);
}

#[test]
fn a_window_shorter_than_a_millisecond_is_none() {
    assert_eq!(Windows::new(0, false), None);
    assert_eq!(Windows::new(u64::MAX, false), None);
}
