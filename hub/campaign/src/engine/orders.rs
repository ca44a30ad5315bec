//! What people order, and what is needed for it.

use muster_schemas::firmware::{ExecutionId, Outcome};

use super::{Campaign, ZoneNow, place};
use crate::{
    cell::{ACKNOWLEDGED, CANCELLING, Cell, OFFLINE, TAKEN},
    event::{Alarm, Effect, Event, Member, Refused},
    limits::{AUTHORS_MAX, DEVICES_MAX, MEMBERS_PER_RECORD_MAX, NAME_BYTES_MAX, ZONES_MAX},
    plan::{Gate, Manifest, Plan, PlanHash},
    state::{State, Status, WaveState},
    wheel::Wheel,
};

pub(super) fn check_name(by: &str) -> Result<(), Refused> {
    let fits = !by.is_empty() && by.len() <= NAME_BYTES_MAX && !by.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(Refused::Name) }
}

impl Campaign {
    fn need(
        &self,
        order: &'static str,
        wanted: &'static str,
        fits: impl FnOnce(State) -> bool,
    ) -> Result<(), Refused> {
        let state = self.state;
        if fits(state) { Ok(()) } else { Err(Refused::State { order, state, wanted }) }
    }

    pub(super) fn edit(&mut self, by: &str, plan: &Plan, out: &mut Vec<Effect>) -> Result<(), Refused> {
        self.need("edit its plan", "before its start", State::is_before_start)?;
        self.need("edit its plan", "a campaign that undoes no other", |_| self.created.undoes.is_none())?;
        check_name(by)?;
        plan.check()?;
        if self.authors.len() >= AUTHORS_MAX && !self.authors.contains(by) {
            return Err(Refused::Authors);
        }
        self.authors.insert(by.to_owned());
        self.created.plan = plan.clone();
        self.hash = plan.hash();
        self.approved_by = None;
        self.become_state(State::Draft, out);
        // None of them was offered anything; others may have them now.
        let open = self.cells.iter().zip(0_u32..).filter(|(cell, _)| !cell.status.is_ended());
        out.extend(open.map(|(_, device)| {
            let execution = self.execution_of(device);
            Effect::Close { execution, outcome: Outcome::Cancelled }
        }));
        self.clear_devices();
        Ok(())
    }

    pub(super) fn submit(&mut self, by: &str, out: &mut Vec<Effect>) -> Result<(), Refused> {
        self.need("submit it", "in draft", |state| state == State::Draft)?;
        check_name(by)?;
        self.become_state(State::PendingApproval, out);
        Ok(())
    }

    pub(super) fn approve(&mut self, by: &str, hash: PlanHash, out: &mut Vec<Effect>) -> Result<(), Refused> {
        self.need("approve it", "pending approval", |state| state == State::PendingApproval)?;
        check_name(by)?;
        if self.created.four_eyes && self.authors.contains(by) {
            return Err(Refused::OwnPlan { by: by.to_owned() });
        }
        if hash != self.hash {
            return Err(Refused::OtherPlan { found: self.hash, asked: hash });
        }
        self.approved_by = Some(by.to_owned());
        self.become_state(State::Scheduled, out);
        let start_at_ms = self.plan_now().start_at_ms;
        out.extend(start_at_ms.filter(|at_ms| *at_ms <= self.clock.now_ms).map(|_| Effect::Begin));
        Ok(())
    }

    pub(super) fn reject(&mut self, by: &str, reason: &str, out: &mut Vec<Effect>) -> Result<(), Refused> {
        self.need("reject it", "pending approval", |state| state == State::PendingApproval)?;
        check_name(by)?;
        check_name(reason)?;
        self.become_state(State::Rejected, out);
        Ok(())
    }

    pub(super) fn enlist(&mut self, members: &[Member]) -> Result<(), Refused> {
        let dynamic = self.created.plan.dynamic;
        let joins = |state: State| state == State::Scheduled || dynamic && state == State::Running;
        self.need("bring devices in", "scheduled, or running and dynamic", joins)?;
        let is_late = self.state == State::Running;
        let room = place(self.created.executions.1).min(DEVICES_MAX);
        if members.len() > MEMBERS_PER_RECORD_MAX || self.cells.len() + members.len() > room {
            return Err(Refused::TooMany);
        }
        self.check_members(members, is_late)?;
        for member in members {
            let zone = self.zone_of(member);
            let mut cell = Cell::new(member.wave, zone, 0);
            cell.set(TAKEN, member.taken);
            cell.set(OFFLINE, member.offline);
            let device = self.names.len();
            self.names.push(member.device.as_str(), is_late);
            self.cells.push(cell);
            self.total.join(Status::Targeted);
            let wave = self.waves.get_mut(usize::from(member.wave));
            let begins = wave.is_some_and(|wave| {
                wave.counts.join(Status::Targeted);
                wave.state != WaveState::Waiting
            });
            if begins {
                self.call_up(device);
            }
        }
        Ok(())
    }

    fn check_members(&self, members: &[Member], is_late: bool) -> Result<(), Refused> {
        let mut before = if is_late { None } else { self.names.last() };
        let mut zones: Vec<_> = self.zones.iter().map(|zone| &zone.zone).collect();
        let mut late = std::collections::BTreeSet::new();
        let last_wave = self.waves.len().saturating_sub(1);
        for member in members {
            let (device, wave) = (&member.device, usize::from(member.wave));
            let refused = |why| Err(Refused::Member { device: device.clone(), why });
            if wave > last_wave {
                return refused("there is no such wave");
            }
            if is_late && wave != last_wave {
                return refused("who joins later is in the last wave");
            }
            if is_late && (self.names.find(device.as_str()).is_some() || !late.insert(device)) {
                return refused("it is in already");
            }
            if !is_late && before.is_some_and(|before| before >= device.as_str()) {
                return refused("devices come in ascending order, each once");
            }
            if let Some(zone) = &member.zone
                && !zones.contains(&zone)
            {
                zones.push(zone);
            }
            if !is_late {
                before = Some(device.as_str());
            }
        }
        if zones.len() > ZONES_MAX { Err(Refused::Zones) } else { Ok(()) }
    }

    fn zone_of(&mut self, member: &Member) -> u16 {
        let Some(zone) = &member.zone else { return 0 };
        let known = self.zones.iter().position(|known| known.zone == *zone);
        let at = known.unwrap_or_else(|| {
            self.zones.push(ZoneNow { zone: zone.clone(), span: None, parked: Vec::new() });
            self.zones.len() - 1
        });
        u16::try_from(at).unwrap_or(0)
    }

    pub(super) fn start(
        &mut self,
        by: &str,
        signed: &[Manifest],
        out: &mut Vec<Effect>,
    ) -> Result<(), Refused> {
        self.need("start it", "approved", |state| state == State::Scheduled)?;
        check_name(by)?;
        let plan = &self.created.plan;
        if let Some(at_ms) = plan.start_at_ms.filter(|at_ms| self.clock.now_ms < *at_ms) {
            return Err(Refused::NotYet { at_ms });
        }
        if self.cells.is_empty() && !plan.dynamic {
            return Err(Refused::NoDevices);
        }
        for manifest in std::iter::once(&plan.manifest).chain(&plan.rollback) {
            if !signed.contains(manifest) {
                let Manifest { digest, sequence, .. } = *manifest;
                return Err(Refused::NotSigned { digest, sequence });
            }
        }
        self.names.settle();
        self.cells.shrink_to_fit();
        let now_s = self.clock.seconds();
        self.wheel = Wheel::new(now_s);
        self.ends_s = now_s.saturating_add(plan.deadlines.campaign_s);
        self.become_state(State::Running, out);
        Ok(())
    }

    pub(super) fn pause(&mut self, by: &str, out: &mut Vec<Effect>) -> Result<(), Refused> {
        self.need("pause it", "running", |state| state == State::Running)?;
        check_name(by)?;
        self.become_state(State::PausedByOperator, out);
        Ok(())
    }

    pub(super) fn resume(&mut self, by: &str, out: &mut Vec<Effect>) -> Result<(), Refused> {
        let fits = |state: State| state.is_paused() && state != State::PausedAsStale;
        self.need("resume it", "paused, with a manifest that is good", fits)?;
        check_name(by)?;
        // A person has seen what went wrong until now: it trips nothing a second time.
        self.base = self.total;
        let (gate_s, now_s, current) = (self.plan_now().deadlines.gate_s, self.clock.seconds(), self.current);
        for wave in &mut self.waves {
            wave.base = wave.counts;
        }
        let gate = self.plan_now().waves.get(current).map(|wave| wave.gate);
        if let Some(wave) = self.waves.get_mut(current) {
            match wave.state {
                WaveState::Failed => wave.state = WaveState::Passed,
                WaveState::Gate => {
                    wave.until_s = now_s.saturating_add(gate_s);
                    if let (Some(Gate::Webhook), Ok(wave)) = (gate, u8::try_from(current)) {
                        out.push(Effect::CallGate { wave });
                    }
                }
                _ => {}
            }
        }
        self.become_state(State::Running, out);
        Ok(())
    }

    pub(super) fn abort(&mut self, by: &str, out: &mut Vec<Effect>) -> Result<(), Refused> {
        let fits = |state: State| !state.is_over() && state != State::Aborting && state != State::RollingBack;
        self.need("abort it", "under way", fits)?;
        check_name(by)?;
        self.call_off(State::Aborting, out);
        Ok(())
    }

    pub(super) fn roll_back(&mut self, by: &str, out: &mut Vec<Effect>) -> Result<(), Refused> {
        let began = |state: State| !state.is_before_start();
        let fits = |state: State| began(state) && !matches!(state, State::RollingBack | State::RolledBack);
        self.need("roll it back", "started, and not rolled back", fits)?;
        check_name(by)?;
        if self.created.plan.rollback.is_none() {
            return Err(Refused::NoWayBack);
        }
        self.call_off(State::RollingBack, out);
        Ok(())
    }

    pub(super) fn undone(&mut self) -> Result<(), Refused> {
        self.need("say that it is undone", "rolling back", |state| state == State::RollingBack)?;
        if self.undone {
            return Err(Refused::Again);
        }
        self.undone = true;
        Ok(())
    }

    pub(super) fn withdrawn(&mut self, out: &mut Vec<Effect>) -> Result<(), Refused> {
        let fits =
            |state: State| state == State::Running || state.is_paused() && state != State::PausedAsStale;
        self.need("withdraw its manifest", "running or paused", fits)?;
        self.become_state(State::PausedAsStale, out);
        out.push(Effect::Alarm(Alarm::Stale));
        for device in 0..self.names.len() {
            let status = self.cell(device).map(|cell| cell.status);
            if status.is_some_and(|status| (Status::Offered..Status::Installing).contains(&status)) {
                self.ask_to_stop(device, out);
            }
        }
        Ok(())
    }

    pub(super) fn gate(
        &mut self,
        by: &str,
        wave: u8,
        open: bool,
        out: &mut Vec<Effect>,
    ) -> Result<(), Refused> {
        let fits = |state: State| matches!(state, State::Running | State::PausedByGate);
        self.need("open or shut a gate", "running", fits)?;
        check_name(by)?;
        let at = usize::from(wave);
        let is_there = at == self.current && self.waves.get(at).is_some_and(|w| w.state == WaveState::Gate);
        if !is_there {
            return Err(Refused::NoGate { wave });
        }
        if open {
            self.waves.get_mut(at).into_iter().for_each(|wave| wave.state = WaveState::Passed);
            self.become_state(State::Running, out);
        } else if self.state == State::PausedByGate {
            return Err(Refused::Again);
        } else {
            self.become_state(State::PausedByGate, out);
            out.push(Effect::Alarm(Alarm::Shut { wave }));
        }
        Ok(())
    }

    /// Calls all off that has not ended. Who has not begun is out at once; who has is asked, and has a while to answer;
    /// who installs already cannot stop, and goes on to its end, or, if it is undone anyway, leaves that to the other.
    pub(super) fn call_off(&mut self, state: State, out: &mut Vec<Effect>) {
        self.become_state(state, out);
        for device in 0..self.names.len() {
            let Some(status) = self.cell(device).map(|cell| cell.status) else { continue };
            match status {
                status if status.is_ended() => {}
                status if status < Status::Offered => {
                    self.set_flag(device, ACKNOWLEDGED, true);
                    self.end(device, Status::Cancelled, 0, out);
                }
                status if status >= Status::Installing && state == State::RollingBack => {
                    self.end(device, Status::Superseded, 0, out);
                }
                _ => self.ask_to_stop(device, out),
            }
        }
        if state == State::RollingBack {
            out.push(Effect::Undo);
        }
    }

    pub(super) fn ask_to_stop(&mut self, device: u32, out: &mut Vec<Effect>) {
        let cancelling_s = self.plan_now().deadlines.cancelling_s;
        let Some(cell) = self.cell_mut(device).filter(|cell| !cell.has(CANCELLING)) else { return };
        cell.set(CANCELLING, true);
        let (attempt, is_request) = (cell.attempt, cell.status >= Status::Installing);
        if !is_request {
            self.set_deadline(device, cancelling_s);
        }
        out.push(Effect::Cancel { execution: self.execution_of(device), attempt });
    }

    /// Whom an event is about, if it is about one device.
    pub fn execution_in(event: &Event) -> Option<ExecutionId> {
        match event {
            Event::Report { execution, .. }
            | Event::Running { execution, .. }
            | Event::Verified { execution }
            | Event::Seen { execution, .. }
            | Event::Consent { execution, .. }
            | Event::Freed { execution }
            | Event::Superseded { execution }
            | Event::Gone { execution } => Some(*execution),
            _ => None,
        }
    }
}
