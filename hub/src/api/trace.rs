//! `/api/v1/tenants/{tenant}/trace`: packets as they come and go, one line of JSON each, for the tenant alone.
//!
//! An empty line says that the trace is there while nothing happens. Who does not read loses packets and is told how
//! many; who hangs up is noticed at the next line.

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use actix_web::{
    HttpRequest, HttpResponse,
    body::{BodySize, MessageBody},
    web::{Bytes, Data, Path, Query},
};
use data_encoding::HEXLOWER;
use muster_broker::{Direction, TraceTarget, Traced, TracedPacket, Tracing};
use muster_schemas::{TenantId, api::TraceLine};
use serde::Deserialize;
use tokio::time::{Interval, Sleep, interval, sleep};

use super::{Api, caller::Caller, error::ApiError, inspection::filter_of, life::Watched};
use crate::limits::{TRACE_PIECE_LINES_MAX, TRACE_SIGN_OF_LIFE_TIME, TRACE_TIME_MAX};

/// The parameters of `trace`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TraceQuery {
    client: Option<String>,
    topic: Option<String>,
    #[serde(default)]
    payload: bool,
}

pub(super) async fn trace(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
    query: Query<TraceQuery>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    caller.member(&tenant)?;
    let TraceQuery { client, topic, payload } = query.into_inner();
    if payload && !api.known.tenant(&tenant).rules.are_open() {
        let why = "the tenant has access rules, and a trace with payloads would show what they keep back";
        return Err(ApiError::forbidden(why, "trace without payloads"));
    }
    let target = match (client, topic) {
        (Some(client), None) => TraceTarget::Client(client),
        (None, Some(topic)) => TraceTarget::Topic(filter_of(&topic)?),
        _ => {
            let why = "exactly one of `client` and `topic` is to be given";
            return Err(ApiError::malformed("the query could not be read", why, "name what to trace"));
        }
    };
    let tracing = api.inspector(&tenant)?.trace(target.clone(), payload)?;
    tracing::info!(tenant = %tenant, by = %caller.principal(), ?target, payload, "trace begun");
    let watched = Watched::new(request);
    let lines = Lines {
        watched,
        tracing,
        alive: interval(TRACE_SIGN_OF_LIFE_TIME),
        over: Box::pin(sleep(TRACE_TIME_MAX)),
    };
    Ok(HttpResponse::Ok().content_type("application/x-ndjson").body(lines))
}

/// The body of the answer.
struct Lines {
    tracing: Tracing,
    alive: Interval,
    over: Pin<Box<Sleep>>,
    watched: Watched,
}

impl MessageBody for Lines {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        if pin!(&mut self.over).poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(reason) = self.watched.poll(cx) {
            tracing::info!(%reason, "trace ended: whoever asked for it may not any longer");
            return Poll::Ready(None);
        }
        let mut piece = Vec::new();
        for _ in 0..TRACE_PIECE_LINES_MAX {
            match self.tracing.poll_next(cx) {
                Poll::Ready(Some(traced)) => {
                    // A line has only fields that JSON can say.
                    if serde_json::to_writer(&mut piece, &line(traced)).is_ok() {
                        piece.push(b'\n');
                    }
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => break,
            }
        }
        let is_due = self.alive.poll_tick(cx).is_ready();
        match piece.is_empty() {
            false => Poll::Ready(Some(Ok(piece.into()))),
            true if is_due => Poll::Ready(Some(Ok(Bytes::from_static(b"\n")))),
            true => Poll::Pending,
        }
    }
}

fn line(traced: Traced) -> TraceLine {
    let Traced { at_ms, session, kind, id, client, direction, packet, dropped } = traced;
    let TracedPacket { packet, packet_id, topic, filters, qos, retain, dup, bytes, payload, codes, reason } =
        packet;
    TraceLine {
        at_ms,
        session,
        kind: kind.to_string(),
        id,
        client: client.map(|client| client.to_string()),
        direction: match direction {
            Direction::In => "in".to_owned(),
            Direction::Out => "out".to_owned(),
        },
        packet: packet.to_string(),
        packet_id,
        topic,
        filters,
        qos: qos.map(|qos| qos as u8),
        retain,
        dup,
        bytes: bytes.map(|bytes| bytes as u64),
        payload_hex: payload.map(|payload| HEXLOWER.encode(&payload)),
        codes: codes.into_iter().map(|code| code.as_u8()).collect(),
        reason,
        dropped,
    }
}
