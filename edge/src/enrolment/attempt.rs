//! One attempt: a connection of its own, on which an exchange runs from its first frame to the hub's decision.

use std::{io, sync::Arc};

use muster_schemas::enrolment::{
    DeviceFrame, EXPORTER_LABEL, HubFrame, InvalidFrame, InvalidLength, LENGTH_PREFIX_BYTES, frame_length,
};
use muster_tpm::{device::TpmThread, keys::KeyError};
use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

use super::exchange::{Exchange, ExchangeError, Outcome, Request, Step};
use crate::{
    hub::{Hub, Loss},
    limits::FRAME_TIME_MAX,
    recovery::Recovery,
};

/// Why an attempt did not come to a decision.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// The connection.
    #[error(transparent)]
    Loss(#[from] Loss),
    /// The hub was silent for too long.
    #[error("hear from the hub: nothing came within {} s", FRAME_TIME_MAX.as_secs())]
    Silent,
    /// A frame of the hub announces a length that no frame has.
    #[error("understand the hub: it {0}")]
    Length(#[from] InvalidLength),
    /// A frame of the hub cannot be read.
    #[error("understand the hub: {0}")]
    Frame(#[from] InvalidFrame),
    /// The exchange itself.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// The TPM.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The hub may not serve the tenant that it enrolled this device for.
    #[error("use the certificate that the hub issued: {0}")]
    Entitlement(#[from] muster_trust::NotAHub),
    /// TLS gives no exporter.
    #[error("bind the attestation to the connection: {0}")]
    Exporter(rustls::Error),
}

impl AttemptError {
    /// Whether our own key would not sign, because what booted is not approved.
    fn is_unapproved(&self) -> bool {
        let key = match self {
            Self::Key(key) | Self::Exchange(ExchangeError::Key(key)) => Some(key),
            _ => None,
        };
        matches!(key, Some(KeyError::Unapproved { .. })) || matches!(self, Self::Loss(Loss::Unsigned(_)))
    }
}

/// Runs an attempt. The TPM signs during the handshake, which blocks a worker: for a task of a multi-thread runtime.
pub async fn run(
    hub: Hub,
    config: Arc<ClientConfig>,
    tpm: TpmThread,
    request: Request,
    recovery: Option<Arc<Recovery>>,
) -> Result<Outcome, AttemptError> {
    let outcome = run_once(hub, config, tpm, request).await;
    if let (Err(error), Some(recovery)) = (&outcome, recovery)
        && error.is_unapproved()
    {
        recovery.ask().await;
    }
    outcome
}

async fn run_once(
    hub: Hub,
    config: Arc<ClientConfig>,
    tpm: TpmThread,
    request: Request,
) -> Result<Outcome, AttemptError> {
    let mut stream = hub.connect(config).await?;
    let (_, session) = stream.get_ref();
    let exporter =
        session.export_keying_material([0; 32], EXPORTER_LABEL, None).map_err(AttemptError::Exporter)?;
    let certificate =
        session.peer_certificates().and_then(<[_]>::first).map(|leaf| leaf.clone().into_owned());
    let outcome = converse(&mut stream, &tpm, request, exporter).await.and_then(|outcome| {
        // A first enrolment takes any hub below the root; now it is known whose this device is.
        if let (Outcome::Issued(grant), Some(certificate)) = (&outcome, &certificate) {
            muster_trust::entitled(certificate, &grant.tenant)?;
        }
        Ok(outcome)
    });
    // The decision has been made; that the hub hears our good-bye does not matter.
    let _ = stream.shutdown().await;
    outcome
}

/// Says one frame on a connection of its own, and hears the answer.
pub(crate) async fn ask_once(
    hub: &Hub,
    config: Arc<ClientConfig>,
    frame: &DeviceFrame,
) -> Result<HubFrame, AttemptError> {
    let mut stream = hub.connect(config).await?;
    send(&mut stream, frame).await?;
    let heard = timeout(FRAME_TIME_MAX, receive(&mut stream)).await.map_err(|_| AttemptError::Silent)?;
    let _ = stream.shutdown().await;
    heard
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    tpm: &TpmThread,
    request: Request,
    exporter: [u8; 32],
) -> Result<Outcome, AttemptError> {
    let (mut exchange, mut frame) =
        tpm.acall(move |keys| Ok(Exchange::begin(keys, &request, exporter))).await??;
    loop {
        send(stream, &frame).await?;
        let heard = timeout(FRAME_TIME_MAX, receive(stream)).await.map_err(|_| AttemptError::Silent)??;
        let step;
        (exchange, step) = tpm
            .acall(move |keys| {
                let step = exchange.answer(keys, heard);
                Ok((exchange, step))
            })
            .await?;
        match step? {
            Step::Send(next) => frame = next,
            Step::End(outcome) => return Ok(outcome),
        }
    }
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, frame: &DeviceFrame) -> Result<(), AttemptError> {
    let sending = async {
        stream.write_all(&frame.encode()).await?;
        stream.flush().await
    };
    let sent = timeout(FRAME_TIME_MAX, sending).await.map_err(|_| AttemptError::Silent)?;
    match sent {
        // What the hub said before it closed is heard by reading.
        Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
            Ok(())
        }
        Err(error) => Err(Loss::of(error).into()),
        Ok(()) => Ok(()),
    }
}

async fn receive<S: AsyncRead + Unpin>(stream: &mut S) -> Result<HubFrame, AttemptError> {
    let mut prefix = [0; LENGTH_PREFIX_BYTES];
    stream.read_exact(&mut prefix).await.map_err(Loss::of)?;
    let mut body = vec![0; frame_length(prefix)?];
    stream.read_exact(&mut body).await.map_err(Loss::of)?;
    Ok(HubFrame::decode(&body)?)
}

#[cfg(test)]
mod tests {
    use muster_schemas::enrolment::{Pending, RefusalCode, Refused};
    use muster_tpm::{
        keys::{DeviceKeys, Slot},
        manufacturer::SimulatedManufacturer,
        soft::SimulatedSoftwareKeys,
    };
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    fn tpm() -> TpmThread {
        TpmThread::start(|| {
            let keys = SimulatedSoftwareKeys::new(&[7; 32], &SimulatedManufacturer::well_known()?)?;
            Ok(Box::new(keys) as Box<dyn DeviceKeys>)
        })
        .expect("soft keys")
    }

    fn request() -> Request {
        Request::First { slot: Slot::A, claim: None, model: "board".into(), introduction: Default::default() }
    }

    /// A device that converses with whatever `hub` does.
    fn converses<F: Future<Output = ()>>(
        hub: impl FnOnce(DuplexStream) -> F,
    ) -> Result<Outcome, AttemptError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (mut device, end) = duplex(64 * 1_024);
            let tpm = tpm();
            let (outcome, ()) = tokio::join!(converse(&mut device, &tpm, request(), [3; 32]), hub(end));
            outcome
        })
    }

    async fn hears_begin(stream: &mut DuplexStream) {
        let mut prefix = [0; LENGTH_PREFIX_BYTES];
        stream.read_exact(&mut prefix).await.expect("a frame");
        let mut body = vec![0; frame_length(prefix).expect("a length")];
        stream.read_exact(&mut body).await.expect("its body");
        assert!(matches!(DeviceFrame::decode(&body), Ok(DeviceFrame::Begin(_))));
    }

    #[test]
    fn a_refusal_and_a_delay_are_outcomes() {
        let outcome = converses(async |mut stream| {
            hears_begin(&mut stream).await;
            let refused = Refused { code: RefusalCode::UnknownChip, detail: "nobody claimed it".into() };
            stream.write_all(&HubFrame::Refused(refused).encode()).await.expect("written");
        });
        assert!(matches!(outcome, Ok(Outcome::Refused(Refused { code: RefusalCode::UnknownChip, .. }))));
        let outcome = converses(async |mut stream| {
            hears_begin(&mut stream).await;
            let pending = HubFrame::Pending(Pending { retry_after_s: 9 });
            stream.write_all(&pending.encode()).await.expect("written");
        });
        assert!(matches!(outcome, Ok(Outcome::Pending { retry_after_s: 9 })));
    }

    #[test]
    fn a_hub_that_speaks_nonsense_or_hangs_up_is_a_failure() {
        let outcome = converses(async |mut stream| {
            hears_begin(&mut stream).await;
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n").await.expect("written");
        });
        assert!(matches!(outcome, Err(AttemptError::Length(_))), "{outcome:?}");
        let outcome = converses(async |mut stream| hears_begin(&mut stream).await);
        assert!(matches!(outcome, Err(AttemptError::Loss(Loss::Closed))), "{outcome:?}");
    }
}
