//! The life of what is registered, after its enrolment: suspended and resumed, revoked, retired, replaced, released. Each
//! command may be told twice, and says what it changed; whatever takes a right away ends the sessions that rest on it.
//!
//! ```text
//!   active ⇄ suspended ──▶ revoked ──▶ retired        (revoked ──resume──▶ active, and it enrols anew)
//!     │          │                       ▲
//!     └──────────┴── release ──▶ unclaimed, any tenant's claim takes it      replace ──▶ retired, its successor listed
//! ```

mod client;
mod device;
mod quote;

use actix::{Context, Handler, Message, ResponseFuture};
use muster_schemas::{DeviceId, Kind, Principal, TenantId};
use serde::{Deserialize, Serialize};

use super::{
    RegistryActor,
    message::Refusal,
    revocation::{Revocation, RevocationReason},
    row::{Certificate, Client, ClientKind, Device, Tenant, hash},
};
use crate::authority::Role;

/// What is known of a device's life besides its state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Life {
    /// Resumes since the last reset, at the last quote.
    pub restart_count: u32,
    /// The vendor's firmware version, at the last quote.
    pub firmware_version: u64,
    /// When the hub got that quote, in seconds since 1970.
    pub quoted_at_s: u64,
    /// Who changed the state last, when and why.
    pub changed: Option<Change>,
    /// Since when its keys are known or suspected to be in other hands, in seconds since 1970.
    pub compromised_since_s: Option<u64>,
    /// The device in whose place it came.
    pub replaces: Option<DeviceId>,
    /// The device that came or comes in its place.
    pub replaced_by: Option<DeviceId>,
    /// An operator let it come back after its chip was cleared.
    pub may_return_cleared: bool,
}

impl Life {
    /// The same life after another quote.
    pub(super) fn quoted(self, now_s: u64, quote: QuoteFacts) -> Self {
        let QuoteFacts { restart_count, firmware_version } = quote;
        Self { restart_count, firmware_version, quoted_at_s: now_s, ..self }
    }
}

/// A change of state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// When, in seconds since 1970.
    pub at_s: u64,
    /// Who: a principal, or the hub itself.
    pub by: String,
    /// Why, in words.
    pub why: String,
}

/// What a tenant wants done by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Precautions {
    /// Suspend a device whose chip was copied or put back, where an alarm is raised otherwise.
    pub suspend_clones: bool,
    /// Suspend a device whose chip was cleared until it is resumed, where it comes back by itself otherwise.
    pub approve_cleared: bool,
}

/// A device that its tenant has released: what the tenant keeps of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Released {
    /// The tenant that had it.
    pub tenant: TenantId,
    /// Its id.
    pub device: DeviceId,
    /// SHA-256 of the chip's endorsement key.
    #[serde(with = "hash")]
    pub ek_hash: [u8; 32],
    /// The model that it said it was.
    pub model: String,
    /// When it was first enrolled, in seconds since 1970.
    pub enrolled_at_s: u64,
    /// Who released it, when and why.
    pub released: Change,
}

/// A chip that may come in the place of a device, without a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Successor {
    /// SHA-256 of its endorsement key.
    #[serde(with = "hash")]
    pub ek_hash: [u8; 32],
    /// The tenant that it comes to.
    pub tenant: TenantId,
    /// The device whose place it takes.
    pub replaces: DeviceId,
    /// Who said so, and when.
    pub listed: Change,
}

/// Sessions that have lost what they rest on: to be closed once that is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Of this tenant.
    pub tenant: TenantId,
    /// Of this principal; of all, when none is named.
    pub whom: Option<(Kind, DeviceId)>,
    /// What their peers are told.
    pub reason: String,
}

/// What is to become of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceChange {
    /// It may not connect, until it is resumed.
    Suspend,
    /// It may connect again. After a revocation, which only an operator takes back, it has to enrol anew.
    Resume,
    /// Its certificates are revoked and its chip is barred.
    Revoke {
        /// Why.
        reason: RevocationReason,
        /// Since when its keys are in other hands, in seconds since 1970.
        compromised_since_s: Option<u64>,
    },
    /// It never comes back.
    Retire,
    /// Its tenant gives it up: whoever has a claim may have it.
    Release,
    /// Another chip comes in its place, and it never comes back.
    Replace {
        /// SHA-256 of the other chip's endorsement key.
        with: [u8; 32],
    },
}

impl DeviceChange {
    /// The command's name.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Revoke { .. } => "revoke",
            Self::Retire => "retire",
            Self::Release => "release",
            Self::Replace { .. } => "replace",
        }
    }
}

/// Changes the life of a device.
#[derive(Debug, Clone)]
pub struct ChangeDevice {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its id.
    pub device: DeviceId,
    /// What is to become of it.
    pub change: DeviceChange,
    /// Who says so, a principal, and whether it is an operator of the hub.
    pub by: (String, bool),
    /// Why, in words.
    pub why: String,
}

impl Message for ChangeDevice {
    type Result = Result<Changed, Refusal>;
}

/// What a command has made of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The device as it is now; as it was, when it was released.
    pub device: Device,
    /// Whether the command changed anything.
    pub changed: bool,
}

/// What is to become of an app, a user or a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientChange {
    /// It may not connect, until it is resumed.
    Suspend,
    /// It may connect again.
    Resume,
    /// Its certificate is revoked; another may be issued to it.
    Revoke {
        /// Why.
        reason: RevocationReason,
        /// Since when its key is in other hands, in seconds since 1970.
        compromised_since_s: Option<u64>,
    },
}

impl ClientChange {
    /// The command's name.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Revoke { .. } => "revoke",
        }
    }
}

/// Changes the life of an app or a user. Says whether anything changed.
#[derive(Debug, Clone)]
pub struct ChangeClient {
    /// Its tenant.
    pub tenant: TenantId,
    /// App or user.
    pub kind: ClientKind,
    /// Its id.
    pub id: DeviceId,
    /// What is to become of it.
    pub change: ClientChange,
}

impl Message for ChangeClient {
    type Result = Result<(Client, bool), Refusal>;
}

/// Changes what a tenant may do, or wants done. What is none stays as it is. Says whether anything changed.
#[derive(Debug, Clone)]
pub struct ChangeTenant {
    /// The tenant.
    pub tenant: TenantId,
    /// Whether anything of it may connect.
    pub active: Option<bool>,
    /// What it wants done by itself.
    pub precautions: Option<Precautions>,
}

impl Message for ChangeTenant {
    type Result = Result<(Tenant, bool), Refusal>;
}

/// What a quote says of its chip, for [`Registry::judge_quote`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QuoteFacts {
    /// Resumes since the last reset.
    pub restart_count: u32,
    /// The vendor's firmware version.
    pub firmware_version: u64,
}

fn revocation(
    authority: Role,
    certificate: &Certificate,
    principal: Principal,
    now_s: u64,
    reason: RevocationReason,
    invalid_since_s: Option<u64>,
) -> Revocation {
    let Certificate { serial, not_after_s, .. } = *certificate;
    Revocation { authority, serial, not_after_s, revoked_at_s: now_s, reason, invalid_since_s, principal }
}

impl Handler<ChangeDevice> for RegistryActor {
    type Result = ResponseFuture<Result<Changed, Refusal>>;

    fn handle(&mut self, command: ChangeDevice, ctx: &mut Context<Self>) -> Self::Result {
        self.change(
            ctx,
            |refusal| refusal,
            |core, now_s, effects| core.change_device(now_s, command, effects),
        )
    }
}

impl Handler<ChangeClient> for RegistryActor {
    type Result = ResponseFuture<Result<(Client, bool), Refusal>>;

    fn handle(&mut self, command: ChangeClient, ctx: &mut Context<Self>) -> Self::Result {
        self.change(
            ctx,
            |refusal| refusal,
            |core, now_s, effects| core.change_client(now_s, command, effects),
        )
    }
}

impl Handler<ChangeTenant> for RegistryActor {
    type Result = ResponseFuture<Result<(Tenant, bool), Refusal>>;

    fn handle(&mut self, command: ChangeTenant, ctx: &mut Context<Self>) -> Self::Result {
        self.change(ctx, |refusal| refusal, |core, _, effects| core.change_tenant(command, effects))
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
