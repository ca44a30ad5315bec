//! The devices of a campaign by name and by number: texts in one piece of memory, the first lot of them sorted.

use std::{cmp::Ordering, collections::BTreeMap, str::FromStr};

use muster_schemas::DeviceId;

/// Names in the order in which they came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    text: Vec<u8>,
    ends: Vec<u32>,
    /// How many came before the start, ascending.
    sorted: u32,
    /// Those who came later.
    late: BTreeMap<Box<str>, u32>,
}

impl Names {
    pub fn len(&self) -> u32 {
        u32::try_from(self.ends.len()).unwrap_or(u32::MAX)
    }

    /// How many came before the start.
    pub fn sorted(&self) -> u32 {
        self.sorted
    }

    fn bytes(&self, device: u32) -> &[u8] {
        let place = usize::try_from(device).unwrap_or(usize::MAX);
        let end = |place: usize| self.ends.get(place).and_then(|end| usize::try_from(*end).ok());
        let from = place.checked_sub(1).and_then(end).unwrap_or(0);
        end(place).and_then(|to| self.text.get(from..to)).unwrap_or_default()
    }

    pub fn text(&self, device: u32) -> &str {
        std::str::from_utf8(self.bytes(device)).unwrap_or_default()
    }

    pub fn id(&self, device: u32) -> Option<DeviceId> {
        DeviceId::from_str(self.text(device)).ok()
    }

    pub fn find(&self, name: &str) -> Option<u32> {
        if let Some(device) = self.late.get(name) {
            return Some(*device);
        }
        let (mut low, mut high) = (0, self.sorted);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.bytes(middle).cmp(name.as_bytes()) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Some(middle),
                Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// The last of those who came before the start.
    pub fn last(&self) -> Option<&str> {
        self.len().checked_sub(1).map(|device| self.text(device))
    }

    /// Adds one: before the start above all others, later any that is not there.
    pub fn push(&mut self, name: &str, is_late: bool) {
        let device = self.len();
        self.text.extend_from_slice(name.as_bytes());
        self.ends.push(u32::try_from(self.text.len()).unwrap_or(u32::MAX));
        if is_late {
            self.late.insert(name.into(), device);
        } else {
            self.sorted = device + 1;
        }
    }

    /// No more will come for a while: gives back what was held for them.
    pub fn settle(&mut self) {
        self.text.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    /// Bytes of memory, without those who came later.
    pub fn memory_bytes(&self) -> usize {
        self.text.capacity() + self.ends.capacity() * size_of::<u32>()
    }
}
