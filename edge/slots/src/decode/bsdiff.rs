//! Patches of bsdiff 4 (`BSDIFF40`): three streams of bzip2 that say, in turn, how many bytes to take from the old
//! image and add to, how many to insert, and how far to jump in the old image. The old image is read where it lies:
//! memory is three decoders of bzip2, some 4 MB each, whatever the size of the images.
//!
//! ```text
//! "BSDIFF40" | control:i64 | diff:i64 | new:i64 | control… | diff… | extra…   (numbers: magnitude, sign in the top bit)
//! ```

use std::{
    io::{self, Read, Write},
    path::Path,
};

use bzip2::read::BzDecoder;

use super::{Old, Reader};
use crate::{
    fs::Fs,
    limits::{CHUNK_BYTES, JUMPS_MAX},
};

const MAGIC: &[u8; 8] = b"BSDIFF40";
const HEAD_BYTES: u64 = 32;

pub(super) fn patch<F: Fs>(
    fs: &F,
    (path, size): (&Path, u64),
    old: Old<'_>,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut head = Reader::new(fs, path, 0, size);
    let mut magic = [0; 8];
    head.read_exact(&mut magic)?;
    let [control, diff, new] = [number(&mut head)?, number(&mut head)?, number(&mut head)?];
    let of = |length: i64| u64::try_from(length).map_err(|_| malformed("a length is negative"));
    let (control, diff, mut left) = (of(control)?, of(diff)?, of(new)?);
    let control_end = HEAD_BYTES.checked_add(control);
    let diff_end = control_end.and_then(|end| end.checked_add(diff));
    let ends = control_end.zip(diff_end).filter(|(_, end)| *end <= size && magic == *MAGIC);
    let (control_end, diff_end) = ends.ok_or_else(|| malformed("its head is none"))?;

    let mut control = BzDecoder::new(Reader::new(fs, path, HEAD_BYTES, control_end));
    let mut diff = BzDecoder::new(Reader::new(fs, path, control_end, diff_end));
    let mut extra = BzDecoder::new(Reader::new(fs, path, diff_end, size));
    let mut at: i64 = 0;
    let mut jumps: u32 = 0;
    while left > 0 {
        let [add, insert, jump] = [number(&mut control)?, number(&mut control)?, number(&mut control)?];
        let (add, insert) = (of(add)?, of(insert)?);
        let made = add.checked_add(insert).filter(|made| *made <= left);
        let made = made.ok_or_else(|| malformed("a step makes more than is left"))?;
        left -= made;
        // A step that only jumps is right, and a patch of nothing else would keep us forever.
        jumps += u32::from(made == 0);
        if jumps > JUMPS_MAX {
            return Err(malformed("it jumps about and makes nothing"));
        }
        summed(fs, old, at, add, &mut diff, out)?;
        copied(&mut extra, insert, out)?;
        let after = i64::try_from(add).ok().and_then(|add| at.checked_add(add)?.checked_add(jump));
        at = after.ok_or_else(|| malformed("it jumps out of all images"))?;
    }
    Ok(())
}

/// The next bytes of the old image, each with the difference added. Before its front and behind its end there are
/// zeros.
fn summed<F: Fs>(
    fs: &F,
    old: Old<'_>,
    from: i64,
    length: u64,
    diff: &mut impl Read,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut bytes = vec![0; CHUNK_BYTES];
    let mut base = vec![0; CHUNK_BYTES];
    let mut done: u64 = 0;
    while done < length {
        let chunk = usize::try_from(length - done).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
        let (bytes, base) = (bytes.get_mut(..chunk), base.get_mut(..chunk));
        let (bytes, base) = bytes.zip(base).ok_or_else(|| malformed("a chunk is too long"))?;
        diff.read_exact(bytes)?;
        base.fill(0);
        let start = i128::from(from) + i128::from(done);
        let inside =
            start.clamp(0, i128::from(old.size))..(start + chunk as i128).clamp(0, i128::from(old.size));
        let (first, last) = (inside.start - start, inside.end - start);
        if let (Ok(first), Ok(last), Ok(offset)) =
            (usize::try_from(first), usize::try_from(last), u64::try_from(inside.start))
            && let Some(into) = base.get_mut(first..last)
            && !into.is_empty()
            && fs.read_at(old.path, offset, into)? != into.len()
        {
            return Err(malformed("the old image is shorter than it was"));
        }
        for (byte, base) in bytes.iter_mut().zip(base.iter()) {
            *byte = byte.wrapping_add(*base);
        }
        out.write_all(bytes)?;
        done += chunk as u64;
    }
    Ok(())
}

fn copied(extra: &mut impl Read, length: u64, out: &mut impl Write) -> io::Result<()> {
    let copied = io::copy(&mut extra.take(length), out)?;
    if copied == length { Ok(()) } else { Err(malformed("what it inserts was cut short")) }
}

/// A number as bsdiff writes it.
fn number(from: &mut impl Read) -> io::Result<i64> {
    let mut bytes = [0; 8];
    from.read_exact(&mut bytes)?;
    let read = u64::from_le_bytes(bytes);
    let magnitude = (read & !(1 << 63)).cast_signed();
    Ok(if read >> 63 == 1 { -magnitude } else { magnitude })
}

fn malformed(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
