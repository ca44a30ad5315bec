//! What a durable session has yet to get, as sequences of the log: runs of them, and beyond a bound only the place from
//! which the log has to be searched. A message is stored once, however many sessions want it.

use std::collections::VecDeque;

/// Sequences that follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) first: u64,
    pub(crate) length: u64,
}

/// Ascending sequences. At the bound in runs it stops listing and keeps the place from which to search.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Queue {
    runs: VecDeque<Run>,
    /// From here on nothing is listed: the log tells.
    search_from: Option<u64>,
}

impl Queue {
    /// A queue as storage kept it. Runs that are empty or out of order end the list, and the rest is searched for.
    pub(crate) fn restore(runs: impl IntoIterator<Item = Run>, search_from: Option<u64>) -> Self {
        let mut queue = Self { runs: VecDeque::new(), search_from };
        for run in runs {
            let end = queue.runs.back().map_or(0, |last| last.first + last.length);
            if run.length == 0 || run.first < end || run.first.checked_add(run.length).is_none() {
                queue.search_from = Some(end.min(search_from.unwrap_or(u64::MAX)));
                break;
            }
            queue.runs.push_back(run);
        }
        queue
    }

    /// Adds a sequence, nearly always above all others. At `runs_max` the log is searched from it on.
    pub(crate) fn push(&mut self, sequence: u64, runs_max: usize) {
        if self.search_from.is_some() {
            return;
        }
        let is_full = self.runs.len() >= runs_max;
        match self.runs.back_mut() {
            Some(last) if last.first + last.length == sequence => last.length += 1,
            Some(last) if last.first + last.length > sequence => self.insert(sequence),
            _ if is_full => self.search_from = Some(sequence),
            _ => self.runs.push_back(Run { first: sequence, length: 1 }),
        }
    }

    /// Puts a sequence back that was taken out, nearly always before all others. What the search will find is left to it.
    pub(crate) fn put_back(&mut self, sequence: u64) {
        if self.search_from.is_some_and(|from| from <= sequence) {
            return;
        }
        self.insert(sequence);
    }

    /// Lists a sequence in its place, unless it is listed.
    fn insert(&mut self, sequence: u64) {
        let at = self.runs.iter().position(|run| run.first > sequence).unwrap_or(self.runs.len());
        let before = at.checked_sub(1).and_then(|at| self.runs.get(at));
        if before.is_some_and(|run| run.first + run.length > sequence) {
            return;
        }
        match self.runs.get_mut(at) {
            Some(run) if run.first == sequence + 1 => {
                run.first = sequence;
                run.length += 1;
            }
            _ => self.runs.insert(at, Run { first: sequence, length: 1 }),
        }
    }

    /// Takes the lowest that is listed.
    pub(crate) fn pop(&mut self) -> Option<u64> {
        let run = self.runs.front_mut()?;
        let sequence = run.first;
        run.first += 1;
        run.length -= 1;
        if run.length == 0 {
            self.runs.pop_front();
            if self.runs.is_empty() {
                self.runs = VecDeque::new();
            }
        }
        Some(sequence)
    }

    /// The lowest that is listed.
    pub(crate) fn front(&self) -> Option<u64> {
        self.runs.front().map(|run| run.first)
    }

    /// What is listed, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.runs.iter().flat_map(|run| run.first..run.first + run.length)
    }

    pub(crate) fn runs(&self) -> impl ExactSizeIterator<Item = &Run> {
        self.runs.iter()
    }

    /// Whether it is listed.
    pub(crate) fn contains(&self, sequence: u64) -> bool {
        let at = self.runs.partition_point(|run| run.first + run.length <= sequence);
        self.runs.get(at).is_some_and(|run| run.first <= sequence)
    }

    /// Takes one out of the middle, as recovery does for what is in flight.
    pub(crate) fn remove(&mut self, sequence: u64) {
        let holds = |run: &Run| (run.first..run.first + run.length).contains(&sequence);
        let Some(at) = self.runs.iter().position(holds) else { return };
        let Some(run) = self.runs.remove(at) else { return };
        let (before, after) = (sequence - run.first, run.first + run.length - sequence - 1);
        if after > 0 {
            self.runs.insert(at, Run { first: sequence + 1, length: after });
        }
        if before > 0 {
            self.runs.insert(at, Run { first: run.first, length: before });
        }
    }

    /// Forgets what is below `low`, and says how many of it were listed. What was to be searched below it counts too, as
    /// if all of it had been wanted: nobody can tell any more.
    pub(crate) fn drop_below(&mut self, low: u64) -> u64 {
        let mut dropped = 0;
        while let Some(run) = self.runs.front_mut()
            && run.first < low
        {
            let gone = run.length.min(low - run.first);
            dropped += gone;
            run.first += gone;
            run.length -= gone;
            if run.length == 0 {
                self.runs.pop_front();
            }
        }
        if let Some(from) = &mut self.search_from
            && *from < low
        {
            dropped += low - *from;
            *from = low;
        }
        dropped
    }

    /// From where the log has to be searched, once nothing is listed any more.
    pub(crate) fn search_from(&self) -> Option<u64> {
        self.search_from
    }

    /// The search has got this far; none when it has caught up, so that listing goes on.
    pub(crate) fn searched(&mut self, next: Option<u64>) {
        self.search_from = next;
    }

    /// Lists what a search found, whatever the bound: the search has one of its own.
    pub(crate) fn found(&mut self, sequence: u64) {
        match self.runs.back_mut() {
            Some(last) if last.first + last.length == sequence => last.length += 1,
            Some(last) if last.first + last.length > sequence => self.insert(sequence),
            _ => self.runs.push_back(Run { first: sequence, length: 1 }),
        }
    }

    /// The lowest sequence of the log that is needed; none if nothing is.
    pub(crate) fn needed_from(&self) -> Option<u64> {
        self.front().or(self.search_from)
    }

    /// How many are listed.
    #[cfg(test)]
    pub(crate) fn len(&self) -> u64 {
        self.runs.iter().map(|run| run.length).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.search_from.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sequences: &[u64]) -> Queue {
        let mut queue = Queue::default();
        sequences.iter().for_each(|sequence| queue.push(*sequence, 100));
        queue
    }

    #[test]
    fn neighbours_share_a_run_and_come_out_in_order() {
        let mut queue = of(&[1, 2, 3, 7, 8]);
        assert_eq!((queue.runs().len(), queue.len()), (2, 5));
        assert!([1, 3, 7, 8].iter().all(|sequence| queue.contains(*sequence)));
        assert!([0, 4, 6, 9].iter().all(|sequence| !queue.contains(*sequence)));
        assert_eq!(queue.pop(), Some(1));
        queue.put_back(1);
        assert_eq!(queue.iter().collect::<Vec<_>>(), [1, 2, 3, 7, 8]);
        queue.remove(2);
        assert_eq!(queue.iter().collect::<Vec<_>>(), [1, 3, 7, 8]);
        assert_eq!(std::iter::from_fn(|| queue.pop()).collect::<Vec<_>>(), [1, 3, 7, 8]);
        assert!(queue.is_empty());
    }

    #[test]
    fn beyond_its_bound_the_log_is_searched_until_it_has_caught_up() {
        let mut queue = Queue::default();
        for sequence in [1, 3, 5, 7] {
            queue.push(sequence, 2);
        }
        assert_eq!((queue.len(), queue.search_from()), (2, Some(5)));
        queue.pop();
        queue.push(9, 2);
        assert_eq!(queue.len(), 1, "what comes after the place is found by the search");
        queue.pop();
        assert_eq!(queue.needed_from(), Some(5));
        queue.found(5);
        queue.searched(Some(6));
        assert!(!queue.is_empty());
        queue.searched(None);
        queue.push(9, 2);
        assert_eq!(queue.iter().collect::<Vec<_>>(), [5, 9]);
    }

    #[test]
    fn what_is_listed_is_listed_once_and_in_its_place() {
        let mut queue = of(&[3, 4, 9]);
        [4, 9, 6, 3, 8, 2].into_iter().for_each(|sequence| queue.put_back(sequence));
        queue.found(7);
        queue.push(4, 100);
        assert_eq!(queue.iter().collect::<Vec<_>>(), [2, 3, 4, 6, 7, 8, 9]);
    }

    #[test]
    fn what_retention_took_is_dropped_and_counted() {
        let mut queue = of(&[1, 2, 3, 7]);
        assert_eq!(queue.drop_below(3), 2);
        assert_eq!(queue.iter().collect::<Vec<_>>(), [3, 7]);
        let mut searching = Queue::restore([], Some(4));
        assert_eq!((searching.drop_below(10), searching.search_from()), (6, Some(10)));
    }

    #[test]
    fn runs_out_of_order_are_searched_for_instead() {
        let queue = Queue::restore([Run { first: 5, length: 2 }, Run { first: 3, length: 1 }], None);
        assert_eq!((queue.len(), queue.search_from()), (2, Some(7)));
    }
}
