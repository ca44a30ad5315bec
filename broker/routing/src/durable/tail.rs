//! The newest records that a durable session wanted, in memory, so that one who is a little behind need not ask the disk.

use std::collections::VecDeque;

use super::Record;

/// Ascending by sequence, with gaps, bounded in count and bytes of payload: the oldest go.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    records: VecDeque<Record>,
    bytes: usize,
}

impl Tail {
    pub(crate) fn push(&mut self, record: Record, records_max: usize, bytes_max: usize) {
        self.bytes += weight(&record);
        self.records.push_back(record);
        while self.records.len() > records_max || self.bytes > bytes_max {
            let Some(oldest) = self.records.pop_front() else { break };
            self.bytes -= weight(&oldest);
        }
    }

    pub(crate) fn find(&self, sequence: u64) -> Option<&Record> {
        let at = self.records.binary_search_by_key(&sequence, |record| record.sequence).ok()?;
        self.records.get(at)
    }
}

fn weight(record: &Record) -> usize {
    record.message.topic.as_str().len() + record.message.payload.len()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::tests::{model::message, publisher};

    fn record(sequence: u64, payload: &str) -> Record {
        let message = Arc::new(message("a", payload, 1));
        Record { sequence, received_ms: 0, publisher: publisher(1), session: None, message }
    }

    #[test]
    fn the_newest_are_found_and_the_oldest_go() {
        let mut tail = Tail::default();
        for sequence in [2, 3, 7, 9] {
            tail.push(record(sequence, "12345"), 3, 100);
        }
        assert!(tail.find(2).is_none() && tail.find(4).is_none());
        assert_eq!(tail.find(7).map(|record| record.sequence), Some(7));
        tail.push(record(10, &"1".repeat(90)), 3, 100);
        assert!(tail.find(7).is_none() && tail.find(9).is_some() && tail.find(10).is_some());
    }
}
