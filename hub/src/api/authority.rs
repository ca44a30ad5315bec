//! What anybody may fetch without a certificate, because it is signed: revocation lists.

use actix_web::{
    HttpResponse,
    http::header,
    web::{Data, Path},
};

use super::{Api, error::ApiError};

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
