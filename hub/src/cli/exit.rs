//! How a command ends. The numbers are stable: scripts may rely on them.

use std::process::ExitCode;

/// How a command ended, and with it the program's exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what was asked.
    Ok = 0,
    /// It could not, for a reason that none of the others names.
    Failure = 1,
    /// It was asked in a wrong way.
    Usage = 2,
    /// The hub answered, and refused.
    Refused = 3,
    /// The hub did not answer, or what answered is not the hub.
    Unreachable = 4,
    /// The configuration is not valid, or `check` found an error.
    Invalid = 5,
    /// It would have overwritten something, and did not.
    Exists = 6,
}

/// The same for `--help`.
pub(super) const CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by the hub, \
    4 the hub cannot be reached, 5 the configuration is not valid, 6 something is already there";

impl Exit {
    fn code(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failure => "failure",
            Self::Usage => "usage",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Invalid => "invalid",
            Self::Exists => "exists",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// How the program ends.
    pub exit: Exit,
    /// A stable name: the hub's, or that of the exit.
    pub code: String,
    /// What was not done: reads after "cannot".
    pub what: String,
    /// Why not.
    pub why: String,
    /// What to do next.
    pub next: String,
}

impl Complaint {
    /// A complaint of our own.
    pub fn new(exit: Exit, what: impl Into<String>, why: impl Into<String>, next: impl Into<String>) -> Self {
        Self { exit, code: exit.code().to_owned(), what: what.into(), why: why.into(), next: next.into() }
    }
}

impl From<std::io::Error> for Complaint {
    fn from(error: std::io::Error) -> Self {
        Self::new(Exit::Failure, "write the answer", error.to_string(), "give it an output that takes it")
    }
}
