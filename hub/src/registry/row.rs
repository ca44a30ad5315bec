//! The registry's rows: what is known of every tenant, device, claim, app and user, and where each row is kept.
//! Not for decisions: [`super::core::Registry`] makes them.

use std::{fmt, str::FromStr};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::{BASE32_NOPAD, HEXLOWER};
use muster_schemas::{DeviceId, Kind, TenantId};
use muster_tpm::endorsement::TpmClass;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    admissions::row::{Accepted, EnrolmentPolicy, Held, Listed, Profile},
    alarm::Alarm,
    attest::AttestSessions,
    attributes::Described,
    clock::LatestTime,
    firmware_approval::FirmwareApproval,
    firmware_authority::FirmwareAuthority,
    grants::{DataSetRow, Grant},
    issued::IssuedRow,
    keys::SecurityKey,
    legacy::LegacyDevice,
    life::{Life, Precautions, Released, Successor},
    limits::{CLAIM_CODE_BYTES, CLAIM_TEXT_CHARS_MAX},
    policies::PolicyVersion,
    revocation::{Revocation, RevocationVersion},
    sensitive::SensitiveFields,
    ways_in::WaysIn,
};
use crate::authority::{Leaf, Serial};

/// Whether something registered may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It may.
    Active,
    /// It may not, until an operator says so.
    Suspended,
    /// Its certificates are revoked and its chip is barred, until an operator says otherwise; then it enrols anew.
    Revoked,
    /// It never will again; the row stays so that the chip cannot enrol anew.
    Retired,
}

impl State {
    /// The state as the API names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Revoked => "revoked",
            Self::Retired => "retired",
        }
    }
}

/// Which classes of TPM a tenant accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptedClasses {
    /// Discrete chips.
    pub hardware: bool,
    /// TPMs in a processor's firmware.
    pub firmware: bool,
    /// TPMs that a cloud or a hypervisor provides.
    pub r#virtual: bool,
    /// Simulators, for tests and demonstrations.
    pub simulated: bool,
}

impl AcceptedClasses {
    /// Every class but the simulated one.
    pub const REAL: Self = Self { hardware: true, firmware: true, r#virtual: true, simulated: false };
    /// Every class, the simulated one too.
    pub const ANY: Self = Self { simulated: true, ..Self::REAL };

    /// Whether `class` is among them.
    pub fn accepts(self, class: TpmClass) -> bool {
        match class {
            TpmClass::Hardware => self.hardware,
            TpmClass::Firmware => self.firmware,
            TpmClass::Virtual => self.r#virtual,
            TpmClass::Simulated => self.simulated,
            TpmClass::None => false,
        }
    }
}

/// What is remembered of a certificate that we issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// Its serial number.
    #[serde(with = "serial")]
    pub serial: Serial,
    /// SHA-256 of its subject public key info, in DER.
    #[serde(with = "hash")]
    pub spki_sha256: [u8; 32],
    /// When it ends, in seconds since 1970.
    pub not_after_s: u64,
}

impl Certificate {
    /// What is remembered of the certificate that says this.
    pub fn of(leaf: &Leaf) -> Self {
        Self { serial: leaf.serial, spki_sha256: leaf.spki_sha256, not_after_s: leaf.not_after_s }
    }

    /// In the place of a certificate, for whoever has none: no certificate is this one, and it has ended.
    pub fn none() -> Self {
        Self { serial: Serial::from([0; 16]), spki_sha256: [0; 32], not_after_s: 0 }
    }

    /// Whether there is one.
    pub fn is_some(&self) -> bool {
        *self != Self::none()
    }

    /// Whether this is the certificate that a peer showed.
    pub fn is(&self, leaf: &Leaf) -> bool {
        self.serial == leaf.serial && self.spki_sha256 == leaf.spki_sha256
    }
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// When it was created, in seconds since 1970.
    pub created_at_s: u64,
    /// Whether anything of it may connect.
    pub state: State,
    /// Which classes of TPM its devices may have.
    pub tpm_classes: AcceptedClasses,
    /// Whether each session of its devices has to attest.
    #[serde(default)]
    pub attest_sessions: AttestSessions,
    /// Which ways in there are besides first boot with a TPM.
    #[serde(default)]
    pub ways_in: WaysIn,
    /// What it wants done by itself.
    #[serde(default)]
    pub precautions: Precautions,
    /// What else it asks of an enrolment.
    #[serde(default)]
    pub policy: EnrolmentPolicy,
    /// What its readings are, in JSON; empty if it says nothing. See [`Tenant::schema`].
    #[serde(default)]
    pub telemetry_schema: String,
}

/// A device: one chip, for as long as the chip exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Its id, which follows from the chip.
    pub id: DeviceId,
    /// The tenant that owns it.
    pub tenant: TenantId,
    /// SHA-256 of the chip's endorsement key. Never changes: another chip is another device.
    #[serde(with = "hash")]
    pub ek_hash: [u8; 32],
    /// The chip's attestation key, a `TPMT_PUBLIC`.
    #[serde(with = "hex")]
    pub ak_public: Vec<u8>,
    /// The TPM name of the attestation key.
    #[serde(with = "hex")]
    pub ak_name: Vec<u8>,
    /// The certificate it should connect with.
    pub certificate: Certificate,
    /// The one before, good until the current one has connected.
    pub previous: Option<Certificate>,
    /// Whether it may connect.
    pub state: State,
    /// What kind of TPM the chip is, from the root that its endorsement certificate leads to.
    #[serde(with = "class")]
    pub tpm_class: TpmClass,
    /// The model that it says it is; empty when it says nothing.
    pub model: String,
    /// How often the chip was reset, at its last quote.
    pub reset_count: u32,
    /// The chip's clock at its last quote, in milliseconds.
    pub clock_ms: u64,
    /// When it was first enrolled, in seconds since 1970.
    pub enrolled_at_s: u64,
    /// The version of its agent at its last enrolment or renewal.
    pub agent_version: String,
    /// What else is known of its life.
    #[serde(default)]
    pub life: Life,
}

/// A single-use permission for one chip to join a tenant. The code itself is never stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// SHA-256 of the code.
    #[serde(with = "hash")]
    pub sha256: [u8; 32],
    /// The tenant to join.
    pub tenant: TenantId,
    /// The only model it is good for, if it is limited to one.
    pub model: Option<String>,
    /// When it ends, in seconds since 1970.
    pub expires_at_s: u64,
    /// The device that used it.
    pub used_by: Option<DeviceId>,
    /// Whether the device waits until a person approves it.
    #[serde(default)]
    pub approve: bool,
}

/// Which clients there are besides devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientKind {
    /// A tenant's application.
    App,
    /// A person: of a tenant, or an operator of the hub.
    User,
    /// A service, such as a sink for telemetry: as an app, with certificates that live a day.
    Service,
}

impl ClientKind {
    /// The client kind of a principal's kind; `None` for every other principal.
    pub fn of(kind: Kind) -> Option<Self> {
        match kind {
            Kind::App => Some(Self::App),
            Kind::User => Some(Self::User),
            Kind::Service => Some(Self::Service),
            Kind::Device | Kind::Relay | Kind::Node | Kind::Software => None,
        }
    }

    /// The kind as principals name it.
    pub fn kind(self) -> Kind {
        match self {
            Self::App => Kind::App,
            Self::User => Kind::User,
            Self::Service => Kind::Service,
        }
    }
}

/// An app or a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// Its tenant; the operator tenant for an operator.
    pub tenant: TenantId,
    /// App or user.
    pub kind: ClientKind,
    /// Its id within tenant and kind.
    pub id: DeviceId,
    /// The certificate it connects with.
    pub certificate: Certificate,
    /// SHA-256 of that certificate, DER, if it is not one of ours and was pinned when the client was registered.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "pin")]
    pub pinned: Option<[u8; 32]>,
    /// Whether it may connect.
    pub state: State,
}

/// A claim code: 128 random bits, shown once to the person who created it.
#[derive(Clone, PartialEq, Eq)]
pub struct ClaimCode([u8; CLAIM_CODE_BYTES]);

impl ClaimCode {
    /// The code with these bits.
    pub fn new(random: [u8; CLAIM_CODE_BYTES]) -> Self {
        Self(random)
    }

    /// What is stored in its place.
    pub fn sha256(&self) -> [u8; 32] {
        let mut input = b"muster-claim-v1\0".to_vec();
        input.extend_from_slice(&self.0);
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, &input).as_ref());
        hash
    }
}

/// A text that is not a claim code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not 26 characters of a-z and 2-7, in groups separated by '-'")]
pub struct InvalidClaimCode;

impl FromStr for ClaimCode {
    type Err = InvalidClaimCode;
    /// Accepts what a person makes of it: lower case, and spaces or hyphens anywhere.
    fn from_str(text: &str) -> Result<Self, InvalidClaimCode> {
        if text.len() > CLAIM_TEXT_CHARS_MAX {
            return Err(InvalidClaimCode);
        }
        let separator = |c: &char| *c == '-' || c.is_whitespace();
        let canonical: String =
            text.chars().filter(|c| !separator(c)).map(|c| c.to_ascii_uppercase()).collect();
        let bits = BASE32_NOPAD.decode(canonical.as_bytes()).map_err(|_| InvalidClaimCode)?;
        Ok(Self(bits.try_into().map_err(|_| InvalidClaimCode)?))
    }
}

impl fmt::Display for ClaimCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, c) in BASE32_NOPAD.encode(&self.0).chars().enumerate() {
            if index > 0 && index % 4 == 0 {
                f.write_str("-")?;
            }
            write!(f, "{c}")?;
        }
        Ok(())
    }
}

/// Hides the code: a log is no place for it.
impl fmt::Debug for ClaimCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClaimCode(..)")
    }
}

/// Any row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "row", rename_all = "lowercase")]
pub enum Row {
    /// A tenant.
    Tenant(Tenant),
    /// A device.
    Device(Device),
    /// A claim.
    Claim(Claim),
    /// An app or a user.
    Client(Client),
    /// A chip on a tenant's list.
    Listed(Listed),
    /// A device that waits for a person, or was denied.
    Held(Held),
    /// What is known of a device beyond its certificate.
    Profile(Profile),
    /// Measurements that a tenant accepts.
    Accepted(Accepted),
    /// A certificate that an operator had issued.
    Issued(Box<IssuedRow>),
    /// A certificate that was revoked.
    Revocation(Revocation),
    /// How often the revocations have changed.
    #[serde(rename = "revocation-version")]
    RevocationVersion(RevocationVersion),
    /// Something to look at.
    Alarm(Alarm),
    /// A device that its tenant has released.
    Released(Released),
    /// A chip that may come in the place of a device.
    Successor(Successor),
    /// The latest time that was known.
    #[serde(rename = "latest-time")]
    LatestTime(LatestTime),
    /// Who approves firmware.
    FirmwareAuthority(FirmwareAuthority),
    /// What was approved.
    FirmwareApproval(FirmwareApproval),
    /// A device with a password.
    Legacy(LegacyDevice),
    /// A hardware key of a user.
    Key(SecurityKey),
    /// What is said of a device, an app, a user or a service.
    Described(Described),
    /// A version of a tenant's policies.
    Policies(PolicyVersion),
    /// A data set of a tenant.
    DataSet(DataSetRow),
    /// A grant of one tenant to another.
    Grant(Grant),
    /// What a tenant says of its sensitive fields.
    Sensitive(SensitiveFields),
}

impl Row {
    /// Where the row is kept: a letter for its type, then what identifies it.
    pub fn key(&self) -> Vec<u8> {
        match self {
            Self::Tenant(tenant) => format!("t/{}", tenant.id).into_bytes(),
            Self::Device(device) => format!("d/{}", device.id).into_bytes(),
            Self::FirmwareApproval(approval) => approval.row_key(),
            Self::FirmwareAuthority(authority) => authority.row_key(),
            Self::Claim(claim) => format!("c/{}", HEXLOWER.encode(&claim.sha256)).into_bytes(),
            Self::Client(client) => {
                format!("p/{}/{}/{}", client.tenant, client.kind.kind(), client.id).into_bytes()
            }
            Self::Listed(listed) => format!("listed/{}", listed.chip).into_bytes(),
            Self::Held(held) => format!("held/{}", held.device).into_bytes(),
            Self::Profile(profile) => format!("profile/{}", profile.device).into_bytes(),
            Self::Accepted(accepted) => {
                format!("accepted/{}/{}", accepted.tenant, accepted.label).into_bytes()
            }
            Self::Issued(row) => format!("i/{}", row.serial).into_bytes(),
            Self::Revocation(revocation) => {
                format!("r/{}/{}", revocation.authority, revocation.serial).into_bytes()
            }
            Self::RevocationVersion(_) => b"revocation-version".to_vec(),
            Self::Released(row) => {
                format!("x/{}/{:020}/{}", row.tenant, row.released.at_s, row.device).into_bytes()
            }
            Self::Successor(row) => format!("s/{}", HEXLOWER.encode(&row.ek_hash)).into_bytes(),
            Self::LatestTime(_) => b"latest-time".to_vec(),
            Self::Alarm(alarm) => format!("a/{:020}", alarm.number).into_bytes(),
            Self::Legacy(device) => device.key(),
            Self::Key(key) => key.key(),
            Self::Described(row) => row.key(),
            Self::Policies(row) => row.key(),
            Self::DataSet(row) => row.key(),
            Self::Grant(grant) => grant.key(),
            Self::Sensitive(fields) => fields.row_key(),
        }
    }

    /// The row as it is sealed and stored.
    pub fn encode(&self) -> Result<Vec<u8>, MalformedRow> {
        Ok(serde_json::to_vec(self)?)
    }

    /// The row that `bytes` hold.
    pub fn decode(bytes: &[u8]) -> Result<Self, MalformedRow> {
        Ok(serde_json::from_slice(bytes)?)
    }
}

/// A stored row that is none of ours: the store and this program are of different versions.
#[derive(Debug, thiserror::Error)]
#[error("read or write a row of the registry")]
pub struct MalformedRow(#[from] serde_json::Error);

mod hex {
    use super::*;

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&HEXLOWER.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        HEXLOWER.decode(text.as_bytes()).map_err(serde::de::Error::custom)
    }
}

pub(super) mod hash {
    use super::*;

    pub fn serialize<S: Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        hex::serialize(bytes, serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let bytes = hex::deserialize(deserializer)?;
        bytes.try_into().map_err(|_| serde::de::Error::custom("is not 32 bytes"))
    }
}

mod pin {
    use super::*;

    pub fn serialize<S: Serializer>(pin: &Option<[u8; 32]>, serializer: S) -> Result<S::Ok, S::Error> {
        pin.map(|bytes| HEXLOWER.encode(&bytes)).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<[u8; 32]>, D::Error> {
        hash::deserialize(deserializer).map(Some)
    }
}

pub(super) mod serial {
    use super::*;

    pub fn serialize<S: Serializer>(serial: &Serial, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(serial)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Serial, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

pub(super) mod class {
    use super::*;

    pub fn serialize<S: Serializer>(class: &TpmClass, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(class.as_str())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TpmClass, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == TpmClass::None.as_str() {
            return Ok(TpmClass::None);
        }
        text.parse().map_err(|_| serde::de::Error::custom("is not a class of TPM"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_code_survives_being_typed_by_a_person() {
        let code = ClaimCode::new([0x5a; 16]);
        let text = code.to_string();
        assert_eq!(text.len(), 26 + 6);
        assert!(text.split('-').take(6).all(|group| group.len() == 4));
        assert!(text.to_lowercase().replace('-', " ").parse() == Ok(code));
    }

    #[test]
    fn a_text_of_another_length_or_alphabet_is_no_claim_code() {
        for text in ["", "AAAA", "not-a-code", &"A".repeat(25), &"1".repeat(26), &"A".repeat(1_000)] {
            assert_eq!(text.parse::<ClaimCode>(), Err(InvalidClaimCode), "{text}");
        }
        // The last character carries two bits that must be zero: one code, one spelling.
        assert!(format!("{}B", "A".repeat(25)).parse::<ClaimCode>().is_err());
    }

    #[test]
    fn a_row_survives_storage() {
        let row = Row::Device(Device {
            id: "abcdefghij234567abcd".parse().expect("id"),
            tenant: "acme".parse().expect("id"),
            ek_hash: [7; 32],
            ak_public: vec![1, 2, 3],
            ak_name: vec![0, 11],
            certificate: Certificate {
                serial: Serial::from([9; 16]),
                spki_sha256: [3; 32],
                not_after_s: 1_800_000_000,
            },
            previous: None,
            state: State::Active,
            tpm_class: TpmClass::Simulated,
            model: "pump \"7\"".to_owned(),
            reset_count: 4,
            clock_ms: u64::MAX,
            enrolled_at_s: 1,
            agent_version: "0.1.0".to_owned(),
            life: Life::default(),
        });
        let bytes = row.encode().expect("encodes");
        assert_eq!(Row::decode(&bytes).expect("decodes"), row);
        assert!(Row::decode(&bytes[1..]).is_err());
    }
}
