//! How long a tenant keeps what, and what becomes of it when it is old: rows in the coarse, or nothing.

use crate::{Column, OpenItem, Rows, Scalar};

/// How long streams of one kind are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keep {
    /// The name of the streams; `*` at its end stands for anything.
    pub streams: String,
    /// Days for which readings are kept as they came; for ever if there are none.
    pub full_days: Option<u32>,
    /// What is kept of them after that; nothing if there is none.
    pub coarse: Option<Coarse>,
}

/// One row where there were many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coarse {
    /// Seconds of each row.
    pub every_s: u32,
    /// Days for which such rows are kept, counted from when they were measured; for ever if there are none.
    pub days: Option<u32>,
}

/// The rules of a tenant: the first that names a stream holds, and what none names is kept for ever.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Retention(pub Vec<Keep>);

impl Retention {
    /// The rule for a stream.
    pub fn of(&self, stream: &str) -> Option<&Keep> {
        self.0.iter().find(|keep| match keep.streams.strip_suffix('*') {
            Some(begin) => stream.starts_with(begin),
            None => stream == keep.streams,
        })
    }
}

impl Keep {
    /// The first day that is kept at all, if today is that day; none if all are.
    pub fn first_day(&self, today: i64) -> Option<i64> {
        let full = self.full_days?;
        match self.coarse {
            None => Some(today.saturating_sub(i64::from(full))),
            Some(coarse) => Some(today.saturating_sub(i64::from(coarse.days?.max(full)))),
        }
    }

    /// The first day that is kept as it came, and what is kept of those before it; none if all are, or nothing is.
    pub fn first_full_day(&self, today: i64) -> Option<(i64, Coarse)> {
        Some((today.saturating_sub(i64::from(self.full_days?)), self.coarse?))
    }
}

/// One row for each `every_s` seconds that have readings, at their beginning. Of numbers there are the mean under the same
/// name and `#min`, `#max` and `#count`, which no SenML name can end with; of everything else the last.
#[must_use]
pub fn coarse(rows: &Rows, every_s: u32) -> Rows {
    let every_us = i64::from(every_s.max(1)) * 1_000_000;
    let begins = |time_us: i64| time_us.div_euclid(every_us).saturating_mul(every_us);
    let mut item = OpenItem::default();
    for column in &rows.columns {
        let mut at = 0;
        while let Some(begin_us) = rows.times_us.get(at).map(|time| begins(*time)) {
            let mut end = at;
            while rows.times_us.get(end).is_some_and(|time| begins(*time) == begin_us) {
                end += 1;
            }
            put(&mut item, column, at..end, begin_us);
            at = end;
        }
    }
    item.into_rows()
}

fn put(item: &mut OpenItem, column: &Column, places: std::ops::Range<usize>, time_us: i64) {
    let (name, unit) = (column.name.as_str(), column.unit.as_deref());
    let scalars = places.filter_map(|place| column.values.scalar(place));
    let mut last = None;
    let (mut count, mut sum, mut least, mut most) = (0.0, 0.0, f64::INFINITY, f64::NEG_INFINITY);
    for scalar in scalars {
        if let Scalar::Number(number) = scalar {
            count += 1.0;
            sum += number;
            least = least.min(number);
            most = most.max(number);
        }
        last = Some(scalar);
    }
    if count > 0.0 {
        // A sum beyond all numbers has a mean within them.
        let mean = (sum / count).clamp(least, most);
        for (suffix, number, unit) in
            [("", mean, unit), ("#min", least, unit), ("#max", most, unit), ("#count", count, None)]
        {
            item.add(time_us, crate::Name(["", name, suffix]), unit, Scalar::Number(number));
        }
    } else if let Some(last) = last {
        item.add(time_us, name.into(), unit, last);
    }
}

#[cfg(test)]
mod tests {
    use crate::Values;

    use super::*;

    #[test]
    fn the_first_rule_that_names_a_stream_holds() {
        let keep = |streams: &str, full_days| Keep { streams: streams.to_owned(), full_days, coarse: None };
        let rules = Retention(vec![keep("power", Some(5)), keep("po*", Some(9)), keep("climate", None)]);
        let days = |stream: &str| rules.of(stream).map(|keep| keep.full_days);
        assert_eq!(
            [days("power"), days("ports"), days("climate"), days("door")],
            [Some(Some(5)), Some(Some(9)), Some(None), None]
        );
    }

    #[test]
    fn days_end_where_the_rule_says() {
        let mut keep = Keep { streams: String::new(), full_days: Some(30), coarse: None };
        assert_eq!((keep.first_day(100), keep.first_full_day(100)), (Some(70), None));
        let coarse = Coarse { every_s: 60, days: Some(90) };
        keep.coarse = Some(coarse);
        assert_eq!((keep.first_day(100), keep.first_full_day(100)), (Some(10), Some((70, coarse))));
        keep.coarse = Some(Coarse { days: None, ..coarse });
        assert_eq!(keep.first_day(100), None);
        keep.full_days = None;
        assert_eq!((keep.first_day(100), keep.first_full_day(100)), (None, None));
    }

    #[test]
    fn coarse_rows_tell_mean_bounds_and_count_and_gaps_stay() {
        let mut item = OpenItem::default();
        for (second, number) in [(0, 1.0), (59, 2.0), (60, 5.0), (200, 7.0)] {
            item.add(second * 1_000_000, "a".into(), Some("Cel"), Scalar::Number(number));
        }
        item.add(5_000_000, "b".into(), None, Scalar::Text("on"));
        item.add(7_000_000, "b".into(), None, Scalar::Text("off"));
        let rows = coarse(&item.into_rows(), 60);
        assert_eq!(rows.times_us, [0, 60_000_000, 180_000_000]);
        let of = |name: &str| {
            rows.columns.iter().find(|column| column.name == name).expect("is there").values.clone()
        };
        assert_eq!(of("a"), Values::Numbers(vec![1.5, 5.0, 7.0]));
        assert_eq!(of("a#min"), Values::Numbers(vec![1.0, 5.0, 7.0]));
        assert_eq!(of("a#max"), Values::Numbers(vec![2.0, 5.0, 7.0]));
        assert_eq!(of("a#count"), Values::Numbers(vec![2.0, 1.0, 1.0]));
        assert_eq!(of("b"), Values::Texts(vec![Some("off".to_owned()), None, None]));
    }
}
