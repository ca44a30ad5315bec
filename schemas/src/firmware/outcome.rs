//! Where a device is with an update, and how it ended. The words are the same on the device, in the hub's log and API
//! and on the command line; the numbers are what travels. Both may be added to, never changed.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A word that is none of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is {found:?}, which is no {kind}")]
pub struct UnknownWord {
    /// What was read.
    pub found: String,
    /// What it should be.
    pub kind: &'static str,
}

macro_rules! words {
    (
        $(#[$doc:meta])* $name:ident, $kind:literal,
        $($(#[$variant_doc:meta])* $variant:ident = $number:literal $word:literal),+ $(,)?
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// All of them, in their order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// As people read it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// As it travels.
            pub fn number(self) -> u8 {
                match self { $(Self::$variant => $number,)+ }
            }

            /// As it travelled.
            pub fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::firmware::UnknownWord;
            fn from_str(text: &str) -> Result<Self, $crate::firmware::UnknownWord> {
                let found = Self::ALL.iter().find(|word| word.as_str() == text);
                found.copied().ok_or_else(|| $crate::firmware::UnknownWord { found: text.to_owned(), kind: $kind })
            }
        }
    };
}
pub(super) use words;

words! {
    /// Where a device is with an update that has not ended, in the order in which they follow one another.
    Stage, "stage",
    /// It knows of it.
    Offered = 0 "offered",
    /// Blocks arrive.
    Downloading = 1 "downloading",
    /// All of them are here, and the image is the one that was signed.
    Downloaded = 2 "downloaded",
    /// It writes the other slot.
    Installing = 3 "installing",
    /// It starts the other slot.
    Rebooting = 4 "rebooting",
    /// It runs the new image, on trial.
    Verifying = 5 "verifying",
}

words! {
    /// Why an update failed on a device.
    FailureCode, "failure code",
    /// What arrived is not what was signed.
    DigestMismatch = 0 "digest-mismatch",
    /// A signature is missing, or of nobody who may sign.
    Signature = 1 "signature",
    /// The offer, the freshness statement or the root is no longer, or not yet, valid.
    ExpiredOffer = 2 "expired-offer",
    /// The image is for another kind of device.
    WrongClass = 3 "wrong-class",
    /// The image is not above what is installed.
    Downgrade = 4 "downgrade",
    /// There is no room for it.
    NoSpace = 5 "no-space",
    /// The new image started, and is not well.
    HealthCheck = 6 "health-check",
    /// The new image did not start.
    BootFailed = 7 "boot-failed",
    /// A stage took too long.
    Timeout = 8 "timeout",
    /// It was called off.
    Cancelled = 9 "cancelled",
    /// The image could not be had.
    Transfer = 10 "transfer",
    /// What arrived does not unpack, or no patch.
    Decompress = 11 "decompress",
    /// Something else: the detail says what.
    Other = 12 "other",
}

/// How an update ended on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The new image booted, is well, and said so.
    Succeeded,
    /// It did not get so far.
    Failed {
        /// Why.
        code: FailureCode,
    },
    /// The new image started on trial, and the device went back to the old one by itself.
    RolledBack,
    /// The device said nothing before the deadline of its stage.
    TimedOut,
    /// Whoever is at the device said no.
    Rejected,
    /// It was called off.
    Cancelled,
    /// A later campaign took its place.
    Superseded,
    /// The device runs that image already.
    AlreadyInstalled,
    /// There is no image for that device.
    Incompatible,
    /// The device is no longer registered.
    Gone,
}

impl Outcome {
    /// All of them, with one code for those that have one.
    pub const SAMPLES: &[Self] = &[
        Self::Succeeded,
        Self::Failed { code: FailureCode::Other },
        Self::RolledBack,
        Self::TimedOut,
        Self::Rejected,
        Self::Cancelled,
        Self::Superseded,
        Self::AlreadyInstalled,
        Self::Incompatible,
        Self::Gone,
    ];

    /// As it travels; the code of a failure travels beside it.
    pub fn number(self) -> u8 {
        match self {
            Self::Succeeded => 0,
            Self::Failed { .. } => 1,
            Self::RolledBack => 2,
            Self::TimedOut => 3,
            Self::Rejected => 4,
            Self::Cancelled => 5,
            Self::Superseded => 6,
            Self::AlreadyInstalled => 7,
            Self::Incompatible => 8,
            Self::Gone => 9,
        }
    }

    /// The code of a failure.
    pub fn code(self) -> Option<FailureCode> {
        match self {
            Self::Failed { code } => Some(code),
            _ => None,
        }
    }

    /// As it travelled: a failure has a code, and nothing else has.
    pub fn from_numbers(number: u8, code: Option<u8>) -> Option<Self> {
        let outcome = match (number, code) {
            (1, Some(code)) => return Some(Self::Failed { code: FailureCode::from_number(code)? }),
            (_, Some(_)) | (1, None) => return None,
            (0, _) => Self::Succeeded,
            (2, _) => Self::RolledBack,
            (3, _) => Self::TimedOut,
            (4, _) => Self::Rejected,
            (5, _) => Self::Cancelled,
            (6, _) => Self::Superseded,
            (7, _) => Self::AlreadyInstalled,
            (8, _) => Self::Incompatible,
            (9, _) => Self::Gone,
            _ => return None,
        };
        Some(outcome)
    }

    /// As people read it, without the code of a failure.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed { .. } => "failed",
            Self::RolledBack => "rolled-back",
            Self::TimedOut => "timed-out",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
            Self::AlreadyInstalled => "already-installed",
            Self::Incompatible => "incompatible",
            Self::Gone => "gone",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { code } => write!(f, "failed:{code}"),
            other => f.write_str(other.as_str()),
        }
    }
}

impl FromStr for Outcome {
    type Err = UnknownWord;
    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        if let Some(code) = text.strip_prefix("failed:") {
            return Ok(Self::Failed { code: code.parse()? });
        }
        let plain = Self::SAMPLES.iter().find(|outcome| outcome.code().is_none() && outcome.as_str() == text);
        plain.copied().ok_or_else(|| UnknownWord { found: text.to_owned(), kind: "outcome" })
    }
}
