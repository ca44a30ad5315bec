//! The rows of admission: what they hold, and how they are written down.

use std::{collections::BTreeMap, fmt, str::FromStr};

use data_encoding::HEXLOWER;
use muster_schemas::{DeviceId, TenantId};
use muster_tpm::endorsement::TpmClass;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{limits::PCRS_QUOTED, registry::row::hash};

/// What a tenant asks of an enrolment, beyond the class of the chip.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EnrolmentPolicy {
    /// Whether a device that comes with a claim waits until a person approves it.
    pub approve_claims: bool,
    /// What unknown measurements lead to.
    pub measurements: MeasurementMode,
    /// The registers that a quote has to cover: SHA-256 bank, ascending.
    pub registers: Vec<u8>,
}

impl Default for EnrolmentPolicy {
    fn default() -> Self {
        Self {
            approve_claims: false,
            measurements: MeasurementMode::default(),
            registers: PCRS_QUOTED.to_vec(),
        }
    }
}

/// What measurements that nobody accepted lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MeasurementMode {
    /// Nothing: they are kept, and not judged.
    #[default]
    Off,
    /// A warning.
    Monitor,
    /// The device gets no certificate.
    Enforce,
}

impl MeasurementMode {
    /// The word in API and log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Monitor => "monitor",
            Self::Enforce => "enforce",
        }
    }
}

/// A name of a chip in a purchase list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChipName {
    /// SHA-256 of its endorsement key's SubjectPublicKeyInfo.
    EkHash([u8; 32]),
    /// Its endorsement certificate.
    Certificate {
        /// SHA-256 of the SubjectPublicKeyInfo of the authority that issued it.
        issuer: [u8; 32],
        /// Its serial number, big-endian, without leading zeros.
        serial: Vec<u8>,
    },
}

impl ChipName {
    /// The name by a certificate. A leading zero, which DER puts before a high bit, is no part of a number.
    pub fn certificate(issuer: [u8; 32], serial: &[u8]) -> Self {
        let first = serial.iter().position(|byte| *byte != 0).unwrap_or(serial.len());
        Self::Certificate { issuer, serial: serial.get(first..).unwrap_or_default().to_vec() }
    }
}

impl fmt::Display for ChipName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EkHash(hash) => write!(f, "ek:{}", HEXLOWER.encode(hash)),
            Self::Certificate { issuer, serial } => {
                write!(f, "cert:{}:{}", HEXLOWER.encode(issuer), HEXLOWER.encode(serial))
            }
        }
    }
}

/// A text that names no chip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is neither ek:<64 hex digits> nor cert:<64 hex digits of the issuer's key>:<serial number in hex>")]
pub struct InvalidChipName;

impl FromStr for ChipName {
    type Err = InvalidChipName;
    fn from_str(text: &str) -> Result<Self, InvalidChipName> {
        let bytes = |text: &str| HEXLOWER.decode(text.as_bytes()).map_err(|_| InvalidChipName);
        let hash = |text: &str| bytes(text)?.try_into().map_err(|_| InvalidChipName);
        match text.split_once(':') {
            Some(("ek", rest)) => Ok(Self::EkHash(hash(rest)?)),
            Some(("cert", rest)) => {
                let (issuer, serial) = rest.split_once(':').ok_or(InvalidChipName)?;
                Ok(Self::certificate(hash(issuer)?, &bytes(serial)?))
            }
            _ => Err(InvalidChipName),
        }
    }
}

impl Serialize for ChipName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ChipName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A hardware address of a network interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([a, b, c, d, e, g]) = self;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A text that is no hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not six pairs of hex digits, such as 02:00:5e:00:53:01")]
pub struct InvalidMac;

impl FromStr for Mac {
    type Err = InvalidMac;
    /// Accepts colons, hyphens or nothing between the pairs, and either case.
    fn from_str(text: &str) -> Result<Self, InvalidMac> {
        if text.len() > 17 {
            return Err(InvalidMac);
        }
        let digits: String =
            text.chars().filter(|c| !matches!(c, ':' | '-')).map(|c| c.to_ascii_lowercase()).collect();
        let bytes = HEXLOWER.decode(digits.as_bytes()).map_err(|_| InvalidMac)?;
        Ok(Self(bytes.try_into().map_err(|_| InvalidMac)?))
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Something that one device of a tenant has, and no other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Identity {
    /// The name that the tenant gave it.
    Name(DeviceId),
    /// The serial number on its plate.
    SerialNumber(String),
    /// The hardware address of its network interface.
    Mac(Mac),
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "the name {name}"),
            Self::SerialNumber(number) => write!(f, "the serial number {number:?}"),
            Self::Mac(mac) => write!(f, "the hardware address {mac}"),
        }
    }
}

fn identities(
    name: Option<&DeviceId>,
    serial_number: Option<&String>,
    mac: Option<Mac>,
) -> impl Iterator<Item = Identity> + use<> {
    let name = name.cloned().map(Identity::Name);
    let serial_number = serial_number.cloned().map(Identity::SerialNumber);
    name.into_iter().chain(serial_number).chain(mac.map(Identity::Mac))
}

/// A chip that a tenant has listed: it joins that tenant without a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// Which chip.
    pub chip: ChipName,
    /// Whose list.
    pub tenant: TenantId,
    /// What a chip without an endorsement certificate counts as; such a chip enrols only with this.
    #[serde(default, with = "optional_class")]
    pub class: Option<TpmClass>,
    /// The only model that it may be in.
    #[serde(default)]
    pub model: Option<String>,
    /// The name that the tenant gives it.
    #[serde(default)]
    pub name: Option<DeviceId>,
    /// The serial number of the device that it is in.
    #[serde(default)]
    pub serial_number: Option<String>,
    /// The hardware address of that device.
    #[serde(default)]
    pub mac: Option<Mac>,
    /// When it was listed, in seconds since 1970.
    pub listed_at_s: u64,
}

impl Listed {
    /// What the tenant has bound to this chip.
    pub fn identities(&self) -> impl Iterator<Item = Identity> + use<> {
        identities(self.name.as_ref(), self.serial_number.as_ref(), self.mac)
    }
}

/// What is known of an enrolled device beyond its certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The device.
    pub device: DeviceId,
    /// Its tenant.
    pub tenant: TenantId,
    /// The name that the tenant gave it.
    #[serde(default)]
    pub name: Option<DeviceId>,
    /// Its serial number: as listed, or else as it says.
    #[serde(default)]
    pub serial_number: Option<String>,
    /// Its hardware address, likewise.
    #[serde(default)]
    pub mac: Option<Mac>,
    /// The name of its chip by its endorsement certificate, if it has one.
    #[serde(default)]
    pub certificate: Option<ChipName>,
    /// What it measured at its last quote.
    pub measured: Measured,
}

impl Profile {
    /// What no other device of the tenant may have.
    pub fn identities(&self) -> impl Iterator<Item = Identity> + use<> {
        identities(self.name.as_ref(), self.serial_number.as_ref(), self.mac)
    }
}

/// Values of registers, SHA-256 bank.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Registers(pub BTreeMap<u8, [u8; 32]>);

impl Serialize for Registers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer
            .collect_map(self.0.iter().map(|(index, value)| (index.to_string(), HEXLOWER.encode(value))))
    }
}

impl<'de> Deserialize<'de> for Registers {
    /// Keys are texts in JSON, and an integer does not pass through a tagged row.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = || serde::de::Error::custom("is not a register and its value in hex");
        let texts = BTreeMap::<String, String>::deserialize(deserializer)?;
        let parsed = texts.into_iter().map(|(index, value)| {
            let value = HEXLOWER.decode(value.as_bytes()).ok()?.try_into().ok()?;
            Some((index.parse().ok()?, value))
        });
        parsed.collect::<Option<_>>().map(Self).ok_or_else(wrong)
    }
}

/// What a device measured, and what its tenant makes of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// The quoted registers.
    pub registers: Registers,
    /// The verdict.
    pub verdict: Verdict,
    /// Since when it measured this, in seconds since 1970.
    pub at_s: u64,
}

/// What a tenant makes of measurements.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The tenant does not judge them.
    #[default]
    Unjudged,
    /// They are what the tenant accepted under this label, or these.
    Accepted(String),
    /// Nobody accepted them.
    Unknown,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unjudged => f.write_str("not judged"),
            Self::Accepted(label) => write!(f, "accepted as {label}"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// Measurements that a tenant accepts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    /// Whose.
    pub tenant: TenantId,
    /// Such as the release that they are of.
    pub label: String,
    /// The registers, all of which have to be so.
    pub registers: Registers,
    /// When they were accepted, in seconds since 1970.
    pub accepted_at_s: u64,
}

/// A device that proved its chip and waits for a person, or was denied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// The device.
    pub device: DeviceId,
    /// The tenant that it would join.
    pub tenant: TenantId,
    /// SHA-256 of its endorsement key.
    #[serde(with = "hash")]
    pub ek_hash: [u8; 32],
    /// The class of its chip.
    #[serde(with = "class")]
    pub class: TpmClass,
    /// What it says it is.
    pub model: String,
    /// The serial number that it says it has.
    #[serde(default)]
    pub serial_number: Option<String>,
    /// The hardware address that it says it has.
    #[serde(default)]
    pub mac: Option<Mac>,
    /// Why it is held.
    pub reason: HeldReason,
    /// What was decided.
    #[serde(default)]
    pub decision: Decision,
    /// What was approved, if something was.
    #[serde(default)]
    pub decided: Option<HeldReason>,
    /// Whether a person has to approve it in any case.
    pub approval: bool,
    /// Whether it came with a claim, which then need not be shown again.
    pub claimed: bool,
    /// What it measured.
    pub measured: Measured,
    /// When it came first, in seconds since 1970.
    pub first_at_s: u64,
    /// When it came last, in seconds since 1970.
    pub last_at_s: u64,
}

/// Why a device is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeldReason {
    /// It came with a claim, and the tenant approves those.
    Claim,
    /// It claims an identity that another has, or another than its chip was listed with.
    Identity {
        /// What it claims, and who has it, for a person.
        claims: String,
        /// The device that has it, if it is known.
        holder: Option<DeviceId>,
    },
    /// Its measurements are not accepted. Approval of the device does not help: the measurements have to be accepted.
    Measurements,
}

impl fmt::Display for HeldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claim => f.write_str("claims of this tenant wait for approval"),
            Self::Identity { claims, .. } => f.write_str(claims),
            Self::Measurements => f.write_str("its measurements are not accepted"),
        }
    }
}

/// What a person decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// Nothing yet.
    #[default]
    Waiting,
    /// It may enrol, as what it said it is.
    Approved,
    /// It may not.
    Denied,
}

impl Decision {
    /// The word in API and table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Approved => "approved",
            Self::Denied => "denied",
        }
    }
}

use crate::registry::row::class;

mod optional_class {
    use super::*;

    #[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
    pub fn serialize<S: Serializer>(class: &Option<TpmClass>, serializer: S) -> Result<S::Ok, S::Error> {
        class.map(TpmClass::as_str).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TpmClass>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        let class = text.map(|text| text.parse()).transpose();
        class.map_err(|_| serde::de::Error::custom("is not a class of TPM"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::row::Row;

    #[test]
    fn rows_of_the_last_version_load() {
        let tenant = r#"{"row":"tenant","id":"acme","created_at_s":1,"state":"active","tpm_classes":
            {"hardware":true,"firmware":true,"virtual":true,"simulated":false}}"#;
        let Row::Tenant(tenant) = Row::decode(tenant.as_bytes()).expect("loads") else { panic!("a tenant") };
        assert_eq!((tenant.policy.approve_claims, tenant.policy.registers), (false, vec![23]));
        let claim = format!(
            r#"{{"row":"claim","sha256":"{}","tenant":"acme","model":null,"expires_at_s":1,"used_by":null}}"#,
            "07".repeat(32)
        );
        assert!(matches!(Row::decode(claim.as_bytes()), Ok(Row::Claim(claim)) if !claim.approve));
    }

    #[test]
    fn a_chip_is_named_as_people_and_manifests_write_it() {
        let name = ChipName::certificate([0xca; 32], &[0, 0, 0x9a]);
        assert_eq!(name, ChipName::certificate([0xca; 32], &[0x9a]), "leading zeros are no part of a number");
        assert_eq!(name.to_string().parse(), Ok(name));
        for wrong in ["", "ek:00", "cert:00:01", "ek:", "tpm:00"] {
            assert!(wrong.parse::<ChipName>().is_err(), "{wrong}");
        }
        for text in ["02:00:5e:00:53:01", "02-00-5E-00-53-01", "02005e005301"] {
            assert_eq!(text.parse(), Ok(Mac([2, 0, 0x5e, 0, 0x53, 1])), "{text}");
        }
        assert!("02:00:5e:00:53".parse::<Mac>().is_err());
    }
}
