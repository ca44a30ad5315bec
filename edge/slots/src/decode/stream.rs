//! A part of a file to read from, and an image to write to that has an end.

use std::{
    io::{self, Read, Write},
    path::Path,
};

use crate::{fs::Fs, limits::CHUNK_BYTES};

/// Reads a part of a file from its front.
pub(crate) struct Reader<'a, F> {
    fs: &'a F,
    path: &'a Path,
    at: u64,
    end: u64,
}

impl<'a, F: Fs> Reader<'a, F> {
    pub(crate) fn new(fs: &'a F, path: &'a Path, from: u64, to: u64) -> Self {
        Self { fs, path, at: from, end: to }
    }
}

impl<F: Fs> Read for Reader<'_, F> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let wanted = left.min(into.len());
        let Some(into) = into.get_mut(..wanted).filter(|into| !into.is_empty()) else { return Ok(0) };
        let read = self.fs.read_at(self.path, self.at, into)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Writes an image from its front, in pieces of 64 KiB, and no byte more than it has.
pub(crate) struct Writer<'a, F> {
    fs: &'a F,
    path: &'a Path,
    pending: Vec<u8>,
    /// How many bytes are in the file.
    at: u64,
    end: u64,
    too_long: bool,
    failed: bool,
}

impl<'a, F: Fs> Writer<'a, F> {
    pub(crate) fn new(fs: &'a F, path: &'a Path, end: u64) -> Self {
        let pending = Vec::with_capacity(CHUNK_BYTES);
        Self { fs, path, pending, at: 0, end, too_long: false, failed: false }
    }

    /// Writes what is left, and says how many bytes there were.
    pub(crate) fn finish(&mut self) -> io::Result<u64> {
        self.put()?;
        Ok(self.at)
    }

    /// Whether more came than the image has.
    pub(crate) fn is_too_long(&self) -> bool {
        self.too_long
    }

    /// Whether it was the file that failed, and not what came.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    fn put(&mut self) -> io::Result<()> {
        if let Err(error) = self.fs.write_at(self.path, self.at, &self.pending) {
            self.failed = true;
            return Err(error);
        }
        self.at += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }
}

impl<F: Fs> Write for Writer<'_, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.at + self.pending.len() as u64 + bytes.len() as u64 > self.end {
            self.too_long = true;
            return Err(io::Error::other("there is more of it than was signed"));
        }
        let taken = bytes.len().min(CHUNK_BYTES - self.pending.len());
        self.pending.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        if self.pending.len() == CHUNK_BYTES {
            self.put()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
