//! The HTTPS API: the one way in for people, programs and our own command line. There is no side door, and no HTTP.
//!
//! Every call is made by a principal: the client certificate, looked up in the registry for each request. What a caller
//! may not see does not exist for it (404); what it may see and not do is forbidden (403).

mod audit;
mod authority;
mod caller;
mod clients;
mod devices;
mod error;
mod health;
mod inspection;
mod readings;
mod server;
mod tenants;
mod trace;

use std::sync::Arc;

use actix::{Actor, Context, Handler, Message};
use actix_web::web;
use muster_actors::SharedClock;
use muster_broker::{Bus, store::Store};

use error::ApiError;
pub use server::Https;

use crate::{
    authority::{Authority, Signers, TrustBundle},
    enrolment,
    limits::API_BODY_BYTES_MAX,
    place::Place,
    publication::Publication,
    registry::RegistryActor,
    telemetry::{self, TelemetryActor},
};

/// What the API works on.
pub struct Api {
    /// Who there is.
    pub registry: Place<RegistryActor>,
    /// What was measured.
    pub telemetry: Place<TelemetryActor>,
    /// The bus, for its tenants and numbers.
    pub bus: Arc<Bus>,
    /// The store, for tenants' keys and its health.
    pub store: Store,
    /// Signs apps and users.
    pub client_authority: Arc<Authority>,
    /// Reads certificates.
    pub trust: Arc<TrustBundle>,
    /// Who signs what operators ask for.
    pub signers: Signers,
    /// What is revoked, for anybody.
    pub publication: Publication,
    /// What the enrolment counts.
    pub enrolment: enrolment::Counters,
    /// What the telemetry store counts.
    pub harvested: telemetry::Counters,
    /// What the time is.
    pub clock: SharedClock,
}

impl Api {
    fn now_s(&self) -> u64 {
        self.clock.unix_ms() / 1_000
    }

    /// Asks the registry.
    async fn registry<M>(&self, message: M) -> Result<M::Result, ApiError>
    where
        M: Message<Result: Send> + Send + 'static,
        RegistryActor: Handler<M>,
    {
        ask(&self.registry, message).await.ok_or_else(|| ApiError::unavailable("the registry"))
    }

    /// Asks the telemetry store.
    async fn telemetry<M>(&self, message: M) -> Result<M::Result, ApiError>
    where
        M: Message<Result: Send> + Send + 'static,
        TelemetryActor: Handler<M>,
    {
        ask(&self.telemetry, message).await.ok_or_else(|| ApiError::unavailable("the telemetry store"))
    }
}

/// Asks an actor; none if it is not there or does not answer.
async fn ask<A, M>(place: &Place<A>, message: M) -> Option<M::Result>
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message<Result: Send> + Send + 'static,
{
    place.address()?.send(message).await.ok()
}

/// Every route.
fn routes(config: &mut web::ServiceConfig) {
    config
        .app_data(web::JsonConfig::default().limit(API_BODY_BYTES_MAX).error_handler(error::malformed_body))
        .app_data(web::QueryConfig::default().error_handler(error::malformed_query))
        .app_data(web::PathConfig::default().error_handler(error::malformed_path))
        .route("/health/live", web::get().to(health::live))
        .route("/health/ready", web::get().to(health::ready))
        .route("/metrics", web::get().to(health::metrics))
        .route("/crl/{file}", web::get().to(authority::list))
        .route("/trust/{domain}", web::get().to(authority::object))
        .route("/api/v1/ca/certificates", web::get().to(authority::issued))
        .route("/api/v1/ca/certificates", web::post().to(authority::issue))
        .route("/api/v1/ca/certificates/{serial}", web::get().to(authority::show))
        .route("/api/v1/ca/certificates/{serial}/revoke", web::post().to(authority::revoke))
        .service(
            web::scope("/api/v1/tenants")
                .route("", web::get().to(tenants::list))
                .route("", web::post().to(tenants::create))
                .route("/{tenant}/claims", web::post().to(clients::create_claim))
                .route("/{tenant}/apps", web::post().to(clients::create_app))
                .route("/{tenant}/devices", web::get().to(devices::list))
                .route("/{tenant}/devices/{device}", web::get().to(devices::show))
                .route("/{tenant}/clients", web::get().to(inspection::clients))
                .route("/{tenant}/clients/kick", web::post().to(inspection::kick))
                .route("/{tenant}/topics/retained", web::get().to(inspection::retained))
                .route("/{tenant}/topics/subscriptions", web::get().to(inspection::subscriptions))
                .route("/{tenant}/trace", web::get().to(trace::trace))
                .route("/{tenant}/audit", web::get().to(audit::audit))
                .route("/{tenant}/telemetry/last", web::get().to(readings::last))
                .route("/{tenant}/telemetry/range", web::get().to(readings::range)),
        )
        .default_service(web::to(error::no_such_route));
}
