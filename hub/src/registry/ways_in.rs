//! The ways into a tenant besides first boot with a TPM: all are off until an operator switches one on.

use actix::{Context, Handler, Message, ResponseFuture};
use muster_schemas::TenantId;
use serde::{Deserialize, Serialize};

use super::{
    actor::RegistryActor,
    core::{Effect, Registry},
    message::Refusal,
    row::{Row, Tenant},
};

/// Which ways in there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaysIn {
    /// EST (RFC 7030): devices whose keys are nobody knows where.
    #[serde(default)]
    pub est: bool,
    /// User name and password over MQTT, for devices that can do nothing else.
    #[serde(default)]
    pub legacy_passwords: bool,
}

/// Switches ways in on or off; those that are not named stay.
#[derive(Debug, Clone)]
pub struct SetWaysIn {
    /// The tenant.
    pub tenant: TenantId,
    /// EST.
    pub est: Option<bool>,
    /// User name and password.
    pub legacy_passwords: Option<bool>,
}

impl Message for SetWaysIn {
    type Result = Result<WaysIn, Refusal>;
}

/// Asks which ways in a tenant has.
#[derive(Debug, Clone)]
pub struct ShowWaysIn(pub TenantId);

impl Message for ShowWaysIn {
    type Result = Result<WaysIn, Refusal>;
}

impl Registry {
    /// Switches ways in on or off.
    ///
    /// # Errors
    /// The tenant is unknown or suspended.
    pub fn set_ways_in(&mut self, command: SetWaysIn, effects: &mut Vec<Effect>) -> Result<WaysIn, Refusal> {
        let SetWaysIn { tenant, est, legacy_passwords } = command;
        let row = self.active_tenant(&tenant)?;
        let ways_in = WaysIn {
            est: est.unwrap_or(row.ways_in.est),
            legacy_passwords: legacy_passwords.unwrap_or(row.ways_in.legacy_passwords),
        };
        let row = Tenant { ways_in, ..row.clone() };
        self.put(Row::Tenant(row), effects);
        Ok(ways_in)
    }

    /// The ways into a tenant that may be acted for.
    ///
    /// # Errors
    /// The tenant is unknown or suspended.
    pub fn ways_in(&self, tenant: &TenantId) -> Result<WaysIn, Refusal> {
        Ok(self.active_tenant(tenant)?.ways_in)
    }
}

impl Handler<SetWaysIn> for RegistryActor {
    type Result = ResponseFuture<Result<WaysIn, Refusal>>;

    fn handle(&mut self, command: SetWaysIn, ctx: &mut Context<Self>) -> Self::Result {
        self.change(ctx, |refusal| refusal, |core, _, effects| core.set_ways_in(command, effects))
    }
}

impl Handler<ShowWaysIn> for RegistryActor {
    type Result = Result<WaysIn, Refusal>;

    fn handle(&mut self, ShowWaysIn(tenant): ShowWaysIn, _: &mut Context<Self>) -> Self::Result {
        self.core().ways_in(&tenant)
    }
}
