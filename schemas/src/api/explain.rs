//! Why a device cannot connect, and who may do what.

use serde::{Deserialize, Serialize};

use crate::{DeviceId, TenantId};

/// Why a device cannot connect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// The device.
    pub device: DeviceId,
    /// Whose it is, if it is registered.
    pub tenant: Option<TenantId>,
    /// How many sessions it has now.
    pub sessions: usize,
    /// The short name of the cause.
    pub code: String,
    /// What keeps it out now, in a sentence.
    pub cause: String,
    /// What to do next.
    pub next: String,
    /// When its certificate ends, Unix seconds.
    pub certificate_expires_at_s: Option<u64>,
    /// From when on refusals are remembered, Unix milliseconds: the start of the hub.
    pub since_ms: u64,
    /// When it was let in after it had been refused, Unix milliseconds.
    pub let_in_ms: Option<u64>,
    /// Its last refusals, newest first.
    pub refusals: Vec<RefusalSeen>,
}

/// A refusal that a device got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalSeen {
    /// How far it came: `handshake`, `enrolment`, `admission` or `session`.
    pub stage: String,
    /// The reason's short name.
    pub code: String,
    /// The reason in words.
    pub reason: String,
    /// What to do next.
    pub next: String,
    /// Where it came from, if that is known.
    pub peer: Option<String>,
    /// Whether it was the device itself, proved by its certificate's key; else somebody gave its name.
    pub proved: bool,
    /// When for the first time, Unix milliseconds.
    pub first_ms: u64,
    /// When for the last time, Unix milliseconds.
    pub last_ms: u64,
    /// How often, one after the other.
    pub times: u64,
}

/// Whether somebody may do something, and by which rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Can {
    /// Whether it may.
    pub allowed: bool,
    /// The rule that says so.
    pub rule: String,
    /// Why, in a sentence.
    pub why: String,
    /// What to do if it should be otherwise; empty when there is nothing.
    pub next: String,
}
