//! Rows by time: what an item holds, whichever way it came. Sorting, joining and cutting of columns is done here alone.

use crate::{Column, OpenItem, Scalar, Values};

/// Columns that share one column of times.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rows {
    /// Microseconds since 1970, ascending, each once.
    pub times_us: Vec<i64>,
    /// By name, unit and kind; every column has as many places as there are times.
    pub columns: Vec<Column>,
}

impl Rows {
    /// All the rows of several, by time. Where two say something of the same name at the same time, the later of them
    /// stands: by its place in `parts`, and within a part by its place there. The parts need not be sorted.
    pub fn merged<'a>(parts: impl IntoIterator<Item = (&'a [i64], &'a [Column])>) -> Self {
        let parts: Vec<_> = parts.into_iter().collect();
        let mut order: Vec<(i64, usize, usize)> = Vec::new();
        for (part, (times_us, _)) in parts.iter().enumerate() {
            order.extend(times_us.iter().enumerate().map(|(row, time_us)| (*time_us, part, row)));
        }
        order.sort_unstable();
        let mut times_us: Vec<i64> = Vec::with_capacity(order.len());
        let mut places: Vec<Vec<usize>> = parts.iter().map(|(times, _)| vec![0; times.len()]).collect();
        for (time_us, part, row) in order {
            if times_us.last() != Some(&time_us) {
                times_us.push(time_us);
            }
            if let Some(place) = places.get_mut(part).and_then(|places| places.get_mut(row)) {
                *place = times_us.len() - 1;
            }
        }
        let mut columns: Vec<Column> = Vec::new();
        for ((_, from), places) in parts.iter().zip(&places) {
            for column in *from {
                let found = columns.iter_mut().find(|known| known.is_alike(column));
                let into = match found {
                    Some(known) => known,
                    None => {
                        let values = column.values.empty(times_us.len());
                        let (name, unit) = (column.name.clone(), column.unit.clone());
                        columns.push(Column { name, unit, values });
                        let Some(last) = columns.last_mut() else { continue };
                        last
                    }
                };
                into.values.put_all(&column.values, places);
            }
        }
        columns.sort_by(|one, other| one.order().cmp(&other.order()));
        Self { times_us, columns }
    }

    /// The rows from one time up to but without another.
    #[must_use]
    pub fn between(mut self, from_us: Option<i64>, to_us: Option<i64>) -> Self {
        let from = from_us.map_or(0, |from| self.times_us.partition_point(|time| *time < from));
        let to = to_us
            .map_or(self.times_us.len(), |to| self.times_us.partition_point(|time| *time < to))
            .max(from);
        if (from, to) != (0, self.times_us.len()) {
            self.times_us.truncate(to);
            self.times_us.drain(..from);
            for column in &mut self.columns {
                column.values.cut(from, to);
            }
        }
        self
    }

    /// Takes out what `others` hold already, name by name and time by time, and then rows without any value.
    pub fn take_out(&mut self, others: &Self) {
        for column in &mut self.columns {
            let Some(other) = others.columns.iter().find(|other| other.is_alike(column)) else { continue };
            for (place, time) in self.times_us.iter().enumerate() {
                if let Ok(there) = others.times_us.binary_search(time)
                    && other.values.is_there(there)
                {
                    column.values.clear(place);
                }
            }
        }
        self.columns.retain(|column| (0..self.times_us.len()).any(|place| column.values.is_there(place)));
        let kept: Vec<bool> = (0..self.times_us.len())
            .map(|place| self.columns.iter().any(|column| column.values.is_there(place)))
            .collect();
        if kept.contains(&false) {
            keep(&mut self.times_us, &kept);
            self.columns.iter_mut().for_each(|column| column.values.keep(&kept));
        }
    }

    /// Takes out rows without any value, such as are left when columns were taken out.
    pub fn prune(&mut self) {
        let is_full = |column: &Column| (0..self.times_us.len()).all(|place| column.values.is_there(place));
        if !self.columns.iter().any(is_full) {
            self.take_out(&Self::default());
        }
    }

    /// The columns that a question picks, and those that are left, each with the rows that have a value there.
    #[must_use]
    pub fn split(self, picked: impl FnMut(&Column) -> bool) -> (Self, Self) {
        let (one, other): (Vec<_>, Vec<_>) = self.columns.into_iter().partition(picked);
        if other.is_empty() || one.is_empty() {
            let (whole, empty) = (|columns| Self { times_us: self.times_us, columns }, Self::default());
            return if other.is_empty() { (whole(one), empty) } else { (empty, whole(other)) };
        }
        let mut one = Self { times_us: self.times_us.clone(), columns: one };
        let mut other = Self { times_us: self.times_us, columns: other };
        one.prune();
        other.prune();
        (one, other)
    }

    /// The newest value of each column and nothing else.
    #[must_use]
    pub fn newest(&self) -> Self {
        let mut item = OpenItem::default();
        for column in &self.columns {
            let newest = (0..self.times_us.len()).rev().find(|place| column.values.is_there(*place));
            if let Some((place, time_us)) = newest.and_then(|place| Some((place, self.times_us.get(place)?)))
                && let Some(value) = column.values.scalar(place)
            {
                item.add(*time_us, column.name.as_str().into(), column.unit.as_deref(), value);
            }
        }
        item.into_rows()
    }

    /// Whether there is no reading.
    pub fn is_empty(&self) -> bool {
        self.times_us.is_empty() || self.columns.is_empty()
    }
}

impl Column {
    /// Whether the values of another belong into this one.
    pub(crate) fn is_alike(&self, other: &Self) -> bool {
        self.name == other.name && self.unit == other.unit && self.values.kind() == other.values.kind()
    }

    pub(crate) fn order(&self) -> (&str, Option<&str>, u8) {
        (&self.name, self.unit.as_deref(), self.values.kind())
    }
}

impl Values {
    /// How many places there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Numbers(numbers) => numbers.len(),
            Self::Texts(texts) => texts.len(),
            Self::Bools(bools) => bools.len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }

    /// Whether there is no place.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether something was measured at that place.
    pub fn is_there(&self, place: usize) -> bool {
        match self {
            Self::Numbers(numbers) => numbers.get(place).is_some_and(|number| !number.is_nan()),
            Self::Texts(texts) => texts.get(place).is_some_and(Option::is_some),
            Self::Bools(bools) => bools.get(place).is_some_and(Option::is_some),
            Self::Bytes(bytes) => bytes.get(place).is_some_and(Option::is_some),
        }
    }

    /// The value of a place; none if nothing was measured there.
    pub fn scalar(&self, place: usize) -> Option<Scalar<'_>> {
        match self {
            Self::Numbers(numbers) => {
                numbers.get(place).filter(|number| !number.is_nan()).copied().map(Scalar::Number)
            }
            Self::Texts(texts) => texts.get(place)?.as_deref().map(Scalar::Text),
            Self::Bools(bools) => bools.get(place).copied()?.map(Scalar::Bool),
            Self::Bytes(bytes) => bytes.get(place)?.as_deref().map(Scalar::Bytes),
        }
    }

    /// The one value of a place, as a column of one.
    pub fn only(&self, place: usize) -> Self {
        match self {
            Self::Numbers(numbers) => Self::Numbers(numbers.get(place).copied().into_iter().collect()),
            Self::Texts(texts) => Self::Texts(texts.get(place).cloned().into_iter().collect()),
            Self::Bools(bools) => Self::Bools(bools.get(place).copied().into_iter().collect()),
            Self::Bytes(bytes) => Self::Bytes(bytes.get(place).cloned().into_iter().collect()),
        }
    }

    /// Tells the kinds apart.
    pub(crate) fn kind(&self) -> u8 {
        match self {
            Self::Numbers(_) => 0,
            Self::Texts(_) => 1,
            Self::Bools(_) => 2,
            Self::Bytes(_) => 3,
        }
    }

    /// Values of the same kind, none of them measured.
    pub(crate) fn empty(&self, places: usize) -> Self {
        match self {
            Self::Numbers(_) => Self::Numbers(vec![f64::NAN; places]),
            Self::Texts(_) => Self::Texts(vec![None; places]),
            Self::Bools(_) => Self::Bools(vec![None; places]),
            Self::Bytes(_) => Self::Bytes(vec![None; places]),
        }
    }

    /// Puts what another column of this kind holds to its places.
    fn put_all(&mut self, from: &Self, places: &[usize]) {
        fn put<T: Clone>(to: &mut [T], from: &[T], places: &[usize], there: impl Fn(&T) -> bool) {
            for (value, place) in from.iter().zip(places) {
                if there(value)
                    && let Some(to) = to.get_mut(*place)
                {
                    *to = value.clone();
                }
            }
        }
        match (self, from) {
            (Self::Numbers(to), Self::Numbers(from)) => put(to, from, places, |number| !number.is_nan()),
            (Self::Texts(to), Self::Texts(from)) => put(to, from, places, Option::is_some),
            (Self::Bools(to), Self::Bools(from)) => put(to, from, places, Option::is_some),
            (Self::Bytes(to), Self::Bytes(from)) => put(to, from, places, Option::is_some),
            _ => {}
        }
    }

    fn cut(&mut self, from: usize, to: usize) {
        fn cut<T>(values: &mut Vec<T>, from: usize, to: usize) {
            values.truncate(to);
            values.drain(..from.min(values.len()));
        }
        match self {
            Self::Numbers(numbers) => cut(numbers, from, to),
            Self::Texts(texts) => cut(texts, from, to),
            Self::Bools(bools) => cut(bools, from, to),
            Self::Bytes(bytes) => cut(bytes, from, to),
        }
    }

    fn clear(&mut self, place: usize) {
        fn clear<T>(values: &mut [T], place: usize, nothing: T) {
            if let Some(value) = values.get_mut(place) {
                *value = nothing;
            }
        }
        match self {
            Self::Numbers(numbers) => clear(numbers, place, f64::NAN),
            Self::Texts(texts) => clear(texts, place, None),
            Self::Bools(bools) => clear(bools, place, None),
            Self::Bytes(bytes) => clear(bytes, place, None),
        }
    }

    fn keep(&mut self, kept: &[bool]) {
        match self {
            Self::Numbers(numbers) => keep(numbers, kept),
            Self::Texts(texts) => keep(texts, kept),
            Self::Bools(bools) => keep(bools, kept),
            Self::Bytes(bytes) => keep(bytes, kept),
        }
    }
}

fn keep<T>(values: &mut Vec<T>, kept: &[bool]) {
    let mut kept = kept.iter();
    values.retain(|_| kept.next().copied().unwrap_or(true));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(name: &str, values: &[f64]) -> Column {
        Column { name: name.to_owned(), unit: None, values: Values::Numbers(values.to_vec()) }
    }

    fn shown(rows: &Rows) -> Vec<(i64, String)> {
        let row = |(place, time): (usize, &i64)| {
            let values: Vec<_> = rows
                .columns
                .iter()
                .map(|column| match &column.values {
                    Values::Numbers(numbers) => format!("{}={}", column.name, numbers[place]),
                    other => format!("{other:?}"),
                })
                .collect();
            (*time, values.join(" "))
        };
        rows.times_us.iter().enumerate().map(row).collect()
    }

    #[test]
    fn what_came_later_replaces_and_what_was_not_measured_does_not() {
        let old = (&[10, 20][..], &[numbers("a", &[1.0, 2.0])][..]);
        let new =
            (&[30, 10, 20][..], &[numbers("b", &[9.0, 8.0, 7.0]), numbers("a", &[3.0, 5.0, f64::NAN])][..]);
        let rows = Rows::merged([old, new]);
        let row = |time: i64, text: &str| (time, text.to_owned());
        assert_eq!(shown(&rows), [row(10, "a=5 b=8"), row(20, "a=2 b=7"), row(30, "a=3 b=9")]);
    }

    #[test]
    fn a_time_that_comes_twice_in_one_part_is_one_row() {
        let twice = (&[10, 20, 10][..], &[numbers("a", &[1.0, 2.0, 3.0])][..]);
        let rows = Rows::merged([twice]);
        assert_eq!(shown(&rows), [(10, "a=3".to_owned()), (20, "a=2".to_owned())]);
    }

    #[test]
    fn rows_are_split_by_column_and_the_newest_values_have_their_times() {
        let nan = f64::NAN;
        let rows = Rows {
            times_us: vec![1, 2, 3],
            columns: vec![numbers("a", &[1.0, nan, 3.0]), numbers("b", &[nan, 2.0, nan])],
        };
        assert_eq!(shown(&rows.newest()), [(2, "a=NaN b=2".to_owned()), (3, "a=3 b=NaN".to_owned())]);
        let (a, b) = rows.split(|column| column.name == "a");
        assert_eq!((a.times_us, b.times_us), (vec![1, 3], vec![2]));
    }

    #[test]
    fn rows_are_cut_by_time_with_an_open_end() {
        let rows = Rows { times_us: vec![1, 2, 3, 4], columns: vec![numbers("a", &[1.0, 2.0, 3.0, 4.0])] };
        let cut = rows.clone().between(Some(2), Some(4));
        assert_eq!(cut.times_us, [2, 3]);
        assert_eq!(cut.columns, [numbers("a", &[2.0, 3.0])]);
        assert!(rows.clone().between(Some(9), None).is_empty());
        assert!(rows.clone().between(Some(3), Some(1)).is_empty());
        assert_eq!(rows.clone().between(None, None), rows);
    }

    #[test]
    fn what_another_item_shows_is_taken_out() {
        let first = Rows { times_us: vec![1, 2], columns: vec![numbers("a", &[1.0, f64::NAN])] };
        let mut second = Rows {
            times_us: vec![1, 2],
            columns: vec![numbers("a", &[1.0, 2.0]), numbers("b", &[f64::NAN, 5.0])],
        };
        second.take_out(&first);
        assert_eq!(second.times_us, [2]);
        assert_eq!(second.columns, [numbers("a", &[2.0]), numbers("b", &[5.0])]);
    }
}
