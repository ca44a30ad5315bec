//! What a campaign, a wave and a device's execution can be.

use std::fmt;

use muster_schemas::firmware::{FailureCode, Outcome, Stage};
use serde::{Deserialize, Serialize};

macro_rules! numbered {
    (
        $(#[$doc:meta])*
        $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $number:literal $word:literal),+ $(,)? }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        #[repr(u8)]
        pub enum $name {
            $($(#[$variant_doc])* $variant = $number,)+
        }

        impl $name {
            /// All of them, in their order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// As it is stored.
            pub fn number(self) -> u8 {
                match self { $(Self::$variant => $number,)+ }
            }

            /// As it was stored.
            pub fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }

            /// As people read it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

numbered! {
    /// A campaign.
    State {
        /// It is being written.
        Draft = 0 "draft",
        /// It waits for a second person.
        PendingApproval = 1 "pending approval",
        /// The second person said no.
        Rejected = 2 "rejected",
        /// It is approved, and waits for its devices and its start.
        Scheduled = 3 "scheduled",
        /// Devices are offered it.
        Running = 4 "running",
        /// A person stopped it for now.
        PausedByOperator = 5 "paused by an operator",
        /// Something was too much.
        PausedByThreshold = 6 "paused by a threshold",
        /// A gate stayed shut.
        PausedByGate = 7 "paused by a gate",
        /// Its manifest was withdrawn, or is no longer good.
        PausedAsStale = 8 "paused, its manifest is withdrawn",
        /// Everybody who was meant has it.
        Complete = 9 "finished, complete",
        /// Everybody has ended, but not everybody has it.
        Partial = 10 "finished, partial",
        /// It is called off, and devices have yet to say that they know.
        Aborting = 11 "aborting",
        /// It was called off.
        Aborted = 12 "aborted",
        /// It is being undone by another campaign.
        RollingBack = 13 "rolling back",
        /// It was undone.
        RolledBack = 14 "rolled back",
    }
}

impl State {
    /// Whether nothing will change any more.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Complete | Self::Partial | Self::Aborted | Self::RolledBack)
    }

    /// Whether it began, and a person or a threshold stopped it for now.
    pub fn is_paused(self) -> bool {
        matches!(
            self,
            Self::PausedByOperator | Self::PausedByThreshold | Self::PausedByGate | Self::PausedAsStale
        )
    }

    /// Whether it has not begun.
    pub fn is_before_start(self) -> bool {
        self < Self::Running
    }
}

numbered! {
    /// A wave.
    WaveState {
        /// Those before it have not passed.
        Waiting = 0 "waiting",
        /// Its devices are offered it.
        Running = 1 "running",
        /// It is good enough, and watched for a while.
        Soaking = 2 "soaking",
        /// It waits until somebody says that the next may begin.
        Gate = 3 "at the gate",
        /// The next may begin.
        Passed = 4 "passed",
        /// All of its devices have ended, and too few succeeded.
        Failed = 5 "failed",
    }
}

numbered! {
    /// Where the execution of a device is. From [`Status::Succeeded`] on it has ended.
    Status {
        /// Its wave has not begun.
        Targeted = 0 "targeted",
        /// It is held up: [`Why`].
        Waiting = 1 "waiting",
        /// It will be offered it again, later.
        Retrying = 2 "retrying",
        /// It was offered it.
        Offered = 3 "offered",
        /// Blocks arrive.
        Downloading = 4 "downloading",
        /// All is there.
        Downloaded = 5 "downloaded",
        /// It writes.
        Installing = 6 "installing",
        /// It restarts.
        Rebooting = 7 "rebooting",
        /// It runs the new image on trial, or has yet to prove it.
        Verifying = 8 "verifying",
        /// It booted the new image and said so, and proved it where it has to.
        Succeeded = 9 "succeeded",
        /// It said that it failed.
        Failed = 10 "failed",
        /// It went back to the old image.
        RolledBack = 11 "rolled back",
        /// It said nothing in time.
        TimedOut = 12 "timed out",
        /// Somebody there said no.
        Rejected = 13 "rejected",
        /// It was called off.
        Cancelled = 14 "cancelled",
        /// Another campaign took its place.
        Superseded = 15 "superseded",
        /// It ran that image already.
        AlreadyInstalled = 16 "already installed",
        /// There is no image for it.
        Incompatible = 17 "incompatible",
        /// It is no longer registered.
        Gone = 18 "gone",
    }
}

/// How many there are.
pub(crate) const STATUSES: usize = Status::ALL.len();

impl Status {
    /// Whether it has ended.
    pub fn is_ended(self) -> bool {
        self >= Self::Succeeded
    }

    /// Whether the device has an offer that has not ended.
    pub fn is_in_flight(self) -> bool {
        (Self::Offered..=Self::Verifying).contains(&self)
    }

    /// Of a stage.
    pub fn of(stage: Stage) -> Self {
        match stage {
            Stage::Offered => Self::Offered,
            Stage::Downloading => Self::Downloading,
            Stage::Downloaded => Self::Downloaded,
            Stage::Installing => Self::Installing,
            Stage::Rebooting => Self::Rebooting,
            Stage::Verifying => Self::Verifying,
        }
    }

    /// The outcome that it is, if it has ended.
    pub fn outcome(self, code: Option<FailureCode>) -> Option<Outcome> {
        match self {
            Self::Succeeded => Some(Outcome::Succeeded),
            Self::Failed => Some(Outcome::Failed { code: code.unwrap_or(FailureCode::Other) }),
            Self::RolledBack => Some(Outcome::RolledBack),
            Self::TimedOut => Some(Outcome::TimedOut),
            Self::Rejected => Some(Outcome::Rejected),
            Self::Cancelled => Some(Outcome::Cancelled),
            Self::Superseded => Some(Outcome::Superseded),
            Self::AlreadyInstalled => Some(Outcome::AlreadyInstalled),
            Self::Incompatible => Some(Outcome::Incompatible),
            Self::Gone => Some(Outcome::Gone),
            _ => None,
        }
    }

    /// Which class of failure it is.
    pub(crate) fn class(self) -> Option<usize> {
        match self {
            Self::Failed => Some(0),
            Self::RolledBack => Some(1),
            Self::TimedOut => Some(2),
            Self::Rejected => Some(3),
            _ => None,
        }
    }

    /// Whether a device that started and ended so says nothing of whether the image is good.
    pub(crate) fn is_excused(self) -> bool {
        matches!(
            self,
            Self::Cancelled | Self::Superseded | Self::AlreadyInstalled | Self::Incompatible | Self::Gone
        )
    }
}

numbered! {
    /// What a device waits for.
    Why {
        /// Its turn: the rate, or how many may download at a time.
        Rate = 0 "its turn",
        /// Its maintenance window.
        Window = 1 "its maintenance window",
        /// To be online.
        Offline = 2 "being online",
        /// Whoever is there to allow it.
        Consent = 3 "consent",
        /// Another campaign to be done with it.
        Dependency = 4 "another campaign",
    }
}
