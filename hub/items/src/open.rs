//! An open item: readings that are gathered in memory until the item ends. Taking one in costs nothing but its place as
//! long as a device says the same names in the same order, which is what devices do.

use crate::{Column, Rows, Values};

/// What was measured, borrowed from where it was read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar<'a> {
    /// A finite number.
    Number(f64),
    /// A text.
    Text(&'a str),
    /// True or false.
    Bool(bool),
    /// Bytes.
    Bytes(&'a [u8]),
}

/// A name in its parts, as a pack has them: base name, name, and what is added to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name<'a>(pub [&'a str; 3]);

/// Rows in the order in which they came. Cheap to add to; sorted when it is read.
#[derive(Debug, Clone, Default)]
pub struct OpenItem {
    times_us: Vec<i64>,
    columns: Vec<Column>,
    /// Whether the times do not ascend, each once.
    unsorted: bool,
    /// The column that comes next if the names come in the order of the message before.
    next: usize,
    bounds_us: Option<(i64, i64)>,
    bytes: usize,
}

/// Bytes of a column beside its values.
const COLUMN_BYTES: usize = 160;

impl<'a> From<&'a str> for Name<'a> {
    fn from(name: &'a str) -> Self {
        Self(["", name, ""])
    }
}

impl Name<'_> {
    /// Whether it is this one.
    pub fn is(&self, name: &str) -> bool {
        let Self([base, own, suffix]) = self;
        name.len() == base.len() + own.len() + suffix.len()
            && name.strip_prefix(base).and_then(|rest| rest.strip_prefix(own)) == Some(suffix)
    }

    /// The name in one piece.
    pub fn joined(&self) -> String {
        self.0.concat()
    }
}

impl OpenItem {
    /// Takes in a reading. One of the same name and time is replaced.
    pub fn add(&mut self, time_us: i64, name: Name<'_>, unit: Option<&str>, value: Scalar<'_>) {
        let row = self.row(time_us);
        let column = self.column(name, unit, value);
        let Some(column) = self.columns.get_mut(column) else { return };
        self.bytes += column.values.set(row, value);
    }

    /// How many columns there are.
    pub fn columns(&self) -> usize {
        self.columns.len()
    }

    /// Whether a reading of this name, unit and kind would need a new column.
    pub fn is_new(&self, name: Name<'_>, unit: Option<&str>, value: Scalar<'_>) -> bool {
        let hinted = self.columns.get(self.next).is_some_and(|column| is_of(column, name, unit, value));
        !hinted && !self.columns.iter().any(|column| is_of(column, name, unit, value))
    }

    /// How many rows there are; a time that came out of order may count twice until they are sorted.
    pub fn rows(&self) -> usize {
        self.times_us.len()
    }

    /// Whether there is no reading.
    pub fn is_empty(&self) -> bool {
        self.times_us.is_empty()
    }

    /// About how many bytes of memory it takes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The first and the last time.
    pub fn bounds_us(&self) -> Option<(i64, i64)> {
        self.bounds_us
    }

    /// Sorts the rows and joins those of one time, which may make room.
    pub fn settle(&mut self) {
        if self.unsorted {
            let Rows { times_us, columns } = self.sorted();
            self.times_us = times_us;
            self.columns = columns;
            self.unsorted = false;
            self.next = 0;
            self.bytes = self.columns.iter().map(|column| COLUMN_BYTES + column.values.bytes()).sum();
            self.bytes += self.times_us.len() * 8;
        }
    }

    /// The rows by time.
    pub fn sorted(&self) -> Rows {
        if self.unsorted {
            return Rows::merged([(&self.times_us[..], &self.columns[..])]);
        }
        let mut columns = self.columns.clone();
        columns.iter_mut().for_each(|column| column.values.pad(self.times_us.len()));
        columns.sort_by(|one, other| one.order().cmp(&other.order()));
        Rows { times_us: self.times_us.clone(), columns }
    }

    /// As [`OpenItem::sorted`], without a copy.
    pub fn into_rows(mut self) -> Rows {
        if self.unsorted {
            return self.sorted();
        }
        self.columns.iter_mut().for_each(|column| column.values.pad(self.times_us.len()));
        self.columns.sort_by(|one, other| one.order().cmp(&other.order()));
        Rows { times_us: self.times_us, columns: self.columns }
    }

    /// The newest place at which each column has a value, with its time.
    pub fn newest(&self) -> impl Iterator<Item = (&Column, usize, i64)> {
        self.columns.iter().filter_map(|column| {
            let mut places = (0..column.values.len()).rev().filter(|place| column.values.is_there(*place));
            let time = |place: usize| self.times_us.get(place).copied().unwrap_or(i64::MIN);
            let last = places.next()?;
            let place = if self.unsorted {
                // Of two at the same time the later one stands.
                places.fold(last, |newest, place| if time(place) > time(newest) { place } else { newest })
            } else {
                last
            };
            Some((column, place, time(place)))
        })
    }

    fn row(&mut self, time_us: i64) -> usize {
        if let Some(last) = self.times_us.last() {
            if *last == time_us {
                return self.times_us.len() - 1;
            }
            if *last > time_us && !self.unsorted {
                match self.times_us.binary_search(&time_us) {
                    Ok(row) => return row,
                    Err(_) => self.unsorted = true,
                }
            }
        }
        let (first, last) = self.bounds_us.unwrap_or((time_us, time_us));
        self.bounds_us = Some((first.min(time_us), last.max(time_us)));
        self.times_us.push(time_us);
        self.bytes += 8;
        self.times_us.len() - 1
    }

    fn column(&mut self, name: Name<'_>, unit: Option<&str>, value: Scalar<'_>) -> usize {
        let hint = self.next;
        if !self.columns.get(hint).is_some_and(|column| is_of(column, name, unit, value)) {
            let found = self.columns.iter().position(|column| is_of(column, name, unit, value));
            self.next = found.unwrap_or_else(|| {
                let values = match value {
                    Scalar::Number(_) => Values::Numbers(Vec::new()),
                    Scalar::Text(_) => Values::Texts(Vec::new()),
                    Scalar::Bool(_) => Values::Bools(Vec::new()),
                    Scalar::Bytes(_) => Values::Bytes(Vec::new()),
                };
                let (name, unit) = (name.joined(), unit.map(str::to_owned));
                self.bytes += COLUMN_BYTES + name.len();
                self.columns.push(Column { name, unit, values });
                self.columns.len() - 1
            });
        }
        let column = self.next;
        self.next = if column + 1 < self.columns.len() { column + 1 } else { 0 };
        column
    }
}

fn is_of(column: &Column, name: Name<'_>, unit: Option<&str>, value: Scalar<'_>) -> bool {
    let kind = matches!(
        (&column.values, value),
        (Values::Numbers(_), Scalar::Number(_))
            | (Values::Texts(_), Scalar::Text(_))
            | (Values::Bools(_), Scalar::Bool(_))
            | (Values::Bytes(_), Scalar::Bytes(_))
    );
    kind && name.is(&column.name) && column.unit.as_deref() == unit
}

impl Values {
    /// Sets the value of a row, and says by how many bytes that is more.
    fn set(&mut self, row: usize, value: Scalar<'_>) -> usize {
        fn set<T: Clone>(values: &mut Vec<T>, row: usize, value: T, nothing: T) -> usize {
            let before = values.len();
            if row == before {
                values.push(value);
                return size_of::<T>();
            }
            if row > before {
                values.resize(row + 1, nothing);
            }
            if let Some(place) = values.get_mut(row) {
                *place = value;
            }
            (values.len() - before) * size_of::<T>()
        }
        match (self, value) {
            (Self::Numbers(numbers), Scalar::Number(number)) => set(numbers, row, number, f64::NAN),
            (Self::Texts(texts), Scalar::Text(text)) => {
                text.len() + set(texts, row, Some(text.to_owned()), None)
            }
            (Self::Bools(bools), Scalar::Bool(value)) => set(bools, row, Some(value), None),
            (Self::Bytes(all), Scalar::Bytes(bytes)) => {
                bytes.len() + set(all, row, Some(bytes.to_vec()), None)
            }
            _ => 0,
        }
    }

    /// Has at least so many places.
    fn pad(&mut self, places: usize) {
        match self {
            Self::Numbers(numbers) => numbers.resize(places, f64::NAN),
            Self::Texts(texts) => texts.resize(places, None),
            Self::Bools(bools) => bools.resize(places, None),
            Self::Bytes(bytes) => bytes.resize(places, None),
        }
    }

    /// About how many bytes of memory they take.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Numbers(numbers) => size_of_val(numbers.as_slice()),
            Self::Texts(texts) => {
                size_of_val(texts.as_slice()) + texts.iter().flatten().map(String::len).sum::<usize>()
            }
            Self::Bools(bools) => size_of_val(bools.as_slice()),
            Self::Bytes(bytes) => {
                size_of_val(bytes.as_slice()) + bytes.iter().flatten().map(Vec::len).sum::<usize>()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(item: &mut OpenItem, time: i64, name: &str, value: f64) {
        item.add(time, name.into(), None, Scalar::Number(value));
    }

    fn column(rows: &Rows, name: &str) -> Vec<f64> {
        let found = rows.columns.iter().find(|column| column.name == name).expect("a column");
        match &found.values {
            Values::Numbers(numbers) => numbers.clone(),
            other => panic!("not numbers: {other:?}"),
        }
    }

    #[test]
    fn readings_of_one_time_are_one_row_and_columns_are_by_name() {
        let mut item = OpenItem::default();
        for time in 0..3 {
            add(&mut item, time, "b", 10.0 + time as f64);
            add(&mut item, time, "a", time as f64);
        }
        let rows = item.sorted();
        assert_eq!((rows.times_us.len(), item.rows()), (3, 3));
        assert_eq!(rows.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(column(&rows, "b"), [10.0, 11.0, 12.0]);
        assert_eq!(item.bounds_us(), Some((0, 2)));
        assert_eq!(item.clone().into_rows(), rows);
    }

    #[test]
    fn a_reading_that_comes_again_replaces_itself_in_order_or_not() {
        let mut item = OpenItem::default();
        for (time, value) in [(5, 1.0), (9, 2.0), (5, 3.0), (7, 4.0), (9, 5.0), (7, 6.0)] {
            add(&mut item, time, "a", value);
        }
        let rows = item.sorted();
        assert_eq!(rows.times_us, [5, 7, 9]);
        assert_eq!(column(&rows, "a"), [3.0, 6.0, 5.0]);
        assert_eq!(item.newest().map(|(_, _, time)| time).collect::<Vec<_>>(), [9]);
        item.settle();
        assert_eq!(item.rows(), 3);
        assert_eq!(item.sorted(), rows);
    }

    #[test]
    fn a_pack_that_tells_name_by_name_makes_no_rows_twice() {
        let mut item = OpenItem::default();
        for name in ["a", "b", "c"] {
            (0..100).for_each(|time| add(&mut item, time, name, time as f64));
        }
        assert_eq!(item.rows(), 100);
        assert!(!item.unsorted);
    }

    #[test]
    fn a_unit_and_a_kind_make_a_column_of_their_own() {
        let mut item = OpenItem::default();
        item.add(1, "a".into(), Some("Cel"), Scalar::Number(1.0));
        assert!(!item.is_new("a".into(), Some("Cel"), Scalar::Number(9.0)));
        assert!(item.is_new("a".into(), Some("K"), Scalar::Number(9.0)));
        item.add(1, "a".into(), Some("K"), Scalar::Number(2.0));
        item.add(1, "a".into(), Some("K"), Scalar::Text("warm"));
        item.add(2, "a".into(), None, Scalar::Bytes(b"x"));
        item.add(2, "a".into(), None, Scalar::Bool(true));
        let rows = item.sorted();
        assert_eq!(rows.columns.len(), 5);
        assert!(rows.columns.iter().all(|column| column.values.len() == 2));
    }

    #[test]
    fn names_in_parts_are_the_names_that_they_make() {
        let name = Name(["urn:dev:", "load", "#sum"]);
        assert!(name.is("urn:dev:load#sum"));
        assert_eq!(name.joined(), "urn:dev:load#sum");
        for other in ["urn:dev:load", "urn:dev:load#sun", "urn:dex:load#sum", ""] {
            assert!(!name.is(other), "{other}");
        }
    }
}
