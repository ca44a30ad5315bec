//! Which encoding of an image is kept: the smallest that is worth its place, made within bounds, and unpacked once
//! before anybody gets it.

use muster_schemas::firmware::Encoding;

use super::pack::{PackError, pack_as, unpack};
use crate::{
    digest::{Digest, digest_of},
    error::ReadError,
    limits::{
        BSDIFF_BYTES_MAX, DELTA_KEPT_PERCENT, DELTA_MEMORY_BYTES_MAX, PACK_BYTES_MAX, PACKED_KEPT_PERCENT,
        ZSTD_PATCH_BYTES_MAX,
    },
    reader::Blob,
};

/// What making a delta may take. A hub on a small machine has less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of an image that is packed.
    pub pack_bytes_max: u64,
    /// Bytes of an image up to which bsdiff is tried.
    pub bsdiff_bytes_max: u64,
    /// Bytes of an image up to which a patch of zstd is tried.
    pub zstd_patch_bytes_max: u64,
    /// Bytes of memory, by estimate.
    pub memory_bytes_max: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            pack_bytes_max: PACK_BYTES_MAX,
            bsdiff_bytes_max: BSDIFF_BYTES_MAX,
            zstd_patch_bytes_max: ZSTD_PATCH_BYTES_MAX,
            memory_bytes_max: DELTA_MEMORY_BYTES_MAX,
        }
    }
}

/// Why an encoding was not tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTried {
    /// One of the images is larger than the bound for this encoding.
    #[error("an image is larger than the bound for it")]
    TooLarge,
    /// It would take more memory than there is for it.
    #[error("it would take about {bytes} bytes of memory")]
    Memory {
        /// By estimate.
        bytes: u64,
    },
}

impl Budget {
    /// Whether an encoding may be tried on images of these sizes.
    pub fn allows(&self, encoding: Encoding, old: u64, new: u64) -> Result<(), NotTried> {
        let bytes_max = match encoding {
            Encoding::Full | Encoding::Zstd => self.pack_bytes_max,
            Encoding::Bsdiff => self.bsdiff_bytes_max,
            Encoding::ZstdPatch => self.zstd_patch_bytes_max,
        };
        if old.max(new) > bytes_max.min(self.pack_bytes_max) {
            return Err(NotTried::TooLarge);
        }
        match memory(encoding, old, new) {
            bytes if bytes > self.memory_bytes_max => Err(NotTried::Memory { bytes }),
            _ => Ok(()),
        }
    }
}

/// About how much memory is taken, both images and what comes out included. Of bsdiff six times the old image, as
/// measured (280 MB for 47 MB); of zstd its tables and window.
fn memory(encoding: Encoding, old: u64, new: u64) -> u64 {
    const TABLES: u64 = 128 * 1024 * 1024;
    let images = old.saturating_add(new.saturating_mul(2));
    images.saturating_add(match encoding {
        Encoding::Full => 0,
        Encoding::Zstd => TABLES,
        Encoding::ZstdPatch => TABLES.saturating_add(old.saturating_add(new)),
        Encoding::Bsdiff => old.saturating_mul(6),
    })
}

/// Why there is no delta.
#[derive(Debug, thiserror::Error)]
pub enum DeltaError {
    /// An image could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The library says no.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// What was read is not what its name says.
    #[error("make a delta: the image {0} is not what it was")]
    Image(Digest),
    /// What was made does not give the image back: a fault of an encoder. It is thrown away.
    #[error("make a delta: what {0} made does not give the image back")]
    Wrong(Encoding),
    /// Too large to be packed at all.
    #[error("make a delta: {0}")]
    NotTried(#[from] NotTried),
}

/// One encoding that was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tried {
    /// Which.
    pub encoding: Encoding,
    /// How many bytes it has, or why it was not tried.
    pub bytes: Result<u64, NotTried>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// What is kept, if anything was worth it.
    pub kept: Option<(Encoding, Vec<u8>)>,
    /// All that was tried, for those who wonder.
    pub tried: Vec<Tried>,
}

/// Packs an image for devices that have no version before. It is kept if it is smaller than 95 % of the image: what
/// is packed inside already is sent as it is.
pub fn pack(image: &Blob, budget: &Budget) -> Result<Made, DeltaError> {
    budget.allows(Encoding::Zstd, 0, image.size())?;
    let new = read(image)?;
    let (tried, packed) = attempt(Encoding::Zstd, &[], &new)?;
    let kept =
        part(packed.len() as u64, image.size(), PACKED_KEPT_PERCENT).then_some((Encoding::Zstd, packed));
    Ok(Made { kept, tried: vec![tried] })
}

/// Makes the smallest patch from one image to another. It is kept if it is smaller than 60 % of `packed`, which is
/// what the image takes otherwise: packed, or as it is.
pub fn make(old: &Blob, new: &Blob, packed: u64, budget: &Budget) -> Result<Made, DeltaError> {
    let sizes = (old.size(), new.size());
    let choices = [Encoding::Bsdiff, Encoding::ZstdPatch]
        .map(|encoding| (encoding, budget.allows(encoding, sizes.0, sizes.1)));
    let none = |(encoding, allowed): (Encoding, Result<(), NotTried>)| {
        allowed.err().map(|why| Tried { encoding, bytes: Err(why) })
    };
    let mut made = Made { kept: None, tried: choices.into_iter().filter_map(none).collect() };
    if made.tried.len() == choices.len() {
        return Ok(made);
    }
    let (old, new) = (read(old)?, read(new)?);
    for (encoding, _) in choices.into_iter().filter(|(_, allowed)| allowed.is_ok()) {
        let (tried, patch) = attempt(encoding, &old, &new)?;
        made.tried.push(tried);
        let smallest = made.kept.as_ref().is_none_or(|(_, least)| patch.len() < least.len());
        if smallest && part(patch.len() as u64, packed, DELTA_KEPT_PERCENT) {
            made.kept = Some((encoding, patch));
        }
    }
    Ok(made)
}

/// Packs, and unpacks again.
fn attempt(encoding: Encoding, old: &[u8], new: &[u8]) -> Result<(Tried, Vec<u8>), DeltaError> {
    let packed = pack_as(encoding, old, new)?;
    match unpack(encoding, old, &packed, new.len() as u64) {
        Ok(again) if again == new => Ok((Tried { encoding, bytes: Ok(packed.len() as u64) }, packed)),
        Ok(_) | Err(_) => Err(DeltaError::Wrong(encoding)),
    }
}

fn read(image: &Blob) -> Result<Vec<u8>, DeltaError> {
    let bytes = image.to_vec()?;
    match digest_of(&bytes) == image.digest() {
        true => Ok(bytes),
        false => Err(DeltaError::Image(image.digest())),
    }
}

fn part(bytes: u64, of: u64, percent: u64) -> bool {
    u128::from(bytes) * 100 < u128::from(of) * u128::from(percent)
}
