//! A body that comes in pieces from a thread that writes it. It ends with its connection broken where the writing failed, so
//! that nobody takes a half for the whole, and where whoever asked may not any longer.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    body::{BodySize, MessageBody},
    web::Bytes,
};
use tokio::sync::mpsc;

use super::life::Watched;
use crate::history::Piece;

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
#[error("failed to {0}")]
pub(super) struct BrokenOff(String);

/// The body.
pub(super) struct Pieces {
    first: Option<Bytes>,
    rest: mpsc::Receiver<Piece>,
    length: Option<u64>,
    watched: Watched,
}

impl Pieces {
    /// The first piece, if it was waited for, and the rest. All of them have so many bytes, if that is known.
    pub(super) fn new(
        first: Option<Bytes>,
        rest: mpsc::Receiver<Piece>,
        length: Option<u64>,
        watched: Watched,
    ) -> Self {
        Self { first, rest, length, watched }
    }
}

impl MessageBody for Pieces {
    type Error = BrokenOff;

    fn size(&self) -> BodySize {
        self.length.map_or(BodySize::Stream, BodySize::Sized)
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if let Poll::Ready(reason) = self.watched.poll(cx) {
            tracing::info!(%reason, "an export ended: whoever asked for it may not any longer");
            return Poll::Ready(Some(Err(BrokenOff("go on: the caller may not read any longer".to_owned()))));
        }
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        self.rest.poll_recv(cx).map(|piece| {
            piece.map(|piece| {
                piece.map_err(|error| {
                    tracing::warn!(%error, "an export broke off");
                    BrokenOff(error.to_string())
                })
            })
        })
    }
}
