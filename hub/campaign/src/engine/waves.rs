//! Thresholds and waves: what is too much, and when the next may begin.

use super::Campaign;
use crate::{
    cell::TAKEN,
    event::{Alarm, Effect},
    plan::{Action, Gate},
    state::{State, Status, WaveState, Why},
};

impl Campaign {
    /// Whether devices are offered it, or will be again.
    pub(super) fn goes_on(&self) -> bool {
        self.state == State::Running || self.state.is_paused()
    }

    /// Whether it has become too much, of that wave or of the whole. Asked whenever a device ends.
    pub(super) fn judge(&mut self, wave: u8, out: &mut Vec<Effect>) {
        if !self.goes_on() {
            return;
        }
        let at = usize::from(wave);
        let (Some(planned), Some(now)) = (self.created.plan.waves.get(at), self.waves.get(at)) else {
            return;
        };
        let of_wave = planned.failure.iter().map(|failure| (failure, &now.counts, &now.base, Some(wave)));
        let of_all = self.created.plan.failure.iter().map(|f| (f, &self.total, &self.base, None));
        let tripped = of_wave.chain(of_all).filter(|(failure, counts, base, _)| counts.trips(base, failure));
        // Of several the one that does most.
        let worst = tripped.max_by_key(|(failure, ..)| match failure.action {
            Action::Pause => 0,
            Action::Abort => 1,
            Action::Rollback => 2,
        });
        let Some((failure, counts, base, scope)) = worst else { return };
        let (bad, started) = counts.since(base, failure.classes);
        let alarm = Effect::Alarm(Alarm::Threshold { wave: scope, bad, started });
        match failure.action {
            Action::Pause if self.state.is_paused() => {}
            Action::Pause => {
                self.become_state(State::PausedByThreshold, out);
                out.push(alarm);
            }
            Action::Abort => {
                out.push(alarm);
                self.call_off(State::Aborting, out);
            }
            Action::Rollback => {
                out.push(alarm);
                self.call_off(State::RollingBack, out);
            }
        }
    }

    /// Lets waves go on as far as they can.
    pub(super) fn go_on(&mut self, out: &mut Vec<Effect>) {
        while self.state == State::Running && self.wave_goes_on(out) {}
    }

    /// One step of the current wave; false if there is none to take.
    fn wave_goes_on(&mut self, out: &mut Vec<Effect>) -> bool {
        let (at, now_s, gate_s) = (self.current, self.clock.seconds(), self.plan_now().deadlines.gate_s);
        let Ok(number) = u8::try_from(at) else { return false };
        let is_last = at + 1 == self.waves.len();
        let is_open_ended = is_last && self.plan_now().dynamic;
        let Some(planned) = self.created.plan.waves.get(at) else { return false };
        let (success, soak_s, gate) = (planned.success, planned.soak_s, planned.gate);
        let Some(wave) = self.waves.get_mut(at) else { return false };
        match wave.state {
            WaveState::Waiting => {
                wave.state = WaveState::Running;
                self.begin_wave(number);
            }
            // Others may join until the campaign ends.
            WaveState::Running if is_open_ended => return false,
            WaveState::Running if wave.counts.suffice(&success) => {
                wave.state = WaveState::Soaking;
                wave.until_s = now_s.saturating_add(soak_s);
            }
            WaveState::Running | WaveState::Soaking
                if wave.counts.open() == 0 && !wave.counts.suffice(&success) =>
            {
                wave.state = WaveState::Failed;
                self.become_state(State::PausedByThreshold, out);
                out.push(Effect::Alarm(Alarm::WaveFailed { wave: number }));
            }
            WaveState::Running => return false,
            WaveState::Soaking if now_s < wave.until_s => return false,
            // While it was watched it got worse: it goes on being watched, and thresholds may yet stop it.
            WaveState::Soaking if !wave.counts.suffice(&success) => return false,
            WaveState::Soaking if gate == Gate::Auto || is_last => wave.state = WaveState::Passed,
            WaveState::Soaking => {
                wave.state = WaveState::Gate;
                wave.until_s = now_s.saturating_add(gate_s);
                if gate == Gate::Webhook {
                    out.push(Effect::CallGate { wave: number });
                }
            }
            WaveState::Gate if now_s >= wave.until_s => {
                self.become_state(State::PausedByGate, out);
                out.push(Effect::Alarm(Alarm::Shut { wave: number }));
            }
            WaveState::Gate | WaveState::Failed => return false,
            WaveState::Passed => self.current += 1,
        }
        true
    }

    fn begin_wave(&mut self, wave: u8) {
        let members = self.cells.iter().zip(0_u32..).filter(|(cell, _)| cell.wave == wave);
        let members: Vec<u32> =
            members.filter(|(cell, _)| cell.status == Status::Targeted).map(|(_, device)| device).collect();
        if let Some(wave) = self.waves.get_mut(usize::from(wave)) {
            wave.queue.reserve_exact(members.len());
        }
        members.into_iter().for_each(|device| self.call_up(device));
    }

    /// A device's wave has begun.
    pub(super) fn call_up(&mut self, device: u32) {
        if self.cell(device).is_some_and(|cell| cell.has(TAKEN)) {
            self.turn(device, Status::Waiting, Why::Dependency.number());
            self.set_deadline(device, self.plan_now().deadlines.waiting_s);
        } else {
            self.enqueue(device);
        }
    }

    /// Ends the campaign when all of it has ended.
    pub(super) fn finish(&mut self, out: &mut Vec<Effect>) {
        if self.total.open() > 0 {
            return;
        }
        let is_over = self.ends_s > 0 && self.clock.seconds() >= self.ends_s;
        let state = match self.state {
            State::Aborting => State::Aborted,
            State::RollingBack if self.undone => State::RolledBack,
            State::Running if self.current >= self.waves.len() || is_over => self.finished(),
            state if state.is_paused() && is_over => self.finished(),
            _ => return,
        };
        self.become_state(state, out);
    }

    fn finished(&self) -> State {
        let all = self.total.all();
        let there = self.total.of(Status::Succeeded) + self.total.of(Status::AlreadyInstalled);
        if there == all && self.total.reverted == 0 { State::Complete } else { State::Partial }
    }
}
