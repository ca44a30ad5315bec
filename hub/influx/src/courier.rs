//! One tenant's batch on its way: cut into requests, sent again after what passes by itself, halved where a server wants
//! less or finds a line that it will never store. Knows no clock and no socket.
//!
//! Sending again is harmless: a point with the same series, field and time replaces itself. So a request whose answer was
//! lost is sent again whole, and each point is there once.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use crate::{
    answer::{Answer, Trouble},
    batch::Batch,
    limits::{
        BACKOFF_MAX, BACKOFF_MIN, GROWTH_REQUESTS, REQUEST_LINES_MAX, RETRY_AFTER_MAX, SEARCH_REQUESTS_MAX,
        STOPPED_MAX, STOPPED_MIN,
    },
};

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// Send these lines and tell the answer.
    Send(&'a str),
    /// Nothing before then.
    Wait(Instant),
    /// Everything of the batch is stored, or given up with a letter.
    Done,
}

/// Lines that a server will never store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// How many.
    pub lines: usize,
    /// Measurement and tags of the first of them; none where the server did not say which they are.
    pub series: Option<String>,
    /// What the server said.
    pub why: String,
}

/// Carries the batches of one tenant, one request at a time.
#[derive(Debug)]
pub struct Courier {
    batch: Batch,
    /// Lines that are to be sent, the next ones last.
    left: Vec<Range<usize>>,
    /// Those of the last one that were sent.
    sent: Range<usize>,
    /// Most lines of a request: as many as the server takes.
    lines_max: usize,
    /// Requests that went well since it wanted less.
    went_well: u32,
    /// Requests by which lines that it did not take are being looked for.
    searches: u32,
    wait: Option<Instant>,
    failures: u32,
    trouble: Option<Trouble>,
    chance: u64,
}

impl Courier {
    /// One without a batch. `seed` spreads the attempts of many tenants, so that they do not all come at once.
    pub fn new(seed: u64) -> Self {
        Self {
            batch: Batch::default(),
            left: Vec::new(),
            sent: 0..0,
            lines_max: REQUEST_LINES_MAX,
            went_well: 0,
            searches: 0,
            wait: None,
            failures: 0,
            trouble: None,
            chance: seed,
        }
    }

    /// Takes a batch in place of the one before, of which nothing is left or which begins anew.
    pub fn load(&mut self, batch: Batch) {
        self.left.clear();
        if !batch.is_empty() {
            self.left.push(0..batch.len());
        }
        self.batch = batch;
        self.searches = 0;
    }

    /// Gives the memory of the batch back while nothing can be sent; the next one is to begin with the same lines.
    pub fn unload(&mut self) {
        self.load(Batch::default());
    }

    /// Stops waiting: somebody has changed something.
    pub fn hurry(&mut self) {
        self.wait = None;
    }

    /// What to do now.
    pub fn next(&mut self, now: Instant) -> Next<'_> {
        if let Some(until) = self.wait.filter(|until| *until > now) {
            return Next::Wait(until);
        }
        match self.left.last() {
            Some(lines) => {
                self.sent = self.batch.request(lines, self.lines_max);
                Next::Send(self.batch.text(&self.sent))
            }
            None => Next::Done,
        }
    }

    /// The answer to what was sent last.
    pub fn answered(&mut self, now: Instant, answer: Answer, letters: &mut Vec<DeadLetter>) {
        let sent = self.sent.clone();
        match answer {
            Answer::Later(trouble) => return self.failed(now, trouble, BACKOFF_MIN, BACKOFF_MAX),
            Answer::NotBefore(trouble, after) => {
                let after = after.min(RETRY_AFTER_MAX);
                self.failed(now, trouble, BACKOFF_MIN, BACKOFF_MAX);
                // And a little longer, so that not all tenants come at once; never earlier than it says.
                let spread = after / 4 * self.spread() / 256;
                self.wait = self.wait.max(Some(now + after + spread));
                return;
            }
            Answer::Stopped(trouble) => return self.failed(now, trouble, STOPPED_MIN, STOPPED_MAX),
            _ => (self.wait, self.failures, self.trouble) = (None, 0, None),
        }
        match answer {
            Answer::Accepted => {
                self.settled(&sent);
                self.went_well += 1;
                if self.went_well >= GROWTH_REQUESTS && self.lines_max < REQUEST_LINES_MAX {
                    self.lines_max = (self.lines_max * 2).min(REQUEST_LINES_MAX);
                    self.went_well = 0;
                }
            }
            Answer::TooLarge if sent.len() > 1 => {
                self.lines_max = sent.len().div_ceil(2);
                self.went_well = 0;
            }
            Answer::TooLarge => self.give_up(&sent, None, "one line is more than it takes at once", letters),
            Answer::Partial(count, why) => {
                self.searches += 1;
                let lines = count.filter(|count| *count <= sent.len());
                if lines == Some(0) {
                    self.settled(&sent);
                } else if sent.len() == 1 || lines == Some(sent.len()) {
                    self.give_up(&sent, None, &why, letters);
                } else if self.searches >= SEARCH_REQUESTS_MAX {
                    self.give_up(&sent, Some(lines.unwrap_or(1)), &why, letters);
                } else {
                    self.halve(&sent);
                }
            }
            Answer::Refused(why) if sent.len() == 1 => self.give_up(&sent, None, &why, letters),
            Answer::Refused(_) => self.halve(&sent),
            Answer::Later(_) | Answer::NotBefore(..) | Answer::Stopped(_) => {}
        }
    }

    /// What is in the way; none once something was answered well.
    pub fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// Until when it waits.
    pub fn waits_until(&self) -> Option<Instant> {
        self.wait
    }

    fn failed(&mut self, now: Instant, trouble: Trouble, min: Duration, max: Duration) {
        let wait = min.saturating_mul(1_u32 << self.failures.min(16)).min(max);
        self.failures = self.failures.saturating_add(1);
        // From three quarters of it to all of it.
        self.wait = Some(now + wait - wait / 4 * self.spread() / 256);
        self.trouble = Some(trouble);
    }

    /// Of 256 parts, some.
    fn spread(&mut self) -> u32 {
        u32::try_from(self.roll() % 256).unwrap_or(0)
    }

    /// Of the lines that were to be sent next, these are through.
    fn settled(&mut self, sent: &Range<usize>) {
        if let Some(lines) = self.left.last_mut() {
            lines.start = sent.end.min(lines.end);
            if lines.start >= lines.end {
                self.left.pop();
            }
        }
    }

    /// The halves of these lines are to be sent one after the other.
    fn halve(&mut self, sent: &Range<usize>) {
        self.settled(sent);
        let middle = sent.start + sent.len().div_ceil(2);
        self.left.push(middle..sent.end);
        self.left.push(sent.start..middle);
    }

    fn give_up(
        &mut self,
        sent: &Range<usize>,
        unnamed: Option<usize>,
        why: &str,
        letters: &mut Vec<DeadLetter>,
    ) {
        let first = sent.start..(sent.start + 1).min(sent.end);
        let series = unnamed.is_none().then(|| series(self.batch.text(&first)));
        letters.push(DeadLetter { lines: unnamed.unwrap_or(sent.len()), series, why: why.to_owned() });
        self.settled(sent);
    }

    /// SplitMix64.
    fn roll(&mut self) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.chance;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Measurement and tags of a line: what stands before the first space that no backslash stands before. No value is told.
fn series(line: &str) -> String {
    let mut before = '\0';
    let end = line.find(|c| {
        let ends = c == ' ' && before != '\\';
        before = c;
        ends
    });
    line.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
}

#[cfg(test)]
#[path = "courier_tests.rs"]
mod tests;
