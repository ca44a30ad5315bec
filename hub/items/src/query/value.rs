//! One value out of a column.

use crate::Values;

/// What kind of values a column has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Numbers.
    Number,
    /// Texts.
    Text,
    /// True or false.
    Bool,
    /// Bytes.
    Bytes,
}

/// One value, borrowed from its column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// A finite number.
    Number(f64),
    /// A text.
    Text(&'a str),
    /// True or false.
    Bool(bool),
    /// Bytes.
    Bytes(&'a [u8]),
}

impl Kind {
    /// The kind of these values.
    pub fn of(values: &Values) -> Self {
        match values {
            Values::Numbers(_) => Self::Number,
            Values::Texts(_) => Self::Text,
            Values::Bools(_) => Self::Bool,
            Values::Bytes(_) => Self::Bytes,
        }
    }
}

impl Values {
    /// How many places there are.
    pub fn places(&self) -> usize {
        match self {
            Self::Numbers(numbers) => numbers.len(),
            Self::Texts(texts) => texts.len(),
            Self::Bools(bools) => bools.len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }

    /// The value at a place, if there is one.
    pub fn value_at(&self, place: usize) -> Option<Value<'_>> {
        match self {
            Self::Numbers(numbers) => {
                numbers.get(place).copied().filter(|number| !number.is_nan()).map(Value::Number)
            }
            Self::Texts(texts) => texts.get(place)?.as_deref().map(Value::Text),
            Self::Bools(bools) => bools.get(place).copied().flatten().map(Value::Bool),
            Self::Bytes(bytes) => bytes.get(place)?.as_deref().map(Value::Bytes),
        }
    }

    /// Nothing, at so many places.
    pub(crate) fn nothing(kind: Kind, places: usize) -> Self {
        match kind {
            Kind::Number => Self::Numbers(vec![f64::NAN; places]),
            Kind::Text => Self::Texts(vec![None; places]),
            Kind::Bool => Self::Bools(vec![None; places]),
            Kind::Bytes => Self::Bytes(vec![None; places]),
        }
    }

    /// Puts what `from` has at a place to a place of this, if both are of one kind and there is something.
    pub(crate) fn put(&mut self, place: usize, from: &Self, from_place: usize) {
        match (self, from) {
            (Self::Numbers(to), Self::Numbers(from)) => {
                if let (Some(to), Some(from)) = (to.get_mut(place), from.get(from_place))
                    && !from.is_nan()
                {
                    *to = *from;
                }
            }
            (Self::Texts(to), Self::Texts(from)) => put(to, place, from, from_place),
            (Self::Bools(to), Self::Bools(from)) => put(to, place, from, from_place),
            (Self::Bytes(to), Self::Bytes(from)) => put(to, place, from, from_place),
            _ => {}
        }
    }

    /// Cuts off everything from a place on.
    pub(crate) fn split_off(&mut self, place: usize) -> Self {
        match self {
            Self::Numbers(numbers) => Self::Numbers(numbers.split_off(place.min(numbers.len()))),
            Self::Texts(texts) => Self::Texts(texts.split_off(place.min(texts.len()))),
            Self::Bools(bools) => Self::Bools(bools.split_off(place.min(bools.len()))),
            Self::Bytes(bytes) => Self::Bytes(bytes.split_off(place.min(bytes.len()))),
        }
    }
}

fn put<T: Clone>(to: &mut [Option<T>], place: usize, from: &[Option<T>], from_place: usize) {
    if let (Some(to), Some(Some(value))) = (to.get_mut(place), from.get(from_place)) {
        *to = Some(value.clone());
    }
}
