//! Refusals as hawkBit words them. The status is what clients go by; one of them (hara) also looks for `errorCode` of
//! 404, with the letter that hawkBit has too much in it.

use serde::Serialize;

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The body is none of ours.
    #[error("the body cannot be read: {0}")]
    Body(String),
    /// Neither token nor certificate.
    #[error("say who you are, with a certificate or a token")]
    Unauthorized,
    /// A certificate or token of somebody else.
    #[error("that is not for you")]
    Forbidden,
    /// No such device, action or file.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The resource is there, and that is not done with it.
    #[error("that method is not for this resource")]
    Method,
    /// An answer in none of our forms was asked for.
    #[error("answers are application/hal+json, application/json or application/cbor")]
    NotAcceptable,
    /// Somebody else changed it at the same time.
    #[error("it has changed meanwhile; try again")]
    Conflict,
    /// The action is over.
    #[error("that action is not active any more")]
    Gone,
    /// More than the bound.
    #[error("a body has at most {} bytes", crate::limits::BODY_BYTES_MAX)]
    TooLarge,
    /// A body in none of our forms.
    #[error("bodies are application/json or application/cbor")]
    MediaType,
    /// Too often.
    #[error("that was too often; wait")]
    TooMany,
}

/// A refusal as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProblemBody {
    /// What clients of hawkBit show.
    #[serde(rename = "exceptionClass")]
    pub exception_class: &'static str,
    /// What some of them compare.
    #[serde(rename = "errorCode")]
    pub error_code: &'static str,
    /// For people.
    pub message: String,
}

impl Problem {
    /// The status.
    pub fn status(&self) -> u16 {
        match self {
            Self::Body(_) => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound(_) => 404,
            Self::Method => 405,
            Self::NotAcceptable => 406,
            Self::Conflict => 409,
            Self::Gone => 410,
            Self::TooLarge => 413,
            Self::MediaType => 415,
            Self::TooMany => 429,
        }
    }

    /// The body.
    pub fn body(&self) -> ProblemBody {
        let (exception_class, error_code) = match self {
            Self::Body(_) | Self::TooLarge => {
                ("MessageNotReadableException", "hawkbit.server.error.rest.body.notReadable")
            }
            Self::Unauthorized => ("BadCredentialsException", "muster.ddi.unauthorized"),
            Self::Forbidden => ("InsufficientPermissionException", "muster.ddi.forbidden"),
            Self::NotFound(_) => ("EntityNotFoundException", "hawkbit.server.error.repo.entitiyNotFound"),
            Self::Method => ("HttpRequestMethodNotSupportedException", "muster.ddi.method"),
            Self::NotAcceptable => ("HttpMediaTypeNotAcceptableException", "muster.ddi.notAcceptable"),
            Self::MediaType => ("HttpMediaTypeNotSupportedException", "muster.ddi.mediaType"),
            Self::Conflict => {
                ("ConcurrentModificationException", "hawkbit.server.error.repo.concurrentModification")
            }
            Self::Gone => ("ActionNotActiveException", "muster.ddi.actionNotActive"),
            Self::TooMany => ("TooManyRequestsException", "muster.ddi.tooManyRequests"),
        };
        ProblemBody { exception_class, error_code, message: self.to_string() }
    }
}
