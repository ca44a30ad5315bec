//! The encodings themselves: bsdiff by qbsdiff, zstd by libzstd. All in memory; who calls has looked at the sizes.

use std::io::{self, Read as _, Write};

use muster_schemas::firmware::Encoding;
use qbsdiff::{Bsdiff, Bspatch, ParallelScheme};
use zstd::stream::{read::Decoder, write::Encoder};

use crate::limits::{ZSTD_PATCH_WINDOW_LOG_MAX, ZSTD_WINDOW_LOG_MAX};

/// The level of packed images up to 64 MiB, and of larger ones: the highest whose window every device has memory for,
/// and one that takes seconds.
const LEVELS: (usize, i32, i32) = (64 * 1024 * 1024, 19, 9);
/// The level of patches: a higher one takes a minute for some percent.
const PATCH_LEVEL: i32 = 9;

/// Why something was not packed or unpacked.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The library says no.
    #[error("pack or unpack as {encoding}")]
    Io {
        /// As what.
        encoding: Encoding,
        /// Why.
        source: io::Error,
    },
    /// It gives more than it should: unpacking ended there.
    #[error("unpack {encoding}: it makes more than {size} bytes")]
    TooLong {
        /// As what.
        encoding: Encoding,
        /// What it should make.
        size: u64,
    },
    /// It gives less than it should.
    #[error("unpack {encoding}: it does not make {size} bytes")]
    Size {
        /// As what.
        encoding: Encoding,
        /// What it should make.
        size: u64,
    },
}

/// Packs `new`, on `old` where the encoding is a patch.
pub fn pack_as(encoding: Encoding, old: &[u8], new: &[u8]) -> Result<Vec<u8>, PackError> {
    let packed = match encoding {
        Encoding::Full => Ok(new.to_vec()),
        Encoding::Zstd => zstd(new),
        Encoding::ZstdPatch => zstd_patch(old, new),
        Encoding::Bsdiff => bsdiff(old, new),
    };
    packed.map_err(|source| PackError::Io { encoding, source })
}

/// Unpacks to `size` bytes, and to no more than that in memory whatever the input says.
pub fn unpack(encoding: Encoding, old: &[u8], packed: &[u8], size: u64) -> Result<Vec<u8>, PackError> {
    let mut out =
        Bounded { bytes: Vec::new(), max: usize::try_from(size).unwrap_or(usize::MAX), over: false };
    let unpacked = match encoding {
        Encoding::Full => out.write_all(packed),
        Encoding::Zstd => {
            Decoder::with_buffer(packed).and_then(|decoder| window(decoder, ZSTD_WINDOW_LOG_MAX, &mut out))
        }
        Encoding::ZstdPatch => Decoder::with_ref_prefix(packed, old)
            .and_then(|decoder| window(decoder, ZSTD_PATCH_WINDOW_LOG_MAX, &mut out)),
        Encoding::Bsdiff => Bspatch::new(packed).and_then(|patch| patch.apply(old, &mut out)).map(drop),
    };
    match unpacked {
        _ if out.over => Err(PackError::TooLong { encoding, size }),
        Ok(()) if out.bytes.len() as u64 == size => Ok(out.bytes),
        Ok(()) => Err(PackError::Size { encoding, size }),
        Err(source) => Err(PackError::Io { encoding, source }),
    }
}

fn window<R: io::BufRead>(mut decoder: Decoder<'_, R>, log_max: u32, out: &mut Bounded) -> io::Result<()> {
    decoder.window_log_max(log_max)?;
    io::copy(&mut decoder.by_ref(), out).map(drop)
}

fn zstd(new: &[u8]) -> io::Result<Vec<u8>> {
    let (small, high, low) = LEVELS;
    let level = if new.len() <= small { high } else { low };
    let mut encoder = Encoder::new(Vec::new(), level)?;
    encoder.set_pledged_src_size(Some(new.len() as u64))?;
    encoder.include_checksum(true)?;
    encoder.write_all(new)?;
    encoder.finish()
}

fn zstd_patch(old: &[u8], new: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = Encoder::with_ref_prefix(Vec::new(), PATCH_LEVEL, old)?;
    // The window has to reach from the end of the new image to the begin of the old one.
    let both = (old.len() as u64).saturating_add(new.len() as u64).max(1);
    let log = both.next_power_of_two().ilog2().clamp(10, ZSTD_PATCH_WINDOW_LOG_MAX);
    encoder.window_log(log)?;
    encoder.long_distance_matching(true)?;
    encoder.set_pledged_src_size(Some(new.len() as u64))?;
    encoder.include_checksum(true)?;
    encoder.write_all(new)?;
    encoder.finish()
}

/// On this thread alone: the hub makes one delta at a time, and has other things to do.
fn bsdiff(old: &[u8], new: &[u8]) -> io::Result<Vec<u8>> {
    let mut patch = Vec::new();
    let differ = Bsdiff::new(old, new).parallel_scheme(ParallelScheme::Never);
    differ.compare(io::Cursor::new(&mut patch))?;
    Ok(patch)
}

/// Takes so many bytes and no more.
struct Bounded {
    bytes: Vec<u8>,
    max: usize,
    over: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.max - self.bytes.len() {
            self.over = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
