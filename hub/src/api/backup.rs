//! `/api/v1/backups`: an operator has a backup made and hears how it goes. It goes where the configuration says; nothing of
//! it comes back over the API.

use actix_web::{
    HttpResponse,
    http::StatusCode,
    web::{Data, Json},
};
use muster_schemas::api::{BackupState, NewBackup};

use super::{Api, caller::Caller, error::ApiError};
use crate::{backup::BackupFailure, causes::causes};

pub(super) async fn begin(
    api: Data<Api>,
    caller: Caller,
    body: Json<NewBackup>,
) -> Result<HttpResponse, ApiError> {
    caller.operator()?;
    let begun = api.backups.begin(api.clock.unix_ms(), body.force).map_err(|error| refused(&error))?;
    tracing::info!(by = %caller.principal(), force = body.force, "a backup was asked for");
    Ok(HttpResponse::Accepted().json(begun))
}

pub(super) async fn current(api: Data<Api>, caller: Caller) -> Result<Json<BackupState>, ApiError> {
    caller.operator()?;
    Ok(Json(api.backups.state()))
}

fn refused(error: &BackupFailure) -> ApiError {
    let (status, code, next) = match error {
        BackupFailure::NotConfigured => (
            StatusCode::CONFLICT,
            "not_configured",
            "set backup.place and backup.recipients in the hub's configuration and start it again",
        ),
        BackupFailure::Busy { .. } => {
            (StatusCode::CONFLICT, "busy", "wait for that one: GET /api/v1/backups/current")
        }
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "failed", "see the hub's log"),
    };
    ApiError::new(status, code, "no backup was begun", format!("failed to {}", causes(error)), next)
}
