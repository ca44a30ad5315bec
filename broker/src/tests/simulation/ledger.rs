//! What everybody sent and got, apart from the system, and what is wrong with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::client::SHARED_TOPIC;

/// A message and who published it.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) by: usize,
    pub(super) topic: String,
    pub(super) qos: u8,
    /// Its publisher was told that it is taken over.
    pub(super) is_accepted: bool,
    /// It was on its way while the disk refused: what was sent after it may have been accepted before it.
    pub(super) is_late: bool,
    /// Clients whose subscriptions were acknowledged before it was sent, and were not given up since.
    pub(super) wanted_by: BTreeSet<usize>,
    /// The same of those who share it.
    pub(super) shared_by: BTreeSet<usize>,
    /// One of those may have had it who lost it for good, as is its right.
    pub(super) is_excused: bool,
}

/// What a client's application got.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) number: usize,
    pub(super) qos: u8,
    pub(super) is_retained: bool,
    /// Its session outlives the connection. Others get a message at once, and again if its commit fails.
    pub(super) is_lasting: bool,
}

/// The record of a story.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) published: Vec<Published>,
    pub(super) got: BTreeMap<usize, Vec<Got>>,
    /// Line by line, with the time in milliseconds: the same for the same seed.
    pub(super) trace: String,
    pub(super) faults: Vec<String>,
    pub(super) now_ms: u64,
    pub(super) is_disk_failing: bool,
    /// Who has ever shared with others, and whether its sessions outlive its connections.
    sharers: BTreeMap<usize, bool>,
    /// Who has ever asked for all of what is shared.
    pub(super) gets_all: BTreeSet<usize>,
}

impl Ledger {
    pub(super) fn note(&mut self, who: &str, what: &str) {
        writeln!(self.trace, "{} {who} {what}", self.now_ms).unwrap();
    }

    pub(super) fn fault(&mut self, fault: String) {
        self.note("judge", &fault);
        self.faults.push(fault);
    }

    /// No client of a tenant sees what another tenant's published; nobody sees what nobody published.
    pub(super) fn got(
        &mut self,
        who: usize,
        tenant: &str,
        topic: &str,
        payload: &str,
        how: (u8, bool, bool),
    ) {
        let (from, number) = payload.split_once(':').unwrap_or(("nobody", "0"));
        let number: usize = number.parse().unwrap_or(usize::MAX);
        if from != tenant {
            self.fault(format!("client {who} of {tenant} got {payload:?} of another tenant"));
        }
        match self.published.get(number) {
            Some(published) if published.topic == topic => {}
            other => return self.fault(format!("client {who} got {payload:?} on {topic}: {other:?}")),
        }
        let (qos, is_retained, is_lasting) = how;
        self.got.entry(who).or_default().push(Got { number, qos, is_retained, is_lasting });
    }

    /// A client has ended its session or a subscription: what it has not got by now it may never get.
    pub(super) fn no_longer_wanted(&mut self, who: usize, by_topic: impl Fn(&str) -> bool) {
        for published in self.published.iter_mut().filter(|published| by_topic(&published.topic)) {
            published.wanted_by.remove(&who);
        }
    }

    /// A client asks to share.
    pub(super) fn shares(&mut self, who: usize, is_durable: bool) {
        self.sharers.entry(who).or_insert(is_durable);
    }

    /// A client does not share any more.
    pub(super) fn leaves_share(&mut self, who: usize) {
        for published in &mut self.published {
            published.shared_by.remove(&who);
        }
    }

    /// A session has ended: what was begun there at QoS 2 is for nobody else.
    pub(super) fn ends(&mut self, who: usize) {
        if self.sharers.contains_key(&who) {
            for published in self.published.iter_mut().filter(|published| published.qos == 2) {
                published.is_excused = true;
            }
        }
    }

    /// What only connections without a lasting session had is gone with the bus, or cannot be stored for others.
    pub(super) fn excuse_what_is_at_risk(&mut self) {
        if self.sharers.values().any(|is_durable| !is_durable) {
            self.published.iter_mut().for_each(|published| published.is_excused = true);
        }
    }

    /// Judges what is shared: one of those who share has it, and at QoS 2 one alone.
    fn judge_shares(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let got = |who: &usize, number: usize| {
            self.got.get(who).into_iter().flatten().filter(move |got| got.number == number)
        };
        for (number, published) in self.published.iter().enumerate() {
            if published.topic != SHARED_TOPIC {
                continue;
            }
            let is_there = self.sharers.keys().any(|who| got(who, number).next().is_some());
            let is_promised = published.is_accepted && !published.shared_by.is_empty();
            if is_promised && !published.is_excused && !is_there {
                faults.push(format!("{number} was shared by {:?}, and none got it", published.shared_by));
            }
            let sharers = self.sharers.keys().filter(|who| !self.gets_all.contains(who));
            let copies =
                sharers.flat_map(|who| got(who, number)).filter(|got| got.qos == 2 && got.is_lasting);
            let copies = copies.count();
            if copies > 1 {
                faults.push(format!("those who share got {number} {copies} times at QoS 2"));
            }
        }
        faults
    }

    /// Judges what is retained, by what an auditor of a tenant got: on a topic of one publisher it is the last that was
    /// accepted, or something later that nobody was told of.
    pub(super) fn judge_retained(&mut self, tenant_clients: &[usize], auditor: usize) {
        let found: BTreeMap<&str, usize> =
            self.got.get(&auditor).into_iter().flatten().fold(BTreeMap::new(), |mut found, got| {
                found.insert(&self.published[got.number].topic, got.number);
                found
            });
        let mut expected: BTreeMap<&str, Option<usize>> = BTreeMap::new();
        for (number, published) in self.published.iter().enumerate() {
            if tenant_clients.contains(&published.by) && published.topic.starts_with("r/") {
                let last = expected.entry(&published.topic).or_default();
                if published.is_accepted {
                    *last = Some(number);
                }
            }
        }
        let late = |topic: &str| self.published.iter().any(|p| p.topic == topic && p.is_late);
        let mut faults = Vec::new();
        for (topic, last) in expected.into_iter().filter(|(topic, _)| !late(topic)) {
            let found = found.get(topic).copied();
            if found < last {
                faults.push(format!("{topic} retains {found:?} and not {last:?}"));
            }
        }
        for fault in faults {
            self.fault(fault);
        }
    }

    /// Judges delivery, order and repetition once everything is quiet.
    pub(super) fn judge(&mut self) {
        let mut faults = self.judge_shares();
        let nothing = Vec::new();
        let wanting: BTreeSet<usize> = self.published.iter().flat_map(|p| &p.wanted_by).copied().collect();
        for who in self.got.keys().copied().chain(wanting).collect::<BTreeSet<_>>() {
            let mut before: BTreeMap<(usize, &str, u8, u8), usize> = BTreeMap::new();
            let (mut seen, mut once) = (BTreeSet::new(), BTreeSet::new());
            for Got { number, qos, is_retained, is_lasting } in self.got.get(&who).unwrap_or(&nothing) {
                let published = &self.published[*number];
                if *is_retained {
                    // Of a new subscription: it comes beside the line, and as often as it is asked for.
                    continue;
                }
                let is_shared = published.topic == SHARED_TOPIC && self.sharers.contains_key(&who);
                if *qos == 2 && *is_lasting && !is_shared && !once.insert(*number) {
                    faults.push(format!("client {who} got {number} twice at QoS 2"));
                }
                if !seen.insert(*number) || published.is_late || !published.wanted_by.contains(&who) {
                    continue;
                }
                let last = before.insert((published.by, &published.topic, published.qos, *qos), *number);
                if let Some(last) = last.filter(|last| last > number) {
                    faults.push(format!("client {who} got {number} of client {} after {last}", published.by));
                }
            }
            for (number, published) in self.published.iter().enumerate() {
                if published.is_accepted && published.wanted_by.contains(&who) && !seen.contains(&number) {
                    let qos = published.qos;
                    faults.push(format!("client {who} never got {number}, accepted at QoS {qos}"));
                }
            }
        }
        for fault in faults {
            self.fault(fault);
        }
    }
}
