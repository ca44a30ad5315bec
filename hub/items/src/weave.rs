//! What overlaps in time, shown as it is: every reading once, and none of an item that may not be seen with it.

use std::ops::ControlFlow;

use crate::{Chunk, ItemInfo, Rows, Visit};

/// Rows of one item.
#[derive(Debug, Clone)]
pub struct Part {
    /// Whose they are.
    pub item: ItemInfo,
    /// What came in later has a higher number, and stands where two say something of the same name and time.
    pub number: u64,
    /// The rows.
    pub rows: Rows,
}

/// Shows parts of one stream that may overlap in time: those of one origin as one chunk. Those of different origins stay
/// apart, because access is decided on it; what the earlier one says is not said again by the later.
pub fn weave(mut parts: Vec<Part>, visit: Visit<'_>) -> ControlFlow<()> {
    parts.retain(|part| !part.rows.is_empty());
    parts.sort_by_key(|part| part.number);
    let mut shown: Vec<Rows> = Vec::new();
    while !parts.is_empty() {
        let (alike, others): (Vec<_>, Vec<_>) = {
            let first = parts.first().map(|part| part.item.clone());
            parts
                .into_iter()
                .partition(|part| first.as_ref().is_some_and(|first| is_alike(first, &part.item)))
        };
        parts = others;
        let Some(mut woven) = join(alike) else { break };
        shown.iter().for_each(|other| woven.rows.take_out(other));
        if woven.rows.is_empty() {
            continue;
        }
        let chunk = Chunk { item: &woven.item, times_us: &woven.rows.times_us, columns: &woven.rows.columns };
        visit(&chunk)?;
        if !parts.is_empty() {
            shown.push(woven.rows);
        }
    }
    ControlFlow::Continue(())
}

/// Parts of one origin as one.
fn join(mut parts: Vec<Part>) -> Option<Part> {
    if parts.len() > 1 {
        let rows = Rows::merged(parts.iter().map(|part| (&part.rows.times_us[..], &part.rows.columns[..])));
        let last = parts.pop()?;
        let (mut from_us, mut to_us) = (last.item.from_us, last.item.to_us);
        for part in &parts {
            from_us = from_us.min(part.item.from_us);
            to_us = to_us.max(part.item.to_us);
        }
        // It is no item that was stored, but what is seen of several.
        let item = ItemInfo { from_us, to_us, hash: None, ..last.item };
        return Some(Part { item, number: last.number, rows });
    }
    parts.pop()
}

/// Whether access to both is decided alike, but for their age.
fn is_alike(one: &ItemInfo, other: &ItemInfo) -> bool {
    one.attributes == other.attributes && one.cell == other.cell && one.signer == other.signer
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::{Attributes, Column, Origin, StreamId, Values};

    use super::*;

    fn part(number: u64, district: &str, readings: &[(i64, f64)]) -> Part {
        let stream = StreamId { device: "pump-7".parse().expect("id"), stream: "climate".to_owned() };
        let texts = [district.to_owned()].into();
        let attributes = Arc::new(Attributes([("district".to_owned(), texts)].into()));
        let origin = Origin { attributes, ..Origin::default() };
        let (times_us, numbers): (Vec<i64>, Vec<f64>) = readings.iter().copied().unzip();
        let item = origin.item(&stream, times_us[0], times_us[times_us.len() - 1]);
        let columns = vec![Column { name: "a".to_owned(), unit: None, values: Values::Numbers(numbers) }];
        Part { item, number, rows: Rows { times_us, columns } }
    }

    fn shown(parts: Vec<Part>) -> Vec<(i64, i64, Vec<i64>, Values)> {
        let mut all = Vec::new();
        let flow = weave(parts, &mut |chunk| {
            let values = chunk.columns[0].values.clone();
            all.push((chunk.item.from_us, chunk.item.to_us, chunk.times_us.to_vec(), values));
            ControlFlow::Continue(())
        });
        assert!(flow.is_continue());
        all
    }

    #[test]
    fn what_was_delivered_again_is_one_reading_and_the_later_stands() {
        let again = part(9, "d7", &[(2, 5.0), (3, 6.0)]);
        let first = part(4, "d7", &[(1, 1.0), (2, 2.0)]);
        let numbers = Values::Numbers(vec![1.0, 5.0, 6.0]);
        assert_eq!(shown(vec![again, first]), [(1, 3, vec![1, 2, 3], numbers)]);
    }

    #[test]
    fn items_of_two_places_stay_apart_and_say_nothing_twice() {
        let first = part(1, "d7", &[(1, 1.0), (2, 2.0)]);
        let second = part(2, "d8", &[(2, 9.0), (3, 3.0)]);
        let third = part(3, "d7", &[(2, 4.0)]);
        let all = shown(vec![first, second, third]);
        assert_eq!(
            all,
            [
                (1, 2, vec![1, 2], Values::Numbers(vec![1.0, 4.0])),
                (2, 3, vec![3], Values::Numbers(vec![3.0])),
            ]
        );
    }
}
