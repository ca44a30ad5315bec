//! `/api/v1/webauthn`: registering hardware keys, and logging in with them. The session that a login gives goes into the
//! header of each call and into no cookie, so that no other page can have a browser send it.

use actix_web::{
    HttpResponse,
    http::StatusCode,
    web::{self, Data, Json, Path},
};
use data_encoding::BASE64URL_NOPAD;
use muster_schemas::{
    Kind, Principal,
    api::webauthn::{Challenge, Key, LoginBegin, LoginFinish, NewKey, Session},
};

use super::{Api, caller::Caller, error::ApiError};
use crate::{
    authority::PublicKey,
    limits::WEBAUTHN_STATEMENT_BYTES_MAX,
    people::{Assertion, Purpose, RelyingParty},
    registry::{
        ClientKind,
        keys::{AddKey, FindKey, ListKeys, RemoveKey, SecurityKey, UseKey},
    },
};

/// ES256, as COSE numbers it.
const ES256: i32 = -7;

/// Every route.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(
        web::scope("/api/v1/webauthn")
            .route("/register/begin", web::post().to(register_begin))
            .route("/register/finish", web::post().to(register_finish))
            .route("/login/begin", web::post().to(login_begin))
            .route("/login/finish", web::post().to(login_finish))
            .route("/keys", web::get().to(list))
            .route("/keys/{credential}", web::delete().to(remove)),
    );
}

async fn register_begin(api: Data<Api>, caller: Caller) -> Result<Json<Challenge>, ApiError> {
    let (party, user) = (api.party()?, a_user(&caller)?);
    let keys = api.registry(ListKeys { tenant: user.tenant.clone(), user: user.id.clone() }).await?;
    Ok(Json(Challenge {
        challenge: api.challenge(Purpose::Register, user)?,
        rp_id: party.id.clone(),
        user: Some(format!("{}/{}", user.tenant, user.id)),
        algorithm: ES256,
        credential_ids: keys.into_iter().map(|key| key.credential_id).collect(),
    }))
}

async fn register_finish(
    api: Data<Api>,
    caller: Caller,
    body: Json<NewKey>,
) -> Result<HttpResponse, ApiError> {
    let (party, user) = (api.party()?, a_user(&caller)?);
    let NewKey { name, challenge, client_data_json, attestation_object } = body.into_inner();
    let challenge = bytes(&challenge)?;
    let (client_json, statement) = (bytes(&client_data_json)?, bytes(&attestation_object)?);
    let made = party.check_made(&challenge, &client_json, &statement).map_err(|error| answer(&error))?;
    let subject = user.to_string();
    let taken = api.sessions.take_back(api.now_s(), Purpose::Register, &subject, &challenge);
    taken.map_err(|error| answer(&error))?;
    let key = SecurityKey {
        tenant: user.tenant.clone(),
        user: user.id.clone(),
        credential_id: BASE64URL_NOPAD.encode(&made.credential_id),
        point: BASE64URL_NOPAD.encode(made.public_key.sec1()),
        counter: made.counter,
        name,
        created_at_s: api.now_s(),
    };
    let key = api.registry(AddKey(key)).await??;
    tracing::info!(principal = %user, name = key.name, "hardware key registered");
    Ok(HttpResponse::Created().json(shown(&key)))
}

async fn login_begin(api: Data<Api>, body: Json<LoginBegin>) -> Result<Json<Challenge>, ApiError> {
    let party = api.party()?;
    let LoginBegin { tenant, user } = body.into_inner();
    let principal = api.principal(&tenant, ClientKind::User, &user);
    let keys = api.registry(ListKeys { tenant, user }).await?;
    let mut credential_ids: Vec<String> = keys.into_iter().map(|key| key.credential_id).collect();
    if credential_ids.is_empty() {
        credential_ids.push(BASE64URL_NOPAD.encode(&api.sessions.key_of_nobody(&principal.to_string())));
    }
    Ok(Json(Challenge {
        challenge: api.challenge(Purpose::Login, &principal)?,
        rp_id: party.id.clone(),
        user: None,
        algorithm: ES256,
        credential_ids,
    }))
}

async fn login_finish(api: Data<Api>, body: Json<LoginFinish>) -> Result<Json<Session>, ApiError> {
    let party = api.party()?;
    let login = body.into_inner();
    let principal = api.principal(&login.tenant, ClientKind::User, &login.user);
    let key = api.registry(FindKey(login.credential_id)).await?;
    let key = key.filter(|key| key.tenant == principal.tenant && key.user == principal.id);
    let key = key.ok_or_else(|| answer(&"the key is not one of this user's"))?;
    let public = PublicKey::from_sec1(&key.point()).map_err(|_| ApiError::unavailable("the registry"))?;
    let challenge = bytes(&login.challenge)?;
    let (client_json, authenticator) = (bytes(&login.client_data_json)?, bytes(&login.authenticator_data)?);
    let signature = bytes(&login.signature)?;
    let assertion =
        Assertion { client_json: &client_json, authenticator: &authenticator, signature: &signature };
    let counter = party.check_signed(&challenge, &public, assertion).map_err(|error| answer(&error))?;
    let taken = api.sessions.take_back(api.now_s(), Purpose::Login, &principal.to_string(), &challenge);
    taken.map_err(|error| answer(&error))?;
    let used = UseKey { principal: principal.clone(), key_hash: key.hash(), counter: Some(counter) };
    api.registry(used).await?.map_err(|refusal| ApiError::key_refused(&refusal))?;
    let (token, expires_at_s) = api.sessions.open(api.now_s(), &principal, key.hash());
    tracing::info!(%principal, name = key.name, "logged in with a hardware key");
    Ok(Json(Session { token, expires_at_s }))
}

async fn list(api: Data<Api>, caller: Caller) -> Result<Json<Vec<Key>>, ApiError> {
    let user = a_user(&caller)?;
    let keys = api.registry(ListKeys { tenant: user.tenant.clone(), user: user.id.clone() }).await?;
    Ok(Json(keys.iter().map(shown).collect()))
}

async fn remove(api: Data<Api>, caller: Caller, credential: Path<String>) -> Result<Json<Key>, ApiError> {
    let principal = a_user(&caller)?.clone();
    let key = api.registry(RemoveKey { principal, credential_id: credential.into_inner() }).await??;
    tracing::info!(principal = %caller.principal(), name = key.name, "hardware key removed");
    Ok(Json(shown(&key)))
}

impl Api {
    fn party(&self) -> Result<&RelyingParty, ApiError> {
        self.relying_party.as_ref().ok_or_else(|| {
            ApiError::new(
                StatusCode::NOT_FOUND,
                "webauthn_off",
                "hardware keys were not used",
                "this hub is not configured for them",
                "the operator of the hub sets the section [webauthn] of its configuration",
            )
        })
    }

    fn challenge(&self, purpose: Purpose, principal: &Principal) -> Result<String, ApiError> {
        let challenge = self.sessions.challenge(self.now_s(), purpose, &principal.to_string());
        let challenge = challenge.ok_or_else(|| ApiError::unavailable("the random generator"))?;
        Ok(BASE64URL_NOPAD.encode(&challenge))
    }
}

fn a_user(caller: &Caller) -> Result<&Principal, ApiError> {
    match caller.principal().kind {
        Kind::User => Ok(caller.principal()),
        _ => Err(ApiError::forbidden("hardware keys are for users", "call with the identity of a user")),
    }
}

fn bytes(text: &str) -> Result<Vec<u8>, ApiError> {
    let next = "send what the browser's credential.toJSON() has: base64url without padding";
    if text.len() > 2 * WEBAUTHN_STATEMENT_BYTES_MAX {
        return Err(ApiError::malformed(
            "the answer of the key was refused",
            "a part of it is too long",
            next,
        ));
    }
    BASE64URL_NOPAD
        .decode(text.as_bytes())
        .map_err(|_| ApiError::malformed("the answer of the key was refused", "it is not base64url", next))
}

fn answer(why: &dyn std::fmt::Display) -> ApiError {
    ApiError::new(
        StatusCode::UNAUTHORIZED,
        "answer_refused",
        "the answer of the key was refused",
        why.to_string(),
        "begin again, on a page of this hub and with a key that is registered for this user",
    )
}

fn shown(key: &SecurityKey) -> Key {
    Key {
        credential_id: key.credential_id.clone(),
        name: key.name.clone(),
        counter: key.counter,
        created_at_s: key.created_at_s,
    }
}
