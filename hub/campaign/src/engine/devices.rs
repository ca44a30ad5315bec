//! What devices say, and what is known of them. Said twice, too late or out of order, it changes nothing.

use muster_schemas::firmware::{Digest, ExecutionId, FailureCode, Outcome, Stage};

use super::Campaign;
use crate::{
    cell::{
        ACKNOWLEDGED, BOOTED, CANCELLING, CONSENTED, Cell, HELD, LATE, OFFLINE, PARKED, REPORTED, REVERTED,
        STARTED, TAKEN, VERIFIED,
    },
    event::{Effect, Refused, What},
    limits::DEADLINE_S_MAX,
    plan::Proof,
    split::mix,
    state::{Status, Why},
};

impl Campaign {
    /// A device and its cell, if its execution goes on.
    fn open_cell(&self, execution: ExecutionId) -> Result<(u32, Cell), Refused> {
        let device = self.device_of(execution)?;
        let cell = self.cell(device).ok_or(Refused::Unknown { execution })?;
        if cell.status.is_ended() { Err(Refused::Ended) } else { Ok((device, *cell)) }
    }

    pub(super) fn said(
        &mut self,
        execution: ExecutionId,
        attempt: u8,
        number: u32,
        what: What,
        out: &mut Vec<Effect>,
    ) -> Result<(), Refused> {
        let (device, cell) = self.open_cell(execution)?;
        if attempt != cell.attempt || !cell.status.is_in_flight() {
            return Err(Refused::Attempt { found: attempt, current: cell.attempt });
        }
        if number != 0 && number <= cell.number {
            return Err(Refused::Again);
        }
        match what {
            What::Reached { stage, bytes } => self.reached(device, cell, stage, bytes, out)?,
            What::Ended { outcome } => self.ended(device, cell, outcome, out)?,
        }
        if number != 0
            && let Some(cell) = self.cell_mut(device)
            // A new attempt counts from the beginning.
            && cell.attempt == attempt
            && cell.status != Status::Retrying
        {
            cell.number = number;
        }
        Ok(())
    }

    fn reached(
        &mut self,
        device: u32,
        before: Cell,
        stage: Stage,
        bytes: u64,
        out: &mut Vec<Effect>,
    ) -> Result<(), Refused> {
        let to = Status::of(stage);
        let kib = u32::try_from(bytes / 1_024).unwrap_or(u32::MAX);
        if to < before.status {
            return Err(Refused::Backwards);
        }
        if to == before.status {
            // In the same stage only a download goes on, and that does not put its deadline off.
            if to != Status::Downloading || kib <= before.kib {
                return Err(Refused::Again);
            }
            self.cell_mut(device).into_iter().for_each(|cell| cell.kib = kib);
            return Ok(());
        }
        self.cell_mut(device).into_iter().for_each(|cell| cell.kib = cell.kib.max(kib));
        self.come_to(device, to, out);
        Ok(())
    }

    /// A device has come to a stage: from now on that stage's deadline holds.
    fn come_to(&mut self, device: u32, to: Status, out: &mut Vec<Effect>) {
        let d = self.plan_now().deadlines;
        let after_s = match to {
            Status::Offered => d.offered_s,
            Status::Downloading => d.downloading_s,
            Status::Downloaded => d.downloaded_s,
            Status::Installing => d.installing_s,
            Status::Rebooting => d.rebooting_s,
            _ => d.verifying_s,
        };
        self.turn(device, to, 0);
        let cell = self.cell(device).copied();
        let is_stopping = cell.is_some_and(|cell| cell.has(CANCELLING));
        match to {
            // Who was asked to stop has until then to answer, whatever it still downloads.
            Status::Downloading | Status::Downloaded if is_stopping => {}
            Status::Downloaded if cell.is_some_and(|cell| cell.has(HELD)) => self.may_install(device, out),
            _ => self.set_deadline(device, after_s),
        }
    }

    /// A device has all, and was told to wait for its window: it may go on, or waits for that.
    pub(super) fn may_install(&mut self, device: u32, out: &mut Vec<Effect>) {
        let Some(cell) = self.cell(device).copied() else { return };
        match self.open_until(cell.zone) {
            Some(until_ms) => {
                self.set_flag(device, HELD, false);
                self.set_deadline(device, self.plan_now().deadlines.downloaded_s);
                let (execution, attempt) = (self.execution_of(device), cell.attempt);
                out.push(Effect::Install { execution, attempt, until_ms });
            }
            None => {
                self.set_deadline(device, 0);
                self.park(device);
            }
        }
    }

    /// Remembers that a device waits for the window of its zone.
    pub(super) fn park(&mut self, device: u32) {
        let Some(cell) = self.cell(device).copied().filter(|cell| !cell.has(PARKED)) else { return };
        self.set_flag(device, PARKED, true);
        if let Some(zone) = self.zones.get_mut(usize::from(cell.zone)) {
            zone.parked.push(device);
        }
    }

    fn ended(
        &mut self,
        device: u32,
        cell: Cell,
        outcome: Outcome,
        out: &mut Vec<Effect>,
    ) -> Result<(), Refused> {
        match outcome {
            Outcome::Succeeded => return self.said_success(device, cell, out),
            Outcome::Failed { code } => self.failed(device, Status::Failed, code, out),
            // A device that gave up by itself spoke: that is a failure, and no silence.
            Outcome::TimedOut => self.failed(device, Status::Failed, FailureCode::Timeout, out),
            Outcome::RolledBack => self.end(device, Status::RolledBack, 0, out),
            Outcome::Cancelled if cell.has(CANCELLING) => {
                self.set_flag(device, ACKNOWLEDGED, true);
                self.end(device, Status::Cancelled, 0, out);
            }
            // Nobody but somebody there called it off.
            Outcome::Rejected | Outcome::Cancelled => self.end(device, Status::Rejected, 0, out),
            Outcome::AlreadyInstalled if cell.status < Status::Installing || cell.has(BOOTED) => {
                self.end(device, Status::AlreadyInstalled, 0, out);
            }
            Outcome::Incompatible if cell.status < Status::Installing => {
                self.end(device, Status::Incompatible, 0, out);
            }
            _ => return Err(Refused::NotForDevices),
        }
        Ok(())
    }

    /// Success is: it restarted, runs the image, and said so. A word that comes before it could have restarted is kept, and
    /// becomes success when the device says what it runs.
    fn said_success(&mut self, device: u32, cell: Cell, out: &mut Vec<Effect>) -> Result<(), Refused> {
        if cell.has(REPORTED) {
            return Err(Refused::Again);
        }
        let has_restarted = cell.status >= Status::Rebooting || cell.has(BOOTED);
        self.set_flag(device, REPORTED, true);
        if has_restarted {
            self.set_flag(device, BOOTED, true);
        }
        self.conclude(device, out);
        Ok(())
    }

    /// Ends with success if all that it takes is there; otherwise what is missing has the deadline of verifying.
    fn conclude(&mut self, device: u32, out: &mut Vec<Effect>) {
        let Some(cell) = self.cell(device).copied() else { return };
        let is_proven = self.plan_now().proof == Proof::Reported || cell.has(VERIFIED);
        if cell.has(BOOTED) && cell.has(REPORTED) && is_proven {
            self.end(device, Status::Succeeded, 0, out);
            if cell.has(VERIFIED) {
                self.count_verified(cell.wave);
            }
        } else if cell.status < Status::Verifying {
            self.come_to(device, Status::Verifying, out);
        }
    }

    fn count_verified(&mut self, wave: u8) {
        self.total.verified += 1;
        self.waves.get_mut(usize::from(wave)).into_iter().for_each(|wave| wave.counts.verified += 1);
    }

    /// Failed or silent: tried again if the plan says so, or else over.
    pub(super) fn failed(&mut self, device: u32, to: Status, code: FailureCode, out: &mut Vec<Effect>) {
        let Some(cell) = self.cell(device).copied() else { return };
        let retry = &self.plan_now().retry;
        // Silence after it began to install is what a device looks like that does not start any more.
        let may_repeat = to == Status::Failed || cell.status < Status::Installing;
        let is_tried_again = may_repeat
            && cell.status.is_in_flight()
            && cell.attempt < retry.attempts
            && retry.codes.contains(&code)
            && !cell.has(CANCELLING)
            && self.goes_on();
        if !is_tried_again {
            return self.end(device, to, code.number(), out);
        }
        let after_s = self.backoff_s(device, cell.attempt);
        if let Some(cell) = self.cell_mut(device) {
            [BOOTED, REPORTED, HELD, VERIFIED].into_iter().for_each(|flag| cell.set(flag, false));
            (cell.number, cell.kib) = (0, 0);
        }
        self.turn(device, Status::Retrying, code.number());
        self.set_deadline(device, after_s);
        out.push(Effect::Withdraw { execution: self.execution_of(device) });
    }

    /// Twice as long each time, up to the plan's bound, and a little by chance, so that who failed together does not come
    /// back together.
    fn backoff_s(&self, device: u32, attempt: u8) -> u32 {
        let retry = &self.plan_now().retry;
        let doubled = u64::from(retry.base_s) << attempt.saturating_sub(1).min(31);
        let wait_s = doubled.min(retry.cap_s.into());
        let chance = mix(u64::from(self.created.number) << 40 | u64::from(device) << 8 | u64::from(attempt));
        let jitter = u64::from(retry.jitter_permille);
        // From `1 - jitter` to `1 + jitter`, in thousandths.
        let permille = 1_000 - jitter + chance % (2 * jitter + 1);
        let wait_s = (wait_s * permille / 1_000).clamp(1, DEADLINE_S_MAX.into());
        u32::try_from(wait_s).unwrap_or(DEADLINE_S_MAX)
    }

    pub(super) fn running(
        &mut self,
        execution: ExecutionId,
        image: Digest,
        out: &mut Vec<Effect>,
    ) -> Result<(), Refused> {
        let device = self.device_of(execution)?;
        let cell = *self.cell(device).ok_or(Refused::Unknown { execution })?;
        let is_ours = image == self.plan_now().manifest.image;
        match (cell.status, is_ours) {
            (Status::Succeeded, false) if !cell.has(REVERTED) => {
                self.set_flag(device, REVERTED, true);
                self.print = mix(self.print ^ u64::from(device));
                self.total.revert();
                self.waves.get_mut(usize::from(cell.wave)).into_iter().for_each(|wave| wave.counts.revert());
                self.judge(cell.wave, out);
            }
            (Status::Succeeded | Status::AlreadyInstalled, _) => return Err(Refused::Ended),
            (status, true) if status.is_ended() && !cell.has(LATE) => {
                self.set_flag(device, LATE, true);
                self.print = mix(self.print ^ u64::from(device));
                self.total.late += 1;
                self.waves.get_mut(usize::from(cell.wave)).into_iter().for_each(|wave| wave.counts.late += 1);
            }
            (status, _) if status.is_ended() => return Err(Refused::Ended),
            // It has restarted, and runs what it ran before.
            (Status::Rebooting | Status::Verifying, false) => self.end(device, Status::RolledBack, 0, out),
            (_, false) => return Err(Refused::Again),
            (_, true) if cell.has(BOOTED) || self.state.is_before_start() => return Err(Refused::Again),
            (_, true) if !cell.has(STARTED) => self.end(device, Status::AlreadyInstalled, 0, out),
            (_, true) => {
                self.set_flag(device, BOOTED, true);
                self.conclude(device, out);
            }
        }
        Ok(())
    }

    pub(super) fn verified(&mut self, execution: ExecutionId, out: &mut Vec<Effect>) -> Result<(), Refused> {
        let device = self.device_of(execution)?;
        let cell = *self.cell(device).ok_or(Refused::Unknown { execution })?;
        if cell.has(VERIFIED) {
            return Err(Refused::Again);
        }
        match cell.status {
            Status::Succeeded => {
                self.set_flag(device, VERIFIED, true);
                self.print = mix(self.print ^ u64::from(device));
                self.count_verified(cell.wave);
            }
            status if status.is_ended() => return Err(Refused::Ended),
            status if status >= Status::Installing => {
                self.set_flag(device, VERIFIED, true);
                self.conclude(device, out);
            }
            _ => return Err(Refused::Attempt { found: cell.attempt, current: cell.attempt }),
        }
        Ok(())
    }

    pub(super) fn seen(&mut self, execution: ExecutionId, online: bool) -> Result<(), Refused> {
        let (device, cell) = self.open_cell(execution)?;
        // Of a device that has its offer it makes no difference: the offer waits for it.
        if cell.status >= Status::Offered || cell.has(OFFLINE) != online {
            return Err(Refused::Again);
        }
        self.set_flag(device, OFFLINE, !online);
        if cell.why() == Some(Why::Offline) {
            self.enqueue(device);
        }
        Ok(())
    }

    pub(super) fn consent(
        &mut self,
        execution: ExecutionId,
        granted: bool,
        out: &mut Vec<Effect>,
    ) -> Result<(), Refused> {
        let (device, cell) = self.open_cell(execution)?;
        if cell.why() != Some(Why::Consent) {
            return Err(Refused::Again);
        }
        if granted {
            self.set_flag(device, CONSENTED, true);
            self.enqueue(device);
        } else {
            self.end(device, Status::Rejected, 0, out);
        }
        Ok(())
    }

    pub(super) fn freed(&mut self, execution: ExecutionId) -> Result<(), Refused> {
        let (device, cell) = self.open_cell(execution)?;
        if !cell.has(TAKEN) {
            return Err(Refused::Again);
        }
        self.set_flag(device, TAKEN, false);
        if cell.why() == Some(Why::Dependency) {
            self.enqueue(device);
        }
        Ok(())
    }

    /// A device is no longer this campaign's, whatever it is at.
    pub(super) fn leave(
        &mut self,
        execution: ExecutionId,
        to: Status,
        out: &mut Vec<Effect>,
    ) -> Result<(), Refused> {
        let (device, cell) = self.open_cell(execution)?;
        if cell.has(STARTED) && cell.status.is_in_flight() {
            let (execution, attempt) = (self.execution_of(device), cell.attempt);
            out.push(Effect::Cancel { execution, attempt });
        }
        self.end(device, to, 0, out);
        Ok(())
    }
}
