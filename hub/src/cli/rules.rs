//! A tenant's access rules.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use muster_policy::limits::POLICY_TEXT_BYTES_MAX;
use muster_schemas::{
    TenantId,
    api::rules::{NewPolicies, PolicyVersion},
};

use super::{
    Call, Complaint, Exit, OfTenant, Output, World,
    table::{self, printable},
    time::shown_s,
};
use crate::private_file;

#[derive(Debug, Subcommand)]
pub(super) enum Policies {
    /// Say what is wrong with a text of policies, without a hub.
    Check {
        /// The text, in Cedar.
        file: PathBuf,
    },
    /// Put policies in place of those that hold.
    Put {
        #[command(flatten)]
        of: OfTenant,
        /// The text, in Cedar.
        file: PathBuf,
        /// Refuse if there is a later version than this one.
        #[arg(long, value_name = "VERSION")]
        after: Option<u64>,
    },
    /// List the versions that are kept.
    List {
        #[command(flatten)]
        of: OfTenant,
    },
    /// Show the text that holds, or that of a version.
    Show {
        #[command(flatten)]
        of: OfTenant,
        /// Its number.
        version: Option<u64>,
    },
    /// Put the text of an earlier version in place of that which holds.
    Rollback {
        #[command(flatten)]
        of: OfTenant,
        /// Its number.
        version: u64,
    },
    /// Have no policies: every app and user of the tenant reads all of it.
    Clear {
        #[command(flatten)]
        of: OfTenant,
    },
}

pub(super) fn policies(command: Policies, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    let put = match command {
        Policies::Check { .. } => return Ok(Exit::Ok),
        Policies::Put { of, file, after } => {
            let tenant = call.tenant(of.tenant)?;
            let text = read(&file, &format!("put the policies of {tenant}"))?;
            let body = NewPolicies { text: Some(text), after };
            put(&tenant, "", &body, call)?
        }
        Policies::Clear { of } => {
            let tenant = call.tenant(of.tenant)?;
            put(&tenant, "", &NewPolicies::default(), call)?
        }
        Policies::Rollback { of, version } => {
            let tenant = call.tenant(of.tenant)?;
            put(&tenant, &format!("/{version}/restore"), &(), call)?
        }
        Policies::List { of } => {
            let tenant = call.tenant(of.tenant)?;
            let all = list(&tenant, call)?;
            return show(&all, call);
        }
        Policies::Show { of, version } => {
            let tenant = call.tenant(of.tenant)?;
            let version = match version {
                Some(version) => version,
                None => match list(&tenant, call)?.last() {
                    Some(last) => last.version,
                    None => return show(&[], call),
                },
            };
            let path = format!("/api/v1/tenants/{tenant}/policies/{version}");
            let found: PolicyVersion = call.hub.get(&format!("show the policies of {tenant}"), &path, &[])?;
            if call.output == Output::Json {
                return call.json(&found);
            }
            for line in found.text.as_deref().unwrap_or("// no policies").lines() {
                writeln!(call.out, "{}", printable(&line.replace('\t', "    ")))?;
            }
            return Ok(Exit::Ok);
        }
    };
    if call.output == Output::Json {
        return call.json(&put);
    }
    show(&[put], call)
}

fn put(
    tenant: &TenantId,
    to: &str,
    body: &impl serde::Serialize,
    call: &mut Call<'_>,
) -> Result<PolicyVersion, Complaint> {
    call.hub.post(
        &format!("put the policies of {tenant}"),
        &format!("/api/v1/tenants/{tenant}/policies{to}"),
        body,
    )
}

fn list(tenant: &TenantId, call: &mut Call<'_>) -> Result<Vec<PolicyVersion>, Complaint> {
    let path = format!("/api/v1/tenants/{tenant}/policies");
    call.hub.get(&format!("list the policies of {tenant}"), &path, &[])
}

fn show(all: &[PolicyVersion], call: &mut Call<'_>) -> Result<Exit, Complaint> {
    if call.output == Output::Json {
        return call.json(&all);
    }
    let rows: Vec<_> = all
        .iter()
        .map(|row| {
            let restores = row.restores.map(|version| format!(" (that of {version})")).unwrap_or_default();
            [
                row.version.to_string(),
                if row.holds { "holds" } else { "-" }.to_owned(),
                shown_s(row.put_at_s),
                row.put_by.clone(),
                row.names.as_ref().map_or("none: all is read".to_owned(), |names| names.join(" "))
                    + &restores,
            ]
        })
        .collect();
    let none = "no policies: every app and user of the tenant reads all of it";
    table::write(call.out, ["VERSION", "STATE", "PUT", "BY", "POLICIES"], &rows, none)?;
    Ok(Exit::Ok)
}

/// Tells everything that is wrong, a line for each.
pub(super) fn check(file: &Path, output: Output, world: &mut World<'_>) -> Result<Exit, Complaint> {
    let text = read(file, "check the policies")?;
    let faults = match muster_policy::Policies::parse(&text) {
        Ok(policies) if output == Output::Table => {
            writeln!(world.out, "{}: {} policies, nothing wrong", file.display(), policies.len())?;
            return Ok(Exit::Ok);
        }
        Ok(_) => Vec::new(),
        Err(faults) => faults,
    };
    let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
    if output == Output::Json {
        let text = serde_json::to_string(&told).map_err(std::io::Error::other)?;
        writeln!(world.out, "{text}")?;
    } else {
        for fault in &told {
            writeln!(world.out, "{}: {}", file.display(), printable(fault))?;
        }
    }
    Ok(if told.is_empty() { Exit::Ok } else { Exit::Failure })
}

fn read(file: &Path, what: &str) -> Result<String, Complaint> {
    let unread = |why: String| Complaint::new(Exit::Usage, what, why, "name a file with policies in Cedar");
    // One more, so that what is too long is told as such.
    let bytes = private_file::read_public(file, POLICY_TEXT_BYTES_MAX + 1)
        .map_err(|error| unread(format!("failed to {error}")))?;
    String::from_utf8(bytes).map_err(|_| unread(format!("{} is not text", file.display())))
}
