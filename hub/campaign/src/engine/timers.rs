//! What time does: deadlines that pass, and when the next one does.

use muster_schemas::firmware::FailureCode;

use super::{Campaign, place};
use crate::{
    cell::CANCELLING,
    event::Effect,
    limits::HEARTBEAT_MS,
    state::{State, Status, WaveState},
};

impl Campaign {
    /// Ends what was silent for too long. In order of deadline and number, so that it is the same each time.
    pub(super) fn fire(&mut self, out: &mut Vec<Effect>) {
        let now_s = self.clock.seconds();
        if self.ends_s > 0 && now_s >= self.ends_s {
            return self.end_all(out);
        }
        let mut due = Vec::new();
        self.wheel.advance(&mut self.cells, now_s, &mut due);
        due.sort_unstable_by_key(|device| (self.cells.get(place(*device)).map(|cell| cell.due_s), *device));
        for device in due {
            // Another deadline before it in this list may have ended everything.
            let is_due = self.cell(device).is_some_and(|cell| cell.due_s != 0 && cell.due_s <= now_s);
            if is_due {
                self.is_silent(device, out);
            }
        }
    }

    fn is_silent(&mut self, device: u32, out: &mut Vec<Effect>) {
        let Some(cell) = self.cell(device).copied() else { return };
        match cell.status {
            Status::Retrying => self.enqueue(device),
            // While it is paused nobody can be expected to come.
            Status::Waiting if self.state.is_paused() => {
                self.set_deadline(device, self.plan_now().deadlines.waiting_s);
            }
            // Nobody knows whether it stopped.
            status if cell.has(CANCELLING) && status < Status::Installing => {
                self.end(device, Status::Cancelled, 0, out);
            }
            status if !status.is_ended() => {
                self.failed(device, Status::TimedOut, FailureCode::Timeout, out);
            }
            _ => {}
        }
    }

    /// The campaign's own deadline: whatever has not ended was silent, or had no chance.
    fn end_all(&mut self, out: &mut Vec<Effect>) {
        for device in 0..self.names.len() {
            let Some(cell) = self.cell(device).copied().filter(|cell| !cell.status.is_ended()) else {
                continue;
            };
            if cell.status.is_in_flight() {
                let (execution, attempt) = (self.execution_of(device), cell.attempt);
                out.push(Effect::Cancel { execution, attempt });
            }
            self.end(device, Status::TimedOut, FailureCode::Timeout.number(), out);
        }
    }

    /// When [`crate::Event::Tick`] is wanted at the latest, in milliseconds since 1970. A tick before that is refused, and
    /// costs nothing. None while nothing can be due.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let now_ms = self.clock.now_ms;
        if self.state == State::Scheduled {
            let plan = self.plan_now();
            return plan.start_at_ms.filter(|at_ms| *at_ms > now_ms);
        }
        if !self.is_live() || (self.total.open() == 0 && self.state == State::RollingBack) {
            return None;
        }
        if self.more {
            return Some(now_ms);
        }
        // By the campaign's clock, whose seconds end a little later than now.
        let at = |second: u32| {
            let left_ms = (u64::from(second) * 1_000).saturating_sub(self.clock.active_ms);
            now_ms.saturating_add(left_ms)
        };
        let wave = self.waves.get(self.current).filter(|wave| {
            self.state == State::Running && matches!(wave.state, WaveState::Soaking | WaveState::Gate)
        });
        let wave_s = wave.map(|wave| wave.until_s).filter(|until_s| *until_s > self.clock.seconds());
        let next_s = [self.wheel.next_s(), Some(self.ends_s), wave_s].into_iter().flatten().min();
        let turn_ms = self.turn_ms().map(|wait_ms| now_ms.saturating_add(wait_ms));
        let times = [next_s.map(at), self.window_ms(), turn_ms, Some(now_ms.saturating_add(HEARTBEAT_MS))];
        // What was due has been done.
        times.into_iter().flatten().min().map(|ms| ms.max(now_ms.saturating_add(1)))
    }

    /// In how many milliseconds the rate lets somebody have their turn.
    pub(super) fn turn_ms(&self) -> Option<u64> {
        let has_queue = self.waves.iter().any(|wave| !wave.queue.is_empty());
        let waits = self.state == State::Running && has_queue && self.room() > 0;
        waits.then(|| self.pace.wait_ms())
    }

    /// When a window that is awaited opens, or ends: then the next one is looked up.
    fn window_ms(&self) -> Option<u64> {
        let awaited = self.zones.iter().filter(|zone| !zone.parked.is_empty()).filter_map(|zone| zone.span);
        let now_ms = self.clock.now_ms;
        awaited.map(|span| if span.from_ms > now_ms { span.from_ms } else { span.to_ms }).min()
    }

    /// When a device has been silent for too long, by the campaign's clock in seconds: its own deadline, or else the
    /// campaign's. None if it has ended, or the campaign has not begun.
    pub(crate) fn deadline_s(&self, device: u32) -> Option<u32> {
        let cell = self.cell(device).filter(|cell| !cell.status.is_ended())?;
        let own_s = (cell.due_s > 0).then_some(cell.due_s);
        let ends_s = (self.ends_s > 0).then_some(self.ends_s);
        own_s.into_iter().chain(ends_s).min()
    }
}
