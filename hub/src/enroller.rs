//! `muster-enroll/1` as a protocol of the MQTT listener, chosen by ALPN: hands each connection, with what binds it to its
//! TLS channel, to the enrolment.

use std::{pin::Pin, sync::Arc};

use arc_swap::ArcSwap;
use muster_broker::{Accepted, Protocol};
use muster_schemas::enrolment::{ALPN, EXPORTER_LABEL};
use muster_trust::Expect;
use rustls::ServerConfig;
use tracing::debug;

use crate::{
    enrolment::{self, EnrolmentHandle},
    gate::leaf_of,
    pinned::Peers,
};

/// The enrolment in front of the listener.
pub struct Enroller {
    enrolment: EnrolmentHandle,
    trust: Arc<Peers>,
    tls: Arc<ArcSwap<ServerConfig>>,
}

impl Enroller {
    /// Enrols over these.
    pub fn new(enrolment: EnrolmentHandle, trust: Arc<Peers>, tls: Arc<ArcSwap<ServerConfig>>) -> Self {
        Self { enrolment, trust, tls }
    }
}

impl Protocol for Enroller {
    fn alpn(&self) -> &[u8] {
        ALPN
    }

    fn tls(&self) -> Arc<ServerConfig> {
        self.tls.load_full()
    }

    fn serve(&self, accepted: Accepted) -> Pin<Box<dyn Future<Output = ()>>> {
        let Accepted { stream, peer, place, handshake } = accepted;
        drop(handshake);
        let tls = stream.get_ref().1;
        let leaf = leaf_of(&self.trust, &Expect::ENROLMENT, tls.peer_certificates());
        let exporter = tls.export_keying_material([0; 32], EXPORTER_LABEL, None);
        let enrolment = self.enrolment.clone();
        Box::pin(async move {
            match exporter {
                Ok(exporter) => enrolment::serve(stream, peer, exporter, leaf, enrolment).await,
                Err(error) => debug!(%peer, %error, "failed to bind an enrolment to its TLS connection"),
            }
            drop(place);
        })
    }
}
