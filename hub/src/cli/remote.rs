//! Tenants, claims and devices: one call each.

use clap::Subcommand;

use muster_schemas::{
    DeviceId, TenantId,
    api::{Claim, Device, NewClaim, NewTenant, Tenant, WaysIn, life::DeviceLife},
};

use super::{
    Call, Complaint, Exit, OfTenant, Output,
    admission::{self, Admission, Policy},
    attest, attributes, explain, key, life,
    password::{Passwords, passwords},
    table,
    time::{duration_s, shown_s},
    ways_in::{Switch, ways_in},
};

#[derive(Debug, Subcommand)]
pub(super) enum Tenants {
    /// Create a tenant.
    Create {
        /// Its id: 1 to 64 of a-z, 0-9 and '-'.
        tenant: TenantId,
        /// Accept devices whose TPM is a simulator. It proves nothing: for laboratories and demonstrations only.
        #[arg(long)]
        accept_simulated_tpms: bool,
    },
    /// Make the sessions of a tenant's devices attest, or no longer.
    Attest(attest::Attest),
    /// List all tenants.
    List,
    /// Say whether devices without a TPM may enrol by EST (RFC 7030), with a claim. Off unless it is switched on.
    Est {
        /// The tenant.
        #[arg(long, short)]
        tenant: TenantId,
        /// What it is to be; shows what it is when left out.
        switch: Option<Switch>,
    },
    /// Say whether devices may connect with a user name and a password. Off unless it is switched on.
    LegacyPasswords {
        /// The tenant.
        #[arg(long, short)]
        tenant: TenantId,
        /// What it is to be; shows what it is when left out.
        switch: Option<Switch>,
    },
    #[command(flatten)]
    Life(life::TenantLife),
    /// Destroy all keys of a tenant, for good: what they sealed cannot be opened by anybody. Prints the proof.
    Shred(key::ShredTenant),
    /// Show or set what a tenant asks of an enrolment.
    #[command(subcommand)]
    Policy(Policy),
}

#[derive(Debug, Subcommand)]
pub(super) enum Claims {
    /// Create a claim and print its code: a secret until a device has used it.
    Create {
        #[command(flatten)]
        of: OfTenant,
        /// The only model it is good for.
        #[arg(long)]
        model: Option<String>,
        /// How long it is good for, such as 90s, 15m, 24h or 30d.
        #[arg(long, default_value = "24h", value_parser = duration_s)]
        expires_in: u64,
        /// Let the device wait until somebody approves it with `muster device approve`.
        #[arg(long)]
        approve: bool,
    },
    /// List the claims of a tenant, without their codes.
    List {
        #[command(flatten)]
        of: OfTenant,
    },
    /// Take a claim back; a device that enrolled with it stays enrolled.
    Revoke {
        #[command(flatten)]
        of: OfTenant,
        /// Its id, as `muster claim list` shows it.
        claim: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Devices {
    /// List the devices of a tenant.
    List {
        #[command(flatten)]
        of: OfTenant,
    },
    /// Show one device.
    Show {
        #[command(flatten)]
        of: OfTenant,
        /// Its id.
        device: DeviceId,
    },
    /// Say why a device cannot connect: its last refusals, and what to do next.
    Why(explain::Why),
    /// Say something of a device for the tenant's access rules, as a user of the tenant.
    Set(attributes::Set),
    #[command(flatten)]
    Life(life::DeviceLife),
    #[command(flatten)]
    Admission(Admission),
    /// Look after devices that can only connect with a user name and a password.
    #[command(subcommand)]
    Password(Passwords),
}

pub(super) fn tenant(command: Tenants, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    match command {
        Tenants::Create { tenant, accept_simulated_tpms } => {
            let what = format!("create the tenant {tenant}");
            let body = NewTenant { tenant, accept_simulated_tpms };
            let made: Tenant = call.hub.post(&what, "/api/v1/tenants", &body)?;
            call.tenants(&[made], Shape::One)
        }
        Tenants::Attest(command) => attest::attest(command, call),
        Tenants::Est { tenant, switch } => {
            let est = switch.map(Switch::is_on);
            ways_in(&tenant, WaysIn { est, legacy_passwords: None }, call)
        }
        Tenants::LegacyPasswords { tenant, switch } => {
            let legacy_passwords = switch.map(Switch::is_on);
            ways_in(&tenant, WaysIn { est: None, legacy_passwords }, call)
        }
        Tenants::List => {
            let tenants: Vec<Tenant> = call.hub.get("list the tenants", "/api/v1/tenants", &[])?;
            call.tenants(&tenants, Shape::Many)
        }
        Tenants::Life(command) => life::tenant(command, call),
        Tenants::Policy(command) => admission::policy(command, call),
        Tenants::Shred(command) => key::shred(command, call),
    }
}

pub(super) fn claim(command: Claims, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    let (of, model, expires_in, approve) = match command {
        Claims::Create { of, model, expires_in, approve } => (of, model, expires_in, approve),
        Claims::List { of } => return admission::list_claims(call, of),
        Claims::Revoke { of, claim } => return admission::revoke_claim(call, of, &claim),
    };
    let tenant = call.tenant(of.tenant)?;
    let what = format!("create a claim of {tenant}");
    let body = NewClaim { model, expires_in_s: expires_in, approve };
    let claim: Claim = call.hub.post(&what, &format!("/api/v1/tenants/{tenant}/claims"), &body)?;
    if call.output == Output::Json {
        return call.json(&claim);
    }
    let row = [
        claim.code,
        claim.tenant.to_string(),
        claim.model.unwrap_or_else(|| "any".to_owned()),
        shown_s(claim.expires_at_s),
    ];
    table::write(call.out, ["CODE", "TENANT", "MODEL", "EXPIRES"], &[row], "")?;
    Ok(Exit::Ok)
}

pub(super) fn device(command: Devices, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    match command {
        Devices::Password(command) => passwords(command, call),
        Devices::List { of } => {
            let tenant = call.tenant(of.tenant)?;
            let path = format!("/api/v1/tenants/{tenant}/devices");
            let what = format!("list the devices of {tenant}");
            let mut devices: Vec<Device> = Vec::new();
            loop {
                let after = devices.last().map(|last| ("after", last.device.to_string()));
                let page: Vec<Device> = call.hub.get(&what, &path, after.as_slice())?;
                // They come in order; a page that goes back would have us ask for ever.
                if page.first().map(|d| &d.device) <= devices.last().map(|d| &d.device) {
                    break;
                }
                devices.extend(page);
            }
            if call.output == Output::Json {
                return call.json(&devices);
            }
            let rows: Vec<_> = devices
                .into_iter()
                .map(|d| {
                    let expires = shown_s(d.certificate_expires_at_s);
                    [d.device.to_string(), d.state.to_string(), d.model, d.tpm_class, expires]
                })
                .collect();
            let head = ["DEVICE", "STATE", "MODEL", "TPM", "CERTIFICATE EXPIRES"];
            table::write(call.out, head, &rows, "no devices yet: give one a claim (muster claim create)")?;
            Ok(Exit::Ok)
        }
        Devices::Why(why) => explain::why(why, call),
        Devices::Show { of, device } => {
            let tenant = call.tenant(of.tenant)?;
            let path = format!("/api/v1/tenants/{tenant}/devices/{device}");
            let found: Device = call.hub.get(&format!("show the device {device} of {tenant}"), &path, &[])?;
            if call.output == Output::Json {
                return call.json(&found);
            }
            for (name, value) in [
                ("device", found.device.to_string()),
                ("tenant", found.tenant.to_string()),
                ("state", found.state.to_string()),
                ("model", found.model),
                ("tpm", found.tpm_class),
                ("ek hash", found.ek_hash),
                ("certificate", found.certificate_serial),
                ("expires", shown_s(found.certificate_expires_at_s)),
                ("enrolled", shown_s(found.enrolled_at_s)),
                ("boots", found.boots.to_string()),
                ("agent", found.agent_version),
            ]
            .into_iter()
            .chain(lived(found.life))
            {
                writeln!(call.out, "{name:<12} {}", table::printable(&value))?;
            }
            Ok(Exit::Ok)
        }
        Devices::Set(command) => attributes::set("devices", command, call),
        Devices::Life(command) => life::device(command, call),
        Devices::Admission(command) => admission::admission(command, call),
    }
}

/// Whether a program expects a list or the thing itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    One,
    Many,
}

impl Call<'_> {
    /// Writes what the hub answered, for a program.
    pub(super) fn json(&mut self, answer: &impl serde::Serialize) -> Result<Exit, Complaint> {
        let text = serde_json::to_string(answer).map_err(std::io::Error::other)?;
        writeln!(self.out, "{text}")?;
        Ok(Exit::Ok)
    }

    fn tenants(&mut self, tenants: &[Tenant], shape: Shape) -> Result<Exit, Complaint> {
        if self.output == Output::Json {
            return match (shape, tenants) {
                (Shape::One, [one]) => self.json(one),
                _ => self.json(&tenants),
            };
        }
        let rows: Vec<_> = tenants
            .iter()
            .map(|t| {
                let simulated = if t.accept_simulated_tpms { "accepted" } else { "refused" };
                [t.tenant.to_string(), t.state.to_string(), shown_s(t.created_at_s), simulated.to_owned()]
            })
            .collect();
        let head = ["TENANT", "STATE", "CREATED", "SIMULATED TPMS"];
        table::write(self.out, head, &rows, "no tenants yet: muster tenant create <tenant>")?;
        Ok(Exit::Ok)
    }
}

/// What there is to tell of a device's life.
fn lived(life: DeviceLife) -> impl Iterator<Item = (&'static str, String)> {
    let DeviceLife {
        changed_at_s, changed_by, changed_why, compromised_since_s, replaces, replaced_by, ..
    } = life;
    let changed = changed_at_s.map(shown_s).zip(changed_by).map(|(at, by)| format!("{at} by {by}"));
    [
        ("last quote", life.quoted_at_s.map(shown_s)),
        ("changed", changed),
        ("why", changed_why),
        ("compromised", compromised_since_s.map(|at_s| format!("since {}", shown_s(at_s)))),
        ("replaces", replaces.map(|id| id.to_string())),
        ("replaced by", replaced_by.map(|id| id.to_string())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
}
