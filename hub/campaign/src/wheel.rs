//! The deadlines of all devices of a campaign: a hashed wheel of five rings with 64 slots each, for seconds, minutes and so
//! on up to 34 years. Its lists go through the cells themselves: setting and taking back a deadline costs no memory.

use crate::cell::{Cell, NONE};

const RINGS: usize = 5;
const SLOTS: u32 = 64;
/// In a cell's `prev`: it is the first of the slot whose number follows.
const HEAD: u32 = 1 << 31;

/// The wheel.
#[derive(Debug, Clone)]
pub(crate) struct Wheel {
    /// The last second that was gone through.
    now_s: u32,
    /// The first device of each slot.
    heads: Vec<u32>,
    /// Which slots of each ring have devices.
    full: [u64; RINGS],
}

fn place(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

impl Wheel {
    pub fn new(now_s: u32) -> Self {
        Self { now_s, heads: vec![NONE; RINGS * place(SLOTS)], full: [0; RINGS] }
    }

    /// Ring and slot for a deadline: the finest ring that reaches so far.
    fn slot(&self, due_s: u32) -> u32 {
        let due_s = due_s.max(self.now_s.saturating_add(1));
        let rings = 0..u32::try_from(RINGS).unwrap_or(0);
        let reaches = |ring: &u32| (due_s >> (6 * ring)) - (self.now_s >> (6 * ring)) <= SLOTS;
        let ring = rings.clone().find(reaches).unwrap_or(rings.end - 1);
        ring * SLOTS + ((due_s >> (6 * ring)) & (SLOTS - 1))
    }

    fn mark(&mut self, slot: u32, is_full: bool) {
        if let Some(full) = self.full.get_mut(place(slot / SLOTS)) {
            let bit = 1_u64 << (slot % SLOTS);
            *full = if is_full { *full | bit } else { *full & !bit };
        }
    }

    /// Puts a device in by its deadline. It must not be in.
    pub fn insert(&mut self, cells: &mut [Cell], device: u32) {
        let Some(due_s) = cells.get(place(device)).map(|cell| cell.due_s) else { return };
        let slot = self.slot(due_s);
        let Some(head) = self.heads.get_mut(place(slot)) else { return };
        let next = std::mem::replace(head, device);
        if let Some(cell) = cells.get_mut(place(device)) {
            (cell.next, cell.prev) = (next, HEAD | slot);
        }
        if let Some(cell) = cells.get_mut(place(next)) {
            cell.prev = device;
        }
        self.mark(slot, true);
    }

    /// Takes a device out, if it is in.
    pub fn remove(&mut self, cells: &mut [Cell], device: u32) {
        let Some(cell) = cells.get_mut(place(device)) else { return };
        let (next, prev) = (cell.next, cell.prev);
        if prev == NONE {
            return;
        }
        (cell.next, cell.prev) = (NONE, NONE);
        if let Some(cell) = cells.get_mut(place(next)) {
            cell.prev = prev;
        }
        if prev & HEAD == 0 {
            if let Some(cell) = cells.get_mut(place(prev)) {
                cell.next = next;
            }
            return;
        }
        let slot = prev & !HEAD;
        if let Some(head) = self.heads.get_mut(place(slot)) {
            *head = next;
        }
        self.mark(slot, next != NONE);
    }

    /// When it has to be looked at next: at the latest when something is due, and perhaps earlier.
    pub fn next_s(&self) -> Option<u32> {
        let rings = self.full.iter().zip(0_u32..);
        let next = rings.filter(|(full, _)| **full != 0).map(|(full, ring)| {
            let first = (self.now_s >> (6 * ring)).saturating_add(1);
            let ahead = full.rotate_right(first & (SLOTS - 1)).trailing_zeros();
            first.saturating_add(ahead).checked_shl(6 * ring).unwrap_or(u32::MAX)
        });
        next.min()
    }

    /// Goes on to a second, and takes out whose deadline is then past.
    pub fn advance(&mut self, cells: &mut [Cell], to_s: u32, due: &mut Vec<u32>) {
        while let Some(at_s) = self.next_s().filter(|at_s| *at_s <= to_s) {
            self.now_s = at_s.saturating_sub(1);
            // What a coarser ring has for now goes into finer ones, from the coarsest on.
            for ring in (0..u32::try_from(RINGS).unwrap_or(0)).rev() {
                let is_begin = at_s.trailing_zeros() >= 6 * ring;
                if is_begin {
                    self.empty(cells, ring * SLOTS + ((at_s >> (6 * ring)) & (SLOTS - 1)), at_s, due);
                }
            }
            self.now_s = at_s;
        }
        self.now_s = self.now_s.max(to_s);
    }

    fn empty(&mut self, cells: &mut [Cell], slot: u32, at_s: u32, due: &mut Vec<u32>) {
        let Some(head) = self.heads.get_mut(place(slot)) else { return };
        let mut device = std::mem::replace(head, NONE);
        self.mark(slot, false);
        while let Some(cell) = cells.get_mut(place(device)) {
            let (next, due_s) = (cell.next, cell.due_s);
            (cell.next, cell.prev) = (NONE, NONE);
            if due_s <= at_s {
                due.push(device);
            } else {
                self.insert(cells, device);
            }
            device = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Set(u32, u32),
        Unset(u32),
        Advance(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        let ahead = prop_oneof![1..70_u32, 1..5_000_u32, 1..300_000_u32, 1..40_000_000_u32];
        prop_oneof![
            (0..20_u32, ahead.clone()).prop_map(|(device, ahead)| Step::Set(device, ahead)),
            (0..20_u32).prop_map(Step::Unset),
            ahead.prop_map(Step::Advance),
        ]
    }

    proptest! {
        #[test]
        fn a_device_is_due_when_its_deadline_is_past_and_not_before(
            start in 0..100_000_u32, steps in proptest::collection::vec(step(), 1..120),
        ) {
            let mut cells = vec![Cell::new(0, 0, 0); 20];
            let mut wheel = Wheel::new(start);
            let (mut now, mut model) = (start, [None::<u32>; 20]);
            for step in steps {
                match step {
                    Step::Set(device, ahead) => {
                        wheel.remove(&mut cells, device);
                        cells[device as usize].due_s = now + ahead;
                        wheel.insert(&mut cells, device);
                        model[device as usize] = Some(now + ahead);
                    }
                    Step::Unset(device) => {
                        wheel.remove(&mut cells, device);
                        model[device as usize] = None;
                    }
                    Step::Advance(ahead) => {
                        now += ahead;
                        let mut due = Vec::new();
                        wheel.advance(&mut cells, now, &mut due);
                        due.sort_unstable();
                        let is_due = |device: &u32| model[*device as usize].is_some_and(|at| at <= now);
                        let expected: Vec<u32> = (0..20).filter(is_due).collect();
                        prop_assert_eq!(&due, &expected);
                        expected.iter().for_each(|device| model[*device as usize] = None);
                    }
                }
                let earliest = model.iter().flatten().min();
                match (wheel.next_s(), earliest) {
                    (Some(next), Some(earliest)) => prop_assert!(now < next && next <= *earliest),
                    (next, earliest) => prop_assert_eq!(next, earliest.copied()),
                }
            }
        }
    }
}
