//! Keeps the trust object fresh: what was fetched last is read at the start, and the hub is asked from time to time. An
//! object that is older, forged or of others changes nothing. Not for deciding about a hub: that is the verifier's
//! matter, which is handed the object.

use std::sync::Arc;

use muster_schemas::limits::TRUST_OBJECT_BYTES_MAX;
use muster_trust::{Disbelief, HubTrust, TrustObject};
use rustls::{ClientConfig, pki_types::CertificateDer};
use tokio::{
    io::AsyncReadExt as _,
    time::{sleep, timeout},
};
use tracing::{debug, error, info, warn};

use crate::{
    hub::{Hub, Loss},
    limits::{FRAME_TIME_MAX, TRUST_FETCH_TIME, TRUST_RETRY_TIME},
    state::StateDir,
};

/// The object as it came, signature and all.
const OBJECT: &str = "trust.cbor";

/// What is kept fresh, and how.
pub struct TrustKeeper {
    /// Whom to ask.
    pub hub: Hub,
    /// How to speak TLS.
    pub config: Arc<ClientConfig>,
    /// The pinned roots.
    pub roots: Vec<CertificateDer<'static>>,
    /// Who goes by it.
    pub trust: Arc<HubTrust>,
    /// Where it is kept.
    pub state: Arc<StateDir>,
}

/// Why no object was fetched.
#[derive(Debug, thiserror::Error)]
pub enum NotFetched {
    /// The connection.
    #[error(transparent)]
    Loss(#[from] Loss),
    /// The hub was silent.
    #[error("hear from the hub: nothing came within {} s", FRAME_TIME_MAX.as_secs())]
    Silent,
    /// It sent more than an object has.
    #[error("take the trust object: it is longer than {TRUST_OBJECT_BYTES_MAX} bytes")]
    TooLong,
    /// It is not believed.
    #[error("believe the trust object: {0}")]
    Disbelief(#[from] Disbelief),
}

impl TrustKeeper {
    /// Goes by what was fetched last. Without it every hub below the root is taken until the first is fetched.
    pub fn load(&self) {
        let bytes = match self.state.read_bytes(OBJECT, TRUST_OBJECT_BYTES_MAX) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return,
            Err(error) => {
                return warn!(%error, "the trust object cannot be read; it is fetched again");
            }
        };
        let taken = TrustObject::verify(&bytes, &self.roots).and_then(|object| self.trust.take(object));
        if let Err(error) = taken {
            warn!(%error, "the trust object that was kept is not believed; it is fetched again");
        }
    }

    /// Asks, again and again. `jitter` is between 0 and 1, so that the devices of a fleet do not ask together.
    pub async fn keep(self, jitter: f64) {
        loop {
            let pause = match self.fetch().await {
                Ok(Some(version)) => {
                    info!(version, "the trust object is newer than the one before");
                    TRUST_FETCH_TIME
                }
                Ok(None) => TRUST_FETCH_TIME,
                Err(error @ NotFetched::Disbelief(_)) => {
                    warn!(%error, "the hub sent a trust object that is not to be believed; the one before stays");
                    TRUST_FETCH_TIME
                }
                Err(error) => {
                    debug!(%error, "no trust object was fetched");
                    TRUST_RETRY_TIME
                }
            };
            sleep(pause.mul_f64(0.8 + jitter.clamp(0.0, 1.0) * 0.4)).await;
        }
    }

    /// Asks once. Gives the version of what is new.
    ///
    /// # Errors
    /// The hub cannot be reached, or what it sent is not believed.
    pub async fn fetch(&self) -> Result<Option<u64>, NotFetched> {
        let stream = self.hub.connect(Arc::clone(&self.config)).await?;
        let mut bytes = Vec::new();
        let limit = u64::try_from(TRUST_OBJECT_BYTES_MAX).unwrap_or(u64::MAX) + 1;
        let mut limited = stream.take(limit);
        let read = timeout(FRAME_TIME_MAX, limited.read_to_end(&mut bytes)).await;
        read.map_err(|_| NotFetched::Silent)?.map_err(Loss::of)?;
        if bytes.len() > TRUST_OBJECT_BYTES_MAX {
            return Err(NotFetched::TooLong);
        }
        // The hub has none.
        if bytes.is_empty() {
            return Ok(None);
        }
        self.accept(&bytes).map_err(Into::into)
    }

    /// Takes an object from wherever: a hub, or somebody who passes it on.
    ///
    /// # Errors
    /// It is not believed; nothing changes.
    pub fn accept(&self, bytes: &[u8]) -> Result<Option<u64>, Disbelief> {
        let object = TrustObject::verify(bytes, &self.roots)?;
        let version = object.trust().version;
        if !self.trust.take(object)? {
            return Ok(None);
        }
        if let Err(error) = self.state.write(OBJECT, bytes) {
            // It holds until the next start, and is fetched again then.
            error!(%error, "the trust object is not saved");
        }
        Ok(Some(version))
    }
}
