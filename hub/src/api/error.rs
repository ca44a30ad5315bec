//! What a caller is told when it does not get what it asked for: what failed, why, and what to do next.

use actix_web::{HttpRequest, HttpResponse, ResponseError, http::StatusCode};
use muster_schemas::{
    TenantId,
    api::{ErrorBody, ErrorDetail},
};

use crate::{
    people::Unproved,
    registry::{AdmitReason, Refusal, keys::KeyRefusal, rules::RuleRefusal},
};

/// An answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    status: StatusCode,
    detail: ErrorDetail,
}

impl ApiError {
    pub(super) fn new(
        status: StatusCode,
        code: &str,
        what: impl Into<String>,
        why: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        let (code, what, why, next) = (code.to_owned(), what.into(), why.into(), next.into());
        Self { status, detail: ErrorDetail { code, what, why, next } }
    }

    /// Its status over HTTP.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// What is told.
    pub(super) fn body(&self) -> ErrorBody {
        ErrorBody { error: self.detail.clone() }
    }

    /// Why, and what to do next.
    pub(super) fn why_and_next(&self) -> (&str, &str) {
        (&self.detail.why, &self.detail.next)
    }

    /// Nobody in particular asks.
    pub(super) fn no_certificate() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "certificate_required",
            "the request was not served",
            "no client certificate was presented",
            "present the certificate of an operator or an app, such as with `muster --identity DIR` or `curl --cert`",
        )
    }

    /// Who asks did not prove to be whom it says.
    pub(super) fn unproved(unproved: Unproved) -> Self {
        let Unproved { code, why, next } = unproved;
        Self::new(StatusCode::UNAUTHORIZED, code, "the caller was not admitted", why, next)
    }

    /// The registry does not let the caller act.
    pub(super) fn not_admitted(reason: AdmitReason) -> Self {
        let status = match reason {
            AdmitReason::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::UNAUTHORIZED,
        };
        Self::new(
            status,
            reason.as_str(),
            "the caller was not admitted",
            reason.to_string(),
            "use the certificate that was issued last, or ask the operator of the hub for another",
        )
    }

    /// A hardware key does not let its user act.
    pub(super) fn key_refused(refusal: &KeyRefusal) -> Self {
        let status = match refusal {
            KeyRefusal::Unavailable(_) | KeyRefusal::User(AdmitReason::Unavailable) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            _ => StatusCode::UNAUTHORIZED,
        };
        let next =
            "log in again with a hardware key that is registered for you, or ask the operator of the hub";
        Self::new(status, "key_refused", "the caller was not admitted", refusal.to_string(), next)
    }

    /// The caller may not do this.
    pub(super) fn forbidden(why: &str, next: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "the request was refused", why, next)
    }

    /// There is no such tenant, or the caller has no business with it: the two look the same.
    pub(super) fn tenant_unknown(tenant: &TenantId) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "tenant_unknown",
            format!("the tenant {tenant} was not found"),
            "no tenant of that name is visible to this caller",
            "check the name; `muster tenant list` shows the operator all there are",
        )
    }

    /// The tenant has taken its key back.
    pub(super) fn key_withdrawn(tenant: &TenantId) -> Self {
        Self::new(
            StatusCode::LOCKED,
            "key_withdrawn",
            format!("nothing of the tenant {tenant} was read"),
            "the tenant has withdrawn its key, and without it nobody reads its data, this hub included",
            "let a user of the tenant give it back: `muster key bring --key FILE`",
        )
    }

    /// There is no such thing.
    pub(super) fn not_found(why: &str, next: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "nothing was found there", why, next)
    }

    /// An actor did not answer.
    pub(super) fn unavailable(what: &str) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            format!("{what} did not answer"),
            "it is restarting or overloaded",
            "try again in a moment",
        )
    }

    /// What was sent cannot be read.
    pub(super) fn malformed(what: &str, why: impl Into<String>, next: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", what, why, next)
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let (status, code, next) = match &refusal {
            Refusal::TenantUnknown(tenant) => return Self::tenant_unknown(tenant),
            Refusal::TenantReserved(_) => (StatusCode::CONFLICT, "tenant_reserved", "choose another name"),
            Refusal::TenantExists(_) => {
                (StatusCode::CONFLICT, "tenant_exists", "choose another name, or use the one there is")
            }
            Refusal::TenantRetired(_) => (StatusCode::GONE, "shredded", "there is no way back"),
            Refusal::TenantSuspended(_) => {
                (StatusCode::CONFLICT, "tenant_suspended", "let the operator resume it first")
            }
            Refusal::DeviceUnknown { .. } => {
                (StatusCode::NOT_FOUND, "device_unknown", "`muster device list` shows the ids")
            }
            Refusal::ApprovalUnsigned(_) => (
                StatusCode::BAD_REQUEST,
                "approval_unsigned",
                "approve it with the key of an authority that `muster firmware authority list` shows",
            ),
            Refusal::FirmwareAuthorityUnknown(_) => (
                StatusCode::NOT_FOUND,
                "authority_unknown",
                "`muster firmware authority list` shows those there are",
            ),
            Refusal::ClientExists { .. } => (StatusCode::CONFLICT, "client_exists", "choose another name"),
            Refusal::ClientUnknown { .. } => (
                StatusCode::NOT_FOUND,
                "client_unknown",
                "`muster app list` and `muster user list` show the ids",
            ),
            Refusal::PinTaken => {
                (StatusCode::CONFLICT, "pin_taken", "make a certificate of its own for each app and user")
            }
            Refusal::ChipId(_) => (StatusCode::BAD_REQUEST, "chip_id", "choose another id for the device"),
            Refusal::PasswordsOff(_) => (
                StatusCode::CONFLICT,
                "passwords_off",
                "the operator allows them with `muster tenant legacy-passwords --tenant <tenant> on`",
            ),
            Refusal::KeyName => (StatusCode::BAD_REQUEST, "key_name", "choose a shorter name"),
            Refusal::KeyTaken => (StatusCode::CONFLICT, "key_taken", "use another key, or remove it first"),
            Refusal::KeyUnknown => {
                (StatusCode::NOT_FOUND, "key_unknown", "GET /api/v1/webauthn/keys shows your keys")
            }
            Refusal::ClaimLife(_) => {
                (StatusCode::BAD_REQUEST, "claim_life", "choose a life within the bounds")
            }
            Refusal::Model => (StatusCode::BAD_REQUEST, "model", "choose a shorter model name"),
            Refusal::NotItsCertificate => {
                (StatusCode::CONFLICT, "not_its_certificate", "enrol the device again")
            }
            Refusal::ClientRevoked { .. } => (
                StatusCode::CONFLICT,
                "client_revoked",
                "issue another certificate to it: `muster app create --replace`",
            ),
            Refusal::DeviceState { .. } => {
                (StatusCode::CONFLICT, "device_state", "`muster device show` says how it came to be so")
            }
            Refusal::SuccessorTaken(_) => {
                (StatusCode::CONFLICT, "successor_taken", "check the hash of the new chip's endorsement key")
            }
            Refusal::Replaced { .. } => {
                (StatusCode::CONFLICT, "replaced", "replace the successor, if it is that which broke")
            }
            Refusal::CompromiseAhead => {
                (StatusCode::BAD_REQUEST, "compromise_ahead", "give a time that has passed, or none")
            }
            Refusal::ClockBehind => {
                (StatusCode::SERVICE_UNAVAILABLE, "clock_behind", "set the clock of the hub's machine right")
            }
            Refusal::ClaimUnknown(_) => {
                (StatusCode::NOT_FOUND, "claim_unknown", "`muster claim list` shows the ids")
            }
            Refusal::NotListed(_) => {
                (StatusCode::NOT_FOUND, "not_listed", "`muster device allowed` shows the list")
            }
            Refusal::NotHeld { .. } => {
                (StatusCode::NOT_FOUND, "not_held", "`muster device pending` shows those that are held")
            }
            Refusal::MeasurementsHold(_) => (
                StatusCode::CONFLICT,
                "measurements_hold",
                "look at them with `muster device pending -o json`, then `muster measurement accept --device`",
            ),
            Refusal::UnacceptedMeasurements(_) => {
                (StatusCode::CONFLICT, "unaccepted_measurements", "accept them, or update the device")
            }
            Refusal::Label => (StatusCode::BAD_REQUEST, "label", "choose a shorter label"),
            Refusal::LabelUnknown(_) => {
                (StatusCode::NOT_FOUND, "label_unknown", "`muster measurement list` shows the labels")
            }
            Refusal::NothingMeasured => (
                StatusCode::CONFLICT,
                "nothing_measured",
                "let the tenant's policy name the registers, and the device enrol or renew",
            ),
            Refusal::Registers => (StatusCode::BAD_REQUEST, "registers", "name them such as 0,7,9,23"),
            Refusal::AlarmUnknown(_) => {
                (StatusCode::NOT_FOUND, "alarm_unknown", "`muster alarms list` shows the numbers")
            }
            Refusal::Rules(refusal) => match refusal {
                RuleRefusal::Invalid(_) => {
                    (StatusCode::BAD_REQUEST, "attributes", "docs/rules.md says what they may be")
                }
                RuleRefusal::PolicyVersionPassed { .. } => (
                    StatusCode::CONFLICT,
                    "policies_changed",
                    "look at them with `muster policy show`, and try again",
                ),
                RuleRefusal::DataSetUnknown(_) => {
                    (StatusCode::NOT_FOUND, "data_set_unknown", "`muster dataset list` shows those there are")
                }
                RuleRefusal::DataSetShared(_) => (
                    StatusCode::CONFLICT,
                    "data_set_shared",
                    "take its grants back first: `muster grant list`",
                ),
                RuleRefusal::GrantUnknown(_) => {
                    (StatusCode::NOT_FOUND, "grant_unknown", "`muster grant list` shows those there are")
                }
                RuleRefusal::GrantLife(_) => {
                    (StatusCode::BAD_REQUEST, "grant_life", "choose a life within the bounds")
                }
                RuleRefusal::KeyWithdrawn(_) => {
                    (StatusCode::LOCKED, "key_withdrawn", "share it once that tenant has given its key back")
                }
                RuleRefusal::FullOfDataSets | RuleRefusal::FullOfGrants => {
                    (StatusCode::INSUFFICIENT_STORAGE, "full", "remove what is not needed")
                }
            },
            Refusal::Full(_) => {
                (StatusCode::INSUFFICIENT_STORAGE, "full", "remove what is not needed, or add a hub")
            }
            Refusal::Unavailable(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "try again in a moment")
            }
        };
        Self::new(status, code, "the registry refused", format!("failed to {refusal}"), next)
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.detail.what, self.detail.why)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        tracing::info!(status = self.status.as_u16(), code = %self.detail.code, why = %self.detail.why, "API call refused");
        HttpResponse::build(self.status).json(self.body())
    }
}

pub(super) fn malformed_body(error: actix_web::error::JsonPayloadError, _: &HttpRequest) -> actix_web::Error {
    let next = "send JSON as the API's description says; unknown fields are errors";
    ApiError::malformed("the body could not be read", error.to_string(), next).into()
}

pub(super) fn malformed_query(
    error: actix_web::error::QueryPayloadError,
    _: &HttpRequest,
) -> actix_web::Error {
    let next = "check the names and values of the parameters; unknown ones are errors";
    ApiError::malformed("the query could not be read", error.to_string(), next).into()
}

pub(super) fn malformed_path(error: actix_web::error::PathError, _: &HttpRequest) -> actix_web::Error {
    let next = "ids have lower-case letters, digits and inner hyphens";
    ApiError::malformed("the path could not be read", error.to_string(), next).into()
}

pub(super) async fn no_such_route(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let what = format!("{} {} is not part of this API", request.method(), request.path());
    Err(ApiError::new(
        StatusCode::NOT_FOUND,
        "route_unknown",
        what,
        "no such route and method",
        "see docs/api.md",
    ))
}
