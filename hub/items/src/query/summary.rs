//! What a bucket says of its values.

use super::{
    Percentiles, TooWide,
    limits::SPREAD_VALUES_MAX,
    spread::Spread,
    value::{Kind, Value},
};
use crate::{Column, Values};

/// A name with its unit: values of one are never mixed with those of another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Measure {
    /// The SenML name.
    pub name: String,
    /// The SenML unit.
    pub unit: Option<String>,
    /// Numbers, texts and bools of one name are told apart.
    pub kind: Kind,
}

impl Measure {
    /// That of a column.
    pub fn of(column: &Column) -> Self {
        Self { name: column.name.clone(), unit: column.unit.clone(), kind: Kind::of(&column.values) }
    }
}

/// What one bucket says.
#[derive(Debug, Clone, PartialEq)]
pub enum Figures {
    /// Of numbers.
    Numbers(Numbers),
    /// Of anything else.
    Others(Others),
}

/// Numbers, summed up.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbers {
    /// How many.
    pub count: u64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// All together.
    pub sum: f64,
    /// The earliest.
    pub first: f64,
    /// When that was, in microseconds since 1970.
    pub first_us: i64,
    /// The latest.
    pub last: f64,
    /// When that was, in microseconds since 1970.
    pub last_us: i64,
    /// If they were asked for.
    pub percentiles: Option<Percentiles>,
}

impl Numbers {
    /// The sum by the count.
    pub fn mean(&self) -> f64 {
        self.sum / self.count as f64
    }
}

/// Texts, bools or bytes, summed up.
#[derive(Debug, Clone, PartialEq)]
pub struct Others {
    /// How many.
    pub count: u64,
    /// The latest; a column with one place.
    pub last: Values,
    /// When that was, in microseconds since 1970.
    pub last_us: i64,
}

/// A bucket while values come in.
#[derive(Debug, Clone)]
pub struct Summary {
    figures: Figures,
    spread: Option<Spread>,
}

impl Summary {
    /// An empty one.
    pub fn new(kind: Kind, percentiles: bool) -> Self {
        let none = f64::NAN;
        let figures = match kind {
            Kind::Number => Figures::Numbers(Numbers {
                count: 0,
                min: f64::INFINITY,
                max: f64::NEG_INFINITY,
                sum: 0.0,
                first: none,
                first_us: i64::MAX,
                last: none,
                last_us: i64::MIN,
                percentiles: None,
            }),
            kind => Figures::Others(Others { count: 0, last: Values::nothing(kind, 1), last_us: i64::MIN }),
        };
        let spread = (percentiles && kind == Kind::Number).then(Spread::new);
        Self { figures, spread }
    }

    /// Whether nothing came.
    pub fn is_empty(&self) -> bool {
        match &self.figures {
            Figures::Numbers(numbers) => numbers.count == 0,
            Figures::Others(others) => others.count == 0,
        }
    }

    /// Takes the values of a column at the places of `times_us`, which begin at `from` within the column. `held` is how
    /// many values the whole question holds for percentiles.
    ///
    /// # Errors
    /// Those would be too many.
    pub fn add(
        &mut self,
        times_us: &[i64],
        values: &Values,
        from: usize,
        held: &mut usize,
    ) -> Result<(), TooWide> {
        let to = from.saturating_add(times_us.len());
        match (&mut self.figures, values) {
            (Figures::Numbers(numbers), Values::Numbers(values)) => {
                let values = values.get(from..to).unwrap_or_default();
                numbers.add(times_us, values);
                if let Some(spread) = &mut self.spread {
                    let before = spread.weight();
                    values.iter().filter(|value| !value.is_nan()).for_each(|value| spread.add(*value));
                    weigh(held, before, spread.weight())?;
                }
            }
            (Figures::Others(others), values) => {
                for (place, time) in (from..to).zip(times_us) {
                    if values.value_at(place).is_some() {
                        others.count += 1;
                        if *time >= others.last_us {
                            others.last_us = *time;
                            others.last.put(0, values, place);
                        }
                    }
                }
            }
            (Figures::Numbers(_), _) => {}
        }
        Ok(())
    }

    /// Takes what another of the same measure holds.
    ///
    /// # Errors
    /// Values for percentiles would be too many.
    pub fn merge(&mut self, other: &Self, held: &mut usize) -> Result<(), TooWide> {
        match (&mut self.figures, &other.figures) {
            (Figures::Numbers(ours), Figures::Numbers(theirs)) => ours.merge(theirs),
            (Figures::Others(ours), Figures::Others(theirs)) => {
                ours.count += theirs.count;
                if theirs.count > 0 && theirs.last_us >= ours.last_us {
                    ours.last_us = theirs.last_us;
                    ours.last = theirs.last.clone();
                }
            }
            _ => {}
        }
        if let (Some(ours), Some(theirs)) = (&mut self.spread, &other.spread) {
            let before = ours.weight();
            ours.merge(theirs);
            weigh(held, before, ours.weight())?;
        }
        Ok(())
    }

    /// What it says in the end. `held` falls by what it held.
    pub fn end(mut self, held: &mut usize) -> Figures {
        if let (Figures::Numbers(numbers), Some(spread)) = (&mut self.figures, &mut self.spread) {
            *held = held.saturating_sub(spread.weight());
            numbers.percentiles = spread.percentiles();
        }
        self.figures
    }
}

impl Numbers {
    fn add(&mut self, times_us: &[i64], values: &[f64]) {
        // Four lanes, so that additions do not wait for one another.
        let (mut sums, mut counts) = ([0.0; 4], [0_u64; 4]);
        let (mut min, mut max) = ([f64::INFINITY; 4], [f64::NEG_INFINITY; 4]);
        let fours = values.chunks_exact(4);
        let rest = fours.remainder();
        for four in fours.chain((!rest.is_empty()).then_some(rest)) {
            let lanes = four.iter().zip(&mut sums).zip(&mut counts).zip(&mut min).zip(&mut max);
            for ((((value, sum), count), min), max) in lanes {
                let is_there = !value.is_nan();
                *sum += if is_there { *value } else { 0.0 };
                *count += u64::from(is_there);
                // Neither takes NaN.
                *min = min.min(*value);
                *max = max.max(*value);
            }
        }
        let count = counts.iter().sum::<u64>();
        if count == 0 {
            return;
        }
        self.count += count;
        self.sum += sums.iter().sum::<f64>();
        self.min = min.into_iter().fold(self.min, f64::min);
        self.max = max.into_iter().fold(self.max, f64::max);
        let there = |(_, value): &(&i64, &f64)| !value.is_nan();
        if let Some((time, value)) = times_us.iter().zip(values).find(there)
            && *time < self.first_us
        {
            (self.first_us, self.first) = (*time, *value);
        }
        if let Some((time, value)) = times_us.iter().zip(values).rev().find(there)
            && *time >= self.last_us
        {
            (self.last_us, self.last) = (*time, *value);
        }
    }

    fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        self.count += other.count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        if other.first_us < self.first_us {
            (self.first_us, self.first) = (other.first_us, other.first);
        }
        if other.last_us >= self.last_us {
            (self.last_us, self.last) = (other.last_us, other.last);
        }
    }
}

fn weigh(held: &mut usize, before: usize, after: usize) -> Result<(), TooWide> {
    *held = held.saturating_sub(before).saturating_add(after);
    if *held > SPREAD_VALUES_MAX {
        return Err(TooWide::Values { max: SPREAD_VALUES_MAX });
    }
    Ok(())
}

impl Others {
    /// The latest.
    pub fn last(&self) -> Option<Value<'_>> {
        self.last.value_at(0)
    }
}
