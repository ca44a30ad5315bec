//! Connections that come and go: TCP, a full mutual-TLS handshake with P-256 keys, CONNECT, CONNACK, and good-bye.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use rustls::ClientConfig;
use tokio::task::JoinSet;

use super::{
    BenchError,
    client::{Client, ClientError, connect_tls},
    limits::{HANDSHAKES, HANDSHAKES_AT_ONCE, SENDING_TIME_MAX},
};
use crate::{
    gauge::{Gauge, Span},
    process::now,
};

/// What was seen.
pub struct Handshakes {
    /// Sessions that were opened and closed.
    pub count: usize,
    /// Over all of them.
    pub span: Span,
}

/// Opens and closes sessions, some at one time.
///
/// # Errors
/// A connection failed.
pub async fn measure(
    address: SocketAddr,
    config: Arc<ClientConfig>,
    gauge: &Gauge,
) -> Result<Handshakes, BenchError> {
    let begun = Arc::new(AtomicUsize::new(0));
    let mark = gauge.mark()?;
    let deadline = now() + SENDING_TIME_MAX;
    let mut tasks = JoinSet::new();
    for number in 0..HANDSHAKES_AT_ONCE {
        let (begun, config) = (Arc::clone(&begun), Arc::clone(&config));
        tasks.spawn(async move {
            let mut count = 0;
            let client_id = format!("bench-{number}");
            while now() < deadline && begun.fetch_add(1, Ordering::Relaxed) < HANDSHAKES {
                let stream = connect_tls(address, None, Arc::clone(&config)).await?;
                Client::open(stream, &client_id).await?.close().await?;
                count += 1;
            }
            Ok::<usize, ClientError>(count)
        });
    }
    let mut count = 0;
    while let Some(ended) = tasks.join_next().await {
        count += ended??;
    }
    Ok(Handshakes { count, span: gauge.since(mark)? })
}
