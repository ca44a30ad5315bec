//! HTTP/1.1 behind the hub's own TLS listener, which bounds handshakes and connections for it as for MQTT.

use std::{pin::Pin, sync::Arc};

use actix_http::HttpService;
use actix_service::{IntoServiceFactory as _, Service as _, ServiceFactory as _, map_config};
use actix_web::{App, dev::AppConfig, web::Data};
use arc_swap::ArcSwap;
use muster_broker::{Accepted, Protocol};
use muster_trust::Expect;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use super::{Api, caller::PeerLeaf, routes};
use crate::{
    gate::leaf_of,
    limits::{API_IDLE_TIME_MAX, API_REQUEST_TIME_MAX},
};

/// The API as a protocol of the listener.
pub struct Https {
    api: Data<Api>,
    tls: Arc<ArcSwap<ServerConfig>>,
}

impl Https {
    /// The API over these.
    pub fn new(api: Arc<Api>, tls: Arc<ArcSwap<ServerConfig>>) -> Self {
        Self { api: Data::from(api), tls }
    }
}

impl Protocol for Https {
    fn alpn(&self) -> &[u8] {
        b"http/1.1"
    }

    fn tls(&self) -> Arc<ServerConfig> {
        self.tls.load_full()
    }

    fn serve(&self, accepted: Accepted) -> Pin<Box<dyn Future<Output = ()>>> {
        let (api, trust) = (self.api.clone(), self.api.trust.clone());
        Box::pin(async move {
            let Accepted { stream, peer, place, handshake } = accepted;
            drop(handshake);
            let app = App::new().app_data(api).configure(routes);
            let http = HttpService::build()
                .client_request_timeout(API_REQUEST_TIME_MAX)
                .keep_alive(API_IDLE_TIME_MAX)
                .on_connect_ext(move |stream: &TlsStream<TcpStream>, extensions| {
                    let shown = stream.get_ref().1.peer_certificates();
                    extensions.insert(PeerLeaf(leaf_of(&trust, &Expect::API, shown)));
                })
                .h1(map_config(app.into_factory(), |()| AppConfig::default()));
            match http.new_service(()).await {
                Ok(service) => {
                    if let Err(error) = service.call((*stream, Some(peer))).await {
                        debug!(%peer, %error, "HTTP connection ended");
                    }
                }
                Err(()) => debug!(%peer, "HTTP service could not be made"),
            }
            drop(place);
        })
    }
}
