//! Who is offered the image next: in the order of the queues, as fast as the plan allows, into windows that are open.

use super::{Campaign, place};
use crate::{
    cell::{CANCELLING, CONSENTED, HELD, OFFLINE, PARKED, QUEUED, STARTED},
    event::Effect,
    limits::{LOOKED_AT_PER_EVENT_MAX, OFFERS_PER_EVENT_MAX},
    state::{Status, Why},
    window::Span,
};

impl Campaign {
    /// Until when devices of that zone may be changed; none if not now. `Some(None)`: at any time.
    pub(super) fn open_until(&self, zone: u16) -> Option<Option<u64>> {
        if self.plan_now().windows.is_empty() {
            return Some(None);
        }
        let span = self.zones.get(usize::from(zone)).and_then(|zone| zone.span);
        span.filter(|span| span.is_open(self.clock.now_ms)).map(|span| Some(span.to_ms))
    }

    /// Takes in what was looked up, and lets go on whom a window was awaited.
    pub(super) fn open_windows(&mut self, spans: &[(u16, Span)], out: &mut Vec<Effect>) {
        for (zone, span) in spans {
            self.zones.get_mut(usize::from(*zone)).into_iter().for_each(|zone| zone.span = Some(*span));
        }
        for zone in 0..self.zones.len() {
            let is_open = u16::try_from(zone).is_ok_and(|zone| self.open_until(zone).is_some());
            let parked = self.zones.get_mut(zone).filter(|zone| is_open && !zone.parked.is_empty());
            let Some(parked) = parked.map(|zone| std::mem::take(&mut zone.parked)) else { continue };
            for device in parked {
                self.set_flag(device, PARKED, false);
                let Some(cell) = self.cell(device).copied() else { continue };
                if cell.why() == Some(Why::Window) {
                    self.enqueue(device);
                } else if cell.status == Status::Downloaded && cell.has(HELD) && !cell.has(CANCELLING) {
                    self.may_install(device, out);
                }
            }
        }
    }

    /// How many more may have an offer without the whole image.
    pub(crate) fn room(&self) -> u32 {
        let loading = self.total.of(Status::Offered) + self.total.of(Status::Downloading);
        self.plan_now().downloads_max.saturating_sub(loading)
    }

    /// Offers the image to as many as the rate and the bounds allow.
    pub(super) fn offer(&mut self, out: &mut Vec<Effect>) {
        let (mut looked_at, mut offered) = (0, 0);
        for wave in 0..=self.current.min(self.waves.len().saturating_sub(1)) {
            while let Some(device) = self.waves.get(wave).and_then(|wave| wave.queue.front().copied()) {
                if looked_at >= LOOKED_AT_PER_EVENT_MAX || offered >= OFFERS_PER_EVENT_MAX {
                    self.more = true;
                    return;
                }
                looked_at += 1;
                let is_waiting = self.cell(device).is_some_and(|cell| cell.why() == Some(Why::Rate));
                let held_up = if is_waiting { self.held_up(device) } else { None };
                if is_waiting && held_up.is_none() && (self.room() == 0 || !self.pace.take()) {
                    return;
                }
                let popped = self.waves.get_mut(wave).and_then(|wave| wave.queue.pop_front());
                debug_assert!(popped == Some(device), "it was the first");
                self.set_flag(device, QUEUED, false);
                match held_up {
                    Some(why) => self.hold_up(device, why, out),
                    None if is_waiting => {
                        self.offer_to(device, out);
                        offered += 1;
                    }
                    None => {}
                }
            }
        }
    }

    fn held_up(&self, device: u32) -> Option<Why> {
        let (cell, plan) = (self.cell(device)?, self.plan_now());
        if cell.has(OFFLINE) {
            return Some(Why::Offline);
        }
        if plan.consent && !cell.has(CONSENTED) {
            return Some(Why::Consent);
        }
        let is_open = plan.download_outside || self.open_until(cell.zone).is_some();
        if is_open { None } else { Some(Why::Window) }
    }

    fn hold_up(&mut self, device: u32, why: Why, out: &mut Vec<Effect>) {
        self.turn(device, Status::Waiting, why.number());
        match why {
            Why::Window => self.park(device),
            _ => self.set_deadline(device, self.plan_now().deadlines.waiting_s),
        }
        if why == Why::Consent {
            out.push(Effect::Ask { execution: self.execution_of(device) });
        }
    }

    fn offer_to(&mut self, device: u32, out: &mut Vec<Effect>) {
        let Some(cell) = self.cells.get_mut(place(device)) else { return };
        let (zone, wave, is_first) = (cell.zone, cell.wave, !cell.has(STARTED));
        cell.attempt = cell.attempt.saturating_add(1);
        let attempt = cell.attempt;
        cell.set(STARTED, true);
        let open = self.open_until(zone);
        self.set_flag(device, HELD, open.is_none());
        self.turn(device, Status::Offered, 0);
        self.set_deadline(device, self.plan_now().deadlines.offered_s);
        if is_first {
            self.total.started += 1;
            self.waves.get_mut(usize::from(wave)).into_iter().for_each(|wave| wave.counts.started += 1);
        }
        let (install, until_ms) = (open.is_some(), open.flatten());
        out.push(Effect::Offer { execution: self.execution_of(device), attempt, install, until_ms });
    }
}
