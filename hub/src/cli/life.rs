//! The life of devices, apps and tenants: suspend, resume, revoke, retire, replace, release; and the alarms.

use clap::{Args, Subcommand};

use muster_schemas::{
    DeviceId, TenantId,
    api::{
        Tenant,
        life::{Alarm, Alarms, ClientChanged, DeviceChanged, LifeCommand, Precautions},
    },
};

use super::{
    Call, Complaint, Exit, OfTenant, Output,
    table::{self, printable},
    time::{When, shown_s},
};
use crate::registry::ClientKind;

/// Which device, and why.
#[derive(Debug, Args)]
pub(super) struct Which {
    #[command(flatten)]
    of: OfTenant,
    /// Its id.
    device: DeviceId,
    /// Why, for whoever looks at the device later.
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
}

/// What a revocation says.
#[derive(Debug, Args)]
pub(super) struct Revocation {
    /// Why: key-compromise, affiliation-changed, superseded, cessation-of-operation, privilege-withdrawn or unspecified.
    #[arg(long, default_value = "unspecified")]
    reason: String,
    /// Since when the keys are in other hands: a time such as 2026-02-01T12:00:00Z, or how long ago, such as 15m.
    #[arg(long, value_name = "TIME")]
    compromised_since: Option<When>,
}

impl Revocation {
    fn command(self, why: Option<String>, now_ms: u64) -> LifeCommand {
        let since = self.compromised_since.map(|since| since.unix_ms(now_ms) / 1_000);
        LifeCommand { why, reason: Some(self.reason), compromised_since_s: since, with: None }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum DeviceLife {
    /// Disconnect a device and keep it out until it is resumed.
    Suspend(#[command(flatten)] Which),
    /// Let a device connect again. After a revocation it enrols anew.
    Resume(#[command(flatten)] Which),
    /// Revoke a device's certificates, disconnect it and bar its chip.
    Revoke {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        revocation: Revocation,
    },
    /// Disconnect a device for good: it never comes back.
    Retire(#[command(flatten)] Which),
    /// Let another chip come in a device's place, without a claim; the old one is retired.
    Replace {
        #[command(flatten)]
        which: Which,
        /// SHA-256 of the new chip's endorsement key, 64 hex digits: `muster-edge` prints it.
        #[arg(long, value_name = "EK_HASH")]
        with: String,
    },
    /// Give a device up: whoever has a claim, of any tenant, may have its chip.
    Release(#[command(flatten)] Which),
}

pub(super) fn device(command: DeviceLife, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    let now_ms = call.now_ms;
    let (verb, Which { of, device, why }, mut body) = match command {
        DeviceLife::Suspend(which) => ("suspend", which, LifeCommand::default()),
        DeviceLife::Resume(which) => ("resume", which, LifeCommand::default()),
        DeviceLife::Revoke { which, revocation } => ("revoke", which, revocation.command(None, now_ms)),
        DeviceLife::Retire(which) => ("retire", which, LifeCommand::default()),
        DeviceLife::Replace { which, with } => {
            ("replace", which, LifeCommand { with: Some(with), ..LifeCommand::default() })
        }
        DeviceLife::Release(which) => ("release", which, LifeCommand::default()),
    };
    body.why = why;
    let tenant = call.tenant(of.tenant)?;
    let path = format!("/api/v1/tenants/{tenant}/devices/{device}/{verb}");
    let made: DeviceChanged =
        call.hub.post(&format!("{verb} the device {device} of {tenant}"), &path, &body)?;
    if call.output == Output::Json {
        return call.json(&made);
    }
    let state = if verb == "release" { "released".to_owned() } else { made.device.state.to_string() };
    let note = if made.changed { "" } else { " (as it was before)" };
    writeln!(call.out, "{device} of {tenant} is {state}{note}")?;
    if let (Some(other), true) = (&made.device.life.replaced_by, made.changed) {
        writeln!(call.out, "the chip of {other} is waited for: it needs no claim")?;
    }
    Ok(Exit::Ok)
}

/// Which app or user, and why.
#[derive(Debug, Args)]
pub(super) struct WhichClient {
    #[command(flatten)]
    of: OfTenant,
    /// Its id.
    id: DeviceId,
    /// Why, for the hub's log.
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum ClientLife {
    /// Disconnect one and keep it out until it is resumed.
    Suspend(#[command(flatten)] WhichClient),
    /// Let one that was suspended connect again.
    Resume(#[command(flatten)] WhichClient),
    /// Revoke the certificate of one and disconnect it; `create --replace` gives it another.
    Revoke {
        #[command(flatten)]
        which: WhichClient,
        #[command(flatten)]
        revocation: Revocation,
    },
}

pub(super) fn client(
    kind: ClientKind,
    many: &str,
    command: ClientLife,
    call: &mut Call<'_>,
) -> Result<Exit, Complaint> {
    let now_ms = call.now_ms;
    let (verb, WhichClient { of, id, why }, mut body) = match command {
        ClientLife::Suspend(which) => ("suspend", which, LifeCommand::default()),
        ClientLife::Resume(which) => ("resume", which, LifeCommand::default()),
        ClientLife::Revoke { which, revocation } => ("revoke", which, revocation.command(None, now_ms)),
    };
    body.why = why;
    let tenant = call.tenant(of.tenant)?;
    let path = format!("/api/v1/tenants/{tenant}/{many}/{id}/{verb}");
    let made: ClientChanged =
        call.hub.post(&format!("{verb} the {} {id} of {tenant}", kind.kind()), &path, &body)?;
    if call.output == Output::Json {
        return call.json(&made);
    }
    let note = if made.changed { "" } else { " (as it was before)" };
    writeln!(call.out, "{id} of {tenant} is {}{note}", made.state)?;
    Ok(Exit::Ok)
}

#[derive(Debug, Subcommand)]
pub(super) enum TenantLife {
    /// Disconnect everybody of a tenant and keep them out until it is resumed.
    Suspend {
        /// The tenant.
        tenant: TenantId,
        /// Why, for the hub's log.
        #[arg(long, value_name = "TEXT")]
        why: Option<String>,
    },
    /// Let a suspended tenant's devices and apps connect again.
    Resume {
        /// The tenant.
        tenant: TenantId,
        /// Why, for the hub's log.
        #[arg(long, value_name = "TEXT")]
        why: Option<String>,
    },
    /// Say what is done by itself when something is wrong with a chip; what is not named is only an alarm.
    Precautions {
        #[command(flatten)]
        of: OfTenant,
        /// Suspend a device whose chip was copied or put back.
        #[arg(long)]
        suspend_clones: bool,
        /// Suspend a device whose chip was cleared, until it is resumed.
        #[arg(long)]
        approve_cleared: bool,
    },
}

pub(super) fn tenant(command: TenantLife, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    let changed: Tenant = match command {
        TenantLife::Suspend { tenant, why } => change_tenant(call, &tenant, "suspend", why)?,
        TenantLife::Resume { tenant, why } => change_tenant(call, &tenant, "resume", why)?,
        TenantLife::Precautions { of, suspend_clones, approve_cleared } => {
            let tenant = call.tenant(of.tenant)?;
            let body = Precautions { suspend_clones, approve_cleared };
            let path = format!("/api/v1/tenants/{tenant}/precautions");
            call.hub.post(&format!("set the precautions of {tenant}"), &path, &body)?
        }
    };
    if call.output == Output::Json {
        return call.json(&changed);
    }
    let Tenant { tenant, state, precautions, .. } = changed;
    writeln!(call.out, "{tenant} is {state}")?;
    for (is_on, what) in [
        (precautions.suspend_clones, "devices whose chips were copied or put back are suspended"),
        (
            precautions.approve_cleared,
            "devices whose chips were cleared are suspended until they are resumed",
        ),
    ] {
        if is_on {
            writeln!(call.out, "{what}")?;
        }
    }
    Ok(Exit::Ok)
}

fn change_tenant(
    call: &mut Call<'_>,
    tenant: &TenantId,
    verb: &str,
    why: Option<String>,
) -> Result<Tenant, Complaint> {
    let body = LifeCommand { why, ..LifeCommand::default() };
    let path = format!("/api/v1/tenants/{tenant}/{verb}");
    call.hub.post(&format!("{verb} the tenant {tenant}"), &path, &body)
}

#[derive(Debug, Subcommand)]
pub(super) enum AlarmCommand {
    /// List the alarms that stand.
    List {
        /// Only those of this tenant.
        #[arg(long, short)]
        tenant: Option<TenantId>,
        /// Also those that were acknowledged.
        #[arg(long)]
        all: bool,
    },
    /// Say that you have looked at an alarm.
    #[command(alias = "ack")]
    Acknowledge {
        /// Its number.
        number: u64,
    },
}

pub(super) fn alarms(command: AlarmCommand, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    match command {
        AlarmCommand::List { tenant, all } => {
            let mut query = vec![("acknowledged", all.to_string())];
            query.extend(tenant.map(|tenant| ("tenant", tenant.to_string())));
            let mut found: Vec<Alarm> = Vec::new();
            loop {
                let mut asked = query.clone();
                asked.extend(found.last().map(|last| ("after", last.number.to_string())));
                let page: Alarms = call.hub.get("list the alarms", "/api/v1/alarms", &asked)?;
                // They come in order; a page that goes back would have us ask for ever.
                let goes_on = page.alarms.first().map(|a| a.number) > found.last().map(|a| a.number);
                found.extend(page.alarms.into_iter().filter(|_| goes_on));
                if page.next_after.is_none() || !goes_on {
                    break;
                }
            }
            if call.output == Output::Json {
                return call.json(&found);
            }
            let rows: Vec<_> = found.into_iter().map(row).collect();
            let head = ["NUMBER", "LAST", "TIMES", "KIND", "TENANT", "DEVICE", "SEEN BY", "WHAT"];
            table::write(call.out, head, &rows, "no alarm stands")?;
        }
        AlarmCommand::Acknowledge { number } => {
            let path = format!("/api/v1/alarms/{number}/acknowledge");
            let alarm: Alarm = call.hub.post(&format!("acknowledge the alarm {number}"), &path, &())?;
            if call.output == Output::Json {
                return call.json(&alarm);
            }
            writeln!(call.out, "alarm {number} ({}) is acknowledged", printable(&alarm.kind))?;
        }
    }
    Ok(Exit::Ok)
}

fn row(alarm: Alarm) -> [String; 8] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    [
        alarm.number.to_string(),
        shown_s(alarm.last_at_s),
        alarm.times.to_string(),
        alarm.kind,
        or_dash(alarm.tenant.map(|tenant| tenant.to_string())),
        or_dash(alarm.device.map(|device| device.to_string())),
        or_dash(alarm.acknowledged_by),
        alarm.detail,
    ]
}
