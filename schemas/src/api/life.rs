//! Bodies about the life of devices, apps and tenants, and about alarms.

use serde::{Deserialize, Serialize};

use super::Device;
use crate::{DeviceId, TenantId};

/// What a command on a device, an app or a user says besides its name. All of it may be left out, but `with` where a device
/// is replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LifeCommand {
    /// Why, in words, for whoever looks at the device later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Of a revocation: one of RFC 5280's reasons, such as `key_compromise`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Of a revocation: since when the keys are in other hands, Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compromised_since_s: Option<u64>,
    /// Of a replacement: SHA-256 of the new chip's endorsement key, hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with: Option<String>,
}

/// What is known of a device's life besides its state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceLife {
    /// When its state was changed last, Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed_at_s: Option<u64>,
    /// Who changed it: a principal, or the hub itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed_by: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed_why: Option<String>,
    /// Since when its keys are in other hands, Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compromised_since_s: Option<u64>,
    /// The device in whose place it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaces: Option<DeviceId>,
    /// The device that came, or comes, in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<DeviceId>,
    /// When its chip made its last quote, Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quoted_at_s: Option<u64>,
    /// The clock of its chip then, in milliseconds of power.
    pub clock_ms: u64,
}

/// What a command has made of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceChanged {
    /// The device as it is now; as it was, when it was released.
    pub device: Device,
    /// Whether the command changed anything.
    pub changed: bool,
}

/// What a command has made of an app or a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientChanged {
    /// `app` or `user`.
    pub kind: String,
    /// Its id.
    pub id: DeviceId,
    /// Its state now.
    pub state: super::State,
    /// Whether the command changed anything.
    pub changed: bool,
}

/// What a tenant wants done by itself when something is wrong with a chip.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Precautions {
    /// Suspend a device whose chip was copied or put back.
    pub suspend_clones: bool,
    /// Suspend a device whose chip was cleared, until it is resumed.
    pub approve_cleared: bool,
}

/// Something to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// Its number.
    pub number: u64,
    /// The tenant it concerns; none for the hub itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// The device it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
    /// What is wrong, such as `clone`.
    pub kind: String,
    /// What was seen the last time, in plain words.
    pub detail: String,
    /// When it was raised, Unix seconds.
    pub at_s: u64,
    /// When it was raised the last time, Unix seconds.
    pub last_at_s: u64,
    /// How often it was raised.
    pub times: u64,
    /// When somebody looked at it, Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_at_s: Option<u64>,
    /// Who looked at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_by: Option<String>,
}

/// Alarms by number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarms {
    /// As many as one answer holds.
    pub alarms: Vec<Alarm>,
    /// Where to go on, if there are more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_after: Option<u64>,
}
