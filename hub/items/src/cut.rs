//! Where items end: at midnight UTC, at so many rows or bytes, and where anything changes by which access is decided.
//!
//! The rows of a stream that are not stored yet are kept here, by day: a late reading goes into the item of its day, and
//! waits with the others. A stream ends all its items at once, so that one number tells what of the log is stored.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    Attributes, Fingerprint, ItemInfo, OpenItem, Rows, StreamId,
    judge::Reading,
    limits::{ITEM_COLUMNS_MAX, ITEM_ROWS_MAX, STREAM_BYTES_MAX, STREAM_DAYS_MAX},
};

const DAY_US: i64 = 86_400_000_000;

/// What all readings of an item have in common, and access is decided on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    /// What is known of the device.
    pub attributes: Arc<Attributes>,
    /// Where it is, as a geohash of five characters.
    pub cell: Option<String>,
    /// The certificate that the readings came with.
    pub signer: Option<Fingerprint>,
}

impl Origin {
    /// What is known of an item beside what its readings tell.
    pub fn item(&self, stream: &StreamId, from_us: i64, to_us: i64) -> ItemInfo {
        let Self { attributes, cell, signer } = self.clone();
        ItemInfo { stream: stream.clone(), from_us, to_us, attributes, cell, signer, hash: None }
    }
}

/// The readings of a stream that are not stored yet.
#[derive(Debug, Clone, Default)]
pub struct OpenStream {
    origin: Origin,
    days: BTreeMap<i64, OpenItem>,
    /// The first message of the log that is needed to have these readings again, and when it was taken in.
    since: Option<(u64, u64)>,
    /// The last message that was taken in.
    last: u64,
}

/// The day that a time is in.
pub fn day(time_us: i64) -> i64 {
    time_us.div_euclid(DAY_US)
}

/// When a day begins, in microseconds since 1970.
pub fn day_begins_us(day: i64) -> i64 {
    day.saturating_mul(DAY_US)
}

impl OpenStream {
    /// An open stream of that origin.
    pub fn new(origin: Origin) -> Self {
        Self { origin, ..Self::default() }
    }

    /// What its readings have in common.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Whether there is nothing that is not stored.
    pub fn is_empty(&self) -> bool {
        self.days.is_empty()
    }

    /// Has to be asked before a message is taken in: whether its origin makes it the first of new items.
    pub fn ends_before(&self, origin: &Origin) -> bool {
        !self.is_empty() && self.origin != *origin
    }

    /// Takes in the readings of a message from here on. What was open has another origin is not there any more.
    /// `moment` is of the caller's own clock.
    pub fn begin(&mut self, sequence: u64, moment: u64, origin: &Origin) {
        if self.origin != *origin {
            self.origin = origin.clone();
        }
        self.since.get_or_insert((sequence, moment));
        self.last = sequence;
    }

    /// Takes in a reading of the message.
    pub fn add(&mut self, reading: &Reading<'_>) {
        let Reading { time_us, name, unit, value } = *reading;
        self.days.entry(day(time_us)).or_default().add(time_us, name, unit, value);
    }

    /// Whether its items are to end after this message.
    pub fn is_full(&mut self) -> bool {
        if self.days.len() > STREAM_DAYS_MAX || self.bytes() > STREAM_BYTES_MAX {
            return true;
        }
        self.days.values_mut().any(|item| {
            if item.rows() > ITEM_ROWS_MAX {
                // Times that came twice out of order count once.
                item.settle();
            }
            item.rows() >= ITEM_ROWS_MAX || item.columns() > ITEM_COLUMNS_MAX
        })
    }

    /// The first message of the log that is still needed; none if nothing is open.
    pub fn needs_from(&self) -> Option<u64> {
        self.since.map(|(sequence, _)| sequence)
    }

    /// When the oldest message was taken in whose readings are not stored.
    pub fn since(&self) -> Option<u64> {
        self.since.map(|(_, moment)| moment)
    }

    /// Tells the cell of a stream that has nothing yet.
    pub fn set_cell(&mut self, cell: Option<String>) {
        self.origin.cell = cell;
    }

    /// The last message that was taken in.
    pub fn last_sequence(&self) -> u64 {
        self.last
    }

    /// About how many bytes of memory its readings take.
    pub fn bytes(&self) -> usize {
        self.days.values().map(OpenItem::bytes).sum()
    }

    /// The open items as they are now, by day.
    pub fn items(&self) -> impl Iterator<Item = &OpenItem> {
        self.days.values()
    }

    /// Ends all items, and gives out their rows by day.
    pub fn end(&mut self) -> Vec<Rows> {
        self.since = None;
        let days = std::mem::take(&mut self.days);
        days.into_values().map(OpenItem::into_rows).filter(|rows| !rows.is_empty()).collect()
    }
}

/// The cell of a place, as a geohash of five characters: about five kilometres wide. None if it is no place.
pub fn cell(latitude: f64, longitude: f64) -> Option<String> {
    const DIGITS: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
    if !(-90.0..=90.0).contains(&latitude) || !(-180.0..=180.0).contains(&longitude) {
        return None;
    }
    let (mut south, mut north, mut west, mut east) = (-90.0, 90.0, -180.0, 180.0);
    let mut cell = String::with_capacity(5);
    for digit in 0..5 {
        let mut place = 0_usize;
        for bit in 0..5 {
            // Bits of longitude and latitude take turns, over the digits.
            let (low, high, at) = if (digit * 5 + bit) % 2 == 0 {
                (&mut west, &mut east, longitude)
            } else {
                (&mut south, &mut north, latitude)
            };
            let middle: f64 = (*low + *high) / 2.0;
            place <<= 1;
            if at >= middle {
                place |= 1;
                *low = middle;
            } else {
                *high = middle;
            }
        }
        cell.push(char::from(*DIGITS.get(place)?));
    }
    Some(cell)
}

#[cfg(test)]
mod tests {
    use crate::{Name, Scalar, Values};

    use super::*;

    const MIDNIGHT_US: i64 = 1_760_054_400_000_000;

    fn reading(time_us: i64, value: f64) -> Reading<'static> {
        Reading { time_us, name: Name::from("a"), unit: None, value: Scalar::Number(value) }
    }

    fn origin(district: &str) -> Origin {
        let texts = [district.to_owned()].into();
        let attributes = Arc::new(Attributes([("district".to_owned(), texts)].into()));
        Origin { attributes, ..Origin::default() }
    }

    #[test]
    fn an_item_ends_at_midnight_and_a_late_reading_goes_to_its_day() {
        let mut stream = OpenStream::default();
        stream.begin(7, 0, &Origin::default());
        for (time, value) in [(-2, 1.0), (0, 2.0), (-1, 3.0), (1, 4.0)] {
            stream.add(&reading(MIDNIGHT_US + time * 1_000_000, value));
        }
        assert_eq!((stream.needs_from(), stream.is_full()), (Some(7), false));
        let days = stream.end();
        let numbers: Vec<_> = days.iter().map(|rows| rows.columns[0].values.clone()).collect();
        assert_eq!(numbers, [Values::Numbers(vec![1.0, 3.0]), Values::Numbers(vec![2.0, 4.0])]);
        assert_eq!((stream.needs_from(), stream.is_empty()), (None, true));
        assert_ne!(day(MIDNIGHT_US), day(MIDNIGHT_US - 1));
        assert_eq!(day_begins_us(day(MIDNIGHT_US + 1)), MIDNIGHT_US);
    }

    #[test]
    fn an_item_ends_after_its_rows_but_not_for_a_message_that_is_told_again_and_again() {
        let mut stream = OpenStream::default();
        stream.begin(1, 0, &Origin::default());
        for _ in 0..ITEM_ROWS_MAX {
            stream.add(&reading(MIDNIGHT_US + 1, 1.0));
            stream.add(&reading(MIDNIGHT_US, 2.0));
        }
        assert!(!stream.is_full());
        (0..ITEM_ROWS_MAX as i64).for_each(|time| stream.add(&reading(MIDNIGHT_US + time, 1.0)));
        assert!(stream.is_full());
    }

    #[test]
    fn an_item_ends_where_attributes_place_or_signer_change() {
        let mut stream = OpenStream::default();
        assert!(!stream.ends_before(&origin("d7")), "there is nothing yet");
        stream.begin(1, 0, &origin("d7"));
        stream.add(&reading(MIDNIGHT_US, 1.0));
        assert!(!stream.ends_before(&origin("d7")));
        let moved = Origin { cell: Some("u33dc".to_owned()), ..origin("d7") };
        let signed = Origin { signer: Some([1; 32]), ..origin("d7") };
        assert!([origin("d8"), moved, signed].iter().all(|origin| stream.ends_before(origin)));
    }

    #[test]
    fn a_stream_that_tells_of_many_days_ends_them_all() {
        let mut stream = OpenStream::default();
        stream.begin(1, 0, &Origin::default());
        for day in 0..=STREAM_DAYS_MAX as i64 {
            assert!(!stream.is_full());
            stream.add(&reading(MIDNIGHT_US + day * DAY_US, 1.0));
        }
        assert!(stream.is_full());
        assert_eq!(stream.end().len(), STREAM_DAYS_MAX + 1);
    }

    #[test]
    fn cells_are_geohashes() {
        assert_eq!(cell(57.649_11, 10.407_44).as_deref(), Some("u4pru"));
        assert_eq!(cell(-25.382_708, -49.265_506).as_deref(), Some("6gkzw"));
        assert_eq!(cell(91.0, 0.0), None);
        assert_eq!(cell(f64::NAN, 0.0), None);
    }
}
