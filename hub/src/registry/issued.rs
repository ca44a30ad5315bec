//! Certificates that an operator had issued: what `muster ca list` shows and `muster ca revoke` finds. Devices' are not
//! among them: their rows have theirs.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use actix::{Context, Handler, Message, MessageResult, ResponseFuture};
use muster_schemas::Principal;
use serde::{Deserialize, Serialize};

use super::{
    RegistryActor,
    core::{Effect, Registry},
    limits::{ISSUED_LISTED_MAX, ISSUED_MAX},
    message::Refusal,
    revocation::{self, Revocation},
    row::{Row, serial},
};
use crate::authority::{Leaf, Role, Serial};

/// A certificate that was issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuedRow {
    /// The authority that signed it.
    #[serde(with = "revocation::role")]
    pub authority: Role,
    /// Its serial number.
    #[serde(with = "serial")]
    pub serial: Serial,
    /// Who it speaks for.
    #[serde(with = "revocation::text")]
    pub principal: Principal,
    /// When it was issued, in seconds since 1970.
    pub issued_at_s: u64,
    /// When it ends, in seconds since 1970; it is forgotten after that.
    pub not_after_s: u64,
    /// The tenants that it entitles a hub to serve, as in the certificate; nothing in any other.
    #[serde(default)]
    pub tenants: Option<String>,
}

impl IssuedRow {
    /// What is remembered of a certificate.
    pub fn of(leaf: &Leaf, tenants: Option<String>, now_s: u64) -> Self {
        Self {
            authority: leaf.authority,
            serial: leaf.serial,
            principal: leaf.principal.clone(),
            issued_at_s: now_s,
            not_after_s: leaf.not_after_s,
            tenants,
        }
    }
}

/// All of them, by serial number: no two authorities draw the same.
#[derive(Debug, Default)]
pub(super) struct IssuedRows {
    rows: BTreeMap<Serial, IssuedRow>,
    /// By their ends. Follows from `rows`.
    ends: BTreeSet<(u64, Serial)>,
}

impl IssuedRows {
    pub(super) fn insert(&mut self, row: IssuedRow) {
        self.ends.insert((row.not_after_s, row.serial));
        self.rows.insert(row.serial, row);
    }

    fn take_first(&mut self, ended_before_s: u64) -> Option<IssuedRow> {
        let (end, serial) = *self.ends.first()?;
        if end >= ended_before_s {
            return None;
        }
        self.ends.pop_first();
        self.rows.remove(&serial)
    }
}

impl Registry {
    /// Remembers a certificate, and forgets those that have ended. At the bound the one that ends first is forgotten.
    pub fn record_issued(&mut self, now_s: u64, row: IssuedRow, effects: &mut Vec<Effect>) {
        if self.issued.rows.contains_key(&row.serial) {
            return;
        }
        let full = self.issued.rows.len() >= ISSUED_MAX;
        while let Some(ended) = self.issued.take_first(now_s) {
            effects.push(Effect::Delete(Row::Issued(Box::new(ended)).key()));
        }
        if full && let Some(first) = self.issued.take_first(u64::MAX) {
            effects.push(Effect::Delete(Row::Issued(Box::new(first)).key()));
        }
        self.put(Row::Issued(Box::new(row)), effects);
    }

    fn listed(&self, row: &IssuedRow) -> ListedCertificate {
        let revoked = self.revocation(row.authority, row.serial).cloned();
        ListedCertificate { row: row.clone(), revoked }
    }
}

/// Remembers a certificate.
#[derive(Debug, Clone)]
pub struct RecordIssued(pub IssuedRow);

impl Message for RecordIssued {
    type Result = Result<(), Refusal>;
}

/// A certificate, and whether it is revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedCertificate {
    /// What was issued.
    pub row: IssuedRow,
    /// Whether, when and why it was revoked.
    pub revoked: Option<Arc<Revocation>>,
}

/// Asks for certificates by serial number, a bounded number at a time.
#[derive(Debug, Clone, Copy, Default)]
pub struct ListIssued {
    /// Those after this one.
    pub after: Option<Serial>,
    /// Only this one.
    pub only: Option<Serial>,
}

impl Message for ListIssued {
    type Result = Vec<ListedCertificate>;
}

impl Handler<RecordIssued> for RegistryActor {
    type Result = ResponseFuture<Result<(), Refusal>>;

    fn handle(&mut self, command: RecordIssued, ctx: &mut Context<Self>) -> Self::Result {
        self.change(
            ctx,
            |refusal| refusal,
            |core, now_s, effects| {
                core.record_issued(now_s, command.0, effects);
                Ok(())
            },
        )
    }
}

impl Handler<ListIssued> for RegistryActor {
    type Result = MessageResult<ListIssued>;

    fn handle(&mut self, ListIssued { after, only }: ListIssued, _: &mut Context<Self>) -> Self::Result {
        let core = self.core();
        if let Some(only) = only {
            return MessageResult(
                core.issued.rows.get(&only).map(|row| core.listed(row)).into_iter().collect(),
            );
        }
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = core.issued.rows.range((from, Bound::Unbounded)).take(ISSUED_LISTED_MAX);
        MessageResult(rows.map(|(_, row)| core.listed(row)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: u64 = 1_769_904_000;

    fn row(serial: u128, not_after_s: u64) -> IssuedRow {
        IssuedRow {
            authority: Role::Client,
            serial: Serial::from(serial.to_be_bytes()),
            principal: "spiffe://muster.example/t/acme/service/sink".parse().expect("principal"),
            issued_at_s: NOW_S,
            not_after_s,
            tenants: None,
        }
    }

    #[test]
    fn what_has_ended_is_forgotten_and_nothing_else() {
        let (mut core, mut effects) = (Registry::default(), Vec::new());
        core.record_issued(NOW_S, row(1, NOW_S + 10), &mut effects);
        core.record_issued(NOW_S, row(2, NOW_S + 20), &mut effects);
        core.record_issued(NOW_S + 1, row(2, NOW_S + 20), &mut effects);
        assert_eq!(core.issued.rows.len(), 2, "the same again is no other");
        core.record_issued(NOW_S + 15, row(3, NOW_S + 30), &mut effects);
        let left: Vec<_> = core.issued.rows.values().map(|row| row.not_after_s).collect();
        assert_eq!(left, [NOW_S + 20, NOW_S + 30]);
        assert_eq!(effects.iter().filter(|effect| matches!(effect, Effect::Delete(_))).count(), 1);
    }

    #[test]
    fn at_the_bound_the_one_that_ends_first_is_forgotten() {
        let (mut core, mut effects) = (Registry::default(), Vec::new());
        for serial in 0..=ISSUED_MAX as u128 {
            core.record_issued(NOW_S, row(serial, NOW_S + 10 + serial as u64), &mut effects);
        }
        assert_eq!(core.issued.rows.len(), ISSUED_MAX);
        assert!(!core.issued.rows.contains_key(&Serial::from([0; 16])), "the first to end");
    }
}
