//! Fields of a record, one behind another: numbers little-endian, texts and optional fields with what says how much
//! follows.

use muster_schemas::firmware::{Digest, Sequence};

use crate::{
    limits::VERSION_BYTES_MAX,
    slot::{Image, Slot, Version},
};

/// Reads fields from the front of a body. Each is none if the body ends before it, or if it is none that we write.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    pub(crate) fn digest(&mut self) -> Option<Digest> {
        self.take().map(Digest)
    }

    /// None is not there; `Some(None)` is what says that there is none.
    pub(crate) fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.u8()? {
            0 => Some(None),
            1 => read(self).map(Some),
            _ => None,
        }
    }

    pub(crate) fn slot(&mut self) -> Option<Slot> {
        match self.u8()? {
            0 => Some(Slot::A),
            1 => Some(Slot::B),
            _ => None,
        }
    }

    pub(crate) fn image(&mut self) -> Option<Image> {
        let (digest, size, sequence) = (self.digest()?, self.u64()?, Sequence(self.u64()?));
        let version: Version = self.text(VERSION_BYTES_MAX)?.parse().ok()?;
        Some(Image { digest, size, sequence, version })
    }

    pub(crate) fn text(&mut self, bytes_max: usize) -> Option<&'a str> {
        let length = usize::from(self.u8()?);
        let (text, rest) = self.0.split_at_checked(length).filter(|_| length <= bytes_max)?;
        self.0 = rest;
        str::from_utf8(text).ok()
    }

    /// That nothing follows.
    pub(crate) fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

pub(crate) fn put_optional<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    match value {
        None => out.push(0),
        Some(value) => {
            out.push(1);
            put(out, value);
        }
    }
}

pub(crate) fn put_slot(out: &mut Vec<u8>, slot: Slot) {
    out.push(match slot {
        Slot::A => 0,
        Slot::B => 1,
    });
}

pub(crate) fn put_image(out: &mut Vec<u8>, image: &Image) {
    out.extend_from_slice(image.digest.as_bytes());
    out.extend_from_slice(&image.size.to_le_bytes());
    out.extend_from_slice(&image.sequence.0.to_le_bytes());
    let version = image.version.as_str().as_bytes();
    // A version has at most 64 bytes.
    out.push(u8::try_from(version.len()).unwrap_or(0));
    out.extend_from_slice(version);
}
