//! Why a reading, or a whole message, is not taken in.

use muster_schemas::senml::InvalidPack;
use muster_seal::InvalidSealed;

/// Whose fault it is in the words of a protocol: what was sent is wrong, or there is too much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Sending it again will not help (MQTT 5: 0x99).
    Format,
    /// A bound is reached (MQTT 5: 0x97).
    Quota,
}

/// Why something is refused. The text reads well after "refused: " and names what to change.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Fault {
    /// It is no SenML, or the record is none.
    #[error("it {0}")]
    Pack(#[from] InvalidPack),
    /// It begins as a sealed message does, and is none.
    #[error("it begins as a sealed message does, and {0}")]
    Sealed(#[from] InvalidSealed),
    /// Its time is too far ahead.
    #[error("its time is {ahead_s} s ahead of its receipt, and {max_s} s may be; set the device's clock")]
    Ahead {
        /// How far.
        ahead_s: u64,
        /// How far it may be.
        max_s: u64,
    },
    /// Its unit is not registered for SenML, and not the tenant's own either.
    #[error(
        "its unit {unit:?} is neither registered for SenML (RFC 8428 §12.1) nor named by the tenant's schema"
    )]
    UnknownUnit {
        /// The unit.
        unit: String,
    },
    /// Another unit than the schema says.
    #[error("its unit is {found:?}, and the tenant's schema says {expected:?}")]
    Unit {
        /// What it has.
        found: String,
        /// What it must have.
        expected: String,
    },
    /// Another kind of value than the schema says.
    #[error("it is {found}, and the tenant's schema says {expected}")]
    Kind {
        /// What it is.
        found: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// Beyond what the schema says.
    #[error("its value {found} is not within the {min} to {max} of the tenant's schema")]
    Range {
        /// The value.
        found: f64,
        /// The least.
        min: f64,
        /// The most.
        max: f64,
    },
    /// No rule of a closed schema names it.
    #[error("the tenant's schema does not name it, and is closed")]
    NotNamed,
    /// The device has as many series as it may.
    #[error("the device has {max} names of readings already, which is its quota")]
    Series {
        /// The bound.
        max: usize,
    },
    /// The device has as many streams as it may.
    #[error("the device has {max} streams already, which is its quota")]
    Streams {
        /// The bound.
        max: usize,
    },
    /// The devices of the tenant together have as many series as they may.
    #[error("the tenant's devices have {max} names of readings already, which is its quota")]
    TenantSeries {
        /// The bound.
        max: u64,
    },
}

impl Fault {
    /// Its class.
    pub fn class(&self) -> Class {
        match self {
            Self::Series { .. }
            | Self::Streams { .. }
            | Self::TenantSeries { .. }
            | Self::Pack(InvalidPack::TooLong | InvalidPack::TooManyRecords) => Class::Quota,
            _ => Class::Format,
        }
    }

    /// A short name, for programs and counters.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Pack(InvalidPack::TooLong | InvalidPack::TooManyRecords) => "too_large",
            Self::Pack(InvalidPack::NotFinite { .. }) => "not_finite",
            Self::Pack(_) => "not_senml",
            Self::Sealed(_) => "not_sealed",
            Self::Ahead { .. } => "future_time",
            Self::UnknownUnit { .. } | Self::Unit { .. } => "wrong_unit",
            Self::Kind { .. } | Self::Range { .. } | Self::NotNamed => "schema",
            Self::Series { .. } | Self::TenantSeries { .. } => "too_many_series",
            Self::Streams { .. } => "too_many_streams",
        }
    }
}

/// A reading that is refused.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    /// Its place in the pack, from 0.
    pub record: usize,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Why.
    pub fault: Fault,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "record {}", self.record)?;
        if let Some(name) = &self.name {
            write!(f, " ({name})")?;
        }
        write!(f, ": {}", self.fault)
    }
}
