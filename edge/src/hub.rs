//! A TLS connection to the hub, and why there is none: the reason decides what happens next.

use std::{io, sync::Arc};

use rustls::{AlertDescription, ClientConfig, pki_types::ServerName};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::limits::CONNECT_TIME_MAX;

/// Where the hub is.
#[derive(Debug, Clone)]
pub struct Hub {
    /// `host:port`.
    pub address: String,
    /// The name that it is asked for (SNI). Its certificate need not have it: names are not trusted.
    pub server_name: ServerName<'static>,
}

/// Why a connection did not come about, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Loss {
    /// Nobody answers there.
    #[error("reach the hub at {address}: {source}")]
    Unreachable {
        /// Where.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// It took too long.
    #[error("connect to the hub at {address}: it did not answer within {} s", CONNECT_TIME_MAX.as_secs())]
    Slow {
        /// Where.
        address: String,
    },
    /// The hub would not have our certificate.
    #[error("be let in by the hub: it does not accept this device's certificate ({0:?})")]
    CertificateRefused(AlertDescription),
    /// The hub sent another alert.
    #[error("speak TLS with the hub: it says {0:?}")]
    Alert(AlertDescription),
    /// We would not have the hub's certificate, or its TLS.
    #[error("trust the hub: {0}; check `root`, and whether that hub may serve this tenant")]
    Untrusted(rustls::Error),
    /// Our own key would not sign.
    #[error("show the hub who this device is: {0}")]
    Unsigned(String),
    /// The connection broke.
    #[error("keep the connection to the hub: {0}")]
    Broken(io::Error),
    /// The hub closed it.
    #[error("keep the connection to the hub: the hub closed it")]
    Closed,
}

impl Loss {
    /// Tells by what TLS said, if it said something.
    #[must_use]
    pub fn of(error: io::Error) -> Self {
        let told = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match told {
            Some(rustls::Error::AlertReceived(alert)) => Self::of_alert(*alert),
            // What our own signer says; rustls itself does not use it.
            Some(rustls::Error::General(why)) => Self::Unsigned(why.clone()),
            Some(other) => Self::Untrusted(other.clone()),
            None if error.kind() == io::ErrorKind::UnexpectedEof => Self::Closed,
            None => Self::Broken(error),
        }
    }

    fn of_alert(alert: AlertDescription) -> Self {
        match alert {
            AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::UnknownCA => Self::CertificateRefused(alert),
            other => Self::Alert(other),
        }
    }
}

impl Hub {
    /// Connects. In TLS 1.3 this succeeds before the hub has looked at our certificate: a refusal comes with the first
    /// read. Signing blocks its worker; not for a task of a `LocalSet`.
    ///
    /// # Errors
    /// The hub cannot be reached, or is not the hub.
    pub async fn connect(&self, config: Arc<ClientConfig>) -> Result<TlsStream<TcpStream>, Loss> {
        let connecting = async {
            let unreachable = |source| Loss::Unreachable { address: self.address.clone(), source };
            let tcp = TcpStream::connect(&self.address).await.map_err(unreachable)?;
            tcp.set_nodelay(true).map_err(Loss::Broken)?;
            TlsConnector::from(config).connect(self.server_name.clone(), tcp).await.map_err(Loss::of)
        };
        let slow = |_| Loss::Slow { address: self.address.clone() };
        timeout(CONNECT_TIME_MAX, connecting).await.map_err(slow)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_about_the_certificate_is_told_from_others() {
        let alert =
            |alert| Loss::of(io::Error::new(io::ErrorKind::InvalidData, rustls::Error::AlertReceived(alert)));
        for refused in [
            AlertDescription::CertificateRevoked,
            AlertDescription::CertificateExpired,
            AlertDescription::UnknownCA,
        ] {
            assert!(matches!(alert(refused), Loss::CertificateRefused(_)), "{refused:?}");
        }
        assert!(matches!(alert(AlertDescription::InternalError), Loss::Alert(_)));
        assert!(matches!(Loss::of(io::Error::other(rustls::Error::DecryptError)), Loss::Untrusted(_)));
        assert!(matches!(Loss::of(io::ErrorKind::UnexpectedEof.into()), Loss::Closed));
        assert!(matches!(Loss::of(io::ErrorKind::ConnectionReset.into()), Loss::Broken(_)));
    }
}
