//! The authorities over HTTPS. What is signed and no secret - revocation lists, the trust object - anybody may fetch without
//! a certificate. To issue and to revoke is for operators.

use actix_web::{
    HttpResponse,
    http::header,
    web::{Data, Json, Path, Query},
};
use muster_broker::ReasonCode;
use muster_schemas::{
    Kind, Principal,
    api::{IssuedCertificate, NewCertificate, RevokeCertificate},
};
use rustls::pki_types::ServerName;
use serde::Deserialize;

use super::{Api, caller::Caller, error::ApiError};
use crate::{
    authority::{AuthorityError, Issued, PROFILES, PublicKey, Role, Serial, Tenants},
    keyring::pem,
    limits::SERVER_NAMES_MAX,
    registry::{
        Certificate, ClientKind, IssuedRow, ListIssued, ListedCertificate, RecordIssued, RecordRevocation,
        Revocation, RevocationReason, message::RegisterClient,
    },
};

/// `GET /crl/<authority>.crl` (DER) and `.pem`.
pub(super) async fn list(api: Data<Api>, file: Path<String>) -> Result<HttpResponse, ApiError> {
    let published = api.publication.now();
    let found = file.rsplit_once('.').and_then(|(name, form)| {
        let list = published.lists.iter().find(|list| list.name() == name)?;
        match form {
            "crl" => Some(("application/pkix-crl", list.der.clone())),
            "pem" => Some(("application/x-pem-file", list.pem().into())),
            _ => None,
        }
    });
    let (kind, body) = found.ok_or_else(|| {
        ApiError::not_found(
            "there is no such list",
            "ask for /crl/device.crl, or another authority's, or .pem",
        )
    })?;
    Ok(HttpResponse::Ok().insert_header((header::CONTENT_TYPE, kind)).body(body))
}

/// `GET /trust/<trust-domain>`: the trust object, CBOR.
pub(super) async fn object(api: Data<Api>, domain: Path<String>) -> Result<HttpResponse, ApiError> {
    let object = api.publication.now().object.clone();
    match object.filter(|_| *domain == api.trust.trust_domain().as_str()) {
        Some(object) => Ok(HttpResponse::Ok().content_type("application/cbor").body(object)),
        None => Err(ApiError::not_found(
            "this hub has no trust object of that installation",
            "ask with the trust domain of this hub; `muster check` says whether its software authority is missing",
        )),
    }
}

/// Which page of the list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    /// After this serial number.
    after: Option<String>,
}

/// `GET /api/v1/ca/certificates`: up to 1,000 by serial number.
pub(super) async fn issued(
    api: Data<Api>,
    caller: Caller,
    page: Query<Page>,
) -> Result<HttpResponse, ApiError> {
    caller.operator()?;
    let after = page.after.as_deref().map(serial).transpose()?;
    let listed = api.registry(ListIssued { after, only: None }).await?;
    let listed: Vec<IssuedCertificate> = listed.into_iter().map(shown).collect();
    Ok(HttpResponse::Ok().json(listed))
}

/// `GET /api/v1/ca/certificates/{serial}`.
pub(super) async fn show(
    api: Data<Api>,
    caller: Caller,
    text: Path<String>,
) -> Result<HttpResponse, ApiError> {
    caller.operator()?;
    Ok(HttpResponse::Ok().json(shown(find(&api, serial(&text)?).await?)))
}

/// `POST /api/v1/ca/certificates`.
pub(super) async fn issue(
    api: Data<Api>,
    caller: Caller,
    body: Json<NewCertificate>,
) -> Result<HttpResponse, ApiError> {
    caller.operator()?;
    let asked = body.into_inner();
    let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == asked.kind);
    let kind = kind.filter(|kind| *kind != Kind::Device).ok_or_else(|| {
        wrong(
            "the kind is none of app, user, service, relay, node and software",
            "devices enrol by themselves",
        )
    })?;
    let tenant = match (kind, &asked.tenant) {
        (Kind::Node, None) | (Kind::User | Kind::Software, None) => Principal::operator_tenant(),
        (Kind::Node, Some(_)) => {
            return Err(wrong("a node belongs to no tenant", "name the tenants it may serve in `tenants`"));
        }
        (_, Some(tenant)) => tenant.clone(),
        (_, None) => return Err(wrong("no tenant was named", "name the tenant it belongs to")),
    };
    // Of the signing request only the key is taken, after its signature has proved that the caller has it.
    let key = PublicKey::from_csr_pem(&asked.csr_pem).map_err(|error| {
        let next = "send a PKCS #10 request for a P-256 key, signed with that key";
        ApiError::malformed("the signing request was refused", format!("it {error}"), next)
    })?;
    let trust_domain = api.trust.trust_domain().clone();
    let principal = Principal { trust_domain, tenant: tenant.clone(), kind, id: asked.id.clone() };
    let (issued, tenants) = sign(&api, &key, &principal, &asked)?;

    if let Some(kind) = ClientKind::of(kind) {
        let certificate = Certificate::of(&issued.leaf);
        let (id, replace) = (asked.id, asked.replace);
        api.registry(RegisterClient { tenant, kind, id, certificate, replace }).await??;
        if replace {
            let reason = "another certificate took the place of this session's; connect with it";
            api.bus.close_sessions(&principal, ReasonCode::NotAuthorized, reason);
        }
    }
    let row = IssuedRow::of(&issued.leaf, tenants, api.now_s());
    api.registry(RecordIssued(row.clone())).await??;
    tracing::info!(%principal, serial = %row.serial, "certificate issued");
    let role = row.authority;
    let above = api.trust.signer(&issued.certificate).map(|(_, authority)| authority);
    let above = above.ok_or_else(|| ApiError::unavailable(&format!("the {role} authority")))?;
    Ok(HttpResponse::Created().json(IssuedCertificate {
        certificate_pem: Some(pem(&[issued.certificate, above])),
        ca_pem: Some(pem(std::slice::from_ref(api.trust.root()))),
        ..shown(ListedCertificate { row, revoked: None })
    }))
}

/// `POST /api/v1/ca/certificates/{serial}/revoke`.
pub(super) async fn revoke(
    api: Data<Api>,
    caller: Caller,
    text: Path<String>,
    body: Json<RevokeCertificate>,
) -> Result<HttpResponse, ApiError> {
    caller.operator()?;
    let ListedCertificate { row, .. } = find(&api, serial(&text)?).await?;
    let reason = match body.reason.as_deref() {
        None => RevocationReason::Unspecified,
        Some(text) => {
            text.parse().map_err(|error| wrong(&format!("the reason {error}"), "choose one of them"))?
        }
    };
    let now_s = api.now_s();
    if body.invalid_since_s.is_some_and(|since| since > now_s) {
        return Err(wrong("the date of the compromise lies in the future", "name a date that has passed"));
    }
    let revocation = Revocation {
        authority: row.authority,
        serial: row.serial,
        not_after_s: row.not_after_s,
        revoked_at_s: now_s,
        reason,
        invalid_since_s: body.invalid_since_s,
        principal: row.principal.clone(),
    };
    api.registry(RecordRevocation(revocation)).await??;
    let told = "the certificate of this session was revoked; ask the operator of the hub";
    api.bus.close_sessions(&row.principal, ReasonCode::NotAuthorized, told);
    tracing::info!(principal = %row.principal, serial = %row.serial, %reason, "certificate revoked");
    Ok(HttpResponse::Ok().json(shown(find(&api, row.serial).await?)))
}

/// Signs what was asked for, and says which tenants a hub may serve by it.
fn sign(
    api: &Api,
    key: &PublicKey,
    principal: &Principal,
    asked: &NewCertificate,
) -> Result<(Issued, Option<String>), ApiError> {
    let role = Role::of(principal.kind);
    let authority = api.signers.of(role).ok_or_else(|| {
        let next = "put authorities/root.key back for one start of the hub; it makes what is missing";
        ApiError::not_found(&format!("this hub has no {role} authority"), next)
    })?;
    let profile = PROFILES.into_iter().find(|(kind, ..)| *kind == principal.kind);
    let (_, life_s, most_s) = profile.ok_or_else(|| ApiError::unavailable("the profile"))?;
    let validity_s = asked.validity_s.unwrap_or(life_s);
    if validity_s == 0 || validity_s > most_s {
        let why = format!("a {} lives 1 to {most_s} seconds", principal.kind);
        return Err(wrong(&why, "ask for less, or leave it out"));
    }
    if principal.kind != Kind::Node {
        if !asked.tenants.is_empty() || !asked.names.is_empty() {
            return Err(wrong("only a node has names and tenants that it may serve", "leave them out"));
        }
        let issued = authority.issue_principal(key, principal, api.now_s(), validity_s);
        return Ok((issued.map_err(|error| not_signed(&error))?, None));
    }
    let tenants = Tenants::of_names(asked.tenants.iter().map(String::as_str))
        .map_err(|error| wrong(&format!("the list of tenants {error}"), "name them, or `*` alone for all"))?;
    let names = asked.names.iter().map(|name| ServerName::try_from(name.clone()));
    let names: Vec<_> = names
        .collect::<Result<_, _>>()
        .map_err(|_| wrong("one of the names is neither a DNS name nor an address", "correct it"))?;
    if names.len() > SERVER_NAMES_MAX {
        return Err(wrong("there are more names than a certificate has", "ask for fewer"));
    }
    let issued = authority.issue_server(key, principal, (&names, &tenants), api.now_s(), validity_s);
    Ok((issued.map_err(|error| not_signed(&error))?, Some(tenants.to_string())))
}

async fn find(api: &Api, serial: Serial) -> Result<ListedCertificate, ApiError> {
    let found = api.registry(ListIssued { after: None, only: Some(serial) }).await?.pop();
    found.ok_or_else(|| {
        let next = "`muster ca list` shows them; a device's is revoked with `muster device revoke`";
        ApiError::not_found("no certificate of that serial number was issued, or it has ended", next)
    })
}

fn serial(text: &str) -> Result<Serial, ApiError> {
    text.parse().map_err(|_| wrong("a serial number is 32 hexadecimal digits", "`muster ca list` shows them"))
}

fn wrong(why: &str, next: &str) -> ApiError {
    ApiError::malformed("the certificate was refused", why, next)
}

fn not_signed(error: &AuthorityError) -> ApiError {
    tracing::error!(%error, "failed to issue a certificate");
    ApiError::unavailable("the authority")
}

fn shown(ListedCertificate { row, revoked }: ListedCertificate) -> IssuedCertificate {
    IssuedCertificate {
        serial: row.serial.to_string(),
        authority: row.authority.to_string(),
        principal: row.principal.to_string(),
        issued_at_s: row.issued_at_s,
        not_after_s: row.not_after_s,
        tenants: row.tenants,
        revoked_at_s: revoked.as_ref().map(|revoked| revoked.revoked_at_s),
        reason: revoked.map(|revoked| revoked.reason.to_string()),
        certificate_pem: None,
        ca_pem: None,
    }
}
