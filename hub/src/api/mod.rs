//! The HTTPS API: the one way in for people, programs and our own command line. There is no side door, and no HTTP.
//!
//! Every call is made by a principal: whom its client certificate or its token proves, looked up in the registry for each
//! request. What a caller may not see does not exist for it (404); what it may see and not do is forbidden (403).

mod admission;
mod alarms;
mod allowed;
mod attest;
mod audit;
mod authority;
mod caller;
mod can;
mod clients;
mod devices;
mod error;
mod est;
mod firmware;
mod health;
mod inspection;
mod legacy;
mod life;
mod people;
mod readings;
mod retention;
mod server;
mod tenants;
mod trace;
mod ways_in;
mod webauthn;
mod why;

use std::{collections::BTreeSet, sync::Arc};

use actix::{Actor, Context, Handler, Message};
use actix_web::web;
use muster_actors::SharedClock;
use muster_broker::{Bus, store::Store};
use muster_schemas::TenantId;

use error::ApiError;
pub use server::Https;

use crate::{
    authority::{Authority, Signers},
    enrolment,
    limits::API_BODY_BYTES_MAX,
    people::{Providers, RelyingParty, Sessions},
    pinned::Peers,
    place::Place,
    publication::Publication,
    registry::RegistryActor,
    telemetry::{self, Archive, TelemetryActor},
    witness::Witness,
};

/// What the API works on.
pub struct Api {
    /// Who there is.
    pub registry: Place<RegistryActor>,
    /// What was measured.
    pub telemetry: Place<TelemetryActor>,
    /// What was measured, for whoever may block: it is asked on a thread for that.
    pub archive: Archive,
    /// The bus, for its tenants and numbers.
    pub bus: Arc<Bus>,
    /// The store, for tenants' keys and its health.
    pub store: Store,
    /// Signs apps and users.
    pub client_authority: Arc<Authority>,
    /// Signs devices that come by EST.
    pub device_authority: Arc<Authority>,
    /// How long a device's certificate lives, in seconds.
    pub device_life_s: u64,
    /// Who believes whom.
    pub providers: Providers,
    /// Opens sessions for hardware keys.
    pub sessions: Arc<Sessions>,
    /// Where hardware keys may be used, if anywhere.
    pub relying_party: Option<RelyingParty>,
    /// Reads certificates.
    pub trust: Arc<Peers>,
    /// Who signs what operators ask for.
    pub signers: Signers,
    /// What is revoked, for anybody.
    pub publication: Publication,
    /// What the enrolment counts.
    pub enrolment: enrolment::Counters,
    /// What the telemetry store counts.
    pub harvested: telemetry::Counters,
    /// Who was refused, and why.
    pub witness: Witness,
    /// Tenants that a listener without TLS leads to.
    pub plain_tenants: BTreeSet<TenantId>,
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
        .route("/api/v1/devices/{device}/why", web::get().to(why::of_any))
        .configure(est::routes)
        .route("/crl/{file}", web::get().to(authority::list))
        .route("/api/v1/alarms", web::get().to(alarms::list))
        .route("/api/v1/alarms/{number}/acknowledge", web::post().to(alarms::acknowledge))
        .configure(webauthn::routes)
        .route("/trust/{domain}", web::get().to(authority::object))
        .route("/api/v1/ca/certificates", web::get().to(authority::issued))
        .route("/api/v1/ca/certificates", web::post().to(authority::issue))
        .route("/api/v1/ca/certificates/{serial}", web::get().to(authority::show))
        .route("/api/v1/ca/certificates/{serial}/revoke", web::post().to(authority::revoke))
        .service(
            web::scope("/api/v1/tenants")
                .route("", web::get().to(tenants::list))
                .route("", web::post().to(tenants::create))
                .route("/{tenant}/attestation", web::post().to(attest::set))
                .route("/{tenant}/firmware/authorities", web::get().to(firmware::list))
                .route("/{tenant}/firmware/authorities", web::post().to(firmware::add))
                .route("/{tenant}/firmware/approvals", web::post().to(firmware::publish))
                .route("/{tenant}/firmware/authorities/remove", web::post().to(firmware::remove))
                .route("/{tenant}/claims", web::post().to(clients::create_claim))
                .route("/{tenant}/claims", web::get().to(admission::claims))
                .route("/{tenant}/claims/{claim}/revoke", web::post().to(admission::revoke_claim))
                .route("/{tenant}/policy", web::get().to(admission::policy))
                .route("/{tenant}/policy", web::post().to(admission::set_policy))
                .service(allowed::resource())
                .route("/{tenant}/allowed/remove", web::post().to(allowed::remove))
                .route("/{tenant}/pending", web::get().to(admission::pending))
                .route("/{tenant}/pending/{device}/approve", web::post().to(admission::approve))
                .route("/{tenant}/pending/{device}/deny", web::post().to(admission::deny))
                .route("/{tenant}/measurements", web::get().to(admission::measurements))
                .route("/{tenant}/measurements", web::post().to(admission::accept))
                .route("/{tenant}/measurements/remove", web::post().to(admission::remove_measurement))
                .route("/{tenant}/devices/{device}/profile", web::get().to(admission::profile))
                .route("/{tenant}/apps", web::post().to(clients::create_app))
                .route("/{tenant}/users", web::post().to(people::create_user))
                .service(
                    web::scope("/{tenant}/{kind:apps|users|services}")
                        .route("", web::get().to(people::list))
                        .route("/{id}", web::delete().to(people::remove))
                        .route("/{id}/pinned", web::put().to(people::pin))
                        .route("/{id}/{command}", web::post().to(life::client)),
                )
                .route("/{tenant}/ways-in", web::get().to(ways_in::show))
                .route("/{tenant}/ways-in", web::put().to(ways_in::set))
                .route("/{tenant}/legacy-devices", web::get().to(legacy::list))
                .route("/{tenant}/legacy-devices/{device}", web::put().to(legacy::set))
                .route("/{tenant}/legacy-devices/{device}", web::delete().to(legacy::remove))
                .route("/{tenant}/devices", web::get().to(devices::list))
                .route("/{tenant}/devices/{device}", web::get().to(devices::show))
                .route("/{tenant}/devices/{device}/why", web::get().to(why::of_tenant))
                .route("/{tenant}/can", web::get().to(can::can))
                .route("/{tenant}/devices/{device}/{command}", web::post().to(life::device))
                .route("/{tenant}/precautions", web::post().to(life::precautions))
                .route("/{tenant}/{command:suspend|resume}", web::post().to(life::tenant))
                .route("/{tenant}/clients", web::get().to(inspection::clients))
                .route("/{tenant}/clients/kick", web::post().to(inspection::kick))
                .route("/{tenant}/topics/retained", web::get().to(inspection::retained))
                .route("/{tenant}/topics/subscriptions", web::get().to(inspection::subscriptions))
                .route("/{tenant}/trace", web::get().to(trace::trace))
                .route("/{tenant}/audit", web::get().to(audit::audit))
                .route("/{tenant}/telemetry/last", web::get().to(readings::last))
                .route("/{tenant}/telemetry/range", web::get().to(readings::range))
                .route("/{tenant}/telemetry/retention", web::get().to(retention::read))
                .route("/{tenant}/telemetry/retention", web::put().to(retention::set)),
        )
        .default_service(web::to(error::no_such_route));
}
