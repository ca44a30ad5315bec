//! What the registry is told and asked, and what it answers. The same types are the core's input and the actor's
//! messages; an answer to a command leaves only after its writes are durable.

use actix::Message;
use muster_schemas::{DeviceId, Kind, Principal, TenantId};
use muster_tpm::endorsement::TpmClass;

use super::{
    admissions::row::{ChipName, HeldReason, Mac, Registers, Verdict},
    life::QuoteFacts,
    limits::{
        ACCEPTED_PER_TENANT_MAX, CLAIM_LIFE_S_MAX, CLAIM_LIFE_S_MIN, CLAIMS_PER_TENANT_MAX,
        CLIENTS_PER_TENANT_MAX, DEVICES_MAX, FIRMWARE_APPROVALS_MAX, FIRMWARE_AUTHORITIES_MAX,
        HELD_PER_TENANT_MAX, KEY_NAME_BYTES_MAX, KEYS_PER_USER_MAX, LABEL_BYTES_MAX,
        LEGACY_DEVICES_PER_TENANT_MAX, LISTED_PER_TENANT_MAX, MODEL_BYTES_MAX, SENSITIVE_PATTERNS_MAX,
        SUCCESSORS_PER_TENANT_MAX, TENANTS_MAX,
    },
    row::{Certificate, Claim, ClaimCode, Client, ClientKind, Device, State, Tenant},
};
use crate::authority::{Leaf, Serial};

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The name belongs to the hub itself.
    #[error("use the name {0:?}, which is the hub's own")]
    TenantReserved(TenantId),
    /// There is a tenant of that name.
    #[error("create the tenant {0}, which exists")]
    TenantExists(TenantId),
    /// There is no tenant of that name.
    #[error("find the tenant {0}")]
    TenantUnknown(TenantId),
    /// The tenant is suspended.
    #[error("act for the tenant {0}, which is suspended")]
    TenantSuspended(TenantId),
    /// The tenant's keys were destroyed.
    #[error("act for the tenant {0}, whose keys were destroyed: it does not come back")]
    TenantRetired(TenantId),
    /// There is no such device in that tenant.
    #[error("find the device {device} of the tenant {tenant}")]
    DeviceUnknown {
        /// The tenant.
        tenant: TenantId,
        /// The device.
        device: DeviceId,
    },
    /// There is an app or user of that name with another certificate.
    #[error("register the {kind} {id}, which exists")]
    ClientExists {
        /// App or user.
        kind: Kind,
        /// Its id.
        id: DeviceId,
    },
    /// The certificate is pinned for somebody else.
    #[error("pin a certificate that is pinned for another app or user")]
    PinTaken,
    /// The tenant takes no passwords.
    #[error("set a password: the tenant {0} takes none")]
    PasswordsOff(TenantId),
    /// An id such as chips have, for a device without one.
    #[error("give {0} a password: 20 of a-z and 2-7 is what devices with a chip are called")]
    ChipId(DeviceId),
    /// The hardware key's name is too long or empty.
    #[error("accept the name of the hardware key: it has 1 to {KEY_NAME_BYTES_MAX} bytes")]
    KeyName,
    /// The hardware key is registered.
    #[error("register a hardware key that is registered")]
    KeyTaken,
    /// The user has no such hardware key.
    #[error("find the hardware key")]
    KeyUnknown,
    /// The claim's life is out of bounds.
    #[error("create a claim for {0} s: the bounds are {CLAIM_LIFE_S_MIN} s and {CLAIM_LIFE_S_MAX} s")]
    ClaimLife(u64),
    /// The model name is too long or empty.
    #[error("accept the model name: it has 1 to {MODEL_BYTES_MAX} bytes")]
    Model,
    /// The certificate that was renewed is not one that the device has.
    #[error("renew a certificate that is not the device's")]
    NotItsCertificate,
    /// There is no such app or user.
    #[error("find the {kind} {id} of the tenant {tenant}")]
    ClientUnknown {
        /// App or user.
        kind: Kind,
        /// Its id.
        id: DeviceId,
        /// The tenant.
        tenant: TenantId,
    },
    /// A revoked app or user does not come back with the certificate that it had.
    #[error("resume the {kind} {id}: its certificate is revoked")]
    ClientRevoked {
        /// App or user.
        kind: Kind,
        /// Its id.
        id: DeviceId,
    },
    /// The device is in a state from which the command leads nowhere.
    #[error("{verb} the device {device}: it is {}, and {why}", .state.as_str())]
    DeviceState {
        /// The command.
        verb: &'static str,
        /// The device.
        device: DeviceId,
        /// Its state.
        state: State,
        /// Why that is in the way.
        why: &'static str,
    },
    /// The chip that is to come in the place of another is taken.
    #[error("let the chip of {0} come in the place of another: it is enrolled, barred or waited for already")]
    SuccessorTaken(DeviceId),
    /// The device was replaced, and its successor has enrolled.
    #[error("replace the device {device} again: {other} has come in its place")]
    Replaced {
        /// The device.
        device: DeviceId,
        /// Its successor.
        other: DeviceId,
    },
    /// A compromise that lies in the future.
    #[error("take the date of the compromise: it has not come yet")]
    CompromiseAhead,
    /// What would be issued now has ended already by the time that the hub knew before.
    #[error(
        "issue a certificate: the clock of the hub was set back, and the certificate would have ended already"
    )]
    ClockBehind,
    /// There is no such claim in that tenant.
    #[error("find the claim {0}")]
    ClaimUnknown(String),
    /// The chip is not on that tenant's list.
    #[error("find the chip {0} on the tenant's list")]
    NotListed(String),
    /// The device is not held in that tenant.
    #[error("find the device {device} among those of the tenant {tenant} that are held")]
    NotHeld {
        /// The tenant.
        tenant: TenantId,
        /// The device.
        device: DeviceId,
    },
    /// What holds the device are its measurements.
    #[error(
        "approve the device {0}: what holds it are its measurements; accept those, and it enrols by itself"
    )]
    MeasurementsHold(DeviceId),
    /// The tenant enforces its policy, and does not accept what the device measured.
    #[error("accept what the device {0} measured: the tenant has not accepted it")]
    UnacceptedMeasurements(DeviceId),
    /// The label is too long or empty.
    #[error("use the label: it has 1 to {LABEL_BYTES_MAX} bytes and no control characters")]
    Label,
    /// Nothing was accepted under that label.
    #[error("find measurements that were accepted as {0:?}")]
    LabelUnknown(String),
    /// The device has quoted none of the registers.
    #[error("accept measurements: none of the registers was quoted")]
    NothingMeasured,
    /// The registers are none that a quote may cover.
    #[error("quote these registers: they are some of 0 to 16 and 23, each once and in ascending order")]
    Registers,
    /// There is no alarm of that number, or it is not the caller's to see.
    #[error("find the alarm {0}")]
    AlarmUnknown(u64),
    /// The class has no such authority.
    #[error("find that firmware authority of the class {0:?}")]
    FirmwareAuthorityUnknown(String),
    /// None of the class's authorities signed the approval.
    #[error("take the approval: no firmware authority of the class {0:?} signed it")]
    ApprovalUnsigned(String),
    /// Access rules are not changed.
    #[error(transparent)]
    Rules(super::rules::RuleRefusal),
    /// A bound is reached.
    #[error("keep more {0}")]
    Full(Bound),
    /// The store did not take the write; nothing was done.
    #[error("store the change: {0}")]
    Unavailable(String),
}

/// The bounds at which the registry refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Bound {
    /// Tenants of the hub.
    #[error("than {TENANTS_MAX} tenants")]
    Tenants,
    /// Devices of the hub.
    #[error("than {DEVICES_MAX} devices")]
    Devices,
    /// Claims of the tenant.
    #[error("than {CLAIMS_PER_TENANT_MAX} claims of one tenant; unused ones end by themselves")]
    Claims,
    /// Chips on the tenant's list.
    #[error("than {LISTED_PER_TENANT_MAX} chips on the list of one tenant")]
    Listed,
    /// Devices of the tenant that are held.
    #[error("than {HELD_PER_TENANT_MAX} devices of one tenant that wait for a person")]
    Held,
    /// Measurements of the tenant.
    #[error("than {ACCEPTED_PER_TENANT_MAX} accepted measurements of one tenant")]
    Accepted,
    /// Approvals of firmware of the tenant.
    #[error("than {FIRMWARE_APPROVALS_MAX} approvals of firmware of one tenant")]
    FirmwareApprovals,
    /// Firmware authorities of the tenant.
    #[error("than {FIRMWARE_AUTHORITIES_MAX} firmware authorities of one tenant; remove one first")]
    FirmwareAuthorities,
    /// Devices of the tenant that have a password.
    #[error("than {LEGACY_DEVICES_PER_TENANT_MAX} devices with a password of one tenant")]
    LegacyDevices,
    /// Hardware keys of a user.
    #[error("than {KEYS_PER_USER_MAX} hardware keys of one user")]
    Keys,
    /// Apps and users of the tenant.
    #[error("than {CLIENTS_PER_TENANT_MAX} apps and users of one tenant")]
    Clients,
    /// Patterns for sensitive fields of the tenant.
    #[error("than {SENSITIVE_PATTERNS_MAX} patterns for sensitive fields of one tenant")]
    SensitivePatterns,
    /// Chips that are waited for.
    #[error("than {SUCCESSORS_PER_TENANT_MAX} chips that are to come in the place of others")]
    Successors,
}

/// Creates a tenant, and with it the key that its data is sealed under.
#[derive(Debug, Clone)]
pub struct CreateTenant {
    /// Its id.
    pub tenant: TenantId,
    /// Whether its devices may have simulated TPMs. For tests and demonstrations.
    pub accept_simulated_tpms: bool,
}

impl Message for CreateTenant {
    type Result = Result<Tenant, Refusal>;
}

/// Asks for all tenants, by id.
#[derive(Debug, Clone)]
pub struct ListTenants;

impl Message for ListTenants {
    type Result = Vec<Tenant>;
}

/// Creates a claim.
#[derive(Debug, Clone)]
pub struct CreateClaim {
    /// The tenant that a device may join with it.
    pub tenant: TenantId,
    /// The only model it is to be good for.
    pub model: Option<String>,
    /// How long it is good, in seconds.
    pub expires_in_s: u64,
    /// Whether the device waits until a person approves it.
    pub approve: bool,
}

impl Message for CreateClaim {
    type Result = Result<CreatedClaim, Refusal>;
}

/// A claim with its code, which is nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedClaim {
    /// What the device shows.
    pub code: ClaimCode,
    /// What the registry keeps.
    pub claim: Claim,
}

/// Registers the certificate of an app or a user.
#[derive(Debug, Clone)]
pub struct RegisterClient {
    /// Its tenant; the operator tenant only with [`ClientKind::User`].
    pub tenant: TenantId,
    /// App or user.
    pub kind: ClientKind,
    /// Its id.
    pub id: DeviceId,
    /// What was issued to it.
    pub certificate: Certificate,
    /// Whether it may take the place of the certificate that the client has, which then ends at once.
    pub replace: bool,
}

impl Message for RegisterClient {
    type Result = Result<Client, Refusal>;
}

/// Asks to whom a chip belongs, or would belong by its claim. Changes nothing.
#[derive(Debug, Clone)]
pub struct FindOwner {
    /// SHA-256 of the chip's endorsement key.
    pub ek_hash: [u8; 32],
    /// The id that follows from it.
    pub device: DeviceId,
    /// The class of the chip; none when no manufacturer vouches for it.
    pub class: Option<TpmClass>,
    /// The model that the device says it is.
    pub model: String,
    /// The claim that the device shows, as it came.
    pub claim: Option<String>,
    /// What else it showed.
    pub shown: Shown,
}

/// What a device shows beside its key and its claim.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shown {
    /// The name of the chip by its endorsement certificate, once that was verified.
    pub certificate: Option<ChipName>,
    /// The serial number that it says it has.
    pub serial_number: Option<String>,
    /// The hardware address that it says it has.
    pub mac: Option<Mac>,
}

impl Message for FindOwner {
    type Result = Result<Ownership, OwnerRefusal>;
}

/// To whom a chip belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ownership {
    /// The tenant.
    pub tenant: TenantId,
    /// Whether the chip was enrolled before, so that no claim was needed.
    pub enrolled_before: bool,
    /// What it belongs to the tenant by.
    pub title: Title,
    /// The class of the chip: its certificate's, or the one that it is listed with.
    pub class: TpmClass,
    /// The registers that its quote has to cover.
    pub registers: Vec<u8>,
}

/// What a chip belongs to a tenant by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Title {
    /// It is a device of that tenant.
    Enrolled,
    /// It showed a claim.
    Claimed,
    /// The tenant has listed it.
    Listed,
}

/// Why a chip belongs to nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OwnerRefusal {
    /// Never seen, and without a claim.
    #[error("find an owner: the chip is on no list and showed no claim")]
    UnknownChip,
    /// The claim was never issued, or is no claim code.
    #[error("find the claim: its code was mistyped, or it ended long ago")]
    ClaimUnknown,
    /// Another chip used the claim.
    #[error("use the claim again: it is good for one chip; create another with `muster claim create`")]
    ClaimUsed,
    /// The claim has ended.
    #[error("use the claim: it has ended; create another with `muster claim create`")]
    ClaimExpired,
    /// The claim is for another model.
    #[error("use the claim for this model")]
    ClaimModelMismatch,
    /// The tenant does not accept this class of TPM.
    #[error("accept a {0} TPM: the tenant does not allow that class")]
    ClassNotAllowed(TpmClass),
    /// The chip is on a list, for another model.
    #[error("enrol the device: its chip is listed for another model")]
    ListedModelMismatch,
    /// No manufacturer vouches for the chip, and no tenant has listed its key with a class.
    #[error(
        "trust the chip: its TPM holds no endorsement certificate; put it on the list by its ek hash, with a class \
         (`muster device allow --ek-hash ... --class firmware`)"
    )]
    NotEndorsed,
    /// The device waits for a person.
    #[error("enrol the device before a person has approved it: {0}")]
    Held(HeldReason),
    /// A person has denied the device.
    #[error("enrol the device: a person has denied it")]
    Denied,
    /// The tenant enforces its policy, and does not accept what these registers hold.
    #[error("accept what the registers {0:?} hold: the tenant has not accepted it")]
    UnacceptedMeasurements(Vec<u8>),
    /// The device is suspended or retired.
    #[error("enrol the device: it is {}", .0.as_str())]
    DeviceNotActive(State),
    /// The tenant is suspended.
    #[error("enrol into the tenant: it is suspended")]
    TenantSuspended,
    /// The owner changed since the challenge, and the certificate names the old one.
    #[error("enrol the device: its owner changed meanwhile; start again")]
    OwnerChanged,
    /// A bound is reached, or the store did not take the write.
    #[error("enrol the device: {0}")]
    Unavailable(Refusal),
}

/// Writes an enrolment: uses up the claim, and inserts or updates the device, in one commit.
#[derive(Debug, Clone)]
pub struct Enrol {
    /// Who the chip is and what it claims: checked again, since much may have happened since the challenge.
    pub chip: FindOwner,
    /// The tenant that the certificate names.
    pub tenant: TenantId,
    /// The chip's attestation key, a `TPMT_PUBLIC`.
    pub ak_public: Vec<u8>,
    /// The TPM name of the attestation key.
    pub ak_name: Vec<u8>,
    /// What was issued. It leaves the hub after the commit.
    pub certificate: Certificate,
    /// The chip's reset count in the quote.
    pub reset_count: u32,
    /// The chip's clock in the quote, in milliseconds.
    pub clock_ms: u64,
    /// The version of the agent.
    pub agent_version: String,
    /// What else the quote says of the chip.
    pub quote: QuoteFacts,
    /// What the chip quoted.
    pub measured: Registers,
}

impl Message for Enrol {
    type Result = Result<Enrolled, OwnerRefusal>;
}

/// What an enrolment wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// The device's row.
    pub device: Device,
    /// The certificate that the device had before and may no longer use.
    pub revoked: Option<Serial>,
    /// Whether the identity key changed although nothing was renewed: the chip was cleared, or the disk replaced.
    pub key_replaced: bool,
    /// What the tenant makes of its measurements.
    pub verdict: Verdict,
}

/// Writes a renewal. The certificate it was asked with stays valid until the new one has connected.
#[derive(Debug, Clone)]
pub struct Renewed {
    /// The device's tenant.
    pub tenant: TenantId,
    /// The device.
    pub device: DeviceId,
    /// The certificate that it asked with.
    pub presented: Serial,
    /// What was issued.
    pub certificate: Certificate,
    /// The chip's reset count in the quote.
    pub reset_count: u32,
    /// The chip's clock in the quote, in milliseconds.
    pub clock_ms: u64,
    /// The version of the agent.
    pub agent_version: String,
    /// What else the quote says of the chip.
    pub quote: QuoteFacts,
    /// What the chip quoted.
    pub measured: Registers,
}

impl Message for Renewed {
    type Result = Result<Device, Refusal>;
}

/// Asks, after every handshake, whether the peer may act: by what its certificate says, once its chain was verified.
#[derive(Debug, Clone)]
pub struct Admit(pub Leaf);

impl Message for Admit {
    type Result = Result<Admitted, AdmitRefusal>;
}

/// A peer that may act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// Its tenant; the operator tenant for an operator.
    pub tenant: TenantId,
    /// Who it is.
    pub principal: Principal,
    /// How long its certificate is good from now on, in seconds.
    pub left_s: u64,
}

/// A peer that may not act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("admit the peer: {reason}")]
pub struct AdmitRefusal {
    /// Why.
    pub reason: AdmitReason,
}

/// Why a peer may not act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AdmitReason {
    /// There is no such tenant.
    #[error("its tenant is unknown")]
    TenantUnknown,
    /// The tenant is suspended.
    #[error("its tenant is suspended")]
    TenantSuspended,
    /// No such device, app or user is registered in that tenant.
    #[error("it is not registered")]
    Unknown,
    /// It is suspended.
    #[error("it is suspended")]
    Suspended,
    /// It was revoked.
    #[error("it was revoked")]
    Revoked,
    /// It is retired.
    #[error("it is retired")]
    Retired,
    /// The certificate was replaced or revoked.
    #[error("its certificate is not the current one")]
    NotCurrent,
    /// The certificate has ended.
    #[error("its certificate has ended")]
    Expired,
    /// Principals of that kind do not connect here.
    #[error("its kind does not connect here")]
    Kind,
    /// The store did not take the write.
    #[error("the registry is unavailable")]
    Unavailable,
}

impl AdmitReason {
    /// What a person can do about it.
    pub fn next_step(self) -> &'static str {
        match self {
            Self::TenantUnknown | Self::Unknown => {
                "enrol the device, or register the app with `muster app create`"
            }
            Self::TenantSuspended => "resume the tenant, or ask the operator of the hub to",
            Self::Suspended => "find out why it was suspended, and resume it",
            Self::Revoked => {
                "find out why it was revoked; if its keys are safe, resume it, and it enrols anew"
            }
            Self::Retired => "replace the device: a retired one never comes back",
            Self::NotCurrent | Self::Expired => "use the certificate that was issued last, or enrol again",
            Self::Kind => "devices and apps speak MQTT; people use the HTTPS API",
            Self::Unavailable => "connect again in a moment",
        }
    }

    /// A short name, for counters and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TenantUnknown => "tenant_unknown",
            Self::TenantSuspended => "tenant_suspended",
            Self::Unknown => "unknown",
            Self::Suspended => "suspended",
            Self::Revoked => "revoked",
            Self::Retired => "retired",
            Self::NotCurrent => "not_current",
            Self::Expired => "expired",
            Self::Kind => "kind",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Asks for devices of a tenant, by id.
#[derive(Debug, Clone)]
pub struct ListDevices {
    /// The tenant.
    pub tenant: TenantId,
    /// Only those after this one, to go on with a long list.
    pub after: Option<DeviceId>,
    /// At most so many; never more than [`super::limits::LISTED_DEVICES_MAX`].
    pub limit: usize,
}

impl Message for ListDevices {
    type Result = Result<Vec<Device>, Refusal>;
}

/// Asks for one device.
#[derive(Debug, Clone)]
pub struct ShowDevice {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its id.
    pub device: DeviceId,
}

impl Message for ShowDevice {
    type Result = Result<Device, Refusal>;
}
