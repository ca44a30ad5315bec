//! `[[oidc]]`: issuers of bearer tokens, and for whose users they speak.

use std::{collections::BTreeMap, path::Path};

use muster_schemas::Principal;

use super::reader::{ConfigError, Section};
use crate::{limits::OIDC_ISSUERS_MAX, people::Issuer};

pub(super) fn read(top: &mut Section<'_>, beside: &Path) -> Result<Vec<Issuer>, ConfigError> {
    let entries = top.sections("oidc")?;
    if entries.len() > OIDC_ISSUERS_MAX {
        return Err(top.wrong("oidc", "at most 16 entries"));
    }
    let mut issuers: Vec<Issuer> = Vec::with_capacity(entries.len());
    for mut entry in entries {
        const TENANTS: &str = "a list of tenants' ids, such as [\"acme\"], and never \"operator\"";
        let issuer: String = entry.required("issuer", "what tokens say in `iss`")?;
        let audience = entry.required("audience", "what tokens for this hub say in `aud`")?;
        let file: String = entry.required("jwks_file", "the path of a JWK Set")?;
        let named = entry.texts("tenants")?.ok_or_else(|| entry.missing("tenants", TENANTS))?;
        let tenants: Result<Vec<_>, _> = named.iter().map(|tenant| tenant.parse()).collect();
        let tenants = tenants.map_err(|_| entry.wrong("tenants", TENANTS))?;
        if tenants.is_empty() || tenants.contains(&Principal::operator_tenant()) {
            return Err(entry.wrong("tenants", TENANTS));
        }
        let tenant_claim = entry.text("tenant_claim")?;
        if tenant_claim.is_none() && tenants.len() > 1 {
            return Err(entry.missing("tenant_claim", "the claim that says which of the tenants"));
        }
        let user_claim = entry.text("user_claim")?.unwrap_or_else(|| "sub".to_owned());
        let mut users = BTreeMap::new();
        for pair in entry.texts("users")?.unwrap_or_default() {
            const USERS: &str = "a list of the form [\"<what the claim says> = <user's id>\"]";
            let (said, id) = pair.rsplit_once('=').ok_or_else(|| entry.wrong("users", USERS))?;
            let id = id.trim().parse().map_err(|_| entry.wrong("users", USERS))?;
            users.insert(said.trim().to_owned(), id);
        }
        if issuers.iter().any(|other| other.issuer == issuer) {
            return Err(entry.wrong("issuer", "one that no other entry has"));
        }
        entry.finish()?;
        let jwks_file = beside.join(file);
        issuers.push(Issuer { issuer, audience, jwks_file, tenants, tenant_claim, user_claim, users });
    }
    Ok(issuers)
}
