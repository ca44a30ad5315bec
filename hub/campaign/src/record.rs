//! A record: one event that was accepted, with what else the decision rested on, in a few bytes. Repeating the records in
//! order makes the same campaign; each ends with a print of the campaign after it, so that a record that is missing,
//! damaged or decided otherwise is seen.

use std::str::FromStr;

use muster_schemas::{
    DeviceId,
    firmware::{Digest, ExecutionId, FailureCode, Outcome, Stage},
};

pub(crate) use crate::codec::Writer;
use crate::{
    codec::{Malformed, Reader},
    event::{Created, Event, Member, What},
    limits::{MEMBERS_PER_RECORD_MAX, NAME_BYTES_MAX, ZONES_MAX},
    plan::{Manifest, Plan, PlanHash},
    window::{Span, Zone},
};

/// The first byte of each record. It changes when an event is decided otherwise, or written otherwise.
pub const RECORD_VERSION: u8 = 1;
/// Most manifests that a start names.
const SIGNED_MAX: usize = 16;

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When, in milliseconds since 1970.
    pub now_ms: u64,
    /// What.
    pub happened: Happened,
    /// The next windows that were looked up, by the place of their zone.
    pub spans: Vec<(u16, Span)>,
    /// What the campaign was after it.
    pub print: u32,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// The campaign was made.
    Created(Box<Created>),
    /// Something happened to it.
    Event(Event),
}

type Read<T> = Result<T, Malformed>;

impl Record {
    /// Reads a record.
    ///
    /// # Errors
    /// It is none, or not in the one form that it has.
    pub fn decode(bytes: &[u8]) -> Read<Self> {
        let mut r = Reader(bytes);
        match r.byte("a version")? {
            RECORD_VERSION => {}
            found => return Err(Malformed::Choice { what: "the version of a record", found: found.into() }),
        }
        let now_ms = r.number("a time")?;
        let happened = match r.byte("a kind")? {
            0 => Happened::Created(Box::new(created(&mut r)?)),
            kind => Happened::Event(event(&mut r, kind)?),
        };
        let spans = r.list("windows", ZONES_MAX, |r| {
            let (zone, from_ms) = (r.number("a zone")?, r.number("a window")?);
            Ok((zone, Span { from_ms, to_ms: r.number("a window")? }))
        })?;
        let print = u32::from_be_bytes(r.fixed("a print")?);
        r.end()?;
        Ok(Self { now_ms, happened, spans, print })
    }

    /// The one form that it has.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = begin(self.now_ms, 32);
        match &self.happened {
            Happened::Created(created) => write_created(&mut w, created),
            Happened::Event(event) => write_event(&mut w, event),
        }
        write_spans(&mut w, &self.spans);
        w.fixed(&self.print.to_be_bytes());
        w.0
    }
}

pub(crate) fn begin(now_ms: u64, capacity: usize) -> Writer {
    let mut w = Writer(Vec::with_capacity(capacity));
    w.byte(RECORD_VERSION);
    w.number(now_ms);
    w
}

pub(crate) fn write_spans(w: &mut Writer, spans: &[(u16, Span)]) {
    w.list(spans, |w, (zone, span)| {
        w.number(*zone);
        w.number(span.from_ms);
        w.number(span.to_ms);
    });
}

/// What a record says before the print at its end.
pub(crate) fn without_print(record: &[u8]) -> &[u8] {
    record.split_last_chunk::<4>().map_or(record, |(before, _)| before)
}

pub(crate) fn write_created(w: &mut Writer, created: &Created) {
    w.byte(0);
    w.number(created.number);
    w.text(&created.by);
    w.flag(created.four_eyes);
    w.number(created.executions.0.number());
    w.number(created.executions.1);
    w.option(created.undoes.as_ref(), |w, number| w.number(*number));
    created.plan.write(w);
}

fn created(r: &mut Reader<'_>) -> Read<Created> {
    Ok(Created {
        number: r.number("a campaign")?,
        by: person(r)?,
        four_eyes: r.flag("four eyes")?,
        executions: (execution(r)?, r.number("executions")?),
        undoes: r.option("a campaign", |r| r.number("a campaign"))?,
        plan: Plan::read(r)?,
    })
}

pub(crate) fn write_event(w: &mut Writer, event: &Event) {
    let person = |w: &mut Writer, kind: u8, by: &str| (w.byte(kind), w.text(by)).1;
    let about =
        |w: &mut Writer, kind: u8, execution: &ExecutionId| (w.byte(kind), w.number(execution.number())).1;
    match event {
        Event::Edit { by, plan } => (person(w, 1, by), plan.write(w)).1,
        Event::Submit { by } => person(w, 2, by),
        Event::Approve { by, hash } => (person(w, 3, by), w.fixed(hash.0.as_bytes())).1,
        Event::Reject { by, reason } => (person(w, 4, by), w.text(reason)).1,
        Event::Enlist { members } => {
            w.byte(5);
            w.list(members, write_member);
        }
        Event::Start { by, signed } => {
            person(w, 6, by);
            w.list(signed, |w, manifest| manifest.write(w));
        }
        Event::Pause { by } => person(w, 7, by),
        Event::Resume { by } => person(w, 8, by),
        Event::Abort { by } => person(w, 9, by),
        Event::Rollback { by } => person(w, 10, by),
        Event::Undone => w.byte(11),
        Event::Withdrawn => w.byte(12),
        Event::Gate { by, wave, open } => {
            person(w, 13, by);
            w.byte(*wave);
            w.flag(*open);
        }
        Event::Tick => w.byte(14),
        Event::Report { execution, attempt, number, what } => {
            about(w, 15, execution);
            w.byte(*attempt);
            w.number(*number);
            write_what(w, what);
        }
        Event::Running { execution, image } => (about(w, 16, execution), w.fixed(image.as_bytes())).1,
        Event::Verified { execution } => about(w, 17, execution),
        Event::Seen { execution, online } => (about(w, 18, execution), w.flag(*online)).1,
        Event::Consent { execution, granted } => (about(w, 19, execution), w.flag(*granted)).1,
        Event::Freed { execution } => about(w, 20, execution),
        Event::Superseded { execution } => about(w, 21, execution),
        Event::Gone { execution } => about(w, 22, execution),
    }
}

fn event(r: &mut Reader<'_>, kind: u8) -> Read<Event> {
    let event = match kind {
        1 => Event::Edit { by: person(r)?, plan: Box::new(Plan::read(r)?) },
        2 => Event::Submit { by: person(r)? },
        3 => Event::Approve { by: person(r)?, hash: PlanHash(Digest(r.fixed("a hash")?)) },
        4 => Event::Reject { by: person(r)?, reason: r.text("a reason", NAME_BYTES_MAX)?.to_owned() },
        5 => Event::Enlist { members: r.list("members", MEMBERS_PER_RECORD_MAX, member)? },
        6 => Event::Start { by: person(r)?, signed: r.list("manifests", SIGNED_MAX, Manifest::read)? },
        7 => Event::Pause { by: person(r)? },
        8 => Event::Resume { by: person(r)? },
        9 => Event::Abort { by: person(r)? },
        10 => Event::Rollback { by: person(r)? },
        11 => Event::Undone,
        12 => Event::Withdrawn,
        13 => Event::Gate { by: person(r)?, wave: r.byte("a wave")?, open: r.flag("open")? },
        14 => Event::Tick,
        15 => {
            let (execution, attempt) = (execution(r)?, r.byte("an attempt")?);
            Event::Report { execution, attempt, number: r.number("a number")?, what: what(r)? }
        }
        16 => Event::Running { execution: execution(r)?, image: Digest(r.fixed("an image")?) },
        17 => Event::Verified { execution: execution(r)? },
        18 => Event::Seen { execution: execution(r)?, online: r.flag("online")? },
        19 => Event::Consent { execution: execution(r)?, granted: r.flag("granted")? },
        20 => Event::Freed { execution: execution(r)? },
        21 => Event::Superseded { execution: execution(r)? },
        22 => Event::Gone { execution: execution(r)? },
        found => return Err(Malformed::Choice { what: "the kind of a record", found: found.into() }),
    };
    Ok(event)
}

fn person(r: &mut Reader<'_>) -> Read<String> {
    Ok(r.text("a person", NAME_BYTES_MAX)?.to_owned())
}

fn execution(r: &mut Reader<'_>) -> Read<ExecutionId> {
    let what = "an execution";
    ExecutionId::new(r.number(what)?).ok_or(Malformed::Number { what })
}

fn write_member(w: &mut Writer, member: &Member) {
    w.text(member.device.as_str());
    w.byte(member.wave);
    w.option(member.zone.as_ref(), |w, zone| w.text(zone.as_str()));
    w.flag(member.taken);
    w.flag(member.offline);
}

fn member(r: &mut Reader<'_>) -> Read<Member> {
    let none = |what, why: String| Malformed::Value { what, why };
    let device = r.text("a device", NAME_BYTES_MAX)?;
    Ok(Member {
        device: DeviceId::from_str(device).map_err(|why| none("device", why.to_string()))?,
        wave: r.byte("a wave")?,
        zone: r.option("a zone", |r| {
            let zone = r.text("a zone", NAME_BYTES_MAX)?;
            Zone::stored(zone).ok_or_else(|| none("zone", zone.to_owned()))
        })?,
        taken: r.flag("taken")?,
        offline: r.flag("offline")?,
    })
}

fn write_what(w: &mut Writer, what: &What) {
    match what {
        What::Reached { stage, bytes } => {
            w.byte(0x80 | stage.number());
            w.number(*bytes);
        }
        What::Ended { outcome } => {
            w.byte(outcome.number());
            outcome.code().into_iter().for_each(|code| w.byte(code.number()));
        }
    }
}

fn what(r: &mut Reader<'_>) -> Read<What> {
    let first = r.byte("a report")?;
    let unknown = Malformed::Choice { what: "a report", found: first.into() };
    if first & 0x80 != 0 {
        let stage = Stage::from_number(first & 0x7f).ok_or(unknown)?;
        return Ok(What::Reached { stage, bytes: r.number("bytes")? });
    }
    let failed = Outcome::Failed { code: FailureCode::Other }.number();
    let code = if first == failed { Some(r.byte("a code")?) } else { None };
    Ok(What::Ended { outcome: Outcome::from_numbers(first, code).ok_or(unknown)? })
}
