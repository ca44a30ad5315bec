//! Bodies about who may enrol: a tenant's policy, its list of chips, devices that wait for a person, measurements, claims.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{DeviceId, TenantId};

/// `GET /api/v1/tenants/{t}/policy`: what a tenant asks of an enrolment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolmentPolicy {
    /// The tenant.
    pub tenant: TenantId,
    /// Which classes of TPM its devices may have: `hardware`, `firmware`, `virtual`, `simulated`.
    pub tpm_classes: Vec<String>,
    /// Whether a device that comes with a claim waits until a person approves it.
    pub approve_claims: bool,
    /// What unknown measurements lead to: `off`, `monitor` or `enforce`.
    pub measurements: String,
    /// The registers that a quote has to cover.
    pub registers: Vec<u8>,
}

/// `POST /api/v1/tenants/{t}/policy`: what to change of it; the rest stays.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyChange {
    /// Which classes of TPM its devices may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm_classes: Option<Vec<String>>,
    /// Whether a device that comes with a claim waits until a person approves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approve_claims: Option<bool>,
    /// What unknown measurements lead to: `off`, `monitor` or `enforce`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measurements: Option<String>,
    /// The registers that a quote has to cover: some of 0 to 16 and 23, ascending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registers: Option<Vec<u8>>,
}

/// `POST /api/v1/tenants/{t}/allowed`: chips to put on the tenant's list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewAllowed {
    /// The rows, at most 1,000.
    pub rows: Vec<AllowedRow>,
    /// Only say what would become of them.
    #[serde(default)]
    pub dry_run: bool,
}

/// One row of a purchase manifest, as it stands there: the chip by `ek_hash`, or by `issuer` and `certificate_serial`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowedRow {
    /// Where it stands, for the report.
    pub line: u64,
    /// SHA-256 of the endorsement key's SubjectPublicKeyInfo, hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ek_hash: Option<String>,
    /// SHA-256 of the SubjectPublicKeyInfo of the authority that issued the endorsement certificate, hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Serial number of that certificate, hex; colons are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_serial: Option<String>,
    /// What a chip without a certificate counts as; only with `ek_hash`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The only model that the chip may be in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The name that the tenant gives the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The serial number of the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    /// The hardware address of the device's network interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
}

/// What became of a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowReport {
    /// Where it stands.
    pub line: u64,
    /// `accepted`, `updated`, `duplicate`, `taken`, `conflict`, `malformed` or `full`.
    pub outcome: String,
    /// Why, when it is not on the list now.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// A chip on a tenant's list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowed {
    /// The chip: `ek:<hash>`, or `cert:<hash of the issuer's key>:<serial>`.
    pub chip: String,
    /// What a chip without a certificate counts as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The only model that it may be in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The name that the tenant gives the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<DeviceId>,
    /// The serial number of the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    /// The hardware address of the device's network interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// When it was listed, Unix seconds.
    pub listed_at_s: u64,
}

/// `POST /api/v1/tenants/{t}/allowed/remove`: a chip to take off the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotAllowed {
    /// The chip, as the list names it.
    pub chip: String,
}

/// What a device measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// The quoted registers by their index, lower-case hex.
    pub registers: BTreeMap<u8, String>,
    /// `not judged`, `unknown`, or `accepted as` and the labels.
    pub verdict: String,
    /// When, Unix seconds.
    pub at_s: u64,
}

/// A device that is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldDevice {
    /// The device.
    pub device: DeviceId,
    /// SHA-256 of its endorsement key, lower-case hex.
    pub ek_hash: String,
    /// The class of its chip.
    pub tpm_class: String,
    /// What it says it is.
    pub model: String,
    /// The serial number that it says it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    /// The hardware address that it says it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Why it is held: `claim`, `identity` or `measurements`.
    pub reason: String,
    /// The same, for a person.
    pub explanation: String,
    /// The device whose identity it claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
    /// `waiting`, `approved` or `denied`.
    pub decision: String,
    /// What it measured.
    pub measured: Measured,
    /// When it came first, Unix seconds.
    pub first_at_s: u64,
    /// When it came last, Unix seconds.
    pub last_at_s: u64,
}

/// The other device, when two claim one identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The device.
    pub device: DeviceId,
    /// SHA-256 of its endorsement key, lower-case hex; absent when its chip is listed and has not come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ek_hash: Option<String>,
    /// What it says it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// When it was enrolled, Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolled_at_s: Option<u64>,
}

/// What is known of a device beyond its certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// The device.
    pub device: DeviceId,
    /// The name that the tenant gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<DeviceId>,
    /// Its serial number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    /// Its hardware address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// What it measured last.
    pub measured: Measured,
}

/// `POST /api/v1/tenants/{t}/measurements`: measurements to accept, of a device or as values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewMeasurement {
    /// Such as the release that they are of, 1 to 64 bytes.
    pub label: String,
    /// What this device measured last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
    /// Only these registers of it; those of the policy, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Vec<u8>>,
    /// Or these values by the index of their register, hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registers: Option<BTreeMap<u8, String>>,
}

/// Measurements that a tenant accepts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measurement {
    /// Their label.
    pub label: String,
    /// The registers by their index, lower-case hex.
    pub registers: BTreeMap<u8, String>,
    /// When they were accepted, Unix seconds.
    pub accepted_at_s: u64,
}

/// `POST /api/v1/tenants/{t}/measurements/remove`: measurements to accept no longer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoMeasurement {
    /// Their label.
    pub label: String,
}

/// A claim, without its code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedClaim {
    /// What to revoke it by.
    pub id: String,
    /// The only model it is good for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// When it stops being good, Unix seconds.
    pub expires_at_s: u64,
    /// Whether its device waits for approval.
    pub approve: bool,
    /// The device that used it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_by: Option<DeviceId>,
}
