//! The bytes within a WebSocket as a stream: what MQTT writes goes out in binary frames, and PING and CLOSE are answered
//! on the way.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    frames::{CloseCode, Unframer, put_binary, put_close, put_pong},
    limits::WEBSOCKET_FRAME_BYTES_MAX,
};

/// A WebSocket after its upgrade.
pub(crate) struct WebSocket<S> {
    stream: S,
    unframer: Unframer,
    /// Frames on their way out: one with payload, one PONG and one CLOSE at most. Nothing is held when all is written.
    out: BytesMut,
    /// Something was written that the stream below may still hold.
    is_unflushed: bool,
    /// No payload comes any more; the peer will be told why.
    ended: Option<CloseCode>,
    /// Our CLOSE was put out.
    is_closing: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// What is spoken on `stream` from now on.
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            unframer: Unframer::default(),
            out: BytesMut::new(),
            is_unflushed: false,
            ended: None,
            is_closing: false,
        }
    }

    /// Writes what is on its way out, and what a PING waits for.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.out.is_empty() {
                match self.unframer.ping() {
                    Some(ping) if !self.is_closing => put_pong(&mut self.out, &ping),
                    _ => {
                        self.out = BytesMut::new();
                        return Poll::Ready(Ok(()));
                    }
                }
            }
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.out))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.advance(written);
            self.is_unflushed = true;
        }
    }

    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        if self.is_unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            // An answer to a PING goes out from here, for nobody may be writing.
            if (this.unframer.is_pinged() || !this.out.is_empty() || this.is_unflushed)
                && let Poll::Ready(Err(error)) = this.poll_out(cx)
            {
                return Poll::Ready(Err(error));
            }
            let before = buf.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
            if this.ended.is_some() || buf.filled().len() == before {
                // The end; or who reads on after it wants the peer to be heard out and nothing else.
                return Poll::Ready(Ok(()));
            }
            let came = buf.filled_mut().get_mut(before..).unwrap_or_default();
            let payload = match this.unframer.take(came) {
                Ok(payload) => payload,
                Err(broken) => {
                    this.ended = Some(broken.code);
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, broken)));
                }
            };
            buf.set_filled(before + payload);
            this.ended = this.unframer.closed();
            // Nothing means the end to whoever reads, so a frame without payload is not told.
            if payload > 0 || this.ended.is_some() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        let taken = offered.min(WEBSOCKET_FRAME_BYTES_MAX);
        if taken == 0 {
            return Poll::Ready(Ok(0));
        }
        put_binary(&mut this.out, slices, taken);
        // It is ours from here on. What the socket does not take now, it takes at the next call.
        if let Poll::Ready(Err(error)) = this.poll_drain(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_out(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.is_closing {
            this.is_closing = true;
            put_close(&mut this.out, this.ended.unwrap_or(CloseCode::Normal));
        }
        ready!(this.poll_out(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn of_many_pings_only_the_last_is_kept_while_the_peer_does_not_read() {
        // Every poll is made by hand, so the runtime's own idea of fairness is out of place.
        tokio::task::unconstrained(ping_without_reading()).await;
    }

    async fn ping_without_reading() {
        let (ours, mut theirs) = duplex(300);
        let mut socket = WebSocket::new(ours);
        let mut scratch = [0; 1_000];
        for number in 0..=200_u8 {
            // Masked with nothing.
            theirs.write_all(&[0x89, 0x81, 0, 0, 0, 0, number]).await.unwrap();
            let mut cx = Context::from_waker(Waker::noop());
            assert!(Pin::new(&mut socket).poll_read(&mut cx, &mut ReadBuf::new(&mut scratch)).is_pending());
            assert!(socket.out.len() <= 3, "{}", socket.out.len());
        }
        let mut heard = vec![0; 300];
        theirs.read_exact(&mut heard).await.unwrap();
        assert!(
            heard.chunks(3).enumerate().all(|(n, pong)| pong[..2] == [0x8a, 1] && usize::from(pong[2]) == n)
        );
        socket.flush().await.unwrap();
        socket.shutdown().await.unwrap();
        heard.clear();
        theirs.read_to_end(&mut heard).await.unwrap();
        // The one that was on its way, the last of those behind it, and the end.
        assert_eq!(heard, [0x8a, 1, 100, 0x8a, 1, 200, 0x88, 2, 0x03, 0xe8]);
        assert!(socket.out.is_empty());
    }
}
