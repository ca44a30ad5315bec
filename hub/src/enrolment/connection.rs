//! One connection of `muster-enroll/1`: frames in, frames out, each within its time, and nothing else decided here.

use std::{io, net::SocketAddr};

use actix::Recipient;
use muster_actors::Credit;
use muster_schemas::enrolment::{
    DeviceFrame, HubFrame, LENGTH_PREFIX_BYTES, RefusalCode, Refused, frame_length,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};
use tracing::{debug, warn};

use super::{
    actor::Exchange,
    counters::Counters,
    limits::{ANSWER_TIME_MAX, CLOSE_TIME_MAX, CONNECTIONS_MAX, FRAME_TIME_MAX, FRAMES_PER_CONNECTION_MAX},
};
use crate::authority::Leaf;

/// What connections share. Cheap to clone.
#[derive(Clone)]
pub struct EnrolmentHandle {
    /// Who judges the frames: asked for every frame, because an actor that was restarted has another address.
    actor: std::sync::Arc<dyn Fn() -> Option<Recipient<Exchange>> + Send + Sync>,
    /// How many connections enrol at one time. When it is used up: refuse as rate-limited.
    connections: Credit,
    counters: Counters,
}

impl EnrolmentHandle {
    /// What connections of one hub share.
    pub fn new(
        actor: impl Fn() -> Option<Recipient<Exchange>> + Send + Sync + 'static,
        counters: Counters,
    ) -> Self {
        let connections = Credit::new("enrolments", CONNECTIONS_MAX, usize::MAX);
        Self { actor: std::sync::Arc::new(actor), connections, counters }
    }

    async fn ask(&self, exchange: Exchange) -> HubFrame {
        let Some(actor) = (self.actor)() else { return self.refuse(RefusalCode::HubUnavailable, RESTARTED) };
        match timeout(ANSWER_TIME_MAX, actor.send(exchange)).await {
            Ok(Ok(frame)) => frame,
            Ok(Err(_)) => self.refuse(RefusalCode::HubUnavailable, RESTARTED),
            Err(_) => self.refuse(RefusalCode::HubUnavailable, "the hub took too long to answer"),
        }
    }

    fn refuse(&self, code: RefusalCode, detail: impl Into<String>) -> HubFrame {
        self.counters.refused(code);
        HubFrame::Refused(Refused { code, detail: detail.into() })
    }
}

const RESTARTED: &str = "the hub's enrolment is being restarted; try again in a moment";

/// What ends a connection before its exchange is complete.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("the peer was silent or did not read for {} s", FRAME_TIME_MAX.as_secs())]
    TimedOut,
}

/// Serves one connection to its end: two frames each way, or a refusal.
///
/// `exporter` is what both ends exported of this TLS connection, and `peer_leaf` the certificate that it was made with,
/// after its chain was verified to end in the device authority.
pub async fn serve<S>(
    mut stream: S,
    peer: SocketAddr,
    exporter: [u8; 32],
    peer_leaf: Option<Leaf>,
    enrolment: EnrolmentHandle,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let served = match enrolment.connections.try_acquire(0) {
        Some(_place) => exchange(&mut stream, peer, exporter, peer_leaf, &enrolment).await,
        None => {
            let detail = "the hub enrols as many devices as it can at this moment; come back in a minute";
            write(&mut stream, &enrolment.refuse(RefusalCode::RateLimited, detail)).await
        }
    };
    match served {
        Ok(()) => {}
        Err(error) => {
            if matches!(error, Broken::TimedOut) {
                enrolment.counters.timed_out();
            }
            debug!(%peer, %error, "enrolment ended early");
        }
    }
    // A close notification tells the device that nothing was cut off; one that does not read it misses nothing.
    let _ = timeout(CLOSE_TIME_MAX, stream.shutdown()).await;
}

async fn exchange<S>(
    stream: &mut S,
    peer: SocketAddr,
    exporter: [u8; 32],
    leaf: Option<Leaf>,
    enrolment: &EnrolmentHandle,
) -> Result<(), Broken>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    for _ in 0..FRAMES_PER_CONNECTION_MAX {
        let frame = match read(stream).await? {
            Incoming::Frame(frame) => frame,
            Incoming::End => return Ok(()),
            Incoming::Malformed(detail) => {
                warn!(%peer, code = %RefusalCode::Malformed, %detail, "enrolment refused");
                return write(stream, &enrolment.refuse(RefusalCode::Malformed, detail)).await;
            }
        };
        let leaf = leaf.clone();
        let answer = enrolment.ask(Exchange { peer, exporter, leaf, frame: *frame }).await;
        write(stream, &answer).await?;
        match answer {
            HubFrame::Challenge(_) | HubFrame::RenewChallenge(_) => {}
            HubFrame::Issued(_) | HubFrame::Pending(_) | HubFrame::Refused(_) | HubFrame::Quarantined(_) => {
                return Ok(());
            }
        }
    }
    Ok(())
}

enum Incoming {
    Frame(Box<DeviceFrame>),
    /// The peer closed between two frames.
    End,
    Malformed(String),
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Incoming, Broken> {
    timeout(FRAME_TIME_MAX, read_untimed(stream)).await.map_err(|_| Broken::TimedOut)?
}

async fn read_untimed<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Incoming, Broken> {
    let mut prefix = [0; LENGTH_PREFIX_BYTES];
    match stream.read_exact(&mut prefix).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Incoming::End),
        Err(error) => return Err(error.into()),
    }
    let length = match frame_length(prefix) {
        Ok(length) => length,
        Err(error) => return Ok(Incoming::Malformed(format!("the length before the frame {error}"))),
    };
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(match DeviceFrame::decode(&body) {
        Ok(frame) => Incoming::Frame(Box::new(frame)),
        Err(error) => Incoming::Malformed(format!("the frame {error}")),
    })
}

async fn write<S: AsyncWrite + Unpin>(stream: &mut S, frame: &HubFrame) -> Result<(), Broken> {
    let bytes = frame.encode();
    let writing = async {
        stream.write_all(&bytes).await?;
        stream.flush().await
    };
    Ok(timeout(FRAME_TIME_MAX, writing).await.map_err(|_| Broken::TimedOut)??)
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
