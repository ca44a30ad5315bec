//! What others are told of a campaign: one device, what is yet to be done, and the campaign that would undo it.

use muster_schemas::{
    DeviceId,
    firmware::{ExecutionId, FailureCode, Outcome},
};

use super::{Campaign, place};
use crate::{
    cell::{ACKNOWLEDGED, CANCELLING, HELD, LATE, QUEUED, REVERTED, STARTED, VERIFIED},
    event::{Alarm, Effect, Member},
    limits::NAME_BYTES_MAX,
    plan::{Gate, Plan, PlanHash, Size, Wave},
    state::{State, Status, WaveState, Why},
};

/// The execution of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its number.
    pub execution: ExecutionId,
    /// The device.
    pub device: DeviceId,
    /// The place of its wave, from 0.
    pub wave: u8,
    /// Where it is.
    pub status: Status,
    /// What it waits for.
    pub why: Option<Why>,
    /// Of one that has ended, where it was before.
    pub stage: Option<Status>,
    /// Why it failed, or fails for now.
    pub code: Option<FailureCode>,
    /// Which attempt is under way; 0 before the first.
    pub attempt: u8,
    /// How much has arrived, in KiB.
    pub kib: u32,
    /// Whether its TPM proved what it runs.
    pub verified: bool,
    /// Whether it was asked to stop, and, once it is cancelled, whether it said that it did.
    pub cancelling: bool,
    /// Whether it acknowledged its cancellation, or there was nothing to acknowledge.
    pub acknowledged: bool,
    /// Whether it said that it runs the image after it had ended otherwise.
    pub late: bool,
    /// Whether it said that it runs another image after it had succeeded.
    pub reverted: bool,
}

/// The campaign that undoes this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inverse {
    /// What it does: all at once, with the manifest that was approved for it.
    pub plan: Plan,
    /// Those who have the image, or may have it; ascending.
    pub members: Vec<Member>,
}

impl Campaign {
    /// Its state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Its plan.
    pub fn plan(&self) -> &Plan {
        &self.created.plan
    }

    /// The hash of its plan.
    pub fn hash(&self) -> PlanHash {
        self.hash
    }

    /// Its number.
    pub fn number(&self) -> u32 {
        self.created.number
    }

    /// Who approved it.
    pub fn approved_by(&self) -> Option<&str> {
        self.approved_by.as_deref()
    }

    /// How many devices it has.
    pub fn devices(&self) -> u32 {
        self.names.len()
    }

    /// One of its devices.
    pub fn device(&self, execution: ExecutionId) -> Option<Device> {
        let device = self.device_of(execution).ok()?;
        let cell = self.cell(device)?;
        Some(Device {
            execution,
            device: self.names.id(device)?,
            wave: cell.wave,
            status: cell.status,
            why: cell.why(),
            stage: cell.status.is_ended().then_some(cell.stage),
            code: cell.code(),
            attempt: cell.attempt,
            kib: cell.kib,
            verified: cell.has(VERIFIED),
            cancelling: cell.has(CANCELLING),
            acknowledged: cell.has(ACKNOWLEDGED),
            late: cell.has(LATE),
            reverted: cell.has(REVERTED),
        })
    }

    /// All of its devices, from a number on, for pages of them.
    pub fn devices_from(&self, first: u32) -> impl Iterator<Item = Device> + '_ {
        (first..self.names.len()).filter_map(|device| self.device(self.execution_of(device)))
    }

    /// What may not have been done, as after a crash: records are durable before their effects are carried out. Doing one
    /// of these again changes nothing: offers replace one another, and who ended is closed already.
    pub fn outstanding(&self) -> Vec<Effect> {
        let mut list = vec![Effect::Now { state: self.state }];
        let now_ms = self.clock.now_ms;
        if self.state == State::Scheduled && self.created.plan.start_at_ms.is_some_and(|at| at <= now_ms) {
            list.push(Effect::Begin);
        }
        for device in 0..self.names.len() {
            self.outstanding_of(device, &mut list);
        }
        let gate = self.waves.get(self.current).zip(self.created.plan.waves.get(self.current));
        if let (Some((now, planned)), Ok(wave)) = (gate, u8::try_from(self.current))
            && (now.state, planned.gate) == (WaveState::Gate, Gate::Webhook)
            && self.state == State::Running
        {
            list.push(Effect::CallGate { wave });
        }
        match self.state {
            State::RollingBack if !self.undone => list.push(Effect::Undo),
            State::PausedAsStale => list.push(Effect::Alarm(Alarm::Stale)),
            _ => {}
        }
        list
    }

    fn outstanding_of(&self, device: u32, list: &mut Vec<Effect>) {
        let Some(cell) = self.cell(device) else { return };
        let (execution, attempt) = (self.execution_of(device), cell.attempt);
        let open = self.open_until(cell.zone);
        let until_ms = open.flatten();
        match cell.status {
            status if status.is_ended() => {
                let outcome = status.outcome(cell.code()).unwrap_or(Outcome::Cancelled);
                list.push(Effect::Close { execution, outcome });
            }
            status if cell.has(CANCELLING) && status.is_in_flight() => {
                list.push(Effect::Cancel { execution, attempt });
            }
            Status::Offered | Status::Downloading => {
                list.push(Effect::Offer { execution, attempt, install: !cell.has(HELD), until_ms });
            }
            Status::Downloaded if !cell.has(HELD) => {
                list.push(Effect::Install { execution, attempt, until_ms });
            }
            Status::Retrying => list.push(Effect::Withdraw { execution }),
            Status::Waiting if cell.why() == Some(Why::Consent) => list.push(Effect::Ask { execution }),
            _ => {}
        }
    }

    /// What undoes this campaign; none if there is no way back. It takes in who succeeded, who had begun to install, and
    /// who fell silent then: nobody knows what those run.
    pub fn inverse(&self) -> Option<Inverse> {
        let back = self.created.plan.rollback?;
        let wave = Wave {
            name: String::new(),
            size: Size::Rest,
            // It goes on whatever happens: what it undoes was worse.
            success: crate::plan::Success { permille: 0, started_permille: 1_000 },
            failure: Vec::new(),
            soak_s: 0,
            gate: Gate::Auto,
        };
        let mut name = format!("undoes {}: {}", self.created.number, self.created.plan.name);
        while name.len() > NAME_BYTES_MAX {
            name.pop();
        }
        let plan = Plan {
            name,
            dynamic: false,
            manifest: back,
            rollback: None,
            waves: vec![wave],
            failure: Vec::new(),
            // What is broken is mended at once, by day and unasked.
            windows: Vec::new(),
            consent: false,
            start_at_ms: None,
            ..self.created.plan.clone()
        };
        let has_it = |device: &u32| {
            self.cell(*device).is_some_and(|cell| {
                let is_unsure = cell.status == Status::Cancelled && !cell.has(ACKNOWLEDGED);
                let installed = cell.status == Status::TimedOut || cell.status == Status::Superseded;
                cell.status == Status::Succeeded
                    || cell.has(LATE)
                    || is_unsure
                    || (installed && cell.stage >= Status::Installing && cell.stage <= Status::Verifying)
            })
        };
        let mut members: Vec<Member> = (0..self.names.len())
            .filter(has_it)
            .filter_map(|device| {
                let cell = self.cell(device)?;
                let zone = self.zones.get(usize::from(cell.zone)).map(|zone| zone.zone.clone());
                let device = self.names.id(device)?;
                Some(Member { device, wave: 0, zone, taken: false, offline: false })
            })
            .collect();
        members.sort_by(|left, right| left.device.as_str().cmp(right.device.as_str()));
        Some(Inverse { plan, members })
    }

    /// How much memory its devices take while it runs, in bytes: cells, names, queues.
    pub fn memory_bytes(&self) -> usize {
        let cells = self.cells.capacity() * size_of::<crate::cell::Cell>();
        let queues: usize = self.waves.iter().map(|wave| wave.queue.capacity()).sum();
        let parked: usize = self.zones.iter().map(|zone| zone.parked.capacity()).sum();
        cells + self.names.memory_bytes() + (queues + parked) * size_of::<u32>()
    }

    /// Whether what is counted is what there is. For tests, and for `muster verify`.
    pub fn is_sound(&self) -> bool {
        let (mut total, mut waves) = (crate::counts::Counts::default(), Vec::new());
        waves.resize(self.waves.len(), crate::counts::Counts::default());
        let mut waits = [0_u32; Why::ALL.len()];
        for cell in &self.cells {
            total.add(cell);
            waves.get_mut(usize::from(cell.wave)).into_iter().for_each(|counts| counts.add(cell));
            let why = cell.why().and_then(|why| waits.get_mut(usize::from(why.number())));
            why.into_iter().for_each(|count| *count += 1);
        }
        let counted = self.waves.iter().map(|wave| wave.counts);
        let has_deadlines = !self.is_live()
            || (0..self.names.len()).all(|d| {
                self.deadline_s(d).is_some() || self.cell(d).is_none_or(|cell| cell.status.is_ended())
            });
        let queued = |device: &u32| self.cell(*device).is_some_and(|cell| cell.has(QUEUED));
        let in_queues = self.waves.iter().all(|wave| wave.queue.iter().all(queued));
        let never_started = self.cells.iter().all(|c| !c.status.is_in_flight() || c.has(STARTED));
        total == self.total
            && counted.eq(waves)
            && waits == self.waits
            && has_deadlines
            && in_queues
            && never_started
            && place(self.names.len()) == self.cells.len()
    }
}
