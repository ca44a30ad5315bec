//! The campaign itself. An event goes in; if it is accepted, a record comes out, and what is to be done once the record is
//! durable. What else is decided follows in the same call: a threshold that trips stops the very next offer.

mod devices;
mod offers;
mod orders;
mod timers;
mod view;
mod waves;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use muster_schemas::{
    DeviceId,
    firmware::{ExecutionId, FailureCode, Outcome},
};

pub use view::{Device, Inverse};

use crate::{
    cell::{Cell, STARTED},
    codec::Malformed,
    counts::Counts,
    event::{Created, Effect, Effects, Event, Refused},
    limits::{DEVICES_MAX, GAP_MS_MAX},
    names::Names,
    pace::Pace,
    plan::{Plan, PlanHash},
    record::{self, Happened, Record},
    split::mix,
    state::{State, Status, WaveState, Why},
    wheel::Wheel,
    window::{Span, Zone, span_at},
};

/// Why devices ended otherwise than with success: how, where they were, and the code if they gave one.
pub type Reason = (Status, Status, Option<FailureCode>);

/// A campaign.
#[derive(Debug, Clone)]
pub struct Campaign {
    pub(crate) created: Created,
    pub(crate) hash: PlanHash,
    pub(crate) authors: BTreeSet<String>,
    pub(crate) approved_by: Option<String>,
    pub(crate) state: State,
    pub(crate) clock: Clock,
    /// When it ends whatever happens, by its clock, in seconds; 0 before the start.
    pub(crate) ends_s: u32,
    pub(crate) names: Names,
    pub(crate) cells: Vec<Cell>,
    pub(crate) wheel: Wheel,
    pub(crate) waves: Vec<WaveNow>,
    /// The wave that is not yet passed; as many as there are waves when all are.
    pub(crate) current: usize,
    pub(crate) total: Counts,
    /// What thresholds of the whole campaign count from.
    pub(crate) base: Counts,
    pub(crate) reasons: BTreeMap<Reason, u32>,
    /// How many wait for what, by [`Why`].
    pub(crate) waits: [u32; Why::ALL.len()],
    pub(crate) zones: Vec<ZoneNow>,
    pub(crate) pace: Pace,
    /// Whether the campaign that undoes this one is over.
    pub(crate) undone: bool,
    /// Whether the last event left devices to look at.
    pub(crate) more: bool,
    /// What all transitions so far make together.
    pub(crate) print: u64,
}

/// Two times: of the world, and of the campaign, which stands still while the hub is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Clock {
    /// The latest that was told, in milliseconds since 1970. It does not go back.
    pub now_ms: u64,
    /// How much of it counts, in milliseconds since the campaign was made.
    pub active_ms: u64,
}

impl Clock {
    /// How much of the time since the last event counts, in milliseconds.
    fn advance(&mut self, now_ms: u64) -> u64 {
        let passed = now_ms.saturating_sub(self.now_ms).min(GAP_MS_MAX);
        self.now_ms = self.now_ms.max(now_ms);
        self.active_ms += passed;
        passed
    }

    /// The campaign's time, in whole seconds.
    pub fn seconds(self) -> u32 {
        u32::try_from(self.active_ms / 1_000).unwrap_or(u32::MAX)
    }
}

/// A wave as it is now.
#[derive(Debug, Clone)]
pub(crate) struct WaveNow {
    pub state: WaveState,
    pub counts: Counts,
    /// What its thresholds count from.
    pub base: Counts,
    /// Devices that wait for their turn. Some of them may have gone on meanwhile.
    pub queue: VecDeque<u32>,
    /// When its soak time or its gate ends, by the campaign's clock, in seconds.
    pub until_s: u32,
}

/// The devices of a time zone.
#[derive(Debug, Clone)]
pub(crate) struct ZoneNow {
    pub zone: Zone,
    /// The window that is open, or the next one.
    pub span: Option<Span>,
    /// Devices that wait for it. Some of them may have gone on meanwhile.
    pub parked: Vec<u32>,
}

/// Why records do not make a campaign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A record is none.
    #[error("record {record} {why}")]
    Malformed {
        /// Which, from 0.
        record: u64,
        /// Why.
        why: Malformed,
    },
    /// The first record makes no campaign, or another does.
    #[error("record {record} is out of place: the first makes the campaign, and no other does")]
    Place {
        /// Which, from 0.
        record: u64,
    },
    /// What was accepted is not.
    #[error(
        "record {record} is refused now: {why}; a record before it is missing, or another version decided it"
    )]
    Refused {
        /// Which, from 0.
        record: u64,
        /// Why.
        why: Refused,
    },
    /// What follows is not what followed.
    #[error(
        "record {record} leads elsewhere than it did; a record before it is missing, or another version decided it"
    )]
    Diverged {
        /// Which, from 0.
        record: u64,
    },
    /// There is no record.
    #[error("there are no records")]
    Empty,
}

pub(crate) fn place(device: u32) -> usize {
    usize::try_from(device).unwrap_or(usize::MAX)
}

impl Campaign {
    /// Makes a campaign, in draft, or, if it undoes another, approved with that one.
    ///
    /// # Errors
    /// The plan is none, or a name is.
    pub fn create(now_ms: u64, created: Created) -> Result<(Self, Effects), Refused> {
        let mut campaign = Self::made(now_ms, created)?;
        let mut w = record::begin(now_ms, 256);
        record::write_created(&mut w, &campaign.created);
        let record = campaign.seal(w, &[]);
        Ok((campaign, Effects { record, list: Vec::new() }))
    }

    /// Ends a record, and takes it into the print: the next record is only good after this one.
    fn seal(&mut self, mut w: record::Writer, spans: &[(u16, Span)]) -> Vec<u8> {
        record::write_spans(&mut w, spans);
        self.fold(&w.0);
        w.fixed(&self.short_print().to_be_bytes());
        w.0
    }

    /// FNV-1a over what a record says before its print.
    fn fold(&mut self, record: &[u8]) {
        let hash = record
            .iter()
            .fold(self.print, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
        self.print = mix(hash);
    }

    pub(crate) fn made(now_ms: u64, created: Created) -> Result<Self, Refused> {
        created.plan.check()?;
        orders::check_name(&created.by)?;
        let (first, count) = created.executions;
        let is_range = first.number().checked_add(count).is_some_and(|end| end <= ExecutionId::MAX.number());
        if place(count) > DEVICES_MAX || !is_range {
            return Err(Refused::TooMany);
        }
        let hash = created.plan.hash();
        let undoes = created.undoes.is_some();
        let (state, approved_by) =
            if undoes { (State::Scheduled, Some(created.by.clone())) } else { (State::Draft, None) };
        let mut campaign = Self {
            hash,
            authors: BTreeSet::from([created.by.clone()]),
            approved_by,
            state,
            clock: Clock { now_ms, active_ms: 0 },
            ends_s: 0,
            names: Names::default(),
            cells: Vec::new(),
            wheel: Wheel::new(0),
            waves: Vec::new(),
            current: 0,
            total: Counts::default(),
            base: Counts::default(),
            reasons: BTreeMap::new(),
            waits: [0; Why::ALL.len()],
            zones: Vec::new(),
            pace: Pace::new(&created.plan.rate),
            undone: false,
            more: false,
            print: u64::from(created.number),
            created,
        };
        campaign.clear_devices();
        Ok(campaign)
    }

    /// Takes an event at a time. Nothing has changed if it is refused.
    ///
    /// # Errors
    /// It is not possible now, or says nothing new.
    pub fn apply(&mut self, now_ms: u64, event: &Event) -> Result<Effects, Refused> {
        if *event == Event::Tick {
            let due_ms = self.next_deadline_ms().unwrap_or(u64::MAX);
            if now_ms < due_ms {
                return Err(Refused::Early { due_ms });
            }
        }
        let (mut list, mut spans) = (Vec::new(), Vec::new());
        self.step(now_ms, event, &mut list, |campaign| {
            spans = campaign.look_up_windows();
            spans.clone()
        })?;
        let mut w = record::begin(self.clock.now_ms, 32);
        record::write_event(&mut w, event);
        Ok(Effects { record: self.seal(w, &spans), list })
    }

    /// Repeats what a record says. What was done then is not done again: see [`Campaign::outstanding`].
    ///
    /// # Errors
    /// It does not fit what was before.
    pub fn repeat(&mut self, number: u64, record: &[u8]) -> Result<(), Broken> {
        let decoded = Record::decode(record);
        let (bytes, record) = (record, decoded.map_err(|why| Broken::Malformed { record: number, why })?);
        let Happened::Event(event) = &record.happened else {
            return Err(Broken::Place { record: number });
        };
        let mut list = Vec::new();
        let done = self.step(record.now_ms, event, &mut list, |_| record.spans.clone());
        done.map_err(|why| Broken::Refused { record: number, why })?;
        self.fold(record::without_print(bytes));
        let is_same = self.short_print() == record.print;
        if is_same { Ok(()) } else { Err(Broken::Diverged { record: number }) }
    }

    /// The campaign that records made, from the first on.
    ///
    /// # Errors
    /// A record is damaged, missing, or was decided otherwise than it is now.
    pub fn replay<R: AsRef<[u8]>>(records: impl IntoIterator<Item = R>) -> Result<Self, Broken> {
        let mut records = (0_u64..).zip(records);
        let (_, first) = records.next().ok_or(Broken::Empty)?;
        let decoded = Record::decode(first.as_ref());
        let bytes = first;
        let first = decoded.map_err(|why| Broken::Malformed { record: 0, why })?;
        let Happened::Created(created) = first.happened else { return Err(Broken::Place { record: 0 }) };
        let made = Self::made(first.now_ms, *created);
        let mut campaign = made.map_err(|why| Broken::Refused { record: 0, why })?;
        campaign.fold(record::without_print(bytes.as_ref()));
        if campaign.short_print() != first.print {
            return Err(Broken::Diverged { record: 0 });
        }
        for (number, record) in records {
            campaign.repeat(number, record.as_ref())?;
        }
        Ok(campaign)
    }

    fn step(
        &mut self,
        now_ms: u64,
        event: &Event,
        out: &mut Vec<Effect>,
        spans: impl FnOnce(&Self) -> Vec<(u16, Span)>,
    ) -> Result<(), Refused> {
        let before = self.clock;
        let passed_ms = self.clock.advance(now_ms);
        // What is refused leaves nothing behind, not even the time.
        if let Err(refused) = self.decide(event, out) {
            self.clock = before;
            return Err(refused);
        }
        self.pace.fill(passed_ms);
        let spans = spans(self);
        self.settle(&spans, out);
        self.print ^= u64::from(self.state.number());
        Ok(())
    }

    fn decide(&mut self, event: &Event, out: &mut Vec<Effect>) -> Result<(), Refused> {
        match event {
            Event::Edit { by, plan } => self.edit(by, plan, out),
            Event::Submit { by } => self.submit(by, out),
            Event::Approve { by, hash } => self.approve(by, *hash, out),
            Event::Reject { by, reason } => self.reject(by, reason, out),
            Event::Enlist { members } => self.enlist(members),
            Event::Start { by, signed } => self.start(by, signed, out),
            Event::Pause { by } => self.pause(by, out),
            Event::Resume { by } => self.resume(by, out),
            Event::Abort { by } => self.abort(by, out),
            Event::Rollback { by } => self.roll_back(by, out),
            Event::Undone => self.undone(),
            Event::Withdrawn => self.withdrawn(out),
            Event::Gate { by, wave, open } => self.gate(by, *wave, *open, out),
            Event::Tick => {
                out.extend((self.state == State::Scheduled).then_some(Effect::Begin));
                Ok(())
            }
            Event::Report { execution, attempt, number, what } => {
                self.said(*execution, *attempt, *number, *what, out)
            }
            Event::Running { execution, image } => self.running(*execution, *image, out),
            Event::Verified { execution } => self.verified(*execution, out),
            Event::Seen { execution, online } => self.seen(*execution, *online),
            Event::Consent { execution, granted } => self.consent(*execution, *granted, out),
            Event::Freed { execution } => self.freed(*execution),
            Event::Superseded { execution } => self.leave(*execution, Status::Superseded, out),
            Event::Gone { execution } => self.leave(*execution, Status::Gone, out),
        }
    }

    /// All that follows from what happened and from the time that it is.
    fn settle(&mut self, spans: &[(u16, Span)], out: &mut Vec<Effect>) {
        self.more = false;
        if self.is_live() {
            self.open_windows(spans, out);
            self.fire(out);
            self.go_on(out);
        }
        self.finish(out);
        if self.state == State::Running {
            self.offer(out);
        }
    }

    /// Whether it began and is not over.
    pub(crate) fn is_live(&self) -> bool {
        !self.state.is_before_start() && !self.state.is_over()
    }

    /// The windows of zones of which none is known that has not ended.
    fn look_up_windows(&self) -> Vec<(u16, Span)> {
        let plan = &self.created.plan;
        if plan.windows.is_empty() || !self.is_live() {
            return Vec::new();
        }
        let now_ms = self.clock.now_ms;
        let zones = self.zones.iter().zip(0_u16..);
        let stale = zones.filter(|(zone, _)| zone.span.is_none_or(|span| span.to_ms <= now_ms));
        stale.filter_map(|(zone, at)| Some((at, span_at(&plan.windows, &zone.zone, now_ms)?))).collect()
    }

    pub(crate) fn plan_now(&self) -> &Plan {
        &self.created.plan
    }

    fn short_print(&self) -> u32 {
        u32::try_from(self.print >> 32).unwrap_or(0)
    }

    pub(crate) fn device_of(&self, execution: ExecutionId) -> Result<u32, Refused> {
        let device = execution.number().checked_sub(self.created.executions.0.number());
        let known = device.filter(|device| place(*device) < self.cells.len());
        known.ok_or(Refused::Unknown { execution })
    }

    pub(crate) fn execution_of(&self, device: u32) -> ExecutionId {
        let number = self.created.executions.0.number().saturating_add(device);
        ExecutionId::new(number).unwrap_or(ExecutionId::MAX)
    }

    pub(crate) fn cell(&self, device: u32) -> Option<&Cell> {
        self.cells.get(place(device))
    }

    pub(crate) fn cell_mut(&mut self, device: u32) -> Option<&mut Cell> {
        self.cells.get_mut(place(device))
    }

    pub(crate) fn set_flag(&mut self, device: u32, flag: u16, on: bool) {
        self.cell_mut(device).into_iter().for_each(|cell| cell.set(flag, on));
    }

    /// The one place in which a device's status changes: counts, reasons and the print follow.
    pub(crate) fn turn(&mut self, device: u32, to: Status, detail: u8) {
        let Some(cell) = self.cells.get_mut(place(device)) else { return };
        let (from, started, wave) = (cell.status, cell.has(STARTED), cell.wave);
        if to.is_ended() {
            cell.stage = from;
        }
        if let Some(count) = cell.why().and_then(|why| self.waits.get_mut(usize::from(why.number()))) {
            *count = count.saturating_sub(1);
        }
        cell.status = to;
        cell.set_detail(detail);
        let said = u64::from(device) << 32 | u64::from(to.number()) << 16 | u64::from(cell.attempt) << 8;
        let code = cell.code();
        if let Some(count) = cell.why().and_then(|why| self.waits.get_mut(usize::from(why.number()))) {
            *count += 1;
        }
        self.print = mix(self.print.rotate_left(1) ^ said ^ u64::from(detail));
        self.total.turn(from, to, started);
        if let Some(wave) = self.waves.get_mut(usize::from(wave)) {
            wave.counts.turn(from, to, started);
        }
        if to.is_ended() && to != Status::Succeeded {
            *self.reasons.entry((to, from, code)).or_default() += 1;
        }
    }

    /// Sets a device's deadline, in seconds from now; 0 for none but the campaign's.
    pub(crate) fn set_deadline(&mut self, device: u32, after_s: u32) {
        self.wheel.remove(&mut self.cells, device);
        let due_s = if after_s == 0 { 0 } else { self.clock.seconds().saturating_add(after_s) };
        self.cell_mut(device).into_iter().for_each(|cell| cell.due_s = due_s);
        if due_s > 0 {
            self.wheel.insert(&mut self.cells, device);
        }
    }

    /// Puts a device into its wave's queue.
    pub(crate) fn enqueue(&mut self, device: u32) {
        self.set_deadline(device, 0);
        self.turn(device, Status::Waiting, Why::Rate.number());
        let Some(cell) = self.cells.get_mut(place(device)) else { return };
        if cell.has(crate::cell::QUEUED) {
            return;
        }
        cell.set(crate::cell::QUEUED, true);
        if let Some(wave) = self.waves.get_mut(usize::from(cell.wave)) {
            wave.queue.push_back(device);
        }
    }

    /// Ends an execution.
    pub(crate) fn end(&mut self, device: u32, to: Status, detail: u8, out: &mut Vec<Effect>) {
        self.set_deadline(device, 0);
        self.turn(device, to, detail);
        let Some(cell) = self.cell(device) else { return };
        let (wave, outcome) = (cell.wave, to.outcome(cell.code()).unwrap_or(Outcome::Cancelled));
        out.push(Effect::Close { execution: self.execution_of(device), outcome });
        if to == Status::Succeeded {
            let succeeded = self.total.of(Status::Succeeded);
            self.pace.grow(&self.created.plan.rate, succeeded);
        }
        self.judge(wave, out);
    }

    pub(crate) fn become_state(&mut self, state: State, out: &mut Vec<Effect>) {
        if self.state != state {
            self.state = state;
            out.push(Effect::Now { state });
        }
    }

    /// Forgets the devices that were brought in, as when the plan is another.
    pub(crate) fn clear_devices(&mut self) {
        let plan = &self.created.plan;
        let wave = || WaveNow {
            state: WaveState::Waiting,
            counts: Counts::default(),
            base: Counts::default(),
            queue: VecDeque::new(),
            until_s: 0,
        };
        self.waves = plan.waves.iter().map(|_| wave()).collect();
        self.zones = vec![ZoneNow { zone: plan.zone.clone(), span: None, parked: Vec::new() }];
        self.pace = Pace::new(&plan.rate);
        (self.names, self.total) = Default::default();
        self.cells.clear();
    }

    /// The number of a device.
    pub fn find(&self, device: &DeviceId) -> Option<ExecutionId> {
        self.names.find(device.as_str()).map(|device| self.execution_of(device))
    }
}

pub(crate) fn zone_now(zone: Zone, span: Option<Span>, parked: Vec<u32>) -> ZoneNow {
    ZoneNow { zone, span, parked }
}
