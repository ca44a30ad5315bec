//! `muster-trust/1` as a protocol of the MQTT listener, chosen by ALPN: whoever connects is sent the trust object, and the
//! connection is closed. Nobody has to present a certificate: the object is signed, and no secret.

use std::{pin::Pin, sync::Arc};

use muster_broker::{Accepted, Protocol};
use muster_schemas::trust::ALPN;
use rustls::ServerConfig;
use tokio::{io::AsyncWriteExt as _, time::timeout};
use tracing::debug;

use super::Publication;
use crate::{limits::TRUST_SEND_TIME_MAX, tls::SharedTls};

/// The trust object in front of the listener.
pub struct TrustDesk {
    publication: Publication,
    tls: SharedTls,
}

impl TrustDesk {
    /// Hands out what is published, over this.
    pub fn new(publication: Publication, tls: SharedTls) -> Self {
        Self { publication, tls }
    }
}

impl Protocol for TrustDesk {
    fn alpn(&self) -> &[u8] {
        ALPN
    }

    fn tls(&self) -> Arc<ServerConfig> {
        self.tls.load_full()
    }

    fn serve(&self, accepted: Accepted) -> Pin<Box<dyn Future<Output = ()>>> {
        let Accepted { mut stream, peer, place, handshake } = accepted;
        drop(handshake);
        let published = self.publication.now();
        Box::pin(async move {
            let sending = async {
                if let Some(object) = &published.object {
                    stream.write_all(object).await?;
                }
                // Nothing at all is how a hub says that it has none.
                stream.shutdown().await
            };
            match timeout(TRUST_SEND_TIME_MAX, sending).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%peer, %error, "the trust object was not taken"),
                Err(_) => debug!(%peer, "the trust object was not taken in time"),
            }
            drop(place);
        })
    }
}
