//! An artifact on its way out: any part of it, a chunk at a time, each opened and checked before a byte of it leaves.

use std::{fmt, fs::File, io, ops::Range, os::unix::fs::FileExt as _, sync::Arc};

use bytes::Bytes;

use crate::{
    chunk::{HEADER, Layout, position},
    digest::{Digest, Summing},
    error::{Damage, ReadError},
    limits::{CHUNK_BYTES, DAMAGES_TOLD_MAX},
    sealer::{SealRefusal, Sealer},
};

/// An artifact that can be read. Cheap to clone; readers of one file do not disturb one another.
#[derive(Clone)]
pub struct Blob {
    file: Arc<File>,
    digest: Digest,
    layout: Layout,
    sealer: Arc<dyn Sealer>,
}

/// What a check of a whole artifact found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// Parts of the artifact that are lost, in order; neighbours with the same cause are one.
    pub lost: Vec<(Range<u64>, Damage)>,
    /// How many such parts there are beyond those told.
    pub untold: usize,
    /// Every chunk opened, and together they are not what the name says: they were stored so.
    pub differs: bool,
}

impl Checked {
    /// Whether all of it is as it was stored.
    pub fn is_whole(&self) -> bool {
        self.lost.is_empty() && !self.differs
    }

    fn add(&mut self, lost: Range<u64>, why: Damage) {
        let told = self.lost.len();
        match self.lost.last_mut() {
            Some((before, same)) if before.end == lost.start && *same == why => before.end = lost.end,
            _ if told < DAMAGES_TOLD_MAX => self.lost.push((lost, why)),
            _ => self.untold += 1,
        }
    }
}

impl Blob {
    pub(crate) fn new(
        file: File,
        digest: Digest,
        size: u64,
        sealer: Arc<dyn Sealer>,
    ) -> Result<Self, ReadError> {
        let layout = Layout::new(size, sealer.overhead_bytes());
        let blob = Self { file: Arc::new(file), digest, layout, sealer };
        let mut header = [0; HEADER.len()];
        match blob.file.read_exact_at(&mut header, 0) {
            Ok(()) if header == HEADER => Ok(blob),
            Ok(()) => Err(blob.damaged(0..size, Damage::Header)),
            Err(source) if source.kind() == io::ErrorKind::UnexpectedEof => {
                Err(blob.damaged(0..size, Damage::Cut))
            }
            Err(source) => Err(ReadError::Io { digest, source }),
        }
    }

    /// What it is.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        self.layout.size
    }

    /// A part of it, piece by piece: at most one chunk is in memory for it.
    pub fn pieces(&self, range: Range<u64>) -> Result<Pieces, ReadError> {
        if range.start > range.end || range.end > self.size() {
            return Err(ReadError::Outside { asked: range, size: self.size() });
        }
        Ok(Pieces { blob: self.clone(), range, last: None })
    }

    /// No part of it yet.
    pub(crate) fn none(&self) -> Pieces {
        Pieces { blob: self.clone(), range: 0..0, last: None }
    }

    /// All of it in memory; for those who know that it is small enough.
    pub fn to_vec(&self) -> Result<Vec<u8>, ReadError> {
        let mut all = Vec::with_capacity(usize::try_from(self.size()).unwrap_or_default());
        for piece in self.pieces(0..self.size())? {
            all.extend_from_slice(&piece?);
        }
        Ok(all)
    }

    /// Reads all of it and says what is lost. Goes on behind damage; ends only where the disk or the key is at fault.
    pub fn check(&self) -> Result<Checked, ReadError> {
        let (mut checked, mut summing) = (Checked::default(), Summing::new());
        for number in 0..self.layout.chunks() {
            match self.chunk(number) {
                Ok(bytes) => summing.update(&bytes),
                Err(ReadError::Damaged { lost, why, .. }) => checked.add(lost, why),
                Err(error) => return Err(error),
            }
        }
        checked.differs = checked.lost.is_empty() && summing.finish().digest != self.digest;
        Ok(checked)
    }

    fn chunk(&self, number: u64) -> Result<Bytes, ReadError> {
        let range = self.layout.range(number);
        let length = range.end.saturating_sub(range.start).saturating_add(self.layout.overhead);
        let mut sealed = vec![0; usize::try_from(length).unwrap_or_default()];
        match self.file.read_exact_at(&mut sealed, self.layout.offset(number)) {
            Ok(()) => {}
            Err(source) if source.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(self.damaged(range, Damage::Cut));
            }
            // EIO: the sector is lost, and others are not.
            Err(source) if source.raw_os_error() == Some(5) => {
                return Err(self.damaged(range, Damage::Unreadable));
            }
            Err(source) => return Err(ReadError::Io { digest: self.digest, source }),
        }
        let last = range.end == self.size();
        match self.sealer.open(&position(&self.digest, number, last), &sealed) {
            Ok(plain) if plain.len() as u64 == range.end - range.start => Ok(plain.into()),
            Ok(_) | Err(SealRefusal::Forged) => Err(self.damaged(range, Damage::Changed)),
            Err(SealRefusal::Withdrawn) => Err(ReadError::Withdrawn { digest: self.digest }),
        }
    }

    fn damaged(&self, lost: Range<u64>, why: Damage) -> ReadError {
        ReadError::Damaged { digest: self.digest, lost, why }
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blob")
            .field("digest", &self.digest)
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

/// The pieces of one part of an artifact. After an error there is nothing more.
#[derive(Debug)]
pub struct Pieces {
    blob: Blob,
    range: Range<u64>,
    /// The chunk that was opened last: many small parts of one chunk open it once.
    last: Option<(u64, Bytes)>,
}

impl Pieces {
    /// Goes on with another part.
    pub fn go_to(&mut self, range: Range<u64>) -> Result<(), ReadError> {
        let Pieces { range, .. } = self.blob.pieces(range)?;
        self.range = range;
        Ok(())
    }

    fn chunk(&mut self, number: u64) -> Result<Bytes, ReadError> {
        if let Some((_, chunk)) = self.last.as_ref().filter(|(last, _)| *last == number) {
            return Ok(chunk.clone());
        }
        let chunk = self.blob.chunk(number)?;
        self.last = Some((number, chunk.clone()));
        Ok(chunk)
    }
}

impl Iterator for Pieces {
    type Item = Result<Bytes, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.range.is_empty() {
            return None;
        }
        let number = self.range.start / CHUNK_BYTES as u64;
        let (all, Range { start, end }) = (self.blob.layout.range(number), self.range.clone());
        let piece = self.chunk(number).map(|chunk| {
            let from = usize::try_from(start - all.start).unwrap_or_default();
            let to = usize::try_from(end.min(all.end) - all.start).unwrap_or_default();
            chunk.slice(from..to)
        });
        self.range.start = if piece.is_ok() { all.end.min(end) } else { end };
        Some(piece)
    }
}
