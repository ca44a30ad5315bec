//! Whatever a peer may say to a WebSocket, cut into pieces of any size, over a stream that takes only so much at once.
//! The fuzz target and the tests of this crate run it; it fails by a panic.
//!
//! The first byte says how many bytes come at a time (0: all), the second how many the peer takes at a time (0: all).
//! After an even sum of the two follows a request for an upgrade, after an odd one follow frames.

use std::{
    io,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::websocket::{WebSocket, limits::WEBSOCKET_FRAME_BYTES_MAX, upgrade};

/// What is put out for every read: not a multiple of anything.
const ECHO_BYTES: usize = 1_234;

/// Runs one input.
pub fn run(input: &[u8]) {
    let [come, taken, said @ ..] = input else { return };
    let all = |count: u8| if count == 0 { usize::MAX } else { usize::from(count) };
    let wire =
        || Wire { said: said.to_vec(), read: 0, come: all(*come), taken: all(*taken), heard: Vec::new() };
    if come.wrapping_add(*taken) % 2 == 0 {
        ask(wire());
        return;
    }
    let (payload, ended) = talk(wire());
    let (whole, same) = talk(Wire { come: usize::MAX, ..wire() });
    assert_eq!(ended, same, "it ends the same way however its bytes come");
    // What came before a broken frame in the same read is not handed on.
    let (short, long) = if payload.len() < whole.len() { (payload, whole) } else { (whole, payload) };
    assert!(long.starts_with(&short), "payload does not depend on how its bytes come");
    assert!(ended.is_some() || short == long);
}

/// A peer: what it says, and what it has heard.
struct Wire {
    said: Vec<u8>,
    read: usize,
    come: usize,
    taken: usize,
    heard: Vec<u8>,
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = self.said.len() - self.read;
        let count = left.min(self.come).min(buf.remaining());
        let at = self.read;
        buf.put_slice(&self.said[at..at + count]);
        self.read += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let count = bytes.len().min(self.taken);
        self.heard.extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn ready<T>(poll: Poll<T>) -> T {
    match poll {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the stream is always ready"),
    }
}

/// Asks for an upgrade. It is answered once, in words that HTTP knows, or not at all.
fn ask(mut wire: Wire) {
    let outcome = {
        let origins = ["https://here.example".to_owned()];
        let asking = pin!(upgrade(&mut wire, &origins));
        ready(asking.poll(&mut Context::from_waker(Waker::noop())))
    };
    let heard = String::from_utf8(wire.heard).expect("text");
    match outcome {
        Ok(()) => assert!(heard.starts_with("HTTP/1.1 101 ") && heard.ends_with("\r\n\r\n")),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => assert_eq!(heard, ""),
        Err(_) => assert!(heard.starts_with("HTTP/1.1 4") && heard.ends_with('\n'), "{heard}"),
    }
}

/// Reads to the end and writes all the while. Gives the payload, and the error that ended it.
fn talk(mut wire: Wire) -> (Vec<u8>, Option<String>) {
    let mut cx = Context::from_waker(Waker::noop());
    let mut socket = WebSocket::new(&mut wire);
    let (mut payload, mut written) = (Vec::new(), Vec::new());
    let mut scratch = [0; 16 * 1_024];
    let ended = loop {
        match read(&mut socket, &mut cx, &mut scratch) {
            Ok(0) => break None,
            Ok(count) => payload.extend_from_slice(&scratch[..count]),
            Err(error) => break Some(error.to_string()),
        }
        let echo: Vec<u8> = (0..ECHO_BYTES).map(|n| n.to_le_bytes()[0]).collect();
        let count = ready(Pin::new(&mut socket).poll_write(&mut cx, &echo)).expect("the stream takes all");
        written.extend_from_slice(&echo[..count]);
    };
    let _ = ready(Pin::new(&mut socket).poll_shutdown(&mut cx));
    // The peer is heard out, and nothing it says is broken any more.
    while read(&mut socket, &mut cx, &mut scratch).expect("it is not looked at") > 0 {}
    assert_eq!(heard(&wire.heard), written, "what was written, in order");
    (payload, ended)
}

/// One read: how many bytes came.
fn read(socket: &mut WebSocket<&mut Wire>, cx: &mut Context<'_>, scratch: &mut [u8]) -> io::Result<usize> {
    let mut buf = ReadBuf::new(scratch);
    ready(Pin::new(socket).poll_read(cx, &mut buf)).map(|()| buf.filled().len())
}

/// The payload of a server's frames, which are whole, not masked, of no more than a record, and end with one CLOSE.
fn heard(mut bytes: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    let mut is_closed = false;
    while let [first, second, rest @ ..] = bytes {
        assert!(!is_closed, "nothing follows a CLOSE");
        let (length, rest) = match second {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            length @ ..126 => (usize::from(*length), rest),
            _ => panic!("a server's frame is masked or too long"),
        };
        assert!(length <= WEBSOCKET_FRAME_BYTES_MAX);
        let (part, rest) = rest.split_at(length);
        match first {
            0x82 => payload.extend_from_slice(part),
            0x8a => assert!(length <= 125),
            0x88 => is_closed = true,
            _ => panic!("a server's frame begins with {first:02x}"),
        }
        bytes = rest;
    }
    assert!(bytes.is_empty() && is_closed);
    payload
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_corpus_is_answered_or_closed() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/websocket");
        let mut count = 0;
        for entry in fs::read_dir(&directory).expect("corpus") {
            let bytes = fs::read(entry.expect("an entry").path()).expect("readable");
            count += 1;
            for end in 0..=bytes.len() {
                run(&bytes[..end]);
            }
        }
        assert!(count >= 10, "only {count} seeds found");
    }

    proptest! {
        #[test]
        fn anything_is_answered_or_closed(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            run(&bytes);
        }
    }
}
