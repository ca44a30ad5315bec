//! From a thread that writes to a body that is read: pieces of a bounded size, a bounded number of them.

use std::io;

use actix_web::web::Bytes;
use muster_exports::ExportError;
use tokio::{runtime::Handle, sync::mpsc, time::timeout};

use super::limits::{PIECE_BYTES_MAX, PIECE_TIME_MAX};

/// What comes out of a pipe. An error is the last.
pub type Piece = Result<Bytes, ExportError>;

/// A part of what is written, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// How many are left out at the beginning.
    pub skipped: u64,
    /// How many follow.
    pub length: u64,
}

/// The end that is written to.
pub struct Pipe {
    sender: mpsc::Sender<Piece>,
    runtime: Handle,
    buffer: Vec<u8>,
    part: Part,
}

impl Pipe {
    pub(super) fn new(sender: mpsc::Sender<Piece>, runtime: Handle) -> Self {
        let part = Part { skipped: 0, length: u64::MAX };
        Self { sender, runtime, buffer: Vec::with_capacity(PIECE_BYTES_MAX), part }
    }

    /// Lets only a part through. Once it is written, writing ends with an error that [`Pipe::end`] knows for none.
    pub fn only(&mut self, part: Part) {
        self.part = part;
    }

    /// Ends the pipe as the writing ended.
    pub fn end(mut self, outcome: Result<(), ExportError>) {
        let outcome = match outcome {
            Err(ExportError::Io(_)) if self.part.length == 0 => Ok(()),
            outcome => outcome,
        };
        // Whoever reads may be gone.
        let _ = match outcome.and_then(|()| Ok(self.send()?)) {
            Ok(()) => Ok(()),
            Err(error) => self.push(Err(error)),
        };
    }

    fn send(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE_BYTES_MAX));
        self.push(Ok(piece.into()))
    }

    fn push(&self, piece: Piece) -> io::Result<()> {
        match self.runtime.block_on(timeout(PIECE_TIME_MAX, self.sender.send(piece))) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl io::Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.part.length == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let skipped = usize::try_from(self.part.skipped).unwrap_or(usize::MAX).min(bytes.len());
        self.part.skipped -= skipped as u64;
        let wanted = bytes.get(skipped..).unwrap_or_default();
        let room = PIECE_BYTES_MAX.saturating_sub(self.buffer.len());
        let taken = wanted.len().min(room).min(usize::try_from(self.part.length).unwrap_or(usize::MAX));
        self.buffer.extend_from_slice(wanted.get(..taken).unwrap_or_default());
        self.part.length = self.part.length.saturating_sub(taken as u64);
        if self.buffer.len() >= PIECE_BYTES_MAX {
            self.send()?;
        }
        Ok(skipped + taken)
    }

    /// Pieces leave when they are whole, and at the end.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// What comes out when numbers from 0 to 199,999 are written, two bytes each.
    async fn written(part: Option<Part>) -> Result<Vec<u8>, ExportError> {
        let (sender, mut pieces) = mpsc::channel(2);
        let mut pipe = Pipe::new(sender, Handle::current());
        let writing = tokio::task::spawn_blocking(move || {
            if let Some(part) = part {
                pipe.only(part);
            }
            let outcome = (0..200_000_u32).try_for_each(|n| pipe.write_all(&(n as u16).to_le_bytes()));
            pipe.end(outcome.map_err(ExportError::from));
        });
        let mut all = Vec::new();
        while let Some(piece) = pieces.recv().await {
            let piece = piece?;
            assert!(piece.len() <= PIECE_BYTES_MAX);
            all.extend_from_slice(&piece);
        }
        writing.await.expect("written");
        Ok(all)
    }

    #[tokio::test]
    async fn a_part_is_what_the_whole_has_there() {
        let whole = written(None).await.expect("whole");
        assert_eq!(whole.len(), 400_000);
        for (skipped, length) in [(0, 1), (3, 100_000), (399_999, 1), (65_535, 65_537), (10, 399_990)] {
            let part = written(Some(Part { skipped, length })).await.expect("a part");
            assert_eq!(part, whole[skipped as usize..(skipped + length) as usize], "{skipped} {length}");
        }
    }

    #[tokio::test]
    async fn an_error_comes_after_what_was_written_whole() {
        let (sender, mut pieces) = mpsc::channel(2);
        let pipe = Pipe::new(sender, Handle::current());
        let writing = tokio::task::spawn_blocking(move || pipe.end(Err(ExportError::Changed)));
        assert!(matches!(pieces.recv().await, Some(Err(ExportError::Changed))));
        assert!(pieces.recv().await.is_none());
        writing.await.expect("written");
    }
}
