//! What a tenant demands of its devices' sessions.

use clap::{Args, ValueEnum};

use muster_schemas::{
    TenantId,
    api::{AttestSessions, Attestation},
};

use super::{Call, Complaint, Exit, Output};

/// Make the sessions of a tenant's devices attest, or no longer.
#[derive(Debug, Args)]
pub(super) struct Attest {
    /// The tenant.
    #[arg(long, short)]
    tenant: TenantId,
    /// What each session of a device has to show.
    #[arg(value_enum)]
    sessions: Sessions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sessions {
    /// Nothing but its certificate.
    Off,
    /// A TPM quote over its own connection. Open sessions of devices are closed and come back in quarantine.
    Required,
}

pub(super) fn attest(command: Attest, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    let Attest { tenant, sessions } = command;
    let body = Attestation {
        sessions: match sessions {
            Sessions::Off => AttestSessions::Off,
            Sessions::Required => AttestSessions::Required,
        },
    };
    let what = format!("set what sessions of {tenant} have to show");
    let set: Attestation = call.hub.post(&what, &format!("/api/v1/tenants/{tenant}/attestation"), &body)?;
    if call.output == Output::Json {
        return call.json(&set);
    }
    let told = match set.sessions {
        AttestSessions::Off => "sessions of devices need not attest",
        AttestSessions::Required => "sessions of devices attest, and are in quarantine until they have",
    };
    writeln!(call.out, "{tenant}: {told}")?;
    Ok(Exit::Ok)
}
