//! What a tenant says its devices' readings are.

use actix::{Context, Handler, Message, ResponseFuture};
use muster_schemas::{TenantId, api::TelemetrySchema};

use super::{
    actor::RegistryActor,
    core::{Effect, Registry},
    message::Refusal,
    row::{Row, Tenant},
};

/// Asks for a tenant's schema.
#[derive(Debug, Clone)]
pub struct ShowSchema(pub TenantId);

impl Message for ShowSchema {
    type Result = Result<TelemetrySchema, Refusal>;
}

/// Sets a tenant's schema. That it makes sense was looked at before; to make it hold is the caller's.
#[derive(Debug, Clone)]
pub struct SetSchema {
    /// The tenant.
    pub tenant: TenantId,
    /// What its readings are.
    pub schema: TelemetrySchema,
}

impl Message for SetSchema {
    type Result = Result<(), Refusal>;
}

impl Tenant {
    /// What its readings are. A text that this version does not know was written by a later one, and asks for nothing here.
    pub fn schema(&self) -> TelemetrySchema {
        serde_json::from_str(&self.telemetry_schema).unwrap_or_default()
    }
}

impl Registry {
    /// A tenant's schema.
    ///
    /// # Errors
    /// The tenant is unknown.
    pub fn show_schema(&self, tenant: &TenantId) -> Result<TelemetrySchema, Refusal> {
        let found = self.tenants.get(tenant).ok_or_else(|| Refusal::TenantUnknown(tenant.clone()))?;
        Ok(found.schema())
    }

    /// Sets a tenant's schema.
    ///
    /// # Errors
    /// The tenant is unknown.
    pub fn set_schema(&mut self, command: SetSchema, effects: &mut Vec<Effect>) -> Result<(), Refusal> {
        let SetSchema { tenant, schema } = command;
        let found = self.tenants.get(&tenant).ok_or(Refusal::TenantUnknown(tenant))?;
        let usual = schema == TelemetrySchema::default();
        let text = if usual { Ok(String::new()) } else { serde_json::to_string(&schema) };
        let telemetry_schema = text.map_err(|error| Refusal::Unavailable(error.to_string()))?;
        if telemetry_schema != found.telemetry_schema {
            let tenant = Tenant { telemetry_schema, ..found.clone() };
            self.put(Row::Tenant(tenant), effects);
        }
        Ok(())
    }
}

impl Handler<ShowSchema> for RegistryActor {
    type Result = Result<TelemetrySchema, Refusal>;

    fn handle(&mut self, ShowSchema(tenant): ShowSchema, _: &mut Context<Self>) -> Self::Result {
        self.core().show_schema(&tenant)
    }
}

impl Handler<SetSchema> for RegistryActor {
    type Result = ResponseFuture<Result<(), Refusal>>;

    fn handle(&mut self, command: SetSchema, ctx: &mut Context<Self>) -> Self::Result {
        self.change(ctx, |refusal| refusal, |core, _, effects| core.set_schema(command, effects))
    }
}
