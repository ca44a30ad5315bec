//! Frames of RFC 6455 as a server sees them: bytes of the wire in, payload out. No socket is known here.

use bytes::{BufMut, BytesMut};

use super::limits::WEBSOCKET_CONTROL_BYTES_MAX;

/// Longest header of a frame: two bytes, eight of length, four of mask.
const HEADER_BYTES_MAX: usize = 14;

/// Why a connection is closed (RFC 6455 §7.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CloseCode {
    /// All is said.
    Normal,
    /// The peer broke the protocol.
    Protocol,
    /// The peer sent text [MQTT-6.0.0-1].
    Unsupported,
    /// What the peer said, and hears back.
    Peer(u16),
}

impl CloseCode {
    fn number(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::Protocol => 1002,
            Self::Unsupported => 1003,
            Self::Peer(code) => code,
        }
    }
}

/// What a peer did wrong, and the code that tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub(crate) struct Broken {
    pub(crate) code: CloseCode,
    pub(crate) what: &'static str,
}

const fn broken(what: &'static str) -> Broken {
    Broken { code: CloseCode::Protocol, what }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Binary,
    Ping,
    Pong,
    Close,
}

/// The frame that is being taken apart.
#[derive(Debug)]
struct Frame {
    kind: Kind,
    /// Whether it ends its message.
    is_last: bool,
    /// Bytes of payload that have not come yet.
    left: u64,
    /// Turned so that the next byte meets the first of it.
    mask: [u8; 4],
}

/// Takes frames apart as their bytes come.
#[derive(Debug, Default)]
pub(crate) struct Unframer {
    header: [u8; HEADER_BYTES_MAX],
    header_bytes: usize,
    frame: Option<Frame>,
    /// A message has begun and its last frame has not come.
    in_message: bool,
    /// Payload of the control frame that is coming, at most 125 bytes.
    control: BytesMut,
    /// What the last PING said and no PONG has said back. A newer one takes its place (RFC 6455 §5.5.3).
    ping: Option<BytesMut>,
    /// What the peer's CLOSE said.
    closed: Option<CloseCode>,
}

impl Unframer {
    /// Takes bytes as they came, and moves the payload of binary frames among them to the front. Says how many bytes that
    /// is. Whatever follows a CLOSE is passed by.
    pub(crate) fn take(&mut self, bytes: &mut [u8]) -> Result<usize, Broken> {
        let (mut at, mut kept) = (0, 0);
        while at < bytes.len() && self.closed.is_none() {
            let Some(frame) = &mut self.frame else {
                let byte = bytes.get(at).copied().unwrap_or_default();
                at += 1;
                self.take_header(byte)?;
                continue;
            };
            let step = usize::try_from(frame.left).unwrap_or(usize::MAX).min(bytes.len() - at);
            let part = bytes.get_mut(at..at + step).unwrap_or_default();
            for four in part.chunks_mut(4) {
                for (byte, key) in four.iter_mut().zip(frame.mask) {
                    *byte ^= key;
                }
            }
            frame.mask.rotate_left(step % 4);
            frame.left -= step as u64;
            let is_over = frame.left == 0;
            if frame.kind == Kind::Binary {
                bytes.copy_within(at..at + step, kept);
                kept += step;
            } else {
                self.control.extend_from_slice(part);
            }
            at += step;
            if is_over {
                self.end_frame()?;
            }
        }
        Ok(kept)
    }

    /// What the peer's CLOSE said, once it has come.
    pub(crate) fn closed(&self) -> Option<CloseCode> {
        self.closed
    }

    /// What the last PING said, if it was not answered.
    pub(crate) fn ping(&mut self) -> Option<BytesMut> {
        self.ping.take()
    }

    /// Whether a PING was not answered.
    pub(crate) fn is_pinged(&self) -> bool {
        self.ping.is_some()
    }

    fn take_header(&mut self, byte: u8) -> Result<(), Broken> {
        if let Some(place) = self.header.get_mut(self.header_bytes) {
            *place = byte;
        }
        self.header_bytes += 1;
        let [first, second, rest @ ..] = self.header;
        if self.header_bytes < 2 {
            return Ok(());
        }
        let length_bytes = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if self.header_bytes < 2 + length_bytes + 4 {
            return Ok(());
        }
        self.header_bytes = 0;
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let (length, mask) = rest.split_at(length_bytes);
        let left = if length_bytes == 0 { u64::from(second & 0x7f) } else { number(length) };
        let mut frame = Frame { kind: Kind::Binary, is_last: first & 0x80 != 0, left, mask: [0; 4] };
        frame.mask.iter_mut().zip(mask).for_each(|(place, byte)| *place = *byte);
        if first & 0x70 != 0 {
            return Err(broken("a reserved bit of a frame is set, and no extension was agreed upon"));
        }
        if second & 0x80 == 0 {
            return Err(broken("a frame of a client is not masked"));
        }
        let is_shortest = match length_bytes {
            0 => true,
            2 => left > 125,
            _ => left > 0xffff && left >> 63 == 0,
        };
        if !is_shortest {
            return Err(broken("the length of a frame is not written as RFC 6455 says"));
        }
        frame.kind = match first & 0x0f {
            0 if self.in_message => Kind::Binary,
            0 => return Err(broken("a continuation frame continues nothing")),
            1 => {
                let what = "MQTT comes in binary frames, and this is text [MQTT-6.0.0-1]";
                return Err(Broken { code: CloseCode::Unsupported, what });
            }
            2 if self.in_message => return Err(broken("a message began before the one before it ended")),
            2 => Kind::Binary,
            8 => Kind::Close,
            9 => Kind::Ping,
            10 => Kind::Pong,
            _ => return Err(broken("a frame is of no known kind")),
        };
        if frame.kind != Kind::Binary && (!frame.is_last || left > WEBSOCKET_CONTROL_BYTES_MAX) {
            return Err(broken("a control frame is in parts or has more than 125 bytes"));
        }
        let is_empty = left == 0;
        self.frame = Some(frame);
        if is_empty { self.end_frame() } else { Ok(()) }
    }

    fn end_frame(&mut self) -> Result<(), Broken> {
        let Some(Frame { kind, is_last, .. }) = self.frame.take() else { return Ok(()) };
        let control = std::mem::take(&mut self.control);
        match kind {
            Kind::Binary => self.in_message = !is_last,
            Kind::Ping => self.ping = Some(control),
            Kind::Pong => {}
            Kind::Close => {
                self.closed = Some(match *control {
                    [] => CloseCode::Normal,
                    [high, low, ..] => match u16::from_be_bytes([high, low]) {
                        code @ (1000..=1003 | 1007..=1014 | 3000..=4999) => CloseCode::Peer(code),
                        _ => return Err(broken("a CLOSE has a code that nobody may send")),
                    },
                    [_] => return Err(broken("a CLOSE has half a code")),
                });
            }
        }
        Ok(())
    }
}

/// Appends a binary frame with this payload.
pub(crate) fn put_binary(out: &mut BytesMut, parts: &[std::io::IoSlice<'_>], length: usize) {
    put_header(out, 0x82, length);
    let mut left = length;
    for part in parts {
        let part = part.get(..left.min(part.len())).unwrap_or_default();
        out.put_slice(part);
        left -= part.len();
    }
}

/// Appends a PONG.
pub(crate) fn put_pong(out: &mut BytesMut, payload: &[u8]) {
    put_header(out, 0x8a, payload.len());
    out.put_slice(payload);
}

/// Appends a CLOSE.
pub(crate) fn put_close(out: &mut BytesMut, code: CloseCode) {
    put_header(out, 0x88, 2);
    out.put_u16(code.number());
}

fn put_header(out: &mut BytesMut, first: u8, length: usize) {
    out.put_u8(first);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ ..=125), _) => out.put_u8(length),
        (_, Ok(length)) => {
            out.put_u8(126);
            out.put_u16(length);
        }
        _ => {
            out.put_u8(127);
            out.put_u64(length as u64);
        }
    }
}

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
