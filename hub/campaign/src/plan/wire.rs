//! A plan as bytes. The order is that of the fields; numbers of choices are never given to another.

use std::collections::BTreeSet;

use muster_schemas::firmware::{Digest, FailureCode, Sequence};

use super::{
    Action, Classes, Deadlines, Failure, Gate, Limit, Manifest, Plan, Proof, Rate, Retry, Size, Success, Wave,
};
use crate::{
    codec::{Malformed, Reader, Writer},
    limits::{NAME_BYTES_MAX, QUERY_BYTES_MAX, THRESHOLDS_MAX, WAVES_MAX, WINDOWS_MAX},
    query::Query,
    window::{Weekly, Zone},
};

type Read<T> = Result<T, Malformed>;

fn unknown<T>(what: &'static str, found: u8) -> Read<T> {
    Err(Malformed::Choice { what, found: found.into() })
}

fn value<T, E: std::fmt::Display>(what: &'static str, parsed: Result<T, E>) -> Read<T> {
    parsed.map_err(|why| Malformed::Value { what, why: why.to_string() })
}

impl Plan {
    pub(crate) fn write(&self, w: &mut Writer) {
        w.text(&self.name);
        w.text(&self.selection.to_string());
        w.flag(self.dynamic);
        w.text(&self.component);
        self.manifest.write(w);
        w.option(self.rollback.as_ref(), |w, manifest| manifest.write(w));
        w.list(&self.waves, |w, wave| wave.write(w));
        w.list(&self.failure, |w, failure| failure.write(w));
        self.deadlines.all().iter().for_each(|(_, seconds)| w.number(*seconds));
        self.retry.write(w);
        self.rate.write(w);
        w.number(self.downloads_max);
        w.list(&self.windows, |w, window| {
            let (days, at_min, minutes) = window.parts();
            w.byte(days);
            w.number(at_min);
            w.number(minutes);
        });
        w.text(self.zone.as_str());
        w.flag(self.download_outside);
        w.flag(self.consent);
        w.byte(match self.proof {
            Proof::Reported => 0,
            Proof::Verified => 1,
        });
        w.option(self.start_at_ms.as_ref(), |w, ms| w.number(*ms));
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Read<Self> {
        let plan = Self {
            name: r.text("a name", NAME_BYTES_MAX)?.to_owned(),
            selection: query(r)?,
            dynamic: r.flag("dynamic")?,
            component: r.text("a component", NAME_BYTES_MAX)?.to_owned(),
            manifest: Manifest::read(r)?,
            rollback: r.option("rollback", Manifest::read)?,
            waves: r.list("waves", WAVES_MAX, Wave::read)?,
            failure: r.list("thresholds", THRESHOLDS_MAX, Failure::read)?,
            deadlines: Deadlines::read(r)?,
            retry: Retry::read(r)?,
            rate: Rate::read(r)?,
            downloads_max: r.number("downloads")?,
            windows: r.list("windows", WINDOWS_MAX, |r| {
                let (days, at_min) = (r.byte("days")?, r.number("a begin")?);
                value("window", Weekly::new(days, at_min, r.number("minutes")?))
            })?,
            zone: value("zone", r.text("a zone", NAME_BYTES_MAX)?.parse::<Zone>())?,
            download_outside: r.flag("download outside")?,
            consent: r.flag("consent")?,
            proof: match r.byte("proof")? {
                0 => Proof::Reported,
                1 => Proof::Verified,
                found => return unknown("proof", found),
            },
            start_at_ms: r.option("a start", |r| r.number("a start"))?,
        };
        value("plan", plan.check())?;
        Ok(plan)
    }
}

/// A selection, which has to be in its normal form: one query has one hash.
fn query(r: &mut Reader<'_>) -> Read<Query> {
    let text = r.text("a query", QUERY_BYTES_MAX)?;
    let query: Query = value("query", text.parse())?;
    if query.to_string() == text {
        return Ok(query);
    }
    Err(Malformed::Value { what: "query", why: "not in its normal form".to_owned() })
}

impl Manifest {
    pub(crate) fn write(&self, w: &mut Writer) {
        w.fixed(self.digest.as_bytes());
        w.fixed(self.image.as_bytes());
        w.number(self.sequence.0);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Read<Self> {
        let (digest, image) = (Digest(r.fixed("a digest")?), Digest(r.fixed("a digest")?));
        Ok(Self { digest, image, sequence: Sequence(r.number("a sequence")?) })
    }
}

impl Wave {
    fn write(&self, w: &mut Writer) {
        w.text(&self.name);
        match &self.size {
            Size::Count(count) => (w.byte(0), w.number(*count)).1,
            Size::Permille(permille) => (w.byte(1), w.number(*permille)).1,
            Size::Query(query) => (w.byte(2), w.text(&query.to_string())).1,
            Size::Growth(permille) => (w.byte(3), w.number(*permille)).1,
            Size::Rest => w.byte(4),
        }
        w.number(self.success.permille);
        w.number(self.success.started_permille);
        w.list(&self.failure, |w, failure| failure.write(w));
        w.number(self.soak_s);
        w.byte(match self.gate {
            Gate::Auto => 0,
            Gate::Manual => 1,
            Gate::Webhook => 2,
        });
    }

    fn read(r: &mut Reader<'_>) -> Read<Self> {
        Ok(Self {
            name: r.text("a name", NAME_BYTES_MAX)?.to_owned(),
            size: match r.byte("a size")? {
                0 => Size::Count(r.number("a count")?),
                1 => Size::Permille(r.number("thousandths")?),
                2 => Size::Query(query(r)?),
                3 => Size::Growth(r.number("a growth")?),
                4 => Size::Rest,
                found => return unknown("a size", found),
            },
            success: Success { permille: r.number("a success")?, started_permille: r.number("a success")? },
            failure: r.list("thresholds", THRESHOLDS_MAX, Failure::read)?,
            soak_s: r.number("a soak time")?,
            gate: match r.byte("a gate")? {
                0 => Gate::Auto,
                1 => Gate::Manual,
                2 => Gate::Webhook,
                found => return unknown("a gate", found),
            },
        })
    }
}

impl Failure {
    fn write(&self, w: &mut Writer) {
        let Classes { failed, rolled_back, timed_out, rejected } = self.classes;
        [failed, rolled_back, timed_out, rejected].into_iter().for_each(|flag| w.flag(flag));
        match self.limit {
            Limit::Count(count) => (w.byte(0), w.number(count)).1,
            Limit::Permille(permille) => (w.byte(1), w.number(permille)).1,
        }
        w.number(self.started_min);
        w.byte(match self.action {
            Action::Pause => 0,
            Action::Abort => 1,
            Action::Rollback => 2,
        });
    }

    fn read(r: &mut Reader<'_>) -> Read<Self> {
        Ok(Self {
            classes: Classes {
                failed: r.flag("a class")?,
                rolled_back: r.flag("a class")?,
                timed_out: r.flag("a class")?,
                rejected: r.flag("a class")?,
            },
            limit: match r.byte("a limit")? {
                0 => Limit::Count(r.number("a count")?),
                1 => Limit::Permille(r.number("thousandths")?),
                found => return unknown("a limit", found),
            },
            started_min: r.number("a minimum")?,
            action: match r.byte("an action")? {
                0 => Action::Pause,
                1 => Action::Abort,
                2 => Action::Rollback,
                found => return unknown("an action", found),
            },
        })
    }
}

impl Deadlines {
    /// All of them with their names, in the order in which they are written.
    pub(super) fn all(&self) -> [(&'static str, u32); 10] {
        [
            ("the deadline of waiting, in seconds,", self.waiting_s),
            ("the deadline of an offer, in seconds,", self.offered_s),
            ("the deadline of a download, in seconds,", self.downloading_s),
            ("the deadline of what is downloaded, in seconds,", self.downloaded_s),
            ("the deadline of installing, in seconds,", self.installing_s),
            ("the deadline of a restart, in seconds,", self.rebooting_s),
            ("the deadline of verifying, in seconds,", self.verifying_s),
            ("the deadline of a cancellation, in seconds,", self.cancelling_s),
            ("the deadline of a gate, in seconds,", self.gate_s),
            ("the deadline of the campaign, in seconds,", self.campaign_s),
        ]
    }

    fn read(r: &mut Reader<'_>) -> Read<Self> {
        Ok(Self {
            waiting_s: r.number("a deadline")?,
            offered_s: r.number("a deadline")?,
            downloading_s: r.number("a deadline")?,
            downloaded_s: r.number("a deadline")?,
            installing_s: r.number("a deadline")?,
            rebooting_s: r.number("a deadline")?,
            verifying_s: r.number("a deadline")?,
            cancelling_s: r.number("a deadline")?,
            gate_s: r.number("a deadline")?,
            campaign_s: r.number("a deadline")?,
        })
    }
}

impl Retry {
    fn write(&self, w: &mut Writer) {
        w.byte(self.attempts);
        // A set: in whatever order they were written, it is the same plan.
        let codes: BTreeSet<u8> = self.codes.iter().map(|code| code.number()).collect();
        w.count(codes.len());
        codes.into_iter().for_each(|code| w.byte(code));
        w.number(self.base_s);
        w.number(self.cap_s);
        w.number(self.jitter_permille);
    }

    fn read(r: &mut Reader<'_>) -> Read<Self> {
        let attempts = r.byte("attempts")?;
        let codes = r.list("codes", FailureCode::ALL.len(), |r| {
            let found = r.byte("a code")?;
            FailureCode::from_number(found).map_or_else(|| unknown("a code", found), Ok)
        })?;
        if !codes.is_sorted_by(|left, right| left.number() < right.number()) {
            return Err(Malformed::Value { what: "set of codes", why: "not ascending".to_owned() });
        }
        let (base_s, cap_s) = (r.number("a wait")?, r.number("a wait")?);
        Ok(Self { attempts, codes, base_s, cap_s, jitter_permille: r.number("a jitter")? })
    }
}

impl Rate {
    fn write(&self, w: &mut Writer) {
        match *self {
            Self::Constant { per_minute } => (w.byte(0), w.number(per_minute)).1,
            Self::Exponential { base_per_minute, factor_permille, every, max_per_minute } => {
                w.byte(1);
                w.number(base_per_minute);
                w.number(factor_permille);
                w.number(every);
                w.number(max_per_minute);
            }
        }
    }

    fn read(r: &mut Reader<'_>) -> Read<Self> {
        match r.byte("a rate")? {
            0 => Ok(Self::Constant { per_minute: r.number("a rate")? }),
            1 => Ok(Self::Exponential {
                base_per_minute: r.number("a rate")?,
                factor_permille: r.number("a factor")?,
                every: r.number("a rate")?,
                max_per_minute: r.number("a rate")?,
            }),
            found => unknown("a rate", found),
        }
    }
}
