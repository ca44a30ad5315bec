//! Data sets, and grants of them.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Args, Subcommand};
use muster_schemas::{
    DeviceId, TenantId,
    api::rules::{DataSet, Grant, NewGrant},
};

use super::{
    Call, Complaint, Exit, OfTenant, Output, table,
    time::{When, duration_s, shown_s},
};

#[derive(Debug, Subcommand)]
pub(super) enum DataSets {
    /// Name a part of what the tenant has, or name another part so. What is not said does not limit it.
    Put(Box<Part>),
    /// List them.
    List {
        #[command(flatten)]
        of: OfTenant,
    },
    /// Forget one.
    Remove {
        #[command(flatten)]
        of: OfTenant,
        /// Its name.
        name: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Part {
    #[command(flatten)]
    of: OfTenant,
    /// Its name.
    name: String,
    /// Only of this device; may be given several times.
    #[arg(long)]
    device: Vec<DeviceId>,
    /// Only of streams of this name; may be given several times.
    #[arg(long)]
    stream: Vec<String>,
    /// Only items of devices with this attribute, such as district=d7; may be given several times.
    #[arg(long, value_name = "NAME=TEXT")]
    with: Vec<String>,
    /// Only what was captured at this time or later.
    #[arg(long, value_name = "TIME")]
    from: Option<When>,
    /// Only what was captured before this time.
    #[arg(long, value_name = "TIME")]
    to: Option<When>,
}

pub(super) fn data_sets(command: DataSets, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    let all: Vec<DataSet> = match command {
        DataSets::Put(part) => {
            let Part { of, name, device, stream, with, from, to } = *part;
            let tenant = call.tenant(of.tenant)?;
            let what = format!("name the data set {name}");
            let mut attributes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for text in with {
                let unclear = || {
                    let why = format!("{text:?} is no attribute");
                    Complaint::new(Exit::Usage, &what, why, "write one such as --with district=d7")
                };
                let (name, text) = text.split_once('=').ok_or_else(unclear)?;
                attributes.entry(name.to_owned()).or_default().insert(text.to_owned());
            }
            let now_ms = call.now_ms;
            let ms = |at: When| i64::try_from(at.unix_ms(now_ms)).unwrap_or(i64::MAX);
            let path = format!("/api/v1/tenants/{tenant}/datasets/{name}");
            let body = DataSet {
                name,
                devices: device.into_iter().collect(),
                streams: stream.into_iter().collect(),
                attributes,
                from_ms: from.map(ms),
                to_ms: to.map(ms),
            };
            vec![call.hub.put(&what, &path, &body)?]
        }
        DataSets::List { of } => {
            let tenant = call.tenant(of.tenant)?;
            let path = format!("/api/v1/tenants/{tenant}/datasets");
            call.hub.get(&format!("list the data sets of {tenant}"), &path, &[])?
        }
        DataSets::Remove { of, name } => {
            let tenant = call.tenant(of.tenant)?;
            let path = format!("/api/v1/tenants/{tenant}/datasets/{name}");
            vec![call.hub.delete(&format!("remove the data set {name}"), &path)?]
        }
    };
    if call.output == Output::Json {
        return call.json(&all);
    }
    let joined = |texts: Vec<String>| if texts.is_empty() { "all".to_owned() } else { texts.join(" ") };
    let ms =
        |at: Option<i64>| at.map_or("-".to_owned(), |at| shown_s(u64::try_from(at / 1_000).unwrap_or(0)));
    let rows: Vec<_> = all
        .into_iter()
        .map(|set| {
            let attributes = set.attributes.into_iter();
            let attributes = attributes
                .flat_map(|(name, texts)| texts.into_iter().map(move |text| format!("{name}={text}")));
            [
                set.name,
                joined(set.devices.iter().map(ToString::to_string).collect()),
                joined(set.streams.into_iter().collect()),
                joined(attributes.collect()),
                ms(set.from_ms),
                ms(set.to_ms),
            ]
        })
        .collect();
    let head = ["DATA SET", "DEVICES", "STREAMS", "ATTRIBUTES", "FROM", "TO"];
    table::write(call.out, head, &rows, "no data sets")?;
    Ok(Exit::Ok)
}

#[derive(Debug, Subcommand)]
pub(super) enum Grants {
    /// Share a data set with another tenant, which reads it with `muster telemetry --tenant <yours>`.
    Add {
        #[command(flatten)]
        of: OfTenant,
        /// The data set.
        data_set: String,
        /// With whom.
        #[arg(long)]
        to: TenantId,
        /// For how long, such as 24h or 30d.
        #[arg(long, default_value = "30d", value_parser = duration_s)]
        expires_in: u64,
    },
    /// List what is shared, and what is shared with the tenant.
    List {
        #[command(flatten)]
        of: OfTenant,
    },
    /// Take a grant back: what it showed is shown no more.
    Revoke {
        #[command(flatten)]
        of: OfTenant,
        /// Its number.
        grant: u64,
    },
}

pub(super) fn grants(command: Grants, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    let all: Vec<Grant> = match command {
        Grants::Add { of, data_set, to, expires_in } => {
            let tenant = call.tenant(of.tenant)?;
            let path = format!("/api/v1/tenants/{tenant}/grants");
            let what = format!("share the data set {data_set} with {to}");
            vec![call.hub.post(&what, &path, &NewGrant { to, data_set, expires_in_s: expires_in })?]
        }
        Grants::List { of } => {
            let tenant = call.tenant(of.tenant)?;
            let path = format!("/api/v1/tenants/{tenant}/grants");
            call.hub.get(&format!("list the grants of {tenant}"), &path, &[])?
        }
        Grants::Revoke { of, grant } => {
            let tenant = call.tenant(of.tenant)?;
            let path = format!("/api/v1/tenants/{tenant}/grants/{grant}");
            vec![call.hub.delete(&format!("take the grant {grant} back"), &path)?]
        }
    };
    if call.output == Output::Json {
        return call.json(&all);
    }
    let rows: Vec<_> = all
        .into_iter()
        .map(|grant| {
            let (from, to) = (grant.tenant.to_string(), grant.to.to_string());
            [grant.grant.to_string(), from, to, grant.data_set, shown_s(grant.expires_at_s), grant.given_by]
        })
        .collect();
    let head = ["GRANT", "OF", "TO", "DATA SET", "EXPIRES", "BY"];
    table::write(call.out, head, &rows, "nothing is shared")?;
    Ok(Exit::Ok)
}
