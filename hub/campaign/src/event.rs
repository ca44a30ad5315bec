//! What may happen to a campaign, and why it may not.

use std::fmt;

use muster_schemas::{
    DeviceId,
    firmware::{self, Digest, EventKind, ExecutionId, Outcome, Sequence, Stage},
};

use crate::{
    limits::{AUTHORS_MAX, DEVICES_MAX, MEMBERS_PER_RECORD_MAX, NAME_BYTES_MAX, ZONES_MAX},
    plan::{InvalidPlan, Manifest, Plan, PlanHash},
    state::State,
    window::Zone,
};

/// How a campaign comes to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its number in its tenant.
    pub number: u32,
    /// Who made it.
    pub by: String,
    /// Whether somebody else has to approve it.
    pub four_eyes: bool,
    /// The first number of an execution that is this campaign's, and how many are: one for each device that it may have.
    pub executions: (ExecutionId, u32),
    /// The campaign that it undoes. What it does was approved with that one.
    pub undoes: Option<u32>,
    /// What it does.
    pub plan: Plan,
}

/// A device that comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Which.
    pub device: DeviceId,
    /// The place of its wave, from 0.
    pub wave: u8,
    /// Its time zone, if it has one of its own.
    pub zone: Option<Zone>,
    /// Whether another campaign has it.
    pub taken: bool,
    /// Whether it is known to be away.
    pub offline: bool,
}

/// What a device says of its execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// It has come to a stage, or goes on in it.
    Reached {
        /// Which.
        stage: Stage,
        /// How much has arrived.
        bytes: u64,
    },
    /// It is over, for the device.
    Ended {
        /// How.
        outcome: Outcome,
    },
}

/// What may happen.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "`by` is who, `execution` of whom; the rest has its line")]
pub enum Event {
    /// The plan is another. It has to be approved anew, and its devices are chosen anew.
    Edit { by: String, plan: Box<Plan> },
    /// It is written; somebody else is to look at it.
    Submit { by: String },
    /// Somebody puts their name to the plan that has this hash.
    Approve { by: String, hash: PlanHash },
    /// Somebody says no.
    Reject { by: String, reason: String },
    /// Devices come in: before the start those that the plan selects, ascending by id; later those that come to match.
    Enlist { members: Vec<Member> },
    /// It begins. `signed`: the manifests that are there and were checked.
    Start { by: String, signed: Vec<Manifest> },
    /// No device is offered it, for now.
    Pause { by: String },
    /// It goes on. A threshold that tripped counts anew; a wave that failed is passed.
    Resume { by: String },
    /// It is called off.
    Abort { by: String },
    /// It is called off and undone.
    Rollback { by: String },
    /// The campaign that undoes it is over.
    Undone,
    /// Its manifest was withdrawn or is no longer good.
    Withdrawn,
    /// Somebody, or whoever was called, says whether the next wave may begin. `wave`: the one at whose end the gate is.
    Gate { by: String, wave: u8, open: bool },
    /// Time passed.
    Tick,
    /// A device says how it goes on. `number` grows with each report of an attempt; 0 if its protocol has none.
    Report { execution: ExecutionId, attempt: u8, number: u32, what: What },
    /// A device says what image it runs.
    Running { execution: ExecutionId, image: Digest },
    /// The TPM of a device proved, after its restart, that it runs the image.
    Verified { execution: ExecutionId },
    /// A device came or went.
    Seen { execution: ExecutionId, online: bool },
    /// Whoever is at a device was asked.
    Consent { execution: ExecutionId, granted: bool },
    /// The other campaign is done with a device.
    Freed { execution: ExecutionId },
    /// Another campaign takes a device over.
    Superseded { execution: ExecutionId },
    /// A device is no longer registered.
    Gone { execution: ExecutionId },
}

impl Event {
    /// What a device said on its topic; none for an attempt that no campaign makes.
    pub fn reported(said: &firmware::Event) -> Option<Self> {
        let what = match said.what {
            EventKind::Reached { stage, bytes } => What::Reached { stage, bytes: bytes.unwrap_or(0) },
            EventKind::Ended { outcome, .. } => What::Ended { outcome },
        };
        let attempt = said.attempt.try_into().ok()?;
        Some(Self::Report { execution: said.execution, attempt, number: said.number, what })
    }
}

/// Why something does not happen. Nothing has changed, and there is no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each has its text")]
pub enum Refused {
    #[error("the campaign is {state}; to {order} it has to be {wanted}")]
    State { order: &'static str, state: State, wanted: &'static str },
    #[error("{by} worked on this plan; somebody else has to approve it")]
    OwnPlan { by: String },
    #[error(
        "the plan is {found} now, and what was looked at was {asked}; look at it again with `muster campaign plan`"
    )]
    OtherPlan { found: PlanHash, asked: PlanHash },
    #[error("the plan is not one: {0}")]
    Plan(#[from] InvalidPlan),
    #[error("a name is empty, longer than {NAME_BYTES_MAX} bytes or has control characters")]
    Name,
    #[error("more than {AUTHORS_MAX} people worked on this plan; make a new campaign")]
    Authors,
    #[error(
        "no signed manifest {digest} with the sequence {sequence} is there; sign it with `muster-sign` and push it"
    )]
    NotSigned { digest: Digest, sequence: Sequence },
    #[error("it begins at {at_ms} ms, which is not yet")]
    NotYet { at_ms: u64 },
    #[error("it has no devices; the selection matches none, or they were not brought in")]
    NoDevices,
    #[error(
        "a campaign has at most {} devices, and one record brings in at most {MEMBERS_PER_RECORD_MAX}",
        DEVICES_MAX
    )]
    TooMany,
    #[error("{device}: {why}")]
    Member { device: DeviceId, why: &'static str },
    #[error("devices in more than {ZONES_MAX} time zones")]
    Zones,
    #[error("the plan names no manifest to go back to")]
    NoWayBack,
    #[error("wave {wave} is not at its gate")]
    NoGate { wave: u8 },
    #[error("execution {execution} is not of this campaign")]
    Unknown { execution: ExecutionId },
    #[error("nothing is due before {due_ms} ms")]
    Early { due_ms: u64 },
    #[error("it was said before")]
    Again,
    #[error("it is about attempt {found}, and {current} is under way")]
    Attempt { found: u8, current: u8 },
    #[error("the execution has ended")]
    Ended,
    #[error("it would go back to where it was")]
    Backwards,
    #[error("a device cannot say that")]
    NotForDevices,
}

impl Refused {
    /// Whether whoever said it need not be told: it is said again, or came too late, and nothing is wrong with that.
    pub fn is_harmless(&self) -> bool {
        matches!(
            self,
            Self::Early { .. } | Self::Again | Self::Attempt { .. } | Self::Ended | Self::Backwards
        )
    }
}

/// What the caller does, once the record is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "`execution` of whom, `attempt` of it; the rest has its line")]
pub enum Effect {
    /// A device is offered the image. `install`: at once, or only to download for now. `until_ms`: when its window ends.
    Offer { execution: ExecutionId, attempt: u8, install: bool, until_ms: Option<u64> },
    /// A device that has downloaded may install.
    Install { execution: ExecutionId, attempt: u8, until_ms: Option<u64> },
    /// A device is asked to stop. Once it installs, that is no more than a request.
    Cancel { execution: ExecutionId, attempt: u8 },
    /// Whoever is at the device is asked.
    Ask { execution: ExecutionId },
    /// A device's offer goes away; it will get another.
    Withdraw { execution: ExecutionId },
    /// An execution is over: its offer goes away, and the device is free for other campaigns.
    Close { execution: ExecutionId, outcome: Outcome },
    /// Whoever opens the gate at the end of that wave is called.
    CallGate { wave: u8 },
    /// The devices are to be chosen and brought in, and the start is to be told.
    Begin,
    /// The campaign that undoes this one is to be made, of [`crate::Campaign::inverse`].
    Undo,
    /// The campaign's state is another.
    Now { state: State },
    /// Somebody ought to look.
    Alarm(Alarm),
}

/// What somebody ought to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each has its text")]
pub enum Alarm {
    /// Too much went wrong, of a wave or of the whole.
    Threshold { wave: Option<u8>, bad: u32, started: u32 },
    /// All of a wave have ended, and too few succeeded.
    WaveFailed { wave: u8 },
    /// Nobody opened a gate in time, or somebody said no.
    Shut { wave: u8 },
    /// The manifest is no longer good.
    Stale,
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Threshold { wave: Some(wave), bad, started } => {
                write!(f, "{bad} of {started} devices of wave {} failed", u32::from(*wave) + 1)
            }
            Self::Threshold { wave: None, bad, started } => write!(f, "{bad} of {started} devices failed"),
            Self::WaveFailed { wave } => {
                write!(f, "wave {} has ended, and too few of it succeeded", u32::from(*wave) + 1)
            }
            Self::Shut { wave } => write!(f, "the gate after wave {} stayed shut", u32::from(*wave) + 1),
            Self::Stale => f.write_str("the manifest was withdrawn or is no longer good"),
        }
    }
}

/// What came of an event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Effects {
    /// What is made durable before anything else is done.
    pub record: Vec<u8>,
    /// What is done then, in this order.
    pub list: Vec<Effect>,
}
