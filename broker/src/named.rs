//! The name that a peer without a certificate says in its CONNECT. That is read here, before there is a session; the
//! session then reads it again, from the same bytes.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf as _, BytesMut};
use muster_mqtt::{Connect, Decoder, Packet, PacketLimits};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    time::timeout,
};

use crate::{admission::Named, limits::HANDSHAKE_TIME_MAX};

/// A stream of which some was read already, and is read again first.
pub(crate) struct Rewound<S> {
    stream: S,
    /// What comes first. Gone when it has come.
    first: Option<BytesMut>,
}

/// Reads a CONNECT, and what it says of who sends it. There is nothing if it says no name or no password, or if something
/// else came or nothing in time: the session will find the same bytes, and say what is wrong with them. What is read is
/// bounded by the largest CONNECT.
pub(crate) async fn named<S>(mut stream: S) -> (Rewound<S>, Option<Named>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut bytes = BytesMut::new();
    let reading = async {
        let mut decoder = Decoder::new(PacketLimits::default());
        loop {
            let before = bytes.len();
            if stream.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
            decoder.buffer().extend_from_slice(bytes.get(before..)?);
            match decoder.next() {
                Ok(None) => {}
                Ok(Some(Packet::Connect(connect))) => return name(*connect),
                Ok(Some(_)) | Err(_) => return None,
            }
        }
    };
    let named = timeout(HANDSHAKE_TIME_MAX, reading).await.ok().flatten();
    (Rewound { stream, first: Some(bytes) }, named)
}

fn name(connect: Connect) -> Option<Named> {
    Some(Named { username: connect.username?.to_string(), password: connect.password?.0 })
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(first) = &mut this.first {
            let count = first.len().min(buf.remaining());
            buf.put_slice(first.get(..count).unwrap_or_default());
            first.advance(count);
            if first.is_empty() {
                this.first = None;
            }
            if count > 0 {
                return Poll::Ready(Ok(()));
            }
        }
        Pin::new(&mut this.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;

    /// CONNECT of MQTT 3.1.1 with the client identifier "d", the user name "acme/d" and the password "secret", and a
    /// PINGREQ.
    const CONNECT: &[u8] =
        b"\x10\x1d\x00\x04MQTT\x04\xc2\x00\x3c\x00\x01d\x00\x06acme/d\x00\x06secret\xc0\x00";

    #[actix::test]
    async fn a_name_is_read_and_the_session_reads_the_same_bytes() {
        let (mut client, server) = duplex(64);
        let writing = async {
            for piece in CONNECT.chunks(5) {
                client.write_all(piece).await.expect("written");
            }
            client.shutdown().await.expect("ended");
        };
        let reading = async {
            let (mut stream, named) = named(server).await;
            let mut again = Vec::new();
            stream.read_to_end(&mut again).await.expect("read");
            (named.expect("a name"), again)
        };
        let ((), (named, again)) = tokio::join!(writing, reading);
        assert_eq!((&*named.username, &named.password[..]), ("acme/d", &b"secret"[..]));
        assert_eq!(again, CONNECT);
    }

    #[actix::test]
    async fn who_says_no_name_has_none_and_what_came_is_still_there() {
        for bytes in [
            &b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01d"[..],
            b"\x30\x03\x00\x01a",
            b"\x10\xff\xff\xff\x7f",
            b"",
        ] {
            let (mut client, server) = duplex(64);
            client.write_all(bytes).await.expect("written");
            drop(client);
            let (mut stream, named) = named(server).await;
            assert!(named.is_none(), "{bytes:?}");
            let mut again = Vec::new();
            stream.read_to_end(&mut again).await.expect("read");
            assert_eq!(again, bytes);
        }
    }
}
