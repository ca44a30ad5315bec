//! Who may enrol: a tenant's policy, its list of chips, the devices that wait for a person, accepted measurements.

use std::{collections::BTreeMap, path::PathBuf};

use clap::{Args, Subcommand};
use muster_schemas::{
    DeviceId,
    api::admission::{
        Allowed, AllowedRow, EnrolmentPolicy, HeldDevice, ListedClaim, Measured, Measurement, NewAllowed,
        NewMeasurement, NoMeasurement, NotAllowed, PolicyChange, Profile, RowReport,
    },
};

use super::{
    Call, Complaint, Exit, OfTenant, Output,
    manifest::{Manifest, issuer_hash},
    table,
    time::shown_s,
};
use crate::limits::MANIFEST_ROWS_PER_CALL_MAX;

/// `muster tenant policy`.
#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// Show what a tenant asks of an enrolment.
    Show {
        #[command(flatten)]
        of: OfTenant,
    },
    /// Set some of it; the rest stays.
    Set {
        #[command(flatten)]
        of: OfTenant,
        /// Which classes of TPM it accepts: some of hardware, firmware, virtual, simulated.
        #[arg(long, value_delimiter = ',', value_name = "CLASS,...")]
        tpm_classes: Option<Vec<String>>,
        /// Whether every device that comes with a claim waits until somebody approves it.
        #[arg(long, value_name = "true|false")]
        approve_claims: Option<bool>,
        /// What measurements that nobody accepted lead to.
        #[arg(long, value_parser = ["off", "monitor", "enforce"])]
        measurements: Option<String>,
        /// The registers that a quote has to cover: some of 0 to 16 and 23.
        #[arg(long, value_delimiter = ',', value_name = "INDEX,...")]
        registers: Option<Vec<u8>>,
    },
}

/// Commands of `muster device` about chips that may enrol and devices that wait.
#[derive(Debug, Subcommand)]
pub(super) enum Admission {
    /// Put the chips of a purchase manifest (CSV) on the tenant's list, with a report for each line.
    Import {
        #[command(flatten)]
        of: OfTenant,
        /// The manifest. Its head names some of ek_hash, issuer, certificate_serial, class, model, name, serial_number, mac.
        file: PathBuf,
        /// Who issued the certificates of lines that do not say: a certificate (PEM), or SHA-256 of its key.
        #[arg(long)]
        issuer: Option<String>,
        /// Only say what would become of each line.
        #[arg(long)]
        dry_run: bool,
    },
    /// Put one chip on the tenant's list: it enrols without a claim.
    Allow {
        #[command(flatten)]
        of: OfTenant,
        #[command(flatten)]
        chip: Box<Chip>,
    },
    /// List the chips that enrol without a claim.
    Allowed {
        #[command(flatten)]
        of: OfTenant,
    },
    /// Take a chip off the list; a device that enrolled by it stays enrolled.
    Disallow {
        #[command(flatten)]
        of: OfTenant,
        /// The chip, as `muster device allowed` names it.
        chip: String,
    },
    /// List the devices that wait until a person decides, and those that were denied.
    Pending {
        #[command(flatten)]
        of: OfTenant,
    },
    /// Let a device in that waits.
    Approve {
        #[command(flatten)]
        of: OfTenant,
        /// Its id.
        device: DeviceId,
    },
    /// Deny a device that waits.
    Deny {
        #[command(flatten)]
        of: OfTenant,
        /// Its id.
        device: DeviceId,
    },
    /// Show the name, numbers and last measurements of a device.
    Measured {
        #[command(flatten)]
        of: OfTenant,
        /// Its id.
        device: DeviceId,
    },
}

/// One chip and what the tenant says of it.
#[derive(Debug, Args)]
pub(super) struct Chip {
    /// SHA-256 of its endorsement key (SubjectPublicKeyInfo), hex.
    #[arg(long, required_unless_present = "certificate_serial")]
    ek_hash: Option<String>,
    /// Who issued its endorsement certificate: a certificate (PEM), or SHA-256 of its key.
    #[arg(long, requires = "certificate_serial")]
    issuer: Option<String>,
    /// Serial number of its endorsement certificate, hex.
    #[arg(long, requires = "issuer", conflicts_with = "ek_hash")]
    certificate_serial: Option<String>,
    /// What a chip without a certificate counts as: firmware or virtual, say.
    #[arg(long, conflicts_with = "certificate_serial")]
    class: Option<String>,
    /// The only model that it may be in.
    #[arg(long)]
    model: Option<String>,
    /// The name that the device gets in this tenant.
    #[arg(long)]
    name: Option<String>,
    /// The serial number of the device.
    #[arg(long)]
    serial_number: Option<String>,
    /// The hardware address of the device.
    #[arg(long)]
    mac: Option<String>,
}

/// `muster measurement`.
#[derive(Debug, Subcommand)]
pub(super) enum Measurements {
    /// Accept measurements under a label, such as the release that they are of.
    Accept {
        #[command(flatten)]
        of: OfTenant,
        /// The label; what it named before is accepted no longer.
        label: String,
        /// What this device measured last.
        #[arg(long, required_unless_present = "register")]
        device: Option<DeviceId>,
        /// Only these registers of it [default: those of the policy].
        #[arg(long, value_delimiter = ',', value_name = "INDEX,...", requires = "device")]
        only: Option<Vec<u8>>,
        /// Or a register and its value, such as 7=<64 hex digits>; may come more than once.
        #[arg(long, value_parser = register, value_name = "INDEX=HEX", conflicts_with = "device")]
        register: Vec<(u8, String)>,
    },
    /// List what is accepted.
    List {
        #[command(flatten)]
        of: OfTenant,
    },
    /// Accept no longer what a label names; certificates that were issued stay until they are renewed.
    Remove {
        #[command(flatten)]
        of: OfTenant,
        /// The label.
        label: String,
    },
}

fn register(text: &str) -> Result<(u8, String), String> {
    let wanted = || format!("{text:?} is not such as 7=<64 hex digits>");
    let (index, value) = text.split_once('=').ok_or_else(wanted)?;
    Ok((index.parse().map_err(|_| wanted())?, value.to_owned()))
}

pub(super) fn policy(command: Policy, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    let found: EnrolmentPolicy = match command {
        Policy::Show { of } => {
            let tenant = call.tenant(of.tenant)?;
            call.hub.get(&format!("show the policy of {tenant}"), &at(&tenant, "policy"), &[])?
        }
        Policy::Set { of, tpm_classes, approve_claims, measurements, registers } => {
            let tenant = call.tenant(of.tenant)?;
            let change = PolicyChange { tpm_classes, approve_claims, measurements, registers };
            call.hub.post(&format!("set the policy of {tenant}"), &at(&tenant, "policy"), &change)?
        }
    };
    if call.output == Output::Json {
        return call.json(&found);
    }
    let approval = if found.approve_claims { "wait for approval" } else { "enrol at once" };
    let registers: Vec<String> = found.registers.iter().map(u8::to_string).collect();
    for (name, value) in [
        ("tenant", found.tenant.to_string()),
        ("tpm classes", found.tpm_classes.join(", ")),
        ("claims", approval.to_owned()),
        ("measurements", found.measurements),
        ("registers", registers.join(", ")),
    ] {
        writeln!(call.out, "{name:<13} {}", table::printable(&value))?;
    }
    Ok(Exit::Ok)
}

pub(super) fn admission(command: Admission, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    match command {
        Admission::Import { of, file, issuer, dry_run } => {
            let tenant = call.tenant(of.tenant)?;
            let manifest = Manifest::read(&file, issuer.as_deref())?;
            import(call, &tenant, manifest, dry_run)
        }
        Admission::Allow { of, chip } => {
            let tenant = call.tenant(of.tenant)?;
            let Chip { ek_hash, issuer, certificate_serial, class, model, name, serial_number, mac } = *chip;
            let issuer = issuer.map(|text| issuer_hash(&text, None)).transpose();
            let issuer = issuer.map_err(|why| {
                Complaint::new(
                    Exit::Usage,
                    "name the issuer",
                    why,
                    "give its certificate, or the hash of its key",
                )
            })?;
            let row = AllowedRow {
                line: 1,
                ek_hash,
                issuer,
                certificate_serial,
                class,
                model,
                name,
                serial_number,
                mac,
            };
            import(call, &tenant, Manifest { rows: vec![row], reports: Vec::new() }, false)
        }
        Admission::Allowed { of } => allowed(call, &of),
        Admission::Disallow { of, chip } => {
            let tenant = call.tenant(of.tenant)?;
            let what = format!("take {chip} off the list of {tenant}");
            let gone: Allowed = call.hub.post(&what, &at(&tenant, "allowed/remove"), &NotAllowed { chip })?;
            call.said(&gone, &format!("{} enrols by the list no longer", gone.chip))
        }
        Admission::Pending { of } => {
            let tenant = call.tenant(of.tenant)?;
            let what = format!("list the devices of {tenant} that wait");
            let held: Vec<HeldDevice> = call.hub.get(&what, &at(&tenant, "pending"), &[])?;
            pending(call, &held)
        }
        Admission::Approve { of, device } => decide(call, &of, &device, "approve"),
        Admission::Deny { of, device } => decide(call, &of, &device, "deny"),
        Admission::Measured { of, device } => {
            let tenant = call.tenant(of.tenant)?;
            let what = format!("show what the device {device} of {tenant} measured");
            let path = at(&tenant, &format!("devices/{device}/profile"));
            let found: Profile = call.hub.get(&what, &path, &[])?;
            measured(call, found)
        }
    }
}

pub(super) fn measurements(command: Measurements, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    match command {
        Measurements::Accept { of, label, device, only, register } => {
            let tenant = call.tenant(of.tenant)?;
            let registers =
                Some(register.into_iter().collect::<BTreeMap<_, _>>()).filter(|all| !all.is_empty());
            let body = NewMeasurement { label, device, only, registers };
            let what = format!("accept measurements of {tenant}");
            let made: Measurement = call.hub.post(&what, &at(&tenant, "measurements"), &body)?;
            accepted(call, &[made], true)
        }
        Measurements::List { of } => {
            let tenant = call.tenant(of.tenant)?;
            let what = format!("list the measurements that {tenant} accepts");
            let all: Vec<Measurement> = call.hub.get(&what, &at(&tenant, "measurements"), &[])?;
            accepted(call, &all, false)
        }
        Measurements::Remove { of, label } => {
            let tenant = call.tenant(of.tenant)?;
            let what = format!("remove {label:?} from the measurements that {tenant} accepts");
            let path = at(&tenant, "measurements/remove");
            let gone: NoMeasurement = call.hub.post(&what, &path, &NoMeasurement { label })?;
            call.said(&gone, &format!("{} is accepted no longer", gone.label))
        }
    }
}

/// `muster claim list`.
pub(super) fn list_claims(call: &mut Call<'_>, of: OfTenant) -> Result<Exit, Complaint> {
    let tenant = call.tenant(of.tenant)?;
    let what = format!("list the claims of {tenant}");
    let claims: Vec<ListedClaim> = call.hub.get(&what, &at(&tenant, "claims"), &[])?;
    if call.output == Output::Json {
        return call.json(&claims);
    }
    let now_s = call.now_ms / 1_000;
    let rows: Vec<_> = claims
        .into_iter()
        .map(|claim| {
            let state = match &claim.used_by {
                Some(device) => format!("used by {device}"),
                None if claim.expires_at_s < now_s => "ended".to_owned(),
                None => "unused".to_owned(),
            };
            let then = if claim.approve { "waits" } else { "enrols" };
            let model = claim.model.unwrap_or_else(|| "any".to_owned());
            [claim.id, model, shown_s(claim.expires_at_s), then.to_owned(), state]
        })
        .collect();
    let head = ["CLAIM", "MODEL", "EXPIRES", "DEVICE", "STATE"];
    table::write(call.out, head, &rows, "no claims: muster claim create")?;
    Ok(Exit::Ok)
}

/// `muster claim revoke`.
pub(super) fn revoke_claim(call: &mut Call<'_>, of: OfTenant, claim: &str) -> Result<Exit, Complaint> {
    let tenant = call.tenant(of.tenant)?;
    let path = at(&tenant, &format!("claims/{claim}/revoke"));
    let revoked: ListedClaim =
        call.hub.post(&format!("revoke the claim {claim} of {tenant}"), &path, &serde_json::json!({}))?;
    call.said(&revoked, &format!("the claim {} is worth nothing now", revoked.id))
}

fn at(tenant: &muster_schemas::TenantId, rest: &str) -> String {
    format!("/api/v1/tenants/{tenant}/{rest}")
}

/// Sends rows in parts, and prints a report for each. Ends as refused when a row was not taken.
fn import(
    call: &mut Call<'_>,
    tenant: &muster_schemas::TenantId,
    manifest: Manifest,
    dry_run: bool,
) -> Result<Exit, Complaint> {
    let Manifest { rows, mut reports } = manifest;
    let what = format!("put chips on the list of {tenant}");
    for part in rows.chunks(MANIFEST_ROWS_PER_CALL_MAX) {
        let body = NewAllowed { rows: part.to_vec(), dry_run };
        let answered: Vec<RowReport> = call.hub.post(&what, &at(tenant, "allowed"), &body)?;
        reports.extend(answered);
    }
    reports.sort_by_key(|report| report.line);
    let mut counts = BTreeMap::new();
    for report in &reports {
        *counts.entry(report.outcome.clone()).or_insert(0u64) += 1;
    }
    let taken = |report: &RowReport| matches!(report.outcome.as_str(), "accepted" | "updated" | "duplicate");
    let exit = if reports.iter().all(taken) { Exit::Ok } else { Exit::Refused };
    if call.output == Output::Json {
        call.json(&reports)?;
        return Ok(exit);
    }
    let rows: Vec<_> =
        reports.into_iter().map(|report| [report.line.to_string(), report.outcome, report.reason]).collect();
    table::write(call.out, ["LINE", "OUTCOME", "REASON"], &rows, "no rows: the manifest has only a head")?;
    let counts: Vec<String> = counts.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
    if !counts.is_empty() {
        let nothing = if dry_run { " (dry run: nothing was changed)" } else { "" };
        writeln!(call.out, "{}{nothing}", counts.join(", "))?;
    }
    Ok(exit)
}

fn allowed(call: &mut Call<'_>, of: &OfTenant) -> Result<Exit, Complaint> {
    let tenant = call.tenant(of.tenant.clone())?;
    let what = format!("list the chips of {tenant}");
    let mut chips: Vec<Allowed> = Vec::new();
    loop {
        let after = chips.last().map(|last| ("after", last.chip.clone()));
        let page: Vec<Allowed> = call.hub.get(&what, &at(&tenant, "allowed"), after.as_slice())?;
        // A page that brings nothing new would have us ask for ever.
        if page.is_empty() || page.last().map(|chip| &chip.chip) == chips.last().map(|chip| &chip.chip) {
            break;
        }
        chips.extend(page);
    }
    if call.output == Output::Json {
        return call.json(&chips);
    }
    let any = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let rows: Vec<_> = chips
        .into_iter()
        .map(|chip| {
            let name = chip.name.map(|name| name.to_string());
            [chip.chip, any(chip.model), any(name), any(chip.serial_number), any(chip.mac), any(chip.class)]
        })
        .collect();
    let head = ["CHIP", "MODEL", "NAME", "SERIAL NUMBER", "MAC", "CLASS"];
    table::write(call.out, head, &rows, "no chips are listed: muster device import, or allow")?;
    Ok(Exit::Ok)
}

fn decide(call: &mut Call<'_>, of: &OfTenant, device: &DeviceId, verb: &str) -> Result<Exit, Complaint> {
    let tenant = call.tenant(of.tenant.clone())?;
    let path = at(&tenant, &format!("pending/{device}/{verb}"));
    let what = format!("{verb} the device {device} of {tenant}");
    let held: HeldDevice = call.hub.post(&what, &path, &serde_json::json!({}))?;
    let then = match held.decision.as_str() {
        "approved" => "it enrols when it asks again, within half a minute",
        "denied" => "it is refused when it asks again",
        _ => "it waits",
    };
    call.said(&held, &format!("{device} is {}: {then}", held.decision))
}

fn pending(call: &mut Call<'_>, held: &[HeldDevice]) -> Result<Exit, Complaint> {
    if call.output == Output::Json {
        return call.json(&held);
    }
    let rows: Vec<_> = held
        .iter()
        .map(|held| {
            let ek: String = held.ek_hash.chars().take(8).collect();
            let serial = held.serial_number.clone().unwrap_or_else(|| "-".to_owned());
            let chip = format!("{} {ek}", held.tpm_class);
            let (device, last) = (held.device.to_string(), shown_s(held.last_at_s));
            [device, held.decision.clone(), held.reason.clone(), held.model.clone(), serial, chip, last]
        })
        .collect();
    let head = ["DEVICE", "DECISION", "REASON", "MODEL", "SERIAL NUMBER", "CHIP", "LAST SEEN"];
    table::write(call.out, head, &rows, "no device waits")?;
    for held in held {
        let (device, why) = (&held.device, table::printable(&held.explanation));
        writeln!(call.out, "\n{device}: {why}")?;
        if let Some(other) = &held.holder {
            let ek = other.ek_hash.as_deref().map_or("its chip has not come yet".to_owned(), |hash| {
                format!("chip {}", hash.chars().take(8).collect::<String>())
            });
            let enrolled = other.enrolled_at_s.map(|at| format!(", enrolled {}", shown_s(at)));
            writeln!(call.out, "  the other is {}: {ek}{}", other.device, enrolled.unwrap_or_default())?;
        }
        let next = match (held.reason.as_str(), held.decision.as_str()) {
            ("measurements", "waiting" | "approved") => {
                format!("muster measurement accept <label> --device {device}, or deny it")
            }
            (_, "approved") => "it enrols when it asks again".to_owned(),
            (_, "denied") => format!("muster device approve {device}, if you think better of it"),
            _ => format!("muster device approve {device}, or deny"),
        };
        writeln!(call.out, "  next: {next}")?;
    }
    Ok(Exit::Ok)
}

fn measured(call: &mut Call<'_>, found: Profile) -> Result<Exit, Complaint> {
    if call.output == Output::Json {
        return call.json(&found);
    }
    let any = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let Measured { registers, verdict, at_s } = found.measured;
    for (name, value) in [
        ("device", found.device.to_string()),
        ("name", any(found.name.map(|name| name.to_string()))),
        ("serial number", any(found.serial_number)),
        ("mac", any(found.mac)),
        ("measured", shown_s(at_s)),
        ("verdict", verdict),
    ] {
        writeln!(call.out, "{name:<14} {}", table::printable(&value))?;
    }
    for (index, value) in registers {
        writeln!(call.out, "{:<14} {value}", format!("register {index}"))?;
    }
    Ok(Exit::Ok)
}

fn accepted(call: &mut Call<'_>, all: &[Measurement], one: bool) -> Result<Exit, Complaint> {
    if call.output == Output::Json {
        return match all {
            [made] if one => call.json(made),
            _ => call.json(&all),
        };
    }
    let rows: Vec<_> = all
        .iter()
        .flat_map(|row| {
            row.registers.iter().map(|(index, value)| {
                [row.label.clone(), index.to_string(), value.clone(), shown_s(row.accepted_at_s)]
            })
        })
        .collect();
    let head = ["LABEL", "REGISTER", "VALUE", "ACCEPTED"];
    table::write(
        call.out,
        head,
        &rows,
        "nothing is accepted: muster measurement accept <label> --device <device>",
    )?;
    Ok(Exit::Ok)
}

impl Call<'_> {
    /// Says in a sentence what was done, or shows what the hub answered to a program.
    fn said(&mut self, answer: &impl serde::Serialize, sentence: &str) -> Result<Exit, Complaint> {
        if self.output == Output::Json {
            return self.json(answer);
        }
        writeln!(self.out, "{}", table::printable(sentence))?;
        Ok(Exit::Ok)
    }
}
