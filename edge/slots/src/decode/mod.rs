//! From what was transferred to an image: as it is, packed, or as a patch of the old one. Output goes to the slot as
//! it is made and never beyond the size that was signed, so that nothing that arrives can fill a device's memory or
//! its slot.

mod bsdiff;
mod stream;
mod zst;

use std::{cell::RefCell, io, path::Path};

use muster_schemas::firmware::Encoding;

use crate::{
    fs::{Fs, Memory},
    limits::{PATCH_NEW_BYTES_MAX, PATCH_OLD_BYTES_MAX},
};
pub(crate) use stream::{Reader, Writer};

/// Why what was transferred gives no image.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// A file could not be read or written.
    #[error("read or write a file")]
    Io(#[source] io::Error),
    /// It is not what its encoding says, or was cut short.
    #[error("unpack what arrived: it is no whole {encoding}")]
    Malformed {
        /// What it should be.
        encoding: &'static str,
        /// What the decoder says of it.
        #[source]
        why: io::Error,
    },
    /// It gives more, or less, than the signed image has.
    #[error("unpack what arrived: it does not make the {signed} bytes that were signed")]
    Size {
        /// How many were signed.
        signed: u64,
    },
    /// A patch of zstd needs both images in memory.
    #[error(
        "apply the patch: old and new image are {old} and {new} bytes, and at most {max} of each fit into memory"
    )]
    Memory {
        /// The old image.
        old: u64,
        /// The new one.
        new: u64,
        /// The most.
        max: u64,
    },
    /// A patch without the image that it is a patch of.
    #[error("apply the patch: the image that it is made for is not here")]
    NoOld,
}

/// The image that a patch is applied to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Old<'a> {
    pub(crate) path: &'a Path,
    pub(crate) size: u64,
}

/// Makes the image at `part` from what lies at `from`, which has `size` bytes.
pub(crate) fn decode<F: Fs>(
    fs: &F,
    encoding: Encoding,
    (from, size): (&Path, u64),
    old: Option<Old<'_>>,
    (part, signed): (&Path, u64),
) -> Result<(), DecodeError> {
    let mut out = Writer::new(fs, part, signed);
    let packed = Reader::new(fs, from, 0, size);
    let name = name(encoding);
    let made = match encoding {
        Encoding::Full => io::copy(&mut { packed }, &mut out).map(drop),
        Encoding::Zstd => zst::unpack(packed, &mut out),
        Encoding::Bsdiff => bsdiff::patch(fs, (from, size), old.ok_or(DecodeError::NoOld)?, &mut out),
        Encoding::ZstdPatch => {
            let old = old.ok_or(DecodeError::NoOld)?;
            if old.size > PATCH_OLD_BYTES_MAX || signed > PATCH_NEW_BYTES_MAX {
                let max = PATCH_OLD_BYTES_MAX.min(PATCH_NEW_BYTES_MAX);
                return Err(DecodeError::Memory { old: old.size, new: signed, max });
            }
            zst::patch(packed, Reader::new(fs, old.path, 0, old.size), &mut out)
        }
    };
    let flushed = made.and_then(|()| out.finish());
    if out.is_too_long() {
        return Err(DecodeError::Size { signed });
    }
    match flushed {
        Ok(written) if written == signed => Ok(()),
        Ok(_) => Err(DecodeError::Size { signed }),
        Err(error) if out.has_failed() => Err(DecodeError::Io(error)),
        Err(why) => Err(DecodeError::Malformed { encoding: name, why }),
    }
}

/// Unpacks in memory, as a device would on its slots: to see, before it is offered, that a patch makes the `signed`
/// bytes of the image. Whether they are the right ones their digest says.
///
/// # Errors
/// It does not, or wants more memory than devices give it.
pub fn unpack(encoding: Encoding, packed: &[u8], old: &[u8], signed: u64) -> Result<Vec<u8>, DecodeError> {
    let files = vec![("packed", packed.to_vec()), ("old", old.to_vec()), ("image", Vec::new())];
    let fs = Memory(RefCell::new(files));
    let from = encoding.is_patch().then(|| Old { path: Path::new("old"), size: old.len() as u64 });
    let packed = (Path::new("packed"), packed.len() as u64);
    decode(&fs, encoding, packed, from, (Path::new("image"), signed))?;
    Ok(fs.0.into_inner().pop().map(|(_, image)| image).unwrap_or_default())
}

fn name(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Full => "image",
        Encoding::Zstd => "stream of zstd",
        Encoding::Bsdiff => "patch of bsdiff",
        Encoding::ZstdPatch => "patch of zstd",
    }
}
