//! The ways into a tenant besides first boot with a TPM.

use clap::ValueEnum;

use muster_schemas::{TenantId, api::WaysIn};

use super::{Call, Complaint, Exit, Output};

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Switch {
    /// It is allowed.
    On,
    /// It is not.
    Off,
}

impl Switch {
    pub(super) fn is_on(self) -> bool {
        self == Self::On
    }
}

/// Sets what is said of them, and shows them all.
pub(super) fn ways_in(tenant: &TenantId, set: WaysIn, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    let path = format!("/api/v1/tenants/{tenant}/ways-in");
    let what = format!("set the ways into {tenant}");
    let found: WaysIn = match set {
        WaysIn { est: None, legacy_passwords: None } => {
            call.hub.get(&format!("show the ways into {tenant}"), &path, &[])?
        }
        _ => call.hub.put(&what, &path, &set)?,
    };
    if call.output == Output::Json {
        return call.json(&found);
    }
    let shown = |on: Option<bool>| if on == Some(true) { "on" } else { "off" };
    writeln!(call.out, "EST               {}", shown(found.est))?;
    writeln!(call.out, "legacy passwords  {}", shown(found.legacy_passwords))?;
    Ok(Exit::Ok)
}
