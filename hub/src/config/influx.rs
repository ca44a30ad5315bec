//! `[influx]`: the InfluxDB 2 server that telemetry is sent to as well.

use std::{collections::BTreeMap, path::Path};

use muster_influx::server::{InvalidServer, Server, name};

use super::reader::{ConfigError, Section};
use crate::{
    influx::Influx,
    limits::{INFLUX_CA_BYTES_MAX, INFLUX_TENANTS_MAX},
    private_file,
};

const URL: &str = "https://, a host and a port, as in \"https://influx.example:8086\"; without TLS only to this machine, or \
                   to the hosts of influx.without_tls";
const NAME: &str = "a name of 1 to 256 bytes";

pub(super) fn read(top: &mut Section<'_>, beside: &Path) -> Result<Option<Influx>, ConfigError> {
    let Some(mut section) = top.optional_section("influx")? else { return Ok(None) };
    let url: String = section.required("url", URL)?;
    let org: String = section.required("org", "the name of an organisation there")?;
    let tokens: String =
        section.required("tokens", "a folder with a file for each tenant, named as it, with its token")?;
    let authorities = match section.text("ca_file")? {
        Some(file) => {
            let wrong = |_| section.wrong("ca_file", "the path of a PEM file with certificates");
            Some(private_file::read_public(&beside.join(file), INFLUX_CA_BYTES_MAX).map_err(wrong)?)
        }
        None => None,
    };
    let plain = section.texts("without_tls")?.unwrap_or_default();
    let server = Server::new(&url, &org, authorities.as_deref(), &plain).map_err(|why| match why {
        InvalidServer::Name => section.wrong("org", NAME),
        InvalidServer::Authorities => section.wrong("ca_file", "the path of a PEM file with certificates"),
        InvalidServer::Url(_) | InvalidServer::Path | InvalidServer::Plain(_) => section.wrong("url", URL),
    })?;
    let mut tenants = section.section("tenants")?;
    let named = tenants.named_sections()?;
    if named.len() > INFLUX_TENANTS_MAX {
        return Err(section.wrong("tenants", "at most 4096 sections"));
    }
    let mut buckets = BTreeMap::new();
    for (id, mut of) in named {
        let tenant =
            id.parse().map_err(|_| tenants.wrong(&id, "a section whose name is the id of a tenant"))?;
        let bucket: String = of.required("bucket", "the name of the tenant's bucket")?;
        name(&bucket).map_err(|_| of.wrong("bucket", NAME))?;
        if buckets.values().any(|other| *other == bucket) {
            return Err(of.wrong("bucket", "one that no other tenant has"));
        }
        buckets.insert(tenant, bucket);
        of.finish()?;
    }
    section.finish()?;
    Ok(Some(Influx { server, tokens: beside.join(tokens), buckets }))
}
