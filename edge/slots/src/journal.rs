//! What a device remembers of an update across a loss of power: which one, how much of it is on the medium, and how
//! far it is.

use std::{io, path::Path};

use muster_schemas::firmware::{Digest, ExecutionId};

use crate::{
    fs::Fs,
    record::Pair,
    slot::Image,
    wire::{Fields, put_image},
};

const MAGIC: [u8; 4] = *b"MJR1";

/// How far an update is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Blocks arrive; so many bytes are on the medium.
    Receiving {
        /// Everything before is whole; what lies behind is thrown away.
        verified: u64,
    },
    /// The boot pointer says, or is about to say, that the new image is tried.
    Switching,
}

/// What a device remembers of the update that it is at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    /// Whom to tell how it ends.
    pub execution: ExecutionId,
    /// Which try of it.
    pub attempt: u32,
    /// The first number that no report of it has had.
    pub reserved: u32,
    /// What is to run in the end.
    pub image: Image,
    /// The digest of what is transferred.
    pub artifact: Digest,
    /// How long that is.
    pub size: u64,
    /// How far it is.
    pub phase: Phase,
}

impl Journal {
    /// As it stands in a record.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(192);
        out.extend_from_slice(&self.execution.number().to_le_bytes());
        out.extend_from_slice(&self.attempt.to_le_bytes());
        out.extend_from_slice(&self.reserved.to_le_bytes());
        put_image(&mut out, &self.image);
        out.extend_from_slice(self.artifact.as_bytes());
        out.extend_from_slice(&self.size.to_le_bytes());
        match self.phase {
            Phase::Receiving { verified } => {
                out.push(0);
                out.extend_from_slice(&verified.to_le_bytes());
            }
            Phase::Switching => out.push(1),
        }
        out
    }

    /// Reads a body; none if it is none that we write. The body of no update is empty.
    pub fn decode(body: &[u8]) -> Option<Self> {
        let mut fields = Fields(body);
        let execution = ExecutionId::new(fields.u32()?)?;
        let (attempt, reserved) = (fields.u32()?, fields.u32()?);
        let image = fields.image()?;
        let (artifact, size) = (fields.digest()?, fields.u64()?);
        let phase = match fields.u8()? {
            0 => Phase::Receiving { verified: fields.u64().filter(|verified| *verified <= size)? },
            1 => Phase::Switching,
            _ => return None,
        };
        fields.end()?;
        Some(Self { execution, attempt, reserved, image, artifact, size, phase })
    }
}

/// Where the journal of a component lies.
#[derive(Debug, Clone)]
pub struct JournalFile(Pair);

impl JournalFile {
    /// In the folder of records.
    pub fn new(state: &Path) -> Self {
        Self(Pair::new(state, "journal", MAGIC))
    }

    /// None if the device is at no update, or if what it knew of it is lost.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read<F: Fs>(&self, fs: &F) -> io::Result<Option<Journal>> {
        Ok(self.0.read(fs)?.and_then(|framed| Journal::decode(&framed.body)))
    }

    /// When this returns, it is what is found after a loss of power.
    ///
    /// # Errors
    /// It could not be written.
    pub fn write<F: Fs>(&self, fs: &F, journal: Option<&Journal>) -> io::Result<()> {
        self.0.write(fs, &journal.map(Journal::encode).unwrap_or_default())
    }
}
