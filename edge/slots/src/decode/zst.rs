//! Streams of zstd (RFC 8878), and its patches: streams whose window begins with the old image.

use std::io::{self, BufReader, Read, Write};

use zstd::stream::read::Decoder;

use crate::limits::{PATCH_WINDOW_LOG_MAX, WINDOW_LOG_MAX};

/// Memory: the window, at most 8 MiB; a stream that wants more is refused.
pub(super) fn unpack(packed: impl Read, out: &mut impl Write) -> io::Result<()> {
    let mut decoder = Decoder::new(packed)?;
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    copy(decoder, out)
}

/// Memory: the old image and the window, which is as large as both images; the caller has looked at them.
pub(super) fn patch(packed: impl Read, mut old: impl Read, out: &mut impl Write) -> io::Result<()> {
    let mut prefix = Vec::new();
    old.read_to_end(&mut prefix)?;
    let mut decoder = Decoder::with_ref_prefix(BufReader::new(packed), &prefix)?;
    decoder.window_log_max(PATCH_WINDOW_LOG_MAX)?;
    copy(decoder, out)
}

fn copy(mut decoder: impl Read, out: &mut impl Write) -> io::Result<()> {
    io::copy(&mut decoder, out).map(drop)
}
