//! What is approved: for whom, what, in which waves, how fast, when, and what is too much. Its hash is what a second person
//! puts their name to; what is not in here cannot change what a campaign does.

mod check;
mod wire;

use std::{fmt, str::FromStr};

use aws_lc_rs::digest::{SHA256, digest};
use muster_schemas::firmware::{Digest, FailureCode, InvalidName, Sequence};
use serde::{Deserialize, Serialize};

pub use check::InvalidPlan;

use crate::{
    codec::{Malformed, Reader, Writer},
    query::Query,
    window::{Weekly, Zone},
};

/// What a plan's hash is over, before the plan: no other thing of ours has that hash.
const DOMAIN: &[u8] = b"muster campaign plan 1\0";

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// For people.
    pub name: String,
    /// Which devices.
    pub selection: Query,
    /// Whether devices that come to match later join the last wave.
    #[serde(default)]
    pub dynamic: bool,
    /// Which part of a device is changed. A device has at most one execution under way for each.
    #[serde(default = "firmware")]
    pub component: String,
    /// What is installed.
    pub manifest: Manifest,
    /// What undoes it: a manifest of the old image with a higher sequence. Without one there is no way back.
    #[serde(default)]
    pub rollback: Option<Manifest>,
    /// One after the other. The first is the canary; the last is for all who are in no other.
    pub waves: Vec<Wave>,
    /// What is too much, over the whole campaign.
    #[serde(default)]
    pub failure: Vec<Failure>,
    /// How long a device may be silent, in each state.
    #[serde(default)]
    pub deadlines: Deadlines,
    /// What is tried again.
    #[serde(default)]
    pub retry: Retry,
    /// How fast devices are offered it.
    #[serde(default)]
    pub rate: Rate,
    /// How many devices may have an offer and not the whole image, at a time.
    pub downloads_max: u32,
    /// When devices may be changed; at any time if there is none.
    #[serde(default)]
    pub windows: Vec<Weekly>,
    /// The zone of devices that have none of their own.
    #[serde(default = "Zone::utc")]
    pub zone: Zone,
    /// Whether devices may download outside their windows.
    #[serde(default)]
    pub download_outside: bool,
    /// Whether whoever is at the device is asked first.
    #[serde(default)]
    pub consent: bool,
    /// What success is.
    #[serde(default)]
    pub proof: Proof,
    /// Not before, in milliseconds since 1970.
    #[serde(default)]
    pub start_at_ms: Option<u64>,
}

fn firmware() -> String {
    "firmware".to_owned()
}

/// What the tenant signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// SHA-256 of the manifest.
    pub digest: Digest,
    /// The image that devices run when it is installed.
    pub image: Digest,
    /// Its number.
    pub sequence: Sequence,
}

/// A wave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wave {
    /// For people.
    #[serde(default)]
    pub name: String,
    /// Who is in it.
    pub size: Size,
    /// When it is good enough.
    #[serde(default)]
    pub success: Success,
    /// What is too much, over this wave.
    #[serde(default)]
    pub failure: Vec<Failure>,
    /// How long it is watched when it is good enough, in seconds.
    #[serde(default)]
    pub soak_s: u32,
    /// Who says that the next may begin.
    #[serde(default)]
    pub gate: Gate,
}

/// Who is in a wave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Size {
    /// So many.
    Count(u32),
    /// So many of a thousand of the whole selection, rounded up.
    Permille(u16),
    /// Those.
    Query(Query),
    /// So many thousandths of the wave before: 10,000 is ten times as many.
    Growth(u32),
    /// All who are in no other. The last wave is this, and no other is.
    Rest,
}

/// When a wave is good enough: when so many devices were offered it, and so many of those succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Success {
    /// Of a thousand devices that started.
    pub permille: u16,
    /// Of a thousand devices of the wave, how many have to have started.
    pub started_permille: u16,
}

impl Default for Success {
    fn default() -> Self {
        Self { permille: 1_000, started_permille: 1_000 }
    }
}

/// What is too much. It is asked on each event, over the devices that started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// What counts.
    #[serde(default)]
    pub classes: Classes,
    /// From how much on.
    pub limit: Limit,
    /// Of how few devices that started nothing is concluded.
    #[serde(default)]
    pub started_min: u32,
    /// What is done.
    pub action: Action,
}

/// How much is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// So many devices.
    Count(u32),
    /// So many of a thousand that started.
    Permille(u16),
}

/// What counts against a threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Classes {
    /// Devices that said that it failed.
    pub failed: bool,
    /// Devices that went back by themselves.
    pub rolled_back: bool,
    /// Devices that said nothing.
    pub timed_out: bool,
    /// Devices where somebody said no.
    pub rejected: bool,
}

impl Default for Classes {
    fn default() -> Self {
        Self { failed: true, rolled_back: true, timed_out: true, rejected: true }
    }
}

/// What is done when it is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// No device is offered it until a person says so.
    Pause,
    /// It is called off.
    Abort,
    /// It is called off, and those who have it get the old image.
    Rollback,
}

/// Who says that the next wave may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Nobody has to.
    #[default]
    Auto,
    /// A person.
    Manual,
    /// Whoever is called.
    Webhook,
}

/// How long a device may stay in a state, in seconds. Who does not say in time that it goes on has failed. Time in which
/// the hub itself was away does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Deadlines {
    /// Waiting to be online, to be allowed, or for another campaign.
    pub waiting_s: u32,
    /// Offered, and nothing was heard.
    pub offered_s: u32,
    /// For the whole download.
    pub downloading_s: u32,
    /// Downloaded, and allowed to install.
    pub downloaded_s: u32,
    /// Writing.
    pub installing_s: u32,
    /// Restarting.
    pub rebooting_s: u32,
    /// On trial, and until it is proven where it has to be.
    pub verifying_s: u32,
    /// Until a cancellation is acknowledged.
    pub cancelling_s: u32,
    /// Until a gate is opened.
    pub gate_s: u32,
    /// For the whole campaign, from its start. It also holds for those whom the hub keeps waiting.
    pub campaign_s: u32,
}

impl Default for Deadlines {
    fn default() -> Self {
        let (minute, hour, day) = (60, 3_600, 24 * 3_600);
        Self {
            waiting_s: 7 * day,
            offered_s: day,
            downloading_s: 6 * hour,
            downloaded_s: day,
            installing_s: hour,
            rebooting_s: 15 * minute,
            verifying_s: 30 * minute,
            cancelling_s: 10 * minute,
            gate_s: 7 * day,
            campaign_s: 30 * day,
        }
    }
}

/// What is tried again, and when. Before its last attempt a device that failed counts against no threshold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// How many attempts there are in all.
    pub attempts: u8,
    /// For which failures; `timeout` also for silence.
    pub codes: Vec<FailureCode>,
    /// The wait before the second attempt, in seconds. It doubles with each.
    pub base_s: u32,
    /// The longest wait, in seconds.
    pub cap_s: u32,
    /// By how much of a thousand a wait is longer or shorter, at random.
    pub jitter_permille: u16,
}

impl Default for Retry {
    fn default() -> Self {
        let codes = vec![FailureCode::ExpiredOffer, FailureCode::Transfer];
        Self { attempts: 3, codes, base_s: 300, cap_s: 6 * 3_600, jitter_permille: 200 }
    }
}

/// How fast devices are offered it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rate {
    /// Evenly.
    Constant {
        /// Offers in a minute.
        per_minute: u32,
    },
    /// Faster with success.
    Exponential {
        /// Offers in a minute, at first.
        base_per_minute: u32,
        /// By what it is multiplied each time, in thousandths: 1,100 to 5,000.
        factor_permille: u16,
        /// After how many devices that succeeded, each time.
        every: u32,
        /// The most offers in a minute.
        max_per_minute: u32,
    },
}

impl Default for Rate {
    fn default() -> Self {
        Self::Constant { per_minute: 1_000 }
    }
}

/// What success is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// The device booted the image and said so.
    #[default]
    Reported,
    /// Its TPM proved it as well.
    Verified,
}

/// SHA-256 of a plan in its one form.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PlanHash(pub Digest);

impl fmt::Display for PlanHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for PlanHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlanHash({self})")
    }
}

impl FromStr for PlanHash {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        text.parse().map(Self)
    }
}

impl Plan {
    /// The plan in the one form that it has as bytes. Which words a selection was written in makes no difference.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        self.write(&mut writer);
        writer.0
    }

    /// Reads that form.
    ///
    /// # Errors
    /// It is none, or of a plan that [`Plan::check`] refuses.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(bytes);
        let plan = Self::read(&mut reader)?;
        reader.end()?;
        Ok(plan)
    }

    /// What an approval is bound to.
    pub fn hash(&self) -> PlanHash {
        let bytes = [DOMAIN, &self.encode()].concat();
        let mut hash = [0; 32];
        digest(&SHA256, &bytes).as_ref().iter().zip(&mut hash).for_each(|(from, to)| *to = *from);
        PlanHash(Digest(hash))
    }

    /// Whether something of it asks for a rollback.
    pub fn wants_rollback(&self) -> bool {
        let all = self.failure.iter().chain(self.waves.iter().flat_map(|wave| &wave.failure));
        all.into_iter().any(|failure| failure.action == Action::Rollback)
    }
}

#[cfg(test)]
pub(crate) mod tests;
