//! The HTTPS API: the one way in for people, programs and our own command line. There is no side door, and no HTTP.
//!
//! Every call is made by a principal: whom its client certificate or its token proves, looked up in the registry for each
//! request. What a caller may not see does not exist for it (404); what it may see and not do is forbidden (403).

mod admission;
mod alarms;
mod allowed;
mod asked;
mod attest;
mod audit;
mod authority;
mod backup;
mod caller;
mod can;
mod can_view;
mod clients;
mod devices;
mod error;
mod est;
mod firmware;
mod health;
mod history;
mod influx;
mod inspection;
mod keys;
mod legacy;
mod life;
mod people;
mod pieces;
mod questions;
mod retention;
mod rules;
mod schema;
mod server;
mod sharing;
mod shred;
mod tenants;
mod trace;
mod view;
mod ways_in;
mod webauthn;
mod why;

use std::{collections::BTreeSet, sync::Arc};

use actix::{Actor, Context, Handler, Message};
use actix_web::web;
use muster_actors::SharedClock;
use muster_broker::{Bus, store::Store};
use muster_influx::server::Server;
use muster_schemas::TenantId;

use error::ApiError;
pub(crate) use questions::Questions;
pub use server::Https;

use crate::{
    authority::{Authority, Signers},
    backup::Desk,
    enrolment,
    history::Readers,
    influx::Progress,
    limits::API_BODY_BYTES_MAX,
    people::{Providers, RelyingParty, Sessions},
    pinned::Peers,
    place::Place,
    publication::Publication,
    registry::RegistryActor,
    root_key::RootSource,
    rules::Known,
    screening::Screens,
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
    /// The threads on which it is.
    pub readers: Readers,
    /// The bus, for its tenants and numbers.
    pub bus: Arc<Bus>,
    /// The store, for tenants' keys and its health.
    pub store: Store,
    /// Where the root key comes from.
    pub root_source: RootSource,
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
    /// The InfluxDB that telemetry is sent to, if there is one.
    pub influx_server: Option<Server>,
    /// How far it has come on its way there.
    pub influx: Progress,
    /// What is taken of telemetry.
    pub screens: Screens,
    /// Who was refused, and why.
    pub witness: Witness,
    /// Tenants that a listener without TLS leads to.
    pub plain_tenants: BTreeSet<TenantId>,
    /// What access rules are made of.
    pub known: Known,
    /// Makes backups.
    pub backups: Desk,
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
        .configure(keys::routes)
        .route("/crl/{file}", web::get().to(authority::list))
        .route("/api/v1/alarms", web::get().to(alarms::list))
        .route("/api/v1/alarms/{number}/acknowledge", web::post().to(alarms::acknowledge))
        .configure(webauthn::routes)
        .route("/trust/{domain}", web::get().to(authority::object))
        .route("/api/v1/backups", web::post().to(backup::begin))
        .route("/api/v1/backups/current", web::get().to(backup::current))
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
                .service(keys::of_tenant())
                .route("/{tenant}/sensitive", web::get().to(keys::sensitive))
                .route("/{tenant}/sensitive", web::put().to(keys::set_sensitive))
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
                        .route("/{id}/attributes", web::get().to(rules::client_attributes))
                        .route("/{id}/attributes", web::put().to(rules::describe_client))
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
                .route("/{tenant}/devices/{device}/attributes", web::get().to(rules::device_attributes))
                .route("/{tenant}/devices/{device}/attributes", web::put().to(rules::describe_device))
                .route("/{tenant}/policies", web::get().to(rules::policies))
                .route("/{tenant}/policies", web::post().to(rules::put_policies))
                .route("/{tenant}/policies/{version}", web::get().to(rules::policy))
                .route("/{tenant}/policies/{version}/restore", web::post().to(rules::restore_policies))
                .route("/{tenant}/datasets", web::get().to(sharing::data_sets))
                .route("/{tenant}/datasets/{name}", web::put().to(sharing::put_data_set))
                .route("/{tenant}/datasets/{name}", web::delete().to(sharing::remove_data_set))
                .route("/{tenant}/grants", web::get().to(sharing::grants))
                .route("/{tenant}/grants", web::post().to(sharing::give))
                .route("/{tenant}/grants/{number}", web::delete().to(sharing::take_back))
                .route("/{tenant}/devices/{device}/{command}", web::post().to(life::device))
                .route("/{tenant}/precautions", web::post().to(life::precautions))
                .route("/{tenant}/{command:suspend|resume}", web::post().to(life::tenant))
                .route("/{tenant}/clients", web::get().to(inspection::clients))
                .route("/{tenant}/clients/kick", web::post().to(inspection::kick))
                .route("/{tenant}/topics/retained", web::get().to(inspection::retained))
                .route("/{tenant}/topics/subscriptions", web::get().to(inspection::subscriptions))
                .route("/{tenant}/trace", web::get().to(trace::trace))
                .route("/{tenant}/audit", web::get().to(audit::audit))
                .route("/{tenant}/telemetry/schema", web::get().to(schema::show))
                .route("/{tenant}/telemetry/schema", web::post().to(schema::set))
                .route("/{tenant}/telemetry/last", web::get().to(history::ask))
                .route("/{tenant}/telemetry/range", web::get().to(history::ask))
                .route("/{tenant}/telemetry/downsample", web::get().to(history::ask))
                .route("/{tenant}/telemetry/aggregate", web::get().to(history::ask))
                .route("/{tenant}/telemetry/export", web::get().to(history::ask))
                .route("/{tenant}/telemetry/retention", web::get().to(retention::read))
                .route("/{tenant}/telemetry/retention", web::put().to(retention::set))
                .route("/{tenant}/influx", web::get().to(influx::status)),
        )
        .default_service(web::to(error::no_such_route));
}
