//! Certificates that were revoked before their end: what lists for third parties are built from. The hub itself asks the
//! rows of devices and clients, and these as well, so that a certificate that was revoked stays revoked whatever happens
//! to its owner.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Display},
    str::FromStr,
    sync::Arc,
};

use actix::{Context, Handler, Message, MessageResult, ResponseFuture};
use muster_schemas::Principal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    RegistryActor,
    core::{Effect, Registry},
    limits::{FORGOTTEN_REVOCATIONS_MAX, REVOCATIONS_MAX},
    message::Refusal,
    row::{Row, serial},
};
use crate::authority::{Role, Serial};

/// Why a certificate was revoked (RFC 5280 §5.3.1); those of its reasons that apply here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevocationReason {
    /// None was given.
    Unspecified,
    /// Somebody else has the key, or may have it.
    KeyCompromise,
    /// The authority itself can no longer be trusted.
    CaCompromise,
    /// The device or person belongs elsewhere.
    AffiliationChanged,
    /// Another certificate took its place.
    Superseded,
    /// It is no longer needed.
    CessationOfOperation,
    /// What it allowed was taken away.
    PrivilegeWithdrawn,
}

impl RevocationReason {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::CaCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
        Self::PrivilegeWithdrawn,
    ];

    /// The name, as the API and the command line have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "key_compromise",
            Self::CaCompromise => "ca_compromise",
            Self::AffiliationChanged => "affiliation_changed",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessation_of_operation",
            Self::PrivilegeWithdrawn => "privilege_withdrawn",
        }
    }

    /// The number of RFC 5280's CRLReason.
    pub fn code(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::CaCompromise => 2,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
            Self::PrivilegeWithdrawn => 9,
        }
    }
}

/// A text that is no reason for a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "is none of unspecified, key_compromise, ca_compromise, affiliation_changed, superseded, cessation_of_operation, \
     privilege_withdrawn"
)]
pub struct UnknownReason;

impl FromStr for RevocationReason {
    type Err = UnknownReason;
    fn from_str(text: &str) -> Result<Self, UnknownReason> {
        let text = text.replace('-', "_");
        Self::ALL.into_iter().find(|reason| reason.as_str() == text).ok_or(UnknownReason)
    }
}

impl Display for RevocationReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A certificate that was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// The authority that signed it.
    #[serde(with = "role")]
    pub authority: Role,
    /// Its serial number.
    #[serde(with = "serial")]
    pub serial: Serial,
    /// When it would have ended, in seconds since 1970; nobody needs the row after that.
    pub not_after_s: u64,
    /// When it was revoked, in seconds since 1970.
    pub revoked_at_s: u64,
    /// Why.
    pub reason: RevocationReason,
    /// Since when its key is known or suspected to be in other hands (RFC 5280's invalidityDate), in seconds since 1970.
    pub invalid_since_s: Option<u64>,
    /// Who it spoke for.
    #[serde(with = "text")]
    pub principal: Principal,
}

/// How often the revocations have changed: a number that no restart takes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevocationVersion {
    /// The number.
    pub version: u64,
}

/// All revocations, by what identifies a certificate.
#[derive(Debug, Default)]
pub(super) struct Revocations {
    rows: BTreeMap<(Role, Serial), Arc<Revocation>>,
    /// By the end of the certificate: those that nobody needs any more come first. Follows from `rows`.
    ends: BTreeSet<(u64, Role, Serial)>,
    version: u64,
}

impl Revocations {
    pub(super) fn insert(&mut self, revocation: Revocation) {
        let key = (revocation.authority, revocation.serial);
        self.ends.insert((revocation.not_after_s, key.0, key.1));
        let before = self.rows.insert(key, Arc::new(revocation.clone()));
        if let Some(before) = before.filter(|before| before.not_after_s != revocation.not_after_s) {
            self.ends.remove(&(before.not_after_s, key.0, key.1));
        }
    }

    pub(super) fn continue_from(&mut self, version: RevocationVersion) {
        self.version = self.version.max(version.version);
    }

    /// Takes out the certificate that ends first, if it ended before `ended_before_s`.
    fn take_first(&mut self, ended_before_s: u64) -> Option<Arc<Revocation>> {
        let (end, role, serial) = *self.ends.first()?;
        if end >= ended_before_s {
            return None;
        }
        self.ends.pop_first();
        self.rows.remove(&(role, serial))
    }
}

impl Registry {
    /// Records that a certificate is revoked; its end is the caller's to know. What was recorded before stays, except
    /// that a reason may be given where there was none or another certificate had merely taken its place, and that the date
    /// since when the key is not to be trusted may become known or move back. Says whether anything changed.
    ///
    /// Certificates that have ended make room. At the bound the one that ends first does: the hub itself goes on refusing
    /// it by the row of its owner.
    pub fn record_revocation(
        &mut self,
        now_s: u64,
        revocation: Revocation,
        effects: &mut Vec<Effect>,
    ) -> bool {
        if revocation.not_after_s < now_s {
            return false;
        }
        let known = self.revocations.rows.get(&(revocation.authority, revocation.serial));
        let revocation = match known {
            Some(known) => match merged(known, &revocation) {
                merged if merged == **known => return false,
                merged => merged,
            },
            None => revocation,
        };
        self.forget_ended_revocations(now_s, effects);
        if self.revocations.rows.len() >= REVOCATIONS_MAX
            && let Some(first) = self.revocations.take_first(u64::MAX)
        {
            effects.push(Effect::Delete(Row::Revocation((*first).clone()).key()));
        }
        self.put(Row::Revocation(revocation), effects);
        self.count_revocation_change(effects);
        true
    }

    /// Forgets certificates that have ended, a bounded number at a time.
    pub fn forget_ended_revocations(&mut self, now_s: u64, effects: &mut Vec<Effect>) {
        let mut forgotten = 0;
        while forgotten < FORGOTTEN_REVOCATIONS_MAX
            && let Some(ended) = self.revocations.take_first(now_s)
        {
            effects.push(Effect::Delete(Row::Revocation((*ended).clone()).key()));
            forgotten += 1;
        }
        if forgotten > 0 {
            self.count_revocation_change(effects);
        }
    }

    /// Every revocation, by authority and serial number.
    pub fn revocations(&self) -> impl Iterator<Item = &Arc<Revocation>> {
        self.revocations.rows.values()
    }

    /// Grows with each change of the revocations, over restarts too.
    pub fn revocations_version(&self) -> u64 {
        self.revocations.version
    }

    /// What is known of a certificate that is revoked.
    pub fn revocation(&self, authority: Role, serial: Serial) -> Option<&Arc<Revocation>> {
        self.revocations.rows.get(&(authority, serial))
    }

    /// Whether a certificate is revoked.
    pub fn is_revoked(&self, authority: Role, serial: Serial) -> bool {
        self.revocations.rows.contains_key(&(authority, serial))
    }

    fn count_revocation_change(&mut self, effects: &mut Vec<Effect>) {
        let version = self.revocations.version.saturating_add(1);
        self.put(Row::RevocationVersion(RevocationVersion { version }), effects);
    }
}

/// What is known of one certificate from two reports, the earlier one first.
fn merged(known: &Revocation, told: &Revocation) -> Revocation {
    let weak = matches!(known.reason, RevocationReason::Unspecified | RevocationReason::Superseded);
    let since = [known.invalid_since_s, told.invalid_since_s].into_iter().flatten().min();
    let reason =
        if weak && told.reason != RevocationReason::Unspecified { told.reason } else { known.reason };
    Revocation { reason, invalid_since_s: since, ..known.clone() }
}

/// Records that a certificate is revoked. Says whether that was new.
#[derive(Debug, Clone)]
pub struct RecordRevocation(pub Revocation);

impl Message for RecordRevocation {
    type Result = Result<bool, Refusal>;
}

/// Asks for all revocations, unless the asker has them in this version already.
#[derive(Debug, Clone, Copy, Default)]
pub struct ListRevocations {
    /// The version that the asker knows.
    pub known: Option<u64>,
}

impl Message for ListRevocations {
    type Result = Option<RevocationList>;
}

/// All revocations at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationList {
    /// Their version.
    pub version: u64,
    /// By authority and serial number.
    pub revocations: Vec<Arc<Revocation>>,
}

impl Handler<RecordRevocation> for RegistryActor {
    type Result = ResponseFuture<Result<bool, Refusal>>;

    fn handle(&mut self, command: RecordRevocation, ctx: &mut Context<Self>) -> Self::Result {
        self.change(
            ctx,
            |refusal| refusal,
            |core, now_s, effects| Ok(core.record_revocation(now_s, command.0, effects)),
        )
    }
}

impl Handler<ListRevocations> for RegistryActor {
    type Result = MessageResult<ListRevocations>;

    fn handle(&mut self, ListRevocations { known }: ListRevocations, _: &mut Context<Self>) -> Self::Result {
        let core = self.core();
        let version = core.revocations_version();
        MessageResult(
            (known != Some(version))
                .then(|| RevocationList { version, revocations: core.revocations().cloned().collect() }),
        )
    }
}

pub(super) mod role {
    use super::*;

    pub fn serialize<S: Serializer>(role: &Role, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(role.as_str())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Role, D::Error> {
        let text = String::deserialize(deserializer)?;
        let found = Role::INTERMEDIATES.into_iter().chain([Role::Root]).find(|role| role.as_str() == text);
        found.ok_or_else(|| serde::de::Error::custom("is no authority"))
    }
}

/// What is written as it is shown.
pub(super) mod text {
    use super::*;

    pub fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
#[path = "revocation_tests.rs"]
mod tests;
