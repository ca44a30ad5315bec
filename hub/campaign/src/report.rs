//! What `muster campaign status` and `failures` show: counts, reasons, and what it waits for. Nothing here looks at devices
//! one by one.

use crate::{
    counts::Counts,
    engine::{Campaign, Reason},
    plan::{Gate, PlanHash},
    state::{State, Status, WaveState, Why},
};

/// A campaign at a glance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What it is.
    pub state: State,
    /// The hash of its plan.
    pub hash: PlanHash,
    /// Who approved that.
    pub approved_by: Option<String>,
    /// All devices.
    pub total: Counts,
    /// The waves.
    pub waves: Vec<WaveReport>,
    /// Who ended otherwise than with success, by reason; the most frequent first.
    pub reasons: Vec<(Reason, u32)>,
    /// What it waits for; nothing if it is over.
    pub waits: Vec<Wait>,
    /// Offers in a minute, now.
    pub per_minute: u32,
}

/// A wave at a glance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaveReport {
    /// Its name.
    pub name: String,
    /// What it is.
    pub state: WaveState,
    /// Its devices.
    pub counts: Counts,
}

/// What a campaign waits for. Times are those of the world, in milliseconds since 1970, and the earliest possible.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "`devices`: how many; `at_ms`: until when; the rest has its line")]
pub enum Wait {
    /// Somebody to submit it.
    Submission,
    /// Somebody else to approve it.
    Approval,
    /// Its start: at a time, or by hand.
    Start { at_ms: Option<u64> },
    /// A person to resume, abort or roll it back.
    Operator { state: State },
    /// The rate.
    Rate { devices: u32, at_ms: u64 },
    /// Downloads to end: as many as may download at a time do.
    Downloads { devices: u32, downloads_max: u32 },
    /// A window to open.
    Window { zone: String, devices: u32, at_ms: Option<u64> },
    /// Devices to come.
    Offline { devices: u32 },
    /// People at devices to allow it.
    Consent { devices: u32 },
    /// Other campaigns.
    Dependency { devices: u32 },
    /// Time for another attempt.
    Retry { devices: u32 },
    /// Devices that are at it.
    Devices { devices: u32 },
    /// The soak time of a wave, from 0.
    Soak { wave: usize, at_ms: u64 },
    /// A gate, and who opens it.
    Gate { wave: usize, gate: Gate, at_ms: u64 },
    /// The campaign that undoes it.
    Undoing,
    /// Devices that may come to match.
    Members { at_ms: u64 },
}

impl Campaign {
    /// The campaign at a glance.
    pub fn report(&self) -> Report {
        let waves = self.waves.iter().zip(&self.created.plan.waves);
        let waves = waves.map(|(now, planned)| WaveReport {
            name: planned.name.clone(),
            state: now.state,
            counts: now.counts,
        });
        let mut reasons: Vec<_> = self.reasons.iter().map(|(reason, count)| (*reason, *count)).collect();
        reasons.sort_by_key(|(reason, count)| (std::cmp::Reverse(*count), *reason));
        Report {
            state: self.state,
            hash: self.hash,
            approved_by: self.approved_by.clone(),
            total: self.total,
            waves: waves.collect(),
            reasons,
            waits: self.waits_for(),
            per_minute: self.pace.per_minute,
        }
    }

    fn waits_of(&self, why: Why) -> u32 {
        self.waits.get(usize::from(why.number())).copied().unwrap_or(0)
    }

    fn waits_for(&self) -> Vec<Wait> {
        let mut waits = match self.state {
            State::Draft | State::Rejected => return vec![Wait::Submission],
            State::PendingApproval => return vec![Wait::Approval],
            State::Scheduled => return vec![Wait::Start { at_ms: self.created.plan.start_at_ms }],
            state if state.is_over() => return Vec::new(),
            state if state.is_paused() => vec![Wait::Operator { state }],
            State::RollingBack if !self.undone => vec![Wait::Undoing],
            _ => Vec::new(),
        };
        let (now_ms, plan) = (self.clock.now_ms, &self.created.plan);
        let at = |s: u32| now_ms.saturating_add((u64::from(s) * 1_000).saturating_sub(self.clock.active_ms));
        let queued = self.waits_of(Why::Rate);
        if self.state == State::Running && queued > 0 {
            waits.push(match self.room() {
                0 => Wait::Downloads { devices: queued, downloads_max: plan.downloads_max },
                _ => Wait::Rate { devices: queued, at_ms: now_ms.saturating_add(self.pace.wait_ms()) },
            });
        }
        for zone in self.zones.iter().filter(|zone| !zone.parked.is_empty()) {
            let devices = u32::try_from(zone.parked.len()).unwrap_or(u32::MAX);
            let at_ms = zone.span.map(|span| span.from_ms);
            waits.push(Wait::Window { zone: zone.zone.as_str().to_owned(), devices, at_ms });
        }
        let mut push = |devices: u32, wait: Wait| waits.extend((devices > 0).then_some(wait));
        let [offline, consent, dependency] =
            [Why::Offline, Why::Consent, Why::Dependency].map(|why| self.waits_of(why));
        let (retry, in_flight) = (self.total.of(Status::Retrying), self.total.in_flight());
        push(offline, Wait::Offline { devices: offline });
        push(consent, Wait::Consent { devices: consent });
        push(dependency, Wait::Dependency { devices: dependency });
        push(retry, Wait::Retry { devices: retry });
        push(in_flight, Wait::Devices { devices: in_flight });
        let current = self.waves.get(self.current).zip(plan.waves.get(self.current));
        if let Some((now, planned)) = current {
            let (wave, is_last) = (self.current, self.current + 1 == self.waves.len());
            match now.state {
                WaveState::Soaking => waits.push(Wait::Soak { wave, at_ms: at(now.until_s) }),
                WaveState::Gate => {
                    waits.push(Wait::Gate { wave, gate: planned.gate, at_ms: at(now.until_s) });
                }
                WaveState::Running if is_last && plan.dynamic => {
                    waits.push(Wait::Members { at_ms: at(self.ends_s) });
                }
                _ => {}
            }
        }
        waits
    }
}
