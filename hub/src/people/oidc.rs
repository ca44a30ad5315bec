//! The second provider: bearer tokens of an OpenID Connect issuer that the configuration trusts for named tenants. A token
//! is looked at and forgotten: it is stored nowhere and in no log. It says who calls; whether that user may act is the
//! registry's to say.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use muster_schemas::{DeviceId, Kind, Principal, TenantId, TrustDomain};
use serde_json::{Map, Value};

use super::{
    Evidence, Proof, Provider, Unproved,
    token::{InvalidKeys, IssuerKeys, Token},
};
use crate::{
    limits::{OIDC_CLOCK_SKEW_S, OIDC_KEYS_BYTES_MAX, OIDC_TOKEN_LIFE_S_MAX},
    private_file::{self, PrivateFileError},
};

/// An issuer that is trusted, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// What its tokens say in `iss`, to the letter.
    pub issuer: String,
    /// What its tokens for this hub say in `aud`.
    pub audience: String,
    /// The file with its public keys, a JWK Set.
    pub jwks_file: PathBuf,
    /// The tenants whose users it may name. Never the hub's own: operators come with a key of their own.
    pub tenants: Vec<TenantId>,
    /// The claim that names the tenant; absent where there is but one.
    pub tenant_claim: Option<String>,
    /// The claim that names the user.
    pub user_claim: String,
    /// The users by what that claim says, where that is not an id itself. If there are any, no others are let in.
    pub users: BTreeMap<String, DeviceId>,
}

/// Why the keys of an issuer are not there.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    /// The file could not be read.
    #[error("read the keys of an issuer")]
    File(#[from] PrivateFileError),
    /// It holds no keys.
    #[error("use the keys of the issuer {issuer:?}: {} {why}", file.display())]
    Keys {
        /// The issuer.
        issuer: String,
        /// The file.
        file: PathBuf,
        /// Why not.
        why: InvalidKeys,
    },
}

/// An issuer with its keys.
#[derive(Debug)]
struct Known {
    issuer: Issuer,
    keys: IssuerKeys,
}

/// Proves whom the issuers name.
#[derive(Debug)]
pub struct Oidc {
    trust_domain: TrustDomain,
    issuers: Vec<Issuer>,
    known: ArcSwap<Vec<Known>>,
}

impl Oidc {
    /// A provider that trusts these issuers.
    ///
    /// # Errors
    /// The keys of one are not there.
    pub fn new(trust_domain: TrustDomain, issuers: Vec<Issuer>) -> Result<Self, OidcError> {
        let known = ArcSwap::from_pointee(read(&issuers)?);
        Ok(Self { trust_domain, issuers, known })
    }

    /// Reads all keys anew.
    ///
    /// # Errors
    /// Those of one are not there; all stay as they were.
    pub fn reload(&self) -> Result<(), OidcError> {
        self.known.store(Arc::new(read(&self.issuers)?));
        Ok(())
    }

    fn named(&self, now_s: u64, text: &str) -> Result<Principal, Unproved> {
        let token = Token::parse(text).map_err(|invalid| unproved(invalid.to_string()))?;
        let known = self.known.load();
        let said = known.iter().find(|known| token.said_issuer() == Some(known.issuer.issuer.as_str()));
        let Known { issuer, keys } =
            said.ok_or_else(|| unproved("the token is of an issuer that is not trusted"))?;
        let claims = token.check(keys).map_err(|invalid| unproved(invalid.to_string()))?;
        check_claims(now_s, &claims, issuer)?;
        let (tenant, id) = user(&claims, issuer)?;
        Ok(Principal { trust_domain: self.trust_domain.clone(), tenant, kind: Kind::User, id })
    }
}

impl Provider for Oidc {
    fn prove(&self, now_s: u64, evidence: &Evidence<'_>) -> Option<Result<Proof, Unproved>> {
        let bearer = evidence.bearer?;
        Some(self.named(now_s, bearer).map(Proof::Named))
    }
}

fn read(issuers: &[Issuer]) -> Result<Vec<Known>, OidcError> {
    let known = issuers.iter().map(|issuer| {
        let json = private_file::read_public(&issuer.jwks_file, OIDC_KEYS_BYTES_MAX)?;
        let keys = IssuerKeys::parse(&json).map_err(|why| OidcError::Keys {
            issuer: issuer.issuer.clone(),
            file: issuer.jwks_file.clone(),
            why,
        })?;
        Ok(Known { issuer: issuer.clone(), keys })
    });
    known.collect()
}

/// For whom and for when the token is.
fn check_claims(now_s: u64, claims: &Map<String, Value>, issuer: &Issuer) -> Result<(), Unproved> {
    let is_ours = |audience: &Value| audience.as_str() == Some(issuer.audience.as_str());
    let for_us = match claims.get("aud") {
        Some(Value::Array(all)) => all.iter().any(is_ours),
        Some(one) => is_ours(one),
        None => false,
    };
    if !for_us {
        return Err(unproved("the token is for another audience"));
    }
    let exp = time(claims, "exp")?.ok_or_else(|| unproved("the token does not say when it ends"))?;
    if exp.saturating_add(OIDC_CLOCK_SKEW_S) <= now_s {
        return Err(unproved("the token has ended"));
    }
    if exp > now_s.saturating_add(OIDC_TOKEN_LIFE_S_MAX) {
        return Err(unproved("the token is good for longer than tokens may be here"));
    }
    for begin in ["nbf", "iat"] {
        if time(claims, begin)?.is_some_and(|begin_s| begin_s > now_s.saturating_add(OIDC_CLOCK_SKEW_S)) {
            return Err(unproved("the token is not good yet"));
        }
    }
    Ok(())
}

/// A NumericDate (RFC 7519 §2), its fraction cut off. One that is there and is none is an error.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, Unproved> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let whole =
        value.as_u64().or_else(|| value.as_f64().filter(|s| (0.0..4e9).contains(s)).map(|s| s as u64));
    whole.map(Some).ok_or_else(|| unproved("a time in the token is not a time"))
}

fn user(claims: &Map<String, Value>, issuer: &Issuer) -> Result<(TenantId, DeviceId), Unproved> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let tenant = match (&issuer.tenant_claim, issuer.tenants.as_slice()) {
        (None, [tenant]) => Some(tenant),
        (None, _) => None,
        (Some(claim), tenants) => tenants.iter().find(|tenant| text(claim) == Some(tenant.as_str())),
    };
    let tenant = tenant.ok_or_else(|| unproved("the token is of no tenant that its issuer may speak for"))?;
    let said = text(&issuer.user_claim).ok_or_else(|| unproved("the token names no user"))?;
    let id = match issuer.users.get(said) {
        Some(id) => Some(id.clone()),
        None if issuer.users.is_empty() => said.parse().ok(),
        None => None,
    };
    let id = id.ok_or_else(|| unproved("the token names nobody who is a user here"))?;
    Ok((tenant.clone(), id))
}

fn unproved(why: impl Into<String>) -> Unproved {
    let next =
        "get a new token of the issuer that the operator of the hub configured, for this hub's audience";
    Unproved { code: "token_refused", why: why.into(), next }
}

#[cfg(test)]
#[path = "oidc_tests.rs"]
mod tests;
