//! One connection: what has come is read in large pieces, and what is to go is gathered and written at once.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
};

use rustls::ClientConnection;

use super::poll::Poll;

/// Bytes read from one link before another has its turn.
pub const READ_BYTES_MAX: usize = 256 * 1_024;

/// A non-blocking connection, plain or with TLS.
pub struct Link {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// The beginning of a packet whose end has not come yet.
    rest: Vec<u8>,
    /// Packets to send.
    pub outbox: Vec<u8>,
    /// How much of that the socket has taken.
    written: usize,
    watched_for_writing: bool,
}

/// Where everybody's bytes are put while they are looked at, so that an idle link has no buffer.
pub struct Scratch {
    bytes: Vec<u8>,
}

impl Scratch {
    /// An empty one.
    pub fn new() -> Self {
        Self { bytes: vec![0; READ_BYTES_MAX + 64 * 1_024] }
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Link {
    /// A connection that may still be opening.
    pub fn new(socket: TcpStream, tls: Option<ClientConnection>) -> Self {
        let tls = tls.map(|mut tls| {
            tls.set_buffer_limit(None);
            Box::new(tls)
        });
        let (rest, outbox) = (Vec::new(), Vec::new());
        Self { socket, tls, rest, outbox, written: 0, watched_for_writing: false }
    }

    /// Has it watched. A link that is still opening has something to write.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn watch(&mut self, poll: &Poll, token: usize) -> io::Result<()> {
        self.watched_for_writing = true;
        poll.add(&self.socket, token, true)
    }

    /// Has it watched no more.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn unwatch(&mut self, poll: &Poll) -> io::Result<()> {
        poll.remove(&self.socket)
    }

    /// Reads what has come, once, and lets `look` take whole packets from its front; gives how many bytes came.
    ///
    /// # Errors
    /// The broker closed the connection, or `look` did not like what came.
    pub fn read<E: From<io::Error>>(
        &mut self,
        scratch: &mut Scratch,
        look: impl FnOnce(&mut &[u8], &mut Vec<u8>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let kept = self.rest.len();
        if scratch.bytes.len() < kept + READ_BYTES_MAX {
            scratch.bytes.resize(kept + READ_BYTES_MAX, 0);
        }
        let (front, back) = scratch.bytes.split_at_mut(kept);
        front.copy_from_slice(&self.rest);
        let came = match &mut self.tls {
            None => read_some(&mut self.socket, back)?,
            Some(tls) => read_tls(tls, &mut self.socket, back)?,
        };
        let Some(came) = came else { return Ok(0) };
        let mut bytes = scratch.bytes.get(..kept + came).unwrap_or_default();
        let looked = look(&mut bytes, &mut self.outbox);
        self.rest.clear();
        self.rest.extend_from_slice(bytes);
        if self.rest.is_empty() && self.rest.capacity() > 4_096 {
            self.rest = Vec::new();
        }
        looked.map(|()| came)
    }

    /// Whether something waits to be written.
    pub fn has_output(&self) -> bool {
        self.written < self.outbox.len() || self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Bytes that wait to be written.
    pub fn output_bytes(&self) -> usize {
        self.outbox.len() - self.written
    }

    /// Writes as much as the socket takes, and has the rest watched for.
    ///
    /// # Errors
    /// The connection failed.
    pub fn write(&mut self, poll: &Poll, token: usize) -> io::Result<()> {
        let done = match &mut self.tls {
            None => loop {
                let left = self.outbox.get(self.written..).unwrap_or_default();
                if left.is_empty() {
                    break true;
                }
                match self.socket.write(left) {
                    Ok(0) => return Err(ErrorKind::WriteZero.into()),
                    Ok(count) => self.written += count,
                    Err(error) if is_later(&error) => break false,
                    Err(error) => return Err(error),
                }
            },
            Some(tls) => {
                let left = self.outbox.get(self.written..).unwrap_or_default();
                tls.writer().write_all(left)?;
                self.written = self.outbox.len();
                write_tls(tls, &mut self.socket)?
            }
        };
        if self.written == self.outbox.len() {
            self.outbox.clear();
            self.written = 0;
        }
        if done == self.watched_for_writing {
            self.watched_for_writing = !done;
            poll.change(&self.socket, token, !done)?;
        }
        Ok(())
    }

    /// Gives buffers back that an idle link does not need.
    pub fn shrink(&mut self) {
        self.outbox.shrink_to_fit();
        self.rest.shrink_to_fit();
    }
}

fn read_some(from: &mut impl Read, into: &mut [u8]) -> io::Result<Option<usize>> {
    match from.read(into) {
        Ok(0) => Err(io::Error::new(ErrorKind::UnexpectedEof, "the broker closed the connection")),
        Ok(count) => Ok(Some(count)),
        Err(error) if is_later(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads records until the socket has no more or `into` is full.
fn read_tls(
    tls: &mut ClientConnection,
    socket: &mut TcpStream,
    into: &mut [u8],
) -> io::Result<Option<usize>> {
    let mut filled = 0;
    loop {
        match tls.read_tls(socket) {
            Ok(0) if filled == 0 => {
                return Err(io::Error::new(ErrorKind::UnexpectedEof, "the broker closed the connection"));
            }
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if is_later(&error) => break,
            Err(error) => return Err(error),
        }
        let state = tls.process_new_packets().map_err(io::Error::other)?;
        let due = state.plaintext_bytes_to_read();
        let handshaking = tls.wants_write();
        if handshaking {
            write_tls(tls, socket)?;
        }
        while let Some(free) = into.get_mut(filled..).filter(|free| !free.is_empty()) {
            match tls.reader().read(free) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if is_later(&error) => break,
                Err(error) => return Err(error),
            }
        }
        // Room for another record, so that none stays behind where no event tells of it.
        if into.len() - filled < 64 * 1_024 || (due == 0 && !handshaking && filled > 0) {
            break;
        }
    }
    Ok((filled > 0).then_some(filled))
}

fn write_tls(tls: &mut ClientConnection, socket: &mut TcpStream) -> io::Result<bool> {
    while tls.wants_write() {
        match tls.write_tls(socket) {
            Ok(_) => {}
            Err(error) if is_later(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn is_later(error: &io::Error) -> bool {
    // A socket that is still connecting is not connected yet.
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::NotConnected)
}
