//! Decoder and session together: bytes in, effects out. For tests, vectors and fuzzers; the broker's actor keeps the
//! two apart, because it takes credit between them.

use std::time::Instant;

use crate::{
    decode::Decoder,
    limits::PacketLimits,
    session::{Effects, Input, Session, SessionOptions},
};

/// The server's side of one connection.
#[derive(Debug)]
pub struct Connection {
    decoder: Decoder,
    session: Session,
}

impl Connection {
    /// A connection that has just been opened.
    pub fn new(limits: PacketLimits, options: SessionOptions, now: Instant) -> Self {
        Self { decoder: Decoder::new(limits), session: Session::new(options, now) }
    }

    /// Bytes from the client. What follows a fault or a close is dropped.
    pub fn receive(&mut self, now: Instant, bytes: &[u8], effects: &mut Effects) {
        self.decoder.buffer().extend_from_slice(bytes);
        while !self.session.is_closed() {
            match self.decoder.next() {
                Ok(Some(packet)) => self.session.handle(now, Input::Packet(packet), effects),
                Ok(None) => return,
                Err(error) => self.session.handle(now, Input::Malformed(error), effects),
            }
        }
        self.decoder.buffer().clear();
    }

    /// Anything else that happens.
    pub fn handle(&mut self, now: Instant, input: Input, effects: &mut Effects) {
        self.session.handle(now, input, effects);
    }

    /// As [`Session::next_deadline`].
    pub fn next_deadline(&self) -> Option<Instant> {
        self.session.next_deadline()
    }

    /// The session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Bytes received and not yet decoded.
    pub fn buffered_bytes(&mut self) -> usize {
        self.decoder.buffer().len()
    }
}
