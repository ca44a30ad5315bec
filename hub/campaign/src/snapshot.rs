//! A campaign as bytes: what a restart begins with, before it repeats the records since.

use std::collections::{BTreeSet, VecDeque};

use muster_schemas::firmware::{ExecutionId, FailureCode};

use crate::{
    cell::{Cell, FLAGS, NONE, STARTED},
    codec::{Malformed, Reader, Writer},
    counts::Counts,
    engine::Campaign,
    event::Created,
    limits::{AUTHORS_MAX, DEVICES_MAX, NAME_BYTES_MAX, ZONES_MAX},
    plan::Plan,
    state::{State, Status, WaveState},
    wheel::Wheel,
    window::{Span, Zone},
};

/// The first byte of a snapshot.
const VERSION: u8 = 1;

type Read<T> = Result<T, Malformed>;

fn damaged<T>(what: &'static str, why: &str) -> Read<T> {
    Err(Malformed::Value { what, why: why.to_owned() })
}

impl Campaign {
    /// All that the campaign is. The same campaign has the same bytes, whichever way it came to be.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut w = Writer(Vec::with_capacity(64 * self.cells.len() + 1_024));
        w.byte(VERSION);
        self.write_head(&mut w);
        w.count(self.cells.len());
        w.number(self.names.sorted());
        for (cell, device) in self.cells.iter().zip(0_u32..) {
            w.text(self.names.text(device));
            write_cell(&mut w, cell);
        }
        w.count(self.waves.len());
        for wave in &self.waves {
            w.byte(wave.state.number());
            w.number(wave.until_s);
            write_base(&mut w, &wave.base);
            w.count(wave.queue.len());
            wave.queue.iter().for_each(|device| w.number(*device));
        }
        w.list(&self.zones, |w, zone| {
            w.text(zone.zone.as_str());
            w.option(zone.span.as_ref(), |w, span| {
                w.number(span.from_ms);
                w.number(span.to_ms);
            });
            w.list(&zone.parked, |w, device| w.number(*device));
        });
        w.0
    }

    fn write_head(&self, w: &mut Writer) {
        let created = &self.created;
        w.number(created.number);
        w.text(&created.by);
        w.flag(created.four_eyes);
        w.number(created.executions.0.number());
        w.number(created.executions.1);
        w.option(created.undoes.as_ref(), |w, number| w.number(*number));
        created.plan.write(w);
        w.count(self.authors.len());
        self.authors.iter().for_each(|author| w.text(author));
        w.option(self.approved_by.as_ref(), |w, by| w.text(by));
        w.byte(self.state.number());
        w.number(self.clock.now_ms);
        w.number(self.clock.active_ms);
        w.number(self.ends_s);
        w.count(self.current);
        write_base(w, &self.base);
        w.number(self.pace.credit);
        w.number(self.pace.per_minute);
        w.number(self.pace.steps);
        w.flag(self.undone);
        w.flag(self.more);
        w.fixed(&self.print.to_be_bytes());
    }

    /// Reads a snapshot. What can be counted is counted anew.
    ///
    /// # Errors
    /// It is none, or contradicts itself.
    pub fn restore(bytes: &[u8]) -> Read<Self> {
        let mut r = Reader(bytes);
        match r.byte("a version")? {
            VERSION => {}
            found => {
                return Err(Malformed::Choice { what: "the version of a snapshot", found: found.into() });
            }
        }
        let mut campaign = read_head(&mut r)?;
        campaign.read_devices(&mut r)?;
        campaign.read_waves(&mut r)?;
        campaign.read_zones(&mut r)?;
        r.end()?;
        campaign.count_anew()?;
        Ok(campaign)
    }

    fn read_devices(&mut self, r: &mut Reader<'_>) -> Read<()> {
        let count = r.count("devices", DEVICES_MAX)?;
        let sorted: u32 = r.number("devices")?;
        if usize::try_from(sorted).is_ok_and(|sorted| sorted > count) {
            return Err(Malformed::Number { what: "devices" });
        }
        self.cells.reserve_exact(count);
        for device in 0..u32::try_from(count).unwrap_or(0) {
            let name = r.text("a device", NAME_BYTES_MAX)?;
            let is_late = device >= sorted;
            let out_of_order = !is_late && self.names.last().is_some_and(|last| last >= name);
            if name.is_empty() || out_of_order || is_late && self.names.find(name).is_some() {
                return damaged("list of devices", "not ascending, or with one twice");
            }
            self.names.push(name, is_late);
            self.cells.push(read_cell(r)?);
        }
        self.names.settle();
        Ok(())
    }

    fn read_waves(&mut self, r: &mut Reader<'_>) -> Read<()> {
        let (count, devices) = (r.count("waves", self.waves.len())?, self.cells.len());
        if count != self.waves.len() {
            return damaged("list of waves", "of another length than the plan's");
        }
        for wave in &mut self.waves {
            let state = r.byte("a wave")?;
            wave.state = WaveState::from_number(state)
                .ok_or(Malformed::Choice { what: "a wave", found: state.into() })?;
            wave.until_s = r.number("a wave")?;
            wave.base = read_base(r)?;
            wave.queue = VecDeque::from(r.list("a queue", devices, |r| r.number("a device"))?);
        }
        Ok(())
    }

    fn read_zones(&mut self, r: &mut Reader<'_>) -> Read<()> {
        let devices = self.cells.len();
        self.zones = r.list("zones", ZONES_MAX, |r| {
            let zone = Zone::stored(r.text("a zone", NAME_BYTES_MAX)?);
            let zone = zone.ok_or(Malformed::Text { what: "a zone", max: NAME_BYTES_MAX })?;
            let span = r.option("a window", |r| {
                Ok(Span { from_ms: r.number("a window")?, to_ms: r.number("a window")? })
            })?;
            let parked = r.list("who waits for a window", devices, |r| {
                let device: u32 = r.number("a device")?;
                let is_there = usize::try_from(device).is_ok_and(|device| device < devices);
                if is_there {
                    Ok(device)
                } else {
                    damaged("list of who waits", "of devices that are not there")
                }
            })?;
            Ok(crate::engine::zone_now(zone, span, parked))
        })?;
        Ok(())
    }

    fn count_anew(&mut self) -> Read<()> {
        self.wheel = Wheel::new(self.clock.seconds());
        for device in 0..self.names.len() {
            let Some(cell) = self.cell(device).copied() else { continue };
            let Some(wave) = self.waves.get_mut(usize::from(cell.wave)) else {
                return damaged("device", "in a wave that there is not");
            };
            if self.zones.get(usize::from(cell.zone)).is_none() {
                return damaged("device", "in a zone that there is not");
            }
            if cell.status.is_in_flight() && !cell.has(STARTED) {
                return damaged("device", "at what it was never offered");
            }
            wave.counts.add(&cell);
            self.total.add(&cell);
            if let Some(count) = cell.why().and_then(|why| self.waits.get_mut(usize::from(why.number()))) {
                *count += 1;
            }
            if cell.status.is_ended() && cell.status != Status::Succeeded {
                *self.reasons.entry((cell.status, cell.stage, cell.code())).or_default() += 1;
            }
            if cell.due_s > 0 {
                self.wheel.insert(&mut self.cells, device);
            }
        }
        if self.is_sound() { Ok(()) } else { damaged("snapshot", "in contradiction to itself") }
    }
}

fn read_head(r: &mut Reader<'_>) -> Read<Campaign> {
    let execution = |r: &mut Reader<'_>| {
        let what = "an execution";
        ExecutionId::new(r.number(what)?).ok_or(Malformed::Number { what })
    };
    let person = |r: &mut Reader<'_>| Ok(r.text("a person", NAME_BYTES_MAX)?.to_owned());
    let created = Created {
        number: r.number("a campaign")?,
        by: person(r)?,
        four_eyes: r.flag("four eyes")?,
        executions: (execution(r)?, r.number("executions")?),
        undoes: r.option("a campaign", |r| r.number("a campaign"))?,
        plan: Plan::read(r)?,
    };
    let made = Campaign::made(0, created);
    let mut campaign = made.map_err(|why| Malformed::Value { what: "campaign", why: why.to_string() })?;
    let authors = r.list("authors", AUTHORS_MAX, person)?;
    if !authors.is_sorted_by(|left, right| left < right) {
        return damaged("list of authors", "not ascending");
    }
    campaign.authors = BTreeSet::from_iter(authors);
    campaign.approved_by = r.option("who approved", person)?;
    let state = r.byte("a state")?;
    campaign.state =
        State::from_number(state).ok_or(Malformed::Choice { what: "a state", found: state.into() })?;
    campaign.clock.now_ms = r.number("a time")?;
    campaign.clock.active_ms = r.number("a time")?;
    campaign.ends_s = r.number("an end")?;
    campaign.current = r.number("a wave")?;
    campaign.base = read_base(r)?;
    campaign.pace.credit = r.number("a rate")?;
    campaign.pace.per_minute = r.number("a rate")?;
    campaign.pace.steps = r.number("a rate")?;
    campaign.undone = r.flag("undone")?;
    campaign.more = r.flag("more")?;
    campaign.print = u64::from_be_bytes(r.fixed("a print")?);
    Ok(campaign)
}

/// Of what thresholds count from only what they ask for.
fn write_base(w: &mut Writer, base: &Counts) {
    w.number(base.started);
    base.classes.iter().for_each(|count| w.number(*count));
}

fn read_base(r: &mut Reader<'_>) -> Read<Counts> {
    let mut base = Counts::default();
    base.started = r.number("a count")?;
    for class in &mut base.classes {
        *class = r.number("a count")?;
    }
    Ok(base)
}

fn write_cell(w: &mut Writer, cell: &Cell) {
    w.byte(cell.status.number());
    w.byte(cell.detail());
    w.byte(cell.stage.number());
    w.byte(cell.attempt);
    w.byte(cell.wave);
    w.number(cell.zone);
    w.number(cell.flags);
    w.number(cell.number);
    w.number(cell.due_s);
    w.number(cell.kib);
}

fn read_cell(r: &mut Reader<'_>) -> Read<Cell> {
    let status = |r: &mut Reader<'_>| {
        let found = r.byte("a status")?;
        Status::from_number(found).ok_or(Malformed::Choice { what: "a status", found: found.into() })
    };
    let (now, detail, stage) = (status(r)?, r.byte("a detail")?, status(r)?);
    let (attempt, wave, zone) = (r.byte("an attempt")?, r.byte("a wave")?, r.number("a zone")?);
    let flags: u16 = r.number("flags")?;
    if flags & !FLAGS != 0 {
        return Err(Malformed::Choice { what: "flags", found: flags.into() });
    }
    let mut cell = Cell::new(wave, zone, flags);
    (cell.status, cell.stage, cell.attempt) = (now, stage, attempt);
    cell.set_detail(detail);
    let is_code = matches!(now, Status::Failed | Status::Retrying | Status::TimedOut);
    if is_code && FailureCode::from_number(detail).is_none() {
        return Err(Malformed::Choice { what: "a code", found: detail.into() });
    }
    (cell.number, cell.due_s, cell.kib) = (r.number("a number")?, r.number("a deadline")?, r.number("KiB")?);
    debug_assert!(cell.next == NONE, "it is in no list yet");
    Ok(cell)
}
