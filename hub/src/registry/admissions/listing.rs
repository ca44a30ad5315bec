//! A tenant's list of chips: rows of a purchase manifest come in, and each gets a report.

use std::ops::Bound as Range;

use actix::{Context, Handler, Message, ResponseFuture};
use muster_schemas::TenantId;

use super::{
    AdmissionRow,
    row::{ChipName, Identity, Listed},
};
use crate::registry::{
    actor::RegistryActor,
    core::{Effect, Registry},
    limits::{LISTED_CHIPS_MAX, LISTED_MAX, LISTED_PER_TENANT_MAX, MODEL_BYTES_MAX, SERIAL_NUMBER_BYTES_MAX},
    message::Refusal,
    row::Row,
};

/// Puts chips on a tenant's list.
#[derive(Debug, Clone)]
pub struct List {
    /// The tenant.
    pub tenant: TenantId,
    /// The rows, at most [`super::super::limits::LISTED_ROWS_MAX`]; each is of that tenant.
    pub rows: Vec<Listed>,
    /// Only say what would become of them.
    pub dry_run: bool,
}

impl Message for List {
    type Result = Result<Vec<ListOutcome>, Refusal>;
}

/// What became of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListOutcome {
    /// It is on the list.
    Accepted,
    /// It was on the list, and now says something else.
    Updated,
    /// It was on the list, as it is here.
    Duplicate,
    /// The chip belongs to somebody else on this hub, or is on their list. Nobody learns whose.
    Taken,
    /// Another chip of the tenant has what the row would bind.
    Conflict(Identity),
    /// A text of the row is empty or too long.
    Malformed(&'static str),
    /// A bound is reached.
    Full,
}

/// Takes a chip off a tenant's list. A device that enrolled by it stays enrolled.
#[derive(Debug, Clone)]
pub struct Unlist {
    /// The tenant.
    pub tenant: TenantId,
    /// The chip.
    pub chip: ChipName,
}

impl Message for Unlist {
    type Result = Result<Listed, Refusal>;
}

/// Asks for a tenant's list.
#[derive(Debug, Clone)]
pub struct ListedChips {
    /// The tenant.
    pub tenant: TenantId,
    /// Only those after this one, to go on with a long list.
    pub after: Option<ChipName>,
}

impl Message for ListedChips {
    type Result = Result<Vec<Listed>, Refusal>;
}

impl Registry {
    /// Puts chips on a tenant's list, all that can be.
    ///
    /// # Errors
    /// The tenant is unknown or suspended.
    pub fn list(&mut self, command: List, effects: &mut Vec<Effect>) -> Result<Vec<ListOutcome>, Refusal> {
        let List { tenant, rows, dry_run } = command;
        self.active_tenant(&tenant)?;
        let mut outcomes = Vec::with_capacity(rows.len());
        for row in rows {
            let outcome = self.listable(&row);
            if !dry_run && matches!(outcome, ListOutcome::Accepted | ListOutcome::Updated) {
                self.put(Row::from(AdmissionRow::Listed(row)), effects);
            }
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    fn listable(&self, row: &Listed) -> ListOutcome {
        let short = |text: &Option<String>, max: usize| {
            text.as_ref().is_none_or(|t| !t.is_empty() && t.len() <= max && !t.chars().any(char::is_control))
        };
        if !short(&row.model, MODEL_BYTES_MAX) {
            return ListOutcome::Malformed("the model has 1 to 64 bytes and no control characters");
        }
        if !short(&row.serial_number, SERIAL_NUMBER_BYTES_MAX) {
            return ListOutcome::Malformed("the serial number has 1 to 64 bytes and no control characters");
        }
        if row.class.is_some() && !matches!(row.chip, ChipName::EkHash(_)) {
            return ListOutcome::Malformed("a class goes with an ek_hash: a certificate has its own");
        }
        let before = self.admissions.listed.get(&row.chip);
        if before.is_some_and(|before| before.tenant != row.tenant) || self.belongs_to_another(row) {
            return ListOutcome::Taken;
        }
        let key = |identity| (row.tenant.clone(), identity);
        let bound = |identity: &Identity| {
            self.admissions.bound.get(&key(identity.clone())).is_some_and(|chip| *chip != row.chip)
        };
        if let Some(identity) = row.identities().find(bound) {
            return ListOutcome::Conflict(identity);
        }
        match before {
            Some(before) if Listed { listed_at_s: before.listed_at_s, ..row.clone() } == *before => {
                ListOutcome::Duplicate
            }
            Some(_) => ListOutcome::Updated,
            None => {
                let theirs = self.admissions.lists.get(&row.tenant).map_or(0, |list| list.len());
                let full = theirs >= LISTED_PER_TENANT_MAX || self.admissions.listed.len() >= LISTED_MAX;
                if full { ListOutcome::Full } else { ListOutcome::Accepted }
            }
        }
    }

    /// Whether the chip is a device of another tenant. By a certificate's number that cannot be told; then the device
    /// stays where it is, since its row outweighs any list.
    fn belongs_to_another(&self, row: &Listed) -> bool {
        let ChipName::EkHash(hash) = &row.chip else { return false };
        let device = self.devices.get(&muster_tpm::verifier::device_id(hash));
        device.is_some_and(|device| device.tenant != row.tenant)
    }

    /// Takes a chip off a tenant's list.
    ///
    /// # Errors
    /// The tenant is unknown, or has not listed it.
    pub fn unlist(&mut self, command: &Unlist, effects: &mut Vec<Effect>) -> Result<Listed, Refusal> {
        let Unlist { tenant, chip } = command;
        self.known_tenant(tenant)?;
        let theirs = self.admissions.listed.get(chip).is_some_and(|listed| listed.tenant == *tenant);
        let removed = if theirs { self.admissions.remove_listed(chip) } else { None };
        let removed = removed.ok_or_else(|| Refusal::NotListed(chip.to_string()))?;
        effects.push(Effect::Delete(Row::from(AdmissionRow::Listed(removed.clone())).key()));
        Ok(removed)
    }

    /// A tenant's list, as much of it as one answer holds.
    ///
    /// # Errors
    /// The tenant is unknown.
    pub fn listed_chips(&self, command: &ListedChips) -> Result<Vec<Listed>, Refusal> {
        let ListedChips { tenant, after } = command;
        self.known_tenant(tenant)?;
        let from = after.as_ref().map_or(Range::Unbounded, Range::Excluded);
        let list = self.admissions.lists.get(tenant).into_iter();
        let chips = list.flat_map(|list| list.range((from, Range::Unbounded)));
        Ok(chips
            .filter_map(|chip| self.admissions.listed.get(chip))
            .take(LISTED_CHIPS_MAX)
            .cloned()
            .collect())
    }
}

impl Handler<List> for RegistryActor {
    type Result = ResponseFuture<Result<Vec<ListOutcome>, Refusal>>;

    fn handle(&mut self, command: List, ctx: &mut Context<Self>) -> Self::Result {
        self.change(ctx, |refusal| refusal, |core, _, effects| core.list(command, effects))
    }
}

impl Handler<Unlist> for RegistryActor {
    type Result = ResponseFuture<Result<Listed, Refusal>>;

    fn handle(&mut self, command: Unlist, ctx: &mut Context<Self>) -> Self::Result {
        self.change(ctx, |refusal| refusal, |core, _, effects| core.unlist(&command, effects))
    }
}

impl Handler<ListedChips> for RegistryActor {
    type Result = Result<Vec<Listed>, Refusal>;

    fn handle(&mut self, command: ListedChips, _: &mut Context<Self>) -> Self::Result {
        self.core.listed_chips(&command)
    }
}
