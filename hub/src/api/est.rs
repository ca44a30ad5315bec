//! `/.well-known/est/{tenant}/...`: Enrolment over Secure Transport (RFC 7030, with RFC 8951) for devices that are not ours.
//! What comes in is a claim, or the certificate of a device that came this way before; what goes out is a certificate for
//! the key, and of the signing request nothing but the key is taken.

use actix_web::{
    HttpMessage as _, HttpRequest, HttpResponse, ResponseError,
    http::{StatusCode, header},
    web::{self, Bytes, Data, Path},
};
use data_encoding::BASE64;
use muster_broker::ReasonCode;
use muster_schemas::{DeviceId, Kind, Principal, TenantId};
use zeroize::Zeroizing;

use super::{Api, caller::PeerLeaf, error::ApiError};
use crate::{
    authority::{Issued, Leaf, PublicKey, Role, certs_only},
    limits::{EST_BODY_BYTES_MAX, EST_LINE_CHARS, EST_RETRY_S},
    registry::{
        Certificate,
        est::{CheckEst, EnrolEst, EstApplicant, EstRefusal, RenewEst},
        message::Admit,
        ways_in::ShowWaysIn,
    },
};

/// What a key has to be, as RFC 7030 §4.5.2 has it: an elliptic-curve key on P-256, and ECDSA with SHA-256.
const CSR_ATTRIBUTES: &[u8] = &[
    0x30, 0x21, // SEQUENCE
    0x30, 0x15, // attribute: SEQUENCE
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, // id-ecPublicKey
    0x31, 0x0a, // SET
    0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, // secp256r1
    0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02, // ecdsa-with-SHA256
];

/// The routes of one tenant.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(
        web::scope("/.well-known/est/{tenant}")
            .app_data(web::PayloadConfig::new(EST_BODY_BYTES_MAX))
            .route("/cacerts", web::get().to(ca_certificates))
            .route("/csrattrs", web::get().to(csr_attributes))
            .route("/simpleenroll", web::post().to(simple_enrol))
            .route("/simplereenroll", web::post().to(simple_renew)),
    );
}

/// An answer that is not a success, in plain text as RFC 7030 §4.2.3 has it.
#[derive(Debug)]
struct Refused {
    status: StatusCode,
    text: String,
}

impl Refused {
    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    fn unauthorized(why: &str) -> Self {
        let text = format!(
            "{why}; send a claim of the tenant as the password of HTTP Basic, with the model as the user name, or come \
             with the certificate that was issued last"
        );
        Self::new(StatusCode::UNAUTHORIZED, text)
    }

    fn unavailable() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the hub is busy or restarting; try again in a moment")
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl ResponseError for Refused {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        tracing::info!(status = self.status.as_u16(), why = %self.text, "EST refused");
        let mut answer = HttpResponse::build(self.status);
        match self.status {
            StatusCode::UNAUTHORIZED => {
                answer.insert_header((header::WWW_AUTHENTICATE, "Basic realm=\"muster EST\""));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                answer.insert_header((header::RETRY_AFTER, EST_RETRY_S));
            }
            _ => {}
        }
        answer.insert_header((header::CONTENT_TYPE, "text/plain; charset=utf-8"));
        answer.body(format!("{}\n", self.text))
    }
}

impl From<ApiError> for Refused {
    fn from(_: ApiError) -> Self {
        Self::unavailable()
    }
}

impl From<EstRefusal> for Refused {
    fn from(refusal: EstRefusal) -> Self {
        match refusal {
            EstRefusal::Off => Self::new(
                StatusCode::NOT_FOUND,
                "there is no EST for that tenant; the operator of the hub switches it on with \
                 `muster tenant est --tenant <tenant> on`",
            ),
            // Whoever guesses hears the same for every claim that is not good; the log says which.
            EstRefusal::Claim(why) => {
                tracing::info!(why, "a claim shown at EST is not good");
                Self::unauthorized("the claim is not good for this tenant, model and key at this time")
            }
            EstRefusal::NotItsCertificate => Self::unauthorized("the certificate is not the device's"),
            EstRefusal::NotActive(_) | EstRefusal::HasTpm => {
                Self::new(StatusCode::FORBIDDEN, refusal.to_string())
            }
            EstRefusal::Model => {
                Self::new(StatusCode::BAD_REQUEST, format!("{refusal}; it is the user name of HTTP Basic"))
            }
            EstRefusal::Unavailable(why) => {
                tracing::warn!(%why, "EST is unavailable");
                Self::unavailable()
            }
        }
    }
}

async fn ca_certificates(api: Data<Api>, tenant: Path<TenantId>) -> Result<HttpResponse, Refused> {
    open(&api, &tenant).await?;
    let authorities = [Role::Root, Role::Device].map(|role| api.trust.authority(role));
    let all: Vec<_> = authorities.into_iter().flatten().collect();
    Ok(answer("application/pkcs7-mime", &certs_only(&all)))
}

async fn csr_attributes(api: Data<Api>, tenant: Path<TenantId>) -> Result<HttpResponse, Refused> {
    open(&api, &tenant).await?;
    Ok(answer("application/csrattrs", CSR_ATTRIBUTES))
}

async fn simple_enrol(
    api: Data<Api>,
    tenant: Path<TenantId>,
    request: HttpRequest,
    body: Bytes,
) -> Result<HttpResponse, Refused> {
    open(&api, &tenant).await?;
    if let Some(leaf) = device(&request) {
        return renew(&api, &tenant, leaf, &request, &body).await;
    }
    let (model, claim) = basic(&request)
        .ok_or_else(|| Refused::unauthorized("neither a claim nor a certificate was shown"))?;
    let key = key(&request, &body)?;
    let applicant = EstApplicant {
        tenant: tenant.clone(),
        model,
        spki_sha256: key.spki_sha256(),
        claim: claim.to_string(),
    };
    // Asked before anything is signed, and again when it is written.
    api.registry(CheckEst(applicant.clone())).await??;
    let principal = principal(&api, &tenant, applicant.device());
    let issued = issue(&api, &key, &principal)?;
    let certificate = Certificate::of(&issued.leaf);
    api.registry(EnrolEst { applicant, certificate }).await??;
    let reason = "another certificate took the place of this session's; connect with it";
    api.bus.close_sessions(&principal, ReasonCode::NotAuthorized, reason);
    tracing::info!(%principal, serial = %issued.leaf.serial, "device enrolled by EST, without a TPM");
    Ok(answer("application/pkcs7-mime; smime-type=certs-only", &certs_only(&[issued.certificate])))
}

async fn simple_renew(
    api: Data<Api>,
    tenant: Path<TenantId>,
    request: HttpRequest,
    body: Bytes,
) -> Result<HttpResponse, Refused> {
    open(&api, &tenant).await?;
    let leaf = device(&request);
    let leaf = leaf.ok_or_else(|| Refused::unauthorized("no certificate of a device was presented"))?;
    renew(&api, &tenant, leaf, &request, &body).await
}

async fn renew(
    api: &Api,
    tenant: &TenantId,
    leaf: Leaf,
    request: &HttpRequest,
    body: &Bytes,
) -> Result<HttpResponse, Refused> {
    if leaf.principal.tenant != *tenant {
        return Err(Refused::unauthorized("the certificate is of another tenant"));
    }
    let (device, presented) = (leaf.principal.id.clone(), leaf.serial);
    api.registry(Admit(leaf)).await?.map_err(|refusal| Refused::unauthorized(&refusal.reason.to_string()))?;
    let key = key(request, body)?;
    let renewal = RenewEst { tenant: tenant.clone(), device, presented, certificate: None };
    api.registry(renewal.clone()).await??;
    let principal = principal(api, tenant, renewal.device.clone());
    let issued = issue(api, &key, &principal)?;
    api.registry(RenewEst { certificate: Some(Certificate::of(&issued.leaf)), ..renewal }).await??;
    tracing::info!(%principal, serial = %issued.leaf.serial, "certificate renewed by EST");
    Ok(answer("application/pkcs7-mime; smime-type=certs-only", &certs_only(&[issued.certificate])))
}

/// Whether the tenant has EST.
async fn open(api: &Api, tenant: &TenantId) -> Result<(), Refused> {
    match api.registry(ShowWaysIn(tenant.clone())).await? {
        Ok(ways_in) if ways_in.est => Ok(()),
        _ => Err(EstRefusal::Off.into()),
    }
}

fn principal(api: &Api, tenant: &TenantId, id: DeviceId) -> Principal {
    let trust_domain = api.trust.trust_domain().clone();
    Principal { trust_domain, tenant: tenant.clone(), kind: Kind::Device, id }
}

fn issue(api: &Api, key: &PublicKey, principal: &Principal) -> Result<Issued, Refused> {
    api.device_authority.issue_device(key, principal, api.now_s(), api.device_life_s).map_err(|error| {
        tracing::error!(%error, "failed to issue a certificate");
        Refused::unavailable()
    })
}

/// The certificate that the peer showed, if it is a device's.
fn device(request: &HttpRequest) -> Option<Leaf> {
    let leaf = request.conn_data::<PeerLeaf>().and_then(|peer| peer.0.clone());
    leaf.filter(|leaf| leaf.principal.kind == Kind::Device)
}

/// User name and password of HTTP Basic (RFC 7617), if there is exactly one.
fn basic(request: &HttpRequest) -> Option<(String, Zeroizing<String>)> {
    let mut all = request.headers().get_all(header::AUTHORIZATION);
    let (one, None) = (all.next()?, all.next()) else { return None };
    let (scheme, credentials) = one.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = Zeroizing::new(BASE64.decode(credentials.trim().as_bytes()).ok()?);
    let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((user.to_owned(), Zeroizing::new(password.to_owned())))
}

/// The key of the signing request in the body, after its signature has proved that who asks has it.
fn key(request: &HttpRequest, body: &[u8]) -> Result<PublicKey, Refused> {
    if !request.content_type().eq_ignore_ascii_case("application/pkcs10") {
        let text = "the body is not of the type application/pkcs10";
        return Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    // White space means nothing in it (RFC 8951 §3.1).
    let text: Vec<u8> = body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let csr = BASE64.decode(&text).map_err(|_| {
        let text = "the body is not a signing request (PKCS #10, DER) in base64, without any lines around it";
        Refused::new(StatusCode::BAD_REQUEST, text)
    })?;
    PublicKey::from_csr(&csr).map_err(|error| {
        let text = format!(
            "the signing request was refused: {error}; make an elliptic-curve key on P-256 (prime256v1), the only \
             ones that are certified here, and sign the request with it and SHA-256"
        );
        Refused::new(StatusCode::BAD_REQUEST, text)
    })
}

/// Bytes in base64, in lines that every decoder takes. Clients of RFC 7030 want the encoding named; those of RFC 8951
/// pass it by.
fn answer(content_type: &str, der: &[u8]) -> HttpResponse {
    let encoded = BASE64.encode(der);
    let mut text = String::with_capacity(encoded.len() + encoded.len() / EST_LINE_CHARS + 1);
    for (index, c) in encoded.chars().enumerate() {
        if index > 0 && index % EST_LINE_CHARS == 0 {
            text.push('\n');
        }
        text.push(c);
    }
    text.push('\n');
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, content_type))
        .insert_header(("Content-Transfer-Encoding", "base64"))
        .body(text)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use x509_parser::asn1_rs::{Any, FromDer as _};

    use super::*;

    #[test]
    fn what_a_key_has_to_be_is_one_der_structure() {
        let (rest, any) = Any::from_der(CSR_ATTRIBUTES).expect("DER");
        assert!(rest.is_empty());
        assert_eq!(any.data.len(), CSR_ATTRIBUTES.len() - 2);
    }

    #[test]
    fn a_claim_comes_as_the_password_of_exactly_one_basic_header() {
        let with = |values: &[&str]| {
            let request = values.iter().fold(TestRequest::default(), |request, value| {
                request.append_header((header::AUTHORIZATION, *value))
            });
            basic(&request.to_http_request()).map(|(user, claim)| (user, claim.to_string()))
        };
        let good = format!("basic {}", BASE64.encode(b"pump:a:b"));
        assert_eq!(with(&[&good]), Some(("pump".to_owned(), "a:b".to_owned())));
        assert_eq!(with(&[&good, &good]), None);
        for wrong in ["Basic", "Basic !", "Bearer cHVtcDph", "Basic cHVtcA==", "Basic //8="] {
            assert_eq!(with(&[wrong]), None, "{wrong}");
        }
    }

    #[test]
    fn a_signing_request_of_any_other_sort_is_refused_with_what_is_wanted() {
        let of_type = |kind: &'static str| {
            TestRequest::default().insert_header((header::CONTENT_TYPE, kind)).to_http_request()
        };
        let refused = |kind, body: &[u8]| key(&of_type(kind), body).expect_err("refused");
        assert_eq!(refused("text/plain", b"").status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        let pkcs10 = "application/pkcs10; charset=x";
        assert!(refused(pkcs10, b"-----BEGIN").text.contains("base64"));
        // Longer than any honest one, and one with a key of RSA.
        let oversized = BASE64.encode(&vec![0x30; crate::limits::CSR_BYTES_MAX + 1]);
        assert!(refused(pkcs10, oversized.as_bytes()).text.contains("longer than"));
        assert!(refused(pkcs10, b"MAA=").text.contains("P-256"));
    }

    #[test]
    fn an_answer_comes_in_short_lines() {
        let text = answer("x/y", &[7; 100]);
        assert_eq!(text.headers().get("content-transfer-encoding").expect("named"), "base64");
    }
}
