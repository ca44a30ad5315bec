//! What a plan has to be, before anybody is asked to approve it.

use muster_schemas::firmware::Sequence;

use super::{Failure, Limit, Plan, Rate, Size};
use crate::limits::{
    ATTEMPTS_MAX, DEADLINE_S_MAX, NAME_BYTES_MAX, RATE_PER_MINUTE_MAX, THRESHOLDS_MAX, WAVES_MAX, WINDOWS_MAX,
};

/// Why a plan is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPlan {
    /// A name is empty, too long, or has control characters.
    #[error("{what} is empty, longer than {NAME_BYTES_MAX} bytes, or has control characters")]
    Name {
        /// Of what.
        what: &'static str,
    },
    /// Too many of something, or none.
    #[error("there are {found} {what}; 1 to {max} are possible")]
    Count {
        /// Of what.
        what: &'static str,
        /// How many.
        found: usize,
        /// The most.
        max: usize,
    },
    /// A number out of its range.
    #[error("{what} is {found}; possible are {min} to {max}")]
    Range {
        /// What.
        what: &'static str,
        /// What it is.
        found: u64,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// The waves do not take in everybody.
    #[error("wave {wave} is {found}: the last wave takes the rest, and no other does")]
    Rest {
        /// Which, from 1.
        wave: usize,
        /// What it is.
        found: &'static str,
    },
    /// A first wave that grows.
    #[error("wave {wave} grows, but the wave before it has no size of its own to grow from")]
    Growth {
        /// Which, from 1.
        wave: usize,
    },
    /// A threshold that asks for a way back that there is not.
    #[error(
        "a threshold rolls back, but the plan names no manifest to go back to; sign one of the old image, and name it"
    )]
    NoWayBack,
    /// A way back that devices would refuse.
    #[error("the manifest to go back to has the sequence {found}; devices take only one above {sequence}")]
    WayBack {
        /// Its sequence.
        found: Sequence,
        /// The sequence of the campaign's manifest.
        sequence: Sequence,
    },
}

fn range(
    what: &'static str,
    found: impl Into<u64>,
    min: u64,
    max: impl Into<u64>,
) -> Result<(), InvalidPlan> {
    let (found, max) = (found.into(), max.into());
    if (min..=max).contains(&found) { Ok(()) } else { Err(InvalidPlan::Range { what, found, min, max }) }
}

fn name(what: &'static str, text: &str, may_be_empty: bool) -> Result<(), InvalidPlan> {
    let fits = text.len() <= NAME_BYTES_MAX && (may_be_empty || !text.is_empty());
    if fits && !text.chars().any(char::is_control) { Ok(()) } else { Err(InvalidPlan::Name { what }) }
}

fn thresholds(failures: &[Failure]) -> Result<(), InvalidPlan> {
    let (what, found, max) = ("thresholds of one scope", failures.len(), THRESHOLDS_MAX);
    if found > max {
        return Err(InvalidPlan::Count { what, found, max });
    }
    failures.iter().try_for_each(|failure| match failure.limit {
        Limit::Count(count) => range("the count of a threshold", count, 1, u32::MAX),
        Limit::Permille(permille) => range("the thousandths of a threshold", permille, 1, 1_000_u64),
    })
}

impl Plan {
    /// Whether it is one.
    ///
    /// # Errors
    /// What is wrong with it first.
    pub fn check(&self) -> Result<(), InvalidPlan> {
        name("the name", &self.name, false)?;
        name("the component", &self.component, false)?;
        self.check_waves()?;
        thresholds(&self.failure)?;
        self.check_deadlines()?;
        self.check_pace()?;
        if self.windows.len() > WINDOWS_MAX {
            let (what, found, max) = ("windows", self.windows.len(), WINDOWS_MAX);
            return Err(InvalidPlan::Count { what, found, max });
        }
        match &self.rollback {
            None if self.wants_rollback() => Err(InvalidPlan::NoWayBack),
            Some(back) if back.sequence <= self.manifest.sequence => {
                Err(InvalidPlan::WayBack { found: back.sequence, sequence: self.manifest.sequence })
            }
            _ => Ok(()),
        }
    }

    fn check_waves(&self) -> Result<(), InvalidPlan> {
        let (what, found, max) = ("waves", self.waves.len(), WAVES_MAX);
        if found == 0 || found > max {
            return Err(InvalidPlan::Count { what, found, max });
        }
        for (place, wave) in self.waves.iter().enumerate() {
            let (number, is_last) = (place + 1, place + 1 == found);
            match &wave.size {
                Size::Rest if !is_last => return Err(InvalidPlan::Rest { wave: number, found: "the rest" }),
                Size::Rest => {}
                _ if is_last => return Err(InvalidPlan::Rest { wave: number, found: "not the rest" }),
                Size::Growth(_) if place == 0 => return Err(InvalidPlan::Growth { wave: number }),
                Size::Growth(permille) => range("the growth of a wave", *permille, 1, 1_000_000_u64)?,
                Size::Count(count) => range("the count of a wave", *count, 1, u32::MAX)?,
                Size::Permille(permille) => range("the thousandths of a wave", *permille, 1, 1_000_u64)?,
                Size::Query(_) => {}
            }
            name("the name of a wave", &wave.name, true)?;
            thresholds(&wave.failure)?;
            range("the success of a wave, in thousandths,", wave.success.permille, 0, 1_000_u64)?;
            range(
                "what has to have started of a wave, in thousandths,",
                wave.success.started_permille,
                1,
                1_000_u64,
            )?;
            range("the soak time of a wave, in seconds,", wave.soak_s, 0, DEADLINE_S_MAX)?;
        }
        Ok(())
    }

    fn check_deadlines(&self) -> Result<(), InvalidPlan> {
        for (what, seconds) in self.deadlines.all() {
            range(what, seconds, 1, DEADLINE_S_MAX)?;
        }
        Ok(())
    }

    fn check_pace(&self) -> Result<(), InvalidPlan> {
        range("how many attempts there are", self.retry.attempts, 1, ATTEMPTS_MAX)?;
        range("the wait before a retry, in seconds,", self.retry.base_s, 1, DEADLINE_S_MAX)?;
        range(
            "the longest wait before a retry, in seconds,",
            self.retry.cap_s,
            self.retry.base_s.into(),
            DEADLINE_S_MAX,
        )?;
        range("the jitter, in thousandths,", self.retry.jitter_permille, 0, 1_000_u64)?;
        range("how many may download", self.downloads_max, 1, u32::MAX)?;
        match self.rate {
            Rate::Constant { per_minute } => range("the rate", per_minute, 1, RATE_PER_MINUTE_MAX),
            Rate::Exponential { base_per_minute, factor_permille, every, max_per_minute } => {
                range("the rate at first", base_per_minute, 1, RATE_PER_MINUTE_MAX)?;
                range("the factor of the rate, in thousandths,", factor_permille, 1_100, 5_000_u64)?;
                range("after how many the rate grows", every, 1, u32::MAX)?;
                range("the most of the rate", max_per_minute, base_per_minute.into(), RATE_PER_MINUTE_MAX)
            }
        }
    }
}
