//! The broker's end of a connection: bytes come in pieces and late.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    time::{Sleep, sleep},
};

use super::chance::Chance;

/// Bytes that move at once, at most.
const PIECE_BYTES_MAX: usize = 512;
const LATE_PER_MILLE: u64 = 150;
const LATE_MS_MAX: u64 = 20;

pub(super) struct Cable {
    stream: DuplexStream,
    chance: Chance,
    late: [Option<Pin<Box<Sleep>>>; 2],
}

impl Cable {
    pub(super) fn new(stream: DuplexStream, chance: Chance) -> Self {
        Self { stream, chance, late: [None, None] }
    }

    /// Now and then, waits first.
    fn poll_luck(&mut self, way: usize, cx: &mut Context<'_>) -> Poll<usize> {
        if self.late[way].is_none() && self.chance.happens(LATE_PER_MILLE) {
            let late = Duration::from_millis(1 + self.chance.below(LATE_MS_MAX));
            self.late[way] = Some(Box::pin(sleep(late)));
        }
        if let Some(late) = &mut self.late[way] {
            ready!(late.as_mut().poll(cx));
            self.late[way] = None;
        }
        Poll::Ready(1 + self.chance.pick(PIECE_BYTES_MAX))
    }
}

impl AsyncRead for Cable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let piece = ready!(self.poll_luck(0, cx));
        let mut scratch = [0; PIECE_BYTES_MAX];
        let mut scratch = ReadBuf::new(&mut scratch[..piece.min(into.remaining())]);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut scratch))?;
        into.put_slice(scratch.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Cable {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let piece = ready!(self.poll_luck(1, cx)).min(bytes.len());
        Pin::new(&mut self.stream).poll_write(cx, &bytes[..piece])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
