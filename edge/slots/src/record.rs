//! One small record in two copies: the boot pointer, and the journal. Each change overwrites the copy that is older,
//! so that a write that power cuts short leaves the other one, as boot loaders keep their environment. It needs no
//! rename, and works on two sectors of a bare device as well as on two files.
//!
//! ```text
//! magic:4 | generation:u64 | length:u16 | body:length | zeros … | first 16 bytes of SHA-256 over it   (512 bytes)
//! ```

use std::{
    io,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{SHA256, digest};

use crate::{fs::Fs, limits::RECORD_BYTES};

/// What precedes the body.
const HEAD_BYTES: usize = 4 + 8 + 2;
/// What of the digest is kept.
const CHECK_BYTES: usize = 16;

/// The longest body.
pub const BODY_BYTES_MAX: usize = RECORD_BYTES - HEAD_BYTES - CHECK_BYTES;

/// A record as it stands in one of its copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Framed {
    /// How many times it was written; the copy with the higher one counts.
    pub generation: u64,
    /// What it says.
    pub body: Vec<u8>,
}

impl Framed {
    /// Reads a copy; none if it was cut short, changed, or is of another kind.
    pub fn decode(magic: [u8; 4], bytes: &[u8]) -> Option<Self> {
        let checked = bytes.get(..RECORD_BYTES - CHECK_BYTES)?;
        let check = bytes.get(RECORD_BYTES - CHECK_BYTES..RECORD_BYTES)?;
        if bytes.len() != RECORD_BYTES || digest(&SHA256, checked).as_ref().get(..CHECK_BYTES)? != check {
            return None;
        }
        let (found, rest) = checked.split_first_chunk::<4>()?;
        let (generation, rest) = rest.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (body, zeros) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        let whole = *found == magic && zeros.iter().all(|byte| *byte == 0);
        whole.then(|| Self { generation: u64::from_le_bytes(*generation), body: body.to_vec() })
    }

    /// As it stands on the medium; none if the body is too long for a sector.
    pub fn encode(&self, magic: [u8; 4]) -> Option<Vec<u8>> {
        let length = u16::try_from(self.body.len()).ok().filter(|_| self.body.len() <= BODY_BYTES_MAX)?;
        let mut bytes = Vec::with_capacity(RECORD_BYTES);
        bytes.extend_from_slice(&magic);
        bytes.extend_from_slice(&self.generation.to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&self.body);
        bytes.resize(RECORD_BYTES - CHECK_BYTES, 0);
        let check = digest(&SHA256, &bytes);
        bytes.extend_from_slice(check.as_ref().get(..CHECK_BYTES)?);
        Some(bytes)
    }
}

/// Where the two copies of a record lie, and what they begin with.
#[derive(Debug, Clone)]
pub struct Pair {
    magic: [u8; 4],
    copies: [PathBuf; 2],
}

impl Pair {
    /// A record of that name in a folder.
    pub fn new(folder: &Path, name: &str, magic: [u8; 4]) -> Self {
        Self { magic, copies: [folder.join(format!("{name}.0")), folder.join(format!("{name}.1"))] }
    }

    /// The newer copy that is whole; none if there is none.
    ///
    /// # Errors
    /// Both cannot be read, which is another thing than that they are not there.
    pub fn read<F: Fs>(&self, fs: &F) -> io::Result<Option<Framed>> {
        Ok(self.newest(fs)?.map(|(_, framed)| framed))
    }

    /// Puts a body in place of the older copy. When this returns, it is the one that is read, whatever happens.
    ///
    /// # Errors The body is too long, or it could not be written or synced. What is read later may be either, and
    /// what was there before is still whole.
    pub fn write<F: Fs>(&self, fs: &F, body: &[u8]) -> io::Result<()> {
        let newest = self.newest(fs)?;
        let (index, generation) = match &newest {
            // Whoever wrote the newest copy may have died before it was synced. If the other one, which may be the
            // only one on the medium, were overwritten now, a power cut could take both.
            Some((index, framed)) => {
                fs.sync(self.copy(*index))?;
                (1 - index, framed.generation.saturating_add(1))
            }
            None => (0, 1),
        };
        let too_long = || io::Error::new(io::ErrorKind::InvalidInput, "the record is longer than a sector");
        let bytes = Framed { generation, body: body.to_vec() }.encode(self.magic).ok_or_else(too_long)?;
        let path = self.copy(index);
        let is_new = fs.length(path)?.is_none();
        fs.write_at(path, 0, &bytes)?;
        fs.sync(path)?;
        if let Some(folder) = path.parent().filter(|_| is_new) {
            fs.sync_folder(folder)?;
        }
        Ok(())
    }

    fn newest<F: Fs>(&self, fs: &F) -> io::Result<Option<(usize, Framed)>> {
        let read = [self.read_copy(fs, 0), self.read_copy(fs, 1)];
        let [first, second] = match read {
            [Err(error), Err(_)] => return Err(error),
            [first, second] => [first.ok().flatten(), second.ok().flatten()],
        };
        Ok(match (first, second) {
            (Some(one), Some(other)) if other.generation > one.generation => Some((1, other)),
            (Some(one), _) => Some((0, one)),
            (None, Some(other)) => Some((1, other)),
            (None, None) => None,
        })
    }

    fn read_copy<F: Fs>(&self, fs: &F, index: usize) -> io::Result<Option<Framed>> {
        let path = self.copy(index);
        if fs.length(path)?.is_none() {
            return Ok(None);
        }
        let mut bytes = [0; RECORD_BYTES];
        let filled = fs.read_at(path, 0, &mut bytes)?;
        Ok(bytes.get(..filled).and_then(|bytes| Framed::decode(self.magic, bytes)))
    }

    fn copy(&self, index: usize) -> &Path {
        let [first, second] = &self.copies;
        if index == 0 { first } else { second }
    }
}
