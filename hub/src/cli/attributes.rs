//! What a tenant says of its devices, apps and users, for its access rules.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
};

use clap::Args;
use muster_schemas::{
    DeviceId,
    api::rules::{Attributed, NewAttributes},
};

use super::{Call, Complaint, Exit, OfTenant, Output, table::printable};

#[derive(Debug, Args)]
pub(super) struct Set {
    #[command(flatten)]
    of: OfTenant,
    /// Its id.
    id: DeviceId,
    /// Names and texts, such as district=d7; several texts with commas, and none takes the name away. Without any, and
    /// without groups, shows what there is.
    attributes: Vec<Assignment>,
    /// A group that it is in, in place of those it has; may be given several times, and empty for none.
    #[arg(long, value_name = "NAME")]
    group: Vec<String>,
}

/// `district=d7,d8`.
#[derive(Debug, Clone)]
struct Assignment(String, BTreeSet<String>);

impl FromStr for Assignment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, texts) = text
            .split_once('=')
            .ok_or_else(|| format!("{text:?} is no attribute; write one such as district=d7"))?;
        let texts = texts.split(',').map(str::trim).filter(|text| !text.is_empty());
        Ok(Self(name.to_owned(), texts.map(str::to_owned).collect()))
    }
}

pub(super) fn set(many: &str, command: Set, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    let Set { of, id, attributes, group } = command;
    let tenant = call.tenant(of.tenant)?;
    let path = format!("/api/v1/tenants/{tenant}/{many}/{id}/attributes");
    let found: Attributed = if attributes.is_empty() && group.is_empty() {
        call.hub.get(&format!("show the attributes of {id}"), &path, &[])?
    } else {
        let attributes: BTreeMap<_, _> =
            attributes.into_iter().map(|Assignment(name, texts)| (name, texts)).collect();
        let is_named = !group.is_empty();
        let groups = group.into_iter().filter(|name| !name.is_empty()).collect();
        let body = NewAttributes { attributes, groups: is_named.then_some(groups) };
        call.hub.put(&format!("set the attributes of {id}"), &path, &body)?
    };
    if call.output == Output::Json {
        return call.json(&found);
    }
    let joined = |texts: &BTreeSet<String>| texts.iter().map(String::as_str).collect::<Vec<_>>().join(",");
    writeln!(call.out, "{} {}", found.kind, found.id)?;
    for (name, texts) in &found.attributes {
        writeln!(call.out, "{name}={}", printable(&joined(texts)))?;
    }
    if !found.groups.is_empty() {
        writeln!(call.out, "groups: {}", printable(&joined(&found.groups)))?;
    }
    Ok(Exit::Ok)
}
